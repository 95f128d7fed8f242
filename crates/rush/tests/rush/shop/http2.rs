//! The same shop over HTTP/2.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::{Request, State};

/// Requests at a time on one socket.
const STREAMS_MAX: u32 = 8;

/// Answers all that comes on a socket.
pub async fn answer_all(stream: TcpStream, state: &Rc<RefCell<State>>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut socket) = builder.max_concurrent_streams(STREAMS_MAX).handshake(stream).await else {
        return;
    };
    let (vanish, vanished) = (Rc::new(Notify::new()), Cell::new(false));
    while !vanished.get() {
        tokio::select! {
            accepted = socket.accept() => {
                let Some(Ok((request, respond))) = accepted else { return };
                tokio::task::spawn_local(answer(request, respond, state.clone(), vanish.clone()));
            }
            () = vanish.notified() => vanished.set(true),
        }
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    state: Rc<RefCell<State>>,
    vanish: Rc<Notify>,
) {
    let (parts, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        bytes.extend_from_slice(&part);
    }
    assert_eq!(parts.headers["authorization"], "Bearer secret");
    let key = parts.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    let line = format!("{} {}", parts.method, parts.uri.path());
    let ((status, body), gone) = {
        let mut state = state.borrow_mut();
        let answer = state.answer(&Request { line, key, body });
        state.answers += 1;
        let (answers, every) = (state.answers, state.script.vanish_every);
        (answer, every.is_some_and(|n| answers.is_multiple_of(n)))
    };
    if gone {
        // It was done, but nobody hears of it.
        vanish.notify_one();
        return;
    }
    let head = http::Response::builder().status(status).header("retry-after", "0");
    // A client that is gone hears nothing.
    if let Ok(mut sending) = respond.send_response(head.body(()).unwrap(), false) {
        let _ = sending.send_data(body.to_string().into(), true);
    }
}
