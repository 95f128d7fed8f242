//! From the engine to the platform: orders, cancellations, payments, ticket codes.
//!
//! Readers, one a shard of `sales`, hand pages of records to one writer. With a dialect that writes by SQL the effect of
//! a page and its place are one transaction ([`sql`]); with one that writes by an API each order is made by its own code,
//! so that a repeated request finds it ([`api`]). Orders that the platform does not take are set aside with the reason, and
//! whatever comes later of such an order waits with it, until somebody has it tried again. Orders of events that are none of
//! this platform's are passed over ([`strangers`]).

pub mod api;
mod retry;
pub mod sales;
pub mod sql;
pub mod strangers;
pub mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onsale_bus::Generation;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::Error;
use crate::database::Database;
use crate::dialect::{By, Dialect};
use crate::engine::{Engine, SalesPage, SalesShard};
use crate::state::State;
pub(crate) use retry::forget;
pub use retry::{Retried, retry};
use sales::{OrderRecord, of_order};
use sql::{Place, Writer};
use strangers::Strangers;

/// The way, in the bridge's own file.
pub const WAY: &str = "write-back";
/// Records that are asked for at once.
const PAGE_RECORDS: u32 = 1_000;
const PAGE_RECORDS_API: u32 = 50;
/// How long a shard is waited for before it is asked again.
const READ_WAIT: Duration = Duration::from_secs(5);
/// Pages that wait for the writer, over all shards.
const PAGES_MAX: usize = 4;
/// The first and the longest pause after an error that may pass.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Orders that may be set aside before write-back stops.
const PARKED_MAX: usize = 10_000;

/// An order that was set aside, and why.
pub type Parked = (String, String);

/// What write-back works with.
#[derive(Clone)]
pub struct Context {
    /// The platform's database.
    pub db: String,
    /// The dialect.
    pub dialect: Arc<Dialect>,
    /// The engine.
    pub engine: Engine,
    /// The bridge's own file.
    pub state: Arc<State>,
    /// For an API: where it is, and the secret.
    pub platform: Option<api::Platform>,
    /// Orders a second at most; none: as many as go.
    pub rate: Option<u32>,
    /// Goes on from the first record that is left, where the engine's log is another one than before.
    pub other_log: bool,
    /// What it does.
    pub meter: Arc<Meter>,
}

/// What write-back has done and how far it is, for status and metrics.
#[derive(Debug, Default)]
pub struct Meter {
    /// Writes of orders: one order counts each time that something of it was written.
    pub orders: AtomicU64,
    /// Records dealt with.
    pub records: AtomicU64,
    /// Orders set aside.
    pub parked: AtomicU64,
    /// Errors that passed or will.
    pub errors: AtomicU64,
    shards: Mutex<BTreeMap<u16, Shard>>,
    last_error: Mutex<Option<String>>,
}

/// How far a shard is.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Shard {
    /// The last position whose effect is there.
    pub position: u64,
    /// The last position that there is.
    pub end: u64,
    /// When the last record that was dealt with happened.
    pub time: Option<String>,
}

impl Meter {
    /// How far each shard is.
    pub fn shards(&self) -> BTreeMap<u16, Shard> {
        self.shards.lock().expect("nobody panics with it").clone()
    }

    /// Learns where shards end.
    pub fn ends(&self, shards: &[SalesShard]) {
        for shard in shards {
            self.change(shard.shard, |meter| meter.end = meter.end.max(shard.next));
        }
    }

    /// Records that are still to be dealt with.
    pub fn behind(&self) -> u64 {
        self.shards().values().map(|shard| shard.end.saturating_sub(shard.position)).sum()
    }

