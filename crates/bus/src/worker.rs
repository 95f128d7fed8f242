//! Reads a stream as one of a group: a fair share of its shards, by leases, parent before child.
//!
//! A worker does all it does within [`Worker::next`] and [`Worker::commit`]; nothing but its reads runs beside. So a batch has
//! to be dealt with within a lease, or others take its shard: choose the lease and the size of batches for that.
//! Whoever stays away longer, frozen or cut off, finds out by its fence, in the store of cursors and where its
//! effects are.

mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cursors::{Claim, Progress};
use crate::{
    Bus, Cursors, Error, From, Group, Lag, Limits, Page, Position, Record, Records, ShardId,
    WorkerId,
};

/// How long a read waits before it is done again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// The first and the longest pause after an error that may pass.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Says where a cursor is by what is stored with the effects; none: nothing is.
pub type Stored =
    Arc<dyn Fn(Claim) -> BoxFuture<'static, Result<Option<Progress>, Error>> + Send + Sync>;

/// How a worker works.
#[derive(Clone)]
pub struct WorkerOptions {
    /// How long a shard is left to a worker that says nothing.
    pub lease: Duration,
    /// How much a batch has; the wait in it is not used.
    pub limits: Limits,
    /// Where a cursor begins that is nowhere yet: the start, the end or a time.
    pub start: From,
    /// Where the place is stored with the effects, that place counts, not the cursor's: such as
    /// `effects::sqlite::stored`.
    pub stored: Option<Stored>,
}

impl Default for WorkerOptions {
    /// Leases of 30 seconds, batches of a thousand, from the start.
    fn default() -> WorkerOptions {
        WorkerOptions {
            lease: Duration::from_secs(30),
            limits: Limits::default(),
            start: From::Start,
            stored: None,
        }
    }
}

/// Records of one shard to be dealt with, and then committed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The right to do so; its progress is where the shard is before this batch.
    pub claim: Claim,
    /// Where it is after it.
    pub to: Progress,
    /// It is a parked record that somebody wants tried again; the shard's place does not move.
    pub is_retry: bool,
    all: Records,
    parked: BTreeSet<Position>,
}

impl Batch {
    /// Records that were read by other means than a worker, for the effects of [`crate::effects`].
    #[must_use]
    pub fn new(claim: Claim, to: Progress, is_retry: bool, records: Vec<Record>) -> Batch {
        Batch { claim, to, is_retry, all: records.into(), parked: BTreeSet::new() }
    }

    /// The records to deal with, in order: those that are not parked.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.all.iter().filter(|record| !self.parked.contains(&record.position))
    }

    /// The shard they are of.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.claim.cursor.shard
    }
}

/// One of a group.
pub struct Worker {
    bus: Bus,
    cursors: Cursors,
    group: Group,
    id: WorkerId,
    options: WorkerOptions,
    held: BTreeMap<ShardId, Held>,
    /// Each a task of its own: one that is only polled now and then might hold a lock that the others need.
    reads: JoinSet<Done>,
    look_at: Instant,
    /// When leases are renewed next.
    renew_at: Instant,
    /// All shards that there are have ended and are dealt with.
    is_done: bool,
}

/// A shard that is this worker's.
struct Held {
    claim: Claim,
    from: From,
    state: Work,
    /// Parked records to try again.
    retries: Vec<Position>,
    /// More shards than its share: it goes back when nothing is under way.
    is_excess: bool,
    pause: Duration,
    lag: Lag,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    /// To be read on from then.
    Idle(Instant),
    Reading,
    /// A batch is being dealt with.
    Out,
}

/// A read that has ended.
struct Done {
    shard: ShardId,
    fence: u64,
    retry: Option<Position>,
    page: Result<Page, Error>,
}

impl Worker {
    /// Joins a group. Shards come with the first [`Worker::next`].
    ///
    /// # Errors
    /// [`Error::NoSuchStream`], or when the store of cursors fails.
    pub async fn join(
        bus: Bus,
        cursors: Cursors,
        group: Group,
        options: WorkerOptions,
    ) -> Result<Worker, Error> {
        bus.describe(&group.stream).await?;
        let id = WorkerId::fresh();
        cursors.beat(&group, &id, options.lease).await?;
        Ok(Worker {
            bus,
            cursors,
            group,
            id,
            options,
            held: BTreeMap::new(),
            reads: JoinSet::new(),
            look_at: Instant::now(),
            renew_at: Instant::now(),
            is_done: false,
        })
    }

