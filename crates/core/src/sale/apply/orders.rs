//! Events of orders and payments.

use onsale_planted::{Bug, is};

use super::{ApplyError, Context, StoredLines, ensure, ensure_free, some, stored_lines};
use crate::code::OrderCode;
use crate::command::HoldId;
use crate::event::{CancelReason, OrderPlaced, PaymentOutcome, PaymentRecorded, RefundReason};
use crate::limits::{ORDERS_PER_SHARD_MAX, PAYMENTS_PER_ORDER_MAX};
use crate::sale::deadlines::Waiting;
use crate::sale::event_state::Place;
use crate::sale::holds::Ending;
use crate::sale::lines::{Line, LinesAt};
use crate::sale::orders::{NewOrder, Order, Payment};
use crate::sale::{Sale, Unanswered};
use crate::text::Reference;
use crate::view::{OrderState, PaymentState};

impl Sale {
    pub(super) fn apply_order_placed(
        &mut self,
        context: Context,
        placed: &OrderPlaced,
    ) -> Result<(), ApplyError> {
        let event = &self.events[context.event as usize];
        let lines = stored_lines(event, &placed.lines, placed.total, placed.currency)?;
        let sequence = u64::from(self.orders.next_number()) + 1;
        ensure(placed.sequence == sequence, "not the next order's number")?;
        ensure(placed.sequence <= ORDERS_PER_SHARD_MAX, "the shard is full")?;
        let (shard, generation) = (self.shard.shard, self.shard.generation);
        let code = self.shard.key.order_code(shard, generation, placed.sequence);
        ensure(placed.order == code, "not the code of this order's number")?;
        let to_pay = placed.total > 0;
        ensure(placed.payment_due.is_some() == to_pay, "free, yet to be paid, or the reverse")?;
        let in_future = placed.payment_due.is_none_or(|due| due > context.at);
        ensure(in_future, "a new order is overdue already")?;
        let customer = context.customer;
        debug_assert_eq!(customer, self.customer_key(event.digest, &placed.customer));
        let lines = match placed.hold {
            Some(hold) => self.claim(context, hold, customer, &lines)?,
            None => {
                ensure_free(event, &lines)?;
                self.take_for_order(context, customer, lines)
            }
        };
        let order = Order::new(&NewOrder {
            position: context.position,
            customer,
            payment_due: placed.payment_due,
            lines,
            event: context.event,
            number: self.orders.next_number(),
        });
        let slot = self.orders.add(order, generation);
        if let Some(due) = placed.payment_due {
            let known = &mut self.events[context.event as usize].order_queues;
            let duration_us = due.0 - context.at.0;
            let queue =
                self.deadlines.queue_for(context.event, Waiting::Orders, duration_us, known);
            self.deadlines.enter(&mut self.orders.hot, queue, slot);
        }
        Ok(())
    }

    /// Ends a hold as the next order, which takes its lines over.
    fn claim(
        &mut self,
        context: Context,
        hold: HoldId,
        customer: u128,
        lines: &[Line],
    ) -> Result<LinesAt, ApplyError> {
        let slot = self.live_hold(context, hold)?;
        let hold = &self.holds[slot];
        let same = self.lines.iter(hold.lines).eq(lines.iter().copied());
        ensure(same, "the order's lines are not the hold's")?;
        let same = self.customers.key(hold.customer) == customer;
        ensure(same, "the order's customer is not the hold's")?;
        let number = self.orders.next_number();
        let lines = self.end_hold(context, slot, Ending::Claimed(number));
        self.shift_lines(context.event, lines, Place::Held, Place::Sold);
        Ok(lines)
    }

    /// Takes free stock for an order that had no hold.
    fn take_for_order(&mut self, context: Context, customer: u128, lines: StoredLines) -> LinesAt {
        self.events[context.event as usize].used = true;
        let lines = self.lines.store(&lines);
        self.take_stock(context.event, customer, lines);
        lines
    }

    fn take_stock(&mut self, event: u32, customer: u128, lines: LinesAt) {
        self.shift_lines(event, lines, Place::Free, Place::Sold);
        for line in self.lines.iter(lines) {
            self.customers.add(customer, line.ticket_type, u32::from(line.quantity));
        }
    }

    fn shift_lines(&mut self, event: u32, lines: LinesAt, from: Place, to: Place) {
        let shape = &mut self.events[event as usize].shape;
        for line in self.lines.iter(lines) {
            shape.shift(line.ticket_type, from, to, u32::from(line.quantity));
        }
    }

