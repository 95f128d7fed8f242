//! Commands on orders and their payments.

use super::Request;
use super::cart::{Cart, DueHolds, Wants, expiries, new_line};
use crate::catalogue::Currency;
use crate::code::OrderCode;
use crate::command::{HoldId, Items};
use crate::event::{
    CancelReason, Fact, Lines, OrderPlaced, PaymentOutcome, PaymentRecorded, Provider, RefundReason,
};
use crate::limits::{ORDERS_PER_SHARD_MAX, PAID_AHEAD_US, PAYMENTS_PER_ORDER_MAX};
use crate::refusal::Refusal;
use crate::sale::lines::LinesAt;
use crate::sale::orders::Order;
use crate::sale::{Decision, EventEntry, Sale, Unanswered};
use crate::text::{CustomerId, Reference};
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

/// A payment as it was told.
pub(super) struct Paid {
    pub order: OrderCode,
    pub reference: Reference,
    pub amount: i64,
    pub currency: Currency,
    pub paid_at: Option<Time>,
}

/// What an order is made of.
struct Purchase {
    hold: Option<HoldId>,
    customer: CustomerId,
    lines: Lines,
    total: i64,
    due: DueHolds,
}

impl Sale {
    pub(super) fn decide_claim_hold(
        &self,
        request: Request<'_>,
        hold: HoldId,
        customer: &CustomerId,
    ) -> Result<Decision, Refusal> {
        let slot = self.live_hold_slot(request.slot, hold, request.now)?;
        let held = &self.holds[slot];
        if self.customers.key(held.customer) != request.keys.customer {
            return Err(Refusal::HoldOfAnother);
        }
        let lines = self.recorded_lines(request.event, held.lines);
        let (total, due) = (self.lines.total(held.lines), DueHolds::new());
        let purchase = Purchase { hold: Some(hold), customer: *customer, lines, total, due };
        self.place_order(request, purchase)
    }

    fn recorded_lines(&self, event: &EventEntry, lines: LinesAt) -> Lines {
        let recorded = self.lines.iter(lines).map(|line| {
            let id = event.shape.types[line.ticket_type as usize].id;
            new_line(id, u32::from(line.quantity), line.unit_price, line.version)
        });
        recorded.collect()
    }

    pub(super) fn decide_buy(
        &self,
        request: Request<'_>,
        customer: &CustomerId,
        items: &Items,
    ) -> Result<Decision, Refusal> {
        let mut cart = Cart::default();
        let due = self.check_cart(request, items, &mut cart)?;
        let (lines, total) = (cart.lines, cart.total);
        let purchase = Purchase { hold: None, customer: *customer, lines, total, due };
        self.place_order(request, purchase)
    }

    fn place_order(&self, request: Request<'_>, purchase: Purchase) -> Result<Decision, Refusal> {
        let sequence = u64::from(self.orders.next_number()) + 1;
        if sequence > ORDERS_PER_SHARD_MAX {
            return Err(Refusal::ShardFull);
        }
        let definition = &request.event.definition;
        let due_at = request.now.plus_seconds(definition.payment_seconds);
        let (shard, generation) = (self.shard.shard, self.shard.generation);
        let placed = OrderPlaced {
            order: self.shard.key.order_code(shard, generation, sequence),
            sequence,
            hold: purchase.hold,
            customer: purchase.customer,
            lines: purchase.lines,
            total: purchase.total,
            currency: definition.currency,
            payment_due: (purchase.total > 0).then_some(due_at),
        };
        Ok(request.change(expiries(purchase.due), Fact::OrderPlaced(placed)))
    }

    pub(super) fn decide_record_payment(
        &self,
        request: Request<'_>,
        paid: &Paid,
    ) -> Result<Decision, Unanswered> {
        let slot = self.order_slot(request.slot, paid.order)?;
        let order = self.order_at(slot);
        let expected = self.lines.total(order.lines);
        if expected == 0 {
            return Err(Refusal::NothingToPay.into());
        }
        if paid.amount != expected {
            return Err(Refusal::PaymentAmount { expected }.into());
        }
        let currency = request.event.definition.currency;
        if paid.currency != currency {
            return Err(Refusal::PaymentCurrency { expected: currency }.into());
        }
        let paid_at = paid.paid_at.unwrap_or(request.now);
        if paid_at.0 < 0 || paid_at.0 > request.now.0 + PAID_AHEAD_US {
            return Err(Refusal::PaidAt.into());
        }
        let key = self.payment_key(request.event.digest, &paid.reference);
        if let Some(known) = self.payment_slot(key)? {
            let known = &self.orders.payments[known];
            return match known.order == order.number {
                true => Ok(Decision::Repeated { position: known.position }),
                false => Err(Refusal::ReferenceUsed { order: self.code_of(known.order) }.into()),
            };
        }
        if self.orders.payments_of(order).count() >= PAYMENTS_PER_ORDER_MAX as usize {
            return Err(Refusal::TooManyPayments.into());
        }
        let (outcome, due) = self.payment_outcome(request, order);
        let recorded = PaymentRecorded {
            order: paid.order,
            provider: Provider::External,
            reference: paid.reference,
            amount: paid.amount,
            currency,
            paid_at,
            outcome,
        };
        Ok(request.change(expiries(due), Fact::PaymentRecorded(recorded)))
    }

