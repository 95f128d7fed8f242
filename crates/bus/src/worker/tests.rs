//! Workers share shards, take over, keep parents before children, and set aside what can't be dealt with.

use std::time::Duration;

use super::*;
use crate::memory::MemoryBus;
use crate::{Entry, StreamName};

const LEASE: Duration = Duration::from_secs(8);

fn sales() -> StreamName {
    StreamName::new("sales").unwrap()
}

fn group() -> Group {
    Group::new("mail", "sales").unwrap()
}

struct Ground {
    memory: MemoryBus,
    bus: Bus,
    cursors: Cursors,
}

impl Ground {
    async fn new(shards: u32) -> Ground {
        let memory = MemoryBus::default();
        let bus = Bus::Memory(memory.clone());
        bus.create(&sales(), shards).await.unwrap();
        Ground { memory, bus, cursors: Cursors::memory() }
    }

    async fn worker(&self) -> Worker {
        self.worker_from(From::Start).await
    }

    async fn worker_from(&self, start: From) -> Worker {
        let limits = Limits { records: 7, ..Limits::default() };
        let options = WorkerOptions { lease: LEASE, limits, start, stored: None };
        Worker::join(self.bus.clone(), self.cursors.clone(), group(), options).await.unwrap()
    }

    async fn append(&self, range: std::ops::Range<u32>) {
        let entries: Vec<Entry> =
            range.map(|n| Entry::new(format!("k{}", n % 13), n.to_string())).collect();
        self.bus.append(&sales(), &entries).await.unwrap();
    }
}

/// Commits whatever comes until nothing has for a while.
async fn drain(worker: &mut Worker) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(batch) = worker.next_within(LEASE).await.unwrap() {
        seen.extend(batch.records().map(|r| String::from_utf8_lossy(&r.payload).into_owned()));
        worker.commit(&batch).await.unwrap();
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn one_reads_all_and_goes_on_where_it_was() {
    let ground = Ground::new(4).await;
    ground.append(0..100).await;
    let mut worker = ground.worker().await;
    assert_eq!(drain(&mut worker).await.len(), 100);
    worker.leave().await.unwrap();
    ground.append(100..103).await;
    let behind: u64 = lag(&ground.bus, &ground.cursors, &group())
        .await
        .unwrap()
        .iter()
        .map(|lag| lag.records.unwrap())
        .sum();
    assert_eq!(behind, 3);
    assert_eq!(drain(&mut ground.worker().await).await.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn shares_are_fair_and_a_silent_worker_loses_its_own_within_two_leases() {
    let ground = Ground::new(8).await;
    let (mut a, mut b) = (ground.worker().await, ground.worker().await);
    for _ in 0..4 {
        assert!(a.next_within(LEASE / 2).await.unwrap().is_none());
        assert!(b.next_within(LEASE / 2).await.unwrap().is_none());
    }
    assert_eq!((a.shards().count(), b.shards().count()), (4, 4));
    ground.append(0..100).await;
    let mine = a.next().await.unwrap();
    // Nothing is heard of the first for two leases: all is the second's.
    let begun = tokio::time::Instant::now();
    while b.shards().count() < 8 {
        let batch = b.next_within(LEASE / 4).await.unwrap();
        if let Some(batch) = batch {
            b.commit(&batch).await.unwrap();
        }
        assert!(begun.elapsed() <= 2 * LEASE, "{} shards are taken", b.shards().count());
    }
    drain(&mut b).await;
    let late = a.commit(&mine).await.unwrap_err();
    assert!(matches!(late, Error::LostLease { .. }), "{late}");
    b.leave().await.unwrap();
    assert!(a.next_within(LEASE).await.unwrap().is_none(), "all is dealt with");
    assert_eq!(a.shards().count(), 8);
}

#[tokio::test(start_paused = true)]
async fn parents_come_before_their_children() {
    let ground = Ground::new(1).await;
    ground.append(0..50).await;
    ground.memory.split(&sales(), &ShardId::numbered(0)).unwrap();
    ground.append(50..100).await;
    ground.memory.merge(&sales(), &ShardId::numbered(1), &ShardId::numbered(2)).unwrap();
    ground.append(100..150).await;
    let mut worker = ground.worker().await;
    let seen: Vec<u32> =
        drain(&mut worker).await.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(seen.len(), 150);
    for third in 0..3 {
        assert!(seen[third * 50..][..50].iter().all(|n| *n as usize / 50 == third));
    }
    assert!(!worker.is_done());
    assert_eq!(worker.shards().cloned().collect::<Vec<_>>(), [ShardId::numbered(3)]);
}

#[tokio::test(start_paused = true)]
async fn a_group_from_the_end_misses_nothing_after_it() {
    let ground = Ground::new(2).await;
    ground.append(0..20).await;
    let mut worker = ground.worker_from(From::End).await;
    assert!(worker.next_within(LEASE).await.unwrap().is_none());
    drop(worker);
    ground.append(20..40).await;
    assert_eq!(drain(&mut ground.worker_from(From::End).await).await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_passed_over_and_tried_again_when_asked() {
    let ground = Ground::new(1).await;
    ground.append(0..10).await;
    let mut worker = ground.worker().await;
    let mut batch = worker.next().await.unwrap();
    worker.park(&mut batch, Position::from(3), "it is broken").await.unwrap();
    assert_eq!(batch.records().count(), 6);
    worker.commit(&batch).await.unwrap();
    assert_eq!(drain(&mut worker).await.len(), 3);
    let cursor = group().cursor(&ShardId::numbered(0));
    for tries in 1..3 {
        let parked = ground.cursors.parked(&group(), None, 10).await.unwrap();
        assert_eq!((parked.len(), parked[0].tries), (1, tries));
        ground.cursors.retry(&cursor, Position::from(3)).await.unwrap();
        let mut batch = worker.next().await.unwrap();
        assert!(batch.is_retry);
        assert_eq!(batch.records().next().unwrap().position, Position::from(3));
        if tries == 1 {
            worker.park(&mut batch, Position::from(3), "still").await.unwrap();
        }
        worker.commit(&batch).await.unwrap();
    }
    assert!(ground.cursors.parked(&group(), None, 10).await.unwrap().is_empty());
    assert!(drain(&mut worker).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_let_go_comes_again() {
    let ground = Ground::new(1).await;
    ground.append(0..5).await;
    let mut worker = ground.worker().await;
    let batch = worker.next().await.unwrap();
    worker.again(&batch).await.unwrap();
    assert_eq!(drain(&mut worker).await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_went_back_or_was_trimmed_is_told() {
    let ground = Ground::new(1).await;
    ground.append(0..5).await;
    let mut worker = ground.worker().await;
    assert_eq!(drain(&mut worker).await.len(), 5);
    ground.memory.start_anew(&sales()).unwrap();
    ground.append(0..9).await;
    assert!(matches!(worker.next().await, Err(Error::Diverged { .. })));
    worker.leave().await.unwrap();
    let told = ground.worker().await.next().await.unwrap_err();
    let expected = "the cursor is of generation 1, the stream of 2: reset the cursor on purpose";
    assert_eq!(told.to_string(), expected);

    let zero = ShardId::numbered(0);
    let first = ground.bus.describe(&sales()).await.unwrap();
    let at = Progress { generation: first.generation, position: Position::from(2), ended: false };
    ground.cursors.reset(&group().cursor(&zero), Some(at)).await.unwrap();
    ground.bus.trim(&sales(), &zero, Position::from(4)).await.unwrap();
    let told = ground.worker().await.next().await.unwrap_err();
    assert!(matches!(told, Error::Gone { .. }), "{told}");
}
