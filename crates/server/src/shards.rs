//! The shards at work: which event is whose, one task and two helper threads per
//! shard, and the way from a request to its answer.
//!
//! A request goes through the directory to its shard's queue. The shard's task
//! takes what has queued up, decides all of it, gives the batch to a helper thread
//! to write and sync, and sends the answers whose position is durable.

mod batch;
mod directory;
mod driver;
mod over_redis;
mod remote;
mod store;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use onsale_core::{Action, Command, Id, Refusal, Time};
use onsale_engine::folder::settles_place;
use onsale_engine::{
    Answer, Durability, Folder, Options, Query, Reply, Request, Seeds, Shard, ShardFigures,
    ShardInfo, Unavailable,
};
use tokio::sync::{mpsc, oneshot, watch};

pub use batch::{Batch, Ground, Kept, Tell};
use directory::Directory;
pub use driver::Ticket;
pub use over_redis::RedisStore;
use remote::Remote;
pub use store::{Fence, Lost, Store, append, lost};
use upkeep::UpkeepThread;

/// Requests that may wait for one shard, each command of a batch counted.
const QUEUE_MAX: usize = 65_536;

/// What is on its way to a shard, and where the answers go.
enum Queued {
    /// One request.
    One { request: Request, ticket: oneshot::Sender<Reply> },
    /// One command, whose answer may be written as it is decided.
    Told { command: Box<Command>, tell: Tell, ticket: oneshot::Sender<Told> },
    /// Commands that are answered together.
    Many { batch: Box<Batch>, ticket: oneshot::Sender<Box<Batch>> },
}

impl Queued {
    /// How many requests it is.
    fn count(&self) -> usize {
        match self {
            Queued::One { .. } | Queued::Told { .. } => 1,
            Queued::Many { batch, .. } => batch.commands.len(),
        }
    }
}

/// A reply, and what was told as it was decided: that stands only where the reply says so.
type Told = (Reply, Vec<u8>);

/// An answer with what its receipt says.
#[derive(Debug)]
pub struct Replied {
    /// The shard that answered.
    pub shard: u16,
    /// The highest position the answer is based on; durable by now.
    pub position: u64,
    /// How durable.
    pub durability: &'static str,
    /// What is said.
    pub answer: Answer,
    /// What was told, where the answer is [`Answer::Told`].
    pub text: Vec<u8>,
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Pending {
    shard: u16,
    reply: oneshot::Receiver<Told>,
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// There is no decision, or none that can be told.
    pub async fn replied(self, shards: &Shards) -> Result<Replied, Unavailable> {
        let (reply, text) = self.reply.await.map_err(|_| Unavailable::Unknown)?;
        Ok(Replied { text, ..Replied::of(shards, self.shard, reply)? })
    }
}

/// What a driver and everybody else share of a shard.
struct Shared {
    info: ShardInfo,
    queue: mpsc::UnboundedSender<Queued>,
    /// Requests in the queue: it is this that bounds it.
    queued: Arc<AtomicUsize>,
    /// The durable position, for readers that wait for more.
    durable: watch::Receiver<u64>,
    figures: Arc<Mutex<Figures>>,
    /// How durable its answers are.
    durability: Arc<DurabilityCell>,
}

/// How durable the answers of a shard are; where that can change, what was found last.
#[derive(Debug)]
struct DurabilityCell(AtomicU8);

impl DurabilityCell {
    const ALL: [Durability; 6] = [
        Durability::Synced,
        Durability::Os,
        Durability::Always,
        Durability::Everysec,
        Durability::Memory,
        Durability::Replicated,
    ];

    fn new(durability: Durability) -> Arc<DurabilityCell> {
        let cell = DurabilityCell(AtomicU8::new(0));
        cell.set(durability);
        Arc::new(cell)
    }

    fn get(&self) -> Durability {
        DurabilityCell::ALL[usize::from(self.0.load(Relaxed))]
    }

