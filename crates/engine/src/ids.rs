//! Which commands were carried out in the last 24 hours, beyond what the state itself
//! remembers: so that one that comes again gets its answer, however many came between.
//!
//! Ids of records in sealed segments are in files beside these ([`file`]), with a small filter in
//! memory before them ([`filter`]); ids of younger records are in memory whole. All of it can be made
//! again from the records. Keys are 64 bits here: whoever finds one looks at the record, too.

mod file;
mod filter;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;

use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::{CodeKey, Time};
use onsale_journal::storage::Storage;

pub(crate) use file::{Entry, Extent, IdsFile, name, parse_name, write};
use onsale_planted::{Bug, is};

use filter::Filter;

/// Ids in one run of those that are in memory whole: seven in eight of a power of two, which fills a
/// table of that size.
const RUN_IDS: usize = if cfg!(test) { 7 << 7 } else { 7 << 14 };
/// Runs that are kept while the upkeep is behind; ids of older ones are forgotten, and the window
/// says so.
const RUNS_MAX: usize = 32;

/// Takes a file away if it is there.
pub(crate) fn remove_if_there(storage: &dyn Storage, name: &str) -> io::Result<()> {
    match storage.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Under which 64 bits an id is kept. They depend on the log's secret, so that nobody outside
/// can choose ids that fall together.
pub(crate) fn short_key(secret: CodeKey, key: u128) -> u64 {
    let key = key ^ u128::from_le_bytes(secret.0);
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let [low, high] = [key as u64, (key >> 64) as u64];
    let once = fold(low ^ 0x9E37_79B9_7F4A_7C15, high ^ 0xD1B5_4A32_D192_ED03);
    fold(once ^ low.rotate_left(32), 0xBF58_476D_1CE4_E5B9) ^ high
}

/// The ids of all sealed segments that the window reaches back to: made by the upkeep, read by
/// the shard.
#[derive(Clone)]
pub(crate) struct Window {
    filter: Arc<Filter>,
    /// By sequence.
    segments: Vec<Indexed>,
    /// Ids in the filter, of segments that have been dropped since, too.
    filtered: usize,
    /// Segments that are not in the filter.
    outside: usize,
    /// Since when nothing is missing.
    pub since: Time,
}

/// A segment with a file of ids.
#[derive(Clone)]
struct Indexed {
    file: IdsFile,
    /// Whether its ids are in the filter. If not, its file is asked each time.
    filtered: bool,
}

/// Whether all ids of a segment are past the window at a time.
fn is_old(indexed: &Indexed, now: Time) -> bool {
    let kept_us = if is(Bug::IdsLetGoEarly) { 3_600_000_000 } else { COMMANDS_REMEMBERED_US };
    // A second more, since the window is decided by whole seconds.
    indexed.file.extent().last_at < now.0 - kept_us - 1_000_000
}

impl Default for Window {
    fn default() -> Self {
        let filter = Arc::new(Filter::with_room_for(0));
        Window { filter, segments: Vec::new(), filtered: 0, outside: 0, since: Time(0) }
    }
}

impl Window {
    /// Position up to which all ids are here.
    pub fn upto(&self) -> u64 {
        self.segments.iter().map(|indexed| indexed.file.extent().last).max().unwrap_or(0)
    }

    /// Whether it has a segment's ids.
    pub fn has(&self, sequence: u64) -> bool {
        self.place(sequence).is_ok()
    }

    fn place(&self, sequence: u64) -> Result<usize, usize> {
        self.segments.binary_search_by_key(&sequence, |indexed| indexed.file.extent().sequence)
    }

    /// Sequences of its segments.
    pub fn sequences(&self) -> impl Iterator<Item = u64> {
        self.segments.iter().map(|indexed| indexed.file.extent().sequence)
    }

    /// Bytes in memory, and ids that they are for.
    pub fn size(&self) -> (usize, usize) {
        let ids = self.segments.iter().map(|indexed| indexed.file.len()).sum();
        (self.filter.bytes() + self.segments.capacity() * size_of::<Indexed>(), ids)
    }

    /// Whether some of its segments are past the window at a time.
    pub fn has_old(&self, now: Time) -> bool {
        self.segments.iter().any(|indexed| is_old(indexed, now))
    }

    /// Whether some of its segments are not in the filter yet.
    pub fn has_outside(&self) -> bool {
        self.outside > 0
    }

    /// The highest position up to `from` of which the id is in no file; 0: there is none.
    pub fn gap_below(&self, from: u64) -> u64 {
        let mut missing = from;
        for indexed in self.segments.iter().rev() {
            let extent = indexed.file.extent();
            if (extent.first..=extent.last).contains(&missing) {
                missing = extent.first - 1;
            }
        }
        missing
    }

    /// Adds a segment's file. Its ids come into the filter with [`Window::fill`].
    pub fn add(&mut self, file: IdsFile) {
        let indexed = Indexed { filtered: false, file };
        match self.place(indexed.file.extent().sequence) {
            Ok(at) => self.segments[at] = indexed,
            Err(at) => self.segments.insert(at, indexed),
        }
        self.count_outside();
    }

    fn count_outside(&mut self) {
        self.outside = self.segments.iter().filter(|indexed| !indexed.filtered).count();
    }

    /// Forgets a segment, so that its file is made again.
    pub fn forget(&mut self, sequence: u64) {
        if let Ok(at) = self.place(sequence) {
            self.segments.remove(at);
            self.count_outside();
        }
    }

    /// Drops segments of which all ids are past the window at a time; gives their sequences.
    pub fn drop_old(&mut self, now: Time) -> Vec<u64> {
        let old: Vec<u64> = (self.segments.iter().filter(|indexed| is_old(indexed, now)))
            .map(|indexed| indexed.file.extent().sequence)
            .collect();
        self.segments.retain(|indexed| !is_old(indexed, now));
        self.count_outside();
        old
    }

    /// Puts the ids of segments that are not in the filter yet into it, the youngest first, up to
    /// about so many. Where there is no room a larger filter is made, which has room for those that are not in
    /// yet, too. Returns whether all are in.
    ///
    /// # Errors
    /// The sequence of the segment whose file can't be read.
    pub fn fill(&mut self, ids_max: usize) -> Result<bool, (u64, io::Error)> {
        let mut left = ids_max;
        for at in (0..self.segments.len()).rev() {
            if self.segments[at].filtered {
                continue;
            }
            if left == 0 {
                return Ok(false);
            }
            let ids = self.segments[at].file.len();
            self.segments[at].filtered = true;
            self.outside -= 1;
            if self.filtered + ids > self.filter.room() || !self.put(at)? {
                self.grow()?;
            }
            left = left.saturating_sub(ids);
        }
        Ok(true)
    }

    /// Puts a segment's ids into the filter; false where there is no room.
    fn put(&mut self, at: usize) -> Result<bool, (u64, io::Error)> {
        let Window { filter, segments, filtered, .. } = self;
        let (file, mut fits) = (&segments[at].file, true);
        let sequence = file.extent().sequence;
        let mut add = |key| fits = fits && filter.add(key, sequence).is_ok();
        file.each_key(&mut add).map_err(|error| (sequence, error))?;
        *filtered += file.len();
        Ok(fits)
    }

    fn grow(&mut self) -> Result<(), (u64, io::Error)> {
        let mut ids = self.size().1;
        loop {
            self.filter = Arc::new(Filter::with_room_for(ids));
            self.filtered = 0;
            let mut fits = true;
            for at in 0..self.segments.len() {
                if self.segments[at].filtered && fits {
                    fits = self.put(at)?;
                }
            }
            if fits {
                return Ok(());
            }
            // Chance has it that too many fall into one place.
            ids += ids / 8 + 1;
        }
    }

    /// Position of the fact of an id's command, as its key says: the youngest.
    ///
    /// # Errors
    /// The segment whose file can't be read, and why.
    fn find(&self, key: u64) -> Result<Option<u64>, (Extent, io::Error)> {
        let mut found: Option<u64> = None;
        let mut look = |indexed: &Indexed| {
            let file = &indexed.file;
            let position = file.find(key).map_err(|error| (*file.extent(), error))?;
            found = found.max(position);
            Ok(())
        };
        let mut result = Ok(());
        self.filter.find(key, &mut |low| {
            if let (Some(indexed), Ok(())) = (self.of_low_bits(low), &result) {
                result = look(indexed);
            }
        });
        result?;
        if self.outside > 0 {
            for indexed in self.segments.iter().filter(|indexed| !indexed.filtered) {
                look(indexed)?;
            }
        }
        Ok(found)
    }

    /// The segment whose sequence ends in these bits: one at most, since the window has far fewer
    /// than 65,536.
    fn of_low_bits(&self, low: u16) -> Option<&Indexed> {
        let first = self.segments.first()?.file.extent().sequence;
        let sequence = first + u64::from(low.wrapping_sub(first as u16));
        self.place(sequence).ok().map(|at| &self.segments[at])
    }
}

/// What a shard knows of ids beyond what its state remembers.
#[derive(Default)]
pub(crate) struct Ids {
    window: Arc<Window>,
    runs: VecDeque<Run>,
    /// The last position of a run that was let go for want of room, and since when nothing is missing
    /// therefore, until it is in a file.
    let_go: (u64, Time),
}

#[expect(clippy::disallowed_types, reason = "it is asked for keys, never gone through")]
type Offsets = std::collections::HashMap<u64, u32, BuildHasherDefault<Itself>>;

/// Ids of records that follow each other, whole.
struct Run {
    first: u64,
    last: u64,
    last_at: Time,
    offsets: Offsets,
}

impl Ids {
    /// Takes up the id of a record that follows all others.
    pub fn push(&mut self, key: u64, position: u64, at: Time) {
        if self.runs.back().is_none_or(|run| run.offsets.len() >= RUN_IDS) {
            // Where one was filled the next one will be, most likely: it need not grow then.
            let room = if self.runs.is_empty() { 0 } else { RUN_IDS };
            let offsets = Offsets::with_capacity_and_hasher(room, BuildHasherDefault::new());
            self.runs.push_back(Run { first: position, last: position, last_at: at, offsets });
        }
        let run = self.runs.back_mut().expect("one was pushed where there was none");
        run.offsets.insert(key, (position - run.first) as u32);
        (run.last, run.last_at) = (position, at);
        if self.runs.len() > RUNS_MAX {
            let forgotten = self.runs.pop_front().expect("there are some");
            self.let_go = (forgotten.last, Time(forgotten.last_at.0 + 1_000_000));
        }
    }

    /// Takes up ids of records that come before all others, in order.
    pub fn push_before(&mut self, ids: Vec<(u64, u64, Time)>) {
        let mut before = Ids::default();
        ids.into_iter().for_each(|(key, position, at)| before.push(key, position, at));
        before.runs.append(&mut self.runs);
        self.runs = before.runs;
    }

    /// Takes what the upkeep made, and lets go what is in it.
    pub fn take(&mut self, window: Arc<Window>) {
        self.window = window;
        let upto = self.window.upto();
        while self.runs.front().is_some_and(|run| run.last <= upto) {
            self.runs.pop_front();
        }
    }

    /// Since when all ids are known.
    pub fn since(&self) -> Time {
        match self.let_go {
            (position, since) if position > self.window.upto() => since.max(self.window.since),
            _ => self.window.since,
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        let run = |run: &Run| run.offsets.capacity() * (size_of::<(u64, u32)>() + 1);
        self.window.size().0 + self.runs.iter().map(run).sum::<usize>()
    }

    /// Position of the fact of an id's command, as its key says: the youngest.
    ///
    /// # Errors
    /// The segment whose file can't be read, and why.
    pub fn find(&self, key: u64) -> Result<Option<u64>, (Extent, io::Error)> {
        for run in self.runs.iter().rev() {
            if let Some(offset) = run.offsets.get(&key) {
                return Ok(Some(run.first + u64::from(*offset)));
            }
        }
        self.window.find(key)
    }
}

/// Keys are spread well already.
#[derive(Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
