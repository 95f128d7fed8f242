//! Servers on a Redis Cluster of three: slots that move to another node while they sell, and a node that is replaced by its
//! replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use onsale::http_client::{Client, Response};
use onsale_services::{RedisCluster, ask_redis, redis_cluster};
use serde_json::{Value, json};

use super::shared::{taken, waits_for_capacity, wish};
use super::upgrade::{Side, sell_over_http};
use super::{KEY, Node, SaidAtEnd, audit_at, body_of, wait_for};

/// Events of the sell-out, each of them a sale group of its own.
const EVENTS: u64 = 6;
/// Tickets of each.
const TICKETS: u64 = 250;
/// Buyers that ask at the same time.
const BUYERS: u64 = 6;

fn start(cluster: &RedisCluster, shards: &str, environment: &[(&str, &str)]) -> Node {
    Node::start_at(&cluster.url(), shards, environment)
}

fn path_of(event: u64) -> String {
    format!("/v1/organizers/o/events/e{event}")
}

/// Makes and opens an event; gives its shard.
fn open_event(client: &Client, event: u64) -> u64 {
    let definition = json!({ "name": "E", "currency": "EUR",
        "quotas": [{ "id": "q", "capacity": TICKETS }],
        "ticket_types": [{ "id": "free", "name": "Free", "price": 0, "quotas": ["q"] }] });
    let ask = |method: &str, header, body: &Value| {
        let body = body.to_string();
        client.request(method, &path_of(event), &[header], Some(&body)).unwrap()
    };
    let made = ask("PUT", ("if-none-match", "*"), &definition);
    assert_eq!(made.status, 201, "{:?}", body_of(&made));
    let opened = ask("PATCH", ("if-match", "*"), &json!({ "state": "open" }));
    assert_eq!(opened.status, 200, "{:?}", body_of(&opened));
    body_of(&opened)["receipt"]["shard"].as_u64().unwrap()
}

/// Asks with the same key until it is answered.
fn settled(seen: &Seen, client: &Client, path: &str, key: &str, body: &Value) -> Response {
    let body = body.to_string();
    let mut last = None;
    wait_for("an answer to one request", || {
        let headers = [("idempotency-key", key)];
        let response = client.request("POST", path, &headers, Some(&body)).unwrap();
        seen.responses.fetch_add(1, Ordering::Relaxed);
        let is_answer = response.status != 503;
        if !is_answer {
            let kind = body_of(&response)["type"].to_string();
            *seen.unanswered.lock().unwrap().entry(kind.clone()).or_default() += 1;
            let known = ["store-unreachable", "outcome-unknown", "overloaded"];
            assert!(known.iter().any(|known| kind.contains(known)), "{path}: {kind}");
        }
        last = Some(response);
        is_answer
    });
    last.unwrap()
}

/// What all buyers have seen.
#[derive(Default)]
struct Seen {
    /// Codes of orders, of each event.
    codes: [Mutex<Vec<String>>; EVENTS as usize],
    /// Tickets sold, of each event.
    sold: [AtomicU64; EVENTS as usize],
    responses: AtomicU64,
    /// Responses that left a request open, by what they said.
    unanswered: Mutex<BTreeMap<String, u64>>,
    has_moved: AtomicBool,
}

