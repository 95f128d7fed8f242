//! Opens a log: finds what it holds, keeps what may have been acknowledged, and makes
//! that durable again before anything new is written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::Error;
use crate::format::{
    BLOCK_BYTES, Named, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, parse_name, segment_name,
};
use crate::reader::{Batch, Expected, Reader, Shared, read_batch};
use crate::scan::{Found, Identity, Scanned, scan};
use crate::spare::{Segment, SpareJob};
use crate::storage::Storage;
use crate::writer::{Term, Writer};

/// What a log is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length of new segments: a multiple of 4,096 from
    /// [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`].
    pub segment_bytes: u64,
    /// Id of the log.
    pub log: u128,
    /// Which of its shards.
    pub shard: u16,
    /// Its generation; not below what the log has.
    pub generation: u32,
}

/// An open log.
pub struct Opened {
    /// Its writer.
    pub writer: Writer,
    /// A reader; clone it as often as needed.
    pub reader: Reader,
    /// The last position that it holds, all of them durable; 0 where it is new.
    pub last_position: u64,
}

/// Takes a record; says what is wrong where it can't.
pub type Replay<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

/// Opens the log in this folder, or makes it. Every record that is kept is handed to `replay`, in
/// order. When it returns, all of them are durable, and the writer stands on a new segment
/// under a higher term: old ones are never appended to.
///
/// # Errors
/// `Damaged`, `Missing`, `Foreign`, `Version`: nothing was changed. `Replay`, with what the caller said. `Io`,
/// `Spare`, `Write`: the disk refused something; a later try may find more.
pub fn open(
    storage: Arc<dyn Storage>,
    options: Options,
    replay: &mut Replay<'_>,
) -> Result<Opened, Error> {
    check(&options)?;
    let mut identity = Identity { log: Some(options.log), shard: Some(options.shard) };
    let found = Plan::read(&*storage, &mut identity)?;
    if found.generation > options.generation {
        let (found, expected) = (found.generation, options.generation);
        return Err(Error::Generation { found, expected });
    }
    let shared = Arc::new(Shared::new(Arc::clone(&storage), identity));
    found.replay(&*storage, identity, replay)?;
    let mut segments = found.spares(&*storage, options.segment_bytes)?;
    let segment = match segments.pop_front() {
        Some(segment) => segment,
        None => SpareJob {
            storage: Arc::clone(&storage),
            sequence: found.next_sequence,
            length: options.segment_bytes,
        }
        .make()?,
    };
    let term = Term {
        log: options.log,
        shard: options.shard,
        generation: options.generation,
        term: segment.sequence,
        base: found.last(),
        segment_bytes: options.segment_bytes,
    };
    let (kept, tail) = found.split();
    for batch in kept {
        shared.add(batch.segment, batch.found.offset, batch.found.first, None);
    }
    let proven = kept.last().map_or((0, 0), |batch| (batch.found.last(), batch.found.chain));
    shared.set_durable(proven.0);
    let mut writer =
        Writer::new(Arc::clone(&shared), Arc::clone(&storage), term, segment, segments, proven);
    let mut bytes = Batch::default();
    for batch in tail {
        let header = batch.load(&*storage, identity, &mut bytes)?;
        let payload = header.payload(&bytes.bytes).expect("checked when it was loaded");
        writer.copy(payload, header.first, header.count)?;
    }
    writer.resume(found.last());
    Ok(Opened { writer, reader: Reader::new(shared), last_position: found.last() })
}

/// Reads the log in this folder without changing anything: what is kept is what a start would
/// keep. Gives a reader, log id, shard, and the last position.
///
/// # Errors
/// As [`open`]; `Empty` where there is no log.
pub fn open_read_only(storage: Arc<dyn Storage>) -> Result<(Reader, u128, u16, u64), Error> {
    let mut identity = Identity::default();
    let found = Plan::read(&*storage, &mut identity)?;
    let (Some(log), Some(shard)) = (identity.log, identity.shard) else {
        return Err(Error::Empty);
    };
    let shared = Arc::new(Shared::new(storage, identity));
    for batch in &found.batches {
        shared.add(batch.segment, batch.found.offset, batch.found.first, None);
    }
    shared.set_durable(found.last());
    Ok((Reader::new(shared), log, shard, found.last()))
}

