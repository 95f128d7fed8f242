//! Parts that are many: holds, orders, and how holds ended.

use super::{RestoreError, Restorer, ensure, some};
use crate::limits::{
    ENDED_HOLDS_MAX, LINES_MAX, ORDERS_PER_SHARD_MAX, PAYMENTS_PER_ORDER_MAX, PRICE_MAX,
    QUANTITY_MAX,
};
use crate::sale::deadlines::Waiting;
use crate::sale::frozen::weight;
use crate::sale::holds::{Ended, Ending, Hold};
use crate::sale::lines::{Line, LinesAt};
use crate::sale::orders::{Frozen, NewOrder, Order, Payment};
use crate::snapshot::{EndedPart, FrozenPart, HoldPart, LineParts, OrderPart, PaymentPart};
use crate::view::{OrderState, PaymentState};

/// Whether lines count as held, as sold, or as nothing any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Held,
    Sold,
    No,
}

impl Restorer {
    fn take_lines(
        &mut self,
        event: u32,
        customer: u128,
        lines: &LineParts,
        counts: Counts,
    ) -> Result<LinesAt, RestoreError> {
        ensure((1..=LINES_MAX).contains(&lines.len()), "no lines, or too many")?;
        let version = self.sale.events[event as usize].version;
        let mut stored = smallvec::SmallVec::<[Line; 4]>::new();
        for line in lines {
            let counted = self.counted[event as usize].get_mut(usize::from(line.ticket_type));
            let (held, sold) = some(counted, "a line of no ticket type")?;
            let quantity = u64::from(line.quantity);
            let fits = (1..=QUANTITY_MAX).contains(&u32::from(line.quantity))
                && (0..=PRICE_MAX).contains(&line.unit_price)
                && (1..=version).contains(&line.version);
            ensure(fits, "a line is out of range")?;
            match counts {
                Counts::Held => *held += quantity,
                Counts::Sold => *sold += quantity,
                Counts::No => {}
            }
            if counts != Counts::No {
                let weight = weight(customer, line.ticket_type).wrapping_mul(u128::from(quantity));
                self.tickets = self.tickets.wrapping_sub(weight);
            }
            stored.push(Line {
                unit_price: line.unit_price,
                version: line.version,
                ticket_type: line.ticket_type,
                quantity: line.quantity,
            });
        }
        Ok(self.sale.lines.store(&stored))
    }

    /// The event of a queue, if this waits in it.
    fn event_of(&self, queue: u32, waiting: Waiting) -> Option<u32> {
        let known = queue < self.sale.deadlines.len();
        let queue = known.then(|| self.sale.deadlines.queue(queue))?;
        (queue.waiting == waiting).then_some(queue.event)
    }

    pub(super) fn take_hold(&mut self, part: &HoldPart) -> Result<(), RestoreError> {
        let HoldPart { hold, queue, customer, position, expires_at, extended, .. } = *part;
        let event = some(self.event_of(queue, Waiting::Holds), "a hold in no queue")?;
        ensure((customer as usize) < self.sale.customers.len(), "a hold of no customer")?;
        ensure(self.sale.holds.find(hold.0).is_none(), "a hold is there twice")?;
        ensure(position <= self.sale.position, "a hold is ahead of the state")?;
        let tail = self.sale.deadlines.tail(queue);
        let sorted = tail.is_none_or(|tail| self.sale.holds[tail].expires_at <= expires_at);
        ensure(sorted, "holds are out of order")?;
        let key = self.sale.customers.key(customer);
        let lines = self.take_lines(event, key, &part.lines, Counts::Held)?;
        let mut record = Hold::new(hold, position, expires_at, lines, customer);
        record.extended = extended;
        let slot = self.sale.holds.insert(record);
        self.sale.deadlines.enter(self.sale.holds.slab_mut(), queue, slot);
        Ok(())
    }

    fn check_next_order(&self, position: u64) -> Result<(), RestoreError> {
        let room = (self.sale.orders.len() as u64) < ORDERS_PER_SHARD_MAX;
        ensure(room, "there are too many orders")?;
        ensure(!self.sale.orders.generations().is_empty(), "an order of no generation")?;
        ensure(position <= self.sale.position, "an order is ahead of the state")
    }

