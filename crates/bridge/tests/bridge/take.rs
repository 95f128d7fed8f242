//! Taking an event over, with a kill after each step; an order that is cancelled in the platform.

use std::collections::BTreeMap;

use onsale_bridge::Error;
use onsale_bridge::attach::{attach, detach};
use onsale_bridge::database::{Database, Kind, Mode, Statement};
use onsale_bridge::take::{Step, take};
use serde_json::json;

use crate::platform::Site;

async fn number(db: &mut Database, sql: &str) -> i64 {
    db.ask(sql, &[]).await.unwrap()[0].integer("n").unwrap()
}

async fn taken_over_once(kind: Kind) {
    let steps = [Step::Intended, Step::Taken, Step::Debited, Step::Defined, Step::Credited];
    let mut site = Site::attached(kind).await;
    let running = site.run();
    for (id, killed_after) in (1..).zip(steps) {
        let (slug, subject) = (format!("e-{id}"), format!("river/e-{id}"));
        site.event(id, &slug).await;
        site.sql(&format!("UPDATE stocks SET sold = 7, blocked = 3 WHERE id = {id}")).await;
        site.until_event(&subject, |_, state| state == "paused").await;
        let kill = |step| match step == killed_after {
            true => Err(Error::State("killed".to_owned())),
            false => Ok(()),
        };
        take(&site.parts(), &subject, kill).await.unwrap_err();
        for _ in 0..2 {
            let taken = take(&site.parts(), &subject, |_| Ok(())).await.unwrap();
            assert_eq!(taken.quotas, [(id.to_string(), 90)].into(), "{killed_after:?}");
        }
        site.until_event(&subject, |definition, state| {
            definition["quotas"] == json!([{"id": id.to_string(), "capacity": 90}])
                && state == "open"
        })
        .await;
        assert_eq!(
            number(&mut site.db, &format!("SELECT blocked AS n FROM stocks WHERE id = {id}")).await,
            93
        );
        let control = site.fake.known.lock().unwrap().streams["control"].clone();
        let kinds: Vec<&str> = control
            .iter()
            .filter(|record| record["subject"] == json!(subject))
            .map(|record| {
                record["type"].as_str().unwrap().strip_prefix("onsale.control.transfer-").unwrap()
            })
            .collect();
        assert_eq!(kinds, ["intended.v1", "debited.v1", "credited.v1"], "{killed_after:?}");
    }
    // A capacity that is edited is the platform's; what it frees is taken by another transfer.
    // What taking has sent is known to capture: each change is one record.
    let count = site.fake.count("catalogue");
    site.sql("UPDATE stocks SET capacity = 130 WHERE id = 1").await;
    for name in ["Larger", "Largest"] {
        site.sql(&format!("UPDATE events SET name = '{name}' WHERE id = 1")).await;
        site.until_event("river/e-1", |definition, _| definition["name"] == name).await;
    }
    assert_eq!(site.fake.count("catalogue"), count + 2);
    assert_eq!(site.fake.event("river/e-1").unwrap().0["quotas"][0]["capacity"], 90);
    let taken = take(&site.parts(), "river/e-1", |_| Ok(())).await.unwrap();
    assert_eq!((taken.number, taken.quotas["1"]), (2, 120));
    // A state that is lost is learned from the log.
    let state = site.state();
    state.set_taken("river/e-1", None).unwrap();
    running.kill().await;
    let _running = site.run();
    site.until("it is learned", || state.taken().unwrap().get("river/e-1") == Some(&taken)).await;
    let error = take(&site.parts(), "river/none", |_| Ok(())).await.unwrap_err();
    assert!(error.to_string().contains("no event river/none"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_taken_over_once_from_sqlite() {
    taken_over_once(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_taken_over_once_from_postgres() {
    taken_over_once(Kind::Postgres).await;
}

async fn cancelled_in_the_platform(kind: Kind) {
    let mut site = Site::attached(kind).await;
    let state = site.state();
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    let t = "'2026-11-24T10:00:00.000Z'";
    for (id, code) in [(1, "EOURS"), (2, "LTHEIRS"), (3, "EECHO"), (4, "KNOWN")] {
        if code.starts_with('E') {
            state.will_write([(code, "pending")].into_iter()).unwrap();
        }
        site.sql(&format!(
            "INSERT INTO orders (id, event_id, code, customer, status, total_minor, created_at) VALUES ({id}, 1, '{code}', 'c', 'pending', 5000, {t}); \
             INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES ({id}, 1, 2, 2500); \
             UPDATE stocks SET sold = sold + 2, blocked = blocked - 2 WHERE id = 1"
        ))
        .await;
        if code.starts_with('E') {
            state.wrote([code].into_iter()).unwrap();
        }
    }
    let cancel = |code: &str| {
        format!(
            "UPDATE orders SET status = 'cancelled' WHERE code = '{code}'; UPDATE stocks SET sold = sold - 2 WHERE id = 1"
        )
    };
    // Write-back cancels one itself: that is an echo.
    state.will_write([("EECHO", "cancelled")].into_iter()).unwrap();
    site.sql("UPDATE orders SET status = 'cancelled' WHERE code = 'EECHO'").await;
    site.sql(&cancel("LTHEIRS")).await;
    site.sql(&cancel("EOURS")).await;
    let fake = site.fake.clone();
    site.until("it is cancelled", || !fake.known.lock().unwrap().cancelled.is_empty()).await;
    assert_eq!(fake.known.lock().unwrap().cancelled, ["EOURS"]);
    // One that a bridge wrote whose own file is lost: the engine knows it.
    fake.known.lock().unwrap().open.push("KNOWN".to_owned());
    site.sql(&cancel("KNOWN")).await;
    site.until("it is cancelled, too", || fake.known.lock().unwrap().cancelled.len() == 2).await;
    assert_eq!(fake.known.lock().unwrap().cancelled, ["EOURS", "KNOWN"]);
    // One that is gone is nothing that a bridge can put right. PostgreSQL does not tell which one it was.
    if kind == Kind::Sqlite {
        state.will_write([("GONE", "pending")].into_iter()).unwrap();
        site.sql(
            "INSERT INTO orders (id, event_id, code, customer, status, total_minor, created_at) \
                  VALUES (5, 1, 'GONE', 'c', 'pending', 0, '2026-11-24T10:00:00.000Z')",
        )
        .await;
        state.wrote(["GONE"].into_iter()).unwrap();
        site.sql("DELETE FROM orders WHERE code = 'GONE'").await;
        site.until("it is told", || {
            let parked = state.parked().unwrap();
            parked.len() == 1
                && parked[0].about == "order GONE"
                && parked[0].reason.contains("deleted the order in the platform")
        })
        .await;
    }
    // Its tickets are the engine's again, and those of the platform's own order are the platform's.
    assert_eq!(number(&mut site.db, "SELECT capacity - sold - blocked AS n FROM stocks").await, 2);
    site.sql(
        "UPDATE orders SET customer = 'd' WHERE code = 'EOURS'; UPDATE events SET name = 'Later'",
    )
    .await;
    site.until_event("river/fest", |definition, _| definition["name"] == "Later").await;
    assert_eq!(fake.known.lock().unwrap().cancelled.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_cancelled_in_sqlite() {
    cancelled_in_the_platform(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_cancelled_in_postgres() {
    cancelled_in_the_platform(Kind::Postgres).await;
}

/// Somebody runs `take` beside the bridge and names another state folder, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_at_work_learns_what_was_taken_with_another_state() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.sql("UPDATE stocks SET blocked = 3").await;
    site.until_event("river/fest", |_, _| true).await;
    let (folder, state) = (tempfile::tempdir().unwrap(), site.state());
    let mut parts = site.parts();
    parts.state = std::sync::Arc::new(onsale_bridge::state::State::open(folder.path()).unwrap());
    // What is not credited yet is not for others to credit.
    let killed = |step| match step {
        Step::Debited => Err(Error::State("killed".to_owned())),
        _ => Ok(()),
    };
    take(&parts, "river/fest", killed).await.unwrap_err();
    site.event(2, "other").await;
    site.until_event("river/other", |_, _| true).await;
    let other = take(&parts, "river/other", |_| Ok(())).await.unwrap();
    let is_known = |known: &BTreeMap<_, _>| known.get("river/other") == Some(&other);
    site.until("the other is learned", || is_known(&state.taken().unwrap())).await;
    assert!(!state.taken().unwrap().contains_key("river/fest"));
    let taken = take(&parts, "river/fest", |_| Ok(())).await.unwrap();
    site.until("it is learned", || state.taken().unwrap().get("river/fest") == Some(&taken)).await;
    site.sql("UPDATE events SET name = 'Later'").await;
    site.until_event("river/fest", |definition, state| {
        definition["name"] == "Later"
            && definition["quotas"][0]["capacity"] == 97
            && state == "open"
    })
    .await;
}

/// What is gone can't be had; all else is taken over, this time and the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_was_taken_and_deleted_is_told() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.sql(
        "INSERT INTO stocks (id, event_id, name, capacity) VALUES (2, 1, 'balcony', 50); \
         INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (2, 1, 2, 'High', 100)",
    )
    .await;
    site.until_event("river/fest", |definition, _| definition["quotas"][1]["id"] == "2").await;
    let taken = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    assert_eq!(taken.quotas, [("1".to_owned(), 100), ("2".to_owned(), 50)].into());
    site.sql("DELETE FROM ticket_types WHERE id = 2; DELETE FROM stocks WHERE id = 2").await;
    for more in [0, 20, 0, 5] {
        site.sql(&format!("UPDATE stocks SET capacity = capacity + {more} WHERE id = 1")).await;
        let error = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err();
        let (told, rule) =
            (error.to_string(), "river/fest: the quota 2, of which the engine was given 50");
        assert!(told.contains(rule) && told.contains("make it again there"), "{told}");
    }
    assert_eq!(number(&mut site.db, "SELECT blocked AS n FROM stocks").await, 125);
    site.until_event("river/fest", |definition, _| {
        definition["quotas"] == json!([{"id": "1", "capacity": 125}])
    })
    .await;
    let control = site.fake.known.lock().unwrap().streams["control"].clone();
    let last = control.last().unwrap();
    assert_eq!(last["type"], "onsale.control.transfer-credited.v1", "{last}");
}

/// pretix counts on a lock that its sales hold shared; which of 256 it is depends on its settings.
#[tokio::test(flavor = "multi_thread")]
async fn taking_from_pretix_waits_for_its_sales_whichever_lock_they_hold() {
    let server = onsale_services::postgres();
    let dialect = onsale_bridge::dialect::Dialect::load("pretix").unwrap();
    let lock = dialect.statement(Kind::Postgres, "take-lock").unwrap();
    let mut here = Database::open(server.url()).await.unwrap();
    let mut there = Database::open(server.url()).await.unwrap();
    for (index, event, is_waited_for) in
        [(0, 12, true), (7, 12, true), (255, 12, true), (0, 13, false)]
    {
        let key = (event << 16) | (index << 8) | 1;
        let sale = format!("SELECT CAST(pg_advisory_xact_lock_shared({key}) AS text) AS locked");
        let mut selling = there.begin(Mode::Write).await.unwrap();
        selling.query(&Statement::new(Kind::Postgres, "test", &sale), &[]).await.unwrap();
        let mut taking = here.begin(Mode::Write).await.unwrap();
        let locked = taking.query(&lock, &[("event", "12_3".into())]).await;
        match locked {
            Ok(_) => assert!(!is_waited_for, "{index} {event}"),
            // It is tried again.
            Err(error) => {
                assert!(is_waited_for && error.is_transient(), "{index} {event}: {error}")
            }
        }
    }
}

/// Stock that the platform does not give is not the engine's.
#[tokio::test(flavor = "multi_thread")]
async fn a_take_that_changes_nothing_credits_nothing() {
    let sql = "UPDATE stocks SET blocked = blocked WHERE id = :quota AND event_id = :event AND :amount < 0";
    let mut site = Site::attached_with(Kind::Sqlite, "take", sql.to_owned()).await;
    site.event(1, "fest").await;
    let _running = site.run();
    site.until_event("river/fest", |_, _| true).await;
    let error = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string();
    assert!(error.contains("take.sql: it did not change one row for the quota 1"), "{error}");
    assert_eq!(site.fake.count("control"), 1, "it is intended, and no more");
    assert_eq!(number(&mut site.db, "SELECT count(*) AS n FROM onsale_transfer").await, 0);
    assert!(site.state().taken().unwrap().is_empty());
    assert_eq!(site.fake.event("river/fest").unwrap().1, "paused");
    // Put right, it is finished.
    site.dialect = std::sync::Arc::new(onsale_bridge::dialect::Dialect::load("classic").unwrap());
    let taken = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    assert_eq!((taken.number, taken.quotas["1"]), (1, 100));
}

/// The feed is made anew, so it does not tell what happened before.
async fn cancelled_while_nobody_watched(kind: Kind) {
    let mut site = Site::attached(kind).await;
    let state = site.state();
    let running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    let t = "'2026-11-24T10:00:00.000Z'";
    for (id, code) in [(1, "EOURS"), (2, "EOPEN")] {
        state.will_write([(code, "paid")].into_iter()).unwrap();
        site.sql(&format!(
            "INSERT INTO orders (id, event_id, code, customer, status, total_minor, channel, created_at) \
                VALUES ({id}, 1, '{code}', 'c', 'paid', 5000, 'onsale', {t}); \
             INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES ({id}, 1, 2, 2500); \
             UPDATE stocks SET sold = sold + 2, blocked = blocked - 2 WHERE id = 1"
        ))
        .await;
        state.wrote([code].into_iter()).unwrap();
    }
    running.kill().await;
    site.sql(
        "UPDATE orders SET status = 'cancelled' WHERE code = 'EOURS'; UPDATE stocks SET sold = sold - 2 WHERE id = 1",
    )
    .await;
    // PostgreSQL hears some time later that nobody reads the slot any more.
    let mut tries = tokio::time::interval(std::time::Duration::from_millis(10));
    let begun = std::time::Instant::now();
    while let Err(error) = detach(&site.dialect, &mut site.db, true).await {
        assert!(begun.elapsed().as_secs() < 60, "{error}");
        tries.tick().await;
    }
    attach(&site.dialect, &mut site.db).await.unwrap();
    let running = site.run();
    let fake = site.fake.clone();
    site.until("it is cancelled", || !fake.known.lock().unwrap().cancelled.is_empty()).await;
    assert_eq!(fake.known.lock().unwrap().cancelled, ["EOURS"]);
    let free = "SELECT capacity - sold - blocked AS n FROM stocks";
    assert_eq!(number(&mut site.db, free).await, 0, "its tickets are the engine's again");
    // What is known by now is not looked at as news by the next bridge.
    running.kill().await;
    let _running = site.run();
    site.sql("UPDATE events SET name = 'Later'").await;
    site.until_event("river/fest", |definition, _| definition["name"] == "Later").await;
    assert_eq!(fake.known.lock().unwrap().cancelled, ["EOURS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_in_sqlite_while_nobody_watched_is_found() {
    cancelled_while_nobody_watched(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_in_postgres_while_nobody_watched_is_found() {
    cancelled_while_nobody_watched(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_which_all_is_blocked_is_not_taken_for_nothing() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    let parts = site.parts();
    let refused =
        async |subject: &str| take(&parts, subject, |_| Ok(())).await.unwrap_err().to_string();
    site.event(2, "house").await;
    site.sql("UPDATE stocks SET blocked = 100 WHERE id = 2").await;
    site.until_event("river/house", |_, _| true).await;
    let why = refused("river/house").await;
    assert!(why.contains("nothing of it is free: 100 are blocked by the house"), "{why}");
    take(&parts, "river/fest", |_| Ok(())).await.unwrap();
    site.sql("UPDATE events SET slug = 'renamed' WHERE id = 1").await;
    site.until_event("river/renamed", |_, _| true).await;
    let why = refused("river/renamed").await;
    assert!(why.contains("for another address of the event"), "{why}");
    assert!(why.contains("was given river/fest, which") && why.contains("rename it back"), "{why}");
    site.sql("UPDATE events SET slug = 'fest' WHERE id = 1").await;
    site.until_event("river/fest", |_, state| state == "open").await;
}
