//! A state that was made again from a snapshot and the records after it is, to the last byte, one that was made from all records.

use std::collections::BTreeMap;

use onsale_core::Time;
use onsale_core::limits::COMMANDS_REMEMBERED_MAX;
use onsale_redis::snapshot::{ENTRIES_MAX, Snapshot, take};
use onsale_redis::{Caller, Codes, LIBRARY, Library, Terms, Trouble, begin, join};
use onsale_sim::side_by_side::{KEY, SHARD, SHARDS};
use redis::{Connection, Value};

use super::history::{History, Step};
use super::{END, carried_out, connect, made_again, one, send};

/// All keys of a shard but the stream, with what they have; that of hashes and sets in an order of its own.
type Contents = BTreeMap<String, Vec<Vec<u8>>>;

/// A snapshot of the state as it is.
pub fn of(connection: &mut Connection, library: &Library, state: &str) -> Snapshot {
    let said = one(connection, &take(library, state, ENTRIES_MAX));
    let snapshot = Snapshot::read(said).expect("a snapshot").expect("a state that is whole");
    Snapshot::of_bytes(&snapshot.to_bytes()).expect("the same")
}

/// Makes the state again, from all records and from a snapshot, and compares the two.
pub fn compare(
    connection: &mut Connection,
    library: &Library,
    state: &str,
    snapshot: &Snapshot,
    seed: u64,
) {
    made_again(connection, library, state);
    let from_all = contents(connection, state);
    // Every other key is lost.
    for key in from_all.keys().skip(seed as usize % 2).step_by(2) {
        let _ = one(connection, redis::cmd("DEL").arg(key));
    }
    let (restore, adopt) = snapshot.adopt(library, state);
    for said in send(connection, &restore) {
        assert_eq!(said, Value::Okay, "ONSALE_SEED={seed}");
    }
    let adopted = one(connection, &adopt);
    let Value::Array(said) = &adopted else { panic!("ONSALE_SEED={seed}: {adopted:?}") };
    assert_eq!(said[..2], [Value::Int(1), Value::Int(snapshot.position as i64)], "{adopted:?}");
    carried_out(connection, library, state, false);
    let from_snapshot = contents(connection, state);
    for (key, all) in &from_all {
        let what = format!("ONSALE_SEED={seed}: {key}, from position {}", snapshot.position);
        assert_eq!(from_snapshot.get(key), Some(all), "{what}; left: from it, right: from all");
    }
    assert_eq!(from_snapshot.len(), from_all.len(), "ONSALE_SEED={seed}: {from_snapshot:?}");
}

fn contents(connection: &mut Connection, state: &str) -> Contents {
    let tag = state.strip_suffix("state").expect("the key of a state");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{tag}*")).query(connection).expect("keys");
    let mut found = Contents::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(connection).expect("a type");
        let mut whole = match kind.as_str() {
            "hash" => redis::cmd("HGETALL"),
            "list" => redis::cmd("LRANGE").arg(&key).arg(0).arg(-1).to_owned(),
            "zset" => redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).arg("WITHSCORES").to_owned(),
            _ => continue,
        };
        if kind == "hash" {
            whole.arg(&key);
        }
        let mut values: Vec<Vec<u8>> = whole.query(connection).expect("what it has");
        if kind == "hash" {
            let mut fields: Vec<Vec<u8>> =
                values.chunks(2).map(|field| [&field[0][..], b" = ", &field[1]].concat()).collect();
            fields.sort();
            values = fields;
        }
        found.insert(key, values);
    }
    found
}

/// Begins a log and sells from it a little.
fn sell(connection: &mut Connection, seed: u64, state: &str) {
    let load = redis::cmd("FUNCTION").arg("LOAD").arg("REPLACE").arg(&LIBRARY.text).to_owned();
    let _ = one(connection, &load);
    let log = begin(&LIBRARY, state, 7, (SHARD, SHARDS), KEY, "run-1", Time(0));
    let _ = one(connection, &log);
    let mut caller = Caller::new(&LIBRARY, state.to_owned(), Codes { shard: SHARD, key: KEY });
    for step in &History::of(seed, 300, COMMANDS_REMEMBERED_MAX).steps {
        let Step::Command(command, now, _) = step else { continue };
        let terms = Terms { fence: 1, not_after: END, now: Some(*now) };
        let _ = one(connection, &caller.command(&terms, command));
    }
}

#[test]
fn fences_that_no_record_has_yet_are_left_out() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    let state = "{5}state";
    sell(&mut connection, 5, state);
    // A server that keeps all is started again, twice: the fence grows, and nothing is recorded.
    for run in ["run-1", "run-2", "run-3"] {
        let _ = one(&mut connection, &join(&LIBRARY, state, run, true, Some(END)));
    }
    let fence: u8 = redis::cmd("HGET").arg(state).arg("f").query(&mut connection).expect("a fence");
    assert_eq!(fence, 3);
    let snapshot = of(&mut connection, &LIBRARY, state);
    compare(&mut connection, &LIBRARY, state, &snapshot, 5);
}

/// Neither touches anything.
#[test]
fn a_snapshot_of_another_history_or_a_later_position_is_refused() {
    let redis = onsale_services::redis();
    let mut connection = connect(redis.url());
    let mut sold = Vec::new();
    for (seed, state) in [(5, "{5}state"), (6, "{6}state")] {
        sell(&mut connection, seed, state);
        sold.push((of(&mut connection, &LIBRARY, state), state));
    }
    sold.sort_by_key(|(snapshot, _)| snapshot.position);
    let [(short, short_state), (long, long_state)] = &sold[..] else { unreachable!("two") };
    assert!(short.position < long.position, "the histories are as long as each other");
    let rows = [
        // The record there is another one.
        (short, long_state, None),
        // The stream ends before it.
        (long, short_state, Some(short.position)),
    ];
    for (snapshot, state, ends_at) in rows {
        let before = contents(&mut connection, state);
        let (restore, adopt) = snapshot.adopt(&LIBRARY, state);
        send(&mut connection, &restore);
        let said = one(&mut connection, &adopt);
        let told = Snapshot::read(said).expect("a trouble").expect_err("a trouble");
        let (stream, position) = (state.replace("state", "sales"), snapshot.position);
        let expected = match ends_at {
            Some(ends) => Trouble::Lost { stream, ends, state: position },
            None => Trouble::Other { stream, position },
        };
        assert_eq!(told, expected);
        let after = contents(&mut connection, state);
        let same = before.iter().all(|(key, has)| after.get(key) == Some(has));
        assert!(same, "{told:?}: the state is another one");
    }
}
