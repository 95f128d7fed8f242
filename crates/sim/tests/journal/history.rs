//! A log driven at random over starts and ends, beside a plain list of what was appended.

use std::sync::Arc;

use onsale_journal::{
    Durability, Earlier, Error, Opened, Options, RECORD_OVERHEAD_BYTES, Reader, Room, SpareJob,
    Stores, WriteDone, WriteJob, Writer, open,
};
use onsale_sim::disk::FaultyDisk;
use onsale_sim::rng::Rng;

pub const LOG: u128 = 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978;

pub fn options(segment_bytes: u64) -> Options {
    let durability = Durability::Synced;
    Options { segment_bytes, log: LOG, shard: 3, generation: 1, durability }
}

/// What was appended, and how much of it may not be lost any more.
#[derive(Clone, Default)]
pub struct History {
    pub records: Vec<Vec<u8>>,
    /// The highest position that was said to be durable.
    pub durable: u64,
    /// Records from this position on were never given up; 0 or 1: none was.
    pub kept_from: u64,
    /// Whether the last life closed the log; none where it can't be told.
    pub closed: Option<bool>,
    /// Records made so far, cut ones too: so that no two are the same.
    made: u64,
}

impl History {
    /// A record that there never was.
    pub fn make(&mut self, rng: &mut Rng, bytes_max: usize) -> Vec<u8> {
        self.made += 1;
        let mut record = self.made.to_le_bytes().to_vec();
        record.resize(8 + rng.below(bytes_max), self.made as u8);
        record
    }

    /// Opens the log and compares. What was not kept, and did not have to be, is forgotten.
    ///
    /// The outer error is a rule that was broken; the inner one is the log's.
    pub fn open(
        &mut self,
        disk: &FaultyDisk,
        segment_bytes: u64,
    ) -> Result<Result<Opened, Error>, String> {
        self.open_from(Arc::new(disk.clone()).into(), options(segment_bytes), 0)
    }

    /// Opens the log from a position, and compares what is replayed and what the reader gives.
    pub fn open_from(
        &mut self,
        stores: Stores,
        options: Options,
        from: u64,
    ) -> Result<Result<Opened, Error>, String> {
        let mut last = from;
        let closed = self.closed.take();
        let opened = open(stores, options, from, &mut |position, record, earlier| {
            if position != last + 1 {
                return Err(format!("position {position} comes after {last}"));
            }
            last = position;
            if self.records.get(position as usize - 1).is_none_or(|appended| appended != record) {
                return Err(format!("another record than the one appended: {position}"));
            }
            self.check_earlier(position, earlier)
        });
        let opened = match opened {
            Ok(opened) => opened,
            Err(Error::Replay { detail, .. }) => return Err(detail),
            Err(error) => return Ok(Err(error)),
        };
        if last < self.durable {
            return Err(format!("{last} are there, but {} were durable", self.durable));
        }
        if opened.last_position != last || opened.writer.durable() != last {
            return Err("the log is longer or shorter than what was replayed".to_owned());
        }
        match closed {
            Some(false) if opened.clean && last > 0 => {
                return Err("a log that was not closed is said to be clean".to_owned());
            }
            Some(true) if !opened.clean || last < self.records.len() as u64 => {
                return Err("a log that was closed is not said to be clean, or is cut".to_owned());
            }
            _ => {}
        }
        self.closed = Some(false);
        self.records.truncate(last as usize);
        self.durable = last;
        self.check_reader(&opened.reader)?;
        Ok(Ok(opened))
    }

    /// Reads one of the records before a position, which one the position says.
    fn check_earlier(&self, position: u64, earlier: &dyn Earlier) -> Result<(), String> {
        let before = position * 7919 % position;
        if before < self.kept_from.max(1) {
            return Ok(());
        }
        match earlier.record(before) {
            Ok(record) if record == self.records[before as usize - 1] => Ok(()),
            // A call to the disk may fail.
            Err(Error::Io { .. }) => Ok(()),
            Ok(_) => Err(format!("another earlier record than the one appended: {before}")),
            Err(error) => Err(format!("an earlier record, {before}: {error}")),
        }
    }

    /// Compares what a reader gives with what is durable.
    pub fn check_reader(&self, reader: &Reader) -> Result<(), String> {
        let before = match reader.begins_at() {
            Err(Error::Io { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
            Ok(begins_at) if begins_at > self.kept_from.max(1) => {
                return Err(format!("it begins at {begins_at}, not {}", self.kept_from));
            }
            Ok(begins_at) => begins_at - 1,
        };
        if before > 0 {
            match reader.record(before) {
                Err(Error::Gone { begins_at }) if begins_at == before + 1 => {}
                Err(Error::Io { .. }) => {}
                other => return Err(format!("the record before the log's beginning: {other:?}")),
            }
        }
        let mut found = Vec::new();
        let each = &mut |_: u64, record: &[u8]| found.push(record.to_vec());
        match reader.read(before, usize::MAX, usize::MAX, each) {
            Err(Error::Io { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(()) if found == self.records[before as usize..self.durable as usize] => Ok(()),
            Ok(()) => Err("a reader gives other records than those that are durable".to_owned()),
        }
    }
}

/// What is under way on the helper threads.
#[derive(Default)]
pub struct UnderWay {
    write: Option<WriteJob>,
    written: Option<WriteDone>,
    spare: Option<SpareJob>,
}

impl UnderWay {
    /// Whether the writer waits for a batch.
    pub fn is_writing(&self) -> bool {
        self.write.is_some() || self.written.is_some()
    }
}

/// Drives an open log for so many steps, or until the writer has failed. Says what failed.
pub fn drive(
    writer: &mut Writer,
    history: &mut History,
    rng: &mut Rng,
    steps: usize,
    bytes_max: usize,
) -> Option<Error> {
    drive_on(writer, history, rng, (steps, bytes_max), &mut UnderWay::default())
}

/// Goes on with what is under way.
pub fn drive_on(
    writer: &mut Writer,
    history: &mut History,
    rng: &mut Rng,
    (steps, bytes_max): (usize, usize),
    under_way: &mut UnderWay,
) -> Option<Error> {
    for _ in 0..steps {
        match rng.weighted(&[50, 20, 20, 20, 8, 10]) {
            0 => append(writer, history, rng, bytes_max),
            1 => under_way.write = under_way.write.take().or_else(|| writer.seal()),
            2 => {
                if let Some(job) = under_way.write.take() {
                    under_way.written = Some(job.run());
                }
            }
            3 => {
                if let Some(done) = under_way.written.take()
                    && let Err(error) = writer.finish(done)
                {
                    return Some(error);
                }
                history.durable = writer.durable();
            }
            4 => under_way.write = under_way.write.take().or_else(|| writer.mark()),
            _ => match under_way.spare.take() {
                None => under_way.spare = writer.prepare(),
                // A spare that could not be made is tried again: the disk may not be full.
                Some(job) => drop(writer.prepared(job.run())),
            },
        }
    }
    None
}

/// Appends a command of a few records, where it fits.
fn append(writer: &mut Writer, history: &mut History, rng: &mut Rng, bytes_max: usize) {
    let records: Vec<_> = (0..1 + rng.below(3)).map(|_| history.make(rng, bytes_max)).collect();
    let bytes = records.iter().map(|record| record.len() + RECORD_OVERHEAD_BYTES).sum();
    if writer.room() == Room::None || !writer.fits(bytes) {
        return;
    }
    for record in records {
        let position = writer.append(&mut |buffer| buffer.extend_from_slice(&record));
        history.records.push(record);
        assert_eq!(position, history.records.len() as u64);
    }
}
