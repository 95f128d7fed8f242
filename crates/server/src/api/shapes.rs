//! The bodies of requests and answers. What is documented is what is sent: the
//! schemas are derived from these types.

use std::borrow::Cow;

use onsale_core::code::TicketCode;
use onsale_core::command::Items;
use onsale_core::event::{HoldPlaced, Lines, OrderPlaced, PaymentRecorded};
use onsale_core::view::{HoldView, LineView, OrderState, OrderView, TicketView};
use onsale_core::{Currency, HoldId, Id, Item, Time};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json::Whole;
use super::{Result, names};
use crate::object;
use crate::problem::{Problem, Text};

/// A time, as in RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment(pub Time);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let time = jiff::Timestamp::from_microsecond(self.0.0);
        serializer.collect_str(&time.expect("the core keeps times below 2^53 microseconds"))
    }
}

/// The id of a hold, as a UUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HoldUuid(pub HoldId);

impl Serialize for HoldUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        let text = Uuid::from_u128(self.0.0).hyphenated().encode_lower(&mut buffer);
        serializer.serialize_str(text)
    }
}

/// An ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CurrencyText(pub Currency);

impl Serialize for CurrencyText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

/// The code of a ticket, whole or redacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketText {
    code: TicketCode,
    redacted: bool,
}

impl Serialize for TicketText {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.redacted {
            true => serializer.collect_str(&format_args!("{}…", &self.code.as_str()[..2])),
            false => serializer.serialize_str(self.code.as_str()),
        }
    }
}

// --- what comes in

/// What a buyer wants to hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct HoldRequest<'a> {
    /// Who: an opaque id of the front end, 1 to 64 printable ASCII characters without @.
    #[serde(borrow)]
    #[schema(value_type = String, example = "customer-17")]
    pub customer: Cow<'a, str>,
    /// What: 1 to 32 items, all or nothing.
    #[serde(borrow, deserialize_with = "object::list")]
    pub items: Vec<ItemRequest<'a>>,
}

/// One wish of a cart.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ItemRequest<'a> {
    /// Id of the ticket type.
    #[serde(borrow)]
    #[schema(value_type = String, example = "seat")]
    pub ticket_type: Cow<'a, str>,
    /// How many.
    #[schema(value_type = u32, minimum = 1, maximum = 1_000, example = 2)]
    pub quantity: Whole,
    /// The buyer's price for one, in minor units, where the buyer may choose it;
    /// left out: the ticket type's own.
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub price: Option<Whole>,
}

/// What an order is made of: a hold, or items that are held and claimed in one step.
/// One of the two must be there.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct OrderRequest<'a> {
    /// Who; with a hold, the one it was placed for.
    #[serde(borrow)]
    #[schema(value_type = String, example = "customer-17")]
    pub customer: Cow<'a, str>,
    /// Id of the hold.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub hold: Option<Cow<'a, str>>,
    /// What: 1 to 32 items, all or nothing.
    #[serde(borrow, default, deserialize_with = "object::list_or_null")]
    pub items: Option<Vec<ItemRequest<'a>>>,
}

/// Money that a provider took for an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PaymentRequest<'a> {
    /// In minor units; exactly the order's total.
    #[schema(value_type = i64, example = 5_000)]
    pub amount: Whole,
    /// The event's currency.
    #[serde(borrow)]
    #[schema(value_type = String, example = "EUR")]
    pub currency: Cow<'a, str>,
    /// The payment's own key at its provider, unique in the event: 1 to 128
    /// printable ASCII characters without @. Sent again with the same amount, it is
    /// the same payment.
    #[serde(borrow)]
    #[schema(value_type = String, example = "till-3-000871")]
    pub reference: Cow<'a, str>,
    /// When the provider took it, RFC 3339; left out: now.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Cow<'a, str>>,
}

/// The items as the core takes them.
///
/// # Errors
/// A ticket type's id is in the wrong form.
pub fn items(wishes: &[ItemRequest<'_>]) -> Result<Items> {
    let item = |(i, wish): (usize, &ItemRequest<'_>)| {
        let ticket_type = Id::new(&wish.ticket_type)
            .map_err(|error| Problem::text(format!("items[{i}].ticket_type"), error))?;
        let price = wish.price.map(|price| price.0);
        Ok(Item { ticket_type, quantity: wish.quantity.count(), price })
    };
    wishes.iter().enumerate().map(item).collect()
}

// --- what goes out

/// What an answer stands on: everything up to this position of this shard, and how
/// safely it is kept. An answer leaves only once that is true.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// Which shard of the stream `sales`.
    pub shard: u16,
    /// Position of the record, or of the last one that the answer took into account.
    #[schema(example = 4_711)]
    pub position: u64,
    /// `synced`: written and synced to the disk.
    #[schema(example = "synced")]
    pub durability: &'static str,
}

