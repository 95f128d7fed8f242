//! Histories in which calls are cut off between their writes: what such a call has written to the stream is carried out by the
//! next, whichever of its other writes are there.

use onsale_core::Time;
use onsale_core::limits::COMMANDS_REMEMBERED_MAX;
use onsale_redis::{About, Caller, Codes, LIBRARY, Terms, begin, join};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{KEY, SHARD, SHARDS};
use redis::Connection;

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
