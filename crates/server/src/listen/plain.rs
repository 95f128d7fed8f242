//! The plain form of a request: one that came whole and alone in one piece, with its length said
//! or no body, and nothing about it that needs a state from one read to the next. That is how most
//! requests come. All other forms are hyper's, and so is every decision on what is malformed.

use std::mem::MaybeUninit;

use httparse::{Header, Request, Status};

use super::host::is_host;
use super::hot::{Hot, hot_path};
use crate::api::Once;
use crate::config::Limits;

/// Headers of a plain request, at most.
const HEADERS_MAX: usize = 32;
/// Digits of a length that fits for sure.
const LENGTH_DIGITS_MAX: usize = 9;

/// What some bytes are, that were read where a request may begin.
#[derive(Debug)]
pub enum Form<'a> {
    /// A plain request of the hottest kinds.
    Hot(Plain<'a>),
    /// A plain request of another kind.
    Plain,
    /// Something else, or not all of it.
    Other,
}

/// A plain request of the hottest kinds.
#[derive(Debug)]
pub struct Plain<'a> {
    /// Which.
    pub hot: Hot,
    /// Its path.
    pub path: &'a str,
    /// The organizer in its path.
    pub organizer: &'a str,
    /// The event in its path.
    pub event: &'a str,
    /// The header `Authorization`.
    pub authorization: Once<'a>,
    /// The header `Content-Type`.
    pub content_type: Once<'a>,
    /// The header `Idempotency-Key`.
    pub key: Once<'a>,
    /// Its body.
    pub body: &'a [u8],
}

/// The headers that count.
#[derive(Default)]
struct Heads<'a> {
    authorization: Once<'a>,
    content_type: Once<'a>,
    content_length: Once<'a>,
    host: Once<'a>,
    key: Once<'a>,
}

/// Tells the form of some bytes.
pub fn form<'a>(bytes: &'a [u8], limits: &Limits) -> Form<'a> {
    read(bytes, limits).unwrap_or(Form::Other)
}

fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Option<Form<'a>> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADERS_MAX];
    let mut request = Request::new(&mut []);
    let head = match request.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(Status::Complete(head)) if head <= limits.header_bytes => head,
        _ => return None,
    };
    if request.version != Some(1) {
        return None;
    }
    let heads = heads(request.headers)?;
    if !matches!(heads.host, Once::Value(host) if is_host(host)) {
        return None;
    }
    let body = &bytes[head..];
    if length(heads.content_length)? != body.len() {
        return None;
    }
    let path = request.path?;
    let hot = if request.method == Some("POST") { hot_path(path) } else { None };
    let Some((organizer, event, hot)) = hot else { return Some(Form::Plain) };
    let doubled = heads.content_type == Once::Doubled;
    if path.bytes().any(|b| b == b'?') || body.len() > limits.body_bytes || doubled {
        return Some(Form::Plain);
    }
    let Heads { authorization, content_type, key, .. } = heads;
    Some(Form::Hot(Plain { hot, path, organizer, event, authorization, content_type, key, body }))
}

/// The headers that count; none where there is one that makes the request another form.
fn heads<'a>(headers: &[Header<'a>]) -> Option<Heads<'a>> {
    let mut heads = Heads::default();
    for Header { name, value } in headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => heads.host = heads.host.and(value),
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            10 if is("connection") && !value.eq_ignore_ascii_case(b"keep-alive") => return None,
            12 if is("content-type") => heads.content_type = heads.content_type.and(value),
            13 if is("authorization") => heads.authorization = heads.authorization.and(value),
            14 if is("content-length") => heads.content_length = heads.content_length.and(value),
            15 if is("idempotency-key") => heads.key = heads.key.and(value),
            16 if is("content-encoding") => return None,
            17 if is("transfer-encoding") => return None,
            _ => {}
        }
    }
    Some(heads)
}

