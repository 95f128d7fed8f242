//! Rules of orders and of their money.

use onsale_core::event::{
    CancelReason, OrderPlaced, PaymentOutcome, PaymentRecorded, RefundReason,
};
use onsale_core::limits::{PAID_AHEAD_US, PAYMENTS_PER_ORDER_MAX};
use onsale_core::view::{OrderState, PaymentState};
use onsale_core::{Currency, OrderCode, Time};

use super::EventBook;
use super::finding::{Context, Rule};
use super::lines::Line;
use super::stock::Pile;

/// An order in the books.
pub(super) struct Order {
    pub customer: String,
    pub lines: Vec<Line>,
    pub total: i64,
    pub currency: Currency,
    pub payment_due: Option<Time>,
    pub state: OrderState,
    /// References of its payments.
    pub payments: Vec<String>,
}

impl Order {
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self.state, OrderState::Cancelled(_))
    }
}

/// A payment in the books.
pub(super) struct Payment {
    pub order: String,
    pub amount: i64,
    pub state: PaymentState,
}

impl EventBook {
    pub(super) fn place_order(&mut self, context: &mut Context<'_>, placed: &OrderPlaced) {
        let lines = self.check_lines(context, &placed.lines, placed.total, placed.currency);
        let customer = placed.customer.to_string();
        match placed.hold {
            None => {
                self.check_new_lines(context, &lines);
                self.take(&customer, &lines, Pile::Sold);
                self.check_customer_limits(context, &customer, &lines);
            }
            Some(hold) => {
                if let Some(hold) = self.claim_hold(context, hold) {
                    context.check(Rule::Claim, hold.customer == customer, || {
                        "the order's customer is not the hold's".into()
                    });
                    context.check(Rule::Claim, hold.lines == lines, || {
                        "the order's lines are not the hold's".into()
                    });
                }
                self.take(&customer, &lines, Pile::Sold);
            }
        }
        self.check_stock(context);
        let due = context.at.plus_seconds(self.definition.payment_seconds);
        let due = (placed.total > 0).then_some(due);
        context.check(Rule::Deadline, placed.payment_due == due, || {
            format!("payment is due {:?}, the definition says {due:?}", placed.payment_due)
        });
        let order = Order {
            customer,
            lines,
            total: placed.total,
            currency: placed.currency,
            payment_due: placed.payment_due,
            state: match placed.payment_due {
                Some(_) => OrderState::AwaitingPayment,
                None => OrderState::Confirmed,
            },
            payments: Vec::new(),
        };
        self.orders.insert(placed.order.to_string(), order);
    }

    pub(super) fn record_payment(&mut self, context: &mut Context<'_>, paid: &PaymentRecorded) {
        let code = paid.order.to_string();
        let Some(order) = self.orders.get(&code) else {
            return found_no_order(context, &code);
        };
        let exact = paid.amount == order.total && order.total > 0;
        context.check(Rule::PaymentAmount, exact && paid.currency == order.currency, || {
            let (currency, owed) = (order.currency, order.total);
            format!(
                "{} {:?} were paid for {code}, it is {owed} {currency:?}",
                paid.amount, paid.currency
            )
        });
        let in_range = (0..=context.at.0 + PAID_AHEAD_US).contains(&paid.paid_at.0);
        context.check(Rule::PaymentAmount, in_range, || {
            format!("paid at {} µs, which lies in the future", paid.paid_at.0)
        });
        let follows = self.outcome_of_payment(order);
        context.check(Rule::PaymentOutcome, paid.outcome == follows, || {
            format!("the payment of {code} became {:?}, {follows:?} follows", paid.outcome)
        });
        let several = order.payments.len() < PAYMENTS_PER_ORDER_MAX as usize;
        context.check(Rule::PaymentAmount, several, || format!("{code} has too many payments"));
        self.keep_payment(context, &code, paid);
        if paid.outcome == PaymentOutcome::Reinstated {
            self.reinstate(context, &code);
        }
        let confirms = !matches!(paid.outcome, PaymentOutcome::RefundDue(_));
        if let (true, Some(order)) = (confirms, self.orders.get_mut(&code)) {
            order.state = OrderState::Confirmed;
        }
    }

