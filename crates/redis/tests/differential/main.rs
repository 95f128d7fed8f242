//! The core and its rules in Lua, side by side: the same histories, with the same clock and ids, must have the same answers,
//! the same records and the same state in the end.
//!
//! `ONSALE_SEED=n` runs the history of one seed alone; `ONSALE_REDIS_HISTORIES=n` runs so many new ones beside the usual.

mod cut;
mod history;
mod image;
mod snapshot;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;

use onsale_core::Time;
use onsale_core::limits::COMMANDS_REMEMBERED_MAX;
use onsale_redis::{
    About, Caller, Codes, LIBRARY, Library, Look, Reply, Terms, View, begin, join, rebuild,
};
use onsale_sim::coverage::ANSWERS;
use onsale_sim::side_by_side::{KEY, SHARD, SHARDS};
use redis::{Cmd, Connection, ConnectionLike as _, Value};

use history::{Answer, History, Step};

/// Commands in one history.
const COMMANDS: usize = 2_000;
/// Histories with seeds that never change.
const FIXED: u64 = 60;
/// Histories with seeds of their own each time.
const RANDOM: u64 = 15;
/// Histories in which calls are cut off.
const CUT: u64 = 6;
/// Calls in one go.
const CALLS: usize = 500;
/// Long after all histories.
const END: Time = Time((1 << 53) - 1);

#[test]
fn redis_answers_as_the_core_does() {
    let redis = onsale_services::redis();
    if let Ok(seed) = std::env::var("ONSALE_SEED") {
        let seed = seed.parse().expect("ONSALE_SEED is a number");
        return compare(&mut connect(redis.url()), &LIBRARY, seed, COMMANDS_REMEMBERED_MAX);
    }
    let new = std::env::var("ONSALE_REDIS_HISTORIES");
    let new = new.map_or(RANDOM, |n| n.parse().expect("ONSALE_REDIS_HISTORIES is a number"));
    let random = RandomState::new().build_hasher().finish() >> 16;
    println!("seeds 0 to {} and {new} from {random}", FIXED - 1);
    let seeds = Mutex::new((0..FIXED).chain(random..random + new).collect::<Vec<u64>>());
    let worker = || {
        let mut connection = connect(redis.url());
        while let Some(seed) = { seeds.lock().unwrap().pop() } {
            compare(&mut connection, &LIBRARY, seed, COMMANDS_REMEMBERED_MAX);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        // A worker has printed what is wrong.
        workers.into_iter().for_each(|worker| worker.join().expect("a history differs"));
    });
}

#[test]
fn the_histories_have_every_answer() {
    let mut coverage = onsale_sim::coverage::Coverage::default();
    for seed in 0..FIXED {
        coverage.merge(&History::of(seed, COMMANDS, COMMANDS_REMEMBERED_MAX).coverage);
    }
    let missing = coverage.missing(ANSWERS);
    assert!(missing.is_empty(), "never had {missing:?}");
}

#[test]
fn a_short_memory_of_ids_forgets_as_the_core_does() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    for ids in [1, 2, 7, 40] {
        let library: &'static Library = Box::leak(Box::new(Library::new(ids)));
        for seed in 1_000..1_004 {
            compare(&mut connection, library, seed, ids);
        }
    }
}

fn connect(url: &str) -> Connection {
    let client = redis::Client::open(url).expect("the address is right");
    client.get_connection().expect("Redis answers")
}

fn send(connection: &mut Connection, cmds: &[Cmd]) -> Vec<Value> {
    let mut packed = Vec::new();
    cmds.iter().for_each(|cmd| packed.extend_from_slice(&cmd.get_packed_command()));
    connection.req_packed_commands(&packed, 0, cmds.len()).expect("Redis answers")
}

fn one(connection: &mut Connection, cmd: &Cmd) -> Value {
    send(connection, std::slice::from_ref(cmd)).pop().expect("one answer")
}

