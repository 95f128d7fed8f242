//! How a rush went over time: stock, answers and latencies in equal steps, for charts.
//!
//! A step is a tenth of a second until there are too many; then two become one, so
//! that a rush of any length fits into the same memory.

use std::collections::VecDeque;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Length of a step at first.
const STEP_US: u64 = 100_000;
/// Steps that are kept; one more makes each twice as long.
const STEPS_MAX: usize = 600;
/// Longest latency that is told apart: an hour, to two digits.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// How a rush went over time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Timeline {
    /// Length of a step in seconds.
    pub step_seconds: f64,
    /// The main stock; none: all is unlimited.
    pub tickets: Option<u64>,
    /// From the first arrival on.
    pub steps: Vec<Step>,
}

/// One step of time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Step {
    /// Tickets of the main stock in holds at its end, as the buyers know it.
    pub held: u64,
    /// Tickets of the main stock in acknowledged orders at its end.
    pub sold: u64,
    /// Answers that granted a change, each second.
    pub accepted_per_second: f64,
    /// Answers that refused one, each second.
    pub refused_per_second: f64,
    /// Latencies of holds answered in it, from the intended start, in milliseconds; none: there
    /// were none.
    pub hold_ms: Option<StepLatency>,
}

/// Latencies of one step, in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct StepLatency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// What one step has counted so far.
struct Counted {
    held: u64,
    sold: u64,
    answers: [u64; 2],
    hold_us: Histogram<u32>,
}

impl Counted {
    fn new() -> Self {
        let hold_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 2);
        let hold_us = hold_us.expect("the bounds are in order");
        Self { held: 0, sold: 0, answers: [0; 2], hold_us }
    }

    /// Takes the step after it in.
    fn merge(&mut self, later: &Self) {
        (self.held, self.sold) = (later.held, later.sold);
        for (sum, more) in self.answers.iter_mut().zip(later.answers) {
            *sum += more;
        }
        self.hold_us.add(&later.hold_us).expect("the bounds are the same");
    }

    fn finish(&self, step_seconds: f64) -> Step {
        let per_second = |count: u64| count as f64 / step_seconds;
        let ms = |us: u64| us as f64 / 1e3;
        let latencies = &self.hold_us;
        Step {
            held: self.held,
            sold: self.sold,
            accepted_per_second: per_second(self.answers[0]),
            refused_per_second: per_second(self.answers[1]),
            hold_ms: (!latencies.is_empty()).then(|| StepLatency {
                p50: ms(latencies.value_at_quantile(0.5)),
                p99: ms(latencies.value_at_quantile(0.99)),
                max: ms(latencies.max()),
            }),
        }
    }
}

