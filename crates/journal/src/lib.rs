//! Skeleton of the API; see the module storage.
#![allow(
    missing_docs,
    unused_variables,
    clippy::all,
    clippy::unimplemented,
    clippy::allow_attributes
)]
pub mod storage;
use std::sync::Arc;
use storage::Storage;

/// Room for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// Anything.
    All,
    /// The disk is full: only releases, payments, cancellations, expiries and marks.
    Essential,
    /// Not even that.
    None,
}

pub struct Options {
    pub segment_bytes: u64,
    pub log: u128,
    pub shard: u16,
    pub generation: u32,
}
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("..")]
    Todo,
}

pub struct Opened {
    pub writer: Writer,
    pub reader: Reader,
    pub last_position: u64,
}

/// Opens (or makes) the log in this folder; hands every kept record in order to `replay`.
/// After it returns the kept tail is durable and the writer stands on a new segment under a higher term.
pub fn open(
    storage: Arc<dyn Storage>,
    options: Options,
    replay: &mut dyn FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<Opened, Error> {
    unimplemented!()
}

pub struct Writer {}
impl Writer {
    /// Appends one record to the open batch by letting `write` add its bytes; its position.
    /// The caller must have asked `fits` for the bytes of the whole command before.
    pub fn append(&mut self, write: &mut dyn FnMut(&mut Vec<u8>)) -> u64 {
        unimplemented!()
    }
    /// Whether a command with so many record bytes still goes into the open batch.
    pub fn fits(&self, bytes: usize) -> bool {
        unimplemented!()
    }
    pub fn room(&self) -> Room {
        unimplemented!()
    }
    /// Highest position appended (in memory), and highest that is durable.
    pub fn last_position(&self) -> u64 {
        unimplemented!()
    }
    pub fn durable(&self) -> u64 {
        unimplemented!()
    }
    /// Takes the open batch as a job for a helper thread; none while one is under way or nothing is open.
    pub fn seal(&mut self) -> Option<WriteJob> {
        unimplemented!()
    }
    /// A mark (an empty batch that says durable_upto), when the shard falls idle and none was written since.
    pub fn mark(&mut self) -> Option<WriteJob> {
        unimplemented!()
    }
    /// Takes the job's result back; after Err the writer refuses everything (`Failed`).
    pub fn finish(&mut self, done: WriteDone) -> Result<(), Error> {
        unimplemented!()
    }
    /// A spare segment to be made (zero-filled and synced) on another helper thread; none while one is under way or enough are there.
    pub fn prepare(&mut self) -> Option<SpareJob> {
        unimplemented!()
    }
    pub fn prepared(&mut self, done: SpareDone) {
        unimplemented!()
    }
}
pub struct WriteJob {}
impl WriteJob {
    pub fn run(self) -> WriteDone {
        unimplemented!()
    }
}
pub struct WriteDone {}
pub struct SpareJob {}
impl SpareJob {
    pub fn run(self) -> SpareDone {
        unimplemented!()
    }
}
pub struct SpareDone {}

/// Reads durable records by position, from any thread.
#[derive(Clone)]
pub struct Reader {}
impl Reader {
    pub fn durable(&self) -> u64 {
        unimplemented!()
    }
    /// Up to `limit` records with positions > `after` and ≤ durable, and at most `bytes_max` bytes.
    pub fn read(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        unimplemented!()
    }
    /// One record.
    pub fn record(&self, position: u64) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }
}
