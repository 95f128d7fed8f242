//! What is done beside the sale, on a thread of its own: the bus that other processes read, the webhooks, and
//! the stream that the engine follows.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use onsale_bus::Retention;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::api::Api;
use crate::bus::{KeptElsewhere, ServerBus, follow, retain};
use crate::shards::Shards;
use crate::webhooks;

/// How long the end may wait until it is said elsewhere that this server follows no more.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The thread, which waits for the rest to be put together.
pub struct BesideThread {
    begin: oneshot::Sender<Arc<Api>>,
    /// It ends when all is over.
    pub thread: JoinHandle<()>,
}

impl BesideThread {
    /// Lets it do its work.
    pub fn begin(&mut self, api: &Arc<Api>) {
        let (begin, _) = oneshot::channel();
        // It may have ended by now only where the process does.
        let _ = std::mem::replace(&mut self.begin, begin).send(api.clone());
    }
}

/// Starts the thread and opens the bus on it, with the streams that are not in the data folder.
///
/// # Errors
/// The thread can't be made.
pub fn start(
    shards: &Shards,
    streams: KeptElsewhere,
    retention: Retention,
    over: watch::Receiver<bool>,
) -> anyhow::Result<(BesideThread, ServerBus)> {
    let (begin, begun) = oneshot::channel();
    let (opened, is_open) = oneshot::channel();
    let shards = shards.clone();
    let builder = std::thread::Builder::new().name("beside".to_owned());
    let thread = builder.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                let bus = ServerBus::open(&shards, streams, retention).await;
                if opened.send(Ok(bus)).is_ok() {
                    work(begun, over).await;
                }
            }),
            Err(error) => drop(opened.send(Err(error))),
        }
    })?;
    let bus = is_open.blocking_recv().context("the thread beside the sale ended at once")??;
    Ok((BesideThread { begin, thread }, bus))
}

async fn work(begun: oneshot::Receiver<Arc<Api>>, mut over: watch::Receiver<bool>) {
    if let Ok(api) = begun.await {
        let delivering = tokio::spawn(webhooks::run(api.clone()));
        let following = tokio::spawn(follow::run(api.clone()));
        tokio::spawn(retain::run(api.clone()));
        // An error means that the server is gone, which is what is waited for.
        let _ = over.wait_for(|over| *over).await;
        let both = async { (delivering.await, following.await) };
        if timeout(LAST_WORDS, both).await.is_err() {
            tracing::warn!(
                "what follows streams did not end in time: other servers wait for leases"
            );
        }
        if let Err(error) = api.bus.close().await {
            tracing::warn!(%error, "the bus did not close cleanly");
        }
    }
}
