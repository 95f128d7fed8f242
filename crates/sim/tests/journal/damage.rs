//! Bits flipped at rest, and batches whose write was cut short anywhere.

use std::ops::Range;
use std::sync::Arc;

use onsale_journal::{Error, open_read_only};
use onsale_sim::disk::FaultyDisk;
use onsale_sim::rng::Rng;

use crate::history::{History, options};

const SEGMENT_BYTES: u64 = 32 << 10;

/// A batch as it lies on the disk.
#[derive(Clone, Debug)]
pub struct Batch {
    pub file: String,
    /// Header and payload, without the padding.
    pub bytes: Range<usize>,
    /// Its last position, and the one before its first.
    pub last: u64,
    before: u64,
    pub is_mark: bool,
}

/// A log of a few lives, at rest, with its batches in order.
struct Log {
    disk: FaultyDisk,
    history: History,
    batches: Vec<Batch>,
}

impl Log {
    /// Two lives of small batches and large ones; the last one ends with a mark, or without.
    fn new(with_mark: bool) -> Log {
        let (mut disk, mut history, mut rng) =
            (FaultyDisk::new(5), History::default(), Rng::new(5));
        for _ in 0..2 {
            let mut opened = history.open(&disk, SEGMENT_BYTES).unwrap().unwrap();
            for records in [1, 2, 3, 1, 40, 1] {
                for _ in 0..records {
                    let record = history.make(&mut rng, 150);
                    assert!(opened.writer.fits(record.len() + 4));
                    opened.writer.append(&mut |buffer| buffer.extend_from_slice(&record));
                    history.records.push(record);
                }
                let job = opened.writer.seal().expect("records are open");
                opened.writer.finish(job.run()).unwrap();
                if let Some(job) = opened.writer.prepare() {
                    opened.writer.prepared(job.run()).unwrap();
                }
            }
            if with_mark {
                let job = opened.writer.mark().expect("the log does not end with a mark");
                opened.writer.finish(job.run()).unwrap();
            }
            history.durable = opened.writer.durable();
            disk = disk.copy();
        }
        let batches = batches_on(&disk);
        Log { disk, history, batches }
    }

    /// The highest position that the headers prove, but for one of them.
    fn proven_without(&self, without: usize) -> u64 {
        let others = self.batches.iter().enumerate().filter(|(at, _)| *at != without);
        others
            .map(|(_, batch)| batch.before.max(if batch.is_mark { batch.last } else { 0 }))
            .max()
            .unwrap()
    }
}

/// Finds the batches by the description of the form, not by the journal's code.
pub fn batches(file: &str, bytes: &[u8]) -> Vec<Batch> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    let (mut batches, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if bytes[at..at + 8] == *b"\xFFONSALE\xFE" {
            let header = &bytes[at..at + 128];
            let (first, count) = (number(&header[80..88]), number(&header[96..100]));
            let end = at + 128 + number(&header[100..104]) as usize;
            batches.push(Batch {
                file: file.to_owned(),
                bytes: at..end,
                last: first + count - 1,
                before: first - 1,
                is_mark: count == 0,
            });
            at = end.next_multiple_of(4096);
        } else {
            at += 4096;
        }
    }
    batches
}

fn batches_on(disk: &FaultyDisk) -> Vec<Batch> {
    disk.files().iter().flat_map(|(file, bytes)| batches(file, bytes)).collect()
}

/// What the log holds when it is only looked at: its records, or the file and offset of damage.
fn look(disk: &FaultyDisk) -> Result<Vec<Vec<u8>>, (String, u64)> {
    let found = match open_read_only(Arc::new(disk.clone())) {
        Ok(found) => found,
        Err(Error::Damaged { file, offset, .. }) => return Err((file, offset)),
        Err(error) => panic!("{error}"),
    };
    let mut records = Vec::new();
    let mut take = |_, record: &[u8]| records.push(record.to_vec());
    found.reader.read(0, usize::MAX, usize::MAX, &mut take).expect("what was found is right");
    Ok(records)
}

/// Flips every bit of the last batches, one at a time.
fn flip_every_bit(with_mark: bool) {
    let Log { disk, history, batches } = &Log::new(with_mark);
    let log = Log::new(with_mark);
    let from = batches.len() - 5;
    assert!(batches[from..].iter().any(|batch| batch.bytes.len() > 2048));
    for (at, batch) in batches.iter().enumerate().skip(from) {
        let proven = log.proven_without(at);
        for bit in batch.bytes.start * 8..batch.bytes.end.next_multiple_of(4096) * 8 {
            // Of the padding, every 61st bit will do.
            let is_padding = bit >= batch.bytes.end * 8;
            if is_padding && bit % 61 != 0 {
                continue;
            }
            disk.flip(&batch.file, bit);
            let expected = if is_padding || batch.is_mark {
                Ok(history.records.as_slice())
            } else if batch.last <= proven {
                Err((batch.file.clone(), batch.bytes.start as u64))
            } else {
                Ok(&history.records[..batch.before as usize])
            };
            let found = look(disk);
            let same = found.as_deref().map_err(Clone::clone) == expected;
            assert!(same, "bit {bit} of {}: {:?}", batch.file, found.map(|r| r.len()));
            if bit % 499 == 0 {
                start_like(disk, &expected.map(<[_]>::to_vec));
            }
            disk.flip(&batch.file, bit);
        }
    }
    assert_eq!(look(disk).unwrap(), history.records);
}

