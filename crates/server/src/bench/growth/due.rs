//! A million holds that run out in the same instant, while the server sells at a steady pace: how
//! long the longest sale waits.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use onsale_core::command::Expects;
use onsale_core::{Action, Command, Time};
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
/// How long they live. A server's clock begins where the last record ends, so they run out this
/// long after its start, however long they took to write.
const HOLD_SECONDS: u32 = 3;
/// How far ahead of the wall they are written.
const AHEAD_US: i64 = 3_600_000_000;
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
        "Sales come at {}/s over 64 connections, from some {HOLD_SECONDS} s before to some seconds \
         after; each counts from its intended time.",
        number(PACE)
    ));
    Ok(())
}

/// The longest latency of sales at a steady pace, around the moment when so many holds run out.
fn longest_ms(holds: u64, apart: &Apart, settings: &Settings) -> anyhow::Result<f64> {
    let folder = folder()?;
    let workload = Workload { hold_seconds: HOLD_SECONDS, ..Workload::hot(holds.max(1)) };
    let mut drive = opened_shard(folder.path(), workload)?;
    let placed = Time(wall_time().0 + AHEAD_US);
    for number in 0..holds {
        drive.submit(placed, Box::new(workload.hold(number)))?;
    }
    // What is sold meanwhile is to stay, so that it can be counted.
    let mut define = Workload { hold_seconds: 86_400, ..workload }.openings().next();
    if let Some(Command { action: Action::DefineEvent { expects, .. }, .. }) = &mut define {
        *expects = Expects::Any;
    }
    drive.submit(placed, Box::new(define.context("an event has a definition")?))?;
    drive.rest()?;
    drop(drive);
    let site = Site::over(folder, &apart.cores)?;
    let duration = Duration::from_secs(u64::from(HOLD_SECONDS)) + settings.seconds(6.0);
    let plan = Kind::Hold.plan(site.address, 64, duration);
    let pace = Pace::PerSecond(PACE);
    let hits = hammer::run(Plan { pace, warm_up: Duration::from_millis(200), ..plan })?;
    ensure!(hits.refused_total == 0, "{hits:?}");
    let held = site.held()?;
    ensure!(held == hits.granted_total, "{held} are held, {} were sold", hits.granted_total);
    site.stop()?;
    Ok(hits.latency_ms.max)
}
