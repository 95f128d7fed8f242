//! The built-in dialect of pretix, against a real one that is killed while it is written to.

mod answers;

use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;

use super::requests::WAIT;
use super::*;
use crate::database::Database;
use crate::dialect::Dialect;
use crate::http::Http;
use crate::write_back::Meter;
use onsale_services::{Pretix, pretix, wait_until};

/// Orders, of three tickets each.
const ORDERS: u64 = 24;
const TICKETS: u64 = 3;
/// How long all of them may take, with pretix started anew twice meanwhile, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(600);

fn context(pretix: &Pretix, state: Arc<State>) -> Context {
    context_at(&pretix.database_url(), pretix.url(), state)
}

fn context_at(db: &str, url: &str, state: Arc<State>) -> Context {
    let secret = Pretix::TOKEN.to_owned();
    Context {
        db: db.to_owned(),
        dialect: Arc::new(Dialect::load("pretix").unwrap()),
        // Nobody is asked: these orders are paid in the record that places them.
        engine: Engine::new("http://127.0.0.1:9", "none").unwrap(),
        state,
        platform: Some(Platform { url: url.to_owned(), secret }),
        rate: None,
        other_log: false,
        meter: Arc::new(Meter::default()),
    }
}

fn placed(number: u64, item: u64) -> OrderRecord {
    let code = code(number);
    let tickets: Vec<Value> = (0..TICKETS)
        .map(|at| json!({"code": format!("T{number:04}K{at}"), "ticket_type": item.to_string()}))
        .collect();
    let data = json!({
        "order": code, "state": "confirmed", "customer": "c-1", "tickets": tickets,
        "total": {"amount": 2500 * TICKETS, "currency": "EUR"},
        "lines": [{"ticket_type": item.to_string(), "quantity": TICKETS, "unit_price": 2500}],
    });
    record(number, code, "placed", data)
}

fn cancelled(number: u64) -> OrderRecord {
    let code = code(number);
    record(number + ORDERS, code.clone(), "cancelled", json!({"order": code, "reason": "customer"}))
}

fn code(number: u64) -> String {
    const SYMBOLS: &[u8] = b"ABCDEFGHJK";
    let digits = format!("{number:04}");
    digits.bytes().fold("EXXXX".to_owned(), |mut text, digit| {
        text.push(char::from(SYMBOLS[usize::from(digit - b'0')]));
        text
    })
}

fn record(position: u64, order: String, kind: &str, data: Value) -> OrderRecord {
    let (subject, time) = ("river/festival".to_owned(), "2027-01-01T00:00:00.000Z".to_owned());
    let kind = format!("onsale.order.{kind}.v1");
    OrderRecord { position, shard: 0, order, subject, time, kind, data }
}

async fn get(context: &Context, path: &str) -> Value {
    let platform = context.platform.as_ref().unwrap();
    let token = format!("Token {}", platform.secret);
    let path = format!("/api/v1/organizers/river/events/festival/{path}");
    let http = Http::new(&platform.url).unwrap();
    let answer = http.send(Method::GET, &path, &[("authorization", &token)], None, WAIT).await;
    answer.unwrap().json()
}

/// How many orders there are.
async fn count(context: &Context) -> i64 {
    let mut db = Database::open(&context.db).await.unwrap();
    let rows = db.ask("SELECT count(*) AS n FROM pretixbase_order", &[]).await.unwrap();
    rows[0].integer("n").unwrap()
}

#[test]
fn numbers_are_the_same_however_they_are_written() {
    for (a, b) in [("a", "a"), ("2500", "2500.00"), ("25.5", "25.50"), ("[\"1\"]", "[\"1\"]")] {
        assert!(is_same(a, b), "{a} {b}");
    }
    for (a, b) in [("a", "b"), ("2500", "25.00"), ("", "."), ("7", "07"), ("1", "null")] {
        assert!(!is_same(a, b), "{a} {b}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pretix_that_is_killed_has_each_order_once() {
    let mut pretix = tokio::task::spawn_blocking(pretix).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(folder.path()).unwrap());
    let context = context(&pretix, state);
    let writer = Writer::open(&context).unwrap();
    let items = get(&context, "items/").await;
    let item = items["results"][0]["id"].as_u64().unwrap();
    let records: Vec<OrderRecord> = (1..=ORDERS).map(|number| placed(number, item)).collect();
    let to = Place { generation: Generation(1), position: ORDERS };

    // pretix is killed while it is written to; then the bridge is, which forgets how far it was.
    let (pretix, written) = {
        let (handle, asked) = (tokio::runtime::Handle::current(), context.clone());
        let kill = tokio::task::spawn_blocking(move || {
            for least in [3, ORDERS / 2] {
                // Asked of the database: pretix itself has enough to do.
                wait_until("some orders are there", || {
                    handle.block_on(count(&asked)) >= least.cast_signed()
                });
                pretix.web.kill();
                pretix.web.restart();
            }
            pretix
        });
        let first = tokio::time::timeout(Duration::from_secs(2), writer.carry_out(&records)).await;
        drop(first);
        let (again, begin) = (Writer::open(&context).unwrap(), Instant::now());
        // As the bridge does: what may pass is tried again.
        let written = loop {
            match again.write(0, to, &records).await {
                Ok(written) => break written,
                Err(error) => {
                    assert!(error.is_transient() && begin.elapsed() < PATIENCE, "{error}");
                }
            }
        };
        (kill.await.unwrap(), written)
    };
    assert_eq!(written.parked, []);
    assert_eq!(written.orders, ORDERS);
    assert_eq!(writer.place(0).unwrap(), Some(to));
    let orders = get(&context, "orders/").await;
    assert_eq!(orders["count"], ORDERS, "{orders}");
    for order in orders["results"].as_array().unwrap() {
        assert_eq!((&order["status"], &order["total"]), (&json!("p"), &json!("75.00")));
        assert_eq!(order["positions"].as_array().unwrap().len() as u64, TICKETS);
    }

    // Cancelled here, cancelled there; twice is once, and one that is not there needs nothing.
    let gone = [cancelled(1), cancelled(2), cancelled(ORDERS + 1)];
    for _ in 0..2 {
        let written = writer.carry_out(&gone).await.unwrap();
        assert_eq!((written.orders, written.parked.len()), (3, 0));
    }
    let orders = get(&context, "orders/?status=c").await;
    assert_eq!(orders["count"], 2);

    // Somebody else's order with this code is told, not taken for ours.
    let mut other = placed(3, item);
    other.data["tickets"][0]["code"] = "ANOTHER".into();
    let written = writer.carry_out(&[other]).await.unwrap();
    assert!(
        written.parked[0].1.contains("it is there, and differs: /positions/*/secret"),
        "{written:?}"
    );
    drop(pretix);
}
