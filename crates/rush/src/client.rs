//! One HTTP/1.1 connection that does no more than a load generator needs: a
//! request that is ready to be sent goes out in one write, and the answer is read
//! into one buffer that is kept. Answers have a `Content-Length` or end with the
//! connection; a transfer coding is refused, and so is anything above a limit.

mod http2;

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a connection's buffer starts with: an answer to a hold or order fits in, so
/// that one read takes it whole.
const INPUT_BYTES: usize = 2_048;

/// Why there is no answer.
#[derive(thiserror::Error, Debug)]
pub(crate) enum Error {
    #[error("can't connect: {0}")]
    Connect(io::Error),
    #[error("no answer in time")]
    Timeout,
    /// Closed by the server before the first byte of an answer.
    #[error("closed without an answer")]
    Closed,
    #[error("closed in the middle of an answer, after {got} bytes")]
    Cut { got: usize },
    #[error("connection lost: {0}")]
    Io(io::Error),
    #[error("an answer of more than {max} bytes")]
    TooLarge { max: usize },
    #[error("the answer has a Transfer-Encoding, which this client does not read")]
    TransferEncoding,
    #[error("not HTTP/1.1: {0}")]
    Malformed(&'static str),
}

impl Error {
    /// A short name to count by.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Cut { .. } => "cut",
            Self::Io(_) => "io",
            Self::TooLarge { .. } => "too-large",
            Self::TransferEncoding => "transfer-encoding",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether a connection that had been idle may simply have been closed by then.
    pub(crate) fn may_be_stale(&self) -> bool {
        matches!(self, Self::Closed | Self::Io(_))
    }
}

/// A whole answer; it lives in the connection's buffer.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// From `Retry-After`, if that is a number.
    pub(crate) retry_after_s: Option<u64>,
    /// Whether the connection can be used again.
    pub(crate) keep: bool,
    pub(crate) body: &'a [u8],
}

/// How far the body of an answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Length {
    Bytes(usize),
    UntilClose,
}

/// What stands before the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    status: u16,
    retry_after_s: Option<u64>,
    keep: bool,
    length: Length,
    /// Where the body begins.
    bytes: usize,
}

pub(crate) use http2::Socket;

/// What one buyer at a time asks over: a connection, or a place on a shared one.
pub(crate) enum Line {
    /// HTTP/1.1.
    Own(Connection),
    /// HTTP/2.
    Shared(http2::Stream),
}

impl Line {
    /// Whether the server has hung up, or spoken though nothing was asked.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Own(connection) => connection.is_ended(),
            Self::Shared(stream) => stream.is_ended(),
        }
    }

    /// Whether it has never had an answer.
    pub(crate) fn is_new(&self) -> bool {
        match self {
            Self::Own(connection) => connection.is_new(),
            Self::Shared(stream) => stream.is_new(),
        }
    }

    /// Sends one request and reads its answer of at most `max` bytes; [`Self::answer`] then
    /// has it.
    pub(crate) async fn exchange(&mut self, request: &[u8], max: usize) -> Result<(), Error> {
        match self {
            Self::Own(connection) => connection.exchange(request, max).await,
            Self::Shared(stream) => stream.exchange(request, max).await,
        }
    }

    /// The answer of the last exchange, which was a success.
    pub(crate) fn answer(&self) -> Answer<'_> {
        match self {
            Self::Own(connection) => connection.answer(),
            Self::Shared(stream) => stream.answer(),
        }
    }
}

