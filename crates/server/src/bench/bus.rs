//! The row `bus`: streams on files as the server keeps them, beside the journal that they are made of, and the
//! relay to Redis beside that Redis asked plainly.
//!
//! Each run has a folder of its own, and a runtime of one thread, as the server has for what is beside the sale.

#[cfg(feature = "redis")]
pub(in crate::bench) mod redis;
mod tail;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use onsale_bus::file::FileOptions;
use onsale_bus::{Bus, Entry, StreamName, bench};
use onsale_journal::{RECORD_OVERHEAD_BYTES, SpareJob, WriteJob};
use tokio::runtime::Runtime;

use super::Settings;
use super::drive::{Helper, new_journal_of};
use super::report::{Figure, Goal, Row, Unit, number};
use super::site::{bare_records_in, folder};
use super::stats::{Middle, Side, interleaved};
use crate::cli::bench::BUS_ABOUT;

/// Records that are appended, and read: for seconds, since what a disk takes in a burst it does not take for long.
const RECORDS: u64 = 20_000_000;
/// The goal of appends, in records a second.
const APPENDED_MIN: f64 = 1_000_000.0;
/// Records to an append.
const BATCH: usize = 2_000;
/// Appends under way at a time.
const AT_ONCE: usize = 4;
/// Bytes of a payload; a key has about seven.
const PAYLOAD_BYTES: usize = 100;

/// `onsale bench bus`
///
/// # Errors
/// The disk or Redis fails, or a side did something else than was asked of it.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("bus", BUS_ABOUT);
    let batches = (settings.count(RECORDS) as usize).div_ceil(BATCH);
    let appends = Appends { entries: bench::entries(BATCH, PAYLOAD_BYTES), batches };
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("bus: append, {side:?}"));
        match side {
            Side::Limit => appends.to_journal(),
            Side::Product => appends.to_bus(),
        }
    })?;
    let per_second = Middle::of(&products).median;
    let limit = ("the journal alone", limits);
    let name = format!("records appended, {} at a time, durable", number(BATCH as f64));
    let figure = Figure::beside(name, Unit::PerSecond, products, limit);
    row.figures.push(figure.goal(Goal::AtLeast(APPENDED_MIN)));
    row.figures.push(appends.read(settings)?);
    row.figures.extend(tail::cost(settings, &mut row.warnings)?);
    row.figures.extend(tail::lag(settings, per_second / 2.0, "half of the above")?);
    row.figures.extend(tail::lag(settings, APPENDED_MIN, "the goal of appends")?);
    row.notes.push(format!(
        "Both sides append the same {} bytes of records to one shard, {AT_ONCE} appends under way at a time, with one \
         sync for what came meanwhile.",
        number((appends.bytes() * batches) as f64)
    ));
    #[cfg(feature = "redis")]
    redis::add(settings, &mut row)?;
    #[cfg(not(feature = "redis"))]
    row.notes.push("The relay is left out: this program was built without Redis.".to_owned());
    Ok(row)
}

/// A runtime as the server has it for its bus.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("the names keep the rule")
}

/// What is appended: the same batch again and again.
struct Appends {
    entries: Vec<Entry>,
    batches: usize,
}

impl Appends {
    fn count(&self) -> usize {
        self.entries.len() * self.batches
    }

    /// A batch as records of the journal, as the bus frames them: length of the key, key, time, payload.
    fn records(&self) -> impl Iterator<Item = Vec<u8>> {
        self.entries.iter().map(|entry| {
            let length = u8::try_from(entry.key.len()).expect("a short key");
            [&[length], &*entry.key, &[0; 8], &*entry.payload].concat()
        })
    }

    /// Bytes of a batch's records.
    fn bytes(&self) -> usize {
        self.records().map(|record| record.len()).sum()
    }

    /// Whether a stopped journal has just these records.
    fn check(&self, journal: &Path) -> anyhow::Result<()> {
        let found = bare_records_in(journal)?;
        let wanted = (self.count() as u64, (self.bytes() * self.batches) as u64);
        ensure!(found == wanted, "{found:?} records and bytes are there, not {wanted:?}");
        Ok(())
    }

