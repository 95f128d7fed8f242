//! A request, read as far as every route needs it: whose key it carries, its headers
//! and its body, within the limits.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Uri};
use onsale_core::event::Subject;
use onsale_core::{Id, OrderCode, Reference};

use super::{Api, Result, idempotency, query};
use crate::keys::{Grant, KeyStore, Scope};
use crate::problem::{Problem, kind};
use crate::rates;
use crate::refused::Reason;

/// A request with a key that is known.
#[derive(Debug)]
pub struct Call {
    /// What the key allows.
    pub grant: Grant,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// What the handlers of the hottest routes need of a request, wherever it was read.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a> {
    /// What the key allows.
    pub grant: &'a Grant,
    /// Its method.
    pub method: &'a str,
    /// Its path, without a query.
    pub path: &'a str,
    /// What its body is said to be.
    pub content_type: Option<&'a [u8]>,
    /// The header `Idempotency-Key`.
    pub key: Once<'a>,
    /// Its whole body.
    pub body: &'a [u8],
    /// Whether it is said to be compressed, or so.
    pub encoded: bool,
    /// The shard of its event, where that was looked up already.
    pub shard: Option<u16>,
}

/// A header that may be there once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Once<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// Its value.
    Value(&'a [u8]),
    /// It is there more often.
    Doubled,
}

impl<'a> Once<'a> {
    /// What is known once this value is seen, too.
    #[must_use]
    pub fn and(self, value: &'a [u8]) -> Once<'a> {
        match self {
            Once::Absent => Once::Value(value),
            Once::Value(_) | Once::Doubled => Once::Doubled,
        }
    }

    fn of(values: impl Iterator<Item = &'a HeaderValue>) -> Once<'a> {
        values.fold(Once::Absent, |seen, value| seen.and(value.as_bytes()))
    }

    /// Its value where it is there once and is a text of printable ASCII and tabs.
    #[must_use]
    pub fn text(self) -> Option<&'a str> {
        let Once::Value(value) = self else { return None };
        let plain = value.iter().fold(true, |all, b| all & (matches!(b, b' '..=b'~' | b'\t')));
        std::str::from_utf8(value).ok().filter(|_| plain)
    }
}

impl Brief<'_> {
    /// Checks scope and organizer of an event.
    ///
    /// # Errors
    /// The scope is missing, an id is in the wrong form, or the key is another organizer's.
    pub fn subject(&self, organizer: &str, event: &str, scopes: &[Scope]) -> Result<Subject> {
        let organizer = self.grant.organizer(organizer, scopes)?;
        let event = Id::new(event).map_err(|error| Problem::text("event", error))?;
        Ok(Subject { organizer, event })
    }

    /// Checks that the body is said to be JSON, as it is.
    ///
    /// # Errors
    /// It is said to be something else, or compressed, or nothing is said.
    pub fn expect_json(&self) -> Result<()> {
        if self.encoded {
            let detail = "the body must be sent as it is, without this header";
            return Err(Problem::field(&kind::CONTENT_ENCODING, "Content-Encoding", detail));
        }
        let said = self.content_type.unwrap_or_default();
        if said == b"application/json" {
            return Ok(());
        }
        let media = said.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/json") {
            return Ok(());
        }
        let said = String::from_utf8_lossy(media);
        let what = if said.is_empty() { Cow::Borrowed("not said") } else { said };
        let detail = format!("must be application/json, is {what}");
        Err(Problem::field(&kind::CONTENT_TYPE, "Content-Type", detail))
    }

    /// Whether the holder may see no ticket codes: the key can read and nothing else.
    #[must_use]
    pub fn redacted(&self) -> bool {
        self.grant.is_reader()
    }
}

impl Grant {
    /// Checks that the key has one of these scopes.
    ///
    /// # Errors
    /// It has none of them.
    pub fn needs(&self, scopes: &[Scope]) -> Result<()> {
        if scopes.iter().any(|scope| self.scopes.contains(*scope)) {
            return Ok(());
        }
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let detail = format!("the key needs one of the scopes {}", names.join(", "));
        let mut problem = Problem::new(&kind::SCOPE_MISSING, detail);
        problem.scopes = Some(names);
        Err(problem)
    }

    /// Checks scope and organizer.
    ///
    /// # Errors
    /// The scope is missing, the id is in the wrong form, or the key is another organizer's.
    pub fn organizer(&self, organizer: &str, scopes: &[Scope]) -> Result<Id> {
        self.needs(scopes)?;
        let id = Id::new(organizer).map_err(|error| Problem::text("organizer", error))?;
        match self.covers(&id) {
            true => Ok(id),
            false => {
                let detail = format!("the key is not bound to {id}");
                Err(Problem::field(&kind::OTHER_ORGANIZER, "organizer", detail))
            }
        }
    }

