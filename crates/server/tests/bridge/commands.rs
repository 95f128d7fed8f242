//! What the commands say and do at a box office on SQLite: a look changes nothing, what differs is named, by the clock too, and
//! nothing is left in the end.

use onsale_bridge::database::Kind;
use onsale_bridge::state::State;

use crate::check;
use crate::office::Office;
use crate::sales::{HALL, Sales, Sold};
use crate::world::{Who, World};

impl World {
    /// All of the office's schema.
    fn schema(&self) -> String {
        let rows = self
            .rows("SELECT type || name || COALESCE(sql, '') AS s FROM sqlite_schema ORDER BY 1");
        rows.iter().map(|row| row.text("s").unwrap()).collect::<Vec<_>>().join("\n")
    }

    /// What a command says that must not go well.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.try_run(arguments, "");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        said.into_owned()
    }
}

#[test]
fn a_look_changes_nothing_and_what_differs_is_named() {
    let (world, sales) = (World::new(Kind::Sqlite), Sales::default());
    let office = Office::log_in(&world);
    let hall = office.make("hall", 100, &[0]);
    let before = world.schema();
    let planned = world.run(&["bridge", "attach", "--dry-run"], "");
    assert!(planned.contains("CREATE TRIGGER onsale_classic_events_update"), "{planned}");
    assert!(planned.ends_with("Nothing was done (--dry-run)."), "{planned}");
    assert_eq!(world.schema(), before);
    assert!(!world.path("bridge").exists(), "a dry run makes no folder");
    world.start(Who::Engine);
    for command in [&["bridge", "run"][..], &["bridge", "reconcile"], &["bridge", "retry"]] {
        let said = world.refused(command);
        assert!(said.contains("not attached") && said.contains("`onsale bridge attach`"), "{said}");
    }
    world.run(&["bridge", "attach"], "");
    world.start(Who::Bridge);
    world.run(&["bridge", "take", "river/hall"], "");
    check::is_open(&world);
    let kind = hall.types.keys().next().unwrap().to_string();
    let codes: Vec<String> = (0..4).map(|_| world.buy(HALL, &kind, 2)).collect();
    for code in &codes {
        let sold = Sold { quantity: 2, is_paid: true, ..Sold::default() };
        sales.sold.lock().unwrap().insert(code.clone(), sold);
    }
    check::settled(&world, &sales);
    assert_eq!(world.run(&["bridge", "retry"], ""), "nothing is set aside");

    // Each kind of difference, as somebody might make it in the tables.
    let [total, ticket, gone, other] = codes.try_into().unwrap();
    let of = |code: &str| format!("(SELECT id FROM orders WHERE code = '{code}')");
    for sql in [
        format!("UPDATE orders SET total_minor = 999 WHERE code = '{total}'"),
        format!(
            "UPDATE tickets SET code = 'X' WHERE code = (SELECT MIN(code) FROM tickets WHERE order_id = {})",
            of(&ticket)
        ),
        format!("UPDATE orders SET channel = 'web' WHERE code = '{gone}'"),
        format!("UPDATE orders SET code = 'NOBODYS' WHERE code = '{other}'"),
        "UPDATE stocks SET sold = sold + 1, blocked = blocked - 3".to_owned(),
    ] {
        world.break_in(&sql);
    }
    let said = world.refused(&["bridge", "reconcile"]);
    for line in [
        "river/hall: 4 orders compared, 0 on their way, 8 differences".to_owned(),
        format!("order {total}: engine total 0, platform total 999"),
        format!("order {ticket}: engine tickets "),
        format!("order {gone}: engine paid, platform not there"),
        format!("order {other}: engine paid, platform not there"),
        "order NOBODYS: engine not there, platform there".to_owned(),
        format!("quota {}: engine 8 sold, platform 6 sold", hall.stock),
        format!("quota {}: engine 92 left, platform 89 blocked", hall.stock),
        format!("quota {}: engine 8 sold, platform 9 counted, 8 in orders", hall.stock),
    ] {
        assert!(said.lines().any(|said| said.trim().starts_with(&line)), "{line}: {said}");
    }
    // `bridge run` finds it by itself, from time to time.
    let told = |differences: u64| {
        let metrics = world.path("bridge").join("metrics.prom");
        let line = format!("\nonsale_bridge_reconcile_differences {differences}\n");
        world.wait_until(|| {
            let metrics = std::fs::read_to_string(&metrics).unwrap_or_default();
            let is_so =
                metrics.contains(&line) && metrics.contains("\nonsale_bridge_reconcile_orders 4\n");
            is_so.then_some(()).ok_or(metrics)
        });
        world.is_told(&["reconcile", &format!("{differences} differences")]);
    };
    told(8);
    let said = world.refused(&["bridge", "reconcile", "river/none"]);
    assert!(said.contains("the platform has no event river/none"), "{said}");

    // Put right, nothing is left of it.
    for sql in [
        format!("UPDATE orders SET total_minor = 0 WHERE code = '{total}'"),
        format!("UPDATE tickets SET code = '{}' WHERE code = 'X'", first_ticket(&world, &ticket)),
        format!("UPDATE orders SET channel = 'onsale' WHERE code = '{gone}'"),
        format!("UPDATE orders SET code = '{other}' WHERE code = 'NOBODYS'"),
        "UPDATE stocks SET sold = sold - 1, blocked = blocked + 3".to_owned(),
    ] {
        world.break_in(&sql);
    }
    // What capture noted of an order is forgotten where both sides agree.
    let state = State::open(&world.path("bridge")).unwrap();
    state.park("capture", &format!("order {gone}"), "sold again", None).unwrap();
    world.run(&["bridge", "reconcile", "river/hall"], "");
    assert_eq!(state.parked().unwrap(), []);
    told(0);
    // What is sold while the bridge is down is on its way.
    world.kill(Who::Bridge);
    world.buy(HALL, &kind, 1);
    let said = world.run(&["bridge", "reconcile"], "");
    assert!(
        said.contains("river/hall: 4 orders compared, 1 on their way, 0 differences"),
        "{said}"
    );
    // A comparison by hand is one that the status knows of.
    let alarm = "ALARM  the sides differ: 1 differences";
    world.break_in(&format!("UPDATE orders SET total_minor = 999 WHERE code = '{total}'"));
    world.refused(&["bridge", "reconcile"]);
    assert!(world.refused(&["bridge", "status"]).contains(alarm));
    world.break_in(&format!("UPDATE orders SET total_minor = 0 WHERE code = '{total}'"));
    world.run(&["bridge", "reconcile"], "");
    let said = world.try_run(&["bridge", "status"], "").stdout;
    assert!(!String::from_utf8_lossy(&said).contains("the sides differ"), "{said:?}");
    // Put away and asked for by the order: capture's are tried again, too.
    state.park("capture", &format!("order {gone}"), "sold again", None).unwrap();
    assert!(world.run(&["bridge", "retry", &gone], "").contains("is settled"));
    assert!(world.refused(&["bridge", "retry", &gone]).contains("is not set aside"));
    world.start(Who::Bridge);
    // A failover is an alarm until somebody says that it is all right.
    state.set_fact("alarm:failover", Some("it failed over")).unwrap();
    assert!(world.refused(&["bridge", "status"]).contains("ALARM  it failed over"));
    world.run(&["bridge", "attach", "--again"], "");
    world.run(&["bridge", "status"], "");
    world.break_in("UPDATE ticket_types SET price_minor = -1");
    world.is_told(&["parked  capture", "river/hall", "below zero"]);
    world.refused(&["bridge", "status"]);
    let said = world.run(&["bridge", "retry"], "");
    assert!(said.starts_with("no order is set aside; what else is"), "{said}");
    world.break_in("UPDATE ticket_types SET price_minor = 0");

    let said = world.refused(&["bridge", "detach"]);
    assert!(said.contains("the engine has stock of this platform: 1 transfers"), "{said}");
    world.kill(Who::Bridge);
    let said = world.run(&["bridge", "detach", "--force"], "");
    assert!(said.ends_with("nothing of the bridge is left in this database."), "{said}");
    assert_eq!(world.schema(), before);
}

/// It would be waited for, as if it were only busy.
#[test]
fn a_file_that_is_not_there_is_told_at_once_and_nothing_is_made() {
    let mut world = World::new(Kind::Sqlite);
    let file = world.path("none.db").display().to_string();
    for db in [file.clone(), format!("sqlite:{file}"), world.path("").display().to_string()] {
        world.bridge_db = db;
        for command in [
            &["run"][..],
            &["take", "river/hall"],
            &["attach"],
            &["attach", "--again"],
            &["reconcile"],
            &["retry"],
            &["detach"],
            &["dialect", "check"],
        ] {
            let output = world.try_run(&[&["bridge"], command].concat(), "");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?}: {told}");
            assert!(told.contains("--db: there is no file /"), "{command:?}: {told}");
        }
    }
    assert!(!world.path("bridge").exists() && !world.path("none.db").exists());
}

/// The code of an order's first ticket, by the engine.
fn first_ticket(world: &World, order: &str) -> String {
    let order =
        world.ask(Who::Engine, ("GET", &format!("{HALL}/orders/{order}")), &[], None).json();
    let tickets = order["tickets"].as_array().unwrap().iter();
    tickets.map(|ticket| ticket["code"].as_str().unwrap().to_owned()).min().unwrap()
}