fn check(options: &Options) -> Result<(), Error> {
    let bytes = options.segment_bytes;
    let fine = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
        && bytes.is_multiple_of(BLOCK_BYTES as u64);
    match fine {
        true => Ok(()),
        false => Err(Error::Options {
            detail: format!(
                "segment_bytes is {bytes}: must be a multiple of {BLOCK_BYTES} from \
                 {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            ),
        }),
    }
}

/// A batch that is part of the log.
struct Kept {
    segment: u64,
    term: u64,
    found: Found,
}

impl Kept {
    fn load(
        &self,
        storage: &dyn Storage,
        identity: Identity,
        batch: &mut Batch,
    ) -> Result<crate::format::Header, Error> {
        let name = segment_name(self.segment);
        let file = batch.open(storage, self.segment, &name, None)?;
        let expected = Expected {
            identity,
            segment: self.segment,
            offset: self.found.offset,
            position: self.found.first,
        };
        let length = self.found.batch_bytes as usize;
        read_batch(&*file, &name, length, &expected, &mut batch.bytes)
    }
}

/// What a folder holds, and what is to be done with it.
struct Plan {
    /// The log, from position 1.
    batches: Vec<Kept>,
    /// How far it is proven to have been durable.
    proven: u64,
    generation: u32,
    /// Blank segments after all others, by sequence, with their lengths.
    blank: Vec<(u64, u64)>,
    /// Where the first segment after those that are not blank has its place.
    next_sequence: u64,
}

impl Plan {
    fn read(storage: &dyn Storage, identity: &mut Identity) -> Result<Plan, Error> {
        let mut segments = Vec::new();
        for (expected, sequence) in (1..).zip(sequences(storage)?) {
            if sequence != expected {
                return Err(Error::Missing { file: segment_name(expected) });
            }
            segments.push(scan(storage, sequence, segment_name(sequence), identity)?);
        }
        let used = segments.iter().rposition(|s| !s.is_blank()).map_or(0, |at| at + 1);
        let blank = segments.split_off(used);
        check_terms(&segments)?;
        let proven = segments.iter().map(|s| s.durable_upto).max().unwrap_or(0);
        let batches = run(&segments);
        let last = batches.last().map_or(0, |batch| batch.found.last());
        if last < proven {
            return Err(damaged(&segments, batches.last(), last + 1, proven));
        }
        Ok(Plan {
            batches,
            proven,
            generation: segments.iter().map(|s| s.generation).max().unwrap_or(0),
            blank: blank.iter().map(|s| (s.sequence, s.length)).collect(),
            next_sequence: used as u64 + 1,
        })
    }

    fn last(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.found.last())
    }

    /// What is proven, and the tail that has to be made durable again.
    fn split(&self) -> (&[Kept], &[Kept]) {
        let proven = self.batches.partition_point(|batch| batch.found.last() <= self.proven);
        self.batches.split_at(proven)
    }

    fn replay(
        &self,
        storage: &dyn Storage,
        identity: Identity,
        replay: &mut Replay<'_>,
    ) -> Result<(), Error> {
        let mut bytes = Batch::default();
        for batch in &self.batches {
            let header = batch.load(storage, identity, &mut bytes)?;
            let payload = header.payload(&bytes.bytes).expect("checked when it was loaded");
            for (position, record) in (header.first..).zip(crate::format::Records::new(payload)) {
                replay(position, record).map_err(|detail| Error::Replay {
                    position,
                    file: segment_name(batch.segment),
                    offset: batch.found.offset,
                    detail,
                })?;
            }
        }
        Ok(())
    }

    /// Opens the blank segments that can be used, and takes away what is of no use: others, and
    /// files that were being made.
    fn spares(&self, storage: &dyn Storage, length: u64) -> Result<VecDeque<Segment>, Error> {
        let usable = self.blank.iter().take_while(|(_, bytes)| *bytes == length).count();
        for name in storage.list().map_err(Error::io("list", "the folder"))? {
            let useless = match parse_name(&name) {
                Named::Temporary => true,
                Named::Segment(sequence) => {
                    self.blank[usable..].iter().any(|(blank, _)| *blank == sequence)
                }
                Named::Foreign => false,
            };
            if useless {
                storage.remove(&name).map_err(Error::io("remove", &name))?;
            }
        }
        storage.sync().map_err(Error::io("sync", "the folder"))?;
        let open = |(sequence, length): &(u64, u64)| {
            let name = segment_name(*sequence);
            let file = storage.open(&name).map_err(Error::io("open", &name))?;
            Ok(Segment { sequence: *sequence, name, length: *length, file })
        };
        self.blank[..usable].iter().map(open).collect()
    }
}

