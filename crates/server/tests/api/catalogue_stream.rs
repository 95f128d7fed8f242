//! The stream `catalogue`: what is appended there becomes so in the engine, once, and what is refused is
//! parked with its reason.

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{Client, Site, cart, concert, path};

const CATALOGUE: &str = "/v1/streams/catalogue/records";
const PARKED: &str = "/v1/streams/catalogue/parked";

fn define(event: &str, definition: Value) -> Value {
    json!({"type": "onsale.event.define.v1", "subject": format!("river/{event}"), "data": definition})
}

fn state(event: &str, state: &str) -> Value {
    let data = json!({"state": state});
    json!({"type": "onsale.event.set-state.v1", "subject": format!("river/{event}"), "data": data})
}

fn is(client: &Client, event: &str, field: &str, value: &str) -> bool {
    let answer = client.get(&path(event, ""));
    answer.status == 200 && answer.json()[field] == value
}

#[test]
fn the_engine_follows() {
    let mut site = Site::with(|config| config.shards = 1);
    let client = site.client();
    let none = json!({"records": [], "next": 0, "generation": null});
    assert_eq!(client.get(CATALOGUE).expect(200).json(), none);
    let placed = client.post(CATALOGUE, &define("concert", concert())).expect(201).json();
    assert_eq!(placed, json!({"stream": "catalogue", "shard": 0, "position": 1}));
    client.post(CATALOGUE, &state("concert", "open")).expect(201);
    site.until("it is open", || is(&client, "concert", "state", "open"));
    client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201);
    let mut other = concert();
    other["name"] = json!("Summer concert");
    client.post(CATALOGUE, &define("concert", other)).expect(201);
    site.until("it has another name", || is(&client, "concert", "name", "Summer concert"));
    client.post(CATALOGUE, &state("concert", "paused")).expect(201);
    site.until("it is paused", || is(&client, "concert", "state", "paused"));
    let version = client.get(&path("concert", "")).json()["version"].clone();
    // After a restart nothing is done again, and what comes then is.
    site.restart();
    let client = site.client();
    client.post(CATALOGUE, &define("second", concert())).expect(201);
    site.until("the second is there", || is(&client, "second", "state", "paused"));
    assert_eq!(client.get(&path("concert", "")).json()["version"], version);
    let read = client.get(&format!("{CATALOGUE}?after=1&limit=2")).expect(200).json();
    assert_eq!((&read["next"], read["records"].as_array().unwrap().len()), (&json!(3), 2));
    let record = &read["records"][0];
    assert_eq!((&record["position"], &record["data"]), (&json!(2), &json!({"state": "open"})));
    assert_eq!(record["specversion"], "1.0");
}

#[test]
fn what_is_refused_is_parked_and_can_be_tried_again() {
    let site = Site::with(|config| config.shards = 1);
    let client = site.client();
    client.post(CATALOGUE, &state("concert", "open")).expect(201);
    client.post(CATALOGUE, &define("other", concert())).expect(201);
    site.until("those after it go on", || is(&client, "other", "state", "paused"));
    let parked = client.get(PARKED).expect(200).json()["parked"].clone();
    let reason = parked[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("/problems/unknown-event: "), "{parked}");
    assert_eq!((&parked[0]["position"], parked.as_array().unwrap().len()), (&json!(1), 1));
    let lake = site.as_key(&site.key(&[Scope::Manage], Some("lake")));
    assert_eq!(lake.get(PARKED).expect(200).json()["parked"], json!([]));
    let retry = format!("{PARKED}/0/1/retry");
    assert_eq!(lake.send("POST", &retry, None).expect(404).problem(), "unknown-parked-record");
    client.put(&path("concert", ""), &concert()).expect(201);
    client.send("POST", &retry, None).expect(202);
    site.until("it is open", || is(&client, "concert", "state", "open"));
    site.until("nothing is parked", || client.get(PARKED).json()["parked"] == json!([]));
    // One that will never be: it can be dropped.
    client.post(CATALOGUE, &state("nothing", "open")).expect(201);
    site.until("it is parked", || client.get(PARKED).json()["parked"] != json!([]));
    client.send("DELETE", &format!("{PARKED}/0/3"), None).expect(200);
    assert_eq!(client.get(PARKED).json()["parked"], json!([]));
}

#[test]
fn a_key_makes_an_append_safe_to_repeat() {
    let mut site = Site::with(|config| config.shards = 1);
    let body = define("concert", concert());
    let keyed = site.client().with("idempotency-key", "k-1");
    let first = keyed.post(CATALOGUE, &body).expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    for _ in 0..2 {
        let keyed = site.client().with("idempotency-key", "k-1");
        let again = keyed.post(CATALOGUE, &body).expect(201);
        assert_eq!(
            (again.json(), again.header("idempotency-replayed")),
            (first.json(), Some("true"))
        );
        let other = keyed.post(CATALOGUE, &state("concert", "open")).expect(422);
        assert_eq!(other.problem(), "idempotency-key-reused");
        site.restart();
    }
}

#[test]
fn bad_wishes_are_told_at_once() {
    let site = Site::with(|config| config.shards = 1);
    let client = site.client();
    let mut odd = concert();
    odd["currency"] = json!("XXY");
    let rows = [
        (define("concert", odd), 400, "unknown-currency"),
        (state("concert", "gone"), 400, "wrong-type"),
        (json!({"type": "x", "subject": "river/e", "data": {}}), 422, "unknown-record-type"),
        (json!({"type": "onsale.event.define.v1", "data": {}}), 400, "missing-field"),
        (json!({"type": "onsale.event.define.v1", "subject": "e", "data": {}}), 400, "invalid-id"),
        (json!({"subject": "river/e", "data": {}}), 400, "missing-field"),
    ];
    for (body, status, problem) in rows {
        assert_eq!(client.post(CATALOGUE, &body).expect(status).problem(), problem, "{body}");
    }
    let lake = site.as_key(&site.key(&[Scope::Manage], Some("lake")));
    let body = state("concert", "open");
    assert_eq!(lake.post(CATALOGUE, &body).expect(403).problem(), "other-organizer");
    let seller = site.as_key(&site.key(&[Scope::Sell], None));
    assert_eq!(seller.post(CATALOGUE, &body).expect(403).problem(), "scope-missing");
    let nowhere = client.post("/v1/streams/other/records", &body).expect(404);
    assert_eq!(nowhere.problem(), "unknown-stream");
    // Control keeps what is sent.
    let control = "/v1/streams/control/records";
    assert_eq!(client.post(control, &body).expect(422).problem(), "unknown-record-type");
    let stage = json!({"type": "onsale.control.stage.v1", "subject": "river/concert", "data": {"stage": "canary"}});
    client.post(control, &stage).expect(201);
    assert_eq!(lake.post(control, &stage).expect(403).problem(), "other-organizer");
    let read = client.get(control).expect(200).json();
    assert_eq!(read["records"][0]["data"], json!({"stage": "canary"}));
}
