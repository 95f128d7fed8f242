//! The bus on files: one folder, one journal for each shard of a stream.
//!
//! The process that holds the folder's lock is the owner. It keeps the journals and answers other
//! processes at a unix socket in the folder; a process that opens a folder which another holds
//! becomes a client of that one. When the owner ends, requests fail with [`Error::Unavailable`] until another owner
//! has opened the folder; a client does not become one by itself.
//!
//! Streams that somebody else keeps, such as the engine's journal, are registered by the owner as a
//! [`Source`]: they are read like the others, and nothing of them is copied.

mod log;
mod owner;
mod socket;
mod source;
mod tail;
mod wire;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onsale_journal::FolderLock;
use tokio::task::AbortHandle;

pub(crate) use log::replace;
use owner::Owner;
pub use owner::{SHARDS_MAX, begin_new_histories};
use socket::Client;
pub(crate) use source::blocking;
pub use source::{Cut, Source};

use crate::{
    AppendError, Entry, Error, From, Limits, Page, Placed, Position, ShardId, StreamInfo,
    StreamName,
};

/// How long to look for an owner that is just starting or ending, and how often.
const OWNER_WAIT: Duration = Duration::from_secs(5);
const OWNER_LOOK: Duration = Duration::from_millis(20);

/// How the journals of an owner are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// Length of a journal's segments, in bytes, a multiple of 4,096. An entry must fit a quarter of one: 4 MiB
    /// and more take every entry.
    pub segment_bytes: u64,
}

impl Default for FileOptions {
    /// Segments of 16 MiB.
    fn default() -> FileOptions {
        FileOptions { segment_bytes: 16 << 20 }
    }
}

/// Streams on files. Clones are the same bus.
#[derive(Clone)]
pub struct FileBus(Role);

#[derive(Clone)]
enum Role {
    Owner(Arc<Held>),
    Client(Arc<Client>),
}

/// What ends with the last clone: the owner's socket and lock.
struct Held {
    owner: Arc<Owner>,
    server: AbortHandle,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl std::fmt::Debug for FileBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_owner() { "FileBus (owner)" } else { "FileBus (client)" })
    }
}

impl FileBus {
    /// Opens a folder, made where there is none: as its owner, or as a client of the process that is.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the folder can't be used, or its owner does not answer;
    /// [`Error::Damaged`] when a journal is.
    pub async fn open(folder: &Path, options: FileOptions) -> Result<FileBus, Error> {
        let broken = |why: String| Error::Unavailable { what: folder.display().to_string(), why };
        std::fs::create_dir_all(folder).map_err(|error| broken(error.to_string()))?;
        let deadline = Instant::now() + OWNER_WAIT;
        loop {
            match onsale_journal::lock_folder(folder) {
                Ok(lock) => return FileBus::own(folder, options, lock).await,
                Err(onsale_journal::Error::Locked { .. }) => {}
                Err(error) => return Err(broken(error.to_string())),
            }
            match Client::connect(folder).await {
                Ok(client) => return Ok(FileBus(Role::Client(Arc::new(client)))),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(OWNER_LOOK).await,
            }
        }
    }

    async fn own(folder: &Path, options: FileOptions, lock: FolderLock) -> Result<FileBus, Error> {
        let owner = Arc::new(Owner::open(folder, options, lock).await?);
        let listener = socket::listen(folder).map_err(|error| Error::Unavailable {
            what: format!("the bus' socket in {}", folder.display()),
            why: error.to_string(),
        })?;
        let server = tokio::spawn(socket::serve(listener, Arc::clone(&owner))).abort_handle();
        Ok(FileBus(Role::Owner(Arc::new(Held { owner, server }))))
    }

    /// Whether this process holds the folder.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        matches!(self.0, Role::Owner(_))
    }

    /// Shows a stream that somebody else keeps, in place of one that was shown under the name before.
    ///
    /// # Errors
    /// [`Error::Refused`] when this is not the owner, or the bus keeps a stream of that name.
    pub fn register(&self, stream: &StreamName, source: Arc<dyn Source>) -> Result<(), Error> {
        match &self.0 {
            Role::Owner(held) => held.owner.register(stream, source),
            Role::Client(_) => {
                let what = format!("stream {stream}");
                Err(Error::Refused {
                    what,
                    why: "only the folder's owner shows foreign streams".into(),
                })
            }
        }
    }

    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        match &self.0 {
            Role::Owner(held) => held.owner.create(stream, shards).await,
            Role::Client(client) => client.create(stream, shards).await,
        }
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        match &self.0 {
            Role::Owner(held) => Ok(held.owner.streams()),
            Role::Client(client) => client.streams().await,
        }
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        match &self.0 {
            Role::Owner(held) => held.owner.describe(stream),
            Role::Client(client) => client.describe(stream).await,
        }
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        match &self.0 {
            Role::Owner(held) => held.owner.append(stream, entries).await,
            Role::Client(client) => client.append(stream, entries).await,
        }
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        match &self.0 {
            Role::Owner(held) => held.owner.read(stream, shard, from, limits).await,
            Role::Client(client) => client.read(stream, shard, from, limits).await,
        }
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        match &self.0 {
            Role::Owner(held) => held.owner.trim(stream, shard, upto).await,
            Role::Client(client) => client.trim(stream, shard, upto).await,
        }
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        match &self.0 {
            Role::Owner(held) => {
                held.server.abort();
                held.owner.close().await
            }
            Role::Client(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
