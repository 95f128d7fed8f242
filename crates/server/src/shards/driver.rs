//! The task that drives one shard, and its two helper threads: one writes and syncs
//! batches, one makes spare segments. (A third does the upkeep of all shards.) The shard itself
//! hardly ever blocks: only an old id or order that comes up again is read from a file.

use std::collections::VecDeque;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onsale_core::{Command, Keys, Time};
use onsale_engine::{Clock, Reply, Shard, UpkeepDone};
use onsale_journal::{SpareDone, SpareJob};
use tokio::sync::{mpsc, oneshot, watch};

use super::store::{Fence, Lost, Round, RoundDone, Store, tell};
use super::upkeep::{Upkeep, UpkeepThread};
use super::{Batch, Figures, Ground, Queued, SYNC_BUCKETS_US, Tell, Told, wall_time};

/// Requests taken from the queue at a time.
const REQUESTS_PER_TURN_MAX: usize = 4_096;
/// How long a shard must be idle before it writes a mark.
const IDLE: Duration = Duration::from_millis(50);
/// How long to wait before a spare segment is tried again after a failure.
const SPARE_RETRY: Duration = Duration::from_secs(1);

/// What a driver is made of.
pub(super) struct Parts {
    pub shard: Shard<Ticket>,
    pub store: Store,
    pub requests: mpsc::UnboundedReceiver<Queued>,
    /// Requests in that queue.
    pub queued: Arc<AtomicUsize>,
    pub durable: watch::Sender<u64>,
    pub figures: Arc<Mutex<Figures>>,
    pub closing: watch::Receiver<bool>,
    pub closed: watch::Sender<usize>,
    pub upkeep: UpkeepThread,
    pub started: Instant,
}

/// Where an answer goes.
pub struct Ticket(To);

enum To {
    /// To whoever waits for it alone.
    Alone(oneshot::Sender<Reply>),
    /// The same, with what was told as it was decided: the first text that is not out yet.
    Told(oneshot::Sender<Told>),
    /// To whoever waits for a whole batch, with the others of it. Answers leave a shard in the
    /// order of its requests, so it is the first batch that is not out yet.
    Together,
}

/// Drives one shard until the server closes.
pub struct Driver {
    parts: Parts,
    number: u16,
    durability: &'static str,
    clock: Clock,
    writer: Helper<Round, (RoundDone, Duration)>,
    /// How often the log's writer makes itself known where it is kept, if that is not here.
    renew_every: Option<Duration>,
    /// Told where the shard stops, if the server then ends.
    fence: Option<Fence>,
    spares: Helper<SpareJob, SpareDone>,
    upkeep: Upkeep,
    /// Requests taken from the queue that the shard has not taken yet.
    taken: VecDeque<Queued>,
    /// Batches that the shard has begun to take, and whose last answer is not out yet.
    batches: VecDeque<(Box<Batch>, oneshot::Sender<Box<Batch>>)>,
    /// What was told of commands whose answers are not out yet, in their order.
    texts: VecDeque<Vec<u8>>,
    /// Those of the command at hand.
    keys: Vec<Keys>,
    writing: bool,
    /// Whether more may be due than the last slice of the timer ended.
    more_due: bool,
    preparing: bool,
    prepare_at: Instant,
    last_write: Instant,
    /// Whether the log ends with a mark, or has nothing to mark.
    marked: bool,
    alarmed: bool,
}

impl Driver {
    pub(super) fn new(mut parts: Parts) -> Driver {
        let mut store = std::mem::replace(&mut parts.store, Store::Files);
        let (renew_every, fence) = (store.renew_every(), store.fence());
        let info = parts.shard.info();
        let (number, durability) = (info.shard, info.durability.as_str());
        let clock =
            Clock::start(wall_time(), monotonic_us(parts.started), parts.shard.sale().time());
        let (now, upkeep) = (Instant::now(), Upkeep::new(parts.upkeep.clone()));
        Driver {
            parts,
            number,
            durability,
            clock,
            writer: Helper::start(format!("write-{number}"), move |round: Round| {
                let began = Instant::now();
                (store.run(round), began.elapsed())
            }),
            renew_every,
            fence,
            spares: Helper::start(format!("spare-{number}"), SpareJob::run),
            upkeep,
            taken: VecDeque::new(),
            batches: VecDeque::new(),
            texts: VecDeque::new(),
            keys: Vec::new(),
            writing: false,
            more_due: false,
            preparing: false,
            prepare_at: now,
            last_write: now,
            marked: false,
            alarmed: false,
        }
    }

