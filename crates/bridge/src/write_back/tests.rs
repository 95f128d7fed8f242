//! The built-in dialect of the box office, against its tables in both databases.

mod left_out;

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::sql::Written;
use super::*;
use crate::capture::orders::Again;
use crate::database::{Kind, Mode, Statement, Value};
use crate::dialect::statements;
use crate::engine::SalesRecord;

/// A box office with one event: a stock of 10, all blocked for the engine, and two ticket types.
struct Office {
    db: Database,
    url: String,
    state: Arc<State>,
    dialect: Dialect,
    place: Option<Place>,
    next: u64,
    _folder: TempDir,
    _server: Option<onsale_services::Server>,
}

const HOUSE: &str = "
INSERT INTO organizers VALUES (1, 'river', 'River', '2027-01-01T00:00:00.000Z');
INSERT INTO events (id, organizer_id, slug, name, starts_at, currency, status, created_at, updated_at)
VALUES (1, 1, 'concert', 'Concert', '2027-06-01T00:00:00.000Z', 'EUR', 'on_sale', '2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z');
INSERT INTO stocks (id, event_id, name, capacity, sold, blocked) VALUES (5, 1, 'Hall', 12, 2, 10);
INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (7, 1, 5, 'Seat', 2500), (8, 1, 5, 'Reduced', 1000);
INSERT INTO orders (id, event_id, code, customer, status, total_minor, created_at)
VALUES (1000, 1, 'SHOP1', 'c', 'paid', 5000, '2027-01-01T00:00:00.000Z');
INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES (1000, 7, 2, 2500);
";

async fn office(kind: Kind) -> Office {
    let folder = tempfile::tempdir().unwrap();
    let server = (kind == Kind::Postgres).then(onsale_services::postgres);
    let url = match &server {
        Some(server) => server.url().to_owned(),
        None => folder.path().join("office.db").display().to_string(),
    };
    if server.is_none() {
        std::fs::write(&url, []).unwrap();
    }
    let mut db = Database::open(&url).await.unwrap();
    let schema = format!("../classic/schema/{}.sql", kind.name());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join(schema);
    db.run(&std::fs::read_to_string(schema).unwrap()).await.unwrap();
    db.run(HOUSE).await.unwrap();
    for (_, made) in crate::attach::TABLES {
        db.run(made).await.unwrap();
    }
    Office {
        db,
        url,
        state: Arc::new(State::open(&folder.path().join("state")).unwrap()),
        dialect: Dialect::load("classic").unwrap(),
        place: None,
        next: 0,
        _folder: folder,
        _server: server,
    }
}

impl Office {
    async fn writer(&self) -> Writer {
        let db = Database::open(&self.url).await.unwrap();
        Writer::open(db, &self.dialect, Arc::clone(&self.state)).await.unwrap()
    }

    fn record(&mut self, order: &str, kind: &str, mut data: serde_json::Value) -> OrderRecord {
        self.next += 1;
        data["order"] = order.into();
        OrderRecord {
            position: self.next,
            shard: 0,
            order: order.into(),
            subject: "river/concert".into(),
            time: "2027-02-01T00:00:00.000Z".into(),
            kind: format!("onsale.{kind}.v1"),
            data,
        }
    }

    fn placed(&mut self, order: &str, ticket_type: &str, quantity: i64) -> OrderRecord {
        let data = json!({
            "state": "awaiting_payment", "customer": "c-1", "payment_due": "2027-02-01T00:30:00Z",
            "total": {"amount": 2500 * quantity, "currency": "EUR"},
            "lines": [{"ticket_type": ticket_type, "quantity": quantity, "unit_price": 2500}],
        });
        self.record(order, "order.placed", data)
    }

    fn paid(&mut self, order: &str, tickets: &[&str], reinstated: bool) -> OrderRecord {
        let tickets: Vec<_> =
            tickets.iter().map(|code| json!({"code": code, "ticket_type": "7"})).collect();
        let data = json!({
            "provider": "external", "reference": format!("r-{order}"), "amount": 2500, "currency": "EUR",
            "paid_at": "2027-02-01T00:01:00Z", "state": "applied", "reinstated": reinstated, "tickets": tickets,
        });
        self.record(order, "payment.recorded", data)
    }

