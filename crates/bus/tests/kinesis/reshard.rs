//! Shards split and merge while they are read and written: order per key holds across them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::Shard;
use onsale_bus::kinesis::KinesisBus;
use onsale_bus::{Bus, Entry, From, Limits, Record, ShardId, StreamName};
use tokio::sync::mpsc;

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

/// The open shards by the first hash they take, when the stream is at rest.
async fn open_shards(kinesis: &KinesisBus, name: &StreamName) -> BTreeMap<u128, Shard> {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(30), "{name} does not come to rest");
        let client = kinesis.client();
        let summary = client.describe_stream_summary().stream_name(name.as_str()).send().await;
        let summary = summary.unwrap().stream_description_summary.unwrap();
        if summary.stream_status.as_str() == "ACTIVE" {
            let listed = client.list_shards().stream_name(name.as_str()).send().await.unwrap();
            let open = |shard: &Shard| {
                let range = shard.sequence_number_range().unwrap();
                range.ending_sequence_number().is_none()
            };
            let low = |shard: &Shard| {
                shard.hash_key_range().unwrap().starting_hash_key().parse::<u128>().unwrap()
            };
            let shards = listed.shards.unwrap().into_iter().filter(open);
            return shards.map(|shard| (low(&shard), shard)).collect();
        }
        tokio::task::yield_now().await;
    }
}

pub async fn split_one(kinesis: &KinesisBus, name: &StreamName, round: usize) {
    let shards = open_shards(kinesis, name).await;
    let (low, shard) = shards.iter().nth(round).unwrap();
    let high: u128 = shard.hash_key_range().unwrap().ending_hash_key().parse().unwrap();
    let middle = low + (high - low) / 2;
    let request = kinesis.client().split_shard().stream_name(name.as_str());
    let request = request.shard_to_split(shard.shard_id());
    request.new_starting_hash_key(middle.to_string()).send().await.unwrap();
}

pub async fn merge_two(kinesis: &KinesisBus, name: &StreamName, round: usize) {
    let shards = open_shards(kinesis, name).await;
    let ids: Vec<&str> = shards.values().map(|shard| shard.shard_id()).collect();
    let request = kinesis.client().merge_shards().stream_name(name.as_str());
    let request = request.shard_to_merge(ids[ids.len() - 2 - round]);
    request.adjacent_shard_to_merge(ids[ids.len() - 1 - round]).send().await.unwrap();
}
