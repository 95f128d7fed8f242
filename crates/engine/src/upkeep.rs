//! What is done for a shard beside its sales, in pieces, by a helper thread: ids of sealed segments
//! go to files, sealed segments to the archive, the state to a snapshot; what lies on the disk is
//! checked again, and what is not needed any more is let go.
//!
//! Nothing here touches the live state. All is made from sealed segments alone, a crash between
//! any two steps costs only work, and a failure is told and tried again later. What fails holds up
//! nothing but itself and what is made of it.

pub(crate) mod build;

use std::collections::BTreeMap;
use std::sync::Arc;

use onsale_core::{CodeKey, Time, limits};
use onsale_journal::storage::Storage;
use onsale_journal::{ArchiveJob, Error, Reader, ScrubJob, Sealed, TrimJob, Writer};

use crate::ids::{self, Window};
use crate::snapshot;

/// Snapshots that are kept.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;
/// Ids that are brought into the filter in one piece of work, about.
pub(crate) const FILL_IDS: usize = 1 << 20;
/// How long after a failure the same is not tried again, in microseconds.
const RETRY_US: i64 = 10_000_000;
/// The same for a snapshot, of which a try costs more.
const SNAPSHOT_RETRY_US: i64 = 60_000_000;
/// The same for a segment that can't be archived since it is damaged: it may never be right again.
const DAMAGED_RETRY_US: i64 = 300_000_000;
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
    /// The newest command ids that the state of a shard remembers itself, with the same condition; older
    /// ones are in files.
    pub ids_hot: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        let orders_hot = limits::ORDERS_HOT_MAX;
        let ids_hot = limits::COMMANDS_REMEMBERED_MAX as u32;
        Rules { snapshot_bytes: 32 << 20, retention_us: None, orders_hot, ids_hot }
    }
}

/// What the upkeep has done and found since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct UpkeepFigures {
    /// Sealed segments in the folder.
    pub sealed: u64,
    /// Of them: with a copy in the archive.
    pub archived: u64,
    /// Of them: without a copy, though there is an archive.
    pub unarchived: u64,
    /// The lowest position that is left; 0: not known yet.
    pub begins_at: u64,
    /// Snapshots made.
    pub snapshots: u64,
    /// Time of the last record that is in the newest snapshot; 0: there is none.
    pub snapshot_at: Time,
    /// Bytes of sealed segments that came after the newest snapshot.
    pub after_snapshot_bytes: u64,
    /// After so many bytes a new one is made; 0: not known yet.
    pub snapshot_every_bytes: u64,
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
    /// What failed, and when it may be tried again.
    later: BTreeMap<Piece, Time>,
}

/// What may fail by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Piece {
    /// To look what there is: without it nothing can be done.
    Listing,
    /// Ids must come into their files in order.
    Ids,
    Archive,
    /// The copy of the segment with this sequence.
    Copy(u64),
    Snapshot,
    Trim,
}

