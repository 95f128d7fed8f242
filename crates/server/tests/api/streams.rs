//! The stream: by cursor, complete, and only one's own.

use std::time::{Duration, Instant};

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{Client, Site, cart, concert, open, path};

const SHARDS: &str = "/v1/streams/sales/shards";

fn records(client: &Client, shard: u64, more: &str) -> Value {
    client.get(&format!("/v1/streams/sales/records?shard={shard}{more}")).expect(200).json()
}

/// All records of all shards.
fn all(client: &Client) -> Vec<Value> {
    let shards = client.get(SHARDS).expect(200).json();
    let mut found = Vec::new();
    for shard in shards["shards"].as_array().unwrap() {
        let number = shard["shard"].as_u64().unwrap();
        let answer = records(client, number, "&limit=1000");
        assert_eq!(answer["next"], shard["next"]);
        found.extend(answer["records"].as_array().unwrap().iter().cloned());
    }
    found
}

#[test]
fn records_are_cloud_events_of_everything_that_happened() {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let claim = json!({"customer": "c-1", "hold": hold["id"]});
    let free = client.post(&path("concert", "/orders"), &claim).expect(201).json();
    let paid = client.post(&path("concert", "/orders"), &cart("c-2", "paid", 2)).expect(201).json();
    let payments = format!("/orders/{}/payments", paid["code"].as_str().unwrap());
    let payment = json!({"amount": 5000, "currency": "EUR", "reference": "p-1"});
    let pay = client.with("idempotency-key", "p-1");
    pay.post(&path("concert", &payments), &payment).expect(201);

    let found = all(&client);
    let kinds: Vec<&str> = found.iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "onsale.sale-group.placed.v1",
            "onsale.event.defined.v1",
            "onsale.event.state-set.v1",
            "onsale.hold.placed.v1",
            "onsale.order.placed.v1",
            "onsale.order.placed.v1",
            "onsale.payment.recorded.v1",
        ]
    );
    let log = client.get(SHARDS).json()["log"].as_str().unwrap().to_owned();
    let mut last = 0;
    for record in &found {
        assert_eq!(record["specversion"], "1.0");
        assert_eq!(record["source"], "/v1/streams/sales");
        assert_eq!(record["subject"], "river/concert");
        assert_eq!(record["datacontenttype"], "application/json");
        let position = record["position"].as_u64().unwrap();
        assert!(position > last, "in order");
        last = position;
        assert_eq!(record["id"], format!("{log}/0/{position}"));
        assert!(record["time"].as_str().unwrap().ends_with('Z'));
    }
    assert_eq!(found[1]["data"]["definition"]["quotas"][0]["capacity"], 10);
    assert_eq!(found[3]["data"]["hold"], hold["id"]);
    assert_eq!(found[4]["data"]["tickets"], free["tickets"]);
    assert_eq!(found[4]["data"]["state"], "confirmed");
    // The paid one has its tickets where it is confirmed: with the payment.
    assert!(found[5]["data"].get("tickets").is_none());
    let order = path("concert", &format!("/orders/{}", paid["code"].as_str().unwrap()));
    let tickets = client.get(&order).json()["tickets"].clone();
    assert_eq!(found[6]["data"]["tickets"], tickets);
    assert_eq!(found[3]["position"], hold["receipt"]["position"]);
}

#[test]
fn what_is_about_the_shard_is_never_shown() {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    let client = site.client();
    let first = records(&client, 0, "&limit=1");
    assert_eq!(first["records"][0]["position"], 2, "the first record holds the secret");
    assert!(!first.to_string().contains("key"));
}

#[test]
fn a_cursor_sees_every_record_once() {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    let client = site.client();
    for i in 0..8 {
        client.post(&path("concert", "/holds"), &cart(&format!("c-{i}"), "free", 1)).expect(201);
    }
    let whole = all(&client);
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let answer = records(&client, 0, &format!("&limit=3&after={after}"));
        let page = answer["records"].as_array().unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        found.extend(page.iter().cloned());
        after = answer["next"].as_u64().unwrap();
    }
    assert_eq!(found, whole);
}

#[test]
fn a_reader_sees_its_organizer_and_no_ticket_codes() {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    let client = site.client();
    client.put("/v1/organizers/lake/events/secret", &concert()).expect(201);
    let order =
        client.post(&path("concert", "/orders"), &cart("c-1", "free", 1)).expect(201).json();
    let code = order["tickets"][0]["code"].as_str().unwrap();

    let river = site.as_key(&site.key(&[Scope::Read], Some("river")));
    let found = all(&river);
    assert!(found.iter().all(|record| record["subject"] == "river/concert"));
    let shown = &found.last().unwrap()["data"]["tickets"][0]["code"];
    assert_eq!(*shown, format!("{}…", &code[..2]));
    assert!(!found.iter().any(|record| record.to_string().contains(code)));

    let lake = site.as_key(&site.key(&[Scope::Read], Some("lake")));
    let found = all(&lake);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|record| record["subject"] == "lake/secret"));
    let nobody = site.as_key(&site.key(&[Scope::Read], Some("nobody")));
    assert_eq!(all(&nobody), Vec::<Value>::new());
}

#[test]
fn a_long_poll_ends_with_the_next_record_or_its_time() {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    let client = site.client();
    let end = client.get(SHARDS).json()["shards"][0]["next"].as_u64().unwrap();
    let began = Instant::now();
    let empty = records(&client, 0, &format!("&after={end}&wait_ms=150"));
    assert_eq!(empty["records"], json!([]));
    assert!(began.elapsed() >= Duration::from_millis(150));

    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || records(&client, 0, &format!("&after={end}&wait_ms=30000")))
    };
    let began = Instant::now();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let answer = waiting.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "it must not wait for its time");
    assert_eq!(answer["records"][0]["data"]["hold"], hold["id"]);
    assert_eq!(answer["next"], hold["receipt"]["position"]);
}

#[test]
fn a_waiting_reader_does_not_keep_the_server_from_stopping() {
    let mut site = Site::with(|config| config.shards = 1);
    let client = site.client();
    let waiting = std::thread::spawn(move || records(&client, 0, "&after=1&wait_ms=30000"));
    site.until("the reader waits", || {
        site.client().get("/metrics").text.lines().any(|line| line == "onsale_connections 2")
    });
    let began = Instant::now();
    site.stop();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(waiting.join().unwrap()["records"], json!([]));
}

#[test]
fn bad_cursors_are_told() {
    let site = Site::with(|config| config.shards = 2);
    let client = site.client();
    let rows = [
        ("", 400, "invalid-query"),
        ("?shard=x", 400, "invalid-query"),
        ("?shard=2", 404, "unknown-shard"),
        ("?shard=0&after=-1", 400, "invalid-query"),
        ("?shard=0&after=999999", 409, "position-beyond-the-end"),
        ("?shard=0&limit=0", 400, "invalid-query"),
        ("?shard=0&limit=1001", 400, "invalid-query"),
        ("?shard=0&wait_ms=30001", 400, "invalid-query"),
        ("?shard=0&from=1", 400, "invalid-query"),
        ("?shard=0&shard=1", 400, "invalid-query"),
    ];
    for (query, status, problem) in rows {
        let answer = client.get(&format!("/v1/streams/sales/records{query}")).expect(status);
        assert_eq!(answer.problem(), problem, "{query}");
    }
}
