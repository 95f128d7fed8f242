//! Many commands in one request: each is answered as it would be alone.

use onsale::keys::Scope;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Site, cart, concert, open, path, used};

fn site() -> Site {
    let site = Site::new();
    open(&site, "concert", &concert());
    site
}

fn send(client: &Client, commands: &[Value]) -> Answer {
    client.post(&path("concert", "/batch"), &json!({ "commands": commands }))
}

fn answers(client: &Client, commands: &[Value]) -> Vec<Value> {
    let body = send(client, commands).expect(200).json();
    let answers = body["answers"].as_array().unwrap().clone();
    assert_eq!(answers.len(), commands.len());
    answers
}

/// A cart as a command.
fn command(op: &str, key: &str, mut cart: Value) -> Value {
    (cart["op"], cart["idempotency_key"]) = (json!(op), json!(key));
    cart
}

/// The status of an answer, and its problem's name if it is one.
fn said(answer: &Value) -> (u64, &str) {
    let kind = answer["body"]["type"].as_str().unwrap_or_default();
    let status = answer["status"].as_u64().unwrap();
    assert_eq!(status >= 400, !kind.is_empty(), "{answer}");
    if status >= 400 {
        assert_eq!(answer["body"]["status"], status);
    }
    (status, kind.strip_prefix("/problems/").unwrap_or_default())
}

#[test]
fn every_kind_of_command_is_answered_as_it_would_be_alone() {
    let site = site();
    let client = site.client();
    let first = answers(
        &client,
        &[
            command("hold", "h-1", cart("c-1", "free", 2)),
            command("hold", "h-2", cart("c-2", "paid", 1)),
            command("buy", "b-1", cart("c\"3", "paid", 1)),
        ],
    );
    assert!(first.iter().all(|answer| said(answer) == (201, "")), "{first:?}");
    let (free, paid, order) = (&first[0]["body"], &first[1]["body"], &first[2]["body"]);
    let mut members: Vec<&String> = free.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["expires_at", "id", "items", "receipt", "total"]);
    assert_eq!(free["receipt"]["durability"], "synced");
    assert_eq!(order["customer"], "c\"3");
    assert_eq!(used(&site, "concert", "hall"), (3, 1));

    let (free, paid) = (free["id"].as_str().unwrap(), paid["id"].as_str().unwrap());
    let second = answers(
        &client,
        &[
            json!({"op": "claim", "customer": "c-1", "hold": free}),
            json!({"op": "extend", "hold": paid}),
            json!({"op": "release", "hold": paid}),
            json!({"op": "payment", "idempotency_key": "p-1", "order": order["code"],
                   "amount": 2500, "currency": "EUR", "reference": "till-1"}),
        ],
    );
    let statuses: Vec<u64> = second.iter().map(|answer| said(answer).0).collect();
    assert_eq!(statuses, [201, 200, 200, 201], "{second:?}");
    assert_eq!(second[0]["body"]["tickets"].as_array().unwrap().len(), 2);
    assert_eq!(second[1]["body"]["id"], paid);
    assert_eq!(second[2]["body"]["state"], "released");
    assert_eq!(second[3]["body"]["state"], "applied");
    assert_eq!(used(&site, "concert", "hall"), (0, 3));
    let positions: Vec<u64> = first
        .iter()
        .chain(&second)
        .map(|answer| answer["body"]["receipt"]["position"].as_u64().unwrap())
        .collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "in the order of the commands: {positions:?}");
}

#[test]
fn the_same_batch_again_sells_nothing_twice() {
    let site = site();
    let client = site.client();
    let batch = [
        command("hold", "h-1", cart("c-1", "free", 2)),
        command("buy", "b-1", cart("c-2", "free", 1)),
        command("hold", "h-3", cart("c-3", "free", 999)),
    ];
    // A key for all of it would promise what is not kept.
    let keyed = client.with("idempotency-key", "k");
    let refused = keyed.post(&path("concert", "/batch"), &json!({"commands": []})).expect(400);
    assert_eq!(refused.problem(), "invalid-idempotency-key");
    let first = answers(&client, &batch);
    let again = answers(&client, &batch);
    for (first, again) in first.iter().zip(&again).take(2) {
        assert_eq!(first.get("replayed"), None);
        assert_eq!(again["replayed"], true);
        assert_eq!(first["body"], again["body"]);
    }
    assert_eq!((said(&first[2]), said(&again[2])), ((422, "order-limit"), (422, "order-limit")));
    assert_eq!(used(&site, "concert", "hall"), (2, 1));

    // Another command under a key that was used, here or in a header.
    let alone = client.with("idempotency-key", "h-4");
    alone.post(&path("concert", "/holds"), &cart("c-4", "free", 1)).expect(201);
    let reused = [
        command("hold", "h-1", cart("c-1", "free", 1)),
        command("hold", "h-4", cart("c-4", "free", 1)),
        // Twice in one batch.
        command("hold", "h-5", cart("c-5", "free", 1)),
        command("hold", "h-5", cart("c-5", "free", 1)),
    ];
    let told = answers(&client, &reused);
    assert_eq!(said(&told[0]), (422, "idempotency-key-reused"));
    assert_eq!(said(&told[1]), (422, "idempotency-key-reused"));
    assert_eq!((said(&told[2]).0, &told[3]["replayed"]), (201, &json!(true)));
    assert_eq!(told[2]["body"], told[3]["body"]);
    assert_eq!(used(&site, "concert", "hall"), (4, 1));
}

