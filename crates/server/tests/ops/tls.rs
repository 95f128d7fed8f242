//! Webhooks over TLS: to a receiver whose certificate is signed by an authority that is made here, and that the
//! server is told to trust, or not.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use onsale::http_client::{Client, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::process::{KEY, Process};

const PATIENCE: Duration = Duration::from_secs(60);
const HOOK: &str = "/v1/organizers/o/webhooks/w";

/// An authority that nobody knows yet.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// What a receiver on this machine shows.
    fn config(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer = params.signed_by(&key, &self.issuer).unwrap().into();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }
}

/// Starts a receiver; gives its address and what comes to it, whole requests.
fn receiver(authority: &Authority) -> (String, Receiver<String>) {
    let (came, all) = channel();
    let first = 26_000 + (std::process::id() % 3_000) as u16;
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port)).ok();
    let listener = (first..32_700).step_by(7).find_map(bind).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(authority.config()));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, came) = (acceptor.clone(), came.clone());
                tokio::spawn(async move {
                    // One that does not trust us breaks off.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &came).await;
                    }
                });
            }
        });
    });
    (url, all)
}

/// Takes requests whose body is JSON, one after the other.
async fn serve(
    mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    came: &Sender<String>,
) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() < length.parse().unwrap() {
            continue;
        }
        bytes.clear();
        if came.send(text).is_err() || stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// A server that trusts what is in this file.
fn server(folder: &Path, authority: &Authority) -> Process {
    let file = folder.join("trusted.pem");
    std::fs::write(&file, &authority.pem).unwrap();
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
