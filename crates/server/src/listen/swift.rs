//! Hot requests in their plain form, served without hyper: read into a buffer that all connections
//! of a thread share, answered with one write. What comes in any other form goes to hyper as it
//! is, with the connection; that gives it back before the next plain hot request.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, timeout};

use super::connection::{asked, reset};
use super::hot::Hot;
use super::plain::{Form, Plain, form};
use super::wire;
use crate::admission::admit_early;
use crate::api::{Api, Begun, Brief, Once, Rendered, Result, holds, known, orders};
use crate::metrics::RouteIndex;
use crate::slow::PROGRESS_BYTES;

/// The most that a plain request may have.
const REQUEST_BYTES_MAX: usize = 16 << 10;

thread_local! {
    /// What was read last on this thread.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; REQUEST_BYTES_MAX].into());
    /// The answer that is written.
    static WRITE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Reads what is there, and does something with it before the next one on this thread reads.
pub fn poll_read_with<T>(
    socket: &mut TcpStream,
    context: &mut Context<'_>,
    bytes_max: usize,
    then: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    READ.with_borrow_mut(|buffer| {
        let bytes_max = buffer.len().min(bytes_max);
        let mut buffer = ReadBuf::new(&mut buffer[..bytes_max]);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(then(buffer.filled())))
    })
}

/// What came.
enum Came {
    /// A hot request, by now under way.
    Asked(Asked),
    /// Something for hyper.
    Other(Vec<u8>),
    /// Nothing any more.
    Over,
}

/// A hot request under way.
struct Asked {
    began: Instant,
    hot: Hot,
    /// Whether its key may see no ticket codes.
    redacted: bool,
    begun: Result<Begun>,
}

/// Serves hot requests, of which the first may have been read already. Gives back what came for
/// hyper; none where the connection is over.
pub async fn serve(
    api: &Api,
    socket: &mut TcpStream,
    read: Vec<u8>,
    closing: &mut watch::Receiver<bool>,
) -> Option<Vec<u8>> {
    let mut came = match read.is_empty() {
        true => None,
        false => Some(take(api, &read)),
    };
    drop(read);
    let mut asked = pin!(asked(closing));
    let mut idle = Idle { since: Instant::now(), time: api.limits.idle_time, timer: None };
    loop {
        let next = match came.take() {
            Some(came) => came,
            None => {
                poll_fn(|context| poll_next(api, socket, asked.as_mut(), &mut idle, context)).await
            }
        };
        let Asked { began, hot, redacted, begun } = match next {
            Came::Asked(asked) => asked,
            Came::Other(bytes) => return Some(bytes),
            Came::Over => return None,
        };
        let rendered = finish(api, hot, redacted, begun).await;
        let last = *api.draining.borrow();
        let now = Instant::now();
        let status = rendered.status.as_u16();
        api.metrics.answered(route(api, hot), status, now.duration_since(began));
        idle.since = now;
        if !send(api, socket, &rendered, last).await || last {
            return None;
        }
    }
}

fn poll_next(
    api: &Api,
    socket: &mut TcpStream,
    asked: Pin<&mut impl Future<Output = ()>>,
    idle: &mut Idle,
    context: &mut Context<'_>,
) -> Poll<Came> {
    let came = poll_read_with(socket, context, usize::MAX, |bytes| match bytes {
        [] => Came::Over,
        bytes => take(api, bytes),
    });
    match came {
        Poll::Ready(came) => Poll::Ready(came.unwrap_or(Came::Over)),
        Poll::Pending if asked.poll(context).is_ready() => Poll::Ready(Came::Over),
        Poll::Pending => idle.poll(context).map(|()| Came::Over),
    }
}

/// How long nothing was asked. One timer for all requests of a connection, which is only set
/// anew once it has run out: setting it for each would cost more than the rest of the waiting.
struct Idle {
    since: Instant,
    time: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    /// Ready once it was too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = self.time;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        while timer.as_mut().poll(context).is_ready() {
            let left = time.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(tokio::time::Instant::now() + left);
        }
        Poll::Pending
    }
}

fn route(api: &Api, hot: Hot) -> RouteIndex {
    match hot {
        Hot::Holds => api.holds_route,
        Hot::Orders => api.orders_route,
    }
}

fn take(api: &Api, bytes: &[u8]) -> Came {
    let Form::Hot(request) = form(bytes, &api.limits) else { return Came::Other(bytes.to_vec()) };
    let (began, hot) = (Instant::now(), request.hot);
    let (redacted, begun) = match begin(api, &request) {
        Ok((redacted, begun)) => (redacted, Ok(begun)),
        Err(problem) => (true, Err(problem)),
    };
    Came::Asked(Asked { began, hot, redacted, begun })
}

fn begin(api: &Api, request: &Plain<'_>) -> Result<(bool, Begun)> {
    let Plain { hot, path, organizer, event, body, key, .. } = *request;
    if let Some(problem) = api.not_active() {
        return Err(problem);
    }
    let shard = match hot {
        Hot::Holds => admit_early(api, organizer, event)?,
        Hot::Orders => None,
    };
    let keys = api.keys.load();
    let grant = known(api, &keys, request.authorization)?;
    let content_type = match request.content_type {
        Once::Value(value) => Some(value),
        Once::Absent | Once::Doubled => None,
    };
    let brief =
        Brief { grant, method: "POST", path, content_type, key, body, encoded: false, shard };
    let begun = match hot {
        Hot::Holds => holds::begin(api, &brief, organizer, event),
        Hot::Orders => orders::begin(api, &brief, organizer, event),
    };
    Ok((brief.redacted(), begun?))
}

async fn finish(api: &Api, hot: Hot, redacted: bool, begun: Result<Begun>) -> Rendered {
    let replied = match begun {
        Ok(begun) => begun.replied(api).await,
        Err(problem) => Err(problem),
    };
    let answer = replied.and_then(|(stamp, replied)| match hot {
        Hot::Holds => holds::answer(api, stamp, replied),
        Hot::Orders => orders::answer(api, redacted, stamp, replied),
    });
    answer.unwrap_or_else(|problem| problem.render())
}

/// Writes an answer; whether the client has it, or will.
async fn send(api: &Api, socket: &mut TcpStream, rendered: &Rendered, last: bool) -> bool {
    let rest = WRITE.with_borrow_mut(|answer| {
        answer.clear();
        wire::answer(answer, rendered, last);
        let written = match socket.try_write(answer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        Ok::<_, io::Error>(answer[written..].to_vec())
    });
    match rest {
        Ok(rest) if rest.is_empty() => true,
        Ok(rest) => send_slowly(api, socket, &rest).await,
        Err(_) => false,
    }
}

/// The same for a client that has not made room for all of it.
async fn send_slowly(api: &Api, socket: &mut TcpStream, answer: &[u8]) -> bool {
    for part in answer.chunks(PROGRESS_BYTES) {
        match timeout(api.limits.answer_time, socket.write_all(part)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return false,
            Err(_) => {
                reset(api, socket);
                return false;
            }
        }
    }
    true
}
