//! Taking an event again, where somebody changed by hand in the office what is kept back for the engine.

use onsale_bridge::Error;
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::take::{Step, take};

use crate::platform::Site;

async fn number(db: &mut Database, column: &str) -> i64 {
    let sql = format!("SELECT {column} AS n FROM stocks WHERE id = 1");
    db.ask(&sql, &[]).await.unwrap()[0].integer("n").unwrap()
}

fn killed_after(wanted: Step) -> impl FnMut(Step) -> Result<(), Error> {
    move |step| match step == wanted {
        true => Err(Error::State("killed".to_owned())),
        false => Ok(()),
    }
}

/// Takes an event that must not be taken: nothing moves, and the reason names event, quota and numbers.
async fn refused(site: &mut Site, reason: &[&str]) {
    let before = (number(&mut site.db, "blocked").await, site.fake.count("control"));
    let error = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string();
    for part in ["river/fest", "quota 1"].iter().chain(reason) {
        assert!(error.contains(part), "{part}: {error}");
    }
    let after = (number(&mut site.db, "blocked").await, site.fake.count("control"));
    assert_eq!(after, before, "nothing is taken, and nothing more is logged");
}

async fn taken(site: &Site) -> i64 {
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap().quotas["1"]
}

/// What is written back and cancelled again is no reason to refuse.
async fn sold(site: &mut Site, id: i64, channel: &str, quantity: i64) {
    let t = "'2026-11-24T10:00:00.000Z'";
    let blocked = if channel == "onsale" { quantity } else { 0 };
    site.sql(&format!(
        "INSERT INTO orders (id, event_id, code, customer, channel, status, total_minor, created_at) \
         VALUES ({id}, 1, 'ORDER{id}', 'c', '{channel}', 'paid', 0, {t}); \
         INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES ({id}, 1, {quantity}, 0); \
         UPDATE stocks SET sold = sold + {quantity}, blocked = blocked - {blocked} WHERE id = 1"
    ))
    .await;
}

