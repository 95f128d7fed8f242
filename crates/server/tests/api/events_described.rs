//! What is sent is what is described: real records of all types, each held against the committed description.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Client, Site, cart, open, path};

const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/asyncapi.json");

/// The committed description, in which no object may have a field that is not described.
fn description() -> Value {
    let text = std::fs::read_to_string(DESCRIPTION).unwrap();
    let mut description: Value = serde_json::from_str(&text).unwrap();
    for (name, schema) in description["components"]["schemas"].as_object_mut().unwrap() {
        // What is allowed in the envelope is said by it alone.
        let closed = schema["properties"].is_object();
        assert!(closed || schema["enum"].is_array() || schema["oneOf"].is_array(), "{name}");
        if closed {
            schema["additionalProperties"] = json!(false);
        }
    }
    description
}

/// A validator for each type.
fn validators() -> Vec<(String, jsonschema::Validator)> {
    let description = description();
    let messages = description["components"]["messages"].as_object().unwrap();
    let validator = |message: &Value| {
        let name = message["name"].as_str().unwrap().to_owned();
        let mut schema = message["payload"].clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["components"] = description["components"].clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        (name, validator.unwrap())
    };
    messages.values().map(validator).collect()
}

/// Sells so that each type of record comes up.
fn sell(site: &Site) {
    let event = json!({
        "name": "Spring concert", "currency": "EUR", "starts_at": "2027-03-20T19:30:00Z",
        "sale": {"opens_at": "2024-01-10T09:00:00Z", "closes_at": null},
        "hold_seconds": 2, "payment_seconds": 900,
        "limits": [{"per_order": 6, "per_customer": 8}, {"ticket_types": ["paid"], "per_order": 5}],
        "quotas": [{"id": "hall", "capacity": 10}, {"id": "programme", "capacity": null}],
        "ticket_types": [
            {"id": "free", "name": "Guest", "price": 0, "quotas": ["hall"]},
            {"id": "paid", "name": "Seat", "price": 2500, "quotas": ["hall", "programme"],
             "sale": {"opens_at": "2024-01-10T09:00:00Z"}},
        ]
    });
    open(site, "concert", &event);
    let client = site.client();
    let post = |below: &str, body: &Value| {
        let keyed = client.with("idempotency-key", below);
        keyed.post(&path("concert", below), body).expect(201).json()
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    // One hold is extended and runs out, one is released, one is claimed.
    let hold = text(&client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).json()["id"]);
    client.post(&path("concert", &format!("/holds/{hold}/extend")), &json!({})).expect(200);
    let hold = text(&client.post(&path("concert", "/holds"), &cart("c-2", "free", 1)).json()["id"]);
    client.send("DELETE", &path("concert", &format!("/holds/{hold}")), None);
    let hold = client.post(&path("concert", "/holds"), &cart("c-3", "paid", 2)).expect(201).json();
    let claim = json!({"customer": "c-3", "hold": hold["id"]});
    let order = text(&post("/orders", &claim)["code"]);
    let free = client.post(&path("concert", "/orders"), &cart("c-4", "free", 1)).expect(201);
    assert_eq!(free.json()["tickets"].as_array().unwrap().len(), 1);
    // A payment confirms the order; a second one is due back; cancelled, the first is due back, too.
    let payment =
        |reference: &str| json!({"amount": 5000, "currency": "EUR", "reference": reference});
    let payments = format!("/orders/{order}/payments");
    for reference in ["p-1", "p-2"] {
        let keyed = client.with("idempotency-key", reference);
        keyed.post(&path("concert", &payments), &payment(reference)).expect(201);
    }
    client.post(&path("concert", &format!("/orders/{order}/cancel")), &json!({})).expect(200);
    let refund = format!("{payments}/p-1/refund");
    client.with("idempotency-key", "r-1").post(&path("concert", &refund), &json!({})).expect(200);
    let stop = json!({"state": "paused"});
    client.with("if-match", "*").patch(&path("concert", ""), &stop).expect(200);
}

fn records(client: &Client) -> Vec<Value> {
    let answer = client.get("/v1/streams/sales/records?shard=0&limit=1000").expect(200).json();
    answer["records"].as_array().unwrap().clone()
}

#[test]
fn each_record_is_as_its_description_says() {
    let site = Site::with(|config| config.shards = 1);
    sell(&site);
    let expired = |record: &Value| record["type"] == "onsale.hold.expired.v1";
    site.until("a hold has run out", || records(&site.client()).iter().any(expired));
    let validators = validators();
    let mut seen = BTreeSet::new();
    for record in records(&site.client()) {
        let kind = record["type"].as_str().unwrap().to_owned();
        let of = validators.iter().find(|(name, _)| *name == kind);
        let (_, validator) = of.unwrap_or_else(|| panic!("{kind} is not described"));
        if let Err(error) = validator.validate(&record) {
            panic!("{kind}: {error} at {} in {record:#}", error.instance_path());
        }
        seen.insert(kind);
    }
    let described: BTreeSet<String> = validators.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(seen, described, "seen on the left, described on the right");
    // The examples are as described, too, and what is described is not just anything.
    for message in description()["components"]["messages"].as_object().unwrap().values() {
        let of = |(name, _): &&(String, _)| name == message["name"].as_str().unwrap();
        let (_, validator) = validators.iter().find(of).unwrap();
        let mut example = message["examples"][0]["payload"].clone();
        assert!(validator.is_valid(&example), "{example:#}");
        example["data"]["more"] = json!(1);
        assert!(!validator.is_valid(&example), "{example:#}");
    }
}

#[test]
fn the_description_is_served() {
    let site = Site::new();
    let served = site.client().get("/asyncapi.json").expect(200).json();
    let committed: Value =
        serde_json::from_str(&std::fs::read_to_string(DESCRIPTION).unwrap()).unwrap();
    assert_eq!(served, committed);
    assert_eq!(served["asyncapi"], "3.0.0");
}
