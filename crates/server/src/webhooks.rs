//! Webhooks: an organizer names an address, and is sent what happens, signed.
//!
//! A webhook follows the stream `sales` by a cursor of its own, so only what is on the disk
//! is sent, and a restart goes on where it was. Records of one shard are sent one after the
//! other, in order, each until the receiver has taken it; a receiver that is down keeps its
//! records waiting, not the sale. Servers that share a Redis share their webhooks, too: each follower's cursor has a lease, so one of
//! them delivers, and another one goes on when it is gone.

pub mod address;
mod client;
mod deliver;
mod file;
pub mod sign;
mod since;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onsale_core::{Id, Time};
use onsale_redis::Texts;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::catalogue::time_to_text;
pub use address::{Networks, Policy, Target};
pub use deliver::{cursor_of, run};
pub use file::{Entry, FILE};

/// What an organizer's webhooks may be and do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WebhookLimits {
    /// Webhooks of one organizer.
    pub per_organizer: usize,
    /// Deliveries under way at a time, over all webhooks.
    pub concurrent: usize,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
    /// How long a record is tried before it is parked.
    pub retry: Duration,
    /// The first wait after a failure; it doubles up to [`WAIT_MAX`].
    pub backoff: Duration,
    /// Where they may lead.
    pub policy: Policy,
}

/// The longest wait between two tries.
pub const WAIT_MAX: Duration = Duration::from_secs(900);
/// Webhooks of all organizers together.
pub const WEBHOOKS_MAX: usize = 10_000;
/// Longest name, so that its cursor's name keeps the rule.
pub const NAME_BYTES_MAX: usize = 40;

/// A webhook at work.
#[derive(Debug)]
pub struct Webhook {
    /// Whose.
    pub organizer: Id,
    /// What the file has of it.
    pub entry: Entry,
    /// Where it leads.
    pub target: Target,
    /// What became of its deliveries.
    pub figures: Figures,
}

/// What became of a webhook's deliveries since the start.
#[derive(Debug, Default)]
pub struct Figures {
    counts: Mutex<Counts>,
}

/// Counts and the failures at hand.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Deliveries that were taken.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// What is being tried again, by shard.
    pub failing: BTreeMap<u16, Failing>,
    /// Why a shard can't be followed any more, until the webhook is made anew or the server starts again.
    pub stuck: BTreeMap<u16, String>,
}

/// A record that a receiver did not take yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failing {
    /// Its position.
    pub position: u64,
    /// Tries so far.
    pub tries: u32,
    /// Why the last one failed.
    pub reason: String,
    /// When the first one failed.
    pub since: Time,
    /// When the next one comes.
    pub next: Time,
}

impl Figures {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be wrong with a change of webhooks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The organizer, or all of them, have as many as they may.
    #[error("there may be {max}")]
    TooMany {
        /// How many.
        max: usize,
    },
    /// The store that servers share can't be read or written.
    #[error("webhooks in Redis: {0}")]
    Store(String),
    /// The file can't be read or written.
    #[error("{path}: {detail}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// All webhooks of a data folder, or of servers that share a Redis.
pub struct Webhooks {
    data: PathBuf,
    /// Where servers share them.
    shared: Option<Texts>,
    /// One change at a time.
    changing: Mutex<()>,
    all: watch::Sender<Arc<Vec<Arc<Webhook>>>>,
}

impl Webhooks {
    /// Reads those of a data folder.
    ///
    /// # Errors
    /// The file is there and can't be read, or makes no sense.
    pub fn load(data: &Path) -> Result<Webhooks, Error> {
        let entries = file::read(data)?;
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let wrong = |detail: String| Error::File { path: data.join(file::FILE), detail };
            all.push(Arc::new(Webhook::of(entry).map_err(wrong)?));
        }
        let all = watch::Sender::new(Arc::new(all));
        Ok(Webhooks { data: data.to_owned(), shared: None, changing: Mutex::default(), all })
    }

    /// Those of servers that share a store: none until the first [`Webhooks::refresh`].
    #[must_use]
    pub fn shared(data: &Path, store: &onsale_redis::Options) -> Webhooks {
        if data.join(file::FILE).exists() {
            tracing::warn!("{} is not read: the webhooks are in Redis", file::FILE);
        }
        let shared = Some(Texts::new(store, format!("{}:webhooks", store.prefix)));
        let (changing, all) = (Mutex::default(), watch::Sender::default());
        Webhooks { data: data.to_owned(), shared, changing, all }
    }

