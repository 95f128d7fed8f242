//! Readers who wait at the tail of a shard: the writer wakes one task of each runtime, which wakes the readers there.
//!
//! To wake a task of another thread costs the writer about a microsecond, so a hundred readers would cost it as much
//! as many records. Among themselves, on one thread, it costs next to nothing.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;

/// The readers who wait for a shard to grow.
#[derive(Default)]
pub(super) struct Tail {
    /// What is told of the durable position in each runtime that has had readers, until it ends.
    told: Mutex<Vec<(Id, watch::Receiver<u64>)>>,
}

impl Tail {
    /// Waits until the durable position is above this one. False: the log is closed.
    pub(super) async fn more(&self, durable: &watch::Receiver<u64>, after: u64) -> bool {
        loop {
            if *durable.borrow() > after {
                return true;
            }
            // Its sender is gone, and with it all that could come.
            if durable.has_changed().is_err() {
                return *durable.borrow() > after;
            }
            // An error: who told it has ended; the next look says why.
            if self.told(durable).wait_for(|told| *told > after).await.is_ok() {
                return true;
            }
        }
    }

    /// The durable position, as it is told in this runtime.
    fn told(&self, durable: &watch::Receiver<u64>) -> watch::Receiver<u64> {
        let runtime = Handle::current();
        let mut all = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, told)| told.has_changed().is_ok());
        if let Some((_, told)) = all.iter().find(|(id, _)| *id == runtime.id()) {
            return told.clone();
        }
        let (teller, told) = watch::channel(0);
        all.push((runtime.id(), told.clone()));
        let durable = durable.clone();
        runtime.spawn(tell(durable, teller));
        told
    }
}

/// Tells what is durable until the log is closed, or nobody is left who could ask.
async fn tell(mut durable: watch::Receiver<u64>, teller: watch::Sender<u64>) {
    loop {
        teller.send_replace(*durable.borrow_and_update());
        tokio::select! {
            changed = durable.changed() => if changed.is_err() { return },
            () = teller.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::task::{JoinHandle, yield_now};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Shard {
        tail: Arc<Tail>,
        durable: watch::Sender<u64>,
    }

    impl Shard {
        fn at(last: u64) -> Shard {
            Shard { tail: Arc::default(), durable: watch::Sender::new(last) }
        }

        /// A reader who waits for more than this; it has begun to wait.
        async fn reader(&self, after: u64) -> JoinHandle<bool> {
            let (tail, durable) = (Arc::clone(&self.tail), self.durable.subscribe());
            let reader = tokio::spawn(async move { tail.more(&durable, after).await });
            yield_now().await;
            assert!(!reader.is_finished());
            reader
        }
    }

    async fn answer(reader: JoinHandle<bool>) -> bool {
        timeout(PATIENCE, reader).await.expect("it hears").expect("it does not panic")
    }

    #[tokio::test]
    async fn all_hear_of_it_and_one_task_watches_the_writer() {
        let shard = Shard::at(7);
        let first = shard.reader(7).await;
        let others = [shard.reader(7).await, shard.reader(7).await, shard.reader(7).await];
        // Who came first gave up: that is nobody else's loss.
        first.abort();
        assert_eq!(shard.tail.told.lock().unwrap().len(), 1);
        shard.durable.send_replace(8);
        for other in others {
            assert!(answer(other).await);
        }
        assert!(shard.tail.more(&shard.durable.subscribe(), 7).await);
    }

    /// A runtime that ends, or stands still, has nobody wait in another.
    #[test]
    fn each_runtime_has_a_task_of_its_own() {
        let shard = Shard::at(0);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (still, ended, running) = (runtime().unwrap(), runtime().unwrap(), runtime().unwrap());
        let lost = [still.block_on(shard.reader(0)), ended.block_on(shard.reader(0))];
        drop(ended);
        running.block_on(async {
            let reader = shard.reader(0).await;
            // Gone with its runtime.
            assert_eq!(shard.tail.told.lock().unwrap().len(), 2);
            shard.durable.send_replace(1);
            assert!(answer(reader).await);
        });
        drop((still, lost));
    }

    #[tokio::test]
    async fn all_hear_that_the_log_is_closed() {
        let shard = Shard::at(0);
        let readers = [shard.reader(0).await, shard.reader(0).await];
        drop(shard);
        for reader in readers {
            assert!(!answer(reader).await);
        }
    }
}
