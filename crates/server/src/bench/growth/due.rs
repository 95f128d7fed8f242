//! A million holds that run out in the same instant, while the server sells at a steady pace: how
//! long the longest sale waits.

use std::time::Duration;

use anyhow::ensure;
use onsale_core::Time;
use onsale_rush::hammer::{self, Pace, Plan};

use super::super::Settings;
use super::super::apart::Apart;
use super::super::engine::opened_shard;
use super::super::report::{Figure, Goal, Row, Unit, number};
use super::super::site::{Kind, Site, folder};
use super::super::workload::Workload;
use crate::shards::wall_time;

/// Holds that run out.
const HOLDS: u64 = 1_000_000;
/// How long they live: enough to write them and to start a server over them.
const HOLD_SECONDS: u32 = 25;
/// When the sales begin, before the holds run out.
const BEFORE: Duration = Duration::from_secs(2);
/// Sales a second.
const PACE: f64 = 1_000.0;

/// Measures it, and the same without holds that run out.
///
/// # Errors
/// A server does not start, or the holds did not run out while it sold.
pub fn measure(settings: &Settings, row: &mut Row) -> anyhow::Result<()> {
    let apart = Apart::new()?;
    let (mut quiet, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..settings.pairs.min(3) {
        settings.tell("growth: sales while nothing runs out");
        quiet.push(longest_ms(0, &apart, settings)?);
        settings.tell("growth: sales while a million holds run out at once");
        busy.push(longest_ms(settings.count(HOLDS), &apart, settings)?);
    }
    let holds = number(settings.count(HOLDS) as f64);
    let name = format!("longest wait of a sale while {holds} holds run out at once");
    let limit = ("while none does", quiet);
    let figure = Figure::beside(name, Unit::Milliseconds, busy, limit);
    row.figures.push(figure.goal(Goal::AtMost(50.0)));
    row.notes.push(format!(
        "Sales come at {}/s over 64 connections, from {} s before to some seconds after; each counts \
         from its intended time.",
        number(PACE),
        BEFORE.as_secs()
    ));
    Ok(())
}

/// The longest latency of sales at a steady pace, around the moment when so many holds run out.
fn longest_ms(holds: u64, apart: &Apart, settings: &Settings) -> anyhow::Result<f64> {
    let seconds = if settings.share < 1.0 { 6 } else { HOLD_SECONDS };
    let folder = folder()?;
    let workload = Workload { hold_seconds: seconds, ..Workload::hot(holds.max(1)) };
    let mut drive = opened_shard(folder.path(), workload)?;
    let placed = wall_time();
    for number in 0..holds {
        // Not the numbers that the hammer has.
        drive.submit(placed, Box::new(workload.hold(number)))?;
    }
    drive.rest()?;
    drop(drive);
    let due = Time(placed.0 + i64::from(seconds) * 1_000_000);
    let site = Site::over(folder, &apart.cores)?;
    let left_us = due.0 - wall_time().0 - BEFORE.as_micros() as i64;
    ensure!(left_us >= 0, "the machine is too slow: the holds ran out before the server started");
    if holds > 0 {
        std::thread::sleep(Duration::from_micros(left_us as u64));
    }
    let duration = BEFORE + settings.seconds(6.0);
    let plan = Kind::Hold.plan(site.address, 64, duration);
    let pace = Pace::PerSecond(PACE);
    let hits = hammer::run(Plan { pace, warm_up: Duration::from_millis(200), ..plan })?;
    ensure!(hits.refused_total == 0, "{hits:?}");
    let held = site.held()?;
    ensure!(held == hits.granted_total, "{held} are held, {} were sold", hits.granted_total);
    site.stop()?;
    Ok(hits.latency_ms.max)
}
