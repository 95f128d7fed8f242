//! The bus of a data folder: the engine's own journal shown as the stream `sales`, and the streams `catalogue`
//! and `control` that others write to. Where the journal is in a database, so are these two.
//!
//! It lives below `bus/` in the data folder. The server owns it; other processes on the machine (`onsale stream`)
//! read through its socket there. Where servers share a Redis, `catalogue` and `control` are there instead.

pub mod follow;
pub mod retain;
mod sales;
pub mod sent;
pub mod wanted;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError};

use onsale_bus::file::{FileBus, FileOptions, Source};
use onsale_bus::{Bus, Error, Retention, StreamName};
use tokio::sync::{Mutex, watch};

pub use sales::SalesSource;

use crate::shards::Shards;
use retain::{AllRetained, Retained};
use sent::Sent;

/// Folder of the bus in the data folder.
const FOLDER: &str = "bus";
/// Folder in that of the files for what was sent before.
const KEYS_FOLDER: &str = "keys";
/// Length of the journals' segments. It is enough for the largest entry.
const SEGMENT_BYTES: u64 = 4 << 20;
/// The stream of what shall be for sale.
pub const CATALOGUE: &str = "catalogue";
/// The stream of stages, toggles and transfers.
pub const CONTROL: &str = "control";
/// Shards of a stream that others write to: one, so that all of it has one order.
pub const SHARDS: u32 = 1;

/// Streams that are kept elsewhere than in the data folder, by their names.
pub type KeptElsewhere = Vec<(&'static str, Arc<dyn Source>)>;

/// Where the bus of a data folder is.
#[must_use]
pub fn folder(data: &Path) -> PathBuf {
    data.join(FOLDER)
}

/// The bus as the server has it.
#[derive(Debug)]
pub struct ServerBus {
    /// The bus that `catalogue` and `control` are on, or why there is none.
    bus: Result<Bus, String>,
    /// The folder's, where that is another one.
    local: Option<Bus>,
    /// What was appended with which key; one append at a time.
    pub sent: Mutex<Sent>,
    /// Counts appends to `catalogue`, for the follower that waits for the stream to be made.
    pub made: watch::Sender<u64>,
    /// The engine can't follow `catalogue`: its cursor is of another history.
    pub stuck: AtomicBool,
    /// What of `catalogue` and `control` is kept.
    pub retention: Retention,
    retained: std::sync::Mutex<AllRetained>,
}

impl ServerBus {
    /// Opens the bus of a data folder and shows the shards as the stream `sales`, and others that are kept elsewhere; and that of a
    /// Redis that servers share. A bus that can't be opened does not keep the sale from going on: what needs it is told
    /// why. It must be called on the runtime that the bus shall live on.
    pub async fn open(shards: &Shards, others: KeptElsewhere, retention: Retention) -> ServerBus {
        let is_here = others.is_empty();
        let local = open(shards, others).await.map_err(|error| {
            tracing::error!(%error, "the bus can't be opened; sales go on without it");
            error.to_string()
        });
        let (bus, local) = match shared(shards) {
            Some(shared) => (shared.map_err(|error| error.to_string()), local.ok()),
            None => (local, None),
        };
        let sent = match local {
            None if is_here => Sent::kept_in(folder(shards.data()).join(KEYS_FOLDER)),
            _ => Sent::default(),
        };
        let (sent, made) = (Mutex::new(sent), watch::Sender::new(0));
        let retained = [CATALOGUE, CONTROL].map(|stream| (stream, Retained::default()));
        let retained = std::sync::Mutex::new(retained.into());
        ServerBus { bus, local, sent, made, stuck: AtomicBool::new(false), retention, retained }
    }

    /// The bus.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self) -> Result<&Bus, &str> {
        self.bus.as_ref().map_err(String::as_str)
    }

    /// Closes it.
    ///
    /// # Errors
    /// What runs behind it fails.
    pub async fn close(&self) -> Result<(), Error> {
        for bus in self.bus.iter().chain(&self.local) {
            bus.close().await?;
        }
        Ok(())
    }

    /// What retention did since the start.
    #[must_use]
    pub fn retained(&self) -> AllRetained {
        self.retained.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_retained(&self, stream: &'static str, note: impl FnOnce(&mut Retained)) {
        let mut all = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
        note(all.entry(stream).or_default());
    }
}

/// The bus of a Redis that servers share, where there is one.
#[cfg(feature = "redis")]
fn shared(shards: &Shards) -> Option<Result<Bus, Error>> {
    let store = shards.shared()?;
    Some(onsale_bus::redis::RedisBus::new(&options(store, "")).map(Bus::Redis))
}

#[cfg(not(feature = "redis"))]
fn shared(_: &Shards) -> Option<Result<Bus, Error>> {
    None
}

/// A store, as the bus or its cursors are to use it.
#[cfg(feature = "redis")]
pub fn options(
    store: &onsale_redis::Options,
    behind_prefix: &str,
) -> onsale_bus::redis::RedisOptions {
    let onsale_redis::Options { url, prefix, timeout, .. } = store;
    let prefix = format!("{prefix}{behind_prefix}");
    onsale_bus::redis::RedisOptions { url: url.clone(), timeout: *timeout, prefix }
}

async fn open(shards: &Shards, others: KeptElsewhere) -> Result<Bus, Error> {
    let options = FileOptions { segment_bytes: SEGMENT_BYTES };
    let bus = FileBus::open(&folder(shards.data()), options).await?;
    bus.register(&StreamName::new("sales")?, Arc::new(SalesSource::new(shards.clone())))?;
    for (name, source) in others {
        bus.register(&StreamName::new(name)?, source)?;
    }
    Ok(Bus::File(bus))
}
