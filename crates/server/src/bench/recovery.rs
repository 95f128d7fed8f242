//! The row `recovery`: how fast a shard and a server come back.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use onsale_core::{Event, Sale, Time};
use onsale_engine::{Folder, Options, Shard};

use super::drive::{Drive, SEEDS, SEGMENT_BYTES};
use super::engine::opened_shard;
use super::report::{Figure, Goal, Row, Unit};
use super::rules::time_of;
use super::site::{Site, folder};
use super::stats::{Side, interleaved};
use super::workload::Workload;
use super::{Settings, apart::Apart};
use crate::cli::bench::RECOVERY_ABOUT;

/// Live holds at a start.
const LIVE: u64 = 200_000;
/// How long a server is given to make a snapshot, in seconds.
const SNAPSHOT_PATIENCE: f64 = 10.0;

/// `onsale bench recovery`
///
/// # Errors
/// The disk fails, or what comes back is not what was there.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("recovery", RECOVERY_ABOUT);
    replays(settings, &mut row)?;
    starts(settings, &mut row)?;
    Ok(row)
}

/// The whole journal replayed, beside the loop that applies the same events.
fn replays(settings: &Settings, row: &mut Row) -> anyhow::Result<()> {
    let workload = Workload::wide(settings.count(1_000_000));
    settings.tell("recovery: a journal is written");
    let folder = folder()?;
    let mut drive = opened_shard(folder.path(), workload)?;
    for number in 0..workload.customers {
        drive.submit(time_of(number), Box::new(workload.hold(number)))?;
    }
    drive.rest()?;
    let reader = drive.shard.info().reader;
    let mut bytes = Vec::new();
    reader.read(0, usize::MAX, usize::MAX, &mut |_, record| bytes.push(record.to_vec()))?;
    let (hash, records) = (drive.shard.sale().hash(), bytes.len() as f64);
    drop((drive, reader));
    let decode = |bytes: &[Vec<u8>]| -> anyhow::Result<Vec<Event>> {
        Ok(bytes.iter().map(|record| onsale_codec::decode(record)).collect::<Result<_, _>>()?)
    };
    let events = decode(&bytes)?;
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("recovery: {side:?}"));
        let (seconds, found) = match side {
            Side::Limit => apply_all(&events)?,
            Side::Product => open(folder.path())?,
        };
        ensure!(found == hash, "{side:?} came to another state");
        Ok(records / seconds)
    })?;
    let name = "records replayed, 100 events, 1,000,000 customers";
    let limit = ("bare loop: apply, already decoded", limits);
    let rate = Figure::beside(name, Unit::PerSecond, products, limit).goal(Goal::OfLimit(0.6));
    row.figures.push(rate);
    let began = Instant::now();
    decode(&bytes)?;
    row.notes.push(format!(
        "Decoding, which the limit leaves out, takes {} ns of a record.",
        super::report::number((began.elapsed().as_secs_f64() * 1e9 / records).round())
    ));
    Ok(())
}

fn apply_all(events: &[Event]) -> anyhow::Result<(f64, u128)> {
    let mut sale = Sale::new();
    let began = Instant::now();
    for (position, event) in (1..).zip(events) {
        sale.apply(position, event)?;
    }
    Ok((began.elapsed().as_secs_f64(), sale.hash()))
}

fn open(data: &Path) -> anyhow::Result<(f64, u128)> {
    let began = Instant::now();
    let folder = Folder::open(data, 1, &SEEDS)?;
    let shard: Shard<()> = folder
        .shards(&Options::new(SEGMENT_BYTES), &SEEDS, Time(0))?
        .pop()
        .context("a folder of one shard")?;
    Ok((began.elapsed().as_secs_f64(), shard.sale().hash()))
}

/// The server's start after many sales, with live holds.
fn starts(settings: &Settings, row: &mut Row) -> anyhow::Result<()> {
    let apart = Apart::new()?;
    let live = settings.count(LIVE);
    for sales in [live, settings.count(2_000_000)] {
        settings.tell(&format!("recovery: {sales} sales before a start"));
        let mut folder = folder()?;
        sell(folder.path(), sales, live)?;
        let snapshot = make_snapshot(&mut folder, &apart, settings.seconds(SNAPSHOT_PATIENCE))?;
        let mut seconds = Vec::new();
        for _ in 0..settings.pairs {
            let began = Instant::now();
            let site = Site::over(folder, &apart.cores)?;
            seconds.push(began.elapsed().as_secs_f64());
            folder = site.stop()?;
        }
        let [sales, live] = [sales, live].map(onsale_rush::group);
        let from = if snapshot { "a snapshot" } else { "no snapshot" };
        let name = format!("start of the server, {sales} sales, {live} live holds, {from}");
        row.figures.push(Figure::alone(name, Unit::Seconds, seconds).goal(Goal::AtMost(1.0)));
    }
    Ok(())
}

/// Writes a journal of so many sales and live holds, as if it had just happened.
fn sell(data: &Path, sales: u64, live: u64) -> anyhow::Result<()> {
    let workload = Workload { price: 0, ..Workload::wide(sales + live) };
    let mut drive = opened_shard(data, workload)?;
    let begin = crate::shards::wall_time().0 - (sales + live) as i64;
    for number in 0..sales + live {
        let command = match number < sales {
            true => workload.buy(number, 1),
            false => workload.hold(number),
        };
        drive.submit(Time(begin + number as i64), Box::new(command))?;
    }
    drive.rest()?;
    let counts = drive.shard.sale().counts();
    ensure!((counts.orders as u64, counts.holds as u64) == (sales, live), "{counts:?}");
    Ok(())
}

/// Lets a server work over the folder until it has made a snapshot, if it makes one at all.
fn make_snapshot(
    folder: &mut tempfile::TempDir,
    apart: &Apart,
    patience: Duration,
) -> anyhow::Result<bool> {
    let site = Site::over(std::mem::replace(folder, super::site::folder()?), &apart.cores)?;
    let shard = Folder::shard_path(site.folder.path(), 0);
    let began = Instant::now();
    let mut found = has_snapshot(&shard)?;
    while !found && began.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(50));
        found = has_snapshot(&shard)?;
    }
    *folder = site.stop()?;
    Ok(found)
}

fn has_snapshot(shard: &Path) -> anyhow::Result<bool> {
    let names = std::fs::read_dir(shard)?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<std::io::Result<_>>()?;
    Ok(names.iter().any(|name| name.to_string_lossy().ends_with(".snap")))
}

/// Opens a folder and gives the seconds that it took: for the other rows.
///
/// # Errors
/// It can't be opened.
pub fn reopen(data: &Path) -> anyhow::Result<(Drive, f64)> {
    let (seconds, _) = {
        let began = Instant::now();
        let folder = Folder::open(data, 1, &SEEDS)?;
        let shards: Vec<Shard<()>> =
            folder.shards(&Options::new(SEGMENT_BYTES), &SEEDS, Time(0))?;
        (began.elapsed().as_secs_f64(), shards)
    };
    Ok((Drive::open(data, Time(0))?, seconds))
}