    fn set(&self, durability: Durability) {
        let place = DurabilityCell::ALL.iter().position(|other| *other == durability);
        self.0.store(place.expect("all are among them") as u8, Relaxed);
    }
}

/// Drives one shard until the server closes.
pub enum Driver {
    /// One whose state is here.
    Here(Box<driver::Driver>),
    /// One whose state is in Redis.
    Redis(remote::Driver),
}

impl Driver {
    /// Which shard it drives.
    #[must_use]
    pub fn shard(&self) -> u16 {
        match self {
            Driver::Here(driver) => driver.shard(),
            Driver::Redis(driver) => driver.shard(),
        }
    }

    /// Runs until [`Shards::close`], and until all that came before is answered.
    pub async fn run(self) {
        match self {
            Driver::Here(driver) => driver.run().await,
            Driver::Redis(driver) => driver.run().await,
        }
    }
}

impl Shared {
    fn enqueue(&self, queued: Queued) -> Result<(), Unavailable> {
        let count = queued.count();
        if self.queued.fetch_add(count, Relaxed) + count > QUEUE_MAX {
            self.queued.fetch_sub(count, Relaxed);
            return Err(Unavailable::Busy);
        }
        self.queue.send(queued).map_err(|_| Unavailable::Stopped)
    }
}

impl Replied {
    /// What a shard replied.
    ///
    /// # Errors
    /// There is no decision, or none that can be told.
    pub fn of(shards: &Shards, shard: u16, reply: Reply) -> Result<Replied, Unavailable> {
        match reply.answer {
            Answer::Unavailable(unavailable) => Err(unavailable),
            answer => {
                let durability = shards.inner.shards[usize::from(shard)].durability.get().as_str();
                let (position, text) = (reply.position, Vec::new());
                Ok(Replied { shard, position, durability, answer, text })
            }
        }
    }
}

/// Upper ends of the buckets for the time of a write and sync, in microseconds.
pub const SYNC_BUCKETS_US: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// Figures of a shard and its batches, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What the shard says of itself.
    pub shard: ShardFigures,
    /// Batches written.
    pub batches: u64,
    /// Batches by the time that writing and syncing took, as [`SYNC_BUCKETS_US`] has it; the last
    /// bucket has no upper end.
    pub sync_buckets: [u64; SYNC_BUCKETS_US.len() + 1],
    /// Since when a batch is being written, if one is.
    pub writing_since: Option<Instant>,
    /// Requests that wait for the shard to take them.
    pub queued: usize,
    /// Seconds spent writing and syncing them.
    pub sync_seconds: f64,
    /// The longest of them, in seconds, since the start.
    pub sync_seconds_max: f64,
    /// How far the engine's clock is from the wall, in microseconds, where that is an alarm.
    pub clock_alarm_us: Option<i64>,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// All shards of a data folder. Cheap to clone.
#[derive(Clone)]
pub struct Shards {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Vec<Shared>,
    directory: Arc<Directory>,
    /// One event is made at a time, so that its place is decided once.
    making: Arc<tokio::sync::Mutex<()>>,
    closing: watch::Sender<bool>,
    closed: watch::Receiver<usize>,
    /// The data folder.
    data: PathBuf,
    /// Keeps it locked, where the journal is in it.
    _folder: Option<Folder>,
    /// Where the state is in Redis: what the shards have in common.
    remote: Option<Remote>,
    /// Where another server may become the writer without this one's doing: says that it has. Then nothing is answered
    /// that no shard has checked.
    lost: Option<watch::Receiver<Option<Lost>>>,
}

/// Shards that are open, and where each keeps its log.
pub struct Opened {
    /// The data folder.
    pub folder: Folder,
    /// The shards.
    pub shards: Vec<Shard<Ticket>>,
    /// For each, where its batches go.
    pub stores: Vec<Store>,
    /// Says, where that is not the folder, when another server may write there instead.
    pub lost: Option<watch::Receiver<Option<Lost>>>,
}

impl Opened {
    /// Opens a data folder with its journals, or makes it with this many shards.
    ///
    /// # Errors
    /// The folder or a journal can't be opened; names file and offset.
    pub fn files(
        data: &Path,
        shards: u16,
        options: &Options,
    ) -> Result<Opened, onsale_engine::Error> {
        let seeds = seeds();
        let folder = Folder::open(data, shards, &seeds)?;
        let shards: Vec<_> = folder.shards(options, &seeds, wall_time())?;
        let stores = shards.iter().map(|_| Store::Files).collect();
        Ok(Opened { folder, shards, stores, lost: None })
    }
}

/// Randomness for a new log.
#[must_use]
pub fn seeds() -> Seeds {
    let key = onsale_core::CodeKey(*uuid::Uuid::new_v4().as_bytes());
    Seeds { log: uuid::Uuid::new_v4().as_u128(), key }
}

impl Shards {
    /// Takes open shards, and gives the drivers that must run for anything to be answered: each on one runtime, all as
    /// long as it serves.
    #[must_use]
    pub fn over(opened: Opened) -> (Shards, Vec<Driver>) {
        let Opened { folder, shards: opened, stores, lost } = opened;
        let directory = Arc::<Directory>::default();
        let (closing, closing_seen) = watch::channel(false);
        let (closed_count, closed) = watch::channel(0);
        let started = Instant::now();
        let (mut shared, mut drivers) = (Vec::new(), Vec::new());
        let upkeep = UpkeepThread::start();
        for (mut shard, store) in opened.into_iter().zip(stores) {
            directory.add(shard.info().shard, shard.sale());
            for note in shard.take_notes() {
                tracing::warn!(shard = shard.info().shard, note, "the journal was opened");
            }
            let (queue, requests) = mpsc::unbounded_channel();
            let queued = Arc::new(AtomicUsize::new(0));
            let (durable, durable_seen) = watch::channel(shard.info().reader.durable());
            let figures = Arc::new(Mutex::new(Figures::default()));
            shared.push(Shared {
                info: shard.info(),
                queue,
                queued: queued.clone(),
                durable: durable_seen,
                figures: figures.clone(),
                durability: DurabilityCell::new(shard.info().durability),
            });
            drivers.push(Driver::Here(Box::new(driver::Driver::new(driver::Parts {
                shard,
                store,
                requests,
                queued,
                durable,
                figures,
                closing: closing_seen.clone(),
                closed: closed_count.clone(),
                upkeep: upkeep.clone(),
                started,
            }))));
        }
        let making = Arc::default();
        let (data, folder) = (folder.path().to_owned(), Some(folder));
        let remote = None;
        let inner = Inner {
            shards: shared,
            directory,
            making,
            closing,
            closed,
            data,
            _folder: folder,
            remote,
            lost,
        };
        (Shards { inner: Arc::new(inner) }, drivers)
    }

