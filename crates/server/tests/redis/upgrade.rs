//! Nodes with an older version of the library beside servers with this one, while both sell: nothing that anybody asks fails.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use onsale::http_client::Client;
use onsale_core::command::Item;
use onsale_core::{Action, CodeKey, Command, CommandStamp, Time};
use onsale_redis::{Ask, LIBRARY, Library, Options, Reply, Seeds, ShardClient, Store};
use serde_json::json;

use super::{EVENT, KEY, Node, SaidAtEnd, ask, audit, body_of, options_at, wait_for};

/// Calls that an older node has under way at a time.
const CALLS: usize = 16;
/// Sales of each side between two steps of the upgrade.
const SALES: u64 = 100;

/// The library of an older version, which differs in its name and in nothing that matters.
fn older() -> &'static Library {
    let name = "onsale_1_older";
    let text = LIBRARY.text.replace(&LIBRARY.name, name) + "-- Of an older version.\n";
    Box::leak(Box::new(Library { name: name.to_owned(), text }))
}

/// What one side has sold so far.
#[derive(Default)]
pub struct Side {
    sold: AtomicU64,
    pub has_ended: AtomicBool,
}

impl Side {
    fn goes_on(&self) -> bool {
        !self.has_ended.load(Ordering::Relaxed)
    }

    /// Counts so many more, and gives how many there are.
    pub fn count(&self, more: u64) -> u64 {
        self.sold.fetch_add(more, Ordering::Relaxed) + more
    }

    /// Waits until it has sold so many more.
    pub fn wait_for_sales(&self) {
        let before = self.count(0);
        wait_for("more sales", || self.count(0) >= before + SALES);
    }
}

fn buy(number: u128) -> Command {
    let id = number << 8 | 1;
    let stamp = CommandStamp { id, body: 1, chosen: true, made_at: None };
    let item = Item { ticket_type: "free".parse().unwrap(), quantity: 1, price: None };
    let customer = format!("older-{number}").parse().unwrap();
    let action = Action::Buy { customer, items: std::iter::once(item).collect() };
    Command { stamp, organizer: "o".parse().unwrap(), event: "e".parse().unwrap(), action }
}

/// A node with the older library sells until it is told to end.
fn sell_as_older(options: Options, log: u128, node: u128, side: &Side) {
    let client = ShardClient::new(options, 0, log).with_library(older());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0.. {
            if !side.goes_on() {
                return;
            }
            let number = |call| (node << 64) + round * CALLS as u128 + call as u128;
            let commands: Vec<Command> = (0..CALLS).map(|call| buy(number(call))).collect();
            let asks: Vec<Ask<'_>> = commands.iter().map(Ask::Command).collect();
            for said in client.ask(&asks).await {
                let said = said.unwrap_or_else(|failure| panic!("an older node: {failure}"));
                assert!(matches!(said.reply, Reply::Done { .. }), "{:?}", said.reply);
                side.count(1);
            }
        }
    });
}

/// A buyer of a server, none of whose requests may fail.
pub fn sell_over_http(url: &str, buyer: u64, side: &Side) {
    let client = Client::new(url, Some(KEY)).unwrap();
    for round in 0.. {
        if !side.goes_on() {
            return;
        }
        let customer = format!("newer-{buyer}-{round}");
        let items = json!([{ "ticket_type": "free", "quantity": 1 }]);
        let body = json!({ "customer": customer, "items": items }).to_string();
        let path = format!("{EVENT}/orders");
        let key = format!("key-of-{customer}");
        let headers = [("idempotency-key", key.as_str())];
        let mut sold = client.request("POST", &path, &headers, Some(&body)).unwrap();
        // On a busy machine some are asked to come again.
        while body_of(&sold)["type"] == "/problems/overloaded" {
            sold = client.request("POST", &path, &headers, Some(&body)).unwrap();
        }
        assert_eq!(sold.status, 201, "a server: {:?}", body_of(&sold));
        side.count(1);
    }
}

#[test]
fn an_upgrade_under_load_fails_no_request() {
    let redis = onsale_services::redis();
    let options = options_at(redis.url());
    drop(Node::start_at(redis.url(), "1", &[]));
    let seeds = Seeds { log: 0, key: CodeKey([0; 16]), shards: 1 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let log = runtime.block_on(Store::open(&options, None, seeds, Time(0))).unwrap().seeds.log;
    let maker = Node::start_at(redis.url(), "1", &[]);
    maker.open_event(1_000_000);
    drop(maker);
    // As before this version ever came.
    ask(&redis, &["FUNCTION", "DELETE", &LIBRARY.name]);
    let is_there = |name: &str| ask(&redis, &["FUNCTION", "LIST"]).iter().any(|line| line == name);
    let (old, new) = (Side::default(), Side::default());
    let servers = OnceLock::new();
    thread::scope(|scope| {
        let _end = SaidAtEnd(&[&old.has_ended, &new.has_ended]);
        for node in 1..=2 {
            let (options, old) = (options.clone(), &old);
            scope.spawn(move || sell_as_older(options, log, node, old));
        }
        old.wait_for_sales();
        assert!(is_there(&older().name) && !is_there(&LIBRARY.name));
        let servers = servers.get_or_init(|| [0, 1].map(|_| Node::start_at(redis.url(), "1", &[])));
        servers.iter().for_each(Node::knows_event);
        for (buyer, server) in (0..4).zip(servers.iter().cycle()) {
            let new = &new;
            scope.spawn(move || sell_over_http(&server.process.url, buyer, new));
        }
        let both = || {
            old.wait_for_sales();
            new.wait_for_sales();
        };
        both();
        assert!(is_there(&older().name) && is_there(&LIBRARY.name));
        // Whatever is taken away while it is used is loaded again.
        for name in [&older().name, &LIBRARY.name] {
            ask(&redis, &["FUNCTION", "DELETE", name]);
            both();
        }
        ask(&redis, &["FUNCTION", "FLUSH"]);
        both();
        old.has_ended.store(true, Ordering::Relaxed);
        new.wait_for_sales();
        let last = old.count(0);
        ask(&redis, &["FUNCTION", "DELETE", &older().name]);
        new.wait_for_sales();
        assert_eq!(old.count(0), last);
        assert!(!is_there(&older().name));
    });
    let sold = old.count(0) + new.count(0);
    let audit = audit(&redis);
    assert_eq!(audit.report.events[0].quotas[0].sold, sold as i64, "{}", audit.to_text());
}
