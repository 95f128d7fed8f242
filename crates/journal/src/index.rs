//! Where the batches are, and how far they are durable: shared by the writer, its readers and
//! its jobs.
//!
//! Only the segment that is being written has its batches in memory for good. Of those that are
//! full, the first position is read when it is needed, and kept; the places of their batches are read from their
//! headers when they are needed, and the most recent few are kept. So the memory that the index takes
//! does not grow with the records, and a start does not read what it does not replay.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use onsale_planted::{Bug, is};

use crate::Error;
use crate::archive::Sealed;
use crate::format::{BLOCK_BYTES, FIRST_SEQUENCE, Header, segment_name};
use crate::scan::{self, Identity, head, headers, open_segment};
use crate::storage::{File, Kind, Stores};

/// Segments whose batches are kept in memory, at most, beside the one in use.
const RECENT_RUNS_MAX: usize = 16;
/// Batches of such segments that are kept in memory, at most, where they are of more than one segment.
const RECENT_ENTRIES_MAX: usize = 1 << 19;

pub(crate) struct Shared {
    pub stores: Stores,
    pub identity: Identity,
    durable: AtomicU64,
    /// The last position that is on the disk for certain.
    synced: AtomicU64,
    /// Sealed segments that end here or below may be used again once they are archived.
    release: AtomicU64,
    index: RwLock<Index>,
    recent: Mutex<Recent>,
    archiving: Mutex<()>,
}

struct Index {
    /// Sequence of the first segment.
    begin: u64,
    /// The segments, from that one to the one in use.
    slots: VecDeque<Slot>,
    /// Batches that are kept in memory: those of the segment in use, or all that a start has
    /// found as long as it lasts.
    runs: Vec<Run>,
}

/// A segment.
pub(crate) struct Slot {
    pub live: bool,
    pub archived: bool,
    pub head: Known,
}

/// What is known of a segment's beginning.
#[derive(Clone, Copy)]
pub(crate) enum Known {
    NotYet,
    Head(Head),
    /// No header was read there, perhaps since the read went wrong: it is read again.
    Headless,
    /// It doesn't begin with a header, and the log goes on without it.
    Nothing,
}

/// What a segment begins with.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// The position of its first record, or of the one that comes next where it begins with a mark.
    pub first: u64,
    pub term: u64,
    pub base: u64,
    /// How often its file was used before.
    pub reuse: u32,
    /// Length of its file.
    pub bytes: u64,
}

impl Head {
    fn new(header: &Header, bytes: u64) -> Head {
        let Header { first, term, base, reuse, .. } = *header;
        Head { first, term, base, reuse, bytes }
    }
}

/// Batches that follow each other, all in one segment.
pub(crate) struct Run {
    segment: u64,
    kind: Kind,
    /// Position of the first record.
    first: u64,
    /// Position of the last record.
    pub last: u64,
    batches: Vec<Entry>,
    /// Held open where the segment is in use, or was read not long ago.
    file: Option<Arc<dyn File>>,
}

/// One batch, in 8 bytes: there may be millions.
struct Entry {
    /// Its first position, from the run's.
    first: u32,
    /// Its place in the segment, in blocks.
    block: u32,
}

/// Where a batch is.
#[derive(Clone)]
pub(crate) struct Place {
    pub segment: u64,
    pub kind: Kind,
    pub offset: u64,
    /// Where the next one begins, if that is known: a guess at its length.
    pub end: Option<u64>,
    pub file: Option<Arc<dyn File>>,
}

/// Where a position may be found.
pub(crate) enum Found {
    /// In a batch whose place is in memory.
    Here(Place),
    /// In this segment, which is full.
    In(u64),
    /// Nowhere: the log begins above it.
    Gone(u64),
}

impl Run {
    fn add(&mut self, offset: u64, first: u64, last: u64) {
        let block =
            u32::try_from(offset / BLOCK_BYTES as u64).expect("a segment's length is bounded");
        let first = u32::try_from(first - self.first).expect("a segment's records are bounded");
        self.batches.push(Entry { first, block });
        self.last = last;
    }

