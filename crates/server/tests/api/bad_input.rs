//! Bad input, line by line: its own problem type, its field and rule, and nothing
//! has changed.

use onsale_core::limits::{PRICE_MAX, QUANTITY_MAX};
use serde_json::{Value, json};

use crate::support::{Client, Site, cart, concert, open, path, raw};

/// Everything that a request could have changed.
fn state(client: &Client) -> Vec<String> {
    ["concert", "other"]
        .iter()
        .flat_map(|event| [path(event, ""), path(event, "/availability")])
        .map(|path| {
            let mut value = client.get(&path).expect(200).json();
            value.as_object_mut().unwrap().remove("receipt");
            value.to_string()
        })
        .collect()
}

/// A request, the problem it must get, its field and what the detail must say.
struct Row {
    method: &'static str,
    path: String,
    body: String,
    status: u16,
    problem: &'static str,
    field: &'static str,
    says: &'static str,
}

/// Sends every row and finds that nothing has changed.
fn check(site: &Site, client: &Client, rows: &[Row]) {
    let before = state(&site.client());
    for Row { method, path, body, status, problem, field, says } in rows {
        let answer = client.send(method, path, Some(body));
        let context = format!("{method} {path} {body}\n{answer:?}");
        assert_eq!(answer.status, *status, "{context}");
        assert_eq!(answer.problem(), *problem, "{context}");
        let value = answer.json();
        assert_eq!(value["field"].as_str().unwrap_or_default(), *field, "{context}");
        let detail = value["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{says:?} is not in the detail of {context}");
    }
    assert_eq!(state(&site.client()), before);
}

fn site() -> Site {
    let site = Site::new();
    open(&site, "concert", &concert());
    open(&site, "other", &concert());
    site
}

