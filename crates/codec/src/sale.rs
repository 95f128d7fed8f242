//! Messages of selling: holds, orders, their lines, payments. Each `put_…`
//! stands beside the `take_…` that reads it, with the same numbers as in
//! `onsale.proto`.

use onsale_core::HoldId;
use onsale_core::event::{
    CancelReason, Component, ComponentKind, HoldPlaced, Line, Lines, OrderPlaced, PaymentOutcome,
    PaymentRecorded, Provider, RefundReason, Stock,
};

use onsale_planted::{Bug, is};

use crate::error::{Error, Problem};
use crate::wire::{
    Fields, need, put_bytes, put_bytes_present, put_message, put_present, put_signed,
    put_time_option, put_unsigned, put_zigzag,
};

const COMPONENT_KINDS: &[(u64, ComponentKind)] =
    &[(1, ComponentKind::Fee), (2, ComponentKind::Tax), (3, ComponentKind::Discount)];

const PROVIDERS: &[(u64, Provider)] = &[(1, Provider::External)];

const REFUND_REASONS: &[(u64, RefundReason)] = &[
    (1, RefundReason::AlreadyPaid),
    (2, RefundReason::StockGone),
    (3, RefundReason::LimitReached),
    (4, RefundReason::Cancelled),
];

pub(crate) const CANCEL_REASONS: &[(u64, CancelReason)] =
    &[(1, CancelReason::Unpaid), (2, CancelReason::Customer), (3, CancelReason::Organizer)];

pub(crate) fn cancel_reason_number(reason: CancelReason) -> u64 {
    match reason {
        CancelReason::Unpaid => 1,
        CancelReason::Customer => 2,
        CancelReason::Organizer => 3,
    }
}

/// What became of a payment, as the wire has it: the reason stands beside.
#[derive(Clone, Copy)]
enum Outcome {
    Applied,
    Reinstated,
    RefundDue,
}

const OUTCOMES: &[(u64, Outcome)] =
    &[(1, Outcome::Applied), (2, Outcome::Reinstated), (3, Outcome::RefundDue)];

pub(crate) fn put_hold_placed(out: &mut Vec<u8>, placed: &HoldPlaced) {
    put_bytes(out, 1, &placed.hold.0.to_be_bytes());
    put_bytes(out, 2, placed.customer.as_bytes());
    put_signed(out, 3, placed.expires_at.0);
    for line in &placed.lines {
        put_message(out, 4, |out| put_line(out, line));
    }
    put_signed(out, 5, placed.total);
    put_bytes(out, 6, placed.currency.as_str().as_bytes());
}

pub(crate) fn take_hold_placed(fields: Fields<'_>) -> Result<HoldPlaced, Error> {
    let (mut hold, mut customer, mut expires_at) = (None, None, None);
    let (mut lines, mut total, mut currency) = (Lines::new(), None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("hold", &mut hold, |v| v.id16().map(HoldId))?,
            2 => field.set("customer", &mut customer, |v| v.customer())?,
            3 => field.set("expires_at", &mut expires_at, |v| v.time())?,
            4 => lines.push(field.item("lines", lines.len(), |v| take_line(v.fields()?))?),
            5 => field.set("total", &mut total, |v| v.signed())?,
            6 => field.set("currency", &mut currency, |v| v.currency())?,
            _ => {}
        }
    }
    Ok(HoldPlaced {
        hold: need("hold", hold)?,
        customer: need("customer", customer)?,
        expires_at: expires_at.unwrap_or_default(),
        lines,
        total: total.unwrap_or(0),
        currency: need("currency", currency)?,
    })
}

