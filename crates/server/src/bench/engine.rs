//! The row `engine`: one shard in this process, beside the loop that it is made of.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use onsale_core::{Command, Event, Time};
use onsale_engine::LOOK_AHEAD;
use onsale_journal::{SpareJob, WriteJob};

use super::Settings;
use super::drive::{BATCH, Drive, Helper, new_journal};
use super::report::{Figure, Goal, Row, Unit};
use super::rules::{carry_out, carry_out_all, opened, time_of};
use super::site::{folder, holds_in};
use super::stats::{Side, interleaved};
use super::workload::Workload;
use crate::cli::bench::ENGINE_ABOUT;

/// What a batch is padded to, as the journal does.
const BLOCK_BYTES: usize = 4_096;

/// `onsale bench engine`
///
/// # Errors
/// The disk fails, or a hold is refused.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("engine", ENGINE_ABOUT);
    let workload = Workload::wide(settings.count(1_000_000));
    settings.tell("engine: what its records are");
    let records = Records::of(workload)?;
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("engine: {side:?}"));
        match side {
            Side::Limit => Ok([bare_loop(workload, &records)?, journal_alone(&records)?]),
            Side::Product => Ok([product(workload, &records)?; 2]),
        }
    })?;
    let holds = workload.customers as f64;
    let rates = |all: &[[f64; 2]], which: usize| all.iter().map(|s| holds / s[which]).collect();
    let name = "durable holds, 100 events, 1,000,000 customers";
    let loop_name = "bare loop: decide, apply, encode, write";
    let limit = (loop_name, rates(&limits, 0));
    let rate = Figure::beside(name, Unit::PerSecond, rates(&products, 0), limit);
    row.figures.push(rate.goal(Goal::OfLimit(0.6)).goal(Goal::AtLeast(1_000_000.0)));
    let limit = ("the journal alone", rates(&limits, 1));
    row.figures.push(Figure::beside(name, Unit::PerSecond, rates(&products, 0), limit));
    row.notes.push(format!(
        "All write the same {} bytes of records, {BATCH} a batch and a sync, on a helper thread \
         while the next batch fills. The bare loop has one file that is preallocated whole; the \
         journal makes its segments meanwhile.",
        super::report::number(records.bytes.len() as f64)
    ));
    Ok(row)
}

/// The records of a workload's holds.
pub struct Records {
    /// One after the other.
    pub bytes: Vec<u8>,
    /// Where each ends.
    pub ends: Vec<usize>,
}

impl Records {
    fn of(workload: Workload) -> anyhow::Result<Records> {
        let mut sale = opened(workload)?;
        let mut records = Records { bytes: Vec::new(), ends: Vec::new() };
        for number in 0..workload.customers {
            carry_out(&mut sale, &workload.hold(number), time_of(number), &mut |event| {
                onsale_codec::encode(event, &mut records.bytes);
                records.ends.push(records.bytes.len());
            })?;
        }
        Ok(records)
    }

