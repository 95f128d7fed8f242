//! The real server is killed with SIGKILL under load, twenty times over the same data
//! folder. Each time it comes back, every order that it had acknowledged is there, as
//! it was acknowledged; at the end the journal proves all of it.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "support/process.rs"]
mod process;

use std::path::Path;
use std::time::Duration;

use onsale::http_client::Client;
use onsale_rush::{Acknowledged, Arrivals, Config, Ended, verify};
use process::{KEY, Process};

const KILLS: u64 = 20;
const EVENT: &str = "/v1/organizers/o/events/e";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","hold_seconds":60,
    "quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]},
                    {"id":"paid","name":"Paid","price":1250,"quotas":["q"]}]}"#;

fn start(data: &Path) -> Process {
    Process::serve(data, &["--segment-mib", "1"], &[])
}

fn send(server: &Process, method: &str, condition: (&str, &str), body: &str) -> u16 {
    let client = Client::new(&server.url, Some(KEY)).unwrap();
    client.request(method, EVENT, &[condition], Some(body)).unwrap().status
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
fn sell_and_kill(server: &mut Process, seed: u64, orders_min: u64) -> Vec<Acknowledged> {
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
    let mut server = start(folder.path());
    assert_eq!(send(&server, "PUT", ("if-none-match", "*"), DEFINITION), 201);
    assert_eq!(send(&server, "PATCH", ("if-match", "*"), r#"{"state":"open"}"#), 200);
    for round in 1..=KILLS {
        // From the first few orders to well into the load.
        let acknowledged = sell_and_kill(&mut server, round, 1 + round * 37 % 600);
        server = start(folder.path());
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
