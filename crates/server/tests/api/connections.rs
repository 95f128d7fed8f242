//! Limits of a connection, and the way to stop.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::support::{KEY, Site, cart, concert, open, path, raw, read, used};

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn hold_request(customer: &str, more: &str) -> String {
    let body = cart(customer, "free", 1).to_string();
    format!(
        "POST {} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n{more}\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        path("concert", "/holds"),
        body.len()
    )
}

#[test]
fn a_body_too_large_is_refused() {
    let site = Site::with(|config| config.limits.body_bytes = 2_000);
    open(&site, "concert", &concert());
    let client = site.client();
    let large = format!("{{\"customer\":\"{}\"}}", "x".repeat(2_000));
    for route in ["/holds", "/orders", "/orders/E234567892/payments"] {
        let answer = client.send("POST", &path("concert", route), Some(&large)).expect(413);
        assert_eq!(answer.problem(), "body-too-large", "{route}");
        assert_eq!(answer.json()["max"], 2_000);
    }
    // The answer is heard, also where the server does not read all that is sent.
    let huge = "x".repeat(4_000_000);
    let answer = client.send("POST", &path("concert", "/holds"), Some(&huge)).expect(413);
    assert_eq!(answer.problem(), "body-too-large");
    // Without a length it is refused once it is too large.
    let chunk = "x".repeat(1_500);
    let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
    let chunked = format!(
        "POST {} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n\
         transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n",
        path("concert", "/holds")
    );
    assert_eq!(raw(site.address, chunked.as_bytes()).expect(413).problem(), "body-too-large");
    // A definition may be larger than other bodies.
    let mut definition = concert();
    definition["ticket_types"] = (0..100)
        .map(|i| json!({"id": format!("t-{i}"), "name": "T", "price": 0, "quotas": ["hall", "programme"]}))
        .collect();
    client.put(&path("large", ""), &definition).expect(201);
}