    /// What went wrong last, until it goes well again.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().expect("nobody panics with it").clone()
    }

    fn change(&self, shard: u16, change: impl FnOnce(&mut Shard)) {
        change(self.shards.lock().expect("nobody panics with it").entry(shard).or_default());
    }

    fn failed(&self, error: Option<&Error>) {
        let text = error.map(ToString::to_string);
        self.errors.fetch_add(u64::from(text.is_some()), Ordering::Relaxed);
        *self.last_error.lock().expect("nobody panics with it") = text;
    }

    /// As Prometheus reads it.
    pub fn metrics(&self) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let writes =
            "Writes of orders: an order that is placed, paid and cancelled may count three times.";
        let rows = [
            ("orders_total", "counter", count(&self.orders), writes),
            ("records_total", "counter", count(&self.records), "Records of sales dealt with."),
            ("parked_total", "counter", count(&self.parked), "Times that an order was set aside."),
            ("errors_total", "counter", count(&self.errors), "Errors that passed or will."),
            ("behind_records", "gauge", self.behind(), "Records of sales still to be dealt with."),
        ];
        rows.iter()
            .map(|(name, kind, value, help)| {
                let name = format!("onsale_bridge_write_back_{name}");
                format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
            })
            .collect()
    }
}

/// Names of the statements that write, in order.
///
/// # Errors
/// The dialect says none.
pub fn steps(dialect: &Dialect) -> Result<Vec<String>, Error> {
    let wrong = || Error::Dialect {
        file: format!("{}/dialect.toml", dialect.place),
        why: "write_back.steps must be a list of names of statements".to_owned(),
    };
    let steps = dialect.settings.write_back.more.get("steps").and_then(toml::Value::as_array);
    let steps = steps.filter(|steps| !steps.is_empty()).ok_or_else(wrong)?;
    steps.iter().map(|step| Ok(step.as_str().ok_or_else(wrong)?.to_owned())).collect()
}

/// What pages are read for.
struct Read {
    shard: SalesShard,
    page: SalesPage,
}

/// How the platform is written to.
enum Target {
    Sql(Box<Writer>, BTreeMap<u16, u64>),
    Api(Box<api::Writer>),
}

