//! What was turned away by a limit, counted by reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Which limit turned something away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Too many connections were open.
    Connections,
    /// The head of a request was too large.
    HeadTooLarge,
    /// The head of a request took too long.
    HeadSlow,
    /// A body was too large.
    BodyTooLarge,
    /// A body took too long.
    BodySlow,
    /// A client did not read its answers.
    AnswerSlow,
    /// A key made more requests than it may.
    Rate,
    /// The queue of a shard was full.
    Queue,
    /// Requests waited too long, so that new sales were turned away.
    Overload,
    /// Too many followed the availability of events.
    Readers,
}

impl Reason {
    /// All of them, as they are counted.
    pub const ALL: [Reason; 10] = [
        Reason::Connections,
        Reason::HeadTooLarge,
        Reason::HeadSlow,
        Reason::BodyTooLarge,
        Reason::BodySlow,
        Reason::AnswerSlow,
        Reason::Rate,
        Reason::Queue,
        Reason::Overload,
        Reason::Readers,
    ];

    /// Its name, as a label of the figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Connections => "connections",
            Reason::HeadTooLarge => "head-too-large",
            Reason::HeadSlow => "head-slow",
            Reason::BodyTooLarge => "body-too-large",
            Reason::BodySlow => "body-slow",
            Reason::AnswerSlow => "answer-slow",
            Reason::Rate => "rate",
            Reason::Queue => "queue",
            Reason::Overload => "overload",
            Reason::Readers => "readers",
        }
    }
}

/// How often each limit turned something away since the start.
#[derive(Debug, Default)]
pub struct Refused([AtomicU64; Reason::ALL.len()]);

impl Refused {
    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// How many so far, by reason.
    pub fn all(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().map(|reason| (reason, self.0[reason as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_on_its_own() {
        let refused = Refused::default();
        for (times, reason) in Reason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| refused.count(reason));
        }
        for (times, (reason, count)) in refused.all().enumerate() {
            assert_eq!(count, times as u64, "{}", reason.name());
        }
    }
}
