//! Workers whose bus and whose cursors are on a Redis that is killed, and one that comes too late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Batch, Cursors, Stored, Worker, WorkerOptions};

const KILLS: u32 = 4;
const KEYS: u32 = 40;

/// Effects that are stored with their place, as a database does it.
#[derive(Default)]
struct Effects {
    places: BTreeMap<ShardId, (Progress, u64)>,
    /// What was applied of each key.
    applied: BTreeMap<Bytes, Vec<u32>>,
}

type Shared = Arc<Mutex<Effects>>;

fn apply(effects: &Shared, batch: &Batch) -> Result<(), Error> {
    let mut effects = effects.lock().unwrap();
    let (claim, stored) = (&batch.claim, effects.places.get(batch.shard()).copied());
    let cursor = claim.cursor.clone();
    if let Some((_, now)) = stored.filter(|(_, fence)| *fence > claim.fence) {
        return Err(Error::LostLease { cursor, fence: claim.fence, now });
    }
    let position = |place: Option<Progress>| place.map_or(Position::ZERO, |place| place.position);
    let (stored, claimed) = (position(stored.map(|(place, _)| place)), position(claim.progress));
    if stored != claimed {
        return Err(Error::Moved { cursor, stored, claimed });
    }
    effects.places.insert(batch.shard().clone(), (batch.to, claim.fence));
    for record in batch.records() {
        let number = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
        effects.applied.entry(record.key.clone()).or_default().push(number);
    }
    Ok(())
}

fn stored(effects: &Shared) -> Stored {
    let effects = effects.clone();
    Arc::new(move |claim: Claim| {
        let place =
            effects.lock().unwrap().places.get(&claim.cursor.shard).map(|(place, _)| *place);
        Box::pin(std::future::ready(Ok(place)))
    })
}

/// Works until it is told to end. What the server's death brings about passes by itself.
async fn work(bus: Bus, cursors: Cursors, effects: Shared, ended: Arc<AtomicBool>) {
    let options = WorkerOptions {
        lease: Duration::from_millis(500),
        limits: limits(20),
        stored: Some(stored(&effects)),
        ..WorkerOptions::default()
    };
    let group = Group::new("ledger", "sales").unwrap();
    let mut worker = Worker::join(bus, cursors, group, options).await.unwrap();
    while !ended.load(Ordering::Acquire) {
        let Some(batch) = worker.next_within(Duration::from_millis(100)).await.unwrap() else {
            continue;
        };
        let done = match apply(&effects, &batch) {
            Ok(()) => worker.commit(&batch).await,
            Err(error) => Err(error),
        };
        let Err(error) = done else { continue };
        let was_slower = matches!(error, Error::LostLease { .. } | Error::Moved { .. });
        assert!(was_slower || error.is_passing(), "{error}");
        if let Err(error) = worker.again(&batch).await {
            assert!(error.is_passing(), "{error}");
        }
    }
}

/// Appends the next number of each key, in order, until it is known to be there: an append that broke off is
/// looked for before it is tried again.
async fn append_all(bus: &Bus, round: u32) {
    let mut entries: Vec<Entry> =
        (0..KEYS).map(|key| Entry::new(format!("k{key}"), round.to_string())).collect();
    let begin = Instant::now();
    while let Err(error) = bus.append(&sales(), &entries).await {
        assert!(error.first().is_passing(), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
        let mut there = Vec::new();
        for shard in 0..8 {
            for record in all_of(bus, &ShardId::numbered(shard)).await {
                if record.payload == round.to_string().as_bytes() {
                    there.push(record.key);
                }
            }
        }
        entries.retain(|entry| !there.contains(&entry.key));
        if entries.is_empty() {
            break;
        }
    }
}

/// All of a shard, however often the server is away.
async fn all_of(bus: &Bus, shard: &ShardId) -> Vec<Record> {
    loop {
        let whole = Limits { records: 10_000, ..Limits::default() };
        match bus.read(&sales(), shard, From::Start, whole).await {
            Ok(page) => return page.records.to_vec(),
            Err(error) => assert!(error.is_passing(), "{error}"),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_killed_server_that_keeps_all_costs_time_only() {
    let mut server = troubles::keeping();
    let bus = bus_with(&server, 8).await;
    let effects = Shared::default();
    let ended = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let options = RedisOptions::new(server.url());
        let bus = Bus::Redis(RedisBus::connect(&options).await.unwrap());
        let cursors = Cursors::Redis(RedisCursors::connect(&options).await.unwrap());
        workers.push(tokio::spawn(work(bus, cursors, effects.clone(), ended.clone())));
    }
    let mut rounds = 0;
    for _ in 0..KILLS {
        for _ in 0..20 {
            append_all(&bus, rounds).await;
            rounds += 1;
        }
        // Others see it dead while it is: the start waits on a thread of its own.
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
    }
    let expected = (rounds * KEYS) as usize;
    let applied = || effects.lock().unwrap().applied.values().map(Vec::len).sum::<usize>();
    let begin = Instant::now();
    while applied() < expected {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} of {expected}", applied());
        tokio::task::yield_now().await;
    }
    ended.store(true, Ordering::Release);
    for worker in workers {
        worker.await.unwrap();
    }
    for (key, numbers) in &effects.lock().unwrap().applied {
        assert_eq!(numbers, &(0..rounds).collect::<Vec<_>>(), "{key:?}");
    }
}

#[tokio::test]
async fn a_worker_that_comes_too_late_is_told_where_the_shard_begins() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    let store =
        Cursors::Redis(RedisCursors::connect(&RedisOptions::new(server.url())).await.unwrap());
    bus.append(&sales(), &entries(0..100)).await.unwrap();
    let group = Group::new("mail", "sales").unwrap();
    let options = WorkerOptions { limits: limits(10), ..WorkerOptions::default() };
    let join = async || {
        let (bus, store) = (bus.clone(), store.clone());
        Worker::join(bus, store, group.clone(), options.clone()).await.unwrap()
    };
    let mut worker = join().await;
    let batch = worker.next().await.unwrap();
    worker.commit(&batch).await.unwrap();
    worker.leave().await.unwrap();
    bus.trim(&sales(), &zero(), at(50)).await.unwrap();
    let gone = join().await.next().await.unwrap_err();
    let expected = "sales/0: what follows position 10 is gone, the shard begins at 51";
    assert_eq!(gone.to_string(), expected);
}