    /// What becomes of a payment that comes in for an order as it stands, and the due
    /// holds that must expire for it.
    fn payment_outcome(&self, request: Request<'_>, order: &Order) -> (PaymentOutcome, DueHolds) {
        let outcome = match order.state {
            OrderState::AwaitingPayment => PaymentOutcome::Applied,
            OrderState::Confirmed => PaymentOutcome::RefundDue(RefundReason::AlreadyPaid),
            OrderState::Cancelled(CancelReason::Unpaid) => {
                return match self.check_late_payment(request, order) {
                    Ok(due) => (PaymentOutcome::Reinstated, due),
                    Err(reason) => (PaymentOutcome::RefundDue(reason), DueHolds::new()),
                };
            }
            OrderState::Cancelled(_) => PaymentOutcome::RefundDue(RefundReason::Cancelled),
        };
        (outcome, DueHolds::new())
    }

    /// Whether an order that was cancelled as unpaid can have its stock again; gives the due
    /// holds that must expire for it.
    fn check_late_payment(
        &self,
        request: Request<'_>,
        order: &Order,
    ) -> Result<DueHolds, RefundReason> {
        let event = request.event;
        let lines = self.lines.iter(order.lines);
        let wants: Wants = lines.map(|l| (l.ticket_type, u32::from(l.quantity))).collect();
        let defined = |want: &&(u16, u32)| event.shape.types[usize::from(want.0)].defined.is_some();
        let on_sale: Wants = wants.iter().filter(defined).copied().collect();
        self.check_customer_limits(event, order.customer.get(), &on_sale)
            .map_err(|_| RefundReason::LimitReached)?;
        match on_sale.len() == wants.len() {
            true => {
                self.check_stock(event, &wants, request.now).map_err(|_| RefundReason::StockGone)
            }
            false => Err(RefundReason::StockGone),
        }
    }

    pub(super) fn decide_record_refund(
        &self,
        request: Request<'_>,
        order: Option<OrderCode>,
        reference: &Reference,
    ) -> Result<Decision, Unanswered> {
        let key = self.payment_key(request.event.digest, reference);
        let slot = self.payment_slot(key)?.ok_or(Refusal::UnknownPayment)?;
        let payment = &self.orders.payments[slot];
        if order.is_some_and(|order| order != self.code_of(payment.order)) {
            return Err(Refusal::UnknownPayment.into());
        }
        match payment.state {
            PaymentState::Applied => Err(Refusal::NotDueBack.into()),
            PaymentState::Refunded => Ok(Decision::Repeated { position: payment.refund_position }),
            PaymentState::RefundDue => {
                let order = self.code_of(payment.order);
                Ok(request.fact(Fact::PaymentRefunded { order, reference: *reference })?)
            }
        }
    }

    pub(super) fn decide_cancel_order(
        &self,
        request: Request<'_>,
        order: OrderCode,
        manage: bool,
    ) -> Result<Decision, Unanswered> {
        let slot = self.order_slot(request.slot, order)?;
        let reason = match (self.order_at(slot).state, manage) {
            (OrderState::Cancelled(reason), _) => {
                return Err(Refusal::OrderCancelled { reason }.into());
            }
            (OrderState::Confirmed, false) => return Err(Refusal::NeedsManage.into()),
            (_, true) => CancelReason::Organizer,
            (OrderState::AwaitingPayment, false) => CancelReason::Customer,
        };
        Ok(request.fact(Fact::OrderCancelled { order, reason })?)
    }

    pub(super) fn decide_expire_order(
        &self,
        request: Request<'_>,
        order: OrderCode,
    ) -> Result<Decision, Refusal> {
        let slot = self.order_slot(request.slot, order).map_err(|_| Refusal::NotDue)?;
        let known = self.order_at(slot);
        let awaiting = known.state == OrderState::AwaitingPayment;
        match awaiting && known.payment_due().is_some_and(|due| due <= request.now) {
            true => request.timed(Fact::OrderCancelled { order, reason: CancelReason::Unpaid }),
            false => Err(Refusal::NotDue),
        }
    }
}
