//! The engine, over its HTTP API: appends to `catalogue` and `control`, the records of `sales`, commands.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Error;
use crate::http::{Answer, Http};

/// How long a request may take.
const WAIT: Duration = Duration::from_secs(10);
/// The stream of what shall be for sale.
pub const CATALOGUE: &str = "catalogue";
/// The stream of transfers.
pub const CONTROL: &str = "control";

/// The engine, with a key of the scope `manage`.
#[derive(Clone, Debug)]
pub struct Engine {
    http: Http,
    authorization: String,
}

/// A wish for `catalogue`, or a step for `control`.
#[derive(Clone, PartialEq, Debug)]
pub struct Wish {
    /// `type`: `onsale.event.define.v1` and others.
    pub kind: String,
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// What exactly.
    pub data: Value,
}

/// A shard of `sales`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct SalesShard {
    /// Which, from 0.
    pub shard: u16,
    /// Of its log; another one means that the log went back.
    pub generation: u32,
    /// Position of its first record that is left.
    pub first: u64,
    /// Position of its last record.
    pub next: u64,
    /// The same as a cursor, which knows its log.
    pub cursor: String,
}

/// Some records of `sales`, in order.
#[derive(Debug, Deserialize)]
pub struct SalesPage {
    /// Each a CloudEvent.
    pub records: Vec<SalesRecord>,
    /// Position after which to go on.
    pub next: u64,
    /// The same as a cursor, which knows its log.
    pub cursor: String,
}

/// A record of `sales`.
#[derive(Debug, Deserialize)]
pub struct SalesRecord {
    /// Log, shard and position: unique.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// The position in its shard.
    pub position: u64,
    /// What exactly, as JSON that is not read yet.
    pub data: Box<RawValue>,
}

/// A record of `catalogue` that the engine refused.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Parked {
    /// Its shard.
    #[serde(default)]
    pub shard: Value,
    /// Its position.
    pub position: u64,
    /// Why.
    pub reason: String,
}

/// A part of a path with what has a meaning there escaped.
#[must_use]
pub fn escaped(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(byte.into())
            }
            _ => text += &format!("%{byte:02X}"),
        }
    }
    text
}

/// The path of an event.
#[must_use]
pub fn event_path(organizer: &str, event: &str) -> String {
    format!("/v1/organizers/{}/events/{}", escaped(organizer), escaped(event))
}

