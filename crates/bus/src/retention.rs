//! Letting go of old records, with regard for those who have yet to read them.

use std::time::Duration;

use crate::cursors::CursorState;
use crate::record::now_us;
use crate::{Bus, CursorId, Error, From, Generation, Limits, Position, ShardId, StreamName};

/// What a stream keeps at least, and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Older records go, but not those that a protected cursor has yet to read.
    pub age: Duration,
    /// Of each shard so many are kept at most, whoever has yet to read the others: memory ends.
    pub records: u64,
}

/// What [`crate::Bus::retain`] did to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// Which.
    pub shard: ShardId,
    /// The lowest position that is left; one past the last when none is.
    pub begins_at: Position,
    /// How many records went.
    pub records: u64,
    /// Older ones than the age says are kept for these cursors, which are behind.
    pub kept_for: Vec<CursorId>,
    /// These cursors lost records that they had yet to read.
    pub lost_for: Vec<CursorId>,
}

/// Lets go of what is past retention where a back end has no way of its own.
pub(crate) async fn retain(
    bus: &Bus,
    stream: &StreamName,
    retention: Retention,
    protected: &[CursorState],
) -> Result<Vec<Trimmed>, Error> {
    let info = bus.describe(stream).await?;
    let age_us = u64::try_from(retention.age.as_micros()).unwrap_or(u64::MAX);
    let young = From::At(now_us().saturating_sub(age_us));
    let one = Limits { records: 1, ..Limits::default() };
    let mut done = Vec::new();
    for shard in info.shards {
        let number = |position: Position| position.as_u64().unwrap_or(0);
        let (first, last) = (number(shard.first), shard.last.map_or(0, number));
        if last == 0 {
            continue;
        }
        let page = bus.read(stream, &shard.id, young, one).await?;
        let old = match (page.records.first(), page.next) {
            (Some(record), _) => number(record.position) - 1,
            (None, From::After(position)) => number(position),
            (None, _) => 0,
        };
        let readers: Vec<(&CursorId, u64)> = protected
            .iter()
            .filter(|state| state.cursor.group.stream == *stream && state.cursor.shard == shard.id)
            .map(|state| (&state.cursor, place(state, info.generation)))
            .collect();
        let lowest = readers.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX);
        let upto = old.min(lowest).max(last.saturating_sub(retention.records));
        let begins_at = match upto >= first {
            true => bus.trim(stream, &shard.id, Position::from(upto)).await?,
            false => shard.first,
        };
        let of = |is_so: &dyn Fn(u64) -> bool| -> Vec<CursorId> {
            let readers = readers.iter().filter(|(_, at)| is_so(*at));
            readers.map(|(cursor, _)| (*cursor).clone()).collect()
        };
        let trimmed = Trimmed {
            begins_at,
            records: number(begins_at).saturating_sub(first),
            kept_for: of(&|at| at == lowest && at < old && at >= upto),
            lost_for: of(&|at| upto >= first && at < upto),
            shard: shard.id,
        };
        trimmed.warn();
        done.push(trimmed);
    }
    Ok(done)
}

impl Trimmed {
    pub(crate) fn warn(&self) {
        let shard = &self.shard;
        for cursor in &self.kept_for {
            tracing::warn!(%cursor, %shard, "old records are kept for a cursor that is behind");
        }
        for cursor in &self.lost_for {
            let begins_at = self.begins_at;
            tracing::warn!(%cursor, %shard, %begins_at, "a cursor lost records that it had yet to read");
        }
    }
}

/// Where a protected cursor is; one of another history protects nothing.
pub(crate) fn place(state: &CursorState, generation: Generation) -> u64 {
    match state.progress {
        Some(progress) if progress.generation != generation => u64::MAX,
        Some(progress) => progress.position.as_u64().unwrap_or(u64::MAX),
        None => 0,
    }
}

#[cfg(test)]
mod tests;
