//! Holds, orders, payments: what a front end does on a good day, and twice.

use serde_json::{Value, json};

use crate::support::{Site, cart, concert, open, path, used};

fn is_ticket_code(code: &Value) -> bool {
    let code = code.as_str().unwrap();
    code.len() == 16 && code.bytes().all(|b| b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789".contains(&b))
}

#[test]
fn a_free_ticket_is_held_and_claimed() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 2)).expect(201).json();
    assert_eq!(hold["total"], json!({"amount": 0, "currency": "EUR"}));
    let line = json!({"ticket_type": "free", "quantity": 2, "unit_price": 0, "amount": 0});
    assert_eq!(hold["items"], json!([line]));
    assert_eq!(hold["receipt"]["durability"], "synced");
    let mut members: Vec<&String> = hold.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["expires_at", "id", "items", "receipt", "total"]);
    assert_eq!(used(&site, "concert", "hall"), (2, 0));

    let id = hold["id"].as_str().unwrap();
    let shown = client.get(&path("concert", &format!("/holds/{id}"))).expect(200).json();
    assert_eq!(
        (&shown["customer"], &shown["extended"], &shown["expires_at"]),
        (&json!("c-1"), &json!(false), &hold["expires_at"])
    );

    let claim = json!({"customer": "c-1", "hold": id});
    let order = client.post(&path("concert", "/orders"), &claim).expect(201).json();
    assert_eq!((&order["state"], &order["customer"]), (&json!("confirmed"), &json!("c-1")));
    assert_eq!(order["hold"], hold["id"]);
    assert!(order.get("payment_due").is_none() && order.get("payments").is_none());
    let tickets = order["tickets"].as_array().unwrap();
    assert_eq!(tickets.len(), 2);
    assert!(tickets.iter().all(|t| t["ticket_type"] == "free" && is_ticket_code(&t["code"])));
    assert_ne!(tickets[0]["code"], tickets[1]["code"]);
    assert_eq!(used(&site, "concert", "hall"), (0, 2));

    let code = order["code"].as_str().unwrap();
    let shown = client.get(&path("concert", &format!("/orders/{code}"))).expect(200).json();
    assert_eq!(shown["tickets"], order["tickets"]);
    assert_eq!(shown["payments"], json!([]));
}

#[test]
fn a_paid_ticket_is_bought_in_one_step_and_paid_by_a_second() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    let order =
        client.post(&path("concert", "/orders"), &cart("c-1", "paid", 2)).expect(201).json();
    assert_eq!(order["state"], "awaiting_payment");
    assert_eq!(order["total"], json!({"amount": 5000, "currency": "EUR"}));
    assert_eq!(order["tickets"], json!([]), "no tickets before the money");
    assert!(order["payment_due"].is_string());
    let order_path = path("concert", &format!("/orders/{}", order["code"].as_str().unwrap()));

    let paid_at = "2026-01-02T03:04:05.5Z";
    let payment =
        json!({"amount": 5000, "currency": "EUR", "reference": "till-1/7", "paid_at": paid_at});
    let payments = format!("{order_path}/payments");
    let answer =
        client.with("idempotency-key", "pay-1").post(&payments, &payment).expect(201).json();
    assert_eq!((&answer["state"], &answer["order"]), (&json!("applied"), &order["code"]));
    assert_eq!((&answer["reference"], &answer["paid_at"]), (&json!("till-1/7"), &json!(paid_at)));

    let shown = client.get(&order_path).expect(200).json();
    assert_eq!(shown["state"], "confirmed");
    assert_eq!(shown["tickets"].as_array().unwrap().len(), 2);
    assert_eq!(shown["payments"][0]["reference"], "till-1/7");
    assert_eq!(shown["payments"][0]["state"], "applied");

    // The same payment again, under another key and with the same money: the same answer.
    let again = client.with("idempotency-key", "pay-2").post(&payments, &payment).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), answer);
    assert_eq!(used(&site, "concert", "hall"), (0, 2));
}

