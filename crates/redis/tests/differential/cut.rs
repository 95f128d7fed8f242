//! Histories in which calls are cut off between their writes: what such a call has written to the stream is carried out by the
//! next. They end at whichever write; and whichever of their writes but those to the stream are undone.

use onsale_core::Time;
use onsale_core::limits::COMMANDS_REMEMBERED_MAX;
use onsale_redis::{About, Caller, Codes, LIBRARY, Library, Terms, begin, decode, join};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{KEY, SHARD, SHARDS};
use redis::{Connection, Value};

use super::history::{Answer, History, Step};
use super::{COMMANDS, END, answer, image, one, same_records, send};

/// All keys that a call changes, but for the stream.
const KEYS: [&str; 14] = [
    "state",
    "defs",
    "holds",
    "ended",
    "due0",
    "due1",
    "due2",
    "customers",
    "orders",
    "payments",
    "unpaid",
    "ids",
    "idlist",
    "due3",
];

/// Runs the history of a seed, and compares; gives how many calls were cut off.
pub fn run(connection: &mut Connection, seed: u64) -> usize {
    let history = History::of(seed, COMMANDS, COMMANDS_REMEMBERED_MAX);
    let tag = format!("{{{seed}-{COMMANDS_REMEMBERED_MAX}}}");
    let state = format!("{tag}state");
    let _ = one(connection, &begin(&LIBRARY, &state, 7, (SHARD, SHARDS), KEY, "run-1", Time(0)));
    let mut caller = Caller::new(&LIBRARY, state.clone(), Codes { shard: SHARD, key: KEY });
    let mut terms = Terms { fence: 1, not_after: END, now: None };
    let (mut rng, mut cuts) = (Rng::new(seed), 0);
    for (number, step) in history.steps.iter().enumerate() {
        let Step::Command(command, now, expected) = step else {
            let Step::Generation(at) = step else { unreachable!("there are two kinds") };
            terms.fence += 1;
            let join = join(&LIBRARY, &state, &format!("run-{}", terms.fence), false, Some(*at));
            let _ = one(connection, &join);
            continue;
        };
        let call = caller.command(&Terms { now: Some(*now), ..terms }, command);
        let cut = matches!(expected, Answer::Done(_)) && rng.once_in(8);
        let copy = |key: &str, from: &str, to: &str| {
            let (from, to) = (format!("{tag}{key}{from}"), format!("{tag}{key}{to}"));
            [
                redis::cmd("DEL").arg(&to).to_owned(),
                redis::cmd("COPY").arg(&from).arg(&to).to_owned(),
            ]
        };
        if cut {
            let keep: Vec<_> = KEYS.iter().flat_map(|key| copy(key, "", ".before")).collect();
            send(connection, &keep);
        }
        let said = one(connection, &call);
        let told = caller.read(said, &About::Command(command)).expect("a reply");
        let what = format!("seed {seed}, step {number}, {cuts} cuts, {command:?}");
        assert_eq!(answer(told), *expected, "{what}");
        if cut {
            cuts += 1;
            // The state itself is written last. Any of the others may be missing.
            let back = KEYS.iter().filter(|key| **key == "state" || rng.percent(50));
            let back: Vec<_> = back.flat_map(|key| copy(key, ".before", "")).collect();
            send(connection, &back);
            let gone =
                KEYS.map(|key| redis::cmd("DEL").arg(format!("{tag}{key}.before")).to_owned());
            send(connection, &gone);
        }
    }
    // A last one may have been cut off.
    let mend = caller.plain("mend", &terms, "");
    let _ = one(connection, &mend);
    same_records(connection, &history, seed, COMMANDS_REMEMBERED_MAX);
    let of_redis = image::of_redis(connection, &state, history.sale.time());
    image::compare(&of_redis, &image::of_core(&history.sale), seed);
    let _ = one(connection, &redis::cmd("FLUSHDB").to_owned());
    cuts
}

