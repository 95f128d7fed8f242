//! `onsale journal snapshot` and `rebuild`: a state that is lost is made again, from all records or from a snapshot and what
//! came after it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onsale_services::Server;
use serde_json::json;

use super::{Node, ask, audit, body_of, wait_for};

/// All keys of a state, but for those of single events.
const STATE: [&str; 8] =
    ["state", "defs", "holds", "customers", "orders", "payments", "ids", "idlist"];

fn journal(command: &str, redis: &Server, arguments: &[&str]) -> Output {
    let mut onsale = Command::new(env!("CARGO_BIN_EXE_onsale"));
    onsale.args(["journal", command, "--store", redis.url()]).args(arguments).output().unwrap()
}

/// Runs it, and expects it to end well; gives what it said, and what it complained of.
fn done(command: &str, redis: &Server, arguments: &[&str]) -> (String, String) {
    let output = journal(command, redis, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{command} {arguments:?}: {said} {told}");
    (said, told)
}

/// Runs it, and expects it to fail; gives what it complained of.
fn failed(command: &str, redis: &Server, arguments: &[&str]) -> String {
    let output = journal(command, redis, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{command} {arguments:?}: {told}");
    told
}

fn snapshots(redis: &Server, folder: &Path) -> (String, String) {
    done("snapshot", redis, &["--to", folder.to_str().unwrap()])
}

/// The files of a folder, the one of the lowest position first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort_by_key(|file| (position_of(file), file.clone()));
    files
}

fn position_of(file: &Path) -> u64 {
    let name = file.file_stem().unwrap().to_str().unwrap();
    name.rsplit('-').next().unwrap().parse().unwrap()
}

/// Position of the shard's last record.
fn position(redis: &Server) -> u64 {
    ask(redis, &["HGET", "{onsale/0}state", "p"])[0].parse().unwrap()
}

fn lose_state(redis: &Server) {
    for key in STATE {
        ask(redis, &["DEL", &format!("{{onsale/0}}{key}")]);
    }
    ask(redis, &["DEL", "{onsale}events"]);
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(file, bytes).unwrap();
}

/// Sells a ticket, and lets one more be held.
fn sell(node: &Node, name: &str) {
    let hold = body_of(&node.hold(&format!("{name}-1"), name));
    let claim = json!({ "customer": name, "hold": hold["id"] });
    node.expect(201, "POST", "/orders", &claim);
    assert_eq!(node.hold(&format!("{name}-2"), name).status, 201);
}

#[test]
fn a_lost_state_is_made_again_from_the_newest_snapshot_that_is_whole() {
    let redis = onsale_services::redis();
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let from = ["--snapshots", kept.to_str().unwrap()];
    let mut node = Node::start_at(redis.url(), "1", &[]);
    node.open_event(20);
    // While the server sells; the two newest are kept.
    for name in ["anna", "berta", "carl"] {
        sell(&node, name);
        snapshots(&redis, &kept);
    }
    let held = body_of(&node.hold("dora", "dora"));
    node.process.kill();
    let last = position(&redis);
    let there = files(&kept);
    let [older, newest] = &there[..] else { panic!("{there:?}") };
    assert!(position_of(older) < position_of(newest) && position_of(newest) < last);
    let after = |file: Option<&PathBuf>| match file {
        Some(file) => {
            format!("made again from 1 snapshots and {} records\n", last - position_of(file))
        }
        None => format!("made again from {last} records\n"),
    };

    lose_state(&redis);
    assert_eq!(done("rebuild", &redis, &from), (after(Some(newest)), String::new()));
    damage(newest);
    lose_state(&redis);
    let (said, told) = done("rebuild", &redis, &from);
    assert_eq!(said, after(Some(older)));
    assert!(told.contains(newest.to_str().unwrap()) && told.contains("checksum"), "{told}");
    damage(older);
    lose_state(&redis);
    let (said, told) = done("rebuild", &redis, &from);
    assert_eq!((said, told.lines().count()), (after(None), 2), "{told}");
    assert_eq!(ask(&redis, &["KEYS", "*restored*"]), Vec::<String>::new());

    node.start_again(&redis);
    let again = body_of(&node.hold("dora", "dora"));
    assert_eq!(again["id"], held["id"], "the same key is the same hold");
    let left = node.expect(200, "GET", "/availability", &json!(null));
    let of = (&left["quotas"][0]["held"], &left["quotas"][0]["sold"]);
    assert_eq!(of, (&json!(4), &json!(3)), "{left}");
    sell(&node, "emil");
    audit(&redis);
    // From here on, damaged ones are those of lower positions.
    snapshots(&redis, &kept);
    assert_eq!(files(&kept).first(), Some(newest));
}

#[test]
fn a_snapshot_that_is_not_the_streams_is_refused_and_says_the_way_out() {
    let (redis, other) = (onsale_services::redis(), onsale_services::redis());
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().to_str().unwrap();
    let mut node = Node::start_at(redis.url(), "1", &[]);
    node.open_event(20);
    let missing = failed("rebuild", &redis, &["--snapshots", &format!("{kept}/none")]);
    assert!(missing.contains("cannot read"), "{missing}");
    sell(&node, "anna");
    // As if Redis had lost what comes from here on.
    ask(&redis, &["COPY", "{onsale/0}sales", "{onsale/0}early"]);
    let early = position(&redis);
    sell(&node, "berta");
    snapshots(&redis, folder.path());
    let late = position(&redis);

    // Of another log.
    let elsewhere = Node::start_at(other.url(), "1", &[]);
    elsewhere.open_event(20);
    drop(elsewhere);
    let told = failed("rebuild", &other, &["--snapshots", kept]);
    assert!(told.contains("but of others") && told.contains("leave --snapshots out"), "{told}");

    // Later than the stream.
    node.process.kill();
    ask(&redis, &["RENAME", "{onsale/0}early", "{onsale/0}sales"]);
    done("rebuild", &redis, &[]);
    let told = failed("rebuild", &redis, &["--snapshots", kept]);
    let why = format!("it is at position {late}, but {{onsale/0}}sales ends at {early}");
    assert!(told.contains(&why) && told.contains("leave --snapshots out"), "{told}");
    let told = failed("snapshot", &redis, &["--to", kept]);
    assert!(told.contains("is of a later position than the log is at"), "{told}");

    // Other records have come in the place of those that are lost.
    node.start_again(&redis);
    for name in ["carl", "dora", "emil"] {
        sell(&node, name);
    }
    node.process.kill();
    assert!(position(&redis) > late);
    let told = failed("rebuild", &redis, &["--snapshots", kept]);
    assert!(told.contains("another record at its position"), "{told}");
    assert_eq!(ask(&redis, &["KEYS", "*restored*"]), Vec::<String>::new());
    // What is refused changes nothing.
    node.start_again(&redis);
    sell(&node, "frida");
    audit(&redis);
    std::fs::remove_file(&files(folder.path())[0]).unwrap();
    snapshots(&redis, folder.path());
    assert_eq!(files(folder.path()).len(), 1);
}

/// Makes an event in each of two shards.
fn open_in_both_shards(node: &Node, name: &str) {
    let definition = json!({ "name": "E", "currency": "EUR",
        "quotas": [{ "id": "q", "capacity": 5 }],
        "ticket_types": [{ "id": "t", "name": "T", "price": 0, "quotas": ["q"] }] });
    let mut shards = BTreeSet::new();
    for event in 0..32 {
        let path = format!("/v1/organizers/o/events/{name}-{event}");
        let body = definition.to_string();
        let made = node.client.request("PUT", &path, &[("if-none-match", "*")], Some(&body));
        let made = made.unwrap();
        assert_eq!(made.status, 201, "{:?}", body_of(&made));
        shards.insert(body_of(&made)["receipt"]["shard"].as_u64().unwrap());
        if shards.len() == 2 {
            return;
        }
    }
    panic!("32 events are all on {shards:?}");
}

#[test]
fn snapshots_of_all_shards_are_written_or_none_and_a_shard_without_one_is_read_whole() {
    let redis = onsale_services::redis();
    let mut node = Node::start(&redis);
    open_in_both_shards(&node, "early");
    let folder = tempfile::tempdir().unwrap();
    let (kept, above) = (folder.path().join("new/kept"), folder.path().join("new"));
    let to = ["--to", kept.to_str().unwrap()];
    let from = ["--snapshots", kept.to_str().unwrap()];

    // One key of the second shard is gone: which one is said, and nothing of the first one is left.
    ask(&redis, &["RENAME", "{onsale/1}customers", "{onsale/1}aside"]);
    let told = failed("snapshot", &redis, &to);
    assert!(told.contains("{onsale/1}customers is missing"), "{told}");
    assert!(!above.exists(), "a folder was made and left");
    wait_for("a server that says which", || {
        let ready = node.client.request("GET", "/readyz", &[], None).unwrap();
        ready.status == 503
            && body_of(&ready).to_string().contains("{onsale/1}customers is missing")
    });
    ask(&redis, &["RENAME", "{onsale/1}aside", "{onsale/1}customers"]);
    snapshots(&redis, &kept);
    let there = files(&kept);
    assert_eq!(there.len(), 2, "{there:?}");

    // What is there stays, whatever fails.
    open_in_both_shards(&node, "late");
    ask(&redis, &["RENAME", "{onsale/1}customers", "{onsale/1}aside"]);
    failed("snapshot", &redis, &to);
    assert_eq!(files(&kept), there);
    ask(&redis, &["RENAME", "{onsale/1}aside", "{onsale/1}customers"]);

    // A shard has no file.
    node.process.kill();
    let of_second = |file: &&PathBuf| file.to_str().unwrap().contains("-1-");
    std::fs::remove_file(there.iter().find(of_second).unwrap()).unwrap();
    let (said, told) = done("rebuild", &redis, &from);
    assert!(said.contains("made again from 1 snapshots"), "{said}");
    assert!(told.contains("shard 1: ") && told.contains("has no snapshot of it"), "{told}");
    node.start_again(&redis);
    audit(&redis);
}
