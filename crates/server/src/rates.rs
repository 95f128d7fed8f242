//! How many requests a key may make per second.
//!
//! Each key has a [`Meter`]: a token bucket that holds a second's worth, kept as the
//! one number of the generic cell rate algorithm (ITU-T I.371), the time at which the
//! bucket would be full again. A request costs one compare-and-swap, and nothing where the key
//! has no limit.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::problem::{Problem, kind};

/// The highest limit that can be set, in requests per second.
pub const RATE_MAX: u32 = 1_000_000;
/// How much earlier than evenly spaced requests may come: one second's worth at once.
const BURST_NS: u64 = 1_000_000_000;

/// Counts the requests of one key against its limit.
#[derive(Debug, Default)]
pub struct Meter {
    /// When the bucket is full again, in nanoseconds since the epoch of the meters.
    full_at_ns: AtomicU64,
}

/// The time that all meters count from.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(Instant);

impl Epoch {
    /// From now on.
    #[must_use]
    pub fn now() -> Epoch {
        Epoch(Instant::now())
    }

    fn elapsed_ns(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Meter {
    /// Takes so many requests off a limit of `rate` per second; 0: there is no limit.
    ///
    /// # Errors
    /// It is too soon: the seconds to wait, at least one.
    pub fn take(&self, epoch: Epoch, rate: u32, requests: u32) -> Result<(), u32> {
        match rate {
            0 => Ok(()),
            rate => self.take_at(epoch.elapsed_ns(), rate, requests),
        }
    }

    fn take_at(&self, now_ns: u64, rate: u32, requests: u32) -> Result<(), u32> {
        let one_ns = (1_000_000_000 / u64::from(rate)).max(1);
        let cost_ns = u64::from(requests) * one_ns;
        // Whoever asks for more than a second's worth at once has to find the bucket full, but for the
        // request that brought it.
        let room_ns = if cost_ns > BURST_NS { cost_ns + one_ns } else { BURST_NS };
        let mut full_at_ns = self.full_at_ns.load(Relaxed);
        loop {
            let after_ns = full_at_ns.max(now_ns) + cost_ns;
            let early_ns = after_ns.saturating_sub(now_ns + room_ns);
            if early_ns > 0 {
                let seconds = early_ns.div_ceil(1_000_000_000);
                return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
            }
            match self.full_at_ns.compare_exchange_weak(full_at_ns, after_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(newer) => full_at_ns = newer,
            }
        }
    }
}

/// The key has made more requests than it may.
#[must_use]
pub fn exceeded(key: impl std::fmt::Display, rate: u32, retry_after: u32) -> Box<Problem> {
    let detail = format!("the key {key} may make {rate} requests per second");
    let mut problem = Problem::field(&kind::RATE_LIMIT, "Authorization", detail);
    problem.max = Some(rate.into());
    problem.retry_after = Some(retry_after);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_second_s_worth_at_once_then_one_by_one() {
        let meter = Meter::default();
        let at = 5 * SECOND_NS;
        let taken = (0..100).filter(|_| meter.take_at(at, 10, 1).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(meter.take_at(at, 10, 1), Err(1));
        assert_eq!(meter.take_at(at + SECOND_NS / 10 - 1, 10, 1), Err(1));
        assert_eq!(meter.take_at(at + SECOND_NS / 10, 10, 1), Ok(()));
        assert_eq!(meter.take_at(at + SECOND_NS / 10, 10, 1), Err(1));
        // After a long rest there is a second's worth again, not more.
        let later = 100 * SECOND_NS;
        let taken = (0..100).filter(|_| meter.take_at(later, 10, 1).is_ok()).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn a_lump_larger_than_the_limit_waits_for_a_full_bucket() {
        let meter = Meter::default();
        assert_eq!(meter.take_at(SECOND_NS, 10, 25), Ok(()));
        assert_eq!(meter.take_at(SECOND_NS, 10, 1), Err(2));
        assert_eq!(meter.take_at(2 * SECOND_NS, 10, 25), Err(2));
        assert_eq!(meter.take_at(4 * SECOND_NS, 10, 25), Ok(()));
    }

    #[test]
    fn a_lump_is_not_kept_out_by_the_request_that_brought_it() {
        let meter = Meter::default();
        assert_eq!(meter.take_at(SECOND_NS, 10, 1), Ok(()));
        assert_eq!(meter.take_at(SECOND_NS, 10, 24), Ok(()));
        assert_eq!(meter.take_at(SECOND_NS, 10, 1), Err(2));
        let meter = Meter::default();
        assert_eq!(meter.take_at(SECOND_NS, 10, 2), Ok(()));
        assert_eq!(meter.take_at(SECOND_NS, 10, 24), Err(1));
    }

    #[test]
    fn over_a_long_time_the_rate_is_the_limit() {
        for rate in [1, 3, 1_000, RATE_MAX] {
            let meter = Meter::default();
            let seconds = 3;
            let step_ns = (SECOND_NS / u64::from(rate) / 4).max(1);
            let steps = seconds * SECOND_NS / step_ns;
            let taken = (0..steps).filter(|i| meter.take_at(i * step_ns, rate, 1).is_ok()).count();
            let allowed = (seconds + 1) * u64::from(rate);
            assert!((allowed - 1..=allowed).contains(&(taken as u64)), "{rate}: {taken}");
        }
    }

    #[test]
    fn no_limit_is_no_limit() {
        let (meter, epoch) = (Meter::default(), Epoch::now());
        assert!((0..10_000).all(|_| meter.take(epoch, 0, 1_000).is_ok()));
    }
}