impl Engine {
    /// At a URL, with a key.
    ///
    /// # Errors
    /// The URL is of another form than `http[s]://host:port`.
    pub fn new(url: &str, key: &str) -> Result<Engine, Error> {
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::refused(
                "the engine's key is not a key",
                "Make one: onsale keys create --scope manage.",
            ));
        }
        Ok(Engine { http: Http::new(url)?, authorization: format!("Bearer {key}") })
    }

    /// Sends a request; an answer of any status.
    ///
    /// # Errors
    /// There is no whole answer in time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
        wait: Duration,
    ) -> Result<Answer, Error> {
        let mut headers = vec![("authorization", self.authorization.as_str())];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.http.send(method, path, &headers, body, wait).await
    }

    async fn fine(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let answer = self.send(method, path, key, body, WAIT).await?;
        if answer.is_fine() { Ok(answer) } else { Err(answer.to_error()) }
    }

    /// Gets JSON.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn get(&self, path: &str) -> Result<Value, Error> {
        Ok(self.fine(Method::GET, path, None, None).await?.json())
    }

    /// Appends to a stream; the record's position. With the same key again nothing is appended.
    ///
    /// # Errors
    /// [`Error::Answered`] where the engine refuses it at once.
    pub async fn append(&self, stream: &str, wish: &Wish, key: &str) -> Result<u64, Error> {
        let body = json!({"type": wish.kind, "subject": wish.subject, "data": wish.data});
        let path = format!("/v1/streams/{stream}/records");
        let answer = self.fine(Method::POST, &path, Some(key), Some(&body)).await?;
        answer.json()["position"].as_u64().ok_or_else(|| self.odd("no position"))
    }

    fn odd(&self, what: &str) -> Error {
        Error::Unreachable {
            server: self.http.base().to_owned(),
            why: format!("an answer with {what}"),
        }
    }

    /// Records of `catalogue` or `control` after a position, and after which one to go on.
    ///
    /// # Errors
    /// They can't be had.
    pub async fn read(&self, stream: &str, after: u64) -> Result<(Vec<Value>, u64), Error> {
        // From the oldest that is left: the first ones may be past retention.
        let after = if after == 0 { String::new() } else { format!("&after={after}") };
        let mut answer =
            self.get(&format!("/v1/streams/{stream}/records?limit=100{after}")).await?;
        let next = answer["next"].as_u64().ok_or_else(|| self.odd("no next"))?;
        match answer["records"].take() {
            Value::Array(records) => Ok((records, next)),
            _ => Err(self.odd("no records")),
        }
    }

    /// The shards of `sales`.
    ///
    /// # Errors
    /// They can't be had.
    pub async fn sales_shards(&self) -> Result<Vec<SalesShard>, Error> {
        let mut answer = self.get("/v1/streams/sales/shards").await?;
        serde_json::from_value(answer["shards"].take()).map_err(|_| self.odd("no shards"))
    }

    /// Records of a shard of `sales` after a cursor (or a position); waits for one up to `wait`.
    ///
    /// # Errors
    /// [`Error::Answered`] with 409 (`log-diverged`) or 410 (`position-gone`) where the cursor can't be gone on from.
    pub async fn sales(
        &self,
        shard: u16,
        after: Option<&str>,
        limit: u32,
        wait: Duration,
    ) -> Result<SalesPage, Error> {
        let after = after.map(|after| format!("&after={}", escaped(after))).unwrap_or_default();
        let wait_ms = wait.as_millis();
        let path = format!(
            "/v1/streams/sales/records?shard={shard}{after}&limit={limit}&wait_ms={wait_ms}"
        );
        let answer = self.send(Method::GET, &path, None, None, wait + WAIT).await?;
        if !answer.is_fine() {
            return Err(answer.to_error());
        }
        serde_json::from_slice(&answer.body).map_err(|_| self.odd("no page of records"))
    }

    /// What the engine knows of an event; none: it does not know it.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn event(&self, organizer: &str, event: &str) -> Result<Option<Value>, Error> {
        match self.get(&event_path(organizer, event)).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::Answered { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the engine knows of an order; none: it does not know it.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn order(
        &self,
        organizer: &str,
        event: &str,
        code: &str,
    ) -> Result<Option<Value>, Error> {
        let path = format!("{}/orders/{}", event_path(organizer, event), escaped(code));
        match self.get(&path).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::Answered { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Cancels an order. With the same key again nothing more happens.
    ///
    /// # Errors
    /// [`Error::Answered`] where the engine refuses it: 404, or 409 where it is cancelled already.
    pub async fn cancel(
        &self,
        organizer: &str,
        event: &str,
        code: &str,
        key: &str,
    ) -> Result<(), Error> {
        let path = format!("{}/orders/{}/cancel", event_path(organizer, event), escaped(code));
        self.fine(Method::POST, &path, Some(key), None).await.map(drop)
    }

    /// Records of `catalogue` that the engine refused.
    ///
    /// # Errors
    /// They can't be had.
    pub async fn parked(&self) -> Result<Vec<Parked>, Error> {
        let mut answer = self.get("/v1/streams/catalogue/parked").await?;
        serde_json::from_value(answer["parked"].take())
            .map_err(|_| self.odd("no list of parked records"))
    }

    /// Forgets a record of `catalogue` that the engine refused.
    ///
    /// # Errors
    /// It can't be done.
    pub async fn drop_parked(&self, position: u64) -> Result<(), Error> {
        let path = format!("/v1/streams/catalogue/parked/0/{position}");
        match self.fine(Method::DELETE, &path, None, None).await {
            Ok(_) | Err(Error::Answered { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The time at the engine's machine, to a second.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn time(&self) -> Result<Option<Timestamp>, Error> {
        let answer = self.send(Method::GET, "/healthz", None, None, WAIT).await?;
        let date = answer.header("date");
        Ok(date
            .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
            .map(|zoned| zoned.timestamp()))
    }
}
