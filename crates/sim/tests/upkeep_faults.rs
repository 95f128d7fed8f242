//! One read that goes wrong, at each call to the disk that a start and its upkeep make, costs no command id: a
//! command that comes again is not carried out again, however the ids came to their files.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::sync::Arc;

use onsale_core::{Command, Time};
use onsale_engine::folder::{Identity, Options, open_shards};
use onsale_engine::{Answer, Reply, Request, Rules, Shard};
use onsale_journal::Stores;
use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::generator::Generator;
use onsale_sim::model::Model;
use onsale_sim::side_by_side::KEY;

const SEGMENT_BYTES: u64 = 32 << 10;
const RULES: Rules =
    Rules { snapshot_bytes: 60 << 10, retention_us: None, orders_hot: 8, ids_hot: 4 };
/// Calls that must be reached, at least.
const CALLS_MIN: u64 = 100;
/// Starts that go well with one, at least.
const BEGINS_MIN: u64 = 5;
/// After so long what failed is tried again, and more often than a few times.
const LATER_US: i64 = 301_000_000;

fn open(disk: &FaultyDisk) -> Result<Shard<u64>, String> {
    let stores = Stores { live: Arc::new(disk.clone()), archive: Some(Arc::new(disk.archive())) };
    let options = Options { rules: RULES, ..Options::new(SEGMENT_BYTES) };
    let identity = Identity { log: 7, shards: 1 };
    let opened = open_shards(identity, &options, KEY, Time(0), |_| Ok(stores.clone()));
    opened.map(|mut shards| shards.remove(0)).map_err(|error| error.to_string())
}

/// Asks and waits until the answer is durable.
fn ask(shard: &mut Shard<u64>, command: &Command, now: Time) -> Reply {
    shard.submit(now, Request::Command(Box::new(command.clone())), 0);
    for _ in 0..4 {
        while let Some(job) = shard.prepare() {
            let _ = shard.prepared(now, job.run());
        }
        while let Some(job) = shard.seal(now) {
            let _ = shard.finish(job.run());
        }
        if let Some(released) = shard.release() {
            return released.1;
        }
    }
    panic!("no answer; stopped: {:?}", shard.stopped());
}

/// All upkeep that there is.
fn keep_up(shard: &mut Shard<u64>, now: Time) {
    for _ in 0..200 {
        let Some(job) = shard.upkeep(now) else { return };
        let _ = shard.upkept(job.run());
    }
}

/// A log of several segments that no upkeep has looked at; and the commands with an id that were carried out, each
/// with its position.
fn begun() -> (FaultyDisk, Vec<(Command, u64)>) {
    let disk = FaultyDisk::new(5);
    let mut shard = open(&disk).unwrap();
    let (mut generator, mut model) = (Generator::brief(5), Model::new(KEY, 0, 1));
    model.time = shard.sale().time();
    let mut done = Vec::new();
    for _ in 0..60 {
        let (command, now) = generator.next(&model);
        let _ = model.execute(&command, now);
        let reply = ask(&mut shard, &command, now);
        if command.stamp.chosen && matches!(reply.answer, Answer::Done(_)) {
            done.push((command, reply.position));
        }
    }
    // A mark speaks for the last of them.
    shard.close().unwrap();
    (disk, done)
}

#[test]
fn a_wrong_read_of_a_header_costs_no_command_id() {
    let (begun, done) = begun();
    assert!(done.len() > 20, "{} commands have ids", done.len());
    let (mut calls, mut begins) = (0, 0);
    for call in 0.. {
        let disk = begun.restart();
        disk.fault_at(call, Fault::GarbleFirst);
        let opened = open(&disk);
        let is_opened_before = disk.calls() <= call;
        // Damage that may not be passed over stops a start.
        let Ok(mut shard) = opened else {
            calls += 1;
            continue;
        };
        let mut now = shard.sale().time();
        keep_up(&mut shard, now);
        if disk.calls() <= call {
            break;
        }
        disk.end_garbling();
        (calls, begins) = (calls + 1, begins + u64::from(!is_opened_before));
        now.0 += LATER_US;
        keep_up(&mut shard, now);
        assert!(shard.figures().snapshot > 0, "call {call}: the upkeep goes on");
        for (command, position) in &done {
            let answer = ask(&mut shard, command, now).answer;
            let is_known = matches!(answer, Answer::Repeated { position: at } if at == *position);
            assert!(is_known, "call {call}: {command:?} at {position}: {answer:?}");
        }
    }
    println!("a wrong read at each of {calls} calls, {begins} of them of a start that went well");
    assert!(calls >= CALLS_MIN && begins >= BEGINS_MIN, "only {calls}, {begins}");
}
