//! The writer of a log: one batch is open, one at most is being written.
//!
//! It does no I/O itself. [`Writer::seal`] closes the open batch and gives out a job that
//! writes and syncs it, for a helper thread; [`Writer::finish`] takes the result back. The two
//! buffers change places, so a record's bytes are written once into the buffer
//! that goes to the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::Error;
use crate::format::{
    BLOCK_BYTES, FLAG_COPY, FLAG_MARK, HEADER_BYTES, Header, RECORD_OVERHEAD_BYTES,
    batch_bytes_max, padded,
};
use crate::reader::Shared;
use crate::spare::{Segment, SpareDone, SpareJob};
use crate::storage::{File, Storage};

/// Spare segments to keep ready.
const SPARES: usize = 1;

/// For what there is room on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// For anything.
    All,
    /// The disk is full, and what is left (a quarter of a segment) is kept for what must go through.
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

/// The writer of a log. There is one at a time.
pub struct Writer {
    shared: Arc<Shared>,
    storage: Arc<dyn Storage>,
    term: Term,
    segment: Segment,
    /// Where in the segment the next batch goes.
    offset: u64,
    spares: VecDeque<Segment>,
    preparing: bool,
    open: Open,
    /// The other buffer, unless it is being written.
    idle: Option<Vec<u8>>,
    /// Position of the last record appended.
    last: u64,
    /// Chain after the last batch that was sealed.
    chain: u32,
    /// Whether the log ends with a mark, or has nothing that one could speak for.
    marked: bool,
    failed: Option<(String, u64)>,
}

/// The open batch.
struct Open {
    /// Room for the header, then the payload.
    buffer: Vec<u8>,
    count: u32,
}

/// A batch to be written and synced, on a helper thread.
#[must_use = "the writer waits for its result"]
pub struct WriteJob {
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
    /// Writes and syncs the batch. There is no second try.
    pub fn run(self) -> WriteDone {
        let written = self.file.write_at(&self.buffer, self.header.offset);
        let result = written.and_then(|()| self.file.sync_data());
        WriteDone { job: self, result }
    }

    /// Bytes that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }
}

impl Writer {
    /// A writer that goes on after position `last` at the beginning of an empty segment.
    pub(crate) fn new(
        shared: Arc<Shared>,
        storage: Arc<dyn Storage>,
        term: Term,
        segment: Segment,
        spares: VecDeque<Segment>,
        (last, chain): (u64, u32),
    ) -> Writer {
        Writer {
            shared,
            storage,
            term,
            segment,
            offset: 0,
            spares,
            preparing: false,
            open: Open { buffer: vec![0; HEADER_BYTES], count: 0 },
            idle: Some(Vec::new()),
            last,
            chain,
            marked: true,
            failed: None,
        }
    }

    /// Appends one record to the open batch, in the bytes that `write` adds, and gives its position.
    ///
    /// # Panics
    /// If the caller did not ask [`Writer::fits`] before.
    pub fn append(&mut self, write: &mut dyn FnMut(&mut Vec<u8>)) -> u64 {
        let buffer = &mut self.open.buffer;
        let start = buffer.len();
        buffer.extend_from_slice(&[0; RECORD_OVERHEAD_BYTES]);
        write(buffer);
        let length = (buffer.len() - start - RECORD_OVERHEAD_BYTES) as u32;
        buffer[start..start + RECORD_OVERHEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        assert!(padded(buffer.len()) <= self.batch_max(), "the batch has no room for this record");
        self.open.count += 1;
        self.last += 1;
        self.last
    }

    /// Whether records of so many bytes in all, with [`RECORD_OVERHEAD_BYTES`] for each, go into
    /// the open batch, and the batch onto the disk.
    #[must_use]
    pub fn fits(&self, bytes: usize) -> bool {
        let batch = padded(self.open.buffer.len().saturating_add(bytes));
        self.failed.is_none() && batch <= self.batch_max() && self.has_place(batch)
    }

    /// For what there is room. Where it is not `None`, a batch of any length that
    /// [`Writer::fits`] allows has its place.
    #[must_use]
    pub fn room(&self) -> Room {
        let left = self.segment.length - self.offset;
        let (batch, reserve) = (self.batch_max() as u64, self.segment.length / 4);
        match (self.failed.is_some(), self.spares.is_empty()) {
            (true, _) => Room::None,
            (false, false) => Room::All,
            (false, true) if left >= batch + reserve => Room::All,
            (false, true) if left >= batch => Room::Essential,
            (false, true) => Room::None,
        }
    }

    /// Whether nothing was appended since the last batch was sealed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.count == 0
    }

