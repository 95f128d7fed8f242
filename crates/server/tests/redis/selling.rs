//! Selling from one Redis by several servers.

use serde_json::json;

use super::{Node, audit, body_of};

#[test]
fn everything_that_is_sold_here_is_there_on_another_server() {
    let redis = onsale_services::redis();
    let (one, other) = (Node::start(&redis), Node::start(&redis));
    one.open_event(5);
    let hold = body_of(&one.hold("key-of-a-hold", "anna"));
    assert_eq!(hold["receipt"]["durability"], "memory", "{hold}");
    let path = format!("/holds/{}", hold["id"].as_str().unwrap());
    assert_eq!(other.expect(200, "GET", &path, &json!(null))["total"]["amount"], 1250);
    // The same key is the same hold, wherever it comes in.
    let again = other.hold("key-of-a-hold", "anna");
    assert_eq!(body_of(&again)["id"], hold["id"]);
    let reused = other.hold("key-of-a-hold", "berta");
    assert_eq!(
        (reused.status, body_of(&reused)["type"].clone()),
        (422, json!("/problems/idempotency-key-reused"))
    );

    let claim = json!({ "customer": "anna", "hold": hold["id"] });
    let order = other.expect(201, "POST", "/orders", &claim);
    let path = format!("/orders/{}", order["code"].as_str().unwrap());
    assert_eq!(one.expect(200, "GET", &path, &json!(null))["state"], "awaiting_payment");
    let payment = json!({ "reference": "p-1", "amount": 1250, "currency": "EUR" });
    let key = [("idempotency-key", "key-of-a-payment")];
    let paid = one.send("POST", &format!("{path}/payments"), &key, &payment);
    assert_eq!(paid.status, 201, "{:?}", body_of(&paid));
    let confirmed = other.expect(200, "GET", &path, &json!(null));
    assert_eq!(
        (&confirmed["state"], confirmed["tickets"].as_array().unwrap().len()),
        (&json!("confirmed"), 1)
    );

    let left = other.expect(200, "GET", "/availability", &json!(null));
    assert_eq!(left["quotas"][0]["sold"], 1, "{left}");
    let items = |n: u32| json!([{ "ticket_type": "free", "quantity": n }]);
    let batch = json!({ "commands": [
        { "op": "hold", "customer": "carl", "items": items(4) },
        { "op": "buy", "customer": "dora", "items": items(1) }] });
    let answers = other.expect(200, "POST", "/batch", &batch);
    assert_eq!(answers["answers"][0]["status"], 201, "{answers}");
    assert_eq!(answers["answers"][1]["status"], 409, "{answers}");
    let records = audit(&redis).report.records;
    assert!(records > 6, "{records}");
}
