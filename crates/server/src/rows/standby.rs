//! What a standby says: that it is one, and where the active server is. Nothing else is answered before it is active
//! itself; then this ends, and the server takes its port.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::api::Rendered;
use crate::api::system::PROMETHEUS;
use crate::config::Config;
use crate::listen;
use crate::listen::wrong_host;
use crate::metrics;
use crate::output::announce;
use crate::problem::{Problem, kind};

/// Connections that are served at a time; others wait.
const CONNECTIONS_MAX: usize = 1_000;
/// How long a connection may last: a request is answered at once, and then it is closed.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// What a standby knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Where the active server is; empty: that is not known yet.
    pub active: String,
    /// The last position in the copy of each shard.
    pub positions: Vec<u64>,
}

/// Answers for a standby, on a thread of its own, as long as it lives.
pub struct Standby {
    standing: watch::Sender<Standing>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Standby {
    /// Listens where the server will.
    ///
    /// # Errors
    /// The port can't be had.
    pub fn start(config: &Config) -> anyhow::Result<Standby> {
        let mut sockets = listen::open(config.listen, 1)
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let socket = sockets.pop().context("a listener has a socket")?;
        let address = socket.local_addr()?;
        let standing = watch::Sender::new(Standing::default());
        let (seen, (end, ended)) = (standing.subscribe(), oneshot::channel());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let builder = std::thread::Builder::new().name("standby".to_owned());
        let thread = builder.spawn(move || {
            runtime.block_on(async {
                match TcpListener::from_std(socket) {
                    Ok(socket) => tokio::select! {
                        () = serve(socket, seen) => {}
                        _ = ended => {}
                    },
                    Err(error) => tracing::error!(%error, "the standby can't listen"),
                }
            });
        })?;
        tell(address);
        Ok(Standby { standing, end: Some(end), thread: Some(thread) })
    }

    /// Takes note of what is known now.
    pub fn show(&self, now: Standing) {
        self.standing.send_replace(now);
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told.
            let _ = thread.join();
        }
    }
}

fn tell(address: SocketAddr) {
    announce(&format!("standby on http://{address}"));
}

async fn serve(socket: TcpListener, standing: watch::Receiver<Standing>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = places.clone().acquire_owned().await.expect("it is never closed");
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let standing = standing.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = match wrong_host(&request) {
                    Some(problem) => problem.render().into_http(Body::from),
                    None => answer(request.uri().path(), &standing.borrow()),
                };
                std::future::ready(Ok::<_, Infallible>(answer))
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            let http = http.timer(TokioTimer::new()).keep_alive(false);
            let connection = http.serve_connection(TokioIo::new(stream), answer);
            // Who is too slow, or breaks off, needs no answer.
            let _ = tokio::time::timeout(CONNECTION_TIME, connection).await;
            drop(place);
        });
    }
}

fn answer(path: &str, standing: &Standing) -> Response<Body> {
    let Standing { active, positions } = standing;
    let records: u64 = positions.iter().sum();
    let rendered = match path {
        "/healthz" => Rendered::json(
            StatusCode::OK,
            &json!({ "status": "alive", "role": "standby", "records": records }),
        ),
        "/metrics" => {
            let text = metrics::render_standby(positions);
            Rendered::new(StatusCode::OK, PROMETHEUS, text.into())
        }
        "/readyz" => Problem::not_active(&kind::NOT_READY, "standby", active).render(),
        _ => Problem::not_active(&kind::NOT_ACTIVE, "standby", active).render(),
    };
    rendered.into_http(Body::from)
}