pub(crate) fn put_order_placed(out: &mut Vec<u8>, placed: &OrderPlaced) {
    put_bytes(out, 1, &placed.order.0);
    put_unsigned(out, 2, placed.sequence);
    if let Some(hold) = placed.hold {
        put_bytes(out, 3, &hold.0.to_be_bytes());
    }
    put_bytes(out, 4, placed.customer.as_bytes());
    for line in &placed.lines {
        put_message(out, 5, |out| put_line(out, line));
    }
    put_signed(out, 6, placed.total);
    put_bytes(out, 7, placed.currency.as_str().as_bytes());
    let lost = is(Bug::PaymentTimeLost) && placed.hold.is_some();
    put_time_option(out, 8, placed.payment_due.filter(|_| !lost));
}

pub(crate) fn take_order_placed(fields: Fields<'_>) -> Result<OrderPlaced, Error> {
    let (mut order, mut sequence, mut hold, mut customer) = (None, None, None, None);
    let (mut lines, mut total, mut currency) = (Lines::new(), None, None);
    let mut payment_due = None;
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("order", &mut order, |v| v.order())?,
            2 => field.set("sequence", &mut sequence, |v| v.unsigned())?,
            3 => field.set("hold", &mut hold, |v| v.id16().map(HoldId))?,
            4 => field.set("customer", &mut customer, |v| v.customer())?,
            5 => lines.push(field.item("lines", lines.len(), |v| take_line(v.fields()?))?),
            6 => field.set("total", &mut total, |v| v.signed())?,
            7 => field.set("currency", &mut currency, |v| v.currency())?,
            8 => field.set("payment_due", &mut payment_due, |v| v.time())?,
            _ => {}
        }
    }
    Ok(OrderPlaced {
        order: need("order", order)?,
        sequence: sequence.unwrap_or(0),
        hold,
        customer: need("customer", customer)?,
        lines,
        total: total.unwrap_or(0),
        currency: need("currency", currency)?,
        payment_due,
    })
}

fn put_line(out: &mut Vec<u8>, line: &Line) {
    if let Some(event) = &line.event {
        put_bytes(out, 1, event.as_bytes());
    }
    put_bytes(out, 2, line.ticket_type.as_bytes());
    match &line.stock {
        Stock::Counted(quantity) => put_present(out, 3, (*quantity).into()),
        Stock::Places(places) => put_message(out, 4, |out| {
            for place in places {
                put_bytes_present(out, 1, place.as_bytes());
            }
        }),
    }
    put_signed(out, 5, line.unit_price);
    put_unsigned(out, 6, line.version.into());
    if let Some(channel) = &line.channel {
        put_bytes(out, 7, channel.as_bytes());
    }
    for component in &line.components {
        put_message(out, 8, |out| put_component(out, component));
    }
}

fn take_line(fields: Fields<'_>) -> Result<Line, Error> {
    let (mut event, mut ticket_type, mut counted, mut places) = (None, None, None, None);
    let (mut unit_price, mut version, mut channel) = (None, None, None);
    let mut components = Vec::new();
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("event", &mut event, |v| v.id().map(Box::new))?,
            2 => field.set("ticket_type", &mut ticket_type, |v| v.id())?,
            3 => field.set("counted", &mut counted, |v| v.small())?,
            4 => field.set("places", &mut places, |v| take_places(v.fields()?))?,
            5 => field.set("unit_price", &mut unit_price, |v| v.signed())?,
            6 => field.set("version", &mut version, |v| v.small())?,
            7 => field.set("channel", &mut channel, |v| v.id().map(Box::new))?,
            8 => components
                .push(field.item("components", components.len(), |v| take_component(v.fields()?))?),
            _ => {}
        }
    }
    let stock = match (counted, places) {
        (Some(quantity), None) => Stock::Counted(quantity),
        (None, Some(places)) => Stock::Places(places),
        (None, None) => return Err(Error::from(Problem::Missing).within("stock")),
        (Some(_), Some(_)) => return Err(Error::from(Problem::Twice).within("stock")),
    };
    Ok(Line {
        event,
        ticket_type: need("ticket_type", ticket_type)?,
        stock,
        unit_price: unit_price.unwrap_or(0),
        version: version.unwrap_or(0),
        channel,
        components,
    })
}

