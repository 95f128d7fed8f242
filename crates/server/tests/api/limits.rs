//! Limits on what a client may ask and how slow it may be: each names itself in its
//! problem and in the figures.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use onsale::keys::Scope;

use crate::support::{KEY, Site, cart, concert, open, path, read};

fn connect(site: &Site) -> TcpStream {
    let stream = TcpStream::connect(site.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// How often a limit turned something away.
fn refused(site: &Site, reason: &str) -> u64 {
    let text = site.client().get("/metrics").expect(200).text;
    let start = format!("onsale_refused_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}")).parse().unwrap()
}

#[test]
fn a_key_may_make_so_many_requests_per_second() {
    let site = Site::with(|config| config.limits.requests_per_second = 1_000_000);
    open(&site, "concert", &concert());
    let slow = site.as_key(&site.key_with_rate(&[Scope::Sell], None, Some(1)));
    let free = site.as_key(&site.key_with_rate(&[Scope::Sell], None, Some(0)));
    // The wait for the key took its one request of this second, or did so before.
    let answers: Vec<_> =
        (0..3).map(|_| slow.post(&path("concert", "/holds"), &cart("c", "free", 1))).collect();
    let answer = answers.iter().find(|answer| answer.status == 429).expect("one in three");
    assert_eq!(answer.problem(), "rate-limit");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(
        (answer.json()["max"].as_u64(), answer.json()["field"].as_str()),
        (Some(1), Some("Authorization"))
    );
    assert!(answer.json()["detail"].as_str().unwrap().contains("1 requests per second"));
    // Others are not held up, and the slow one goes on after a while.
    for _ in 0..20 {
        free.get(&path("concert", "/availability")).expect(200);
    }
    let again = || slow.get(&path("concert", "/availability")).status == 200;
    site.until("the key may ask again", again);
    assert!(refused(&site, "rate") >= 1);
}

#[test]
fn a_limit_of_all_keys_counts_each_on_its_own() {
    let site = Site::with(|config| config.limits.requests_per_second = 50);
    let client = site.client();
    let asked = (0..5_000).find(|_| client.get("/problems").status == 429);
    assert!(asked.expect("a burst is cut") >= 50);
    let other = site.key_with_rate(&[Scope::Read], None, Some(0));
    site.as_key(&other).get("/problems").expect(200);
}

#[test]
fn a_batch_counts_as_many_requests_as_it_has_commands() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let slow = site.as_key(&site.key_with_rate(&[Scope::Sell], None, Some(1)));
    let mut command = cart("c", "free", 1);
    command["op"] = "hold".into();
    let batch = serde_json::json!({ "commands": vec![command; 30] });
    // A refusal takes nothing off, and one that is larger than the limit finds its way.
    let taken = || slow.post(&path("concert", "/batch"), &batch).status == 200;
    site.until("the batch is taken", taken);
    let answer = slow.get(&path("concert", "/availability")).expect(429);
    let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((5..=30).contains(&wait), "{wait} s for 30 commands at 1 a second");
}

#[test]
fn a_head_in_drops_is_cut_and_an_idle_connection_is_not() {
    let site = Site::with(|config| config.limits.header_time = Duration::from_millis(200));
    let mut idle = connect(&site);
    let mut slow = connect(&site);
    let begin = Instant::now();
    let mut drip = || -> std::io::Result<()> {
        for byte in b"GET /healthz HTTP/1.1\r\nx: ".iter().chain(std::iter::repeat(&b'x')) {
            slow.write_all(&[*byte])?;
            slow.set_read_timeout(Some(Duration::from_millis(10)))?;
            match slow.peek(&mut [0]) {
                Ok(_) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "it may go on for ever");
        }
        Ok(())
    };
    drip().unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let answer = read(&mut slow).expect(408);
    assert_eq!(answer.problem(), "request-timeout");
    assert_eq!(answer.json()["detail"], "the head did not come within 0.2 seconds");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(read(&mut idle).status, 200);
    // So is the second head of a connection, after an answer.
    let mut second = connect(&site);
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\nGET /he").unwrap();
    // The answer does not wait for the rest of what comes after.
    let mut piece = [0; 1_024];
    assert!(second.read(&mut piece).unwrap() > 0);
    second.write_all(b"a").unwrap();
    assert_eq!(read(&mut second).expect(408).problem(), "request-timeout");
    assert_eq!(refused(&site, "head-slow"), 2);
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let site = Site::with(|config| config.limits.answer_time = Duration::from_millis(200));
    let mut deaf = connect(&site);
    let request =
        format!("GET /openapi.json HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n\r\n");
    deaf.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    // Far more answers than all buffers hold.
    let begin = Instant::now();
    let cut = loop {
        match deaf.write_all(request.as_bytes()) {
            Ok(()) => assert!(begin.elapsed() < Duration::from_secs(20), "it is never cut"),
            Err(error) => break error,
        }
    };
    assert!(matches!(cut.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut}");
    assert_eq!(refused(&site, "answer-slow"), 1);
    assert_eq!(site.client().get("/healthz").status, 200);
}

#[test]
fn who_reads_late_gets_every_answer_whole() {
    let site = Site::new();
    let mut late = connect(&site);
    let request =
        format!("GET /openapi.json HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\n\r\n");
    // More than the buffers hold, and the beginning of one more.
    let requests = request.repeat(60);
    late.write_all(requests.as_bytes()).unwrap();
    late.write_all(b"GET /heal").unwrap();
    let whole = site.client().get("/openapi.json").expect(200).text.len();
    let (mut length, mut piece) = (0, vec![0; 1 << 16]);
    while length < 60 * whole {
        let n = late.read(&mut piece).unwrap();
        assert!(n > 0, "closed after {length} bytes of {}", 60 * whole);
        length += n;
    }
    late.write_all(b"thz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    late.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("{\"status\":\"alive\"}"), "{rest}");
}

#[test]
fn each_limit_is_counted_by_its_reason() {
    let site = Site::with(|config| {
        config.limits.body_bytes = 100;
        config.limits.header_bytes = 4_096;
        config.limits.body_time = Duration::from_millis(50);
    });
    let client = site.client();
    client.send("POST", &path("concert", "/holds"), Some(&"x".repeat(101))).expect(413);
    client.with("x", &"x".repeat(5_000)).get("/problems").expect(431);
    let mut slow = connect(&site);
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {KEY}\r\ncontent-length: 9\r\nconnection: close\r\n\r\n",
        path("concert", "/holds")
    );
    slow.write_all(head.as_bytes()).unwrap();
    read(&mut slow).expect(408);
    for reason in ["body-too-large", "head-too-large", "body-slow"] {
        assert_eq!(refused(&site, reason), 1, "{reason}");
    }
}
