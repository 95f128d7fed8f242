//! Capture under load, ended at random again and again: both sides are the same in the end.

use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::time::Duration;

use onsale_bridge::capture::compare;
use onsale_bridge::database::{Database, Kind};

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
    // Nothing is sent twice: no two records of an event in a row are the same.
    let records = site.fake.known.lock().unwrap().streams["catalogue"].clone();
    for id in 1..=EVENTS {
        let of: Vec<_> =
            records.iter().filter(|record| record["subject"] == format!("river/e-{id}")).collect();
        assert!(of.windows(2).all(|pair| pair[0] != pair[1]), "e-{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_survives_kills_on_sqlite() {
    survives(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn capture_survives_kills_on_postgres() {
    survives(Kind::Postgres).await;
}
