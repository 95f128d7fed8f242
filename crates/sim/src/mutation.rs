//! Wrong journals made of right ones: one event changed so that it breaks a rule,
//! whatever comes before and after it.

use onsale_core::event::{Event, Fact, Line, Lines, PaymentOutcome, Stock};
use onsale_core::text::{CustomerId, Id};
use onsale_core::time::Time;
use onsale_core::{HoldId, OrderCode};

use crate::rng::Rng;

/// What is changed. Each kind is wrong by itself, so that an auditor must find it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Mutation {
    /// One more ticket on a line that costs something; the total stays.
    Quantity,
    /// One minor unit more on a line; the total stays.
    Price,
    /// One minor unit more on a line and its tickets' worth on the total, where the
    /// price is not the buyer's choice.
    PriceAndTotal,
    /// An order with another code.
    OrderCode,
    /// An order with another number.
    Sequence,
    /// An event before the one before it.
    Time,
    /// A deadline of a hold or order a moment later.
    Deadline,
    /// A hold ends that nobody placed.
    Hold,
    /// A claim by somebody else.
    Customer,
    /// A ticket type that is not defined.
    TicketType,
    /// A version that is not the next, or not the one in force.
    Version,
    /// More money than the order costs.
    Amount,
    /// A payment that was applied but goes back, or the other way round.
    Outcome,
    /// The event is there twice.
    Twice,
    /// A refund of a payment that nobody made.
    Refund,
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    Mutation::Quantity,
    Mutation::Price,
    Mutation::PriceAndTotal,
    Mutation::OrderCode,
    Mutation::Sequence,
    Mutation::Time,
    Mutation::Deadline,
    Mutation::Hold,
    Mutation::Customer,
    Mutation::TicketType,
    Mutation::Version,
    Mutation::Amount,
    Mutation::Outcome,
    Mutation::Twice,
    Mutation::Refund,
];

/// Changes one event that this kind fits; gives its index. None: there is no such event.
pub fn mutate(events: &mut Vec<Event>, kind: Mutation, rng: &mut Rng) -> Option<usize> {
    let first = rng.below(events.len());
    let indices = (first..events.len()).chain(0..first);
    for index in indices {
        if kind == Mutation::Twice && stands_once(&events[index].fact) {
            events.insert(index + 1, events[index].clone());
            return Some(index);
        }
        if kind == Mutation::Time && index > 0 && events[index - 1].at > Time(0) {
            events[index].at = Time(events[index - 1].at.0 - 1);
            return Some(index);
        }
        let buyers_price = buyers_price(&events[..index], &events[index]);
        if change(&mut events[index].fact, kind, buyers_price) {
            return Some(index);
        }
    }
    None
}

/// Whether the same again must be wrong: all but a new definition, which might fit
/// were it not for its version, say that something begins or ends.
fn stands_once(fact: &Fact) -> bool {
    !matches!(fact, Fact::ShardStarted(_))
}

/// Whether the price of the first line of this event was the buyer's choice.
fn buyers_price(before: &[Event], event: &Event) -> bool {
    let lines = match &event.fact {
        Fact::HoldPlaced(placed) => &placed.lines,
        Fact::OrderPlaced(placed) => &placed.lines,
        _ => return false,
    };
    let (ticket_type, version) = (lines[0].ticket_type, lines[0].version);
    // Definitions of other versions say nothing of it: state changes make versions too.
    let defined = before.iter().rev().find_map(|other| match &other.fact {
        Fact::EventDefined(d) if other.subject == event.subject && d.version <= version => Some(d),
        _ => None,
    });
    let types = defined.map(|d| &d.definition.ticket_types);
    let of_line = types.and_then(|types| types.iter().find(|t| t.id == ticket_type));
    of_line.is_none_or(|t| t.free_price)
}

fn change(fact: &mut Fact, kind: Mutation, buyers_price: bool) -> bool {
    match fact {
        Fact::HoldPlaced(placed) => match kind {
            Mutation::Deadline => later(&mut placed.expires_at),
            _ => change_lines(&mut placed.lines, &mut placed.total, kind, buyers_price),
        },
        Fact::OrderPlaced(placed) => match kind {
            Mutation::OrderCode => other_code(&mut placed.order),
            Mutation::Sequence => added(&mut placed.sequence),
            Mutation::Deadline => placed.payment_due.as_mut().is_some_and(later),
            Mutation::Customer if placed.hold.is_some() => {
                placed.customer = CustomerId::new("somebody-else").expect("the form is right");
                true
            }
            _ => change_lines(&mut placed.lines, &mut placed.total, kind, buyers_price),
        },
        Fact::HoldExtended { expires_at, .. } if kind == Mutation::Deadline => later(expires_at),
        Fact::HoldExtended { hold, .. }
        | Fact::HoldReleased { hold }
        | Fact::HoldExpired { hold }
            if kind == Mutation::Hold =>
        {
            *hold = HoldId(!hold.0);
            true
        }
        Fact::EventDefined(defined) if kind == Mutation::Version => {
            defined.version += 1;
            true
        }
        Fact::StateSet { version, .. } if kind == Mutation::Version => {
            *version += 1;
            true
        }
        Fact::PaymentRecorded(paid) => match kind {
            Mutation::Amount => {
                paid.amount += 1;
                true
            }
            Mutation::OrderCode => other_code(&mut paid.order),
            Mutation::Outcome => {
                paid.outcome = match paid.outcome {
                    PaymentOutcome::Applied => {
                        PaymentOutcome::RefundDue(onsale_core::event::RefundReason::AlreadyPaid)
                    }
                    _ => PaymentOutcome::Applied,
                };
                true
            }
            _ => false,
        },
        Fact::PaymentRefunded { reference, .. } if kind == Mutation::Refund => {
            *reference =
                onsale_core::Reference::new("nobody-paid-this").expect("the form is right");
            true
        }
        Fact::OrderCancelled { order, .. } if kind == Mutation::OrderCode => other_code(order),
        _ => false,
    }
}

fn change_lines(lines: &mut Lines, total: &mut i64, kind: Mutation, buyers_price: bool) -> bool {
    let line: &mut Line = &mut lines[0];
    match (kind, &mut line.stock) {
        (Mutation::Quantity, Stock::Counted(quantity)) if line.unit_price > 0 => *quantity += 1,
        (Mutation::Price, _) => line.unit_price += 1,
        (Mutation::PriceAndTotal, stock) if !buyers_price => {
            line.unit_price += 1;
            *total += i64::from(stock.quantity());
        }
        (Mutation::TicketType, _) => line.ticket_type = Id::new("no-such").expect("an id"),
        (Mutation::Version, _) => line.version += 1,
        _ => return false,
    }
    true
}

fn later(time: &mut Time) -> bool {
    time.0 += 1;
    true
}

fn added(number: &mut u64) -> bool {
    *number += 1;
    true
}

/// Another code that nobody has: the odds are one in 2^45 per order.
fn other_code(code: &mut OrderCode) -> bool {
    code.0[9] = if code.0[9] == b'A' { b'B' } else { b'A' };
    true
}
