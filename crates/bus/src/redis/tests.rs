//! The bus on a real Redis, and what it says when that one is ill.

use std::ops::RangeInclusive;
use std::time::Duration;

use onsale_services::{Server, redis, redis_with};

use super::bring::Brings;
use super::*;
use crate::cursors::{Claim, CursorState, Progress};
use crate::record::now_us;
use crate::{Bus, CursorId, Group, WorkerId};

mod cursors;
mod group;
mod relay;
mod troubles;

async fn connected(server: &Server) -> RedisBus {
    RedisBus::connect(&RedisOptions::new(server.url())).await.unwrap()
}

/// A bus with the stream `sales`.
async fn bus_with(server: &Server, shards: u32) -> Bus {
    let bus = Bus::Redis(connected(server).await);
    bus.create(&sales(), shards).await.unwrap();
    bus
}

fn sales() -> StreamName {
    StreamName::new("sales").unwrap()
}

fn zero() -> ShardId {
    ShardId::numbered(0)
}

fn at(position: u64) -> Position {
    Position::from(position)
}

fn entries(numbers: std::ops::Range<u32>) -> Vec<Entry> {
    numbers.map(|n| Entry::new(format!("k{}", n % 5), n.to_string())).collect()
}

fn limits(records: usize) -> Limits {
    Limits { records, ..Limits::default() }
}

fn payloads(page: &Page) -> Vec<u32> {
    page.records
        .iter()
        .map(|record| std::str::from_utf8(&record.payload).unwrap().parse().unwrap())
        .collect()
}

/// All that a shard has.
async fn all(bus: &Bus, shard: &ShardId) -> Vec<Record> {
    let mut from = From::Start;
    let mut records = Vec::new();
    loop {
        let page = bus.read(&sales(), shard, from, limits(10_000)).await.unwrap();
        if page.records.is_empty() {
            return records;
        }
        records.extend(page.records.iter().cloned());
        from = page.next;
    }
}

#[tokio::test]
async fn records_come_back_in_order_with_dense_positions() {
    let server = redis();
    let bus = bus_with(&server, 3).await;
    let begin = now_us();
    let sent = entries(0..1_500);
    let placed = bus.append(&sales(), &sent).await.unwrap();
    assert_eq!(placed.len(), sent.len());
    let mut seen = 0;
    for number in 0..3 {
        let shard = ShardId::numbered(number);
        let records = all(&bus, &shard).await;
        let positions: Vec<Position> = records.iter().map(|record| record.position).collect();
        assert_eq!(positions, (1..=records.len() as u64).map(at).collect::<Vec<_>>());
        assert!(records.is_sorted_by_key(|record| record.written_at_us));
        assert!(records.iter().all(|record| record.written_at_us + 1_000_000 >= begin));
        let expected: Vec<&Entry> = sent
            .iter()
            .zip(&placed)
            .filter(|(_, placed)| placed.shard == shard)
            .map(|(entry, _)| entry)
            .collect();
        let got: Vec<Entry> =
            records.iter().map(|r| Entry::new(r.key.clone(), r.payload.clone())).collect();
        assert_eq!(got.iter().collect::<Vec<_>>(), expected);
        seen += records.len();
    }
    assert_eq!(seen, sent.len());
    assert_eq!(bus.streams().await.unwrap(), [sales()]);
    bus.create(&sales(), 3).await.unwrap();
    let other = bus.create(&sales(), 4).await.unwrap_err();
    assert_eq!(other.to_string(), "stream sales is there with 3 shards, not 4");
}

