//! Streams of records with any number of writers and readers, over three back ends and memory.
//!
//! A [`Bus`] holds streams; a stream has shards; a shard is an ordered log of [`Record`]s with rising
//! [`Position`]s. Records of one key stay in one shard, in order (where shards split, the parent comes
//! before its children). A reader keeps a position of its own: a cursor, in a store of [`Cursors`].
//! Several workers share the shards of a stream by leases with fences.
//!
//! Delivery is at least once. A consumer that stores the position together with its effect, in
//! one transaction that compares fence and old position, has exactly-once effects.

pub mod bench;
mod bus;
pub mod cursors;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod effects;
mod error;
pub mod file;
#[cfg(feature = "kinesis")]
pub mod kinesis;
pub mod memory;
mod names;
mod position;
mod record;
#[cfg(feature = "redis")]
pub mod redis;
pub mod relay;
mod retention;
mod worker;

pub use bus::Bus;
pub use cursors::Cursors;
pub use error::{AppendError, Error};
pub use names::{CursorId, Group, GroupName, ShardId, StreamName, WorkerId};
pub use position::{Generation, Position};
pub use record::{
    Entry, From, KEY_BYTES_MAX, Lag, Limits, PAYLOAD_BYTES_MAX, Page, Placed, Record, Records,
    ShardInfo, StreamInfo,
};
pub use relay::Relay;
pub use retention::{Retention, Trimmed};
pub use worker::{Batch, CursorLag, Stored, Worker, WorkerOptions, lag};
