//! What a folder holds, by the rules of [`mod@crate::format`]: which batches are the
//! log, how far it is proven, what is damaged.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::format::{
    BLOCK_BYTES, FIRST_SEQUENCE, Header, Named, Records, parse_name, segment_name,
};
use crate::index::{Known, Shared, Slot};
use crate::reader::{Batch, Earlier, Expected, Reader, read_batch};
use crate::scan::{Found, Identity, Scanned, head, scan};
use crate::storage::{Kind, LOCK_NAME, Stores};

/// Takes a record, and what came before it; says what is wrong where it can't.
pub type Replay<'a> = dyn FnMut(u64, &[u8], &dyn Earlier) -> Result<(), String> + 'a;

/// What has been read of a log that is being replayed.
struct Replayed {
    reader: Reader,
    last: u64,
}

impl Earlier for Replayed {
    fn record(&self, position: u64) -> Result<Vec<u8>, Error> {
        self.reader.record(position)
    }

    fn last(&self) -> u64 {
        self.last
    }
}

/// Remarks that are kept, at most.
const NOTES_MAX: usize = 100;

/// A batch that is part of the log.
pub(crate) struct Kept {
    /// Index of its segment.
    segment: usize,
    term: u64,
    pub found: Found,
}

/// The files of a folder and of the archive beside it.
struct Files {
    /// Sequences of the segments in the folder, without gaps.
    live: Range<u64>,
    archived: BTreeSet<u64>,
    /// The lowest sequence from which on every segment is in one of them.
    begin: u64,
}

/// What a folder holds.
pub(crate) struct Plan {
    pub identity: Identity,
    files: Files,
    /// Position and chain before the batches.
    start: (u64, u32),
    /// The log, from `start` on.
    pub batches: Vec<Kept>,
    /// How far it is proven to have been durable.
    pub proven: u64,
    /// The highest generation of a batch.
    pub generation: u32,
    /// Whether it ends with a clean end, or is new.
    pub clean: bool,
    /// Segments that were read and are not spares, in order.
    pub segments: Vec<Scanned>,
    /// Spares: blank segments after all others, in order, with their lengths.
    pub spares: Vec<(u64, u64)>,
    /// Files that were being made.
    pub unfinished: Vec<String>,
    /// What is worth a line in a log: foreign files, what was cut.
    pub notes: Vec<String>,
}

impl Plan {
    /// Reads a folder, as far as it can hold positions above `from`. Changes nothing.
    ///
    /// # Errors
    /// `Damaged` where the log ends below what is proven; `NotThere` where it ends below `from`; `Gone` where it
    /// begins above; `Missing`, `Foreign`, `Version`, `Io`.
    pub(crate) fn read(stores: &Stores, identity: Identity, from: u64) -> Result<Plan, Error> {
        let mut plan = Plan {
            identity,
            files: Files { live: 0..0, archived: BTreeSet::new(), begin: FIRST_SEQUENCE },
            start: (0, 0),
            batches: Vec::new(),
            proven: 0,
            generation: 0,
            clean: false,
            segments: Vec::new(),
            spares: Vec::new(),
            unfinished: Vec::new(),
            notes: Vec::new(),
        };
        plan.files = plan.list(stores)?;
        plan.scan(stores, from)?;
        let used = plan.segments.iter().rposition(|s| !s.is_blank()).map_or(0, |at| at + 1);
        let blank = plan.segments.split_off(used);
        plan.spares = blank.iter().map(|s| (s.sequence, s.length)).collect();
        plan.start = plan.find_start(stores, from)?;
        check_terms(&plan.segments)?;
        plan.proven = plan.segments.iter().map(|s| s.durable_upto).max().unwrap_or(0);
        plan.generation = plan.segments.iter().map(|s| s.generation).max().unwrap_or(0);
        plan.batches = longest_run(&plan.segments, plan.start);
        if is(Bug::TailCutAtProven) {
            plan.batches.truncate(plan.split().0.len());
        }
        if plan.last() < plan.proven && !is(Bug::DamageCut) {
            return Err(plan.damaged());
        }
        if plan.last() < from {
            return Err(Error::NotThere { position: from, durable: plan.last() });
        }
        let clean_end = plan.segments.last().map_or(Some(0), |s| s.clean_end);
        plan.clean = clean_end == Some(plan.last());
        plan.note_what_is_left_out();
        Ok(plan)
    }

