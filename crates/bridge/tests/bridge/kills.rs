//! Capture under load, ended at random again and again: both sides are the same in the end.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::time::Duration;

use onsale_bridge::capture::compare;
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::engine::Wish;
use onsale_bridge::state::Sent;

use crate::platform::Site;

const KILLS: u64 = 15;
const EVENTS: i64 = 20;

async fn survives(kind: Kind) {
    // The same pauses again: ONSALE_SEED=…
    let seed = std::env::var("ONSALE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one(kind));
    println!("ONSALE_SEED={seed}");
    let mut site = Site::attached(kind).await;
    for id in 1..=EVENTS {
        site.event(id, &format!("e-{id}")).await;
    }
    let url = site.url.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut db = Database::open(&url).await.unwrap();
        let (mut stopped, mut round) = (stopped, 0_i64);
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        while stopped.try_recv().is_err() {
            round += 1;
            let id = 1 + (round * 7) % EVENTS;
            let sql = match round % 4 {
                0 => format!("UPDATE events SET name = 'Round {round}' WHERE id = {id}"),
                1 => format!("UPDATE stocks SET capacity = {} WHERE id = {id}", 100 + round % 50),
                2 => format!(
                    "UPDATE events SET status = CASE status WHEN 'draft' THEN 'paused' ELSE 'draft' END WHERE id = {id}"
                ),
                _ => format!(
                    "UPDATE ticket_types SET price_minor = {} WHERE id = {id}",
                    1_000 + round
                ),
            };
            db.run(&sql).await.unwrap();
            pace.tick().await;
        }
        round
    });
    for kill in 0..KILLS {
        let mut running = site.run();
        let mut pause = DefaultHasher::new();
        (seed, kill).hash(&mut pause);
        let pause = pause.finish() % 150;
        let ended = tokio::time::timeout(Duration::from_millis(pause), &mut running.task).await;
        assert!(ended.is_err(), "it ended by itself: {ended:?}");
        running.kill().await;
    }
    stop.send(()).unwrap();
    let rounds = writer.await.unwrap();
    assert!(rounds > 100, "{rounds}");
    let _running = site.run();
    site.sql("UPDATE events SET status = 'paused', name = 'Last' WHERE id = 1").await;
    site.until_event("river/e-1", |definition, _| definition["name"] == "Last").await;
    let parts = site.parts();
    let mut differ = Vec::new();
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..200 {
        differ = compare(&parts).await.unwrap();
        if differ.is_empty() {
            break;
        }
        looks.tick().await;
    }
    assert!(differ.is_empty(), "{differ:?}");
    // Nothing is sent twice: no two records of an event in a row are the same, but where a kill left open what was sent,
    // and it was to be what it had been before by then.
    let records = site.fake.known.lock().unwrap().streams["catalogue"].clone();
    let mut twice = 0;
    for id in 1..=EVENTS {
        let of: Vec<_> =
            records.iter().filter(|record| record["subject"] == format!("river/e-{id}")).collect();
        twice += of.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    }
    assert!(twice <= KILLS, "{twice}");
}

/// Killed after something was sent and before that was noted; then it changes back, or goes.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_under_way_at_a_kill_is_not_taken_for_known() {
    let mut site = Site::attached(Kind::Sqlite).await;
    for id in 1..=3 {
        site.event(id, &format!("e-{id}")).await;
    }
    let running = site.run();
    for id in 1..=3 {
        site.until_event(&format!("river/e-{id}"), |_, state| state == "paused").await;
    }
    let state = site.state();
    let is_noted = |sent: &Sent| sent.unsure.is_none() && sent.definition.is_some();
    site.until("all is noted", || state.sent().unwrap().values().all(is_noted)).await;
    running.kill().await;
    let count = site.fake.count("catalogue");
    let sent = state.sent().unwrap();
    // The first definition of 1, which is gone by now; another one of 2, which is back at what it was; 3 is as before.
    let first = sent["1"].clone();
    let unsure =
        |sent: Sent| Sent { unsure: sent.definition, definition: None, position: 0, ..sent };
    state.set_sent("1", Some(&unsure(first))).unwrap();
    let second = sent["2"].clone();
    let other = second.definition.clone().unwrap().replace("Concert 2", "Other");
    let wish = Wish {
        kind: "onsale.event.define.v1".to_owned(),
        subject: "river/e-2".to_owned(),
        data: serde_json::from_str(&other).unwrap(),
    };
    site.fake.client().append("catalogue", &wish, "unnoted").await.unwrap();
    state.set_sent("2", Some(&Sent { unsure: Some(other), definition: None, ..second })).unwrap();
    site.until_event("river/e-2", |definition, _| definition["name"] == "Other").await;
    state.set_sent("3", Some(&unsure(sent["3"].clone()))).unwrap();
    site.sql("DELETE FROM ticket_types WHERE id = 1; DELETE FROM stocks WHERE id = 1; DELETE FROM events WHERE id = 1").await;
    let _running = site.run();
    site.until_event("river/e-1", |_, state| state == "closed").await;
    site.until_event("river/e-2", |definition, _| definition["name"] == "Concert 2").await;
    site.until("all is noted", || state.sent().unwrap().values().all(is_noted)).await;
    // What was there already was not appended again: the key was the same.
    assert_eq!(site.fake.count("catalogue"), count + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_survives_kills_on_sqlite() {
    survives(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_survives_kills_on_postgres() {
    survives(Kind::Postgres).await;
}