    pub(super) fn apply_payment_recorded(
        &mut self,
        context: Context,
        recorded: &PaymentRecorded,
    ) -> Result<(), ApplyError> {
        let slot = self.known_order(context, recorded.order)?;
        let order = *self.order_at(slot);
        let event = &self.events[context.event as usize];
        let total = self.lines.total(order.lines);
        ensure(recorded.amount == total && total > 0, "not the order's total")?;
        ensure(recorded.currency == event.definition.currency, "not the event's currency")?;
        let key = self.payment_key(event.digest, &recorded.reference);
        ensure(self.payment_slot(key)?.is_none(), "the reference was used before")?;
        let payments = self.orders.payments_of(&order).count();
        ensure(payments < PAYMENTS_PER_ORDER_MAX as usize, "too many payments for one order")?;
        let (state, unpaid) = (order.state, OrderState::Cancelled(CancelReason::Unpaid));
        let payment_state = match recorded.outcome {
            PaymentOutcome::Applied => {
                ensure(state == OrderState::AwaitingPayment, "no payment is awaited")?;
                self.deadlines.leave(&mut self.orders.hot, slot);
                PaymentState::Applied
            }
            PaymentOutcome::Reinstated => {
                ensure(state == unpaid, "the order was not cancelled as unpaid")?;
                let lines: StoredLines = self.lines.iter(order.lines).collect();
                ensure_free(event, &lines)?;
                self.take_stock(context.event, order.customer.get(), order.lines);
                if is(Bug::ReinstatedTwice) {
                    self.take_stock(context.event, order.customer.get(), order.lines);
                }
                PaymentState::Applied
            }
            PaymentOutcome::RefundDue(reason) => {
                let fits = match reason {
                    RefundReason::AlreadyPaid => state == OrderState::Confirmed,
                    RefundReason::StockGone | RefundReason::LimitReached => state == unpaid,
                    RefundReason::Cancelled => order.is_cancelled() && state != unpaid,
                };
                ensure(fits, "the reason for the refund is not the order's state")?;
                PaymentState::RefundDue
            }
        };
        if payment_state == PaymentState::Applied {
            self.orders.hot[slot].state = OrderState::Confirmed;
        }
        let (amount, position) = (recorded.amount, context.position);
        let payment = Payment::new(key, order.number, amount, position, payment_state);
        self.orders.add_payment(slot, payment);
        self.orders.linger(order.number);
        Ok(())
    }

    pub(super) fn apply_payment_refunded(
        &mut self,
        context: Context,
        order: OrderCode,
        reference: &Reference,
    ) -> Result<(), ApplyError> {
        let order = self.known_order(context, order)?;
        let number = self.order_at(order).number;
        let digest = self.events[context.event as usize].digest;
        let key = self.payment_key(digest, reference);
        let slot = some(self.payment_slot(key)?, "there is no such payment")?;
        let payment = &mut self.orders.payments[slot];
        ensure(payment.order == number, "the payment is another order's")?;
        ensure(payment.state == PaymentState::RefundDue, "the payment is not due back")?;
        (payment.state, payment.refund_position) = (PaymentState::Refunded, context.position);
        Ok(())
    }

    pub(super) fn apply_order_cancelled(
        &mut self,
        context: Context,
        order: OrderCode,
        reason: CancelReason,
    ) -> Result<(), ApplyError> {
        let slot = self.known_order(context, order)?;
        let order = *self.order_at(slot);
        ensure(!order.is_cancelled(), "the order was cancelled before")?;
        let awaiting = order.state == OrderState::AwaitingPayment;
        if reason == CancelReason::Unpaid {
            let due = awaiting && order.payment_due().is_some_and(|due| due <= context.at);
            ensure(due, "the order's time to pay is not over")?;
        }
        ensure(awaiting || reason == CancelReason::Organizer, "the order is confirmed")?;
        let customer = self.customers.find(order.customer.get());
        let customer = some(customer, "the order's customer is unknown")?;

        if awaiting {
            self.deadlines.leave(&mut self.orders.hot, slot);
        }
        if let Some(payment) = self.orders.applied(&order).filter(|_| !is(Bug::RefundForgotten)) {
            self.orders.payments[payment].state = PaymentState::RefundDue;
        }
        if !is(Bug::CancelledStockKept) {
            self.shift_lines(context.event, order.lines, Place::Sold, Place::Free);
        }
        for line in self.lines.iter(order.lines) {
            self.customers.take(customer, line.ticket_type, u32::from(line.quantity));
        }
        self.orders.hot[slot].state = OrderState::Cancelled(reason);
        self.orders.linger(order.number);
        Ok(())
    }

    fn known_order(&self, context: Context, order: OrderCode) -> Result<u32, ApplyError> {
        match self.order_slot(context.event, order) {
            Ok(slot) => Ok(slot),
            Err(Unanswered::Needs(needs)) => Err(needs.into()),
            Err(Unanswered::Refused(_)) => {
                ensure(false, "there is no such order").map(|()| unreachable!("it fails"))
            }
        }
    }
}