async fn what_was_unblocked_is_not_taken_twice(kind: Kind) {
    let mut site = Site::attached(kind).await;
    let _running = site.run();
    site.event(1, "fest").await;
    sold(&mut site, 1, "shop", 7).await;
    site.sql("UPDATE stocks SET blocked = 3 WHERE id = 1").await;
    site.until_event("river/fest", |_, _| true).await;
    assert_eq!(taken(&site).await, 90);
    sold(&mut site, 2, "onsale", 10).await;
    assert_eq!(taken(&site).await, 90);

    // The house's own three are nobody's matter; what goes beyond is the engine's.
    site.sql("UPDATE stocks SET blocked = blocked - 3 WHERE id = 1").await;
    assert_eq!(taken(&site).await, 93);
    site.sql("UPDATE stocks SET blocked = blocked - 5 WHERE id = 1").await;
    let reason = ["given 93", "10 are in orders", "83 are left", "only 78", "5 may be sold"];
    let way_out = ["Block 5 of it again", "onsale bridge reconcile river/fest"];
    refused(&mut site, &reason).await;
    refused(&mut site, &way_out).await;
    let way_out = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string();
    assert!(!way_out.contains("capacity"), "there is room to block them: {way_out}");
    // Also where the platform sold some of them, and there is less left to block.
    sold(&mut site, 3, "shop", 3).await;
    refused(&mut site, &["Only 2 of it are free", "first raise its capacity by 3", "Block 5"])
        .await;
    sold(&mut site, 4, "shop", 2).await;
    refused(&mut site, &reason).await;
    refused(&mut site, &["Only 0 of it are free", "first raise its capacity by 5", "Block 5"])
        .await;
    // A capacity that is really raised makes room, and what is beyond that is taken.
    site.sql("UPDATE stocks SET capacity = capacity + 20 WHERE id = 1").await;
    refused(&mut site, &reason).await;
    site.sql("UPDATE stocks SET blocked = blocked + 5 WHERE id = 1").await;
    assert_eq!(taken(&site).await, 93 + 15);
    assert_eq!(number(&mut site.db, "capacity - sold - blocked").await, 0);

    // Cancelled in the office, and not yet in the engine: its tickets are the engine's already.
    site.sql(
        "UPDATE orders SET status = 'cancelled' WHERE id = 2; UPDATE stocks SET sold = sold - 10 WHERE id = 1",
    )
    .await;
    refused(&mut site, &["10 may be sold by both", "cancelled there a moment ago"]).await;
    site.sql("UPDATE stocks SET blocked = blocked + 10 WHERE id = 1").await;
    assert_eq!(taken(&site).await, 93 + 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unblocked_in_sqlite_is_not_taken_twice() {
    what_was_unblocked_is_not_taken_twice(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unblocked_in_postgres_is_not_taken_twice() {
    what_was_unblocked_is_not_taken_twice(Kind::Postgres).await;
}

/// Whichever step a take was killed after, what is unblocked meanwhile is not credited, and it is finished once it is blocked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_take_that_was_killed_does_not_credit_what_was_unblocked_since() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    assert_eq!(taken(&site).await, 100);
    let mut given = 100;
    for step in [Step::Intended, Step::Taken, Step::Debited, Step::Defined, Step::Credited] {
        site.sql("UPDATE stocks SET capacity = capacity + 20 WHERE id = 1").await;
        take(&site.parts(), "river/fest", killed_after(step)).await.unwrap_err();
        site.sql("UPDATE stocks SET blocked = blocked - 5 WHERE id = 1").await;
        // What was debited is known to the engine's log from that step on.
        let known = if step < Step::Debited { given } else { given + 20 };
        let (error, before) = (
            take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string(),
            site.fake.event("river/fest").unwrap().0["quotas"][0]["capacity"].clone(),
        );
        // One that was noted in the platform is logged before it is refused.
        let known = if step == Step::Taken { known + 20 } else { known };
        assert!(error.contains(&format!("was given {known}")), "{step:?}: {error}");
        assert!(error.contains("5 may be sold by both"), "{step:?}: {error}");
        let has = if step < Step::Defined { given } else { given + 20 };
        assert_eq!(before, has, "{step:?}: the engine has no more than before");
        site.sql("UPDATE stocks SET blocked = blocked + 5 WHERE id = 1").await;
        given += 20;
        assert_eq!(taken(&site).await, given, "{step:?}");
        assert_eq!(number(&mut site.db, "blocked").await, given, "{step:?}");
    }
}

/// The engine's log went back to before it was given anything; the platform has orders of it and what was taken.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_log_had_sold_is_not_the_engines_again() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    assert_eq!(taken(&site).await, 100);
    sold(&mut site, 1, "onsale", 10).await;
    site.fake.forget_transfers();
    let error = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string();
    for part in ["river/fest", "10 of the quota 1", "given 0", "reconcile river/fest"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(site.fake.count("control"), 1, "it is intended, and no more");
}

/// Without a statement that tells what is kept back, nothing more can be taken, and what was begun is finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_dialect_that_does_not_tell_what_is_kept_back_takes_once() {
    let mut site = Site::new(Kind::Sqlite).await;
    let mut dialect = (*site.dialect).clone();
    dialect.sql.remove(&(Kind::Sqlite, "reconcile-quotas".to_owned())).unwrap();
    site.dialect = std::sync::Arc::new(dialect);
    onsale_bridge::attach::attach(&site.dialect, &mut site.db).await.unwrap();
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", killed_after(Step::Taken)).await.unwrap_err();
    assert_eq!(taken(&site).await, 100);
    assert_eq!(taken(&site).await, 100);
    site.sql("UPDATE stocks SET capacity = capacity + 20 WHERE id = 1").await;
    let error = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap_err().to_string();
    assert!(error.contains("does not tell what the platform keeps back"), "{error}");
    assert!(error.contains("reconcile-quotas"), "{error}");
    assert_eq!(number(&mut site.db, "blocked").await, 100);
}