    /// Whether servers share them.
    #[must_use]
    pub fn are_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// Brings in what other servers have changed. As all that changes something it blocks, and needs a runtime.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn refresh(&self) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.read()
    }

    fn read(&self) -> Result<(), Error> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let found = Handle::current().block_on(shared.all());
        let before = self.all();
        let mut all = Vec::new();
        for (name, text) in found.map_err(|failure| Error::Store(failure.to_string()))? {
            let wrong = |detail: String| Error::Store(format!("{name}: {detail}"));
            let entry: Entry = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
            let key = (entry.organizer.as_str(), entry.name.as_str());
            let same = before.binary_search_by(|webhook| webhook.key().cmp(&key)).ok();
            // One that is as it was goes on as it is.
            all.push(match same.map(|at| &before[at]).filter(|same| same.entry == entry) {
                Some(same) => same.clone(),
                None => Arc::new(Webhook::of(entry).map_err(wrong)?),
            });
        }
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        let is_same = |(now, before)| Arc::ptr_eq(now, before);
        if all.len() != before.len() || !all.iter().zip(before.iter()).all(is_same) {
            self.all.send_replace(Arc::new(all));
        }
        Ok(())
    }

    /// All of them, by organizer and name.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<Arc<Webhook>>> {
        self.all.borrow().clone()
    }

    /// All of them, and their changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Vec<Arc<Webhook>>>> {
        self.all.subscribe()
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, organizer: &Id, name: &str) -> Option<Arc<Webhook>> {
        let all = self.all();
        all.iter().find(|w| w.organizer == *organizer && w.entry.name == name).cloned()
    }

    /// Puts a webhook there, in the place of one with its name. It is on the disk when this returns.
    ///
    /// # Errors
    /// There are as many as there may be, or the file can't be written.
    pub fn put(&self, webhook: Webhook, per_organizer: usize) -> Result<Arc<Webhook>, Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.read()?;
        let mut all: Vec<Arc<Webhook>> = self.all().to_vec();
        all.retain(|w| !w.is(&webhook.organizer, &webhook.entry.name));
        let own = all.iter().filter(|w| w.organizer == webhook.organizer).count();
        if own >= per_organizer {
            return Err(Error::TooMany { max: per_organizer });
        }
        if all.len() >= WEBHOOKS_MAX {
            return Err(Error::TooMany { max: WEBHOOKS_MAX });
        }
        let webhook = Arc::new(webhook);
        all.push(webhook.clone());
        all.sort_by(|a, b| a.key().cmp(&b.key()));
        self.keep(all, (&webhook.organizer, &webhook.entry.name))?;
        since::forget(&self.data, &webhook.entry.organizer, &webhook.entry.name);
        Ok(webhook)
    }

    /// Takes a webhook away. Says whether it was there.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn remove(&self, organizer: &Id, name: &str) -> Result<bool, Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.read()?;
        let mut all: Vec<Arc<Webhook>> = self.all().to_vec();
        let before = all.len();
        all.retain(|w| !w.is(organizer, name));
        let removed = all.len() < before;
        if removed {
            self.keep(all, (organizer, name))?;
            since::forget(&self.data, organizer.as_str(), name);
        }
        Ok(removed)
    }

    /// Notes that a webhook's receiver is gone for good; its followers end. Nothing happens to one that was changed or
    /// taken away meanwhile.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn gone(&self, webhook: &Webhook, at: Time) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.read()?;
        let mut all: Vec<Arc<Webhook>> = self.all().to_vec();
        let Some(place) = all.iter().position(|other| std::ptr::eq(Arc::as_ptr(other), webhook))
        else {
            return Ok(());
        };
        let entry = Entry { gone_at: Some(time_to_text(at)), ..webhook.entry.clone() };
        let counts = Counts { failing: BTreeMap::new(), ..webhook.figures.now() };
        let figures = Figures { counts: Mutex::new(counts) };
        let (organizer, target) = (webhook.organizer, webhook.target.clone());
        all[place] = Arc::new(Webhook { organizer, entry, target, figures });
        self.keep(all, (&webhook.organizer, &webhook.entry.name))?;
        since::forget(&self.data, &webhook.entry.organizer, &webhook.entry.name);
        Ok(())
    }

    /// Keeps them, of which one was changed or taken away.
    fn keep(&self, all: Vec<Arc<Webhook>>, (organizer, name): (&Id, &str)) -> Result<(), Error> {
        match &self.shared {
            None => file::write(&self.data, all.iter().map(|webhook| &webhook.entry))?,
            Some(shared) => {
                let field = format!("{organizer}/{name}");
                let changed = all.iter().find(|webhook| webhook.is(organizer, name));
                let kept = Handle::current().block_on(async {
                    match changed {
                        Some(webhook) => shared.put(&field, &file::text(&webhook.entry)).await,
                        None => shared.remove(&field).await,
                    }
                });
                kept.map_err(|failure| Error::Store(failure.to_string()))?;
            }
        }
        self.all.send_replace(Arc::new(all));
        Ok(())
    }
}

impl Webhook {
    /// One as it is kept.
    fn of(entry: Entry) -> Result<Webhook, String> {
        let organizer = Id::new(&entry.organizer).map_err(|error| error.to_string())?;
        let target = Target::parse(&entry.url);
        let target = target.map_err(|error| format!("{}: {error}", entry.name))?;
        Ok(Webhook { organizer, entry, target, figures: Figures::default() })
    }

    fn is(&self, organizer: &Id, name: &str) -> bool {
        self.organizer == *organizer && self.entry.name == name
    }

    fn key(&self) -> (&str, &str) {
        (self.organizer.as_str(), &self.entry.name)
    }

    /// Whether it wants records of this type. One that names no types wants all.
    #[must_use]
    pub fn wants(&self, kind: &str) -> bool {
        self.entry.types.is_empty() || self.entry.types.iter().any(|of| of == kind)
    }
}
