//! A server of its own for each test, and a client that hides nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use onsale::config::{Config, Flags};
use onsale::keys::{self, NewKey, Scope};
use onsale::serve::Server;
use onsale::shards::wall_time;
use onsale_core::Id;
use serde_json::{Value, json};

/// The key that may do everything.
pub const KEY: &str = "test-key-that-may-do-everything";
/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server with a data folder that goes with it.
pub struct Site {
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
    config: Config,
    server: Option<Server>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// The first header with this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The same answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The problem's name, if it is one.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let value = self.json();
        assert_eq!(value["status"], self.status, "{self:?}");
        value["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }
}

impl Site {
    /// A server with the default limits.
    pub fn new() -> Site {
        Site::with(|_| {})
    }

    /// A server with a configuration of its own.
    pub fn with(change: impl FnOnce(&mut Config)) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let flags = Flags { data: Some(folder.path().to_owned()), ..Flags::default() };
        let mut config = Config::load(None, &flags).unwrap();
        config.journal.segment_bytes = 1 << 20;
        change(&mut config);
        let server = start(&mut config);
        Site { address: server.address, folder, config, server: Some(server) }
    }

    /// Makes a key.
    pub fn key(&self, scopes: &[Scope], organizer: Option<&str>) -> String {
        self.key_with_rate(scopes, organizer, None)
    }

    /// Makes a key with a limit of its own, which the wait for it does not use up.
    pub fn key_with_rate(
        &self,
        scopes: &[Scope],
        organizer: Option<&str>,
        rate: Option<u32>,
    ) -> String {
        let organizer = organizer.map(|text| Id::new(text).unwrap());
        let new = NewKey { name: None, scopes: scopes.to_vec(), organizer, rate };
        let (_, secret) =
            keys::create(self.folder.path(), new, wall_time(), |_, _| Ok(())).unwrap();
        self.until("the new key works", || {
            self.as_key(secret.reveal()).get("/problems").status == 200
        });
        secret.reveal().to_owned()
    }

    /// Waits for a condition.
    pub fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let begin = std::time::Instant::now();
        while !condition() {
            assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// A client with another key.
    pub fn as_key(&self, key: &str) -> Client {
        Client { address: self.address, headers: vec![("authorization", format!("Bearer {key}"))] }
    }

    /// The client with the key that may do everything.
    pub fn client(&self) -> Client {
        self.as_key(KEY)
    }

    /// Stops the server and starts another on the same folder; its address may be another one.
    pub fn restart(&mut self) {
        self.stop();
        let server = start(&mut self.config);
        self.address = server.address;
        self.server = Some(server);
    }

    /// Stops the server as SIGTERM does.
    pub fn stop(&mut self) {
        let Some(server) = self.server.take() else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server.stop()).unwrap();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// Starts on a free port below those that the system gives to clients.
fn start(config: &mut Config) -> Server {
    let first = 20_000 + (std::process::id() % 5_000) as u16;
    for port in (first..32_000).step_by(7) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_err() {
            continue;
        }
        config.listen = address;
        match Server::start(config, Some(KEY), &[]) {
            Ok(server) => return server,
            // Another test was faster.
            Err(error) if error.to_string().contains("cannot listen") => {}
            Err(error) => panic!("{error:#}"),
        }
    }
    panic!("no free port");
}

/// Sends requests, each on a connection of its own.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    /// The same client with one header more.
    pub fn with(&self, name: &'static str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(&body.to_string()))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, Some(&body.to_string()))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, Some(&body.to_string()))
    }

    /// Sends a request, with a body of JSON if any.
    pub fn send(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            if !self.headers.iter().any(|(name, _)| *name == "content-type") {
                head += "content-type: application/json\r\n";
            }
            head += &format!("content-length: {}\r\n", body.len());
        }
        raw(self.address, (head + "\r\n" + body.unwrap_or_default()).as_bytes())
    }
}

/// Sends these bytes and reads all that comes back.
pub fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may answer and close before it has read all of a large request.
    let _ = stream.write_all(request);
    read(&mut stream)
}

/// Reads an answer to its end, where the server closes.
pub fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut piece = [0; 65_536];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    parse(&String::from_utf8(bytes).unwrap())
}

fn parse(text: &str) -> Answer {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Answer { status: 0, headers: Vec::new(), text: text.to_owned() };
    };
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    };
    let headers = lines.map(header).collect();
    Answer { status, headers, text: body.to_owned() }
}

/// The path of an event of the organizer `river`, and what is below it.
pub fn path(event: &str, below: &str) -> String {
    format!("/v1/organizers/river/events/{event}{below}")
}

/// A hall of 10 seats with free ones, paid ones and ones whose price the buyer chooses.
pub fn concert() -> Value {
    json!({
        "name": "Spring concert", "currency": "EUR",
        "hold_seconds": 600, "payment_seconds": 900,
        "limits": [{"per_order": 6, "per_customer": 8}],
        "quotas": [{"id": "hall", "capacity": 10}, {"id": "programme", "capacity": null}],
        "ticket_types": [
            {"id": "free", "name": "Guest", "price": 0, "quotas": ["hall"]},
            {"id": "paid", "name": "Seat", "price": 2500, "quotas": ["hall", "programme"]},
            {"id": "solidarity", "name": "Solidarity", "price": 1000, "free_price": true,
             "quotas": ["hall"]}
        ]
    })
}

/// Defines an event and opens it.
pub fn open(site: &Site, event: &str, body: &Value) {
    let client = site.client();
    client.put(&path(event, ""), body).expect(201);
    let open = json!({"state": "open"});
    client.with("if-match", "*").patch(&path(event, ""), &open).expect(200);
}

/// A cart of one item.
pub fn cart(customer: &str, ticket_type: &str, quantity: u32) -> Value {
    json!({"customer": customer, "items": [{"ticket_type": ticket_type, "quantity": quantity}]})
}

/// Held and sold of a quota.
pub fn used(site: &Site, event: &str, quota: &str) -> (u64, u64) {
    let left = site.client().get(&path(event, "/availability")).expect(200).json();
    let quotas = left["quotas"].as_array().unwrap();
    let found = quotas.iter().find(|q| q["id"] == quota).unwrap();
    (found["held"].as_u64().unwrap(), found["sold"].as_u64().unwrap())
}
