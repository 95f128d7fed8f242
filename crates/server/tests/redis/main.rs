//! `onsale serve --store redis://…`, with a real Redis and servers in processes of their own: what is killed, hangs, is full
//! or is lost, and what buyers see of it.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod faults;
mod front;
mod kills;
#[path = "../support/process.rs"]
mod process;
mod selling;
mod streams;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use onsale::http_client::{Client, Response};
use onsale_services::Server;
use process::{KEY, Process};
use serde_json::{Value, json};

/// The event of all these tests.
const EVENT: &str = "/v1/organizers/o/events/e";
/// What is waited for comes within this time, or never.
const SOON: Duration = Duration::from_secs(20);

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
        let folder = tempfile::tempdir().unwrap();
        let process = serve(folder.path(), redis, environment);
        let client = Client::new(&process.url, Some(KEY)).unwrap();
        Node { process, client, folder }
    }

    /// Kills it, and starts it with the same folder.
    fn start_again(&mut self, redis: &Server) {
        self.process.kill();
        self.process = serve(self.folder.path(), redis, &[]);
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

    fn open_event_with(&self, capacity: u64, hold_seconds: u64) {
        let definition = json!({ "name": "E", "currency": "EUR", "hold_seconds": hold_seconds,
            "quotas": [{ "id": "q", "capacity": capacity }],
            "ticket_types": [{ "id": "free", "name": "Free", "price": 0, "quotas": ["q"] },
                             { "id": "paid", "name": "Paid", "price": 1250, "quotas": ["q"] }] });
        let made = self.send("PUT", "", &[("if-none-match", "*")], &definition);
        assert_eq!(made.status, 201, "{:?}", body_of(&made));
        let opened = self.send("PATCH", "", &[("if-match", "*")], &json!({ "state": "open" }));
        assert_eq!(opened.status, 200, "{:?}", body_of(&opened));
    }

    fn hold(&self, key: &str, customer: &str) -> Response {
        let body = json!({ "customer": customer,
            "items": [{ "ticket_type": "paid", "quantity": 1 }] });
        self.send("POST", "/holds", &[("idempotency-key", key)], &body)
    }
}

fn serve(folder: &Path, redis: &Server, environment: &[(&str, &str)]) -> Process {
    Process::serve(folder, &["--shards", "2", "--store", redis.url()], environment)
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
    let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
    let words: Vec<String> = words.collect();
    // What follows is answered last, so all is there once that is.
    let end = "*2\r\n$4\r\nECHO\r\n$7\r\nthe-end\r\n";
    let call = format!("*{}\r\n{}{end}", words.len(), words.concat());
    stream.write_all(call.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| line != "the-end").collect();
    assert!(!lines[0].starts_with('-'), "{lines:?}");
    lines[..lines.len() - 1].iter().filter(|l| !l.starts_with(['$', '*'])).cloned().collect()
}

/// The audit of the store, which must find nothing.
fn audit(redis: &Server) -> onsale::audit::Audit {
    let options = onsale_redis::Options {
        url: redis.url().to_owned(),
        prefix: "onsale".to_owned(),
        timeout: Duration::from_secs(5),
        replicas: 0,
    };
    let audit = onsale::audit::audit_store(&options).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    audit
}
