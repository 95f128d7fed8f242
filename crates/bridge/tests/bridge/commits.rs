//! Commits of PostgreSQL as the feed tells them: in parts, before anybody can see them, and right after a start.

use std::time::Duration;

use onsale_bridge::database::{Database, Kind, Mode, Statement};

use crate::platform::{Running, Site};

async fn with_an_event() -> (Site, Running) {
    let mut site = Site::attached(Kind::Postgres).await;
    for (id, slug) in [(1, "fest"), (2, "other")] {
        site.event(id, slug).await;
    }
    let running = site.run();
    for subject in ["river/fest", "river/other"] {
        site.until_event(subject, |_, _| true).await;
    }
    (site, running)
}

/// Whether a question to the database that it answers by `is_so` is answered by yes.
async fn is_so(site: &mut Site, sql: &str) -> bool {
    site.db.ask(sql, &[]).await.unwrap()[0].maybe_bool("is_so").unwrap() == Some(true)
}

async fn until_so(site: &mut Site, sql: &str) {
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    for look in 0.. {
        assert!(look < 6_000, "waited for: {sql}");
        looks.tick().await;
        if is_so(site, sql).await {
            return;
        }
    }
}

/// Others go on meanwhile.
async fn a_while() {
    let ended = tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>());
    ended.await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_that_is_told_in_parts_is_whole() {
    let (mut site, _running) = with_an_event().await;
    let mut writer = Database::open(&site.url).await.unwrap();
    for round in 0..3 {
        let name = format!("Large {round}");
        let mut tx = writer.begin(Mode::Write).await.unwrap();
        let large = format!(
            "DO $$ BEGIN UPDATE events SET name = '{name}' WHERE id = 1; FOR i IN 1..20000 LOOP \
             UPDATE ticket_types SET price_minor = i WHERE id = 2; END LOOP; END $$"
        );
        tx.execute(&Statement::new(Kind::Postgres, "test", &large), &[]).await.unwrap();
        // The feed gathers for a moment after this one, which ends in the middle of the other.
        site.sql(&format!("UPDATE stocks SET capacity = {} WHERE id = 2", 200 + round)).await;
        tx.commit().await.unwrap();
        site.until_event("river/fest", |definition, _| definition["name"] == name).await;
    }
}

/// A commit that waits for a standby is told before others can see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_told_before_it_can_be_seen_is_waited_for() {
    let (mut site, _running) = with_an_event().await;
    site.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    site.sql("SELECT pg_reload_conf()").await;
    // It counts from a moment on.
    let (mut round, mut writing) = (0, None);
    while writing.is_none() {
        round += 1;
        let mut db = Database::open(&site.url).await.unwrap();
        let update = format!("UPDATE events SET name = 'Round {round}' WHERE id = 1");
        let task = tokio::spawn(async move { db.run(&update).await });
        let waits =
            "SELECT count(*) > 0 AS is_so FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        while !task.is_finished() && writing.is_none() {
            if is_so(&mut site, waits).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        if !task.is_finished() {
            writing = Some(task);
        }
    }
    until_so(
        &mut site,
        "SELECT bool_and(sent_lsn >= pg_current_wal_lsn()) AS is_so FROM pg_stat_replication",
    )
    .await;
    a_while().await;
    let name = format!("Round {round}");
    assert_ne!(site.fake.event("river/fest").unwrap().0["name"], name);
    site.sql("ALTER SYSTEM RESET synchronous_standby_names").await;
    site.sql("SELECT pg_reload_conf()").await;
    writing.unwrap().await.unwrap().unwrap();
    site.until_event("river/fest", |definition, _| definition["name"] == name).await;
}

/// The first commit that the feed tells after a start is one that the first reading did not see.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_commit_after_a_start_arrives() {
    let (mut site, mut running) = with_an_event().await;
    let state = site.state();
    for round in 0..2 {
        // Nothing is left to be told again.
        until_so(
            &mut site,
            "SELECT confirmed_flush_lsn >= pg_current_wal_lsn() AS is_so FROM pg_replication_slots",
        )
        .await;
        running.kill().await;
        running = site.run();
        // What is noted at the second look comes after the first reading.
        for _ in 0..2 {
            let before = state.fact("capture").unwrap();
            site.until("a look", || state.fact("capture").unwrap() != before).await;
        }
        let name = format!("First {round}");
        site.sql(&format!("UPDATE events SET name = '{name}' WHERE id = 1")).await;
        site.until_event("river/fest", |definition, _| definition["name"] == name).await;
    }
}
