//! The bus: one interface over the back ends.

use std::path::Path;

use crate::cursors::CursorState;
use crate::file::{FileBus, FileOptions};
#[cfg(feature = "kinesis")]
use crate::kinesis::KinesisBus;
use crate::memory::MemoryBus;
#[cfg(feature = "redis")]
use crate::redis::RedisBus;
use crate::retention::{Retention, Trimmed};
use crate::{
    AppendError, Entry, Error, From, Limits, Page, Placed, Position, ShardId, StreamInfo,
    StreamName,
};

/// Streams on one back end. Cheap to clone; clones are the same bus.
#[derive(Clone, Debug)]
pub enum Bus {
    /// In this process only: the dummy for tests.
    Memory(MemoryBus),
    /// Files in a folder: the default.
    File(FileBus),
    /// Redis Streams.
    #[cfg(feature = "redis")]
    Redis(RedisBus),
    /// Kinesis, or what speaks its language.
    #[cfg(feature = "kinesis")]
    Kinesis(KinesisBus),
}

/// Calls the same method of whichever back end it is.
macro_rules! each {
    ($self:expr, $bus:ident => $call:expr) => {
        match $self {
            Bus::Memory($bus) => $call,
            Bus::File($bus) => $call,
            #[cfg(feature = "redis")]
            Bus::Redis($bus) => $call,
            #[cfg(feature = "kinesis")]
            Bus::Kinesis($bus) => $call,
        }
    };
}

impl Bus {
    /// A bus in memory, empty.
    #[must_use]
    pub fn memory() -> Bus {
        Bus::Memory(MemoryBus::default())
    }

    /// A bus on files in a folder, as its owner or as a client of the process that is: see [`FileBus::open`].
    ///
    /// # Errors
    /// Those of [`FileBus::open`].
    pub async fn file(folder: impl AsRef<Path>) -> Result<Bus, Error> {
        Ok(Bus::File(FileBus::open(folder.as_ref(), FileOptions::default()).await?))
    }

    /// Makes a stream; one that is there with as many shards is fine.
    ///
    /// # Errors
    /// [`Error::OtherShards`] when it is there with another number of shards (Kinesis: counted when it was
    /// made; it may have been split since), [`Error::Invalid`] for a number that the back end can't have.
    pub async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        each!(self, bus => bus.create(stream, shards).await)
    }

    /// All streams, by name.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        each!(self, bus => bus.streams().await)
    }

    /// What a stream is now: generation, shards and their parents.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`].
    pub async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        each!(self, bus => bus.describe(stream).await)
    }

    /// Appends entries, each to the shard of its key; returns when all are as durable as the back end makes
    /// them. Entries of one key keep their order, also when some had to be sent again.
    ///
    /// # Errors
    /// [`AppendError`] says for each entry whether it is placed.
    pub async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        for entry in entries {
            entry.check().map_err(|error| AppendError::all(entries.len(), &error))?;
        }
        each!(self, bus => bus.append(stream, entries).await)
    }

    /// Reads a shard on from somewhere; waits up to `limits.wait` when there is nothing yet.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`], [`Error::NoSuchShard`]; [`Error::Gone`] when records that should follow are past
    /// retention; [`Error::Beyond`] when the position is after the last record, where the back end can tell.
    pub async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        each!(self, bus => bus.read(stream, shard, from, limits.bounded()).await)
    }

    /// Lets go of a shard's records up to and including a position, or of as many of them as the back end can;
    /// says the lowest position that is there afterwards (one past the last when nothing is).
    ///
    /// # Errors
    /// [`Error::Refused`] where the back end has a retention of its own (Kinesis, the engine's journal).
    pub async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        each!(self, bus => bus.trim(stream, shard, upto).await)
    }

    /// Lets go of what is past retention in every shard. Records that a protected cursor has yet to read outlive the age;
    /// that, and what the number of records takes from a cursor nevertheless, is logged as a warning and told. A
    /// protected cursor that never committed is at the begin of its shard.
    ///
    /// # Errors
    /// Those of [`Bus::trim`]; shards before the failure are done.
    pub async fn retain(
        &self,
        stream: &StreamName,
        retention: Retention,
        protected: &[CursorState],
    ) -> Result<Vec<Trimmed>, Error> {
        match self {
            #[cfg(feature = "redis")]
            Bus::Redis(redis) => redis.retain(stream, retention, protected).await,
            _ => crate::retention::retain(self, stream, retention, protected).await,
        }
    }

    /// Ends what runs behind the bus, once what was begun is done. Other clones fail afterwards.
    ///
    /// # Errors
    /// When the back end fails.
    pub async fn close(&self) -> Result<(), Error> {
        each!(self, bus => bus.close().await)
    }
}
