//! Wrong sales and wrong holds.

use onsale_core::event::{CancelReason, Component, ComponentKind, Stock};
use onsale_core::{Currency, EventState, Fact, HoldId, Time};

use super::super::history::{History, defined, definition, id, line, lines, subject};
use super::{Rule, check, one};

#[test]
fn what_is_sold() {
    check(&[
        ("sold while paused", Rule::State, |h| {
            h.add(Fact::StateSet { version: 3, state: EventState::Paused });
            let mut now = line("seat", 1, 100);
            now.version = 3;
            h.hold(1, "ann", &[now]);
        }),
        ("sold before the event's sale opens", Rule::Window, |h| {
            let mut later = definition();
            later.sale.opens_at = Some(Time(h.now.0 + 1));
            h.add(Fact::EventDefined(defined(3, later)));
            let mut now = line("seat", 1, 100);
            now.version = 3;
            h.hold(1, "ann", &[now]);
        }),
        ("sold when the type's sale closes", Rule::Window, |h| {
            let mut over = definition();
            over.ticket_types[0].sale.closes_at = Some(h.now);
            h.add(Fact::EventDefined(defined(3, over)));
            let mut now = line("seat", 1, 100);
            now.version = 3;
            h.order(None, "ann", &[now]);
        }),
        ("a ticket type that is not there", Rule::TicketType, |h| {
            h.hold(1, "ann", &lines(&[("box", 1, 100)]));
        }),
        ("a line of an old version", Rule::Versions, |h| {
            h.add(Fact::StateSet { version: 3, state: EventState::Open });
            h.hold(1, "ann", &one());
        }),
        ("no tickets", Rule::Quantity, |h| h.hold(1, "ann", &lines(&[("seat", 0, 100)]))),
        ("no lines", Rule::Quantity, |h| h.hold(1, "ann", &[])),
        ("too many tickets", Rule::Quantity, |h| {
            h.hold(1, "ann", &lines(&[("gift", 1_001, 0)]));
        }),
        ("too many tickets over two lines", Rule::Quantity, |h| {
            h.hold(1, "ann", &lines(&[("gift", 600, 0), ("gift", 401, 0)]));
        }),
        ("above the price", Rule::Price, |h| h.hold(1, "ann", &lines(&[("seat", 1, 101)]))),
        ("below the lowest price", Rule::Price, |h| h.hold(1, "ann", &lines(&[("gift", 1, -1)]))),
        ("a total that is not the sum", Rule::Total, |h| {
            let mut placed = h.held(1, "ann", &one());
            placed.total += 1;
            h.add(Fact::HoldPlaced(placed));
        }),
        ("another currency", Rule::Total, |h| {
            let mut placed = h.ordered(None, "ann", &one());
            placed.currency = Currency::new("USD").expect("a currency");
            h.add_order(placed);
        }),
        ("beyond the limit per order, over two lines", Rule::OrderLimit, |h| {
            h.hold(1, "ann", &lines(&[("seat", 2, 100), ("seat", 3, 100)]));
        }),
        ("beyond the limit per customer, with a hold", Rule::CustomerLimit, |h| {
            h.order(None, "ann", &lines(&[("seat", 3, 100)]));
            h.hold(1, "ann", &lines(&[("seat", 3, 100)]));
        }),
        ("beyond the limit per customer, in one step", Rule::CustomerLimit, |h| {
            h.hold(1, "ann", &lines(&[("seat", 3, 100)]));
            h.order(None, "ann", &lines(&[("seat", 3, 100)]));
        }),
        ("oversold", Rule::Stock, |h| {
            h.hold(1, "ann", &lines(&[("gift", 6, 0)]));
            h.order(None, "bob", &lines(&[("gift", 5, 0)]));
        }),
        ("seats, which nothing makes yet", Rule::Unsupported, |h| {
            let mut places = line("seat", 1, 100);
            places.stock = Stock::Places(vec![id("A-1")]);
            h.hold(1, "ann", &[places]);
        }),
        ("fees, which nothing makes yet", Rule::Unsupported, |h| {
            let mut fee = line("seat", 1, 100);
            fee.components.push(Component { kind: ComponentKind::Fee, id: id("f"), amount: 1 });
            h.hold(1, "ann", &[fee]);
        }),
        ("a line of another event", Rule::Unsupported, |h| {
            let mut other = line("seat", 1, 100);
            other.event = Some(Box::new(id("day")));
            h.hold(1, "ann", &[other]);
        }),
    ]);
}

