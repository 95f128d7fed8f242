//! The process ends, or the power goes, at each call to the disk that the upkeep makes: the next start
//! finds all that was durable, and comes to the same state as a replay of all records.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::sync::Arc;

use onsale_core::event::Event;
use onsale_core::time::Time;
use onsale_engine::folder::{Identity, Options, open_shards};
use onsale_engine::{Request, Rules, Shard};
use onsale_journal::Stores;
use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::generator::Generator;
use onsale_sim::model::Model;
use onsale_sim::side_by_side::{KEY, replay_with};

const SEGMENT_BYTES: u64 = 32 << 10;
const RULES: Rules =
    Rules { snapshot_bytes: 60 << 10, retention_us: None, orders_hot: 8, ids_hot: 16 };
/// Ends that must be reached, at least.
const ENDS_MIN: u64 = 100;
/// Starts after such an end: as after a kill, and as after a power loss, twice.
const WAYS: u64 = 3;

fn open(disk: &FaultyDisk) -> Result<Shard<u64>, String> {
    let stores = Stores { live: Arc::new(disk.clone()), archive: Some(Arc::new(disk.archive())) };
    let options = Options { rules: RULES, ..Options::new(SEGMENT_BYTES) };
    let identity = Identity { log: 7, shards: 1 };
    let opened = open_shards(identity, &options, KEY, Time(0), |_| Ok(stores.clone()));
    opened.map(|mut shards| shards.remove(0)).map_err(|error| error.to_string())
}

fn records(shard: &Shard<u64>) -> Vec<Event> {
    let mut events = Vec::new();
    let mut take = |_, record: &[u8]| events.push(onsale_codec::decode(record).unwrap());
    shard.info().reader.read(0, usize::MAX, usize::MAX, &mut take).unwrap();
    events
}

/// Sells so much, a batch for every few commands.
fn sell(shard: &mut Shard<u64>, generator: &mut Generator, model: &mut Model, commands: usize) {
    for n in 0..commands {
        let (command, now) = generator.next(model);
        let _ = model.execute(&command, now);
        if !shard.ready() || shard.stopped().is_some() {
            return;
        }
        shard.submit(now, Request::Command(Box::new(command)), 0);
        if n % 3 == 2 {
            write(shard, now);
        }
    }
}

fn write(shard: &mut Shard<u64>, now: Time) {
    // One that fails is given out again at once.
    for _ in 0..3 {
        if let Some(job) = shard.prepare() {
            let _ = shard.prepared(now, job.run());
        }
    }
    while let Some(job) = shard.seal(now) {
        let _ = shard.finish(job.run());
    }
    while shard.release().is_some() {}
}

/// All upkeep that there is, and a few sales in between, so that segments are used again.
fn keep_up(shard: &mut Shard<u64>, now: Time) {
    for _ in 0..200 {
        let Some(job) = shard.upkeep(now) else { return };
        let _ = shard.upkept(job.run());
    }
}

/// A log with much to do for its upkeep; and what was sold.
fn begun() -> (FaultyDisk, Generator, Model) {
    let disk = FaultyDisk::new(5);
    let mut shard = open(&disk).unwrap();
    let (mut generator, mut model) = (Generator::brief(5), Model::new(KEY, 0, 1));
    model.time = shard.sale().time();
    for round in 0..3 {
        sell(&mut shard, &mut generator, &mut model, 60);
        let now = shard.sale().time();
        write(&mut shard, now);
        if round < 2 {
            keep_up(&mut shard, now);
        }
    }
    assert_ne!(shard.figures().snapshot, 0, "there is a snapshot");
    (disk, generator, model)
}

#[test]
fn an_end_at_any_call_of_the_upkeep_loses_nothing() {
    let (begun, generator, model) = begun();
    let mut ends = 0;
    for call in 0.. {
        let mut reached = false;
        for way in 0..WAYS {
            let disk = begun.restart();
            let mut shard = open(&disk).unwrap();
            disk.fault_at(disk.calls() + call, Fault::Stop);
            let (mut generator, mut model) = (generator.clone(), model.clone());
            let now = shard.sale().time();
            keep_up(&mut shard, now);
            sell(&mut shard, &mut generator, &mut model, 12);
            let now = shard.sale().time();
            keep_up(&mut shard, now);
            reached |= disk.is_stopped();
            let durable = shard.figures().durable;
            let disk = if way == 0 { disk.restart() } else { disk.power_loss() };
            let shard = open(&disk).unwrap_or_else(|error| panic!("call {call}, {way}: {error}"));
            let found = records(&shard);
            assert!(found.len() as u64 >= durable, "call {call}, {way}: {durable} were durable");
            let replayed = replay_with(&found, shard.sale().hash(), RULES.ids_hot);
            replayed.unwrap_or_else(|what| panic!("call {call}, {way}: {what}"));
        }
        if !reached {
            break;
        }
        ends += 1;
    }
    println!("{ends} calls to end at");
    assert!(ends >= ENDS_MIN, "only {ends} calls");
}
