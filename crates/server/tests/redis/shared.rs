//! What servers over one Redis share beside the sale: the streams `catalogue` and `control`, whoever follows the first, and
//! named cursors.

use std::process::Command;

use onsale::http_client::Response;
use onsale_core::Fact;
use onsale_services::Server;
use serde_json::{Value, json};

use super::{Node, ask, audit, body_of, options_at, wait_for};

const EVENT: &str = "/v1/organizers/o/events/e";
/// Where it is kept who follows `catalogue`, and how far.
const FOLLOWED: &str = "onsale:cursors/_server:{engine@catalogue}:cursors";

/// Wants the event to have so many tickets.
pub fn wish(node: &Node, capacity: u64, key: &str) -> Response {
    let wish = json!({ "type": "onsale.event.define.v1", "subject": "o/e", "data": {
        "name": "E", "currency": "EUR", "quotas": [{ "id": "q", "capacity": capacity }],
        "ticket_types": [{ "id": "free", "name": "Free", "price": 0, "quotas": ["q"] }] } });
    let path = "/v1/streams/catalogue/records";
    let headers = [("idempotency-key", key)];
    node.client.request("POST", path, &headers, Some(&wish.to_string())).unwrap()
}

/// Which server follows.
fn follower(redis: &Server) -> String {
    let cursor = ask(redis, &["HGET", FOLLOWED, "0"]).concat();
    // Fence, generation, position, whether it has ended, owner, until when.
    cursor.split(' ').nth(4).unwrap_or_default().to_owned()
}

/// The place of a wish that was taken.
pub fn taken(response: &Response) -> u64 {
    assert_eq!(response.status, 201, "{:?}", body_of(response));
    body_of(response)["position"].as_u64().unwrap()
}

pub fn waits_for_capacity(node: &Node, capacity: u64) {
    wait_for("the wish, carried out", || {
        let seen = node.client.request("GET", EVENT, &[], None).unwrap();
        body_of(&seen)["quotas"][0]["capacity"] == capacity
    });
}