    /// Sorts the files by what they are.
    fn list(&mut self, stores: &Stores) -> Result<Files, Error> {
        let mut sequences = Vec::new();
        for name in stores.live.list().map_err(Error::io("list", "the folder"))? {
            match parse_name(&name) {
                Named::Segment(sequence) => sequences.push(sequence),
                Named::Unfinished => self.unfinished.push(name),
                Named::Side => {}
                Named::Foreign if name == LOCK_NAME => {}
                Named::Foreign => self.note(format!("{name} is no file of the log: left alone")),
            }
        }
        sequences.sort_unstable();
        let mut archived = BTreeSet::new();
        if let Some(archive) = &stores.archive {
            for name in archive.list().map_err(Error::io("list", "the archive"))? {
                if let Named::Segment(sequence) = parse_name(&name) {
                    archived.insert(sequence);
                }
            }
        }
        self.arrange(&sequences, archived)
    }

    /// Checks that no segment is missing in between.
    fn arrange(&mut self, live: &[u64], archived: BTreeSet<u64>) -> Result<Files, Error> {
        let Some(first) = live.first().copied() else {
            return match archived.last() {
                None => Ok(Files { live: 1..1, archived, begin: FIRST_SEQUENCE }),
                // What was written last is never in the archive only.
                Some(last) => Err(Error::Missing { file: segment_name(last + 1) }),
            };
        };
        for (expected, sequence) in (first..).zip(live) {
            if *sequence != expected {
                return Err(Error::Missing { file: segment_name(expected) });
            }
        }
        let end = first + live.len() as u64;
        // One that is archived was full: others came after it, in the folder.
        if archived.last().is_some_and(|last| *last >= end) {
            return Err(Error::Missing { file: segment_name(end) });
        }
        let mut begin = first;
        while archived.contains(&(begin - 1)) {
            begin -= 1;
        }
        if archived.first().is_some_and(|lowest| *lowest < begin) {
            let missing = segment_name(begin - 1);
            self.note(format!("archive: {missing} is missing: what is before it can't be read"));
        }
        Ok(Files { live: first..end, archived, begin })
    }

    /// Reads the segments, from the last one on that certainly holds, with those after it, all positions above `from`.
    fn scan(&mut self, stores: &Stores, from: u64) -> Result<(), Error> {
        let mut end = self.files.live.end;
        loop {
            let begin = self.candidate(stores, end, from)?;
            let mut segments = Vec::new();
            for sequence in begin..end {
                segments.push(self.scan_best(stores, sequence)?);
            }
            segments.append(&mut self.segments);
            self.segments = segments;
            end = begin;
            if begin == self.files.begin || can_begin_with(&self.segments[0]) {
                return Ok(());
            }
        }
    }

    /// The last segment below `end` that begins at or below the position after `from`.
    fn candidate(&self, stores: &Stores, end: u64, from: u64) -> Result<u64, Error> {
        let begin = self.files.begin;
        // From the beginning there is nothing to choose.
        let tried = if from == 0 { begin..begin } else { begin..end };
        for sequence in tried.rev() {
            let kind = self.files.kind(sequence);
            let (header, _) = head(stores, kind, sequence, self.identity)?;
            if header.is_some_and(|h| h.first - 1 <= from && h.durable_upto == h.first - 1) {
                return Ok(sequence);
            }
        }
        Ok(begin)
    }

    /// Reads a segment; the archived copy where that has more to give.
    fn scan_best(&mut self, stores: &Stores, sequence: u64) -> Result<Scanned, Error> {
        let kind = self.files.kind(sequence);
        let scanned = scan(stores, kind, sequence, &mut self.identity)?;
        let whole = |s: &Scanned| s.batches.iter().filter(|batch| batch.whole).count();
        let is_fine = scanned.damage.is_empty() && whole(&scanned) == scanned.batches.len();
        if is_fine || kind == Kind::Archived || !self.files.archived.contains(&sequence) {
            return Ok(scanned);
        }
        match scan(stores, Kind::Archived, sequence, &mut self.identity) {
            Ok(copy) if whole(&copy) > whole(&scanned) => {
                self.note(format!("{} is damaged: read from the archive", scanned.name));
                Ok(copy)
            }
            _ => Ok(scanned),
        }
    }

    /// Position and chain before the first batch of the segments that were read.
    fn find_start(&self, stores: &Stores, from: u64) -> Result<(u64, u32), Error> {
        let Some(first) = self.segments.first() else {
            return match self.spares.first() {
                // Spares are made after the first segment has its mark: what was written before them is lost.
                Some((spare, _)) if from == 0 && *spare > FIRST_SEQUENCE => {
                    Err(Error::Missing { file: segment_name(spare - 1) })
                }
                _ => Ok((0, 0)),
            };
        };
        if first.sequence == FIRST_SEQUENCE {
            return Ok((0, 0));
        }
        // A start that was cut short leaves a segment without a header, and nothing is in it.
        let found = self.segments.iter().find_map(|s| s.head.map(|head| (s, head)));
        let begins_with_nothing = |s: &Scanned, first: u64| {
            !s.batches.iter().any(|batch| batch.whole && batch.last() < first)
        };
        match found {
            Some((segment, head))
                if segment.sequence == first.sequence || begins_with_nothing(first, head.first) =>
            {
                if head.first - 1 <= from {
                    return Ok((head.first - 1, head.previous));
                }
                // Segments are taken away only where there is an archive.
                Err(match stores.archive {
                    None => Error::Missing { file: segment_name(first.sequence - 1) },
                    Some(_) => Error::Gone { begins_at: head.first },
                })
            }
            _ => Err(Error::Damaged {
                file: first.name.clone(),
                offset: 0,
                position: from.saturating_add(1),
                detail: "the log's first segment that is left does not begin with a batch".into(),
            }),
        }
    }

