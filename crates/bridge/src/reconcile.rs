//! Compares both sides, per order and per quota, and says of each difference what likely caused it.
//!
//! The platform is read in one snapshot. Where sales are written back by SQL, that snapshot has the place in `sales`
//! as well, so the engine's records up to that place must give exactly what is there: nothing has to stand still. By an
//! API, orders with records after the place are left out as on their way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::Error;
use crate::capture::event::Reader;
use crate::capture::orders::{self, CANCELLED};
use crate::database::{Database, Mode, Row, Statement, Transaction};
use crate::dialect::By;
use crate::engine::SalesPage;
use crate::state::Taken;
use crate::write_back::sales::{Order, OrderRecord, fold, of_order};
use crate::write_back::{self, Context, parked};

/// Records that are read at once.
const PAGE_RECORDS: u32 = 1_000;
/// How often it is looked again whether a difference stays, and how long after.
const LOOKS: usize = 3;
const LOOK_AFTER: Duration = Duration::from_secs(2);
/// An event that the platform no longer gives is no difference so long after it began and its sale closed, in days.
const OVER_DAYS: i64 = 30;

/// What was compared, and what differs.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// By event.
    pub events: Vec<Compared>,
}

/// An event's comparison.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Compared {
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// Orders of the engine that were compared.
    pub orders: u64,
    /// Orders whose records are still to be written back.
    pub on_the_way: u64,
    /// Of the orders compared: those that are cancelled in the engine and are not in the platform, which is the same.
    pub over: u64,
    /// Tickets, by quota.
    pub quotas: Vec<Quota>,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// Tickets of a quota.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Quota {
    /// Its id.
    pub quota: String,
    /// In the engine's orders, by the engine.
    pub engine: i64,
    /// In the engine's orders, in the platform.
    pub platform: i64,
    /// In orders that the platform sold itself.
    pub others: i64,
    /// What the platform keeps back.
    pub blocked: Option<i64>,
    /// How much of that is more than the engine has left of an event that was taken over: the house's own, which nobody sells.
    pub own: i64,
}

/// Something that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// `order`, `quota` or `event`.
    pub of: &'static str,
    /// Which.
    pub which: String,
    /// What the engine has.
    pub engine: String,
    /// What the platform has.
    pub platform: String,
    /// The likely cause.
    pub cause: String,
}

impl Report {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.differences() == 0
    }

    /// How much differs.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.events.iter().map(|event| event.differences.len() as u64).sum()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for event in &self.events {
            let Compared { subject, orders, on_the_way, over, .. } = event;
            let differ = event.differences.len();
            // A string takes anything.
            let _ = writeln!(
                text,
                "{subject}: {orders} orders compared, {on_the_way} on their way, {differ} differences"
            );
            if *over > 0 {
                let _ = writeln!(
                    text,
                    "  {over} of them cancelled in the engine and not in the platform: the same"
                );
            }
            for quota in &event.quotas {
                let Quota { quota, engine, platform, others, own, .. } = quota;
                let own = match own {
                    0 => String::new(),
                    own => format!("; kept back by the house {own}"),
                };
                let _ = writeln!(
                    text,
                    "  quota {quota}: sold by the engine {engine}, there {platform}; by the platform {others}{own}"
                );
            }
            for difference in &event.differences {
                let Difference { of, which, engine, platform, cause } = difference;
                let _ = writeln!(
                    text,
                    "  {of} {which}: engine {engine}, platform {platform}\n    {cause}"
                );
            }
        }
        text.trim_end().to_owned()
    }

    /// As Prometheus reads it.
    #[must_use]
    pub fn metrics(&self) -> String {
        let sum = |each: &dyn Fn(&Compared) -> u64| self.events.iter().map(each).sum::<u64>();
        let rows = [
            ("differences", self.differences()),
            ("orders", sum(&|event| event.orders)),
            ("on_the_way", sum(&|event| event.on_the_way)),
        ];
        rows.iter()
            .map(|(name, value)| {
                let name = format!("onsale_bridge_reconcile_{name}");
                format!("# TYPE {name} gauge\n{name} {value}\n")
            })
            .collect()
    }
}

