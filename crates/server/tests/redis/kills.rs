//! Servers, and Redis, killed by SIGKILL while a crowd buys.
//!
//! `ONSALE_TICKETS` says how many tickets are sold while servers are killed (10000), `ONSALE_KILLS` how often Redis is (20),
//! `ONSALE_SEED` where the seeds begin.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use onsale::http_client::Response;
use onsale_rush::{Acknowledged, Arrivals, Config, Ended, Report, verify};
use onsale_services::{Server, wait_until};
use serde_json::{Value, json};

use super::front::Front;
use super::{KEY, Node, ask, audit, body_of};

/// Servers that sell at the same time.
const NODES: usize = 4;
/// One of them is killed so often.
const KILL_EVERY: Duration = Duration::from_secs(1);
/// The crowd comes at this rate, each second, where Redis is killed.
const BUYERS_PER_SECOND: f64 = 500.0;
/// No machine is so slow that this is not enough.
const DEADLINE: Duration = Duration::from_secs(900);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn crowd(url: &str, seed: u64, buyers: u64) -> Config {
    Config {
        buyers,
        connections: Some(64),
        think_ms: 0..=20,
        abandon: 0.02,
        direct: 0.2,
        deadline: DEADLINE,
        give_up: Duration::from_secs(60),
        seed,
        ..Config::new(url, KEY, "o", "e")
    }
}

/// Nobody was told anything that is not so.
fn all_was_right(report: &Report) {
    let known = |names: &[&str], found: Vec<&str>| {
        let odd: Vec<&str> = found.into_iter().filter(|name| !names.contains(name)).collect();
        assert_eq!(odd, [""; 0], "{report}");
    };
    known(
        &["sold-out", "none-free-now", "hold-expired"],
        report.refusals.keys().map(String::as_str).collect(),
    );
    known(&["connect", "closed", "cut", "io", "timeout"], report.errors.keys().copied().collect());
    assert_eq!((report.oversold, report.fates.lost_touch), (0, 0), "{report}");
}

/// Every acknowledged order is there, as it was acknowledged, and none that was not.
fn all_are_there(redis: &Server, all: &[Acknowledged]) -> u64 {
    let node = Node::start(redis);
    let found = verify(&crowd(&node.process.url, 0, 1), all).unwrap();
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(found.checked, all.len() as u64);
    let audit = audit(redis);
    let orders = &audit.report.orders;
    assert_eq!(
        orders.confirmed + orders.awaiting_payment + orders.cancelled_unpaid,
        all.len() as u64
    );
    let left = node.expect(200, "GET", "/availability", &json!(null));
    left["quotas"][0]["sold"].as_u64().unwrap()
}

#[test]
fn four_servers_sell_out_while_one_is_killed_every_second() {
    let tickets = number("ONSALE_TICKETS", 10_000);
    let redis = onsale_services::redis_with(&["--appendonly", "yes"]);
    let mut nodes: Vec<Node> = (0..NODES).map(|_| Node::start(&redis)).collect();
    // What is on hold for somebody who never comes back is sold again soon.
    nodes[0].open_event_with(tickets, 5);
    let front = Front::before(nodes.iter().map(Node::port).collect());
    nodes.iter().for_each(Node::knows_event);
    let config = crowd(&front.url, number("ONSALE_SEED", 1), tickets * 5 / 2);
    // They are more than can be served at once, so that each kill finds requests half done.
    let arrivals = Arrivals::Burst { over: Duration::from_millis(tickets) };
    let config = Config {
        arrivals,
        connections: Some(256),
        direct: 0.5,
        stop_when_sold_out: false,
        ..config
    };
    let (over, is_over) = mpsc::channel::<()>();
    let (report, kills) = std::thread::scope(|scope| {
        let (redis, front, nodes) = (&redis, &front, &mut nodes);
        let killer = scope.spawn(move || {
            let mut kills = 0;
            let mut last = Instant::now();
            loop {
                let wait = KILL_EVERY.saturating_sub(last.elapsed());
                if is_over.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return kills;
                }
                last = Instant::now();
                let which = kills % NODES;
                front.set(which, None);
                nodes[which].start_again(redis);
                let key = format!("first-of-{kills}");
                let first = nodes[which].hold(&key, &key);
                assert_ne!(first.status, 404, "a server that starts knows the event");
                front.set(which, Some(nodes[which].port()));
                kills += 1;
            }
        });
        let report = onsale_rush::run(config, &mut |_| {});
        drop(over);
        (report.unwrap(), killer.join().unwrap())
    });
    println!("{kills} kills of servers\n{report}");
    assert!(kills >= NODES, "only {kills} were killed");
    assert!(report.ended == Ended::SoldOut && report.sold_out, "{report}");
    assert_eq!(report.lost, Some(0), "{report}");
    all_was_right(&report);
    assert_eq!(all_are_there(&redis, &report.acknowledged), tickets);
}

