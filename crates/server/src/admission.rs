//! Adaptive admission: when requests wait too long for a shard, some of the new sales
//! (holds, carts bought in one step) are told to come back, so that queues stay short.
//! What gives stock back or records money goes on, and so do claims of holds.
//!
//! Each shard has a gate, and a task beside the shard's driver that feels for the
//! queue: ten times a second, as long as there are sales, it sends a question the way that
//! every request goes. What the answer takes beyond the syncs that it had to wait for is
//! the queue. As in CoDel (RFC 8289) a standing queue counts, not a burst: only once it was
//! over the target three times in a row the gate begins to refuse, a larger share each
//! time until the queue is short again, then a smaller one.
//!
//! How much may be refused depends on what is short. Where the shard waits for its disk a
//! refusal costs next to nothing, and nine in ten may be refused. Where the processor is
//! busy (the task itself comes late) a refusal costs two thirds of what serving costs,
//! since most of that is the kernel's: to refuse more than one in five would sell less. The
//! rest waits in its socket, one request per connection, which the limit of connections bounds.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use onsale_core::Id;
use onsale_core::event::Subject;
use onsale_engine::Unavailable;
use tokio::time::{Instant, sleep, timeout};

use crate::api::Api;
use crate::problem::{Problem, kind};
use crate::refused::Reason;

/// How often a gate feels for its queue.
const EVERY: Duration = Duration::from_millis(100);
/// So many times in a row the queue must be long before anything is refused.
const LONG_MIN: u32 = 3;
/// Looks over which the shortest sync is what the disk takes: in between it may only have
/// waited for the processor.
const SYNCS_KEPT: usize = 64;
/// What shares are counted in.
const WHOLE: u32 = 1_024;
/// How much a share grows and shrinks each time.
const STEP: u32 = WHOLE / 20;
/// The largest share that is refused where the processor is busy.
const SHARE_MAX_BUSY: u32 = WHOLE / 5;
/// The largest share that is refused where the disk is slow.
const SHARE_MAX: u32 = WHOLE / 10 * 9;

/// The gates of all shards.
#[derive(Debug)]
pub struct Admission {
    target: Duration,
    gates: Vec<Gate>,
}

/// The gate of one shard.
#[derive(Debug, Default)]
struct Gate {
    /// Whether there were sales since the queue was felt for.
    asked: AtomicBool,
    /// The share that is refused, of [`WHOLE`].
    share: AtomicU32,
    /// Counts refused shares up to a whole one.
    carry: AtomicU32,
    /// How long the queue was, for the figures.
    queue_us: AtomicU64,
}

/// What one look at a shard found.
#[derive(Clone, Copy, Debug)]
struct Felt {
    /// From the question to its answer.
    took: Duration,
    /// How late this task came to its turn.
    late: Duration,
    /// What a write and sync take now.
    sync: Duration,
}

/// A gate's memory from one look to the next.
#[derive(Debug, Default)]
struct Law {
    long: u32,
    share: u32,
}

impl Law {
    /// How long the queue is, and the share to refuse from here on.
    fn step(&mut self, felt: Felt, target: Duration) -> (Duration, u32) {
        // An answer may have to wait for the batch under way and for its own.
        let queue = felt.took.saturating_sub(felt.sync * 2);
        // The question waits for its turn about three times: sent, decided, answered.
        let busy = felt.late * 4 >= queue;
        let share_max = if busy { SHARE_MAX_BUSY } else { SHARE_MAX };
        if queue <= target {
            self.long = 0;
            self.share = self.share.saturating_sub(STEP);
        } else {
            self.long += 1;
            if self.long >= LONG_MIN {
                self.share =
                    (self.share + STEP).min(share_max.max(self.share.saturating_sub(STEP)));
            }
        }
        (queue, self.share)
    }
}

impl Admission {
    /// Gates for so many shards, which keep queues below this.
    #[must_use]
    pub fn new(target: Duration, shards: u16) -> Admission {
        Admission { target, gates: (0..shards).map(|_| Gate::default()).collect() }
    }