    /// The last position of the log; 0 where it is empty.
    pub(crate) fn last(&self) -> u64 {
        self.batches.last().map_or(self.start.0, |batch| batch.found.last())
    }

    /// The chain after its last batch.
    pub(crate) fn chain(&self) -> u32 {
        self.batches.last().map_or(self.start.1, |batch| batch.found.chain)
    }

    /// Where the first segment after those in use has its place.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.segments.last().map_or(FIRST_SEQUENCE, |segment| segment.sequence + 1)
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
        stores: &Stores,
        kept: &Kept,
        batch: &mut Batch,
    ) -> Result<Header, Error> {
        let Scanned { name, sequence, kind, .. } = &self.segments[kept.segment];
        let file = batch.open(stores, *sequence, *kind, None)?;
        let expected = Expected {
            identity: self.identity,
            segment: *sequence,
            offset: kept.found.offset,
            position: kept.found.first,
        };
        read_batch(&*file, name, kept.found.batch_bytes as usize, &expected, &mut batch.bytes)
    }

    /// Hands every record above `from` to the caller, in order.
    pub(crate) fn replay(
        &self,
        shared: &Arc<Shared>,
        from: u64,
        replay: &mut Replay<'_>,
    ) -> Result<(), Error> {
        let mut batch = Batch::default();
        let earlier = Replayed { reader: Reader::new(Arc::clone(shared)), last: self.last() };
        let below = self.batches.partition_point(|kept| kept.found.last() <= from);
        for kept in &self.batches[below..] {
            let header = self.load(&shared.stores, kept, &mut batch)?;
            shared.set_durable(header.last());
            let payload = header.payload(&batch.bytes).expect("it was loaded whole");
            let skipped = (from.saturating_add(1)).saturating_sub(header.first) as usize;
            for (position, record) in (header.first..).zip(Records::new(payload)).skip(skipped) {
                replay(position, record, &earlier).map_err(|detail| Error::Replay {
                    position,
                    file: self.segments[kept.segment].name.clone(),
                    offset: kept.found.offset,
                    detail,
                })?;
            }
        }
        Ok(())
    }

    /// An index of all segments, with the batches that were found in memory.
    pub(crate) fn index(&self, stores: &Stores) -> Arc<Shared> {
        let slots = (self.files.begin..self.next_sequence()).map(|sequence| Slot {
            live: self.files.live.contains(&sequence),
            archived: self.files.archived.contains(&sequence),
            head: Known::NotYet,
        });
        let slots: VecDeque<_> = slots.collect();
        let shared = Shared::new(stores.clone(), self.identity, self.files.begin, slots);
        for kept in &self.batches {
            let Scanned { sequence, kind, .. } = self.segments[kept.segment];
            shared.add_found(sequence, kind, &kept.found);
        }
        Arc::new(shared)
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

impl Files {
    /// Which copy of a segment to read.
    fn kind(&self, sequence: u64) -> Kind {
        if self.live.contains(&sequence) { Kind::Live } else { Kind::Archived }
    }
}

/// Whether the log can be read from the beginning of this segment on: not if that is a copy which a
/// start may not have come to the end of, so that a part of the log is in the segment before it only.
fn can_begin_with(segment: &Scanned) -> bool {
    segment.head.is_some_and(|head| !head.is_copy() || segment.durable_upto >= head.base)
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

/// The longest run of batches from `start` on that are whole, not void, of the
/// highest term that has them, and chained.
fn longest_run(segments: &[Scanned], start: (u64, u32)) -> Vec<Kept> {
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
        let good = |b: &&Found| b.whole && b.last() <= void_above && b.first > start.0;
        let good = segment.batches.iter().filter(good);
        candidates.extend(good.rev().map(|found| Kept { segment: index, term, found: *found }));
    }
    // Back in order, so that the sort finds almost nothing to do.
    candidates.reverse();
    candidates.sort_by_key(|kept| (kept.found.first, Reverse(kept.term)));
    candidates.dedup_by_key(|kept| kept.found.first);
    let (mut next, mut chain) = (start.0 + 1, start.1);
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