    /// Records a second through the bus.
    fn to_bus(&self) -> anyhow::Result<f64> {
        let (folder, runtime) = (folder()?, runtime()?);
        let rate = runtime.block_on(async {
            let bus = Bus::file(folder.path()).await?;
            bus.create(&stream("append"), 1).await?;
            let entries = self.entries.clone();
            let rate = bench::append(&bus, &stream("append"), entries, self.batches, AT_ONCE).await;
            bus.close().await?;
            rate
        })?;
        self.check(&folder.path().join("streams/append/shard-00"))?;
        Ok(rate)
    }

    /// Records a second to a journal, framed beforehand: what has come is written and synced on a helper thread while
    /// the next comes, as much as the bus has under way.
    fn to_journal(&self) -> anyhow::Result<f64> {
        let folder = folder()?;
        let records: Vec<Vec<u8>> = self.records().collect();
        let mut writer = new_journal_of(folder.path(), FileOptions::default().segment_bytes)?;
        let (mut batches, mut spares) =
            (Helper::start(WriteJob::run), Helper::start(SpareJob::run));
        while let Some(job) = writer.prepare() {
            writer.prepared(job.run())?;
        }
        let mut open = 0;
        let begun = Instant::now();
        for number in 1..=self.batches {
            for record in &records {
                while !writer.fits(record.len() + RECORD_OVERHEAD_BYTES) {
                    writer.prepared(spares.wait().context("no room, and no spare is made")?)?;
                }
                writer.append(&mut |buffer| buffer.extend_from_slice(record));
            }
            open += 1;
            let is_last = number == self.batches;
            let done = if open == AT_ONCE || is_last { batches.wait() } else { batches.poll() };
            if let Some(done) = done {
                writer.finish(done)?;
            }
            if !batches.is_busy() {
                batches.give(writer.seal().context("a batch is open")?);
                open = 0;
            }
            if let Some(done) = spares.poll() {
                writer.prepared(done)?;
            }
            if let Some(job) = writer.prepare() {
                spares.give(job);
            }
        }
        writer.finish(batches.wait().context("the last batch")?)?;
        let seconds = begun.elapsed().as_secs_f64();
        // A spare that is still being made keeps the folder's lock.
        while spares.wait().is_some() {}
        drop((writer, batches, spares));
        self.check(folder.path())?;
        Ok(self.count() as f64 / seconds)
    }

    /// One reader of all that was appended, beside the same files read.
    fn read(&self, settings: &Settings) -> anyhow::Result<Figure> {
        let (folder, runtime) = (folder()?, runtime()?);
        let name = stream("read");
        let bus = runtime.block_on(async {
            let bus = Bus::file(folder.path()).await?;
            bus.create(&name, 1).await?;
            bench::append(&bus, &name, self.entries.clone(), self.batches, AT_ONCE).await?;
            anyhow::Ok(bus)
        })?;
        let journal = folder.path().join("streams/read/shard-00");
        let (limits, products) = interleaved(settings.pairs, |side| {
            settings.tell(&format!("bus: read, {side:?}"));
            match side {
                Side::Limit => Ok(self.count() as f64 / read_files(&journal)?),
                Side::Product => Ok(runtime.block_on(bench::read(&bus, &name))?),
            }
        })?;
        runtime.block_on(bus.close())?;
        let limit = ("the same files read", limits);
        let figure = Figure::beside("records read by one reader", Unit::PerSecond, products, limit);
        Ok(figure.goal(Goal::AtLeast(2_000_000.0)))
    }
}

/// Seconds to read all segments of a folder through one buffer.
fn read_files(journal: &Path) -> anyhow::Result<f64> {
    use std::io::Read as _;
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    for entry in std::fs::read_dir(journal)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "seg") {
            let mut file = std::fs::File::open(path)?;
            while file.read(&mut buffer)? > 0 {}
        }
    }
    Ok(begun.elapsed().as_secs_f64())
}
