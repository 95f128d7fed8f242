//! Records of `sales`, put together to what became of each order: a statement or a request of a dialect is told of an
//! order once, however many records it had.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::SalesRecord;

/// A record that is about an order; what is about holds or the catalogue is none.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OrderRecord {
    /// Its position in the shard.
    pub position: u64,
    /// Which shard.
    pub shard: u16,
    /// The order's code.
    pub order: String,
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// When it happened, RFC 3339 with milliseconds.
    pub time: String,
    /// What happened.
    pub kind: String,
    /// In detail, as in the stream.
    pub data: Value,
}

/// What became of an order in some records, as dialects see it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    /// Its code.
    pub code: String,
    /// The organizer's id in the engine.
    pub organizer: String,
    /// The event's.
    pub event: String,
    /// Whether it was placed in these records, so that the members down to `lines` say something.
    pub is_new: bool,
    /// Who.
    pub customer: String,
    /// ISO 4217.
    pub currency: String,
    /// In minor units.
    pub total: i64,
    /// When it was placed.
    pub created_at: Option<String>,
    /// Until when it was to be paid.
    pub expires_at: Option<String>,
    /// What.
    pub lines: Vec<Line>,
    /// `pending`, `paid` or `cancelled`; none: these records did not change it.
    pub status: Option<String>,
    /// Whether it was cancelled for want of money before, and took its stock again.
    pub reinstated: bool,
    /// When it was paid, or placed if there was nothing to pay.
    pub paid_at: Option<String>,
    /// When it was cancelled.
    pub cancelled_at: Option<String>,
    /// `unpaid`, `customer` or `organizer`.
    pub cancel_reason: Option<String>,
    /// Its tickets, if it was confirmed in these records.
    pub tickets: Vec<Ticket>,
    /// Money that came in.
    pub payments: Vec<Payment>,
    /// References of payments that went back.
    pub refunds: Vec<String>,
}

/// Tickets of one type.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The ticket type's id in the engine.
    pub ticket_type: String,
    /// How many.
    pub quantity: i64,
    /// For one, in minor units.
    pub unit_price: i64,
}

/// A ticket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// Its code.
    pub code: String,
    /// The ticket type's id in the engine.
    pub ticket_type: String,
    /// For it, in minor units; none where the record that it comes from does not say.
    #[serde(default)]
    pub unit_price: Option<i64>,
}

/// Money that came in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Who took it.
    pub provider: String,
    /// Its key there.
    pub reference: String,
    /// In minor units.
    pub amount: i64,
    /// When it was taken.
    pub paid_at: String,
    /// `applied`: the order is paid by it; `refund_due`: it must go back.
    pub state: String,
}

/// What is read of `data`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    state: String,
    customer: String,
    lines: Vec<Line>,
    total: Total,
    payment_due: Option<String>,
    tickets: Vec<Ticket>,
    reason: Option<String>,
    provider: String,
    reference: String,
    amount: i64,
    paid_at: String,
    reinstated: bool,
}

#[derive(Default, Deserialize)]
struct Total {
    amount: i64,
    currency: String,
}

/// The record, if it is about an order.
#[must_use]
pub fn of_order(shard: u16, record: &SalesRecord) -> Option<OrderRecord> {
    let ours = ["onsale.order.", "onsale.payment."];
    if !ours.iter().any(|prefix| record.kind.starts_with(prefix)) {
        return None;
    }
    let data: Value = serde_json::from_str(record.data.get()).ok()?;
    let order = data["order"].as_str()?.to_owned();
    Some(OrderRecord {
        position: record.position,
        shard,
        order,
        subject: record.subject.clone(),
        time: millis(&record.time),
        kind: record.kind.clone(),
        data,
    })
}

/// Puts records together, in the order in which the orders first come. Records whose data has another form than
/// this version knows are given back with what is wrong.
pub fn fold(records: &[OrderRecord]) -> (Vec<Order>, Vec<(String, String)>) {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut orders: Vec<Order> = Vec::new();
    let mut odd = Vec::new();
    for record in records {
        let at = *places.entry(&record.order).or_insert_with(|| {
            let (organizer, event) = record.subject.split_once('/').unwrap_or_default();
            let (organizer, event) = (organizer.to_owned(), event.to_owned());
            orders.push(Order { code: record.order.clone(), organizer, event, ..Order::default() });
            orders.len() - 1
        });
        if let Err(error) = add(&mut orders[at], record) {
            let why = format!("position {}: {}: {error}", record.position, record.kind);
            odd.push((record.order.clone(), why));
        }
    }
    (orders, odd)
}

fn add(order: &mut Order, record: &OrderRecord) -> Result<(), serde_json::Error> {
    let data = Data::deserialize(&record.data)?;
    match record.kind.as_str() {
        "onsale.order.placed.v1" => {
            order.is_new = true;
            order.customer = data.customer;
            order.currency = data.total.currency;
            order.total = data.total.amount;
            order.created_at = Some(record.time.clone());
            order.expires_at = data.payment_due.map(|due| millis(&due));
            order.lines = data.lines;
            let is_paid = data.state == "confirmed";
            order.status = Some(if is_paid { "paid" } else { "pending" }.to_owned());
            if is_paid {
                order.paid_at = Some(record.time.clone());
                confirm(order, data.tickets);
            }
        }
        "onsale.payment.recorded.v1" => {
            if data.state == "applied" {
                order.status = Some("paid".to_owned());
                order.reinstated |= data.reinstated;
                order.paid_at = Some(millis(&data.paid_at));
                (order.cancelled_at, order.cancel_reason) = (None, None);
                confirm(order, data.tickets);
            }
            let paid_at = millis(&data.paid_at);
            let Data { provider, reference, amount, state, .. } = data;
            order.payments.push(Payment { provider, reference, amount, paid_at, state });
        }
        "onsale.payment.refunded.v1" => order.refunds.push(data.reference),
        "onsale.order.cancelled.v1" => {
            order.status = Some("cancelled".to_owned());
            order.cancelled_at = Some(record.time.clone());
            order.cancel_reason = data.reason;
        }
        // A later version may tell more of an order; what it is does not change by it.
        _ => {}
    }
    Ok(())
}

fn confirm(order: &mut Order, tickets: Vec<Ticket>) {
    order.tickets = tickets;
    price(order);
}

/// Says of each ticket what it cost, by the order's lines: both are in the same order.
pub fn price(order: &mut Order) {
    let each = order.lines.iter().flat_map(|line| {
        let times = usize::try_from(line.quantity).unwrap_or_default();
        std::iter::repeat_n((&line.ticket_type, line.unit_price), times)
    });
    for (ticket, (of, price)) in order.tickets.iter_mut().zip(each) {
        if ticket.ticket_type == *of {
            ticket.unit_price = Some(price);
        }
    }
}

/// A time with three digits of a second, as databases without a type for times compare them.
#[must_use]
pub fn millis(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => format!("{time:.3}"),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
