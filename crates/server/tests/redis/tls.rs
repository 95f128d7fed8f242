//! A Redis that speaks TLS, by itself and as a cluster, with a certificate of an authority that the server trusts, or not: the
//! store, and streams that are copied there.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use onsale_services::{
    Authority, ask_redis, redis, redis_cluster_with_tls, redis_with_tls, wait_until,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{KEY, Node};

/// Runs the program, which trusts this authority, to its end.
fn run(folder: &Path, authority: &Authority, arguments: &[&str]) -> Output {
    // A server that starts though it must not is ended.
    Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_onsale")])
        .args(arguments)
        .env("SSL_CERT_FILE", authority.write(folder))
        .env("ONSALE_KEY", KEY)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What a server on this store says, which must not start.
fn refused(folder: &Path, authority: &Authority, store: &str) -> String {
    let data = folder.join("refused");
    let data = data.to_str().unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data", data, "--store", store];
    let output = run(folder, authority, &serve);
    assert!(!output.status.success(), "it starts: {store}");
    said(&output)
}

#[test]
fn a_store_and_streams_go_through_tls_where_the_certificate_is_trusted() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let redis = redis_with_tls(&authority.certificate("localhost"));
    let url = format!("rediss://localhost:{}", redis.tls_port());
    let file = authority.write(folder.path());
    let trusted = ("SSL_CERT_FILE", file.to_str().unwrap());
    let node = Node::start_at(&url, "2", &[trusted]);
    node.open_event(10);
    assert_eq!(node.hold("one", "c").status, 201);
    let audit = run(folder.path(), &authority, &["journal", "audit", "--store", &url]);
    assert!(audit.status.success(), "{}", said(&audit));
    // All of it came by the port of TLS.
    let plain = |kind: &str| {
        let clients = ask_redis(redis.port(), &["CLIENT", "LIST", "TYPE", kind]).unwrap();
        let port = format!(":{} ", redis.tls_port());
        clients.iter().filter(|line| line.contains(" laddr=") && !line.contains(&port)).count()
    };
    // But whoever asks.
    assert_eq!(plain("normal"), 1);

    // A copy of the streams, to another Redis with TLS.
    let streams = redis_with_tls(&authority.certificate("localhost"));
    let there = format!("rediss://localhost:{}", streams.tls_port());
    let data = folder.path().join("data");
    let files = super::Process::serve(&data, &["--shards", "1"], &[]);
    let client = onsale::http_client::Client::new(&files.url, Some(KEY)).unwrap();
    let event = json!({ "name": "E", "currency": "EUR", "quotas": [{ "id": "q", "capacity": 5 }],
        "ticket_types": [{ "id": "t", "name": "T", "price": 0, "quotas": ["q"] }] });
    let put = |path: &str| {
        let made = client.request("PUT", path, &[("if-none-match", "*")], Some(&event.to_string()));
        assert_eq!(made.unwrap().status, 201);
    };
    put("/v1/organizers/o/events/first");
    let relay =
        ["stream", "relay", "--from", data.to_str().unwrap(), "--to", &there, "--until-end"];
    let relayed = run(folder.path(), &authority, &relay);
    assert!(relayed.status.success(), "{}", said(&relayed));
    let mut tail = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["stream", "tail", "sales", "--at", &there])
        .env(trusted.0, trusted.1)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let listeners = || ask_redis(streams.port(), &["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap();
    wait_until("it listens", || listeners().iter().any(|line| line.contains("psub=1")));
    put("/v1/organizers/o/events/second");
    let relayed = run(folder.path(), &authority, &relay);
    assert!(relayed.status.success(), "{}", said(&relayed));
    let (sender, lines) = channel();
    let mut told = BufReader::new(tail.stdout.take().unwrap()).lines();
    std::thread::spawn(move || sender.send(told.next()));
    let line = lines.recv_timeout(super::SOON);
    tail.kill().unwrap();
    tail.wait().unwrap();
    let line = line.expect("nothing comes").unwrap().unwrap();
    assert!(line.contains("second"), "{line}");
}

#[test]
fn all_nodes_of_a_cluster_are_spoken_to_through_tls() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    // A cluster leads from node to node by address.
    let cluster = redis_cluster_with_tls(3, &authority.certificate("127.0.0.1"));
    let file = authority.write(folder.path());
    let trusted = ("SSL_CERT_FILE", file.to_str().unwrap());
    let url = format!("rediss://127.0.0.1:{}", cluster.nodes[1].tls_port());
    let node = Node::start_at(&url, "16", &[trusted]);
    node.open_event(10);
    assert_eq!(node.hold("one", "c").status, 201);
    // Its shards are on all three, and it was told of the port for TLS of one only.
    for server in &cluster.nodes {
        let keys = ask_redis(server.port(), &["DBSIZE"]).unwrap();
        assert_ne!(keys, [":0"], "a node has no keys");
    }
    let audit = run(folder.path(), &authority, &["journal", "audit", "--store", &url, "--json"]);
    let told: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(told["ok"], true, "{told}");
}

#[test]
fn a_certificate_that_is_not_trusted_or_of_another_name_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let server = redis_with_tls(&authority.certificate("localhost"));
    let has_all = |told: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
    };
    let url = format!("rediss://localhost:{}", server.tls_port());
    let strange = ["invalid peer certificate", "SSL_CERT_FILE"];
    let told = refused(folder.path(), &Authority::new(), &url);
    has_all(&told, &strange);
    has_all(&told, &["store.url"]);
    let list = ["stream", "list", "--at", &url];
    has_all(&said(&run(folder.path(), &Authority::new(), &list)), &strange);
    let other_name = url.replace("localhost", "127.0.0.1");
    let parts = ["store.url", "not valid for name", "a name in the address"];
    has_all(&refused(folder.path(), &authority, &other_name), &parts);
    // Nothing but the certificate is in the way.
    assert!(run(folder.path(), &authority, &list).status.success());
    // The port of those without TLS, and the other way round.
    let without = redis();
    let plain = format!("rediss://localhost:{}", without.port());
    has_all(
        &refused(folder.path(), &authority, &plain),
        &["store.url", "check that TLS is spoken at this port"],
    );
    let insecure = url + "#insecure";
    has_all(&refused(folder.path(), &authority, &insecure), &["store's address must be"]);
}

#[test]
fn a_server_that_wants_certificates_of_its_clients_is_told_from_others() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let server = redis_with_tls(&authority.certificate("localhost"));
    ask_redis(server.port(), &["CONFIG", "SET", "tls-auth-clients", "yes"]).unwrap();
    let url = format!("rediss://localhost:{}", server.tls_port());
    let told = refused(folder.path(), &authority, &url);
    assert!(told.contains("CertificateRequired") && told.contains("tls-auth-clients no"), "{told}");
}
