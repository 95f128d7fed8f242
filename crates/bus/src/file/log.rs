//! One shard of a stream on files: a journal, and the appends that wait for it.
//!
//! Whoever appends puts records into the journal's open batch; the first starts a helper that writes and
//! syncs it, and goes on as long as more has come meanwhile. So appends share their syncs by themselves.
//!
//! A record of the journal is the key's length (a varint), the key, the time (microseconds since 1970, 8 bytes,
//! little-endian), and the payload.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use onsale_journal::{
    Durability, FileStorage, FolderLock, Opened, Options, RECORD_OVERHEAD_BYTES, Reader, SpareJob,
    WriteDone, WriteJob, Writer,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::source::Cut;
use crate::record::now_us;
use crate::{Entry, Error};

/// How long a shard is idle before its journal is marked as durable to its end.
const IDLE: Duration = Duration::from_millis(50);

/// A shard's journal.
pub(super) struct Log {
    /// For messages: stream and shard.
    what: String,
    folder: PathBuf,
    reader: Reader,
    inner: Mutex<Inner>,
    pub(super) durable: watch::Sender<u64>,
    /// Rises whenever a batch was written or a spare made, well or not.
    turn: watch::Sender<u64>,
    /// All up to here is let go, whether or not it is on the disk yet.
    trimmed: AtomicU64,
    segment_bytes: u64,
    /// The bus' folder is free for another owner only when no journal is open any more.
    _lock: Arc<FolderLock>,
}

struct Inner {
    /// None once it is closed.
    writer: Option<Writer>,
    writing: bool,
    preparing: bool,
    marking: bool,
    /// It takes nothing more, and what was begun is being done.
    closing: bool,
    /// When the last record was taken.
    last_us: u64,
    /// Bytes sealed since a spare segment was asked for.
    since_spare: u64,
    /// Why there is no spare, once.
    no_spare: Option<Error>,
    /// Why nothing is taken any more.
    failed: Option<Error>,
}

impl Log {
    /// Opens the journal in a folder, or makes it. Blocks.
    pub(super) fn open(
        what: String,
        folder: &Path,
        log: u128,
        shard: u16,
        segment_bytes: u64,
        lock: Arc<FolderLock>,
    ) -> Result<Arc<Log>, Error> {
        let trimmed = read_trimmed(folder)?;
        let storage = FileStorage::open(folder).map_err(|error| failed(&what, &error))?;
        let durability = Durability::Synced;
        let options = Options { segment_bytes, log, shard, generation: 1, durability };
        let mut last_us = 0;
        let opened =
            onsale_journal::open(Arc::new(storage), options, trimmed, &mut |_, record, _| {
                last_us = cut(record).ok_or("it is not a record of the bus")?.written_at_us;
                Ok(())
            });
        let Opened { writer, reader, last_position, notes, .. } =
            opened.map_err(|error| failed(&what, &error))?;
        for note in notes {
            tracing::warn!(log = what, note, "the journal was opened");
        }
        let inner = Inner {
            writer: Some(writer),
            writing: false,
            preparing: false,
            marking: false,
            closing: false,
            last_us,
            since_spare: 0,
            no_spare: None,
            failed: None,
        };
        Ok(Arc::new(Log {
            what,
            folder: folder.to_owned(),
            reader,
            inner: Mutex::new(inner),
            durable: watch::Sender::new(last_position),
            turn: watch::Sender::new(0),
            trimmed: AtomicU64::new(trimmed),
            segment_bytes,
            _lock: lock,
        }))
    }

    /// Appends entries in order and waits until all are durable. For each its position, or why it has none.
    pub(super) async fn append(self: &Arc<Log>, entries: &[&Entry]) -> Vec<Result<u64, Error>> {
        let mut turn = self.turn.subscribe();
        let mut positions = Vec::with_capacity(entries.len());
        while positions.len() < entries.len() {
            turn.borrow_and_update();
            if let Err(error) = self.take(&entries[positions.len()..], &mut positions) {
                let last = positions.last().copied().unwrap_or(0);
                self.until(&mut turn, last).await;
                return self.told(&positions, entries.len(), &error);
            }
            if positions.len() < entries.len() {
                // It ends when the log does, and that is told by the next look.
                let _ = turn.changed().await;
            }
        }
        let last = positions.last().copied().unwrap_or(0);
        self.until(&mut turn, last).await;
        let lost = || Error::Unavailable {
            what: self.what.clone(),
            why: "its journal failed: the entry may be there after a start".into(),
        };
        let error = self.lock().failed.clone().unwrap_or_else(lost);
        self.told(&positions, entries.len(), &error)
    }

    /// What is durable is placed; the rest has the error.
    fn told(&self, positions: &[u64], count: usize, error: &Error) -> Vec<Result<u64, Error>> {
        let durable = *self.durable.borrow();
        let placed = |at: usize| positions.get(at).copied().filter(|position| *position <= durable);
        (0..count).map(|at| placed(at).ok_or_else(|| error.clone())).collect()
    }