    /// Whether a new sale may go to this shard now.
    #[must_use]
    pub fn admits(&self, shard: u16) -> bool {
        let gate = &self.gates[usize::from(shard)];
        if !gate.asked.load(Relaxed) {
            gate.asked.store(true, Relaxed);
        }
        let share = gate.share.load(Relaxed);
        // Evenly spread: each adds its share, and whoever fills a whole one is refused.
        share == 0 || gate.carry.fetch_add(share, Relaxed) % WHOLE + share < WHOLE
    }

    /// How long the queue of each shard was when it was last felt for, and the share of new
    /// sales that is refused.
    pub fn figures(&self) -> impl Iterator<Item = (Duration, f64)> {
        self.gates.iter().map(|gate| {
            let queue = Duration::from_micros(gate.queue_us.load(Relaxed));
            (queue, f64::from(gate.share.load(Relaxed)) / f64::from(WHOLE))
        })
    }
}

/// Refuses a new sale where its shard's queue is too long.
///
/// Gives the shard of its event, if there is one.
///
/// # Errors
/// It is refused: come back in a few seconds.
pub fn admit(api: &Api, subject: &Subject) -> Result<Option<u16>, Box<Problem>> {
    let found = api.shards.of_event(&subject.organizer, &subject.event);
    let Some(shard) = found.filter(|shard| !api.admission.admits(*shard)) else {
        return Ok(found);
    };
    api.metrics.refused.count(Reason::Overload);
    let detail = "requests wait too long: new sales are taken again in a moment";
    let mut problem = Problem::new(&kind::OVERLOADED, detail);
    // Not all at the same time again.
    let carry = api.admission.gates[usize::from(shard)].carry.load(Relaxed);
    problem.retry_after = Some(1 + carry / WHOLE % 3);
    Err(problem)
}

/// The same before the request is read, as far as its path is plain.
///
/// # Errors
/// It is refused: come back in a few seconds.
pub fn admit_early(api: &Api, organizer: &str, event: &str) -> Result<Option<u16>, Box<Problem>> {
    match (Id::new(organizer), Id::new(event)) {
        (Ok(organizer), Ok(event)) => admit(api, &Subject { organizer, event }),
        // It is told what is wrong with them in a moment.
        _ => Ok(None),
    }
}

/// Minds the gate of one shard, until the server closes. To run on the thread of the
/// shard's driver: how late it comes tells how busy that thread is.
pub async fn mind(api: Arc<Api>, shard: u16) {
    let gate = &api.admission.gates[usize::from(shard)];
    let mut law = Law::default();
    let mut syncs = Syncs::default();
    loop {
        let began = Instant::now();
        sleep(EVERY).await;
        let late = began.elapsed().saturating_sub(EVERY);
        if !gate.asked.swap(false, Relaxed) && law.share == 0 && law.long == 0 {
            continue;
        }
        let sync = syncs.best(api.shards.syncs(shard));
        let mut learn = |took| {
            let (queue, share) = law.step(Felt { took, late, sync }, api.admission.target);
            let queue_us = u64::try_from(queue.as_micros()).unwrap_or(u64::MAX);
            gate.queue_us.store(queue_us, Relaxed);
            gate.share.store(share, Relaxed);
        };
        let asked = Instant::now();
        let mut answer = pin!(api.shards.probe(shard));
        let answered = loop {
            match timeout(EVERY, &mut answer).await {
                Ok(answered) => break answered,
                // It waits on: so long already.
                Err(_) => learn(asked.elapsed()),
            }
        };
        match answered {
            Ok(()) => learn(asked.elapsed()),
            // Not even room in the queue.
            Err(Unavailable::Busy) => learn(Duration::MAX / 4),
            // Whoever asks is told so in its own words.
            Err(_) => learn(Duration::ZERO),
        }
    }
}

