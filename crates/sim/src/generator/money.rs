//! Payments, refunds, cancellations.

use onsale_core::code::OrderCode;
use onsale_core::command::Action;
use onsale_core::event::CancelReason;
use onsale_core::text::Reference;
use onsale_core::time::Time;
use onsale_core::view::{OrderState, PaymentState};

use super::definitions::currency;
use super::{Generator, SECOND};
use crate::model::{EventModel, Model, OrderModel};

impl Generator {
    pub(super) fn record_payment(&mut self, model: &Model, event: &EventModel) -> Action {
        let order = match self.rng.below(100) {
            0..=69 => self.order(model, event, |o| o.state == OrderState::AwaitingPayment),
            70..=84 => {
                self.order(model, event, |o| o.state == OrderState::Cancelled(CancelReason::Unpaid))
            }
            _ => self.order(model, event, |o| o.total > 0),
        };
        let total = event.order(order).map_or(100, |o| o.total);
        let amount = match self.rng.below(100) {
            0..=95 => total,
            96 => total - 1,
            97 => total + 1,
            98 => -total,
            _ => i64::MAX,
        };
        let currency = match self.rng.percent(98) {
            true => event.definition.currency,
            false => currency("XTS"),
        };
        let (reference, paid_at) = (self.reference(model, event), self.paid_at());
        Action::RecordPayment { order, reference, amount, currency, paid_at }
    }

    fn paid_at(&mut self) -> Option<Time> {
        let now = self.now.0;
        match self.rng.below(100) {
            0..=59 => None,
            60..=79 => Some(Time(now - self.rng.within(0, 600) * SECOND)),
            80..=89 => Some(Time(now)),
            90..=95 => Some(Time(now + 300 * SECOND)),
            96 => Some(Time(now + 300 * SECOND + 1)),
            97 => Some(Time(0)),
            98 => Some(Time(-1)),
            _ => Some(Time(i64::MAX)),
        }
    }

    /// Mostly new; now and then one that the event, or another, has seen.
    fn reference(&mut self, model: &Model, event: &EventModel) -> Reference {
        let others: Vec<Reference> = match self.rng.below(100) {
            0..=9 => event.payments.iter().map(|p| p.reference).collect(),
            10 => model.events.values().flat_map(|e| &e.payments).map(|p| p.reference).collect(),
            _ => Vec::new(),
        };
        match others.is_empty() {
            true => self.new_reference(),
            false => *self.rng.pick(&others),
        }
    }

    pub(super) fn new_reference(&mut self) -> Reference {
        self.references += 1;
        reference(&format!("pay-{}", self.references))
    }

    pub(super) fn record_refund(&mut self, model: &Model, event: &EventModel) -> Action {
        let due: Vec<_> =
            event.payments.iter().filter(|p| p.state == PaymentState::RefundDue).collect();
        let all: Vec<_> = event.payments.iter().collect();
        let payment = match self.rng.below(100) {
            0..=84 if !due.is_empty() => Some(*self.rng.pick(&due)),
            0..=96 if !all.is_empty() => Some(*self.rng.pick(&all)),
            _ => None,
        };
        let reference = payment.map_or(reference("never-paid"), |p| p.reference);
        let order = match self.rng.below(20) {
            0..=9 => None,
            10..=18 => payment.map(|p| p.order),
            _ => Some(self.order(model, event, |_| true)),
        };
        Action::RecordRefund { order, reference }
    }

    pub(super) fn cancel_order(&mut self, model: &Model, event: &EventModel) -> Action {
        let order = match self.rng.percent(85) {
            true => self.order(model, event, |o| !o.is_cancelled()),
            false => self.order(model, event, |_| true),
        };
        Action::CancelOrder { order, manage: self.rng.percent(50) }
    }

    pub(super) fn expire_order(&mut self, model: &Model, event: &EventModel) -> Action {
        Action::ExpireOrder { order: self.order(model, event, |_| true) }
    }

    /// An order of the event that is like this, if there is one; now and then
    /// any, another event's, or a code that nobody has.
    pub(super) fn order(
        &mut self,
        model: &Model,
        event: &EventModel,
        like: impl Fn(&OrderModel) -> bool,
    ) -> OrderCode {
        if self.rng.once_in(70) {
            return self.strange_order(model);
        }
        let mut orders: Vec<&OrderModel> = event.orders.iter().filter(|o| like(o)).collect();
        if orders.is_empty() {
            orders = event.orders.iter().collect();
        }
        match orders.is_empty() {
            true => self.strange_order(model),
            false => self.rng.pick(&orders).code,
        }
    }

    fn strange_order(&mut self, model: &Model) -> OrderCode {
        let orders: Vec<&OrderModel> = model.events.values().flat_map(|e| &e.orders).collect();
        match orders.is_empty() || self.rng.percent(50) {
            true => OrderCode::parse("EAAAABBBB2").expect("the form is right"),
            false => self.rng.pick(&orders).code,
        }
    }
}

fn reference(text: &str) -> Reference {
    Reference::new(text).expect("the form is right")
}
