//! HTTP/2, known beforehand, on the port of HTTP/1.1: the same routes and the same
//! answers, many at a time, and limits that hold.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Socket;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{KEY, Site, cart, concert, open, path, used};

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.unwrap() });
}

struct Client {
    sender: SendRequest<Bytes>,
    /// How the connection ended.
    ended: JoinHandle<Result<(), h2::Error>>,
}

async fn connect(site: &Site) -> Client {
    let socket = TcpStream::connect(site.address).await.unwrap();
    let (sender, connection) = client::handshake(socket).await.unwrap();
    Client { sender, ended: tokio::spawn(connection) }
}

fn request(method: Method, path: &str, key: Option<&str>) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    request.header("content-type", "application/json").body(()).unwrap()
}

impl Client {
    async fn send(&self, method: Method, path: &str, body: Option<String>) -> (u16, Value) {
        self.send_as(Some(KEY), method, path, body).await
    }

    async fn send_as(
        &self,
        key: Option<&str>,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> (u16, Value) {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let request = request(method, path, key);
        let (response, mut stream) = sender.send_request(request, body.is_none()).unwrap();
        if let Some(body) = body {
            stream.send_data(body.into(), true).unwrap();
        }
        read(response.await.unwrap()).await
    }
}

async fn read(response: Response<RecvStream>) -> (u16, Value) {
    let (parts, mut body) = response.into_parts();
    assert!(!parts.headers.contains_key("connection"), "HTTP/2 has no such header");
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (parts.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or_default())
}

#[test]
fn the_same_routes_give_the_same_answers() {
    let site = Site::new();
    open(&site, "concert", &concert());
    run(async {
        let client = connect(&site).await;
        let (status, alive) = client.send_as(None, Method::GET, "/healthz", None).await;
        assert_eq!((status, &alive["status"]), (200, &"alive".into()));
        let holds = path("concert", "/holds");
        let hold = || Some(cart("c-1", "free", 2).to_string());
        let (status, hold_body) = client.send(Method::POST, &holds, hold()).await;
        assert_eq!((status, &hold_body["receipt"]["durability"]), (201, &"synced".into()));
        let shown = path("concert", &format!("/holds/{}", hold_body["id"].as_str().unwrap()));
        let (status, shown) = client.send(Method::GET, &shown, None).await;
        assert_eq!((status, &shown["customer"]), (200, &"c-1".into()));
        let (status, told) = client.send_as(None, Method::POST, &holds, hold()).await;
        assert_eq!((status, &told["type"]), (401, &"/problems/key-missing".into()));
        let vip = Some(cart("c-1", "vip", 1).to_string());
        let (status, told) = client.send(Method::POST, &holds, vip).await;
        assert_eq!((status, &told["field"]), (422, &"items[0].ticket_type".into()));
        let large = Some("x".repeat(100_000));
        let (status, told) = client.send(Method::POST, &holds, large).await;
        assert_eq!((status, &told["type"]), (413, &"/problems/body-too-large".into()));
        // A body of a megabyte and a thousand answers do not fit into one window.
        let command =
            r#"{"op":"hold","customer":"c-2","items":[{"ticket_type":"vip","quantity":1}]}"#;
        let spaced = format!("{command}{}", " ".repeat(900));
        let batch = format!("{{\"commands\":[{}]}}", vec![spaced; 1_000].join(","));
        let (status, told) =
            client.send(Method::POST, &path("concert", "/batch"), Some(batch)).await;
        assert_eq!((status, told["answers"].as_array().unwrap().len()), (200, 1_000));
    });
    assert_eq!(used(&site, "concert", "hall"), (2, 0));
}

/// A client that is still sending hears the answer, and is not cut off at once.
#[test]
fn a_body_too_large_is_answered_while_it_comes() {
    let site = Site::new();
    open(&site, "concert", &concert());
    run(async {
        let client = connect(&site).await;
        for key in [Some(KEY), None] {
            let mut sender = client.sender.clone().ready().await.unwrap();
            let request = request(Method::POST, &path("concert", "/holds"), key);
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            // As much as fits into the window at once; the rest comes once the answer is there.
            stream.send_data(vec![b'x'; 100_000].into(), false).unwrap();
            let (status, told) = read(response.await.unwrap()).await;
            let expected = match key {
                Some(_) => (413, "/problems/body-too-large"),
                None => (401, "/problems/key-missing"),
            };
            assert_eq!((status, told["type"].as_str().unwrap()), expected);
            let (status, _) = client.send(Method::GET, &path("concert", ""), None).await;
            assert_eq!(status, 200, "what came after the answer is here, too");
            let reset = tokio::time::timeout(
                Duration::ZERO,
                std::future::poll_fn(|c| stream.poll_reset(c)),
            );
            assert!(reset.await.is_err(), "it was cut off");
            stream.send_data(vec![b'x'; 100_000].into(), true).unwrap();
        }
        // One that never ends is cut in the end, and not as an error of the client.
        let mut sender = client.sender.clone().ready().await.unwrap();
        let request = request(Method::POST, &path("concert", "/holds"), Some(KEY));
        let (response, mut stream) = sender.send_request(request, false).unwrap();
        stream.send_data(vec![b'x'; 8 << 20].into(), false).unwrap();
        assert_eq!(read(response.await.unwrap()).await.0, 413);
        let reset = std::future::poll_fn(|context| stream.poll_reset(context)).await;
        assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    });
}

#[test]
fn many_requests_share_a_connection_up_to_the_limit() {
    let site = Site::with(|config| config.limits.streams = 4);
    open(&site, "concert", &concert());
    run(async {
        let client = connect(&site).await;
        client.send(Method::GET, "/healthz", None).await;
        assert_eq!(client.sender.current_max_send_streams(), 4);
        let holds = path("concert", "/holds");
        let hold = |n: usize| {
            let body = cart(&format!("c-{n}"), "free", 1).to_string();
            client.send(Method::POST, &holds, Some(body))
        };
        let (a, b, c) = tokio::join!(hold(0), hold(1), hold(2));
        assert_eq!((a.0, b.0, c.0), (201, 201, 201));
    });
    assert_eq!(used(&site, "concert", "hall"), (3, 0));
}

#[test]
fn a_head_too_large_is_refused() {
    let site = Site::with(|config| config.limits.header_bytes = 4_096);
    run(async {
        let client = connect(&site).await;
        let mut large = request(Method::GET, "/healthz", None);
        large.headers_mut().insert("x", "x".repeat(5_000).parse().unwrap());
        let mut sender = client.sender.clone().ready().await.unwrap();
        let (response, _) = sender.send_request(large, true).unwrap();
        assert_eq!(response.await.unwrap().status(), 431);
        // The others go on.
        assert_eq!(client.send_as(None, Method::GET, "/healthz", None).await.0, 200);
    });
}

#[test]
fn a_flood_of_requests_taken_back_is_cut_off() {
    let site = Site::new();
    open(&site, "concert", &concert());
    run(async {
        let client = connect(&site).await;
        client.send(Method::GET, "/healthz", None).await;
        // Each is taken back before its body has come. None of them waits for anything.
        for _ in 0..10_000 {
            let Ok(mut sender) = client.sender.clone().ready().await else { break };
            let request = request(Method::POST, &path("concert", "/holds"), Some(KEY));
            let Ok((_, mut stream)) = sender.send_request(request, false) else { break };
            stream.send_reset(Reason::CANCEL);
        }
        let error = client.ended.await.unwrap().unwrap_err();
        let calm = error.reason() == Some(Reason::ENHANCE_YOUR_CALM);
        assert!(calm || error.is_io(), "{error}");
    });
    // The server is well, and nothing was sold.
    assert_eq!(used(&site, "concert", "hall"), (0, 0));
}

#[test]
fn an_idle_connection_is_closed() {
    let site = Site::with(|config| config.limits.idle_time = Duration::from_millis(100));
    run(async {
        let client = connect(&site).await;
        client.send(Method::GET, "/healthz", None).await;
        client.ended.await.unwrap().unwrap();
    });
    // Also one that says half a preface, or nothing.
    for half in [&b"PRI * HTTP/2.0\r\n\r\n"[..], b""] {
        let mut socket = Socket::connect(site.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(half).unwrap();
        assert_eq!(socket.read(&mut [0; 64]).unwrap(), 0);
    }
}

#[test]
fn a_server_that_stops_answers_what_is_under_way() {
    // Not because it falls idle.
    let mut site = Site::with(|config| config.limits.idle_time = Duration::from_secs(600));
    open(&site, "concert", &concert());
    run(async {
        let client = connect(&site).await;
        // One that says nothing, and one that has not yet said which protocol it speaks.
        let silent = Socket::connect(site.address).unwrap();
        let mut half_said = Socket::connect(site.address).unwrap();
        half_said.write_all(b"PRI * HTTP/2.0\r\n\r\n").unwrap();
        half_said.set_read_timeout(Some(PATIENCE / 4)).unwrap();
        let mut sender = client.sender.clone().ready().await.unwrap();
        let half = request(Method::POST, &path("concert", "/holds"), Some(KEY));
        let (response, mut stream) = sender.send_request(half, false).unwrap();
        // The answer to another one shows that the head of this one has come.
        client.send(Method::GET, "/healthz", None).await;
        let address = site.address;
        let stopping = tokio::task::spawn_blocking(move || site.stop());
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        // It says that it takes no more, and waits for what it has begun.
        while client.sender.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
        stream.send_data(cart("c-1", "free", 1).to_string().into(), true).unwrap();
        assert_eq!(read(response.await.unwrap()).await.0, 201);
        client.ended.await.unwrap().unwrap();
        // Nothing waits for who has asked for nothing, though the server has patience with others.
        assert_eq!(half_said.read(&mut [0; 64]).unwrap(), 0);
        stopping.await.unwrap();
        drop(silent);
    });
}