#[test]
fn carts() {
    let site = site();
    let client = site.client();
    let row = |body: String, status, problem, field, says| Row {
        method: "POST",
        path: path("concert", "/holds"),
        body,
        status,
        problem,
        field,
        says,
    };
    let item = |item: &str| format!(r#"{{"customer":"c-1","items":[{item}]}}"#);
    let quantity = |n: &str| item(&format!(r#"{{"ticket_type":"free","quantity":{n}}}"#));
    let priced = |kind: &str, price: &str| {
        item(&format!(r#"{{"ticket_type":"{kind}","quantity":1,"price":{price}}}"#))
    };
    let customer = |c: &str| cart(c, "free", 1).to_string();
    let huge = format!("must be 1 to {QUANTITY_MAX}");
    let huge: &'static str = huge.leak();
    let too_high: &'static str = format!("at most {PRICE_MAX}").leak();
    let rows = [
        row(
            item(r#"{"ticket_type":"vip","quantity":1}"#),
            422,
            "unknown-ticket-type",
            "items[0].ticket_type",
            "no such ticket type",
        ),
        row(quantity("0"), 422, "quantity-out-of-range", "items[0].quantity", huge),
        row(quantity("-1"), 422, "quantity-out-of-range", "items[0].quantity", huge),
        row(quantity("1001"), 422, "quantity-out-of-range", "items[0].quantity", huge),
        row(
            quantity("99999999999999999999999"),
            422,
            "quantity-out-of-range",
            "items[0].quantity",
            huge,
        ),
        row(quantity("1.5"), 400, "wrong-type", "items[0].quantity", "whole number"),
        row(quantity("\"2\""), 400, "wrong-type", "items[0].quantity", "whole number"),
        row(quantity("1e400"), 400, "wrong-type", "items[0].quantity", "number out of range"),
        row(quantity("7"), 422, "order-limit", "items", "at most 6"),
        row(priced("solidarity", "999"), 422, "price-below-minimum", "items[0].price", "1000"),
        row(priced("solidarity", "-5"), 422, "price-below-minimum", "items[0].price", "1000"),
        row(
            priced("solidarity", "1000000000001"),
            422,
            "price-too-high",
            "items[0].price",
            too_high,
        ),
        row(priced("paid", "2400"), 422, "price-fixed", "items[0].price", "2500"),
        row(item(""), 422, "item-count", "items", "1 to 32"),
        row(
            item(r#"{"ticket_type":"a b","quantity":1}"#),
            400,
            "invalid-id",
            "items[0].ticket_type",
            "must be made of",
        ),
        row(
            item(r#"{"ticket_type":"","quantity":1}"#),
            400,
            "invalid-id",
            "items[0].ticket_type",
            "must not be empty",
        ),
        row(customer(""), 400, "invalid-id", "customer", "must not be empty"),
        row(customer("a b"), 400, "invalid-id", "customer", "printable ASCII"),
        row(customer("a@example.org"), 400, "personal-data", "customer", "'@'"),
        row(customer(&"x".repeat(65)), 400, "invalid-id", "customer", "64 bytes"),
        row(
            "{\"customer\": \"c\",\n \"items\": [}".into(),
            400,
            "malformed-json",
            "",
            "line 2, column 12",
        ),
        row("{\"customer\": \"c\"".into(), 400, "malformed-json", "", "line 1"),
        row(String::new(), 400, "malformed-json", "", "empty"),
        row("[]".into(), 400, "wrong-type", "body", "must be an object"),
        row("3".into(), 400, "wrong-type", "body", "expected an object"),
        row(r#"{"customer":"c","items":{}}"#.into(), 400, "wrong-type", "items", "an array"),
        row(item(r#"["free",1,null]"#), 400, "wrong-type", "items[0]", "an object"),
        row(r#"{"customer":"c"}"#.into(), 400, "missing-field", "items", "must be there"),
        row(
            item(r#"{"ticket_type":"free"}"#),
            400,
            "missing-field",
            "items[0].quantity",
            "must be there",
        ),
        row(
            item(r#"{"ticket_type":"free","quantity":1,"seat":3}"#),
            400,
            "unknown-field",
            "items[0].seat",
            "ticket_type",
        ),
        row(
            r#"{"customer":"c","items":[],"note":"x"}"#.into(),
            400,
            "unknown-field",
            "note",
            "customer",
        ),
        row(
            r#"{"customer":"c","customer":"d","items":[]}"#.into(),
            400,
            "wrong-type",
            "customer",
            "twice",
        ),
    ];
    check(&site, &client, &rows);
    let answer = client
        .with("content-type", "text/plain")
        .post(&path("concert", "/holds"), &cart("c", "free", 1));
    assert_eq!(answer.expect(415).problem(), "content-type");
    // 8 per customer over the event: 6 in one hold, 3 more are too many.
    client.post(&path("concert", "/holds"), &cart("c-9", "free", 6)).expect(201);
    let told = client.post(&path("concert", "/holds"), &cart("c-9", "free", 3)).expect(422);
    assert_eq!(told.problem(), "customer-limit");
    let value = told.json();
    assert_eq!(
        (&value["limit"], &value["has"], &value["asked"], &value["max"]),
        (&json!(0), &json!(6), &json!(3), &json!(8))
    );
}

#[test]
fn paths() {
    let site = site();
    let client = site.client();
    let body = cart("c", "free", 1).to_string();
    let row = |path: &str, status, problem, field, says| Row {
        method: "POST",
        path: path.to_owned(),
        body: body.clone(),
        status,
        problem,
        field,
        says,
    };
    let long = format!("/v1/organizers/river/events/{}/holds", "x".repeat(65));
    let rows = [
        row("/v1/organizers/river/events/-x/holds", 400, "invalid-id", "event", "begin with"),
        row("/v1/organizers/_/events/concert/holds", 400, "invalid-id", "organizer", "begin with"),
        row("/v1/organizers/river/events/a%20b/holds", 400, "invalid-id", "event", "must be made"),
        row("/v1/organizers/river/events/%FF/holds", 400, "invalid-path", "", ""),
        row(&long, 400, "invalid-id", "event", "64 bytes"),
        row("/v1/organizers/river/events/nothing/holds", 404, "unknown-event", "", ""),
        row("/v1/organizers/lake/events/concert/holds", 404, "unknown-event", "", ""),
        row("/v1/organizers/river/events/concert/hold", 404, "unknown-route", "", ""),
        row("/v1/organizers/river/events/concert/holds/", 404, "unknown-route", "", ""),
    ];
    check(&site, &client, &rows);
    let shown = client.get(&path("concert", "/holds/17")).expect(400);
    assert_eq!((shown.problem().as_str(), &shown.json()["field"]), ("invalid-id", &json!("hold")));
    for code in ["E2", "E23456789I", "e234567892"] {
        let shown = client.get(&path("concert", &format!("/orders/{code}"))).expect(400);
        assert_eq!(
            (shown.problem().as_str(), &shown.json()["field"]),
            ("invalid-id", &json!("code"))
        );
    }
    let shown = client.get(&path("concert", "/orders/E234567892")).expect(404);
    assert_eq!(shown.problem(), "unknown-order");
    let wrong = client.send("DELETE", &path("concert", "/holds"), None).expect(405);
    assert_eq!(wrong.problem(), "method-not-allowed");
    assert_eq!(wrong.header("allow"), Some("POST"));
}

#[test]
fn holds_of_others() {
    let site = site();
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let hold = hold["id"].as_str().unwrap();
    let claimed =
        client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let claimed = claimed["id"].as_str().unwrap();
    let claim =
        |customer: &str, hold: &str| json!({"customer": customer, "hold": hold}).to_string();
    let order = client.send("POST", &path("concert", "/orders"), Some(&claim("c-1", claimed)));
    let order = order.expect(201).json();
    let row = |event: &str, body: String, status, problem, field, says| Row {
        method: "POST",
        path: path(event, "/orders"),
        body,
        status,
        problem,
        field,
        says,
    };
    let both = json!({"customer": "c-1", "hold": hold, "items": []}).to_string();
    let rows = [
        row("concert", claim("c-2", hold), 422, "hold-of-another-customer", "customer", "another"),
        row("other", claim("c-1", hold), 404, "unknown-hold", "", "no such hold"),
        row("concert", claim("c-1", claimed), 409, "hold-claimed", "", "claimed"),
        row(
            "concert",
            claim("c-1", "00000000-0000-7000-8000-000000000000"),
            404,
            "unknown-hold",
            "",
            "",
        ),
        row("concert", claim("c-1", "17"), 400, "invalid-id", "hold", "UUID"),
        row("concert", both, 400, "hold-or-items", "hold", "not both"),
        row("concert", r#"{"customer":"c-1"}"#.into(), 400, "hold-or-items", "hold", "either"),
    ];
    check(&site, &client, &rows);
    let twice = client.send("POST", &path("concert", "/orders"), Some(&claim("c-1", claimed)));
    assert_eq!(twice.json()["order"], order["code"]);
    // Another organizer's event of the same name is another event.
    client.put("/v1/organizers/lake/events/concert", &concert()).expect(201);
    let answer =
        client.send("POST", "/v1/organizers/lake/events/concert/orders", Some(&claim("c-1", hold)));
    assert_eq!(answer.expect(404).problem(), "unknown-hold");
}

#[test]
fn payments() {
    let site = site();
    let client = site.client().with("idempotency-key", "k");
    let order = site.client().post(&path("concert", "/orders"), &cart("c-1", "paid", 2));
    let order = order.expect(201).json();
    let free = site.client().post(&path("concert", "/orders"), &cart("c-1", "free", 1));
    let free = free.expect(201).json();
    let payments = |order: &Value| {
        path("concert", &format!("/orders/{}/payments", order["code"].as_str().unwrap()))
    };
    let body = |amount: i64, currency: &str, reference: &str| {
        json!({"amount": amount, "currency": currency, "reference": reference}).to_string()
    };
    let row = |body: String, status, problem, field, says| Row {
        method: "POST",
        path: payments(&order),
        body,
        status,
        problem,
        field,
        says,
    };
    let good = body(5_000, "EUR", "p-1");
    let at = |paid_at: &str| good.replace('}', &format!(",\"paid_at\":\"{paid_at}\"}}"));
    let mut rows = vec![
        row(body(4_999, "EUR", "p-1"), 422, "payment-amount", "amount", "5000"),
        row(body(-5_000, "EUR", "p-1"), 422, "payment-amount", "amount", "5000"),
        row(body(5_000, "CHF", "p-1"), 422, "payment-currency", "currency", "EUR"),
        row(body(5_000, "eur", "p-1"), 400, "unknown-currency", "currency", "ISO 4217"),
        row(body(5_000, "EUR", ""), 400, "invalid-id", "reference", "empty"),
        row(body(5_000, "EUR", "a@b"), 400, "personal-data", "reference", "'@'"),
        row(at("yesterday"), 400, "invalid-time", "paid_at", "RFC 3339"),
        row(at("1969-12-31T23:59:59Z"), 400, "invalid-time", "paid_at", "from 1970 to 2255"),
        row(at("9999-12-31T23:59:59Z"), 400, "invalid-time", "paid_at", "from 1970 to 2255"),
        row(at("2200-01-01T00:00:00Z"), 422, "paid-at-in-the-future", "paid_at", "future"),
        row(r#"{"amount":5000,"currency":"EUR"}"#.into(), 400, "missing-field", "reference", ""),
    ];
    rows.push(Row { path: payments(&free), ..row(good.clone(), 409, "nothing-to-pay", "", "") });
    let nobody = json!({"code": "E234567892"});
    rows.push(Row { path: payments(&nobody), ..row(good.clone(), 404, "unknown-order", "", "") });
    check(&site, &client, &rows);

    let bare = site.client().send("POST", &payments(&order), Some(&good)).expect(400);
    assert_eq!(bare.problem(), "idempotency-key-required");
    for key in ["", "\"\"", "sch\u{f6}n", &"x".repeat(256)] {
        let answer =
            site.client().with("idempotency-key", key).send("POST", &payments(&order), Some(&good));
        assert_eq!(answer.expect(400).problem(), "invalid-idempotency-key", "{key:?}");
    }
    // A reference stands for one payment.
    client.send("POST", &payments(&order), Some(&good)).expect(201);
    let second = site.client().post(&path("concert", "/orders"), &cart("c-2", "paid", 2));
    let second = second.expect(201).json();
    let client = site.client().with("idempotency-key", "k-2");
    let used = client.send("POST", &payments(&second), Some(&good)).expect(409);
    assert_eq!(used.problem(), "payment-reference-used");
    assert_eq!(used.json()["order"], order["code"]);
    assert_eq!(used.json()["field"], "reference");
}

#[test]
fn definitions() {
    let site = site();
    let client = site.client().with("if-match", "*");
    let row = |change: &dyn Fn(&mut Value), status, problem, field, says| {
        let mut body = concert();
        change(&mut body);
        let body = body.to_string();
        Row { method: "PUT", path: path("concert", ""), body, status, problem, field, says }
    };
    let window = |from: &str, to: &str| json!({"opens_at": from, "closes_at": to});
    let reversed = window("2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z");
    let alone = json!({"id": "alone", "capacity": 1});
    let rows = [
        row(
            &|b| b["quotas"].as_array_mut().unwrap().push(alone.clone()),
            422,
            "quota-without-ticket-type",
            "quotas[2]",
            "alone",
        ),
        row(
            &|b| b["ticket_types"][0]["quotas"] = json!([]),
            422,
            "ticket-type-without-quota",
            "ticket_types[0].quotas",
            "free",
        ),
        row(&|b| b["quotas"][1]["id"] = json!("hall"), 422, "duplicate-id", "quotas[1]", "hall"),
        row(
            &|b| b["ticket_types"][1]["id"] = json!("free"),
            422,
            "duplicate-id",
            "ticket_types[1]",
            "free",
        ),
        row(
            &|b| b["ticket_types"][0]["price"] = json!(-1),
            422,
            "price-below-zero",
            "ticket_types[0].price",
            "below zero",
        ),
        row(
            &|b| b["sale"] = reversed.clone(),
            422,
            "window-ends-before-it-begins",
            "sale.closes_at",
            "later than opens_at",
        ),
        row(
            &|b| b["ticket_types"][2]["sale"] = reversed.clone(),
            422,
            "window-ends-before-it-begins",
            "ticket_types[2].sale.closes_at",
            "later",
        ),
        row(
            &|b| b["ticket_types"][0]["quotas"] = json!(["nothing"]),
            422,
            "unknown-quota",
            "ticket_types[0].quotas[0]",
            "nothing",
        ),
        row(
            &|b| b["limits"][0]["ticket_types"] = json!(["nothing"]),
            422,
            "limit-of-unknown-ticket-type",
            "limits[0].ticket_types[0]",
            "nothing",
        ),
        row(&|b| b["limits"][0] = json!({}), 422, "limit-without-number", "limits[0]", "per_order"),
        row(
            &|b| b["quotas"][0]["capacity"] = json!(-1),
            422,
            "out-of-range",
            "quotas[0].capacity",
            "0 to",
        ),
        row(
            &|b| b["quotas"][0]["capacity"] = json!(1_000_000_001),
            422,
            "out-of-range",
            "quotas[0].capacity",
            "0 to",
        ),
        row(&|b| b["hold_seconds"] = json!(0), 422, "out-of-range", "hold_seconds", "1 to 86400"),
        row(&|b| b["name"] = json!(""), 422, "name-length", "name", "1 to 200"),
        row(&|b| b["quotas"] = json!([]), 422, "entry-count", "quotas", "1 to"),
        row(&|b| b["currency"] = json!("EURO"), 400, "unknown-currency", "currency", "ISO 4217"),
        row(&|b| b["starts_at"] = json!("soon"), 400, "invalid-time", "starts_at", "RFC 3339"),
        row(
            &|b| b["starts_at"] = json!("1969-07-20T20:17:40Z"),
            400,
            "invalid-time",
            "starts_at",
            "from 1970 to 2255",
        ),
        row(&|b| b["quotas"][0]["id"] = json!("a b"), 400, "invalid-id", "quotas[0].id", "made of"),
        row(
            &|b| b["quotas"][0] = json!({"id": "hall"}),
            400,
            "missing-field",
            "quotas[0].capacity",
            "must be there",
        ),
        row(&|b| b["colour"] = json!("red"), 400, "unknown-field", "colour", "not known"),
        row(&|b| b["sale"] = json!([null, null]), 400, "wrong-type", "sale", "an object"),
        row(
            &|b| b["quotas"][0] = json!(["hall", 400]),
            400,
            "wrong-type",
            "quotas[0]",
            "an object",
        ),
        row(&|b| b["sale_group"] = json!("another"), 409, "sale-group-fixed", "sale_group", ""),
    ];
    check(&site, &client, &rows);
    let rows = [r#"{"state":"gone"}"#, r#"{"state":1}"#].map(|body| Row {
        method: "PATCH",
        path: path("concert", ""),
        body: body.into(),
        status: 400,
        problem: "wrong-type",
        field: "state",
        says: if body.contains("gone") { "paused" } else { "expected a string" },
    });
    check(&site, &client, &rows);
}

#[test]
fn a_type_without_its_quota_is_told_before_the_quota_without_its_type() {
    let site = Site::new();
    let client = site.client();
    for (quotas, problem, field) in [
        (json!([]), "ticket-type-without-quota", "ticket_types[0].quotas"),
        (json!(["hell"]), "unknown-quota", "ticket_types[0].quotas[0]"),
    ] {
        let body = json!({
            "name": "Concert", "currency": "EUR", "quotas": [{"id": "hall", "capacity": 1}],
            "ticket_types": [{"id": "seat", "name": "Seat", "price": 0, "quotas": quotas}],
        });
        let answer = client.put(&path("concert", ""), &body).expect(422);
        assert_eq!((answer.problem().as_str(), &answer.json()["field"]), (problem, &json!(field)));
    }
}

#[test]
fn details_are_in_the_words_of_the_api() {
    let site = Site::new();
    let client = site.client();
    let detail =
        |answer: crate::support::Answer| answer.json()["detail"].as_str().unwrap().to_owned();
    let absent = client.with("if-match", "*").put(&path("concert", ""), &concert());
    assert_eq!(detail(absent.expect(412)), "the event is not there yet");
    client.put(&path("concert", ""), &concert()).expect(201);
    let paused = client.post(&path("concert", "/holds"), &cart("c", "free", 1));
    assert_eq!(detail(paused.expect(409)), "the event is paused");
    let unsaid = client.send("PATCH", &path("concert", ""), Some(r#"{"state":"open"}"#));
    assert_eq!(
        detail(unsaid.expect(428)),
        "the event is at version 1: send it as If-Match: \"1\", or *"
    );
    let stale = client.with("if-match", "\"7\"").put(&path("concert", ""), &concert());
    assert_eq!(detail(stale.expect(412)), "the event is at version 1");
    for tag in ["\"+1\"", "\"01\""] {
        let other = client.with("if-match", tag).put(&path("concert", ""), &concert());
        assert_eq!(other.expect(400).problem(), "invalid-condition", "{tag}");
    }
}

#[test]
fn what_takes_no_body_takes_none() {
    let site = site();
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let extend = path("concert", &format!("/holds/{}/extend", hold["id"].as_str().unwrap()));
    let answer = client.post(&extend, &json!({"seconds": 60})).expect(400);
    assert_eq!(answer.problem(), "body-not-expected");
}

#[test]
fn every_problem_type_can_be_read() {
    let site = Site::new();
    let client = site.client();
    let all = client.get("/problems").expect(200).json();
    let all = all["problems"].as_array().unwrap();
    assert!(all.len() > 60);
    for problem in all {
        let read = client.get(problem["type"].as_str().unwrap()).expect(200).json();
        assert_eq!(read, *problem);
    }
    client.get("/problems/nothing").expect(404);
    let served = client.get("/openapi.json").expect(200).json();
    assert_eq!(served["openapi"], "3.1.0");
}

#[test]
fn parameters_that_a_route_does_not_take() {
    let site = site();
    let client = site.client();
    let row = |method, at: &str, field| Row {
        method,
        path: path("concert", at),
        body: String::new(),
        status: 400,
        problem: "invalid-query",
        field,
        says: "is not known here",
    };
    let rows = [
        row("GET", "?all=1", "all"),
        row("GET", "?state=open&x=1", "state"),
        row("GET", "/availability?a%20b", "a b"),
        row("GET", "/availability/live?all=1", "all"),
        row("PUT", "?dry_run=1", "dry_run"),
        row("PATCH", "?dry_run=1", "dry_run"),
        row("POST", "/holds?all=1", "all"),
        row("POST", "/orders?all=1", "all"),
        row("POST", "/batch?all=1", "all"),
        row("GET", "/orders/E234567892?all=1", "all"),
    ];
    check(&site, &client, &rows);
    // One without parameters is none, and who has no key learns nothing.
    client.get(&path("concert", "/availability?")).expect(200);
    let target = path("concert", "?all=1");
    let head = format!("GET {target} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert_eq!(raw(site.address, head.as_bytes()).expect(401).problem(), "key-missing");
}
