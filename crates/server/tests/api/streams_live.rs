//! The stream, live: every record once, from any cursor on, and only one's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{KEY, Site, cart, concert, open, path};

const LIVE: &str = "/v1/streams/sales/records/live?shard=0";

/// A reader of server-sent events.
struct Reader {
    lines: BufReader<TcpStream>,
    head: String,
}

impl Reader {
    fn connect(site: &Site, key: &str, query: &str, more: &str) -> Reader {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head =
            format!("GET {LIVE}{query} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n");
        stream.write_all(format!("{head}{more}\r\n").as_bytes()).unwrap();
        let mut reader = Reader { lines: BufReader::new(stream), head: String::new() };
        while !reader.head.ends_with("\r\n\r\n") {
            assert!(reader.lines.read_line(&mut reader.head).unwrap() > 0, "{}", reader.head);
        }
        assert!(reader.head.starts_with("HTTP/1.1 200"), "{}", reader.head);
        reader
    }

    fn after(site: &Site, after: &str) -> Reader {
        Reader::connect(site, KEY, &format!("&after={after}"), "")
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

    /// The id that comes first, of the place where the reader begins.
    fn place(&mut self) -> String {
        let line = self.line().unwrap();
        assert_eq!(self.line().unwrap(), "");
        line.strip_prefix("id: ").unwrap().to_owned()
    }

    /// The next record, with its id.
    fn next(&mut self) -> (String, Value) {
        loop {
            let line = self.line().expect("the stream goes on");
            let Some(id) = line.strip_prefix("id: ") else { continue };
            match self.line().unwrap().as_str() {
                "event: record" => {}
                // Only a place.
                "" => continue,
                other => panic!("{other}"),
            }
            let data = self.line().unwrap();
            let record = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            return (id.to_owned(), record);
        }
    }
}

fn records(site: &Site) -> Value {
    site.client().get("/v1/streams/sales/records?shard=0&limit=1000").expect(200).json()
}

fn one_shard() -> Site {
    let site = Site::with(|config| config.shards = 1);
    open(&site, "concert", &concert());
    site
}

fn hold(site: &Site, customer: &str) -> Value {
    site.client().post(&path("concert", "/holds"), &cart(customer, "free", 1)).expect(201).json()
}

#[test]
fn a_reader_from_the_beginning_sees_all_and_then_what_comes() {
    let site = one_shard();
    hold(&site, "c-1");
    let whole = records(&site);
    let whole = whole["records"].as_array().unwrap();
    let mut reader = Reader::after(&site, "0");
    for header in ["content-type: text/event-stream", "cache-control: no-store"] {
        assert!(reader.head.contains(header), "{}", reader.head);
    }
    assert!(reader.place().ends_with(".1.0.0"));
    let mut last = String::new();
    for expected in whole {
        let (id, record) = reader.next();
        assert_eq!(record, *expected);
        assert!(id.ends_with(&format!(".1.0.{}", record["position"])), "{id}");
        last = id;
    }
    for i in 2..8 {
        let hold = hold(&site, &format!("c-{i}"));
        let (_, record) = reader.next();
        assert_eq!(record["data"]["hold"], hold["id"]);
    }
    // The header counts more than the query, and what was seen is not sent again.
    let header = format!("last-event-id: {last}\r\n");
    let mut again = Reader::connect(&site, KEY, "&after=0", &header);
    assert_eq!(again.place(), last);
    for i in 2..8 {
        assert_eq!(again.next().1["data"]["customer"], format!("c-{i}"));
    }
    // The cursor of an answer goes on here, too.
    let cursor = records(&site)["cursor"].as_str().unwrap().to_owned();
    assert_eq!(Reader::after(&site, &cursor).place(), cursor);
}

#[test]
fn a_reader_without_a_cursor_begins_at_the_end() {
    let site = one_shard();
    let end = records(&site)["cursor"].as_str().unwrap().to_owned();
    for more in ["", "last-event-id: \r\n"] {
        let mut reader = Reader::connect(&site, KEY, "", more);
        assert_eq!(reader.place(), end);
    }
    let mut reader = Reader::connect(&site, KEY, "", "");
    reader.place();
    let hold = hold(&site, "c-1");
    assert_eq!(reader.next().1["data"]["hold"], hold["id"]);
}

#[test]
fn a_reader_sees_only_its_organizer() {
    let site = one_shard();
    let lake = site.key(&[Scope::Read], Some("lake"));
    let mut reader = Reader::connect(&site, &lake, "&after=0", "");
    hold(&site, "c-1");
    let client = site.client();
    client.put("/v1/organizers/lake/events/secret", &concert()).expect(201);
    let (_, record) = reader.next();
    assert_eq!(record["subject"], "lake/secret");
    let river = site.key(&[Scope::Read], Some("river"));
    let mut reader = Reader::connect(&site, &river, "&after=0", "");
    let order =
        client.post(&path("concert", "/orders"), &cart("c-1", "free", 1)).expect(201).json();
    let shown = loop {
        let (_, record) = reader.next();
        assert_eq!(record["subject"], "river/concert");
        if record["type"] == "onsale.order.placed.v1" {
            break record;
        }
    };
    assert_eq!(shown["data"]["order"], order["code"]);
    let code = order["tickets"][0]["code"].as_str().unwrap();
    assert!(!shown.to_string().contains(code), "a key that only reads sees no codes");
}

#[test]
fn a_cursor_of_another_log_is_told() {
    let site = one_shard();
    let cursor = records(&site)["cursor"].as_str().unwrap().to_owned();
    let parts: Vec<&str> = cursor.split('.').collect();
    let [log, generation, shard, position] = parts[..] else { panic!("{cursor}") };
    let other = "00000000-0000-4000-8000-000000000000";
    let diverged = [
        format!("{other}.{generation}.{shard}.{position}"),
        format!("{log}.2.{shard}.{position}"),
        format!("{log}.{generation}.{shard}.9{position}"),
    ];
    let client = site.client();
    for cursor in &diverged {
        for path in [LIVE, "/v1/streams/sales/records?shard=0"] {
            let answer = client.get(&format!("{path}&after={cursor}")).expect(409);
            assert_eq!(answer.problem(), "log-diverged", "{cursor}");
        }
        let again = client.with("last-event-id", cursor).get(LIVE).expect(409);
        assert_eq!(
            (again.problem().as_str(), &again.json()["field"]),
            ("log-diverged", &json!("Last-Event-ID"))
        );
    }
    let other_shard = format!("&after={log}.{generation}.1.{position}");
    let rows = [
        (other_shard.as_str(), 400, "invalid-query"),
        ("&after=1.2.3", 400, "invalid-query"),
        ("&after=x", 400, "invalid-query"),
        ("&after=99999", 409, "position-beyond-the-end"),
        ("&limit=1", 400, "invalid-query"),
    ];
    for (query, status, problem) in rows {
        assert_eq!(
            client.get(&format!("{LIVE}{query}")).expect(status).problem(),
            problem,
            "{query}"
        );
    }
    let sell = site.as_key(&site.key(&[Scope::Sell], None));
    assert_eq!(sell.get(LIVE).expect(403).problem(), "scope-missing");
}

#[test]
fn readers_share_the_limit_and_end_with_the_server() {
    let mut site = Site::with(|config| {
        config.shards = 1;
        config.limits.live_readers = 1;
    });
    let mut reader = Reader::connect(&site, KEY, "", "");
    reader.place();
    assert_eq!(site.client().get(LIVE).expect(503).problem(), "too-many-readers");
    site.stop();
    while reader.line().is_some() {}
}
