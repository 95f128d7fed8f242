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
mod ids;
pub mod info;
pub mod request;
pub mod shard;
mod snapshot;
pub mod upkeep;

pub use clock::Clock;
pub use folder::{Folder, Options, Seeds};
pub use info::{Durability, Generation, ShardFigures, ShardInfo};
pub use request::{Answer, Query, Reply, Request, Unavailable, View};
pub use shard::{LOOK_AHEAD, Shard};
pub use snapshot::list as snapshots;
pub use upkeep::{Rules, UpkeepDone, UpkeepFigures, UpkeepJob};

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
    /// Something that can be made again, or is, can't be used; or the log is not what it says.
    #[error("shard {shard}: {file}: {detail}")]
    File {
        /// Which shard.
        shard: u16,
        /// Which file.
        file: String,
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