#[tokio::test]
async fn reading_begins_anywhere_and_keeps_its_limits() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    bus.append(&sales(), &entries(0..40)).await.unwrap();
    let middle = all(&bus, &zero()).await[39].written_at_us + 1;
    bus.append(&sales(), &entries(40..100)).await.unwrap();
    let first = async |from, limits| {
        let page = bus.read(&sales(), &zero(), from, limits).await.unwrap();
        (payloads(&page), page.next, page.lag.records)
    };
    assert_eq!(first(From::Start, limits(2)).await, (vec![0, 1], From::After(at(2)), Some(98)));
    assert_eq!(first(From::After(at(98)), limits(9)).await.0, [98, 99]);
    assert_eq!(first(From::Record(at(98)), limits(1)).await.0, [97]);
    assert_eq!(first(From::At(middle), limits(1)).await.0, [40]);
    assert_eq!(first(From::At(0), limits(1)).await.0, [0]);
    assert_eq!(first(From::At(u64::MAX), limits(1)).await.1, From::After(at(100)));
    assert_eq!(first(From::End, limits(1)).await, (vec![], From::After(at(100)), Some(0)));
    // A key of two bytes and a payload of one or two: three fit 10 bytes, and one is always given.
    let few = |bytes| Limits { bytes, ..limits(100) };
    assert_eq!(first(From::Start, few(10)).await.0, [0, 1, 2]);
    assert_eq!(first(From::Start, few(1)).await.0, [0]);
    let page = bus.read(&sales(), &zero(), From::Start, limits(1)).await.unwrap();
    assert!(page.lag.ms.is_some() && !page.ended);
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    bus.append(&sales(), &entries(0..10)).await.unwrap();
    let read = async |shard: &str, position| {
        let shard = ShardId::new(shard).unwrap();
        let read = bus.read(&sales(), &shard, From::After(position), limits(1)).await;
        read.unwrap_err().to_string()
    };
    assert_eq!(read("1", at(0)).await, "stream sales has no shard 1");
    assert_eq!(read("00", at(0)).await, "stream sales has no shard 00");
    let beyond = "sales/0: position 11 is after the last one, 10";
    assert_eq!(read("0", at(11)).await, beyond);
    let far: Position = "18446744073709551616".parse().unwrap();
    assert!(read("0", far).await.contains("18446744073709551616 is after the last one"));
    assert_eq!(bus.trim(&sales(), &zero(), at(4)).await.unwrap(), at(5));
    assert_eq!(bus.trim(&sales(), &zero(), at(2)).await.unwrap(), at(5));
    let gone = "sales/0: what follows position 3 is gone, the shard begins at 5";
    assert_eq!(read("0", at(3)).await, gone);
    let page = bus.read(&sales(), &zero(), From::After(at(4)), limits(1)).await.unwrap();
    assert_eq!(payloads(&page), [4]);
    assert_eq!(bus.trim(&sales(), &zero(), far).await.unwrap(), at(11));
    let info = bus.describe(&sales()).await.unwrap();
    assert_eq!((info.shards[0].first, info.shards[0].last), (at(11), Some(at(0))));
    bus.append(&sales(), &entries(10..11)).await.unwrap();
    let page = bus.read(&sales(), &zero(), From::After(at(10)), limits(1)).await.unwrap();
    assert_eq!((payloads(&page), page.records[0].position), (vec![10], at(11)));
    let other = StreamName::new("other").unwrap();
    let missing = bus.describe(&other).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no stream other");
    let missing = bus.append(&other, &entries(0..2)).await.unwrap_err();
    assert_eq!(missing.to_string(), "2 of 2 entries are not placed: there is no stream other");
    bus.close().await.unwrap();
    let closed = bus.describe(&sales()).await.unwrap_err();
    assert!(closed.to_string().contains("the bus is closed"), "{closed}");
}

#[tokio::test]
async fn who_waits_is_woken() {
    let server = redis();
    let bus = bus_with(&server, 2).await;
    let writer = bus_with(&server, 2).await;
    let entry = [Entry::new("k", "7")];
    let shard = writer.append(&sales(), &entry).await.unwrap()[0].shard.clone();
    let wait = Limits { wait: Duration::from_secs(30), ..limits(10) };
    let begin = Instant::now();
    for number in 1..=20 {
        let name = sales();
        let read = bus.read(&name, &shard, From::After(at(number)), wait);
        let (page, placed) = tokio::join!(read, writer.append(&name, &entry));
        placed.unwrap();
        assert_eq!(page.unwrap().records[0].position, at(number + 1));
    }
    // Twenty looks without a word would take ten seconds.
    assert!(begin.elapsed() < LOOK * 10, "{:?}", begin.elapsed());
    let none = Limits { wait: Duration::from_millis(50), ..limits(10) };
    let page = bus.read(&sales(), &shard, From::End, none).await.unwrap();
    assert!(page.records.is_empty());
}

/// A claim of the cursor that brings `source` here.
fn claim(fence: u64, after: Option<u64>) -> Claim {
    let cursor = Group::new("to-redis", "source").unwrap().cursor(&zero());
    let progress = after.map(|position| Progress { position: at(position), ..PLACE });
    Claim { cursor, owner: WorkerId::new("a").unwrap(), fence, progress }
}

const PLACE: Progress =
    Progress { generation: Generation(7), position: Position::ZERO, ended: false };

fn records(numbers: RangeInclusive<u64>) -> Vec<Record> {
    numbers
        .map(|n| Record {
            position: at(n),
            key: format!("k{}", n % 5).into(),
            payload: n.to_string().into(),
            written_at_us: 1,
        })
        .collect()
}

