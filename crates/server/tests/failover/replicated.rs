//! A database with a synchronous standby of its own: receipts say `replicated` only as long as it is so, sales wait where
//! the standby is gone, and what was acknowledged is there when the standby takes the primary's place.

use std::time::Duration;

use onsale::http_client::Response;
use onsale_services::{Server, postgres_following, postgres_with, wait_until};
use serde_json::json;

use crate::buyers::{EVENT, client};
use crate::process::Process;
use crate::{DEFINITION, PATIENCE, sql};

/// How long sales are seen to stop.
const STOPPED: Duration = Duration::from_millis(1_500);

fn order(server: &Process, customer: u64, patience: Duration) -> Option<Response> {
    let body = json!({ "customer": format!("c-{customer}"),
        "items": [{ "ticket_type": "free", "quantity": 1 }] });
    let (path, key) = (format!("{EVENT}/orders"), format!("order-{customer}"));
    let headers = [("idempotency-key", key.as_str())];
    let answer =
        client(&server.url, patience).request("POST", &path, &headers, Some(&body.to_string()));
    answer.ok()
}

fn sold(server: &Process, customer: u64) -> (String, String) {
    let answer = order(server, customer, PATIENCE).expect("an answer");
    assert!(matches!(answer.status, 200 | 201), "{}", answer.problem());
    let json = answer.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (text(&json["code"]), text(&json["receipt"]["durability"]))
}

fn serve(data: &std::path::Path, primary: &Server, standby: &Server) -> Process {
    let url = format!(
        "postgres://onsale@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        primary.port(),
        standby.port()
    );
    let settings = [
        ("ONSALE_JOURNAL_LEASE_MS", "400"),
        ("ONSALE_JOURNAL_WAIT_MS", "60000"),
        ("ONSALE_SHARDS", "1"),
        // Sales that wait for the standby are not turned away for that.
        ("ONSALE_LIMITS_QUEUE_MS", "60000"),
        ("RUST_LOG", "error"),
    ];
    let server =
        Process::serve(data, &["--journal", &url, "--standby", "--segment-mib", "1"], &settings);
    let ready = || client(&server.url, PATIENCE).request("GET", "/readyz", &[], None);
    wait_until("it is active", || ready().is_ok_and(|answer| answer.status == 200));
    server
}

#[test]
fn what_is_replicated_survives_the_primary_and_is_not_said_of_less() {
    let mut primary = postgres_with(&["fsync=on"]);
    let mut standby = postgres_following(&primary);
    let set = |server: &Server, names: &str| {
        sql(server.url(), &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'"));
        sql(server.url(), "SELECT pg_reload_conf()");
        let shown =
            || sql(server.url(), "SHOW synchronous_standby_names").as_deref() == Some(names);
        wait_until("the setting is in force", shown);
    };
    let folder = tempfile::tempdir().unwrap();
    set(&primary, "*");
    let in_sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
    wait_until("the standby is in sync", || sql(primary.url(), in_sync).as_deref() == Some("1"));
    let mut server = serve(folder.path(), &primary, &standby);
    let send = |method, condition: (&str, &str), body: &str| {
        client(&server.url, PATIENCE)
            .request(method, EVENT, &[condition], Some(body))
            .unwrap()
            .status
    };
    assert_eq!(send("PUT", ("if-none-match", "*"), DEFINITION), 201);
    assert_eq!(send("PATCH", ("if-match", "*"), r#"{"state":"open"}"#), 200);
    let (first, durability) = sold(&server, 1);
    assert_eq!(durability, "replicated");
    // The standby is gone: nothing is told, not even what is left.
    standby.kill();
    assert!(order(&server, 2, STOPPED).is_none(), "an order was told of without the standby");
    let path = format!("{EVENT}/availability");
    assert!(client(&server.url, STOPPED).request("GET", &path, &[], None).is_err());
    standby.restart();
    let (second, durability) = sold(&server, 2);
    assert_eq!(durability, "replicated");
    let mut codes = vec![first, second];
    codes.extend((3..50).map(|customer| sold(&server, customer).0));
    // The primary is gone for good, and its standby takes its place.
    primary.kill();
    sql(standby.url(), "SELECT pg_promote()");
    // It has no standby of its own, so `replicated` would be a lie: the server ends.
    assert_eq!(server.child.wait().unwrap().code(), Some(1));
    let server = serve(folder.path(), &primary, &standby);
    for code in &codes {
        let path = format!("{EVENT}/orders/{code}");
        let answer = client(&server.url, PATIENCE).request("GET", &path, &[], None).unwrap();
        assert_eq!(answer.status, 200, "{code} was acknowledged: {}", answer.problem());
    }
    assert_eq!(sold(&server, 50).1, "synced");
    let audit = onsale::audit::audit_rows(standby.url()).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    assert_eq!(audit.report.orders.confirmed, codes.len() as u64 + 1);
}
