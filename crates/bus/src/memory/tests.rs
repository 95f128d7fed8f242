//! The bus in memory does what every back end does.

use std::time::Duration;

use crate::*;

fn sales() -> StreamName {
    StreamName::new("sales").unwrap()
}

fn entry(key: &str, payload: &str) -> Entry {
    Entry::new(key.to_owned(), payload.to_owned())
}

async fn with_five() -> (Bus, ShardId) {
    let bus = Bus::memory();
    bus.create(&sales(), 1).await.unwrap();
    let entries: Vec<Entry> = (1..=5).map(|n| entry("k", &n.to_string())).collect();
    let placed = bus.append(&sales(), &entries).await.unwrap();
    assert_eq!(placed[4].position, Position::from(5));
    (bus, ShardId::numbered(0))
}

async fn read(bus: &Bus, shard: &ShardId, from: From) -> Result<String, Error> {
    let page = bus.read(&sales(), shard, from, Limits::default()).await?;
    Ok(page
        .records
        .iter()
        .map(|record| String::from_utf8_lossy(&record.payload).into_owned())
        .collect())
}

#[tokio::test]
async fn reading_begins_anywhere() {
    let (bus, shard) = with_five().await;
    let rows = [
        (From::Start, "12345"),
        (From::End, ""),
        (From::After(Position::ZERO), "12345"),
        (From::After(Position::from(3)), "45"),
        (From::After(Position::from(5)), ""),
        (From::Record(Position::from(3)), "345"),
        (From::At(0), "12345"),
        (From::At(u64::MAX), ""),
    ];
    for (from, expected) in rows {
        assert_eq!(read(&bus, &shard, from).await.unwrap(), expected, "{from:?}");
    }
    let beyond = read(&bus, &shard, From::After(Position::from(6))).await.unwrap_err();
    assert_eq!(beyond.to_string(), "sales/0: position 6 is after the last one, 5");
}

#[tokio::test]
async fn what_is_trimmed_is_told() {
    let (bus, shard) = with_five().await;
    assert_eq!(bus.trim(&sales(), &shard, Position::from(2)).await.unwrap(), Position::from(3));
    assert_eq!(read(&bus, &shard, From::Start).await.unwrap(), "345");
    assert_eq!(read(&bus, &shard, From::After(Position::from(2))).await.unwrap(), "345");
    let gone = read(&bus, &shard, From::After(Position::from(1))).await.unwrap_err();
    let expected = "sales/0: what follows position 1 is gone, the shard begins at 3";
    assert_eq!(gone.to_string(), expected);
    assert_eq!(bus.trim(&sales(), &shard, Position::from(99)).await.unwrap(), Position::from(6));
    assert_eq!(read(&bus, &shard, From::Start).await.unwrap(), "");
    assert_eq!(
        bus.append(&sales(), &[entry("k", "6")]).await.unwrap()[0].position,
        Position::from(6)
    );
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (bus, shard) = with_five().await;
    let other = StreamName::new("others").unwrap();
    let missing = bus.read(&other, &shard, From::Start, Limits::default()).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no stream others");
    assert!(bus.append(&other, &[entry("k", "v")]).await.is_err());
    let seven = ShardId::numbered(7);
    let missing = read(&bus, &seven, From::Start).await.unwrap_err();
    assert_eq!(missing.to_string(), "stream sales has no shard 7");
    assert_eq!(bus.create(&sales(), 1).await, Ok(()));
    let other = bus.create(&sales(), 2).await.unwrap_err();
    assert_eq!(other.to_string(), "stream sales is there with 1 shards, not 2");
}

#[tokio::test(start_paused = true)]
async fn a_reader_waits_for_what_comes() {
    let (bus, shard) = with_five().await;
    let limits = Limits { wait: Duration::from_secs(30), ..Limits::default() };
    let waiting = tokio::spawn({
        let (bus, shard) = (bus.clone(), shard.clone());
        async move { bus.read(&sales(), &shard, From::End, limits).await.unwrap() }
    });
    tokio::task::yield_now().await;
    bus.append(&sales(), &[entry("k", "6")]).await.unwrap();
    let page = waiting.await.unwrap();
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.next, From::After(Position::from(6)));
    let page = bus.read(&sales(), &shard, page.next, limits).await.unwrap();
    assert!(page.records.is_empty() && !page.ended);
}

#[tokio::test]
async fn limits_hold_and_one_record_is_always_given() {
    let (bus, shard) = with_five().await;
    let limits = |records, bytes| Limits { records, bytes, wait: Duration::ZERO };
    for (limits, expected) in
        [(limits(2, 100), 2), (limits(9, 5), 2), (limits(9, 1), 1), (limits(0, 0), 1)]
    {
        let page = bus.read(&sales(), &shard, From::Start, limits).await.unwrap();
        assert_eq!(page.records.len(), expected);
        assert_eq!(page.lag.records, Some(5 - expected as u64));
    }
}

#[tokio::test]
async fn shards_split_and_merge_and_keys_follow() {
    let memory = super::MemoryBus::default();
    let bus = Bus::Memory(memory.clone());
    bus.create(&sales(), 1).await.unwrap();
    let shard = ShardId::numbered(0);
    memory.split(&sales(), &shard).unwrap();
    memory.merge(&sales(), &ShardId::numbered(1), &ShardId::numbered(2)).unwrap();
    let placed = bus.append(&sales(), &[entry("k", "6")]).await.unwrap();
    assert_eq!(placed[0].shard, ShardId::numbered(3));
    let info = bus.describe(&sales()).await.unwrap();
    let parents: Vec<usize> = info.shards.iter().map(|shard| shard.parents.len()).collect();
    assert_eq!(parents, [0, 1, 1, 2]);
    let page = bus.read(&sales(), &shard, From::Start, Limits::default()).await.unwrap();
    assert!(page.ended);
    assert!(memory.split(&sales(), &shard).unwrap_err().to_string().contains("has ended already"));
    memory.start_anew(&sales()).unwrap();
    assert_ne!(bus.describe(&sales()).await.unwrap().generation, info.generation);
}