#[tokio::test]
async fn what_is_brought_twice_is_there_once() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    let bring = async |generation, claim: Claim, numbers: RangeInclusive<u64>| {
        let to =
            Progress { generation: Generation(generation), position: at(*numbers.end()), ..PLACE };
        let after = claim.progress.map(|progress| progress.position);
        let brings = Brings { cursor: claim.cursor.to_string(), claim: &claim, after, to };
        target.bring_as(&sales(), &brings, &records(numbers)).await
    };
    assert_eq!(bring(7, claim(1, None), 1..=2_000).await, Ok(2_000));
    // The relay was killed before it committed: it begins again, from nothing and from less.
    assert_eq!(bring(7, claim(2, None), 1..=2_500).await, Ok(500));
    assert_eq!(bring(7, claim(2, Some(2_400)), 2_401..=2_600).await, Ok(100));
    assert_eq!(bring(7, claim(2, Some(10)), 11..=20).await, Ok(0));
    // One that was frozen and took no notice of the new lease.
    let late = bring(7, claim(1, Some(2_000)), 2_001..=2_700).await.unwrap_err();
    let expected = "cursor to-redis@source/0: the lease with fence 1 is lost, the fence is 2";
    assert_eq!(late.to_string(), expected);
    // One whose records are missing here, and one from another history of its source.
    let gap = bring(7, claim(2, Some(2_700)), 2_701..=2_800).await.unwrap_err();
    let expected = "cursor to-redis@source/0: effects are stored up to 2600, not 2700";
    assert_eq!(gap.to_string(), expected);
    let other = bring(8, claim(2, Some(2_600)), 2_601..=2_700).await;
    assert!(matches!(other, Err(Error::Diverged { .. })));
    let stored = target.brought(&sales(), &claim(2, None).cursor).await;
    assert_eq!(stored, Ok(Some(Progress { position: at(2_600), ..PLACE })));
    let got = all(&bus, &zero()).await;
    let got: Vec<&[u8]> = got.iter().map(|record| &*record.payload).collect();
    let expected: Vec<String> = (1..=2_600).map(|n| n.to_string()).collect();
    assert_eq!(got, expected.iter().map(String::as_bytes).collect::<Vec<_>>());
}

#[tokio::test]
async fn retention_warns_before_a_cursor_loses_records() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    bus.append(&sales(), &entries(0..100)).await.unwrap();
    let generation = bus.describe(&sales()).await.unwrap().generation;
    let cursor = Group::new("mail", "sales").unwrap().cursor(&zero());
    let reader = |position| CursorState {
        cursor: cursor.clone(),
        fence: 1,
        progress: Some(Progress { generation, position: at(position), ended: false }),
        lease: None,
    };
    let retain = async |age_s, records, protected: &[CursorState]| {
        let retention = Retention { age: Duration::from_secs(age_s), records };
        let trimmed = target.retain(&sales(), retention, protected).await.unwrap().remove(0);
        let to = trimmed.begins_at.as_u64().unwrap();
        (to, trimmed.records, trimmed.kept_for.len(), trimmed.lost_for.len())
    };
    // All is young enough.
    assert_eq!(retain(3_600, 1_000, &[reader(10)]).await, (1, 0, 0, 0));
    // All is too old, but for one that is behind, whatever others there are.
    assert_eq!(retain(0, 1_000, &[reader(10), reader(50)]).await, (11, 10, 1, 0));
    // Memory ends.
    assert_eq!(retain(3_600, 60, &[reader(10), reader(50)]).await, (41, 30, 0, 1));
    assert_eq!(retain(0, 60, &[reader(50)]).await, (51, 10, 1, 0));
    assert_eq!(retain(0, 60, &[]).await, (101, 50, 0, 0));
}

#[test]
fn calls_are_cut_by_number_and_by_bytes() {
    let lengths = |sizes: &[usize]| -> Vec<usize> {
        parts(sizes, |size| *size).map(<[usize]>::len).collect()
    };
    assert_eq!(lengths(&[]), [] as [usize; 0]);
    assert_eq!(lengths(&[1; 1_030]), [512, 512, 6]);
    assert_eq!(lengths(&[BYTES_PER_CALL + 1, 1, BYTES_PER_CALL - 1, 1]), [1, 2, 1]);
}

/// Sends a plain command.
async fn told(server: &Server, command: ::redis::Cmd) {
    let client = ::redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async::<()>(&mut connection).await.unwrap();
}
