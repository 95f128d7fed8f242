//! Which differences are told, and with which cause.

use super::*;

fn order(code: &str, status: &str) -> Order {
    Order {
        code: code.to_owned(),
        status: Some(status.to_owned()),
        is_new: true,
        total: 2500,
        ..Order::default()
    }
}

fn there(status: &str, total: i64, tickets: &str) -> There {
    There { status: status.to_owned(), total, tickets: tickets.to_owned() }
}

/// `E8` is on its way, `E9` set aside.
fn compare(orders: &[Order], found: Vec<(&str, There)>, is_by_api: bool) -> Vec<String> {
    let orders_there = found.into_iter().map(|(code, there)| (code.to_owned(), there)).collect();
    let platform =
        Platform { subject: "river/concert".into(), orders: orders_there, quotas: Vec::new() };
    let mut compared = Compared::default();
    let aside = [("E9".to_owned(), ("no such type".to_owned(), Vec::new()))].into();
    let way = ["E8".to_owned()].into();
    compare_orders(&mut compared, orders, &platform, &way, is_by_api, &aside);
    let told = |difference: Difference| {
        let Difference { which, engine, platform, cause, .. } = difference;
        format!("{which} {engine}/{platform}: {cause}")
    };
    compared.differences.into_iter().map(told).collect()
}

#[test]
fn what_is_equal_is_not_told() {
    let orders = [order("E1", "paid"), order("E2", "cancelled"), order("E3", "pending")];
    let found = vec![
        ("E1", there("paid", 2500, "")),
        ("E2", there("cancelled", 2500, "")),
        ("E3", there("pending", 2500, "")),
    ];
    assert_eq!(compare(&orders, found, false), [] as [&str; 0]);
    // Deleted there and cancelled here, it is over, whatever was set aside of it.
    assert_eq!(compare(&orders[1..2], Vec::new(), false), [] as [&str; 0]);
    assert_eq!(compare(&orders[2..], Vec::new(), false).len(), 1);
    assert_eq!(compare(&[order("E9", "cancelled")], Vec::new(), false), [] as [&str; 0]);
    // By an API, what was not paid is not there.
    assert_eq!(compare(&orders[1..], Vec::new(), true), [] as [&str; 0]);
    assert_eq!(compare(&orders[..1], Vec::new(), true).len(), 1);
    // What is on its way may be there by now.
    assert_eq!(compare(&[], vec![("E8", there("paid", 2500, ""))], true), [] as [&str; 0]);
}

#[test]
fn each_difference_has_its_cause() {
    let one = |order: Order, found: Option<There>| {
        let code = order.code.clone();
        let found = found.map(|there| (code.as_str(), there)).into_iter().collect();
        let mut told = compare(&[order], found, false);
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    };
    let rows = [
        (order("E1", "paid"), None, "E1 paid/not there: somebody deleted it there"),
        (order("E9", "paid"), None, "E9 paid/not there: it is set aside: no such type"),
        (
            order("E1", "paid"),
            Some(there("cancelled", 2500, "")),
            "E1 paid/cancelled: cancelled in the",
        ),
        (
            order("E1", "cancelled"),
            Some(there("paid", 2500, "")),
            "E1 cancelled/paid: somebody brought",
        ),
        (
            order("E1", "paid"),
            Some(there("paid", 99, "")),
            "E1 total 2500/total 99: somebody changed it",
        ),
        (
            order("E1", "paid"),
            Some(there("paid", 2500, "X")),
            "E1 tickets /tickets X: somebody changed",
        ),
    ];
    for (order, found, expected) in rows {
        let told = one(order, found);
        assert!(told.starts_with(expected), "{told}");
    }
    let extra = compare(&[], vec![("E7", there("paid", 1, ""))], false);
    assert!(extra[0].starts_with("E7 not there/there: the engine's log went back"), "{extra:?}");
}

#[test]
fn an_event_is_over_thirty_days_after_its_start_and_its_sale() {
    let now = "2026-11-24T10:00:00Z".parse().unwrap();
    let event = |starts: &str, closes: &str| serde_json::json!({"definition": {"starts_at": starts, "sale": {"closes_at": closes}}});
    let (old, new) = ("2026-10-25T08:00:00Z", "2026-10-25T10:00:00Z");
    assert!(is_over(&event(old, old), now));
    assert!(is_over(&event(old, old)["definition"], now));
    assert!(is_over(&serde_json::json!({"starts_at": old}), now));
    for known in [event(old, new), event(new, old), event("", ""), Value::Null] {
        assert!(!is_over(&known, now), "{known}");
    }
}

#[test]
fn a_capacity_below_what_is_sold_is_told_of_what_the_engine_has() {
    let told = |capacity: i64, given: i64| {
        let names = ["quota", "engine", "others", "blocked", "counted", "capacity"];
        let values = ["1".into(), 0.into(), 7.into(), given.into(), 7.into(), capacity.into()];
        let columns = names.map(str::to_owned).to_vec().into();
        let row = Row { statement: "test".into(), columns, values: values.to_vec() };
        let platform =
            Platform { subject: "a/b".into(), orders: BTreeMap::new(), quotas: vec![row] };
        let mut compared = Compared::default();
        let given = [("1".to_owned(), given)].into();
        compare_quotas(&mut compared, &[], &platform, &Value::Null, Some(&given), false).unwrap();
        compared.differences
    };
    assert_eq!(told(97, 90), []);
    let found = told(96, 90);
    assert_eq!((found.len(), found[0].of), (1, "quota"));
    assert_eq!(found[0].platform, "capacity 96, 7 sold, 90 blocked");
    assert!(found[0].cause.contains("lowered the capacity"));
    // Of what the platform sells alone it is its own matter.
    assert_eq!(told(5, 0), []);
}
