//! Orders, by their number in the shard, and payments, by their reference.

use super::deadlines::{Links, Timed};
use super::lines::LinesAt;
use crate::slab::{Linked, Slab, Wide};
use crate::table::{Keyed, Table};
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

/// An order. Its customer stands as text in its record only.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub position: u64,
    /// Digest of event and customer.
    pub customer: Wide,
    /// Until when it must be paid; none: nothing to pay.
    payment_due: Time,
    pub lines: LinesAt,
    pub links: Links,
    pub event: u32,
    /// First and last of its payments.
    pub payments: u32,
    pub payments_last: u32,
    pub generation: u8,
    pub state: OrderState,
}

const _: () = assert!(size_of::<Order>() <= 88);
const NOTHING_DUE: Time = Time(i64::MIN);

/// What a new order is made of.
pub(crate) struct NewOrder {
    pub position: u64,
    pub customer: u128,
    pub payment_due: Option<Time>,
    pub lines: LinesAt,
    pub event: u32,
    pub generation: u32,
}

impl Order {
    pub(crate) fn new(new: &NewOrder) -> Self {
        let none = crate::slab::NONE;
        Self {
            position: new.position,
            customer: Wide::new(new.customer),
            payment_due: new.payment_due.unwrap_or(NOTHING_DUE),
            lines: new.lines,
            links: Links::OUT,
            event: new.event,
            payments: none,
            payments_last: none,
            generation: new.generation as u8,
            state: match new.payment_due {
                Some(_) => OrderState::AwaitingPayment,
                None => OrderState::Confirmed,
            },
        }
    }

    pub(crate) fn payment_due(&self) -> Option<Time> {
        (self.payment_due != NOTHING_DUE).then_some(self.payment_due)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self.state, OrderState::Cancelled(_))
    }
}

impl Linked for Order {
    fn link(&mut self) -> &mut u32 {
        &mut self.links.next
    }
}

impl Timed for Order {
    fn deadline(&self) -> Time {
        self.payment_due
    }
    fn links(&self) -> Links {
        self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// A payment.
#[derive(Clone, Copy)]
pub(crate) struct Payment {
    /// Digest of event and reference.
    key: Wide,
    pub amount: i64,
    pub position: u64,
    /// Position of the record that it went back with; 0: it has not.
    pub refund_position: u64,
    /// Slot of its order.
    pub order: u32,
    /// The order's next payment.
    pub next: u32,
    pub state: PaymentState,
}

impl Payment {
    pub(crate) fn new(
        key: u128,
        order: u32,
        amount: i64,
        position: u64,
        state: PaymentState,
    ) -> Self {
        let next = crate::slab::NONE;
        Self { key: Wide::new(key), amount, position, refund_position: 0, order, next, state }
    }
}

impl Linked for Payment {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Keyed for Payment {
    fn key(&self) -> u128 {
        self.key.get()
    }
}

/// All orders and payments of a shard. An order's slot is its number less one.
pub(crate) struct Orders {
    pub orders: Slab<Order>,
    pub payments: Table<Payment>,
    /// How many of the newest are kept in full, whatever their state.
    pub hot_max: u32,
}

impl Default for Orders {
    fn default() -> Self {
        Self { orders: Slab::default(), payments: Table::default(), hot_max: u32::MAX }
    }
}

impl Orders {
    /// Number that the next order gets.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.orders.len() as u64 + 1
    }

    /// Slots of an order's payments, oldest first.
    pub(crate) fn payments_of(&self, order: &Order) -> impl Iterator<Item = u32> + '_ {
        let some = |slot: u32| (slot != crate::slab::NONE).then_some(slot);
        let first = some(order.payments);
        std::iter::successors(first, move |slot| some(self.payments[*slot].next))
    }

    /// Adds a payment at the end of its order's.
    pub(crate) fn add_payment(&mut self, payment: Payment) {
        let order = payment.order;
        let slot = self.payments.insert(payment);
        let order = &mut self.orders[order];
        match order.payments_last {
            crate::slab::NONE => order.payments = slot,
            last => self.payments[last].next = slot,
        }
        order.payments_last = slot;
    }

    /// The payment that confirms an order, if one does.
    pub(crate) fn applied(&self, order: &Order) -> Option<u32> {
        let applied = |slot: &u32| self.payments[*slot].state == PaymentState::Applied;
        self.payments_of(order).find(applied)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.orders.memory_bytes() + self.payments.memory_bytes()
    }
}
