//! A shard whose state is in Redis: what has queued up goes there in one piece, several of them at a time, and what
//! comes back is handed to whoever waits.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onsale_core::event::Subject;
use onsale_engine::{Answer, Durability, Generation, Query, Reply, Request, Unavailable, View};
use onsale_journal::{Elsewhere, Error};
use onsale_redis::{Ask, Failure, Look, Places, Said, ShardClient};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::directory::Directory;
use super::{DurabilityCell, Figures, Ground, Queued};

/// Requests that go to Redis in one piece, but for a batch, which is not cut.
const REQUESTS_PER_FLIGHT_MAX: usize = 256;
/// Pieces that are under way at a time.
const FLIGHTS_MAX: usize = 8;
/// How often the timer ends what is due.
const TICK: Duration = Duration::from_millis(100);
/// How often the server is asked what it is like.
const REFRESH: Duration = Duration::from_secs(1);
/// Records that answers were about, which are kept for those who look at them next.
const RECORDS_KEPT_MAX: usize = 4_096;
/// Records read from Redis at a time.
const RECORDS_PER_READ: usize = 1_000;

/// What the driver of a shard is made of.
pub(super) struct Parts {
    pub shard: u16,
    pub client: Arc<ShardClient>,
    pub records: Arc<Records>,
    pub requests: mpsc::UnboundedReceiver<Queued>,
    /// Requests in that queue.
    pub queued: Arc<AtomicUsize>,
    pub durable: watch::Sender<u64>,
    pub durability: Arc<DurabilityCell>,
    pub generation: Generation,
    pub figures: Arc<Mutex<Figures>>,
    pub closing: watch::Receiver<bool>,
    pub closed: watch::Sender<usize>,
    /// The first shard's driver keeps the directory as the other nodes make it.
    pub places: Option<(Arc<Directory>, Arc<Places>)>,
}

/// Drives one shard until the server closes.
pub struct Driver {
    parts: Parts,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Driver {
        Driver { parts }
    }

    /// Which shard it drives.
    pub(super) fn shard(&self) -> u16 {
        self.parts.shard
    }

    /// Runs until the server closes, and until all that came before is answered.
    pub(super) async fn run(self) {
        let Parts { mut requests, queued, closed, mut closing, .. } = self.parts;
        let shared = Arc::new(Shared {
            shard: self.parts.shard,
            client: self.parts.client,
            records: self.parts.records,
            durable: self.parts.durable,
            durability: self.parts.durability,
            generation: self.parts.generation,
            figures: self.parts.figures,
        });
        let mut flights = JoinSet::new();
        let timer = tokio::spawn(keep_time(shared.clone(), self.parts.places));
        loop {
            let is_closing = *closing.borrow();
            if is_closing && requests.is_empty() && flights.is_empty() {
                break;
            }
            let mut taken = Vec::new();
            tokio::select! {
                biased;
                Some(_) = flights.join_next() => {}
                n = requests.recv_many(&mut taken, REQUESTS_PER_FLIGHT_MAX), if flights.len() < FLIGHTS_MAX => {
                    if n == 0 {
                        break;
                    }
                    let count = taken.iter().map(Queued::count).sum();
                    queued.fetch_sub(count, Relaxed);
                    flights.spawn(shared.clone().fly(taken));
                }
                _ = closing.changed(), if !is_closing => {}
            }
        }
        timer.abort();
        closed.send_modify(|n| *n += 1);
    }
}

struct Shared {
    shard: u16,
    client: Arc<ShardClient>,
    records: Arc<Records>,
    durable: watch::Sender<u64>,
    durability: Arc<DurabilityCell>,
    generation: Generation,
    figures: Arc<Mutex<Figures>>,
}

