//! HTTP/2 as a front tier speaks it: without TLS, known beforehand, many requests at a
//! time on one socket. What is sent is written for HTTP/1.1 and taken apart here, so
//! that both say the same.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use tokio::net::TcpStream;

use super::{Answer, Error};

/// Bytes of an answer that may be on their way: more than any answer to a buyer has.
const WINDOW_BYTES: u32 = 1 << 20;

/// One socket that several buyers share; opened anew when it is gone.
pub(crate) struct Socket {
    address: SocketAddr,
    open: RefCell<Option<Open>>,
    /// One opens it, the others wait.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Open {
    sender: SendRequest<Bytes>,
    /// Set when the socket is of no more use.
    ended: Rc<Cell<bool>>,
}

impl Socket {
    pub(crate) fn new(address: SocketAddr) -> Rc<Self> {
        let opening = tokio::sync::Mutex::new(());
        Rc::new(Self { address, open: RefCell::new(None), opening })
    }

    /// A place on the socket, which is opened if it is not.
    pub(crate) async fn stream(&self) -> Result<Stream, Error> {
        let _one_at_a_time = self.opening.lock().await;
        let open = self.open.borrow().clone().filter(|open| !open.ended.get());
        let open = match open {
            Some(open) => open,
            None => {
                let open = connect(self.address).await?;
                self.open.replace(Some(open.clone()));
                open
            }
        };
        Ok(Stream { open, answer: None })
    }
}

async fn connect(address: SocketAddr) -> Result<Open, Error> {
    let socket = TcpStream::connect(address).await.map_err(Error::Connect)?;
    socket.set_nodelay(true).map_err(Error::Connect)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let (sender, connection) = builder.handshake(socket).await.map_err(told)?;
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    // It ends with its socket or with the run. What went wrong is told to whoever waits.
    tokio::task::spawn_local(async move {
        let _told_elsewhere = connection.await;
        end.set(true);
    });
    Ok(Open { sender, ended })
}

/// One buyer's place on a socket.
pub(crate) struct Stream {
    open: Open,
    answer: Option<Whole>,
}

/// A whole answer.
struct Whole {
    status: u16,
    retry_after_s: Option<u64>,
    body: Vec<u8>,
}

impl Stream {
    pub(crate) fn is_ended(&self) -> bool {
        self.open.ended.get()
    }

    pub(crate) fn is_new(&self) -> bool {
        self.answer.is_none()
    }

    pub(crate) async fn exchange(&mut self, request: &[u8], max: usize) -> Result<(), Error> {
        let (head, body) = take_apart(request)?;
        let mut sender = self.open.sender.clone().ready().await.map_err(told)?;
        let (response, mut sending) = sender.send_request(head, body.is_empty()).map_err(told)?;
        if !body.is_empty() {
            sending.send_data(body, true).map_err(told)?;
        }
        let response = response.await.map_err(told)?;
        let (head, body) = (head_of(&response), read(response.into_body(), max).await?);
        self.answer = Some(Whole { status: head.0, retry_after_s: head.1, body });
        Ok(())
    }

    pub(crate) fn answer(&self) -> Answer<'_> {
        let whole = self.answer.as_ref().expect("an exchange succeeds with an answer");
        let Whole { status, retry_after_s, body } = whole;
        Answer { status: *status, retry_after_s: *retry_after_s, keep: !self.is_ended(), body }
    }
}

fn head_of(response: &Response<RecvStream>) -> (u16, Option<u64>) {
    let retry = response.headers().get(http::header::RETRY_AFTER);
    let retry = retry.and_then(|value| value.to_str().ok()?.parse().ok());
    (response.status().as_u16(), retry)
}

async fn read(mut body: RecvStream, max: usize) -> Result<Vec<u8>, Error> {
    let mut whole = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(told)?;
        if whole.len() + part.len() > max {
            return Err(Error::TooLarge { max });
        }
        body.flow_control().release_capacity(part.len()).map_err(told)?;
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

/// A request in the form of HTTP/1.1, as `wire` writes it, in that of HTTP/2.
fn take_apart(request: &[u8]) -> Result<(Request<()>, Bytes), Error> {
    let odd = || Error::Malformed("a request that can't be sent over HTTP/2");
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(odd)?;
    let head = std::str::from_utf8(&request[..end]).map_err(|_| odd())?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let mut parts = Request::new(());
    *parts.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| odd())?;
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(odd)?;
        if name == "Host" {
            *parts.uri_mut() = format!("http://{value}{path}").parse().map_err(|_| odd())?;
            continue;
        }
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| odd())?;
        parts.headers_mut().insert(name, HeaderValue::from_str(value).map_err(|_| odd())?);
    }
    Ok((parts, Bytes::copy_from_slice(&request[end + 4..])))
}

/// An error in the words of HTTP/1.1.
fn told(error: h2::Error) -> Error {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) || error.is_go_away();
    match error.into_io() {
        Some(error) => Error::Io(error),
        None if refused => Error::Closed,
        None => Error::Malformed("HTTP/2 was broken off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_the_same_in_both() {
        let raw = b"POST /v1/x/holds HTTP/1.1\r\nHost: a:1\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}";
        let (head, body) = take_apart(raw).unwrap();
        assert_eq!(head.uri().to_string(), "http://a:1/v1/x/holds");
        assert_eq!(head.method(), Method::POST);
        assert_eq!(head.headers()["idempotency-key"], "k");
        assert_eq!(head.headers()["content-length"], "2");
        assert_eq!(body, "{}");
        assert!(take_apart(b"nothing").is_err());
    }
}