    pub(super) fn take_order(&mut self, part: &OrderPart) -> Result<(), RestoreError> {
        let OrderPart { event, position, customer, payment_due, state, queue, .. } = *part;
        self.check_next_order(position)?;
        ensure((event as usize) < self.sale.events.len(), "an order of no event")?;
        let counts = match state {
            OrderState::Cancelled(_) => Counts::No,
            OrderState::AwaitingPayment | OrderState::Confirmed => Counts::Sold,
        };
        let lines = self.take_lines(event, customer, &part.lines, counts)?;
        let total = self.sale.lines.total(lines);
        ensure((total > 0) == payment_due.is_some(), "an order to be paid for nothing")?;
        let number = self.sale.orders.next_number();
        let new = NewOrder { position, customer, payment_due, lines, event, number };
        let mut order = Order::new(&new);
        order.state = state;
        let slot = self.sale.orders.add_restored(order);
        self.take_payments(slot, number, total, part)?;
        let awaiting = state == OrderState::AwaitingPayment;
        ensure(awaiting == queue.is_some(), "an order waits for nothing")?;
        let Some(queue) = queue else { return Ok(()) };
        let of = self.event_of(queue, Waiting::Orders);
        ensure(of == Some(event) && total > 0, "an order in another's queue")?;
        let tail = self.sale.deadlines.tail(queue);
        let due = |slot: u32| self.sale.order_at(slot).payment_due();
        ensure(tail.is_none_or(|tail| due(tail) <= payment_due), "orders are out of order")?;
        self.sale.deadlines.enter(&mut self.sale.orders.hot, queue, slot);
        Ok(())
    }

    fn take_payments(
        &mut self,
        slot: u32,
        number: u32,
        total: i64,
        part: &OrderPart,
    ) -> Result<(), RestoreError> {
        let few = part.payments.len() <= PAYMENTS_PER_ORDER_MAX as usize;
        ensure(few, "too many payments for one order")?;
        let applied = part.payments.iter().filter(|p| p.state == PaymentState::Applied).count();
        let wanted = usize::from(part.state == OrderState::Confirmed && total > 0);
        ensure(applied == wanted, "an order's payments do not fit its state")?;
        for payment in &part.payments {
            let PaymentPart { key, amount, position, refund_position, state } = *payment;
            ensure(amount == total, "a payment of another amount")?;
            let refunded = state == PaymentState::Refunded;
            ensure(refunded == (refund_position > 0), "a refund without a record")?;
            ensure(self.sale.orders.payments.find(key).is_none(), "a payment is there twice")?;
            let mut record = Payment::new(key, number, amount, position, state);
            record.refund_position = refund_position;
            self.sale.orders.add_payment(slot, record);
        }
        Ok(())
    }

    pub(super) fn take_frozen(&mut self, part: &FrozenPart) -> Result<(), RestoreError> {
        let FrozenPart { position, state, payment } = *part;
        self.check_next_order(position)?;
        let settled = match state {
            OrderState::AwaitingPayment => false,
            OrderState::Confirmed => true,
            OrderState::Cancelled(_) => payment.is_none(),
        };
        ensure(settled, "an old order is not settled")?;
        let frozen = Frozen::new(position, state, payment);
        let frozen = some(frozen, "an old order's positions are out of range")?;
        ensure(frozen.payment() == payment, "an old order's payment is out of range")?;
        if let Some((_, reference)) = payment {
            let too_many = self.sale.orders.too_many_alike(reference);
            ensure(!too_many, "too many payments look alike")?;
        }
        self.sale.orders.add_frozen(frozen);
        Ok(())
    }

    pub(super) fn take_ended(&mut self, part: &EndedPart) -> Result<(), RestoreError> {
        let EndedPart { hold, event, ending } = *part;
        let new = self.sale.ended.find(hold.0).is_none() && self.sale.holds.find(hold.0).is_none();
        ensure(new, "an ended hold is there twice, or lives")?;
        ensure(self.sale.ended.len() < ENDED_HOLDS_MAX, "too many ended holds")?;
        ensure((event as usize) < self.sale.events.len(), "an ended hold of no event")?;
        if let Ending::Claimed(number) = ending {
            ensure((number as usize) < self.sale.orders.len(), "a hold claimed as no order")?;
        }
        self.sale.ended.push(Ended::new(hold, event, ending));
        Ok(())
    }
}