#[test]
fn what_was_acknowledged_is_there_after_every_kill_of_redis() {
    let always = ["--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = onsale_services::redis_with(&always);
    let nodes = [Node::start(&redis), Node::start(&redis)];
    nodes[0].open_event(50_000_000);
    nodes[1].knows_event();
    let watch = Watch::default();
    let (seed, kills) = (number("ONSALE_SEED", 1), number("ONSALE_KILLS", 20));
    let reports = std::thread::scope(|scope| {
        let (redis, watch, nodes) = (&mut redis, &watch, &nodes);
        for node in nodes {
            scope.spawn(move || watch.at(node));
        }
        let killer = scope.spawn(move || {
            for kill in 1..=kills {
                // From the first few orders after a start to well into the load.
                let orders = watch.orders.load(SeqCst) + 1 + (seed + kill) * 37 % 150;
                wait_until("more orders", || watch.orders.load(SeqCst) >= orders);
                redis.kill();
                let told = watch.told();
                wait_until("somebody who was told", || watch.told() > told);
                redis.restart();
            }
        });
        let (mut reports, mut orders) = (Vec::new(), 0);
        while !killer.is_finished() {
            let round = reports.len();
            let config = crowd(&nodes[round % 2].process.url, seed + round as u64, 4_000);
            let arrivals = Arrivals::Constant { per_second: BUYERS_PER_SECOND };
            let config = Config { arrivals, verify: false, ..config };
            let report = onsale_rush::run(config, &mut |live| {
                watch.orders.fetch_max(orders + live.orders, SeqCst);
            });
            orders += report.as_ref().map_or(0, |report| report.orders);
            reports.push(report);
        }
        watch.over.store(true, SeqCst);
        reports
    });
    let mut all = Vec::new();
    for report in reports {
        let report = report.unwrap();
        all_was_right(&report);
        assert_eq!(report.ended, Ended::BuyersDone, "{report}");
        all.extend(report.acknowledged);
    }
    println!("{kills} kills of Redis, {} orders, {watch:?}", all.len());
    // All that was acknowledged was kept, so that codes can go on.
    for shard in 0..2 {
        assert_eq!(ask(&redis, &["HGET", &format!("{{onsale/{shard}}}state"), "g"]), ["1"]);
    }
    all_are_there(&redis, &all);
}

/// What is seen by those who look closely at each answer.
#[derive(Default, Debug)]
struct Watch {
    /// Orders acknowledged to the crowd.
    orders: AtomicU64,
    /// Who was told that Redis is away: with a change that may have been made, and with none.
    unknown: AtomicU64,
    unreachable: AtomicU64,
    /// Answers of another kind.
    answers: AtomicU64,
    over: AtomicBool,
}

impl Watch {
    /// Takes tickets for a moment, and looks, at one server.
    fn at(&self, node: &Node) {
        let (mut sold, mut position) = (0, 0);
        for number in 0.. {
            if self.over.load(SeqCst) {
                break;
            }
            let key = format!("{}-{number}", node.process.url);
            let held = self.at_last(true, || node.hold(&key, &key.replace([':', '/', '.'], "-")));
            let hold = body_of(&held);
            assert_eq!(
                (held.status, &hold["receipt"]["durability"]),
                (201, &json!("always")),
                "{hold}"
            );
            let path = format!("/holds/{}", hold["id"].as_str().unwrap());
            let none = &Value::Null;
            let there = self.at_last(false, || node.send("GET", &path, &[], none));
            assert_eq!(there.status, 200, "{:?}", body_of(&there));
            let left = self.at_last(false, || node.send("GET", "/availability", &[], none));
            assert_eq!(left.status, 200, "{:?}", body_of(&left));
            let left = body_of(&left);
            let now = |value: &Value| value.as_u64().unwrap();
            let seen = (now(&left["quotas"][0]["sold"]), now(&left["receipt"]["position"]));
            assert!(seen.0 >= sold && seen.1 >= position, "{seen:?} after {sold}, {position}");
            (sold, position) = seen;
            let released = self.at_last(true, || node.send("DELETE", &path, &[], none));
            let gone = body_of(&released)["type"] == "/problems/hold-released";
            assert!(released.status == 200 || gone, "{:?}", body_of(&released));
        }
    }

    fn told(&self) -> u64 {
        self.unknown.load(SeqCst) + self.unreachable.load(SeqCst)
    }

    /// Asks until there is another answer than that Redis is away.
    fn at_last(&self, changes: bool, mut send: impl FnMut() -> Response) -> Response {
        let begin = Instant::now();
        loop {
            let response = send();
            if response.status != 503 {
                self.answers.fetch_add(1, SeqCst);
                return response;
            }
            let body = body_of(&response);
            let kind = body["type"].as_str().unwrap();
            let again = response.header("retry-after").and_then(|text| text.parse::<u64>().ok());
            assert!(again.is_some_and(|seconds| (1..=10).contains(&seconds)), "{response:?}");
            match kind {
                // A look changes nothing, whatever became of it.
                "/problems/outcome-unknown" if changes => self.unknown.fetch_add(1, SeqCst),
                "/problems/store-unreachable" => self.unreachable.fetch_add(1, SeqCst),
                "/problems/overloaded" | "/problems/busy" => 0,
                _ => panic!("{body}"),
            };
            assert!(begin.elapsed() < DEADLINE, "{body}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}
