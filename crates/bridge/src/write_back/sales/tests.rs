//! What becomes of an order's records.

use serde_json::json;

use super::*;

fn record(position: u64, order: &str, kind: &str, data: Value) -> OrderRecord {
    let mut data = data;
    data["order"] = order.into();
    OrderRecord {
        position,
        shard: 0,
        order: order.into(),
        subject: "river/concert".into(),
        time: "2027-01-01T00:00:00.000Z".into(),
        kind: format!("onsale.{kind}.v1"),
        data,
    }
}

fn placed(position: u64, order: &str) -> OrderRecord {
    let data = json!({
        "state": "awaiting_payment", "customer": "c-1", "total": {"amount": 5000, "currency": "EUR"},
        "lines": [{"ticket_type": "7", "quantity": 2, "unit_price": 2500, "version": 1}],
        "payment_due": "2027-01-01T00:30:00Z",
    });
    record(position, order, "order.placed", data)
}

fn paid(position: u64, order: &str, reinstated: bool) -> OrderRecord {
    let data = json!({
        "provider": "external", "reference": "r-1", "amount": 5000, "currency": "EUR",
        "paid_at": "2027-01-01T00:01:00.123456Z", "state": "applied", "reinstated": reinstated,
        "tickets": [{"code": "A", "ticket_type": "7"}, {"code": "B", "ticket_type": "7"}],
    });
    record(position, order, "payment.recorded", data)
}

fn cancelled(position: u64, order: &str) -> OrderRecord {
    record(position, order, "order.cancelled", json!({"reason": "unpaid"}))
}

#[test]
fn an_order_is_told_once_whatever_happened() {
    let records = [placed(1, "E1"), placed(2, "E2"), paid(3, "E1", false), cancelled(4, "E2")];
    let (orders, odd) = fold(&records);
    assert_eq!(odd, []);
    let [one, two] = orders.as_slice() else { panic!("{orders:?}") };
    assert_eq!((one.code.as_str(), one.status.as_deref()), ("E1", Some("paid")));
    assert_eq!((one.organizer.as_str(), one.event.as_str()), ("river", "concert"));
    assert_eq!(one.paid_at.as_deref(), Some("2027-01-01T00:01:00.123Z"));
    assert_eq!(one.tickets[1].unit_price, Some(2500));
    assert_eq!(one.payments.len(), 1);
    assert_eq!((two.status.as_deref(), two.is_new), (Some("cancelled"), true));
    assert_eq!(two.expires_at.as_deref(), Some("2027-01-01T00:30:00.000Z"));
}

#[test]
fn a_late_payment_brings_an_order_back() {
    let (orders, _) = fold(&[cancelled(7, "E1"), paid(8, "E1", true)]);
    let one = &orders[0];
    assert_eq!((one.status.as_deref(), one.is_new, one.reinstated), (Some("paid"), false, true));
    assert_eq!((&one.cancelled_at, &one.cancel_reason), (&None, &None));
}

#[test]
fn money_that_goes_back_changes_no_order() {
    let due = json!({
        "provider": "external", "reference": "r", "amount": 1, "paid_at": "2027-01-01T00:00:00Z",
        "state": "refund_due",
    });
    let back = json!({"reference": "r"});
    let records =
        [record(1, "E1", "payment.recorded", due), record(2, "E1", "payment.refunded", back)];
    let (orders, _) = fold(&records);
    assert_eq!(orders[0].status, None);
    assert_eq!(
        (orders[0].payments.len(), orders[0].refunds.as_slice()),
        (1, &["r".to_owned()][..])
    );
}

#[test]
fn what_is_of_another_form_is_told() {
    let (_, odd) = fold(&[record(5, "E1", "order.placed", json!({"lines": 7}))]);
    assert!(
        odd[0].0 == "E1" && odd[0].1.starts_with("position 5: onsale.order.placed.v1: "),
        "{odd:?}"
    );
}