#[test]
fn a_second_payment_is_due_back_and_refunded_once() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    let order =
        client.post(&path("concert", "/orders"), &cart("c-1", "paid", 1)).expect(201).json();
    let order_path = path("concert", &format!("/orders/{}", order["code"].as_str().unwrap()));
    let payments = format!("{order_path}/payments");
    let pay = |reference: &str| {
        let body = json!({"amount": 2500, "currency": "EUR", "reference": reference});
        client.with("idempotency-key", reference).post(&payments, &body).expect(201).json()
    };
    assert_eq!(pay("p-1")["state"], "applied");
    let second = pay("p/2");
    assert_eq!(
        (&second["state"], &second["refund_reason"]),
        (&json!("refund_due"), &json!("already_paid"))
    );

    let refund = |key: &str, reference: &str| {
        let client = client.with("idempotency-key", key);
        client.send("POST", &format!("{payments}/{reference}/refund"), None)
    };
    let answer = refund("r-1", "p%2F2").expect(200);
    assert_eq!(answer.json()["state"], "refunded");
    let again = refund("r-2", "p%2F2").expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), answer.json());
    assert_eq!(refund("r-3", "p-1").expect(409).problem(), "payment-not-due-back");
    assert_eq!(refund("r-4", "p-9").expect(404).problem(), "unknown-payment");

    // Once the order is cancelled, what confirmed it is due back, too.
    let cancelled = client.send("POST", &format!("{order_path}/cancel"), None).expect(200).json();
    assert_eq!(
        (&cancelled["state"], &cancelled["cancel_reason"]),
        (&json!("cancelled"), &json!("organizer"))
    );
    // By its reference alone, without a key.
    let by_reference = path("concert", "/payments/p-1/refund");
    let answer = client.send("POST", &by_reference, None).expect(200);
    assert_eq!(answer.json()["state"], "refunded");
    assert_eq!(refund("r-5", "p-1").expect(200).json()["state"], "refunded");
    let shown = client.get(&order_path).expect(200).json();
    assert_eq!((&shown["state"], &shown["tickets"]), (&json!("cancelled"), &json!([])));
    let states: Vec<&Value> =
        shown["payments"].as_array().unwrap().iter().map(|p| &p["state"]).collect();
    assert_eq!(states, ["refunded", "refunded"]);
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn a_hold_is_extended_once_and_released_once() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let hold_path = path("concert", &format!("/holds/{}", hold["id"].as_str().unwrap()));
    let extend = format!("{hold_path}/extend");
    let extended = client.send("POST", &extend, None).expect(200).json();
    assert!(extended["expires_at"].as_str() > hold["expires_at"].as_str());
    let again = client.send("POST", &extend, Some("{}")).expect(409);
    assert_eq!(again.problem(), "hold-extended-before");
    let released = client.send("DELETE", &hold_path, None).expect(200).json();
    assert_eq!((&released["state"], &released["id"]), (&json!("released"), &hold["id"]));
    assert_eq!(client.send("DELETE", &hold_path, None).expect(410).problem(), "hold-released");
    assert_eq!(client.get(&hold_path).expect(410).problem(), "hold-released");
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn a_hold_expires_by_itself() {
    let site = Site::new();
    let mut body = concert();
    body["hold_seconds"] = json!(1);
    open(&site, "concert", &body);
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 4)).expect(201).json();
    site.until("the hold expires", || used(&site, "concert", "hall") == (0, 0));
    let claim = json!({"customer": "c-1", "hold": hold["id"]});
    let answer = client.post(&path("concert", "/orders"), &claim).expect(410);
    assert_eq!(answer.problem(), "hold-expired");
    assert_eq!(answer.json()["at"], hold["expires_at"]);
}