/// Compares one event (`ORGANIZER/EVENT`), or all that the platform knows and all that were taken over. What differs is looked at again before it is told,
/// since an order that was cancelled in the platform a moment ago is not yet cancelled in the engine.
///
/// # Errors
/// One of the sides can't be read, or the event is not there.
pub async fn reconcile(context: &Context, event: Option<&str>) -> Result<Report, Error> {
    for _ in 1..LOOKS {
        let report = look(context, event).await?;
        if report.is_clean() {
            return Ok(report);
        }
        sleep(LOOK_AFTER).await;
    }
    look(context, event).await
}

/// What the platform has of an event.
struct Platform {
    subject: String,
    orders: BTreeMap<String, There>,
    quotas: Vec<Row>,
}

/// An order that the platform has of the engine.
struct There {
    status: String,
    total: i64,
    tickets: String,
}

async fn look(context: &Context, event: Option<&str>) -> Result<Report, Error> {
    // Before the sides are read: what is set aside later is not compared.
    let noted = orders::set_aside(&context.state)?;
    let mut db = Database::open(&context.db).await?;
    if context.dialect.settings.write_back.by == By::Sql {
        crate::attach::check_tables(&mut db).await?;
    }
    let Read { platforms, places, unreadable } = read_platform(context, &mut db, event).await?;
    // The bridge's own file may be new.
    crate::take::restore(&context.engine, &context.state).await?;
    let taken = context.state.taken()?;
    let is_there = |subject: &str| platforms.iter().any(|platform| platform.subject == subject);
    let gone: Vec<&str> = taken
        .keys()
        .map(String::as_str)
        .filter(|subject| event.is_none_or(|event| event == *subject) && !is_there(subject))
        .collect();
    if let Some(event) = event
        && platforms.is_empty()
        && gone.is_empty()
    {
        return Err(Error::refused(
            format!("the platform has no event {event}"),
            "Say it as ORGANIZER/EVENT.",
        ));
    }
    let subjects = platforms.iter().map(|platform| platform.subject.as_str());
    let (up_to, after) =
        read_engine(context, &places, &subjects.chain(gone.iter().copied()).collect()).await?;
    let set_aside = parked(&context.state)?;
    let mut report = Report::default();
    for subject in gone {
        let known = known(context, subject).await?;
        let why = unreadable.get(subject).map(String::as_str);
        if why.is_none() && is_over(&known, Timestamp::now()) {
            continue;
        }
        let orders = up_to.get(subject).map(|records| fold(records).0.len()).unwrap_or_default();
        let later = after.get(subject).map_or(0, BTreeSet::len) as u64;
        report.events.push(not_there(subject, &taken[subject], orders, later, why));
    }
    for platform in platforms {
        let subject = platform.subject.clone();
        let records = up_to.get(&subject).map(Vec::as_slice).unwrap_or_default();
        let (orders, _) = fold(records);
        let later = after.get(&subject).cloned().unwrap_or_default();
        let mut compared = Compared {
            subject: subject.clone(),
            on_the_way: later.len() as u64,
            ..Compared::default()
        };
        let is_by_api = context.dialect.settings.write_back.by == By::Api;
        let skip = if is_by_api { &later } else { &BTreeSet::new() };
        let orders: Vec<Order> =
            orders.into_iter().filter(|order| !skip.contains(&order.code)).collect();
        let over = compare_orders(&mut compared, &orders, &platform, skip, is_by_api, &set_aside);
        forget(context, &set_aside, &over)?;
        if skip.is_empty() {
            let known = known(context, &subject).await?;
            let allotment = taken.get(&subject).map(|taken| &taken.quotas);
            compare_quotas(&mut compared, &orders, &platform, &known, allotment, is_by_api)?;
            if compared.differences.is_empty() {
                orders::agreed(&context.state, &noted, orders.iter().map(|o| o.code.as_str()))?;
            }
        }
        report.events.push(compared);
    }
    Ok(report)
}

/// Forgets what was set aside, either way, of orders that are over.
fn forget(
    context: &Context,
    set_aside: &BTreeMap<String, (String, Vec<OrderRecord>)>,
    over: &BTreeSet<&str>,
) -> Result<(), Error> {
    orders::cancelled_by_engine(&context.state, over.iter().copied())?;
    let aside = over.iter().filter_map(|code| Some((*code, set_aside.get(*code)?.1.as_slice())));
    write_back::forget(&context.state, aside)
}

