//! The rows over HTTP: one hold per request, and a thousand.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use onsale_rush::hammer::{self, Hits, Pace, Plan};

use super::report::{Figure, Goal, Row, Unit};
use super::site::{Kind, Shape, Site, bare_records_in, holds_in};
use super::stats::{Middle, Side, interleaved};
use super::{Settings, apart::Apart};
use crate::cli::bench::{BATCH_ABOUT, HOLDS_ABOUT};

/// Above this a load generator measures itself.
const CPU_PERCENT_WARN: f64 = 90.0;
/// Share of the highest rate at which a pace is kept.
const PACED: f64 = 0.8;
/// Holds in a batch.
const BATCH: usize = 1_000;
/// Connections that send batches.
const BATCH_CONNECTIONS: usize = 4;

/// `onsale bench holds`
///
/// # Errors
/// A server does not start, or does something else than was asked of it.
pub fn holds(settings: &Settings) -> anyhow::Result<Row> {
    let apart = Apart::new()?;
    let mut row = Row::new("holds", HOLDS_ABOUT);
    let shape = rehearse(Kind::Hold, &apart)?;
    for connections in [64, 1_000] {
        let duration = settings.seconds(3.0);
        let of = |site: &Site| Kind::Hold.plan(site.address, connections, duration);
        let (limits, products) = interleaved(settings.pairs, |side| {
            settings.tell(&format!("holds, {connections} connections: {side:?}"));
            run_side(side, Kind::Hold, shape, &apart, &of)
        })?;
        let name = format!("durable holds, {connections} connections");
        let rates = Figure::beside(name, Unit::PerSecond, rates(&products), (BARE, rates(&limits)));
        let rate = PACED * Middle::of(&rates.product).median;
        row.figures.push(rates.goal(Goal::OfLimit(0.9)));
        for (name, at) in [("p50", p50 as fn(&Hits) -> f64), ("p99", p99)] {
            let [product, limit] = [&products, &limits].map(|all| all.iter().map(at).collect());
            let name = format!("latency {name}, {connections} connections, at full rate");
            row.figures.push(Figure::beside(name, Unit::Milliseconds, product, (BARE, limit)));
        }
        let paced = paced(settings, &apart, connections, rate)?;
        row.figures.extend(paced_figures(&paced, connections, rate));
        warn(&mut row, &[limits, products, paced].concat(), connections);
    }
    row.notes.push(format!(
        "Both sides move the same bytes: {} of a record for each hold, {} of an answer's body.",
        shape.record_bytes, shape.answer_bytes
    ));
    row.notes.push(apart.note());
    Ok(row)
}

/// `onsale bench batch`
///
/// # Errors
/// A server does not start, or does something else than was asked of it.
pub fn batch(settings: &Settings) -> anyhow::Result<Row> {
    let apart = Apart::new()?;
    let mut row = Row::new("batch", BATCH_ABOUT);
    let kind = Kind::Batch(BATCH);
    let shape = rehearse(kind, &apart).context("is there a batch call?")?;
    let duration = settings.seconds(3.0);
    let of = |site: &Site| kind.plan(site.address, BATCH_CONNECTIONS, duration);
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("batch: {side:?}"));
        run_side(side, kind, shape, &apart, &of)
    })?;
    let name = format!("durable holds, {BATCH} a request, {BATCH_CONNECTIONS} connections");
    let rates = Figure::beside(name, Unit::PerSecond, rates(&products), (BARE, rates(&limits)));
    row.figures.push(rates.goal(Goal::AtLeast(500_000.0)));
    let latency = Figure::alone("latency p99 of a batch", Unit::Milliseconds, p99s(&products));
    row.figures.push(latency);
    warn(&mut row, &[limits, products].concat(), BATCH_CONNECTIONS);
    row.notes.push(format!(
        "Both sides move the same bytes: {} of a record for each hold, {} of an answer's body for \
         each batch. The bare harness parses with serde_json.",
        shape.record_bytes, shape.answer_bytes
    ));
    row.notes.push(apart.note());
    Ok(row)
}

/// Name of the limit.
const BARE: &str = "bare harness";

pub(super) fn p50(hits: &Hits) -> f64 {
    hits.latency_ms.p50
}

pub(super) fn p99(hits: &Hits) -> f64 {
    hits.latency_ms.p99
}

fn p99s(hits: &[Hits]) -> Vec<f64> {
    hits.iter().map(p99).collect()
}

pub(super) fn rates(hits: &[Hits]) -> Vec<f64> {
    hits.iter().map(|hits| hits.granted_per_second).collect()
}