    /// Carries out a command. A definition of an event that is not there yet is given
    /// to the shard of its sale group, for good.
    ///
    /// # Errors
    /// There is no decision, or none that can be told.
    pub async fn command(&self, command: Box<Command>) -> Result<Replied, Unavailable> {
        match self.find_event(&command.organizer, &command.event).await? {
            Some(shard) => self.ask(shard, Request::Command(command)).await,
            None if matches!(command.action, Action::DefineEvent { .. }) => {
                // In a task of its own: a caller that goes away must not leave an event
                // that is made but not listed.
                let shards = self.clone();
                let made = tokio::spawn(async move { shards.make(command).await });
                made.await.unwrap_or(Err(Unavailable::Unknown))
            }
            None if self.elsewhere() => self.ask(0, Request::Command(command)).await,
            None => Ok(self.unknown_event()),
        }
    }

    async fn make(&self, command: Box<Command>) -> Result<Replied, Unavailable> {
        let _one_at_a_time = self.inner.making.lock().await;
        let (organizer, event) = (command.organizer, command.event);
        let Action::DefineEvent { definition, .. } = &command.action else {
            return Ok(self.unknown_event());
        };
        let group = definition.sale_group;
        let shard = match (self.inner.directory.event(&organizer, &event), &self.inner.remote) {
            (Some(shard), _) => shard,
            (None, Some(remote)) => self.place_in_redis(remote, organizer, event, group).await?,
            (None, None) => self.inner.directory.place(&organizer, &group, self.count()),
        };
        let replied = self.ask(shard, Request::Command(command)).await;
        let settled = match &replied {
            Ok(replied) => settles_place(&replied.answer),
            Err(unavailable) => settles_place(&Answer::Unavailable(*unavailable)),
        };
        if settled {
            self.inner.directory.insert(shard, &[(organizer, event)], &[(organizer, group)]);
        }
        replied
    }