    fn cancelled(&mut self, order: &str) -> OrderRecord {
        self.record(order, "order.cancelled", json!({"reason": "customer"}))
    }

    /// Writes records, and moves the place.
    async fn write(&mut self, records: &[OrderRecord]) -> Written {
        let to = Place { generation: Generation(7), position: self.next };
        let mut writer = self.writer().await;
        let written = writer.write(0, 1, self.place, to, records).await.unwrap();
        self.place = Some(to);
        assert_eq!(writer.place(0).await.unwrap(), (Some(to), 1));
        written
    }

    async fn row(&mut self, sql: &str) -> Vec<Value> {
        let rows = self.db.ask(sql, &[]).await.unwrap();
        rows.into_iter().flat_map(|row| row.values).collect()
    }

    /// Sold and blocked of the stock.
    async fn stock(&mut self) -> (i64, i64) {
        let rows = self.db.ask("SELECT sold, blocked FROM stocks", &[]).await.unwrap();
        (rows[0].integer("sold").unwrap(), rows[0].integer("blocked").unwrap())
    }
}

async fn on_both<F: Future<Output = ()>>(test: impl Fn(Kind) -> F) {
    for kind in [Kind::Sqlite, Kind::Postgres] {
        test(kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dialect_is_whole() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let _writer = office.writer().await;
        let found = statements::check(&office.dialect, kind, Some(&mut office.db)).await.unwrap();
        let found: Vec<_> =
            found.iter().filter(|error| error.to_string().contains("/write-")).collect();
        assert!(found.is_empty(), "{found:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orders_life_is_written_once() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let (one, two) = (office.placed("E1", "7", 2), office.placed("E2", "7", 3));
        let paid = office.paid("E1", &["T1", "T2"], false);
        let records = [one, two, paid];
        assert_eq!(office.write(&records).await.orders, 2);
        assert_eq!(office.stock().await, (7, 5));
        let status = "SELECT code, status FROM orders WHERE channel = 'onsale' ORDER BY code";
        let texts =
            |texts: &[&str]| texts.iter().map(|text| Value::from(*text)).collect::<Vec<_>>();
        assert_eq!(office.row(status).await, texts(&["E1", "paid", "E2", "pending"]));
        let tickets = "SELECT code FROM tickets ORDER BY code";
        assert_eq!(office.row(tickets).await, texts(&["T1", "T2"]));
        let payments = "SELECT reference FROM payments";
        assert_eq!(office.row(payments).await, texts(&["concert/r-E1"]));

        let gone = office.cancelled("E2");
        office.write(&[gone]).await;
        assert_eq!(office.stock().await, (4, 8));
        let back = office.paid("E2", &["T3", "T4", "T5"], true);
        office.write(&[back]).await;
        assert_eq!(office.stock().await, (7, 5));
        assert_eq!(office.row(status).await, texts(&["E1", "paid", "E2", "paid"]));

        // From the start once more, as after a lost place: the codes are there, so nothing happens.
        let mut again = office.writer().await;
        let (place, fence) = again.place(0).await.unwrap();
        let to = Place { position: 100, ..place.unwrap() };
        again.write(0, fence + 1, place, to, &records).await.unwrap();
        assert_eq!(office.stock().await, (7, 5));
        assert_eq!(office.row(tickets).await.len(), 5);

        // One that does not know of it gets nothing through: its fence is lower.
        let late = office.placed("E3", "7", 1);
        let refused = office.writer().await.write(0, fence, place, to, &[late]).await;
        assert!(refused.unwrap_err().to_string().contains("another bridge"));
        assert_eq!(office.stock().await, (7, 5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_box_office_cancelled_stays_cancelled() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let placed = office.placed("E1", "7", 2);
        office.write(&[placed]).await;
        office.db.run("UPDATE orders SET status = 'cancelled' WHERE code = 'E1'").await.unwrap();
        office.db.run("UPDATE stocks SET sold = sold - 2").await.unwrap();
        let paid = office.paid("E1", &["T1", "T2"], false);
        office.write(&[paid]).await;
        let status = office.row("SELECT status FROM orders WHERE code = 'E1'").await;
        assert_eq!(status, [Value::from("cancelled")]);
        // Its tickets are the engine's again, whoever comes first: capture or the engine's own cancellation.
        let gone = office.cancelled("E1");
        office.write(&[gone]).await;
        assert_eq!(office.stock().await, (2, 10));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_sides_cancel_at_the_same_moment_is_cancelled_once() {
    const CANCEL: &str = "UPDATE orders SET status = 'cancelled' WHERE code = 'E1'; \
                          UPDATE stocks SET sold = sold - 2";
    on_both(async |kind| {
        let mut office = office(kind).await;
        let again = Again::new(&office.dialect, kind).unwrap().unwrap();
        let placed = [office.placed("E1", "7", 2), office.placed("E2", "7", 3)];
        office.write(&placed).await;
        assert_eq!(office.stock().await, (7, 5));
        // The office is first, and capture looks only after write-back: nothing is left to be taken.
        office.db.run(CANCEL).await.unwrap();
        let gone = [office.cancelled("E1"), office.cancelled("E2")];
        office.write(&gone).await;
        assert_eq!(office.stock().await, (2, 10));
        let mut tx = office.db.begin(Mode::Write).await.unwrap();
        again.take(&mut tx, "E1").await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(office.stock().await, (2, 10));
        assert!(office.state.echo("E1").unwrap().unwrap().is_ours("cancelled"));
        // All of it once more, as after a lost place: what we cancelled is not taken for the office's doing.
        let mut late = office.writer().await;
        let (place, fence) = late.place(0).await.unwrap();
        let to = Place { position: 100, ..place.unwrap() };
        late.write(0, fence + 1, place, to, &gone).await.unwrap();
        assert_eq!(office.stock().await, (2, 10));
        assert!(office.state.parked().unwrap().is_empty());
    })
    .await;
}

/// Detaching takes away what the platform's database knew of it, and all is written from the beginning again.
#[tokio::test(flavor = "multi_thread")]
async fn what_both_sides_cancelled_is_not_taken_again_after_a_detach() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let placed = [office.placed("E1", "7", 2), office.placed("E2", "7", 3)];
        office.write(&placed).await;
        let cancel = "UPDATE orders SET status = 'cancelled' WHERE code = 'E1'; \
                      UPDATE stocks SET sold = sold - 2";
        office.db.run(cancel).await.unwrap();
        let gone = [office.cancelled("E1")];
        office.write(&gone).await;
        assert_eq!(office.stock().await, (5, 7));
        for (table, made) in crate::attach::TABLES {
            office.db.run(&format!("DROP TABLE {table}")).await.unwrap();
            office.db.run(made).await.unwrap();
        }
        // Once with room for it, and once without.
        for room in [2, 0] {
            let capacity = format!("UPDATE stocks SET capacity = sold + blocked + {room}");
            office.db.run(&capacity).await.unwrap();
            for table in ["onsale_cursor", "onsale_transfer"] {
                office.db.run(&format!("DELETE FROM {table}")).await.unwrap();
            }
            office.place = None;
            office.write(&placed).await;
            office.write(&gone).await;
            assert_eq!(office.stock().await, (5, 7), "room for {room}");
            assert!(office.state.parked().unwrap().is_empty(), "{:?}", office.state.parked());
        }
    })
    .await;
}

/// A cancellation in the office and the engine's, each in a transaction that is open while the other one is.
#[tokio::test(flavor = "multi_thread")]
async fn cancellations_that_meet_in_the_database_wait_for_each_other() {
    let mut office = office(Kind::Postgres).await;
    let placed = office.placed("E1", "7", 2);
    office.write(&[placed]).await;
    let mut desk = Database::open(&office.url).await.unwrap();
    let mut tx = desk.begin(Mode::Write).await.unwrap();
    let sql = "UPDATE orders SET status = 'cancelled' WHERE code = 'E1'";
    tx.execute(&Statement::new(Kind::Postgres, "test", sql), &[]).await.unwrap();
    let gone = office.cancelled("E1");
    let to = Place { generation: Generation(7), position: office.next };
    let (mut writer, place) = (office.writer().await, office.place);
    let writing = tokio::spawn(async move { writer.write(0, 1, place, to, &[gone]).await });
    // It waits for the desk, which has the order.
    let waits = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    for look in 0.. {
        assert!(look < 2_000 && !writing.is_finished(), "it does not wait");
        looks.tick().await;
        if office.db.ask(waits, &[]).await.unwrap()[0].integer("n").unwrap() > 0 {
            break;
        }
    }
    let sql = "UPDATE stocks SET sold = sold - 2";
    tx.execute(&Statement::new(Kind::Postgres, "test", sql), &[]).await.unwrap();
    tx.commit().await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(office.stock().await, (2, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_the_office_sold_again_after_both_cancelled_are_told() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let placed = office.placed("E1", "7", 2);
        office.write(&[placed]).await;
        // Cancelled, and sold to somebody else.
        office.db.run("UPDATE orders SET status = 'cancelled' WHERE code = 'E1'").await.unwrap();
        let (gone, other) = (office.cancelled("E1"), office.placed("E2", "7", 1));
        assert_eq!(office.write(&[gone, other]).await.orders, 2);
        assert_eq!(office.stock().await, (5, 7));
        let parked = office.state.parked().unwrap();
        assert_eq!((parked.len(), parked[0].about.as_str()), (1, "order E1"));
        assert!(parked[0].reason.contains("has sold its tickets again: 2 of the quota 5"));
    })
    .await;
}

/// What capture noted of orders is over once the engine's own cancellation is there: of one that was brought back meanwhile,
/// and of one whose tickets can be taken by now.
#[tokio::test(flavor = "multi_thread")]
async fn what_capture_set_aside_is_forgotten_once_the_engine_cancels() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let placed = [office.placed("E1", "7", 2), office.placed("E2", "7", 3)];
        office.write(&placed).await;
        let cancel = "UPDATE orders SET status = 'cancelled' WHERE code = 'E2'; \
                      UPDATE stocks SET sold = sold - 3";
        office.db.run(cancel).await.unwrap();
        for code in ["E1", "E2", "E3"] {
            let (way, about) = (crate::capture::WAY, format!("order {code}"));
            office.state.park(way, &about, "it was deleted, or sold again", None).unwrap();
        }
        let gone = [office.cancelled("E1"), office.cancelled("E2")];
        office.write(&gone).await;
        assert_eq!(office.stock().await, (2, 10));
        let parked = office.state.parked().unwrap();
        assert_eq!((parked.len(), parked[0].about.as_str()), (1, "order E3"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_set_aside_and_tried_again() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let unknown = office.placed("E1", "99", 1);
        let mut elsewhere = office.placed("E5", "7", 1);
        elsewhere.subject = "river/gone".to_owned();
        let (good, too_much) = (office.placed("E2", "7", 4), office.placed("E3", "7", 7));
        let last = office.placed("E4", "8", 1);
        let written = office.write(&[unknown, elsewhere, good, too_much, last]).await;
        assert_eq!(written.orders, 2, "{written:?}");
        let parked: BTreeMap<String, String> = written.parked.into_iter().collect();
        assert!(parked.contains_key("E3"), "{kind:?} {parked:?}");
        assert_eq!(parked["E1"], "there is no ticket type 99 in the event");
        assert_eq!(parked["E5"], "there is no event river/gone");
        assert!(parked["E3"].to_lowercase().contains("constraint"), "{parked:?}");
        assert_eq!(office.stock().await, (7, 5));
        // Of those that are not there nothing counts as written.
        let echo = |code: &str| office.state.echo(code).unwrap().unwrap().written;
        assert_eq!(["E1", "E2", "E3"].map(echo), [None, Some("pending".to_owned()), None]);

        // What comes later of an order waits with it.
        let paid = office.paid("E3", &["T1"], false);
        let why = "waits for what was set aside of this order before".to_owned();
        park(&office.state, &[("E3".to_owned(), why)], std::slice::from_ref(&paid)).unwrap();
        office.db.run("UPDATE stocks SET capacity = 22, blocked = 15").await.unwrap();
        let aside = parked_of(&office);
        assert_eq!(aside["E3"].1.len(), 2);
        assert!(aside["E3"].0.to_lowercase().contains("constraint"));
        let written = office.writer().await.retry(&aside["E3"].1).await.unwrap();
        assert!(written.parked.is_empty(), "{written:?}");
        assert_eq!(office.stock().await, (14, 8));
        // A retry whose end was not noted is no second effect.
        office.writer().await.retry(&aside["E3"].1).await.unwrap();
        assert_eq!(office.stock().await, (14, 8));
        let status = office.row("SELECT status FROM orders WHERE code = 'E3'").await;
        assert_eq!(status, [Value::from("paid")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_others_are_not_taken_for_ours() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let placed = office.placed("E1", "7", 1);
        let paid = office.paid("E1", &["T1"], false);
        office.write(&[placed, paid]).await;
        // The shop's own order, one of another total, and a ticket of another order.
        let shop = office.placed("SHOP1", "7", 2);
        let again = office.placed("E1", "7", 3);
        let other = office.placed("E2", "7", 1);
        let ticket = office.paid("E2", &["T1"], false);
        let written = office.write(&[shop, again, other, ticket]).await;
        let mut parked: Vec<_> =
            written.parked.iter().map(|(code, why)| (code.as_str(), why.as_str())).collect();
        parked.sort_unstable();
        let code = "another order has this code";
        let expected = [("E1", code), ("E2", "another order has the ticket T1"), ("SHOP1", code)];
        assert_eq!(parked, expected, "{kind:?}");
        assert_eq!(office.stock().await, (3, 9));
        let orders = "SELECT COUNT(*) AS n FROM orders";
        assert_eq!(office.row(orders).await, [Value::Integer(2)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_again_in_vain_is_written_later() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let too_much = office.placed("E1", "7", 11);
        office.write(std::slice::from_ref(&too_much)).await;
        let records = parked_of(&office)["E1"].1.clone();
        for _ in 0..2 {
            let written = office.writer().await.retry(&records).await.unwrap();
            assert_eq!((written.orders, written.parked.len()), (0, 1), "{kind:?} {written:?}");
        }
        office.db.run("UPDATE stocks SET capacity = 22, blocked = 20").await.unwrap();
        // A bridge that began anew since does not keep it from being written.
        let mut other = office.writer().await;
        let (place, fence) = other.place(0).await.unwrap();
        other.write(0, fence + 1, place, place.unwrap(), &[]).await.unwrap();
        let written = office.writer().await.retry(&records).await.unwrap();
        assert_eq!((written.orders, written.parked.len()), (1, 0), "{kind:?} {written:?}");
        assert_eq!(office.stock().await, (13, 9));
        let status = office.row("SELECT status FROM orders WHERE code = 'E1'").await;
        assert_eq!(status, [Value::from("pending")]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_again_of_another_log_does_not_count() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let too_much = office.placed("E1", "7", 11);
        office.write(&[too_much]).await;
        office.db.run("UPDATE stocks SET capacity = 22, blocked = 20").await.unwrap();
        let mut writer = office.writer().await;
        writer.retry(&parked_of(&office)["E1"].1).await.unwrap();
        assert_eq!(office.stock().await, (13, 9));
        // The engine's log was restored: at the same position there is another order.
        office.next = 0;
        let other = office.placed("E2", "7", 11);
        let to = Place { generation: Generation(8), position: other.position };
        let (place, fence) = writer.place(0).await.unwrap();
        writer.write(0, fence + 1, place, to, &[other]).await.unwrap();
        office.db.run("UPDATE stocks SET capacity = 33, blocked = 20").await.unwrap();
        let written = writer.retry(&parked_of(&office)["E2"].1).await.unwrap();
        assert_eq!((written.orders, written.parked.len()), (1, 0), "{kind:?} {written:?}");
        assert_eq!(office.stock().await, (24, 9));
        // Of an order that is set aside, the record of this log counts.
        let why = "waits for what was set aside of this order before".to_owned();
        let (paid, mut gone) = (office.paid("E3", &["T1"], false), office.cancelled("E3"));
        gone.position = paid.position;
        for record in [&paid, &gone] {
            let record = std::slice::from_ref(record);
            park(&office.state, &[("E3".to_owned(), why.clone())], record).unwrap();
        }
        assert_eq!(parked_of(&office)["E3"].1, [gone]);
    })
    .await;
}

fn parked_of(office: &Office) -> BTreeMap<String, (String, Vec<OrderRecord>)> {
    parked(&office.state).unwrap()
}

/// What a reader would do after each start: go on from the place that is stored.
async fn write_all(office: &Office, records: &[OrderRecord]) {
    let mut writer = office.writer().await;
    let (mut place, fence) = writer.place(0).await.unwrap();
    loop {
        let done = place.map_or(0, |place| place.position);
        let batch: Vec<OrderRecord> =
            records.iter().filter(|record| record.position > done).take(10).cloned().collect();
        let Some(last) = batch.last() else { return };
        let to = Place { generation: Generation(7), position: last.position };
        // A connection that broke is met by the next start.
        if writer.write(0, fence + 1, place, to, &batch).await.is_err() {
            return;
        }
        place = Some(to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_ended_anywhere_writes_each_order_once() {
    const ORDERS: usize = 400;
    on_both(async |kind| {
        let mut office = office(kind).await;
        office.db.run("UPDATE stocks SET capacity = 402, blocked = 400").await.unwrap();
        let mut records = Vec::new();
        for number in 1..=ORDERS {
            let order = format!("E{number}");
            records.push(office.placed(&order, "7", 1));
            records.push(office.paid(&order, &[&format!("T{number}")], false));
            if number % 4 == 0 {
                records.push(office.cancelled(&order));
            }
        }
        let (mut seed, mut ends) = (0x9e37_79b9_u64, 0);
        loop {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let limit = Duration::from_millis(seed >> 58);
            // Given up wherever it is: in a transaction, between two, while it connects.
            let ended = tokio::time::timeout(limit, write_all(&office, &records)).await;
            let (place, _) = office.writer().await.place(0).await.unwrap();
            if place.is_some_and(|place| place.position == office.next) {
                break;
            }
            ends += u32::from(ended.is_err());
        }
        // SQLite works where it is called, so there it ends between two batches or not at all.
        assert!(kind == Kind::Sqlite || ends > 0, "it was never ended before its end");
        assert_eq!(office.stock().await, (302, 100));
        let count = "SELECT (SELECT COUNT(*) FROM orders), (SELECT COUNT(*) FROM tickets), \
                     (SELECT COUNT(*) FROM payments), (SELECT SUM(quantity) FROM order_lines)";
        let counts = office.db.ask(count, &[]).await.unwrap().remove(0).values;
        let counts: Vec<String> = counts.iter().map(|value| format!("{value:?}")).collect();
        let number = |text: &str| -> usize {
            text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        let counts: Vec<usize> = counts.iter().map(|text| number(text)).collect();
        assert_eq!(counts, [ORDERS + 1, ORDERS, ORDERS, ORDERS + 2]);
        assert!(parked_of(&office).is_empty());
    })
    .await;
}

fn context(office: &Office) -> Context {
    Context {
        db: office.url.clone(),
        dialect: Arc::new(office.dialect.clone()),
        // Nobody is asked.
        engine: Engine::new("http://127.0.0.1:9", "none").unwrap(),
        state: Arc::clone(&office.state),
        platform: None,
        rate: None,
        other_log: false,
        meter: Arc::new(Meter::default()),
    }
}

fn shard(log: &str, generation: u32, next: u64) -> SalesShard {
    SalesShard {
        shard: 0,
        generation,
        first: 1,
        next,
        cursor: format!("{log}.{generation}.0.{next}"),
    }
}

/// Records as a page of the stream.
fn page(records: Vec<OrderRecord>) -> SalesPage {
    let next = records.last().map_or(0, |record| record.position);
    let record = |record: OrderRecord| {
        let data = serde_json::value::to_raw_value(&record.data).unwrap();
        let OrderRecord { position, kind, subject, time, order: id, .. } = record;
        SalesRecord { id, kind, subject, time, position, data }
    };
    SalesPage { records: records.into_iter().map(record).collect(), next, cursor: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bridge_and_another_log_are_told() {
    let mut office = office(Kind::Sqlite).await;
    let context = context(&office);
    let ours = shard("0000000a-1", 1, 100);
    let mut first = open(&context).await.unwrap();
    assert_eq!(begin(&context, &mut first, &ours).await.unwrap(), (None, true));
    let (one, mut place) = (page(vec![office.placed("E1", "7", 1)]), None);
    let mut write = async |target: &mut Target, page: &SalesPage| {
        let to = Place { generation: generation(&ours), position: page.next };
        let done = apply(&context, target, &ours, place, to, of_page(&ours, page)).await;
        if done.is_ok() {
            place = Some(to);
        }
        done
    };
    assert_eq!(write(&mut first, &one).await.unwrap(), 1);
    // Another one begins where the first is; from its first page on the first writes no more.
    let mut second = open(&context).await.unwrap();
    let (begun, is_same) = begin(&context, &mut second, &ours).await.unwrap();
    assert_eq!((begun.unwrap().position, is_same), (one.next, true));
    let two = page(vec![office.placed("E2", "7", 1)]);
    assert_eq!(write(&mut second, &two).await.unwrap(), 1);
    let three = page(vec![office.placed("E3", "7", 1)]);
    let error = write(&mut first, &three).await.unwrap_err().to_string();
    assert!(error.contains("another bridge writes back into this database"), "{error}");
    assert_eq!(write(&mut second, &three).await.unwrap(), 1);
    assert_eq!(office.stock().await, (5, 7));

    // A log of another name, one that was restored, and one that is shorter.
    for other in
        [shard("0000000b-1", 1, 100), shard("0000000a-1", 2, 100), shard("0000000a-1", 1, 2)]
    {
        let error = begin(&context, &mut second, &other).await.unwrap_err().to_string();
        assert!(error.contains("is not the one that was written back to position 3"), "{error}");
        assert!(error.contains("onsale bridge run --other-log"), "{error}");
        let agreed = Context { other_log: true, ..context.clone() };
        let (place, is_same) = begin(&agreed, &mut second, &other).await.unwrap();
        assert_eq!((place.unwrap().position, is_same), (3, false));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_an_order_that_is_set_aside_is_kept_and_too_much_stops() {
    let mut office = office(Kind::Sqlite).await;
    // A dialect need not look whether an order is there.
    office.dialect.sql.remove(&(Kind::Sqlite, "write-check".to_owned()));
    let context = context(&office);
    let ours = shard("0000000a-1", 1, 100);
    let mut target = open(&context).await.unwrap();
    begin(&context, &mut target, &ours).await.unwrap();
    let mut place = None;
    let mut write = async |page: &SalesPage| {
        let to = Place { generation: generation(&ours), position: page.next };
        let done = apply(&context, &mut target, &ours, place, to, of_page(&ours, page)).await;
        if done.is_ok() {
            place = Some(to);
        }
        done
    };
    let too_much = office.placed("E1", "7", 11);
    let paid = office.paid("E1", &["T1"], false);
    assert_eq!(write(&page(vec![too_much])).await.unwrap(), 0);
    let good = office.placed("E2", "7", 1);
    assert_eq!(write(&page(vec![paid, good])).await.unwrap(), 1);
    let (_, waiting) = &parked_of(&office)["E1"];
    assert_eq!(waiting.iter().map(|record| record.position).collect::<Vec<_>>(), [1, 2]);
    // One of which more came while it was tried again stays.
    forget(&context.state, [("E1", &waiting[..1])].into_iter()).unwrap();
    assert!(parked_of(&office).contains_key("E1"));

    for number in 0..PARKED_MAX {
        context.state.park(WAY, &format!("X{number}"), "odd", None).unwrap();
    }
    let more = office.placed("E3", "7", 1);
    let error = write(&page(vec![more])).await.unwrap_err().to_string();
    assert!(error.contains("more than 10000 orders are set aside"), "{error}");
    assert_eq!(office.stock().await, (3, 9));
}

#[tokio::test]
async fn a_rate_is_kept_to() {
    let begin = Instant::now();
    let mut pace = Pace::new(Some(1_000));
    for _ in 0..5 {
        pace.wait(20).await;
    }
    // 100 orders at 1,000 a second.
    assert!(begin.elapsed() >= Duration::from_millis(100), "{:?}", begin.elapsed());
}
