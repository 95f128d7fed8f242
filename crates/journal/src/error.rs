//! What can go wrong with a log. Every text names the file, and the offset where
//! there is one.

use std::io;

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options can't be used.
    #[error("a log can't have these options: {detail}")]
    Options {
        /// Which, and why.
        detail: String,
    },
    /// Another process has the folder.
    #[error("{path} is in use by another process")]
    Locked {
        /// The lock's file.
        path: String,
    },
    /// The folder holds no log.
    #[error("the folder holds no log")]
    Empty,
    /// The file system refused something while the log was opened or read.
    #[error("can't {action} {file}: {source}")]
    Io {
        /// What was asked for.
        action: &'static str,
        /// Of which file.
        file: String,
        /// What it said.
        source: io::Error,
    },
    /// A batch could not be written or synced. The writer refuses everything from
    /// now on: a second try on the same pages could pretend to succeed.
    #[error("{file}: the batch at offset {offset} could not be made durable: {source}")]
    Write {
        /// The segment.
        file: String,
        /// Where the batch begins.
        offset: u64,
        /// What the file system said.
        source: io::Error,
    },
    /// The writer has failed before.
    #[error("{file}: the batch at offset {offset} failed before: the log takes nothing more")]
    Failed {
        /// The segment.
        file: String,
        /// Where the batch that failed begins.
        offset: u64,
    },
    /// A spare segment could not be made: most likely the disk is full.
    #[error("the spare segment {file} could not be made: {source}")]
    Spare {
        /// The segment.
        file: String,
        /// What the file system said.
        source: io::Error,
    },
    /// A record that was durable can't be read. Nothing was changed.
    #[error("{file} is damaged at offset {offset}: {detail}")]
    Damaged {
        /// The segment.
        file: String,
        /// Where the damage begins, as near as can be told.
        offset: u64,
        /// The first position that is lost.
        position: u64,
        /// What is wrong.
        detail: String,
    },
    /// A segment is not there, though a later one is.
    #[error("{file} is missing, though a later segment is there")]
    Missing {
        /// The segment.
        file: String,
    },
    /// A segment is of another log or shard.
    #[error("{file} holds, at offset {offset}, {found}, but this is {expected}")]
    Foreign {
        /// The segment.
        file: String,
        /// Where it says so.
        offset: u64,
        /// What this log is.
        expected: String,
        /// What it says.
        found: String,
    },
    /// A segment was written by a later version of this program.
    #[error(
        "{file} holds, at offset {offset}, a batch of version {version} with flags {flags:#06b}; \
         this program reads up to version {known}: use a newer one"
    )]
    Version {
        /// The segment.
        file: String,
        /// Where it says so.
        offset: u64,
        /// Which version.
        version: u16,
        /// The batch's flags.
        flags: u16,
        /// The highest version that is known here.
        known: u16,
    },
    /// The caller could not take a record.
    #[error("position {position} ({file}, batch at offset {offset}): {detail}")]
    Replay {
        /// Of the record.
        position: u64,
        /// Its segment.
        file: String,
        /// Where its batch begins.
        offset: u64,
        /// What the caller said.
        detail: String,
    },
    /// A backup can't be made or used.
    #[error("{file}: {detail}")]
    Backup {
        /// The segment.
        file: String,
        /// What is in the way.
        detail: String,
    },
    /// What a position was asked for is gone: segments were removed, on demand, after they were archived, and
    /// from the archive, too.
    #[error("the log begins at position {begins_at} now: what was before it is gone")]
    Gone {
        /// The lowest position that is left.
        begins_at: u64,
    },
    /// The writer was to be closed while a batch was being written.
    #[error("the log can't be closed while a batch is being written")]
    Busy,
    /// A position that was asked for isn't there, or not durable yet.
    #[error("there is no durable record at position {position}: they go from 1 to {durable}")]
    NotThere {
        /// What was asked for.
        position: u64,
        /// The highest durable position.
        durable: u64,
    },
}

impl Error {
    /// Makes an I/O error of a file into one that says what was tried.
    pub(crate) fn io(action: &'static str, file: &str) -> impl FnOnce(io::Error) -> Error {
        let file = file.to_owned();
        move |source| Error::Io { action, file, source }
    }
}