#[test]
fn oversold_tickets_are_counted() {
    let mut history = History::new();
    history.order(None, "ann", &lines(&[("gift", 6, 0)]));
    let second = history.order(None, "bob", &lines(&[("gift", 7, 0)]));
    history.cancel(second, CancelReason::Organizer);
    let report = history.audit();
    assert_eq!((report.findings_count, report.events[0].quotas[0].oversold), (1, 3));
}

#[test]
fn holds() {
    check(&[
        ("an id comes twice", Rule::HoldOnce, |h| {
            h.hold(1, "ann", &one());
            h.release(1);
            h.hold(1, "ann", &one());
        }),
        ("claimed twice", Rule::HoldOnce, |h| {
            h.hold(1, "ann", &one());
            h.order(Some(1), "ann", &one());
            h.order(Some(1), "ann", &one());
        }),
        ("released after a claim", Rule::HoldOnce, |h| {
            h.hold(1, "ann", &one());
            h.order(Some(1), "ann", &one());
            h.release(1);
        }),
        ("expired after a release", Rule::HoldOnce, |h| {
            h.hold(1, "ann", &one());
            h.release(1);
            h.wait(60);
            h.expire(1);
        }),
        ("claimed without ever being placed", Rule::HoldOnce, |h| {
            h.order(Some(1), "ann", &one());
        }),
        ("extended without ever being placed", Rule::HoldOnce, |h| h.extend(1)),
        ("a hold of another event", Rule::HoldOnce, |h| {
            h.hold(1, "ann", &one());
            h.subject = subject("day");
            h.add(Fact::EventDefined(defined(1, definition())));
            h.release(1);
        }),
        ("claimed at its deadline", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.wait(60);
            h.order(Some(1), "ann", &one());
        }),
        ("released at its deadline", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.wait(60);
            h.release(1);
        }),
        ("extended at its deadline", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.wait(60);
            h.extend(1);
        }),
        ("expired before its deadline", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.wait(60);
            h.now.0 -= 1;
            h.expire(1);
        }),
        ("expired before its new deadline", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.wait(30);
            h.extend(1);
            h.wait(30);
            h.expire(1);
        }),
        ("extended twice", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            h.extend(1);
            h.extend(1);
        }),
        ("extended while closed", Rule::State, |h| {
            h.hold(1, "ann", &one());
            h.add(Fact::StateSet { version: 3, state: EventState::Closed });
            h.extend(1);
        }),
        ("a deadline that the definition does not say", Rule::Deadline, |h| {
            let mut placed = h.held(1, "ann", &one());
            placed.expires_at.0 += 1;
            h.add(Fact::HoldPlaced(placed));
        }),
        ("a new deadline that the definition does not say", Rule::Deadline, |h| {
            h.hold(1, "ann", &one());
            let expires_at = h.now.plus_seconds(61);
            h.add(Fact::HoldExtended { hold: HoldId(1), expires_at });
        }),
        ("claimed by another customer", Rule::Claim, |h| {
            h.hold(1, "ann", &one());
            h.order(Some(1), "bob", &one());
        }),
        ("claimed with other lines", Rule::Claim, |h| {
            h.hold(1, "ann", &one());
            h.order(Some(1), "ann", &lines(&[("seat", 2, 100)]));
        }),
    ]);
}