#[test]
fn a_head_too_large_is_refused() {
    let site = Site::with(|config| config.limits.header_bytes = 4_096);
    for bytes in [4_200, 100_000] {
        let large = format!("GET /healthz HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "x".repeat(bytes));
        let answer = raw(site.address, large.as_bytes()).expect(431);
        assert_eq!(answer.problem(), "head-too-large");
    }
    let many = "x: y\r\n".repeat(120);
    let many = format!("GET /healthz HTTP/1.1\r\nhost: t\r\n{many}\r\n");
    assert_eq!(raw(site.address, many.as_bytes()).expect(431).problem(), "head-too-large");
    let malformed = raw(site.address, b"SELL ME A TICKET\r\n\r\n").expect(400);
    assert_eq!(malformed.problem(), "malformed-head");
}

/// Below hyper, on its hot way, and through the router.
#[test]
fn a_head_that_names_no_host_or_an_encoding_is_refused() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let hot = hold_request("c-1", "connection: close\r\n");
    let put = hot.replace("POST ", "PUT ").replace("/holds", "");
    let get = "GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n".to_owned();
    let kept = hot.replace("connection: close\r\n", "");
    let chunked = format!(
        "{}4\r\n{{}}  \r\n0\r\n\r\n",
        &hot[..hot.find("content-length").unwrap()].replace("hold", "order")
    );
    let chunked = chunked.replacen("4\r\n", "transfer-encoding: chunked\r\n\r\n4\r\n", 1);
    for request in [&hot, &kept, &chunked, &put, &get] {
        for hosts in
            ["", "host: t\r\nhost: t\r\n", "host: a b\r\n", "host: a..b\r\n", "host: a:65536\r\n"]
        {
            let text = request.replace("host: t\r\n", hosts);
            // The server closes by itself.
            let answer = raw(site.address, text.as_bytes()).expect(400);
            assert_eq!(answer.problem(), "malformed-head", "{text}");
            assert_eq!(answer.json()["field"], "Host");
        }
    }
    for request in [&hot, &put] {
        for encoding in ["gzip", "br", "identity, gzip"] {
            let header = format!("host: t\r\nContent-Encoding: {encoding}\r\n");
            let text = request.replace("host: t\r\n", &header);
            let answer = raw(site.address, text.as_bytes()).expect(415);
            assert_eq!(answer.problem(), "content-encoding", "{text}");
            assert_eq!(answer.json()["field"], "Content-Encoding");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    assert_eq!(used(&site, "concert", "hall"), (0, 0), "nothing was sold");
    let plain = hot.replace("host: t\r\n", "host: t\r\ncontent-encoding: identity\r\n");
    raw(site.address, plain.as_bytes()).expect(201);
    // HTTP/1.0 need not say a host.
    let old = hot.replace("HTTP/1.1", "HTTP/1.0").replace("host: t\r\n", "");
    raw(site.address, old.as_bytes()).expect(201);
}

#[test]
fn a_head_too_slow_is_cut() {
    let site = Site::with(|config| config.limits.header_time = Duration::from_millis(100));
    let mut stream = connect(&site);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let answer = read(&mut stream);
    assert!(answer.status == 0 || answer.status == 408, "{answer:?}");
}

#[test]
fn a_body_too_slow_is_refused() {
    let site = Site::with(|config| config.limits.body_time = Duration::from_millis(100));
    open(&site, "concert", &concert());
    let mut stream = connect(&site);
    let request = hold_request("c-1", "connection: close\r\n");
    stream.write_all(&request.as_bytes()[..request.len() - 1]).unwrap();
    assert_eq!(read(&mut stream).expect(408).problem(), "request-timeout");
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn one_connection_too_many_is_told_to_come_back() {
    let site = Site::with(|config| config.limits.connections = 2);
    let mut first = connect(&site);
    let _second = connect(&site);
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    // Once the first has its answer, both were taken, or the second will be before a third.
    let mut piece = [0; 1_024];
    assert!(first.read(&mut piece).unwrap() > 0);
    let answer = read(&mut connect(&site));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.problem(), "busy");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn requests_come_one_after_the_other_and_many_at_once_on_a_connection() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let mut stream = connect(&site);
    let requests: String = (0..5).map(|i| hold_request(&format!("c-{i}"), "")).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    stream.write_all(hold_request("c-5", "connection: close\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 201 Created").count(), 6, "{text}");
    assert_eq!(used(&site, "concert", "hall"), (6, 0));
}

/// A concert that does not sell out here.
fn large_concert() -> serde_json::Value {
    let mut concert = concert();
    concert["quotas"][0]["capacity"] = json!(1_000_000);
    concert
}

/// Reads one answer of a connection that stays open: head and body.
fn next_answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

#[test]
fn a_connection_takes_requests_of_all_forms_in_any_order() {
    let site = Site::new();
    open(&site, "concert", &large_concert());
    let mut stream = connect(&site);
    let get = "GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n".to_owned();
    // None of them is in the form that most are in.
    let other = |i: usize| match i % 4 {
        0 => (get.clone(), "200 OK"),
        1 => (get.replace("/healthz", "/nothing"), "401 Unauthorized"),
        2 => (hold_request("c-1", "").replace("application/json", "text/plain"), "415"),
        _ => (hold_request("c-1", "idempotency-key: 1\r\nidempotency-key: 2\r\n"), "400"),
    };
    for i in 0..12 {
        for _ in 0..=i % 3 {
            stream.write_all(hold_request(&format!("c-{i}"), "").as_bytes()).unwrap();
            let (head, body) = next_answer(&mut stream);
            assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{i}: {head}");
            assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
            assert!(head.contains(" GMT\r\n"), "{head}");
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
        }
        let (request, status) = other(i);
        stream.write_all(request.as_bytes()).unwrap();
        let (head, _) = next_answer(&mut stream);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{i}: {head}");
    }
    // In two pieces, and then two in one.
    let request = hold_request("c-12", "");
    let (begin, end) = request.split_at(100);
    stream.write_all(begin.as_bytes()).unwrap();
    std::thread::yield_now();
    stream.write_all(end.as_bytes()).unwrap();
    stream.write_all(format!("{get}{request}").as_bytes()).unwrap();
    stream.write_all(hold_request("c-12", "connection: close\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 201 Created").count(), 3, "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 1, "{text}");
    assert_eq!(used(&site, "concert", "hall"), (24 + 3, 0));
}

#[test]
fn an_idle_connection_ends_but_not_one_that_is_used() {
    let idle_time = Duration::from_millis(400);
    let site = Site::with(|config| config.limits.idle_time = idle_time);
    open(&site, "concert", &large_concert());
    let mut stream = connect(&site);
    let begin = std::time::Instant::now();
    let mut customer = 0;
    while begin.elapsed() < idle_time * 3 {
        customer += 1;
        stream.write_all(hold_request(&format!("c-{customer}"), "").as_bytes()).unwrap();
        assert!(next_answer(&mut stream).0.starts_with("HTTP/1.1 201"));
    }
    let begin = std::time::Instant::now();
    assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0, "it is closed");
    assert!(begin.elapsed() >= idle_time * 3 / 4, "{:?}", begin.elapsed());
}

#[test]
fn the_figures_count_requests_by_route_and_status() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let client = site.client();
    client.post(&path("concert", "/holds"), &cart("c-1", "free", 1)).expect(201);
    client.post(&path("concert", "/holds"), &cart("c-1", "vip", 1)).expect(422);
    client.get("/nothing").expect(404);
    let text = client.get("/metrics").expect(200).text;
    let holds = "method=\"POST\",route=\"/v1/organizers/{organizer}/events/{event}/holds\"";
    for line in [
        format!("onsale_http_requests_total{{{holds},status=\"201\"}} 1"),
        format!("onsale_http_requests_total{{{holds},status=\"422\"}} 1"),
        format!("onsale_http_request_seconds_count{{{holds}}} 2"),
        "onsale_http_requests_total{method=\"\",route=\"\",status=\"404\"} 1".to_owned(),
        "onsale_connections 1".to_owned(),
    ] {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }
}

#[test]
fn a_server_that_stops_answers_what_is_under_way() {
    let mut site = Site::new();
    open(&site, "concert", &concert());
    let address = site.address;
    let mut half = connect(&site);
    let request = hold_request("c-1", "");
    let (begin, rest) = request.as_bytes().split_at(request.len() - 5);
    half.write_all(begin).unwrap();
    let mut idle = connect(&site);
    idle.write_all(hold_request("c-2", "").as_bytes()).unwrap();
    let mut piece = [0; 4_096];
    let n = idle.read(&mut piece).unwrap();
    assert!(String::from_utf8_lossy(&piece[..n]).starts_with("HTTP/1.1 201"));

    let stopping = std::thread::spawn(move || {
        site.stop();
        site
    });
    // The port is closed first; what is under way goes on.
    let begin = std::time::Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(10), "the port stays open");
        std::thread::yield_now();
    }
    half.write_all(rest).unwrap();
    let answer = read(&mut half).expect(201);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(read(&mut idle).status, 0, "an idle connection is closed");
    stopping.join().unwrap();
}
