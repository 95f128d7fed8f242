//! Cursors in memory: the rules and nothing else, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::rules::State;
use super::{Claim, CursorState, PARKED_MAX, Parked, Progress};
use crate::record::now_us;
use crate::{CursorId, Error, Group, Position, ShardId, WorkerId};

/// A store of cursors in this process. Its clock is tokio's, which a test may pause and move.
#[derive(Clone, Debug)]
pub struct MemoryCursors {
    inner: Arc<Mutex<Inner>>,
    began: tokio::time::Instant,
}

#[derive(Debug, Default)]
struct Inner {
    cursors: BTreeMap<CursorId, State>,
    /// Until when each worker lives.
    members: BTreeMap<(Group, WorkerId), u64>,
    parked: BTreeMap<(CursorId, Position), Parked>,
}

impl Default for MemoryCursors {
    fn default() -> MemoryCursors {
        MemoryCursors { inner: Arc::default(), began: tokio::time::Instant::now() }
    }
}

impl MemoryCursors {
    pub(super) async fn acquire(
        &self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
    ) -> Result<Option<Claim>, Error> {
        let now_ms = self.now_ms();
        Ok(self.lock().state(cursor).acquire(cursor, owner, lease, now_ms))
    }

    pub(super) async fn renew(&self, claim: &Claim, lease: Duration) -> Result<(), Error> {
        let now_ms = self.now_ms();
        self.lock().state(&claim.cursor).renew(claim, lease, now_ms)
    }

    pub(super) async fn commit(&self, claim: &Claim, to: Progress) -> Result<(), Error> {
        self.lock().state(&claim.cursor).commit(claim, to)
    }

    pub(super) async fn release(&self, claim: &Claim) -> Result<(), Error> {
        self.lock().state(&claim.cursor).release(claim);
        Ok(())
    }

    pub(super) async fn reset(&self, cursor: &CursorId, to: Option<Progress>) -> Result<(), Error> {
        let now_ms = self.now_ms();
        self.lock().state(cursor).reset(cursor, to, now_ms)
    }

    pub(super) async fn list(&self, group: &Group) -> Result<Vec<CursorState>, Error> {
        let now_ms = self.now_ms();
        let inner = self.lock();
        let of_group = inner.cursors.iter().filter(|(cursor, _)| cursor.group == *group);
        Ok(of_group.map(|(cursor, state)| state.told(cursor.clone(), now_ms)).collect())
    }

    pub(super) async fn groups(&self) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<Group> =
            self.lock().cursors.keys().map(|cursor| cursor.group.clone()).collect();
        groups.dedup();
        Ok(groups)
    }

    pub(super) async fn beat(
        &self,
        group: &Group,
        worker: &WorkerId,
        lease: Duration,
    ) -> Result<(), Error> {
        let until_ms = self.now_ms() + u64::try_from(lease.as_millis()).unwrap_or(u64::MAX / 2);
        self.lock().members.insert((group.clone(), worker.clone()), until_ms);
        Ok(())
    }

    pub(super) async fn leave(&self, group: &Group, worker: &WorkerId) -> Result<(), Error> {
        self.lock().members.remove(&(group.clone(), worker.clone()));
        Ok(())
    }

    pub(super) async fn members(&self, group: &Group) -> Result<Vec<WorkerId>, Error> {
        let now_ms = self.now_ms();
        let mut inner = self.lock();
        inner.members.retain(|_, until_ms| *until_ms > now_ms);
        let of_group = inner.members.keys().filter(|(of, _)| of == group);
        Ok(of_group.map(|(_, worker)| worker.clone()).collect())
    }

    pub(super) async fn park(
        &self,
        claim: &Claim,
        at: Position,
        reason: &str,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.state(&claim.cursor).held(claim)?;
        let group = &claim.cursor.group;
        let parked = inner.parked.keys().filter(|(cursor, _)| cursor.group == *group).count();
        let key = (claim.cursor.clone(), at);
        let tries = inner.parked.get(&key).map_or(0, |before| before.tries);
        if tries == 0 && parked >= PARKED_MAX {
            return Err(Error::ParkedFull { parked, max: PARKED_MAX });
        }
        let record = Parked {
            shard: claim.cursor.shard.clone(),
            position: at,
            reason: reason.to_owned(),
            parked_at_us: now_us(),
            tries: tries + 1,
            retry: false,
        };
        inner.parked.insert(key, record);
        Ok(())
    }

    pub(super) async fn parked(
        &self,
        group: &Group,
        after: Option<(&ShardId, Position)>,
        limit: usize,
    ) -> Result<Vec<Parked>, Error> {
        let inner = self.lock();
        let wanted = |(cursor, position): &(CursorId, Position)| {
            cursor.group == *group && after.is_none_or(|after| (&cursor.shard, *position) > after)
        };
        let found = inner.parked.iter().filter(|(key, _)| wanted(key)).take(limit);
        Ok(found.map(|(_, parked)| parked.clone()).collect())
    }

    pub(super) async fn retry(&self, cursor: &CursorId, position: Position) -> Result<(), Error> {
        let mut inner = self.lock();
        let missing = || Error::NotParked { cursor: cursor.clone(), position };
        inner.parked.get_mut(&(cursor.clone(), position)).ok_or_else(missing)?.retry = true;
        Ok(())
    }

    pub(super) async fn drop_parked(&self, cursor: &CursorId, at: Position) -> Result<(), Error> {
        self.lock().parked.remove(&(cursor.clone(), at));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics while it holds the lock")
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Inner {
    fn state(&mut self, cursor: &CursorId) -> &mut State {
        self.cursors.entry(cursor.clone()).or_default()
    }
}
