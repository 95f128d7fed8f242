//! Right histories: nothing is found, and the sums are right.

use onsale_core::event::{CancelReason, PaymentOutcome, RefundReason};
use onsale_core::{EventState, Fact};

use super::super::{HoldTotals, OrderTotals, PaymentTotals, QuotaReport, Report};
use super::history::{History, defined, definition, id, line, lines, started, subject};

fn assert_right(report: &Report) {
    assert!(report.ok, "{:#?}", report.findings);
    assert!(report.findings.is_empty() && report.findings_count == 0);
}

#[test]
fn nothing_at_all_is_right() {
    let report = History { records: vec![], ..History::new() }.audit();
    assert_right(&report);
    assert_eq!((report.records, report.events.len()), (0, 0));
}

#[test]
fn every_way_of_holds_orders_and_payments_is_right_and_summed_up() {
    let mut history = History::new();
    let two = lines(&[("seat", 2, 100)]);
    history.hold(1, "ann", &two);
    history.wait(30);
    history.extend(1);
    history.wait(59);
    let paid = history.order(Some(1), "ann", &two);
    history.pay(paid, "p1", 200, PaymentOutcome::Applied);
    history.pay(paid, "p2", 200, PaymentOutcome::RefundDue(RefundReason::AlreadyPaid));
    history.refund(paid, "p2");
    history.hold(2, "bob", &two);
    history.release(2);
    history.hold(3, "bob", &two);
    history.wait(60);
    history.expire(3);
    history.hold(4, "bob", &lines(&[("seat", 1, 100), ("gift", 1, 0)]));
    history.order(None, "cid", &lines(&[("gift", 1, 0)]));
    history.order(None, "cid", &lines(&[("gift", 1, 250)]));
    let late = history.order(None, "dan", &two);
    history.wait(600);
    history.cancel(late, CancelReason::Unpaid);
    history.pay(late, "p3", 200, PaymentOutcome::Reinstated);
    history.cancel(late, CancelReason::Organizer);
    history.refund(late, "p3");
    history.pay(late, "p4", 200, PaymentOutcome::RefundDue(RefundReason::Cancelled));
    let gone = history.order(None, "eve", &two);
    history.cancel(gone, CancelReason::Customer);
    let report = history.audit();
    assert_right(&report);

    let event = &report.events[0];
    assert_eq!((event.organizer, event.event, event.version), (id("river"), id("night"), 2));
    assert_eq!((event.state, event.shard), (EventState::Open, 0));
    let hall = QuotaReport {
        id: id("hall"),
        capacity: Some(10),
        allotment: Some(10),
        free: Some(4),
        held: 2,
        sold: 4,
        oversold: 0,
    };
    let unlimited = QuotaReport {
        id: id("unlimited"),
        capacity: None,
        allotment: None,
        free: None,
        held: 1,
        sold: 2,
        oversold: 0,
    };
    assert_eq!(event.quotas, [hall, unlimited]);
    let holds = HoldTotals { placed: 4, claimed: 1, released: 1, expired: 1, live: 1 };
    assert_eq!((event.holds, report.holds), (holds, holds));
    let orders = OrderTotals {
        awaiting_payment: 1,
        confirmed: 2,
        cancelled_unpaid: 0,
        cancelled_customer: 1,
        cancelled_organizer: 1,
        tickets: 3,
    };
    assert_eq!((event.orders, report.orders), (orders, orders));
    let counts = PaymentTotals { applied: 1, refund_due: 1, refunded: 2, ..Default::default() };
    assert_eq!(report.payments, counts);
    let amounts = PaymentTotals {
        applied_amount: 200,
        refund_due_amount: 200,
        refunded_amount: 400,
        ..counts
    };
    assert_eq!(event.payments, amounts);
    assert_eq!(report.records, history.records.len() as u64);
    assert_eq!(report.shards[0].last_position, report.records);
}

