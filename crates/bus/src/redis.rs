//! The bus and the cursors on Redis.

use std::time::Duration;

use crate::cursors::{Claim, CursorState, Parked, Progress};
use crate::{
    AppendError, CursorId, Entry, Error, From, Group, Limits, Page, Placed, Position, ShardId,
    StreamInfo, StreamName, WorkerId,
};

/// Streams on Redis Streams.
#[derive(Clone, Debug)]
pub struct RedisBus {}

impl RedisBus {
    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        let _ = (stream, shards);
        Err(not_yet())
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        Err(not_yet())
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        let _ = stream;
        Err(not_yet())
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let _ = stream;
        Err(AppendError::all(entries.len(), &not_yet()))
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let _ = (stream, shard, from, limits);
        Err(not_yet())
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let _ = (stream, shard, upto);
        Err(not_yet())
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// Cursors on Redis.
#[derive(Clone, Debug)]
pub struct RedisCursors {}

impl RedisCursors {
    pub(crate) async fn acquire(
        &self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        let _ = (cursor, owner, lease);
        Err(not_yet())
    }

    pub(crate) async fn renew(&self, claim: &Claim, lease: Duration) -> Result<(), Error> {
        let _ = (claim, lease);
        Err(not_yet())
    }

    pub(crate) async fn commit(&self, claim: &Claim, to: Progress) -> Result<(), Error> {
        let _ = (claim, to);
        Err(not_yet())
    }

    pub(crate) async fn release(&self, claim: &Claim) -> Result<(), Error> {
        let _ = claim;
        Err(not_yet())
    }

    pub(crate) async fn reset(&self, cursor: &CursorId, to: Option<Progress>) -> Result<(), Error> {
        let _ = (cursor, to);
        Err(not_yet())
    }

    pub(crate) async fn list(&self, group: &Group) -> Result<Vec<CursorState>, Error> {
        let _ = group;
        Err(not_yet())
    }

    pub(crate) async fn groups(&self) -> Result<Vec<Group>, Error> {
        Err(not_yet())
    }

    pub(crate) async fn beat(
        &self,
        group: &Group,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<(), Error> {
        let _ = (group, worker, lease);
        Err(not_yet())
    }

    pub(crate) async fn leave(&self, group: &Group, worker: &WorkerId) -> Result<(), Error> {
        let _ = (group, worker);
        Err(not_yet())
    }

    pub(crate) async fn members(&self, group: &Group) -> Result<Vec<WorkerId>, Error> {
        let _ = group;
        Err(not_yet())
    }

    pub(crate) async fn park(
        &self,
        claim: &Claim,
        position: Position,
        reason: &str,
    ) -> Result<(), Error> {
        let _ = (claim, position, reason);
        Err(not_yet())
    }

    pub(crate) async fn parked(
        &self,
        group: &Group,
        after: Option<(&ShardId, Position)>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let _ = (group, after, limit);
        Err(not_yet())
    }

    pub(crate) async fn retry(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        let _ = (cursor, position);
        Err(not_yet())
    }

    pub(crate) async fn drop_parked(
        &self,
        cursor: &CursorId,
        position: Position,
    ) -> Result<(), Error> {
        let _ = (cursor, position);
        Err(not_yet())
    }
}

fn not_yet() -> Error {
    Error::Unavailable { what: "the Redis back end".into(), why: "it is not written yet".into() }
}
