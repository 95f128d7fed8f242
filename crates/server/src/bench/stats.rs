//! What can be said of a handful of measurements: their middle, and an interval.

use serde::Serialize;

/// Which of the two is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The same work without the product.
    Limit,
    /// The product.
    Product,
}

/// The middle of some measurements and where it lies.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Middle {
    /// The median.
    pub median: f64,
    /// Lower end of the interval.
    pub from: f64,
    /// Upper end of the interval.
    pub to: f64,
}

impl Middle {
    /// The middle of these measurements, with the interval in which the median lies with 95 %
    /// confidence, whatever the distribution (by the order of the measurements alone). With fewer
    /// than six there is no such interval: then it is the least to the most.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(samples: &[f64]) -> Middle {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        assert!(n > 0, "nothing was measured");
        let median = match n % 2 {
            1 => sorted[n / 2],
            _ => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
        };
        let cut = outside(n);
        Middle { median, from: sorted[cut], to: sorted[n - 1 - cut] }
    }
}

/// How many of `n` sorted measurements may be left out at either end so that the median still
/// lies between the rest with 95 % confidence: the largest k for which k or fewer of n fair coins
/// fall on one side, less one, with a probability of at most 2.5 %.
fn outside(n: usize) -> usize {
    let mut outcomes = 1.0;
    let mut below = 0.0;
    let all = 2f64.powi(n as i32);
    for k in 0..n / 2 {
        below += outcomes;
        if below / all > 0.025 {
            return k.saturating_sub(1);
        }
        outcomes = outcomes * (n - k) as f64 / (k + 1) as f64;
    }
    (n / 2).saturating_sub(1)
}

/// Measures both sides so many times in turn, as A B B A A B …, so that what drifts or warms up
/// falls on both alike. Limits come first in each list, products second.
///
/// # Errors
/// The first that a measurement gives.
pub fn interleaved<T>(
    pairs: usize,
    mut measure: impl FnMut(Side) -> anyhow::Result<T>,
) -> anyhow::Result<(Vec<T>, Vec<T>)> {
    let (mut limits, mut products) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let mut sides = [Side::Limit, Side::Product];
        if pair % 2 == 1 {
            sides.reverse();
        }
        for side in sides {
            match side {
                Side::Limit => limits.push(measure(side)?),
                Side::Product => products.push(measure(side)?),
            }
        }
    }
    Ok((limits, products))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_in_its_interval() {
        let middle = Middle::of(&[5.0, 1.0, 3.0]);
        assert_eq!(middle, Middle { median: 3.0, from: 1.0, to: 5.0 });
        let middle = Middle::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((middle.median, middle.from, middle.to), (2.5, 1.0, 4.0));
        assert_eq!(Middle::of(&[7.0]), Middle { median: 7.0, from: 7.0, to: 7.0 });
    }

    /// The ranks that tables of the sign test give for 95 %.
    #[test]
    fn the_interval_is_the_one_of_the_tables() {
        let rows = [(5, 0), (6, 0), (8, 0), (9, 1), (10, 1), (12, 2), (15, 3), (20, 5), (25, 7)];
        for (n, left_out) in rows {
            assert_eq!(outside(n), left_out, "{n} measurements");
        }
    }

    #[test]
    fn pairs_take_turns() {
        let mut order = Vec::new();
        let (limits, products) = interleaved(3, |side| {
            order.push(side == Side::Product);
            Ok(order.len())
        })
        .expect("it measures");
        assert_eq!(order, [false, true, true, false, false, true]);
        assert_eq!((limits, products), (vec![1, 4, 5], vec![2, 3, 6]));
    }
}
