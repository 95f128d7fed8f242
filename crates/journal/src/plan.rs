//! What a folder holds, by the rules of [`mod@crate::format`]: which batches are the
//! log, how far it is proven, what is damaged.

use std::cmp::Reverse;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::format::{
    BLOCK_BYTES, FIRST_SEQUENCE, Header, Named, Records, parse_name, segment_name,
};
use crate::reader::{Batch, Expected, Shared, read_batch};
use crate::scan::{Found, Identity, Scanned, scan};
use crate::storage::{LOCK_NAME, Storage};

/// Takes a record; says what is wrong where it can't.
pub type Replay<'a> = dyn FnMut(u64, &[u8]) -> Result<(), String> + 'a;

/// Remarks that are kept, at most.
const NOTES_MAX: usize = 100;

/// A batch that is part of the log.
pub(crate) struct Kept {
    /// Index of its segment.
    segment: usize,
    term: u64,
    pub found: Found,
}

/// What a folder holds.
pub(crate) struct Plan {
    pub identity: Identity,
    /// The log, from position 1.
    pub batches: Vec<Kept>,
    /// How far it is proven to have been durable.
    pub proven: u64,
    /// The highest generation of a batch.
    pub generation: u32,
    /// Segments that are not spares, in order.
    pub segments: Vec<Scanned>,
    /// Spares: blank segments after all others, in order, with their lengths.
    pub spares: Vec<(u64, u64)>,
    /// Files that were being made.
    pub unfinished: Vec<String>,
    /// What is worth a line in a log: foreign files, what was cut.
    pub notes: Vec<String>,
}

impl Plan {
    /// Reads a folder. Changes nothing.
    ///
    /// # Errors
    /// `Damaged` where the log ends below what is proven; `Missing`, `Foreign`, `Version`, `Io`.
    pub(crate) fn read(storage: &dyn Storage, identity: Identity) -> Result<Plan, Error> {
        let mut plan = Plan {
            identity,
            batches: Vec::new(),
            proven: 0,
            generation: 0,
            segments: Vec::new(),
            spares: Vec::new(),
            unfinished: Vec::new(),
            notes: Vec::new(),
        };
        for (expected, sequence) in (FIRST_SEQUENCE..).zip(plan.list(storage)?) {
            if sequence != expected {
                return Err(Error::Missing { file: segment_name(expected) });
            }
            let name = segment_name(sequence);
            plan.segments.push(scan(storage, sequence, name, &mut plan.identity)?);
        }
        let used = plan.segments.iter().rposition(|s| !s.is_blank()).map_or(0, |at| at + 1);
        let blank = plan.segments.split_off(used);
        plan.spares = blank.iter().map(|s| (s.sequence, s.length)).collect();
        check_terms(&plan.segments)?;
        plan.proven = plan.segments.iter().map(|s| s.durable_upto).max().unwrap_or(0);
        plan.generation = plan.segments.iter().map(|s| s.generation).max().unwrap_or(0);
        plan.batches = longest_run(&plan.segments);
        if is(Bug::TailCutAtProven) {
            plan.batches.truncate(plan.split().0.len());
        }
        if plan.last() < plan.proven && !is(Bug::DamageCut) {
            return Err(plan.damaged());
        }
        plan.note_what_is_left_out();
        Ok(plan)
    }

    /// Sorts the files by what they are; gives back the segments' sequences, in order.
    fn list(&mut self, storage: &dyn Storage) -> Result<Vec<u64>, Error> {
        let mut sequences = Vec::new();
        for name in storage.list().map_err(Error::io("list", "the folder"))? {
            match parse_name(&name) {
                Named::Segment(sequence) => sequences.push(sequence),
                Named::Unfinished => self.unfinished.push(name),
                Named::Foreign if name == LOCK_NAME => {}
                Named::Foreign => self.note(format!("{name} is no file of the log: left alone")),
            }
        }
        sequences.sort_unstable();
        Ok(sequences)
    }

