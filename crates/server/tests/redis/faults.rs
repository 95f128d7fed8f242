//! A Redis that hangs, is busy, is full, forgets its functions, loses a key, cuts a function off, or is another one.

use std::time::{Duration, Instant};

use onsale_redis::LIBRARY;
use onsale_services::ask_redis;
use serde_json::json;

use super::{Node, ask, audit, body_of, wait_for};

/// A request has its answer within this time, whatever Redis does. It may take 300 ms in the tests that look at this; the
/// rest is for a busy machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_hanging_redis_leaves_the_outcome_open_and_the_same_key_settles_it() {
    let redis = onsale_services::redis();
    let node = Node::start_with(&redis, &[("ONSALE_STORE_TIMEOUT_MS", "300")]);
    node.open_event(10);
    redis.pause();
    let begin = Instant::now();
    let hung = node.hold("the-key", "anna");
    assert_eq!(hung.status, 503);
    let kind = body_of(&hung)["type"].clone();
    assert_eq!(kind, "/problems/outcome-unknown", "{kind}");
    // Whoever comes later is told that nothing was sent, looks included.
    let later = node.hold("another-key", "berta");
    assert_eq!(body_of(&later)["type"], "/problems/store-unreachable");
    let look = node.send("GET", "/availability", &[], &json!(null));
    assert_eq!(body_of(&look)["type"], "/problems/store-unreachable");
    wait_for("a server that is not ready", || !is_ready(&node));
    assert!(begin.elapsed() < 3 * ANSWER_MAX, "{:?}", begin.elapsed());
    redis.resume();
    let mut settled = node.hold("the-key", "anna");
    wait_for("an answer", || {
        if settled.status == 503 {
            settled = node.hold("the-key", "anna");
        }
        settled.status != 503
    });
    assert_eq!(settled.status, 201, "{:?}", body_of(&settled));
    // The one that hung came too late to be carried out: there is one hold.
    let left = node.expect(200, "GET", "/availability", &json!(null));
    assert_eq!(left["quotas"][0]["held"], 1, "{left}");
    assert_eq!(body_of(&node.hold("the-key", "anna"))["id"], body_of(&settled)["id"]);
    audit(&redis);
}

#[test]
fn functions_that_were_lost_are_loaded_again() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    for round in 0..3 {
        ask(&redis, &["FUNCTION", "FLUSH"]);
        let hold = node.hold(&format!("key-{round}"), "anna");
        assert_eq!(hold.status, 201, "{:?}", body_of(&hold));
    }
}

fn is_ready(node: &Node) -> bool {
    node.client.request("GET", "/readyz", &[], None).is_ok_and(|ready| ready.status == 200)
}

