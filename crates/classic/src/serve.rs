//! The server: its connections with their limits, the pages and the API behind them, and the reaper of orders that
//! were not paid.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::database::Database;
use crate::{api, orders, pages};

/// Connections at once; those beyond wait to be taken.
const CONNECTIONS_MAX: usize = 1_024;
/// How long a head may take to come, and a connection may lie idle.
const HEAD_SECONDS_MAX: u64 = 15;
/// How long an answer may take, its request's body included.
const ANSWER_SECONDS_MAX: u64 = 20;
/// How long requests under way may take when the server stops.
const STOP_SECONDS_MAX: u64 = 10;
/// The largest body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Passwords that are checked at once: each takes a core for a while.
const PASSWORDS_MAX: usize = 2;
/// Wrong passwords for one address before it has to wait, and how long.
const TRIES_MAX: u32 = 10;
const TRIES_SECONDS: u64 = 15 * 60;
/// Addresses whose wrong passwords are counted.
const TRIED_MAX: usize = 10_000;

/// What each request's work needs.
#[derive(Clone)]
pub struct Office {
    /// The database.
    pub db: Database,
    /// Cookies go over TLS only: for a server that stands behind a proxy with TLS.
    pub secure_cookies: bool,
    /// Turns at checking passwords.
    pub(crate) passwords: Arc<Semaphore>,
    tried: Arc<Mutex<HashMap<String, (u32, Instant)>>>,
}

impl Office {
    /// An office over a database.
    #[must_use]
    pub fn new(db: Database, secure_cookies: bool) -> Self {
        let passwords = Arc::new(Semaphore::new(PASSWORDS_MAX));
        Self { db, secure_cookies, passwords, tried: Arc::default() }
    }

    /// Whether an address may try a password. It counts as wrong until [`Office::forget`] is told otherwise.
    pub(crate) fn may_try(&self, email: &str) -> bool {
        let mut tried = self.tried.lock().expect("nobody panics with it");
        let window = Duration::from_secs(TRIES_SECONDS);
        if tried.len() >= TRIED_MAX {
            tried.retain(|_, (_, since)| since.elapsed() < window);
        }
        // Full of young ones: an attack; whoever is new waits.
        if tried.len() >= TRIED_MAX && !tried.contains_key(email) {
            return false;
        }
        let (count, since) = tried.entry(email.to_owned()).or_insert((0, Instant::now()));
        if since.elapsed() >= window {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
        *count <= TRIES_MAX
    }

    pub(crate) fn forget(&self, email: &str) {
        self.tried.lock().expect("nobody panics with it").remove(email);
    }
}

/// Pages and API.
pub fn router(office: Office) -> Router {
    let routes = Router::new().merge(api::routes()).merge(pages::routes());
    routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).layer(from_fn(guard)).with_state(office)
}

/// Bounds an answer's time, and tells browsers what a page may do: next to nothing.
async fn guard(request: Request, next: Next) -> Response {
    let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
    let mut response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "it took too long; try again\n").into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let cache = HeaderName::from_static("cache-control");
    headers.entry(cache).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Serves until it is told to stop, then lets requests under way end.
pub async fn serve(listener: TcpListener, office: Office, stop: impl Future<Output = ()>) {
    let reaper = tokio::spawn(orders::reap(office.db.clone()));
    let service = router(office);
    let turns = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stopping, told) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let turn = Arc::clone(&turns).acquire_owned();
        let taken = tokio::select! {
            () = &mut stop => break,
            taken = async { (turn.await.expect("it is never closed"), listener.accept().await) } => taken,
        };
        let (turn, Ok((stream, _))) = taken else {
            // Out of file descriptors, perhaps: some connection will end.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (service, told) = (service.clone(), told.clone());
        tokio::spawn(async move {
            connection(stream, service, told).await;
            drop(turn);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    let all = u32::try_from(CONNECTIONS_MAX).expect("it is small");
    let limit = Duration::from_secs(STOP_SECONDS_MAX);
    if tokio::time::timeout(limit, turns.acquire_many(all)).await.is_err() {
        tracing::warn!("some requests were still under way");
    }
    reaper.abort();
    let _ = reaper.await;
}

async fn connection(stream: TcpStream, service: Router, mut told: watch::Receiver<bool>) {
    // Answers are small; waiting to fill a packet helps nobody.
    let _ = stream.set_nodelay(true);
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(HEAD_SECONDS_MAX));
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(served);
    tokio::select! {
        _ = &mut served => return,
        _ = told.wait_for(|stop| *stop) => {}
    }
    served.as_mut().graceful_shutdown();
    let _ = served.await;
}