/// How many writes a call may make before it is cut off, at most; most make fewer than ten.
const WRITES_MAX: usize = 16;
/// What functions ask Redis for, but for a count: the write after so many fails.
const PLANTED: &str = "
local function planted(keys)
  local left = tonumber(redis.call('GET', keys[1] .. '-cut') or 1000000)
  local writes = { XADD = 1, HSET = 1, HDEL = 1, RPUSH = 1, LPOP = 1, ZADD = 1, ZREM = 1, DEL = 1 }
  return function(name, ...)
    if writes[name] then
      left = left - 1
      if left < 0 then
        error({ err = 'ERR PLANTED' })
      end
    end
    return redis.call(name, ...)
  end
end

local function register(";

/// The library, as one whose calls can be cut off.
pub fn planted(ids: usize) -> Library {
    let Library { name, text } = Library::new(ids);
    let text = text.replace("local function register(", PLANTED);
    let text = text.replace("fmt = redis.call, ", "fmt = planted(keys), ");
    assert!(text.contains("planted(keys),"), "the library has another form");
    Library { name, text }
}

/// Runs the history of a seed with calls that fail at whichever of their writes, and compares; gives how many did, by the writes
/// that they had made. The library is a planted one that remembers so many ids.
pub fn run_at_writes(
    connection: &mut Connection,
    library: &'static Library,
    seed: u64,
    ids: usize,
) -> [usize; WRITES_MAX] {
    let history = History::of(seed, COMMANDS, ids);
    let tag = format!("{{{seed}-{ids}}}");
    let (state, stream, plan) =
        (format!("{tag}state"), format!("{tag}sales"), format!("{tag}state-cut"));
    let _ = one(connection, &begin(library, &state, 7, (SHARD, SHARDS), KEY, "run-1", Time(0)));
    let codes = Codes { shard: SHARD, key: KEY };
    let mut caller = Caller::new(library, state.clone(), codes);
    let mut terms = Terms { fence: 1, not_after: END, now: None };
    let (mut rng, mut cuts) = (Rng::new(seed), [0; WRITES_MAX]);
    for (number, step) in history.steps.iter().enumerate() {
        let Step::Command(command, now, expected) = step else {
            let Step::Generation(at) = step else { unreachable!("there are two kinds") };
            terms.fence += 1;
            let join = join(library, &state, &format!("run-{}", terms.fence), false, Some(*at));
            let _ = one(connection, &join);
            continue;
        };
        let call = caller.command(&Terms { now: Some(*now), ..terms }, command);
        let what = format!("seed {seed}, step {number}, {cuts:?}, {command:?}");
        if let Answer::Done(event) = expected
            && rng.once_in(3)
        {
            let writes = rng.below(WRITES_MAX);
            let set = redis::cmd("SET").arg(&plan).arg(writes).to_owned();
            let del = redis::cmd("DEL").arg(&plan).to_owned();
            let said = send(connection, &[set, call.clone(), del]).swap_remove(1);
            if let Value::ServerError(error) = &said {
                let error = format!("{error:?}");
                assert!(error.contains("PLANTED"), "{what}: {error}");
                cuts[writes] += 1;
                let mut last = redis::cmd("XREVRANGE");
                last.arg(&stream).arg("+").arg("-").arg("COUNT").arg(1);
                let last = last_event(one(connection, &last), &codes);
                if last == **event {
                    // The next call carries it out.
                    continue;
                }
            } else {
                let told = caller.read(said, &About::Command(command)).expect("a reply");
                assert_eq!(answer(told), *expected, "{what}");
                continue;
            }
        }
        let told = caller.read(one(connection, &call), &About::Command(command)).expect("a reply");
        assert_eq!(answer(told), *expected, "{what}");
    }
    let mend = caller.plain("mend", &terms, "");
    let _ = one(connection, &mend);
    same_records(connection, &history, seed, ids);
    let of_redis = image::of_redis(connection, &state, history.sale.time());
    image::compare(&of_redis, &image::of_core(&history.sale), seed);
    let _ = one(connection, &redis::cmd("FLUSHDB").to_owned());
    cuts
}

fn last_event(said: Value, codes: &Codes) -> onsale_core::Event {
    let entries: Vec<(String, Vec<Vec<u8>>)> = redis::from_redis_value(said).expect("entries");
    decode(&entries[0].1[1], codes).expect("a record")
}