/// Sequences of the segments that are there, in order.
fn sequences(storage: &dyn Storage) -> Result<Vec<u64>, Error> {
    let names = storage.list().map_err(Error::io("list", "the folder"))?;
    let mut sequences: Vec<u64> = names
        .iter()
        .filter_map(|name| match parse_name(name) {
            Named::Segment(sequence) => Some(sequence),
            Named::Temporary | Named::Foreign => None,
        })
        .collect();
    sequences.sort_unstable();
    Ok(sequences)
}

fn check_terms(segments: &[Scanned]) -> Result<(), Error> {
    let mut highest = 0;
    for segment in segments {
        let Some((term, _)) = segment.term else { continue };
        if term < highest {
            return Err(Error::Damaged {
                file: segment.name.clone(),
                offset: 0,
                position: segment.batches.first().map_or(0, |batch| batch.first),
                detail: format!("its term {term} is below the term {highest} before it"),
            });
        }
        highest = term;
    }
    Ok(())
}

/// The longest run of batches from position 1 that are whole, not void, of the
/// highest term that has them, and chained.
fn run(segments: &[Scanned]) -> Vec<Kept> {
    let mut by_first: BTreeMap<u64, Kept> = BTreeMap::new();
    // From the last segment back: what the terms above it have taken as their base voids
    // all that goes beyond.
    let (mut cut, mut cut_below, mut above) = (u64::MAX, u64::MAX, None);
    for segment in segments.iter().rev() {
        let Some((term, base)) = segment.term else { continue };
        if above.is_some_and(|above| above != term) {
            cut = cut.min(cut_below);
        }
        (above, cut_below) = (Some(term), base);
        for found in segment.batches.iter().filter(|b| b.whole && b.last() <= cut) {
            let kept = || Kept { segment: segment.sequence, term, found: *found };
            let entry = by_first.entry(found.first).or_insert_with(kept);
            if entry.term < term {
                *entry = kept();
            }
        }
    }
    let (mut log, mut next, mut chain) = (Vec::new(), 1, 0);
    while let Some(kept) = by_first.remove(&next) {
        if kept.found.previous != chain {
            break;
        }
        (next, chain) = (kept.found.last() + 1, kept.found.chain);
        log.push(kept);
    }
    log
}

/// Says where what is missing at this position should be, as near as can be told.
fn damaged(segments: &[Scanned], last: Option<&Kept>, position: u64, proven: u64) -> Error {
    let lost = format!(
        "positions {position} to {proven} were durable and can't be read; nothing was changed"
    );
    let error = |segment: &Scanned, offset| Error::Damaged {
        file: segment.name.clone(),
        offset,
        position,
        detail: lost.clone(),
    };
    for segment in segments {
        let broken = |b: &&Found| !b.whole && (b.first..=b.last()).contains(&position);
        if let Some(found) = segment.batches.iter().find(broken) {
            return error(segment, found.offset);
        }
    }
    // Its header is gone, too: damage after the last good batch, or else the place where it
    // should have followed.
    let (after, end) = last.map_or((1, 0), |kept| (kept.segment, kept.found.end()));
    for segment in segments.iter().filter(|s| s.sequence >= after) {
        let from = if segment.sequence == after { end } else { 0 };
        if let Some(offset) = segment.damage.iter().find(|offset| **offset >= from) {
            return error(segment, *offset);
        }
    }
    match segments.iter().find(|s| s.sequence == after) {
        Some(segment) => error(segment, end),
        None => Error::Missing { file: segment_name(after) },
    }
}
