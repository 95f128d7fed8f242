//! The row `postgres`: one hold per request with the journal in a PostgreSQL, beside a bare harness that inserts as many bytes
//! there with nothing around it.
//!
//! The database is the caller's; each run has one of its own in it, which is gone afterwards.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use onsale_rows::Settings as Address;
use onsale_rush::hammer::{self, Hits, Pace, Plan};
use tokio::runtime::Runtime;
use tokio_postgres::Config;

use super::http::{check_journal, expect_granted, p50, p99, rates, warn};
use super::report::{Figure, Goal, Row, Unit, number};
use super::site::{Kind, Shape, Site, holds_in};
use super::stats::{Middle, Side, interleaved};
use super::{Settings, apart::Apart};
use crate::cli::bench::POSTGRES_ABOUT;

/// Share of the highest rate at which a pace is kept.
const PACED: f64 = 0.5;
/// A database may take its time: shorter runs, and slower paces, would show nothing.
const SECONDS_MIN: Duration = Duration::from_secs(1);
const RATE_MIN: f64 = 20.0;
const CONNECTIONS: [usize; 2] = [64, 1_000];
/// Name of the limit.
const BARE: &str = "bare harness that inserts the same bytes";

/// `onsale bench postgres`
///
/// # Errors
/// The database can't be used, or a side did something else than was asked of it.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("postgres", POSTGRES_ABOUT);
    let Some(url) = &settings.database else {
        row.notes.push("Left out: name a PostgreSQL by --database.".to_owned());
        return Ok(row);
    };
    let database = Database::new(url)?;
    let apart = Apart::new()?;
    let shape = rehearse(&database, &apart)?;
    for connections in CONNECTIONS {
        let duration = settings.seconds(3.0).max(SECONDS_MIN);
        let of = |site: &Site| Kind::Hold.plan(site.address, connections, duration);
        let (limits, products) = interleaved(settings.pairs, |side| {
            settings.tell(&format!("postgres, {connections} connections: {side:?}"));
            run_side(side, shape, &database, &apart, &of)
        })?;
        let name = format!("durable holds, {connections} connections");
        let rates = Figure::beside(name, Unit::PerSecond, rates(&products), (BARE, rates(&limits)));
        let rate = (PACED * Middle::of(&rates.product).median).max(RATE_MIN);
        row.figures.push(rates.goal(Goal::OfLimit(0.7)));
        for (name, at) in [("p50", p50 as fn(&Hits) -> f64), ("p99", p99)] {
            let [product, limit] = [&products, &limits].map(|all| all.iter().map(at).collect());
            let name = format!("latency {name}, {connections} connections, at full rate");
            row.figures.push(Figure::beside(name, Unit::Milliseconds, product, (BARE, limit)));
        }
        let mut paced = Vec::new();
        for _ in 0..settings.pairs.min(3) {
            settings.tell(&format!("postgres, {connections} connections, {rate:.0}/s"));
            let plan = |site: &Site| Plan { pace: Pace::PerSecond(rate), ..of(site) };
            paced.push(run_side(Side::Product, shape, &database, &apart, &plan)?);
        }
        let at = format!("{connections} connections, paced at {}/s", number(rate.round()));
        let [p50s, p99s] = [p50 as fn(&Hits) -> f64, p99].map(|at| paced.iter().map(at).collect());
        row.figures.push(Figure::alone(format!("latency p50, {at}"), Unit::Milliseconds, p50s));
        let p99s = Figure::alone(format!("latency p99, {at}"), Unit::Milliseconds, p99s);
        row.figures.push(p99s.goal(Goal::AtMost(20.0)));
        warn(&mut row, &[limits, products, paced].concat(), connections);
    }
    row.notes.push(format!(
        "Both sides move the same bytes: {} of a record for each hold, {} of an answer's body; both keep a copy in files, \
         unsynced. {}",
        shape.record_bytes, shape.answer_bytes, database.about
    ));
    row.notes.push(apart.note());
    Ok(row)
}