    fn keep_payment(&mut self, context: &mut Context<'_>, code: &str, paid: &PaymentRecorded) {
        let reference = paid.reference.to_string();
        let state = match paid.outcome {
            PaymentOutcome::Applied | PaymentOutcome::Reinstated => PaymentState::Applied,
            PaymentOutcome::RefundDue(_) => PaymentState::RefundDue,
        };
        let payment = Payment { order: code.to_string(), amount: paid.amount, state };
        let new = self.payments.insert(reference.clone(), payment).is_none();
        context.check(Rule::PaymentReference, new, || {
            format!("the payment {reference} was recorded before")
        });
        if let (true, Some(order)) = (new, self.orders.get_mut(code)) {
            order.payments.push(reference);
        }
    }

    /// A late payment takes the same stock again; prices, windows and limits per order
    /// stay those of then, limits per customer are those of now.
    fn reinstate(&mut self, context: &mut Context<'_>, code: &str) {
        let Some(order) = self.orders.get(code) else { return };
        if !order.is_cancelled() {
            return;
        }
        let (customer, lines) = (order.customer.clone(), order.lines.clone());
        self.take(&customer, &lines, Pile::Sold);
        self.check_customer_limits(context, &customer, &lines);
        self.check_stock(context);
    }

    /// What has to become of a payment for an order as it stands.
    fn outcome_of_payment(&self, order: &Order) -> PaymentOutcome {
        match order.state {
            OrderState::AwaitingPayment => PaymentOutcome::Applied,
            OrderState::Confirmed => PaymentOutcome::RefundDue(RefundReason::AlreadyPaid),
            OrderState::Cancelled(CancelReason::Unpaid) => {
                if self.limit_broken(&order.customer, &order.lines, 1).is_some() {
                    PaymentOutcome::RefundDue(RefundReason::LimitReached)
                } else if !self.is_in_stock(&order.lines) {
                    PaymentOutcome::RefundDue(RefundReason::StockGone)
                } else {
                    PaymentOutcome::Reinstated
                }
            }
            OrderState::Cancelled(_) => PaymentOutcome::RefundDue(RefundReason::Cancelled),
        }
    }

    pub(super) fn refund_payment(
        &mut self,
        context: &mut Context<'_>,
        order: OrderCode,
        reference: &str,
    ) {
        let Some(payment) = self.payments.get_mut(reference) else {
            return context.found(Rule::Refund, || format!("there is no payment {reference}"));
        };
        context.check(Rule::Refund, payment.order == order.as_str(), || {
            format!("the payment {reference} is the order {}'s", payment.order)
        });
        context.check(Rule::Refund, payment.state == PaymentState::RefundDue, || {
            format!("the payment {reference} went back but is {:?}", payment.state)
        });
        payment.state = PaymentState::Refunded;
    }

    pub(super) fn cancel_order(
        &mut self,
        context: &mut Context<'_>,
        code: OrderCode,
        reason: CancelReason,
    ) {
        let Some(order) = self.orders.get_mut(code.as_str()) else {
            return found_no_order(context, code.as_str());
        };
        if order.is_cancelled() {
            return context
                .found(Rule::OrderState, || format!("the order {code} was cancelled before"));
        }
        let allowed =
            order.state == OrderState::AwaitingPayment || reason == CancelReason::Organizer;
        context.check(Rule::OrderState, allowed, || {
            format!("the order {code} was cancelled as {reason:?}, but it is confirmed")
        });
        let due = order.payment_due.is_some_and(|due| context.at >= due);
        context.check(Rule::Deadline, reason != CancelReason::Unpaid || due, || {
            format!("the order {code} was cancelled before its time to pay was over")
        });
        order.state = OrderState::Cancelled(reason);
        let (customer, lines) = (order.customer.clone(), order.lines.clone());
        for reference in &order.payments {
            let payment = self.payments.get_mut(reference);
            if let Some(payment) = payment.filter(|p| p.state == PaymentState::Applied) {
                payment.state = PaymentState::RefundDue;
            }
        }
        self.give_back(&customer, &lines, Pile::Sold);
        self.check_stock(context);
    }
}

fn found_no_order(context: &mut Context<'_>, code: &str) {
    context.found(Rule::OrderState, || format!("there is no order {code} in this event"));
}
