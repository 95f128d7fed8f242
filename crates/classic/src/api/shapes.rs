//! The JSON of requests and answers. Amounts are in minor units; each has a text for people beside it.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::{Event, Page, Whole};
use crate::orders::{Listed, Order, Status};
use crate::{money, time};

/// The body of a new order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    pub event: String,
    pub customer: String,
    pub lines: Vec<NewLine>,
    pub channel: Option<String>,
    pub client_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    pub ticket_type: i64,
    pub quantity: i64,
}

/// The body that tells of a payment.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    pub provider: Option<String>,
    pub reference: Option<String>,
    pub amount_minor: Option<i64>,
}

/// A page of a list.
pub struct ListJson;

impl ListJson {
    pub fn of<T>(name: &str, page: Page<T>, each: impl Fn(T) -> Value) -> Value {
        let Page { items, number, pages, total } = page;
        json!({
            name: items.into_iter().map(each).collect::<Vec<_>>(),
            "page": number, "pages": pages, "total": total,
        })
    }
}

/// An event.
pub struct EventJson;

impl EventJson {
    pub fn brief(event: &Event, now: Timestamp) -> Value {
        json!({
            "slug": event.slug, "name": event.name, "venue": event.venue,
            "starts_at": time::text(event.starts_at), "currency": event.currency,
            "status": event.status.word(), "sells_now": event.closed_since(now).is_none(),
        })
    }

    pub fn whole(of: &Whole, now: Timestamp) -> Value {
        let event = &of.event;
        let mut body = Self::brief(event, now);
        body["description"] = json!(event.description);
        body["sale_opens_at"] = json!(event.sale_opens_at.map(time::text));
        body["sale_closes_at"] = json!(event.sale_closes_at.map(time::text));
        body["customer_limit"] = json!(event.customer_limit);
        let types = of.types.iter().filter(|kind| kind.active).map(|kind| {
            json!({
                "id": kind.id, "name": kind.name, "description": kind.description,
                "price_minor": kind.price_minor, "price": money::text(kind.price_minor, &event.currency),
                "available": kind.free,
            })
        });
        body["ticket_types"] = types.collect();
        body
    }
}

/// An order.
pub struct OrderJson;

impl OrderJson {
    pub fn of(order: &Order) -> Value {
        let lines = order.lines.iter().map(|line| {
            json!({
                "ticket_type": line.ticket_type_id, "name": line.ticket_type, "quantity": line.quantity,
                "unit_price_minor": line.unit_price_minor,
            })
        });
        // Codes of tickets that nobody paid for stay here.
        let tickets = order.tickets.iter().filter(|_| order.status == Status::Paid);
        let tickets =
            tickets.map(|ticket| json!({ "code": ticket.code, "name": ticket.ticket_type }));
        let payments = order.payments.iter().map(|payment| {
            json!({
                "provider": payment.provider, "reference": payment.reference,
                "amount_minor": payment.amount_minor, "paid_at": time::text(payment.paid_at),
            })
        });
        json!({
            "code": order.code, "event": order.event, "customer": order.customer, "channel": order.channel,
            "status": order.status.word(), "currency": order.currency, "total_minor": order.total_minor,
            "total": money::text(order.total_minor, &order.currency),
            "created_at": time::text(order.created_at), "expires_at": order.expires_at.map(time::text),
            "paid_at": order.paid_at.map(time::text), "cancelled_at": order.cancelled_at.map(time::text),
            "cancel_reason": order.cancel_reason, "lines": lines.collect::<Vec<_>>(),
            "tickets": tickets.collect::<Vec<_>>(), "payments": payments.collect::<Vec<_>>(),
        })
    }
}

/// An order in a list.
pub struct ListedJson;

impl ListedJson {
    pub fn of(order: &Listed) -> Value {
        json!({
            "code": order.code, "event": order.event, "customer": order.customer, "channel": order.channel,
            "status": order.status.word(), "currency": order.currency, "total_minor": order.total_minor,
            "created_at": time::text(order.created_at), "paid_at": order.paid_at.map(time::text),
            "tickets": order.tickets,
        })
    }
}
