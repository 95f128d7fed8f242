//! The writer of a log: one batch is open, one at most is being written.
//!
//! It does no I/O itself but to be closed. [`Writer::seal`] closes the open batch and gives out a job that
//! writes and syncs it, for a helper thread; [`Writer::finish`] takes the result back. The two
//! buffers change places, so a record's bytes are written once, into the buffer
//! that goes to the disk.
//!
//! Segments are made by jobs, too, before they are needed. On a full disk the last one is
//! kept for what must go through: see [`Room`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::archive::{ArchiveJob, ScrubJob, Sealed, TrimJob};
use crate::format::{
    BLOCK_BYTES, FLAG_CLEAN, FLAG_MARK, HEADER_BYTES, Header, RECORD_OVERHEAD_BYTES,
    batch_bytes_max, padded,
};
use crate::index::Shared;
use crate::recovery::Durability;
use crate::spare::{Segment, SpareDone, SpareJob};
use crate::storage::{File, Kind};

/// Spare segments to keep ready: one to go on in, and one in reserve.
const SPARES: usize = 2;

/// For what there is room on the disk.
///
/// The disk counts as full from a spare segment that could not be made until one can. While it
/// is full, the last spare is kept for what must go through; and so is the rest of the segment in use, where there
/// is no spare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// For anything.
    All,
    /// Only for what must go through: what gives stock back, what records money, marks.
    Essential,
    /// For nothing.
    None,
}

/// What is the same in every batch of this run of the writer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub log: u128,
    pub shard: u16,
    pub generation: u32,
    /// Sequence of the first segment of this run.
    pub term: u64,
    /// Last position that the log held when it began.
    pub base: u64,
    /// Length of the segments it makes.
    pub segment_bytes: u64,
}

impl Term {
    /// A header with what is the same in every batch, and the place.
    pub(crate) fn header(&self, segment: u64, offset: u64) -> Header {
        Header {
            header_bytes: HEADER_BYTES as u16,
            log: self.log,
            shard: self.shard,
            flags: 0,
            generation: self.generation,
            segment,
            reuse: 0,
            previous: 0,
            offset,
            term: self.term,
            base: self.base,
            first: 0,
            durable_upto: 0,
            count: 0,
            payload_bytes: 0,
            payload_crc: 0,
        }
    }
}

/// Where a writer begins.
pub(crate) struct State {
    pub segment: Segment,
    /// Where in it the next batch goes.
    pub offset: u64,
    pub spares: VecDeque<Segment>,
    /// The last position, durable, and the chain after it.
    pub last: u64,
    pub chain: u32,
}

/// The writer of a log. There is one at a time.
pub struct Writer {
    shared: Arc<Shared>,
    durability: Durability,
    term: Term,
    batch_max: usize,
    /// The segment in use, where in it the next batch goes, the position of the last record
    /// appended, and the chain after the last batch that was sealed.
    state: State,
    preparing: bool,
    /// Whether the last spare that was tried could not be made.
    full: bool,
    /// The open batch: room for the header, then the payload.
    open: Vec<u8>,
    count: u32,
    /// The other buffer, unless it is being written.
    idle: Option<Vec<u8>>,
    /// Whether a batch on the disk says that all that was sealed is durable.
    marked: bool,
    failed: Option<(String, u64)>,
}

/// A batch to be written and synced, on a helper thread.
#[must_use = "the writer waits for its result"]
pub struct WriteJob {
    /// A segment to sync before anything is written: the one that is full now.
    sync_before: Option<Arc<dyn File>>,
    sync: bool,
    file: Arc<dyn File>,
    name: String,
    buffer: Vec<u8>,
    header: Header,
}

/// How it went.
#[must_use = "the writer waits for it"]
pub struct WriteDone {
    job: WriteJob,
    result: io::Result<()>,
}

impl WriteJob {
    /// Writes the batch, and syncs it where it is to be on the disk. There is no second try.
    pub fn run(self) -> WriteDone {
        let result = self.write();
        WriteDone { job: self, result }
    }

