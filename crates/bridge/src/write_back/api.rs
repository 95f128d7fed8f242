//! Write-back by a platform's API, as the dialect describes it: a request makes an order, one looks at it, one cancels it.
//!
//! Whatever happened to a request, it is sent again: an order has the engine's code and its tickets the engine's codes, so
//! "that is there already" is answered by looking at it and comparing. The place in `sales` is in the bridge's own file;
//! if it is lost, all is sent again and found to be there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::Method;
use onsale_bus::Generation;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::sales::{Line, Order, OrderRecord, fold, price};
use super::sql::{Place, Written};
use super::template::{self, Scope, at, fill, plain};
use super::{Context, Parked};
use crate::Error;
use crate::engine::Engine;
use crate::http::{Answer, Http};
use crate::state::State;

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(60);
/// The first and the longest pause before a request is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A request that was sent so often is left for later.
const TRIES_MAX: u32 = 30;
/// Requests at once that a dialect may ask for.
const CONCURRENCY_MAX: usize = 64;

/// Where the platform's API is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// `http://host:port`.
    pub url: String,
    /// What the dialect's headers call `{secret}`.
    pub secret: String,
}

/// What a dialect says about write-back by an API, beside its requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Headers of all requests.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Requests at once.
    #[serde(default = "one")]
    concurrency: usize,
    /// Whether orders are made before they are paid.
    #[serde(default)]
    pending: bool,
}

fn one() -> usize {
    1
}

/// A request, and what its answers mean; any other answer sets the order aside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    method: String,
    path: String,
    /// JSON.
    body: Option<String>,
    /// It is done.
    done: Vec<u16>,
    /// It was done before, or something else is in the way: look and compare.
    #[serde(default)]
    exists: Vec<Sign>,
    /// There is nothing to do it to.
    #[serde(default)]
    missing: Vec<u16>,
    /// Not now: send it again.
    #[serde(default)]
    again: Vec<u16>,
    /// What must be equal where it exists: pointers into the answer of `look`, and templates.
    #[serde(default)]
    equal: BTreeMap<String, Value>,
}

/// How an answer is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    status: u16,
    /// A text that is in its body.
    #[serde(default)]
    body: String,
}

/// Writes through one platform's API.
pub struct Writer {
    http: Http,
    headers: Vec<(String, String)>,
    concurrency: usize,
    pending: bool,
    requests: BTreeMap<String, (Request, Method, Option<Value>)>,
    engine: Engine,
    state: Arc<State>,
}

/// What became of an order.
enum Outcome {
    Done,
    Parked(String),
}

impl Writer {
    /// Reads the dialect's requests.
    ///
    /// # Errors
    /// One is missing or wrong, or it is not said where the API is.
    pub fn open(context: &Context) -> Result<Writer, Error> {
        let dialect = &context.dialect;
        let wrong = |what: &str, why: String| Error::Dialect {
            file: format!("{}/dialect.toml", dialect.place),
            why: format!("{what}: {why}"),
        };
        let platform = context.platform.as_ref().ok_or_else(|| {
            Error::refused(
                "this dialect writes back by the platform's API",
                "Say where it is by --platform, and its key by ONSALE_PLATFORM_SECRET.",
            )
        })?;
        let table: toml::Table = dialect.settings.write_back.more.clone().into_iter().collect();
        let settings: Settings =
            table.try_into().map_err(|error| wrong("write_back", error.to_string()))?;
        let mut requests = BTreeMap::new();
        for name in ["place", "look", "cancel"] {
            let what = format!("api.{name}");
            let text =
                dialect.settings.api.get(name).ok_or_else(|| wrong(&what, "is missing".into()))?;
            let request: Request =
                text.clone().try_into().map_err(|error| wrong(&what, format!("{error}")))?;
            let method = request.method.parse().map_err(|_| wrong(&what, "no method".into()))?;
            let body = request.body.as_deref().map(serde_json::from_str).transpose();
            let body = body.map_err(|error| wrong(&format!("{what}.body"), error.to_string()))?;
            requests.insert(name.to_owned(), (request, method, body));
        }
        let secret = serde_json::json!({"secret": platform.secret});
        let header = |(name, value): (&String, &String)| -> Result<(String, String), Error> {
            let value = template::text(value, &Scope::new(&secret));
            Ok((
                name.clone(),
                value.map_err(|error| wrong("write_back.headers", error.to_string()))?,
            ))
        };
        Ok(Writer {
            http: Http::new(&platform.url)?,
            headers: settings.headers.iter().map(header).collect::<Result<_, _>>()?,
            concurrency: settings.concurrency.clamp(1, CONCURRENCY_MAX),
            pending: settings.pending,
            requests,
            engine: context.engine.clone(),
            state: Arc::clone(&context.state),
        })
    }

