//! Sales written back into PostgreSQL by `onsale bridge run`, beside a loop that inserts the same rows, batch by batch, from
//! arrays that were made beforehand.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use onsale_bridge::database::Database;
use onsale_bridge::engine::SalesShard;
use onsale_bridge::write_back::sales::{Order, fold, of_order};
use serde_json::{Value, json};

use super::platform::{AtEngine, Place, Platform, runtime};
use crate::bench::Settings;
use crate::bench::report::{Figure, Goal, Unit, number};
use crate::bench::stats::{Side, interleaved};

/// Orders: every second one costs something and is paid.
const ORDERS: u64 = 40_000;
/// Commands of a request to the engine.
const BATCH: usize = 500;
/// Records of `sales` to a transaction, as the bridge has it.
const PAGE_RECORDS: u32 = 1_000;
/// Places of the event.
const CAPACITY: i64 = 10_000_000;
const SUBJECT: &str = "river/concert";
const PATH: &str = "/v1/organizers/river/events/concert";

/// One event, whose stock is the engine's.
const HOUSE: &str = "
INSERT INTO organizers VALUES (1, 'river', 'River', '2027-01-01T00:00:00.000Z');
INSERT INTO events (id, organizer_id, slug, name, starts_at, currency, status, payment_minutes, created_at, updated_at)
VALUES (1, 1, 'concert', 'Concert', '2037-06-01T00:00:00.000Z', 'EUR', 'on_sale', 15, '2027-01-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z');
INSERT INTO stocks (id, event_id, name, capacity, sold, blocked) VALUES (1, 1, 'Hall', 10000000, 0, 10000000);
INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES (1, 1, 1, 'Lawn', 0), (2, 1, 1, 'Seat', 2500);
";

/// What must be the same on both sides: counts, a digest of orders and one of tickets, what is sold.
const FOUND: &str = "
SELECT (SELECT count(*) || ' orders ' || COALESCE(md5(string_agg(code || status || total_minor, ',' ORDER BY code)), '') FROM orders)
    || (SELECT ' ' || count(*) || ' lines ' || COALESCE(sum(quantity), 0) FROM order_lines)
    || (SELECT ' ' || count(*) || ' tickets ' || COALESCE(md5(string_agg(code, ',' ORDER BY code)), '') FROM tickets)
    || (SELECT ' ' || count(*) || ' payments ' || COALESCE(sum(amount_minor), 0) FROM payments)
    || (SELECT ' sold ' || sold || ' blocked ' || blocked FROM stocks) AS t";

/// The figure.
///
/// # Errors
/// A process does not start, or a side did not write what the other did.
pub fn figure(
    settings: &Settings,
    place: Place<'_>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Figure> {
    let (engine, count) = (AtEngine::start()?, settings.count(ORDERS));
    settings.tell("bridge: orders to be written back");
    sell(&engine, count)?;
    let shards = runtime()?.block_on(engine.engine()?.sales_shards())?;
    let pages = pages(&engine, &shards)?;
    let template = Platform::new(place, None)?;
    template.run(HOUSE)?;
    let mut found: Vec<String> = Vec::new();
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("bridge: write-back, {side:?}"));
        let platform = Platform::new(place, Some(&template))?;
        let seconds = match side {
            Side::Limit => bare(&platform, &pages)?,
            Side::Product => bridged(&platform, &engine, &shards)?,
        };
        found.push(platform.text(FOUND)?.context("an empty answer")?);
        Ok(count as f64 / seconds)
    })?;
    found.dedup();
    ensure!(found.len() == 1, "not the same rows: {found:?}");
    notes.push(format!(
        "Written back: {} orders, every second one with a payment; both sides come to the same rows and write about {} records of \
         `sales` to a transaction. The bridge reads them from the engine meanwhile, and follows what it writes itself.",
        number(count as f64),
        number(f64::from(PAGE_RECORDS))
    ));
    let limit = ("inserts alone, from arrays", limits);
    let name = "orders written back into PostgreSQL";
    let figure = Figure::beside(name, Unit::PerSecond, products, limit);
    Ok(figure.goal(Goal::AtLeast(5_000.0)))
}