/// An event as the engine has it; null: it does not know it.
async fn known(context: &Context, subject: &str) -> Result<Value, Error> {
    let (organizer, event) = subject.split_once('/').unwrap_or_default();
    Ok(context.engine.event(organizer, event).await?.unwrap_or_default())
}

/// Whether an event is so long over that a dialect need not give it any more. One whose times are not known is not.
fn is_over(known: &Value, now: Timestamp) -> bool {
    let definition = if known["definition"].is_object() { &known["definition"] } else { known };
    let times = [&definition["starts_at"], &definition["sale"]["closes_at"]];
    let times = times.iter().filter_map(|time| time.as_str()?.parse::<Timestamp>().ok());
    times.max().is_some_and(|last| now.duration_since(last).as_hours() > OVER_DAYS * 24)
}

/// An event that the engine sells and the platform does not give.
fn not_there(
    subject: &str,
    taken: &Taken,
    orders: usize,
    on_the_way: u64,
    unreadable: Option<&str>,
) -> Compared {
    let given: i64 = taken.quotas.values().sum();
    let cause = unreadable.map_or_else(
        || {
            "somebody deleted it there, made it a draft again, or changed its address: put that right, or let the buyers know; the \
             engine has closed it"
                .to_owned()
        },
        |why| format!("it is there, and can't be read: {why}"),
    );
    let difference = Difference {
        of: "event",
        which: subject.to_owned(),
        engine: format!("{given} taken over, {orders} orders"),
        platform: if unreadable.is_some() { "not readable" } else { "not there" }.to_owned(),
        cause,
    };
    Compared {
        subject: subject.to_owned(),
        on_the_way,
        differences: vec![difference],
        ..Compared::default()
    }
}

/// What was read of the platform.
struct Read {
    platforms: Vec<Platform>,
    /// The places in `sales` whose effects it has.
    places: BTreeMap<u16, u64>,
    /// Events of which something can't be used, and what, by subject.
    unreadable: BTreeMap<String, String>,
}

async fn read_platform(
    context: &Context,
    db: &mut Database,
    event: Option<&str>,
) -> Result<Read, Error> {
    let (dialect, kind, now) = (&context.dialect, db.kind(), Timestamp::now());
    let reader = Reader::new(dialect, kind)?;
    let orders = dialect.statement(kind, "reconcile-orders")?;
    let quotas = dialect.statement(kind, "reconcile-quotas")?;
    let mut tx = db.begin(Mode::Read).await?;
    let (mut found, mut unreadable) = (Vec::new(), BTreeMap::new());
    let sent = context.state.sent()?;
    for key in reader.keys(&mut tx, now).await? {
        tx.run("SAVEPOINT onsale").await?;
        let captured = match reader.event(&mut tx, &key, now).await {
            Ok(captured) => captured,
            // Capture has set it aside, and says why.
            Err(error @ Error::Data { .. }) => {
                tx.run("ROLLBACK TO SAVEPOINT onsale").await?;
                let subject = sent.get(&key).map(|sent| sent.subject.clone());
                unreadable.extend(subject.map(|subject| (subject, error.to_string())));
                None
            }
            Err(error) => return Err(error),
        };
        tx.run("RELEASE SAVEPOINT onsale").await?;
        let Some(captured) = captured else { continue };
        if event.is_some_and(|event| event != captured.subject) {
            continue;
        }
        let params = [("event", key.as_str().into())];
        let mut there = BTreeMap::new();
        for row in tx.query(&orders, &params).await? {
            let tickets = row.maybe_text("tickets")?.unwrap_or_default();
            let order =
                There { status: row.text("status")?, total: row.integer("total")?, tickets };
            there.insert(row.text("order")?, order);
        }
        let quotas = tx.query(&quotas, &params).await?;
        found.push(Platform { subject: captured.subject, orders: there, quotas });
    }
    let places = match dialect.settings.write_back.by {
        By::Sql => places(&mut tx, kind, &dialect.settings.name).await?,
        _ => crate::write_back::api::places(&context.state)?,
    };
    Ok(Read { platforms: found, places, unreadable })
}