/// Runs the history of a seed on both and compares.
fn compare(connection: &mut Connection, library: &'static Library, seed: u64, ids: usize) {
    let loaded = redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(&library.text).to_owned();
    let loaded = one(connection, &loaded);
    assert!(matches!(loaded, Value::BulkString(_)), "{loaded:?}");
    let history = History::of(seed, COMMANDS, ids);
    let state = format!("{{{seed}-{ids}}}state");
    let begun = one(connection, &begin(library, &state, 7, (SHARD, SHARDS), KEY, "run-1", Time(0)));
    assert!(matches!(begun, Value::Array(_)), "{begun:?}");
    let mut caller = Caller::new(library, state.clone(), Codes { shard: SHARD, key: KEY });
    let mut terms = Terms { fence: 1, not_after: END, now: None };
    let mut cmds = Vec::new();
    for step in &history.steps {
        cmds.push(match step {
            Step::Command(command, now, _) => {
                caller.command(&Terms { now: Some(*now), ..terms }, command)
            }
            Step::Generation(at) => {
                terms.fence += 1;
                join(library, &state, &format!("run-{}", terms.fence), false, Some(*at))
            }
        });
    }
    let mut said = Vec::new();
    let (taken_after, mut taken) = (seed as usize % cmds.len().div_ceil(CALLS), None);
    for (number, cmds) in cmds.chunks(CALLS).enumerate() {
        said.extend(send(connection, cmds));
        if number == taken_after {
            taken = Some(snapshot::of(connection, library, &state));
        }
    }
    for (number, (step, said)) in history.steps.iter().zip(said).enumerate() {
        let Step::Command(command, now, expected) = step else { continue };
        let about = About::Command(command);
        let told = caller.read(said.clone(), &about).unwrap_or_else(|error| {
            panic!("ONSALE_SEED={seed}, step {number}, {command:?}: {error}: {said:?}")
        });
        let told = answer(told);
        assert_eq!(
            told, *expected,
            "ONSALE_SEED={seed}, step {number}, at {}: {command:?}\nleft: Redis, right: the core",
            now.0
        );
    }
    same_records(connection, &history, seed, ids);
    same_views(connection, &caller, &history, &terms, seed);
    let of_redis = image::of_redis(connection, &state, history.sale.time());
    image::compare(&of_redis, &image::of_core(&history.sale), seed);
    made_again(connection, library, &state);
    let again = image::of_redis(connection, &state, history.sale.time());
    image::compare(&again, &of_redis, seed);
    let taken = taken.expect("it was taken after one of them");
    snapshot::compare(connection, library, &state, &taken, seed);
    let again = image::of_redis(connection, &state, history.sale.time());
    image::compare(&again, &of_redis, seed);
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS")
        .arg(format!("{{{seed}-{ids}}}*"))
        .query(connection)
        .expect("the keys of the history");
    let _ = one(connection, redis::cmd("UNLINK").arg(keys));
}

/// Makes the state again from the stream.
fn made_again(connection: &mut Connection, library: &Library, state: &str) {
    carried_out(connection, library, state, true);
}

/// Carries the records that the state does not have out, after it was thrown away (`from_all`) or as it is.
fn carried_out(connection: &mut Connection, library: &Library, state: &str, from_all: bool) {
    for number in 0.. {
        let said = one(connection, &rebuild(library, state, from_all && number == 0, 300));
        let Value::Array(said) = said else { panic!("{said:?}") };
        assert_eq!(said[0], Value::Int(1), "{said:?}");
        if said[1] == said[2] {
            return;
        }
    }
}

fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Done { event, .. } => Answer::Done(event),
        Reply::Repeated { of, .. } => Answer::Repeated(of),
        Reply::Unchanged { .. } => Answer::Unchanged,
        Reply::Refused { refusal, .. } => Answer::Refused(refusal),
        Reply::View { .. } | Reply::Trouble(_) => panic!("a command led to {reply:?}"),
    }
}

/// The stream has the history's events, in their order.
fn same_records(connection: &mut Connection, history: &History, seed: u64, ids: usize) {
    let mut range = redis::cmd("XRANGE");
    range.arg(format!("{{{seed}-{ids}}}sales")).arg("-").arg("+");
    let entries: Vec<(String, Vec<Vec<u8>>)> = range.query(connection).expect("a stream");
    assert_eq!(entries.len(), history.events.len(), "ONSALE_SEED={seed}: number of records");
    let codes = Codes { shard: SHARD, key: KEY };
    for (position, ((id, fields), expected)) in (1..).zip(entries.iter().zip(&history.events)) {
        let event = onsale_redis::decode(&fields[1], &codes).expect("a record");
        assert_eq!(event, *expected, "ONSALE_SEED={seed}, position {position}");
        assert!(id.ends_with(&format!("-{position}")), "{id} is not of position {position}");
    }
}