impl Shared {
    /// Asks all that was taken, and answers it.
    async fn fly(self: Arc<Shared>, taken: Vec<Queued>) {
        let mut asks = Vec::new();
        let subjects: Vec<Option<(Subject, Look)>> = taken.iter().map(looked_at).collect();
        for (queued, look) in taken.iter().zip(&subjects) {
            match queued {
                Queued::One { request: Request::Command(command), .. }
                | Queued::Told { command, .. } => asks.push(Ask::Command(command)),
                Queued::One { request: Request::Query(_), .. } => {
                    let (subject, look) = look.as_ref().expect("a query looks at something");
                    asks.push(Ask::Look(subject, *look));
                }
                Queued::Many { batch, .. } => asks.extend(batch.commands.iter().map(Ask::Command)),
            }
        }
        let began = Instant::now();
        let said = self.client.ask(&asks).await;
        drop(asks);
        self.count(began.elapsed());
        let mut replies = said.into_iter().map(|said| self.reply(said));
        let mut next = || replies.next().expect("there is an answer for each");
        for queued in taken {
            // A caller that went away needs no answer.
            match queued {
                Queued::One { ticket, .. } => drop(ticket.send(next())),
                Queued::Told { tell, ticket, .. } => {
                    let mut reply = next();
                    let mut text = Vec::new();
                    let ground = self.ground(reply.position);
                    if let Answer::Done(event) = &reply.answer
                        && tell(&mut text, ground, event)
                    {
                        reply.answer = Answer::Told;
                    }
                    drop(ticket.send((reply, text)));
                }
                Queued::Many { mut batch, ticket } => {
                    for _ in 0..batch.commands.len() {
                        let reply = next();
                        let ground = self.ground(reply.position);
                        batch.answered(reply, ground);
                    }
                    drop(ticket.send(batch));
                }
            }
        }
    }

    fn ground(&self, position: u64) -> Ground {
        Ground { shard: self.shard, position, durability: self.durability.get().as_str() }
    }

    fn count(&self, took: Duration) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.batches += 1;
        figures.sync_seconds += took.as_secs_f64();
        figures.sync_seconds_max = figures.sync_seconds_max.max(took.as_secs_f64());
        let bucket = super::SYNC_BUCKETS_US.partition_point(|end| *end < took.as_micros() as u64);
        figures.sync_buckets[bucket] += 1;
    }

    fn reply(&self, said: Result<Said, Failure>) -> Reply {
        let said = match said {
            Ok(said) => said,
            Err(failure) => {
                tracing::debug!(shard = self.shard, %failure, "no answer from Redis");
                let answer = Answer::Unavailable(unavailable(&failure));
                return Reply { position: 0, answer };
            }
        };
        self.durability.set(durability(said.durability));
        self.records.keep(said.records);
        use onsale_redis::Reply as Told;
        let (position, answer) = match said.reply {
            Told::Done { position, event, .. } => (position, Answer::Done(event)),
            Told::Repeated { position, of } => (position, Answer::Repeated { position: of }),
            Told::Unchanged { position } => (position, Answer::Unchanged),
            Told::Refused { position, refusal } => (position, Answer::Refused(refusal)),
            Told::View { position, view } => (position, Answer::View(Box::new(seen(*view)))),
            Told::Trouble(_) => (0, Answer::Unavailable(Unavailable::Stopped)),
        };
        self.reached(position);
        Reply { position, answer }
    }

    fn reached(&self, position: u64) {
        self.durable.send_if_modified(|durable| {
            let further = position > *durable;
            *durable = position.max(*durable);
            further
        });
    }
}

fn looked_at(queued: &Queued) -> Option<(Subject, Look)> {
    let Queued::One { request: Request::Query(query), .. } = queued else { return None };
    let (organizer, event) = query.subject();
    let look = match query {
        Query::Event { .. } => Look::Event,
        Query::Availability { .. } => Look::Availability,
        Query::Hold { hold, .. } => Look::Hold(*hold),
        Query::Order { order, .. } => Look::Order(*order),
    };
    Some((Subject { organizer: *organizer, event: *event }, look))
}

