//! An append-only log of batches on files, which knows nothing of what its records mean.
//!
//! A [`Writer`] collects records in an open batch and gives it out as a job that
//! writes and syncs it; [`Reader`]s read what is durable, by position. Opening a log recovers
//! it: what may have been acknowledged is kept and made durable again before anything new is
//! written, what can't have been is cut, and damage in between stops the start.
//! Full segments can be archived, used again and checked by jobs beside the writing. [`mod@format`] says what every byte on the disk means.
//!
//! What is left: a single batch at the very end of the log that rots after it was synced and before
//! anything, a mark at least, is written after it looks like one that was cut short, and is cut. And
//! a file system that copies on write may run out of room within a segment that it has given: the
//! write then fails like any other, and the writer stops.

mod archive;
pub mod backup;
mod error;
pub mod format;
mod index;
mod plan;
mod reader;
mod recovery;
mod scan;
mod spare;
pub mod storage;
mod writer;

#[cfg(test)]
mod tests;

pub use archive::{ArchiveJob, ScrubJob, Scrubbed, Sealed, TrimJob};
pub use error::Error;
pub use format::{
    BATCH_BYTES_MAX, RECORD_BYTES_MAX, RECORD_OVERHEAD_BYTES, Records, batch_bytes_max, chain,
};
pub use plan::Replay;
pub use reader::{Earlier, Elsewhere, Reader};
pub use recovery::{
    Durability, Opened, Options, ReadOnly, open, open_read_only, open_read_only_from,
};
pub use spare::{SpareDone, SpareJob};
pub use storage::{FileStorage, FolderLock, Stores, lock_folder};
pub use writer::{Room, WriteDone, WriteJob, Writer};