/// An amount of money.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Money {
    /// In minor units.
    #[schema(example = 5_000)]
    pub amount: i64,
    /// ISO 4217.
    #[schema(value_type = String, example = "EUR")]
    pub currency: CurrencyText,
}

impl Money {
    /// An amount in a currency.
    #[must_use]
    pub fn new(amount: i64, currency: Currency) -> Money {
        Money { amount, currency: CurrencyText(currency) }
    }
}

/// Tickets of one type in a hold or an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Line {
    /// Id of the ticket type.
    #[schema(value_type = String, example = "seat")]
    pub ticket_type: Text<Id>,
    /// How many.
    #[schema(example = 2)]
    pub quantity: u32,
    /// For one, in minor units.
    #[schema(example = 2_500)]
    pub unit_price: i64,
    /// For all of them.
    #[schema(example = 5_000)]
    pub amount: i64,
}

impl Line {
    fn new(ticket_type: Id, quantity: u32, unit_price: i64) -> Line {
        let amount = unit_price * i64::from(quantity);
        Line { ticket_type: Text(ticket_type), quantity, unit_price, amount }
    }

    /// The lines of a record.
    #[must_use]
    pub fn of_record(lines: &Lines) -> Vec<Line> {
        let line = |line: &onsale_core::event::Line| {
            Line::new(line.ticket_type, line.stock.quantity(), line.unit_price)
        };
        lines.iter().map(line).collect()
    }

    /// The lines of a view.
    #[must_use]
    pub fn of_view(lines: &[LineView]) -> Vec<Line> {
        lines.iter().map(|l| Line::new(l.ticket_type, l.quantity, l.unit_price)).collect()
    }
}

/// A hold that was placed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Hold {
    /// Its id, a UUID.
    #[schema(value_type = String, format = "uuid")]
    pub id: HoldUuid,
    /// For whom; not repeated when it is placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
    /// Whether it was extended; left out when it is placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<bool>,
    /// What is held.
    pub items: Vec<Line>,
    /// What it would cost.
    pub total: Money,
    /// What the answer stands on.
    pub receipt: Receipt,
}

impl Hold {
    /// A hold right after it was placed.
    #[must_use]
    pub fn placed(placed: &HoldPlaced, receipt: Receipt) -> Hold {
        Hold {
            id: HoldUuid(placed.hold),
            customer: None,
            expires_at: Moment(placed.expires_at),
            extended: None,
            items: Line::of_record(&placed.lines),
            total: Money::new(placed.total, placed.currency),
            receipt,
        }
    }

    /// A hold as it stands.
    #[must_use]
    pub fn standing(view: &HoldView, placed: &HoldPlaced, receipt: Receipt) -> Hold {
        Hold {
            id: HoldUuid(view.hold),
            customer: Some(placed.customer.to_string()),
            expires_at: Moment(view.expires_at),
            extended: Some(view.extended),
            items: Line::of_view(&view.lines),
            total: Money::new(view.total, view.currency),
            receipt,
        }
    }
}

/// A hold that got its full time again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HoldExtended {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: HoldUuid,
    /// When it ends by itself now.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Moment,
    /// What the answer stands on.
    pub receipt: Receipt,
}

/// A hold that was given back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HoldReleased {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: HoldUuid,
    /// `released`.
    pub state: &'static str,
    /// What the answer stands on.
    pub receipt: Receipt,
}

/// A ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Ticket {
    /// Its code: 16 symbols; to a key that can only read, two of them.
    #[schema(value_type = String, example = "K7QX2MEWDFR4TB9A")]
    pub code: TicketText,
    /// Id of its type.
    #[schema(value_type = String, example = "seat")]
    pub ticket_type: Text<Id>,
}

impl Ticket {
    /// Tickets, whole or redacted.
    #[must_use]
    pub fn all(tickets: &[TicketView], redacted: bool) -> Vec<Ticket> {
        let ticket = |ticket: &TicketView| Ticket {
            code: TicketText { code: ticket.code, redacted },
            ticket_type: Text(ticket.ticket_type),
        };
        tickets.iter().map(ticket).collect()
    }
}

