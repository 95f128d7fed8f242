//! The simulation finds every planted bug: `docs/reliability.md` has a table of which seed
//! found which, and by what. Run with the feature `planted`, which plants them.
//!
//! `ONSALE_UPDATE=1` looks for the first seed that finds each, and writes the table anew;
//! `ONSALE_BUG=name` looks for the first that finds this one, and prints its story.
#![cfg(feature = "planted")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use onsale_planted::{Bug, plant};
use onsale_sim::simulation::{self, Failure};

/// Seeds that are tried for a bug: one that takes more is hard to find, and says that the
/// simulation should go there more often.
const SEEDS_MAX: u64 = 2_000;
/// What stands before and after the table.
const BEGIN: &str = "<!-- planted bugs: written by the test, see above -->\n";
const END: &str = "<!-- end of planted bugs -->";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reliability.md")
}

/// What the run of a seed with a bug planted breaks, if anything.
fn find(bug: Bug, seed: u64) -> Option<Box<Failure>> {
    plant(Some(bug));
    let failure = simulation::run(seed).err();
    plant(None);
    failure
}

/// Does this for each bug, on all cores.
fn each_bug<T: Send>(f: impl Fn(Bug) -> T + Sync) -> Vec<(Bug, T)> {
    let (todo, done) = (Mutex::new(Bug::ALL.to_vec()), Mutex::new(Vec::new()));
    let worker = || {
        while let Some(bug) = { todo.lock().unwrap().pop() } {
            let result = f(bug);
            done.lock().unwrap().push((bug, result));
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(worker)));
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(bug, _)| *bug);
    done
}

/// A bug's row.
fn row(bug: Bug, failure: &Failure) -> String {
    format!("| {bug:?} | {} | {} | {} |", bug.what(), failure.seed, failure.broken.rule.noticed())
}

/// The table that the page has.
fn table(page: &str) -> &str {
    let (_, rest) = page.split_once(BEGIN).expect("the page has a table");
    rest.split_once(END).expect("the table has an end").0
}

/// The seed that a table names for a bug.
fn seed_of(table: &str, bug: Bug) -> u64 {
    let start = format!("| {bug:?} |");
    let row = table.lines().find(|line| line.starts_with(&start));
    let row = row.unwrap_or_else(|| panic!("{bug:?} has no row: run with ONSALE_UPDATE=1"));
    row.split('|').nth(3).unwrap().trim().parse().unwrap()
}

#[test]
fn the_simulation_finds_every_planted_bug() {
    // What a planted bug makes the code say is no news.
    std::panic::set_hook(Box::new(|_| {}));
    if let Ok(name) = std::env::var("ONSALE_BUG") {
        let bug = Bug::ALL.iter().find(|bug| format!("{bug:?}") == name).expect("a bug's name");
        let found = (0..SEEDS_MAX).find_map(|seed| find(*bug, seed));
        println!("{}", found.expect("not found"));
        return;
    }
    let text = std::fs::read_to_string(page()).unwrap();
    let update = std::env::var_os("ONSALE_UPDATE").is_some();
    let found = each_bug(|bug| match update {
        true => (0..SEEDS_MAX).find_map(|seed| find(bug, seed)),
        false => std::panic::catch_unwind(|| seed_of(table(&text), bug))
            .ok()
            .and_then(|seed| find(bug, seed)),
    });
    let _ = std::panic::take_hook();
    let mut rows = "| bug | what it does | seed | noticed as |\n|---|---|---:|---|\n".to_owned();
    let mut missed = Vec::new();
    for (bug, failure) in &found {
        match failure {
            Some(failure) => {
                writeln!(rows, "{}", row(*bug, failure)).unwrap();
                assert!(failure.replays, "{bug:?} does not replay: {failure}");
            }
            None => missed.push(*bug),
        }
    }
    if update {
        let (before, rest) = text.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        std::fs::write(page(), format!("{before}{BEGIN}{rows}{END}{after}")).unwrap();
    }
    assert!(missed.is_empty(), "not found: {missed:?}. Run with ONSALE_UPDATE=1");
    let as_it_should = update || table(&text) == rows;
    assert!(as_it_should, "docs/reliability.md is not up to date: run with ONSALE_UPDATE=1");
}

#[test]
fn without_a_bug_the_same_seeds_break_nothing() {
    let text = std::fs::read_to_string(page()).unwrap();
    for bug in Bug::ALL {
        let seed = seed_of(table(&text), *bug);
        simulation::run(seed).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