fn seen(view: onsale_redis::View) -> View {
    match view {
        onsale_redis::View::Event(view) => View::Event(view),
        onsale_redis::View::Availability(view) => View::Availability(view),
        onsale_redis::View::Hold(view) => View::Hold(view),
        onsale_redis::View::Order(view) => View::Order(view),
    }
}

/// What a failure means for whoever asked.
pub fn unavailable(failure: &Failure) -> Unavailable {
    match failure {
        Failure::Unreachable(_) | Failure::Moving(_) | Failure::Late => Unavailable::Unreachable,
        Failure::Full(_) => Unavailable::StorageFull,
        Failure::Unknown(_) => Unavailable::Unknown,
        Failure::Unusable(_) => Unavailable::Stopped,
    }
}

/// What Redis promises, in the engine's words.
pub fn durability(of: onsale_redis::Durability) -> Durability {
    match of {
        onsale_redis::Durability::Always => Durability::Always,
        onsale_redis::Durability::Everysec => Durability::Everysec,
        onsale_redis::Durability::Os => Durability::Os,
        onsale_redis::Durability::Memory => Durability::Memory,
        onsale_redis::Durability::Replicated => Durability::Replicated,
    }
}

/// Ends what is due, follows how far the stream is and what Redis promises, and keeps the directory.
async fn keep_time(shared: Arc<Shared>, places: Option<(Arc<Directory>, Arc<Places>)>) {
    let (mut slot, mut refreshed) = (0, Instant::now());
    let mut known = 0;
    loop {
        tokio::time::sleep(TICK).await;
        let stopped = match shared.client.tick(slot).await {
            Ok(tick) => {
                slot = tick.slot;
                shared.follow(tick.position).await;
                shared.note(tick.position);
                None
            }
            Err(failure) => Some(failure.to_string()),
        };
        if refreshed.elapsed() >= REFRESH {
            refreshed = Instant::now();
            if let Ok(found) = shared.client.refresh().await {
                shared.durability.set(durability(found));
            }
        }
        if let Some((directory, places)) = &places
            && let Ok(count) = places.count().await
            && count != known
            && let Ok(all) = places.all().await
        {
            known = count;
            for (Subject { organizer, event }, shard) in all {
                directory.insert(shard, &[(organizer, event)], &[]);
            }
        }
        let mut figures = shared.figures.lock().unwrap_or_else(PoisonError::into_inner);
        if figures.stopped != stopped {
            match &stopped {
                Some(why) => tracing::error!(shard = shared.shard, why, "the shard can't be used"),
                None => tracing::info!(shard = shared.shard, "the shard can be used again"),
            }
        }
        figures.stopped = stopped;
    }
}

impl Shared {
    /// Follows how far the stream is: back, too, where a higher generation says that records may have been lost.
    async fn follow(&self, position: u64) {
        match self.client.joined().await {
            Ok(joined) if self.generation.raise(joined.generation) => {
                tracing::warn!(shard = self.shard, position, "the log may have gone back");
                self.records.forget();
                self.durable.send_replace(position);
            }
            _ => self.reached(position),
        }
    }

    fn note(&self, position: u64) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        figures.shard.position = position;
        figures.shard.durable = position;
    }
}

/// The records of a shard's stream, for readers that may wait: a thread of its own asks for them.
pub struct Records {
    durable: watch::Receiver<u64>,
    cut: u64,
    kept: Mutex<VecDeque<(u64, Vec<u8>)>>,
    jobs: mpsc::UnboundedSender<Job>,
}

struct Job {
    after: u64,
    most: usize,
    found: std::sync::mpsc::Sender<Result<Vec<(u64, onsale_core::Event)>, Failure>>,
}

