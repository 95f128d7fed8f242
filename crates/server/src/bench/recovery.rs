//! The row `recovery`: how fast a shard and a server come back.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use onsale_core::{Event, Sale, Time};
use onsale_engine::{Folder, Options, Shard};

use super::drive::{Drive, SEEDS, SEGMENT_BYTES};
use super::engine::{opened_shard, put_on_sale};
use super::report::{Figure, Goal, Row, Unit};
use super::rules::time_of;
use super::site::{Site, folder};
use super::stats::{Side, interleaved};
use super::workload::Workload;
use super::{Settings, apart::Apart};
use crate::cli::bench::RECOVERY_ABOUT;

/// Live holds at a start.
const LIVE: u64 = 200_000;
/// How often the upkeep is asked what there is to do while a segment fills.
const KEEP_UP_PER_SEGMENT: u64 = 4;
/// Bytes of a sale's record, about.
const RECORD_BYTES: u64 = 150;

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

/// The server's start after many sales, with live holds: from the snapshot that the upkeep made while
/// they were sold, and the same folder without it.
fn starts(settings: &Settings, row: &mut Row) -> anyhow::Result<()> {
    let apart = Apart::new()?;
    let live = settings.count(LIVE);
    for sales in [live, settings.count(2_000_000)] {
        settings.tell(&format!("recovery: {sales} sales before a start"));
        let mut folder = folder()?;
        let after = sell(folder.path(), sales, live, &options(settings))?;
        let [sales, live] = [sales, live].map(onsale_rush::group);
        let name = format!("start of the server, {sales} sales, {live} live holds");
        if let Some(after) = after {
            let (back, seconds) = start_times(folder, &apart, settings.pairs, &|_| Ok(()))?;
            folder = back;
            let after = onsale_rush::group(after);
            let name = format!("{name}, from a snapshot and {after} records after it");
            row.figures.push(Figure::alone(name, Unit::Seconds, seconds).goal(Goal::AtMost(1.0)));
        }
        let (_, seconds) = start_times(folder, &apart, settings.pairs, &|data| {
            snapshots(data)?.iter().try_for_each(|path| Ok(std::fs::remove_file(path)?))
        })?;
        // Before the first snapshot there is no other way.
        let figure = Figure::alone(format!("{name}, without a snapshot"), Unit::Seconds, seconds);
        row.figures.push(if after.is_none() { figure.goal(Goal::AtMost(1.0)) } else { figure });
    }
    Ok(())
}

/// Starts a server over the folder so many times, and gives the seconds until it serves.
fn start_times(
    mut folder: tempfile::TempDir,
    apart: &Apart,
    times: usize,
    before: &dyn Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<(tempfile::TempDir, Vec<f64>)> {
    let mut seconds = Vec::new();
    for _ in 0..times {
        before(folder.path())?;
        let began = Instant::now();
        let site = Site::over(folder, &apart.cores)?;
        seconds.push(began.elapsed().as_secs_f64());
        folder = site.stop()?;
    }
    Ok((folder, seconds))
}

/// As the server has them; for a quick look, smaller by as much as there are fewer sales.
fn options(settings: &Settings) -> Options {
    let share = |bytes: u64| {
        let blocks = (bytes as f64 * settings.share) as u64 >> 20;
        blocks.max(1) << 20
    };
    let mut options = Options::new(share(SEGMENT_BYTES));
    options.rules.snapshot_bytes = share(options.rules.snapshot_bytes);
    options
}

/// Commands after which the upkeep is asked what there is to do.
fn keep_up_every(options: &Options) -> u64 {
    options.segment_bytes / (KEEP_UP_PER_SEGMENT * RECORD_BYTES)
}

/// Writes a journal of so many sales and live holds, as if it had just happened, with the upkeep beside
/// it. Gives how many records came after the newest snapshot; none where there is none yet.
fn sell(data: &Path, sales: u64, live: u64, options: &Options) -> anyhow::Result<Option<u64>> {
    let workload = Workload { price: 0, ..Workload::wide(sales + live) };
    let mut drive = put_on_sale(Drive::open_with(data, Time(0), options)?, workload)?;
    let begin = crate::shards::wall_time().0 - (sales + live) as i64;
    for number in 0..sales + live {
        let command = match number < sales {
            true => workload.buy(number, 1),
            false => workload.hold(number),
        };
        drive.submit(Time(begin + number as i64), Box::new(command))?;
        if number.is_multiple_of(keep_up_every(options)) {
            drive.keep_up()?;
        }
    }
    drive.rest()?;
    let counts = drive.shard.sale().counts();
    ensure!((counts.orders as u64, counts.holds as u64) == (sales, live), "{counts:?}");
    let figures = drive.shard.figures();
    Ok((figures.snapshot > 0).then(|| figures.position - figures.snapshot))
}

/// The snapshots in a folder of one shard.
fn snapshots(data: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let paths = std::fs::read_dir(Folder::shard_path(data, 0))?.map(|entry| Ok(entry?.path()));
    let paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
    let is_one = |path: &PathBuf| path.extension().is_some_and(|end| end == "snap");
    Ok(paths.into_iter().filter(is_one).collect())
}

/// Opens a folder, first as if it had no snapshots, then as it is: for the other rows. Gives the seconds
/// of both.
///
/// # Errors
/// It can't be opened, or comes to another state without them.
pub fn reopen(data: &Path) -> anyhow::Result<(Drive, Starts)> {
    let (kept, away) = (snapshots(data)?, tempfile::tempdir_in(data)?);
    let put = |path: &Path| away.path().join(path.file_name().unwrap_or_default());
    kept.iter().try_for_each(|path| std::fs::rename(path, put(path)))?;
    let (without, replayed) = open(data)?;
    kept.iter().try_for_each(|path| std::fs::rename(put(path), path))?;
    let (seconds, restored) = open(data)?;
    ensure!(replayed == restored, "a snapshot is of another state than the journal");
    Ok((Drive::open(data, Time(0))?, Starts { seconds, without }))
}

/// How long a start takes, in seconds.
pub struct Starts {
    /// From the newest snapshot, if there is one.
    pub seconds: f64,
    /// From the journal alone.
    pub without: f64,
}