    /// Where the batch with this position would be.
    pub(crate) fn find(&self, position: u64) -> Option<Place> {
        let after = self.batches.partition_point(|b| self.first + u64::from(b.first) <= position);
        let bytes = |entry: &Entry| u64::from(entry.block) * BLOCK_BYTES as u64;
        Some(Place {
            segment: self.segment,
            kind: self.kind,
            offset: bytes(self.batches.get(after.checked_sub(1)?)?),
            end: self.batches.get(after).map(bytes),
            file: self.file.clone(),
        })
    }
}

/// Runs that were used not long ago, the latest last.
#[derive(Default)]
struct Recent {
    runs: VecDeque<Arc<Run>>,
}

impl Recent {
    fn get(&mut self, segment: u64, kind: Kind) -> Option<Arc<Run>> {
        let at = self.runs.iter().rposition(|r| (r.segment, r.kind) == (segment, kind))?;
        let run = self.runs.remove(at)?;
        self.runs.push_back(Arc::clone(&run));
        Some(run)
    }

    fn forget(&mut self, segment: u64, kind: Kind) {
        self.runs.retain(|run| (run.segment, run.kind) != (segment, kind));
    }

    fn put(&mut self, run: Arc<Run>) {
        self.forget(run.segment, run.kind);
        self.runs.push_back(run);
        let entries =
            |runs: &VecDeque<Arc<Run>>| -> usize { runs.iter().map(|run| run.batches.len()).sum() };
        while self.runs.len() > RECENT_RUNS_MAX
            || (self.runs.len() > 1 && entries(&self.runs) > RECENT_ENTRIES_MAX)
        {
            self.runs.pop_front();
        }
    }
}

impl Shared {
    /// An index of these segments, without batches so far.
    pub(crate) fn new(
        stores: Stores,
        identity: Identity,
        begin: u64,
        slots: VecDeque<Slot>,
    ) -> Shared {
        let index = RwLock::new(Index { begin, slots, runs: Vec::new() });
        Shared {
            stores,
            identity,
            durable: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            release: AtomicU64::new(0),
            index,
            recent: Mutex::default(),
            archiving: Mutex::default(),
        }
    }

    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch that a start has found, after all the others.
    pub(crate) fn add_found(&self, segment: u64, kind: Kind, found: &scan::Found) {
        let (offset, first) = (found.offset, found.first);
        let runs = &mut self.index_mut().runs;
        if runs.last().is_none_or(|run| run.segment != segment) {
            runs.push(Run { segment, kind, first, last: 0, batches: Vec::new(), file: None });
        }
        let run = runs.last_mut().expect("one was pushed where there was none");
        run.add(offset, first, found.last());
    }

    /// Keeps what a start has found only as far as it is recent: the writer comes to work.
    pub(crate) fn unpin(&self) {
        let runs = std::mem::take(&mut self.index_mut().runs);
        let mut runs_of = BTreeMap::<u64, usize>::new();
        runs.iter().for_each(|run| *runs_of.entry(run.segment).or_default() += 1);
        let mut recent = self.recent();
        // What is in two runs, with copies in another segment in between, is read again when it is
        // needed.
        for mut run in runs.into_iter().filter(|run| runs_of[&run.segment] == 1) {
            run.batches.shrink_to_fit();
            recent.put(Arc::new(run));
        }
    }

    /// Adds what was written after all the others, in a segment in use. Where it begins a segment, the one before
    /// it is full.
    pub(crate) fn add(&self, header: &Header, file: &Arc<dyn File>) {
        let index = &mut *self.index_mut();
        if header.segment >= index.begin + index.slots.len() as u64 {
            let head = Known::Head(Head::new(header, file.length().unwrap_or(0)));
            index.slots.push_back(Slot { live: true, archived: false, head });
        }
        if header.is_mark() {
            return;
        }
        let (segment, first) = (header.segment, header.first);
        if index.runs.last().is_none_or(|run| run.segment != segment) {
            if let Some(mut run) = index.runs.pop() {
                run.batches.shrink_to_fit();
                self.recent().put(Arc::new(run));
            }
            let file = Some(Arc::clone(file));
            let batches = Vec::new();
            index.runs.push(Run { segment, kind: Kind::Live, first, last: 0, batches, file });
        }
        let run = index.runs.last_mut().expect("one was pushed where there was none");
        run.add(header.offset, first, header.last());
    }

