//! The rows of a snapshot's tables. Each `push_…` stands beside the `take_…` that reads
//! it, with the same columns as in `onsale.proto` (where numbers begin at 2).

use onsale_core::event::CancelReason;
use onsale_core::snapshot::{
    CommandPart, CustomerPart, EndedPart, Ending, FrozenPart, HoldPart, LinePart, LineParts,
    OrderPart, PaymentPart, QueuePart, Waiting,
};
use onsale_core::view::{OrderState, PaymentState};
use onsale_core::{HoldId, Time};

use super::columns::{Columns, Rows};
use crate::error::{Error, Problem};

const WAITING: [(u64, Waiting); 2] = [(1, Waiting::Holds), (2, Waiting::Orders)];

const ORDER_STATES: [(u64, OrderState); 5] = [
    (1, OrderState::AwaitingPayment),
    (2, OrderState::Confirmed),
    (3, OrderState::Cancelled(CancelReason::Unpaid)),
    (4, OrderState::Cancelled(CancelReason::Customer)),
    (5, OrderState::Cancelled(CancelReason::Organizer)),
];

const PAYMENT_STATES: [(u64, PaymentState); 3] =
    [(1, PaymentState::Applied), (2, PaymentState::RefundDue), (3, PaymentState::Refunded)];

fn number_of<T: PartialEq>(known: &[(u64, T)], value: &T) -> u64 {
    let found = known.iter().find(|(_, known)| known == value);
    found.expect("all values have a number").0
}

fn one_of<T: Copy>(known: &[(u64, T)], value: u64) -> Result<T, Error> {
    let found = known.iter().find(|(number, _)| *number == value);
    found.map(|(_, known)| *known).ok_or_else(|| Problem::Value { value }.into())
}

fn flag(value: u64) -> Result<bool, Error> {
    one_of(&[(0, false), (1, true)], value)
}

/// A number that may be absent, as one more than it is, and 0.
fn maybe(value: Option<u64>) -> u64 {
    value.map_or(0, |value| value + 1)
}

pub(super) fn push_queue(rows: &mut Columns<4>, part: &QueuePart) {
    rows.number(0, part.event);
    rows.number(1, number_of(&WAITING, &part.waiting));
    rows.number(2, part.duration_us as u64);
    rows.number(3, maybe(part.bound.map(|bound| bound.0 as u64)));
}

pub(super) fn take_queue(rows: &mut Rows<'_, 4>) -> Result<QueuePart, Error> {
    Ok(QueuePart {
        event: rows.small(0)?,
        waiting: one_of(&WAITING, rows.number(1)?)?,
        duration_us: rows.small(2)?,
        bound: take_maybe(rows.number(3)?)?.map(Time),
    })
}

fn take_maybe(value: u64) -> Result<Option<i64>, Error> {
    let number = value.checked_sub(1).map(i64::try_from).transpose();
    number.map_err(|_| Problem::Value { value }.into())
}

pub(super) fn push_customer(rows: &mut Columns<4>, part: &CustomerPart) {
    rows.wide(0, part.key);
    rows.number(1, part.counts.len() as u64);
    for (ticket_type, tickets) in &part.counts {
        rows.number(2, *ticket_type);
        rows.number(3, *tickets);
    }
}

pub(super) fn take_customer(rows: &mut Rows<'_, 4>) -> Result<CustomerPart, Error> {
    let mut part = CustomerPart { key: rows.wide(0)?, counts: Default::default() };
    for _ in 0..rows.number(1)? {
        part.counts.push((rows.small(2)?, rows.small(3)?));
    }
    Ok(part)
}

/// Lines take five columns: how many, and of each the type, quantity, price and version.
fn push_lines<const N: usize>(rows: &mut Columns<N>, first: usize, lines: &LineParts) {
    rows.number(first, lines.len() as u64);
    for line in lines {
        rows.number(first + 1, line.ticket_type);
        rows.number(first + 2, line.quantity);
        rows.number(first + 3, line.unit_price as u64);
        rows.number(first + 4, line.version);
    }
}

fn take_lines<const N: usize>(rows: &mut Rows<'_, N>, first: usize) -> Result<LineParts, Error> {
    let mut lines = LineParts::new();
    for _ in 0..rows.number(first)? {
        lines.push(LinePart {
            ticket_type: rows.small(first + 1)?,
            quantity: rows.small(first + 2)?,
            unit_price: rows.small(first + 3)?,
            version: rows.small(first + 4)?,
        });
    }
    Ok(lines)
}

pub(super) fn push_hold(rows: &mut Columns<11>, part: &HoldPart) {
    rows.wide(0, part.hold.0);
    rows.number(1, part.queue);
    rows.number(2, part.customer);
    rows.next(3, part.position as i64);
    rows.next(4, part.expires_at.0);
    rows.number(5, part.extended);
    push_lines(rows, 6, &part.lines);
}

