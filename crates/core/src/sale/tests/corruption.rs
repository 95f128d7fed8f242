//! The checker and the hash must see what is wrong: each row breaks one thing.

use super::stage::{Stage, check_open};
use crate::sale::Sale;
use crate::sale::event_state::Place;
use crate::time::Time;
use crate::view::PaymentState;

fn stage() -> Stage {
    check_open(
        "0 hold h1 ann std*2 gift*1 => ok
           hold h2 ann std*1 => ok
           buy bob std*1 => ok
           pay o1 r1 500 => ok
           pay o1 r2 500 => ok
           refund r2 => ok
           buy bob std*1 gift*1 => ok",
    )
}

type Break = fn(&mut Sale);

#[test]
fn whatever_is_broken_is_found() {
    let breaks: [(&str, Break); 13] = [
        ("a quota's count", |sale| sale.events[0].shape.quotas[0].held += 1),
        ("a type's count", |sale| sale.events[0].shape.types[0].sold -= 1),
        ("stock that nobody holds", |sale| {
            sale.events[0].shape.shift(0, Place::Free, Place::Held, 1);
        }),
        ("an allotment", |sale| sale.events[0].shape.quotas[0].stock.allotment = Some(5)),
        ("a customer's count", |sale| {
            let key = sale.customers.keys().next().unwrap();
            sale.customers.add(key, 0, 1);
        }),
        ("an unknown customer", |sale| {
            sale.customers.add(1, 0, 1);
        }),
        ("a deadline", |sale| sale.holds[0].expires_at = Time(900_000_000)),
        ("a queue's link", |sale| sale.holds[1].links.previous = 7),
        ("a line", |sale| {
            let slot = sale.holds.slots().next().unwrap();
            sale.holds[slot].lines.first.quantity += 1;
        }),
        ("a line that no hold has", |sale| {
            let lines = sale.holds[1].lines;
            let line = lines.first;
            sale.lines.store(&[line, line]);
        }),
        ("a payment", |sale| sale.orders.payments[0].state = PaymentState::RefundDue),
        ("a refund", |sale| sale.orders.payments[1].refund_position = 0),
        ("an order's state", |sale| {
            sale.orders.hot[1].state = crate::view::OrderState::Confirmed;
        }),
    ];
    stage().sale.check().unwrap();
    for (what, breaks) in breaks {
        let mut sale = stage().sale;
        breaks(&mut sale);
        assert!(sale.check().is_err(), "{what}");
    }
}

#[test]
fn whatever_differs_shows_in_the_hash() {
    let base = "0 hold h1 ann std*1 => ok\n buy ann std*1 => ok\n pay o1 r1 500 => ok";
    let same = check_open(base).sale.hash();
    assert_eq!(check_open(base).sale.hash(), same);
    for other in [
        base.replace("h1", "h2"),
        base.replace("hold h1 ann", "hold h1 bob"),
        base.replace("buy ann", "buy bob"),
        base.replace("r1", "r2"),
        base.replace("hold h1 ann std*1", "hold h1 ann gift*1"),
        base.replace("0 hold", "1 hold"),
        format!("{base}\n close => ok"),
        format!("{base}\n 1 extend h1 => ok"),
        format!("{base}\n define name=New if=any => ok"),
        base.replace("hold h1 ann std*1", "hold h1 ann std*1 id=k1"),
    ] {
        assert_ne!(check_open(&other).sale.hash(), same, "{other}");
    }
}

#[test]
fn each_field_plays_a_part_in_the_hash() {
    let changes: [(&str, Break); 14] = [
        ("an extension", |sale| sale.holds[0].extended = true),
        ("a deadline", |sale| sale.holds[0].expires_at.0 += 1),
        ("a hold's position", |sale| sale.holds[0].position += 1),
        ("a line's version", |sale| sale.holds[0].lines.first.version += 1),
        ("a line's price", |sale| sale.holds[0].lines.first.unit_price += 1),
        ("an order's number", |sale| sale.orders.hot[0].number += 1),
        ("an order's position", |sale| sale.orders.hot[0].position += 1),
        ("a payment's state", |sale| sale.orders.payments[0].state = PaymentState::RefundDue),
        ("a refund's position", |sale| sale.orders.payments[0].refund_position = 9),
        ("an epoch", |sale| sale.events[0].shape.quotas[0].stock.epoch += 1),
        ("a version", |sale| sale.events[0].version += 1),
        ("whether the currency is fixed", |sale| sale.events[0].used = false),
        ("the generation", |sale| sale.shard.generation += 1),
        ("the time", |sale| sale.time.0 += 1),
    ];
    let same = stage().sale.hash();
    for (what, change) in changes {
        let mut sale = stage().sale;
        change(&mut sale);
        assert_ne!(sale.hash(), same, "{what}");
    }
}
