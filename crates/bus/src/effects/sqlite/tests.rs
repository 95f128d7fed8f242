//! Effects and places in one SQLite file.

use rusqlite::Connection;

use super::*;
use crate::{Bus, Cursors, Entry, Group, Limits, Position, StreamName, Worker, WorkerOptions};

struct Ground {
    bus: Bus,
    cursors: Cursors,
    folder: tempfile::TempDir,
    db: Connection,
}

impl Ground {
    async fn new() -> Ground {
        let (bus, folder) = (Bus::memory(), tempfile::tempdir().unwrap());
        let sales = StreamName::new("sales").unwrap();
        bus.create(&sales, 1).await.unwrap();
        let entries: Vec<Entry> = (1..=20).map(|n| Entry::new("k", n.to_string())).collect();
        bus.append(&sales, &entries).await.unwrap();
        let db = Connection::open(folder.path().join("db")).unwrap();
        prepare(&db).unwrap();
        db.execute_batch("CREATE TABLE effect (n INTEGER PRIMARY KEY)").unwrap();
        Ground { bus, cursors: Cursors::memory(), folder, db }
    }

    async fn worker(&self) -> Worker {
        let options = WorkerOptions {
            limits: Limits { records: 6, ..Limits::default() },
            stored: Some(stored(self.folder.path().join("db"))),
            ..WorkerOptions::default()
        };
        let group = Group::new("mail", "sales").unwrap();
        Worker::join(self.bus.clone(), self.cursors.clone(), group, options).await.unwrap()
    }

    fn effects(&self) -> u32 {
        self.db.query_row("SELECT count(*) FROM effect", [], |row| row.get(0)).unwrap()
    }
}

/// Stores a record's number; a second time is an error of the database.
fn store(tx: &Transaction<'_>, record: &Record) -> Result<(), Fault> {
    let number: u32 = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
    tx.execute("INSERT INTO effect VALUES (?)", [number])?;
    Ok(())
}

#[tokio::test]
async fn effects_of_a_batch_whose_commit_was_lost_are_not_stored_again() {
    let mut ground = Ground::new().await;
    let mut worker = ground.worker().await;
    let batch = worker.next().await.unwrap();
    apply(&mut ground.db, &batch, store).unwrap();
    // It was stored, and the worker ended before it could say so.
    worker.leave().await.unwrap();
    let mut worker = ground.worker().await;
    while ground.effects() < 20 {
        let mut batch = worker.next().await.unwrap();
        while !worker.settle(apply(&mut ground.db, &batch, store), &mut batch).await.unwrap() {}
    }
    let place = place(&ground.db, &Group::new("mail", "sales").unwrap().cursor(batch.shard()));
    assert_eq!(place.unwrap().unwrap().position, Position::from(20));
}

#[tokio::test]
async fn of_two_who_have_the_same_batch_one_gets_through() {
    let mut ground = Ground::new().await;
    let mut worker = ground.worker().await;
    let batch = worker.next().await.unwrap();
    let mut late = batch.clone();
    late.claim.fence += 1;
    apply(&mut ground.db, &late, store).unwrap();
    let error = apply(&mut ground.db, &batch, store).unwrap_err();
    let expected = "cursor mail@sales/0: the lease with fence 1 is lost, the fence is 2";
    assert_eq!(error.to_string(), expected);
    let error = apply(&mut ground.db, &late, store).unwrap_err();
    assert_eq!(error.to_string(), "cursor mail@sales/0: effects are stored up to 6, not 0");
    assert_eq!(ground.effects(), 6);
}

#[tokio::test]
async fn poison_is_set_aside_and_tried_again_once() {
    let mut ground = Ground::new().await;
    let mut worker = ground.worker().await;
    let picky = |tx: &Transaction<'_>, record: &Record| match record.position.as_u64() {
        Some(2 | 4) => Err(Fault::poison("it is even")),
        _ => store(tx, record),
    };
    while ground.effects() < 18 {
        let mut batch = worker.next().await.unwrap();
        while !worker.settle(apply(&mut ground.db, &batch, picky), &mut batch).await.unwrap() {}
    }
    let group = Group::new("mail", "sales").unwrap();
    let parked = ground.cursors.parked(&group, None, 10).await.unwrap();
    assert_eq!((parked.len(), parked[1].reason.as_str()), (2, "it is even"));
    worker.leave().await.unwrap();
    ground.cursors.retry(&group.cursor(&parked[0].shard), Position::from(4)).await.unwrap();
    for _ in 0..2 {
        let mut worker = ground.worker().await;
        let mut batch = worker.next().await.unwrap();
        assert!(batch.is_retry);
        apply(&mut ground.db, &batch, store).unwrap();
        assert_eq!(ground.effects(), 19, "a second try stores nothing");
        if ground.cursors.members(&group).await.unwrap().len() > 1 {
            worker.settle(Ok(()), &mut batch).await.unwrap();
        }
        worker.again(&batch).await.unwrap();
    }
    assert_eq!(ground.cursors.parked(&group, None, 10).await.unwrap().len(), 1);
    let retried = |ground: &Ground| {
        let count = "SELECT count(*) FROM onsale_retried";
        ground.db.query_row(count, [], |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(retried(&ground), 1);
    reset(&ground.db, &group.cursor(&parked[0].shard)).unwrap();
    assert_eq!(retried(&ground), 0, "begun anew, it may be tried again");
}