/// The length of the body, where it is said in no uncertain way.
fn length(said: Once<'_>) -> Option<usize> {
    match said {
        Once::Absent => Some(0),
        Once::Value(digits) if (1..=LENGTH_DIGITS_MAX).contains(&digits.len()) => {
            let digit = |b: &u8| b.is_ascii_digit().then(|| usize::from(b - b'0'));
            digits.iter().try_fold(0, |length, b| Some(length * 10 + digit(b)?))
        }
        Once::Value(_) | Once::Doubled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags};

    const HOLD: &str = "POST /v1/organizers/o/events/e/holds HTTP/1.1\r\nHost: h\r\n\
        Authorization: Bearer k\r\ncontent-TYPE: application/json\r\nIdempotency-Key: \"1\"\r\n\
        Content-Length: 2\r\n\r\n{}";

    fn limits() -> Limits {
        Config::load(None, &Flags::default()).unwrap().limits
    }

    fn kind(text: &str, limits: &Limits) -> &'static str {
        match form(text.as_bytes(), limits) {
            Form::Hot(_) => "hot",
            Form::Plain => "plain",
            Form::Other => "other",
        }
    }

    #[test]
    fn a_hot_request_is_taken_apart() {
        let limits = limits();
        let Form::Hot(hold) = form(HOLD.as_bytes(), &limits) else { panic!("it is hot") };
        assert_eq!((hold.hot, hold.organizer, hold.event), (Hot::Holds, "o", "e"));
        assert_eq!(hold.path, "/v1/organizers/o/events/e/holds");
        assert_eq!(hold.authorization, Once::Value(b"Bearer k"));
        assert_eq!(hold.content_type, Once::Value(b"application/json"));
        assert_eq!(hold.key, Once::Value(b"\"1\""));
        assert_eq!(hold.body, b"{}");
    }

    #[test]
    fn only_what_is_whole_and_alone_is_plain() {
        let limits = limits();
        assert_eq!(kind(HOLD, &limits), "hot");
        for length in 0..HOLD.len() {
            assert_eq!(kind(&HOLD[..length], &limits), "other", "{length}");
        }
        assert_eq!(kind(&format!("{HOLD}{HOLD}"), &limits), "other");
        assert_eq!(kind("GET / HTTP/1.1\r\nhost: h\r\n\r\n", &limits), "plain");
        assert_eq!(kind("", &limits), "other");
    }

    #[test]
    fn what_hyper_must_decide_is_left_to_it() {
        let limits = limits();
        let line = "POST /v1/organizers/o/events/e/holds HTTP/1.1\r\nHost: h\r\n";
        let rows = [
            ("Content-Length: 2\r\n", "hot"),
            ("Connection: Keep-Alive\r\nContent-Length: 2\r\n", "hot"),
            ("Connection: close\r\nContent-Length: 2\r\n", "other"),
            ("Expect: 100-continue\r\nContent-Length: 2\r\n", "other"),
            ("Upgrade: h2c\r\nContent-Length: 2\r\n", "other"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 2\r\n", "other"),
            ("Content-Encoding: gzip\r\nContent-Length: 2\r\n", "other"),
            ("Host: h\r\nContent-Length: 2\r\n", "other"),
            ("Content-Length: 2\r\nContent-Length: 2\r\n", "other"),
            ("Content-Length: +2\r\n", "other"),
            ("Content-Length: 2, 2\r\n", "other"),
            ("Content-Length: \r\n", "other"),
            ("Content-Length: 1\r\n", "other"),
            ("Content-Length: 3\r\n", "other"),
            ("Content-Length: 99999999999999999999\r\n", "other"),
            ("", "other"),
            ("Bad Name: x\r\nContent-Length: 2\r\n", "other"),
            ("Content-Type: a\r\nContent-Type: a\r\nContent-Length: 2\r\n", "plain"),
        ];
        for (headers, expected) in rows {
            assert_eq!(kind(&format!("{line}{headers}\r\n{{}}"), &limits), expected, "{headers}");
        }
        let other_lines = [
            ("POST /v1/organizers/o/events/e/holds HTTP/1.0", "other"),
            ("POST /v1/organizers/o/events/e/holds?x=1 HTTP/1.1", "plain"),
            ("POST http://h/v1/organizers/o/events/e/holds HTTP/1.1", "plain"),
            ("PUT /v1/organizers/o/events/e/holds HTTP/1.1", "plain"),
            ("POST /v1/organizers/o/events/e%20/holds HTTP/1.1", "plain"),
        ];
        for (line, expected) in other_lines {
            let text = format!("{line}\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}");
            assert_eq!(kind(&text, &limits), expected, "{line}");
            let hostless = format!("{line}\r\nContent-Length: 2\r\n\r\n{{}}");
            assert_eq!(kind(&hostless, &limits), "other", "{line}");
            let wrong = text.replace("Host: h", "Host: h h");
            assert_eq!(kind(&wrong, &limits), "other", "{line}");
        }
    }

    #[test]
    fn what_is_over_a_limit_is_left_to_hyper() {
        let limits = limits();
        let small_body = Limits { body_bytes: 1, ..limits };
        assert_eq!(kind(HOLD, &small_body), "plain");
        let small_head = Limits { header_bytes: 20, ..limits };
        assert_eq!(kind(HOLD, &small_head), "other");
        let line = "POST /v1/organizers/o/events/e/holds HTTP/1.1\r\nHost: h\r\n";
        let many = "X: y\r\n".repeat(HEADERS_MAX + 1);
        assert_eq!(kind(&format!("{line}{many}\r\n"), &limits), "other");
    }
}