    /// Where a shard is.
    ///
    /// # Errors
    /// The bridge's own file fails.
    pub fn place(&self, shard: u16) -> Result<Option<Place>, Error> {
        let Some(text) = self.state.fact(&fact(shard))? else { return Ok(None) };
        let numbers: Vec<u64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [generation, position] = numbers[..] else {
            return Err(Error::State(format!("{}: {text}", fact(shard))));
        };
        Ok(Some(Place { generation: Generation(generation), position }))
    }

    /// Writes what became of orders; the place is kept once all are there or set aside.
    ///
    /// # Errors
    /// The platform can't be reached, or can't take it now; what is there by then is found again.
    pub async fn write(
        &self,
        shard: u16,
        to: Place,
        records: &[OrderRecord],
    ) -> Result<Written, Error> {
        let written = self.carry_out(records).await?;
        let text = format!("{} {}", to.generation.0, to.position);
        self.state.set_fact(&fact(shard), Some(&text))?;
        Ok(written)
    }

    /// Writes what became of orders that were set aside.
    ///
    /// # Errors
    /// As for [`Writer::write`].
    pub async fn retry(&self, records: &[OrderRecord]) -> Result<Written, Error> {
        self.carry_out(records).await
    }

    async fn carry_out(&self, records: &[OrderRecord]) -> Result<Written, Error> {
        let (orders, mut parked) = fold(records);
        let orders: Vec<Order> =
            orders.into_iter().filter(|o| parked.iter().all(|(code, _)| *code != o.code)).collect();
        let echoes = orders.iter().filter_map(|o| Some((o.code.as_str(), o.status.as_deref()?)));
        self.state.will_write(echoes)?;
        let mut done: Vec<String> = Vec::new();
        let mut failed = None;
        let mut work = futures_util::stream::iter(orders)
            .map(|order| async move { (order.code.clone(), self.bring(order).await) })
            .buffer_unordered(self.concurrency);
        while let Some((code, outcome)) = work.next().await {
            match outcome {
                Ok(Outcome::Done) => done.push(code),
                Ok(Outcome::Parked(why)) => parked.push((code, why)),
                Err(error) => failed = Some(error),
            }
        }
        super::park(&self.state, &parked, records)?;
        self.state.wrote(done.iter().map(String::as_str))?;
        let written = Written { orders: done.len() as u64, parked: parked as Vec<Parked> };
        failed.map_or(Ok(written), Err)
    }

    /// Makes the platform's order what the engine's is.
    async fn bring(&self, mut order: Order) -> Result<Outcome, Error> {
        let name = match order.status.as_deref() {
            Some("paid") => "place",
            Some("pending") if self.pending => "place",
            // What was never made there needs no end.
            Some("cancelled") if !order.is_new => "cancel",
            _ => return Ok(Outcome::Done),
        };
        if name == "place"
            && !order.is_new
            && let Err(why) = self.complete(&mut order).await?
        {
            return Ok(Outcome::Parked(why));
        }
        let order =
            serde_json::to_value(&order).map_err(|error| Error::State(error.to_string()))?;
        let (request, _, _) = &self.requests[name];
        let answer = match self.send(name, &order).await? {
            Ok(answer) => answer,
            Err(why) => return Ok(Outcome::Parked(why)),
        };
        if request.done.contains(&answer.status) || request.missing.contains(&answer.status) {
            return Ok(Outcome::Done);
        }
        if !request.exists.iter().any(|sign| sign.is(&answer)) {
            return Ok(Outcome::Parked(format!("{name}: {}", answer.to_error())));
        }
        let there = match self.send("look", &order).await? {
            Ok(there) => there,
            Err(why) => return Ok(Outcome::Parked(why)),
        };
        if !self.requests["look"].0.done.contains(&there.status) {
            let why = format!("{name}: {}; look: {}", answer.to_error(), there.to_error());
            return Ok(Outcome::Parked(why));
        }
        match differs(&request.equal, &order, &there.json()) {
            None => Ok(Outcome::Done),
            Some(why) => Ok(Outcome::Parked(format!("it is there, and differs: {why}"))),
        }
    }