/// The capacities that the event was given, in order, as the streams of the shards have them.
fn defined(url: &str) -> Vec<u64> {
    let mut capacities = Vec::new();
    let mut each = |_, _, event: &onsale_core::Event| {
        if let Fact::EventDefined(defined) = &event.fact {
            capacities.push(u64::from(defined.definition.quotas[0].capacity.unwrap()));
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(onsale_redis::read_all(&options_at(url), &mut each)).unwrap();
    capacities
}

#[test]
fn a_wish_is_carried_out_once_though_the_server_that_took_it_is_killed() {
    let redis = onsale_services::redis();
    let mut nodes = [Node::start(&redis), Node::start(&redis)];
    // Each of the two that is killed may be the one that follows, so both are, in turn.
    let mut capacity = 0;
    for round in 0..2 {
        let mut follows = String::new();
        for i in 0..10 {
            capacity += 1;
            if i == 1 {
                waits_for_capacity(&nodes[0], capacity - 1);
                follows = follower(&redis);
            }
            let key = format!("wish-{capacity}");
            let position = taken(&wish(&nodes[i % 2], capacity, &key));
            assert_eq!(position, capacity);
            // The other one knows the key, too.
            let again = wish(&nodes[1 - i % 2], capacity, &key);
            assert_eq!(taken(&again), position);
            assert_eq!(wish(&nodes[i % 2], 99, &key).status, 422);
        }
        waits_for_capacity(&nodes[1 - round], capacity);
        assert_eq!(follower(&redis), follows, "one of them follows, and goes on");
        assert_ne!(follows, "server", "they are told apart");
        capacity += 1;
        let key = format!("last-{round}");
        let last = wish(&nodes[round], capacity, &key);
        nodes[round].process.kill();
        assert_eq!(taken(&last), capacity);
        waits_for_capacity(&nodes[1 - round], capacity);
        nodes[round].start_again(&redis);
        // It knows it from its stream.
        assert_eq!(taken(&wish(&nodes[round], capacity, &key)), capacity);
    }
    let all: Vec<u64> = (1..=capacity).collect();
    assert_eq!(defined(redis.url()), all, "each once, in order");
    audit(&redis);
}

#[test]
fn a_server_that_is_stopped_lets_another_one_follow_at_once() {
    let redis = onsale_services::redis();
    let mut nodes = [Node::start(&redis), Node::start(&redis)];
    taken(&wish(&nodes[0], 1, "wish-1"));
    waits_for_capacity(&nodes[0], 1);
    assert_ne!(follower(&redis), "-");
    // Whichever of them follows, and whether the other one has taken over meanwhile: who is stopped has nothing any more.
    for node in &mut nodes {
        let stop = Command::new("kill").arg(node.process.child.id().to_string()).status();
        assert!(stop.unwrap().success());
        assert!(node.process.child.wait().unwrap().success());
    }
    assert_eq!(follower(&redis), "-");
    nodes[0].start_again(&redis);
    taken(&wish(&nodes[0], 2, "wish-2"));
    waits_for_capacity(&nodes[0], 2);
}

#[test]
fn a_key_that_comes_to_two_servers_at_once_is_one_record() {
    let redis = onsale_services::redis();
    let nodes = [Node::start(&redis), Node::start(&redis)];
    for n in 1..=30 {
        let key = format!("wish-{n}");
        let places = std::thread::scope(|scope| {
            let both = nodes.each_ref().map(|node| scope.spawn(|| taken(&wish(node, n, &key))));
            both.map(|place| place.join().unwrap())
        });
        assert_eq!(places, [n, n]);
    }
}

#[test]
fn the_catalogue_goes_on_when_redis_was_started_again() {
    let mut redis = onsale_services::redis_with(&["--appendonly", "yes"]);
    let mut node = Node::start(&redis);
    for capacity in [1, 2] {
        taken(&wish(&node, capacity, &format!("wish-{capacity}")));
        waits_for_capacity(&node, capacity);
    }
    for capacity in [3, 4] {
        node.process.kill();
        if capacity == 3 {
            // As if it had been lost how far the catalogue was followed: all of it is read once more.
            ask(&redis, &["DEL", FOLLOWED]);
        }
        redis.kill();
        redis.restart();
        node.start_again(&redis);
        taken(&wish(&node, capacity, &format!("wish-{capacity}")));
        waits_for_capacity(&node, capacity);
    }
    assert_eq!(taken(&wish(&node, 1, "wish-1")), 1);
    assert_eq!(defined(redis.url()), [1, 2, 3, 4], "none a second time");
    audit(&redis);
}

#[test]
fn a_cursor_is_the_same_at_every_server() {
    let redis = onsale_services::redis();
    let (one, other) =
        (Node::start_at(redis.url(), "1", &[]), Node::start_at(redis.url(), "1", &[]));
    one.open_event(10);
    let cursor = "/v1/streams/sales/cursors/reader";
    let commit = |node: &Node, position: u64| {
        let body = json!({ "positions": { "0": position } }).to_string();
        node.client.request("PUT", cursor, &[], Some(&body)).unwrap()
    };
    let seen = |node: &Node| {
        let seen = node.client.request("GET", cursor, &[], None).unwrap();
        body_of(&seen)["shards"][0]["cursor"].clone()
    };
    assert_eq!(seen(&other), Value::Null);
    let at_one = commit(&one, 1);
    assert_eq!(at_one.status, 200, "{:?}", body_of(&at_one));
    assert_eq!(seen(&other), body_of(&at_one)["shards"][0]["cursor"]);
    let mut at_other = commit(&other, 2);
    // It may not know yet how far the shard is.
    wait_for("a cursor that moves on", || {
        if at_other.status != 200 {
            at_other = commit(&other, 2);
        }
        at_other.status == 200
    });
    assert_eq!(seen(&one), body_of(&at_other)["shards"][0]["cursor"]);
    assert_eq!(commit(&one, 1).status, 409, "it goes forwards only");
    // Both at once, again and again: each is carried out.
    std::thread::scope(|scope| {
        for node in [&one, &other] {
            scope.spawn(move || {
                for _ in 0..50 {
                    let moved = commit(node, 2);
                    assert_eq!(moved.status, 200, "{:?}", body_of(&moved));
                }
            });
        }
    });
}