/// The places in `sales` whose effects this snapshot has.
async fn places(
    tx: &mut Transaction<'_>,
    kind: crate::database::Kind,
    dialect: &str,
) -> Result<BTreeMap<u16, u64>, Error> {
    let sql =
        "SELECT shard, position FROM onsale_cursor WHERE cursor = :cursor AND stream = 'sales'";
    let statement = Statement::new(kind, "the bridge's own statement", sql);
    let cursor = crate::write_back::sql::group(dialect)?.name.to_string();
    let rows = tx.query(&statement, &[("cursor", cursor.into())]).await?;
    let number = |row: &Row, column: &str| -> Result<u64, Error> {
        let text = row.text(column)?;
        let digits = text.trim().trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        digits.parse().map_err(|_| Error::State(format!("onsale_cursor: {column} is {text}")))
    };
    rows.iter()
        .map(|row| {
            let shard = u16::try_from(number(row, "shard")?).unwrap_or(u16::MAX);
            Ok((shard, number(row, "position")?))
        })
        .collect()
}

type Records = BTreeMap<String, Vec<OrderRecord>>;
type Codes = BTreeMap<String, BTreeSet<String>>;

/// The engine's records about orders of these events, up to the places; and codes of orders that have records after them.
async fn read_engine(
    context: &Context,
    places: &BTreeMap<u16, u64>,
    subjects: &BTreeSet<&str>,
) -> Result<(Records, Codes), Error> {
    let (mut up_to, mut after) = (Records::new(), Codes::new());
    for shard in context.engine.sales_shards().await? {
        let place = places.get(&shard.shard).copied().unwrap_or(0);
        let mut cursor: Option<String> = None;
        let mut position = 0;
        while position < shard.next {
            let page: SalesPage = context
                .engine
                .sales(shard.shard, cursor.as_deref(), PAGE_RECORDS, Duration::ZERO)
                .await?;
            if page.next <= position {
                break;
            }
            position = page.next;
            for record in &page.records {
                if !subjects.contains(record.subject.as_str()) {
                    continue;
                }
                let Some(record) = of_order(shard.shard, record) else { continue };
                if record.position <= place {
                    up_to.entry(record.subject.clone()).or_default().push(record);
                } else {
                    after.entry(record.subject).or_default().insert(record.order);
                }
            }
            cursor = Some(page.cursor);
        }
    }
    Ok((up_to, after))
}

/// Gives the orders that are cancelled in the engine and not in the platform.
fn compare_orders<'a>(
    compared: &mut Compared,
    orders: &'a [Order],
    platform: &Platform,
    skip: &BTreeSet<String>,
    is_by_api: bool,
    set_aside: &BTreeMap<String, (String, Vec<OrderRecord>)>,
) -> BTreeSet<&'a str> {
    let mut over = BTreeSet::new();
    let mut known = BTreeSet::new();
    for order in orders {
        known.insert(order.code.as_str());
        compared.orders += 1;
        let status = order.status.as_deref().unwrap_or("unchanged");
        let found = platform.orders.get(&order.code);
        let aside = set_aside.get(&order.code).map(|(reason, _)| reason.as_str());
        // Deleted there and cancelled here, it is over, whatever was set aside of it.
        if found.is_none() && status == CANCELLED {
            over.insert(order.code.as_str());
            // By an API only what was paid is there.
            compared.over += u64::from(!is_by_api);
            continue;
        }
        if is_by_api && found.is_none() && status != "paid" {
            continue;
        }
        compared.differences.extend(order_differs(order, status, found, aside));
    }
    for code in platform.orders.keys() {
        if !known.contains(code.as_str()) && !skip.contains(code) {
            compared.differences.push(Difference {
                of: "order",
                which: code.clone(),
                engine: "not there".into(),
                platform: "there".into(),
                cause: "the engine's log went back, or its oldest records are gone, or another bridge wrote it"
                    .into(),
            });
        }
    }
    over
}