    /// Asks the engine for what stood in an earlier record.
    async fn complete(&self, order: &mut Order) -> Result<Result<(), String>, Error> {
        let view = self.engine.order(&order.organizer, &order.event, &order.code).await?;
        let Some(view) = view else { return Ok(Err("the engine does not know it".to_owned())) };
        let lines = view["lines"].as_array().into_iter().flatten().map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let number = |name: &str| line[name].as_i64().unwrap_or_default();
            let (quantity, unit_price) = (number("quantity"), number("unit_price"));
            Line { ticket_type: text("ticket_type"), quantity, unit_price }
        });
        order.lines = lines.collect();
        order.customer = view["customer"].as_str().unwrap_or_default().to_owned();
        order.total = view["total"]["amount"].as_i64().unwrap_or_default();
        order.currency = view["total"]["currency"].as_str().unwrap_or_default().to_owned();
        price(order);
        Ok(Ok(()))
    }

    /// Sends a request until it is answered by more than "not now". The inner error: it can't be made of this order.
    async fn send(&self, name: &str, order: &Value) -> Result<Result<Answer, String>, Error> {
        let (request, method, body) = &self.requests[name];
        let scope = Scope::new(order);
        let filled = template::text(&request.path, &scope)
            .and_then(|path| Ok((path, body.as_ref().map(|body| fill(body, &scope)).transpose()?)));
        let (path, body) = match filled {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(format!("{name}: {error}"))),
        };
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(body.is_some().then_some(("content-type", "application/json")));
        let mut pause = PAUSE_MIN;
        for _ in 0..TRIES_MAX {
            let answer = self.http.send(method.clone(), &path, &headers, body.clone(), WAIT).await;
            let after = match &answer {
                Ok(answer) if !request.again.contains(&answer.status) => {
                    return Ok(Ok(answer.clone()));
                }
                Ok(answer) => answer.header("retry-after").and_then(|text| text.parse().ok()),
                Err(_) => None,
            };
            sleep(after.map_or(pause, Duration::from_secs).min(PAUSE_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let why = format!("{name}: not taken {TRIES_MAX} times in a row");
        Err(Error::Unreachable { server: self.http.base().to_owned(), why })
    }
}

impl Sign {
    fn is(&self, answer: &Answer) -> bool {
        answer.status == self.status && String::from_utf8_lossy(&answer.body).contains(&self.body)
    }
}

/// What is not as it must be.
fn differs(equal: &BTreeMap<String, Value>, order: &Value, there: &Value) -> Option<String> {
    equal.iter().find_map(|(pointer, template)| {
        let wanted = match template.as_str().and_then(|text| text.strip_prefix("$/")) {
            // A pointer into the order.
            Some(pointer) => Ok(at(order, &format!("/{pointer}"))),
            None => fill(template, &Scope::new(order)),
        };
        let found = at(there, pointer);
        match wanted {
            Ok(wanted) if plain(&wanted) == plain(&found) => None,
            Ok(wanted) => Some(format!("{pointer} is {}, not {}", plain(&found), plain(&wanted))),
            Err(error) => Some(error.to_string()),
        }
    })
}

/// Where all shards are.
///
/// # Errors
/// The bridge's own file fails.
pub fn places(state: &State) -> Result<BTreeMap<u16, u64>, Error> {
    let db = state.db();
    let mut select = db.prepare("SELECT name, value FROM facts WHERE name LIKE 'write-back/%'")?;
    let rows =
        select.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut places = BTreeMap::new();
    for row in rows {
        let (name, value) = row?;
        let shard = name.rsplit('/').next().and_then(|number| number.parse::<u16>().ok());
        let position = value.split(' ').nth(1).and_then(|number| number.parse::<u64>().ok());
        places.extend(shard.zip(position));
    }
    Ok(places)
}

/// Where a shard's place is kept.
fn fact(shard: u16) -> String {
    format!("write-back/{shard}")
}

#[cfg(test)]
mod tests;
