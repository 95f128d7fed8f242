//! Changes arrive, once, whatever happens in between.

use std::time::Duration;

use onsale_bridge::database::{Database, Kind, Mode, Statement};
use serde_json::json;

use crate::platform::Site;

async fn changes_arrive(kind: Kind) {
    let mut site = Site::attached(kind).await;
    site.event(1, "before").await;
    let running = site.run();
    site.until_event("river/before", |definition, state| {
        definition["quotas"] == json!([{"id": "1", "capacity": 100}]) && state == "paused"
    })
    .await;
    site.event(2, "after").await;
    site.until_event("river/after", |definition, _| definition["ticket_types"][0]["price"] == 2500)
        .await;
    // Types, prices, windows, stock.
    site.sql("UPDATE ticket_types SET price_minor = 2600 WHERE id = 2").await;
    site.until_event("river/after", |definition, _| definition["ticket_types"][0]["price"] == 2600)
        .await;
    site.sql("UPDATE stocks SET capacity = 120 WHERE id = 2").await;
    site.until_event("river/after", |definition, _| definition["quotas"][0]["capacity"] == 120)
        .await;
    site.sql("UPDATE events SET sale_closes_at = '2027-01-01T00:00:00.000Z' WHERE id = 2").await;
    site.until_event("river/after", |definition, _| {
        definition["sale"]["closes_at"] == "2027-01-01T00:00:00Z"
    })
    .await;
    site.sql("INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (3, 2, 2, 'Child', 0)").await;
    site.until_event("river/after", |definition, _| {
        definition["ticket_types"].as_array().unwrap().len() == 2
    })
    .await;
    site.sql("DELETE FROM ticket_types WHERE id = 3").await;
    site.until_event("river/after", |definition, _| {
        definition["ticket_types"].as_array().unwrap().len() == 1
    })
    .await;
    // What changes nothing is not sent.
    let count = site.fake.count("catalogue");
    site.sql("UPDATE events SET description = 'longer' WHERE id = 2; UPDATE stocks SET sold = 5 WHERE id = 2").await;
    site.sql("UPDATE events SET name = 'Last' WHERE id = 2").await;
    site.until_event("river/after", |definition, _| definition["name"] == "Last").await;
    assert_eq!(site.fake.count("catalogue"), count + 1);
    // A type that moves is gone where it was.
    site.sql("INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (4, 2, 2, 'Moves', 0)").await;
    site.until_event("river/after", |definition, _| {
        definition["ticket_types"].as_array().unwrap().len() == 2
    })
    .await;
    site.sql("UPDATE ticket_types SET event_id = 1, stock_id = 1 WHERE id = 4").await;
    for subject in ["river/before", "river/after"] {
        site.until_event(subject, |definition, _| {
            let types = definition["ticket_types"].as_array().unwrap();
            types.len() == if subject == "river/after" { 1 } else { 2 }
        })
        .await;
    }
    site.sql("DELETE FROM ticket_types WHERE id = 4").await;
    site.until_event("river/before", |definition, _| {
        definition["ticket_types"].as_array().unwrap().len() == 1
    })
    .await;
    // How far it was behind is known.
    let state = site.state();
    site.until("a lag", || {
        let fact = state.fact("capture").unwrap().unwrap_or_default();
        let fact: serde_json::Value = serde_json::from_str(&fact).unwrap_or_default();
        fact["lag_ms_p99"].as_i64().is_some_and(|lag| lag < 10_000)
    })
    .await;
    let metrics = onsale_bridge::capture::metrics(&state).unwrap();
    assert!(metrics.contains("\nonsale_bridge_capture_lag_p99_milliseconds "), "{metrics}");
    let number = |name: &str| {
        let metrics = onsale_bridge::capture::metrics(&state).unwrap();
        let name = format!("onsale_bridge_capture_{name} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap()
    };
    let before = [number("rows_total"), number("events_total")];
    // Removed ones are closed.
    site.sql("DELETE FROM ticket_types WHERE id = 1; DELETE FROM stocks WHERE id = 1; DELETE FROM events WHERE id = 1").await;
    site.until_event("river/before", |_, state| state == "closed").await;
    site.until("numbers grow", || {
        number("rows_total") >= before[0] + 3 && number("events_total") > before[1]
    })
    .await;
    if kind == Kind::Sqlite {
        let left = "SELECT count(*) AS n FROM onsale_outbox";
        let left = site.db.ask(left, &[]).await.unwrap()[0].integer("n").unwrap();
        assert_eq!(left, 0, "what was told is not kept");
    }
    // After a restart nothing is sent again, and what changed meanwhile is.
    running.kill().await;
    let count = site.fake.count("catalogue");
    site.sql("UPDATE ticket_types SET price_minor = 2700 WHERE id = 2").await;
    let _running = site.run();
    site.until_event("river/after", |definition, _| definition["ticket_types"][0]["price"] == 2700)
        .await;
    assert_eq!(site.fake.count("catalogue"), count + 1);
    if kind == Kind::Postgres {
        site.sql("TRUNCATE events CASCADE").await;
        site.until_event("river/after", |_, state| state == "closed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_from_sqlite() {
    changes_arrive(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_arrive_from_postgres() {
    changes_arrive(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_engine_refuses_is_parked_and_stops_nothing() {
    let mut site = Site::attached(Kind::Sqlite).await;
    // The box office would not take such a price.
    site.sql("PRAGMA ignore_check_constraints = ON").await;
    site.event(1, "odd").await;
    site.sql("UPDATE ticket_types SET price_minor = -1").await;
    site.fake.known.lock().unwrap().refuses.push("river/full".to_owned());
    site.event(2, "full").await;
    site.event(3, "good").await;
    let _running = site.run();
    site.until_event("river/good", |_, _| true).await;
    let state = site.state();
    site.until("it is parked", || !state.parked().unwrap().is_empty()).await;
    let parked = state.parked().unwrap();
    assert_eq!((parked.len(), parked[0].about.as_str()), (1, "1"));
    assert!(parked[0].reason.contains("must not be below zero"), "{parked:?}");
    let status = onsale_bridge::status::status(&state, Some(&site.fake.client())).await.unwrap();
    assert!(!status.is_fine() && status.text().contains("below-sold"), "{}", status.text());
    state.set_fact("secret:t/1", Some("hush")).unwrap();
    let status = onsale_bridge::status::status(&state, None).await.unwrap();
    assert!(!status.json.to_string().contains("hush"), "{status:?}");
    // Put right, it goes through and nothing is left.
    site.fake.known.lock().unwrap().refuses.clear();
    site.sql("UPDATE ticket_types SET price_minor = 1; UPDATE stocks SET capacity = 101").await;
    site.until_event("river/odd", |_, _| true).await;
    site.until_event("river/full", |definition, _| definition["quotas"][0]["capacity"] == 101)
        .await;
    site.until("nothing is parked", || state.parked().unwrap().is_empty()).await;
    // Nor at the engine.
    let fake = site.fake.clone();
    site.until("nothing is refused", || fake.known.lock().unwrap().parked.is_empty()).await;
}

/// Many writers, whose transactions are open for a while and commit in another order than they began: nothing is skipped.
///
/// `ONSALE_HOLD_SECONDS` says how long one of them is open.
async fn nothing_is_skipped(kind: Kind) {
    const WRITERS: i64 = 6;
    const ROUNDS: i64 = 15;
    let mut site = Site::attached(kind).await;
    for id in 1..=WRITERS {
        site.event(id, &format!("e-{id}")).await;
    }
    let _running = site.run();
    // One is open all the time and changes an event at its very beginning.
    let mut held = Database::open(&site.url).await.unwrap();
    let mut held = match kind {
        // There is one writer at a time in SQLite.
        Kind::Sqlite => None,
        Kind::Postgres => Some(held.begin(Mode::Write).await.unwrap()),
    };
    let statement = |sql: &str| Statement::new(kind, "test", sql);
    if let Some(tx) = &mut held {
        tx.execute(&statement("UPDATE events SET venue = 'held', name = 'held' WHERE id = 1"), &[])
            .await
            .unwrap();
    }
    let mut writers = Vec::new();
    for id in 2..=WRITERS {
        let url = site.url.clone();
        let update = statement(
            "UPDATE ticket_types SET price_minor = :price WHERE id = CAST(:id AS bigint)",
        );
        writers.push(tokio::spawn(async move {
            let mut db = Database::open(&url).await.unwrap();
            for round in 1..=ROUNDS {
                // On a busy machine it is another one's turn for longer than a file's lock is waited for.
                let mut tries = 0;
                let mut tx = loop {
                    match db.begin(Mode::Write).await {
                        Ok(tx) => break tx,
                        Err(error) => assert!(tries < 10, "{error}"),
                    }
                    tries += 1;
                };
                tx.execute(&update, &[("price", (1_000 * id + round).into()), ("id", id.into())])
                    .await
                    .unwrap();
                let pause = Duration::from_millis(((id * 7 + round * 13) % 20).unsigned_abs());
                // Held open meanwhile.
                let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
                tx.commit().await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for id in 2..=WRITERS {
        let price = 1_000 * id + ROUNDS;
        site.until_event(&format!("river/e-{id}"), |definition, _| {
            definition["ticket_types"][0]["price"] == price
        })
        .await;
    }
    if let Some(tx) = held {
        let hold = std::env::var("ONSALE_HOLD_SECONDS").map_or(1, |text| text.parse().unwrap());
        // Held open meanwhile, while others commit.
        let begun = std::time::Instant::now();
        let mut round = 0;
        while begun.elapsed() < Duration::from_secs(hold) {
            round += 1;
            let name = format!("Round {round}");
            site.sql(&format!("UPDATE events SET name = '{name}' WHERE id = 2")).await;
            site.until_event("river/e-2", |definition, _| definition["name"] == name).await;
        }
        assert_eq!(site.fake.event("river/e-1").unwrap().0["name"], "Concert 1");
        tx.commit().await.unwrap();
        site.until_event("river/e-1", |definition, _| definition["name"] == "held").await;
    }
}

// A writer that waits for a file's lock keeps its thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 12)]
async fn nothing_is_skipped_in_sqlite() {
    nothing_is_skipped(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_skipped_in_postgres() {
    nothing_is_skipped(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_and_an_engine_that_go_and_come_are_waited_for() {
    let mut site = Site::attached(Kind::Postgres).await;
    site.event(1, "fest").await;
    let running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    site.fake.known.lock().unwrap().is_down = true;
    site.sql("UPDATE events SET name = 'While the engine was down'").await;
    let state = site.state();
    site.until("an alarm", || state.fact("alarm:capture").unwrap().is_some()).await;
    site.fake.known.lock().unwrap().is_down = false;
    site.until_event("river/fest", |definition, _| {
        definition["name"] == "While the engine was down"
    })
    .await;
    site.server.as_mut().unwrap().restart();
    site.db = Database::open(&site.url).await.unwrap();
    site.sql("UPDATE events SET name = 'After the restart'").await;
    site.until_event("river/fest", |definition, _| definition["name"] == "After the restart").await;
    site.until("no alarm", || state.fact("alarm:capture").unwrap().is_none()).await;
    // A column that is gone, and comes back.
    site.sql("ALTER TABLE events RENAME COLUMN name TO title").await;
    site.sql("UPDATE events SET title = 'Renamed'").await;
    site.until("an alarm", || {
        state.fact("alarm:capture").unwrap().is_some_and(|text| text.contains("dialect check"))
    })
    .await;
    site.sql("ALTER TABLE events RENAME COLUMN title TO name").await;
    site.until_event("river/fest", |definition, _| definition["name"] == "Renamed").await;
    // A clock that is two hours off.
    site.fake.known.lock().unwrap().ahead = 7_200;
    site.until("an alarm", || state.fact("alarm:clock").unwrap().is_some()).await;
    let status = onsale_bridge::status::status(&state, None).await.unwrap();
    assert!(!status.is_fine() && status.text().contains("ALARM  the engine's clock"), "{status:?}");
    site.fake.known.lock().unwrap().ahead = 0;
    site.until("no alarm", || state.fact("alarm:clock").unwrap().is_none()).await;
    assert!(!running.task.is_finished());
    // The slot is gone: it ends, and says what to do; then all goes on.
    running.kill().await;
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    let mut tries = 0;
    while let Err(error) = site.db.run("SELECT pg_drop_replication_slot('onsale_classic')").await {
        tries += 1;
        assert!(tries < 1_000, "{error}");
        looks.tick().await;
    }
    site.sql("UPDATE events SET name = 'While there was no slot'").await;
    let error = site.why_it_ends().await;
    assert!(error.contains("onsale bridge attach"), "{error}");
    onsale_bridge::attach::attach(&site.dialect, &mut site.db).await.unwrap();
    let _running = site.run();
    site.until_event("river/fest", |definition, _| definition["name"] == "While there was no slot")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_and_a_failover_are_told() {
    let mut site = Site::attached(Kind::Postgres).await;
    site.event(1, "fest").await;
    let state = site.state();
    state.set_fact("database", Some("1234")).unwrap();
    let error = site.why_it_ends().await;
    assert!(error.contains("attach --again"), "{error}");
    state.set_fact("database", None).unwrap();
    state.set_fact("timeline", Some("77")).unwrap();
    let _running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    assert!(state.fact("alarm:failover").unwrap().unwrap().contains("reconcile"));
    let error =
        onsale_bridge::take::take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err();
    assert!(error.to_string().contains("failed over"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_told_and_made_anew() {
    let mut site = Site::attached_to(onsale_services::postgres_with(&[
        "fsync=off",
        "max_slot_wal_keep_size=1MB",
    ]))
    .await;
    site.event(1, "fest").await;
    let running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    running.kill().await;
    // More is written than the slot may keep back.
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    for look in 0.. {
        assert!(look < 200, "the slot is not given up");
        looks.tick().await;
        site.sql("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal(); CHECKPOINT").await;
        let slot = "SELECT wal_status AS status FROM pg_replication_slots";
        if site.db.ask(slot, &[]).await.unwrap()[0].text("status").unwrap() == "lost" {
            break;
        }
    }
    site.sql("UPDATE events SET name = 'While it was lost'").await;
    let error = site.why_it_ends().await;
    assert!(error.contains("the replication slot onsale_classic is lost"), "{error}");
    assert!(error.contains("onsale bridge attach"), "{error}");
    onsale_bridge::attach::attach(&site.dialect, &mut site.db).await.unwrap();
    let _running = site.run();
    site.until_event("river/fest", |definition, _| definition["name"] == "While it was lost").await;
}

/// What others write is let go of while nothing of ours changes, and a slot that is held back is told in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_kept_up_and_told_before_it_is_lost() {
    let server = onsale_services::postgres_with(&["fsync=off", "max_slot_wal_keep_size=1MB"]);
    let mut site = Site::attached_to(server).await;
    let (state, _running) = (site.state(), site.run());
    state.set_fact("alarm:slot", Some("of a time before")).unwrap();
    site.until("no alarm", || state.fact("alarm:slot").unwrap().is_none()).await;
    site.sql("CREATE TABLE others (n int); INSERT INTO others VALUES (1)").await;
    let now = site.db.ask("SELECT pg_current_wal_lsn()::text AS at", &[]).await.unwrap();
    let now = now[0].text("at").unwrap();
    let is_let_go = format!(
        "SELECT confirmed_flush_lsn >= CAST('{now}' AS pg_lsn) AS so FROM pg_replication_slots"
    );
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    for look in 0.. {
        assert!(look < 1_500, "the server is not told that it can let go");
        looks.tick().await;
        if site.db.ask(&is_let_go, &[]).await.unwrap()[0].maybe_bool("so").unwrap() == Some(true) {
            break;
        }
    }
    // While a transaction is open the server keeps what was written since.
    let mut other = Database::open(&site.url).await.unwrap();
    let mut open = other.begin(Mode::Write).await.unwrap();
    open.run("INSERT INTO others VALUES (2)").await.unwrap();
    for _ in 0..3 {
        site.sql("SELECT pg_logical_emit_message(false, 'test', 'x'); SELECT pg_switch_wal()")
            .await;
    }
    site.until("an alarm", || {
        let told = state.fact("alarm:slot").unwrap();
        told.is_some_and(|told| told.contains("about to be lost"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_row_tells_of_is_found_by_the_next_sweep() {
    let mut site = Site::new(Kind::Sqlite).await;
    let mut dialect = (*site.dialect).clone();
    dialect.settings.capture.sweep_seconds = 1;
    dialect.settings.watch.retain(|watch| watch.table != "events");
    site.dialect = std::sync::Arc::new(dialect);
    onsale_bridge::attach::attach(&site.dialect, &mut site.db).await.unwrap();
    site.event(1, "fest").await;
    let _running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    for name in ["Later", "Last"] {
        site.sql(&format!("UPDATE events SET name = '{name}'")).await;
        site.until_event("river/fest", |definition, _| definition["name"] == name).await;
    }
}

/// Who takes an event over has the catalogue to itself meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_appended_while_another_process_has_the_catalogue() {
    let mut site = Site::attached(Kind::Sqlite).await;
    site.event(1, "fest").await;
    let _running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    let lock = onsale_bridge::capture::lock(&site.state()).await.unwrap();
    site.sql("UPDATE events SET name = 'Later'").await;
    let is_later = || site.until_event("river/fest", |definition, _| definition["name"] == "Later");
    tokio::time::timeout(Duration::from_millis(500), is_later()).await.unwrap_err();
    drop(lock);
    is_later().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_clock_is_off_is_told() {
    let mut site = Site::attached(Kind::Postgres).await;
    // Whoever asks from now on is told another time.
    site.sql(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS \
         $$ SELECT pg_catalog.clock_timestamp() - interval '2 hours' $$",
    )
    .await;
    site.sql("ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog").await;
    let _running = site.run();
    let state = site.state();
    site.until("an alarm", || {
        state.fact("alarm:clock").unwrap().is_some_and(|text| {
            text.starts_with("the database's clock is -7") && text.contains("may open")
        })
    })
    .await;
}

/// The engine never had it by an address that it refuses: nothing is closed by that one, and it is what it was once it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_mended_goes_through_by_itself() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "jazz").await;
    site.until_event("river/jazz", |_, state| state == "paused").await;
    site.sql("UPDATE events SET slug = 'b_jazz' WHERE id = 1").await;
    site.event(2, "b_new").await;
    let state = site.state();
    site.until("both are set aside", || {
        let parked = state.parked().unwrap();
        let is_told = |slug: &str| {
            parked.iter().any(|of| of.reason.contains(slug) && of.reason.contains("only letters"))
        };
        parked.len() == 2 && is_told("river/b_jazz") && is_told("river/b_new")
    })
    .await;
    site.until_event("river/jazz", |_, state| state == "closed").await;
    site.sql("UPDATE events SET slug = 'jazz' WHERE id = 1").await;
    site.sql("UPDATE events SET slug = 'new' WHERE id = 2").await;
    site.until_event("river/jazz", |_, state| state == "paused").await;
    site.until_event("river/new", |_, state| state == "paused").await;
    site.until("nothing is set aside", || state.parked().unwrap().is_empty()).await;
    assert_eq!(site.fake.known.lock().unwrap().parked, []);
}