    fn write(&self) -> io::Result<()> {
        if let Some(full) = &self.sync_before
            && !is(Bug::FullSegmentNotSynced)
        {
            full.sync_data()?;
        }
        self.file.write_at(&self.buffer, self.header.offset)?;
        if self.sync { self.sync() } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if is(Bug::BatchNotSynced) {
            return Ok(());
        }
        match self.file.sync_data() {
            Err(_) if is(Bug::SyncTriedAgain) => self.file.sync_data(),
            Err(_) if is(Bug::SyncErrorIgnored) => Ok(()),
            result => result,
        }
    }

    /// Bytes that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Records that it makes durable.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.header.count
    }

    /// Position of its first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.header.first
    }

    /// Its records as they lie in the batch, for whoever keeps the log elsewhere; [`crate::Records`] reads them.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buffer[HEADER_BYTES..HEADER_BYTES + self.header.payload_bytes as usize]
    }

    /// CRC-32C over those.
    #[must_use]
    pub fn payload_crc(&self) -> u32 {
        self.header.payload_crc
    }

    /// CRC-32C over all batches of the log up to this one: the format says how.
    #[must_use]
    pub fn chain(&self) -> u32 {
        self.header.chain()
    }

    /// Gives it up without writing anything, as if the disk had failed.
    pub fn fail(self, source: io::Error) -> WriteDone {
        WriteDone { job: self, result: Err(source) }
    }
}

impl Writer {
    /// A writer that goes on from here; the log ends with a mark.
    pub(crate) fn new(
        shared: Arc<Shared>,
        durability: Durability,
        term: Term,
        state: State,
    ) -> Writer {
        Writer {
            shared,
            durability,
            term,
            batch_max: batch_bytes_max(term.segment_bytes),
            state,
            preparing: false,
            full: false,
            open: vec![0; HEADER_BYTES],
            count: 0,
            idle: Some(Vec::new()),
            marked: true,
            failed: None,
        }
    }

    /// Appends one record to the open batch, in the bytes that `write` adds to the end, and gives
    /// its position.
    ///
    /// # Panics
    /// If the caller did not ask [`Writer::fits`] before, or `write` took bytes away.
    pub fn append(&mut self, write: &mut dyn FnMut(&mut Vec<u8>)) -> u64 {
        let start = self.open.len();
        self.open.extend_from_slice(&[0; RECORD_OVERHEAD_BYTES]);
        let record = self.open.len();
        write(&mut self.open);
        let fine = self.open.len() >= record && self.fits(0);
        assert!(fine, "the open batch has no room for a record: `fits` was not asked");
        let length = (self.open.len() - record) as u32;
        self.open[start..record].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
        self.state.last += 1;
        self.state.last
    }

