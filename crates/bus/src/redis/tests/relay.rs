//! A relay to Redis: workers that bring batches and die at the worst moment.

use super::*;
use crate::cursors::Progress;
use crate::{Batch, Cursors, Relay, Worker, WorkerOptions};

const RECORDS: u32 = 3_000;

/// A stream in memory with records, and what brings it to Redis.
async fn source() -> Bus {
    let bus = Bus::memory();
    bus.create(&source_name(), 4).await.unwrap();
    bus.append(&source_name(), &entries(0..RECORDS)).await.unwrap();
    bus
}

fn source_name() -> StreamName {
    StreamName::new("source").unwrap()
}

async fn relay(source: &Bus, cursors: &Cursors, target: &RedisBus) -> Worker {
    let group = Group::new("to-redis", "source").unwrap();
    let options = WorkerOptions {
        // A killed one is followed soon.
        lease: Duration::from_millis(100),
        limits: Limits { records: 100, ..Limits::default() },
        stored: Some(target.stored(&sales())),
        ..WorkerOptions::default()
    };
    Worker::join(source.clone(), cursors.clone(), group, options).await.unwrap()
}

async fn next(worker: &mut Worker) -> Option<Batch> {
    worker.next_within(Duration::from_millis(500)).await.unwrap()
}

async fn bring(target: &RedisBus, batch: &Batch) -> Result<u64, Error> {
    let records: Vec<Record> = batch.records().cloned().collect();
    target.bring(&sales(), batch, &records).await
}

/// Whether each shard's keys, in their order, are in the target once.
async fn is_copied(target: &Bus, shards: u32) {
    let mut seen: HashMap<Bytes, Vec<u32>> = HashMap::new();
    for shard in 0..shards {
        for record in all(target, &ShardId::numbered(shard)).await {
            let number = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
            seen.entry(record.key).or_default().push(number);
        }
    }
    let mut expected: HashMap<Bytes, Vec<u32>> = HashMap::new();
    for (number, entry) in entries(0..RECORDS).into_iter().enumerate() {
        expected.entry(entry.key).or_default().push(u32::try_from(number).unwrap());
    }
    assert!(seen == expected, "a record is missing, there twice or out of order");
}

#[tokio::test]
async fn one_that_dies_between_append_and_commit_leaves_no_double() {
    let server = redis();
    let (source, cursors) = (source().await, Cursors::memory());
    let bus = bus_with(&server, 3).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    let mut deaths = 0;
    loop {
        let mut worker = relay(&source, &cursors, target).await;
        // Every second batch is brought and never committed; its worker is no more.
        let Some(batch) = next(&mut worker).await else { break };
        bring(target, &batch).await.unwrap();
        worker.commit(&batch).await.unwrap();
        if let Some(batch) = next(&mut worker).await {
            bring(target, &batch).await.unwrap();
            deaths += 1;
        }
    }
    assert!(deaths > 5, "{deaths}");
    is_copied(&bus, 3).await;
}

#[tokio::test]
async fn a_target_that_lost_everything_is_told_and_gets_it_again() {
    let mut server = redis();
    let (source, cursors) = (source().await, Cursors::memory());
    let bus = bus_with(&server, 2).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    let mut worker = relay(&source, &cursors, target).await;
    for _ in 0..8 {
        let batch = next(&mut worker).await.unwrap();
        bring(target, &batch).await.unwrap();
        worker.commit(&batch).await.unwrap();
    }
    server.restart();
    bus.create(&sales(), 2).await.unwrap();
    let batch = next(&mut worker).await.unwrap();
    let moved = bring(target, &batch).await.unwrap_err();
    assert!(matches!(moved, Error::Moved { stored: Position::ZERO, .. }), "{moved}");
    worker.leave().await.unwrap();

    // The relay would begin anew, which it does not by itself: nothing is brought before somebody says so.
    let mut worker = relay(&source, &cursors, target).await;
    let lost = worker.next_within(Duration::from_millis(500)).await.unwrap_err();
    assert!(matches!(lost, Error::EffectsLost { stored: Position::ZERO, .. }), "{lost}");
    assert!(lost.to_string().contains("reset the cursor"), "{lost}");
    worker.leave().await.unwrap();
    assert_eq!(all(&bus, &zero()).await.len(), 0);
    let group = Group::new("to-redis", "source").unwrap();
    for state in cursors.list(&group).await.unwrap() {
        cursors.reset(&state.cursor, None).await.unwrap();
    }
    let mut worker = relay(&source, &cursors, target).await;
    while let Some(batch) = next(&mut worker).await {
        bring(target, &batch).await.unwrap();
        worker.commit(&batch).await.unwrap();
    }
    is_copied(&bus, 2).await;
}