fn order_differs(
    order: &Order,
    status: &str,
    found: Option<&There>,
    aside: Option<&str>,
) -> Option<Difference> {
    let differs = |engine: String, platform: String, cause: &str| {
        let cause = aside.map_or_else(|| cause.to_owned(), |why| format!("it is set aside: {why}"));
        Some(Difference { of: "order", which: order.code.clone(), engine, platform, cause })
    };
    let Some(found) = found else {
        let cause = "somebody deleted it there, or the platform's database went back";
        return differs(status.to_owned(), "not there".into(), cause);
    };
    if found.status != status {
        let cause = match (status, found.status.as_str()) {
            (_, "cancelled") => {
                "cancelled in the back office, and not yet in the engine: capture stands still, or the order is set aside there"
            }
            ("cancelled", _) => "somebody brought it back in the platform",
            _ => "somebody changed it in the platform",
        };
        return differs(status.to_owned(), found.status.clone(), cause);
    }
    if order.is_new && found.total != order.total {
        let cause = "somebody changed it in the platform";
        return differs(format!("total {}", order.total), format!("total {}", found.total), cause);
    }
    let mut tickets: Vec<&str> = order.tickets.iter().map(|ticket| ticket.code.as_str()).collect();
    tickets.sort_unstable();
    let tickets = tickets.join(",");
    if status == "paid" && tickets != found.tickets {
        let cause = "somebody changed its tickets in the platform";
        return differs(format!("tickets {tickets}"), format!("tickets {}", found.tickets), cause);
    }
    None
}

fn compare_quotas(
    compared: &mut Compared,
    orders: &[Order],
    platform: &Platform,
    known: &Value,
    allotment: Option<&BTreeMap<String, i64>>,
    is_by_api: bool,
) -> Result<(), Error> {
    let mut sold: BTreeMap<&str, i64> = BTreeMap::new();
    for order in orders {
        let counts = match order.status.as_deref() {
            Some("paid") => true,
            Some("pending") => !is_by_api,
            _ => false,
        };
        for line in order.lines.iter().filter(|_| counts) {
            for quota in quotas_of(known, &line.ticket_type) {
                *sold.entry(quota).or_default() += line.quantity;
            }
        }
    }
    for row in &platform.quotas {
        let quota = row.text("quota")?;
        let (there, others) = (row.integer("engine")?, row.integer("others")?);
        let engine = sold.get(quota.as_str()).copied().unwrap_or(0);
        let blocked = row.maybe_integer("blocked")?;
        let mut differs = |engine: String, platform: String, cause: &str| {
            let (which, cause) = (quota.clone(), cause.to_owned());
            compared.differences.push(Difference { of: "quota", which, engine, platform, cause });
        };
        if there != engine {
            let cause =
                "orders differ, see there; or a ticket type draws on another quota than before";
            differs(format!("{engine} sold"), format!("{there} sold"), cause);
        }
        let mut own = 0;
        if let (Some(blocked), Some(allotment)) = (blocked, allotment) {
            let left = allotment.get(&quota).copied().unwrap_or(0) - engine;
            // What is beyond was blocked before the event was taken over, or by hand since.
            own = (blocked - left).max(0);
            if blocked < left {
                let cause = "the back office unblocked it, or cancelled orders whose tickets can't be blocked again";
                differs(format!("{left} left"), format!("{blocked} blocked"), cause);
            }
        }
        let (kept, given) = (blocked.unwrap_or(0).max(0), allotment.and_then(|of| of.get(&quota)));
        if let Some(capacity) = row.maybe_integer("capacity")?
            && given.is_some_and(|given| *given > 0)
            && capacity < there + others + kept
        {
            let cause = "somebody lowered the capacity below what is sold and kept back for the engine: raise it again";
            let more = there + others;
            let platform = format!("capacity {capacity}, {more} sold, {kept} blocked");
            differs(format!("{engine} sold"), platform, cause);
        }
        if let Some(counted) = row.maybe_integer("counted")?
            && counted != there + others
        {
            let cause = "the platform's own counter is not what its orders add up to";
            differs(
                format!("{engine} sold"),
                format!("{counted} counted, {} in orders", there + others),
                cause,
            );
        }
        compared.quotas.push(Quota { quota, engine, platform: there, others, blocked, own });
    }
    Ok(())
}

/// The quotas that a ticket type draws on, as the engine has it.
fn quotas_of<'a>(known: &'a Value, ticket_type: &str) -> impl Iterator<Item = &'a str> {
    let types = known["definition"]["ticket_types"].as_array();
    let types = types.or_else(|| known["ticket_types"].as_array()).into_iter().flatten();
    let ticket_type = ticket_type.to_owned();
    types
        .filter(move |known| known["id"].as_str() == Some(&ticket_type))
        .flat_map(|known| known["quotas"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
}

#[cfg(test)]
mod tests;