    /// Says that all up to this position is durable. What was added must reach there.
    pub(crate) fn set_durable(&self, position: u64) {
        self.durable.store(position, Ordering::Release);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Sequences of all segments, the one in use included.
    pub(crate) fn sequences(&self) -> Range<u64> {
        let index = self.index();
        index.begin..index.begin + index.slots.len() as u64
    }

    /// Where this durable position may be found.
    pub(crate) fn find(&self, position: u64) -> Result<Found, Error> {
        loop {
            let unread = {
                let index = self.index();
                if let Some(place) = index.find_pinned(position) {
                    return Ok(Found::Here(place));
                }
                match index.search(position) {
                    Ok(found) => return Ok(found),
                    Err(unread) => unread,
                }
            };
            self.head(unread)?;
        }
    }

    /// What a segment begins with, read where it isn't known yet.
    pub(crate) fn head(&self, sequence: u64) -> Result<Option<Head>, Error> {
        let copies = match self.index().slot(sequence) {
            None => return Ok(None),
            Some(Slot { head: Known::Head(head), .. }) => return Ok(Some(*head)),
            Some(Slot { head: Known::Nothing, .. }) => return Ok(None),
            Some(slot) => slot.copies(),
        };
        let mut read = Ok(None);
        for kind in copies.into_iter().flatten() {
            let found = head(&self.stores, kind, sequence, self.identity);
            read = found.map(|(header, bytes)| header.map(|header| Head::new(&header, bytes)));
            if matches!(read, Ok(Some(_))) {
                break;
            }
        }
        let found = read?;
        if let Some(slot) = self.index_mut().slot_mut(sequence) {
            slot.head = found.map_or(Known::Headless, Known::Head);
        }
        Ok(found)
    }

    /// Whether the log is known to go on without this segment.
    fn is_nothing(&self, sequence: u64) -> bool {
        self.index().slot(sequence).is_some_and(|slot| matches!(slot.head, Known::Nothing))
    }

    /// Position of the last record in a segment's own batches; the one before its first where it has none.
    fn own_last(&self, sequence: u64, head: Head) -> Result<u64, Error> {
        let mut last = head.first - 1;
        for kind in self.copies(sequence).into_iter().flatten() {
            last = last.max(self.run(sequence, kind)?.last);
        }
        Ok(last)
    }

    /// The copies that there are of a segment, the better one to read first.
    pub(crate) fn copies(&self, sequence: u64) -> [Option<Kind>; 2] {
        self.index().slot(sequence).map_or([None; 2], Slot::copies)
    }

    /// The batches of a full segment, read where they are not in memory.
    pub(crate) fn run(&self, segment: u64, kind: Kind) -> Result<Arc<Run>, Error> {
        if let Some(run) = self.recent().get(segment, kind) {
            return Ok(run);
        }
        let (file, name) = (open_segment(&self.stores, kind, segment)?, kind.shown(segment));
        let mut run = Run { segment, kind, first: 0, last: 0, batches: Vec::new(), file: None };
        headers(&*file, &name, segment, self.identity, &mut |header| {
            if run.batches.is_empty() {
                run.first = header.first;
            }
            // One that does not rise is none of the log's.
            let rise = header.first.checked_sub(run.first);
            if rise.is_some_and(|rise| u32::try_from(rise).is_ok()) {
                run.add(header.offset, header.first, header.last());
            }
        })?;
        run.file = Some(file);
        let run = Arc::new(run);
        self.recent().put(Arc::clone(&run));
        Ok(run)
    }

    /// Lets the places of a segment's batches be read again.
    pub(crate) fn forget_run(&self, segment: u64, kind: Kind) {
        self.recent().forget(segment, kind);
    }

    /// Whether a copy of a full segment holds any batch.
    pub(crate) fn has_batches(&self, segment: u64) -> bool {
        let mut copies = self.copies(segment).into_iter().flatten();
        copies.any(|kind| self.run(segment, kind).is_ok_and(|run| !run.batches.is_empty()))
    }

    /// Segments right after this one that don't begin with a header.
    pub(crate) fn headless_after(&self, segment: u64) -> Range<u64> {
        let index = self.index();
        let head_of = |sequence: &u64| index.slot(*sequence).map(|slot| slot.head);
        let is_headless = |at: &u64| matches!(head_of(at), Some(Known::Headless | Known::Nothing));
        segment + 1..(segment + 1..).find(|at| !is_headless(at)).expect("the segments end")
    }
}

/// What a segment is and what may be done with it.
impl Shared {
    /// Says that all up to this position is on the disk.
    pub(crate) fn set_synced(&self, position: u64) {
        self.synced.store(position, Ordering::Release);
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Lets sealed segments that end here or below be used again once they are archived.
    pub(crate) fn release_below(&self, position: u64) {
        self.release.fetch_max(position, Ordering::AcqRel);
    }

    /// Held while a segment is archived.
    pub(crate) fn archiving(&self) -> MutexGuard<'_, ()> {
        self.archiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First and last position of what is the log's in a segment that is not the one in use. One
    /// that does not begin with a header has what is missing between its neighbours: if that is nothing, the
    /// log goes on without it.
    pub(crate) fn range(&self, sequence: u64) -> Result<(u64, u64), Error> {
        let head = self.head(sequence)?;
        let mut next = self.durable() + 1;
        let mut is_followed = true;
        for later in sequence + 1..self.sequences().end {
            match self.head(later)? {
                Some(head) => {
                    next = head.first;
                    break;
                }
                None => is_followed = is_followed && self.is_nothing(later),
            }
        }
        match head {
            Some(head) if is_followed => Ok((head.first, next - 1)),
            Some(head) => Ok((head.first, self.own_last(sequence, head)?.min(next - 1))),
            None => Ok((self.missing_from(sequence, next)?, next - 1)),
        }
    }

    /// The position that follows what lies before this segment, which does not begin with a header; `next` where
    /// nothing is missing up to there.
    fn missing_from(&self, sequence: u64, next: u64) -> Result<u64, Error> {
        let begin = self.sequences().start;
        if self.is_nothing(sequence) {
            return Ok(next);
        }
        for earlier in (begin..sequence).rev() {
            if let Some(head) = self.head(earlier)? {
                let first = self.own_last(earlier, head)?.saturating_add(1).min(next);
                if first == next
                    && let Some(slot) = self.index_mut().slot_mut(sequence)
                {
                    slot.head = Known::Nothing;
                }
                return Ok(first);
            }
        }
        // Nobody knows where a log begins whose beginning was let go.
        Ok(if begin == FIRST_SEQUENCE { next.min(1) } else { next })
    }

    /// Sequences of the sealed segments in the folder: all but the one in use, and what is not on the disk yet.
    fn sealed_sequences(&self) -> Range<u64> {
        let index = self.index();
        let released = index.slots.iter().take_while(|slot| !slot.live).count() as u64;
        let end = index.begin + (index.slots.len() as u64).saturating_sub(1);
        (index.begin + released).min(end)..end
    }

    /// The sealed segments in the folder, in order.
    pub(crate) fn sealed(&self) -> Result<Vec<Sealed>, Error> {
        let mut all = Vec::new();
        for sequence in self.sealed_sequences() {
            all.extend(self.sealed_one(sequence)?);
        }
        Ok(all)
    }

    /// A sealed segment; none where it has been used again, or is not on the disk yet.
    fn sealed_one(&self, sequence: u64) -> Result<Option<Sealed>, Error> {
        let bytes = self.head(sequence)?.map_or(0, |head| head.bytes);
        let (first, last) = self.range(sequence)?;
        let index = self.index();
        let slot = index.slot(sequence).filter(|slot| slot.live && last <= self.synced());
        Ok(slot.map(|slot| Sealed { sequence, first, last, bytes, archived: slot.archived }))
    }

    /// Whether something is perhaps to be archived.
    pub(crate) fn may_archive(&self) -> bool {
        let wants = |slot: &Slot| slot.live && !slot.archived;
        self.stores.archive.is_some() && self.index().slots.iter().rev().skip(1).any(wants)
    }

    /// The lowest sealed segment without a copy, or this one if it has none.
    pub(crate) fn to_archive(&self, only: Option<u64>) -> Result<Option<Sealed>, Error> {
        let wanted = |sequence: &u64| only.is_none_or(|only| only == *sequence);
        for sequence in self.sealed_sequences().filter(wanted) {
            let is_archived = self.index().slot(sequence).is_none_or(|slot| slot.archived);
            if !is_archived {
                return self.sealed_one(sequence);
            }
        }
        Ok(None)
    }

    pub(crate) fn set_archived(&self, sequence: u64, archived: bool) {
        if let Some(slot) = self.index_mut().slot_mut(sequence) {
            slot.archived = archived;
        }
        if !archived {
            self.recent().forget(sequence, Kind::Archived);
        }
    }

    /// The lowest segment in the folder, if it may be used again.
    pub(crate) fn reusable(&self) -> Result<Option<Sealed>, Error> {
        let Some(sequence) = self.sealed_sequences().next() else { return Ok(None) };
        let is_archived = is(Bug::ReusedBeforeArchived)
            || self.index().slot(sequence).is_some_and(|slot| slot.archived);
        let release = self.release.load(Ordering::Acquire);
        if !is_archived || release == 0 {
            return Ok(None);
        }
        Ok(self.sealed_one(sequence)?.filter(|sealed| sealed.last <= release))
    }

    /// Says whether a segment is in the folder.
    pub(crate) fn set_live(&self, sequence: u64, live: bool) {
        if let Some(slot) = self.index_mut().slot_mut(sequence) {
            slot.live = live;
        }
        self.recent().forget(sequence, Kind::Live);
    }

    /// Takes out the first segment, if it is wholly below this position: of one that is archived, if it is in the archive
    /// only; of one in the folder, if it is sealed and there is no archive.
    pub(crate) fn trim(&self, below: u64, kind: Kind) -> Result<Option<u64>, Error> {
        let sequence = self.sequences().start;
        let may_go = match kind {
            Kind::Archived => self.index().slot(sequence).is_some_and(|s| s.archived && !s.live),
            Kind::Live => {
                self.stores.archive.is_none() && self.sealed_sequences().contains(&sequence)
            }
        };
        let last = |sequence| self.range(sequence).map(|range| range.1);
        if !may_go || last(sequence)? >= below.min(self.synced() + 1) {
            return Ok(None);
        }
        let index = &mut *self.index_mut();
        if index.begin != sequence {
            return Ok(None);
        }
        index.slots.pop_front();
        index.begin += 1;
        Ok(Some(sequence))
    }
}

impl Index {
    fn slot(&self, sequence: u64) -> Option<&Slot> {
        self.slots.get(sequence.checked_sub(self.begin)? as usize)
    }