#[tokio::test]
async fn what_is_set_aside_is_passed_over_and_can_be_brought_later() {
    let server = redis();
    let (source, cursors) = (Bus::memory(), Cursors::memory());
    source.create(&source_name(), 1).await.unwrap();
    source.append(&source_name(), &entries(0..100)).await.unwrap();
    let bus = bus_with(&server, 1).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    let mut worker = relay(&source, &cursors, target).await;
    let mut batch = next(&mut worker).await.unwrap();
    for position in [7, 100] {
        worker.park(&mut batch, at(position), "it looks odd").await.unwrap();
    }
    assert_eq!(bring(target, &batch).await, Ok(98));
    worker.commit(&batch).await.unwrap();
    source.append(&source_name(), &entries(100..110)).await.unwrap();
    let batch = next(&mut worker).await.unwrap();
    assert_eq!(bring(target, &batch).await, Ok(10));
    worker.commit(&batch).await.unwrap();

    let cursor = Group::new("to-redis", "source").unwrap().cursor(&zero());
    cursors.retry(&cursor, at(7)).await.unwrap();
    let batch = next(&mut worker).await.unwrap();
    assert!(batch.is_retry);
    assert_eq!(bring(target, &batch).await, Ok(1));
    assert_eq!(bring(target, &batch).await, Ok(0));
    worker.commit(&batch).await.unwrap();
    let got: Vec<Bytes> = all(&bus, &zero()).await.into_iter().map(|r| r.payload).collect();
    assert_eq!((got.len(), &*got[108]), (109, &b"6"[..]));
}

#[tokio::test]
async fn a_cursor_that_is_behind_what_was_brought_follows_it() {
    let server = redis();
    let (source, cursors) = (source().await, Cursors::memory());
    let bus = bus_with(&server, 2).await;
    let Bus::Redis(target) = &bus else { unreachable!() };
    let mut worker = relay(&source, &cursors, target).await;
    while let Some(batch) = next(&mut worker).await {
        bring(target, &batch).await.unwrap();
        worker.commit(&batch).await.unwrap();
    }
    worker.leave().await.unwrap();
    let group = Group::new("to-redis", "source").unwrap();
    for state in cursors.list(&group).await.unwrap() {
        let Some(progress) = state.progress else { continue };
        let to = Progress { position: Position::ZERO, ..progress };
        cursors.reset(&state.cursor, Some(to)).await.unwrap();
    }
    let mut worker = relay(&source, &cursors, target).await;
    assert!(!worker.is_at_end().await.unwrap());
    assert!(next(&mut worker).await.is_none(), "all of it is there");
    assert!(worker.is_at_end().await.unwrap(), "the cursor says nothing of what is there");
    is_copied(&bus, 2).await;
}

#[tokio::test]
async fn another_cursor_does_not_bring_all_a_second_time() {
    let server = redis();
    let (source, cursors) = (source().await, Cursors::memory());
    let bus = bus_with(&server, 2).await;
    let begin = |source: &Bus, name: &str| {
        let group = Group::new(name, "source").unwrap();
        let options = WorkerOptions::default();
        Relay::begin(source.clone(), cursors.clone(), group, bus.clone(), sales(), options)
    };
    let mut first = begin(&source, "to-redis").await.unwrap();
    while !first.is_at_end().await.unwrap() {
        first.step(Duration::from_millis(500)).await.unwrap();
    }
    first.end().await.unwrap();
    let refused = async |source: &Bus, name: &str| begin(source, name).await.map(drop).unwrap_err();
    let twice = refused(&source, "to-redis-2").await;
    let is_by = |error: &Error| matches!(error, Error::BroughtAlready { by, .. } if by.as_str() == "to-redis");
    assert!(is_by(&twice), "{twice}");
    begin(&source, "to-redis").await.unwrap().end().await.unwrap();
    // Nor what comes out of a backup of it: some of what is there is not in that.
    let Bus::Memory(memory) = &source else { unreachable!() };
    memory.start_anew(&source_name()).unwrap();
    let other = refused(&source, "to-redis").await;
    assert!(matches!(other, Error::OtherHistory { .. }), "{other}");
    assert!(is_by(&refused(&source, "to-redis-2").await));
    is_copied(&bus, 2).await;
}

#[tokio::test]
async fn a_target_that_goes_while_it_is_copied_to_is_told_from_the_source() {
    let server = redis();
    let source = source().await;
    let bus = bus_with(&server, 2).await;
    let group = Group::new("to-redis", "source").unwrap();
    let options = WorkerOptions {
        limits: Limits { records: 100, ..Limits::default() },
        ..Default::default()
    };
    let begun = Relay::begin(source, Cursors::memory(), group, bus.clone(), sales(), options);
    let mut relay = begun.await.unwrap();
    relay.step(Duration::from_secs(5)).await.unwrap().unwrap();
    told(&server, ::redis::cmd("FLUSHALL")).await;
    let gone = relay.step(Duration::from_secs(5)).await.unwrap_err();
    assert!(gone.to_string().starts_with("the target refused: its stream sales"), "{gone}");
}

