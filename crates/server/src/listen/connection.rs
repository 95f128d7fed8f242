//! One connection: which protocol it speaks, its requests, and its end.
//!
//! HTTP/1.1 and HTTP/2 share the port. A client that knows beforehand that it may speak
//! HTTP/2, as a front tier does, begins with the preface of RFC 9113, section 3.4;
//! every other one is taken for HTTP/1.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::reply::Reply;
use super::wire::{self, Wire};
use super::{OpenConnection, hot, swift};
use crate::api::Api;
use crate::problem::{Problem, kind};
use crate::refused::Reason;
use crate::slow::{Cut, Pace, Seen};

/// The first bytes of HTTP/2.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most that hyper reads ahead of one connection.
const READ_AHEAD_BYTES: usize = 64 << 10;
/// What a client may send on all streams of a connection before it is read.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What a client may send on one stream before it is read.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Largest frame.
const FRAME_BYTES_MAX: u32 = 16 << 10;
/// Of an answer, what is kept for a client that does not read.
const SEND_BYTES_MAX: usize = 64 << 10;
/// Streams that a client opened and took back at once, unseen yet: more is an attack.
const RESETS_MAX: usize = 20;
/// Streams that were reset for the client's mistakes: more is an attack.
const MISTAKES_MAX: usize = 64;

/// What the requests of one connection share.
pub struct Connection {
    pub api: Arc<Api>,
    pub router: axum::Router,
    /// Whether a request was refused before its body was read.
    unread: AtomicBool,
    /// What the socket knows of the requests, and they of it.
    seen: Arc<Seen>,
    /// Requests that began, and that ended.
    began: AtomicU64,
    ended: AtomicU64,
}

impl Connection {
    /// A connection that has not said a word.
    pub fn new(api: Arc<Api>, router: axum::Router) -> Arc<Connection> {
        let (began, ended) = (AtomicU64::new(0), AtomicU64::new(0));
        let (unread, seen) = (AtomicBool::new(false), Arc::default());
        Arc::new(Connection { api, router, unread, seen, began, ended })
    }

    /// Serves until the client closes, or is asked to by `closing`.
    pub async fn serve(
        self: Arc<Self>,
        mut socket: TcpStream,
        mut closing: watch::Receiver<bool>,
        _open: OpenConnection,
    ) {
        let (mut read, mut is_first) = (Vec::new(), true);
        loop {
            let served = swift::serve(&self.api, &mut socket, read, &mut closing).await;
            let Some(mut other) = served else { return };
            // Boxed from here on: a connection that needs none of this shall have no room for it.
            if is_first {
                match Box::pin(self.version(&mut socket, &mut other, &mut closing)).await {
                    Some(Version::Http1) => {}
                    Some(Version::Http2) => {
                        return Box::pin(self.http2(socket, other, closing)).await;
                    }
                    None => return,
                }
            }
            is_first = false;
            (socket, read) = match Box::pin(self.http1(socket, other, &mut closing)).await {
                Some(back) => back,
                None => return,
            };
        }
    }