    /// Whether the key can read and nothing else.
    fn is_reader(&self) -> bool {
        ![Scope::Sell, Scope::Pay, Scope::Manage]
            .into_iter()
            .any(|scope| self.scopes.contains(scope))
    }
}

impl Call {
    /// What the hottest handlers need of it.
    #[must_use]
    pub fn brief(&self) -> Brief<'_> {
        Brief {
            grant: &self.grant,
            method: self.method.as_str(),
            path: self.uri.path(),
            content_type: self.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            key: Once::of(self.headers.get_all(idempotency::HEADER).iter()),
            body: &self.body,
            encoded: is_encoded(&self.headers),
            shard: None,
        }
    }

    /// Checks the key, then reads the body.
    ///
    /// # Errors
    /// No key or an unknown one; a body that is too large, too slow or broken.
    pub async fn read<B>(api: &Api, parts: Parts, body: B) -> Result<Call>
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
    {
        let bytes_max = match parts.method {
            Method::PUT => api.limits.definition_body_bytes,
            _ => api.limits.body_bytes,
        };
        Call::read_up_to(api, parts, body, bytes_max).await
    }

    /// Checks the key, then reads a body of up to so many bytes.
    ///
    /// # Errors
    /// As [`Call::read`].
    pub async fn read_up_to<B>(api: &Api, parts: Parts, body: B, bytes_max: usize) -> Result<Call>
    where
        B: hyper::body::Body<Data = Bytes> + Unpin,
    {
        let grant = authenticate(api, &parts.headers)?;
        if parts.uri.query().is_some() && parts.extensions.get::<TakesQuery>().is_none() {
            query::none(&parts.uri)?;
        }
        let body = read_body(api, &parts.headers, body, bytes_max).await?;
        let Parts { method, uri, headers, .. } = parts;
        Ok(Call { grant, method, uri, headers, body })
    }

    /// Checks that the key has one of these scopes.
    ///
    /// # Errors
    /// It has none of them.
    pub fn needs(&self, scopes: &[Scope]) -> Result<()> {
        self.grant.needs(scopes)
    }

    /// Checks scope and organizer.
    ///
    /// # Errors
    /// As [`Grant::organizer`].
    pub fn organizer(&self, organizer: &str, scopes: &[Scope]) -> Result<Id> {
        self.grant.organizer(organizer, scopes)
    }

    /// Checks scope and organizer of an event.
    ///
    /// # Errors
    /// As [`Brief::subject`].
    pub fn subject(&self, organizer: &str, event: &str, scopes: &[Scope]) -> Result<Subject> {
        self.brief().subject(organizer, event, scopes)
    }

    /// Whether the holder may see no ticket codes: the key can read and nothing else.
    #[must_use]
    pub fn redacted(&self) -> bool {
        self.grant.is_reader()
    }

    /// Checks that the body is said to be JSON.
    ///
    /// # Errors
    /// It is said to be something else, or nothing is said.
    pub fn expect_json(&self) -> Result<()> {
        self.brief().expect_json()
    }

    /// Checks that nothing is sent where nothing is expected.
    ///
    /// # Errors
    /// There is a body, and it is not an empty object.
    pub fn expect_empty(&self) -> Result<()> {
        match self.body.trim_ascii() {
            b"" | b"{}" => Ok(()),
            _ => {
                let detail = "this request takes no body, or an empty object";
                Err(Problem::new(&kind::BODY_NOT_EXPECTED, detail))
            }
        }
    }
}

/// Stands among the extensions of a request whose route takes a query. All others are refused one.
#[derive(Clone, Copy, Debug)]
pub struct TakesQuery;

impl FromRequest<Arc<Api>> for Call {
    type Rejection = Box<Problem>;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Call> {
        let (parts, body) = request.into_parts();
        Call::read(api, parts, body).await
    }
}

/// The parts of the path, by their names.
#[derive(Debug)]
pub struct Path(RawPathParams);

impl Path {
    /// A part as it was sent, decoded.
    #[must_use]
    pub fn part(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(part, _)| *part == name);
        found.map(|(_, value)| value).expect("the route has this part")
    }

    /// Checks scope and organizer.
    ///
    /// # Errors
    /// As [`Call::organizer`].
    pub fn organizer(&self, call: &Call, scopes: &[Scope]) -> Result<Id> {
        call.organizer(self.part("organizer"), scopes)
    }

    /// Checks scope and organizer of an event.
    ///
    /// # Errors
    /// As [`Call::subject`].
    pub fn subject(&self, call: &Call, scopes: &[Scope]) -> Result<Subject> {
        call.subject(self.part("organizer"), self.part("event"), scopes)
    }

    /// The order's code.
    ///
    /// # Errors
    /// It can't be one.
    pub fn order(&self) -> Result<OrderCode> {
        order_code("code", self.part("code"))
    }

    /// The payment's reference.
    ///
    /// # Errors
    /// It can't be one.
    pub fn reference(&self) -> Result<Reference> {
        Reference::new(self.part("reference")).map_err(|error| Problem::text("reference", error))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Box<Problem>;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        params.map(Path).map_err(|error| Problem::new(&kind::INVALID_PATH, error.body_text()))
    }
}