/// A plain command about the key of a shard.
async fn about_shard(server: &Server, command: &str, shard: u32, more: &[String]) {
    let mut command = ::redis::cmd(command);
    command.arg(format!("onsale:{{sales}}/{shard}")).arg(more);
    told(server, command).await;
}

#[tokio::test]
async fn a_target_that_lost_some_records_is_told() {
    let server = redis();
    let (source, cursors) = (source().await, Cursors::memory());
    let group = Group::new("to-redis", "source").unwrap();
    let begin = |bus: &Bus| {
        let (group, options) = (group.clone(), WorkerOptions::default());
        Relay::begin(source.clone(), cursors.clone(), group, bus.clone(), sales(), options)
    };
    // A whole copy by a relay that has ended: the bus, a shard that has records, ids of these, the last position.
    let copy = async || {
        told(&server, ::redis::cmd("FLUSHALL")).await;
        let bus = bus_with(&server, 3).await;
        for state in cursors.list(&group).await.unwrap() {
            cursors.reset(&state.cursor, None).await.unwrap();
        }
        let mut relay = begin(&bus).await.unwrap();
        while !relay.is_at_end().await.unwrap() {
            relay.step(Duration::from_millis(500)).await.unwrap();
        }
        relay.end().await.unwrap();
        let Bus::Redis(target) = &bus else { unreachable!() };
        let known = target.known_of(&sales()).await.unwrap();
        let number = known.shard(b"k0");
        let last = bus.describe(&sales()).await.unwrap().shards[number as usize].last;
        let id = move |position: u64| vec![format!("{}-{position}", known.birth)];
        (bus, number, id, last.unwrap().as_u64().unwrap())
    };
    let is_told = async |bus: &Bus, number: u32, which: &str| {
        let error = begin(bus).await.map(drop).unwrap_err().to_string();
        let expected = format!("the target's sales/{number} is damaged: {which} is missing: ");
        assert!(error.starts_with(&expected), "{error}, not {expected}");
    };

    // Those that retention took are not missed, some or all.
    let (bus, number, id, last) = copy().await;
    let shard = ShardId::numbered(number);
    bus.trim(&sales(), &shard, at(3)).await.unwrap();
    begin(&bus).await.unwrap().end().await.unwrap();
    about_shard(&server, "XDEL", number, &[id(7), id(9)].concat()).await;
    is_told(&bus, number, &format!("2 of the records from 4 to {last}")).await;
    bus.trim(&sales(), &shard, at(last)).await.unwrap();
    begin(&bus).await.unwrap().end().await.unwrap();

    let (bus, number, id, last) = copy().await;
    about_shard(&server, "XDEL", number, &id(last)).await;
    is_told(&bus, number, &format!("1 of the records from 1 to {last}")).await;
    let (bus, number, id, _) = copy().await;
    about_shard(&server, "XDEL", number, &id(1)).await;
    is_told(&bus, number, "the record at position 1").await;

    // A whole shard, of a relay that goes on: nothing is put after what is gone.
    let (bus, number, _, last) = copy().await;
    let mut relay = begin(&bus).await.unwrap();
    relay.step(Duration::from_millis(500)).await.unwrap();
    about_shard(&server, "DEL", number, &[]).await;
    source.append(&source_name(), &entries(0..100)).await.unwrap();
    let error = loop {
        if let Err(error) = relay.step(Duration::from_secs(5)).await {
            break error.to_string();
        }
    };
    let which = format!("all up to position {last}");
    assert!(error.contains(&format!("sales/{number} is damaged: {which}")), "{error}");
    relay.end().await.unwrap();
    is_told(&bus, number, &which).await;
    let shard = ShardId::numbered(number);
    let read = bus.read(&sales(), &shard, From::Start, limits(1)).await.unwrap_err().to_string();
    assert!(read.starts_with(&format!("sales/{number}: {which} is missing: ")), "{read}");
}

#[tokio::test]
async fn a_relay_that_has_nothing_to_copy_looks_at_its_target() {
    let server = redis();
    let source = source().await;
    let bus = bus_with(&server, 2).await;
    let group = Group::new("to-redis", "source").unwrap();
    let options = WorkerOptions::default();
    let begun = Relay::begin(source, Cursors::memory(), group, bus.clone(), sales(), options);
    let mut relay = begun.await.unwrap();
    while !relay.is_at_end().await.unwrap() {
        relay.step(Duration::from_millis(500)).await.unwrap();
    }
    let Bus::Redis(target) = &bus else { unreachable!() };
    let number = target.known_of(&sales()).await.unwrap().shard(b"k0");
    about_shard(&server, "DEL", number, &[]).await;
    let late = relay.is_at_end().await.unwrap_err();
    assert!(late.to_string().contains(&format!("sales/{number}")), "{late}");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let late = relay.step(Duration::from_millis(1)).await.unwrap_err();
    assert!(late.to_string().contains(&format!("sales/{number}")), "{late}");
}