/// An order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Order {
    /// Its code.
    #[schema(example = "EH7K2MXQ4T")]
    pub code: String,
    /// `awaiting_payment`, `confirmed` or `cancelled`.
    #[schema(example = "confirmed")]
    pub state: &'static str,
    /// Why it was cancelled: `unpaid`, `customer` or `organizer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<&'static str>,
    /// Who.
    pub customer: String,
    /// The hold it was made of, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub hold: Option<HoldUuid>,
    /// What.
    pub lines: Vec<Line>,
    /// What it costs.
    pub total: Money,
    /// Until when it must be paid; left out where there is nothing to pay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub payment_due: Option<Moment>,
    /// Its tickets, once it is confirmed; none before.
    pub tickets: Vec<Ticket>,
    /// Its payments, oldest first; left out when it is placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payments: Option<Vec<Payment>>,
    /// What the answer stands on.
    pub receipt: Receipt,
}

impl Order {
    /// An order right after it was placed, with its tickets where it is confirmed.
    #[must_use]
    pub fn placed(placed: &OrderPlaced, tickets: Vec<Ticket>, receipt: Receipt) -> Order {
        let state = match placed.payment_due {
            None => OrderState::Confirmed,
            Some(_) => OrderState::AwaitingPayment,
        };
        Order {
            code: placed.order.to_string(),
            state: names::order_state(state),
            cancel_reason: None,
            customer: placed.customer.to_string(),
            hold: placed.hold.map(HoldUuid),
            lines: Line::of_record(&placed.lines),
            total: Money::new(placed.total, placed.currency),
            payment_due: placed.payment_due.map(Moment),
            tickets,
            payments: None,
            receipt,
        }
    }

    /// An order as it stands.
    #[must_use]
    pub fn standing(
        view: &OrderView,
        placed: &OrderPlaced,
        payments: Vec<Payment>,
        redacted: bool,
        receipt: Receipt,
    ) -> Order {
        let cancel_reason = match view.state {
            OrderState::Cancelled(reason) => Some(names::cancel_reason(reason)),
            OrderState::AwaitingPayment | OrderState::Confirmed => None,
        };
        Order {
            state: names::order_state(view.state),
            cancel_reason,
            payment_due: view.payment_due.map(Moment),
            payments: Some(payments),
            ..Order::placed(placed, Ticket::all(&view.tickets, redacted), receipt)
        }
    }
}

/// An order that was cancelled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct OrderCancelled {
    /// Its code.
    pub code: String,
    /// `cancelled`.
    pub state: &'static str,
    /// Why: `customer` or `organizer`.
    pub cancel_reason: &'static str,
    /// What the answer stands on.
    pub receipt: Receipt,
}

/// A payment of an order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Payment {
    /// Its own key at its provider.
    pub reference: String,
    /// Who took it: `external`.
    pub provider: &'static str,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217.
    #[schema(value_type = String, example = "EUR")]
    pub currency: CurrencyText,
    /// When it was taken.
    #[schema(value_type = String, format = DateTime)]
    pub paid_at: Moment,
    /// `applied` (the order is confirmed by it), `refund_due` or `refunded`.
    pub state: &'static str,
    /// Why it was due back when it came: `already_paid`, `stock_gone`,
    /// `limit_reached` or `cancelled`. A payment whose order is cancelled later has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_reason: Option<&'static str>,
}

impl Payment {
    /// A payment of a record, in a state.
    #[must_use]
    pub fn new(recorded: &PaymentRecorded, state: &'static str) -> Payment {
        Payment {
            reference: recorded.reference.to_string(),
            provider: names::provider(recorded.provider),
            amount: recorded.amount,
            currency: CurrencyText(recorded.currency),
            paid_at: Moment(recorded.paid_at),
            state,
            refund_reason: names::refund_reason(recorded.outcome),
        }
    }
}

/// A payment that was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct PaymentAnswer {
    /// Code of its order.
    pub order: String,
    /// The payment.
    #[serde(flatten)]
    pub payment: Payment,
    /// What the answer stands on.
    pub receipt: Receipt,
}

/// A payment that went back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct RefundAnswer {
    /// Code of its order.
    pub order: String,
    /// Its own key at its provider.
    pub reference: String,
    /// `refunded`.
    pub state: &'static str,
    /// What the answer stands on.
    pub receipt: Receipt,
}
