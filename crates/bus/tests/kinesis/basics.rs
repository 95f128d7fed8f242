//! What every back end does, done by Kinesis.

use std::time::Duration;

use onsale_bus::{Bus, Entry, Error, From, Limits, Page, Placed, Position, Record, ShardId};

use crate::{bus, entry, kinesis, stream};

fn texts(records: &[Record]) -> String {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// A stream with one shard, and one to five in it.
async fn with_five(bus: &Bus, name: &str) -> Vec<Placed> {
    bus.create(&stream(name), 1).await.unwrap();
    let entries: Vec<Entry> = (1..=5).map(|n| entry("k", &n.to_string())).collect();
    bus.append(&stream(name), &entries).await.unwrap()
}

async fn read(bus: &Bus, name: &str, shard: &ShardId, from: From) -> Result<Page, Error> {
    bus.read(&stream(name), shard, from, Limits::default()).await
}

#[tokio::test]
async fn reading_begins_anywhere() {
    let bus = bus().await;
    let placed = with_five(&bus, "anywhere").await;
    assert!(placed.is_sorted_by(|a, b| a.position < b.position));
    let (shard, at) = (&placed[0].shard, |n: usize| placed[n - 1].position);
    let all = read(&bus, "anywhere", shard, From::Start).await.unwrap();
    let third_us = all.records[2].written_at_us;
    let from_third: String = (1..=5)
        .filter(|n| all.records[n - 1].written_at_us >= third_us)
        .map(|n| n.to_string())
        .collect();
    let rows = [
        (From::Start, "12345"),
        (From::End, ""),
        (From::After(Position::ZERO), "12345"),
        (From::After(at(3)), "45"),
        (From::After(at(5)), ""),
        (From::Record(at(3)), "345"),
        (From::At(0), "12345"),
        (From::At(third_us), &from_third),
        (From::At(u64::MAX / 2), ""),
    ];
    for (from, expected) in rows {
        // The second time from the iterator or the records that are kept.
        for _ in 0..2 {
            let page = read(&bus, "anywhere", shard, from).await.unwrap();
            assert_eq!(texts(&page.records), expected, "{from:?}");
            assert_eq!((page.ended, page.lag.ms), (false, Some(0)));
        }
    }
    assert_eq!(&all.records[0].key[..], b"k");
    assert_eq!(all.next, From::After(at(5)));
}

#[tokio::test]
async fn what_a_page_leaves_is_in_the_next() {
    let bus = bus().await;
    let placed = with_five(&bus, "pages").await;
    let (shard, limits) = (&placed[0].shard, Limits { records: 2, ..Limits::default() });
    let mut from = From::Start;
    for expected in ["12", "34", "5", ""] {
        let page = bus.read(&stream("pages"), shard, from, limits).await.unwrap();
        assert_eq!(texts(&page.records), expected);
        from = page.next;
    }
    let small = Limits { bytes: 4, ..limits };
    let page = bus.read(&stream("pages"), shard, From::Start, small).await.unwrap();
    assert_eq!(texts(&page.records), "12", "two bytes each");
    let tiny = Limits { bytes: 1, ..limits };
    let page = bus.read(&stream("pages"), shard, page.next, tiny).await.unwrap();
    assert_eq!(texts(&page.records), "3", "one at least");
}

#[tokio::test]
async fn who_waits_gets_what_comes() {
    let bus = bus().await;
    let placed = with_five(&bus, "waits").await;
    let shard = &placed[0].shard;
    let end = read(&bus, "waits", shard, From::End).await.unwrap();
    assert!(matches!(end.next, From::At(_)), "there is no position yet");
    let limits = Limits { wait: Duration::from_secs(30), ..Limits::default() };
    let name = stream("waits");
    let waiting = bus.read(&name, shard, end.next, limits);
    let entries = [entry("k", "6")];
    let (page, placed) = tokio::join!(waiting, bus.append(&name, &entries));
    let page = page.unwrap();
    assert_eq!(texts(&page.records), "6");
    assert_eq!(page.next, From::After(placed.unwrap()[0].position));
    let short = Limits { wait: Duration::from_millis(50), ..Limits::default() };
    let page = bus.read(&name, shard, page.next, short).await.unwrap();
    assert!(page.records.is_empty());
}

#[tokio::test]
async fn streams_are_made_once_and_told() {
    let kinesis = kinesis().await;
    let bus = Bus::Kinesis(kinesis.clone());
    let name = stream("told");
    bus.create(&name, 3).await.unwrap();
    bus.create(&name, 3).await.unwrap();
    let error = bus.create(&name, 4).await.unwrap_err();
    assert_eq!(error.to_string(), "stream told is there with 3 shards, not 4");
    assert!(matches!(bus.create(&name, 0).await, Err(Error::Invalid { field: "shards", .. })));
    assert!(bus.streams().await.unwrap().contains(&name));
    let info = bus.describe(&name).await.unwrap();
    assert_eq!(info.shards.len(), 3);
    assert!(info.shards.iter().all(|shard| shard.parents.is_empty() && !shard.ended));
    assert!(info.shards[0].id.as_str().starts_with("shardId-"), "{:?}", info.shards[0]);
    kinesis.retain(&name, 48).await.unwrap();
    kinesis.retain(&name, 24).await.unwrap();
    assert!(matches!(kinesis.retain(&name, 1).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn a_stream_that_is_made_again_is_another() {
    let kinesis = kinesis().await;
    let bus = Bus::Kinesis(kinesis.clone());
    let placed = with_five(&bus, "again").await;
    let first = bus.describe(&stream("again")).await.unwrap().generation;
    let page = read(&bus, "again", &placed[0].shard, From::Start).await.unwrap();
    assert_eq!(page.generation, first);
    kinesis.client().delete_stream().stream_name("again").send().await.unwrap();
    let begin = std::time::Instant::now();
    while bus.describe(&stream("again")).await.is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(30));
        tokio::task::yield_now().await;
    }
    with_five(&bus, "again").await;
    let second = bus.describe(&stream("again")).await.unwrap().generation;
    assert_ne!(first, second);
    let page = read(&bus, "again", &placed[0].shard, From::Start).await.unwrap();
    assert_eq!((page.generation, texts(&page.records).as_str()), (second, "12345"));
}

#[tokio::test]
async fn keys_and_payloads_arrive_as_they_were() {
    let bus = bus().await;
    let name = stream("as-they-were");
    bus.create(&name, 1).await.unwrap();
    let key = "ключ/☂/".repeat(16);
    let entries = [
        Entry::new(key.clone(), (0..=255).collect::<Vec<u8>>()),
        Entry::new("k".repeat(256), vec![7; 999_744]),
        Entry::new("empty", ""),
    ];
    let placed = bus.append(&name, &entries).await.unwrap();
    let limits = Limits { bytes: 4 << 20, ..Limits::default() };
    let page = bus.read(&name, &placed[0].shard, From::Start, limits).await.unwrap();
    let mut read: Vec<Entry> =
        page.records.iter().map(|r| Entry::new(r.key.clone(), r.payload.clone())).collect();
    read.sort_by_key(|entry| entries.iter().position(|other| other == entry));
    assert_eq!(read, entries);
}
