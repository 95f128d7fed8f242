//! The selling engine: one writer per shard.
//!
//! A [`Shard`] takes commands and queries, decides them with the core, writes
//! what happened to its journal in batches, and lets an answer go only once
//! everything it was based on is durable. It does no I/O of its own accord, has no
//! clock and no threads: its driver hands it the time, runs the jobs that it
//! gives out, and hands their results back. So the server, the simulator and the
//! benchmarks run the same loop.

pub mod audit;
pub mod clock;
pub mod folder;
#[expect(dead_code, unused_imports, reason = "what uses it comes next")]
mod ids;
pub mod shard;
#[cfg_attr(not(test), expect(dead_code, reason = "what uses it comes next"))]
mod snapshot;

pub use clock::Clock;
pub use folder::{Folder, Seeds};
pub use shard::{
    Answer, Durability, Query, Reply, Request, Shard, ShardFigures, ShardInfo, Unavailable, View,
};

/// What can go wrong when a data folder is opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal of a shard can't be opened or read.
    #[error("shard {shard}: {source}")]
    Journal {
        /// Which shard.
        shard: u16,
        /// What the journal says; names file and offset.
        source: onsale_journal::Error,
    },
    /// The folder's own file can't be read or written.
    #[error("{path}: {detail}")]
    Folder {
        /// Which file or folder.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// A record contradicts the folder: another shard's, or another secret.
    #[error("shard {shard}: its first record {detail}")]
    FirstRecord {
        /// Which shard.
        shard: u16,
        /// What is wrong.
        detail: String,
    },
}
