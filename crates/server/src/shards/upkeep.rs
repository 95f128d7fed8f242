//! The thread that does the shards' upkeep: one for the whole folder, of the lowest priority, and for each
//! shard it rests three times as long as it worked. What is urgent is done by threads of their own instead, as
//! eagerly as the sale runs, without a rest.

use std::time::{Duration, Instant};

use onsale_engine::{UpkeepDone, UpkeepJob};
use tokio::sync::mpsc;

/// How long to wait where there is nothing to do.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The upkeep rests this many times as long as it worked.
const REST: u32 = 3;
/// The lowest priority that a thread can have.
const NICE: i32 = 19;

/// A piece of work that is done, and the rest that it calls for.
type Results = mpsc::UnboundedSender<(UpkeepDone, Duration)>;

/// The thread. It ends when all that have it are dropped.
#[derive(Clone)]
pub struct UpkeepThread {
    jobs: std::sync::mpsc::Sender<(UpkeepJob, Results)>,
}

impl UpkeepThread {
    /// Starts it.
    pub fn start() -> UpkeepThread {
        let (jobs, todo) = std::sync::mpsc::channel::<(UpkeepJob, Results)>();
        let work = move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!(%error, "the upkeep keeps its priority");
            }
            for (job, results) in todo {
                let began = Instant::now();
                let done = job.run();
                // A driver that is gone needs no result.
                let _ = results.send((done, began.elapsed() * REST));
            }
        };
        let builder = std::thread::Builder::new().name("upkeep".to_owned());
        builder.spawn(work).expect("the machine has a thread left");
        UpkeepThread { jobs }
    }
}

/// What one driver has of it.
pub struct Upkeep {
    thread: UpkeepThread,
    results: Results,
    /// The piece of work that came back, and how long to rest after it.
    pub done: mpsc::UnboundedReceiver<(UpkeepDone, Duration)>,
    at_work: bool,
    ask_at: Instant,
}

impl Upkeep {
    /// Nothing is under way.
    pub fn new(thread: UpkeepThread) -> Upkeep {
        // At most one piece is under way, so at most one result waits.
        let (results, done) = mpsc::unbounded_channel();
        Upkeep { thread, results, done, at_work: false, ask_at: Instant::now() }
    }

    /// Whether a piece of work is under way.
    pub fn at_work(&self) -> bool {
        self.at_work
    }

    /// Whether it is time to ask for more.
    pub fn asks(&self) -> bool {
        !self.at_work && self.ask_at <= Instant::now()
    }

    /// Takes what the shard gave, or nothing.
    pub fn give(&mut self, job: Option<UpkeepJob>) {
        match job {
            None => self.ask_at = Instant::now() + ASK_EVERY,
            Some(job) => {
                self.at_work = true;
                let results = self.results.clone();
                if job.is_urgent() {
                    urgent(job, results);
                } else {
                    let sent = self.thread.jobs.send((job, results));
                    sent.expect("the thread ends only after its drivers");
                }
            }
        }
    }

    /// Says that a piece of work is back.
    pub fn finished(&mut self, rest: Duration) {
        self.at_work = false;
        self.ask_at = Instant::now() + rest;
    }
}

/// Does a piece of work at the priority of the sale.
fn urgent(job: UpkeepJob, results: Results) {
    let work = move || {
        let _ = results.send((job.run(), Duration::ZERO));
    };
    let builder = std::thread::Builder::new().name("upkeep-urgent".to_owned());
    builder.spawn(work).expect("the machine has a thread left");
}
