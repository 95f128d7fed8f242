//! Wrong orders and wrong money.

use onsale_core::event::{CancelReason, PaymentOutcome, RefundReason};
use onsale_core::limits::PAYMENTS_PER_ORDER_MAX;
use onsale_core::{Currency, Fact};

use super::super::history::{KEY, lines};
use super::{Rule, UNPAID, check, one};

#[test]
fn orders() {
    check(&[
        ("a sequence is left out", Rule::Sequence, |h| {
            h.sequence += 1;
            h.order(None, "ann", &one());
        }),
        ("a sequence comes again", Rule::Sequence, |h| {
            h.order(None, "ann", &one());
            h.sequence -= 1;
            h.order(None, "ann", &one());
        }),
        ("the code of another number", Rule::OrderCode, |h| {
            let mut placed = h.ordered(None, "ann", &one());
            placed.order = KEY.order_code(0, 1, 2);
            h.add_order(placed);
        }),
        ("a code comes again", Rule::OrderCode, |h| {
            let first = h.order(None, "ann", &one());
            let mut placed = h.ordered(None, "bob", &one());
            placed.order = first;
            h.add_order(placed);
        }),
        ("a time to pay that the definition does not say", Rule::Deadline, |h| {
            let mut placed = h.ordered(None, "ann", &one());
            placed.payment_due = Some(h.now.plus_seconds(601));
            h.add_order(placed);
        }),
        ("confirmed without a payment", Rule::Deadline, |h| {
            let mut placed = h.ordered(None, "ann", &one());
            placed.payment_due = None;
            h.add_order(placed);
        }),
        ("cancelled without ever being placed", Rule::OrderState, |h| {
            h.cancel(KEY.order_code(0, 1, 1), CancelReason::Organizer);
        }),
        ("cancelled twice", Rule::OrderState, |h| {
            let order = h.order(None, "ann", &one());
            h.cancel(order, CancelReason::Customer);
            h.cancel(order, CancelReason::Organizer);
        }),
        ("cancelled by the customer once confirmed", Rule::OrderState, |h| {
            let order = h.order(None, "ann", &lines(&[("gift", 1, 0)]));
            h.cancel(order, CancelReason::Customer);
        }),
        ("cancelled as unpaid though paid", Rule::OrderState, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
            h.wait(600);
            h.cancel(order, UNPAID);
        }),
        ("cancelled as unpaid before its time", Rule::Deadline, |h| {
            let order = h.order(None, "ann", &one());
            h.wait(599);
            h.cancel(order, UNPAID);
        }),
    ]);
}

#[test]
fn money() {
    check(&[
        ("paid without an order", Rule::OrderState, |h| {
            let order = KEY.order_code(0, 1, 1);
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
        }),
        ("too little", Rule::PaymentAmount, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 99, PaymentOutcome::Applied);
        }),
        ("another currency", Rule::PaymentAmount, |h| {
            let order = h.order(None, "ann", &one());
            let mut paid = h.paid(order, "p1", 100);
            paid.currency = Currency::new("USD").expect("a currency");
            h.add(Fact::PaymentRecorded(paid));
        }),
        ("paid for what costs nothing", Rule::PaymentAmount, |h| {
            let order = h.order(None, "ann", &lines(&[("gift", 1, 0)]));
            h.pay(order, "p1", 0, PaymentOutcome::RefundDue(RefundReason::AlreadyPaid));
        }),
        ("paid in the future", Rule::PaymentAmount, |h| {
            let order = h.order(None, "ann", &one());
            let mut paid = h.paid(order, "p1", 100);
            paid.paid_at = h.now.plus_seconds(301);
            h.add(Fact::PaymentRecorded(paid));
        }),
        ("one payment too many", Rule::PaymentAmount, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p0", 100, PaymentOutcome::Applied);
            for n in 1..=PAYMENTS_PER_ORDER_MAX {
                let again = PaymentOutcome::RefundDue(RefundReason::AlreadyPaid);
                h.pay(order, &format!("p{n}"), 100, again);
            }
        }),
        ("a reference comes again", Rule::PaymentReference, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
            h.pay(order, "p1", 100, PaymentOutcome::RefundDue(RefundReason::AlreadyPaid));
        }),
        ("applied twice", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
            h.pay(order, "p2", 100, PaymentOutcome::Applied);
        }),
        ("due back though awaited", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::RefundDue(RefundReason::Cancelled));
        }),
        ("brought back without stock", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &one());
            h.wait(600);
            h.cancel(order, UNPAID);
            h.hold(1, "bob", &lines(&[("gift", 10, 0)]));
            h.pay(order, "p1", 100, PaymentOutcome::Reinstated);
        }),
        ("brought back beyond a limit", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &lines(&[("seat", 3, 100)]));
            h.wait(600);
            h.cancel(order, UNPAID);
            h.hold(1, "ann", &lines(&[("seat", 3, 100)]));
            h.pay(order, "p1", 300, PaymentOutcome::Reinstated);
        }),
        ("not brought back though there is stock", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &one());
            h.wait(600);
            h.cancel(order, UNPAID);
            h.pay(order, "p1", 100, PaymentOutcome::RefundDue(RefundReason::StockGone));
        }),
        ("brought back though cancelled by the customer", Rule::PaymentOutcome, |h| {
            let order = h.order(None, "ann", &one());
            h.cancel(order, CancelReason::Customer);
            h.pay(order, "p1", 100, PaymentOutcome::Reinstated);
        }),
        ("refunded though applied", Rule::Refund, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
            h.refund(order, "p1");
        }),
        ("refunded twice", Rule::Refund, |h| {
            let order = h.order(None, "ann", &one());
            h.pay(order, "p1", 100, PaymentOutcome::Applied);
            h.cancel(order, CancelReason::Organizer);
            h.refund(order, "p1");
            h.refund(order, "p1");
        }),
        ("refunded without a payment", Rule::Refund, |h| {
            let order = h.order(None, "ann", &one());
            h.refund(order, "p1");
        }),
        ("refunded for another order", Rule::Refund, |h| {
            let ann = h.order(None, "ann", &one());
            let bob = h.order(None, "bob", &one());
            h.pay(ann, "p1", 100, PaymentOutcome::Applied);
            h.cancel(ann, CancelReason::Organizer);
            h.refund(bob, "p1");
        }),
    ]);
}