pub(super) fn take_hold(rows: &mut Rows<'_, 11>) -> Result<HoldPart, Error> {
    Ok(HoldPart {
        hold: HoldId(rows.wide(0)?),
        queue: rows.small(1)?,
        customer: rows.small(2)?,
        position: rows.next(3)? as u64,
        expires_at: Time(rows.next(4)?),
        extended: flag(rows.number(5)?)?,
        lines: take_lines(rows, 6)?,
    })
}

pub(super) fn push_order(rows: &mut Columns<17>, part: &OrderPart) {
    rows.number(0, part.event);
    rows.next(1, part.position as i64);
    rows.wide(2, part.customer);
    rows.number(3, maybe(part.payment_due.map(|due| due.0 as u64)));
    rows.number(4, number_of(&ORDER_STATES, &part.state));
    rows.number(5, maybe(part.queue.map(u64::from)));
    push_lines(rows, 6, &part.lines);
    rows.number(11, part.payments.len() as u64);
    for payment in &part.payments {
        rows.wide(12, payment.key);
        rows.number(13, payment.amount as u64);
        rows.next(14, payment.position as i64);
        rows.number(15, payment.refund_position);
        rows.number(16, number_of(&PAYMENT_STATES, &payment.state));
    }
}

pub(super) fn take_order(rows: &mut Rows<'_, 17>) -> Result<OrderPart, Error> {
    let mut part = OrderPart {
        event: rows.small(0)?,
        position: rows.next(1)? as u64,
        customer: rows.wide(2)?,
        payment_due: take_maybe(rows.number(3)?)?.map(Time),
        state: one_of(&ORDER_STATES, rows.number(4)?)?,
        queue: match rows.number(5)? {
            0 => None,
            value => Some(u32::try_from(value - 1).map_err(|_| Problem::Value { value })?),
        },
        lines: take_lines(rows, 6)?,
        payments: Default::default(),
    };
    for _ in 0..rows.number(11)? {
        part.payments.push(PaymentPart {
            key: rows.wide(12)?,
            amount: rows.small(13)?,
            position: rows.next(14)? as u64,
            refund_position: rows.number(15)?,
            state: one_of(&PAYMENT_STATES, rows.number(16)?)?,
        });
    }
    Ok(part)
}

pub(super) fn push_frozen(rows: &mut Columns<4>, part: &FrozenPart) {
    rows.next(0, part.position as i64);
    rows.number(1, number_of(&ORDER_STATES, &part.state));
    let (position, reference) = part.payment.unwrap_or((part.position, 0));
    rows.number(2, position - part.position);
    if part.payment.is_some() {
        rows.number(3, reference);
    }
}

pub(super) fn take_frozen(rows: &mut Rows<'_, 4>) -> Result<FrozenPart, Error> {
    let position = rows.next(0)? as u64;
    let state = one_of(&ORDER_STATES, rows.number(1)?)?;
    let payment = match rows.number(2)? {
        0 => None,
        after => Some((position.saturating_add(after), rows.small(3)?)),
    };
    Ok(FrozenPart { position, state, payment })
}

pub(super) fn push_ended(rows: &mut Columns<4>, part: &EndedPart) {
    rows.wide(0, part.hold.0);
    rows.number(1, part.event);
    let (kind, value) = match part.ending {
        Ending::Expired(at) => (1u64, at.0),
        Ending::Released(at) => (2, at.0),
        Ending::Claimed(number) => (3, i64::from(number)),
    };
    rows.number(2, kind);
    rows.number(3, value as u64);
}

pub(super) fn take_ended(rows: &mut Rows<'_, 4>) -> Result<EndedPart, Error> {
    let (hold, event) = (HoldId(rows.wide(0)?), rows.small(1)?);
    let ending = match rows.number(2)? {
        1 => Ending::Expired(Time(rows.small(3)?)),
        2 => Ending::Released(Time(rows.small(3)?)),
        3 => Ending::Claimed(rows.small(3)?),
        value => return Err(Problem::Value { value }.into()),
    };
    Ok(EndedPart { hold, event, ending })
}

pub(super) fn push_command(rows: &mut Columns<3>, part: &CommandPart) {
    rows.wide(0, part.key);
    rows.next(1, part.position as i64);
    rows.next(2, part.second.into());
}

pub(super) fn take_command(rows: &mut Rows<'_, 3>) -> Result<CommandPart, Error> {
    let (key, position) = (rows.wide(0)?, rows.next(1)? as u64);
    let value = rows.next(2)?;
    let second = u32::try_from(value).map_err(|_| Problem::Value { value: value as u64 })?;
    Ok(CommandPart { key, position, second })
}