/// Everything that can be looked at looks the same.
fn same_views(
    connection: &mut Connection,
    caller: &Caller,
    history: &History,
    terms: &Terms,
    seed: u64,
) {
    let now = history.sale.time();
    let terms = Terms { now: Some(now), ..*terms };
    for (subject, looks) in history.looks() {
        for look in looks {
            let said = one(connection, &caller.look(&terms, &subject, look));
            let reply = caller.read(said, &About::Look(&subject, look)).expect("a view");
            let seen = match reply {
                Reply::View { view, .. } => Ok(*view),
                Reply::Refused { refusal, .. } => Err(refusal),
                other => panic!("a look led to {other:?}"),
            };
            let (organizer, event) = (&subject.organizer, &subject.event);
            let expected = match look {
                Look::Event => {
                    Ok(View::Event(history.sale.event(organizer, event).expect("it is there")))
                }
                Look::Availability => Ok(View::Availability(
                    history.sale.availability(organizer, event).expect("it is there"),
                )),
                Look::Hold(hold) => history.sale.hold(organizer, event, hold, now).map(View::Hold),
                Look::Order(order) => {
                    let order = history.sale.order(organizer, event, order);
                    Ok(View::Order(order.expect("all orders are kept in full")))
                }
            };
            let (seen, expected) = (format!("{seen:?}"), format!("{expected:?}"));
            assert_eq!(seen, expected, "ONSALE_SEED={seed}: {subject:?} {look:?}");
        }
    }
}

#[test]
fn a_call_that_was_cut_off_is_repaired_by_the_next() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    let load = redis::cmd("FUNCTION").arg("LOAD").arg(&LIBRARY.text).to_owned();
    let _ = one(&mut connection, &load);
    for seed in 2_000..2_000 + CUT {
        let cuts = cut::run(&mut connection, seed);
        assert!(cuts > 50, "only {cuts} calls were cut off");
    }
}

#[test]
fn a_call_that_fails_at_whichever_write_is_repaired_by_the_next() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    let mut cuts = [0; 16];
    for (ids, seeds) in [(COMMANDS_REMEMBERED_MAX, CUT), (7, 2), (40, 2)] {
        let library: &'static Library = Box::leak(Box::new(cut::planted(ids)));
        let load = redis::cmd("FUNCTION").arg("LOAD").arg(&library.text).to_owned();
        assert!(matches!(one(&mut connection, &load), Value::BulkString(_)));
        for seed in 3_000..3_000 + seeds {
            let more = cut::run_at_writes(&mut connection, library, seed, ids);
            cuts.iter_mut().zip(more).for_each(|(all, more)| *all += more);
        }
    }
    // Each before its first write, between any two, and before its last.
    assert!(cuts[..10].iter().all(|n| *n > 10), "calls were cut off after {cuts:?} writes");
}

#[test]
fn a_lost_key_is_an_error_and_no_empty_sale() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    let history = History::of(3, COMMANDS, COMMANDS_REMEMBERED_MAX);
    let load = redis::cmd("FUNCTION").arg("LOAD").arg(&LIBRARY.text).to_owned();
    let _ = one(&mut connection, &load);
    let codes = Codes { shard: SHARD, key: KEY };
    for lost in ["state", "holds", "ids", "orders", "payments", "customers", "defs", "sales"] {
        let _ = one(&mut connection, &redis::cmd("FLUSHALL").to_owned());
        let state = "{lost}state".to_owned();
        let log = begin(&LIBRARY, &state, 7, (SHARD, SHARDS), KEY, "run-1", Time(0));
        let _ = one(&mut connection, &log);
        let mut caller = Caller::new(&LIBRARY, state, codes);
        let terms = Terms { fence: 1, not_after: END, now: None };
        let mut call = |connection: &mut Connection, step: &Step| {
            let Step::Command(command, now, _) = step else { return Ok(()) };
            let terms = Terms { now: Some(*now), ..terms };
            let said = one(connection, &caller.command(&terms, command));
            match said {
                Value::ServerError(error) => {
                    let text = format!("{error:?}");
                    assert!(text.contains("ONSALE_MISSING"), "{lost}: {text}");
                    Err(text)
                }
                said => match caller.read(said, &About::Command(command)).expect("a reply") {
                    Reply::Trouble(trouble) => Err(trouble.to_string()),
                    _ => Ok(()),
                },
            }
        };
        for step in &history.steps[..1_000] {
            call(&mut connection, step).expect("all is there");
        }
        let key = format!("{{lost}}{lost}");
        let _ = one(&mut connection, redis::cmd("DEL").arg(&key));
        // Sooner or later a command needs it.
        let failed =
            history.steps[1_000..].iter().find_map(|step| call(&mut connection, step).err());
        assert!(failed.is_some(), "nobody missed {lost}");
        let exists: u8 = redis::cmd("EXISTS").arg(&key).query(&mut connection).expect("a count");
        assert_eq!(exists, 0, "{lost} was made anew");
    }
}
