//! Events: definitions, versions, states, lists.

use serde_json::{Value, json};

use crate::support::{Site, cart, concert, open, path, used};

#[test]
fn a_new_event_is_made_and_shown_with_its_defaults() {
    let site = Site::new();
    let client = site.client();
    let body = json!({
        "name": "Small", "currency": "CHF",
        "quotas": [{"id": "q", "capacity": 5}],
        "ticket_types": [{"id": "t", "name": "T", "price": 100, "quotas": ["q"]}]
    });
    let made = client.put(&path("small", ""), &body).expect(201);
    assert_eq!(made.header("etag"), Some("\"1\""));
    let shown = client.get(&path("small", "")).expect(200);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    let event = shown.json();
    for (member, value) in [
        ("organizer", json!("river")),
        ("id", json!("small")),
        ("state", json!("paused")),
        ("version", json!(1)),
        ("hold_seconds", json!(600)),
        ("payment_seconds", json!(1800)),
        ("sale_group", json!("small")),
        ("limits", json!([])),
    ] {
        assert_eq!(event[member], value, "{member}");
    }
    let left = client.get(&path("small", "/availability")).expect(200).json();
    assert_eq!((&left["state"], &left["on_sale"]), (&json!("paused"), &json!(false)));
    let answer = client.post(&path("small", "/holds"), &cart("c", "t", 1)).expect(409);
    assert_eq!(
        (answer.problem().as_str(), &answer.json()["state"]),
        ("event-not-open", &json!("paused"))
    );
}

#[test]
fn a_change_says_which_version_it_changes() {
    let site = Site::new();
    let client = site.client();
    let event = path("concert", "");
    client.with("if-none-match", "*").put(&event, &concert()).expect(201);
    let mut larger = concert();
    larger["quotas"][0]["capacity"] = json!(12);

    let unsaid = client.put(&event, &larger).expect(428);
    assert_eq!(
        (unsaid.problem().as_str(), &unsaid.json()["version"]),
        ("version-not-said", &json!(1))
    );
    let stale = client.with("if-match", "\"7\"").put(&event, &larger).expect(412);
    assert_eq!((stale.problem().as_str(), &stale.json()["version"]), ("version-stale", &json!(1)));
    let taken = client.with("if-none-match", "*").put(&event, &larger).expect(412);
    assert_eq!(taken.problem(), "version-stale");
    let nothing = client.with("if-match", "*").put(&path("nothing", ""), &larger);
    assert_eq!(nothing.expect(412).problem(), "version-stale");
    for (name, value) in [
        ("if-match", "7"),
        ("if-match", "W/\"1\""),
        ("if-match", "\"1\", \"2\""),
        ("if-none-match", "\"1\""),
    ] {
        let answer = client.with(name, value).put(&event, &larger).expect(400);
        assert_eq!(answer.problem(), "invalid-condition", "{name}: {value}");
    }
    assert_eq!(client.get(&event).json()["version"], 1);

    let changed = client.with("if-match", "\"1\"").put(&event, &larger).expect(200);
    assert_eq!(changed.header("etag"), Some("\"2\""));
    assert_eq!(changed.json()["quotas"][0]["capacity"], 12);
    // The same again changes nothing, also not the version.
    let same = client.with("if-match", "\"2\"").put(&event, &larger).expect(200);
    assert_eq!(same.header("etag"), Some("\"2\""));
    let unsaid = client.patch(&event, &json!({"state": "open"})).expect(428);
    assert_eq!(unsaid.problem(), "version-not-said");
    let opened =
        client.with("if-match", "\"2\"").patch(&event, &json!({"state": "open"})).expect(200);
    assert_eq!((opened.header("etag"), &opened.json()["state"]), (Some("\"3\""), &json!("open")));
}

