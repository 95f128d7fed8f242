//! What a worker does a few times in each lease: says that it lives, renews what it has, gives back what is more than its
//! share, and takes what is free.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Held, Work, Worker};
use crate::cursors::{Claim, CursorState, Progress};
use crate::record::key_hash;
use crate::{Error, From, Limits, Position, ShardId, ShardInfo, StreamInfo};

/// How often in each lease.
const LOOKS_PER_LEASE: u32 = 4;
/// Parked records looked at for those to be tried again.
const PARKED_LOOK: usize = 1_000;

impl Worker {
    pub(super) async fn look(&mut self) -> Result<(), Error> {
        let next = Instant::now() + self.options.lease / LOOKS_PER_LEASE;
        let result = self.look_now().await;
        // Not before it is done: one that is given up halfway is begun anew.
        self.look_at = next.max(Instant::now());
        match result {
            // What may pass is met again by the next look.
            Err(error) if error.is_passing() => {
                tracing::warn!(group = %self.group, %error, "shards were not looked at");
                Ok(())
            }
            result => result,
        }
    }

    async fn look_now(&mut self) -> Result<(), Error> {
        self.cursors.beat(&self.group, &self.id, self.options.lease).await?;
        self.renew().await?;
        let members = self.cursors.members(&self.group).await?.len().max(1);
        let info = self.bus.describe(&self.group.stream).await?;
        let states = self.cursors.list(&self.group).await?;
        let open = open_shards(&info, &states);
        self.is_done = open.is_empty() && info.shards.iter().all(|shard| shard.ended);
        let share = open.len().div_ceil(members);
        self.give_back_excess(share).await?;
        self.take(&open, &states, share, &info).await?;
        self.find_retries().await
    }

    /// Renews leases in every other look; the one after that still comes before they run out.
    async fn renew(&mut self) -> Result<(), Error> {
        if Instant::now() < self.renew_at {
            return Ok(());
        }
        self.renew_at = Instant::now() + self.options.lease * 2 / 5;
        let claims: Vec<Claim> = self.held.values().map(|held| held.claim.clone()).collect();
        for claim in claims {
            match self.cursors.renew(&claim, self.options.lease).await {
                Err(Error::LostLease { .. }) => drop(self.held.remove(&claim.cursor.shard)),
                result => result?,
            }
        }
        Ok(())
    }

    async fn give_back_excess(&mut self, share: usize) -> Result<(), Error> {
        let excess = self.held.len().saturating_sub(share);
        let shards: Vec<ShardId> = self.held.keys().rev().take(excess).cloned().collect();
        for held in self.held.values_mut() {
            held.is_excess = false;
        }
        for shard in shards {
            let held = self.held.get_mut(&shard).expect("it is one of them");
            match held.state {
                // It goes back once its batch is committed.
                Work::Out => held.is_excess = true,
                _ => self.give_back(&shard).await?,
            }
        }
        Ok(())
    }

