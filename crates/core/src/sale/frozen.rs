//! Old orders that are settled shrink to what [`Frozen`] keeps; what they say stands in
//! their records, and they come back in full when something needs them.
//!
//! What the state adds up over all orders (its hash, and the sums that `check` compares)
//! is added up for the frozen ones as they freeze and taken off again as they thaw.

use onsale_planted::{Bug, is};

use super::apply::{ApplyError, ensure, some, stored_lines};
use super::knowing::Needs;
use super::orders::{Frozen, NewOrder, Order, Payment, Place};
use super::{Sale, Unanswered};
use crate::event::{Event, Fact, OrderPlaced, PaymentRecorded};
use crate::slab::NONE;
use crate::table::Keyed as _;
use crate::view::{OrderState, PaymentState};

/// Orders that are looked at after each event, whether they can be frozen: two for one, so
/// that a smaller limit is reached in time.
const LOOKS_PER_EVENT: usize = 2;

/// Sums over the frozen orders.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FrozenSums {
    /// Their part of the state's hash.
    pub hash: u128,
    /// Tickets of those that are not cancelled, weighed by [`weight`].
    pub customers: u128,
}

/// What one ticket of a customer counts in a sum over all: sums that are equal are, but
/// for chance, of the same tickets.
pub(crate) fn weight(customer: u128, ticket_type: u16) -> u128 {
    let low = customer as u64 ^ u64::from(ticket_type + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let high = (customer >> 64) as u64 ^ 0xD1B5_4A32_D192_ED03;
    let product = u128::from(low) * u128::from(high);
    product ^ product.rotate_left(41).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

impl Needs {
    /// Succeeds where nothing is needed.
    pub(super) fn of(frozen: impl Iterator<Item = Frozen>) -> Result<(), Needs> {
        let mut positions = smallvec::SmallVec::<[u64; 4]>::new();
        frozen.for_each(|frozen| positions.extend(frozen.positions()));
        positions.sort_unstable();
        positions.dedup();
        match positions.is_empty() {
            true => Ok(()),
            false => Err(Needs { positions }),
        }
    }
}

impl Sale {
    /// The slot of the payment with a key, if there is one.
    ///
    /// # Errors
    /// It may be that of an old order, whose records say so.
    pub(super) fn payment_slot(&self, key: u128) -> Result<Option<u32>, Needs> {
        match self.orders.payments.find(key) {
            Some(slot) => Ok(Some(slot)),
            None if is(Bug::FrozenPaymentForgotten) => Ok(None),
            None => Needs::of(self.orders.maybe_paid_by(key)).map(|()| None),
        }
    }

    /// Shrinks what has become old and is settled, a little at a time.
    pub(super) fn freeze_passed(&mut self) {
        for _ in 0..LOOKS_PER_EVENT {
            let Some(number) = self.orders.next_passed() else { return };
            if let Place::Hot(slot) = self.orders.place(number) {
                self.freeze(slot);
            }
        }
    }

    fn freeze(&mut self, slot: u32) {
        let order = *self.order_at(slot);
        let Some((frozen, payment)) = self.frozen(&order) else { return };
        self.sum_frozen(&order, slot, u128::wrapping_add, |sum, tickets| sum + tickets);
        if let Some(payment) = payment {
            self.orders.payments.remove(payment);
        }
        self.lines.free(order.lines);
        self.orders.freeze(slot, frozen);
    }

    /// What would stay of an order, and its payment's slot; none where it is not settled
    /// or more must be known of it than has room.
    fn frozen(&self, order: &Order) -> Option<(Frozen, Option<u32>)> {
        if order.state == OrderState::AwaitingPayment || order.payments != order.payments_last {
            return None;
        }
        let slot = (order.payments != NONE).then_some(order.payments);
        let payment = match slot.map(|slot| self.orders.payments[slot]) {
            Some(payment) if payment.state != PaymentState::Applied => return None,
            Some(payment) => Some((payment.position, self.orders.reference_bits(payment.key()))),
            None => None,
        };
        let position = order.position - u64::from(is(Bug::FrozenOrderForgotten));
        Some((Frozen::new(position, order.state, payment)?, slot))
    }

    /// Adds an order to the sums over frozen ones, or takes it off.
    fn sum_frozen(
        &mut self,
        order: &Order,
        slot: u32,
        sum: fn(u128, u128) -> u128,
        count: fn(u32, u32) -> u32,
    ) {
        self.frozen.hash = sum(self.frozen.hash, self.order_digest(slot));
        if order.is_cancelled() {
            return;
        }
        let types = &mut self.events[order.event as usize].shape.types;
        for line in self.lines.iter(order.lines) {
            let quantity = u32::from(line.quantity);
            let frozen = &mut types[line.ticket_type as usize].frozen;
            *frozen = count(*frozen, quantity);
            let tickets = weight(order.customer.get(), line.ticket_type);
            let tickets = tickets.wrapping_mul(u128::from(quantity));
            self.frozen.customers = sum(self.frozen.customers, tickets);
        }
    }

    /// Puts an order back in full from its records; one that is in full already stays.
    pub(super) fn thaw_order(
        &mut self,
        position: u64,
        event: &Event,
        placed: &OrderPlaced,
        records: &[(u64, Event)],
    ) -> Result<(), ApplyError> {
        let known = (1..=self.orders.len() as u64).contains(&placed.sequence);
        ensure(known, "no order has this number")?;
        let number = (placed.sequence - 1) as u32;
        let Place::Frozen(frozen) = self.orders.place(number) else { return Ok(()) };
        let its = frozen.position() == position && self.code_of(number) == placed.order;
        ensure(its, "not the record of the order")?;
        let payment = match frozen.payment() {
            Some((position, _)) => {
                let record = records.iter().find(|(at, _)| *at == position);
                let (_, record) = some(record, "the record of the payment is missing")?;
                let Fact::PaymentRecorded(paid) = &record.fact else {
                    return ensure(false, "not the record of a payment");
                };
                ensure(paid.order == placed.order, "the payment is another order's")?;
                Some((position, paid))
            }
            None => None,
        };
        self.put_back(number, &frozen, event, placed, payment)
    }

    fn put_back(
        &mut self,
        number: u32,
        frozen: &Frozen,
        event: &Event,
        placed: &OrderPlaced,
        payment: Option<(u64, &PaymentRecorded)>,
    ) -> Result<(), ApplyError> {
        let subject = some(event.subject, "the event has no subject")?;
        let event = self.slot_of(&subject.organizer, &subject.event);
        let event = some(event, "there is no such event")?;
        let entry = &self.events[event as usize];
        let lines = stored_lines(entry, &placed.lines, placed.total, placed.currency)?;
        let customer = self.customer_key(entry.digest, &placed.customer);
        let key = payment.map(|(_, paid)| self.payment_key(entry.digest, &paid.reference));
        let same = key.map(|key| self.orders.reference_bits(key))
            == frozen.payment().map(|(_, bits)| bits);
        ensure(same, "the payment has another reference")?;
        let mut order = Order::new(&NewOrder {
            position: frozen.position(),
            customer,
            payment_due: placed.payment_due,
            lines: self.lines.store(&lines),
            event,
            number,
        });
        order.state = frozen.state;
        let slot = self.orders.thaw(order, frozen);
        if let (Some((position, paid)), Some(key)) = (payment, key)
            && !is(Bug::ThawedOrderUnpaid)
        {
            let state = PaymentState::Applied;
            let payment = Payment::new(key, number, paid.amount, position, state);
            self.orders.add_payment(slot, payment);
        }
        self.sum_frozen(&order, slot, u128::wrapping_sub, |sum, tickets| sum - tickets);
        Ok(())
    }

    /// An order in full, by its number.
    pub(super) fn hot_order(&self, number: u32) -> Result<u32, Unanswered> {
        match self.orders.place(number) {
            Place::Hot(slot) => Ok(slot),
            Place::Frozen(frozen) => Err(Needs { positions: frozen.positions().collect() }.into()),
        }
    }
}