/// Has the engine sell so many orders.
fn sell(engine: &AtEngine, count: u64) -> anyhow::Result<()> {
    let definition = json!({
        "name": "Concert", "currency": "EUR", "payment_seconds": 86_400,
        "quotas": [{"id": "1", "capacity": CAPACITY}],
        "ticket_types": [{"id": "1", "name": "Lawn", "price": 0, "quotas": ["1"]},
            {"id": "2", "name": "Seat", "price": 2500, "quotas": ["1"]}],
    });
    engine.send("PUT", PATH, Some(&definition))?;
    engine.send("PATCH", PATH, Some(&json!({"state": "open"})))?;
    let numbers: Vec<u64> = (0..count).collect();
    for part in numbers.chunks(BATCH) {
        let buy = |number: &u64| {
            let items =
                json!([{"ticket_type": (1 + number % 2).to_string(), "quantity": 1 + number % 3}]);
            json!({"op": "buy", "customer": format!("customer-{number}"), "items": items})
        };
        let bought = carry_out(engine, part.iter().map(buy).collect())?;
        let unpaid = bought.iter().filter(|order| order["state"] == "awaiting_payment");
        let pay = |order: &Value| {
            json!({"op": "payment", "idempotency_key": order["code"], "order": order["code"],
                "amount": order["total"]["amount"], "currency": "EUR", "reference": order["code"]})
        };
        carry_out(engine, unpaid.map(pay).collect())?;
    }
    Ok(())
}

fn carry_out(engine: &AtEngine, commands: Vec<Value>) -> anyhow::Result<Vec<Value>> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let body = json!({"commands": commands});
    let mut answer = engine.send("POST", &format!("{PATH}/batch"), Some(&body))?;
    let answers = answer["answers"].as_array_mut().context("no answers")?;
    answers
        .iter_mut()
        .map(|answer| {
            ensure!(answer["status"] == 201, "{answer}");
            Ok(answer["body"].take())
        })
        .collect()
}

/// What became of orders, page by page, as the bridge reads them.
fn pages(engine: &AtEngine, shards: &[SalesShard]) -> anyhow::Result<Vec<Vec<Order>>> {
    let (runtime, engine) = (runtime()?, engine.engine()?);
    let mut pages = Vec::new();
    for shard in shards {
        let (mut cursor, mut at) = (None::<String>, 0);
        while at < shard.next {
            let page = engine.sales(shard.shard, cursor.as_deref(), PAGE_RECORDS, Duration::ZERO);
            let page = runtime.block_on(page)?;
            let records: Vec<_> =
                page.records.iter().filter_map(|record| of_order(shard.shard, record)).collect();
            pages.push(fold(&records).0);
            (at, cursor) = (page.next, Some(page.cursor));
        }
    }
    Ok(pages)
}

