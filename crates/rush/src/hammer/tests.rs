//! The hammer against a server of a few lines.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;

/// The customers that a server was asked for.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers each request with `answer`, and notes all that stands between `<` and `>`.
fn serve(answer: &'static str) -> (SocketAddr, Seen) {
    let first = 21_000 + (std::process::id() % 4_000) as u16;
    let mut ports = (first..31_000).step_by(3);
    let listener = ports.find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let noted = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let noted = noted.clone();
            std::thread::spawn(move || talk(stream.unwrap(), answer, &noted));
        }
    });
    (address, seen)
}

fn talk(mut stream: TcpStream, answer: &str, noted: &Seen) {
    let (mut input, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        input.extend_from_slice(&piece[..read]);
        while let Some(end) = input.windows(2).position(|pair| pair == b"!!") {
            let request: Vec<u8> = input.drain(..end + 2).collect();
            let text = String::from_utf8(request).unwrap();
            let customers = text.split('<').skip(1).map(|rest| rest[..16].to_owned());
            noted.lock().unwrap().extend(customers);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    }
}

fn plan(address: SocketAddr, commands: usize) -> Plan {
    let body = "<################>".repeat(commands) + "!!";
    Plan {
        address,
        connections: 3,
        depth: 1,
        template: Template::post("/", "", &body, 1),
        pace: Pace::Closed,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(20),
        requests_max: 500,
        each: None,
        first_number: 7,
    }
}

const FINE: &str = "HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nok\n\nok";

#[test]
fn every_request_is_answered_and_no_two_are_the_same() {
    for depth in [1, 16] {
        let (address, seen) = serve(FINE);
        let hits = run(Plan { depth, ..plan(address, 1) }).unwrap();
        assert_eq!((hits.requests_total, hits.granted_total, hits.refused_total), (500, 500, 0));
        assert_eq!((hits.answer_bytes, hits.next_number), (6, 507));
        assert_eq!(hits.latency_ms.count, 500);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 500);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 500, "depth {depth}");
    }
}

#[test]
fn what_is_granted_in_a_batch_is_counted_one_by_one() {
    let (address, seen) = serve(FINE);
    let batch = Plan { each: Some("ok"), requests_max: 10, ..plan(address, 5) };
    let hits = run(batch).unwrap();
    assert_eq!((hits.requests_total, hits.granted_total, hits.refused_total), (10, 20, 30));
    assert_eq!(hits.first_refusal.as_deref(), Some("201 ok\n\nok"));
    assert_eq!(seen.lock().unwrap().len(), 50);
}

#[test]
fn a_refusal_is_counted_and_the_first_one_told() {
    let (address, _) = serve("HTTP/1.1 409 Conflict\r\nX: y\r\ncontent-length: 4\r\n\r\ngone");
    let hits = run(plan(address, 1)).unwrap();
    assert_eq!((hits.granted_total, hits.refused_total), (0, 500));
    assert_eq!(hits.first_refusal.as_deref(), Some("409 gone"));
}

#[test]
fn a_pace_is_kept_and_latency_counts_from_the_intended_time() {
    let (address, _) = serve(FINE);
    let pace = Pace::PerSecond(1_000.0);
    let began = Instant::now();
    let hits = run(Plan { pace, requests_max: 300, ..plan(address, 1) }).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(299), "{hits:?}");
    assert_eq!((hits.requests_total, hits.unsent), (300, 0));
    // Nobody answers here: what was not sent has waited, and counts.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let mut hammer = Hammer::new(Plan { pace, requests_max: 300, ..plan(address, 1) }).unwrap();
    hammer.send_due(100_000).unwrap();
    assert_eq!((hammer.sent, hammer.count_unsent(100_000)), (3, 97));
    assert_eq!(hammer.tally.latency.len(), 97);
}

#[test]
fn a_server_that_goes_away_is_an_error() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let closed: Vec<_> = listener.incoming().take(3).collect();
        drop(closed);
    });
    let error = run(plan(address, 1)).unwrap_err();
    assert!(format!("{error:#}").contains("connection"), "{error:#}");
}

#[test]
fn an_answer_is_taken_once_it_is_whole() {
    let whole = FINE.as_bytes();
    for end in 0..whole.len() {
        assert_eq!(answer::first(&whole[..end]).unwrap(), None, "{end}");
    }
    let found = answer::first(&[whole, whole].concat()).unwrap().unwrap();
    assert_eq!((found.status, found.body, found.end), (201, whole.len() - 6, whole.len()));
    for bad in ["HTTP/1.1 200 OK\r\nX: 1\r\n\r\n", "SSH-2.0\r\n\r\n"] {
        assert!(answer::first(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
#[should_panic(expected = "3 marks for 2 each")]
fn marks_must_be_shared_out() {
    let _ = Template::new("################".repeat(3), 2);
}
