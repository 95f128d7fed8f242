//! What can go wrong, and with which entries of an append it did.

use crate::{CursorId, Generation, GroupName, Placed, Position, ShardId, StreamName, WorkerId};

/// Why something did not happen. Each message names the thing and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no stream of that name.
    #[error("there is no stream {stream}")]
    NoSuchStream {
        /// Asked for.
        stream: StreamName,
    },
    /// The stream has no such shard, or no longer.
    #[error("stream {stream} has no shard {shard}")]
    NoSuchShard {
        /// The stream.
        stream: StreamName,
        /// Asked for.
        shard: ShardId,
    },
    /// The stream is there, with another number of shards.
    #[error("stream {stream} is there with {has} shards, not {asked}")]
    OtherShards {
        /// The stream.
        stream: StreamName,
        /// How many it has.
        has: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// The position is past retention.
    #[error(
        "{stream}/{shard}: what follows position {asked} is gone, the shard begins at {begins_at}"
    )]
    Gone {
        /// The stream.
        stream: StreamName,
        /// The shard.
        shard: ShardId,
        /// Where reading was to go on.
        asked: Position,
        /// The lowest position that is there.
        begins_at: Position,
    },
    /// Records between the first and the last one are not there: the back end lost them, or somebody deleted them there. A read
    /// gives those before them first.
    #[error(
        "{stream}/{shard}: {which} is missing: it was deleted where it was kept, other than by retention; read on from after \
        it, or restore it"
    )]
    Missing {
        /// The stream.
        stream: StreamName,
        /// The shard.
        shard: ShardId,
        /// Which, as far as it is known.
        which: String,
    },
    /// The position is after the last record: it comes from another history, or from a mistake.
    #[error("{stream}/{shard}: position {asked} is after the last one, {last}")]
    Beyond {
        /// The stream.
        stream: StreamName,
        /// The shard.
        shard: ShardId,
        /// Where reading was to go on.
        asked: Position,
        /// The highest position there is.
        last: Position,
    },
    /// The stream was made anew or went back: the cursor means another history.
    #[error(
        "the cursor is of generation {cursor}, the stream of {stream}: reset the cursor on purpose"
    )]
    Diverged {
        /// What the cursor remembers.
        cursor: Generation,
        /// What the stream is.
        stream: Generation,
    },
    /// A cursor would move backwards.
    #[error("cursor {cursor}: {asked} is before {stored}, a commit only goes forwards")]
    Backwards {
        /// The cursor.
        cursor: CursorId,
        /// Where it is.
        stored: Position,
        /// Where it should have gone.
        asked: Position,
    },
    /// A key, payload or frame is too large.
    #[error("{field}: {bytes} bytes, at most {max} are taken")]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// A value breaks its rule.
    #[error("{field}: {value:?} is not {rule}")]
    Invalid {
        /// What it was given for.
        field: &'static str,
        /// The begin of what was given.
        value: String,
        /// What it should be.
        rule: &'static str,
    },
    /// Another worker has the shard: what was done under the lease must not be stored.
    #[error("cursor {cursor}: the lease with fence {fence} is lost, the fence is {now}")]
    LostLease {
        /// The cursor.
        cursor: CursorId,
        /// The fence of the claim.
        fence: u64,
        /// The fence of the present one.
        now: u64,
    },
    /// The cursor is in use.
    #[error(
        "cursor {cursor} is in use by {owner}, whose lease lasts {left_ms} ms more if it is gone"
    )]
    Leased {
        /// The cursor.
        cursor: CursorId,
        /// Who has it.
        owner: WorkerId,
        /// How long its lease still lasts when it says nothing more.
        left_ms: u64,
    },
    /// The effects of records that the cursor has behind it are not there: the target lost them, or is another one.
    #[error(
        "cursor {cursor} is at {committed}, but the effects of its records are there only up to {stored}: the target \
        lost the others, or is another one; restore it, or reset the cursor to the start to bring all again"
    )]
    EffectsLost {
        /// The cursor.
        cursor: CursorId,
        /// Where it is.
        committed: Position,
        /// What is stored with the effects.
        stored: Position,
    },
    /// Effects are stored up to another place than the claim says: read on from there.
    #[error("cursor {cursor}: effects are stored up to {stored}, not {claimed}")]
    Moved {
        /// The cursor.
        cursor: CursorId,
        /// What is stored with the effects.
        stored: Position,
        /// What the claim took for it.
        claimed: Position,
    },
    /// Another group has brought a stream of this name to the target: its records would come twice.
    #[error(
        "{stream} was brought to the target's {target} as {by}: as {group} its records would come there a second time; \
        go on as {by}, or copy to another stream"
    )]
    BroughtAlready {
        /// What is copied.
        stream: StreamName,
        /// Where to.
        target: StreamName,
        /// The group that brought it.
        by: GroupName,
        /// The group that would.
        group: GroupName,
    },
    /// The target has records of another history, as after the source's log went back: some of them are no more.
    #[error(
        "the target's {target} has records of generation {there} of {stream}, whose generation is {here}: its log went back, or it is \
        another log, and some of those records are no more; copy to another stream, with the cursor reset to the start"
    )]
    OtherHistory {
        /// What is copied.
        stream: StreamName,
        /// Where to.
        target: StreamName,
        /// What is there.
        there: Generation,
        /// What the source is.
        here: Generation,
    },
    /// A record can't be dealt with, now or later.
    #[error("the record at position {position} can't be dealt with: {why}")]
    Poison {
        /// Where it is.
        position: Position,
        /// What is wrong with it.
        why: String,
    },
    /// Too many records of a group are parked: somebody has to look.
    #[error("{parked} records are parked already, at most {max} are")]
    ParkedFull {
        /// How many are.
        parked: usize,
        /// How many may be.
        max: usize,
    },
    /// No such record is parked.
    #[error("cursor {cursor}: no record is parked at position {position}")]
    NotParked {
        /// The cursor.
        cursor: CursorId,
        /// Asked for.
        position: Position,
    },
    /// The back end asks for less; it was tried again before this was said.
    #[error("{what} is throttled")]
    Throttled {
        /// What asks for less.
        what: String,
    },
    /// There was no answer in time: it may have happened or not.
    #[error("{what}: no answer within {after_ms} ms")]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long it waited.
        after_ms: u64,
    },
    /// The back end can't be reached, or broke off.
    #[error("{what} is not available: {why}")]
    Unavailable {
        /// What.
        what: String,
        /// What was told.
        why: String,
    },
    /// The back end said no, and will again.
    #[error("{what} refused: {why}")]
    Refused {
        /// What.
        what: String,
        /// What was told.
        why: String,
    },
    /// What was stored is broken.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the same may go well later, without anybody's doing.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Throttled { .. } | Error::TimedOut { .. } | Error::Unavailable { .. })
    }
}

/// Not all entries of an append are placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} of {} entries are not placed: {}", self.failed(), .entries.len(), self.first())]
pub struct AppendError {
    /// For each entry, in order: where it is, or why it is not.
    ///
    /// If one is not placed, then none of the same key after it is. One that [`Error::TimedOut`] may be placed
    /// all the same.
    pub entries: Vec<Result<Placed, Error>>,
}

impl AppendError {
    /// None of `count` entries is placed, all for the same reason.
    #[must_use]
    pub fn all(count: usize, error: &Error) -> AppendError {
        AppendError { entries: vec![Err(error.clone()); count] }
    }

    /// How many entries are not placed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_err()).count()
    }

    /// The first reason.
    #[must_use]
    pub fn first(&self) -> Error {
        let refused =
            || Error::Refused { what: "the append".into(), why: "no entry says why".into() };
        self.entries.iter().find_map(|entry| entry.clone().err()).unwrap_or_else(refused)
    }
}
