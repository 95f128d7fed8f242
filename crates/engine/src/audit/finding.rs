//! What the auditor finds, and where.

use std::collections::BTreeMap;
use std::fmt;

use onsale_core::Time;
use onsale_core::event::Subject;

/// Findings that are kept; further ones are only counted.
pub const FINDINGS_MAX: usize = 100;

/// The rules that a journal keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// Positions are dense from 1.
    Positions,
    /// Time never runs backwards in a shard.
    Time,
    /// The first record starts the shard; log, number of shards and secret are the
    /// same in all; generations grow.
    Shards,
    /// A sale group is placed once, and all facts of its events are on its shard.
    Placement,
    /// A chosen id of a command stands for one change within its window.
    CommandOnce,
    /// Versions of an event grow one by one; a line has the one then in force.
    Versions,
    /// A definition is valid by itself and fits what is held and sold.
    Definition,
    /// Only an open event sells.
    State,
    /// Sales lie in the windows of event and ticket type.
    Window,
    /// What is sold was in the definition then in force.
    TicketType,
    /// Numbers of lines and tickets are in range.
    Quantity,
    /// A price is the definition's, or above it where the buyer chooses.
    Price,
    /// A total is the sum of its lines, in the event's currency.
    Total,
    /// Limits per order hold.
    OrderLimit,
    /// Limits per customer hold.
    CustomerLimit,
    /// Per quota `free + held + sold = allotment`, and nothing is negative.
    Stock,
    /// A hold is placed once and ends once: claimed, released or expired.
    HoldOnce,
    /// Deadlines are what the definition says, and are kept.
    Deadline,
    /// An order has the customer and the lines of its hold.
    Claim,
    /// Sequences of orders are dense from 1 in a shard.
    Sequence,
    /// An order's code is the permutation of its number, and unique.
    OrderCode,
    /// A ticket's code opens back to its number, which makes it unique.
    TicketCode,
    /// An order's state allows what happens to it.
    OrderState,
    /// A payment is the exact total, in the order's currency.
    PaymentAmount,
    /// A reference stands for one payment of an event.
    PaymentReference,
    /// What became of a payment follows from the order's state.
    PaymentOutcome,
    /// Only what is due back goes back, once.
    Refund,
    /// A confirmed order that costs something has exactly one applied payment, any
    /// other none; all money received is applied, due back or refunded.
    Money,
    /// A record has a form that nothing makes yet.
    Unsupported,
}

/// Something that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which shard.
    pub shard: u16,
    /// Position of the record. For what only shows at the end: the shard's last one.
    pub position: u64,
    /// Whose and which event, where it is about one.
    pub subject: Option<Subject>,
    /// The rule that is broken.
    pub rule: Rule,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}, position {}", self.shard, self.position)?;
        if let Some(subject) = &self.subject {
            write!(f, ", event {}/{}", subject.organizer, subject.event)?;
        }
        write!(f, ": {} ({:?})", self.what, self.rule)
    }
}

/// The first findings, and how many there are.
#[derive(Default)]
pub(super) struct Findings {
    pub first: Vec<Finding>,
    pub count: u64,
}

/// What became of a hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Live,
    Claimed,
    Released,
    Expired,
}

/// The record at hand, and where its findings go.
pub(super) struct Context<'a> {
    pub shard: u16,
    pub position: u64,
    pub at: Time,
    pub subject: Option<Subject>,
    pub findings: &'a mut Findings,
    pub fates: &'a mut BTreeMap<u128, Fate>,
}

impl Context<'_> {
    /// A rule is broken.
    pub(super) fn found(&mut self, rule: Rule, what: impl FnOnce() -> String) {
        self.findings.count += 1;
        if self.findings.first.len() < FINDINGS_MAX {
            let Context { shard, position, subject, .. } = *self;
            self.findings.first.push(Finding { shard, position, subject, rule, what: what() });
        }
    }

    /// A rule is broken unless `holds`.
    pub(super) fn check(&mut self, rule: Rule, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.found(rule, what);
        }
    }
}
