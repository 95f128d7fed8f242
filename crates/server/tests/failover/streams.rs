//! The streams that others write to, over a database, while servers change.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use onsale_services::wait_until;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{GO_ON, PATIENCE, Stage, client};

const STREAM: &str = "/v1/streams/catalogue/records";
/// Wishes between two kills.
const WISHES: usize = 12;
/// How long a sender waits before it asks the other server.
const SENDER: Duration = Duration::from_millis(600);

/// A wish to make an event of this name.
fn wish(name: &str) -> String {
    let definition = json!({
        "name": name, "currency": "EUR", "quotas": [{"id": "q", "capacity": 10}],
        "ticket_types": [{"id": "t", "name": "T", "price": 0, "quotas": ["q"]}],
    });
    let kind = "onsale.event.define.v1";
    let subject = format!("o/{name}");
    json!({"type": kind, "subject": subject, "data": definition}).to_string()
}

impl Stage {
    /// Sends a wish, to whichever server takes it, until one has; gives its position.
    fn wish(&self, name: &str) -> u64 {
        let position = Cell::new(None);
        wait_until("a server takes the wish", || {
            position.set(self.nodes.iter().find_map(|node| {
                let client = client(&node.process.url, SENDER);
                let headers = [("idempotency-key", name)];
                let answer = client.request("POST", STREAM, &headers, Some(&wish(name))).ok()?;
                let json = answer.json();
                assert!([201, 500, 503].contains(&answer.status), "{name}: {json}");
                (answer.status == 201).then(|| json["position"].as_u64().unwrap())
            }));
            position.get().is_some()
        });
        position.get().unwrap()
    }

    /// What the active server answers.
    fn get(&self, path: &str) -> Value {
        let found = RefCell::new(Value::Null);
        wait_until(&format!("a server answers {path}"), || {
            self.nodes.iter().any(|node| {
                let answer = client(&node.process.url, PATIENCE).request("GET", path, &[], None);
                let answer = answer.ok().filter(|answer| answer.status == 200);
                answer.inspect(|answer| *found.borrow_mut() = answer.json()).is_some()
            })
        });
        found.into_inner()
    }

    fn active(&self) -> usize {
        let is_active = |which: &usize| self.nodes[*which].status("/readyz") == 200;
        let found = Cell::new(None);
        wait_until("one is active", || {
            found.set([0, 1].into_iter().find(is_active));
            found.get().is_some()
        });
        found.get().unwrap()
    }
}

#[test]
fn a_wish_that_was_acknowledged_is_carried_out_once_whoever_dies() {
    let mut stage = Stage::start(10);
    let mut told = Vec::new();
    for (round, signal) in [Signal::KILL, Signal::STOP, Signal::KILL].into_iter().enumerate() {
        let active = stage.active();
        for number in 0..WISHES {
            let name = format!("w-{round}-{number}");
            // The last answer is hardly there when it happens, and the next wish meets a server that is gone.
            if number == WISHES / 2 {
                stage.nodes[active].signal(signal);
            }
            told.push((name.clone(), stage.wish(&name)));
            assert_eq!(told.len() as u64, told[told.len() - 1].1, "{name}: no wish is there twice");
        }
        assert_ne!(stage.active(), active, "the other one took over");
        stage.nodes[active].signal(Signal::KILL);
        stage.start_again(active);
    }
    // A key that was sent before has its place still, at whichever server.
    assert_eq!(stage.wish("w-0-0"), 1);
    let (mut subjects, mut after) = (Vec::new(), 0);
    while after < told.len() as u64 {
        let page = stage.get(&format!("{STREAM}?after={after}"));
        let records = page["records"].as_array().unwrap();
        assert!(!records.is_empty(), "nothing follows {after}");
        subjects.extend(records.iter().map(|r| r["subject"].as_str().unwrap().to_owned()));
        after = page["next"].as_u64().unwrap();
    }
    let sent: Vec<String> = told.iter().map(|(name, _)| format!("o/{name}")).collect();
    assert_eq!(subjects, sent);
    let begun = std::time::Instant::now();
    for (name, _) in &told {
        let event = stage.get(&format!("/v1/organizers/o/events/{name}"));
        assert_eq!((&event["name"], &event["version"]), (&json!(name), &json!(1)), "{event}");
        assert!(begun.elapsed() < GO_ON, "it takes too long");
    }
    let parked = stage.get("/v1/streams/catalogue/parked");
    assert_eq!(parked["parked"], json!([]));
    // It is there for whoever can read SQL only.
    let in_sql = "SELECT count(*) FROM onsale.stream_records WHERE stream = 'catalogue'
        AND convert_from(payload, 'UTF8')::json ->> 'subject' = 'o/' || split_part(key, '/', 2)";
    assert_eq!(crate::sql(stage.database.url(), in_sql), Some(told.len().to_string()));
    // One that somebody deletes is missed by whoever reads it, and by nobody else. A server that just took over has nothing in
    // memory.
    let delete = "DELETE FROM onsale.stream_records WHERE stream = 'catalogue' AND position = 5";
    crate::sql(stage.database.url(), delete);
    let active = stage.active();
    stage.nodes[active].signal(Signal::KILL);
    stage.start_again(active);
    assert_eq!(stage.wish("w-0-0"), 1);
    let active = client(&stage.nodes[stage.active()].process.url, PATIENCE);
    let read = |after: u64| {
        let path = format!("{STREAM}?after={after}&limit=3");
        active.request("GET", &path, &[], None).unwrap()
    };
    let expected = "catalogue/0: the record at position 5 (of onsale.stream_records) is missing";
    assert!(read(4).problem().contains(expected), "{}", read(4).problem());
    assert_eq!((read(5).status, &read(5).json()["records"][0]["position"]), (200, &json!(6)));
    stage.finish();
}
