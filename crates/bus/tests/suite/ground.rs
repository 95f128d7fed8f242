//! The process that starts the workers, disturbs them, and looks at what they stored.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use onsale_bus::{Bus, Cursors, Entry, ShardId, StreamName};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Plan, group, lease};
use crate::database::Database;

const WORKERS: usize = 16;
const ROUNDS: usize = 4;
const KEYS: u64 = 500;
/// How long anything may take that is no promise.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Ground {
    pub bus: Bus,
    pub cursors: Cursors,
    pub plan: Plan,
    pub shards: u32,
    /// At least as many as there are keys.
    pub records_per_round: u64,
}

/// A worker process that ends with this.
struct Process(Child);

impl Process {
    fn start(plan: &Plan) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker_process", "--nocapture"]).envs(plan.variables());
        Process(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.0);
        kill_process(id, signal).unwrap();
    }

    /// What its worker's id begins with.
    fn prefix(&self) -> String {
        format!("w{}-", self.0.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Small random numbers from a seed that is printed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

impl Ground {
    /// Runs the whole; `meanwhile` may do something to the stream in each round.
    pub async fn run(&self, meanwhile: impl AsyncFn(usize)) {
        let seed = std::env::var("ONSALE_SUITE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap() | 1);
        println!("ONSALE_SUITE_SEED={seed}");
        let mut dice = Dice(seed);
        let sales = StreamName::new("sales").unwrap();
        self.bus.create(&sales, self.shards).await.unwrap();
        let database = Database::open(&self.plan.database).await;
        let mut workers: Vec<Process> = (0..WORKERS).map(|_| Process::start(&self.plan)).collect();
        self.until("all shards are somebody's", async || {
            self.owners().await.len() >= self.shards as usize
        })
        .await;
        let mut appended = 0;
        let mut slowest = Duration::ZERO;
        for round in 0..ROUNDS {
            appended = self.append(&sales, appended, self.records_per_round / 2).await;
            slowest = slowest.max(self.disturb(&mut workers, &mut dice).await);
            meanwhile(round).await;
            appended = self.append(&sales, appended, self.records_per_round / 2).await;
            self.until("all is stored", async || {
                database.count().await >= i64::try_from(appended).unwrap()
            })
            .await;
        }
        println!("the slowest take-over took {} ms", slowest.as_millis());
        drop(workers);
        check(&database.effects().await, appended);
    }

    /// Kills a worker and freezes another, waits until their shards are others', starts a new one in the place of the
    /// first and continues the other. Says how long it took until the shards were taken.
    async fn disturb(&self, workers: &mut [Process], dice: &mut Dice) -> Duration {
        let (killed, frozen) = self.two_at_work(workers, dice).await;
        let prefixes = [workers[killed].prefix(), workers[frozen].prefix()];
        workers[frozen].signal(Signal::STOP);
        workers[killed].0.kill().unwrap();
        let begun = Instant::now();
        self.until("their shards are others'", async || {
            let states = self.cursors.list(&group()).await.unwrap();
            states.iter().all(|state| match &state.lease {
                Some(lease) => {
                    !prefixes.iter().any(|prefix| lease.owner.as_str().starts_with(prefix))
                }
                None => state.progress.is_some_and(|progress| progress.ended),
            })
        })
        .await;
        let took = begun.elapsed();
        assert!(took <= 2 * lease(&self.plan.bus), "{took:?} until the shards were taken over");
        workers[killed] = Process::start(&self.plan);
        workers[frozen].signal(Signal::CONT);
        took
    }

    /// Starts workers anew that PostgreSQL has thrown out; any other end is a fault.
    fn revive(&self, workers: &mut [Process]) {
        for worker in workers {
            if let Some(status) = worker.0.try_wait().unwrap() {
                assert_eq!(status.code(), Some(3), "a worker ended by itself");
                *worker = Process::start(&self.plan);
            }
        }
    }

    /// Two workers that are at work: they have something to lose.
    async fn two_at_work(&self, workers: &mut [Process], dice: &mut Dice) -> (usize, usize) {
        let begun = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            self.revive(workers);
            let owners = self.owners().await;
            let has = |at: &usize| {
                let prefix = workers[*at].prefix();
                owners.values().any(|owner| owner.starts_with(&prefix))
            };
            let mut busy: Vec<usize> = (0..workers.len()).filter(has).collect();
            if busy.len() >= 2 {
                let one = busy.swap_remove(dice.below(busy.len()));
                return (one, busy[dice.below(busy.len())]);
            }
            assert!(begun.elapsed() < PATIENCE, "no two have shards after {PATIENCE:?}");
            look.tick().await;
        }
    }

    /// Who has which shard by a lease that has not run out.
    async fn owners(&self) -> BTreeMap<ShardId, String> {
        let states = self.cursors.list(&group()).await.unwrap();
        let live = states.iter().filter_map(|state| {
            let lease = state.lease.as_ref().filter(|lease| !lease.left.is_zero())?;
            Some((state.cursor.shard.clone(), lease.owner.to_string()))
        });
        live.collect()
    }

    async fn append(&self, stream: &StreamName, from: u64, count: u64) -> u64 {
        let entry = |n: u64| Entry::new(format!("key-{}", n % KEYS), (n / KEYS).to_string());
        let entries: Vec<Entry> = (from..from + count).map(entry).collect();
        for part in entries.chunks(500) {
            self.bus.append(stream, part).await.unwrap();
        }
        from + count
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
            look.tick().await;
        }
    }
}

/// Each record once, and each key's in order.
fn check(effects: &[(String, String, i64)], appended: u64) {
    assert_eq!(effects.len() as u64, appended);
    let places: BTreeSet<&String> = effects.iter().map(|(place, ..)| place).collect();
    assert_eq!(places.len(), effects.len(), "no record twice");
    let mut next: BTreeMap<&String, i64> = BTreeMap::new();
    for (place, key, seq) in effects {
        let expected = next.entry(key).or_default();
        assert_eq!(seq, expected, "{place}: the order of {key}");
        *expected += 1;
    }
    assert_eq!(next.len() as u64, KEYS);
}
