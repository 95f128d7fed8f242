//! Readers that wait are woken when something is appended: one connection per bus listens to what
//! the appending function publishes. A word that gets lost costs a moment, never a record.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::link::Link;

/// Who waits looks again after so long even if nothing was said.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Between two tries to listen.
const REST: Duration = Duration::from_millis(200);
/// So many places are remembered before those that nobody waits at are forgotten.
const PLACES_MAX: usize = 4_096;

/// A stream's key and a shard of it.
type Place = (String, String);

#[derive(Clone, Debug)]
pub(super) struct Signals(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pattern: String,
    places: Mutex<HashMap<Place, Arc<Notify>>>,
    listener: Mutex<Option<JoinHandle<()>>>,
    /// Falls with the last clone, which ends the listener.
    alive: watch::Sender<()>,
}

impl Signals {
    pub(super) fn new(prefix: &str) -> Signals {
        Signals(Arc::new(Inner {
            pattern: format!("{prefix}:{{*"),
            places: Mutex::default(),
            listener: Mutex::default(),
            alive: watch::channel(()).0,
        }))
    }

    /// What is notified when the shard may have something new. Begins to listen, if nobody does.
    pub(super) fn of(&self, link: &Link, key: &str, shard: &str) -> Arc<Notify> {
        let mut listener = self.0.listener.lock().expect("nothing panics with it");
        if listener.as_ref().is_none_or(JoinHandle::is_finished) {
            let (inner, alive) = (Arc::downgrade(&self.0), self.0.alive.subscribe());
            let (link, pattern) = (link.clone(), self.0.pattern.clone());
            *listener = Some(tokio::spawn(async move {
                let mut alive = alive;
                tokio::select! {
                    () = listen(&link, &pattern, &inner) => {}
                    _ = alive.changed() => {}
                }
            }));
        }
        drop(listener);
        let mut places = self.0.places();
        if places.len() >= PLACES_MAX {
            places.retain(|_, notify| Arc::strong_count(notify) > 1);
        }
        places.entry((key.to_owned(), shard.to_owned())).or_default().clone()
    }
}

impl Inner {
    fn places(&self) -> MutexGuard<'_, HashMap<Place, Arc<Notify>>> {
        self.places.lock().expect("nothing panics with it")
    }
}

/// Listens until the bus is closed or dropped.
async fn listen(link: &Link, pattern: &str, inner: &Weak<Inner>) {
    while !link.is_closed() {
        if let Ok(Ok(mut channel)) = timeout(link.timeout(), link.subscribed(pattern)).await {
            // Something may have been said before anybody listened.
            let Some(present) = inner.upgrade() else { return };
            present.places().values().for_each(|notify| notify.notify_waiters());
            drop(present);
            let mut messages = channel.on_message();
            while let Some(message) = messages.next().await {
                let Some(present) = inner.upgrade() else { return };
                let shards: String = message.get_payload().unwrap_or_default();
                let places = present.places();
                for shard in shards.split(' ') {
                    let place = (message.get_channel_name().to_owned(), shard.to_owned());
                    if let Some(notify) = places.get(&place) {
                        notify.notify_waiters();
                    }
                }
            }
        }
        sleep(REST).await;
    }
}
