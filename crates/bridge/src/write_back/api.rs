//! Write-back by a platform's API, as the dialect describes it: a request makes an order, one looks at it, one cancels it.
//!
//! Whatever happened to a request, it is sent again: an order has the engine's code and its tickets the engine's codes, so
//! "that is there already" is answered by looking at it and comparing. The place in `sales` is in the bridge's own file;
//! if it is lost, all is sent again and found to be there.

pub(crate) mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use onsale_bus::Generation;
use serde::Deserialize;
use serde_json::Value;

use super::sales::{Line, Order, OrderRecord, fold, price};
use super::sql::{Place, Written};
use super::template::{Scope, at, fill, plain};
use super::{Context, Parked};
use crate::Error;
use crate::capture::orders::{CANCELLED, cancelled_by_engine};
use crate::dialect::Dialect;
use crate::engine::Engine;
use crate::state::State;
use requests::{Meaning, Requests};

/// Requests at once that a dialect may ask for.
const CONCURRENCY_MAX: usize = 64;

/// Where the platform's API is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    /// `http[s]://host:port`.
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

impl Settings {
    fn of(dialect: &Dialect) -> Result<Settings, Error> {
        let table: toml::Table = dialect.settings.write_back.more.clone().into_iter().collect();
        table.try_into().map_err(|error| Error::Dialect {
            file: format!("{}/dialect.toml", dialect.place),
            why: format!("write_back: {error}"),
        })
    }
}

/// Requests of these names, for others than the writer.
pub(crate) fn requests_of(
    dialect: &Dialect,
    platform: Option<&Platform>,
    names: &[&'static str],
) -> Result<Requests, Error> {
    Requests::open(dialect, platform, &Settings::of(dialect)?.headers, names)
}

/// Writes through one platform's API.
pub struct Writer {
    requests: Requests,
    concurrency: usize,
    pending: bool,
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
        let settings = Settings::of(&context.dialect)?;
        let names = ["place", "look", "cancel"];
        let platform = context.platform.as_ref();
        let requests = Requests::open(&context.dialect, platform, &settings.headers, &names)?;
        Ok(Writer {
            requests,
            concurrency: settings.concurrency.clamp(1, CONCURRENCY_MAX),
            pending: settings.pending,
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
        let ended: BTreeSet<String> = orders
            .iter()
            .filter(|o| o.status.as_deref() == Some(CANCELLED))
            .map(|o| o.code.clone())
            .collect();
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
        let ended = done.iter().filter(|code| ended.contains(*code));
        cancelled_by_engine(&self.state, ended.map(String::as_str))?;
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
        let request = self.requests.named(name);
        let answer = match self.requests.send(name, &order).await? {
            Ok(answer) => answer,
            Err(why) => return Ok(Outcome::Parked(why)),
        };
        match request.meaning(&answer) {
            Meaning::Done | Meaning::Missing => return Ok(Outcome::Done),
            Meaning::Refused => {
                return Ok(Outcome::Parked(format!("{name}: {}", answer.to_error())));
            }
            Meaning::Exists => {}
        }
        let there = match self.requests.send("look", &order).await? {
            Ok(there) => there,
            Err(why) => return Ok(Outcome::Parked(why)),
        };
        if !matches!(self.requests.named("look").meaning(&there), Meaning::Done) {
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
            Ok(wanted) if is_same(&plain(&wanted), &plain(&found)) => None,
            Ok(wanted) => Some(format!("{pointer} is {}, not {}", plain(&found), plain(&wanted))),
            Err(error) => Some(error.to_string()),
        }
    })
}

/// Whether two texts are the same, or the same number: `2500` and `2500.00`.
fn is_same(a: &str, b: &str) -> bool {
    let plain = |text: &str| -> Option<String> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_number = !whole.is_empty() && is_digits(whole) && is_digits(fraction);
        is_number.then(|| format!("{whole}.{}", fraction.trim_end_matches('0')))
    };
    a == b || (plain(a).is_some() && plain(a) == plain(b))
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