impl Seen {
    /// One buyer after the other, until all is sold.
    fn buy(&self, client: &Client, buyer: u64) {
        let mut open: BTreeSet<u64> = (0..EVENTS).collect();
        for round in 0.. {
            if open.is_empty() {
                return;
            }
            let event = (buyer + round) % EVENTS;
            let (quantity, in_one_step) =
                (1 + round / EVENTS % 2, (round / EVENTS).is_multiple_of(3));
            if !open.contains(&event) {
                continue;
            }
            let (path, key) = (path_of(event), format!("key-{buyer}-{round}-of-a-buyer"));
            let sold = &self.sold[event as usize];
            if sold.load(Ordering::Relaxed) >= TICKETS / 2
                && !self.has_moved.load(Ordering::Relaxed)
            {
                // The second half is sold from where it has moved to.
                let path = format!("{path}/availability");
                let looked = client.request("GET", &path, &[], None).unwrap();
                assert!(matches!(looked.status, 200 | 503), "{:?}", body_of(&looked));
                self.responses.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let customer = format!("c-{buyer}-{round}");
            let items = json!([{ "ticket_type": "free", "quantity": quantity }]);
            let body = json!({ "customer": customer, "items": items });
            // In one step, or in two.
            let first = if in_one_step { "orders" } else { "holds" };
            let mut response = settled(self, client, &format!("{path}/{first}"), &key, &body);
            if response.status == 201 && !in_one_step {
                let claim = json!({ "customer": customer, "hold": body_of(&response)["id"] });
                let path = format!("{path}/orders");
                response = settled(self, client, &path, &format!("{key}-order"), &claim);
                assert_eq!(response.status, 201, "{:?}", body_of(&response));
            }
            let order = body_of(&response);
            match response.status {
                201 => {
                    let all = sold.fetch_add(quantity, Ordering::Relaxed) + quantity;
                    assert!(all <= TICKETS, "e{event} is oversold");
                    let code = order["code"].as_str().unwrap().to_owned();
                    self.codes[event as usize].lock().unwrap().push(code);
                }
                // The last single ticket is for those who want one.
                409 if order["type"] == "/problems/sold-out" && quantity > 1 => {}
                409 if order["type"] == "/problems/sold-out" => drop(open.remove(&event)),
                409 if order["type"] == "/problems/none-free-now" => {}
                status => panic!("{status}: {order}; {event}, {round}"),
            }
        }
    }

    /// Waits until somebody has heard something.
    fn wait_for_a_response(&self) {
        let before = self.responses.load(Ordering::Relaxed);
        wait_for("a response", || self.responses.load(Ordering::Relaxed) > before);
    }
}

#[test]
fn a_cluster_sells_out_while_slots_move() {
    let cluster = redis_cluster(3, &[]);
    let servers = [start(&cluster, "8", &[]), start(&cluster, "8", &[])];
    let shards: Vec<u64> = (0..EVENTS).map(|event| open_event(&servers[0].client, event)).collect();
    let client = |n: u64| Client::new(&servers[n as usize % 2].process.url, Some(KEY)).unwrap();
    for (server, event) in servers.iter().flat_map(|server| (0..EVENTS).map(move |e| (server, e))) {
        let seen = server.client.request("GET", &path_of(event), &[], None).unwrap();
        assert_eq!(seen.status, 200, "{:?}", body_of(&seen));
    }
    let slot = cluster.slot_of(&format!("{{onsale/{}}}state", shards[0]));
    let states: BTreeSet<usize> = (0..8)
        .map(|shard| cluster.holder_of(&cluster.slot_of(&format!("{{onsale/{shard}}}state"))))
        .collect();
    assert_eq!(states.len(), 3, "each node has shards");

    let seen = Seen::default();
    thread::scope(|scope| {
        let _moved = SaidAtEnd(&[&seen.has_moved]);
        for buyer in 0..BUYERS {
            let (seen, client) = (&seen, client(buyer));
            scope.spawn(move || seen.buy(&client, buyer));
        }
        // A shard, and what says where events are.
        for (slot, keys) in [(slot.as_str(), 8), (&cluster.slot_of("{onsale}events"), 2)] {
            for _ in 0..2 {
                let to = (cluster.holder_of(slot) + 1) % 3;
                let moved = cluster.move_slot(slot, to, || seen.wait_for_a_response());
                assert!(moved >= keys, "only {moved} keys");
            }
        }
    });
    println!("asked again: {:?}", seen.unanswered.lock().unwrap());
    let mut all = BTreeSet::new();
    for event in 0..EVENTS {
        assert_eq!(seen.sold[event as usize].load(Ordering::Relaxed), TICKETS, "of e{event}");
        let path = format!("{}/availability", path_of(event));
        let left = body_of(&client(event).request("GET", &path, &[], None).unwrap());
        assert_eq!(left["quotas"][0]["sold"], TICKETS, "{left}");
        let codes = seen.codes[event as usize].lock().unwrap();
        for code in codes.iter() {
            let path = format!("{}/orders/{code}", path_of(event));
            let order = client(event + 1).request("GET", &path, &[], None).unwrap();
            assert_eq!(order.status, 200, "{code} of e{event} is lost");
            assert!(all.insert(code.clone()), "{code} was given twice");
        }
    }
    let audit = audit_at(&cluster.url());
    let sold = audit.report.events.iter().flat_map(|event| &event.quotas).map(|quota| quota.sold);
    assert_eq!(sold.sum::<i64>(), (EVENTS * TICKETS) as i64, "{}", audit.to_text());
}

#[test]
fn a_slot_that_moves_fails_no_request() {
    let cluster = redis_cluster(3, &[]);
    let patient = [("ONSALE_STORE_TIMEOUT_MS", "20000")];
    let servers = [start(&cluster, "1", &patient), start(&cluster, "1", &patient)];
    servers[0].open_event(1_000_000);
    servers[1].knows_event();
    let slot = cluster.slot_of("{onsale/0}state");
    let side = Side::default();
    let read = |server: &Node, after: u64| {
        let path = format!("/v1/streams/sales/records?shard=0&after={after}&limit=10");
        let read = server.client.request("GET", &path, &[], None).unwrap();
        assert_eq!(read.status, 200, "{:?}", body_of(&read));
        body_of(&read)["records"].as_array().unwrap().len()
    };
    thread::scope(|scope| {
        let _end = SaidAtEnd(&[&side.has_ended]);
        for (buyer, server) in (0..4).zip(servers.iter().cycle()) {
            let (side, url) = (&side, &server.process.url);
            scope.spawn(move || sell_over_http(url, buyer, side));
        }
        for _ in 0..4 {
            side.wait_for_sales();
            // Whoever reads has asked the node before.
            servers.iter().for_each(|server| assert_eq!(read(server, side.count(0) / 2), 10));
            cluster.move_slot(&slot, (cluster.holder_of(&slot) + 1) % 3, || ());
            servers.iter().for_each(|server| assert_eq!(read(server, side.count(0) / 2), 10));
        }
        side.wait_for_sales();
    });
    let audit = audit_at(&cluster.url());
    let sold = side.count(0) as i64;
    assert_eq!(audit.report.events[0].quotas[0].sold, sold, "{}", audit.to_text());
}

#[test]
fn servers_of_a_cluster_share_catalogue_and_cursors_while_their_slot_moves() {
    let cluster = redis_cluster(3, &[]);
    let patient = [("ONSALE_STORE_TIMEOUT_MS", "20000")];
    let nodes = [start(&cluster, "4", &patient), start(&cluster, "4", &patient)];
    let slot = cluster.slot_of("{onsale/control}");
    let wishes = AtomicU64::new(0);
    let has_moved = AtomicBool::new(false);
    thread::scope(|scope| {
        let _moved = SaidAtEnd(&[&has_moved]);
        let both = scope.spawn(|| {
            while !has_moved.load(Ordering::Relaxed) {
                let capacity = wishes.load(Ordering::Relaxed) + 1;
                let (one, other) = (capacity as usize % 2, (capacity as usize + 1) % 2);
                // Each takes what comes after the other's, and knows the other's keys.
                let key = format!("wish-{capacity}");
                assert_eq!(taken(&wish(&nodes[one], capacity, &key)), capacity);
                assert_eq!(taken(&wish(&nodes[other], capacity, &key)), capacity);
                wishes.store(capacity, Ordering::Relaxed);
            }
        });
        for _ in 0..3 {
            let before = wishes.load(Ordering::Relaxed);
            wait_for("more wishes", || {
                both.is_finished() || wishes.load(Ordering::Relaxed) >= before + 3
            });
            let moved = cluster.move_slot(&slot, (cluster.holder_of(&slot) + 1) % 3, || ());
            assert!(moved > 2, "only {moved} keys");
        }
    });
    let last = wishes.load(Ordering::Relaxed);
    nodes.iter().for_each(|node| waits_for_capacity(node, last));
    let cursor = "/v1/streams/sales/cursors/reader";
    let body = json!({ "positions": { "0": 1 } }).to_string();
    let put = nodes[0].client.request("PUT", cursor, &[], Some(&body)).unwrap();
    assert_eq!(put.status, 200, "{:?}", body_of(&put));
    let seen = nodes[1].client.request("GET", cursor, &[], None).unwrap();
    let place = |of: &Response| body_of(of)["shards"][0]["cursor"].clone();
    assert_eq!(place(&seen), place(&put));
    audit_at(&cluster.url());
}

#[test]
fn a_replica_of_a_cluster_takes_over_with_a_new_generation() {
    let mut cluster = redis_cluster(3, &[]);
    let slot = cluster.slot_of("{onsale/0}state");
    // Its keys are there once a server is.
    let node = start(&cluster, "1", &[]);
    let primary = cluster.holder_of(&slot);
    let replica = cluster.add_replica(primary);
    // It knows of the replica from the start.
    let careful = start(&cluster, "1", &[("ONSALE_STORE_REPLICAS", "1")]);
    node.open_event(10);
    careful.knows_event();
    let hold = body_of(&careful.hold("one", "anna"));
    assert_eq!(hold["receipt"]["durability"], "replicated", "{hold}");
    let claim = json!({ "customer": "anna", "hold": hold["id"] });
    let first = careful.expect(201, "POST", "/orders", &claim);

    cluster.nodes[primary].kill();
    cluster.promote(replica);
    let path = format!("/orders/{}", first["code"].as_str().unwrap());
    wait_for("the order, on the new primary", || {
        node.send("GET", &path, &[], &json!(null)).status == 200
    });
    wait_for("a hold", || node.hold("two", "berta").status == 201);
    let port = cluster.nodes[replica].port();
    let generation = ask_redis(port, &["HGET", "{onsale/0}state", "g"]).unwrap();
    assert_eq!(generation, ["2"], "codes that may have been given before must not come again");
    // The old one comes back as a replica of the new one; servers that ask it first are led on.
    cluster.nodes[primary].restart();
    wait_for("a replica that is asked", || {
        let role = ask_redis(cluster.nodes[primary].port(), &["ROLE"]);
        role.is_ok_and(|role| role[0] == "slave")
    });
    let late = Node::start_at(cluster.nodes[primary].url(), "1", &[]);
    late.knows_event();
    assert_eq!(late.hold("three", "carl").status, 201);
    audit_at(&cluster.url());
}
