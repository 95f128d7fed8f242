//! Counts which answers a history got, so that a test can say that every one
//! that can be had was had.

use std::collections::BTreeMap;

use onsale_core::event::{Fact, PaymentOutcome};
use onsale_core::limits::EXPIRED_PER_COMMAND_MAX;
use onsale_core::refusal::Refusal;

use crate::model::Outcome;

/// How often each answer came.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Commands in all.
    pub commands: u64,
    /// Commands that changed something.
    pub changes: u64,
    /// By the answer's name: a refusal's, or a fact's.
    pub answers: BTreeMap<String, u64>,
}

impl Coverage {
    /// Counts one answer.
    pub fn count(&mut self, answer: &Result<Outcome, Refusal>) {
        self.commands += 1;
        match answer {
            Err(refusal) => self.add(name(refusal)),
            Ok(outcome) => match outcome {
                Outcome::Change(events) => {
                    self.changes += 1;
                    if events.len() > 1 {
                        self.add("HoldExpired for stock".into());
                    }
                    if events.len() > EXPIRED_PER_COMMAND_MAX {
                        self.add("HoldExpired for stock, as many as may".into());
                    }
                    events.iter().for_each(|event| self.add(fact_name(&event.fact)));
                }
                Outcome::Repeated { .. } => self.add("Repeated".into()),
                Outcome::Unchanged => self.add("Unchanged".into()),
            },
        }
    }

    /// Adds the counts of another history.
    pub fn merge(&mut self, other: &Coverage) {
        self.commands += other.commands;
        self.changes += other.changes;
        for (answer, n) in &other.answers {
            *self.answers.entry(answer.clone()).or_default() += n;
        }
    }

    /// Those of these answers that never came.
    #[must_use]
    pub fn missing<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        wanted.iter().filter(|name| !self.answers.contains_key(**name)).copied().collect()
    }

    fn add(&mut self, answer: String) {
        *self.answers.entry(answer).or_default() += 1;
    }
}

/// Answers that a history can lead to. What is left out can't be had: `IdReused` is
/// told from the journal, `LaneMoved` has no lane yet, `ShardFull` takes 4 billion orders.
pub const ANSWERS: &[&str] = &[
    "CurrencyInUse",
    "CustomerLimit",
    "EventDefined",
    "ExtendedBefore",
    "HoldClaimed",
    "HoldExpired",
    "HoldExpired fact",
    "HoldExpired for stock",
    "HoldExpired for stock, as many as may",
    "HoldExtended",
    "HoldIdTaken",
    "HoldOfAnother",
    "HoldPlaced",
    "HoldReleased",
    "HoldReleased fact",
    "IdTooOld",
    "InvalidDefinition",
    "LineCount",
    "NeedsManage",
    "NoneFreeNow",
    "NotDue",
    "NotDueBack",
    "NotOpen",
    "NothingToPay",
    "OrderCancelled",
    "OrderCancelled(Customer)",
    "OrderCancelled(Organizer)",
    "OrderCancelled(Unpaid)",
    "OrderLimit",
    "OrderPlaced",
    "OrderPlaced free",
    "PaidAt",
    "PaymentAmount",
    "PaymentCurrency",
    "PaymentRecorded(Applied)",
    "PaymentRecorded(RefundDue(AlreadyPaid))",
    "PaymentRecorded(RefundDue(Cancelled))",
    "PaymentRecorded(RefundDue(LimitReached))",
    "PaymentRecorded(RefundDue(StockGone))",
    "PaymentRecorded(Reinstated)",
    "PaymentRefunded",
    "PriceBelowMinimum",
    "PriceFixed",
    "PriceTooHigh",
    "Quantity",
    "QuotaBelowUse",
    "QuotaInUse",
    "ReferenceUsed",
    "Repeated",
    "SaleGroupFixed",
    "SaleNotBegun of event",
    "SaleNotBegun of line",
    "SaleOver of event",
    "SaleOver of line",
    "SoldOut",
    "StateSet",
    "TicketTypeInUse",
    "TooManyEver",
    "TooManyPayments",
    "TooManyTickets",
    "Unchanged",
    "UnknownEvent",
    "UnknownHold",
    "UnknownOrder",
    "UnknownPayment",
    "UnknownTicketType",
    "VersionNotSaid",
    "VersionStale",
];

/// A refusal's name, with whose window it is about.
fn name(refusal: &Refusal) -> String {
    let of = |line: &Option<usize>| if line.is_some() { "line" } else { "event" };
    match refusal {
        Refusal::SaleNotBegun { line, .. } => format!("SaleNotBegun of {}", of(line)),
        Refusal::SaleOver { line, .. } => format!("SaleOver of {}", of(line)),
        _ => first_word(&format!("{refusal:?}")),
    }
}

fn fact_name(fact: &Fact) -> String {
    match fact {
        Fact::PaymentRecorded(paid) => match paid.outcome {
            PaymentOutcome::Applied => "PaymentRecorded(Applied)".into(),
            outcome => format!("PaymentRecorded({outcome:?})"),
        },
        Fact::OrderCancelled { reason, .. } => format!("OrderCancelled({reason:?})"),
        Fact::OrderPlaced(order) if order.payment_due.is_none() => "OrderPlaced free".into(),
        Fact::HoldExpired { .. } => "HoldExpired fact".into(),
        Fact::HoldReleased { .. } => "HoldReleased fact".into(),
        Fact::EventDefined(_) => "EventDefined".into(),
        _ => first_word(&format!("{fact:?}")),
    }
}

fn first_word(text: &str) -> String {
    text.split([' ', '(', '{']).next().expect("a split has a first part").to_string()
}