    /// Takes shards that nobody has, up to the share.
    async fn take(
        &mut self,
        open: &[&ShardInfo],
        states: &[CursorState],
        share: usize,
        info: &StreamInfo,
    ) -> Result<(), Error> {
        let is_taken = |shard: &ShardId| {
            let state = states.iter().find(|state| state.cursor.shard == *shard);
            state.and_then(|state| state.lease.as_ref()).is_some_and(|lease| !lease.left.is_zero())
        };
        let mut free: Vec<&ShardId> = open.iter().map(|shard| &shard.id).collect();
        free.retain(|shard| !self.held.contains_key(shard) && !is_taken(shard));
        // Each worker begins elsewhere, so that not all want the same.
        let begin = key_hash(self.id.as_str().as_bytes()) as usize % free.len().max(1);
        free.rotate_left(begin);
        for shard in free {
            if self.held.len() >= share {
                break;
            }
            let cursor = self.group.cursor(shard);
            let claim = self.cursors.acquire(&cursor, &self.id, self.options.lease).await?;
            let Some(claim) = claim else { continue };
            let begun = self.begin(claim.clone(), info).await;
            match begun {
                Ok(Some(held)) => drop(self.held.insert(shard.clone(), held)),
                Ok(None) => self.cursors.release(&claim).await?,
                Err(error) => {
                    self.cursors.release(&claim).await?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Finds where a shard is to be read from; none when it turns out to be dealt with.
    async fn begin(&mut self, mut claim: Claim, info: &StreamInfo) -> Result<Option<Held>, Error> {
        if let Some(stored) = &self.options.stored {
            let place = stored(claim.clone()).await?;
            self.follow(&mut claim, place, info).await?;
        }
        let Some(progress) = claim.progress else {
            return self.begin_anew(claim, info).await.map(Some);
        };
        if progress.generation != info.generation {
            return Err(Error::Diverged { cursor: progress.generation, stream: info.generation });
        }
        Ok((!progress.ended).then(|| Held::new(claim, From::After(progress.position))))
    }

    /// Makes a claim begin at the place that is stored with the effects, and brings the cursor there when it is behind.
    async fn follow(
        &self,
        claim: &mut Claim,
        place: Option<Progress>,
        info: &StreamInfo,
    ) -> Result<(), Error> {
        let committed = claim.progress.take();
        let ended = committed.is_some_and(|progress| progress.ended);
        claim.progress = place.map(|place| Progress { ended, ..place });
        let Some(committed) = committed.filter(|at| at.generation == info.generation) else {
            return Ok(());
        };
        let stored = place.map_or(Position::ZERO, |place| place.position);
        let shard = info.shards.iter().find(|shard| shard.id == claim.cursor.shard);
        let is_after_the_start = shard.is_some_and(|shard| committed.position >= shard.first);
        if stored < committed.position && is_after_the_start {
            let (cursor, committed) = (claim.cursor.clone(), committed.position);
            return Err(Error::EffectsLost { cursor, committed, stored });
        }
        match claim.progress {
            Some(place) if place.generation == info.generation && stored > committed.position => {
                self.cursors.commit(claim, place).await
            }
            _ => Ok(()),
        }
    }

    async fn begin_anew(&mut self, mut claim: Claim, info: &StreamInfo) -> Result<Held, Error> {
        let mut from = self.options.start;
        if from == From::End {
            // The end is where it is now, also for whoever takes over before anything was committed.
            let limits = Limits { records: 1, ..Limits::default() };
            let shard = &claim.cursor.shard;
            from = self.bus.read(&self.group.stream, shard, From::End, limits).await?.next;
            if let From::After(position) = from
                && self.options.stored.is_none()
            {
                let to = Progress { generation: info.generation, position, ended: false };
                self.cursors.commit(&claim, to).await?;
                claim.progress = Some(to);
            }
        }
        Ok(Held::new(claim, from))
    }

    async fn find_retries(&mut self) -> Result<(), Error> {
        for parked in self.cursors.parked(&self.group, None, PARKED_LOOK).await? {
            if let Some(held) = self.held.get_mut(&parked.shard)
                && parked.retry
                && held.state != Work::Out
                && !held.retries.contains(&parked.position)
            {
                held.retries.push(parked.position);
            }
        }
        Ok(())
    }
}

/// The shards to be read now: not dealt with to their end, and their parents are.
fn open_shards<'a>(info: &'a StreamInfo, states: &[CursorState]) -> Vec<&'a ShardInfo> {
    let is_done = |state: &&CursorState| {
        state.progress.is_some_and(|at| at.ended && at.generation == info.generation)
    };
    let done: BTreeSet<&ShardId> =
        states.iter().filter(is_done).map(|state| &state.cursor.shard).collect();
    let known: BTreeSet<&ShardId> = info.shards.iter().map(|shard| &shard.id).collect();
    // A parent that is gone was past retention: there is nothing to wait for.
    let may_begin = |shard: &&ShardInfo| {
        !done.contains(&shard.id)
            && shard.parents.iter().all(|parent| done.contains(parent) || !known.contains(parent))
    };
    info.shards.iter().filter(may_begin).collect()
}