    /// Waits until a position is durable or never will be.
    async fn until(&self, turn: &mut watch::Receiver<u64>, position: u64) {
        loop {
            turn.borrow_and_update();
            if *self.durable.borrow() >= position || self.lock().failed.is_some() {
                return;
            }
            if turn.changed().await.is_err() {
                return;
            }
        }
    }

    /// Puts as many entries as have room now into the open batch.
    fn take(self: &Arc<Log>, entries: &[&Entry], positions: &mut Vec<u64>) -> Result<(), Error> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        if inner.closing {
            return Err(self.closed());
        }
        let writer = inner.writer.as_mut().ok_or_else(|| self.closed())?;
        let written_at_us = now_us().max(inner.last_us);
        inner.last_us = written_at_us;
        let before = positions.len();
        for entry in entries {
            let bytes = entry.key.len() + entry.payload.len() + 10 + RECORD_OVERHEAD_BYTES;
            if !writer.fits(bytes) {
                let max = onsale_journal::batch_bytes_max(self.segment_bytes);
                if bytes + onsale_journal::format::HEADER_BYTES > max {
                    return Err(Error::TooLarge { field: "entry", bytes, max });
                }
                break;
            }
            positions.push(writer.append(&mut |out| write(out, entry, written_at_us)));
        }
        let is_stuck = positions.len() == before && writer.is_empty() && !inner.writing;
        self.write(inner);
        match inner.no_spare.take() {
            Some(error) if is_stuck && !inner.preparing => return Err(error),
            _ => self.prepare(inner, is_stuck),
        }
        Ok(())
    }

    /// Has the open batch written, unless another is being written.
    fn write(self: &Arc<Log>, inner: &mut Inner) {
        if inner.writing {
            return;
        }
        if let Some(job) = inner.writer.as_mut().and_then(Writer::seal) {
            inner.writing = true;
            inner.since_spare += job.bytes() as u64;
            let (log, handle) = (Arc::clone(self), Handle::current());
            tokio::task::spawn_blocking(move || log.write_all(job, &handle));
        }
    }

    /// Writes batches as long as there are some.
    fn write_all(self: Arc<Log>, first: WriteJob, handle: &Handle) {
        let mut next = Some(first);
        while let Some(job) = next {
            next = self.written(job.run(), handle);
            self.turn.send_modify(|turn| *turn += 1);
        }
    }

    /// Takes note of what was written, and gives what is to be written next.
    fn written(self: &Arc<Log>, done: WriteDone, handle: &Handle) -> Option<WriteJob> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let writer = inner.writer.as_mut()?;
        let mut next = None;
        match writer.finish(done) {
            Ok(()) => {
                self.durable.send_replace(writer.durable());
                next = writer.seal();
            }
            Err(error) => {
                tracing::error!(log = self.what, %error, "the log takes nothing more");
                inner.failed = Some(failed(&self.what, &error));
            }
        }
        inner.writing = next.is_some();
        inner.since_spare += next.as_ref().map_or(0, |job| job.bytes() as u64);
        let _entered = handle.enter();
        self.prepare(inner, false);
        if next.is_none() && !inner.marking && inner.failed.is_none() {
            inner.marking = true;
            handle.spawn(Log::mark(Arc::downgrade(self)));
        }
        next
    }

    /// Makes a spare segment before it is needed, or now that it is.
    fn prepare(self: &Arc<Log>, inner: &mut Inner, at_once: bool) {
        let due = inner.since_spare >= self.segment_bytes / 4;
        if inner.preparing || !(due || at_once) {
            return;
        }
        let Some(job) = inner.writer.as_mut().and_then(Writer::prepare) else { return };
        inner.preparing = true;
        inner.since_spare = 0;
        let log = Arc::clone(self);
        tokio::task::spawn_blocking(move || log.prepare_now(job));
    }

    fn prepare_now(&self, job: SpareJob) {
        let done = job.run();
        let mut inner = self.lock();
        inner.preparing = false;
        if let Some(Err(error)) = inner.writer.as_mut().map(|writer| writer.prepared(done)) {
            tracing::warn!(log = self.what, %error, "no spare segment could be made");
            inner.no_spare = Some(failed(&self.what, &error));
        }
        drop(inner);
        self.turn.send_modify(|turn| *turn += 1);
    }

    /// Once the log is idle, says on the disk that all of it is durable.
    async fn mark(log: Weak<Log>) {
        tokio::time::sleep(IDLE).await;
        let Some(log) = log.upgrade() else { return };
        let mut inner = log.lock();
        inner.marking = false;
        if inner.writing {
            return;
        }
        if let Some(job) = inner.writer.as_mut().and_then(Writer::mark) {
            inner.writing = true;
            let (handle, log) = (Handle::current(), Arc::clone(&log));
            tokio::task::spawn_blocking(move || log.write_all(job, &handle));
        }
    }

    /// The lowest position that can be read.
    pub(super) fn first(&self) -> u64 {
        self.trimmed.load(Ordering::Acquire) + 1
    }

    pub(super) fn read(
        &self,
        after: u64,
        records: usize,
        bytes: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error> {
        let mut broken = None;
        let mut hand = |position, record: &[u8]| match cut(record) {
            Some(cut) => each(position, cut),
            None => broken = broken.or(Some(position)),
        };
        self.reader
            .read(after, records, bytes, &mut hand)
            .map_err(|error| failed(&self.what, &error))?;
        match broken {
            Some(position) => Err(Error::Damaged {
                what: self.what.clone(),
                why: format!("position {position} is not a record of the bus"),
            }),
            None => Ok(()),
        }
    }

    /// Lets go of all up to a position; whole segments below it are removed. Blocks.
    pub(super) fn trim(&self, upto: u64) -> Result<u64, Error> {
        let upto = upto.min(*self.durable.borrow());
        if upto >= self.first() {
            write_trimmed(&self.folder, upto).map_err(|error| Error::Unavailable {
                what: self.what.clone(),
                why: error.to_string(),
            })?;
            self.trimmed.fetch_max(upto, Ordering::AcqRel);
            let inner = self.lock();
            let job = inner.writer.as_ref().map(|writer| writer.trim_folder(upto + 1));
            drop(inner);
            job.map_or(Ok(0), |job| job.run()).map_err(|error| failed(&self.what, &error))?;
        }
        Ok(self.first())
    }

    /// Waits for what is being written and closes the journal.
    pub(super) async fn close(&self) -> Result<(), Error> {
        let mut turn = self.turn.subscribe();
        while !self.end() {
            let _ = turn.changed().await;
        }
        let writer = self.lock().writer.take();
        self.turn.send_modify(|turn| *turn += 1);
        let Some(writer) = writer else { return Ok(()) };
        let what = self.what.clone();
        super::source::blocking(move || writer.close().map_err(|error| failed(&what, &error))).await
    }

    /// Takes nothing more; whether nothing is under way.
    fn end(&self) -> bool {
        let mut inner = self.lock();
        inner.closing = true;
        !inner.writing && !inner.preparing
    }

    fn closed(&self) -> Error {
        Error::Unavailable { what: self.what.clone(), why: "it is closed".into() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }
}

fn failed(what: &str, error: &onsale_journal::Error) -> Error {
    let (what, why) = (format!("the journal of {what}"), error.to_string());
    match error {
        onsale_journal::Error::Damaged { .. } | onsale_journal::Error::Missing { .. } => {
            Error::Damaged { what, why }
        }
        _ => Error::Unavailable { what, why },
    }
}

/// Writes an entry as a record of the journal.
fn write(out: &mut Vec<u8>, entry: &Entry, written_at_us: u64) {
    let length = u16::try_from(entry.key.len()).expect("keys are short");
    // A varint of seven bits a byte; two hold any key's length.
    if length < 0x80 {
        out.push(length.to_le_bytes()[0]);
    } else {
        out.extend([length.to_le_bytes()[0] | 0x80, (length >> 7).to_le_bytes()[0]]);
    }
    out.extend_from_slice(&entry.key);
    out.extend_from_slice(&written_at_us.to_le_bytes());
    out.extend_from_slice(&entry.payload);
}

/// Reads what [`write`] wrote.
fn cut(record: &[u8]) -> Option<Cut<'_>> {
    let (length, rest) = match record {
        [low, rest @ ..] if *low < 0x80 => (usize::from(*low), rest),
        [low, high, rest @ ..] => (usize::from(*low & 0x7f) | usize::from(*high) << 7, rest),
        _ => return None,
    };
    let (key, rest) = rest.split_at_checked(length)?;
    let (time, payload) = rest.split_first_chunk::<8>()?;
    Some(Cut { key, payload, written_at_us: u64::from_le_bytes(*time) })
}

/// Beside the journal's folder, not in it.
fn trimmed_path(folder: &Path) -> PathBuf {
    folder.with_extension("trimmed")
}

fn read_trimmed(folder: &Path) -> Result<u64, Error> {
    let path = trimmed_path(folder);
    let damaged = |why: String| Error::Damaged { what: path.display().to_string(), why };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| damaged("it is not a position".into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(damaged(error.to_string())),
    }
}

fn write_trimmed(folder: &Path, upto: u64) -> std::io::Result<()> {
    replace(&trimmed_path(folder), format!("{upto}\n").as_bytes())
}

/// Puts a file in place of what was there, for good.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = fs::File::create(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