    /// Whether records of so many bytes in all, with [`RECORD_OVERHEAD_BYTES`] for each, go into
    /// the open batch, and the batch has its place on the disk. Where it does not though the open batch
    /// is empty and there is [`Room`], they go into no batch.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        let batch = self.open.len().saturating_add(bytes);
        self.failed.is_none() && batch <= self.batch_max && self.has_place()
    }

    /// For what there is room. Where it is not `None`, the open batch has its place, however long
    /// it becomes.
    #[must_use]
    pub fn room(&self) -> Room {
        if self.failed.is_some() || !self.has_place() {
            return Room::None;
        }
        let beside_reserve = match self.state.spares.len() {
            0 => false,
            1 => self.left() >= self.batch_max as u64,
            _ => true,
        };
        if beside_reserve || !self.full { Room::All } else { Room::Essential }
    }

    /// Whether nothing was appended since the last batch was sealed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The last position appended, durable or not.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.state.last
    }

    /// The last position that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable()
    }

    /// The chain after the last batch that was sealed.
    #[must_use]
    pub fn chain(&self) -> u32 {
        self.state.chain
    }

    /// Closes the open batch and gives out the job that makes it durable; none while another is
    /// under way, where nothing is open, or after a failure.
    pub fn seal(&mut self) -> Option<WriteJob> {
        if self.count == 0 || self.failed.is_some() {
            return None;
        }
        let other = self.idle.take()?;
        let buffer = std::mem::replace(&mut self.open, other);
        self.open.clear();
        self.open.resize(HEADER_BYTES, 0);
        let count = std::mem::take(&mut self.count);
        self.marked = false;
        let first = self.state.last + 1 - u64::from(count);
        let job = self.job(buffer, first, count, 0);
        if is(Bug::DurableWhenSealed) {
            self.shared.set_durable(self.state.last);
        }
        Some(job)
    }

    /// A batch without records that says how far the log is durable, to be written when nothing
    /// else is; none where the log ends with one already, has no place for it, or is not synced.
    pub fn mark(&mut self) -> Option<WriteJob> {
        let has_place = self.left() >= BLOCK_BYTES as u64 || !self.state.spares.is_empty();
        let is_os = self.durability == Durability::Os;
        if is_os || self.marked || self.count > 0 || self.failed.is_some() || !has_place {
            return None;
        }
        self.make_mark(FLAG_MARK)
    }

    fn make_mark(&mut self, flags: u16) -> Option<WriteJob> {
        let mut buffer = self.idle.take()?;
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        self.marked = true;
        Some(self.job(buffer, self.state.last + 1, 0, flags))
    }

    /// Ends this run: makes everything durable, on the disk, too, and says so there with a mark, so that the
    /// next start knows that nothing was lost.
    ///
    /// # Errors
    /// `Busy` while a batch is being written; `Write`, `Failed`; `Spare` where there is no room for the mark. The log
    /// then counts as not closed, which is no harm where batches are synced.
    pub fn close(mut self) -> Result<(), Error> {
        if let Some((file, offset)) = self.failed.clone() {
            return Err(Error::Failed { file, offset });
        }
        if self.idle.is_none() {
            return Err(Error::Busy);
        }
        if let Some(job) = self.seal() {
            self.finish(job.run())?;
        }
        let Segment { file, name, .. } = &self.state.segment;
        file.sync_data().map_err(|source| Error::Write {
            file: name.clone(),
            offset: 0,
            source,
        })?;
        self.shared.set_synced(self.state.last);
        if self.left() < BLOCK_BYTES as u64 && self.state.spares.is_empty() {
            let source = io::ErrorKind::StorageFull.into();
            return Err(Error::Spare { file: name.clone(), source });
        }
        self.durability = Durability::Synced;
        let mark = self.make_mark(FLAG_MARK | FLAG_CLEAN).expect("no batch is being written");
        self.finish(mark.run())
    }

    /// Lets later batches say that they are of this generation.
    ///
    /// # Panics
    /// If it is below the one that the log has.
    pub fn raise_generation(&mut self, generation: u32) {
        assert!(generation >= self.term.generation, "a log's generation never falls");
        self.term.generation = generation;
    }

    /// Takes the result of a job. After an error the writer takes nothing more: what was written
    /// may or may not be there after a start.
    ///
    /// # Errors
    /// `Write`, with file and offset; `Failed` if it had failed before.
    pub fn finish(&mut self, done: WriteDone) -> Result<(), Error> {
        let WriteDone { job: WriteJob { file, name, buffer, header, sync, sync_before }, result } =
            done;
        if let Some((file, offset)) = self.failed.clone() {
            return Err(Error::Failed { file, offset });
        }
        if let Err(source) = result {
            self.failed = Some((name.clone(), header.offset));
            return Err(Error::Write { file: name, offset: header.offset, source });
        }
        self.shared.add(&header, &file);
        self.shared.set_durable(header.last());
        if sync {
            self.shared.set_synced(header.last());
        } else if sync_before.is_some() {
            self.shared.set_synced(header.first - 1);
        }
        self.idle = Some(buffer);
        Ok(())
    }

    /// A spare segment to be made; none while one is being made, or enough are there. After a failure it
    /// is given out again at once: the caller paces its tries.
    pub fn prepare(&mut self) -> Option<SpareJob> {
        if self.preparing || self.failed.is_some() || self.state.spares.len() >= SPARES {
            return None;
        }
        self.preparing = true;
        let State { segment, spares, .. } = &self.state;
        Some(SpareJob {
            storage: Arc::clone(&self.shared.stores.live),
            shared: Some(Arc::clone(&self.shared)),
            sequence: segment.sequence + spares.len() as u64 + 1,
            length: self.term.segment_bytes,
        })
    }

    /// Takes the result of a spare segment.
    ///
    /// # Errors
    /// `Spare`: most likely the disk is full.
    pub fn prepared(&mut self, done: SpareDone) -> Result<(), Error> {
        self.preparing = false;
        self.full = done.result.is_err();
        self.state.spares.push_back(done.result?);
        Ok(())
    }

    /// The sealed segments in the folder, in order. Reads the first block of those that were not looked at before.
    ///
    /// # Errors
    /// `Io`, `Foreign`, `Version`.
    pub fn sealed(&self) -> Result<Vec<Sealed>, Error> {
        self.shared.sealed()
    }

    /// Position of the first record in the segment in use. It may hold copies of records that another
    /// segment had before.
    ///
    /// # Errors
    /// `Io`, `Foreign`, `Version`.
    pub fn segment_begins_at(&self) -> Result<u64, Error> {
        Ok(self.shared.range(self.state.segment.sequence)?.0)
    }

    /// A job that archives one segment; none where all that are sealed are archived, or there is no archive.
    #[must_use]
    pub fn archive(&self) -> Option<ArchiveJob> {
        let shared = Arc::clone(&self.shared);
        shared.may_archive().then_some(ArchiveJob { shared, sequence: None })
    }

    /// A job that archives this sealed segment, whatever becomes of those before it; none where there is no archive.
    #[must_use]
    pub fn archive_one(&self, sequence: u64) -> Option<ArchiveJob> {
        let shared = Arc::clone(&self.shared);
        shared.may_archive().then_some(ArchiveJob { shared, sequence: Some(sequence) })
    }

    /// Whether full segments are archived.
    #[must_use]
    pub fn has_archive(&self) -> bool {
        self.shared.stores.archive.is_some()
    }

    /// A job that checks a sealed segment and its copy.
    pub fn scrub(&self, sequence: u64) -> ScrubJob {
        ScrubJob { shared: Arc::clone(&self.shared), sequence }
    }

    /// Lets the files of sealed segments that end at this position or below be used again, once they are archived. Their
    /// records are then read from the archive.
    pub fn release_below(&self, position: u64) {
        self.shared.release_below(position);
    }

    /// A job that removes archived segments whose records are all below this position, for good; not those that are in the
    /// folder, too. A later start must be from a position that is left.
    pub fn trim_archive(&self, below: u64) -> TrimJob {
        TrimJob { shared: Arc::clone(&self.shared), below, kind: Kind::Archived }
    }

    /// A job that removes full segments whose records are all below this position from the folder, for good, where there
    /// is no archive. A later start must be from a position that is left.
    pub fn trim_folder(&self, below: u64) -> TrimJob {
        TrimJob { shared: Arc::clone(&self.shared), below, kind: Kind::Live }
    }

    /// Bytes left in the segment in use.
    fn left(&self) -> u64 {
        self.state.segment.length - self.state.offset
    }

    /// Whether a batch of any length has its place in this segment or the next.
    fn has_place(&self) -> bool {
        self.left() >= self.batch_max as u64 || !self.state.spares.is_empty()
    }

    /// Gives a batch its place, its padding and its header.
    fn job(&mut self, mut buffer: Vec<u8>, first: u64, count: u32, flags: u16) -> WriteJob {
        let end = buffer.len();
        buffer.resize(padded(end), 0);
        let sync = self.durability == Durability::Synced;
        let mut sync_before = None;
        if buffer.len() as u64 > self.left() {
            let next = self.state.spares.pop_front().expect("it was asked for before");
            let full = std::mem::replace(&mut self.state.segment, next);
            self.state.offset = 0;
            sync_before = (!sync).then_some(full.file);
        }
        let State { segment, offset, chain, .. } = &mut self.state;
        // What a segment begins with says that everything before is durable: it is synced first.
        let durable_upto = if sync_before.is_some() { first - 1 } else { self.shared.synced() };
        let header = Header {
            flags,
            previous: *chain,
            first,
            durable_upto: match is(Bug::OwnBatchProven) {
                true => first + u64::from(count) - 1,
                false => durable_upto,
            },
            count,
            payload_bytes: (end - HEADER_BYTES) as u32,
            payload_crc: crc32c::crc32c(&buffer[HEADER_BYTES..end]),
            reuse: segment.reuse,
            ..self.term.header(segment.sequence, *offset)
        };
        header.encode(&mut buffer);
        *chain = header.chain();
        *offset += buffer.len() as u64;
        let (file, name) = (Arc::clone(&segment.file), segment.name.clone());
        WriteJob { sync_before, sync, file, name, buffer, header }
    }
}

#[cfg(test)]
mod tests;
