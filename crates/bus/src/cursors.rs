//! Where readers keep their place: cursors with leases and fences, members of groups, parked records.
//!
//! Every operation compares before it sets, so any number of processes share a store. A lease says who works
//! on a shard, until when, and with which fence: a number that rises each time a shard changes
//! hands. Whoever comes late with a lower fence is refused, here and where effects are stored.

mod file;
mod memory;
mod rules;

use std::time::Duration;

pub use file::{FileCursors, copy_store};
pub use memory::MemoryCursors;

use crate::{CursorId, Error, Generation, Group, Position, ShardId, WorkerId};

/// The most records of a group that are parked.
pub const PARKED_MAX: usize = 10_000;
/// The most characters of a reason that are kept.
pub const REASON_CHARS_MAX: usize = 500;

/// How far a cursor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Of which history of the stream.
    pub generation: Generation,
    /// The last record that is dealt with; zero: none yet.
    pub position: Position,
    /// The shard has ended and all of it is dealt with.
    pub ended: bool,
}

/// The right to work on a shard, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// On which cursor.
    pub cursor: CursorId,
    /// To whom.
    pub owner: WorkerId,
    /// Higher than every one before it.
    pub fence: u64,
    /// Where the cursor is; none: nothing was ever committed.
    pub progress: Option<Progress>,
}

/// A cursor as a store lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorState {
    /// Which.
    pub cursor: CursorId,
    /// The highest fence that was given.
    pub fence: u64,
    /// Where it is; none: nothing was ever committed.
    pub progress: Option<Progress>,
    /// Who has it, if anybody has.
    pub lease: Option<Lease>,
}

/// Who works on a shard, and for how long yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The worker.
    pub owner: WorkerId,
    /// The time that is left by the store's clock; zero: it has run out and anybody may take the shard.
    pub left: Duration,
}

/// A record that could not be dealt with and was set aside, so that others go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// In which shard.
    pub shard: ShardId,
    /// Where.
    pub position: Position,
    /// Why, cut to [`REASON_CHARS_MAX`].
    pub reason: String,
    /// When it was last parked, in microseconds since 1970.
    pub parked_at_us: u64,
    /// How often it was parked.
    pub tries: u32,
    /// Somebody asked for another try: the shard's worker takes it up.
    pub retry: bool,
}

/// A store of cursors. Cheap to clone; clones are the same store.
#[derive(Clone, Debug)]
pub enum Cursors {
    /// In this process only, for tests.
    Memory(MemoryCursors),
    /// In a folder, for the processes of a machine.
    File(FileCursors),
    /// On Redis.
    #[cfg(feature = "redis")]
    Redis(crate::redis::RedisCursors),
}

/// Calls the same method of whichever store it is.
macro_rules! each {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            Cursors::Memory($store) => $call,
            Cursors::File($store) => $call,
            #[cfg(feature = "redis")]
            Cursors::Redis($store) => $call,
        }
    };
}

impl Cursors {
    /// A store in memory.
    #[must_use]
    pub fn memory() -> Cursors {
        Cursors::Memory(MemoryCursors::default())
    }

    /// A store in a folder.
    ///
    /// # Errors
    /// Those of [`FileCursors::open`].
    pub fn file(folder: impl AsRef<std::path::Path>) -> Result<Cursors, Error> {
        Ok(Cursors::File(FileCursors::open(folder.as_ref())?))
    }

    /// Takes a cursor that is free, whose lease has run out, or that `owner` has already; the fence rises
    /// by one. None: another worker has it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn acquire(
        &self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        each!(self, store => store.acquire(cursor, owner, lease).await)
    }

    /// Makes a claim last for `lease` from now. One that has run out is renewed as long as nobody else took it.
    ///
    /// # Errors
    /// [`Error::LostLease`] when the fence is no longer the claim's or the claim was released.
    pub async fn renew(&self, claim: &Claim, lease: Duration) -> Result<(), Error> {
        each!(self, store => store.renew(claim, lease).await)
    }

    /// Moves a cursor forwards, durably. The same place again is fine.
    ///
    /// # Errors
    /// [`Error::LostLease`] as [`Cursors::renew`]; [`Error::Backwards`] when the position is before the stored one, or
    /// an ended cursor would go on; [`Error::Diverged`] when the stored one is of another generation.
    pub async fn commit(&self, claim: &Claim, to: Progress) -> Result<(), Error> {
        each!(self, store => store.commit(claim, to).await)
    }

    /// Gives a claim back; the fence stays. A claim that is lost already is fine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release(&self, claim: &Claim) -> Result<(), Error> {
        each!(self, store => store.release(claim).await)
    }

    /// Puts a cursor elsewhere, backwards too, or (none) to where nothing was ever committed. The fence rises by one.
    ///
    /// # Errors
    /// [`Error::Leased`] when a worker has it by a lease that has not run out.
    pub async fn reset(&self, cursor: &CursorId, to: Option<Progress>) -> Result<(), Error> {
        each!(self, store => store.reset(cursor, to).await)
    }

    /// All cursors of a group, by shard.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, group: &Group) -> Result<Vec<CursorState>, Error> {
        each!(self, store => store.list(group).await)
    }

    /// All groups that have a cursor, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        each!(self, store => store.groups().await)
    }

    /// Says that a worker of the group lives, and will for `lease` from now.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn beat(
        &self,
        group: &Group,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<(), Error> {
        each!(self, store => store.beat(group, worker, lease).await)
    }

    /// Takes a worker off the group's list.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave(&self, group: &Group, worker: &WorkerId) -> Result<(), Error> {
        each!(self, store => store.leave(group, worker).await)
    }

    /// The workers of a group that live, by name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn members(&self, group: &Group) -> Result<Vec<WorkerId>, Error> {
        each!(self, store => store.members(group).await)
    }

    /// Sets a record aside; one that is parked already counts one more try and no longer waits for one. The
    /// claim's owner then commits past it.
    ///
    /// # Errors
    /// [`Error::LostLease`] as [`Cursors::renew`]; [`Error::ParkedFull`] when [`PARKED_MAX`] of the group are parked.
    pub async fn park(&self, claim: &Claim, position: Position, reason: &str) -> Result<(), Error> {
        let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        each!(self, store => store.park(claim, position, &reason).await)
    }

    /// The parked records of a group by shard and position, at most `limit`, those after the given place.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn parked(
        &self,
        group: &Group,
        after: Option<(&ShardId, Position)>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        each!(self, store => store.parked(group, after, limit).await)
    }

    /// Asks for another try of a parked record.
    ///
    /// # Errors
    /// [`Error::NotParked`] when it is not.
    pub async fn retry(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        each!(self, store => store.retry(cursor, position).await)
    }

    /// Takes a record off the list: it is dealt with, or never will be. One that is not there is fine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn drop_parked(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        each!(self, store => store.drop_parked(cursor, position).await)
    }
}

#[cfg(test)]
mod tests;