impl Records {
    /// Those of a shard. The thread ends with the value.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn of(
        client: ShardClient,
        shard: u16,
        cut: u64,
        durable: watch::Receiver<u64>,
    ) -> io::Result<Records> {
        let (jobs, mut todo) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = async move {
            while let Some(Job { after, most, found }) = todo.recv().await {
                // Whoever asked may be gone.
                let _ = found.send(client.read(after, most).await);
            }
        };
        std::thread::Builder::new()
            .name(format!("read-{shard}"))
            .spawn(move || runtime.block_on(work))?;
        Ok(Records { durable, cut, kept: Mutex::default(), jobs })
    }

    fn keep(&self, records: Vec<(u64, onsale_core::Event)>) {
        if records.is_empty() {
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (position, event) in records {
            let mut bytes = Vec::new();
            onsale_codec::encode(&event, &mut bytes);
            kept.push_back((position, bytes));
        }
        let more = kept.len().saturating_sub(RECORDS_KEPT_MAX);
        kept.drain(..more);
    }

    /// Forgets what may be another record by now.
    fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn kept(&self, position: u64) -> Option<Vec<u8>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().rev().find(|(at, _)| *at == position);
        found.map(|(_, bytes)| bytes.clone())
    }
}

impl Elsewhere for Records {
    fn durable(&self) -> u64 {
        *self.durable.borrow()
    }

    fn begins_at(&self) -> Result<u64, Error> {
        Ok(self.cut + 1)
    }

    fn read(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        if limit == 1
            && let Some(bytes) = self.kept(after + 1)
        {
            each(after + 1, &bytes);
            return Ok(());
        }
        let (mut next, mut left, mut bytes_left) = (after, limit, bytes_max);
        let mut bytes = Vec::new();
        while left > 0 && next < self.durable() {
            let (found, wait) = std::sync::mpsc::channel();
            let most = left.min(RECORDS_PER_READ);
            let gone = |_| failed(&"the thread that reads has ended");
            self.jobs
                .send(Job { after: next, most, found })
                .map_err(|_| failed(&"it has ended"))?;
            let records = wait.recv().map_err(gone)?.map_err(|failure| away(&failure))?;
            if records.is_empty() {
                break;
            }
            for (position, event) in records {
                bytes.clear();
                onsale_codec::encode(&event, &mut bytes);
                let is_first = position == after + 1;
                if position > self.durable() || (bytes.len() > bytes_left && !is_first) {
                    return Ok(());
                }
                each(position, &bytes);
                bytes_left = bytes_left.saturating_sub(bytes.len());
                (next, left) = (position, left - 1);
            }
        }
        Ok(())
    }
}

/// One that can't be reached is told from one whose records are wrong by the kind of the error.
fn away(failure: &Failure) -> Error {
    let kind = match failure {
        Failure::Unusable(_) => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::NotConnected,
    };
    let source = io::Error::new(kind, failure.to_string());
    Error::Io { action: "read", file: "the stream in Redis".to_owned(), source }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    let source = io::Error::other(error.to_string());
    Error::Io { action: "read", file: "the stream in Redis".to_owned(), source }
}

/// What the shards of a store have in common.
pub(super) struct Remote {
    pub places: Arc<Places>,
    pub shards: u16,
    /// The store, as it is used for what is no shard.
    pub shared: onsale_redis::Options,
}

impl Remote {
    /// The shard of an event that the directory does not know: another node may have made it.
    pub(super) async fn of_event(&self, of: &Subject) -> Result<Option<u16>, Unavailable> {
        self.places.of_event(of).await.map_err(|failure| unavailable(&failure))
    }

    /// Says where a new event goes, unless that was said before; gives where it goes.
    pub(super) async fn claim(&self, of: &Subject, shard: u16) -> Result<u16, Unavailable> {
        self.places.claim(of, shard).await.map_err(|failure| unavailable(&failure))
    }

    /// Says anew where an event goes that was never made.
    pub(super) async fn claim_anew(&self, of: &Subject, shard: u16) -> Result<(), Unavailable> {
        self.places.move_claim(of, shard).await.map_err(|failure| unavailable(&failure))
    }
}