/// Seconds that the bridge takes, from its start on.
fn bridged(
    platform: &Platform<'_>,
    engine: &AtEngine,
    shards: &[SalesShard],
) -> anyhow::Result<f64> {
    let end: u64 = shards.iter().map(|shard| shard.next).sum();
    let begun = Instant::now();
    let mut bridge = platform.bridge(engine, Some((SUBJECT, "1", CAPACITY)))?;
    bridge.wait_for("write-back", |_| {
        let sql = "SELECT CAST(SUM(CAST(position AS numeric)) AS text) AS t FROM onsale_cursor";
        let place = platform.text(sql)?.and_then(|text| text.parse::<u64>().ok());
        Ok(place.is_some_and(|place| place >= end))
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let parked = bridge.state.parked()?;
    ensure!(parked.is_empty(), "set aside: {parked:?}");
    Ok(seconds)
}

type Texts = Vec<String>;
type Numbers = Vec<i64>;

/// Columns of a page, each an array.
#[derive(Default)]
struct Arrays {
    /// Code, customer, status, total, made, paid.
    orders: (Texts, Texts, Texts, Numbers, Texts, Vec<Option<String>>),
    /// Order, type, how many, price.
    lines: (Texts, Numbers, Numbers, Numbers),
    /// Order, type, code.
    tickets: (Texts, Numbers, Texts),
    /// Order, provider, reference, amount, paid.
    payments: (Texts, Texts, Texts, Numbers, Texts),
}

impl Arrays {
    fn of(orders: &[Order]) -> anyhow::Result<Arrays> {
        let mut all = Arrays::default();
        for order in orders {
            let code = || order.code.clone();
            if order.is_new {
                all.orders.0.push(code());
                all.orders.1.push(order.customer.clone());
                all.orders.2.push(order.status.clone().context("a new order has a status")?);
                all.orders.3.push(order.total);
                all.orders.4.push(order.created_at.clone().context("a new order has a time")?);
                all.orders.5.push(order.paid_at.clone());
            }
            for line in &order.lines {
                all.lines.0.push(code());
                all.lines.1.push(line.ticket_type.parse()?);
                all.lines.2.push(line.quantity);
                all.lines.3.push(line.unit_price);
            }
            for ticket in &order.tickets {
                all.tickets.0.push(code());
                all.tickets.1.push(ticket.ticket_type.parse()?);
                all.tickets.2.push(ticket.code.clone());
            }
            for payment in &order.payments {
                all.payments.0.push(code());
                all.payments.1.push(payment.provider.clone());
                all.payments.2.push(format!("concert/{}", payment.reference));
                all.payments.3.push(payment.amount);
                all.payments.4.push(payment.paid_at.clone());
            }
        }
        Ok(all)
    }
}

const INSERT_ORDERS: &str = "
INSERT INTO orders (event_id, code, customer, status, total_minor, channel, created_at, paid_at)
SELECT 1, o.code, o.customer, o.status, o.total, 'onsale', CAST(o.made AS timestamptz), CAST(o.paid AS timestamptz)
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[]) AS o (code, customer, status, total, made, paid)";
/// Orders whose payment came in a later page.
const UPDATE_ORDERS: &str = "
UPDATE orders x SET status = 'paid', paid_at = CAST(p.paid AS timestamptz)
FROM UNNEST($1::text[], $2::text[]) AS p (code, paid) WHERE x.code = p.code AND x.status = 'pending'";
const INSERT_LINES: &str = "
INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor)
SELECT x.id, l.type, l.quantity, l.price
FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS l (code, type, quantity, price) JOIN orders x ON x.code = l.code";
const INSERT_TICKETS: &str = "
INSERT INTO tickets (order_id, ticket_type_id, code)
SELECT x.id, k.type, k.ticket
FROM UNNEST($1::text[], $2::bigint[], $3::text[]) AS k (code, type, ticket) JOIN orders x ON x.code = k.code";
const INSERT_PAYMENTS: &str = "
INSERT INTO payments (order_id, provider, reference, amount_minor, paid_at)
SELECT x.id, p.provider, p.reference, p.amount, CAST(p.paid AS timestamptz)
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS p (code, provider, reference, amount, paid)
JOIN orders x ON x.code = p.code";
const UPDATE_STOCK: &str =
    "UPDATE stocks SET sold = sold + $1, blocked = blocked - $1 WHERE id = 1";

/// Seconds that the inserts alone take.
fn bare(platform: &Platform<'_>, pages: &[Vec<Order>]) -> anyhow::Result<f64> {
    let pages = pages.iter().map(|page| Arrays::of(page)).collect::<anyhow::Result<Vec<_>>>()?;
    let Database::Postgres(mut db) = platform.connect()? else { unreachable!("it is PostgreSQL") };
    runtime()?.block_on(async {
        let begun = Instant::now();
        for Arrays { orders, lines, tickets, payments } in &pages {
            let tx = db.client.transaction().await?;
            let (codes, customers, status, total, made, paid) = orders;
            tx.execute(INSERT_ORDERS, &[codes, customers, status, total, made, paid]).await?;
            tx.execute(INSERT_LINES, &[&lines.0, &lines.1, &lines.2, &lines.3]).await?;
            tx.execute(INSERT_TICKETS, &[&tickets.0, &tickets.1, &tickets.2]).await?;
            let (codes, providers, references, amounts, paid) = payments;
            tx.execute(UPDATE_ORDERS, &[codes, paid]).await?;
            tx.execute(INSERT_PAYMENTS, &[codes, providers, references, amounts, paid]).await?;
            tx.execute(UPDATE_STOCK, &[&lines.2.iter().sum::<i64>()]).await?;
            tx.commit().await?;
        }
        Ok(begun.elapsed().as_secs_f64())
    })
}