    /// Shows something. An unknown event is refused with [`Refusal::UnknownEvent`].
    ///
    /// # Errors
    /// There is no answer, or none that can be told.
    pub async fn query(&self, query: Query) -> Result<Replied, Unavailable> {
        let (organizer, event) = query.subject();
        match self.find_event(organizer, event).await? {
            Some(shard) => self.ask(shard, Request::Query(query)).await,
            None if self.elsewhere() => self.ask(0, Request::Query(query)).await,
            None => Ok(self.unknown_event()),
        }
    }

    async fn ask(&self, shard: u16, request: Request) -> Result<Replied, Unavailable> {
        let (ticket, reply) = oneshot::channel();
        self.inner.shards[usize::from(shard)].enqueue(Queued::One { request, ticket })?;
        let reply = reply.await.map_err(|_| Unavailable::Unknown)?;
        Replied::of(self, shard, reply)
    }

    /// Hands a command to its event's shard, without waiting for the answer, which `tell` may
    /// write as soon as the command is decided.
    ///
    /// # Errors
    /// There is no room for it, or the shard is gone.
    pub fn begin(
        &self,
        shard: u16,
        command: Box<Command>,
        tell: Tell,
    ) -> Result<Pending, Unavailable> {
        let (ticket, reply) = oneshot::channel();
        let queued = Queued::Told { command, tell, ticket };
        self.inner.shards[usize::from(shard)].enqueue(queued)?;
        Ok(Pending { shard, reply })
    }

    /// The shard of an event, if there is one; or one that will refuse it, where no answer may be given without a shard.
    #[must_use]
    pub fn of_event(&self, organizer: &Id, event: &Id) -> Option<u16> {
        self.inner.directory.event(organizer, event).or(self.elsewhere().then_some(0))
    }

    /// Whether there is an event, as far as this server knows.
    #[must_use]
    pub fn knows(&self, organizer: &Id, event: &Id) -> bool {
        self.inner.directory.event(organizer, event).is_some()
    }

    /// Whether this server may lose the log to another one without its own doing.
    #[must_use]
    pub fn elsewhere(&self) -> bool {
        self.inner.lost.is_some()
    }

    /// The Redis that the servers of this sale share, where there is one, as it is used for what is no shard.
    #[must_use]
    pub fn shared(&self) -> Option<&onsale_redis::Options> {
        Some(&self.inner.remote.as_ref()?.shared)
    }

    /// Where the server is that has taken over, if one has.
    #[must_use]
    pub fn lost_to(&self) -> Option<String> {
        match &*self.inner.lost.as_ref()?.borrow() {
            Some(Lost::To(active)) => Some(active.clone()),
            _ => None,
        }
    }

    /// Makes sure that what was seen before was seen by the log's only writer.
    ///
    /// # Errors
    /// It is not, or that can't be found out.
    pub async fn confirm(&self) -> Result<(), Unavailable> {
        match self.elsewhere() {
            true => self.probe(0).await,
            false => Ok(()),
        }
    }

