//! What a cursor's operations do to it, without a store or a clock: memory and files keep this state and
//! call these; Redis' functions say the same in Lua.

use std::time::Duration;

use super::{Claim, CursorState, Lease, Progress};
use crate::{CursorId, Error, WorkerId};

/// A cursor as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) fence: u64,
    pub(super) progress: Option<Progress>,
    pub(super) lease: Option<Held>,
}

/// Who has a cursor, until when by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) owner: WorkerId,
    pub(super) until_ms: u64,
}

impl State {
    /// The claim, or none when another worker has the cursor.
    pub(super) fn acquire(
        &mut self,
        cursor: &CursorId,
        owner: &WorkerId,
        lease: Duration,
        now_ms: u64,
    ) -> Option<Claim> {
        if self.lease.as_ref().is_some_and(|held| held.owner != *owner && held.until_ms > now_ms) {
            return None;
        }
        self.fence += 1;
        self.lease = Some(Held { owner: owner.clone(), until_ms: later(now_ms, lease) });
        let (cursor, owner) = (cursor.clone(), owner.clone());
        Some(Claim { cursor, owner, fence: self.fence, progress: self.progress })
    }

    pub(super) fn renew(
        &mut self,
        claim: &Claim,
        lease: Duration,
        now_ms: u64,
    ) -> Result<(), Error> {
        self.held(claim)?.until_ms = later(now_ms, lease);
        Ok(())
    }

    pub(super) fn commit(&mut self, claim: &Claim, to: Progress) -> Result<(), Error> {
        self.held(claim)?;
        if let Some(stored) = self.progress {
            if stored.generation != to.generation {
                return Err(Error::Diverged { cursor: stored.generation, stream: to.generation });
            }
            if to.position < stored.position || (stored.ended && !to.ended) {
                let cursor = claim.cursor.clone();
                return Err(Error::Backwards {
                    cursor,
                    stored: stored.position,
                    asked: to.position,
                });
            }
        }
        self.progress = Some(to);
        Ok(())
    }

    pub(super) fn release(&mut self, claim: &Claim) {
        if self.held(claim).is_ok() {
            self.lease = None;
        }
    }

    pub(super) fn reset(
        &mut self,
        cursor: &CursorId,
        to: Option<Progress>,
        now_ms: u64,
    ) -> Result<(), Error> {
        if let Some(held) = self.lease.as_ref().filter(|held| held.until_ms > now_ms) {
            let (cursor, owner) = (cursor.clone(), held.owner.clone());
            return Err(Error::Leased { cursor, owner, left_ms: held.until_ms - now_ms });
        }
        *self = State { fence: self.fence + 1, progress: to, lease: None };
        Ok(())
    }

    pub(super) fn told(&self, cursor: CursorId, now_ms: u64) -> CursorState {
        let lease = self.lease.as_ref().map(|held| Lease {
            owner: held.owner.clone(),
            left: Duration::from_millis(held.until_ms.saturating_sub(now_ms)),
        });
        CursorState { cursor, fence: self.fence, progress: self.progress, lease }
    }

    /// The lease, if it is still the claim's: the fence says so, whatever the clock does.
    pub(super) fn held(&mut self, claim: &Claim) -> Result<&mut Held, Error> {
        let (fence, cursor) = (self.fence, &claim.cursor);
        let mine = |held: &&mut Held| held.owner == claim.owner && fence == claim.fence;
        let lost = || Error::LostLease { cursor: cursor.clone(), fence: claim.fence, now: fence };
        self.lease.as_mut().filter(mine).ok_or_else(lost)
    }
}

fn later(now_ms: u64, by: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
}