#[test]
fn late_payments_are_due_back_where_stock_or_limits_forbid() {
    let mut history = History::new();
    let four = lines(&[("seat", 4, 100)]);
    let ann = history.order(None, "ann", &four);
    let bob = history.order(None, "bob", &four);
    history.wait(600);
    history.cancel(ann, CancelReason::Unpaid);
    history.cancel(bob, CancelReason::Unpaid);
    history.hold(1, "ann", &lines(&[("seat", 2, 100)]));
    history.pay(ann, "p1", 400, PaymentOutcome::RefundDue(RefundReason::LimitReached));
    history.hold(2, "cid", &lines(&[("gift", 5, 0)]));
    history.pay(bob, "p2", 400, PaymentOutcome::RefundDue(RefundReason::StockGone));
    assert_right(&history.audit());
}

#[test]
fn a_paused_or_closed_event_lets_claims_and_payments_go_on() {
    let mut history = History::new();
    let one = lines(&[("seat", 1, 100)]);
    history.hold(1, "ann", &one);
    history.add(Fact::StateSet { version: 3, state: EventState::Closed });
    let order = history.order(Some(1), "ann", &one);
    history.pay(order, "p1", 100, PaymentOutcome::Applied);
    assert_right(&history.audit());
}

#[test]
fn lines_keep_the_price_and_limits_of_their_version() {
    let mut history = History::new();
    let four = lines(&[("seat", 4, 100)]);
    history.hold(1, "ann", &four);
    let mut dearer = definition();
    dearer.ticket_types[0].price = 150;
    dearer.limits[0].per_order = Some(1);
    dearer.limits[0].per_customer = Some(1);
    dearer.quotas[0].capacity = Some(4);
    history.add(Fact::EventDefined(defined(3, dearer)));
    history.order(Some(1), "ann", &four);
    let report = history.audit();
    assert_right(&report);
    assert_eq!(report.events[0].quotas[0].free, Some(0));
}

#[test]
fn a_new_mapping_of_types_to_quotas_is_counted_anew() {
    let mut history = History::new();
    history.hold(1, "ann", &lines(&[("seat", 3, 100)]));
    let mut wider = definition();
    wider.ticket_types[0].quotas.push(id("unlimited"));
    history.add(Fact::EventDefined(defined(3, wider)));
    let mut one = line("seat", 1, 100);
    one.version = 3;
    history.order(None, "bob", &[one]);
    let report = history.audit();
    assert_right(&report);
    let unlimited = report.events[0].quotas[1];
    assert_eq!((unlimited.held, unlimited.sold), (3, 1));
}

#[test]
fn shards_and_generations_each_have_numbers_of_their_own() {
    let mut history = History { records: vec![], ..History::new() };
    for shard in 0..2 {
        history.shard = shard;
        history.sequence = 0;
        history.generation = 1;
        history.subject = subject(&format!("night-{shard}"));
        history.start(started(shard, 2));
        let mut definition = definition();
        definition.sale_group = id(&format!("group-{shard}"));
        history.add(Fact::GroupPlaced { sale_group: definition.sale_group });
        history.add(Fact::EventDefined(defined(1, definition)));
        history.add(Fact::StateSet { version: 2, state: EventState::Open });
        history.order(None, "ann", &lines(&[("seat", 1, 100)]));
        history.generation = 2;
        history.push(None, None, Fact::GenerationStarted { generation: 2 });
        history.order(None, "ann", &lines(&[("seat", 1, 100)]));
    }
    let report = history.audit();
    assert_right(&report);
    assert_eq!(report.shards.iter().map(|shard| shard.generation).collect::<Vec<_>>(), [2, 2]);
    // Nor does it matter in which order the shards come.
    history.records.sort_by_key(|(shard, position, _)| (*position, *shard));
    assert_right(&history.audit());
}

#[test]
fn a_command_may_come_again_after_its_window() {
    let mut history = History::new();
    let placed = history.held(1, "ann", &lines(&[("gift", 1, 0)]));
    history.add_chosen(9, Fact::HoldPlaced(placed));
    history.wait(24 * 3_600);
    history.expire(1);
    let placed = history.held(2, "ann", &lines(&[("gift", 1, 0)]));
    history.add_chosen(9, Fact::HoldPlaced(placed));
    assert_right(&history.audit());
}
