//! What an audit comes to: findings and sums.

use onsale_core::{Currency, EventState, Id};

use super::finding::Finding;

/// What an audit comes to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nothing is wrong.
    pub ok: bool,
    /// What is wrong, the first [`super::FINDINGS_MAX`] of it.
    pub findings: Vec<Finding>,
    /// How much is wrong.
    pub findings_count: u64,
    /// Records seen.
    pub records: u64,
    /// By shard.
    pub shards: Vec<ShardReport>,
    /// By event, in the order of `organizer/event`.
    pub events: Vec<EventReport>,
    /// Holds of all events.
    pub holds: HoldTotals,
    /// Orders of all events.
    pub orders: OrderTotals,
    /// Payments of all events; its amounts are 0, since currencies do not add up.
    pub payments: PaymentTotals,
}

/// One shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardReport {
    /// Which.
    pub shard: u16,
    /// Records seen.
    pub records: u64,
    /// The last position.
    pub last_position: u64,
    /// The last generation.
    pub generation: u32,
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventReport {
    /// Whose.
    pub organizer: Id,
    /// Which.
    pub event: Id,
    /// Where it lives.
    pub shard: u16,
    /// Its catalogue version.
    pub version: u32,
    /// Whether it sells.
    pub state: EventState,
    /// Of its prices and of the amounts below.
    pub currency: Currency,
    /// In the definition's order.
    pub quotas: Vec<QuotaReport>,
    /// Its holds.
    pub holds: HoldTotals,
    /// Its orders.
    pub orders: OrderTotals,
    /// Its payments.
    pub payments: PaymentTotals,
}

/// One quota: `free + held + sold = allotment`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaReport {
    /// Which.
    pub id: Id,
    /// How many there are; none: unlimited.
    pub capacity: Option<u32>,
    /// The right to sell; none: unlimited.
    pub allotment: Option<u32>,
    /// What can be held; none: unlimited. Below zero only where something is wrong.
    pub free: Option<i64>,
    /// In live holds.
    pub held: i64,
    /// In orders that are not cancelled, paid or not.
    pub sold: i64,
    /// By how much held + sold ever went beyond the allotment.
    pub oversold: i64,
}

/// Holds, by how they ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HoldTotals {
    /// All.
    pub placed: u64,
    /// Became orders.
    pub claimed: u64,
    /// Were given back.
    pub released: u64,
    /// Ran out.
    pub expired: u64,
    /// Have not ended.
    pub live: u64,
}

/// Orders, by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OrderTotals {
    /// Await their payment.
    pub awaiting_payment: u64,
    /// Confirmed.
    pub confirmed: u64,
    /// Cancelled since they were not paid in time.
    pub cancelled_unpaid: u64,
    /// Cancelled by the customer.
    pub cancelled_customer: u64,
    /// Cancelled by the organizer.
    pub cancelled_organizer: u64,
    /// Tickets of the confirmed ones.
    pub tickets: u64,
}

/// Payments, by state: how many, and how much in minor units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PaymentTotals {
    /// Confirm an order.
    pub applied: u64,
    /// Are due back.
    pub refund_due: u64,
    /// Went back.
    pub refunded: u64,
    /// Sum of those applied.
    pub applied_amount: i64,
    /// Sum of those due back.
    pub refund_due_amount: i64,
    /// Sum of those that went back.
    pub refunded_amount: i64,
}

impl HoldTotals {
    /// Adds those of another event.
    pub(super) fn add(&mut self, other: &HoldTotals) {
        self.placed += other.placed;
        self.claimed += other.claimed;
        self.released += other.released;
        self.expired += other.expired;
        self.live += other.live;
    }
}

impl OrderTotals {
    /// Adds those of another event.
    pub(super) fn add(&mut self, other: &OrderTotals) {
        self.awaiting_payment += other.awaiting_payment;
        self.confirmed += other.confirmed;
        self.cancelled_unpaid += other.cancelled_unpaid;
        self.cancelled_customer += other.cancelled_customer;
        self.cancelled_organizer += other.cancelled_organizer;
        self.tickets += other.tickets;
    }
}

impl PaymentTotals {
    /// Adds how many another event has; amounts of different currencies do not add up.
    pub(super) fn add_counts(&mut self, other: &PaymentTotals) {
        self.applied += other.applied;
        self.refund_due += other.refund_due;
        self.refunded += other.refunded;
    }
}