/// One connection with its buffer.
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// Of the last answer; the body ends at `filled`, or before if more came.
    head: Option<Head>,
    filled: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await.map_err(Error::Connect)?;
        stream.set_nodelay(true).map_err(Error::Connect)?;
        Ok(Self { stream, input: vec![0; INPUT_BYTES], head: None, filled: 0 })
    }

    /// Whether the server has spoken, or hung up, though nothing was asked. Costs
    /// nothing as long as it has not.
    pub(crate) fn is_ended(&self) -> bool {
        let read = self.stream.try_read(&mut [0; 1]);
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it has never had an answer.
    pub(crate) fn is_new(&self) -> bool {
        self.head.is_none()
    }

    /// Sends one request and reads its answer of at most `max` bytes; [`Self::answer`]
    /// then has it. After an error the connection is of no more use.
    pub(crate) async fn exchange(&mut self, request: &[u8], max: usize) -> Result<(), Error> {
        self.head = None;
        self.filled = 0;
        self.stream.write_all(request).await.map_err(Error::Io)?;
        while !self.is_whole(max)? {
            if self.filled == self.input.len() {
                self.grow(max)?;
            }
            let got = match self.stream.read(&mut self.input[self.filled..]).await {
                Ok(got) => got,
                Err(error) if self.filled == 0 => return Err(Error::Io(error)),
                Err(_) => return Err(Error::Cut { got: self.filled }),
            };
            if got == 0 {
                return self.ended();
            }
            // A search for the head's end goes on where the last one stopped, less the
            // three bytes of its mark that may have been there.
            let searched = self.filled.saturating_sub(3);
            self.filled += got;
            if self.head.is_none() {
                self.head = parse_head(&self.input[..self.filled], searched)?;
            }
        }
        Ok(())
    }

    /// The answer of the last exchange, which was a success.
    pub(crate) fn answer(&self) -> Answer<'_> {
        let head = self.head.as_ref().expect("an exchange succeeds with a head");
        let end = match head.length {
            Length::Bytes(length) => head.bytes + length,
            Length::UntilClose => self.filled,
        };
        Answer {
            status: head.status,
            retry_after_s: head.retry_after_s,
            // Bytes after the answer belong to no request of ours.
            keep: head.keep && self.filled == end,
            body: &self.input[head.bytes..end],
        }
    }

    fn is_whole(&self, max: usize) -> Result<bool, Error> {
        let Some(Head { length: Length::Bytes(length), bytes, .. }) = self.head else {
            return Ok(false);
        };
        let end = bytes.saturating_add(length);
        if end > max { Err(Error::TooLarge { max }) } else { Ok(self.filled >= end) }
    }

    /// What the server's end of the connection means for the answer.
    fn ended(&self) -> Result<(), Error> {
        match self.head {
            Some(Head { length: Length::UntilClose, .. }) => Ok(()),
            None if self.filled == 0 => Err(Error::Closed),
            _ => Err(Error::Cut { got: self.filled }),
        }
    }

    fn grow(&mut self, max: usize) -> Result<(), Error> {
        let bytes = self.input.len();
        if bytes >= max {
            return Err(Error::TooLarge { max });
        }
        self.input.resize((bytes * 2).min(max), 0);
        Ok(())
    }
}

/// The head, once it is there as a whole; `searched` bytes are known not to end it.
fn parse_head(input: &[u8], searched: usize) -> Result<Option<Head>, Error> {
    let Some(end) = input[searched..].windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let bytes = searched + end + 4;
    let mut lines = input[..bytes - 4].split(|&b| b == b'\n');
    let (status, minor) = parse_status(lines.next().unwrap_or_default())?;
    if status < 200 {
        return Err(Error::Malformed("an interim answer that nobody asked for"));
    }
    let mut head = Head {
        status,
        retry_after_s: None,
        keep: minor != b'0',
        length: Length::UntilClose,
        bytes,
    };
    for line in lines {
        let colon = line.iter().position(|&b| b == b':');
        let colon = colon.ok_or(Error::Malformed("a header without a colon"))?;
        parse_header(&mut head, &line[..colon], line[colon + 1..].trim_ascii())?;
    }
    if matches!(status, 204 | 304) {
        head.length = Length::Bytes(0);
    }
    head.keep &= head.length != Length::UntilClose;
    Ok(Some(head))
}

/// Status and minor version of `HTTP/1.x NNN reason`.
fn parse_status(line: &[u8]) -> Result<(u16, u8), Error> {
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, rest @ ..] = line else {
        return Err(Error::Malformed("no status line"));
    };
    let digits = [*a, *b, *c];
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    if !ends || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::Malformed("no status in the status line"));
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Ok((status, *minor))
}

/// Takes what matters from one header. Names are told apart by length first: most
/// headers are of no interest.
fn parse_header(head: &mut Head, name: &[u8], value: &[u8]) -> Result<(), Error> {
    match name.len() {
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            let length = parse_number(value).ok_or(Error::Malformed("a bad Content-Length"))?;
            let length = Length::Bytes(length as usize);
            if head.length != Length::UntilClose && head.length != length {
                return Err(Error::Malformed("two Content-Lengths"));
            }
            head.length = length;
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            return Err(Error::TransferEncoding);
        }
        10 if name.eq_ignore_ascii_case(b"connection") => {
            head.keep = if value.eq_ignore_ascii_case(b"close") {
                false
            } else {
                head.keep || value.eq_ignore_ascii_case(b"keep-alive")
            };
        }
        11 if name.eq_ignore_ascii_case(b"retry-after") => {
            head.retry_after_s = parse_number(value);
        }
        _ => {}
    }
    Ok(())
}

/// Digits only, at most 15 of them.
fn parse_number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    text.iter().try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

#[cfg(test)]
mod tests;