/// A start finds what a look finds, and changes nothing where it refuses.
fn start_like(disk: &FaultyDisk, expected: &Result<Vec<Vec<u8>>, (String, u64)>) {
    let disk = disk.copy();
    let before = disk.files();
    let mut records = Vec::new();
    let started = onsale_journal::open(
        Arc::new(disk.clone()),
        options(SEGMENT_BYTES),
        0,
        &mut |_, record, _| {
            records.push(record.to_vec());
            Ok(())
        },
    );
    match (started, expected) {
        (Ok(_), Ok(expected)) => {
            assert!(records == *expected);
            assert!(look(&disk.power_loss()).unwrap() == *expected);
        }
        (Err(Error::Damaged { file, offset, .. }), Err(expected)) => {
            assert_eq!((file, offset), *expected);
            assert!(disk.files() == before, "a start that refuses has changed something");
        }
        (started, expected) => panic!("{:?}, not {expected:?}", started.map(|o| o.last_position)),
    }
}

#[test]
fn a_flipped_bit_never_gives_a_wrong_record() {
    flip_every_bit(false);
}

#[test]
fn a_flipped_bit_below_a_mark_stops_the_start() {
    flip_every_bit(true);
}

#[test]
fn the_last_batch_may_be_torn_at_every_byte() {
    let log = Log::new(false);
    let batch = log.batches.last().unwrap();
    let whole = log.disk.files()[&batch.file].clone();
    for end in batch.bytes.start..=batch.bytes.end {
        let disk = log.disk.copy();
        disk.edit(&batch.file, |bytes| bytes[end..].fill(0));
        let is_whole = whole[end..].iter().all(|byte| *byte == 0);
        let kept = if is_whole { batch.last } else { batch.before };
        start_like(&disk, &Ok(log.history.records[..kept as usize].to_vec()));
    }
}

#[test]
fn the_log_may_end_at_every_byte_of_several_batches() {
    let log = Log::new(false);
    let large = log.batches.iter().rposition(|batch| batch.bytes.len() > 2048).unwrap();
    let batch = &log.batches[large];
    for end in (batch.bytes.start..batch.bytes.end).step_by(7) {
        let disk = log.disk.copy();
        for later in &log.batches[large + 1..] {
            disk.edit(&later.file, |bytes| bytes[later.bytes.clone()].fill(0));
        }
        disk.edit(&batch.file, |bytes| bytes[end..].fill(0));
        start_like(&disk, &Ok(log.history.records[..batch.before as usize].to_vec()));
    }
}

#[test]
fn of_two_copies_one_is_enough() {
    let log = Log::new(false);
    let at = log.batches.windows(2).position(|pair| pair[0].last == pair[1].last).unwrap();
    assert!(log.batches[at].last < log.history.durable, "the tail of the first life, copied");
    let flip = |disk: &FaultyDisk, batch: &Batch| disk.flip(&batch.file, batch.bytes.end * 8 - 1);
    let copies = &log.batches[at..at + 2];
    for copy in copies {
        let disk = log.disk.copy();
        flip(&disk, copy);
        start_like(&disk, &Ok(log.history.records.clone()));
    }
    copies.iter().for_each(|copy| flip(&log.disk, copy));
    let damage = (copies[1].file.clone(), copies[1].bytes.start as u64);
    start_like(&log.disk, &Err(damage));
}

#[test]
fn what_was_cut_never_comes_back() {
    let mut log = Log::new(false);
    // The last batch can't be read for once, is cut, and others take its positions.
    let cut = log.batches.last().unwrap().clone();
    log.disk.flip(&cut.file, cut.bytes.start * 8);
    log.history.durable = cut.before;
    let mut opened = log.history.open(&log.disk, SEGMENT_BYTES).unwrap().unwrap();
    for _ in 0..3 {
        opened.writer.append(&mut |buffer| buffer.extend_from_slice(b"another"));
        log.history.records.push(b"another".to_vec());
        let job = opened.writer.seal().expect("a record is open");
        opened.writer.finish(job.run()).unwrap();
    }
    let disk = log.disk.copy();
    disk.flip(&cut.file, cut.bytes.start * 8);
    start_like(&disk, &Ok(log.history.records.clone()));
    // Not even where the batch that took its place is damaged.
    let instead =
        batches_on(&disk).into_iter().rfind(|batch| batch.before == cut.before && !batch.is_mark);
    let instead = instead.unwrap();
    assert_ne!((&instead.file, instead.bytes.start), (&cut.file, cut.bytes.start));
    disk.flip(&instead.file, instead.bytes.end * 8 - 1);
    start_like(&disk, &Err((instead.file, instead.bytes.start as u64)));
}
