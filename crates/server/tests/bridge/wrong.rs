//! What can't be brought over, with the real office, engine and bridge: `onsale bridge status` says what and why, the rest goes
//! on, and it goes through once it is put right.

use std::sync::atomic::{AtomicU64, Ordering};

use onsale_bridge::database::{Database, Kind};
use serde_json::{Value, json};

use crate::check;
use crate::office::{Event, Office};
use crate::sales::{HALL, Sales};
use crate::world::{Who, World};

/// Keys of what the engine was told.
static TOLD: AtomicU64 = AtomicU64::new(0);

impl World {
    /// Changes something at the engine, which must go well.
    fn tell(&self, method: &str, path: &str, body: &Value) -> Value {
        let once = TOLD.fetch_add(1, Ordering::Relaxed).to_string();
        let condition = match method {
            "PUT" => [("If-None-Match", "*")],
            "PATCH" => [("If-Match", "*")],
            _ => [("Idempotency-Key", once.as_str())],
        };
        let answer = self.ask(Who::Engine, (method, path), &condition, Some(&body.to_string()));
        assert!(answer.status < 300, "{method} {path}: {}", answer.problem());
        answer.json()
    }

    /// Has the engine sell so many tickets of an event that it was told of by somebody else.
    fn sell_elsewhere(&self, slug: &str, event: &Event, quantity: i64) -> String {
        let path = format!("/v1/organizers/river/events/{slug}");
        let (kind, (_, price)) = event.types.iter().next().unwrap();
        let (stock, kind) = (event.stock.to_string(), kind.to_string());
        let types = json!([{"id": kind, "name": "T", "price": price, "quotas": [stock]}]);
        let quotas = json!([{"id": stock, "capacity": 10}]);
        self.tell(
            "PUT",
            &path,
            &json!({"name": "E", "currency": "EUR", "quotas": quotas, "ticket_types": types}),
        );
        self.tell("PATCH", &path, &json!({"state": "open"}));
        self.buy(&path, &kind, quantity)
    }

    pub fn buy(&self, event: &str, kind: &str, quantity: i64) -> String {
        let items = json!([{"ticket_type": kind, "quantity": quantity}]);
        let order = json!({"customer": "c", "items": items});
        let order = self.tell("POST", &format!("{event}/orders"), &order);
        order["code"].as_str().unwrap().to_owned()
    }

    /// Waits until the status has all of these words in one line.
    pub fn is_told(&self, words: &[&str]) {
        self.wait_until(|| {
            let output = self.try_run(&["bridge", "status"], "");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let is_so = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
            is_so.then_some(()).ok_or_else(|| format!("{words:?} in no line of: {text}"))
        });
    }

    /// Waits until the figures of write-back are so.
    fn has_metrics(&self, is_so: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
        self.wait_until(|| {
            let file = self.path("bridge").join("metrics.prom");
            let metrics = std::fs::read_to_string(file).unwrap_or_default();
            let number = |name: &str| {
                let name = format!("onsale_bridge_write_back_{name} ");
                let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
                line.map_or(0, |number| number.parse().unwrap())
            };
            is_so(&number).then_some(()).ok_or_else(|| metrics.clone())
        });
    }

    /// Changes the office's tables in a way that the office itself would not.
    pub fn break_in(&self, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut db = Database::open(&self.db).await.unwrap();
            db.run("PRAGMA ignore_check_constraints = ON").await.unwrap();
            db.run(sql).await.unwrap();
        });
    }
}

#[test]
fn what_is_wrong_is_told_and_goes_through_when_it_is_put_right() {
    let (world, sales) = (World::new(Kind::Sqlite), Sales::default());
    let office = Office::log_in(&world);
    let hall = office.make("hall", 1_000, &[0]);
    let mut full = office.make("full", 3, &[0]);
    let odd = office.make("odd", 100, &[1_000]);
    world.run(&["bridge", "attach"], "");
    world.start(Who::Engine);
    // More is sold than the office has places, and nothing of it was taken over.
    let code = world.sell_elsewhere("full", &full, 5);
    // This one is none of the office's.
    world.sell_elsewhere("elsewhere", &full, 2);
    world.break_in(&format!("UPDATE ticket_types SET price_minor = -5 WHERE event_id = (SELECT id FROM events WHERE slug = '{}')", odd.slug));
    world.start(Who::Bridge);
    world.is_told(&[
        "refused by the engine",
        "quotas[0].capacity",
        "has 5 sold or held, 3 is less",
    ]);
    world.is_told(&["parked  write-back", &code, "CHECK constraint failed"]);
    world.is_told(&["passed over  river/elsewhere: 1 orders"]);
    world.is_told(&["parked  capture", "river/odd", "price", "below zero"]);

    // None of it is in the way of the others.
    world.run(&["bridge", "take", "river/hall"], "");
    check::is_open(&world);
    let kind = hall.types.keys().next().unwrap().to_string();
    world.break_in("ALTER TABLE orders RENAME COLUMN customer TO buyer");
    let last = world.buy(HALL, &kind, 1);
    world.is_told(&["write-back", "now: dialects/classic/sql/sqlite/write-orders.sql", "customer"]);
    world.has_metrics(|number| {
        let numbers =
            ["orders_total", "parked_total", "errors_total", "behind_records"].map(number);
        numbers[0] == 0
            && numbers[1..].iter().zip([1, 1, 1]).all(|(number, least)| *number >= least)
    });
    world.break_in("ALTER TABLE orders RENAME COLUMN buyer TO customer");
    world.has_metrics(|number| {
        number("orders_total") >= 1 && number("records_total") >= 3 && number("behind_records") == 0
    });
    // An error that is over is not told.
    world.wait_until(|| {
        let output = world.try_run(&["bridge", "status"], "");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (!text.contains(", now: ")).then_some(()).ok_or(text)
    });

    // Put right.
    office.set_stock(&mut full, 20, 5);
    world.break_in("UPDATE ticket_types SET price_minor = 700 WHERE price_minor < 0");
    let told = world.run(&["bridge", "retry", &code], "");
    assert_eq!(told, format!("{code} is written back"));
    for (code, quantity) in [(code, 5), (last, 1)] {
        let sold = crate::sales::Sold { quantity, is_paid: true, ..Default::default() };
        sales.sold.lock().unwrap().insert(code, sold);
    }
    check::settled(&world, &sales);
    let there = "SELECT COUNT(*) AS n FROM orders WHERE channel = 'onsale' AND status = 'paid'";
    assert_eq!(world.number(there), 2);
}
