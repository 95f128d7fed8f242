//! Slow clients, as many as the system lets open: they do not stop a sale, and they are cut.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::ALONE;
use crate::process::{EVENT, KEY, Server};

/// Slow clients, where the system lets a process open so many files.
const CLIENTS_MAX: u64 = 10_000;
/// Files that the test needs beside.
const FILES_BESIDE: u64 = 600;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections this process may open.
pub fn clients_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    CLIENTS_MAX.min(files.saturating_sub(FILES_BESIDE))
}

/// A client that says half of something: of a head, of a body, or nothing at all.
fn slow_client(server: &Server, number: u64) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!("POST {EVENT}/holds HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n");
    let said = match number % 4 {
        0 => String::new(),
        1 => format!("{head}content-length: 90\r\n\r\n{{\"customer\":"),
        _ => head,
    };
    // One too many is told so and closed, maybe before it has said a word.
    let _ = stream.write_all(said.as_bytes());
    stream
}

fn buy(server: &Server, number: u64) -> Result<(u16, String), String> {
    let cart =
        format!(r#"{{"customer":"c-{number}","items":[{{"ticket_type":"free","quantity":1}}]}}"#);
    server.try_send("POST", &format!("{EVENT}/orders"), Some(&cart))
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn slow_clients_do_not_stop_a_sale_and_are_cut() {
    let _alone = ALONE.blocking_lock();
    let server = Server::start(&[
        ("ONSALE_LIMITS_HEADER_SECONDS", "8"),
        ("ONSALE_LIMITS_BODY_SECONDS", "8"),
        ("ONSALE_LIMITS_IDLE_SECONDS", "8"),
    ]);
    let count = clients_max();
    let memory = server.memory_bytes();
    let slow: Vec<TcpStream> = (0..count).map(|i| slow_client(&server, i)).collect();
    let begin = Instant::now();
    for number in 0..200 {
        let (status, body) = buy(&server, number).unwrap();
        assert_eq!(status, 201, "{body}");
    }
    let took = begin.elapsed();
    let open = server.figure("onsale_connections");
    let each = server.memory_bytes().saturating_sub(memory) / count;
    println!("200 sold in {took:?} beside {open} connections, {each} bytes for each slow client");
    assert!(open >= count as f64 / 2.0, "only {open} slow clients were there");
    assert!(each < 64 << 10, "{each} bytes for each slow client");
    until("the slow ones are cut", || server.figure("onsale_connections") < 10.0);
    let cut = server.figure("onsale_refused_total{reason=\"head-slow\"}");
    let bodies = server.figure("onsale_refused_total{reason=\"body-slow\"}");
    // A few may have come late, where the queue of new connections was full for a moment.
    let most = 0.9 * count as f64;
    assert!(cut >= most / 2.0 && bodies >= most / 4.0, "{cut}, {bodies} of {count}");
    drop(slow);
}

#[test]
fn beyond_the_limit_clients_are_told_to_come_back_until_there_is_room() {
    let _alone = ALONE.blocking_lock();
    let server = Server::start(&[
        ("ONSALE_LIMITS_HEADER_SECONDS", "2"),
        ("ONSALE_LIMITS_BODY_SECONDS", "2"),
        ("ONSALE_LIMITS_IDLE_SECONDS", "2"),
        ("ONSALE_LIMITS_CONNECTIONS", "300"),
    ]);
    let slow: Vec<TcpStream> = (0..400).map(|i| slow_client(&server, i)).collect();
    let mut late = TcpStream::connect(server.address).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    late.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("retry-after: "), "{text:?}");
    // Whoever comes back gets through, once the slow ones are cut.
    until("a sale goes through", || buy(&server, 1).is_ok_and(|(status, _)| status == 201));
    assert!(server.figure("onsale_refused_total{reason=\"connections\"}") >= 101.0);
    drop(slow);
}