#[test]
fn sold_out_and_on_hold_are_told_apart() {
    let site = Site::new();
    let mut body = concert();
    body["limits"] = json!([]);
    open(&site, "concert", &body);
    let client = site.client();
    client.post(&path("concert", "/orders"), &cart("c-1", "free", 7)).expect(201);
    client.post(&path("concert", "/holds"), &cart("c-2", "free", 2)).expect(201);
    let some = client.post(&path("concert", "/holds"), &cart("c-3", "free", 3)).expect(409);
    assert_eq!(some.problem(), "none-free-now");
    assert_eq!(some.header("retry-after"), Some("1"));
    let told = some.json();
    assert_eq!(
        (&told["quota"], &told["asked"], &told["free"], &told["held"]),
        (&json!("hall"), &json!(3), &json!(1), &json!(2))
    );
    let none = client.post(&path("concert", "/holds"), &cart("c-3", "free", 4)).expect(409);
    assert_eq!(none.problem(), "sold-out");
    assert_eq!((&none.json()["asked"], &none.json()["free"]), (&json!(4), &json!(3)));
}

#[test]
fn the_same_key_gives_the_same_answer_and_another_body_is_refused() {
    let site = Site::new();
    open(&site, "concert", &concert());
    open(&site, "other", &concert());
    let client = site.client().with("idempotency-key", "\"0192f0c1-order-1\"");
    let holds = path("concert", "/holds");
    let first = client.post(&holds, &cart("c-1", "free", 2)).expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = client.post(&holds, &cart("c-1", "free", 2)).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), first.json());
    // Without its quotes it is the same key.
    let bare = site.client().with("idempotency-key", "0192f0c1-order-1");
    assert_eq!(bare.post(&holds, &cart("c-1", "free", 2)).expect(201).json(), first.json());
    assert_eq!(used(&site, "concert", "hall"), (2, 0));

    let other_body = client.post(&holds, &cart("c-1", "free", 1)).expect(422);
    assert_eq!(other_body.problem(), "idempotency-key-reused");
    let other_route = client.post(&path("concert", "/orders"), &cart("c-1", "free", 2)).expect(422);
    assert_eq!(other_route.problem(), "idempotency-key-reused");
    assert_eq!(used(&site, "concert", "hall"), (2, 0));
    // A key counts within its event.
    client.post(&path("other", "/holds"), &cart("c-1", "free", 1)).expect(201);

    // A one-step order and its cancellation, each twice.
    let client = site.client().with("idempotency-key", "order-2");
    let orders = path("concert", "/orders");
    let order = client.post(&orders, &cart("c-2", "free", 1)).expect(201).json();
    assert_eq!(client.post(&orders, &cart("c-2", "free", 1)).expect(201).json(), order);
    let cancel = format!("{orders}/{}/cancel", order["code"].as_str().unwrap());
    let client = site.client().with("idempotency-key", "cancel-2");
    let cancelled = client.send("POST", &cancel, None).expect(200).json();
    assert_eq!(client.send("POST", &cancel, None).expect(200).json(), cancelled);
    assert_eq!(site.client().send("POST", &cancel, None).expect(409).problem(), "order-cancelled");
}

#[test]
fn an_old_key_with_a_time_is_refused() {
    let site = Site::new();
    open(&site, "concert", &concert());
    // A UUIDv7 of October 2024.
    let client = site.client().with("idempotency-key", "0192f0c1-7c00-7000-8000-000000000000");
    let answer = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(422);
    assert_eq!(answer.problem(), "idempotency-key-too-old");
    assert!(answer.json()["since"].is_string());
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn the_buyer_may_choose_a_price_above_the_least() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let cart = json!({"customer": "c-1", "items": [
        {"ticket_type": "solidarity", "quantity": 1, "price": 1234},
        {"ticket_type": "free", "quantity": 1}
    ]});
    let hold = site.client().post(&path("concert", "/holds"), &cart).expect(201).json();
    assert_eq!(hold["total"]["amount"], 1234);
    assert_eq!(hold["items"][0]["unit_price"], 1234);
}
