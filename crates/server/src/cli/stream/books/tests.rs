//! The books of a few records, and of the same with one thing wrong.

use super::*;

/// An event with a quota of three; a hold of two that is bought and paid; one that runs out; an order that is cancelled.
fn records() -> Vec<Value> {
    let lines = |n: u64| json!([{"ticket_type": "seat", "quantity": n, "unit_price": 10}]);
    let total = |amount: u64| json!({"amount": amount, "currency": "EUR"});
    let rows = [
        (
            "event.defined",
            json!({"version": 1, "definition": {"quotas": [{"id": "hall", "capacity": 3}],
            "ticket_types": [{"id": "seat", "quotas": ["hall"]}]}}),
        ),
        ("event.state-set", json!({"version": 2, "state": "open"})),
        ("hold.placed", json!({"hold": "h1", "lines": lines(2)})),
        ("hold.placed", json!({"hold": "h2", "lines": lines(1)})),
        (
            "order.placed",
            json!({"order": "A", "hold": "h1", "state": "awaiting_payment",
            "lines": lines(2), "total": total(20)}),
        ),
        ("hold.expired", json!({"hold": "h2"})),
        (
            "payment.recorded",
            json!({"order": "A", "reference": "r1", "amount": 20, "currency": "EUR",
            "state": "applied", "reinstated": false, "tickets": [{"code": "t1"}, {"code": "t2"}]}),
        ),
        (
            "order.placed",
            json!({"order": "B", "state": "confirmed", "lines": lines(1),
            "total": total(0), "tickets": [{"code": "t3"}]}),
        ),
        ("order.cancelled", json!({"order": "B", "reason": "organizer"})),
    ];
    let record = |(at, (kind, data)): (usize, (&str, Value))| {
        json!({"id": format!("log/0/{}", at + 2), "type": format!("onsale.{kind}.v1"),
            "subject": "river/concert", "shard": 0, "position": at + 2, "data": data})
    };
    let first =
        json!({"id": "log/0/1", "type": "onsale.shard.noted.v1", "shard": 0, "position": 1});
    std::iter::once(first).chain(rows.into_iter().enumerate().map(record)).collect()
}

fn report(records: &[Value]) -> Value {
    let mut books = Books::default();
    records.iter().for_each(|record| books.take(record.to_string().as_bytes()));
    books.report()
}

#[test]
fn what_is_right_adds_up() {
    let mut records = records();
    // One that came twice counts once.
    records.insert(5, records[4].clone());
    let report = report(&records);
    assert_eq!(report["ok"], true, "{report}");
    assert_eq!((&report["records"], &report["doubles"]), (&json!(10), &json!(1)));
    let holds = json!({"placed": 2, "claimed": 1, "released": 0, "expired": 1, "live": 0});
    assert_eq!(report["holds"], holds);
    let orders = json!({"confirmed": 1, "awaiting_payment": 0, "cancelled_unpaid": 0,
        "cancelled_customer": 0, "cancelled_organizer": 1, "tickets": 2});
    assert_eq!(report["orders"], orders);
    assert_eq!(report["payments"], json!({"applied": 1, "refund_due": 0, "refunded": 0}));
    let quota = json!({"id": "hall", "capacity": 3, "allotment": 3, "free": 1, "held": 0,
        "sold": 2, "oversold": 0});
    let event = json!({"organizer": "river", "event": "concert", "shard": 0, "version": 2,
        "quotas": [quota]});
    assert_eq!(report["events"], json!([event]));
}

#[test]
fn what_is_wrong_is_found() {
    type Spoil = fn(&mut Vec<Value>);
    let rows: [(Spoil, &str); 9] = [
        (|r| drop(r.remove(2)), "log/0/3 is not there, and maybe more"),
        (|r| drop(r.remove(0)), "log/0/1 is not there, and maybe more"),
        (|r| r.swap(2, 3), "log/0/3 of river/concert comes after position 4"),
        (
            |r| r[4]["data"]["lines"][0]["quantity"] = 2.into(),
            "more is held and sold of river/concert's hall",
        ),
        (|r| r[5]["data"]["hold"] = "h9".into(), "the hold is not live"),
        (|r| r[7]["data"]["amount"] = 19.into(), "order A costs 20 \"EUR\""),
        (|r| r[8]["data"]["tickets"][0]["code"] = "t1".into(), "ticket t1 was there before"),
        (|r| r[8]["data"]["tickets"] = json!([]), "order B has 0 tickets for 1"),
        (|r| r[9]["data"]["order"] = "C".into(), "there is no such order"),
    ];
    for (spoil, expected) in rows {
        let mut records = records();
        spoil(&mut records);
        let report = report(&records);
        assert_eq!(report["ok"], false, "{expected}");
        assert!(report["findings"][0].as_str().unwrap().contains(expected), "{report}");
    }
    assert_eq!(report(&[json!("text")])["findings"][0], "a record whose id is \"\"");
}