/// An order's code, out of a body or a path.
///
/// # Errors
/// It can't be one.
pub fn order_code(field: &str, text: &str) -> Result<OrderCode> {
    let rule = "must be 10 symbols of A-Z and 2-9 without I and O";
    OrderCode::parse(text).ok_or_else(|| Problem::field(&kind::INVALID_ID, field, rule))
}

/// Whether a body is said to have any form but its own.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut said = headers.get_all(CONTENT_ENCODING).iter();
    said.any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// Whose key it is.
///
/// # Errors
/// There is none, or it is unknown.
pub fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Grant> {
    let header = Once::of(headers.get_all(AUTHORIZATION).iter());
    known(api, &api.keys.load(), header).cloned()
}

/// Whose key stands in the header `Authorization`.
///
/// # Errors
/// There is none, or it is unknown.
pub fn known<'a>(api: &Api, keys: &'a KeyStore, header: Once<'_>) -> Result<&'a Grant> {
    if header == Once::Absent {
        let detail = "send a key: Authorization: Bearer KEY";
        return Err(Problem::field(&kind::KEY_MISSING, "Authorization", detail));
    }
    // Which of two would count is not for us to choose.
    let secret = header.text().and_then(|text| {
        let (scheme, secret) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
    });
    let Some(secret) = secret else {
        let detail = "must be Bearer KEY, once";
        return Err(Problem::field(&kind::KEY_MISSING, "Authorization", detail));
    };
    let Some(grant) = keys.authenticate(secret) else {
        let detail = "the key is not known, or was revoked";
        return Err(Problem::field(&kind::KEY_UNKNOWN, "Authorization", detail));
    };
    meter(api, grant, 1)?;
    Ok(grant)
}

/// Takes so many requests off the key's limit per second.
///
/// # Errors
/// It has made as many as it may.
pub fn meter(api: &Api, grant: &Grant, requests: u32) -> Result<()> {
    let rate = grant.rate.unwrap_or(api.limits.requests_per_second);
    grant.meter.take(api.epoch, rate, requests).map_err(|retry_after| {
        api.metrics.refused.count(Reason::Rate);
        rates::exceeded(grant.key, rate, retry_after)
    })
}

async fn read_body<B>(
    api: &Api,
    headers: &HeaderMap,
    mut body: B,
    bytes_max: usize,
) -> Result<Bytes>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let said = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if said.is_some_and(|bytes: u64| bytes > bytes_max as u64) {
        api.metrics.refused.count(Reason::BodyTooLarge);
        return Err(too_large(bytes_max));
    }
    let bytes = said.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let mut collect = pin!(collect(api, &mut body, bytes, bytes_max));
    // Most bodies came with their heads: those need no timer.
    let now = poll_fn(|context| Poll::Ready(collect.as_mut().poll(context))).await;
    if let Poll::Ready(result) = now {
        return result;
    }
    match tokio::time::timeout(api.limits.body_time, collect).await {
        Ok(result) => result,
        Err(_) => {
            api.metrics.refused.count(Reason::BodySlow);
            let seconds = api.limits.body_time.as_secs_f64();
            let detail = format!("the body did not come within {seconds} seconds");
            Err(Problem::new(&kind::REQUEST_TIMEOUT, detail))
        }
    }
}

/// Gathers the body, of which is said how long it is. One that came in one piece, as most do,
/// is not copied.
async fn collect<B>(api: &Api, body: &mut B, said: usize, bytes_max: usize) -> Result<Bytes>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(&kind::INVALID_BODY, "the body could not be read");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if first.len() + more.len() + data.len() > bytes_max {
            api.metrics.refused.count(Reason::BodyTooLarge);
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.capacity() == 0 {
                // What does not come is never touched, and takes no memory.
                more.reserve(said.max(first.len() + data.len()));
            }
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

fn too_large(bytes_max: usize) -> Box<Problem> {
    let detail = format!("the body must have at most {bytes_max} bytes");
    let mut problem = Problem::new(&kind::BODY_TOO_LARGE, detail);
    problem.max = Some(bytes_max as i64);
    problem
}
