//! A log driven at random over starts and ends, beside a plain list of what was appended.

use std::sync::Arc;

use onsale_journal::{
    Durability, Error, Opened, Options, RECORD_OVERHEAD_BYTES, Reader, Room, SpareJob, WriteDone,
    WriteJob, Writer, open,
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
        let mut found: Vec<Vec<u8>> = Vec::new();
        let opened =
            open(Arc::new(disk.clone()), options(segment_bytes), 0, &mut |position, record, _| {
                found.push(record.to_vec());
                match position == found.len() as u64 {
                    true => Ok(()),
                    false => Err(format!("position {position} comes as number {}", found.len())),
                }
            });
        let opened = match opened {
            Ok(opened) => opened,
            Err(Error::Replay { detail, .. }) => return Err(detail),
            Err(error) => return Ok(Err(error)),
        };
        if (found.len() as u64) < self.durable {
            return Err(format!("{} are there, but {} were durable", found.len(), self.durable));
        }
        if found.len() > self.records.len() || found != self.records[..found.len()] {
            return Err("there are other records than those appended".to_owned());
        }
        if opened.last_position != found.len() as u64
            || opened.writer.durable() != opened.last_position
        {
            return Err("the log is longer or shorter than what was replayed".to_owned());
        }
        self.records = found;
        self.durable = opened.last_position;
        self.check_reader(&opened.reader)?;
        Ok(Ok(opened))
    }

    /// Compares what a reader gives with what is durable.
    pub fn check_reader(&self, reader: &Reader) -> Result<(), String> {
        let mut found = Vec::new();
        let read =
            reader.read(0, usize::MAX, usize::MAX, &mut |_, record| found.push(record.to_vec()));
        match read {
            Err(Error::Io { .. }) => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(()) if found == self.records[..self.durable as usize] => Ok(()),
            Ok(()) => Err("a reader gives other records than those that are durable".to_owned()),
        }
    }
}

/// What is under way on the helper threads.
#[derive(Default)]
struct UnderWay {
    write: Option<WriteJob>,
    written: Option<WriteDone>,
    spare: Option<SpareJob>,
}

/// Drives an open log for so many steps, or until the writer has failed. Says what failed.
pub fn drive(
    writer: &mut Writer,
    history: &mut History,
    rng: &mut Rng,
    steps: usize,
    bytes_max: usize,
) -> Option<Error> {
    let mut under_way = UnderWay::default();
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