    /// Which shard it drives.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.number
    }

    /// Runs until [`super::Shards::close`], and until all that came before is answered.
    pub async fn run(mut self) {
        self.turn();
        while !self.ended() {
            self.wait().await;
            self.turn();
        }
        let Parts { shard, closed, .. } = self.parts;
        let number = shard.info().shard;
        if shard.stopped().is_none()
            && let Err(error) = shard.close()
        {
            tracing::warn!(shard = number, %error, "the journal was not closed");
        }
        closed.send_modify(|n| *n += 1);
    }

    fn ended(&self) -> bool {
        *self.parts.closing.borrow()
            && self.is_done()
            && !self.writing
            && !self.preparing
            && !self.upkeep.at_work()
            && self.marked
            && self.parts.requests.is_empty()
    }

    /// Waits for something to do, and takes it.
    async fn wait(&mut self) {
        let wake_at = tokio::time::Instant::from_std(self.wake_at());
        let closing = *self.parts.closing.borrow();
        let mut requests = Vec::new();
        tokio::select! {
            biased;
            Some((done, took)) = self.writer.done.recv() => self.written(done, took),
            Some(done) = self.spares.done.recv() => self.prepared(done),
            Some((done, rest)) = self.upkeep.done.recv() => self.upkept(done, rest),
            n = self.parts.requests.recv_many(&mut requests, REQUESTS_PER_TURN_MAX),
                if self.is_done() && self.parts.shard.ready() =>
            {
                debug_assert!(n > 0, "the queue closes only after its driver");
                let count = requests.iter().map(Queued::count).sum();
                self.parts.queued.fetch_sub(count, Relaxed);
                self.taken.extend(requests);
            }
            _ = self.parts.closing.changed(), if !closing => {}
            // At once, but not before all others on this thread had their turn.
            () = tokio::task::yield_now(), if self.more_due || self.has_more() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
    }

    /// Whether more was taken than the last turn could do.
    fn has_more(&self) -> bool {
        !self.is_done() && self.parts.shard.ready()
    }

    /// Whether the shard has taken all that was taken from the queue.
    fn is_done(&self) -> bool {
        self.taken.is_empty() && !self.batch_is_begun()
    }

    /// When there is something to do even if nothing comes.
    fn wake_at(&mut self) -> Instant {
        let now = Instant::now();
        let mut at = now + Duration::from_secs(1);
        if let Some(due) = self.parts.shard.next_due() {
            let wait_us = (due.0 - self.now().0).max(0) as u64;
            at = at.min(now + Duration::from_micros(wait_us).max(Duration::from_millis(1)));
        }
        if !self.writing && !self.marked {
            at = at.min((self.last_write + IDLE).max(now + Duration::from_millis(1)));
        }
        if let Some(every) = self.renew_every
            && !self.writing
        {
            at = at.min((self.last_write + every).max(now + Duration::from_millis(1)));
        }
        at
    }

    /// One turn: end a slice of what is due, decide what was taken, write, answer.
    fn turn(&mut self) {
        let now = self.now();
        self.more_due = self.parts.shard.expire(now);
        for _ in 0..REQUESTS_PER_TURN_MAX {
            if !self.parts.shard.ready() {
                break;
            }
            if !self.submit_next(now) {
                break;
            }
        }
        self.write(now);
        self.answer();
        self.prepare();
        self.keep_up(now);
    }

    /// Hands the next request of those that were taken to the shard; whether there was one.
    fn submit_next(&mut self, now: Time) -> bool {
        if !self.batch_is_begun() {
            match self.taken.pop_front() {
                None => return false,
                Some(Queued::One { request, ticket }) => {
                    self.parts.shard.submit(now, request, Ticket(To::Alone(ticket)));
                    return true;
                }
                Some(Queued::Told { command, tell, ticket }) => {
                    self.submit_told(now, &command, tell, ticket);
                    return true;
                }
                Some(Queued::Many { batch, ticket }) => self.batches.push_back((batch, ticket)),
            }
        }
        let Some((batch, _)) = self.batches.back_mut() else { return false };
        let (shard, shard_number, durability) =
            (&mut self.parts.shard, self.number, self.durability);
        batch.look_ahead(shard);
        batch.next(|command, keys, tell| {
            shard.submit_telling(now, command, keys, Ticket(To::Together), |position, event| {
                tell(Ground { shard: shard_number, position, durability }, event)
            });
        });
        true
    }

    /// Hands a command over whose answer may be written as it is decided.
    fn submit_told(
        &mut self,
        now: Time,
        command: &Command,
        tell: Tell,
        ticket: oneshot::Sender<Told>,
    ) {
        let (shard, durability, mut text) = (self.number, self.durability, Vec::new());
        self.keys.clear();
        self.parts.shard.look_ahead(slice::from_ref(command), &mut self.keys);
        let (keys, ticket) = (&self.keys[0], Ticket(To::Told(ticket)));
        self.parts.shard.submit_telling(now, command, keys, ticket, |position, event| {
            tell(&mut text, Ground { shard, position, durability }, event)
        });
        self.texts.push_back(text);
    }

    /// Whether the shard has taken a part of a batch.
    fn batch_is_begun(&self) -> bool {
        self.batches.back().is_some_and(|(batch, _)| batch.taken < batch.commands.len())
    }

    /// Sends the answers whose position is durable. A caller that went away needs none.
    fn answer(&mut self) {
        while let Some((ticket, reply)) = self.parts.shard.release() {
            match ticket.0 {
                To::Alone(ticket) => drop(ticket.send(reply)),
                To::Told(ticket) => {
                    let text = self.texts.pop_front().expect("it was told of");
                    drop(ticket.send((reply, text)));
                }
                To::Together => {
                    let (batch, _) = self.batches.front_mut().expect("it was begun");
                    batch.replies.push(reply);
                    if batch.replies.len() == batch.commands.len()
                        && let Some((batch, ticket)) = self.batches.pop_front()
                    {
                        drop(ticket.send(batch));
                    }
                }
            }
        }
    }

    fn write(&mut self, now: Time) {
        if self.writing {
            return;
        }
        let mut job = self.parts.shard.seal(now);
        let idle = *self.parts.closing.borrow() || self.last_write.elapsed() >= IDLE;
        if job.is_some() {
            self.marked = false;
        } else if idle && !self.marked {
            job = self.parts.shard.mark();
            self.marked = true;
        }
        let round = match job {
            Some(job) => Some(Round::Batch(job)),
            None => {
                let renew =
                    self.renew_every.is_some_and(|every| self.last_write.elapsed() >= every);
                self.parts.shard.check(renew).then_some(Round::Check)
            }
        };
        if let Some(round) = round {
            self.writing = true;
            self.figures().writing_since = Some(Instant::now());
            self.writer.give(round);
        }
    }

    fn written(&mut self, done: RoundDone, took: Duration) {
        self.writing = false;
        self.last_write = Instant::now();
        let was_stopped = self.parts.shard.stopped().is_some();
        let is_batch = matches!(done, RoundDone::Batch(_));
        match done {
            // What it says is kept as the reason.
            RoundDone::Batch(done) => drop(self.parts.shard.finish(done)),
            RoundDone::Check(result) => self.parts.shard.checked(result),
        }
        if let Some(reason) = self.parts.shard.stopped().filter(|_| !was_stopped) {
            let (shard, position) = (self.number, self.parts.shard.figures().durable);
            tracing::error!(shard, position, reason, "the shard has stopped");
            if let Some(fence) = &self.fence {
                tell(fence, || Lost::Fault(format!("shard {shard} has stopped: {reason}")));
            }
        }
        let shard = self.parts.shard.figures();
        self.parts.durable.send_replace(shard.durable);
        let alarm_us = self.clock.alarm_us();
        let stopped = self.parts.shard.stopped().map(str::to_owned);
        let took_us = took.as_micros() as u64;
        let bucket = SYNC_BUCKETS_US.partition_point(|end| *end < took_us);
        let mut figures = self.figures();
        figures.shard = shard;
        figures.writing_since = None;
        if is_batch {
            figures.batches += 1;
            figures.sync_buckets[bucket] += 1;
            figures.sync_seconds += took.as_secs_f64();
            figures.sync_seconds_max = figures.sync_seconds_max.max(took.as_secs_f64());
        }
        figures.clock_alarm_us = alarm_us;
        figures.stopped = stopped;
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.parts.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&mut self) {
        if self.preparing || self.prepare_at > Instant::now() {
            return;
        }
        if let Some(job) = self.parts.shard.prepare() {
            self.preparing = true;
            self.spares.give(job);
        }
    }

    fn prepared(&mut self, done: SpareDone) {
        self.preparing = false;
        let now = self.now();
        if let Err(error) = self.parts.shard.prepared(now, done) {
            self.prepare_at = Instant::now() + SPARE_RETRY;
            let shard = self.parts.shard.info().shard;
            tracing::warn!(shard, %error, "no spare segment: without room, sales will be refused");
        }
        let figures = self.parts.shard.figures();
        self.figures().shard = figures;
    }

    fn keep_up(&mut self, now: Time) {
        if self.upkeep.asks() && !*self.parts.closing.borrow() {
            self.upkeep.give(self.parts.shard.upkeep(now));
            self.tell();
        }
    }

    fn upkept(&mut self, done: UpkeepDone, rest: Duration) {
        self.upkeep.finished(rest);
        let shard = self.parts.shard.info().shard;
        for note in self.parts.shard.upkept(done) {
            tracing::warn!(shard, note, "the upkeep of the journal");
        }
        let figures = self.parts.shard.figures();
        self.figures().shard = figures;
    }

    /// Logs what the shard remarked.
    fn tell(&mut self) {
        let shard = self.parts.shard.info().shard;
        for note in self.parts.shard.take_notes() {
            tracing::warn!(shard, note, "the journal was read");
        }
    }

    fn now(&mut self) -> Time {
        let now = self.clock.now(wall_time(), monotonic_us(self.parts.started));
        let alarm = self.clock.alarm_us();
        if alarm.is_some() != self.alarmed {
            self.alarmed = alarm.is_some();
            let (shard, off_us) = (self.parts.shard.info().shard, alarm.unwrap_or(0));
            tracing::warn!(shard, off_us, "the engine's clock and the wall's differ");
        }
        now
    }
}

fn monotonic_us(started: Instant) -> i64 {
    i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// A thread that carries out jobs one after the other. It ends when it is dropped.
struct Helper<Job, Done> {
    jobs: std::sync::mpsc::Sender<Job>,
    done: mpsc::UnboundedReceiver<Done>,
}

impl<Job: Send + 'static, Done: Send + 'static> Helper<Job, Done> {
    fn start(name: String, mut run: impl FnMut(Job) -> Done + Send + 'static) -> Helper<Job, Done> {
        let (jobs, todo) = std::sync::mpsc::channel();
        // At most one job is under way, so at most one result waits.
        let (results, done) = mpsc::unbounded_channel();
        let work = move || {
            for job in todo {
                if results.send(run(job)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(work).expect("the machine has a thread left");
        Helper { jobs, done }
    }

    fn give(&self, job: Job) {
        self.jobs.send(job).expect("the helper ends only after its driver");
    }
}
