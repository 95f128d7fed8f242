//! The stream `sales`: every record of the journal as a CloudEvent (CloudEvents 1.0,
//! JSON format), for readers outside.
//!
//! A record is shown only to the keys of its organizer. What is about a shard
//! itself is never shown: its first record holds the secret behind the codes.

pub mod asyncapi;
pub mod cursor;
pub mod types;

use onsale_core::event::{PaymentOutcome, Subject};
use onsale_core::view::TicketView;
use onsale_core::{Event, Fact, Id};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::names;
use crate::api::shapes::{CurrencyText, HoldUuid, Moment, Money, Receipt, Ticket};
use crate::catalogue::{EventBody, StateBody};
use crate::problem::Text;

/// A record, as in CloudEvents 1.0.
#[derive(Debug, Serialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`.
    #[schema(example = "1.0")]
    pub specversion: &'static str,
    /// Unique: log, shard and position.
    #[schema(example = "8c0f6b0e-6f4c-4a51-9d53-0f8d1c5d0b7e/2/4711")]
    pub id: String,
    /// The stream.
    #[schema(format = "uri-reference", example = "/v1/streams/sales")]
    pub source: &'static str,
    /// What happened, with the version of the form of `data`.
    #[serde(rename = "type")]
    #[schema(example = "onsale.hold.placed.v1")]
    pub kind: &'static str,
    /// Organizer and event.
    #[schema(example = "river/spring-concert")]
    pub subject: String,
    /// When it was decided. Never runs backwards within a shard.
    #[schema(value_type = String, format = DateTime)]
    pub time: Moment,
    /// `application/json`.
    #[schema(example = "application/json")]
    pub datacontenttype: &'static str,
    /// The shard.
    pub shard: u16,
    /// The position in it.
    pub position: u64,
    /// What happened in detail; its form goes by the type.
    pub data: Data,
}

/// What happened in detail.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Data {
    /// `onsale.sale-group.placed.v1`
    GroupPlaced(GroupPlacedData),
    /// `onsale.event.defined.v1`
    EventDefined(Box<EventDefinedData>),
    /// `onsale.event.state-set.v1`
    StateSet(StateSetData),
    /// `onsale.hold.placed.v1`
    HoldPlaced(HoldPlacedData),
    /// `onsale.hold.extended.v1`
    HoldExtended(HoldExtendedData),
    /// `onsale.hold.released.v1`, `onsale.hold.expired.v1`
    HoldEnded(HoldEndedData),
    /// `onsale.order.placed.v1`
    OrderPlaced(Box<OrderPlacedData>),
    /// `onsale.order.cancelled.v1`
    OrderCancelled(OrderCancelledData),
    /// `onsale.payment.recorded.v1`
    PaymentRecorded(Box<PaymentRecordedData>),
    /// `onsale.payment.refunded.v1`
    PaymentRefunded(PaymentRefundedData),
}

/// A sale group got its shard.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupPlacedData {
    /// The group.
    #[schema(value_type = String)]
    pub sale_group: Text<Id>,
}

/// An event was made or redefined.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventDefinedData {
    /// The version from here on.
    pub version: u32,
    /// The whole definition.
    pub definition: EventBody,
}

/// An event was opened, paused or closed.
#[derive(Debug, Serialize, ToSchema)]
pub struct StateSetData {
    /// The version from here on.
    pub version: u32,
    /// The new state.
    pub state: StateBody,
}

/// Tickets of one type in a record.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamLine {
    /// Id of the ticket type.
    #[schema(value_type = String)]
    pub ticket_type: Text<Id>,
    /// How many.
    pub quantity: u32,
    /// For one, in minor units.
    pub unit_price: i64,
    /// The version of the event that priced and limited it.
    pub version: u32,
}

/// Tickets were set aside.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldPlacedData {
    /// The hold.
    #[schema(value_type = String, format = "uuid")]
    pub hold: HoldUuid,
    /// For whom.
    pub customer: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
    /// What.
    pub lines: Vec<StreamLine>,
    /// What it would cost.
    pub total: Money,
}