    /// Hands commands for events of one shard over together, to be carried out in their
    /// order. They come back with a reply for each, once all of them are durable.
    ///
    /// # Errors
    /// There is no room for them, or the shard is gone.
    pub async fn batch(&self, shard: u16, batch: Box<Batch>) -> Result<Box<Batch>, Unavailable> {
        if batch.commands.is_empty() {
            return Ok(batch);
        }
        let (ticket, done) = oneshot::channel();
        self.inner.shards[usize::from(shard)].enqueue(Queued::Many { batch, ticket })?;
        done.await.map_err(|_| Unavailable::Unknown)
    }

    /// Asks a shard for nothing, the way that every request goes: how long it takes tells
    /// how long requests wait.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn probe(&self, shard: u16) -> Result<(), Unavailable> {
        let nothing = Id::new("nothing").expect("it is an id");
        let query = Query::Event { organizer: nothing, event: nothing };
        self.ask(shard, Request::Query(query)).await.map(drop)
    }

    /// Batches that a shard has written, and the seconds spent on them.
    #[must_use]
    pub fn syncs(&self, shard: u16) -> (u64, f64) {
        let figures = &self.inner.shards[usize::from(shard)].figures;
        let figures = figures.lock().unwrap_or_else(PoisonError::into_inner);
        (figures.batches, figures.sync_seconds)
    }

    /// The directory says it all: no shard knows the event.
    fn unknown_event(&self) -> Replied {
        let info = &self.inner.shards[0].info;
        Replied {
            shard: info.shard,
            position: info.reader.durable(),
            durability: self.inner.shards[0].durability.get().as_str(),
            answer: Answer::Refused(Refusal::UnknownEvent),
            text: Vec::new(),
        }
    }

    /// Up to `limit` events of an organizer with ids above `after`, sorted by id.
    #[must_use]
    pub fn events(&self, organizer: &Id, after: Option<&Id>, limit: usize) -> Vec<Id> {
        self.inner.directory.events(organizer, after, limit)
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.inner.data
    }

    /// Number of shards.
    #[must_use]
    pub fn count(&self) -> u16 {
        self.inner.shards.len() as u16
    }

    /// Whether other servers write to the same shards.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.inner.remote.is_some()
    }

    /// What anybody may know of a shard.
    #[must_use]
    pub fn info(&self, shard: u16) -> Option<&ShardInfo> {
        self.inner.shards.get(usize::from(shard)).map(|shared| &shared.info)
    }

    /// The durable position of a shard, to be waited on.
    #[must_use]
    pub fn durable(&self, shard: u16) -> Option<watch::Receiver<u64>> {
        self.inner.shards.get(usize::from(shard)).map(|shared| shared.durable.clone())
    }

    /// Figures of every shard.
    #[must_use]
    pub fn figures(&self) -> Vec<Figures> {
        let figures = |shared: &Shared| {
            let figures = shared.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Figures { queued: shared.queued.load(Relaxed), ..figures }
        };
        self.inner.shards.iter().map(figures).collect()
    }

    /// Whether every shard takes commands.
    ///
    /// # Errors
    /// Which one does not, and why.
    pub fn ready(&self) -> Result<(), String> {
        if *self.inner.closing.borrow() {
            return Err("the server is closing".to_owned());
        }
        for (shard, figures) in self.figures().iter().enumerate() {
            if let Some(reason) = &figures.stopped {
                return Err(format!("shard {shard} has stopped: {reason}"));
            }
            if figures.shard.storage_full {
                return Err(format!("shard {shard} has no room on the disk for sales"));
            }
        }
        Ok(())
    }

    /// Lets the drivers answer what has come, make it durable and end; waits for them.
    pub async fn close(&self) {
        self.inner.closing.send_replace(true);
        let all = self.inner.shards.len();
        let mut closed = self.inner.closed.clone();
        // An error means that every driver is gone, which is what is waited for.
        let _ = closed.wait_for(|n| *n == all).await;
    }
}

/// The wall's time.
#[must_use]
pub fn wall_time() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}
