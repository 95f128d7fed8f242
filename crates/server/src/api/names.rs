//! The words that the API has for states and reasons.

use onsale_core::EventState;
use onsale_core::event::{CancelReason, PaymentOutcome, Provider, RefundReason};
use onsale_core::view::{OrderState, PaymentState};

/// State of an event.
#[must_use]
pub fn event_state(state: EventState) -> &'static str {
    match state {
        EventState::Open => "open",
        EventState::Paused => "paused",
        EventState::Closed => "closed",
    }
}

/// State of an order.
#[must_use]
pub fn order_state(state: OrderState) -> &'static str {
    match state {
        OrderState::AwaitingPayment => "awaiting_payment",
        OrderState::Confirmed => "confirmed",
        OrderState::Cancelled(_) => "cancelled",
    }
}

/// Why an order was cancelled.
#[must_use]
pub fn cancel_reason(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Unpaid => "unpaid",
        CancelReason::Customer => "customer",
        CancelReason::Organizer => "organizer",
    }
}

/// State of a payment.
#[must_use]
pub fn payment_state(state: PaymentState) -> &'static str {
    match state {
        PaymentState::Applied => "applied",
        PaymentState::RefundDue => "refund_due",
        PaymentState::Refunded => "refunded",
    }
}

/// State of a payment right after it was recorded.
#[must_use]
pub fn payment_outcome(outcome: PaymentOutcome) -> &'static str {
    match outcome {
        PaymentOutcome::Applied | PaymentOutcome::Reinstated => "applied",
        PaymentOutcome::RefundDue(_) => "refund_due",
    }
}

/// Why a payment must go back.
#[must_use]
pub fn refund_reason(outcome: PaymentOutcome) -> Option<&'static str> {
    match outcome {
        PaymentOutcome::Applied | PaymentOutcome::Reinstated => None,
        PaymentOutcome::RefundDue(RefundReason::AlreadyPaid) => Some("already_paid"),
        PaymentOutcome::RefundDue(RefundReason::StockGone) => Some("stock_gone"),
        PaymentOutcome::RefundDue(RefundReason::LimitReached) => Some("limit_reached"),
        PaymentOutcome::RefundDue(RefundReason::Cancelled) => Some("cancelled"),
    }
}

/// Who took the money.
#[must_use]
pub fn provider(provider: Provider) -> &'static str {
    match provider {
        Provider::External => "external",
    }
}
