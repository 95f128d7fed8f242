//! Keys: who may do what, and who sees what.

use onsale::keys::Scope;
use serde_json::json;

use crate::support::{KEY, Site, cart, concert, open, path, raw, used};

#[test]
fn without_a_key_only_health_answers() {
    let site = Site::new();
    let bare = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        raw(site.address, request.as_bytes())
    };
    assert_eq!(bare("/healthz").expect(200).json(), json!({"status": "alive"}));
    assert_eq!(bare("/readyz").expect(200).json(), json!({"status": "ready"}));
    let closed = [
        "/openapi.json",
        "/metrics",
        "/problems",
        "/problems/sold-out",
        "/",
        "/v1/organizers/river/events",
        "/v1/organizers/river/events/concert/availability",
        "/v1/organizers/river/events/concert/holds",
        "/v1/streams/sales/shards",
    ];
    for path in closed {
        let answer = bare(path).expect(401);
        assert_eq!(answer.problem(), "key-missing", "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"onsale\""), "{path}");
    }
    let unknown = site.as_key("not-the-key-that-it-should-be").get("/metrics").expect(401);
    assert_eq!(unknown.problem(), "key-unknown");
    // Two keys are none, even if both are good.
    let both = site.client().with("authorization", &format!("Bearer {KEY}")).get("/metrics");
    assert_eq!(both.expect(401).problem(), "key-missing");
}

#[test]
fn each_scope_opens_its_own_doors() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let all = site.client();
    let order = all.post(&path("concert", "/orders"), &cart("c", "paid", 1)).expect(201).json();
    let order = path("concert", &format!("/orders/{}", order["code"].as_str().unwrap()));
    let payments = format!("{order}/payments");
    let refund = format!("{payments}/p-1/refund");
    let hold = path("concert", "/holds/00000000-0000-7000-8000-000000000000");
    let (event, holds) = (path("concert", ""), path("concert", "/holds"));
    let (orders, left) = (path("concert", "/orders"), path("concert", "/availability"));
    let rows: &[(&str, &str, &[Scope])] = &[
        ("GET", "/v1/organizers/river/events", &[Scope::Read, Scope::Sell, Scope::Manage]),
        ("GET", &event, &[Scope::Read, Scope::Sell, Scope::Manage]),
        ("PUT", &event, &[Scope::Manage]),
        ("PATCH", &event, &[Scope::Manage]),
        ("GET", &left, &[Scope::Read, Scope::Sell, Scope::Manage]),
        ("POST", &holds, &[Scope::Sell]),
        ("GET", &hold, &[Scope::Read, Scope::Sell, Scope::Manage]),
        ("DELETE", &hold, &[Scope::Sell]),
        ("POST", &orders, &[Scope::Sell]),
        ("GET", &order, &[Scope::Read, Scope::Sell, Scope::Manage, Scope::Pay]),
        ("POST", &payments, &[Scope::Pay]),
        ("POST", &refund, &[Scope::Pay]),
        ("GET", "/v1/streams/sales/shards", &[Scope::Read, Scope::Manage]),
        ("GET", "/v1/streams/sales/records?shard=0", &[Scope::Read, Scope::Manage]),
    ];
    let keys = Scope::ALL.map(|scope| (scope, site.key(&[scope], None)));
    for (method, path, scopes) in rows {
        for (scope, key) in &keys {
            let body = (*method != "GET").then_some("[");
            let answer = site.as_key(key).send(method, path, body);
            if scopes.contains(scope) {
                assert_ne!(answer.status, 403, "{scope:?} {method} {path}: {answer:?}");
                continue;
            }
            assert_eq!(answer.problem(), "scope-missing", "{scope:?} {method} {path}");
            let told = answer.json();
            let told: Vec<&str> =
                told["scopes"].as_array().unwrap().iter().filter_map(|s| s.as_str()).collect();
            let expected: Vec<&str> = scopes.iter().map(|s| s.name()).collect();
            let sorted = |mut names: Vec<&str>| {
                names.sort_unstable();
                names.join(" ")
            };
            assert_eq!(sorted(told), sorted(expected), "{method} {path}");
        }
    }
    // A confirmed order is cancelled with manage, and not with sell.
    let order = all.post(&path("concert", "/orders"), &cart("c", "free", 1)).expect(201).json();
    let cancel = path("concert", &format!("/orders/{}/cancel", order["code"].as_str().unwrap()));
    let sell = site.as_key(&keys[0].1).send("POST", &cancel, None).expect(403);
    assert_eq!(sell.problem(), "order-confirmed");
    let manage = keys.iter().find(|(scope, _)| *scope == Scope::Manage).unwrap();
    site.as_key(&manage.1).send("POST", &cancel, None).expect(200);
}

#[test]
fn a_key_of_another_organizer_opens_nothing() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let lake = site.as_key(&site.key(&Scope::ALL, Some("lake")));
    let rows = [
        lake.get("/v1/organizers/river/events"),
        lake.get(&path("concert", "/availability")),
        lake.post(&path("concert", "/holds"), &cart("c", "free", 1)),
        lake.post(&path("concert", "/orders"), &cart("c", "free", 1)),
        lake.with("if-match", "*").put(&path("concert", ""), &concert()),
    ];
    for answer in rows {
        assert_eq!(answer.expect(403).problem(), "other-organizer");
    }
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
    lake.put("/v1/organizers/lake/events/concert", &concert()).expect(201);
}

#[test]
fn a_key_that_only_reads_sees_no_ticket_codes() {
    let site = Site::new();
    open(&site, "concert", &concert());
    let order = site.client().post(&path("concert", "/orders"), &cart("c", "free", 1));
    let order = order.expect(201).json();
    let whole = order["tickets"][0]["code"].as_str().unwrap();
    let order_path = path("concert", &format!("/orders/{}", order["code"].as_str().unwrap()));
    let reader = site.as_key(&site.key(&[Scope::Read], Some("river")));
    let answer = reader.get(&order_path).expect(200);
    assert_eq!(answer.json()["tickets"][0]["code"], format!("{}…", &whole[..2]));
    assert!(!answer.text.contains(whole));
    let seller = site.as_key(&site.key(&[Scope::Read, Scope::Sell], None));
    assert!(seller.get(&order_path).expect(200).text.contains(whole));
}

#[test]
fn a_revoked_key_stops_to_work() {
    let site = Site::new();
    let key = site.key(&[Scope::Read], None);
    let entries = onsale::keys::list(site.folder.path()).unwrap();
    let id = entries.iter().find(|entry| entry.scopes == [Scope::Read]).unwrap().id.to_string();
    onsale::keys::revoke(site.folder.path(), &id).unwrap();
    site.until("the key is revoked", || site.as_key(&key).get("/problems").status == 401);
    site.as_key(KEY).get("/problems").expect(200);
}