/// A hold got more time.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldExtendedData {
    /// The hold.
    #[schema(value_type = String, format = "uuid")]
    pub hold: HoldUuid,
    /// Until when now.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
}

/// A hold was released or ran out.
#[derive(Debug, Serialize, ToSchema)]
pub struct HoldEndedData {
    /// The hold.
    #[schema(value_type = String, format = "uuid")]
    pub hold: HoldUuid,
}

/// A hold was claimed, or a cart bought in one step.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPlacedData {
    /// The order's code.
    pub order: String,
    /// `confirmed` or `awaiting_payment`.
    pub state: &'static str,
    /// The hold that it was made of; it is no longer live.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub hold: Option<HoldUuid>,
    /// Who.
    pub customer: String,
    /// What.
    pub lines: Vec<StreamLine>,
    /// What it costs.
    pub total: Money,
    /// Until when it must be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub payment_due: Option<Moment>,
    /// Its tickets, where it is confirmed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<Ticket>,
}

/// An order was cancelled and its stock came back.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderCancelledData {
    /// The order's code.
    pub order: String,
    /// `unpaid`, `customer` or `organizer`.
    pub reason: &'static str,
}

/// Money came in for an order.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentRecordedData {
    /// The order's code.
    pub order: String,
    /// Who took it.
    pub provider: &'static str,
    /// Its own key there.
    pub reference: String,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    #[schema(value_type = String)]
    pub currency: CurrencyText,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub paid_at: Moment,
    /// `applied` or `refund_due`.
    pub state: &'static str,
    /// Whether the order had been cancelled for want of money and took its stock again.
    pub reinstated: bool,
    /// Why it is due back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_reason: Option<&'static str>,
    /// The order's tickets, where it is confirmed by this.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tickets: Vec<Ticket>,
}

/// Money that was due back went back.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentRefundedData {
    /// The order's code.
    pub order: String,
    /// The payment's own key at its provider.
    pub reference: String,
}

/// Whether the record confirms an order, so that its tickets exist from here on.
#[must_use]
pub fn confirms(fact: &Fact) -> bool {
    match fact {
        Fact::OrderPlaced(placed) => placed.payment_due.is_none(),
        Fact::PaymentRecorded(recorded) => {
            matches!(recorded.outcome, PaymentOutcome::Applied | PaymentOutcome::Reinstated)
        }
        _ => false,
    }
}

/// Shows a record; none where it is about the shard itself. `tickets` are those of the
/// order that the record confirms.
#[must_use]
pub fn show(
    log: u128,
    at: Receipt,
    event: &Event,
    tickets: &[TicketView],
    redacted: bool,
) -> Option<CloudEvent> {
    let Subject { organizer, event: of } = event.subject.as_ref()?;
    let (kind, data) = data(&event.fact, Ticket::all(tickets, redacted))?;
    Some(CloudEvent {
        specversion: "1.0",
        id: format!("{}/{}/{}", Uuid::from_u128(log), at.shard, at.position),
        source: "/v1/streams/sales",
        kind,
        subject: format!("{organizer}/{of}"),
        time: Moment(event.at),
        datacontenttype: "application/json",
        shard: at.shard,
        position: at.position,
        data,
    })
}

