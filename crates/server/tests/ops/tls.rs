//! Over https: webhooks to a receiver, and commands to a server, behind a certificate of an authority that is made here and that
//! is trusted, or not.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use onsale::http_client::{Client, Response};
use onsale_services::Authority;
use serde_json::json;

use crate::front::front;
use crate::process::{KEY, Process};

const PATIENCE: Duration = Duration::from_secs(60);
const HOOK: &str = "/v1/organizers/o/webhooks/w";

/// Starts a receiver; gives its address and what comes to it, whole requests.
fn receiver(authority: &Authority) -> (String, Receiver<String>) {
    let (came, all) = channel();
    let first = 22_000 + (std::process::id() % 3_000) as u16;
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let listener = (first..26_000).step_by(7).find_map(bind).unwrap();
    let url = front(authority, listener.local_addr().unwrap().port()) + "/hook";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let came = came.clone();
            std::thread::spawn(move || serve(stream.unwrap(), &came));
        }
    });
    (url, all)
}

/// Takes requests whose body is JSON, one after the other.
fn serve(mut stream: TcpStream, came: &Sender<String>) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() < length.parse().unwrap() {
            continue;
        }
        bytes.clear();
        if came.send(text).is_err() || stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").is_err() {
            return;
        }
    }
}

/// A server that trusts what is in this file.
fn server(folder: &Path, authority: &Authority) -> Process {
    let file = authority.write(folder);
    let trust = [("SSL_CERT_FILE", file.to_str().unwrap())];
    let server =
        Process::serve(&folder.join("data"), &["--shards", "1", "--segment-mib", "1"], &trust);
    assert_eq!(send(&server, "GET", "/readyz", "").status, 200);
    server
}

fn send(server: &Process, method: &str, path: &str, body: &str) -> Response {
    let client = Client::new(&server.url, Some(KEY)).unwrap();
    let body = (method != "GET").then_some(body);
    client.request(method, path, &[("if-none-match", "*")], body).unwrap()
}

/// Has the server tell the receiver that there is an event.
fn tell(server: &Process, url: &str) {
    let hook = json!({"url": url}).to_string();
    let client = Client::new(&server.url, Some(KEY)).unwrap();
    assert_eq!(client.request("PUT", HOOK, &[], Some(&hook)).unwrap().status, 201);
    let event = json!({
        "name": "E", "currency": "EUR", "hold_seconds": 60, "quotas": [{"id": "q", "capacity": 5}],
        "ticket_types": [{"id": "t", "name": "T", "price": 0, "quotas": ["q"]}],
    });
    let made = send(server, "PUT", "/v1/organizers/o/events/e", &event.to_string());
    assert_eq!(made.status, 201, "{}", made.problem());
}

#[test]
fn a_receiver_whose_authority_is_trusted_is_sent_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (url, came) = receiver(&authority);
    let server = server(folder.path(), &authority);
    tell(&server, &url);
    let request = came.recv_timeout(PATIENCE).expect("it is sent");
    assert!(request.starts_with("POST /hook HTTP/1.1\r\nhost: localhost:"), "{request}");
    assert!(request.contains("onsale-signature: t=") && request.contains("o/e"), "{request}");
}

#[test]
fn a_receiver_with_another_authority_is_sent_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (url, came) = receiver(&Authority::new());
    let server = server(folder.path(), &Authority::new());
    tell(&server, &url);
    let begin = std::time::Instant::now();
    let reason = loop {
        let failures = send(&server, "GET", &format!("{HOOK}/failures"), "").json();
        if let Some(reason) = failures["failing"][0]["reason"].as_str() {
            break reason.to_owned();
        }
        assert!(begin.elapsed() < PATIENCE, "no failure is told");
    };
    assert!(reason.contains("TLS") && reason.contains("invalid peer certificate"), "{reason}");
    assert!(came.try_recv().is_err(), "something was sent");
}

/// A command to the server behind a proxy.
fn list(folder: &Path, authority: &Authority, url: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["stream", "list", "--at", url])
        .env("SSL_CERT_FILE", authority.write(folder))
        .env("ONSALE_KEY", KEY)
        .output()
        .unwrap()
}

#[test]
fn a_command_goes_to_a_server_behind_a_proxy_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let server = Process::serve(&folder.path().join("data"), &["--shards", "1"], &[]);
    let port = server.url.rsplit(':').next().unwrap().parse().unwrap();
    let url = front(&authority, port);
    let listed = list(folder.path(), &authority, &url);
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.status.success() && text.contains("sales"), "{listed:?}");
    let refused = |authority: &Authority, url: &str, parts: &[&str]| {
        let output = list(folder.path(), authority, url);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{output:?}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let strange = ["localhost", "TLS: invalid peer certificate", "SSL_CERT_FILE"];
    refused(&Authority::new(), &url, &strange);
    let other_name = url.replace("localhost", "127.0.0.1");
    refused(&authority, &other_name, &["127.0.0.1", "not valid for name", "a name in the address"]);
    let plain = server.url.replace("http:", "https:");
    refused(&authority, &plain, &["check that TLS is spoken at this port"]);
}