/// Writes back until it is told to stop. What may pass is tried again, for ever.
///
/// # Errors
/// What does not pass by itself: another log, another bridge, a dialect that is wrong.
pub async fn run(context: Context, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
    if context.dialect.settings.write_back.by == By::Nothing {
        return Ok(());
    }
    let mut pause = PAUSE_MIN;
    loop {
        let done = tokio::select! {
            done = work(&context) => done,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Err(error) = done else { continue };
        context.meter.failed(Some(&error));
        // A statement that the database refuses for what it is may be right after the schema is changed back.
        // Too much that is set aside is so until somebody has it tried again.
        let waits = matches!(error, Error::Statement { .. } | Error::Data { .. });
        if !error.is_transient() && !waits && error != full() {
            return Err(error);
        }
        tracing::warn!(%error, "write-back waits");
        tokio::select! {
            () = sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        pause = (pause * 2).min(PAUSE_MAX);
        if context.meter.last_error().is_none() {
            pause = PAUSE_MIN;
        }
    }
}

/// Reads and writes until something fails.
async fn work(context: &Context) -> Result<(), Error> {
    let mut target = open(context).await?;
    let (pages, mut inbox) = mpsc::channel(PAGES_MAX);
    let mut places = BTreeMap::new();
    let mut readers = tokio::task::JoinSet::new();
    for shard in context.engine.sales_shards().await? {
        let (place, is_same) = begin(context, &mut target, &shard).await?;
        places.insert(shard.shard, place);
        context.meter.change(shard.shard, |meter| {
            meter.position = place.map_or(0, |place| place.position);
            meter.end = shard.next;
        });
        let after = place.filter(|_| is_same).map(|place| place.position);
        let records = page_records(context);
        readers.spawn(read(context.engine.clone(), shard, after, records, pages.clone()));
    }
    drop(pages);
    let (mut pace, mut strangers) = (Pace::new(context.rate), Strangers::default());
    loop {
        let page = tokio::select! {
            page = inbox.recv() => page,
            Some(ended) = readers.join_next() => match ended {
                Ok(done) => return done,
                Err(error) => return Err(Error::Database(error.to_string())),
            },
        };
        let Some(Read { shard, page }) = page else {
            return Err(Error::Unreachable { server: "sales".into(), why: "no reader".into() });
        };
        let place = places.entry(shard.shard).or_default();
        let to = Place { generation: generation(&shard), position: page.next };
        let (records, passed) = strangers.part(context, of_page(&shard, &page)).await?;
        let orders = apply(context, &mut target, &shard, *place, to, records).await?;
        strangers::note(&context.state, &passed)?;
        *place = Some(to);
        context.meter.failed(None);
        context.meter.records.fetch_add(page.records.len() as u64, Ordering::Relaxed);
        let time = page.records.last().map(|record| record.time.clone());
        context.meter.change(shard.shard, |meter| {
            (meter.position, meter.end) = (to.position, meter.end.max(to.position));
            meter.time = time.or(meter.time.take());
        });
        pace.wait(orders).await;
    }
}

async fn open(context: &Context) -> Result<Target, Error> {
    let (dialect, state) = (&context.dialect, &context.state);
    if dialect.settings.write_back.by == By::Api {
        return Ok(Target::Api(Box::new(api::Writer::open(context)?)));
    }
    let db = Database::open(&context.db).await?;
    let writer = Writer::open(db, dialect, Arc::clone(state)).await?;
    Ok(Target::Sql(Box::new(writer), BTreeMap::new()))
}

/// Records that are asked for at once: fewer where they go slowly, so that little is done twice after a crash.
fn page_records(context: &Context) -> u32 {
    let of_way = match context.dialect.settings.write_back.by {
        By::Api => PAGE_RECORDS_API,
        _ => PAGE_RECORDS,
    };
    context.rate.map_or(of_way, |rate| rate.clamp(1, of_way))
}

/// Where a shard is, and whether its log is still that one.
async fn begin(
    context: &Context,
    target: &mut Target,
    shard: &SalesShard,
) -> Result<(Option<Place>, bool), Error> {
    let place = match target {
        Target::Sql(writer, fences) => {
            let (place, fence) = writer.place(shard.shard).await?;
            fences.insert(shard.shard, fence + 1);
            place
        }
        Target::Api(writer) => writer.place(shard.shard)?,
    };
    let Some(at) = place else { return Ok((None, true)) };
    let is_same = at.generation == generation(shard) && at.position <= shard.next;
    if !is_same && !context.other_log {
        return Err(Error::refused(
            format!(
                "shard {}: the engine's log is not the one that was written back to position {}",
                shard.shard, at.position
            ),
            "See what differs by `onsale bridge reconcile`; then `onsale bridge run --other-log` writes back what the \
             log has now, each order once by its code.",
        ));
    }
    if !is_same {
        // What was written back is there by its code; the place is moved on from where it is stored.
        tracing::warn!(shard = shard.shard, "another log: from its first record");
    }
    Ok((Some(at), is_same))
}

/// A log and its generation, as one number.
#[must_use]
pub fn generation(shard: &SalesShard) -> Generation {
    let log = shard.cursor.get(..8).and_then(|hex| u64::from_str_radix(hex, 16).ok());
    Generation((log.unwrap_or_default() & 0x7fff_ffff) << 32 | u64::from(shard.generation))
}

/// Reads a shard, page after page. Ends by an error, or when nobody takes pages any more.
async fn read(
    engine: Engine,
    shard: SalesShard,
    after: Option<u64>,
    records: u32,
    pages: mpsc::Sender<Read>,
) -> Result<(), Error> {
    // Begins with its log and generation, so that the engine says if they are others by now.
    let log = shard.cursor.rsplit_once('.').map_or("", |(log, _)| log).to_owned();
    let mut after = after.map(|after| format!("{log}.{after}"));
    loop {
        let page = engine.sales(shard.shard, after.as_deref(), records, READ_WAIT).await?;
        let is_news = after.as_deref() != Some(page.cursor.as_str());
        after = Some(page.cursor.clone());
        if is_news && pages.send(Read { shard: shard.clone(), page }).await.is_err() {
            return Ok(());
        }
    }
}

/// The records of a page that are about orders.
fn of_page(shard: &SalesShard, page: &SalesPage) -> Vec<OrderRecord> {
    page.records.iter().filter_map(|record| of_order(shard.shard, record)).collect()
}

/// Why nothing is written back as long as so much is set aside.
fn full() -> Error {
    Error::refused(
        format!("more than {PARKED_MAX} orders are set aside, so nothing more is written back"),
        "`onsale bridge status` says why each is; `onsale bridge retry` has them tried again, and write-back goes on.",
    )
}

/// Writes records of a page. Gives how many orders were written.
async fn apply(
    context: &Context,
    target: &mut Target,
    shard: &SalesShard,
    from: Option<Place>,
    to: Place,
    records: Vec<OrderRecord>,
) -> Result<u64, Error> {
    let waiting = context.state.parked_names(WAY)?;
    if waiting.len() > PARKED_MAX && !records.is_empty() {
        return Err(full());
    }
    let (behind, records): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| waiting.contains(&record.order));
    let orders: BTreeSet<&str> = behind.iter().map(|record| record.order.as_str()).collect();
    let why = "waits for what was set aside of this order before";
    let orders: Vec<Parked> =
        orders.into_iter().map(|order| (order.to_owned(), why.to_owned())).collect();
    park(&context.state, &orders, &behind)?;
    let written = match target {
        Target::Sql(writer, fences) => {
            let fence = fences.get(&shard.shard).copied().unwrap_or(1);
            writer.write(shard.shard, fence, from, to, &records).await?
        }
        Target::Api(writer) => writer.write(shard.shard, to, &records).await?,
    };
    context.meter.orders.fetch_add(written.orders, Ordering::Relaxed);
    context.meter.parked.fetch_add(written.parked.len() as u64, Ordering::Relaxed);
    for (order, why) in &written.parked {
        tracing::warn!(order, why, "an order is set aside");
    }
    Ok(written.orders)
}

/// Records of orders that are set aside, by order.
///
/// # Errors
/// The bridge's own file fails.
pub fn parked(state: &State) -> Result<BTreeMap<String, (String, Vec<OrderRecord>)>, Error> {
    let all = state.parked()?.into_iter().filter(|parked| parked.way == WAY);
    let records = |text: Option<&str>| {
        serde_json::from_str(text.unwrap_or("[]")).map_err(|error| Error::State(error.to_string()))
    };
    all.map(|parked| Ok((parked.about, (parked.reason, records(parked.record.as_deref())?))))
        .collect()
}

/// Sets orders aside with their records; those that are there already keep theirs, and their reason. Where another log has
/// another record at a position, that one counts.
fn park(state: &State, orders: &[Parked], records: &[OrderRecord]) -> Result<(), Error> {
    let mut of_order: BTreeMap<&str, Vec<&OrderRecord>> = BTreeMap::new();
    for record in records.iter().filter(|_| !orders.is_empty()) {
        of_order.entry(&record.order).or_default().push(record);
    }
    let wrong = |error: serde_json::Error| Error::State(error.to_string());
    let mut entries = Vec::new();
    for (order, why) in orders {
        let there = state.parked_about(WAY, order)?;
        let text = there.as_ref().and_then(|there| there.record.as_deref()).unwrap_or("[]");
        let mut all: Vec<OrderRecord> = serde_json::from_str(text).map_err(wrong)?;
        for record in of_order.get(order.as_str()).into_iter().flatten().copied() {
            let at = (record.shard, record.position);
            match all.iter_mut().find(|old| (old.shard, old.position) == at) {
                Some(old) => *old = record.clone(),
                None => all.push(record.clone()),
            }
        }
        let reason = there.filter(|_| why.starts_with("waits")).map(|there| there.reason);
        let all = serde_json::to_string(&all).map_err(wrong)?;
        entries.push((order.clone(), reason.unwrap_or_else(|| why.clone()), all));
    }
    if entries.is_empty() { Ok(()) } else { state.park_all(WAY, &entries) }
}

/// Keeps to a number of orders a second.
struct Pace {
    rate: Option<u32>,
    next: Instant,
}

impl Pace {
    fn new(rate: Option<u32>) -> Pace {
        Pace { rate, next: Instant::now() }
    }

    async fn wait(&mut self, orders: u64) {
        let Some(rate) = self.rate.filter(|rate| *rate > 0) else { return };
        let share = Duration::from_secs_f64(orders as f64 / f64::from(rate));
        self.next = self.next.max(Instant::now()) + share;
        sleep_until(self.next).await;
    }
}

#[cfg(test)]
mod tests;
