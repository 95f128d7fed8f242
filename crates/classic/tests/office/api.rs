//! The JSON API: a whole purchase, and what is refused.

use onsale_classic::accounts;
use serde_json::json;

use crate::support::{Site, stock};

#[test]
fn a_buyer_sees_orders_pays_and_cancels() {
    let site = Site::start(10, None);
    let listed = site.get("/api/events").json();
    assert_eq!((&listed["total"], &listed["events"][0]["slug"]), (&json!(1), &json!("concert")));
    let event = site.get("/api/events/concert").json();
    let seat = &event["ticket_types"][0];
    assert_eq!((&seat["price"], &seat["available"]), (&json!("25.00"), &json!(10)));

    let body = json!({ "event": "concert", "customer": "c-1", "lines": [{ "ticket_type": seat["id"], "quantity": 2 }] });
    let key = [("Idempotency-Key", "k-1"), ("Content-Type", "application/json")];
    let made = site.send("POST", "/api/orders", &key, &body.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let order = made.json();
    assert_eq!((&order["status"], &order["total_minor"]), (&json!("pending"), &json!(5_000)));
    assert_eq!(order["tickets"], json!([]), "codes are for those who paid");
    assert_eq!(
        site.send("POST", "/api/orders", &key, &body.to_string()).json()["code"],
        order["code"]
    );

    let at = format!("/api/orders/{}", order["code"].as_str().unwrap());
    let wrong = site.post(&format!("{at}/pay"), r#"{"amount_minor": 1}"#);
    assert_eq!((wrong.status, &wrong.json()["errors"][0]["field"]), (422, &json!("amount_minor")));
    let paid =
        site.post(&format!("{at}/pay"), r#"{"provider": "till", "reference": "r-1"}"#).json();
    assert_eq!((&paid["status"], paid["tickets"].as_array().unwrap().len()), (&json!("paid"), 2));
    let refused = site.post(&format!("{at}/cancel"), "");
    assert_eq!((refused.status, &refused.json()["type"]), (409, &json!("/problems/paid")));

    let key = site.wait(accounts::add_key(&site.db, site.sale.organizer, "till")).unwrap();
    let bearer = format!("Bearer {key}");
    let cancelled =
        site.send("POST", &format!("{at}/cancel"), &[("Authorization", &bearer)], "").json();
    assert_eq!(cancelled["cancel_reason"], "organizer");
    assert_eq!(site.wait(stock(&site.db, site.sale.stock)), (10, 0, 0, 0));
    let found = site
        .send("GET", "/api/orders?status=cancelled&q=c-1", &[("Authorization", &bearer)], "")
        .json();
    assert_eq!((&found["total"], &found["orders"][0]["code"]), (&json!(1), &order["code"]));
}

#[test]
fn what_is_refused_says_which_field_and_which_rule() {
    let site = Site::start(1, None);
    let lines = |kind: i64, n: i64| json!({ "event": "concert", "customer": "c", "lines": [{ "ticket_type": kind, "quantity": n }] });
    let (free, rows) = (site.sale.free, "/api/orders");
    let mut nowhere = lines(free, 1);
    nowhere["event"] = json!("nowhere");
    for (body, status, kind, says) in [
        (lines(free, 2).to_string(), 409, "sold-out", "1 left, asked for 2"),
        (lines(free, 0).to_string(), 422, "invalid", "lines[0].quantity must be from 1 to 100"),
        (lines(99, 1).to_string(), 422, "invalid", "lines[0].ticket_type must be one of"),
        (nowhere.to_string(), 404, "not-found", "no event nowhere"),
        ("{".to_owned(), 400, "malformed", "not JSON"),
        ("{}".to_owned(), 422, "invalid", "missing field `event`"),
        (r#"{"event": 7}"#.to_owned(), 422, "invalid", "event invalid type"),
        ("x".repeat(70_000), 413, "too-large", "body"),
    ] {
        let answer = site.post(rows, &body);
        let problem = answer.json();
        let brief = &body[..body.len().min(80)];
        assert_eq!(answer.status, status, "{brief}: {problem}");
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{brief}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert!(problem["detail"].as_str().unwrap().contains(says), "{brief}: {problem}");
    }
    for (path, status, says) in [
        ("/api/orders/NOSUCHORDER2", 404, "no order NOSUCHORDER2"),
        ("/api/events?page=0", 422, "page must be from 1 to 10000"),
        ("/api/events?size=9", 422, "size is not a parameter"),
        ("/api/orders", 401, "Authorization must be"),
        ("/api/nothing", 404, "no such address"),
    ] {
        let answer = site.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(says), "{path}: {answer:?}");
    }
    let wrong = site.send("GET", "/api/orders", &[("Authorization", "Bearer no")], "");
    assert_eq!(wrong.status, 401);
}
