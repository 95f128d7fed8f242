//! All that can go wrong, at random: nothing is lost, and order within a key is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use onsale_bus::kinesis::{KinesisBus, Settings};
use onsale_bus::{Bus, Entry, From, Limits, ShardId, StreamName};

use crate::proxy::{Faults, Proxy};
use crate::{KINESIS, TURNS, seed, settings, stream};

const WRITERS: usize = 2;
const RECORDS: usize = 2_400;
const KEYS_EACH: usize = 60;

#[tokio::test]
async fn nothing_is_lost_and_order_is_kept() {
    let _turn = TURNS.lock().await;
    let faults = Faults {
        throttled: 80,
        partial: 200,
        expired: 150,
        broken: 60,
        hanging: 10,
        ..Faults::default()
    };
    let proxy = Proxy::start(KINESIS.port(), seed(), faults).await;
    let settings = Settings { call_time: Duration::from_secs(5), ..settings(&proxy.url) };
    let bus = Bus::Kinesis(KinesisBus::open(settings).await.unwrap());
    let name = stream("faults");
    bus.create(&name, 4).await.unwrap();
    let shards = bus.describe(&name).await.unwrap().shards;
    let arrived = Arc::new(AtomicUsize::new(0));
    let begin = Instant::now();
    let readers: Vec<_> = shards
        .iter()
        .map(|shard| {
            tokio::spawn(read(bus.clone(), name.clone(), shard.id.clone(), arrived.clone()))
        })
        .collect();
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write(bus.clone(), name.clone(), writer))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    println!("{RECORDS} records were appended within {:?}", begin.elapsed());
    let (mut distinct, mut doubles) = (0, 0);
    for reader in readers {
        let told = reader.await.unwrap();
        distinct += told.0;
        doubles += told.1;
    }
    println!("{doubles} doubles; {:?}; {:?}", proxy.counts(), begin.elapsed());
    assert_eq!(distinct, RECORDS);
    for what in ["throttled", "partial", "expired", "broken", "hanging"] {
        assert!(proxy.counts().contains_key(what), "{what} did not happen");
    }
}

/// Appends a writer's share, key after key in turn, some hundreds at a time.
async fn write(bus: Bus, name: StreamName, writer: usize) {
    let entries: Vec<Entry> = (0..RECORDS / WRITERS)
        .map(|n| Entry::new(format!("w{writer}-{}", n % KEYS_EACH), (n / KEYS_EACH).to_string()))
        .collect();
    for part in entries.chunks(2_700) {
        let appended = bus.append(&name, part).await;
        assert!(appended.is_ok(), "{}", appended.unwrap_err());
    }
}

/// Reads a shard until all records have arrived somewhere: how many different ones came, and how many doubles.
async fn read(
    bus: Bus,
    name: StreamName,
    shard: ShardId,
    arrived: Arc<AtomicUsize>,
) -> (usize, usize) {
    let mut next: HashMap<Vec<u8>, usize> = HashMap::new();
    let (mut distinct, mut doubles, mut from) = (0, 0, From::Start);
    let limits = Limits { wait: Duration::from_millis(100), ..Limits::default() };
    let begin = Instant::now();
    while arrived.load(Ordering::Relaxed) < RECORDS {
        assert!(begin.elapsed() < Duration::from_secs(240), "{shard}: {distinct} arrived");
        let page = match bus.read(&name, &shard, from, limits).await {
            Ok(page) => page,
            Err(error) if error.is_passing() => continue,
            Err(error) => panic!("{shard}: {error}"),
        };
        for record in &page.records {
            let number: usize = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
            let next = next.entry(record.key.to_vec()).or_default();
            assert!(number <= *next, "{:?}: {number} came where {next} was due", record.key);
            if number == *next {
                *next += 1;
                distinct += 1;
                arrived.fetch_add(1, Ordering::Relaxed);
            } else {
                doubles += 1;
            }
        }
        from = page.next;
    }
    (distinct, doubles)
}
