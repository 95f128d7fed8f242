//! A box office whose PostgreSQL speaks TLS, with a certificate of an authority that the bridge trusts, or not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use onsale_bridge::database::Kind;
use onsale_bridge::state::{State, Taken};
use onsale_bridge::write_back::sales::OrderRecord;
use onsale_services::Authority;

use crate::check;
use crate::front::front;
use crate::office::{Catalogue, Office};
use crate::sales::{HALL, Sales, Sold};
use crate::world::{Who, World};

#[test]
fn the_bridge_reads_and_writes_through_tls() {
    let authority = Authority::new();
    let (world, sales) = (World::with_tls(&authority, "?sslmode=require"), Sales::default());
    let (office, mut catalogue) = (Office::log_in(&world), Catalogue::default());
    let hall = office.make("hall", 100, &[0]);
    world.run(&["bridge", "attach"], "");
    world.start(Who::Engine);
    world.start(Who::Bridge);
    world.run(&["bridge", "take", "river/hall"], "");
    check::is_open(&world);
    let kind = hall.types.keys().next().unwrap().to_string();
    let code = world.buy(HALL, &kind, 2);
    let sold = Sold { quantity: 2, is_paid: true, ..Sold::default() };
    sales.sold.lock().unwrap().insert(code, sold);
    check::settled(&world, &sales);
    // What the replication stream tells.
    catalogue.events.push(office.make("late", 50, &[1_000]));
    check::catalogue(&world, &catalogue, "hall");
    let count = |of: &str| {
        world.number(&format!(
            "SELECT count(*) AS n FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE {of}"
        ))
    };
    assert_eq!(count("backend_type = 'walsender' AND ssl"), 1);
    assert!(count("application_name = 'onsale-bridge' AND ssl") > 0);
    assert_eq!(count("backend_type = 'walsender' AND NOT ssl"), 0);
}

#[test]
fn a_database_that_is_not_trusted_or_has_no_tls_is_refused() {
    let authority = Authority::new();
    let mut world = World::with_tls(&authority, "");
    let parts = ["--db: ", "invalid peer certificate", "SSL_CERT_FILE", "sslmode=disable"];
    let has_all = |told: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    };
    let other = tempfile::tempdir().unwrap();
    let right = world.trusted.replace(Authority::new().write(other.path()));
    has_all(&world.refused(&["bridge", "attach"]), &parts);
    world.trusted = right;
    world.bridge_db = world.bridge_db.replace("localhost", "127.0.0.1");
    has_all(&world.refused(&["bridge", "attach"]), &["--db: ", "not valid for name"]);
    world.bridge_db += "?sslmode=verify-full";
    has_all(&world.refused(&["bridge", "attach"]), &["--db ", "sslmode must be disable, prefer"]);
    let without = onsale_services::postgres();
    world.bridge_db = format!("{}?sslmode=require", without.url());
    let told = world.refused(&["bridge", "attach"]);
    has_all(&told, &["--db: ", "sslmode=require, but the server does not speak TLS", "ssl = on"]);
}

/// A platform's API that takes every order; gives its port, and what it was asked.
fn api() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, asked) =
        (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let told = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
                head += &line.to_lowercase();
                line.clear();
            }
            let length = head.split("content-length: ").nth(1).and_then(|text| text.lines().next());
            let mut body = vec![0; length.map_or(0, |text| text.parse().unwrap())];
            stream.read_exact(&mut body).unwrap();
            told.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
            let answer =
                b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
            stream.get_mut().write_all(answer).unwrap();
        }
    });
    (port, asked)
}

#[test]
fn orders_are_sent_only_to_a_platform_whose_certificate_is_trusted() {
    let (authority, mut world) = (Authority::new(), World::new(Kind::Sqlite));
    let (port, asked) = api();
    let url = front(&authority, port);
    // An order that waits for its platform; its database is not asked for that.
    let state = State::open(&world.path("bridge")).unwrap();
    let taken = Taken { number: 1, quotas: [("7".to_owned(), 10)].into() };
    state.set_taken("river/hall", Some(&taken)).unwrap();
    let record = r#"[{"position": 1, "shard": 0, "order": "EAAAA1", "subject": "river/hall", "time": "2027-01-01T00:00:00.000Z",
        "kind": "onsale.order.placed.v1", "data": {"order": "EAAAA1", "state": "confirmed", "customer": "c",
        "total": {"amount": 2500, "currency": "EUR"}, "lines": [{"ticket_type": "7", "quantity": 1, "unit_price": 2500}],
        "tickets": [{"code": "T1", "ticket_type": "7"}]}}]"#;
    let record: Vec<OrderRecord> = serde_json::from_str(record).unwrap();
    let record = serde_json::to_string(&record).unwrap();
    state.park("write-back", "EAAAA1", "it was switched off", Some(&record)).unwrap();
    let (other, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let retry = ["bridge", "retry", "--dialect", "pretix", "--db", "postgres://u@127.0.0.1:9/n"];
    let retry = [&retry[..], &["--platform", &url, "--platform-secret", "s3cret"]].concat();
    world.trusted = Some(Authority::new().write(other.path()));
    let told = world.refused(&retry);
    for part in [url.as_str(), "invalid peer certificate", "SSL_CERT_FILE"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(asked.lock().unwrap().is_empty(), "nothing was sent");
    assert_eq!(state.parked().unwrap().len(), 1);
    world.trusted = Some(authority.write(folder.path()));
    assert_eq!(world.run(&retry, ""), "EAAAA1 is written back");
    let asked = asked.lock().unwrap();
    assert!(asked.len() == 1 && asked[0].contains("authorization: token s3cret"), "{asked:?}");
    assert!(asked[0].contains(r#""code":"EAAAA1""#), "{asked:?}");
    assert_eq!(state.parked().unwrap(), []);
}