/// A server in which databases can be made.
struct Database {
    config: Config,
    runtime: Runtime,
    url: String,
    /// Which version, and how durable.
    about: String,
}

impl Database {
    fn new(url: &str) -> anyhow::Result<Database> {
        let config = Address::parse(url).context("--database")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut database = Database { config, runtime, url: url.to_owned(), about: String::new() };
        let sql = "SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync')
            || ', synchronous_commit ' || current_setting('synchronous_commit') || '.'";
        database.about = database.run(&[sql])?;
        Ok(database)
    }

    /// Carries out statements; gives the first field of the last one's first row, or nothing.
    fn run(&self, statements: &[&str]) -> anyhow::Result<String> {
        self.runtime.block_on(async {
            let connected = onsale_tls::postgres::connect(&self.config).await;
            let (client, connection) = connected.context("--database")?;
            let connection = tokio::spawn(connection);
            let mut found = String::new();
            for sql in statements {
                let rows = client.simple_query(sql).await.context("--database")?;
                found = rows
                    .iter()
                    .find_map(|row| match row {
                        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                        _ => None,
                    })
                    .unwrap_or_default()
                    .to_owned();
            }
            drop(client);
            connection.await??;
            Ok(found)
        })
    }

    /// The address of a new, empty database.
    fn fresh(&self) -> anyhow::Result<Fresh<'_>> {
        let name = format!("onsale_bench_{:x}", getrandom::u64()?);
        self.run(&[&format!("CREATE DATABASE {name}")])?;
        let mut fresh = Fresh { database: self, name, url: String::new() };
        fresh.url = renamed(&self.url, &fresh.name)?;
        Ok(fresh)
    }
}

/// An address with another name of the database.
fn renamed(url: &str, name: &str) -> anyhow::Result<String> {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let (scheme, rest) = address.split_once("://").context("--database: must be postgres://…")?;
    let host = rest.split('/').next().unwrap_or(rest);
    Ok(format!("{scheme}://{host}/{name}{parameters}"))
}

/// A database for one run.
struct Fresh<'a> {
    database: &'a Database,
    name: String,
    url: String,
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        let dropped = self.database.run(&[&format!("DROP DATABASE {} WITH (FORCE)", self.name)]);
        if let Err(error) = dropped {
            tracing::warn!(%error, name = self.name, "a database of the benchmark is left");
        }
    }
}

/// Learns from the product how many bytes it writes and answers.
fn rehearse(database: &Database, apart: &Apart) -> anyhow::Result<Shape> {
    let fresh = database.fresh()?;
    let site = Site::product_on(&fresh.url, &apart.cores)?;
    let plan = Kind::Hold.plan(site.address, 1, Duration::from_secs(10));
    let hits = hammer::run(Plan { requests_max: 20, ..plan })?;
    expect_granted(&hits)?;
    let (holds, bytes) = holds_in(site.stop()?.path())?;
    ensure!(holds == hits.granted_total, "{holds} holds in the journal, {hits:?}");
    let record_bytes = (bytes as f64 / holds as f64).round() as usize;
    Ok(Shape { record_bytes, answer_bytes: hits.answer_bytes })
}

/// One side, in a process, a folder and a database of its own. What it wrote is counted.
fn run_side(
    side: Side,
    shape: Shape,
    database: &Database,
    apart: &Apart,
    plan: &dyn Fn(&Site) -> Plan,
) -> anyhow::Result<Hits> {
    let fresh = database.fresh()?;
    let site = match side {
        Side::Limit => Site::bare_on(shape, &fresh.url, &apart.cores)?,
        Side::Product => Site::product_on(&fresh.url, &apart.cores)?,
    };
    let hits = hammer::run(plan(&site))?;
    expect_granted(&hits).with_context(|| format!("{side:?}"))?;
    let folder = site.stop()?;
    check_journal(side, folder.path(), shape, &hits)?;
    Ok(hits)
}
