//! The stream of sales over a Redis: by cursor, live and by webhook, read at one server while others sell.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use onsale::http_client::{Client, Response};
use onsale_services::wait_until;
use serde_json::{Value, json};

use super::{KEY, Node, ask, body_of, serve};

/// What is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

fn get(node: &Node, path: &str) -> Response {
    node.client.request("GET", path, &[], None).unwrap()
}

fn shards(node: &Node) -> Vec<Value> {
    let list = get(node, "/v1/streams/sales/shards");
    assert_eq!(list.status, 200, "{:?}", body_of(&list));
    body_of(&list)["shards"].as_array().unwrap().clone()
}

fn sell(node: &Node, customer: &str) -> String {
    let order =
        json!({ "customer": customer, "items": [{ "ticket_type": "free", "quantity": 1 }] });
    node.expect(201, "POST", "/orders", &order)["code"].as_str().unwrap().to_owned()
}

/// Which order a record is about.
fn order_of(record: &Value) -> Option<String> {
    Some(record["data"]["order"].as_str()?.to_owned())
}

/// Reads server-sent events; gives the data of each record, until the stream ends.
fn follow(node: &Node, shard: &Value, after: &str) -> Receiver<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let path = format!("/v1/streams/sales/records/live?shard={shard}&after={after}");
    let head = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n");
    let head = format!("{head}authorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (seen, records) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(data) = line.strip_prefix("data: ") {
                // Whoever looks may have seen enough.
                let _ = seen.send(serde_json::from_str(data).unwrap());
            }
        }
    });
    records
}

/// Takes what a webhook sends; gives the bodies.
fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (seen, came) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let seen = seen.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    if line != "\r\n" {
                        continue;
                    }
                    let mut body = vec![0; length];
                    // A server that is killed says no more.
                    if reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    let answered = stream.write_all(b"HTTP/1.1 204 X\r\n\r\n");
                    let body = serde_json::from_slice(&body).unwrap();
                    if answered.is_err() || seen.send(body).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, came)
}

fn took(records: &Receiver<Value>, orders: &[String]) {
    for order in orders {
        let record = records.recv_timeout(PATIENCE).unwrap();
        assert_eq!(order_of(&record).as_ref(), Some(order), "{record}");
    }
}

#[test]
fn what_one_server_sells_is_read_at_another() {
    let redis = onsale_services::redis();
    let (one, other) = (Node::start(&redis), Node::start(&redis));
    one.open_event(1_000);
    other.knows_event();
    let first = sell(&one, "first");
    let place = |node: &Node| {
        let all = shards(node);
        let busy = |shard: &&Value| shard["next"].as_u64().unwrap() > 2;
        let found =
            all.iter().find(busy).map(|shard| (shard["shard"].clone(), shard["cursor"].clone()));
        found.map(|(shard, cursor)| (shard, cursor.as_str().unwrap().to_owned()))
    };
    let (shard, cursor) = place(&one).unwrap();
    let (url, came) = receiver();
    let hook = json!({ "url": url, "types": ["onsale.order.placed.v1"] }).to_string();
    let path = "/v1/organizers/o/webhooks/shop";
    let made = other.client.request("PUT", path, &[], Some(&hook)).unwrap();
    assert_eq!(made.status, 201, "{:?}", body_of(&made));
    let live = follow(&other, &shard, &cursor);

    // The place that one has told is known at the other at once.
    let mut orders = Vec::new();
    let mut cursor = cursor;
    for number in 0..50 {
        orders.push(sell(&one, &format!("c-{number}")));
        let (_, now) = place(&one).unwrap();
        let path = format!("/v1/streams/sales/records?shard={shard}&after={now}");
        let nothing = get(&other, &path);
        assert_eq!(nothing.status, 200, "{:?}", body_of(&nothing));
        let path = format!("/v1/streams/sales/records?shard={shard}&after={cursor}&wait_ms=20000");
        let records = body_of(&get(&other, &path));
        assert_eq!(order_of(&records["records"][0]).as_ref(), orders.last(), "{records}");
        cursor = records["cursor"].as_str().unwrap().to_owned();
    }
    took(&live, &orders);
    // The webhook began where the other one was when it was made.
    let mut sent = came.recv_timeout(PATIENCE).unwrap();
    if order_of(&sent).as_ref() == Some(&first) {
        sent = came.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(order_of(&sent).as_ref(), orders.first(), "{sent}");
    took(&came, &orders[1..]);
    // All of it, from the beginning, in order.
    let path = format!("/v1/streams/sales/records?shard={shard}&after=0&limit=1000");
    let all = body_of(&get(&other, &path));
    let positions =
        all["records"].as_array().unwrap().iter().map(|r| r["position"].as_u64().unwrap());
    assert!(positions.is_sorted(), "{all}");
    let told = all["records"].as_array().unwrap().iter().filter_map(order_of);
    orders.insert(0, first);
    assert_eq!(told.collect::<Vec<_>>(), orders);
}

#[test]
fn a_reader_is_told_where_records_may_be_lost() {
    let mut redis = onsale_services::redis_with(&["--appendonly", "yes"]);
    let (one, other) = (Node::start(&redis), Node::start(&redis));
    one.open_event(1_000);
    other.knows_event();
    let order = sell(&one, "c-1");
    let all = shards(&one);
    let busy = all.iter().find(|shard| shard["next"].as_u64().unwrap() > 2).unwrap();
    let (shard, cursor) = (&busy["shard"], busy["cursor"].as_str().unwrap());
    let live = follow(&one, shard, "0");
    let seen = std::iter::from_fn(|| live.recv_timeout(PATIENCE).ok());
    assert!(seen.filter_map(|record| order_of(&record)).any(|seen| seen == order));
    let records =
        |node: &Node| get(node, &format!("/v1/streams/sales/records?shard={shard}&after={cursor}"));
    assert_eq!(records(&other).status, 200);
    redis.kill();
    let away = records(&one);
    assert!(matches!(away.status, 200 | 503), "{:?}", body_of(&away));
    let whole = get(&one, &format!("/v1/streams/sales/records?shard={shard}&after=0"));
    assert_eq!(body_of(&whole)["type"], "/problems/store-unreachable");
    redis.restart();
    for node in [&one, &other] {
        wait_until("a server that knows of it", || {
            shards(node).iter().all(|shard| shard["generation"] == 2)
        });
        let diverged = records(node);
        assert_eq!(body_of(&diverged)["type"], "/problems/log-diverged", "{:?}", diverged.status);
    }
    assert_eq!(ask(&redis, &["HGET", "{onsale/0}state", "g"]), ["2"]);
    // The one that followed is sent away, so that it comes again and is told.
    while live.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Disconnected) {}
}