/// One piece of work.
enum Task {
    DropOldIds,
    Ids(Sealed),
    Fill,
    Archive(u64, ArchiveJob),
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
            later: BTreeMap::new(),
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
        self.later.retain(|_, until| now < *until);
        match self.task(writer, now) {
            Some(task) => Ok(UpkeepJob { upkeep: self, task, now }),
            None => Err(self),
        }
    }

    fn task(&mut self, writer: &Writer, now: Time) -> Option<Task> {
        if self.is_later(Piece::Listing) {
            return None;
        }
        let sealed = match writer.sealed() {
            Ok(sealed) => sealed,
            Err(error) => {
                let what = format!("sealed segments can't be listed: {error}");
                self.failed(Piece::Listing, now, what);
                return None;
            }
        };
        self.count(writer, &sealed);
        let lacks_ids = |s: &&Sealed| s.sequence > self.indexed && !self.window.has(s.sequence);
        let lacks_ids = sealed.iter().find(lacks_ids);
        if !self.is_later(Piece::Ids) {
            if self.window.has_old(now) {
                return Some(Task::DropOldIds);
            }
            if let Some(segment) = lacks_ids {
                return Some(Task::Ids(*segment));
            }
            if self.window.has_outside() {
                return Some(Task::Fill);
            }
        }
        let wants_copy = |s: &&Sealed| !s.archived && !self.is_later(Piece::Copy(s.sequence));
        if !self.is_later(Piece::Archive)
            && let Some(Sealed { sequence, .. }) = sealed.iter().find(wants_copy)
            && let Some(job) = writer.archive_one(*sequence)
        {
            return Some(Task::Archive(*sequence, job));
        }
        // What a snapshot is made from must be in files of ids, too.
        if lacks_ids.is_none()
            && !self.is_later(Piece::Snapshot)
            && self.figures.after_snapshot_bytes >= self.rules.snapshot_bytes
            && let Some(upto) = sealed.iter().map(|s| s.last).max()
        {
            return Some(Task::Snapshot { upto });
        }
        self.rare_task(writer, &sealed, now)
    }

    /// Brings the figures up to date.
    fn count(&mut self, writer: &Writer, sealed: &[Sealed]) {
        let archived = sealed.iter().filter(|s| s.archived).count() as u64;
        let newest = self.snapshots.first().copied().unwrap_or(0);
        let after = sealed.iter().filter(|s| s.last > newest);
        let figures = &mut self.figures;
        figures.sealed = sealed.len() as u64;
        figures.archived = archived;
        figures.unarchived = if writer.has_archive() { figures.sealed - archived } else { 0 };
        figures.begins_at = self.reader.begins_at().unwrap_or(0);
        figures.snapshot_every_bytes = self.rules.snapshot_bytes;
        figures.after_snapshot_bytes = after.map(|s| s.bytes).sum();
    }

    fn is_later(&self, piece: Piece) -> bool {
        self.later.contains_key(&piece)
    }

    fn rare_task(&mut self, writer: &Writer, sealed: &[Sealed], now: Time) -> Option<Task> {
        if let Some(below) = self.trim_below.take() {
            return Some(Task::Trim(writer.trim_archive(below)));
        }
        if !self.is_later(Piece::Trim)
            && self.rules.retention_us.is_some()
            && now.0 - self.trimmed_at.0 >= TRIM_US
        {
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

    fn failed(&mut self, piece: Piece, now: Time, what: String) {
        self.figures.failures += 1;
        let after_us = match piece {
            Piece::Copy(_) => DAMAGED_RETRY_US,
            Piece::Snapshot => SNAPSHOT_RETRY_US,
            _ => RETRY_US,
        };
        self.later.insert(piece, Time(now.0 + after_us));
        self.note(what);
    }
}

impl UpkeepJob {
    /// Whether the sale is slower until it is done: every command whose id somebody chose is looked up in files.
    pub fn is_urgent(&self) -> bool {
        matches!(self.task, Task::Fill)
    }

    /// Does it.
    pub fn run(self) -> UpkeepDone {
        let UpkeepJob { mut upkeep, task, now } = self;
        let piece = task.piece();
        if let Err(what) = upkeep.run(task, now) {
            upkeep.failed(piece, now, what);
        }
        UpkeepDone { upkeep }
    }
}

impl Task {
    /// What is not tried for a while if this fails.
    fn piece(&self) -> Piece {
        match self {
            Task::DropOldIds | Task::Ids(_) | Task::Fill => Piece::Ids,
            Task::Archive(..) => Piece::Archive,
            Task::Snapshot { .. } => Piece::Snapshot,
            Task::FindTrim | Task::Trim(_) => Piece::Trim,
            // It finds, and does not fail.
            Task::Scrub(_) => Piece::Listing,
        }
    }
}

impl Upkeep {
    fn run(&mut self, task: Task, now: Time) -> Result<(), String> {
        match task {
            Task::DropOldIds => self.drop_old_ids(now),
            Task::Ids(segment) => self.make_ids(&segment, now),
            Task::Fill => self.fill(FILL_IDS),
            Task::Archive(sequence, job) => match job.run() {
                Ok(Some(_)) => Ok(()),
                // It only seemed that there was something to do.
                Ok(None) => {
                    self.later.insert(Piece::Archive, Time(now.0 + 1_000_000));
                    Ok(())
                }
                // The others can still be copied.
                Err(error @ Error::Damaged { .. }) => {
                    let what = format!("archive: {error}: left out for now");
                    self.failed(Piece::Copy(sequence), now, what);
                    Ok(())
                }
                Err(error) => Err(format!("archive: {error}")),
            },
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
        self.figures.snapshot_at = build::snapshot(self, upto)?;
        self.snapshots.insert(0, upto);
        self.figures.snapshots += 1;
        for old in self.snapshots.split_off(self.snapshots.len().min(SNAPSHOTS_KEPT)) {
            let name = snapshot::name(old);
            ids::remove_if_there(&*self.storage, &name).map_err(|e| format!("{name}: {e}"))?;
        }
        Ok(())
    }
}
