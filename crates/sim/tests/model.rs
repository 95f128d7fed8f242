//! The core against the reference model and the auditor, over a million commands.
//!
//! `ONSALE_SEED=n` runs the history of one seed alone.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;

use onsale_core::Event;
use onsale_engine::audit::Auditor;
use onsale_sim::coverage::{ANSWERS, Coverage};
use onsale_sim::side_by_side::{self, SHARD, SHARDS};

/// Commands in one history: short enough for the naive model.
const COMMANDS: usize = 2_000;
/// Histories that together must have every answer there is: 100,000 commands.
const GROUP: u64 = 50;
/// Groups with seeds that never change.
const FIXED_GROUPS: u64 = 10;

#[test]
fn the_core_answers_as_the_model_does() {
    if let Ok(seed) = std::env::var("ONSALE_SEED") {
        let seed = seed.parse().expect("ONSALE_SEED is a number");
        let history = side_by_side::run(seed, COMMANDS).unwrap_or_else(|what| panic!("{what}"));
        println!("{:#?}", history.coverage);
        audit(seed, &history.events);
        return;
    }
    let random = RandomState::new().build_hasher().finish() >> 16;
    println!("seeds 0 to {} and {GROUP} from {random}", FIXED_GROUPS * GROUP - 1);
    let fixed = (0..FIXED_GROUPS).map(|group| group * GROUP);
    let groups = Mutex::new(fixed.chain([random]).collect::<Vec<u64>>());
    let worker = || {
        while let Some(first) = { groups.lock().unwrap().pop() } {
            let coverage = run_group(first);
            // What is rare may be missing from seeds that nobody chose.
            if first != random {
                met_everything(first, &coverage);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            // The worker has printed what is wrong.
            worker.join().expect("a history differs");
        }
    });
}

/// Runs neighbouring seeds, and says what they met.
fn run_group(first: u64) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in first..first + GROUP {
        let history = side_by_side::run(seed, COMMANDS).unwrap_or_else(|what| panic!("{what}"));
        coverage.merge(&history.coverage);
        audit(seed, &history.events);
    }
    coverage
}

/// A group of seeds must have met every answer, and not only be refused.
fn met_everything(first: u64, coverage: &Coverage) {
    let missing = coverage.missing(ANSWERS);
    assert!(missing.is_empty(), "seeds from {first} never had {missing:?}: {coverage:#?}");
    let share = coverage.changes * 100 / coverage.commands;
    assert!(share >= 40, "seeds from {first}: only {share} % of the commands change something");
}

/// The auditor of journals keeps books of its own: a third reading of the rules.
fn audit(seed: u64, events: &[Event]) {
    let mut auditor = Auditor::new();
    for idle in (0..SHARDS).filter(|shard| *shard != SHARD) {
        auditor.record(idle, 1, &side_by_side::shard_started(idle));
    }
    for (position, event) in (1..).zip(events) {
        auditor.record(SHARD, position, event);
    }
    let report = auditor.finish();
    assert!(report.ok, "ONSALE_SEED={seed}: the audit finds {:#?}", report.findings);
}