#[test]
fn a_quota_shrinks_to_its_use_and_no_further() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client().with("if-match", "*");
    client.post(&path("concert", "/orders"), &cart("c-1", "free", 3)).expect(201);
    client.post(&path("concert", "/holds"), &cart("c-2", "free", 2)).expect(201);
    let mut body = concert();
    body["quotas"][0]["capacity"] = json!(4);
    let answer = client.put(&path("concert", ""), &body).expect(409);
    let told = answer.json();
    assert_eq!(answer.problem(), "quota-below-use");
    assert_eq!(
        (&told["field"], &told["quota"], &told["asked"], &told["used"]),
        (&json!("quotas[0].capacity"), &json!("hall"), &json!(4), &json!(5))
    );
    body["quotas"][0]["capacity"] = json!(5);
    client.put(&path("concert", ""), &body).expect(200);
    let left = client.get(&path("concert", "/availability")).json();
    assert_eq!(
        left["quotas"][0],
        json!({"id": "hall", "capacity": 5, "free": 0, "held": 2, "sold": 3})
    );
    let programme =
        json!({"id": "programme", "capacity": null, "free": null, "held": 0, "sold": 0});
    assert_eq!(left["quotas"][1], programme);
    assert_eq!(left["ticket_types"][0]["available"], 0);
}

#[test]
fn paused_stops_holds_but_not_claims() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    let hold = client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201).json();
    let pause = json!({"state": "paused"});
    client.with("if-match", "*").patch(&path("concert", ""), &pause).expect(200);
    let refused = client.post(&path("concert", "/holds"), &cart("c-2", "free", 1)).expect(409);
    assert_eq!(refused.problem(), "event-not-open");
    let claim = json!({"customer": "c-1", "hold": hold["id"]});
    client.post(&path("concert", "/orders"), &claim).expect(201);
    assert_eq!(used(&site, "concert", "hall"), (0, 1));
}

#[test]
fn windows_are_told_with_their_times() {
    let site = Site::new();
    let mut body = concert();
    body["sale"] = json!({"opens_at": "2020-01-01T00:00:00Z", "closes_at": "2200-01-01T00:00:00Z"});
    body["ticket_types"][0]["sale"] = json!({"opens_at": "2199-01-01T00:00:00Z"});
    body["ticket_types"][1]["sale"] = json!({"closes_at": "2021-01-01T00:00:00Z"});
    open(&site, "concert", &body);
    let client = site.client();
    let early = client.post(&path("concert", "/holds"), &cart("c", "free", 1)).expect(409);
    assert_eq!(early.problem(), "sale-not-begun");
    assert_eq!(early.json()["opens_at"], "2199-01-01T00:00:00Z");
    assert_eq!(early.json()["field"], "items[0].ticket_type");
    let late = client.post(&path("concert", "/holds"), &cart("c", "paid", 1)).expect(409);
    assert_eq!(late.problem(), "sale-over");
    assert_eq!(late.json()["closed_at"], "2021-01-01T00:00:00Z");
    let left = client.get(&path("concert", "/availability")).json();
    assert_eq!(left["on_sale"], true);
    let on_sale: Vec<&Value> =
        left["ticket_types"].as_array().unwrap().iter().map(|t| &t["on_sale"]).collect();
    assert_eq!(on_sale, [&json!(false), &json!(false), &json!(true)]);
}

#[test]
fn events_come_page_by_page_in_the_order_of_their_ids() {
    let site = Site::new();
    let client = site.client();
    for i in 0..7 {
        client.put(&path(&format!("e-{i}"), ""), &concert()).expect(201);
    }
    client.put("/v1/organizers/other/events/e-3", &concert()).expect(201);
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page =
            client.get(&format!("/v1/organizers/river/events?limit=3{after}")).expect(200).json();
        let events = page["events"].as_array().unwrap();
        assert!(events.len() <= 3 && events.iter().all(|e| e["organizer"] == "river"));
        seen.extend(events.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["e-0", "e-1", "e-2", "e-3", "e-4", "e-5", "e-6"]);
    let nobody = client.get("/v1/organizers/nobody/events").expect(200).json();
    assert_eq!(nobody, json!({"events": [], "next": null}));
    for query in ["limit=0", "limit=101", "limit=x", "limit=2&limit=3", "page=2", "after=%20"] {
        let answer = client.get(&format!("/v1/organizers/river/events?{query}")).expect(400);
        let expected = if query.starts_with("after") { "invalid-id" } else { "invalid-query" };
        assert_eq!(answer.problem(), expected, "{query}");
        let (name, _) = query.split_once('=').unwrap();
        assert_eq!(answer.json()["field"], *name, "{query}");
    }
}