/// Type and detail of a fact. No wildcard: a new fact must say whether it is shown.
fn data(fact: &Fact, tickets: Vec<Ticket>) -> Option<(&'static str, Data)> {
    Some(match fact {
        Fact::ShardStarted(_) | Fact::GenerationStarted { .. } => return None,
        Fact::GroupPlaced { sale_group } => {
            let data = GroupPlacedData { sale_group: Text(*sale_group) };
            ("onsale.sale-group.placed.v1", Data::GroupPlaced(data))
        }
        Fact::EventDefined(defined) => {
            let definition = EventBody::from_definition(&defined.definition);
            let data = EventDefinedData { version: defined.version, definition };
            ("onsale.event.defined.v1", Data::EventDefined(Box::new(data)))
        }
        Fact::StateSet { version, state } => {
            let data = StateSetData { version: *version, state: (*state).into() };
            ("onsale.event.state-set.v1", Data::StateSet(data))
        }
        Fact::HoldPlaced(placed) => {
            ("onsale.hold.placed.v1", Data::HoldPlaced(hold_placed(placed)))
        }
        Fact::HoldExtended { hold, expires_at } => {
            let data = HoldExtendedData { hold: HoldUuid(*hold), expires_at: Moment(*expires_at) };
            ("onsale.hold.extended.v1", Data::HoldExtended(data))
        }
        Fact::HoldReleased { hold } => {
            ("onsale.hold.released.v1", Data::HoldEnded(HoldEndedData { hold: HoldUuid(*hold) }))
        }
        Fact::HoldExpired { hold } => {
            ("onsale.hold.expired.v1", Data::HoldEnded(HoldEndedData { hold: HoldUuid(*hold) }))
        }
        Fact::OrderPlaced(placed) => {
            let data = order_placed(placed, tickets);
            ("onsale.order.placed.v1", Data::OrderPlaced(Box::new(data)))
        }
        Fact::OrderCancelled { order, reason } => {
            let reason = names::cancel_reason(*reason);
            let data = OrderCancelledData { order: order.to_string(), reason };
            ("onsale.order.cancelled.v1", Data::OrderCancelled(data))
        }
        Fact::PaymentRecorded(recorded) => {
            let data = payment_recorded(recorded, tickets);
            ("onsale.payment.recorded.v1", Data::PaymentRecorded(Box::new(data)))
        }
        Fact::PaymentRefunded { order, reference } => {
            let reference = reference.to_string();
            let data = PaymentRefundedData { order: order.to_string(), reference };
            ("onsale.payment.refunded.v1", Data::PaymentRefunded(data))
        }
    })
}

fn lines(lines: &onsale_core::event::Lines) -> Vec<StreamLine> {
    let line = |line: &onsale_core::event::Line| StreamLine {
        ticket_type: Text(line.ticket_type),
        quantity: line.stock.quantity(),
        unit_price: line.unit_price,
        version: line.version,
    };
    lines.iter().map(line).collect()
}

fn hold_placed(placed: &onsale_core::event::HoldPlaced) -> HoldPlacedData {
    HoldPlacedData {
        hold: HoldUuid(placed.hold),
        customer: placed.customer.to_string(),
        expires_at: Moment(placed.expires_at),
        lines: lines(&placed.lines),
        total: Money::new(placed.total, placed.currency),
    }
}

fn order_placed(placed: &onsale_core::event::OrderPlaced, tickets: Vec<Ticket>) -> OrderPlacedData {
    OrderPlacedData {
        order: placed.order.to_string(),
        state: if placed.payment_due.is_none() { "confirmed" } else { "awaiting_payment" },
        hold: placed.hold.map(HoldUuid),
        customer: placed.customer.to_string(),
        lines: lines(&placed.lines),
        total: Money::new(placed.total, placed.currency),
        payment_due: placed.payment_due.map(Moment),
        tickets,
    }
}

fn payment_recorded(
    recorded: &onsale_core::event::PaymentRecorded,
    tickets: Vec<Ticket>,
) -> PaymentRecordedData {
    PaymentRecordedData {
        order: recorded.order.to_string(),
        provider: names::provider(recorded.provider),
        reference: recorded.reference.to_string(),
        amount: recorded.amount,
        currency: CurrencyText(recorded.currency),
        paid_at: Moment(recorded.paid_at),
        state: names::payment_outcome(recorded.outcome),
        reinstated: recorded.outcome == PaymentOutcome::Reinstated,
        refund_reason: names::refund_reason(recorded.outcome),
        tickets,
    }
}
