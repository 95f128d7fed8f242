//! Named cursors: kept, moved forwards only, one's own, and there after a restart.

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Site, concert, open};

const CURSORS: &str = "/v1/streams/sales/cursors";

fn site() -> Site {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    site
}

fn records(client: &Client, query: &str) -> Answer {
    client.get(&format!("/v1/streams/sales/records?shard=0{query}"))
}

fn put(client: &Client, name: &str, body: &Value) -> Answer {
    client.put(&format!("{CURSORS}/{name}"), body)
}

#[test]
fn a_reader_goes_on_from_its_named_cursor() {
    let mut site = site();
    let client = site.client();
    let whole = records(&client, "").expect(200).json();
    let first = records(&client, "&limit=1").expect(200).json();
    let at = json!({"positions": {"0": first["cursor"]}});
    let shown = put(&client, "mailer", &at).expect(200).json();
    let lag = whole["next"].as_u64().unwrap() - first["next"].as_u64().unwrap();
    assert_eq!(
        shown,
        json!({"name": "mailer", "shards": [
        {"shard": 0, "cursor": first["cursor"], "lag": lag}]})
    );
    assert_eq!(client.get(CURSORS).expect(200).json(), json!({"cursors": [shown]}));
    assert_eq!(client.get(&format!("{CURSORS}/mailer")).expect(200).json(), shown);
    let rest = records(&client, "&cursor=mailer").expect(200).json();
    assert_eq!(rest["records"].as_array().unwrap()[..], whole["records"].as_array().unwrap()[1..]);
    let figures = client.get("/metrics").expect(200).text;
    let line = format!("onsale_cursor_lag_records{{organizer=\"\",cursor=\"mailer\"}} {lag}");
    assert!(figures.lines().any(|l| l == line), "no {line} in {figures}");
    // It is on the disk.
    site.restart();
    let client = site.client();
    assert_eq!(records(&client, "&cursor=mailer").expect(200).json()["records"], rest["records"]);
    client.send("DELETE", &format!("{CURSORS}/mailer"), None).expect(200);
    let gone = client.get(&format!("{CURSORS}/mailer")).expect(404);
    assert_eq!(gone.problem(), "unknown-cursor");
    assert_eq!(records(&client, "&cursor=mailer").expect(404).problem(), "unknown-cursor");
}

#[test]
fn a_cursor_goes_backwards_only_on_purpose() {
    let site = site();
    let client = site.client();
    put(&client, "c", &json!({"positions": {"0": 3}})).expect(200);
    put(&client, "c", &json!({"positions": {"0": 3}})).expect(200);
    let back = put(&client, "c", &json!({"positions": {"0": 2}})).expect(409);
    assert_eq!((back.problem().as_str(), &back.json()["min"]), ("cursor-backwards", &json!(3)));
    let reader = site.as_key(&site.key(&[Scope::Read], None));
    let reset = json!({"positions": {"0": 2}, "reset": true});
    assert_eq!(put(&reader, "c", &reset).expect(403).problem(), "scope-missing");
    let shown = put(&client, "c", &reset).expect(200).json();
    assert!(shown["shards"][0]["cursor"].as_str().unwrap().ends_with(".0.2"), "{shown}");
}

#[test]
fn cursors_are_one_s_own_and_have_limits() {
    let site = site();
    let river = site.as_key(&site.key(&[Scope::Read, Scope::Manage], Some("river")));
    put(&river, "mine", &json!({"positions": {"0": 1}})).expect(200);
    let lake = site.as_key(&site.key(&[Scope::Read], Some("lake")));
    assert_eq!(lake.get(CURSORS).expect(200).json(), json!({"cursors": []}));
    assert_eq!(records(&lake, "&cursor=mine").expect(404).problem(), "unknown-cursor");
    assert_eq!(site.client().get(CURSORS).expect(200).json(), json!({"cursors": []}));
    let other_log = "00000000-0000-4000-8000-000000000000.1.0.1";
    let rows = [
        ("X", json!({"positions": {}}), 400, "invalid-id"),
        ("webhook.x", json!({"positions": {}}), 400, "invalid-id"),
        ("c", json!({"positions": {"1": 1}}), 404, "unknown-shard"),
        ("c", json!({"positions": {"0": 99999}}), 409, "position-beyond-the-end"),
        ("c", json!({"positions": {"0": other_log}}), 409, "log-diverged"),
        ("c", json!({"positions": {"0": true}}), 400, "wrong-type"),
        ("c", json!({"positions": {"0": -1}}), 400, "wrong-type"),
        ("c", json!({}), 400, "missing-field"),
    ];
    for (name, body, status, problem) in rows {
        assert_eq!(put(&river, name, &body).expect(status).problem(), problem, "{name} {body}");
    }
    // A shard comes once: else one of its places would be forgotten without a word.
    let twice = [
        (r#"{"positions":{"0":2,"0":1}}"#, "positions.0", "is there twice"),
        (r#"{"positions":{"0":2,"00":1}}"#, "positions.00", "must be written 0"),
        (r#"{"positions":{"+0":2}}"#, "positions.+0", "must be written 0"),
    ];
    for (body, field, rule) in twice {
        let refused = river.send("PUT", &format!("{CURSORS}/c"), Some(body)).expect(400).json();
        assert_eq!(
            (&refused["type"], &refused["field"]),
            (&json!("/problems/wrong-type"), &json!(field))
        );
        assert!(refused["detail"].as_str().unwrap().contains(rule), "{refused}");
    }
    assert_eq!(records(&river, "&cursor=mine&after=1").expect(400).problem(), "invalid-query");
    for i in 1..100 {
        put(&river, &format!("c{i}"), &json!({"positions": {"0": 1}})).expect(200);
    }
    let full = put(&river, "one-more", &json!({"positions": {"0": 1}})).expect(422);
    assert_eq!(full.problem(), "too-many-cursors");
}
