//! Ten thousand lives of a shop, each decided by its seed, with everything going wrong.
//!
//! `ONSALE_SEED=n` runs one seed, `ONSALE_SIM_SEEDS=from..to` those from one to below another,
//! and `ONSALE_SIM_SECONDS=n` as many as there is time for, from a random one on (or from the first of
//! `ONSALE_SIM_SEEDS`). With `--nocapture` each says what it came to; a failing seed prints its story.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onsale_sim::simulation::{self, Tally};

/// Seeds that are run where nothing else is asked.
const SEEDS: u64 = 10_000;

/// Which seeds to run.
struct Plan {
    first: u64,
    /// The one after the last.
    end: u64,
    until: Option<Instant>,
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

impl Plan {
    fn read() -> Plan {
        let seconds = variable::<u64>("ONSALE_SIM_SECONDS");
        let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let (first, end) = match std::env::var("ONSALE_SIM_SEEDS") {
            Ok(range) => {
                let (from, to) = range.split_once("..").expect("ONSALE_SIM_SEEDS is from..to");
                let number = |text: &str| text.parse().expect("ONSALE_SIM_SEEDS has two numbers");
                (number(from), number(to))
            }
            Err(_) if until.is_some() => {
                (RandomState::new().build_hasher().finish() >> 16, u64::MAX)
            }
            Err(_) => (0, SEEDS),
        };
        Plan { first, end: if until.is_some() { u64::MAX } else { end }, until }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}

#[test]
fn no_seed_breaks_a_rule() {
    if let Some(seed) = variable("ONSALE_SEED") {
        let tally = simulation::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
        println!("{tally:#?}");
        return;
    }
    let plan = Plan::read();
    let (next, failed) = (AtomicU64::new(plan.first), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    let sum = Mutex::new(Tally::default());
    let worker = || {
        let mut own = Tally::default();
        while !failed.load(Ordering::Relaxed) && !plan.is_over() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.end {
                break;
            }
            match simulation::run(seed) {
                Ok(tally) => own.add(&tally),
                Err(failure) => {
                    failed.store(true, Ordering::Relaxed);
                    failures.lock().unwrap().push(failure);
                }
            }
        }
        sum.lock().unwrap().add(&own);
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
    if let Some(failure) = failures.into_inner().unwrap().first() {
        panic!("{failure}");
    }
    let (end, sum) = (next.into_inner().min(plan.end), sum.into_inner().unwrap());
    println!("seeds {} to {}: {sum:#?}", plan.first, end - 1);
    if plan.until.is_none() && end - plan.first >= SEEDS {
        the_seeds_reach_what_they_are_for(&sum);
    }
}

/// A simulation in which nothing happens would pass, too.
fn the_seeds_reach_what_they_are_for(sum: &Tally) {
    assert!(sum.changes > 50_000 && sum.repeats > 1_000, "{sum:?}");
    assert!(sum.kills > 1_000 && sum.power_losses > 1_000 && sum.broken_starts > 1_000, "{sum:?}");
    assert!(sum.unavailable > 1_000 && sum.disk_faults > 10_000, "{sum:?}");
    assert!(sum.clock_jumps > 1_000 && sum.damages > 1_000, "{sum:?}");
    assert!(sum.cut > 1_000 && sum.kept > 1_000, "{sum:?}");
    assert!(sum.from_snapshots > 1_000 && sum.upkeep > 10_000, "{sum:?}");
    assert!(sum.with_archive > 1_000, "{sum:?}");
    assert!(sum.losses_without_syncs > 100 && sum.later_generations > 100, "{sum:?}");
}
