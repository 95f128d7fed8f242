//! What is counted while the rush goes on.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::report::{Latency, Percentiles};
use crate::timeline::Recorder;

/// Longest latency that is told apart: an hour. Three digits of each are kept.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Hold,
    Order,
    Payment,
}

/// How it was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Accepted,
    Refused,
}

/// What became of buyers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Fates {
    /// Have their tickets.
    pub served: u64,
    /// Let their hold run out.
    pub abandoned: u64,
    /// Were told that nothing is left of what they would take.
    pub sold_out: u64,
    /// Asked again as often as they would.
    pub gave_up: u64,
    /// Were refused for another reason.
    pub turned_away: u64,
    /// Never got an answer they could use.
    pub lost_touch: u64,
    /// Were on their way when the rush ended.
    pub unfinished: u64,
}

/// All counters of one rush.
pub(crate) struct Stats {
    /// By kind, then by outcome, in microseconds from the intended start.
    latencies: [[Histogram<u64>; 2]; 3],
    /// Answers to requests that change state, by outcome.
    pub(crate) answers: [u64; 2],
    /// The same, when the stock was gone.
    pub(crate) answers_at_sold_out: Option<[u64; 2]>,
    pub(crate) answers_by_second: Vec<[u64; 2]>,
    pub(crate) refusals: BTreeMap<String, u64>,
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) fates: Fates,
    /// Answers that said "later".
    pub(crate) put_off: u64,
    /// Requests sent again since their connection had been closed while it was idle.
    pub(crate) reconnects: u64,
    pub(crate) holds: u64,
    pub(crate) abandoned_tickets: u64,
    pub(crate) payments_due_back: u64,
    pub(crate) sold_out_us: Option<u64>,
    pub(crate) timeline: Recorder,
    /// Since when there have been only errors.
    pub(crate) silent_since_us: Option<u64>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self {
            latencies: std::array::from_fn(|_| std::array::from_fn(|_| histogram())),
            answers: [0; 2],
            answers_at_sold_out: None,
            answers_by_second: Vec::new(),
            refusals: BTreeMap::new(),
            errors: BTreeMap::new(),
            fates: Fates::default(),
            put_off: 0,
            reconnects: 0,
            holds: 0,
            abandoned_tickets: 0,
            payments_due_back: 0,
            sold_out_us: None,
            timeline: Recorder::new(),
            silent_since_us: None,
        }
    }

    /// One answer that settles its request.
    pub(crate) fn answer(&mut self, kind: Kind, outcome: Outcome, intended_us: u64, now_us: u64) {
        let latency = now_us.saturating_sub(intended_us).max(1);
        self.latencies[kind as usize][outcome as usize].saturating_record(latency);
        self.answers[outcome as usize] += 1;
        let hold_us = (kind == Kind::Hold).then_some(latency);
        self.timeline.answer(outcome as usize, hold_us, now_us);
        let second = (now_us / 1_000_000) as usize;
        if self.answers_by_second.len() <= second {
            self.answers_by_second.resize(second + 1, [0; 2]);
        }
        self.answers_by_second[second][outcome as usize] += 1;
    }

    pub(crate) fn refusal(&mut self, kind: &str) {
        match self.refusals.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.refusals.insert(kind.to_owned(), 1)),
        }
    }

    pub(crate) fn error(&mut self, kind: &'static str, now_us: u64) {
        *self.errors.entry(kind).or_default() += 1;
        self.silent_since_us.get_or_insert(now_us);
    }

    pub(crate) fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn sold_out(&mut self, now_us: u64) {
        if self.sold_out_us.is_none() {
            self.sold_out_us = Some(now_us);
            self.answers_at_sold_out = Some(self.answers);
        }
    }

    pub(crate) fn latency(&self, kind: Kind) -> Latency {
        let [accepted, refused] = &self.latencies[kind as usize];
        let mut all = accepted.clone();
        all.add(refused).expect("the bounds are the same");
        Latency { accepted: of(accepted), refused: of(refused), all: of(&all) }
    }

    /// Of holds, for the progress bar.
    pub(crate) fn hold_p99_ms(&self) -> f64 {
        let [accepted, refused] = &self.latencies[Kind::Hold as usize];
        let most = if accepted.len() > refused.len() { accepted } else { refused };
        ms(most.value_at_quantile(0.99))
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

fn of(histogram: &Histogram<u64>) -> Percentiles {
    if histogram.is_empty() {
        return Percentiles::default();
    }
    Percentiles {
        count: histogram.len(),
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        p999: ms(histogram.value_at_quantile(0.999)),
        max: ms(histogram.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_latencies() {
        let mut stats = Stats::new();
        for ms in 1..=1_000 {
            stats.answer(Kind::Hold, Outcome::Accepted, 5_000, 5_000 + ms * 1_000);
        }
        stats.answer(Kind::Hold, Outcome::Refused, 0, 2_000_000);
        let Latency { accepted, refused, all } = stats.latency(Kind::Hold);
        let near = |is: f64, wanted: f64| assert!((is - wanted).abs() < wanted / 500.0, "{is}");
        near(accepted.p50, 500.0);
        near(accepted.p99, 990.0);
        near(accepted.p999, 999.0);
        near(accepted.max, 1_000.0);
        near(refused.p50, 2_000.0);
        near(all.max, 2_000.0);
        assert_eq!((accepted.count, refused.count, all.count), (1_000, 1, 1_001));
        assert_eq!(stats.latency(Kind::Order).all, Percentiles::default());
        assert_eq!(stats.answers_by_second.iter().map(|s| s[0]).sum::<u64>(), 1_000);
        assert_eq!(stats.answers_by_second[2], [0, 1]);
    }
}
