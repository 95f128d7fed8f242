//! Figures for `/metrics`, in the text format of Prometheus.
//!
//! Counting a request is three additions to counters that exist since the start:
//! nothing is looked up by name, nothing grows, nothing must be drained.

pub mod bus;
pub mod machine;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use onsale_core::Time;

use crate::problem::tally;
use crate::refused::Refused;
use crate::shards::{Figures, SYNC_BUCKETS_US};

/// Upper ends of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// Figures of the whole server.
#[derive(Debug)]
pub struct Metrics {
    routes: Vec<Route>,
    /// Connections open now.
    pub connections: AtomicI64,
    /// Connections taken since the start.
    pub connections_total: AtomicU64,
    /// Connections turned away, since too many were open.
    pub connections_refused: AtomicU64,
    /// What the limits turned away.
    pub refused: Refused,
}

/// Figures of those who follow events, and of the shards' gates.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// Readers now, frames written and frames sent since the start.
    pub live: (usize, u64, u64),
    /// Of each shard: how long requests wait, and the share of new sales that is refused.
    pub gates: Vec<(Duration, f64)>,
}

/// Which route, as an index that is found once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteIndex(usize);

impl RouteIndex {
    /// No route: the path or the method is not known.
    pub const NONE: RouteIndex = RouteIndex(0);
}

#[derive(Debug)]
struct Route {
    method: String,
    path: String,
    /// Answers by status, from 100 to 599.
    answers: Vec<AtomicU64>,
    /// Answers by latency; the last bucket has no upper end.
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    latency_us_sum: AtomicU64,
}