    /// The last position of the log; 0 where it is empty.
    pub(crate) fn last(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.found.last())
    }

    /// The chain after its last batch.
    pub(crate) fn chain(&self) -> u32 {
        self.batches.last().map_or(0, |batch| batch.found.chain)
    }

    /// Where the first segment after those in use has its place.
    pub(crate) fn next_sequence(&self) -> u64 {
        FIRST_SEQUENCE + self.segments.len() as u64
    }

    /// What is proven, and the tail that has to be made durable again.
    pub(crate) fn split(&self) -> (&[Kept], &[Kept]) {
        let all = is(Bug::TailNotCopied);
        let proven = self.batches.partition_point(|batch| all || batch.found.last() <= self.proven);
        self.batches.split_at(proven)
    }

    /// Reads a batch again, and checks it again.
    pub(crate) fn load(
        &self,
        storage: &dyn Storage,
        kept: &Kept,
        batch: &mut Batch,
    ) -> Result<Header, Error> {
        let Scanned { name, sequence, .. } = &self.segments[kept.segment];
        let file = batch.open(storage, *sequence, name, None)?;
        let expected = Expected {
            identity: self.identity,
            segment: *sequence,
            offset: kept.found.offset,
            position: kept.found.first,
        };
        read_batch(&*file, name, kept.found.batch_bytes as usize, &expected, &mut batch.bytes)
    }

    /// Hands every record to the caller, in order.
    pub(crate) fn replay(
        &self,
        storage: &dyn Storage,
        replay: &mut Replay<'_>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        for kept in &self.batches {
            let header = self.load(storage, kept, &mut batch)?;
            let payload = header.payload(&batch.bytes).expect("it was loaded whole");
            for (position, record) in (header.first..).zip(Records::new(payload)) {
                replay(position, record).map_err(|detail| Error::Replay {
                    position,
                    file: self.segments[kept.segment].name.clone(),
                    offset: kept.found.offset,
                    detail,
                })?;
            }
        }
        Ok(())
    }

    /// Puts these batches into the index, where they are.
    pub(crate) fn index(&self, batches: &[Kept], shared: &Arc<Shared>) {
        for kept in batches {
            let sequence = self.segments[kept.segment].sequence;
            shared.add(sequence, kept.found.offset, kept.found.first, None);
        }
    }

    fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    fn note_what_is_left_out(&mut self) {
        let last = self.last();
        let mut notes = Vec::new();
        for segment in &self.segments {
            let name = &segment.name;
            for broken in segment.batches.iter().filter(|batch| !batch.whole) {
                let (offset, first, to) = (broken.offset, broken.first, broken.last());
                let fate = match first > last {
                    true => "were never durable: cut",
                    false => "are damaged here and were read elsewhere",
                };
                notes.push(format!("{name}, offset {offset}: positions {first} to {to} {fate}"));
            }
            if let Some(offset) = segment.damage.first() {
                notes.push(format!(
                    "{name}, offset {offset}: holds what is no part of a batch; no durable record is missing"
                ));
            }
        }
        notes.into_iter().for_each(|note| self.note(note));
    }

    /// Says where the first record that is missing should be, as near as can be told.
    fn damaged(&self) -> Error {
        let (position, proven) = (self.last() + 1, self.proven);
        let error = |segment: &Scanned, offset, why: &str| Error::Damaged {
            file: segment.name.clone(),
            offset,
            position,
            detail: format!(
                "{why}; positions up to {proven} were durable, but none from {position} on can be \
                 trusted. Nothing was changed"
            ),
        };
        let holds = |b: &&Found| (b.first..=b.last()).contains(&position);
        for segment in self.segments.iter().rev() {
            if let Some(found) = segment.batches.iter().find(holds) {
                let why = match found.whole {
                    true => "a batch does not follow from the one before it",
                    false => "a batch's payload does not fit its checksum",
                };
                return error(segment, found.offset, why);
            }
        }
        // Its header is gone, too: the first damage after the last good batch, or else the
        // place where it should have followed.
        let (after, end) = self.batches.last().map_or((0, 0), |b| (b.segment, b.found.end()));
        for (at, segment) in self.segments.iter().enumerate().skip(after) {
            let from = if at == after { end } else { 0 };
            if let Some(offset) = segment.damage.iter().find(|offset| **offset >= from) {
                return error(segment, *offset, "no batch can be read here");
            }
        }
        error(&self.segments[after], end, "a batch should follow here")
    }
}

/// Checks what must hold between segments whatever happened to the disk.
fn check_terms(segments: &[Scanned]) -> Result<(), Error> {
    let damaged = |segment: &Scanned, offset, detail: String| Error::Damaged {
        file: segment.name.clone(),
        offset,
        position: segment.batches.first().map_or(1, |batch| batch.first),
        detail,
    };
    let mut highest = 0;
    for segment in segments {
        let Some((term, _)) = segment.term else { continue };
        if term < highest {
            let detail = format!("its term {term} is below the term {highest} before it");
            return Err(damaged(segment, 0, detail));
        }
        highest = term;
    }
    // A first start that was interrupted leaves at most the block of its first mark. More than
    // that was a log once.
    let beyond_first = |s: &&Scanned| s.used_bytes > BLOCK_BYTES as u64;
    match segments.iter().find(beyond_first) {
        Some(segment) if highest == 0 => {
            let detail = "there are bytes, but not one batch can be read in the whole log";
            Err(damaged(segment, segment.damage.first().copied().unwrap_or(0), detail.to_owned()))
        }
        _ => Ok(()),
    }
}

/// The longest run of batches from position 1 that are whole, not void, of the
/// highest term that has them, and chained.
fn longest_run(segments: &[Scanned]) -> Vec<Kept> {
    let mut candidates = Vec::new();
    // From the last segment back: the base of each term voids what lower terms hold above it.
    let (mut void_above, mut base_min, mut term_above) = (u64::MAX, u64::MAX, None);
    for (index, segment) in segments.iter().enumerate().rev() {
        let Some((term, base)) = segment.term else { continue };
        if term_above != Some(term) {
            void_above = base_min;
        }
        base_min = base_min.min(base);
        term_above = Some(term);
        let all = is(Bug::VoidRecordsComeBack);
        let good = segment.batches.iter().filter(|b| b.whole && (all || b.last() <= void_above));
        candidates.extend(good.rev().map(|found| Kept { segment: index, term, found: *found }));
    }
    // Back in order, so that the sort finds almost nothing to do.
    candidates.reverse();
    let lower = is(Bug::LowerTermWins);
    candidates.sort_by_key(|kept| (kept.found.first, Reverse(if lower { 0 } else { kept.term })));
    candidates.dedup_by_key(|kept| kept.found.first);
    let (mut next, mut chain) = (1, 0);
    let follows = |kept: &Kept| {
        let found = &kept.found;
        let fits = (found.first, found.previous) == (next, chain);
        (next, chain) = (found.last() + 1, found.chain);
        fits
    };
    let run = candidates.iter().map(follows).take_while(|fits| *fits).count();
    candidates.truncate(run);
    candidates
}