/// Batches and the seconds that they took, as counted since the start.
#[derive(Default)]
struct Syncs {
    batches: u64,
    seconds: f64,
    means: VecDeque<Duration>,
}

impl Syncs {
    /// What a write and sync takes at best of late, on average between two calls.
    fn best(&mut self, (batches, seconds): (u64, f64)) -> Duration {
        let new = batches.saturating_sub(self.batches);
        if new > 0 {
            let mean = ((seconds - self.seconds) / new as f64).clamp(0.0, 3_600.0);
            self.means.push_back(Duration::from_secs_f64(mean));
            if self.means.len() > SYNCS_KEPT {
                self.means.pop_front();
            }
        }
        (self.batches, self.seconds) = (batches, seconds);
        self.means.iter().min().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);

    fn ms(took: u64, late: u64, sync: u64) -> Felt {
        let ms = Duration::from_millis;
        Felt { took: ms(took), late: ms(late), sync: ms(sync) }
    }

    fn share_after(law: &mut Law, felt: Felt, times: u32) -> u32 {
        (0..times).map(|_| law.step(felt, TARGET).1).last().unwrap()
    }

    #[test]
    fn a_burst_and_a_slow_disk_refuse_nothing() {
        let mut law = Law::default();
        for _ in 0..100 {
            assert_eq!(share_after(&mut law, ms(500, 0, 0), LONG_MIN - 1), 0);
            assert_eq!(share_after(&mut law, ms(10, 0, 0), 1), 0);
        }
        assert_eq!(share_after(&mut law, ms(240, 0, 100), 1_000), 0);
    }

    #[test]
    fn a_standing_queue_is_cut_as_far_as_it_pays() {
        let mut law = Law::default();
        assert_eq!(share_after(&mut law, ms(80, 0, 5), LONG_MIN), STEP);
        assert_eq!(share_after(&mut law, ms(80, 0, 5), 1_000), SHARE_MAX);
        // Then it turns out that the processor is what is short.
        assert_eq!(share_after(&mut law, ms(80, 30, 5), 1_000), SHARE_MAX_BUSY);
        // It ends within two seconds.
        assert_eq!(share_after(&mut law, ms(20, 0, 5), 20), 0);
        let mut law = Law::default();
        share_after(&mut law, ms(80, 0, 5), 1_000);
        assert_eq!(share_after(&mut law, ms(20, 0, 5), 20), 0);
    }

    #[test]
    fn the_share_is_refused_evenly() {
        for share in [0, 1, STEP, SHARE_MAX_BUSY, WHOLE / 2, SHARE_MAX] {
            let admission = Admission::new(TARGET, 2);
            admission.gates[1].share.store(share, Relaxed);
            let asked = 10 * WHOLE;
            let refused = (0..asked).filter(|_| !admission.admits(1)).count() as u32;
            assert_eq!(refused, 10 * share);
            assert!(admission.admits(0), "the other shard has its own gate");
            // No row of refusals is longer than the share makes it.
            let longest = (0..asked)
                .scan(0, |row, _| {
                    *row = if admission.admits(1) { 0 } else { *row + 1 };
                    Some(*row)
                })
                .max();
            assert!(longest.unwrap() <= WHOLE.div_ceil(WHOLE - share), "{share}: {longest:?}");
        }
    }

    #[test]
    fn the_sync_is_the_best_of_late() {
        let mut syncs = Syncs::default();
        assert_eq!(syncs.best((0, 0.0)), Duration::ZERO);
        assert_eq!(syncs.best((10, 1.0)), Duration::from_millis(100));
        assert_eq!(syncs.best((10, 1.0)), Duration::from_millis(100));
        assert_eq!(syncs.best((12, 1.5)), Duration::from_millis(100));
        for i in 1..=SYNCS_KEPT as u64 {
            syncs.best((12 + i, 1.5 + i as f64));
        }
        assert_eq!(syncs.best((0, 0.0)), Duration::from_secs(1), "the old one is forgotten");
    }
}
