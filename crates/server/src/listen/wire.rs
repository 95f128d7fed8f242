//! A connection's socket that comes back when hyper is done with it, so that the last
//! word can still be said on it.
//!
//! hyper has an answer of its own to a head that it can't read, without a word: it is kept
//! back, and a problem is sent instead. And hyper closes a socket with unread bytes in
//! it, which resets the connection and may take the answer with it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::plain::{Form, form};
use super::swift::poll_read_with;
use crate::api::Rendered;
use crate::api::number;
use crate::config::Limits;
use crate::problem::Problem;
use crate::slow::Pace;

/// How long the rest of what a client sends is read before its connection is closed.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is read at most.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// How much of it is read at a time.
const SCRAP_BYTES: usize = 16 << 10;

/// The socket, lent to hyper, with what was read of it before.
pub struct Wire {
    /// What was read of it before.
    first: Bytes,
    socket: Option<TokioIo<TcpStream>>,
    back: Option<oneshot::Sender<Back>>,
    pace: Pace,
    /// What makes a request a plain one; none where it does not matter.
    limits: Option<Limits>,
    /// Whether hyper was given nothing but plain requests, so that it keeps nothing unread
    /// once they are answered.
    clean: bool,
    /// A plain hot request that was read, and is for the swift way.
    hot: Vec<u8>,
}

/// What comes back: the socket, and a plain hot request that was read of it, or nothing.
pub type Back = (TcpStream, Vec<u8>);

impl Wire {
    /// Lends a socket of which this was read; it comes back once this is dropped. With limits, for
    /// HTTP/1, it also comes back where the next request is a plain hot one: hyper is told then
    /// that the client has closed.
    pub fn lend(
        socket: TcpStream,
        first: Vec<u8>,
        pace: Pace,
        limits: Option<Limits>,
    ) -> (Wire, oneshot::Receiver<Back>) {
        let (back, comes_back) = oneshot::channel();
        let clean = limits.is_some_and(|limits| !matches!(form(&first, &limits), Form::Other));
        let (first, socket) = (Bytes::from(first), Some(TokioIo::new(socket)));
        let (back, hot) = (Some(back), Vec::new());
        (Wire { first, socket, back, pace, limits, clean, hot }, comes_back)
    }

    /// Reads what may be the next request.
    fn poll_read_next(
        &mut self,
        limits: &Limits,
        context: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Wire { socket, pace, clean, hot, .. } = self;
        let socket = socket.as_mut().expect("it is there until the drop").inner_mut();
        let read = poll_read_with(socket, context, buffer.remaining(), |bytes| {
            match form(bytes, limits) {
                Form::Hot(_) => return hot.extend_from_slice(bytes),
                Form::Plain => {}
                Form::Other => *clean = false,
            }
            pace.read();
            buffer.put_slice(bytes);
        });
        match read {
            Poll::Pending => pace.wait_to_read(context),
            ready => ready,
        }
    }

    fn socket(&mut self) -> Pin<&mut TokioIo<TcpStream>> {
        Pin::new(self.socket.as_mut().expect("it is there until the drop"))
    }

    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Pending => return self.pace.wait_to_write(context),
            Poll::Ready(Ok(bytes)) => self.pace.wrote(*bytes),
            Poll::Ready(Err(_)) => {}
        }
        polled
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let (Some(socket), Some(back)) = (self.socket.take(), self.back.take()) {
            // Nobody waits for it: then it is closed here.
            let _ = back.send((socket.into_inner(), std::mem::take(&mut self.hot)));
        }
    }
}

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if !wire.first.is_empty() {
            wire.pace.read();
            let length = wire.first.len().min(buffer.remaining());
            buffer.put_slice(&wire.first.split_to(length));
            // What is there already need not wait for another turn.
            if buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            return match wire.socket().poll_read(context, buffer) {
                Poll::Pending => Poll::Ready(Ok(())),
                ready => ready,
            };
        }
        if let Some(limits) = wire.limits.filter(|_| wire.clean && wire.pace.is_idle()) {
            return wire.poll_read_next(&limits, context, &mut buffer);
        }
        match wire.socket().poll_read(context, buffer) {
            Poll::Pending => wire.pace.wait_to_read(context),
            ready => {
                wire.pace.read();
                ready
            }
        }
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.pace.keeps_back() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let polled = wire.socket().poll_write(context, bytes);
        wire.wrote(context, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        wire.pace.flushed();
        wire.socket().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The socket comes back first.
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(Write::is_write_vectored)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if wire.pace.keeps_back() {
            return Poll::Ready(Ok(bytes.iter().map(|slice| slice.len()).sum()));
        }
        let polled = wire.socket().poll_write_vectored(context, bytes);
        wire.wrote(context, polled)
    }
}

/// A problem as the bytes of a whole answer after which the connection closes.
pub fn last_answer(problem: &Problem) -> Vec<u8> {
    let mut out = Vec::new();
    answer(&mut out, &problem.render(), true);
    out
}

/// Writes an answer; where it is the `last` one, the connection closes after it.
pub fn answer(out: &mut Vec<u8>, rendered: &Rendered, last: bool) {
    let Rendered { status, media_type, headers, body } = rendered;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\ncontent-type: ");
    out.extend_from_slice(media_type.as_bytes());
    for (name, value) in headers {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
    }
    if last {
        out.extend_from_slice(b"\r\nconnection: close");
    }
    out.extend_from_slice(b"\r\ncontent-length: ");
    number(out, body.len());
    out.extend_from_slice(b"\r\ndate: ");
    date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Writes the time, as RFC 9110 has it in section 5.6.7.
fn date(out: &mut Vec<u8>) {
    thread_local! {
        /// The last second that was written, and how.
        static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(second, text)| {
        if text.is_empty() || *second != seconds {
            *second = seconds;
            *text = httpdate::fmt_http_date(now);
        }
        out.extend_from_slice(text.as_bytes());
    });
}

/// Says a last word, and reads for a while what is still coming: a socket that is closed
/// with unread bytes resets the connection, and the answer may be lost with it.
pub async fn part(mut socket: TcpStream, last_word: &[u8]) {
    let farewell = async {
        socket.write_all(last_word).await?;
        socket.shutdown().await?;
        // Not in the future itself: every connection has room for that from the start.
        let mut scrap = vec![0; SCRAP_BYTES];
        let mut read = 0;
        while read < LINGER_BYTES_MAX {
            match socket.read(&mut scrap).await? {
                0 => break,
                n => read += n,
            }
        }
        Ok::<_, io::Error>(())
    };
    // Whether the client hears it is no longer up to us.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}