#[test]
fn what_is_wrong_is_told_of_its_command_and_stops_no_other() {
    let site = site();
    let client = site.client();
    let hold = |item: &str| {
        format!(r#"{{"op":"hold","idempotency_key":"k","customer":"c","items":[{item}]}}"#)
    };
    let uuid = "0192f0c1-7c00-7000-8000-000000000000";
    #[rustfmt::skip]
    let rows = [
        (hold(r#"{"ticket_type":"vip","quantity":1}"#), 422, "unknown-ticket-type", "items[0].ticket_type"),
        (hold(r#"{"ticket_type":"free","quantity":-1}"#), 422, "quantity-out-of-range", "items[0].quantity"),
        (hold(r#"{"ticket_type":"free","quantity":1.5}"#), 400, "wrong-type", "items[0].quantity"),
        (hold(r#"{"ticket_type":"free"}"#), 400, "missing-field", "items[0].quantity"),
        (hold(r#"{"ticket_type":"a b","quantity":1}"#), 400, "invalid-id", "items[0].ticket_type"),
        (hold(r#"["free",1,null]"#), 400, "wrong-type", "items[0]"),
        (hold(""), 422, "item-count", "items"),
        (r#"{"op":"buy","customer":"a@b","items":[{"ticket_type":"free","quantity":1}]}"#.into(), 400, "personal-data", "customer"),
        (r#"{"op":"buy","customer":"c","hold":"x","items":[]}"#.into(), 400, "unknown-field", "hold"),
        (r#"{"op":"claim","customer":"c"}"#.into(), 400, "missing-field", "hold"),
        (r#"{"op":"claim","customer":"c","hold":"7"}"#.into(), 400, "invalid-id", "hold"),
        (format!(r#"{{"op":"release","hold":"{uuid}"}}"#), 404, "unknown-hold", ""),
        (format!(r#"{{"op":"extend","hold":"{uuid}","idempotency_key":""}}"#), 400, "invalid-idempotency-key", "idempotency_key"),
        (r#"{"op":"payment","order":"E234567892","amount":1,"currency":"EUR","reference":"r"}"#.into(), 400, "idempotency-key-required", "idempotency_key"),
        (r#"{"op":"payment","idempotency_key":"p","order":"x","amount":1,"currency":"EUR","reference":"r"}"#.into(), 400, "invalid-id", "order"),
        (r#"{"op":"sell","customer":"c"}"#.into(), 400, "wrong-type", "op"),
        (r#"{"customer":"c"}"#.into(), 400, "missing-field", "op"),
        (r#"{"op":7}"#.into(), 400, "wrong-type", "op"),
        ("7".into(), 400, "wrong-type", "body"),
        ("[]".into(), 400, "wrong-type", "body"),
    ];
    for (n, (text, status, problem, field)) in rows.iter().enumerate() {
        let good = |k: &str| {
            command("hold", &format!("{k}-{n}"), cart(&format!("{k}-{n}"), "free", 1)).to_string()
        };
        let body = format!("{{\"commands\":[{},{text},{}]}}", good("a"), good("b"));
        let answer = client.send("POST", &path("concert", "/batch"), Some(&body)).expect(200);
        let answers = answer.json();
        let told = &answers["answers"][1];
        assert_eq!(said(told), (*status, *problem), "{text}: {told}");
        assert_eq!(told["body"]["field"].as_str().unwrap_or_default(), *field, "{text}: {told}");
        assert_eq!(told["body"].get("line"), None, "a line of what?");
        for good in [0, 2] {
            let good = &answers["answers"][good];
            assert_eq!(said(good).0, 201, "{text}: {good}");
            let id = good["body"]["id"].as_str().unwrap();
            client.send("DELETE", &path("concert", &format!("/holds/{id}")), None).expect(200);
        }
    }
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn a_body_that_is_no_list_of_commands_is_refused_as_a_whole() {
    let site = site();
    let client = site.client();
    let one = command("hold", "k", cart("c", "free", 1)).to_string();
    let many = |n: usize| format!("{{\"commands\":[{}]}}", vec![one.as_str(); n].join(","));
    let rows = [
        (String::new(), 400, "malformed-json", ""),
        (format!("{{\"commands\":[{one}"), 400, "malformed-json", ""),
        (format!("{{\"commands\":[{one},]}}"), 400, "malformed-json", ""),
        (format!("[{one}]"), 400, "wrong-type", "body"),
        ("{}".into(), 400, "missing-field", "commands"),
        ("{\"commands\":{}}".into(), 400, "wrong-type", "commands"),
        (format!("{{\"commands\":[{one}],\"x\":1}}"), 400, "unknown-field", "x"),
        (many(0), 422, "command-count", "commands"),
        (many(1_001), 422, "command-count", "commands"),
    ];
    for (body, status, problem, field) in rows {
        let answer = client.send("POST", &path("concert", "/batch"), Some(&body)).expect(status);
        assert_eq!(answer.problem(), problem, "{body}");
        assert_eq!(answer.json()["field"].as_str().unwrap_or_default(), field, "{body}");
    }
    let other = client.send("POST", &path("other", "/batch"), Some(&many(1)));
    assert_eq!(other.expect(404).problem(), "unknown-event");
    let text = client.with("content-type", "text/plain");
    let text = text.send("POST", &path("concert", "/batch"), Some(&many(1)));
    assert_eq!(text.expect(415).problem(), "content-type");
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn each_command_needs_its_own_scope() {
    let site = site();
    let hold = command("hold", "h", cart("c", "free", 1));
    let payment = json!({"op": "payment", "idempotency_key": "p", "order": "E234567892",
                         "amount": 1, "currency": "EUR", "reference": "r"});
    let batch = [hold, payment];
    let pay = answers(&site.as_key(&site.key(&[Scope::Pay], None)), &batch);
    assert_eq!((said(&pay[0]), said(&pay[1])), ((403, "scope-missing"), (404, "unknown-order")));
    let sell = answers(&site.as_key(&site.key(&[Scope::Sell], None)), &batch);
    assert_eq!((said(&sell[0]), said(&sell[1])), ((201, ""), (403, "scope-missing")));
    for scope in [Scope::Read, Scope::Manage] {
        let told = send(&site.as_key(&site.key(&[scope], None)), &batch).expect(403);
        assert_eq!(told.problem(), "scope-missing");
    }
    let other = send(&site.as_key(&site.key(&[Scope::Sell], Some("lake"))), &batch);
    assert_eq!(other.expect(403).problem(), "other-organizer");
}

#[test]
fn a_thousand_commands_fit_and_share_their_syncs() {
    let site = Site::new();
    let mut hall = concert();
    hall["quotas"][0]["capacity"] = json!(600);
    open(&site, "concert", &hall);
    let client = site.client();
    let batches = || -> u64 {
        let page = client.get("/metrics").expect(200).text;
        let lines = page.lines().filter(|line| line.starts_with("onsale_shard_batches_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let before = batches();
    let commands: Vec<Value> = (0..1_000)
        .map(|n| command("hold", &format!("k-{n}"), cart(&format!("c-{n}"), "free", 1)))
        .collect();
    let answers = answers(&client, &commands);
    let placed = answers.iter().take_while(|answer| said(answer).0 == 201).count();
    assert_eq!(placed, 600);
    assert!(answers[600..].iter().all(|answer| said(answer) == (409, "none-free-now")));
    let (ids, customers): (Vec<&Value>, Vec<_>) = answers[..600]
        .iter()
        .zip(&commands)
        .map(|(a, c)| (&a["body"]["id"], &c["customer"]))
        .unzip();
    assert!(ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id)));
    // Each answer is the one to its own command.
    for n in [0, 1, 599] {
        let hold = path("concert", &format!("/holds/{}", ids[n].as_str().unwrap()));
        assert_eq!(client.get(&hold).expect(200).json()["customer"], *customers[n]);
    }
    // One for the commands; marks of shards that fell idle may come to it.
    assert!(batches() - before <= 8, "{} batches", batches() - before);
    assert_eq!(used(&site, "concert", "hall"), (600, 0));
}
