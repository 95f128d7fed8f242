//! Payments, refunds and the end of orders.

use onsale_core::catalogue::Currency;
use onsale_core::code::OrderCode;
use onsale_core::command::HoldId;
use onsale_core::event::{
    CancelReason, Fact, Lines, PaymentOutcome, PaymentRecorded, Provider, RefundReason,
};
use onsale_core::limits::PAYMENTS_PER_ORDER_MAX;
use onsale_core::refusal::Refusal;
use onsale_core::text::Reference;
use onsale_core::time::Time;
use onsale_core::view::{OrderState, PaymentState};

use super::{EventModel, OrderModel, PaymentModel, Step, World};

/// How far a provider's clock may be ahead of ours, in seconds.
const CLOCK_SKEW_SECONDS: u32 = 300;

impl EventModel {
    pub(super) fn record_payment(
        &mut self,
        world: &World,
        code: OrderCode,
        reference: Reference,
        amount: i64,
        currency: Currency,
        paid_at: Option<Time>,
    ) -> Result<Step, Refusal> {
        let order = self.order(code).ok_or(Refusal::UnknownOrder)?;
        if order.total == 0 {
            return Err(Refusal::NothingToPay);
        }
        if amount != order.total {
            return Err(Refusal::PaymentAmount { expected: order.total });
        }
        if currency != self.definition.currency {
            return Err(Refusal::PaymentCurrency { expected: self.definition.currency });
        }
        let paid_at = paid_at.unwrap_or(world.now);
        if paid_at < Time(0) || paid_at > world.now.plus_seconds(CLOCK_SKEW_SECONDS) {
            return Err(Refusal::PaidAt);
        }
        match self.payment(reference) {
            Some(payment) if payment.order == code => return Ok(Step::Repeated(payment.position)),
            Some(payment) => return Err(Refusal::ReferenceUsed { order: payment.order }),
            None => {}
        }
        let payments = self.payments.iter().filter(|p| p.order == code).count();
        if payments >= PAYMENTS_PER_ORDER_MAX as usize {
            return Err(Refusal::TooManyPayments);
        }
        let (outcome, expired) = self.outcome_of_payment(order, world.now);
        let mut facts = self.expire(&expired);
        let position = world.next_position + facts.len() as u64;
        self.pay(position, code, reference, amount, outcome);
        let provider = Provider::External;
        facts.push(Fact::PaymentRecorded(PaymentRecorded {
            order: code,
            provider,
            reference,
            amount,
            currency,
            paid_at,
            outcome,
        }));
        Ok(Step::Facts(facts))
    }

    /// What becomes of a payment of the exact amount, and the due holds that must expire
    /// first, so that there is stock for its order.
    fn outcome_of_payment(&self, order: &OrderModel, now: Time) -> (PaymentOutcome, Vec<HoldId>) {
        let due_back = |reason| (PaymentOutcome::RefundDue(reason), Vec::new());
        match order.state {
            OrderState::AwaitingPayment => (PaymentOutcome::Applied, Vec::new()),
            OrderState::Confirmed => due_back(RefundReason::AlreadyPaid),
            OrderState::Cancelled(CancelReason::Unpaid) => {
                if self.check_customer_limits(order.customer, &order.lines).is_err() {
                    return due_back(RefundReason::LimitReached);
                }
                match self.find_stock_again(&order.lines, now) {
                    Some(expired) => (PaymentOutcome::Reinstated, expired),
                    None => due_back(RefundReason::StockGone),
                }
            }
            OrderState::Cancelled(_) => due_back(RefundReason::Cancelled),
        }
    }

    /// Whether all of this is still sold here and free, and which due holds must expire for it.
    fn find_stock_again(&self, lines: &Lines, now: Time) -> Option<Vec<HoldId>> {
        let known = lines.iter().all(|line| self.ticket_type(line.ticket_type).is_some());
        known.then(|| self.find_stock(lines, now).ok()).flatten()
    }

    fn pay(
        &mut self,
        position: u64,
        code: OrderCode,
        reference: Reference,
        amount: i64,
        outcome: PaymentOutcome,
    ) {
        let state = match outcome {
            PaymentOutcome::Applied | PaymentOutcome::Reinstated => PaymentState::Applied,
            PaymentOutcome::RefundDue(_) => PaymentState::RefundDue,
        };
        if state == PaymentState::Applied {
            self.order_mut(code).expect("it was found").state = OrderState::Confirmed;
        }
        let (order, refund_position) = (code, None);
        let payment = PaymentModel { position, refund_position, order, reference, amount, state };
        self.payments.push(payment);
    }

    fn payment(&self, reference: Reference) -> Option<&PaymentModel> {
        self.payments.iter().find(|payment| payment.reference == reference)
    }

    pub(super) fn record_refund(
        &mut self,
        world: &World,
        order: Option<OrderCode>,
        reference: Reference,
    ) -> Result<Step, Refusal> {
        let payment = self
            .payments
            .iter_mut()
            .find(|p| p.reference == reference && order.is_none_or(|code| p.order == code))
            .ok_or(Refusal::UnknownPayment)?;
        match payment.state {
            PaymentState::Applied => Err(Refusal::NotDueBack),
            PaymentState::Refunded => {
                let position = payment.refund_position.expect("it went back");
                Ok(Step::Repeated(position))
            }
            PaymentState::RefundDue => {
                payment.state = PaymentState::Refunded;
                payment.refund_position = Some(world.next_position);
                let order = payment.order;
                Ok(Step::Facts(vec![Fact::PaymentRefunded { order, reference }]))
            }
        }
    }

    pub(super) fn cancel_order(&mut self, code: OrderCode, manage: bool) -> Result<Step, Refusal> {
        let order = self.order(code).ok_or(Refusal::UnknownOrder)?;
        if let Some(reason) = order.cancelled_for() {
            return Err(Refusal::OrderCancelled { reason });
        }
        if order.state == OrderState::Confirmed && !manage {
            return Err(Refusal::NeedsManage);
        }
        let reason = match manage {
            true => CancelReason::Organizer,
            false => CancelReason::Customer,
        };
        Ok(self.cancel(code, reason))
    }

    /// The timer's wish: an order that was not paid in time ends.
    pub(super) fn expire_order(&mut self, world: &World, code: OrderCode) -> Result<Step, Refusal> {
        match self.order(code).is_some_and(|order| order.is_due(world.now)) {
            true => Ok(self.cancel(code, CancelReason::Unpaid)),
            false => Err(Refusal::NotDue),
        }
    }

    fn cancel(&mut self, code: OrderCode, reason: CancelReason) -> Step {
        self.order_mut(code).expect("it was found").state = OrderState::Cancelled(reason);
        for payment in self.payments.iter_mut().filter(|p| p.order == code) {
            if payment.state == PaymentState::Applied {
                payment.state = PaymentState::RefundDue;
            }
        }
        Step::Facts(vec![Fact::OrderCancelled { order: code, reason }])
    }
}
