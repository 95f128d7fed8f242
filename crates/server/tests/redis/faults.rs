//! A Redis that hangs, is full, forgets its functions, loses a key, or is another one.

use serde_json::json;

use super::{Node, ask, audit, body_of, wait_for};

#[test]
fn a_hanging_redis_leaves_the_outcome_open_and_the_same_key_settles_it() {
    let redis = onsale_services::redis();
    let node = Node::start_with(&redis, &[("ONSALE_STORE_TIMEOUT_MS", "300")]);
    node.open_event(10);
    redis.pause();
    let hung = node.hold("the-key", "anna");
    assert_eq!(hung.status, 503);
    let kind = body_of(&hung)["type"].clone();
    assert_eq!(kind, "/problems/outcome-unknown", "{kind}");
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
    assert_eq!(
        (refused.status, body_of(&refused)["type"].clone()),
        (503, json!("/problems/storage-full"))
    );
    node.expect(200, "GET", "/availability", &json!(null));
    let path = format!("/holds/{}", other["id"].as_str().unwrap());
    let released = node.send("DELETE", &path, &[], &json!(null));
    assert_eq!(released.status, 200, "{:?}", body_of(&released));
    let path = format!("/orders/{}/payments", order["code"].as_str().unwrap());
    let payment = json!({ "reference": "p-1", "amount": 1250, "currency": "EUR" });
    let paid = node.send("POST", &path, &[("idempotency-key", "pay")], &payment);
    assert_eq!(paid.status, 201, "{:?}", body_of(&paid));
    limit("0");
    assert_eq!(node.hold("three", "carl").status, 201);
    audit(&redis);
}

#[test]
fn a_lost_state_stops_the_sale_and_no_start_makes_it_anew() {
    let redis = onsale_services::redis();
    let node = Node::start(&redis);
    node.open_event(10);
    ask(&redis, &["FLUSHALL"]);
    wait_for("a server that is not ready", || {
        node.client.request("GET", "/readyz", &[], None).is_ok_and(|r| r.status == 503)
    });
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