impl Route {
    fn new(method: &str, path: &str) -> Route {
        Route {
            method: method.to_owned(),
            path: path.to_owned(),
            answers: (100..600).map(|_| AtomicU64::new(0)).collect(),
            buckets: Default::default(),
            latency_us_sum: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Figures for these routes: method and path.
    pub fn new<'a>(routes: impl Iterator<Item = (&'a str, &'a str)>) -> Metrics {
        let none = Route::new("", "");
        let routes = routes.map(|(method, path)| Route::new(method, path));
        Metrics {
            routes: std::iter::once(none).chain(routes).collect(),
            connections: AtomicI64::new(0),
            connections_total: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            refused: Refused::default(),
        }
    }

    /// The index of a route; [`RouteIndex::NONE`] where it is not known.
    #[must_use]
    pub fn index(&self, method: &str, path: &str) -> RouteIndex {
        let found = self.routes.iter().position(|r| r.method == method && r.path == path);
        RouteIndex(found.unwrap_or(0))
    }

    /// Counts an answer.
    pub fn answered(&self, route: RouteIndex, status: u16, took: Duration) {
        let route = &self.routes[route.0];
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(answers) = route.answers.get(usize::from(status).wrapping_sub(100)) {
            answers.fetch_add(1, Relaxed);
        }
        let bucket = BUCKETS_US.partition_point(|end| *end < took_us);
        route.buckets[bucket].fetch_add(1, Relaxed);
        route.latency_us_sum.fetch_add(took_us, Relaxed);
    }

    /// All figures as text.
    #[must_use]
    pub fn render(&self, shards: &[Figures], beside: &Beside) -> String {
        let mut page = Page::default();
        self.render_requests(&mut page);
        let connections = [
            (
                "onsale_connections",
                "gauge",
                "Connections open now.",
                self.connections.load(Relaxed),
            ),
            (
                "onsale_connections_total",
                "counter",
                "Connections taken since the start.",
                self.connections_total.load(Relaxed) as i64,
            ),
            (
                "onsale_connections_refused_total",
                "counter",
                "Connections turned away, since too many were open.",
                self.connections_refused.load(Relaxed) as i64,
            ),
        ];
        for (name, kind, help, value) in connections {
            page.head(name, kind, help);
            page.line(name, "", value);
        }
        render_problems(&mut page);
        let name = "onsale_refused_total";
        page.head(name, "counter", "Requests and connections turned away or cut, by the limit.");
        for (reason, count) in self.refused.all() {
            page.line(name, &format!("reason=\"{}\"", reason.name()), count);
        }
        render_beside(&mut page, beside);
        render_shards(&mut page, shards);
        page.text
    }

    fn render_requests(&self, page: &mut Page) {
        let name = "onsale_http_requests_total";
        page.head(name, "counter", "Requests answered, by route and status.");
        for route in &self.routes {
            for (status, answers) in (100..).zip(&route.answers) {
                let count = answers.load(Relaxed);
                if count > 0 {
                    let labels = format!("{},status=\"{status}\"", route.labels());
                    page.line(name, &labels, count);
                }
            }
        }
        let name = "onsale_http_request_seconds";
        page.head(name, "histogram", "From the head of a request to its answer, by route.");
        for route in &self.routes {
            let counts: Vec<u64> =
                route.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
            let all: u64 = counts.iter().sum();
            if all == 0 {
                continue;
            }
            let mut below = 0;
            for (end, count) in BUCKETS_US.iter().zip(&counts) {
                below += count;
                let labels = format!("{},le=\"{}\"", route.labels(), *end as f64 / 1e6);
                page.line("onsale_http_request_seconds_bucket", &labels, below);
            }
            let labels = format!("{},le=\"+Inf\"", route.labels());
            page.line("onsale_http_request_seconds_bucket", &labels, all);
            let sum = route.latency_us_sum.load(Relaxed) as f64 / 1e6;
            page.line("onsale_http_request_seconds_sum", &route.labels(), sum);
            page.line("onsale_http_request_seconds_count", &route.labels(), all);
        }
    }
}

impl Route {
    fn labels(&self) -> String {
        format!("method=\"{}\",route=\"{}\"", self.method, self.path)
    }
}

/// Name, kind and help of the one figure of a shard that a standby has too.
const DURABLE_POSITION: (&str, &str, &str) =
    ("onsale_shard_durable_position", "counter", "Highest position that is durable.");

/// A figure of a shard: name, kind, help, and where it is found.
type ShardFigure = (&'static str, &'static str, &'static str, fn(&Figures) -> f64);

const SHARD_FIGURES: &[ShardFigure] = &[
    ("onsale_shard_position", "counter", "Highest position applied.", |f| f.shard.position as f64),
    (DURABLE_POSITION.0, DURABLE_POSITION.1, DURABLE_POSITION.2, |f| f.shard.durable as f64),
    ("onsale_shard_waiting", "gauge", "Answers that wait for their position.", |f| {
        f.shard.waiting as f64
    }),
    ("onsale_shard_stopped", "gauge", "1 where a fault stopped the shard.", |f| {
        f64::from(u8::from(f.shard.stopped))
    }),
    ("onsale_shard_storage_full", "gauge", "1 where the disk has no room for sales.", |f| {
        f64::from(u8::from(f.shard.storage_full))
    }),
    ("onsale_shard_events", "gauge", "Events.", |f| f.shard.events as f64),
    ("onsale_shard_holds", "gauge", "Live holds.", |f| f.shard.holds as f64),
    ("onsale_shard_orders", "gauge", "Orders, of any state.", |f| f.shard.orders as f64),
    ("onsale_shard_state_bytes", "gauge", "Bytes held by the state's tables.", |f| {
        f.shard.state_bytes as f64
    }),
    ("onsale_shard_ids_bytes", "gauge", "Bytes held by command ids beside the state.", |f| {
        f.shard.ids_bytes as f64
    }),
    ("onsale_shard_ids_since_seconds", "gauge", "When the oldest known command ids came.", |f| {
        seconds(f.shard.ids_since)
    }),
    ("onsale_shard_snapshot_position", "gauge", "Position of the newest snapshot, or 0.", |f| {
        f.shard.snapshot as f64
    }),
    (
        "onsale_shard_snapshot_time_seconds",
        "gauge",
        "When the last record in the newest snapshot came, or 0.",
        |f| if f.shard.snapshot == 0 { 0.0 } else { seconds(f.shard.upkeep.snapshot_at) },
    ),
    (
        "onsale_shard_snapshot_behind_bytes",
        "gauge",
        "Bytes of full segments that are in no snapshot yet.",
        |f| f.shard.upkeep.after_snapshot_bytes as f64,
    ),
    ("onsale_shard_snapshot_every_bytes", "gauge", "After how many a new one is made.", |f| {
        f.shard.upkeep.snapshot_every_bytes as f64
    }),
    ("onsale_shard_snapshots_total", "counter", "Snapshots made.", |f| {
        f.shard.upkeep.snapshots as f64
    }),
    ("onsale_shard_oldest_position", "gauge", "Lowest position that is left, 0: not known.", |f| {
        f.shard.upkeep.begins_at as f64
    }),
    ("onsale_shard_segments", "gauge", "Full segments in the data folder.", |f| {
        f.shard.upkeep.sealed as f64
    }),
    (
        "onsale_shard_segments_unarchived",
        "gauge",
        "Full segments without a copy, though there is an archive.",
        |f| f.shard.upkeep.unarchived as f64,
    ),
    ("onsale_shard_scrubbed_total", "counter", "Segments that were read and checked again.", |f| {
        f.shard.upkeep.scrubbed as f64
    }),
    ("onsale_shard_scrub_findings_total", "counter", "Damaged files found by that.", |f| {
        f.shard.upkeep.scrub_findings as f64
    }),
    ("onsale_shard_upkeep_failures_total", "counter", "Pieces of upkeep that failed.", |f| {
        f.shard.upkeep.failures as f64
    }),
    ("onsale_shard_generation", "gauge", "Generation of the log, raised by every restore.", |f| {
        f64::from(f.shard.generation)
    }),
    ("onsale_shard_queue", "gauge", "Requests that wait for the shard to take them.", |f| {
        f.queued as f64
    }),
    ("onsale_shard_write_age_seconds", "gauge", "Since when the batch at hand is written.", |f| {
        f.writing_since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }),
    ("onsale_shard_batches_total", "counter", "Batches written.", |f| f.batches as f64),
    ("onsale_shard_sync_seconds_max", "gauge", "The longest write and sync.", |f| {
        f.sync_seconds_max
    }),
    ("onsale_shard_clock_off_seconds", "gauge", "How far the clock is off, where an alarm.", |f| {
        f.clock_alarm_us.unwrap_or(0) as f64 / 1e6
    }),
];

fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e6
}

/// Whether a server sells, or follows one that does.
#[must_use]
pub fn render_active(active: bool) -> String {
    let mut page = Page::default();
    let name = "onsale_active";
    page.head(
        name,
        "gauge",
        "1 where the server sells, 0 where it follows another or lost the log to it.",
    );
    page.line(name, "", u8::from(active));
    page.text
}

/// All that a standby says; `positions` is how far its copy of each shard's journal is.
#[must_use]
pub fn render_standby(positions: &[u64]) -> String {
    let mut page = Page { text: render_active(false) };
    let (name, kind, help) = DURABLE_POSITION;
    page.head(name, kind, help);
    for (shard, position) in positions.iter().enumerate() {
        page.line(name, &format!("shard=\"{shard}\""), position);
    }
    page.text
}

fn render_beside(page: &mut Page, beside: &Beside) {
    let (readers, written, sent) = beside.live;
    let live = [
        ("onsale_live_readers", "gauge", "Readers that follow an event now.", readers as u64),
        ("onsale_live_written_total", "counter", "States written for readers.", written),
        ("onsale_live_sent_total", "counter", "States and comments sent to readers.", sent),
    ];
    for (name, kind, help, value) in live {
        page.head(name, kind, help);
        page.line(name, "", value);
    }
    let shard = |number: usize| format!("shard=\"{number}\"");
    let name = "onsale_shard_queue_seconds";
    page.head(name, "gauge", "How long requests waited beyond syncs, as last felt.");
    for (number, (queue, _)) in beside.gates.iter().enumerate() {
        page.line(name, &shard(number), queue.as_secs_f64());
    }
    let name = "onsale_shard_refused_share";
    page.head(name, "gauge", "Share of new sales that is turned away, since requests wait.");
    for (number, (_, share)) in beside.gates.iter().enumerate() {
        page.line(name, &shard(number), share);
    }
}

fn render_shards(page: &mut Page, shards: &[Figures]) {
    for (name, kind, help, figure) in SHARD_FIGURES {
        page.head(name, kind, help);
        for (shard, figures) in shards.iter().enumerate() {
            page.line(name, &format!("shard=\"{shard}\""), figure(figures));
        }
    }
    render_syncs(page, shards);
}

fn render_syncs(page: &mut Page, shards: &[Figures]) {
    let name = "onsale_shard_sync_seconds";
    page.head(name, "histogram", "Time of writing and syncing a batch.");
    for (shard, figures) in shards.iter().enumerate() {
        let mut below = 0;
        let ends = SYNC_BUCKETS_US.iter().map(|end| (*end as f64 / 1e6).to_string());
        for (end, count) in ends.chain(["+Inf".to_owned()]).zip(figures.sync_buckets) {
            below += count;
            page.line(
                "onsale_shard_sync_seconds_bucket",
                &format!("shard=\"{shard}\",le=\"{end}\""),
                below,
            );
        }
        let labels = format!("shard=\"{shard}\"");
        page.line("onsale_shard_sync_seconds_sum", &labels, figures.sync_seconds);
        page.line("onsale_shard_sync_seconds_count", &labels, below);
    }
}

fn render_problems(page: &mut Page) {
    let name = "onsale_problems_total";
    page.head(name, "counter", "Requests that were refused, by the type of the problem.");
    for (kind, count) in tally::all() {
        page.line(name, &format!("type=\"{kind}\""), count);
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String grows");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let written = match labels {
            "" => writeln!(self.text, "{name} {value}"),
            _ => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
        written.expect("a String grows");
    }
}
