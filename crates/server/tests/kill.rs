//! The real server is killed with SIGKILL under load, twenty times over the same data
//! folder. Each time it comes back, every order that it had acknowledged is there, as
//! it was acknowledged; at the end the journal proves all of it.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onsale::http_client::Client;
use onsale_rush::{Acknowledged, Arrivals, Config, Ended, verify};

const KILLS: u64 = 20;
const KEY: &str = "a-key-that-may-do-everything";
const EVENT: &str = "/v1/organizers/o/events/e";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","hold_seconds":60,
    "quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]},
                    {"id":"paid","name":"Paid","price":1250,"quotas":["q"]}]}"#;

struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts on a free port below those that the system gives to clients.
    fn start(data: &Path) -> Server {
        let first = 20_000 + (std::process::id() % 3_000) as u16;
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..24_900).step_by(7).find(free).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--segment-mib", "1"])
            .arg("--data")
            .arg(data)
            .env("ONSALE_KEY", KEY)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.map_while(Result::ok).try_for_each(|line| {
            match line.strip_prefix("listening on ") {
                Some(url) => ControlFlow::Break(url.to_owned()),
                None => ControlFlow::Continue(()),
            }
        });
        let ControlFlow::Break(url) = listening else {
            panic!("the server did not start: {:?}", child.wait());
        };
        Server { child, url }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn send(&self, method: &str, path: &str, condition: (&str, &str), body: &str) -> u16 {
        let client = Client::new(&self.url, Some(KEY)).unwrap();
        client.request(method, path, &[condition], Some(body)).unwrap().status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(url: &str, seed: u64) -> Config {
    Config {
        buyers: 1_000_000,
        arrivals: Arrivals::Constant { per_second: 3_000.0 },
        connections: Some(64),
        think_ms: 0..=20,
        abandon: 0.05,
        direct: 0.2,
        give_up: Duration::from_millis(300),
        seed,
        verify: false,
        ..Config::new(url, KEY, "o", "e")
    }
}

/// Lets buyers in and kills the server once so many orders are acknowledged; gives back
/// those that were.
fn sell_and_kill(server: &mut Server, seed: u64, orders_min: u64) -> Vec<Acknowledged> {
    let mut killed = false;
    let report = onsale_rush::run(load(&server.url.clone(), seed), &mut |live| {
        if !killed && live.orders >= orders_min {
            server.kill();
            killed = true;
        }
    });
    let report = report.unwrap();
    assert!(killed, "the load ended before the kill: {report}");
    assert_eq!(report.ended, Ended::ServerGone, "{report}");
    assert!(report.acknowledged.len() as u64 >= orders_min);
    report.acknowledged
}

#[test]
fn what_was_acknowledged_is_there_after_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    let mut server = Server::start(folder.path());
    assert_eq!(server.send("PUT", EVENT, ("if-none-match", "*"), DEFINITION), 201);
    assert_eq!(server.send("PATCH", EVENT, ("if-match", "*"), r#"{"state":"open"}"#), 200);
    for round in 1..=KILLS {
        // From the first few orders to well into the load.
        let acknowledged = sell_and_kill(&mut server, round, 1 + round * 37 % 600);
        server = Server::start(folder.path());
        let found = verify(&load(&server.url, round), &acknowledged).unwrap();
        assert!(found.is_ok(), "after kill {round}: {found:?}");
        assert_eq!(found.checked, acknowledged.len() as u64);
        all.extend(acknowledged);
    }
    let found = verify(&load(&server.url, 0), &all).unwrap();
    assert!(found.is_ok(), "at the end: {found:?}");
    server.kill();
    let audit = onsale::audit::audit(folder.path()).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    let orders = audit.report.orders;
    assert!(orders.confirmed + orders.awaiting_payment >= all.len() as u64);
}