    /// The last position appended, durable or not.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        self.last
    }

    /// The last position that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable()
    }

    /// Closes the open batch and gives out the job that makes it durable; none while another is
    /// under way, where nothing is open, or after a failure.
    pub fn seal(&mut self) -> Option<WriteJob> {
        if self.open.count == 0 || self.failed.is_some() {
            return None;
        }
        let idle = self.idle.take()?;
        let count = std::mem::take(&mut self.open.count);
        let buffer = std::mem::replace(&mut self.open.buffer, idle);
        self.open.buffer.clear();
        self.open.buffer.resize(HEADER_BYTES, 0);
        self.marked = false;
        let first = self.last + 1 - u64::from(count);
        Some(self.job(buffer, first, count, 0))
    }

    /// A batch without records that says how far the log is durable, to be written when nothing
    /// else is; none where the log ends with one already, or has no place for it.
    pub fn mark(&mut self) -> Option<WriteJob> {
        let wanted = !self.marked && self.open.count == 0 && self.failed.is_none();
        if !wanted || !self.has_place(BLOCK_BYTES) {
            return None;
        }
        let mut buffer = self.idle.take()?;
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        self.marked = true;
        Some(self.job(buffer, self.last + 1, 0, FLAG_MARK))
    }

    /// Takes the result of a job. After an error the writer takes nothing more.
    ///
    /// # Errors
    /// `Write`, with file and offset; `Failed` if it had failed before.
    pub fn finish(&mut self, done: WriteDone) -> Result<(), Error> {
        let WriteDone { job: WriteJob { file, name, buffer, header }, result } = done;
        if let Some((file, offset)) = self.failed.clone() {
            return Err(Error::Failed { file, offset });
        }
        if let Err(source) = result {
            self.failed = Some((name.clone(), header.offset));
            return Err(Error::Write { file: name, offset: header.offset, source });
        }
        if !header.is_mark() {
            self.shared.add(header.segment, header.offset, header.first, Some(&file));
            self.shared.set_durable(header.last());
        }
        self.idle = Some(buffer);
        Ok(())
    }

    /// A spare segment to make; none while one is being made, or enough are there.
    pub fn prepare(&mut self) -> Option<SpareJob> {
        if self.preparing || self.failed.is_some() || self.spares.len() >= SPARES {
            return None;
        }
        self.preparing = true;
        Some(SpareJob {
            storage: Arc::clone(&self.storage),
            sequence: self.segment.sequence + self.spares.len() as u64 + 1,
            length: self.term.segment_bytes,
        })
    }

    /// Takes the result. After an error [`Writer::prepare`] gives the job out again.
    ///
    /// # Errors
    /// `Spare`: most likely the disk is full.
    pub fn prepared(&mut self, done: SpareDone) -> Result<(), Error> {
        self.preparing = false;
        self.spares.push_back(done.result?);
        Ok(())
    }

    /// Writes a batch of an earlier term again, payload byte for byte, and syncs it.
    pub(crate) fn copy(&mut self, payload: &[u8], first: u64, count: u32) -> Result<(), Error> {
        let mut buffer = self.idle.take().expect("nothing is being written during recovery");
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        buffer.extend_from_slice(payload);
        self.make_place(padded(buffer.len()) as u64)?;
        self.marked = false;
        let job = self.job(buffer, first, count, FLAG_COPY);
        self.finish(job.run())
    }

    /// Sees that a batch of so many bytes has a place. It may be longer than the segments that
    /// are made now: then it gets one of its own length.
    fn make_place(&mut self, bytes: u64) -> Result<(), Error> {
        if self.offset + bytes <= self.segment.length {
            return Ok(());
        }
        let next = self.segment.sequence + self.spares.len() as u64 + 1;
        self.spares.retain(|spare| spare.length >= bytes);
        if self.spares.is_empty() {
            let storage = Arc::clone(&self.storage);
            let length = self.term.segment_bytes.max(bytes);
            self.spares.push_back(SpareJob { storage, sequence: next, length }.make()?);
        }
        Ok(())
    }

    /// Goes on after this position, once all that was kept is copied.
    pub(crate) fn resume(&mut self, last: u64) {
        self.last = last;
        debug_assert_eq!(self.durable(), last, "all that is kept is durable");
    }

    fn batch_max(&self) -> usize {
        batch_bytes_max(self.segment.length.min(self.term.segment_bytes))
    }

    /// Whether a batch of so many bytes has a place in this segment or the next.
    fn has_place(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.offset + bytes <= self.segment.length
            || self.spares.front().is_some_and(|spare| bytes <= spare.length)
    }

    /// Gives the batch its place, its padding and its header.
    fn job(&mut self, mut buffer: Vec<u8>, first: u64, count: u32, flags: u16) -> WriteJob {
        let payload_bytes = buffer.len() - HEADER_BYTES;
        buffer.resize(padded(buffer.len()), 0);
        if self.offset + buffer.len() as u64 > self.segment.length {
            self.segment = self.spares.pop_front().expect("a place was found before");
            self.offset = 0;
        }
        let Term { log, shard, generation, term, base, .. } = self.term;
        let header = Header {
            header_bytes: HEADER_BYTES as u16,
            log,
            shard,
            flags,
            generation,
            segment: self.segment.sequence,
            previous: self.chain,
            offset: self.offset,
            term,
            base,
            first,
            durable_upto: self.shared.durable().min(first - 1),
            count,
            payload_bytes: payload_bytes as u32,
            payload_crc: crc32c::crc32c(&buffer[HEADER_BYTES..HEADER_BYTES + payload_bytes]),
        };
        header.encode(&mut buffer);
        self.chain = header.chain();
        self.offset += buffer.len() as u64;
        let (file, name) = (Arc::clone(&self.segment.file), self.segment.name.clone());
        WriteJob { file, name, buffer, header }
    }
}
