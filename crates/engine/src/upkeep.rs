//! What is done for a shard beside its sales, in pieces, by a helper thread: ids of sealed segments
//! go to files, sealed segments to the archive, the state to a snapshot; what lies on the disk is
//! checked again, and what is not needed any more is let go.
//!
//! Nothing here touches the live state. All is made from sealed segments alone, a crash between
//! any two steps costs only work, and a failure is told and tried again later.

pub(crate) mod build;

use std::sync::Arc;

use onsale_core::{CodeKey, Time, limits};
use onsale_journal::storage::Storage;
use onsale_journal::{ArchiveJob, Reader, ScrubJob, Sealed, TrimJob, Writer};

use crate::ids::{self, Window};
use crate::snapshot;

/// Snapshots that are kept.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;
/// Ids that are brought into the filter in one piece of work, about.
pub(crate) const FILL_IDS: usize = 1 << 20;
/// How long after a failure nothing is tried, in microseconds.
const RETRY_US: i64 = 10_000_000;
/// How often a segment is checked again, in microseconds.
const SCRUB_US: i64 = 60_000_000;
/// How often the archive is looked at for what is too old, in microseconds.
const TRIM_US: i64 = 600_000_000;
/// Room for findings that wait to be told.
const NOTES_MAX: usize = 100;

/// How much is kept, and how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Bytes of sealed segments after which a new snapshot is made.
    pub snapshot_bytes: u64,
    /// How long archived segments are kept at least, in microseconds; none: for ever.
    pub retention_us: Option<i64>,
    /// The newest orders of a shard that are kept in full. They must be more than can be on
    /// their way to the disk at a time.
    pub orders_hot: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        let orders_hot = limits::ORDERS_HOT_MAX;
        Rules { snapshot_bytes: 64 << 20, retention_us: None, orders_hot }
    }
}

/// What the upkeep has done and found since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpkeepFigures {
    /// Sealed segments in the folder.
    pub sealed: u64,
    /// Of them: with a copy in the archive.
    pub archived: u64,
    /// The lowest position that is left; 0: not known yet.
    pub begins_at: u64,
    /// Snapshots made.
    pub snapshots: u64,
    /// Segments checked again.
    pub scrubbed: u64,
    /// Damaged files found by that.
    pub scrub_findings: u64,
    /// Pieces of work that failed and are tried again.
    pub failures: u64,
}

/// What the upkeep of one shard works on. It goes with each piece of work and comes back.
pub(crate) struct Upkeep {
    pub storage: Arc<dyn Storage>,
    pub reader: Reader,
    pub log: u128,
    pub shard: u16,
    pub key: CodeKey,
    pub rules: Rules,
    pub window: Window,
    /// Positions of the snapshots that can be used, the newest first.
    pub snapshots: Vec<u64>,
    /// Sequence up to which segments were looked at for ids.
    pub indexed: u64,
    pub figures: UpkeepFigures,
    /// What is to be told.
    pub notes: Vec<String>,
    /// Below which position the archive may be trimmed.
    trim_below: Option<u64>,
    trimmed_at: Time,
    /// Sequence of the segment that was checked last, and when.
    scrubbed: (u64, Time),
    not_before: Time,
}

/// One piece of work.
enum Task {
    DropOldIds,
    Ids(Sealed),
    Fill,
    Archive(ArchiveJob),
    Snapshot { upto: u64 },
    FindTrim,
    Trim(TrimJob),
    Scrub(ScrubJob),
}

/// A piece of work, for a helper thread.
#[must_use = "the shard waits for its result"]
pub struct UpkeepJob {
    upkeep: Box<Upkeep>,
    task: Task,
    now: Time,
}

/// How it went.
#[must_use = "the shard waits for it"]
pub struct UpkeepDone {
    pub(crate) upkeep: Box<Upkeep>,
}

impl Upkeep {
    /// The upkeep of a shard that has just been opened.
    pub fn new(storage: Arc<dyn Storage>, reader: Reader, rules: Rules) -> Upkeep {
        Upkeep {
            storage,
            reader,
            log: 0,
            shard: 0,
            key: CodeKey([0; 16]),
            rules,
            window: Window::default(),
            snapshots: Vec::new(),
            indexed: 0,
            figures: UpkeepFigures::default(),
            notes: Vec::new(),
            trim_below: None,
            trimmed_at: Time(i64::MIN / 2),
            scrubbed: (0, Time(i64::MIN / 2)),
            not_before: Time(i64::MIN / 2),
        }
    }

    /// The next piece of work, if there is any; gives itself back if not.
    ///
    /// # Errors
    /// There is nothing to do now.
    pub fn job(
        mut self: Box<Upkeep>,
        writer: &Writer,
        now: Time,
    ) -> Result<UpkeepJob, Box<Upkeep>> {
        if now < self.not_before {
            return Err(self);
        }
        match self.task(writer, now) {
            Some(task) => Ok(UpkeepJob { upkeep: self, task, now }),
            None => Err(self),
        }
    }