    /// The records, each by itself.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

fn commands(workload: Workload) -> Vec<Command> {
    (0..workload.customers).map(|number| workload.hold(number)).collect()
}

/// A shard that has all events of a workload on sale.
///
/// # Errors
/// The disk fails, or one is refused.
pub fn opened_shard(data: &Path, workload: Workload) -> anyhow::Result<Drive> {
    put_on_sale(Drive::open(data, Time(0))?, workload)
}

/// Puts a workload's events on sale.
///
/// # Errors
/// The disk fails, or one is refused.
pub fn put_on_sale(mut drive: Drive, workload: Workload) -> anyhow::Result<Drive> {
    for command in workload.openings() {
        drive.submit(time_of(0), Box::new(command))?;
    }
    drive.rest()?;
    drive.granted = 0;
    Ok(drive)
}

/// Seconds for all holds through a shard.
fn product(workload: Workload, records: &Records) -> anyhow::Result<f64> {
    let folder = folder()?;
    let mut drive = opened_shard(folder.path(), workload)?;
    let commands = commands(workload);
    let began = Instant::now();
    let (mut keys, mut number) = (Vec::new(), 0);
    for commands in commands.chunks(LOOK_AHEAD) {
        keys.clear();
        drive.shard.look_ahead(commands, &mut keys);
        for (command, keys) in commands.iter().zip(&keys) {
            drive.submit_told(time_of(number), command, keys)?;
            number += 1;
        }
    }
    drive.flush()?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(drive.granted == workload.customers, "{} were granted", drive.granted);
    drive.rest()?;
    drop(drive);
    let (holds, bytes) = holds_in(folder.path())?;
    ensure!((holds, bytes) == (workload.customers, records.bytes.len() as u64), "other bytes");
    Ok(seconds)
}

/// Seconds for the same with nothing around it: decide, apply, encode, write.
fn bare_loop(workload: Workload, records: &Records) -> anyhow::Result<f64> {
    let folder = folder()?;
    let batches = records.ends.len() / BATCH + 1;
    let file = preallocated(folder.path(), records.bytes.len() + batches * BLOCK_BYTES)?;
    let mut sale = opened(workload)?;
    let commands = commands(workload);
    let mut writer = Helper::start(move |(buffer, at): (Vec<u8>, u64)| {
        file.write_all_at(&buffer, at).and_then(|()| file.sync_data()).map(|()| buffer)
    });
    let (mut buffer, mut idle) = (Vec::new(), Vec::new());
    let (mut at, mut bytes) = (0, 0);
    let began = Instant::now();
    for (number, commands) in (0..).zip(commands.chunks(BATCH)) {
        let encode = &mut |event: &Event| onsale_codec::encode(event, &mut buffer);
        carry_out_all(&mut sale, commands, number * BATCH as u64, encode)?;
        bytes += buffer.len();
        buffer.resize(buffer.len().next_multiple_of(BLOCK_BYTES), 0);
        let padded = buffer.len() as u64;
        if let Some(done) = writer.wait() {
            idle = done?;
        }
        idle.clear();
        writer.give((std::mem::replace(&mut buffer, std::mem::take(&mut idle)), at));
        at += padded;
    }
    writer.wait().context("the last batch")??;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(bytes == records.bytes.len(), "{bytes} bytes were written");
    Ok(seconds)
}

/// A file of zeros, on the disk.
fn preallocated(folder: &Path, bytes: usize) -> anyhow::Result<File> {
    let file = File::create(folder.join("bare"))?;
    let zeros = vec![0; 1 << 20];
    for at in (0..bytes as u64).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Seconds for the same records through the journal, without rules and state.
fn journal_alone(records: &Records) -> anyhow::Result<f64> {
    let folder = folder()?;
    let mut writer = new_journal(folder.path())?;
    let (mut batches, mut spares) = (Helper::start(WriteJob::run), Helper::start(SpareJob::run));
    while let Some(job) = writer.prepare() {
        writer.prepared(job.run())?;
    }
    let before = writer.last_position();
    let began = Instant::now();
    for (number, record) in (1..).zip(records.iter()) {
        while !writer.fits(record.len() + onsale_journal::RECORD_OVERHEAD_BYTES) {
            writer.prepared(spares.wait().context("no room, and no spare is made")?)?;
        }
        writer.append(&mut |buffer| buffer.extend_from_slice(record));
        if number % BATCH == 0 || number == records.ends.len() {
            if let Some(done) = batches.wait() {
                writer.finish(done)?;
            }
            batches.give(writer.seal().context("a batch is open")?);
            if let Some(done) = spares.poll() {
                writer.prepared(done)?;
            }
            if let Some(job) = writer.prepare() {
                spares.give(job);
            }
        }
    }
    writer.finish(batches.wait().context("the last batch")?)?;
    let seconds = began.elapsed().as_secs_f64();
    let written = writer.durable() - before;
    ensure!(written as usize == records.ends.len(), "{written} records are durable");
    Ok(seconds)
}
