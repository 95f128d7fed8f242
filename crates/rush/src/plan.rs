//! What is decided before the rush begins: when each buyer arrives and what each
//! one chooses. A choice depends on the seed, the buyer and how many choices that
//! buyer has made, never on the order of answers: the same seed gives the same crowd.

use std::ops::RangeInclusive;

use crate::config::Arrivals;

/// Mixes 64 bits so that each depends on all (the finaliser of splitmix64, by
/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
#[must_use]
pub(crate) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One buyer's run of choices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    state: u64,
}

impl Choices {
    pub(crate) fn new(seed: u64, buyer: u32) -> Self {
        Self { state: mix(mix(seed) ^ u64::from(buyer)) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number below `bound`, which is not zero. The bias is below 2^-32 for bounds below 2^32.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        (product >> 64) as u64
    }

    /// A number of the range, which is not empty.
    pub(crate) fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let width = (range.end() - range.start()).saturating_add(1);
        range.start() + self.below(width)
    }

    /// True with this probability.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < share
    }
}

/// When buyer `index` of `buyers` arrives, in microseconds after the start; never
/// earlier than the one before.
pub(crate) fn arrival_us(arrivals: Arrivals, seed: u64, index: u64, buyers: u64) -> u64 {
    match arrivals {
        Arrivals::Constant { per_second } => (index as f64 * 1e6 / per_second) as u64,
        Arrivals::Burst { over } => {
            let jitter = (mix(seed ^ mix(index)) >> 11) as f64 / (1_u64 << 53) as f64;
            let place = (index as f64 + jitter) / buyers as f64;
            (place * over.as_micros() as f64) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn arrivals_come_in_order_and_in_time() {
        let over = Duration::from_millis(500);
        for arrivals in [Arrivals::Burst { over }, Arrivals::Constant { per_second: 20_000.0 }] {
            let times: Vec<u64> = (0..10_000).map(|i| arrival_us(arrivals, 7, i, 10_000)).collect();
            assert!(times.is_sorted(), "{arrivals:?}");
            assert!(*times.last().unwrap() <= 500_000, "{arrivals:?}");
            assert!(*times.last().unwrap() >= 499_000, "{arrivals:?}");
        }
    }

    #[test]
    fn choices_repeat_for_a_seed_and_differ_between_buyers() {
        let first = |seed, buyer| Choices::new(seed, buyer).next();
        assert_eq!(first(1, 2), first(1, 2));
        assert_ne!(first(1, 2), first(1, 3));
        assert_ne!(first(1, 2), first(2, 2));
    }

    #[test]
    fn choices_are_even() {
        let mut counts = [0_u32; 6];
        let mut happened = 0;
        let mut choices = Choices::new(42, 0);
        for _ in 0..60_000 {
            counts[choices.within(&(0..=5)) as usize] += 1;
            happened += u32::from(choices.happens(0.2));
        }
        assert!(counts.iter().all(|c| (9_600..10_400).contains(c)), "{counts:?}");
        assert!((11_600..12_400).contains(&happened), "{happened}");
    }
}
