//! From a socket to an answer: listeners, connections and their limits, and the way
//! of the two hottest requests below the router.
//!
//! Each core has its own listener on the one port and keeps its connections. To stop
//! without cutting a request: take no new connections, ask every client to close
//! by `Connection: close`, give those that are idle a moment in which a request that is
//! on its way may still come, then close them and wait for what is under way.

mod body;
mod connection;
mod host;
mod hot;
mod plain;
mod reply;
mod swift;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::api::Api;
use crate::problem::{Problem, kind};
use crate::refused::Reason;
use crate::slow::UNSENT_BYTES_MAX;
use connection::Connection;
pub use host::wrong_host;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 4_096;
/// How long idle connections stay open once the server stops: a request that is on
/// its way when its client is not told yet arrives well within it.
const LINGER: Duration = Duration::from_millis(300);
/// How long to wait where the process has no file descriptor left.
const NO_DESCRIPTOR_WAIT: Duration = Duration::from_millis(20);

/// One listener, and the connections that it took.
pub struct Listener {
    api: Arc<Api>,
    router: axum::Router,
    socket: TcpListener,
    connections_max: usize,
}

/// Opens the port `count` times, so that each core has a listener of its own.
///
/// # Errors
/// The port is taken, or may not be used.
pub fn open(address: SocketAddr, count: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // A port that is shared on purpose would also be shared with a second server by
    // accident: so see first whether it is free.
    let probe = socket(address, false)?;
    if count == 1 {
        return Ok(vec![probe]);
    }
    let address = probe.local_addr()?;
    drop(probe);
    (0..count).map(|_| socket(address, true)).collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Inherited by each connection: what a client does not read is not kept for it.
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Listener {
    /// A listener on the runtime that it is made on, with this share of the connections.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn new(
        api: Arc<Api>,
        router: axum::Router,
        socket: std::net::TcpListener,
        connections_max: usize,
    ) -> io::Result<Listener> {
        Ok(Listener { api, router, socket: TcpListener::from_std(socket)?, connections_max })
    }

    /// Serves until the server is told to stop and every request under way has its
    /// answer, or the time for that is over.
    pub async fn run(self) {
        // True once clients are asked to close.
        let closing = watch::Sender::new(false);
        let mut draining = self.api.draining.subscribe();
        let open = Arc::new(AtomicUsize::new(0));
        let mut stop = pin!(stopped(&mut draining));
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) => self.take(stream, &open, &closing),
                    Err(error) => self.accept_failed(&error).await,
                },
            }
        }
        self.drain(open, closing).await;
    }

    async fn accept_failed(&self, error: &io::Error) {
        // A connection that broke before it was taken is no trouble of ours.
        if !matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
        ) {
            tracing::warn!(%error, "a connection could not be taken");
            tokio::time::sleep(NO_DESCRIPTOR_WAIT).await;
        }
    }

    fn take(&self, stream: TcpStream, open: &Arc<AtomicUsize>, closing: &watch::Sender<bool>) {
        let metrics = &self.api.metrics;
        if open.load(Relaxed) >= self.connections_max {
            metrics.connections_refused.fetch_add(1, Relaxed);
            metrics.refused.count(Reason::Connections);
            turn_away(&stream);
            return;
        }
        metrics.connections_total.fetch_add(1, Relaxed);
        // Without it, small answers wait for acknowledgements; a failure costs time only.
        let _ = stream.set_nodelay(true);
        let guard = OpenConnection::new(open.clone(), self.api.clone());
        let connection = Connection::new(self.api.clone(), self.router.clone());
        tokio::spawn(connection.serve(stream, closing.subscribe(), guard));
    }

    async fn drain(self, open: Arc<AtomicUsize>, closing: watch::Sender<bool>) {
        // Those that wait in the backlog believe that they are connected.
        while let Some(Ok((stream, _))) = now(self.socket.accept()).await {
            self.take(stream, &open, &closing);
        }
        drop(self.socket);
        tokio::select! {
            () = tokio::time::sleep(LINGER) => {}
            () = none_open(&open) => {}
        }
        closing.send_replace(true);
        let rest = self.api.limits.drain_time;
        if tokio::time::timeout(rest, none_open(&open)).await.is_err() {
            tracing::warn!(
                connections = open.load(Relaxed),
                "requests under way were cut: time is over"
            );
        }
    }
}

async fn stopped(draining: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to tell: that is a stop, too.
    let _ = draining.wait_for(|stop| *stop).await;
}

/// What is ready at once, if anything.
async fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::ZERO, future).await.ok()
}

async fn none_open(open: &AtomicUsize) {
    while open.load(Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Tells one connection too many to come back later. The socket's buffer is empty,
/// so the few bytes fit; if not, closing says enough.
fn turn_away(stream: &TcpStream) {
    let problem = Problem::new(&kind::BUSY, "too many connections are open");
    let _ = stream.try_write(&wire::last_answer(&problem));
}

/// Counts a connection as long as it is open.
struct OpenConnection {
    open: Arc<AtomicUsize>,
    api: Arc<Api>,
}

impl OpenConnection {
    fn new(open: Arc<AtomicUsize>, api: Arc<Api>) -> OpenConnection {
        open.fetch_add(1, Relaxed);
        api.metrics.connections.fetch_add(1, Relaxed);
        OpenConnection { open, api }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
        self.api.metrics.connections.fetch_sub(1, Relaxed);
    }
}
