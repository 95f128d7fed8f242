//! A small HTTP/1.1 client for the commands that talk to a server: one request
//! per connection, blocking, over `http://` or `https://`, with a limit on time and
//! size. What must be fast uses another (`onsale rush`).

#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use onsale_tls::rustls::{ClientConnection, StreamOwned};

/// How long a request may take, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest line of a head, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Lines of a head.
const HEADERS_MAX: usize = 100;
/// Largest body of an answer, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL can't be used.
    #[error("{url}: {detail}")]
    Url {
        /// The URL.
        url: String,
        /// Why not.
        detail: &'static str,
    },
    /// The server can't be reached, or the connection broke.
    #[error("{server}: {detail}")]
    Connection {
        /// Host and port.
        server: String,
        /// What happened.
        detail: String,
    },
}

/// One server, and the key to it.
#[derive(Clone)]
pub struct Client {
    is_secure: bool,
    /// Host and port: `localhost:7070`.
    server: String,
    /// What stands before each path; empty or `/…` without a slash at its end.
    prefix: String,
    key: Option<String>,
    timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "Client({scheme}://{}{})", self.server, self.prefix)
    }
}

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, which must be given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// One line that says what is wrong, from a problem (RFC 9457) where the body is one.
    #[must_use]
    pub fn problem(&self) -> String {
        let json = self.json();
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let told = text("detail").or_else(|| text("title")).unwrap_or_else(|| {
            String::from_utf8_lossy(&self.body).chars().take(200).collect::<String>()
        });
        format!("{} {told}", self.status).trim_end().to_owned()
    }
}

impl Client {
    /// For a server at `http[s]://host[:port][/prefix]`.
    ///
    /// # Errors
    /// Where the URL is not of that form, or the key can't stand in a header.
    pub fn new(url: &str, key: Option<&str>) -> Result<Client, Error> {
        let bad = |detail| Error::Url { url: url.to_owned(), detail };
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let (is_secure, port) = match scheme {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(bad("must begin with http:// or https://")),
        };
        let (server, prefix) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if !plain(rest) || rest.contains(['?', '#', '@']) {
            return Err(bad("must be http[s]://host:port, without user, query or spaces"));
        }
        if server.is_empty() || server.starts_with(':') {
            return Err(bad("has no host"));
        }
        if key.is_some_and(|key| key.is_empty() || !plain(key)) {
            return Err(bad("the key must be printable ASCII without spaces"));
        }
        let after_address = server.rsplit(']').next().unwrap_or(server);
        let server = match after_address.contains(':') {
            true => server.to_owned(),
            false => format!("{server}:{port}"),
        };
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Client { is_secure, server, prefix, key: key.map(str::to_owned), timeout: TIMEOUT })
    }

    /// The same with another limit on how long a request may take.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    /// Sends a request and waits for the answer, of whatever status. A body is JSON unless a header says what it is.
    ///
    /// # Errors
    /// Where no complete answer comes in time.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Response, Error> {
        let deadline = Instant::now() + self.timeout;
        let answer = self.connect(deadline).and_then(|stream| {
            let mut stream = self.secured(Timed { stream, deadline })?;
            stream.write_all(self.head(method, path, headers, body).as_bytes())?;
            stream.write_all(body.unwrap_or_default().as_bytes())?;
            read_response(&mut BufReader::new(stream), method)
        });
        answer.map_err(|e| {
            let detail = match e.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    format!("no answer within {:?}", self.timeout)
                }
                _ => {
                    onsale_tls::explain(&e).map_or_else(|| e.to_string(), |wrong| wrong.to_string())
                }
            };
            Error::Connection { server: self.server.clone(), detail }
        })
    }

    fn connect(&self, deadline: Instant) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in self.server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, left(deadline)?) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn secured(&self, stream: Timed) -> std::io::Result<Box<dyn Stream>> {
        if !self.is_secure {
            return Ok(Box::new(stream));
        }
        let (host, _) = self.server.rsplit_once(':').unwrap_or_default();
        let tls = ClientConnection::new(onsale_tls::config(), onsale_tls::name(host)?);
        Ok(Box::new(StreamOwned::new(tls.map_err(std::io::Error::other)?, stream)))
    }

    fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> String {
        let mut head = format!("{method} {}{path} HTTP/1.1\r\n", self.prefix);
        let mut header = |name: &str, value: &str| head += &format!("{name}: {value}\r\n");
        header("Host", &self.server);
        header("Connection", "close");
        if let Some(key) = &self.key {
            header("Authorization", &format!("Bearer {key}"));
        }
        if let Some(body) = body {
            if headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("content-type")) {
                header("Content-Type", "application/json");
            }
            header("Content-Length", &body.len().to_string());
        }
        headers.iter().for_each(|(name, value)| header(name, value));
        head + "\r\n"
    }
}

/// A connection, with TLS or without.
trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// A connection that has until a deadline for all its reads and writes together.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

fn left(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_response(reader: &mut impl BufRead, method: &str) -> std::io::Result<Response> {
    loop {
        let status = read_status(reader)?;
        let headers = read_headers(reader)?;
        // An interim answer (RFC 9110, 15.2) is followed by the real one.
        if (100..200).contains(&status) {
            continue;
        }
        let mut response = Response { status, headers, body: Vec::new() };
        let without_body = method == "HEAD" || status == 204 || status == 304;
        if !without_body {
            response.body = read_body(reader, &response)?;
        }
        return Ok(response);
    }
}

fn read_status(reader: &mut impl BufRead) -> std::io::Result<u16> {
    let line = read_line(reader)?;
    let rest = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' '));
    let code = rest.and_then(|(_, rest)| rest.get(..3)).and_then(|code| code.parse().ok());
    code.filter(|code| (100..600).contains(code)).ok_or_else(|| broken("is not an HTTP answer"))
}

fn read_headers(reader: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("has a broken header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > HEADERS_MAX {
            return Err(broken("has too many headers"));
        }
    }
}

fn read_body(reader: &mut impl BufRead, response: &Response) -> std::io::Result<Vec<u8>> {
    let chunked = response.header("transfer-encoding");
    if chunked.is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    let mut body = Vec::new();
    if let Some(length) = response.header("content-length") {
        let length = length.parse().map_err(|_| broken("has a broken Content-Length"))?;
        read_exactly(reader, length, &mut body)?;
        return Ok(body);
    }
    reader.take(BODY_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > BODY_BYTES_MAX { Err(broken("is too large")) } else { Ok(body) }
}

fn read_chunks(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(reader)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| broken("has a broken chunk"))?;
        if size == 0 {
            read_headers(reader)?;
            return Ok(body);
        }
        read_exactly(reader, size, &mut body)?;
        if !read_line(reader)?.is_empty() {
            return Err(broken("has a broken chunk"));
        }
    }
}

fn read_exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> std::io::Result<()> {
    if length > BODY_BYTES_MAX - body.len() as u64 {
        return Err(broken("is too large"));
    }
    let read = reader.take(length).read_to_end(body)?;
    if read as u64 == length { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// A line without its end.
fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let Some(b'\n') = line.pop() else { return Err(broken("breaks off")) };
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| broken("is not text"))
}

fn broken(what: &'static str) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, format!("the answer {what}"))
}