    /// Who this is.
    #[must_use]
    pub fn id(&self) -> &WorkerId {
        &self.id
    }

    /// The shards it has.
    pub fn shards(&self) -> impl Iterator<Item = &ShardId> {
        self.held.keys()
    }

    /// How far it is behind in each of its shards, as far as it has read.
    pub fn lags(&self) -> impl Iterator<Item = (&ShardId, Lag)> {
        self.held.iter().map(|(shard, held)| (shard, held.lag))
    }

    /// Whether every shard of the stream has ended and the group has dealt with all of it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether the group has dealt with all that the stream has by now, whoever of it did: by the cursors, where the
    /// back end says where a shard ends; else by what this worker has read, so that a shard that another one
    /// has does not count.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; when the store fails.
    pub async fn is_at_end(&self) -> Result<bool, Error> {
        let lags = lag(&self.bus, &self.cursors, &self.group).await?;
        let is_at_end = |shard: &CursorLag| match (shard.records, shard.progress) {
            (Some(behind), _) => behind == 0,
            (None, Some(progress)) if progress.ended => true,
            (None, _) => self
                .held
                .get(&shard.shard)
                .is_some_and(|held| held.state != Work::Out && held.lag.ms == Some(0)),
        };
        Ok(lags.iter().all(is_at_end))
    }

