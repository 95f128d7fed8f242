//! The availability of an event, live: what a reader sees, and who may read.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{KEY, Site, cart, concert, open, path};

/// A reader of server-sent events.
struct Reader {
    lines: BufReader<TcpStream>,
    head: String,
}

/// One event.
#[derive(Debug)]
struct Event {
    id: u64,
    state: Value,
}

impl Reader {
    fn connect(site: &Site, more: &str) -> Reader {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let path = path("concert", "/availability/live");
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = Reader { lines: BufReader::new(stream), head: String::new() };
        while !reader.head.ends_with("\r\n\r\n") {
            assert!(reader.lines.read_line(&mut reader.head).unwrap() > 0, "{}", reader.head);
        }
        reader
    }

    /// The next line that is not of the framing; none at the end.
    fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A chunk begins with its size and ends with an empty line.
            if !line.ends_with("\r\n") {
                return Some(line.trim_end().to_owned());
            }
        }
    }

    fn next(&mut self) -> Event {
        loop {
            let line = self.line().expect("the stream goes on");
            let Some(id) = line.strip_prefix("id: ") else { continue };
            assert_eq!(self.line().unwrap(), "event: availability");
            let data = self.line().unwrap();
            let state: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            let event = Event { id: id.parse().unwrap(), state };
            assert_eq!(event.state["receipt"]["position"], event.id);
            return event;
        }
    }
}

fn held(event: &Event) -> u64 {
    event.state["quotas"][0]["held"].as_u64().unwrap()
}

#[test]
fn a_reader_sees_the_state_at_once_and_then_its_changes() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let mut reader = Reader::connect(&site, "");
    assert!(reader.head.starts_with("HTTP/1.1 200"), "{}", reader.head);
    for header in ["content-type: text/event-stream", "cache-control: no-store"] {
        assert!(reader.head.contains(header), "{}", reader.head);
    }
    let first = reader.next();
    let shown = site.client().get(&path("concert", "/availability")).expect(200).json();
    assert_eq!(first.state["quotas"], shown["quotas"]);
    assert_eq!(first.state["on_sale"], true);
    // A burst of holds becomes a few states; positions only grow, and the last is the truth.
    for i in 0..10 {
        let cart = cart(&format!("c-{i}"), "free", 1);
        site.client().post(&path("concert", "/holds"), &cart).expect(201);
    }
    let (mut last, mut count) = (first, 0);
    while held(&last) < 10 {
        let next = reader.next();
        assert!(next.id > last.id && held(&next) > held(&last), "{last:?} then {next:?}");
        (last, count) = (next, count + 1);
    }
    assert!(count <= 10, "more states than changes");
    // What does not change the event is not sent: the next is about its new state.
    open(&site, "other", &concert());
    let pause = json!({"state": "paused"});
    site.client().with("if-match", "*").patch(&path("concert", ""), &pause).expect(200);
    let paused = reader.next();
    assert_eq!((paused.state["state"].as_str(), held(&paused)), (Some("paused"), 10));
}

#[test]
fn who_comes_again_is_sent_only_what_is_new() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let id = Reader::connect(&site, "").next().id;
    let mut again = Reader::connect(&site, &format!("last-event-id: {id}\r\n"));
    assert_eq!(again.line().unwrap(), ": still here");
    site.client().post(&path("concert", "/holds"), &cart("c", "free", 1)).expect(201);
    assert_eq!(held(&again.next()), 1);
    for odd in ["0", "99999", "no-number"] {
        let mut reader = Reader::connect(&site, &format!("last-event-id: {odd}\r\n"));
        assert_eq!(held(&reader.next()), 1, "{odd}");
    }
}

#[test]
fn readers_have_a_limit_and_need_a_key() {
    let site = Site::with(|config| config.limits.live_readers = 2);
    open(&site, "concert", &concert());
    let live = path("concert", "/availability/live");
    let readers = [Reader::connect(&site, ""), Reader::connect(&site, "")];
    let refused = site.client().get(&live).expect(503);
    assert_eq!(refused.problem(), "too-many-readers");
    assert_eq!((refused.header("retry-after"), &refused.json()["max"]), (Some("5"), &json!(2)));
    let figures = site.client().get("/metrics").expect(200).text;
    for line in ["onsale_live_readers 2", "onsale_refused_total{reason=\"readers\"} 1"] {
        assert!(figures.lines().any(|l| l == line), "no {line} in {figures}");
    }
    // A place is free again once its reader is gone and something was to be sent to it.
    drop(readers);
    site.until("a place is free", || {
        let hold = site.client().post(&path("concert", "/holds"), &cart("c", "free", 1));
        if hold.status == 201 {
            let id = hold.json()["id"].as_str().unwrap().to_owned();
            site.client().send("DELETE", &path("concert", &format!("/holds/{id}")), None);
        }
        let text = site.client().get("/metrics").expect(200).text;
        text.lines().any(|line| line == "onsale_live_readers 0")
    });
    assert_eq!(site.client().get(&path("nothing", "/availability/live")).status, 404);
    let pay = site.as_key(&site.key(&[Scope::Pay], None));
    assert_eq!(pay.get(&live).expect(403).problem(), "scope-missing");
    let other = site.as_key(&site.key(&[Scope::Read], Some("lake")));
    assert_eq!(other.get(&live).expect(403).problem(), "other-organizer");
}

#[test]
fn a_server_that_stops_ends_the_streams() {
    let mut site = Site::new();
    open(&site, "concert", &concert());
    let mut reader = Reader::connect(&site, "");
    reader.next();
    site.stop();
    while reader.line().is_some() {}
}
