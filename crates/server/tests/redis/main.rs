//! `onsale serve --store redis://…`, with a real Redis and servers in processes of their own: what is killed, hangs, is full
//! or is lost, and what buyers see of it.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod cluster;
mod faults;
mod front;
mod kills;
#[path = "../support/process.rs"]
mod process;
mod rebuild;
mod selling;
mod shared;
mod streams;
mod tls;
mod upgrade;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use onsale::http_client::{Client, Response};
use onsale_services::Server;
use process::{KEY, Process};
use serde_json::{Value, json};

/// The event of all these tests.
const EVENT: &str = "/v1/organizers/o/events/e";
/// What is waited for comes within this time, or never.
const SOON: Duration = Duration::from_secs(60);

/// Says so when it ends, however that is: threads that wait for it end with the test.
struct SaidAtEnd<'a>(&'a [&'a AtomicBool]);

impl Drop for SaidAtEnd<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|said| said.store(true, Ordering::Relaxed));
    }
}

/// A server on a Redis, with a data folder of its own.
struct Node {
    process: Process,
    client: Client,
    folder: tempfile::TempDir,
}

impl Node {
    fn start(redis: &Server) -> Node {
        Node::start_with(redis, &[])
    }

    fn start_with(redis: &Server, environment: &[(&str, &str)]) -> Node {
        Node::start_at(redis.url(), "2", environment)
    }

    fn start_at(store: &str, shards: &str, environment: &[(&str, &str)]) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let process = serve(folder.path(), store, shards, environment);
        let client = Client::new(&process.url, Some(KEY)).unwrap();
        Node { process, client, folder }
    }

    /// Kills it, and starts it with the same folder.
    fn start_again(&mut self, redis: &Server) {
        self.process.kill();
        self.process = serve(self.folder.path(), redis.url(), "2", &[]);
        self.client = Client::new(&self.process.url, Some(KEY)).unwrap();
    }

    fn port(&self) -> u16 {
        self.process.url.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// Lets it hear of the event that another one has made.
    fn knows_event(&self) {
        self.expect(200, "GET", "", &Value::Null);
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let body = (*body != Value::Null).then(|| body.to_string());
        self.client.request(method, &format!("{EVENT}{path}"), headers, body.as_deref()).unwrap()
    }

    /// Sends, and expects a status; gives the body.
    fn expect(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let response = self.send(method, path, &[], body);
        assert_eq!(response.status, status, "{method} {path}: {:?}", body_of(&response));
        body_of(&response)
    }

    /// Makes the event, with so many tickets, and opens it.
    fn open_event(&self, capacity: u64) {
        self.open_event_with(capacity, 600);
    }

    fn open_event_with(&self, capacity: u64, hold_seconds: u32) {
        let made = self.define(capacity, hold_seconds, ("if-none-match", "*"));
        assert_eq!(made.status, 201, "{:?}", body_of(&made));
        let opened = self.send("PATCH", "", &[("if-match", "*")], &json!({ "state": "open" }));
        assert_eq!(opened.status, 200, "{:?}", body_of(&opened));
    }

    /// Defines the event; holds last so many seconds.
    fn define(&self, capacity: u64, hold_seconds: u32, expects: (&str, &str)) -> Response {
        let definition = json!({ "name": "E", "currency": "EUR", "hold_seconds": hold_seconds,
            "quotas": [{ "id": "q", "capacity": capacity }],
            "ticket_types": [{ "id": "free", "name": "Free", "price": 0, "quotas": ["q"] },
                             { "id": "paid", "name": "Paid", "price": 1250, "quotas": ["q"] }] });
        self.send("PUT", "", &[expects], &definition)
    }

    fn hold(&self, key: &str, customer: &str) -> Response {
        let body = json!({ "customer": customer,
            "items": [{ "ticket_type": "paid", "quantity": 1 }] });
        self.send("POST", "/holds", &[("idempotency-key", key)], &body)
    }
}

fn serve(folder: &Path, store: &str, shards: &str, environment: &[(&str, &str)]) -> Process {
    Process::serve(folder, &["--shards", shards, "--store", store], environment)
}

fn body_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or(Value::Null)
}

/// Waits until something holds.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < SOON, "{what} never came about");
        std::thread::yield_now();
    }
}

/// Asks Redis itself; gives its answer line by line, without what says how long each is.
fn ask(redis: &Server, words: &[&str]) -> Vec<String> {
    onsale_services::ask_redis(redis.port(), words).unwrap()
}

/// The audit of the store, which must find nothing.
fn audit(redis: &Server) -> onsale::audit::Audit {
    audit_at(redis.url())
}

fn audit_at(url: &str) -> onsale::audit::Audit {
    let audit = onsale::audit::audit_store(&options_at(url)).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    audit
}

fn options_at(url: &str) -> onsale_redis::Options {
    onsale_redis::Options {
        url: url.to_owned(),
        prefix: "onsale".to_owned(),
        timeout: Duration::from_secs(5),
        replicas: 0,
    }
}
