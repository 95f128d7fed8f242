//! A connection's socket that comes back when hyper is done with it, so that the last
//! word can still be said on it.
//!
//! hyper has an answer of its own to a head that it can't read, without a word: it is kept
//! back, and a problem is sent instead. And hyper closes a socket with unread bytes in
//! it, which resets the connection and may take the answer with it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::problem::{MEDIA_TYPE, Problem};
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
    back: Option<oneshot::Sender<TcpStream>>,
    pace: Pace,
}

impl Wire {
    /// Lends a socket of which this was read; it comes back once this is dropped.
    pub fn lend(
        socket: TcpStream,
        first: &[u8],
        pace: Pace,
    ) -> (Wire, oneshot::Receiver<TcpStream>) {
        let (back, comes_back) = oneshot::channel();
        let (first, socket) = (Bytes::copy_from_slice(first), Some(TokioIo::new(socket)));
        (Wire { first, socket, back: Some(back), pace }, comes_back)
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
            let _ = back.send(socket.into_inner());
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
    let rendered = problem.render();
    let mut head = format!(
        "HTTP/1.1 {}\r\ncontent-type: {MEDIA_TYPE}\r\nconnection: close\r\ncontent-length: {}\r\n",
        rendered.status,
        rendered.body.len()
    );
    for (name, value) in &rendered.headers {
        head += &format!("{name}: {}\r\n", value.to_str().expect("made of printable ASCII"));
    }
    [head.as_bytes(), b"\r\n", &rendered.body].concat()
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