#[test]
fn a_redis_that_is_busy_is_told_from_one_that_hangs() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    ask(&redis, &["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let port = redis.port();
    let endless = std::thread::spawn(move || ask_redis(port, &["EVAL", "while true do end", "0"]));
    let is_busy =
        || ask_redis(port, &["PING"]).is_err_and(|error| error.to_string().contains("BUSY"));
    wait_for("a busy Redis", is_busy);
    for customer in ["anna", "berta"] {
        let refused = node.hold("the-key", customer);
        let kind = body_of(&refused)["type"].clone();
        assert_eq!((refused.status, kind), (503, json!("/problems/store-unreachable")));
    }
    wait_for("a server that is not ready", || !is_ready(&node));
    // What follows it is refused until the script is gone.
    let _ = ask_redis(port, &["SCRIPT", "KILL"]);
    assert!(endless.join().unwrap().is_err(), "the script was killed");
    wait_for("a server that is ready", || is_ready(&node));
    let left = node.expect(200, "GET", "/availability", &json!(null));
    assert_eq!(left["quotas"][0]["held"], 0, "{left}");
    assert_eq!(node.hold("the-key", "anna").status, 201);
}

#[test]
fn a_function_that_was_cut_off_is_repaired_by_the_next_call() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    // The same library, but a function ends once it has written to the stream.
    let before = "local function carry_out(c, r, position)\n";
    let cut = "if redis.call('EXISTS', c.k.state .. '-cut') == 1 then error({ err = 'ERR cut off' }) end\n";
    let planted = LIBRARY.text.replace(before, &format!("{before}{cut}"));
    assert_ne!(planted, LIBRARY.text);
    ask(&redis, &["FUNCTION", "LOAD", "REPLACE", &planted]);
    let shards: [&[&str]; 2] = [&["{onsale/0}state-cut", "{onsale/1}state-cut"], &["1", "1"]];
    for (key, one) in shards[0].iter().zip(shards[1]) {
        ask(&redis, &["SET", key, one]);
    }
    let hung = node.hold("the-key", "anna");
    assert_eq!(
        (hung.status, body_of(&hung)["type"].clone()),
        (503, json!("/problems/outcome-unknown"))
    );
    shards[0].iter().for_each(|key| drop(ask(&redis, &["DEL", key])));
    // Any call, a look included.
    let left = node.expect(200, "GET", "/availability", &json!(null));
    assert_eq!(left["quotas"][0]["held"], 1, "{left}");
    let settled = node.hold("the-key", "anna");
    assert_eq!(settled.status, 201, "{:?}", body_of(&settled));
    let claim = json!({ "customer": "anna", "hold": body_of(&settled)["id"] });
    node.expect(201, "POST", "/orders", &claim);
    let left = node.expect(200, "GET", "/availability", &json!(null));
    assert_eq!((&left["quotas"][0]["held"], &left["quotas"][0]["sold"]), (&json!(0), &json!(1)));
    audit(&redis);
}

#[test]
fn a_full_memory_stops_sales_and_nothing_else() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    let hold = body_of(&node.hold("one", "anna"));
    let other = body_of(&node.hold("two", "berta"));
    let claim = json!({ "customer": "anna", "hold": hold["id"] });
    let order = node.expect(201, "POST", "/orders", &claim);
    let limit = |bytes: &str| ask(&redis, &["CONFIG", "SET", "maxmemory", bytes]);
    limit("1");
    let refused = node.hold("three", "carl");
    let full = (503, json!("/problems/storage-full"));
    assert_eq!((refused.status, body_of(&refused)["type"].clone()), full);
    let claim = json!({ "customer": "berta", "hold": other["id"] });
    let refused = node.send("POST", "/orders", &[], &claim);
    assert_eq!((refused.status, body_of(&refused)["type"].clone()), full);
    node.expect(200, "GET", "/availability", &json!(null));
    // A server that comes now loads nothing, and needs not.
    let late = Node::start(&redis);
    late.knows_event();
    let path = format!("/holds/{}", other["id"].as_str().unwrap());
    let released = late.send("DELETE", &path, &[], &json!(null));
    assert_eq!(released.status, 200, "{:?}", body_of(&released));
    let path = format!("/orders/{}/payments", order["code"].as_str().unwrap());
    let payment = json!({ "reference": "p-1", "amount": 1250, "currency": "EUR" });
    let paid = node.send("POST", &path, &[("idempotency-key", "pay")], &payment);
    assert_eq!(paid.status, 201, "{:?}", body_of(&paid));
    let path = format!("/orders/{}", order["code"].as_str().unwrap());
    let cancelled = node.send("POST", &format!("{path}/cancel"), &[], &json!(null));
    assert_eq!(cancelled.status, 200, "{:?}", body_of(&cancelled));
    // What runs out while it is full is free again, too.
    limit("0");
    assert_eq!(node.define(10, 1, ("if-match", "*")).status, 200);
    assert_eq!(node.hold("four", "dora").status, 201);
    limit("1");
    wait_for("a hold that runs out", || {
        let left = node.expect(200, "GET", "/availability", &json!(null));
        left["quotas"][0]["held"] == 0
    });
    limit("0");
    assert_eq!(node.hold("three", "carl").status, 201);
    let left = node.expect(200, "GET", "/availability", &json!(null));
    assert_eq!((&left["quotas"][0]["held"], &left["quotas"][0]["sold"]), (&json!(1), &json!(0)));
    audit(&redis);
}

