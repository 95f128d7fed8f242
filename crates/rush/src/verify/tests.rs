//! What counts as found as it was acknowledged, and what does not.

use super::*;

fn told(code: &str, state: OrderState, tickets: &[&str]) -> Acknowledged {
    Acknowledged {
        code: code.into(),
        state,
        amount: 500,
        currency: "EUR".into(),
        ticket_type: "day".into(),
        quantity: 2,
        tickets: tickets.iter().map(|&t| t.into()).collect(),
    }
}

fn found(json: &str) -> Option<Found> {
    Some(Found::Order(serde_json::from_str(json).unwrap()))
}

fn order(code: &str, state: &str, amount: i64, tickets: &str) -> Option<Found> {
    let tickets: Vec<String> =
        tickets.split_whitespace().map(|t| format!(r#"{{"code":"{t}"}}"#)).collect();
    found(&format!(
        r#"{{"code":"{code}","state":"{state}","total":{{"amount":{amount},"currency":"EUR"}},
            "tickets":[{}]}}"#,
        tickets.join(",")
    ))
}

#[test]
fn one_order() {
    use OrderState::{AwaitingPayment, Confirmed};
    let rows: [(OrderState, &[&str], Option<Found>, &str); 12] = [
        (Confirmed, &["T1", "T2"], order("E1", "confirmed", 500, "T1 T2"), "ok"),
        (Confirmed, &[], order("E1", "confirmed", 500, "T1 T2"), "ok"),
        (AwaitingPayment, &[], order("E1", "awaiting_payment", 500, ""), "ok"),
        (AwaitingPayment, &[], order("E1", "confirmed", 500, "T1 T2"), "ok"),
        (AwaitingPayment, &[], order("E1", "cancelled", 500, ""), "cancelled"),
        (Confirmed, &[], order("E1", "cancelled", 500, ""), "changed"),
        (Confirmed, &[], order("E1", "confirmed", 501, "T1 T2"), "changed"),
        (Confirmed, &[], order("E2", "confirmed", 500, "T1 T2"), "changed"),
        (Confirmed, &[], order("E1", "confirmed", 500, "T1"), "changed"),
        (Confirmed, &["T1", "T3"], order("E1", "confirmed", 500, "T1 T2"), "changed"),
        (Confirmed, &[], Some(Found::Missing), "lost"),
        (Confirmed, &[], Some(Found::Unknown("dead".into())), "unchecked"),
    ];
    for (row, (state, tickets, found, expected)) in rows.into_iter().enumerate() {
        let v = judge(&[told("E1", state, tickets)], vec![found]);
        let is = match () {
            () if v.lost == 1 => "lost",
            () if v.changed == 1 => "changed",
            () if v.unchecked == 1 => "unchecked",
            () if v.cancelled_orders == 1 => "cancelled",
            () => "ok",
        };
        assert_eq!(is, expected, "row {row}: {v:?}");
        assert_eq!(v.is_ok(), matches!(expected, "ok" | "cancelled"), "row {row}");
        assert_eq!(v.problems.is_empty(), v.is_ok(), "row {row}");
    }
}

#[test]
fn codes_given_twice() {
    let state = OrderState::Confirmed;
    let two = |a: &str, b: &str, tickets_a: &str, tickets_b: &str| {
        let told = [told(a, state, &[]), told(b, state, &[])];
        let found =
            vec![order(a, "confirmed", 500, tickets_a), order(b, "confirmed", 500, tickets_b)];
        let v = judge(&told, found);
        (v.duplicate_orders, v.duplicate_tickets, v.tickets)
    };
    assert_eq!(two("E1", "E2", "T1 T2", "T3 T4"), (0, 0, 4));
    assert_eq!(two("E1", "E2", "T1 T2", "T2 T3"), (0, 1, 4));
    assert_eq!(two("E1", "E2", "T1 T1", "T3 T4"), (0, 1, 4));
    assert_eq!(two("E1", "E1", "T1 T2", "T3 T4"), (1, 0, 4));
}
