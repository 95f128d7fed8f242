//! How soon a change in the platform's database is a record of `catalogue`, with a reader that waits for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use onsale_bridge::database::{Kind, Statement};
use tokio::time::sleep_until;

use super::platform::{AtEngine, Place, Platform, runtime};
use crate::bench::Settings;
use crate::bench::report::{Figure, Goal, Unit};

/// Changes each second, each a transaction.
const PER_SECOND: u64 = 1_000;
/// Events that are changed, one after the other.
const EVENTS: u64 = 200;
/// How long.
const SECONDS: f64 = 10.0;
/// The last changes are given up after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// For the report.
#[must_use]
pub fn note() -> String {
    format!(
        "Capture: {PER_SECOND} changes of a price each second, each a transaction, over {EVENTS} events in turn. The lag is from the \
         commit's answer until a reader over HTTP has the record; changes that come together are one record."
    )
}

/// The figures: median and 99th percentile of each run.
///
/// # Errors
/// A process does not start, or not all came over.
pub fn figures(settings: &Settings, place: Place<'_>) -> anyhow::Result<Vec<Figure>> {
    let (mut middle, mut tail) = (Vec::new(), Vec::new());
    for _ in 0..settings.pairs {
        settings.tell(&format!("bridge: capture from {}", place.name()));
        let mut lags_ms = lags_ms(settings, place)?;
        lags_ms.sort_by(f64::total_cmp);
        let at = |share: f64| lags_ms[((lags_ms.len() - 1) as f64 * share) as usize];
        middle.push(at(0.5));
        tail.push(at(0.99));
    }
    let name = |what: &str| format!("capture lag {what}, {}, {PER_SECOND} changes/s", place.name());
    Ok(vec![
        Figure::alone(name("p50"), Unit::Milliseconds, middle),
        Figure::alone(name("p99"), Unit::Milliseconds, tail).goal(Goal::AtMost(1_000.0)),
    ])
}

fn lags_ms(settings: &Settings, place: Place<'_>) -> anyhow::Result<Vec<f64>> {
    let changes = (settings.seconds(SECONDS).as_secs_f64() * PER_SECOND as f64) as u64;
    let (platform, engine) = (Platform::new(place, None)?, AtEngine::start()?);
    platform.run(&house())?;
    let mut bridge = platform.bridge(&engine, None)?;
    bridge.has_begun()?;
    let runtime = runtime()?;
    let mut db = platform.connect()?;
    let kind = db.kind();
    let reading = runtime.spawn(read(engine.engine()?, changes));
    let committed = runtime.block_on(async {
        // The reader has read what there was.
        let sql = "UPDATE ticket_types SET price_minor = :price WHERE id = CAST(:id AS bigint)";
        let sql = if kind == Kind::Sqlite { sql.replace("bigint", "integer") } else { sql.into() };
        let update = Statement::new(kind, "the benchmark's", &sql);
        let begun = tokio::time::Instant::now();
        let mut committed = Vec::with_capacity(changes as usize);
        for number in 1..=changes {
            sleep_until(begun + Duration::from_secs(1) * number as u32 / PER_SECOND as u32).await;
            let id = 1 + number % EVENTS;
            let params = [("price", (number as i64).into()), ("id", (id as i64).into())];
            db.query(&update, &params).await?;
            committed.push(Instant::now());
        }
        anyhow::Ok(committed)
    })?;
    let arrived = runtime.block_on(reading)??;
    drop(bridge);
    let mut lags = Vec::new();
    for (committed, arrived) in committed.iter().zip(arrived) {
        lags.push(arrived.saturating_duration_since(*committed).as_secs_f64() * 1e3);
    }
    Ok(lags)
}

/// When each change was there: that of a number counts with the next one of its event, too.
async fn read(engine: onsale_bridge::engine::Engine, changes: u64) -> anyhow::Result<Vec<Instant>> {
    let mut arrived: Vec<Option<Instant>> = vec![None; changes as usize];
    let (mut after, mut left, since) = (0_u64, changes, Instant::now());
    while left > 0 {
        ensure!(since.elapsed() < PATIENCE * 2, "{left} of {changes} changes did not come");
        let path = format!("/v1/streams/catalogue/records?after={after}&limit=100&wait_ms=500");
        let answer = engine.get(&path).await?;
        let now = Instant::now();
        after = answer["next"].as_u64().context("no next")?;
        for record in answer["records"].as_array().into_iter().flatten() {
            let price = record["data"]["ticket_types"][0]["price"].as_u64();
            let mut number = price.unwrap_or(0);
            // That one, and those before it of the same event.
            while number > 0 && arrived[number as usize - 1].is_none() {
                arrived[number as usize - 1] = Some(now);
                left -= 1;
                number = number.saturating_sub(EVENTS);
            }
        }
    }
    arrived.into_iter().map(|at| at.context("all came")).collect()
}

/// Events with a stock and a ticket type each, which cost nothing yet.
fn house() -> String {
    let t = "'2027-01-01T00:00:00.000Z'";
    let rows = |row: &dyn Fn(u64) -> String| (1..=EVENTS).map(row).collect::<Vec<_>>().join(", ");
    format!(
        "INSERT INTO organizers VALUES (1, 'river', 'River', {t});
         INSERT INTO events (id, organizer_id, slug, name, starts_at, currency, status, created_at, updated_at) VALUES {};
         INSERT INTO stocks (id, event_id, name, capacity) VALUES {};
         INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES {};",
        rows(&|n| format!("({n}, 1, 'e-{n}', 'Concert {n}', {t}, 'EUR', 'on_sale', {t}, {t})")),
        rows(&|n| format!("({n}, {n}, 'Hall', 1000)")),
        rows(&|n| format!("({n}, {n}, {n}, 'Seat', 0)")),
    )
}