    /// Waits for the next batch. Other batches that were handed out may still be under way, one a shard. To be
    /// given up at any time: nothing is lost.
    ///
    /// # Errors
    /// What does not pass by itself: [`Error::Gone`], [`Error::Diverged`], [`Error::Beyond`], … After one the call
    /// may be made again.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.next_within(READ_WAIT).await? {
                return Ok(batch);
            }
        }
    }

    /// Waits for the next batch for so long; none when none came.
    ///
    /// # Errors
    /// Those of [`Worker::next`].
    pub async fn next_within(&mut self, wait: Duration) -> Result<Option<Batch>, Error> {
        let deadline = Instant::now() + wait;
        loop {
            if Instant::now() >= self.look_at {
                self.look().await?;
            }
            self.read_on();
            let wake_at = self.wake_at().min(deadline);
            tokio::select! {
                biased;
                Some(done) = self.reads.join_next() => {
                    let done = done.unwrap_or_else(|error| resume_unwind(error.into_panic()));
                    if let Some(batch) = self.read(done).await? {
                        return Ok(Some(batch));
                    }
                }
                () = sleep_until(wake_at) => {}
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Says that a batch is dealt with. Effects that are stored with their place are stored before this.
    ///
    /// # Errors
    /// [`Error::LostLease`]: another worker has the shard and deals with the batch again, if its place was not stored
    /// with its effects; this one goes on with its other shards. Others when the store fails.
    pub async fn commit(&mut self, batch: &Batch) -> Result<(), Error> {
        let result = if batch.is_retry {
            let at = batch.all.first().map_or(Position::ZERO, |record| record.position);
            match batch.parked.is_empty() {
                true => self.cursors.drop_parked(&batch.claim.cursor, at).await,
                false => Ok(()),
            }
        } else {
            self.cursors.commit(&batch.claim, batch.to).await
        };
        if let Err(error) = result {
            return Err(self.after_error(batch, error));
        }
        let Some(held) = self.held_by(&batch.claim) else { return Ok(()) };
        held.state = Work::Idle(Instant::now());
        held.pause = PAUSE_MIN;
        if batch.is_retry {
            let was_tried = |at: &Position| batch.all.iter().any(|record| record.position == *at);
            held.retries.retain(|at| !was_tried(at));
        } else {
            held.claim.progress = Some(batch.to);
            held.from = From::After(batch.to.position);
        }
        if batch.to.ended || held.is_excess {
            return self.give_back(&batch.claim.cursor.shard.clone()).await;
        }
        Ok(())
    }

    /// Sets a record of a batch aside, with the reason: the rest goes on without it. The batch is then dealt with
    /// (anew, where effects go with it in one transaction) and committed.
    ///
    /// # Errors
    /// [`Error::LostLease`]; [`Error::ParkedFull`].
    pub async fn park(
        &mut self,
        batch: &mut Batch,
        at: Position,
        reason: &str,
    ) -> Result<(), Error> {
        if let Err(error) = self.cursors.park(&batch.claim, at, reason).await {
            return Err(self.after_error(batch, error));
        }
        batch.parked.insert(at);
        Ok(())
    }

    /// Goes on after a batch was dealt with, well or not: commits it; sets a record aside that is [`Error::Poison`];
    /// lets it come again when another worker was faster or something failed that may pass. False: a record was set
    /// aside, and the same batch is to be dealt with anew, without it.
    ///
    /// # Errors
    /// Other errors of the batch, and when the store fails.
    pub async fn settle(
        &mut self,
        result: Result<(), Error>,
        batch: &mut Batch,
    ) -> Result<bool, Error> {
        let settled = match result {
            Ok(()) => self.commit(batch).await,
            Err(Error::Poison { position, why }) => match self.park(batch, position, &why).await {
                Ok(()) => return Ok(false),
                parked => parked,
            },
            Err(error) => Err(error),
        };
        match settled {
            Err(error @ (Error::LostLease { .. } | Error::Moved { .. })) => {
                tracing::info!(%error, "another worker was faster");
                self.again(batch).await.map(|()| true)
            }
            Err(error) if error.is_passing() => {
                tracing::warn!(%error, "a batch was not dealt with and comes again");
                self.read_again(batch);
                Ok(true)
            }
            settled => settled.map(|()| true),
        }
    }

    /// Reads a batch again after a pause. If it was stored after all, that is found out when it is dealt with.
    fn read_again(&mut self, batch: &Batch) {
        let Some(held) = self.held_by(&batch.claim) else { return };
        held.state = Work::Idle(Instant::now() + held.pause);
        held.pause = (held.pause * 2).min(PAUSE_MAX);
        if batch.is_retry {
            held.retries.extend(batch.all.first().map(|record| record.position));
        }
    }

    /// Lets go of a batch that was not dealt with: it comes again, from the place that is stored by then.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn again(&mut self, batch: &Batch) -> Result<(), Error> {
        if self.held_by(&batch.claim).is_some() {
            let shard = batch.claim.cursor.shard.clone();
            self.give_back(&shard).await?;
            self.look_at = Instant::now();
        }
        Ok(())
    }

    /// Leaves the group: its shards are free at once.
    ///
    /// # Errors
    /// When the store fails: they are free when the leases have run out.
    pub async fn leave(mut self) -> Result<(), Error> {
        while let Some(shard) = self.held.keys().next().cloned() {
            self.give_back(&shard).await?;
        }
        self.cursors.leave(&self.group, &self.id).await
    }

    fn after_error(&mut self, batch: &Batch, error: Error) -> Error {
        if matches!(error, Error::LostLease { .. }) && self.held_by(&batch.claim).is_some() {
            self.held.remove(&batch.claim.cursor.shard);
        }
        error
    }

    fn held_by(&mut self, claim: &Claim) -> Option<&mut Held> {
        self.held.get_mut(&claim.cursor.shard).filter(|held| held.claim.fence == claim.fence)
    }

    async fn give_back(&mut self, shard: &ShardId) -> Result<(), Error> {
        match self.held.remove(shard) {
            Some(held) => self.cursors.release(&held.claim).await,
            None => Ok(()),
        }
    }

    fn wake_at(&self) -> Instant {
        let due = self.held.values().filter_map(|held| match held.state {
            Work::Idle(at) => Some(at),
            _ => None,
        });
        due.min().map_or(self.look_at, |at| at.min(self.look_at))
    }

    /// Starts a read of each shard that is idle.
    fn read_on(&mut self) {
        let now = Instant::now();
        for (shard, held) in &mut self.held {
            if !matches!(held.state, Work::Idle(at) if at <= now) {
                continue;
            }
            held.state = Work::Reading;
            let retry = held.retries.pop();
            let from = retry.map_or(held.from, From::Record);
            let limits = match retry {
                Some(_) => Limits { records: 1, wait: Duration::ZERO, ..self.options.limits },
                None => Limits { wait: READ_WAIT.min(self.options.lease), ..self.options.limits },
            };
            let (bus, stream) = (self.bus.clone(), self.group.stream.clone());
            let (shard, fence) = (shard.clone(), held.claim.fence);
            self.reads.spawn(async move {
                let page = bus.read(&stream, &shard, from, limits).await;
                Done { shard, fence, retry, page }
            });
        }
    }

    /// Takes note of what was read.
    async fn read(&mut self, done: Done) -> Result<Option<Batch>, Error> {
        let Done { shard, fence, retry, page } = done;
        let Some(held) = self.held.get_mut(&shard).filter(|held| held.claim.fence == fence) else {
            return Ok(None);
        };
        held.state = Work::Idle(Instant::now());
        let page = match page {
            Ok(page) => page,
            Err(error) => return held.pause(error).map(|()| None),
        };
        if let Some(stored) =
            held.claim.progress.filter(|stored| stored.generation != page.generation)
        {
            held.state = Work::Idle(Instant::now() + PAUSE_MAX);
            return Err(Error::Diverged { cursor: stored.generation, stream: page.generation });
        }
        if let Some(at) = retry {
            return self.read_retry(&shard, at, page).await;
        }
        held.lag = page.lag;
        if held.is_excess {
            self.give_back(&shard).await?;
            return Ok(None);
        }
        let position = match (page.records.last(), held.claim.progress) {
            (Some(last), _) => last.position,
            (None, Some(progress)) => progress.position,
            (None, None) => Position::ZERO,
        };
        let to = Progress { generation: page.generation, position, ended: page.ended };
        let claim = held.claim.clone();
        if page.records.is_empty() {
            held.from = page.next;
            if page.ended {
                self.cursors.commit(&claim, to).await?;
                self.give_back(&shard).await?;
                self.look_at = Instant::now();
            }
            return Ok(None);
        }
        held.state = Work::Out;
        Ok(Some(Batch { claim, to, is_retry: false, all: page.records, parked: BTreeSet::new() }))
    }

    async fn read_retry(
        &mut self,
        shard: &ShardId,
        at: Position,
        page: Page,
    ) -> Result<Option<Batch>, Error> {
        let held = self.held.get_mut(shard).expect("it was there just now");
        if page.records.first().is_none_or(|record| record.position != at) {
            tracing::warn!(group = %self.group, %shard, %at, "a parked record is gone");
            self.cursors.drop_parked(&held.claim.cursor, at).await?;
            return Ok(None);
        }
        let to = held.claim.progress.unwrap_or(Progress {
            generation: page.generation,
            position: Position::ZERO,
            ended: false,
        });
        held.state = Work::Out;
        let (claim, all) = (held.claim.clone(), page.records);
        Ok(Some(Batch { claim, to, is_retry: true, all, parked: BTreeSet::new() }))
    }
}

impl Held {
    fn new(claim: Claim, from: From) -> Held {
        Held {
            claim,
            from,
            state: Work::Idle(Instant::now()),
            retries: Vec::new(),
            is_excess: false,
            pause: PAUSE_MIN,
            lag: Lag::default(),
        }
    }

    /// Waits longer and longer after what may pass; what does not is told, and tried again no sooner.
    fn pause(&mut self, error: Error) -> Result<(), Error> {
        let pause = if error.is_passing() { self.pause } else { PAUSE_MAX };
        self.state = Work::Idle(Instant::now() + pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if error.is_passing() { Ok(()) } else { Err(error) }
    }
}

/// How far a group is in one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorLag {
    /// The shard.
    pub shard: ShardId,
    /// Where the group is; none: nowhere yet.
    pub progress: Option<Progress>,
    /// Records after that, where positions are dense and of this history.
    pub records: Option<u64>,
}

/// How far a group is behind in each shard of its stream, for a metric.
///
/// # Errors
/// [`Error::NoSuchStream`]; when the store fails.
pub async fn lag(bus: &Bus, cursors: &Cursors, group: &Group) -> Result<Vec<CursorLag>, Error> {
    let info = bus.describe(&group.stream).await?;
    let states = cursors.list(group).await?;
    let of = |shard: &crate::ShardInfo| {
        let state = states.iter().find(|state| state.cursor.shard == shard.id);
        let progress = state.and_then(|state| state.progress);
        let begin = shard.first.as_u64().map(|first| first.saturating_sub(1));
        let at = match progress {
            Some(progress) if progress.generation != info.generation => None,
            Some(progress) => progress.position.as_u64().max(begin),
            None => begin,
        };
        let records =
            shard.last.and_then(Position::as_u64).zip(at).map(|(last, at)| last.saturating_sub(at));
        CursorLag { shard: shard.id.clone(), progress, records }
    };
    Ok(info.shards.iter().map(of).collect())
}

#[cfg(test)]
mod tests;