pub(super) fn warn(row: &mut Row, hits: &[Hits], connections: usize) {
    let most = hits.iter().map(|hits| hits.cpu_percent).fold(0.0, f64::max);
    let text = format!(
        "The load generator used up to {most:.0} % of its core at {connections} connections."
    );
    match most > CPU_PERCENT_WARN {
        true => row.warnings.push(format!("{text} It measures itself.")),
        false => row.notes.push(text),
    }
    let put_off: u64 = hits.iter().map(|hits| hits.refused_total).sum();
    if put_off > 0 {
        let put_off = onsale_rush::group(put_off);
        let text = format!("{put_off} holds were put off (503) at {connections} connections.");
        row.warnings.push(text);
    }
}

/// Learns from the product how many bytes it writes and answers.
fn rehearse(kind: Kind, apart: &Apart) -> anyhow::Result<Shape> {
    let site = Site::product(&apart.cores)?;
    let plan = Plan { requests_max: 20, ..kind.plan(site.address, 1, Duration::from_secs(10)) };
    let hits = hammer::run(plan)?;
    expect_granted(&hits)?;
    let (holds, bytes) = holds_in(site.stop()?.path())?;
    ensure!(holds == hits.granted_total, "{holds} holds in the journal, {hits:?}");
    // Times take a byte more or less: the mean is what counts.
    let record_bytes = (bytes as f64 / holds as f64).round() as usize;
    Ok(Shape { record_bytes, answer_bytes: hits.answer_bytes })
}

/// Every hold is granted, but for those that the server puts off since too many wait.
pub(super) fn expect_granted(hits: &Hits) -> anyhow::Result<()> {
    let refusal = hits.first_refusal.as_deref().unwrap_or_default();
    let put_off = refusal.starts_with("503 ") || refusal.contains("\"status\":503");
    let fine = hits.refused_total == 0 || put_off;
    ensure!(fine, "{} were refused: {refusal}", hits.refused_total);
    ensure!(hits.granted_total > 0, "nothing was granted: {refusal}");
    Ok(())
}

/// One side, in a process and a folder of its own. What it wrote is counted.
fn run_side(
    side: Side,
    kind: Kind,
    shape: Shape,
    apart: &Apart,
    plan: &dyn Fn(&Site) -> Plan,
) -> anyhow::Result<Hits> {
    let site = match side {
        Side::Limit => Site::bare(shape, &apart.cores)?,
        Side::Product => Site::product(&apart.cores)?,
    };
    let hits = hammer::run(match side {
        // The bare harness does not say what it granted: it grants all.
        Side::Limit => Plan { each: None, ..plan(&site) },
        Side::Product => plan(&site),
    })?;
    expect_granted(&hits).with_context(|| format!("{side:?} of {kind:?}"))?;
    let folder = site.stop()?;
    check_journal(side, folder.path(), shape, &hits)?;
    Ok(hits)
}

/// As many records are in the journal as holds were granted, of as many bytes as were to be.
pub(super) fn check_journal(
    side: Side,
    journal: &Path,
    shape: Shape,
    hits: &Hits,
) -> anyhow::Result<()> {
    let (holds, bytes) = match side {
        Side::Limit => bare_records_in(journal)?,
        Side::Product => holds_in(journal)?,
    };
    ensure!(holds == hits.granted_total, "{side:?}: {holds} in the journal, {hits:?}");
    let each = bytes as f64 / holds as f64;
    let off = (each - shape.record_bytes as f64).abs();
    ensure!(off <= 2.0, "{side:?}: {each} bytes a record, {} were to be", shape.record_bytes);
    Ok(())
}

/// The product at a pace, latencies from the intended times.
fn paced(
    settings: &Settings,
    apart: &Apart,
    connections: usize,
    rate: f64,
) -> anyhow::Result<Vec<Hits>> {
    let mut all = Vec::new();
    for _ in 0..settings.pairs.min(3) {
        settings.tell(&format!("holds, {connections} connections, {rate:.0}/s"));
        let site = Site::product(&apart.cores)?;
        let plan = Kind::Hold.plan(site.address, connections, settings.seconds(4.0));
        let hits = hammer::run(Plan { pace: Pace::PerSecond(rate), ..plan })?;
        expect_granted(&hits)?;
        site.stop()?;
        all.push(hits);
    }
    Ok(all)
}

fn paced_figures(hits: &[Hits], connections: usize, rate: f64) -> [Figure; 2] {
    let at =
        format!("{connections} connections, paced at {}/s", super::report::number(rate.round()));
    let p50s = hits.iter().map(p50).collect();
    let p99s = Figure::alone(format!("latency p99, {at}"), Unit::Milliseconds, p99s(hits));
    let p50s = Figure::alone(format!("latency p50, {at}"), Unit::Milliseconds, p50s);
    [p50s, p99s.goal(Goal::AtMost(50.0))]
}
