//! `onsale bench`: the product beside what the same machine can do without it.
//!
//! Each row is a function from [`Settings`] to a [`report::Row`]. A limit does the same work as
//! the product and moves the same bytes, but knows no rules; [`stats::interleaved`] measures both
//! in turn, so that a machine that drifts does so for both.

mod apart;
pub mod bare;
mod bridge;
mod bus;
mod drive;
mod engine;
mod growth;
mod http;
mod memory;
pub mod plot;
mod postgres;
mod recovery;
mod redis;
pub mod report;
mod rules;
mod site;
pub mod stats;
#[cfg(test)]
mod tests;
mod workload;

use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::bench::Which;
use report::Row;

/// How much to measure.
pub struct Settings {
    /// Pairs of limit and product.
    pub pairs: usize,
    /// What share of the full counts and times: 1, or much less for a quick look.
    pub share: f64,
    /// What share of a day to simulate.
    pub scale: f64,
    /// A PostgreSQL in which databases may be made.
    pub database: Option<String>,
    progress: ProgressBar,
}

impl Settings {
    /// Settings of a run.
    #[must_use]
    pub fn new(pairs: usize, quick: bool, scale: f64) -> Settings {
        let progress = ProgressBar::new_spinner();
        progress.enable_steady_tick(Duration::from_millis(200));
        let pairs = if quick { pairs.min(2) } else { pairs };
        let share = if quick { 0.02 } else { 1.0 };
        Settings { pairs, share, scale: scale * share, database: None, progress }
    }

    /// So many of something, or the share of it that is wanted.
    #[must_use]
    pub fn count(&self, full: u64) -> u64 {
        ((full as f64 * self.share) as u64).max(1_000)
    }

    /// So many seconds, or the share of it that is wanted.
    #[must_use]
    pub fn seconds(&self, full: f64) -> Duration {
        Duration::from_secs_f64((full * self.share).max(0.2))
    }

    /// Says what goes on, on a terminal.
    pub fn tell(&self, what: &str) {
        self.progress.set_message(what.to_owned());
    }
}

/// Measures a row.
pub type Measure = fn(&Settings) -> anyhow::Result<Row>;

const ROWS: [(Which, &str, Measure); 11] = [
    (Which::Holds, "holds", http::holds),
    (Which::Batch, "batch", http::batch),
    (Which::Engine, "engine", engine::row),
    (Which::Core, "core", rules::row),
    (Which::Recovery, "recovery", recovery::row),
    (Which::Memory, "memory", memory::row),
    (Which::Growth, "growth", growth::row),
    (Which::Bus, "bus", bus::row),
    (Which::Postgres, "postgres", postgres::row),
    (Which::Redis, "redis", redis::row),
    (Which::Bridge, "bridge", bridge::row),
];

/// The rows that are meant, each once, with their names.
pub fn chosen(which: &[Which]) -> impl Iterator<Item = (&'static str, Measure)> {
    let is_chosen = |row: &Which| which.contains(&Which::All) || which.contains(row);
    let rows = ROWS.into_iter().filter(move |(row, ..)| is_chosen(row));
    rows.map(|(_, name, measure)| (name, measure))
}

/// What kind of machine this is: how many cores, of what.
#[must_use]
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value("model name").unwrap_or_else(|| "unknown processor".to_owned());
    let flags = value("flags").unwrap_or_default();
    let virtual_machine = flags.split(' ').any(|flag| flag == "hypervisor");
    let kind = if virtual_machine { ", shared, of a virtual machine" } else { "" };
    format!("{cores} cores{kind} ({model})")
}
