//! A day of sales at a thousand a second, on a simulated clock: each a hold and its claim two
//! seconds later, and one hold in ten that is left to run out.

use std::ops::Add;
use std::time::Duration;

use anyhow::ensure;
use onsale_core::{Action, Time};
use rustix::time::{ClockId, clock_gettime};

use super::super::Settings;
use super::super::drive::BATCH;
use super::super::engine::opened_shard;
use super::super::recovery::reopen;
use super::super::report::Table;
use super::super::site::folder;
use super::super::workload::Workload;
use super::{MIB, disk_mib};

/// Sales of a whole day.
const SALES: f64 = 86_400_000.0;
/// Microseconds from one to the next.
const EVERY_US: u64 = 1_000;
/// So many holds later a hold is claimed.
const CLAIMED_AFTER: u64 = 2_000;
/// One hold in so many is not.
const ABANDONED: u64 = 10;
/// How often to look, and to start again.
const LOOKS: u64 = 8;
/// Upkeep is done every so many sales, as the server does it beside; its time is not the sale's.
const KEPT_UP_EVERY: u64 = 50_000;
/// When the day begins.
const MORNING_US: u64 = 1_000_000_000_000;

/// The time, and the processor's on this thread.
#[derive(Clone, Copy, Default)]
struct Clocks {
    wall: Duration,
    thread: Duration,
}

impl Clocks {
    fn now() -> Clocks {
        let [wall, thread] = [ClockId::Monotonic, ClockId::ThreadCPUTime].map(|clock| {
            Duration::try_from(clock_gettime(clock)).expect("clocks do not go below zero")
        });
        Clocks { wall, thread }
    }

    fn since(self) -> Clocks {
        let now = Clocks::now();
        Clocks { wall: now.wall - self.wall, thread: now.thread - self.thread }
    }
}

impl Add for Clocks {
    type Output = Clocks;

    fn add(self, other: Clocks) -> Clocks {
        Clocks { wall: self.wall + other.wall, thread: self.thread + other.thread }
    }
}

/// A day, or the share of it that is wanted.
///
/// # Errors
/// The disk fails, or a sale is refused.
pub fn table(settings: &Settings) -> anyhow::Result<Table> {
    let sales = ((SALES * settings.scale) as u64).max(4 * CLAIMED_AFTER);
    let workload = Workload { price: 0, hold_seconds: 600, events: 20, ..Workload::hot(sales) };
    let folder = folder()?;
    let mut drive = opened_shard(folder.path(), workload)?;
    let mut lines = Vec::new();
    let mut number = 0;
    for look in 1..=LOOKS {
        let until = sales * look / LOOKS;
        settings.tell(&format!("growth: {number} of {sales} sales of a day"));
        let (began, first, mut upkeep) = (Clocks::now(), number, Clocks::default());
        while number < until {
            let now = Time((MORNING_US + number * EVERY_US) as i64);
            drive.submit(now, Box::new(workload.hold(number)))?;
            let claimed = number.checked_sub(CLAIMED_AFTER);
            if let Some(claimed) = claimed.filter(|claimed| claimed % ABANDONED != 0) {
                let claim = workload.claim(claimed);
                debug_assert!(matches!(claim.action, Action::ClaimHold { .. }));
                drive.submit(now, Box::new(claim))?;
            }
            if number.is_multiple_of(BATCH as u64) {
                while drive.expire(now) {
                    drive.cycle()?;
                }
            }
            number += 1;
            if number.is_multiple_of(KEPT_UP_EVERY) {
                let began = Clocks::now();
                drive.keep_up()?;
                upkeep = upkeep + began.since();
            }
        }
        drive.flush()?;
        let (all, sales) = (began.since(), (number - first) as f64);
        let each_us = |all: Duration, upkeep: Duration| (all - upkeep).as_secs_f64() * 1e6 / sales;
        drive.rest()?;
        drive.keep_up()?;
        let state_mib = drive.shard.figures().state_bytes as f64 / MIB;
        let before = drive.shard.sale().counts();
        drop(drive);
        let disk_mib = disk_mib(folder.path())?;
        let (again, starts) = reopen(folder.path())?;
        drive = again;
        // As the server's does at once: ids that the start left out come into the filter.
        drive.keep_up()?;
        let after = drive.shard.sale().counts();
        ensure!(before == after, "{before:?} before a start, {after:?} after it");
        let hours = (number * EVERY_US) as f64 / 3.6e9;
        lines.push(vec![
            hours,
            number as f64,
            each_us(all.wall, upkeep.wall),
            each_us(all.thread, upkeep.thread),
            state_mib,
            disk_mib,
            starts.seconds,
            starts.without,
        ]);
    }
    Ok(Table {
        title: "A day of sales at 1,000 a second".to_owned(),
        plot: "growth-day",
        columns: vec![
            "hours",
            "holds",
            "durable hold and claim, µs",
            "of it on the shard's thread, µs",
            "state, MiB",
            "disk, MiB",
            "start, s",
            "start without snapshots, s",
        ],
        lines,
    })
}
