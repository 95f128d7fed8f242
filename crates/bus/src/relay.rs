//! Copies a stream to another bus: by a cursor, in the order of each key, without a gap.
//!
//! The place moves on only when the target has the records, so a relay that is killed anywhere goes on without
//! a gap. What it had brought but not committed is told by a target on Redis, which keeps the place beside the records:
//! there no record comes twice. Other targets may get the last records again, in order, after a crash or an answer
//! that was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Batch, Bus, Cursors, Entry, Error, Group, Record, ShardId, StreamName, Worker, WorkerOptions,
};

/// Tries to append what the target did not take, before the batch is read again.
const TRIES_MAX: u32 = 6;
/// The first pause between them; each is twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether a target on Redis still has what was copied there.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// Makes the target's entry of a record: such as one whose payload says its place in the source, so that readers of
/// a target that may have it twice can tell.
pub type Reshape = Arc<dyn Fn(&ShardId, &Record) -> Entry + Send + Sync>;

/// A relay of one stream; several share its shards as any workers do.
pub struct Relay {
    worker: Worker,
    target: Bus,
    to: StreamName,
    reshape: Option<Reshape>,
    /// When the target is looked at again.
    check_at: Instant,
}

impl Relay {
    /// Joins the group that relays the group's stream to `to`, which is there already.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`] for either stream; by a target on Redis [`Error::BroughtAlready`] when another group brought
    /// the stream there, [`Error::OtherHistory`] when it has records of another history, and [`Error::Damaged`] when some are missing; when the
    /// store fails.
    pub async fn begin(
        source: Bus,
        cursors: Cursors,
        group: Group,
        target: Bus,
        to: StreamName,
        options: WorkerOptions,
    ) -> Result<Relay, Error> {
        target.describe(&to).await?;
        #[cfg(feature = "redis")]
        let options = match &target {
            // The place that is kept beside the records counts.
            Bus::Redis(redis) => {
                let generation = source.describe(&group.stream).await?.generation;
                redis.check_bringer(&to, &group, generation).await?;
                WorkerOptions { stored: Some(redis.stored(&to)), ..options }
            }
            _ => options,
        };
        check(&target, &to).await?;
        let worker = Worker::join(source, cursors, group, options).await?;
        Ok(Relay { worker, target, to, reshape: None, check_at: Instant::now() + CHECK_EVERY })
    }

    /// With entries made from the records, instead of the records as they are.
    #[must_use]
    pub fn reshaping(self, reshape: Reshape) -> Relay {
        Relay { reshape: Some(reshape), ..self }
    }

    /// How it is going: the worker that reads.
    #[must_use]
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Copies the next batch, waiting for it for so long; says how many records it had, none when none came.
    ///
    /// # Errors
    /// What the source or the store says, and what the target refuses for good: the place stays before that.
    /// [`Error::Damaged`] when a target on Redis has lost records that were copied: every ten seconds that is looked at.
    pub async fn step(&mut self, wait: Duration) -> Result<Option<usize>, Error> {
        if Instant::now() >= self.check_at {
            match check(&self.target, &self.to).await {
                Err(error) if error.is_passing() => {}
                checked => checked?,
            }
            self.check_at = Instant::now() + CHECK_EVERY;
        }
        let Some(mut batch) = self.worker.next_within(wait).await? else { return Ok(None) };
        let copied = self.copy(&batch).await;
        let is_copied = copied.is_ok();
        match self.worker.settle(copied, &mut batch).await {
            Ok(_) => Ok(Some(if is_copied { batch.records().count() } else { 0 })),
            Err(error) => {
                self.worker.again(&batch).await?;
                Err(error)
            }
        }
    }

    /// Copies on and on.
    ///
    /// # Errors
    /// Those of [`Relay::step`].
    pub async fn run(&mut self) -> Result<std::convert::Infallible, Error> {
        loop {
            self.step(Duration::from_secs(60)).await?;
        }
    }

    /// Whether all that the source has by now is copied, as [`Worker::is_at_end`] says, and is there.
    ///
    /// # Errors
    /// Those of [`Worker::is_at_end`]; [`Error::Damaged`] when a target on Redis has lost records that were copied.
    pub async fn is_at_end(&self) -> Result<bool, Error> {
        let is_at_end = self.worker.is_at_end().await?;
        if is_at_end {
            check(&self.target, &self.to).await?;
        }
        Ok(is_at_end)
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end(self) -> Result<(), Error> {
        self.worker.leave().await
    }

    async fn copy(&self, batch: &Batch) -> Result<(), Error> {
        let records = batch.records();
        #[cfg(feature = "redis")]
        if let Bus::Redis(redis) = &self.target {
            let reshaped = |record: &Record| match &self.reshape {
                None => record.clone(),
                Some(reshape) => {
                    let Entry { key, payload } = reshape(batch.shard(), record);
                    Record { key, payload, ..record.clone() }
                }
            };
            let records: Vec<Record> = records.map(reshaped).collect();
            let brought = redis.bring(&self.to, batch, &records).await.map(drop);
            return brought.map_err(gone);
        }
        let entry = |record: &Record| match &self.reshape {
            Some(reshape) => reshape(batch.shard(), record),
            None => Entry { key: record.key.clone(), payload: record.payload.clone() },
        };
        self.append(records.map(entry).collect()).await
    }

    /// Appends entries until all are placed: those that are not are tried again in their order, so that none comes before
    /// an earlier one of its key.
    async fn append(&self, mut entries: Vec<Entry>) -> Result<(), Error> {
        let mut pause = PAUSE;
        for tries in 1.. {
            let Err(failed) = self.target.append(&self.to, &entries).await else { break };
            let error = gone(failed.first());
            let lasting = failed.entries.iter().flat_map(|entry| entry.as_ref().err());
            if let Some(lasting) = lasting.clone().find(|error| !error.is_passing()) {
                return Err(gone(lasting.clone()));
            }
            if tries == TRIES_MAX {
                return Err(error);
            }
            let mut placed = failed.entries.iter().map(Result::is_ok);
            entries.retain(|_| !placed.next().unwrap_or(false));
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

/// Whether a target on Redis has all that was copied there.
async fn check(target: &Bus, to: &StreamName) -> Result<(), Error> {
    match target {
        #[cfg(feature = "redis")]
        Bus::Redis(redis) => redis.check(to).await.map_err(gone),
        _ => Ok(()),
    }
}

/// A target that is not there any more, or not all of it, told from a source that is not.
fn gone(error: Error) -> Error {
    match error {
        Error::NoSuchStream { stream } => Error::Refused {
            what: "the target".to_owned(),
            why: format!(
                "its stream {stream} is not there any more, with all that was copied to it"
            ),
        },
        Error::Missing { stream, shard, which } => Error::Damaged {
            what: format!("the target's {stream}/{shard}"),
            why: format!(
                "{which} is missing: it was deleted there, other than by retention; copy all again, to another \
                 stream by another cursor"
            ),
        },
        error => error,
    }
}

#[cfg(test)]
mod tests;