    fn slot_mut(&mut self, sequence: u64) -> Option<&mut Slot> {
        self.slots.get_mut(sequence.checked_sub(self.begin)? as usize)
    }

    fn find_pinned(&self, position: u64) -> Option<Place> {
        let at = self.runs.partition_point(|run| run.first <= position).checked_sub(1)?;
        self.runs[at].find(position)
    }

    /// The last segment that begins at or below a position, by halves, since first positions never
    /// fall; or one whose beginning has to be read first.
    fn search(&self, position: u64) -> Result<Found, u64> {
        let (mut low, mut high) = (0, self.slots.len());
        let (mut found, mut begins_at) = (None, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut at = middle;
            let head = loop {
                match self.slots[at].head {
                    Known::NotYet => return Err(self.begin + at as u64),
                    Known::Head(head) => break Some(head),
                    Known::Headless | Known::Nothing if at > low => at -= 1,
                    Known::Headless | Known::Nothing => break None,
                }
            };
            match head {
                Some(head) if head.first > position => (high, begins_at) = (at, head.first),
                Some(_) => (found, low) = (Some(self.begin + at as u64), middle + 1),
                None => low = middle + 1,
            }
        }
        Ok(found.map_or(Found::Gone(begins_at), Found::In))
    }
}

impl Slot {
    fn copies(&self) -> [Option<Kind>; 2] {
        [self.live.then_some(Kind::Live), self.archived.then_some(Kind::Archived)]
    }
}

/// The error for a position that should be in this segment, but isn't.
pub(crate) fn not_in(segment: u64, position: u64) -> Error {
    Error::Damaged {
        file: segment_name(segment),
        offset: 0,
        position,
        detail: "no batch here holds it any more".to_owned(),
    }
}

#[cfg(test)]
mod tests;
