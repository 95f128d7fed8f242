//! The connection to a replication slot, on a thread of its own.
//!
//! A server sends each change by itself, also of the platform's own sales, of which there is nothing to bring over: several messages
//! for each. To be woken by every one of them took more of the processors than all else that the bridge does. So the
//! thread takes what there is and then sleeps for a moment, in which nothing wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt as _;
use pgwire_replication::client::IdentifySystem;
use pgwire_replication::{
    Lsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{unconstrained, yield_now};
use tokio::time::{Instant, sleep_until, timeout};

use super::failed;
use crate::Error;
use crate::database::WAIT;

/// How long the thread sleeps after it has taken what there was.
const REST: Duration = Duration::from_millis(10);
/// Messages that are handed over at once.
const BATCH_MAX: usize = 1_000;
/// Batches that wait for the reader.
const BATCHES_MAX: usize = 4;
/// How soon the server is told what is kept.
const TELL: Duration = Duration::from_millis(500);

/// How long a server may say nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Until it sends changes.
    pub open: Duration,
    /// From then on. It asks whether we are there once it has heard nothing from us for a third of this, so that there is
    /// something to hear where nothing changes.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { open: WAIT, silence: Duration::from_secs(120) }
    }
}

impl Limits {
    /// What asks the server to speak in time. It speaks after half of its own limit, if it has not heard from us, so we speak
    /// only where there is something to tell.
    fn ask(self, config: &mut ReplicationConfig) {
        config.options =
            Some(format!("-c wal_sender_timeout={}", self.silence.as_millis() * 2 / 3));
        config.status_interval = TELL;
        config.idle_wakeup_interval = self.silence * 2;
    }
}

/// A slot's messages, in order.
pub struct Line {
    batches: mpsc::Receiver<Result<Vec<ReplicationEvent>, Error>>,
    batch: std::vec::IntoIter<ReplicationEvent>,
    /// All before this is kept.
    kept: Arc<AtomicU64>,
}

impl Line {
    /// Connects and begins, if `check` has nothing against the server. What comes next is told by [`Line::next`].
    ///
    /// # Errors
    /// The server or `check` refuses, or the server says nothing in time.
    pub async fn open(
        mut config: ReplicationConfig,
        limits: Limits,
        check: impl FnOnce(&IdentifySystem) -> Result<(), Error> + Send + 'static,
    ) -> Result<Line, Error> {
        limits.ask(&mut config);
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let kept = Arc::new(AtomicU64::new(0));
        let (mut opened, is_open) = oneshot::channel();
        let no_thread = |error| Error::Database(format!("a thread to read the feed: {error}"));
        let known = Arc::clone(&kept);
        let thread = thread::Builder::new().name("feed".to_owned());
        let reading = move || {
            // Made here, since one must not be dropped where others wait.
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(no_thread(error)))),
            };
            runtime.block_on(async {
                let began = tokio::select! {
                    began = timeout(limits.open, begin(config, check)) => began,
                    () = opened.closed() => return,
                };
                match began.unwrap_or_else(|_| Err(silent(limits.open))) {
                    Ok(client) => {
                        if opened.send(Ok(())).is_ok() {
                            follow(client, &sender, &known, limits.silence).await;
                        }
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            });
        };
        thread.spawn(reading).map_err(no_thread)?;
        is_open.await.map_err(|_| Error::Database("the feed's thread ended".to_owned()))??;
        Ok(Line { batches, batch: Vec::new().into_iter(), kept })
    }

    /// The next message. Nothing is lost where this is dropped while it waits.
    ///
    /// # Errors
    /// The connection is lost, or the server says nothing any more.
    pub async fn next(&mut self) -> Result<ReplicationEvent, Error> {
        loop {
            if let Some(event) = self.batch.next() {
                return Ok(event);
            }
            let batch = self.batches.recv().await;
            let ended = || Error::Database("the server ended the feed".to_owned());
            self.batch = batch.ok_or_else(ended)??.into_iter();
        }
    }

    /// Has the server let go of all before this. It is told within about a second.
    pub fn keep(&self, upto: Lsn) {
        self.kept.fetch_max(upto.0, Ordering::Relaxed);
    }
}

async fn begin(
    config: ReplicationConfig,
    check: impl FnOnce(&IdentifySystem) -> Result<(), Error>,
) -> Result<ReplicationClient, Error> {
    let failed = |error| failed(&error);
    let mut client = ReplicationClient::connect_gated(config).await.map_err(failed)?;
    check(&client.identify_system().await.map_err(failed)?)?;
    client.start().await.map_err(failed)?;
    client.wait_started().await.map_err(failed)?;
    Ok(client)
}

fn silent(limit: Duration) -> Error {
    Error::Database(format!(
        "the server sent nothing for {limit:?}: the feed's connection is dead, or the server hangs"
    ))
}

/// Hands messages over until nobody takes them any more, the server has no more, or it is silent for too long.
async fn follow(
    mut client: ReplicationClient,
    batches: &mpsc::Sender<Result<Vec<ReplicationEvent>, Error>>,
    kept: &AtomicU64,
    silence: Duration,
) {
    loop {
        let until = Instant::now() + silence;
        let first = loop {
            client.update_applied_lsn(Lsn(kept.load(Ordering::Relaxed)));
            let look_at = until.min(Instant::now() + TELL);
            tokio::select! {
                first = unconstrained(client.recv()) => break first,
                () = batches.closed() => return,
                () = sleep_until(look_at) => {}
            }
            if Instant::now() >= until {
                return drop(batches.send(Err(silent(silence))).await);
            }
        };
        let (batch, is_end) = gather(&mut client, first).await;
        let sent = match batch {
            Ok(batch) => batches.send(Ok(batch)).await,
            Err(error) => batches.send(Err(failed(&error))).await,
        };
        if sent.is_err() || is_end {
            return;
        }
        // Not of this runtime's own: that would be woken, too.
        thread::sleep(REST);
    }
}

/// What there is without waiting, and whether it is the last. Unconstrained, since a look at the end of the stream that the
/// runtime puts off for the sake of other tasks would forget why it ended.
async fn gather(
    client: &mut ReplicationClient,
    first: Result<Option<ReplicationEvent>, PgWireError>,
) -> (Result<Vec<ReplicationEvent>, PgWireError>, bool) {
    let mut batch = Vec::new();
    let mut came = Some(first);
    while let Some(event) = came {
        match event {
            Ok(Some(event)) => batch.push(event),
            Ok(None) => return (Ok(batch), true),
            // What came before it comes again with the next connection.
            Err(error) => return (Err(error), true),
        }
        came = None;
        if batch.len() < BATCH_MAX {
            came = unconstrained(client.recv()).now_or_never();
            if came.is_none() {
                // The connection's own task may have more, once it has its turn.
                yield_now().await;
                came = unconstrained(client.recv()).now_or_never();
            }
        }
    }
    (Ok(batch), false)
}

#[cfg(test)]
mod tests;