/// Takes the rush down as it goes.
pub(crate) struct Recorder {
    step_us: u64,
    steps: Vec<Counted>,
    held: u64,
    sold: u64,
    /// When abandoned holds run out, and with how many tickets; the earliest first.
    lapses: VecDeque<(u64, u64)>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let steps = vec![Counted::new()];
        Self { step_us: STEP_US, steps, held: 0, sold: 0, lapses: VecDeque::new() }
    }

    /// An answer, accepted (0) or refused (1), and how long it took if it was one to a hold.
    pub(crate) fn answer(&mut self, outcome: usize, hold_us: Option<u64>, now_us: u64) {
        let step = self.step(now_us);
        step.answers[outcome] += 1;
        if let Some(latency) = hold_us {
            step.hold_us.saturating_record(latency);
        }
    }

    /// Tickets of the main stock were set aside.
    pub(crate) fn held(&mut self, tickets: u64, now_us: u64) {
        self.step(now_us);
        self.held += tickets;
    }

    /// A hold will not be claimed: it ends at `lapse_us`, if that is known.
    pub(crate) fn abandoned(&mut self, tickets: u64, lapse_us: Option<u64>) {
        // All holds last equally long: later ones come later.
        self.lapses.extend(lapse_us.map(|at| (at, tickets)));
    }

    /// A hold is gone.
    pub(crate) fn ended(&mut self, tickets: u64, now_us: u64) {
        self.step(now_us);
        self.held = self.held.saturating_sub(tickets);
    }

    /// An order was acknowledged.
    pub(crate) fn sold(&mut self, tickets: u64, now_us: u64) {
        self.step(now_us);
        self.sold += tickets;
    }

    /// The step that a time lies in, with all before it settled.
    fn step(&mut self, now_us: u64) -> &mut Counted {
        loop {
            let end_us = self.step_us * self.steps.len() as u64;
            if now_us < end_us {
                return self.steps.last_mut().expect("there is always a step");
            }
            self.settle(end_us);
            if self.steps.len() == STEPS_MAX {
                self.halve();
            }
            self.steps.push(Counted::new());
        }
    }

    /// Notes the stock at the end of the last step.
    fn settle(&mut self, end_us: u64) {
        while let Some((_, tickets)) = self.lapses.pop_front_if(|(at, _)| *at <= end_us) {
            self.held = self.held.saturating_sub(tickets);
        }
        let last = self.steps.last_mut().expect("there is always a step");
        (last.held, last.sold) = (self.held, self.sold);
    }

    fn halve(&mut self) {
        let mut pairs = std::mem::take(&mut self.steps).into_iter();
        while let Some(mut first) = pairs.next() {
            if let Some(second) = pairs.next() {
                first.merge(&second);
            }
            self.steps.push(first);
        }
        self.step_us *= 2;
    }

    pub(crate) fn finish(mut self, tickets: Option<u64>, end_us: u64) -> Timeline {
        self.step(end_us);
        self.settle(end_us);
        let step_seconds = self.step_us as f64 / 1e6;
        let steps = self.steps.iter().map(|step| step.finish(step_seconds)).collect();
        Timeline { step_seconds, tickets, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_and_answers_stand_in_their_step() {
        let mut recorder = Recorder::new();
        recorder.answer(0, Some(2_000), 10_000);
        recorder.held(2, 10_000);
        recorder.answer(1, None, 150_000);
        recorder.held(3, 160_000);
        recorder.abandoned(3, Some(350_000));
        recorder.ended(2, 250_000);
        recorder.sold(2, 250_000);
        let timeline = recorder.finish(Some(10), 420_000);
        let stock: Vec<_> = timeline.steps.iter().map(|s| (s.held, s.sold)).collect();
        assert_eq!(stock, [(2, 0), (5, 0), (3, 2), (0, 2), (0, 2)]);
        let rates: Vec<_> =
            timeline.steps.iter().map(|s| (s.accepted_per_second, s.refused_per_second)).collect();
        assert_eq!(rates[..2], [(10.0, 0.0), (0.0, 10.0)]);
        let latency = timeline.steps[0].hold_ms.expect("a hold was answered");
        assert!((latency.p50 - 2.0).abs() < 0.05, "{latency:?}");
        assert_eq!(timeline.steps[1].hold_ms, None);
    }

    #[test]
    fn a_long_rush_takes_no_more_steps_and_loses_nothing() {
        let mut recorder = Recorder::new();
        for second in 0..1_000 {
            recorder.answer(0, Some(1_000), second * 1_000_000);
            recorder.sold(1, second * 1_000_000);
        }
        let timeline = recorder.finish(None, 1_000_000_000);
        assert!(timeline.steps.len() <= STEPS_MAX, "{}", timeline.steps.len());
        let answers: f64 = timeline.steps.iter().map(|s| s.accepted_per_second).sum();
        assert!((answers * timeline.step_seconds - 1_000.0).abs() < 0.001, "{answers}");
        assert_eq!(timeline.steps.last().map(|s| s.sold), Some(1_000));
        assert!(timeline.steps.is_sorted_by_key(|s| s.sold));
    }
}
