//! What can be seen of the state: plain values, made on request.

use std::sync::Arc;

use crate::catalogue::{Currency, EventDefinition, EventState};
use crate::code::{OrderCode, TicketCode};
use crate::command::HoldId;
use crate::event::{CancelReason, QuotaStock};
use crate::text::Id;
use crate::time::Time;

/// An event as it stands.
#[derive(Clone, Debug)]
pub struct EventView {
    /// Whose.
    pub organizer: Id,
    /// Which.
    pub event: Id,
    /// Catalogue version; grows with every definition and state change.
    pub version: u32,
    /// Whether it sells.
    pub state: EventState,
    /// Its definition.
    pub definition: Arc<EventDefinition>,
}

/// What is left of an event.
#[derive(Clone, Debug)]
pub struct AvailabilityView {
    /// Whether it sells.
    pub state: EventState,
    /// Its definition.
    pub definition: Arc<EventDefinition>,
    /// Per quota, in the definition's order.
    pub quotas: Vec<QuotaView>,
}

/// Counts of one quota: `free + held + sold = allotment`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaView {
    /// Which.
    pub id: Id,
    /// Its right to sell.
    pub stock: QuotaStock,
    /// In live holds.
    pub held: u32,
    /// In orders that are not cancelled, paid or not.
    pub sold: u32,
}

impl QuotaView {
    /// What can be held now; none: unlimited.
    #[must_use]
    pub fn free(&self) -> Option<u32> {
        self.stock.allotment.map(|a| a - self.held - self.sold)
    }
}

/// Tickets of one type in a hold or order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineView {
    /// Which type.
    pub ticket_type: Id,
    /// How many.
    pub quantity: u32,
    /// For one, in minor units.
    pub unit_price: i64,
    /// The catalogue version that priced it.
    pub version: u32,
}

/// A live hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldView {
    /// Its id.
    pub hold: HoldId,
    /// Position of the record that placed it (customer and all else stand there).
    pub position: u64,
    /// Its deadline.
    pub expires_at: Time,
    /// Whether it was extended.
    pub extended: bool,
    /// What.
    pub lines: Vec<LineView>,
    /// Sum, in minor units.
    pub total: i64,
    /// The event's currency.
    pub currency: Currency,
}

/// State of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OrderState {
    /// Stock is taken, money is awaited.
    AwaitingPayment,
    /// Paid, or free. Its tickets exist.
    Confirmed,
    /// Its stock went back.
    Cancelled(CancelReason),
}

/// An order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderView {
    /// Its code.
    pub order: OrderCode,
    /// Position of the record that placed it (customer and all else stand there).
    pub position: u64,
    /// Its state.
    pub state: OrderState,
    /// Until when it must be paid; none: nothing to pay.
    pub payment_due: Option<Time>,
    /// What.
    pub lines: Vec<LineView>,
    /// Sum, in minor units.
    pub total: i64,
    /// The event's currency.
    pub currency: Currency,
    /// Its tickets, once confirmed: one each, in the order of the lines.
    pub tickets: Vec<TicketView>,
    /// Its payments, oldest first.
    pub payments: Vec<PaymentView>,
}

/// A ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TicketView {
    /// Its code.
    pub code: TicketCode,
    /// Its type.
    pub ticket_type: Id,
}

/// State of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentState {
    /// The order is confirmed by it.
    Applied,
    /// It must go back.
    RefundDue,
    /// It went back.
    Refunded,
}

/// A payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaymentView {
    /// Position of its record (reference and all else stand there).
    pub position: u64,
    /// In minor units.
    pub amount: i64,
    /// Its state.
    pub state: PaymentState,
}
