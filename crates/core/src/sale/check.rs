//! Recomputes every count from the holds and orders themselves. Takes time and room
//! in proportion to all there is: for audits, simulations and tests.

use std::collections::BTreeMap;

use super::deadlines::{Timed, Waiting};
use super::frozen::weight;
use super::lines::LinesAt;
use super::orders::{Order, Place};
use super::{EventEntry, Sale};
use crate::slab::NONE;
use crate::table::Keyed;
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

/// What holds and orders add up to.
#[derive(Default)]
struct Sums {
    /// By event and ticket type: held, sold.
    types: BTreeMap<(u32, u16), (u64, u64)>,
    /// By customer and ticket type.
    customers: BTreeMap<(u128, u16), u64>,
    further_lines: usize,
    payments: usize,
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Sale {
    /// Checks every invariant of the state: per quota `free + held + sold = allotment`
    /// with counts that holds and orders bear out, customers' counts, queues of
    /// deadlines, and that every payment is a confirmed order's, due back, or paid back.
    ///
    /// # Errors
    /// Says which one is broken, and where.
    pub fn check(&self) -> Result<(), String> {
        let sums = self.sum_up()?;
        for (slot, event) in self.events.iter().enumerate() {
            let name = format!("event {}/{}", event.organizer, event.id);
            check_event(slot as u32, event, &sums).map_err(|what| format!("{name}: {what}"))?;
            let found = self.event_slot(event.digest) == Some(slot as u32);
            ensure(found, || format!("{name} is not found by its digest"))?;
        }
        self.check_customers(&sums)?;
        self.check_queues()?;
        ensure(sums.further_lines == self.lines.len(), || {
            format!("{} lines are chained, {} stored", sums.further_lines, self.lines.len())
        })?;
        ensure(sums.payments == self.orders.payments_len(), || {
            format!("{} payments of orders, {} stored", sums.payments, self.orders.payments_len())
        })
    }

    fn sum_up(&self) -> Result<Sums, String> {
        let mut sums = Sums::default();
        for slot in self.holds.slots() {
            let hold = &self.holds[slot];
            let found = self.holds.find(hold.key()) == Some(slot);
            ensure(found, || format!("hold {:x} is not found by its id", hold.key()))?;
            let ended = self.ended.find(hold.key()).is_some();
            ensure(!ended, || format!("hold {:x} lives and has ended", hold.key()))?;
            let customer = self.customers.key(hold.customer);
            self.add(&mut sums, self.event_of_hold(hold), customer, hold.lines, true);
        }
        for number in 0..self.orders.next_number() {
            let slot = match self.orders.place(number) {
                Place::Hot(slot) => slot,
                Place::Frozen(frozen) => {
                    sums.payments += frozen.payment().iter().count();
                    continue;
                }
            };
            let order = self.order_at(slot);
            ensure(order.number == number, || format!("order {number} is another one"))?;
            if order.is_cancelled() {
                sums.further_lines += self.lines.iter(order.lines).count() - 1;
            } else {
                self.add(&mut sums, order.event, order.customer.get(), order.lines, false);
            }
            let name = || format!("order {}", self.code_of(number));
            sums.payments +=
                self.check_money(order).map_err(|what| format!("{}: {what}", name()))?;
            let found = self.order_slot(order.event, self.code_of(number)) == Ok(slot);
            ensure(found, || format!("{} is not found by its code", name()))?;
        }
        Ok(sums)
    }

    fn add(&self, sums: &mut Sums, event: u32, customer: u128, lines: LinesAt, held: bool) {
        for line in self.lines.iter(lines) {
            let quantity = u64::from(line.quantity);
            let (in_holds, in_orders) = sums.types.entry((event, line.ticket_type)).or_default();
            *if held { in_holds } else { in_orders } += quantity;
            *sums.customers.entry((customer, line.ticket_type)).or_default() += quantity;
        }
        sums.further_lines += self.lines.iter(lines).count() - 1;
    }

    /// Checks an order's payments; gives how many there are.
    fn check_money(&self, order: &Order) -> Result<usize, String> {
        let total = self.lines.total(order.lines);
        ensure((total == 0) == order.payment_due().is_none(), || {
            format!("its total is {total}, its payment due {:?}", order.payment_due())
        })?;
        let (mut payments, mut applied) = (0, 0);
        for payment in self.orders.payments_of(order) {
            let payment = &self.orders.payments[payment];
            payments += 1;
            applied += usize::from(payment.state == PaymentState::Applied);
            let fits = payment.order == order.number && payment.amount == total;
            ensure(fits, || format!("its payment at {} is not its own", payment.position))?;
            let refunded = payment.state == PaymentState::Refunded;
            ensure(refunded == (payment.refund_position > 0), || {
                format!("its payment at {} has gone back and has not", payment.position)
            })?;
        }
        let wanted = usize::from(order.state == OrderState::Confirmed && total > 0);
        ensure(applied == wanted, || {
            format!("it is {:?} with {applied} payments applied", order.state)
        })?;
        Ok(payments)
    }

    fn check_customers(&self, sums: &Sums) -> Result<(), String> {
        let (mut counts, mut tickets) = (0, 0u128);
        for key in self.customers.keys() {
            for (ticket_type, count) in self.customers.counts(key) {
                let sum = sums.customers.get(&(key, ticket_type)).copied();
                counts += usize::from(sum.is_some());
                let rest = u64::from(count).checked_sub(sum.unwrap_or(0));
                ensure(rest.is_some() && count > 0, || {
                    format!("customer {key:x} has {sum:?} of type {ticket_type}, counted {count}")
                })?;
                let rest = u128::from(rest.unwrap_or(0));
                tickets = tickets.wrapping_add(weight(key, ticket_type).wrapping_mul(rest));
            }
        }
        ensure(counts == sums.customers.len(), || {
            format!("{} counts of customers, {counts} kept", sums.customers.len())
        })?;
        // What is left is all in frozen orders.
        ensure(tickets == self.frozen.customers, || {
            "customers have tickets that are in no order".to_owned()
        })
    }

    fn check_queues(&self) -> Result<(), String> {
        let (mut holds, mut orders) = (0, 0);
        for queue in 0..self.deadlines.len() {
            match self.deadlines.queue(queue).waiting {
                Waiting::Holds => holds += self.check_queue(queue, |slot| &self.holds[slot])?,
                Waiting::Orders => orders += self.check_queue(queue, |slot| self.order_at(slot))?,
            }
        }
        let awaiting = |number: &u32| match self.orders.place(*number) {
            Place::Hot(slot) => self.order_at(slot).state == OrderState::AwaitingPayment,
            Place::Frozen(_) => false,
        };
        let awaited = (0..self.orders.next_number()).filter(awaiting).count();
        ensure(holds == self.holds.len() && orders == awaited, || {
            let live = self.holds.len();
            format!("{holds} of {live} holds and {orders} of {awaited} orders wait in a queue")
        })
    }

    /// Checks one queue; gives how many records wait in it.
    fn check_queue<'a, T: Timed + 'a>(
        &self,
        queue: u32,
        get: impl Fn(u32) -> &'a T + Copy + 'a,
    ) -> Result<usize, String> {
        let (mut count, mut before, mut head) = (0, None, None);
        for slot in self.deadlines.records(queue, get) {
            let record = get(slot);
            let links = record.links();
            let linked = links.queue == queue && links.previous == before.unwrap_or(NONE);
            ensure(linked, || format!("queue {queue} is badly linked at {slot}"))?;
            let sorted = before.is_none_or(|b| get(b).deadline() <= record.deadline());
            ensure(sorted, || format!("queue {queue} is not sorted at {slot}"))?;
            head = head.or(Some(record.deadline()));
            before = Some(slot);
            count += 1;
        }
        let head: Option<Time> = head;
        self.deadlines.check(queue, before, head)?;
        Ok(count)
    }
}

fn check_event(slot: u32, event: &EventEntry, sums: &Sums) -> Result<(), String> {
    let mut quotas = vec![(0, 0); event.shape.quotas.len()];
    for (number, ticket_type) in event.shape.types.iter().enumerate() {
        let (held, sold) = sums.types.get(&(slot, number as u16)).copied().unwrap_or_default();
        let sold = sold + u64::from(ticket_type.frozen);
        let counted = (u64::from(ticket_type.held), u64::from(ticket_type.sold));
        ensure(counted == (held, sold), || {
            format!("{} has {held} held and {sold} sold, counted {counted:?}", ticket_type.id)
        })?;
        for quota in &ticket_type.quotas {
            let (in_holds, in_orders) = &mut quotas[*quota as usize];
            *in_holds += held;
            *in_orders += sold;
        }
    }
    for (quota, (held, sold)) in event.shape.quotas.iter().zip(quotas) {
        let counted = (u64::from(quota.held), u64::from(quota.sold));
        ensure(counted == (held, sold), || {
            format!("quota {} has {held} held and {sold} sold, counted {counted:?}", quota.id)
        })?;
        ensure(held + sold <= u64::from(quota.allotment()), || {
            format!("quota {} of {} has {held} held and {sold} sold", quota.id, quota.allotment())
        })?;
    }
    Ok(())
}