#[test]
fn a_lost_state_stops_the_sale_and_no_start_makes_it_anew() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    ask(&redis, &["FLUSHALL"]);
    wait_for("a server that is not ready", || !is_ready(&node));
    let hold = node.hold("key", "anna");
    assert!(matches!(hold.status, 404 | 503), "{:?}", body_of(&hold));
    // Neither does a start with the same folder take the empty Redis for a new one.
    let Node { process, folder, .. } = node;
    drop(process);
    let started = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", "127.0.0.1:0", "--store", redis.url(), "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(started.status.code(), Some(1));
    let said = String::from_utf8_lossy(&started.stderr);
    assert!(said.contains("log is gone"), "{said}");
    assert_eq!(ask(&redis, &["KEYS", "*state"]), Vec::<String>::new());
}

#[test]
fn a_fail_over_raises_the_generation_and_the_sale_goes_on() {
    let mut primary = onsale_services::redis();
    let replica = onsale_services::redis();
    let port = primary.port().to_string();
    ask(&replica, &["REPLICAOF", "127.0.0.1", &port]);
    let both = format!("{},{}", primary.url(), replica.url());
    let start = |environment: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--shards", "1", "--store", both.as_str()];
        let process = super::Process::serve(folder.path(), &arguments, environment);
        let client = onsale::http_client::Client::new(&process.url, Some(super::KEY)).unwrap();
        Node { process, client, folder }
    };
    let node = start(&[]);
    node.open_event(10);
    // Another one waits for the replica.
    let careful = start(&[("ONSALE_STORE_REPLICAS", "1")]);
    wait_for("a replica that has all", || careful.hold("one", "anna").status == 201);
    let hold = body_of(&careful.hold("one", "anna"));
    assert_eq!(hold["receipt"]["durability"], "replicated", "{hold}");
    let claim = json!({ "customer": "anna", "hold": hold["id"] });
    let first = careful.expect(201, "POST", "/orders", &claim);
    primary.kill();
    ask(&replica, &["REPLICAOF", "NO", "ONE"]);
    let path = format!("/orders/{}", first["code"].as_str().unwrap());
    wait_for("the order, on the new primary", || {
        node.send("GET", &path, &[], &json!(null)).status == 200
    });
    assert_eq!(node.hold("two", "berta").status, 201);
    let generation = ask(&replica, &["HGET", "{onsale/0}state", "g"]);
    assert_eq!(generation, ["2"], "codes that may have been given before must not come again");
    // Nobody has what this one does a second time, so it does not say that it is done.
    assert_eq!(body_of(&careful.hold("three", "carl"))["type"], "/problems/outcome-unknown");
    audit(&replica);
}

#[test]
fn a_redis_that_kept_less_for_a_while_is_not_trusted_to_have_kept_all() {
    let mut redis =
        onsale_services::redis_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let node = Node::start(&redis);
    node.open_event(10);
    // Fence, generation, whether all is kept; once a server has come to a start of it.
    let joined = |redis: &_, fence: &str| {
        let state = || ask(redis, &["HMGET", "{onsale/0}state", "f", "g", "k"]);
        wait_for("a server that has come to it", || state()[0] == fence);
        state()
    };
    assert_eq!(joined(&redis, "1"), ["1", "1", "1"]);
    redis.kill();
    redis.restart();
    assert_eq!(joined(&redis, "2"), ["2", "1", "1"], "all was kept");
    ask(&redis, &["CONFIG", "SET", "appendfsync", "everysec"]);
    wait_for("a server that has noticed", || joined(&redis, "2")[2].is_empty());
    // That itself is now kept as everysec keeps it.
    let written = "aof_buffer_length:0".to_owned();
    wait_for("a file that says so", || ask(&redis, &["INFO", "persistence"]).contains(&written));
    // It is started as it was at first; but the last second of before may be missing.
    redis.kill();
    redis.restart();
    assert_eq!(joined(&redis, "3"), ["3", "2", "1"]);
    drop(node);
    audit(&redis);
}
