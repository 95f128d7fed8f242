//! A stream is relayed from files to Redis and from there to Kinesis: three copies, the same in each key. What the last
//! relay takes is printed beside the same records brought to Kinesis without it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use onsale_bus::redis::{RedisBus, RedisOptions};
use onsale_bus::{Bus, Cursors, Entry, From, Group, Limits, Relay, StreamName, WorkerOptions};

use crate::{TURNS, bus, stream};

const RECORDS: usize = 1_500;
const KEYS: usize = 500;

#[tokio::test]
async fn three_copies_are_the_same() {
    let _turn = TURNS.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let server = onsale_services::redis();
    let files = Bus::file(folder.path()).await.unwrap();
    let redis = RedisBus::connect(&RedisOptions::new(server.url())).await.unwrap();
    let (redis, kinesis) = (Bus::Redis(redis), bus().await);
    // The names differ: other tests have theirs on the same Kinesis.
    let (sales, raw) = (stream("relayed"), stream("relayed-raw"));
    for (bus, name, shards) in
        [(&files, &sales, 8), (&redis, &sales, 4), (&kinesis, &sales, 2), (&kinesis, &raw, 2)]
    {
        bus.create(name, shards).await.unwrap();
    }
    let entries: Vec<Entry> = (0..RECORDS)
        .map(|n| {
            let payload = format!("{{\"specversion\":\"1.0\",\"id\":\"sales-{n}\",\"n\":{n}}}");
            Entry::new(format!("summer/{}", n % KEYS), payload)
        })
        .collect();
    files.append(&sales, &entries).await.unwrap();

    let cursors = Cursors::memory();
    let took = relay(&files, &redis, &sales, &cursors, "to-redis").await;
    println!("relay to Redis: {:.0} records/s", RECORDS as f64 / took.as_secs_f64());
    let took = relay(&redis, &kinesis, &sales, &cursors, "to-kinesis").await;
    println!("relay to Kinesis: {:.0} records/s", RECORDS as f64 / took.as_secs_f64());
    let begin = Instant::now();
    for part in entries.chunks(1_000) {
        kinesis.append(&raw, part).await.unwrap();
    }
    println!("without it: {:.0} records/s", RECORDS as f64 / begin.elapsed().as_secs_f64());

    let expected = by_key(&files, &sales).await;
    assert_eq!(expected.values().map(Vec::len).sum::<usize>(), RECORDS);
    assert_eq!(by_key(&redis, &sales).await, expected);
    // Kinesis may have a record twice, next to where it belongs: the first of each counts.
    let mut copy = by_key(&kinesis, &sales).await;
    for payloads in copy.values_mut() {
        let mut seen = std::collections::BTreeSet::new();
        payloads.retain(|payload| seen.insert(payload.clone()));
    }
    assert_eq!(copy, expected);
    files.close().await.unwrap();
}

/// Relays all there is; how long it took.
async fn relay(
    source: &Bus,
    target: &Bus,
    name: &StreamName,
    cursors: &Cursors,
    group: &str,
) -> Duration {
    let group = Group::new(group, name.as_str()).unwrap();
    let (source, target, cursors) = (source.clone(), target.clone(), cursors.clone());
    let options = WorkerOptions::default();
    let begin = Instant::now();
    let mut relay =
        Relay::begin(source, cursors, group, target, name.clone(), options).await.unwrap();
    let (mut copied, mut took) = (0, begin.elapsed());
    while copied < RECORDS {
        assert!(begin.elapsed() < Duration::from_secs(120), "{copied} were copied");
        if let Some(records) = relay.step(Duration::from_secs(1)).await.unwrap() {
            copied += records;
            took = begin.elapsed();
        }
    }
    relay.end().await.unwrap();
    took
}

/// Each key's payloads in their order.
async fn by_key(bus: &Bus, name: &StreamName) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut found: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for shard in bus.describe(name).await.unwrap().shards {
        let mut from = From::Start;
        loop {
            let page = bus.read(name, &shard.id, from, Limits::default()).await.unwrap();
            for record in &page.records {
                found.entry(record.key.to_vec()).or_default().push(record.payload.to_vec());
            }
            if page.records.is_empty() {
                break;
            }
            from = page.next;
        }
    }
    found
}