#[test]
fn a_webhook_is_every_servers_and_one_of_them_delivers() {
    let redis = onsale_services::redis();
    let swift = [("ONSALE_WEBHOOKS_TIMEOUT_SECONDS", "1")];
    let mut nodes = [Node::start_with(&redis, &swift), Node::start_with(&redis, &swift)];
    nodes[0].open_event(1_000);
    nodes[1].knows_event();
    let (url, came) = receiver();
    let path = "/v1/organizers/o/webhooks/shop";
    let put = |node: &Node, types: &[&str]| {
        let hook = json!({ "url": url, "types": types }).to_string();
        node.client.request("PUT", path, &[], Some(&hook)).unwrap()
    };
    let made = put(&nodes[0], &["onsale.order.placed.v1"]);
    assert_eq!(made.status, 201, "{:?}", body_of(&made));
    let there = get(&nodes[1], path);
    assert_eq!((there.status, body_of(&there)["url"].clone()), (200, json!(url)));
    // It is the same one, not another.
    assert_eq!(put(&nodes[1], &["onsale.order.placed.v1"]).status, 200);
    let next = || {
        let sent = || came.recv_timeout(PATIENCE).ok();
        std::iter::from_fn(sent).filter_map(|record| order_of(&record))
    };
    let again = |node: &mut Node| {
        node.process = serve(node.folder.path(), redis.url(), "2", &swift);
        node.client = Client::new(&node.process.url, Some(KEY)).unwrap();
        node.knows_event();
    };
    let mut orders = Vec::new();
    for number in 0..20 {
        orders.push(sell(&nodes[number % 2], &format!("both-{number}")));
    }
    took(&came, &orders);

    // One that is told to stop lets the other one go on, whichever of them it is.
    for i in 0..2 {
        let stop = Command::new("kill").arg(nodes[i].process.child.id().to_string()).status();
        assert!(stop.unwrap().success());
        assert!(nodes[i].process.child.wait().unwrap().success());
        let key = "onsale:cursors/o:{webhook.shop@sales}:cursors";
        let held = || ask(&redis, &["HVALS", key]).iter().filter(|c| !c.contains(" - ")).count();
        wait_until("the other one has all shards", || held() == 2);
        let order = sell(&nodes[1 - i], &format!("stopped-{i}"));
        took(&came, &[order]);
        again(&mut nodes[i]);
    }
    // One that is killed is waited for, and what it had not noted may come twice.
    for i in 0..2 {
        nodes[i].process.kill();
        let order = sell(&nodes[1 - i], &format!("killed-{i}"));
        assert!(next().any(|sent| sent == order));
        again(&mut nodes[i]);
    }

    let gone = nodes[1].client.request("DELETE", path, &[], None).unwrap();
    assert_eq!(gone.status, 200, "{:?}", body_of(&gone));
    assert_eq!(get(&nodes[0], path).status, 404);
    // A new one begins now, whoever had the old one.
    let unseen = sell(&nodes[0], "unseen");
    assert_eq!(put(&nodes[0], &["onsale.order.placed.v1"]).status, 201);
    let order = sell(&nodes[1], "seen");
    let last = next().find(|sent| *sent == order || *sent == unseen);
    assert_eq!(last, Some(order));
}