fn take_places(fields: Fields<'_>) -> Result<Vec<onsale_core::Id>, Error> {
    let mut ids = Vec::new();
    for field in fields {
        let field = field?;
        if field.number == 1 {
            ids.push(field.item("ids", ids.len(), |v| v.id())?);
        }
    }
    Ok(ids)
}

fn put_component(out: &mut Vec<u8>, component: &Component) {
    let kind = match component.kind {
        ComponentKind::Fee => 1,
        ComponentKind::Tax => 2,
        ComponentKind::Discount => 3,
    };
    put_unsigned(out, 1, kind);
    put_bytes(out, 2, component.id.as_bytes());
    put_zigzag(out, 3, component.amount);
}

fn take_component(fields: Fields<'_>) -> Result<Component, Error> {
    let (mut kind, mut id, mut amount) = (None, None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("kind", &mut kind, |v| v.one_of(COMPONENT_KINDS))?,
            2 => field.set("id", &mut id, |v| v.id())?,
            3 => field.set("amount", &mut amount, |v| v.zigzag())?,
            _ => {}
        }
    }
    Ok(Component { kind: need("kind", kind)?, id: need("id", id)?, amount: amount.unwrap_or(0) })
}

pub(crate) fn put_payment_recorded(out: &mut Vec<u8>, payment: &PaymentRecorded) {
    put_bytes(out, 1, &payment.order.0);
    match payment.provider {
        Provider::External => put_unsigned(out, 2, 1),
    }
    put_bytes(out, 3, payment.reference.as_bytes());
    put_signed(out, 4, payment.amount);
    put_bytes(out, 5, payment.currency.as_str().as_bytes());
    put_signed(out, 6, payment.paid_at.0);
    match payment.outcome {
        PaymentOutcome::Applied => put_unsigned(out, 7, 1),
        PaymentOutcome::Reinstated => put_unsigned(out, 7, 2),
        PaymentOutcome::RefundDue(reason) => {
            put_unsigned(out, 7, 3);
            let reason = match reason {
                RefundReason::AlreadyPaid => 1,
                RefundReason::StockGone => 2,
                RefundReason::LimitReached => 3,
                RefundReason::Cancelled => 4,
            };
            put_unsigned(out, 8, reason);
        }
    }
}

pub(crate) fn take_payment_recorded(fields: Fields<'_>) -> Result<PaymentRecorded, Error> {
    let (mut order, mut provider, mut reference, mut amount) = (None, None, None, None);
    let (mut currency, mut paid_at, mut outcome, mut reason) = (None, None, None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("order", &mut order, |v| v.order())?,
            2 => field.set("provider", &mut provider, |v| v.one_of(PROVIDERS))?,
            3 => field.set("reference", &mut reference, |v| v.reference())?,
            4 => field.set("amount", &mut amount, |v| v.signed())?,
            5 => field.set("currency", &mut currency, |v| v.currency())?,
            6 => field.set("paid_at", &mut paid_at, |v| v.time())?,
            7 => field.set("outcome", &mut outcome, |v| v.one_of(OUTCOMES))?,
            8 => field.set("refund_reason", &mut reason, |v| v.one_of(REFUND_REASONS))?,
            _ => {}
        }
    }
    let outcome = match (need("outcome", outcome)?, reason) {
        (Outcome::Applied, None) => PaymentOutcome::Applied,
        (Outcome::Reinstated, None) => PaymentOutcome::Reinstated,
        (Outcome::RefundDue, reason) => PaymentOutcome::RefundDue(need("refund_reason", reason)?),
        (_, Some(_)) => return Err(Error::from(Problem::Unexpected).within("refund_reason")),
    };
    Ok(PaymentRecorded {
        order: need("order", order)?,
        provider: need("provider", provider)?,
        reference: need("reference", reference)?,
        amount: amount.unwrap_or(0),
        currency: need("currency", currency)?,
        paid_at: paid_at.unwrap_or_default(),
        outcome,
    })
}