    fn task(&mut self, writer: &Writer, now: Time) -> Option<Task> {
        if self.window.has_old(now) {
            return Some(Task::DropOldIds);
        }
        let sealed = match writer.sealed() {
            Ok(sealed) => sealed,
            Err(error) => {
                self.failed(now, format!("sealed segments can't be listed: {error}"));
                return None;
            }
        };
        self.figures.sealed = sealed.len() as u64;
        self.figures.archived = sealed.iter().filter(|s| s.archived).count() as u64;
        self.figures.begins_at = self.reader.begins_at().unwrap_or(0);
        let lacks_ids = |s: &&Sealed| s.sequence > self.indexed && !self.window.has(s.sequence);
        if let Some(segment) = sealed.iter().find(lacks_ids) {
            return Some(Task::Ids(*segment));
        }
        if self.window.has_outside() {
            return Some(Task::Fill);
        }
        if let Some(job) = writer.archive() {
            return Some(Task::Archive(job));
        }
        // What a snapshot is made from must be in files of ids, too.
        let newest = self.snapshots.first().copied().unwrap_or(0);
        let after = sealed.iter().filter(|s| s.last > newest);
        if after.clone().map(|s| s.bytes).sum::<u64>() >= self.rules.snapshot_bytes
            && let Some(upto) = after.map(|s| s.last).max()
        {
            return Some(Task::Snapshot { upto });
        }
        self.rare_task(writer, &sealed, now)
    }

    fn rare_task(&mut self, writer: &Writer, sealed: &[Sealed], now: Time) -> Option<Task> {
        if let Some(below) = self.trim_below.take() {
            return Some(Task::Trim(writer.trim_archive(below)));
        }
        if self.rules.retention_us.is_some() && now.0 - self.trimmed_at.0 >= TRIM_US {
            self.trimmed_at = now;
            return Some(Task::FindTrim);
        }
        let (last, at) = self.scrubbed;
        if now.0 - at.0 < SCRUB_US {
            return None;
        }
        let next = sealed.iter().find(|s| s.sequence > last).or(sealed.first())?;
        self.scrubbed = (next.sequence, now);
        Some(Task::Scrub(writer.scrub(next.sequence)))
    }

    /// The position at or below which nothing is needed for a start: the older of the snapshots that
    /// are kept.
    pub fn safe_below(&self) -> u64 {
        match self.snapshots.len() {
            SNAPSHOTS_KEPT.. => self.snapshots[SNAPSHOTS_KEPT - 1],
            _ => 0,
        }
    }

    pub fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }

    fn failed(&mut self, now: Time, what: String) {
        self.figures.failures += 1;
        self.not_before = Time(now.0 + RETRY_US);
        self.note(what);
    }
}

impl UpkeepJob {
    /// Does it.
    pub fn run(self) -> UpkeepDone {
        let UpkeepJob { mut upkeep, task, now } = self;
        if let Err(what) = upkeep.run(task, now) {
            upkeep.failed(now, what);
        }
        UpkeepDone { upkeep }
    }
}

impl Upkeep {
    fn run(&mut self, task: Task, now: Time) -> Result<(), String> {
        match task {
            Task::DropOldIds => self.drop_old_ids(now),
            Task::Ids(segment) => self.make_ids(&segment, now),
            Task::Fill => self.fill(FILL_IDS),
            Task::Archive(job) => {
                let archived = job.run().map_err(|error| format!("archive: {error}"))?;
                // It only seemed that there was something to do.
                if archived.is_none() {
                    self.not_before = Time(now.0 + 1_000_000);
                }
                Ok(())
            }
            Task::Snapshot { upto } => self.make_snapshot(upto),
            Task::FindTrim => self.find_trim(now),
            Task::Trim(job) => match job.run() {
                Ok(0) => Ok(()),
                Ok(n) => {
                    self.note(format!("{n} segments were older than they are kept: removed"));
                    Ok(())
                }
                Err(error) => Err(format!("archive: {error}")),
            },
            Task::Scrub(job) => {
                let scrubbed = job.run();
                self.figures.scrubbed += 1;
                self.figures.scrub_findings += scrubbed.found.len() as u64;
                scrubbed
                    .found
                    .iter()
                    .for_each(|error| self.note(format!("checked again: {error}")));
                Ok(())
            }
        }
    }

    fn drop_old_ids(&mut self, now: Time) -> Result<(), String> {
        for sequence in self.window.drop_old(now) {
            // What is left is taken away by the next start.
            let name = ids::name(sequence);
            ids::remove_if_there(&*self.storage, &name).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }

    /// Brings ids into the filter.
    pub fn fill(&mut self, ids: usize) -> Result<(), String> {
        match self.window.fill(ids) {
            Ok(_) => Ok(()),
            Err((sequence, error)) => {
                // Made again from the records.
                self.window.forget(sequence);
                self.indexed = self.indexed.min(sequence - 1);
                Err(format!("{}: {error}", ids::name(sequence)))
            }
        }
    }

    /// Below which position archived records are older than they are kept.
    fn find_trim(&mut self, now: Time) -> Result<(), String> {
        let Some(retention) = self.rules.retention_us else { return Ok(()) };
        let begin = self.reader.begins_at().map_err(|e| e.to_string())?;
        let (mut low, mut high) = (begin, self.safe_below());
        while low < high {
            let middle = low + (high - low) / 2;
            match build::time_of(&self.reader, middle)?.0 < now.0 - retention {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        self.trim_below = (low > begin).then_some(low);
        Ok(())
    }

    fn make_snapshot(&mut self, upto: u64) -> Result<(), String> {
        build::snapshot(self, upto)?;
        self.snapshots.insert(0, upto);
        self.figures.snapshots += 1;
        for old in self.snapshots.split_off(self.snapshots.len().min(SNAPSHOTS_KEPT)) {
            let name = snapshot::name(old);
            ids::remove_if_there(&*self.storage, &name).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }
}
