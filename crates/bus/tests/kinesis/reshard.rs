//! Shards split and merge while they are read and written: order per key holds across them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onsale_bus::{Bus, Entry, From, Limits, Record, ShardId, StreamName};
use tokio::sync::mpsc;

use crate::shards::{merge_two, split_one};
use crate::{TURNS, kinesis, stream};

const KEYS: usize = 64;

#[tokio::test]
async fn order_holds_across_splits_and_merges() {
    let _turn = TURNS.lock().await;
    let kinesis = kinesis().await;
    let bus = Bus::Kinesis(kinesis.clone());
    let name = stream("reshard");
    bus.create(&name, 8).await.unwrap();
    let changed = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(bus.clone(), name.clone(), changed.clone()));
    let reader = tokio::spawn(read_all(bus.clone(), name.clone()));
    for round in 0..4 {
        split_one(&kinesis, &name, round).await;
        merge_two(&kinesis, &name, round).await;
    }
    changed.store(true, Ordering::Release);
    let written = writer.await.unwrap();
    // Reading ends by itself at the last record of each key, which says so.
    let read = tokio::time::timeout(Duration::from_secs(120), reader).await.unwrap().unwrap();
    assert_eq!(read, KEYS * written);
    let info = bus.describe(&name).await.unwrap();
    assert_eq!(info.shards.iter().filter(|shard| shard.ended).count(), 12);
    assert_eq!(info.shards.iter().filter(|shard| shard.parents.len() == 2).count(), 4);
    for (at, shard) in info.shards.iter().enumerate() {
        let before: BTreeSet<&ShardId> = info.shards[..at].iter().map(|shard| &shard.id).collect();
        assert!(shard.parents.iter().all(|parent| before.contains(parent)), "{}", shard.id);
    }
}

/// Writes one of each key again and again until all is split and merged, and a last one with an empty payload.
async fn write(bus: Bus, name: StreamName, changed: Arc<AtomicBool>) -> usize {
    for number in 0.. {
        let last = changed.load(Ordering::Acquire);
        let payload = if last { String::new() } else { number.to_string() };
        let entries: Vec<Entry> =
            (0..KEYS).map(|key| Entry::new(format!("key-{key}"), payload.clone())).collect();
        bus.append(&name, &entries).await.unwrap();
        if last {
            return number;
        }
    }
    unreachable!("it returns")
}

/// Reads each shard once its parents are read; says how many records there were before the last ones.
async fn read_all(bus: Bus, name: StreamName) -> usize {
    let (told, mut pages) = mpsc::channel::<(ShardId, Vec<Record>, bool)>(64);
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    let mut next: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut over, mut count) = (0, 0);
    while over < KEYS {
        for shard in bus.describe(&name).await.unwrap().shards {
            if shard.parents.iter().all(|parent| ended.contains(parent))
                && begun.insert(shard.id.clone())
            {
                tokio::spawn(read(bus.clone(), name.clone(), shard.id, told.clone()));
            }
        }
        let Ok(Some((shard, records, is_end))) =
            tokio::time::timeout(Duration::from_secs(1), pages.recv()).await
        else {
            continue;
        };
        if is_end {
            ended.insert(shard.clone());
        }
        for record in records {
            let next = next.entry(record.key.to_vec()).or_default();
            if record.payload.is_empty() {
                over += 1;
                continue;
            }
            let number: usize = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
            assert_eq!(number, *next, "{:?} in {shard}", record.key);
            *next += 1;
            count += 1;
        }
    }
    count
}

async fn read(
    bus: Bus,
    name: StreamName,
    shard: ShardId,
    told: mpsc::Sender<(ShardId, Vec<Record>, bool)>,
) {
    let limits = Limits { wait: Duration::from_millis(200), ..Limits::default() };
    let mut from = From::Start;
    loop {
        let page = bus.read(&name, &shard, from, limits).await.unwrap();
        let (next, ended) = (page.next, page.ended);
        if told.send((shard.clone(), page.records.to_vec(), ended)).await.is_err() {
            return;
        }
        if ended {
            // Once more: an end stays an end.
            let page = bus.read(&name, &shard, next, limits).await.unwrap();
            assert!(page.ended && page.records.is_empty());
            return;
        }
        from = next;
    }
}