    /// Which version begins with these bytes; reads on as far as that is open. None where the client
    /// does not say in time, or is asked to close.
    async fn version(
        &self,
        socket: &mut TcpStream,
        first: &mut Vec<u8>,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<Version> {
        let idle_time = self.api.limits.idle_time;
        let version = tokio::time::timeout(idle_time, version(socket, first));
        tokio::select! {
            version = version => version.ok()?.ok(),
            () = asked(closing) => None,
        }
    }

    /// Serves with hyper what came first and what comes then, until the connection ends or a plain hot
    /// request comes, which is given back.
    async fn http1(
        self: &Arc<Self>,
        socket: TcpStream,
        first: Vec<u8>,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<wire::Back> {
        let limits = &self.api.limits;
        let pace = Pace::new(self.seen.clone(), Some(limits.header_time), limits.answer_time);
        let (wire, comes_back) = Wire::lend(socket, first, pace, Some(*limits));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle_time)
            .max_header_size(limits.header_bytes)
            .max_buf_size(READ_AHEAD_BYTES.max(limits.header_bytes))
            // One write for head and body. Not `pipeline_flush`: it keeps answers back as long
            // as requests come, without a limit.
            .writev(false)
            // Else hyper reads while it waits for an answer, to see whether the client is
            // gone, and has a second buffer for that. What was asked is done anyway.
            .half_close(true)
            .serve_connection(wire, service_fn(|request| self.answer(request)));
        // In a block that ends with it: only then the socket comes back.
        let result = async {
            let mut connection = pin!(connection);
            tokio::select! {
                result = connection.as_mut() => return result,
                () = asked(closing) => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        };
        let result = result.await;
        match comes_back.await {
            Ok((socket, hot)) if !hot.is_empty() => Some((socket, hot)),
            Ok((socket, _)) => {
                end(self, socket, result).await;
                None
            }
            Err(_) => None,
        }
    }

    async fn http2(
        self: Arc<Self>,
        socket: TcpStream,
        first: Vec<u8>,
        mut closing: watch::Receiver<bool>,
    ) {
        let limits = &self.api.limits;
        let pace = Pace::new(self.seen.clone(), None, limits.answer_time);
        let (wire, comes_back) = Wire::lend(socket, first, pace, None);
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_pending_accept_reset_streams(RESETS_MAX)
            .max_local_error_reset_streams(MISTAKES_MAX)
            .serve_connection(wire, service_fn(|request| self.answer(request)));
        // In a block that ends with it: only then the socket comes back.
        let result = async {
            let mut connection = pin!(connection);
            tokio::select! {
                result = connection.as_mut() => return result,
                () = self.falls_idle() => {}
                () = asked(&mut closing) => {}
            }
            connection.as_mut().graceful_shutdown();
            // A client that does not read its answers would stay for ever.
            tokio::select! {
                result = connection => result,
                () = self.falls_idle() => Ok(()),
            }
        };
        if let Err(error) = result.await {
            tracing::debug!(%error, "a connection ended");
        }
        if let Ok((socket, _)) = comes_back.await {
            match self.seen.cut() {
                Some(Cut::Answer) => reset(&self.api, &socket),
                _ => wire::part(socket, &[]).await,
            }
        }
    }

    /// Waits until no request began and none was under way for as long as a connection may be idle.
    async fn falls_idle(&self) {
        let mut began = self.began.load(Relaxed);
        loop {
            tokio::time::sleep(self.api.limits.idle_time).await;
            let now = self.began.load(Relaxed);
            if now == began && self.ended.load(Relaxed) == now {
                return;
            }
            began = now;
        }
    }

    // Boxed: hyper keeps room for it as long as the connection is open, and moves
    // it there, so that an idle connection would cost what a busy one does.
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Reply>, Infallible>> + Send>> {
        let connection = self.clone();
        connection.seen.begin_request();
        Box::pin(async move {
            let _under_way = UnderWay::new(&connection);
            let answer = hot::answer(&connection, request).await;
            connection.seen.end_request();
            if leaves_body_unread(answer.status()) {
                connection.unread.store(true, Relaxed);
            }
            Ok(answer)
        })
    }
}

/// Counts a request as long as it has no answer; its client may also take it back.
struct UnderWay<'a>(&'a Connection);

impl UnderWay<'_> {
    fn new(connection: &Connection) -> UnderWay<'_> {
        connection.began.fetch_add(1, Relaxed);
        UnderWay(connection)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Version {
    Http1,
    Http2,
}

/// Reads as many of the first bytes as it takes to tell the version.
async fn version(socket: &mut TcpStream, first: &mut Vec<u8>) -> io::Result<Version> {
    loop {
        if first.starts_with(PREFACE) {
            return Ok(Version::Http2);
        }
        if !PREFACE.starts_with(first) || socket.read_buf(first).await? == 0 {
            return Ok(Version::Http1);
        }
    }
}

/// Waits until clients are asked to close.
pub async fn asked(closing: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to ask: then it is over, too.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// Whether such an answer may have been made before the request's body was read.
fn leaves_body_unread(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// Ends a connection: tells what was wrong with a head that can't be read, and makes
/// sure that the last answer is heard.
async fn end(connection: &Connection, socket: TcpStream, result: hyper::Result<()>) {
    let (api, seen) = (&connection.api, &connection.seen);
    let refused = &api.metrics.refused;
    let problem = match result {
        Err(_) if seen.cut() == Some(Cut::Answer) => return reset(api, &socket),
        Err(_) if seen.cut() == Some(Cut::Head) => {
            refused.count(Reason::HeadSlow);
            let seconds = api.limits.header_time.as_secs_f64();
            let detail = format!("the head did not come within {seconds} seconds");
            Problem::new(&kind::REQUEST_TIMEOUT, detail)
        }
        Err(error) if error.is_parse_too_large() => {
            refused.count(Reason::HeadTooLarge);
            Problem::new(&kind::HEAD_TOO_LARGE, "the head of the request is too large")
        }
        Err(error) if error.is_parse() => Problem::new(&kind::MALFORMED_HEAD, error.to_string()),
        Err(error) => {
            tracing::debug!(%error, "a connection ended");
            return;
        }
        Ok(()) if connection.unread.load(Relaxed) => return wire::part(socket, &[]).await,
        Ok(()) => return,
    };
    match seen.kept_back() || seen.cut().is_some() {
        true => wire::part(socket, &wire::last_answer(&problem)).await,
        false => wire::part(socket, &[]).await,
    }
}

/// Lets go of a client that does not read: nor does the system keep what it does not take.
pub fn reset(api: &Api, socket: &TcpStream) {
    api.metrics.refused.count(Reason::AnswerSlow);
    // If it can't be set, the system gives up later by itself.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
