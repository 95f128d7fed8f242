//! What a rush found: figures while it goes on, and the report of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::config::Config;
use crate::crowd::{Acknowledged, Crowd};
use crate::stats::{Fates, Kind};
use crate::target::Quota;
use crate::timeline::Timeline;
use crate::verify::Verification;

/// A load generator that uses more of its core than this measures itself.
const CPU_PERCENT_WARN: f64 = 90.0;

/// Figures of a rush that goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct Live {
    /// `connecting`, `selling` or `verifying`.
    pub phase: &'static str,
    /// Since the first arrival.
    pub elapsed: Duration,
    /// How far the phase is: connections, tickets sold of the main stock, orders found.
    pub done: u64,
    /// Where `done` ends.
    pub of: u64,
    /// Buyers who have come.
    pub buyers_arrived: u64,
    /// Buyers who are not done.
    pub buyers_active: u64,
    /// Holds so far.
    pub holds: u64,
    /// Orders so far.
    pub orders: u64,
    /// Answers to requests that change state, lately.
    pub answers_per_second: f64,
    /// Of all holds so far, from the intended start.
    pub hold_ms_p99: f64,
    /// Requests without a usable answer so far.
    pub errors: u64,
}

impl Live {
    pub(crate) fn of_phase(phase: &'static str, done: u64, of: u64) -> Self {
        Self {
            phase,
            elapsed: Duration::ZERO,
            done,
            of,
            buyers_arrived: 0,
            buyers_active: 0,
            holds: 0,
            orders: 0,
            answers_per_second: 0.0,
            hold_ms_p99: 0.0,
            errors: 0,
        }
    }

    pub(crate) fn of_crowd(crowd: &Crowd, now_us: u64, answers_per_second: f64) -> Self {
        let sold = crowd.offer.main.map_or(crowd.orders.len() as u64, |main| crowd.sold[main]);
        Self {
            elapsed: Duration::from_micros(now_us),
            buyers_arrived: crowd.arrived(),
            buyers_active: crowd.active() as u64,
            holds: crowd.stats.holds,
            orders: crowd.orders.len() as u64,
            answers_per_second,
            hold_ms_p99: crowd.stats.hold_p99_ms(),
            errors: crowd.stats.errors_total(),
            ..Self::of_phase("selling", sold, crowd.offer.stock().unwrap_or(0))
        }
    }
}

/// Why a rush ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The main stock is gone.
    SoldOut,
    /// Every buyer was done before that.
    BuyersDone,
    /// Time was up.
    Deadline,
    /// The server had not answered for too long.
    ServerGone,
}

/// Latencies in milliseconds, from the intended start.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Latencies of one kind of request.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize)]
pub struct Latency {
    /// Of those that were granted.
    pub accepted: Percentiles,
    /// Of those that were refused.
    pub refused: Percentiles,
    /// Of both.
    pub all: Percentiles,
}

/// Answers to requests that change state (POST), from the first arrival until the
/// stock was gone, or to the end if it was not. Those that were only put off do not count.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Operations {
    /// How long that was.
    pub seconds: f64,
    /// Granted.
    pub accepted: u64,
    /// Refused.
    pub refused: u64,
    /// Both, each second.
    pub per_second: f64,
    /// Granted, each second.
    pub accepted_per_second: f64,
    /// Refused, each second.
    pub refused_per_second: f64,
    /// Both, in the busiest second.
    pub per_second_max: u64,
}

/// The main stock: the largest quota that was for sale.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stock {
    /// Which quota.
    pub quota: String,
    /// What was not sold when the rush began.
    pub tickets: u64,
    /// In acknowledged orders that were not cancelled since.
    pub sold: u64,
    /// Sold beyond `tickets`.
    pub oversold: u64,
    /// In holds that buyers let run out.
    pub abandoned: u64,
    /// Of those, sold to others; only known once all is sold.
    pub resold: Option<u64>,
}

/// One quota, before and after.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QuotaReport {
    /// Which.
    pub id: String,
    /// None: unlimited.
    pub capacity: Option<u64>,
    /// As the server said before.
    pub sold_before: u64,
    /// In acknowledged orders of this rush that were not cancelled since.
    pub sold_here: u64,
    /// In holds of this rush that buyers let run out.
    pub abandoned_here: u64,
    /// As the server says after it; none: it did not.
    pub sold_after: Option<u64>,
    /// As the server says after it.
    pub held_after: Option<u64>,
    /// Beyond the capacity, by our count or the server's.
    pub oversold: u64,
}

/// The report of one rush.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Why it ended.
    pub ended: Ended,
    /// The main stock was sold to the last ticket and no further, by our count and the server's.
    pub sold_out: bool,
    /// From the first arrival to the end of selling.
    pub seconds: f64,
    /// From the first arrival until the stock was gone.
    pub seconds_to_sold_out: Option<f64>,
    /// As told.
    pub buyers: u64,
    /// How many came before the end.
    pub buyers_arrived: u64,
    /// What became of them.
    pub fates: Fates,
    /// Connections that were open at once and served.
    pub sockets: usize,
    /// Requests at a time on each, over HTTP/2; none: HTTP/1.1, one at a time.
    pub http2_streams: Option<usize>,
    /// Connections that could not be opened, or that the server turned away.
    pub sockets_failed: usize,
    /// Requests repeated since the server had closed an idle connection.
    pub reconnects: u64,
    /// The main stock; none: all is unlimited.
    pub stock: Option<Stock>,
    /// Every quota.
    pub quotas: Vec<QuotaReport>,
    /// Acknowledged orders.
    pub orders: u64,
    /// Tickets in them, less those of orders that were cancelled since.
    pub tickets: u64,
    /// Sold beyond a capacity, over all quotas.
    pub oversold: u64,
    /// Acknowledged orders that are not there as acknowledged; none: not verified.
    pub lost: Option<u64>,
    /// Holds that were granted.
    pub holds: u64,
    /// Of those, let run out.
    pub abandoned_holds: u64,
    /// Tickets in those.
    pub abandoned_tickets: u64,
    /// Payments that came too late and must go back.
    pub payments_due_back: u64,
    /// Answers each second.
    pub operations: Operations,
    /// Granted and refused in each second of the rush.
    pub answers_by_second: Vec<[u64; 2]>,
    /// How it went over time.
    pub timeline: Timeline,
    /// Of holds.
    pub hold_ms: Latency,
    /// Of orders, claims and purchases in one step.
    pub order_ms: Latency,
    /// Of payments.
    pub payment_ms: Latency,
    /// Refusals by the last part of their problem type.
    pub refusals: BTreeMap<String, u64>,
    /// Requests without a usable answer, by kind.
    pub errors: BTreeMap<&'static str, u64>,
    /// Answers that said "later" (429, 503).
    pub put_off: u64,
    /// What the generator used of its core.
    pub cpu_percent: f64,
    /// What makes the figures doubtful.
    pub warnings: Vec<String>,
    /// What was found afterwards; none: not asked for.
    pub verification: Option<Verification>,
    /// Every acknowledged order, for [`crate::verify`] after a restart of the server.
    #[serde(skip)]
    pub acknowledged: Vec<Acknowledged>,
}

/// What is left when selling has ended.
pub(crate) struct Run {
    pub(crate) crowd: Crowd,
    pub(crate) ended: Ended,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) sockets: usize,
    pub(crate) sockets_failed: usize,
    pub(crate) quotas_after: Option<Vec<Quota>>,
    pub(crate) verification: Option<Verification>,
}

impl Report {
    /// The server was there to the end, and kept what it said: nothing oversold, and, if
    /// that was asked for, all that was acknowledged is there, once.
    #[must_use]
    pub fn ok(&self) -> bool {
        let kept = self.verification.as_ref().is_none_or(Verification::is_ok);
        self.ended != Ended::ServerGone && self.oversold == 0 && kept
    }

    /// How many sockets, and what is spoken on them.
    pub(crate) fn sockets_told(&self) -> String {
        let sockets = group(self.sockets as u64);
        match self.http2_streams {
            None => sockets,
            Some(n) => format!("{sockets}, with HTTP/2, {n} requests at a time on each"),
        }
    }

    /// Sold out exactly, nothing oversold, and all that was acknowledged is there, once.
    #[must_use]
    pub fn is_clean_sell_out(&self) -> bool {
        self.sold_out
            && self.oversold == 0
            && self.verification.as_ref().is_some_and(Verification::is_ok)
    }

    pub(crate) fn new(config: &Config, mut run: Run) -> Self {
        let cancelled = give_back_cancelled(&mut run);
        let quotas = quotas(&run);
        let stock = run.crowd.offer.main.map(|main| stock(&run, &quotas[main], main));
        let sold_out = stock.as_ref().is_some_and(|stock| is_sold_out(&run, stock));
        let cpu_percent = 100.0 * run.cpu.as_secs_f64() / run.wall.as_secs_f64().max(1e-6);
        let warnings = warnings(&run, config, cpu_percent);
        let operations = operations(&run);
        let Run { crowd, ended, wall, sockets, sockets_failed, verification, .. } = run;
        let tickets: u64 = crowd.orders.iter().map(|o| u64::from(o.quantity)).sum();
        let tickets_for_sale = crowd.offer.stock();
        let (arrived, active) = (crowd.arrived(), crowd.active() as u64);
        let stats = crowd.stats;
        Self {
            ended,
            sold_out,
            seconds: wall.as_secs_f64(),
            seconds_to_sold_out: stats.sold_out_us.map(|us| us as f64 / 1e6),
            buyers: config.buyers,
            buyers_arrived: arrived,
            fates: Fates { unfinished: stats.fates.unfinished + active, ..stats.fates },
            sockets,
            http2_streams: config.http2_streams,
            sockets_failed,
            reconnects: stats.reconnects,
            stock,
            oversold: quotas.iter().map(|q| q.oversold).sum(),
            quotas,
            orders: crowd.orders.len() as u64,
            tickets: tickets - cancelled,
            lost: verification.as_ref().map(|v| v.lost + v.changed),
            holds: stats.holds,
            abandoned_holds: stats.fates.abandoned,
            abandoned_tickets: stats.abandoned_tickets,
            payments_due_back: stats.payments_due_back,
            operations,
            hold_ms: stats.latency(Kind::Hold),
            order_ms: stats.latency(Kind::Order),
            payment_ms: stats.latency(Kind::Payment),
            answers_by_second: stats.answers_by_second,
            timeline: stats.timeline.finish(tickets_for_sale, wall.as_micros() as u64),
            refusals: stats.refusals,
            errors: stats.errors,
            put_off: stats.put_off,
            cpu_percent,
            warnings,
            verification,
            acknowledged: crowd.orders,
        }
    }
}

/// Orders that were never paid and are cancelled by now gave their stock back; says
/// how many tickets that were.
fn give_back_cancelled(run: &mut Run) -> u64 {
    let crowd = &mut run.crowd;
    let mut tickets = 0;
    for &index in run.verification.iter().flat_map(|v| &v.cancelled) {
        let order = &crowd.orders[index];
        let ticket_type = crowd.offer.ticket_types.iter().find(|t| t.id == order.ticket_type);
        for &quota in ticket_type.iter().flat_map(|t| &t.quotas) {
            crowd.sold[quota] -= u64::from(order.quantity);
        }
        tickets += u64::from(order.quantity);
    }
    tickets
}

fn quotas(run: &Run) -> Vec<QuotaReport> {
    let crowd = &run.crowd;
    let quotas = crowd.offer.quotas.iter().enumerate();
    quotas
        .map(|(index, before)| {
            let after = run.quotas_after.iter().flatten().find(|q| q.id == before.id);
            let sold_here = crowd.sold[index];
            let most = (before.sold + sold_here).max(after.map_or(0, |q| q.sold + q.held));
            QuotaReport {
                id: before.id.clone(),
                capacity: before.capacity,
                sold_before: before.sold,
                sold_here,
                abandoned_here: crowd.abandoned[index],
                sold_after: after.map(|q| q.sold),
                held_after: after.map(|q| q.held),
                oversold: before.capacity.map_or(0, |capacity| most.saturating_sub(capacity)),
            }
        })
        .collect()
}

fn stock(run: &Run, quota: &QuotaReport, main: usize) -> Stock {
    let tickets = run.crowd.offer.stock().unwrap_or(0);
    let sold = run.crowd.sold[main];
    let abandoned = run.crowd.abandoned[main];
    Stock {
        quota: quota.id.clone(),
        tickets,
        sold,
        oversold: quota.oversold,
        abandoned,
        // A ticket of an abandoned hold came back before it was sold: sold + abandoned - tickets.
        resold: (sold == tickets).then_some(abandoned),
    }
}

fn is_sold_out(run: &Run, stock: &Stock) -> bool {
    let after = run.quotas_after.iter().flatten().find(|q| q.id == stock.quota);
    let server_agrees = after.is_some_and(|q| q.capacity == Some(q.sold) && q.held == 0);
    stock.sold == stock.tickets && stock.oversold == 0 && server_agrees
}

fn operations(run: &Run) -> Operations {
    let stats = &run.crowd.stats;
    let [accepted, refused] = stats.answers_at_sold_out.unwrap_or(stats.answers);
    let seconds = stats.sold_out_us.map_or(run.wall.as_secs_f64(), |us| us as f64 / 1e6);
    let rate = |count: u64| count as f64 / seconds.max(1e-6);
    Operations {
        seconds,
        accepted,
        refused,
        per_second: rate(accepted + refused),
        accepted_per_second: rate(accepted),
        refused_per_second: rate(refused),
        per_second_max: stats.answers_by_second.iter().map(|s| s[0] + s[1]).max().unwrap_or(0),
    }
}

fn warnings(run: &Run, config: &Config, cpu_percent: f64) -> Vec<String> {
    let mut warnings = Vec::new();
    if cpu_percent > CPU_PERCENT_WARN {
        warnings.push(format!(
            "the load generator used {cpu_percent:.0} % of its core: latencies and rates are its own, not the server's"
        ));
    }
    if run.sockets_failed > 0 {
        warnings.push(format!("the server did not take {} more connections", run.sockets_failed));
    }
    if run.ended == Ended::ServerGone {
        warnings.push(format!(
            "the server did not answer for {} s: the rush gave up",
            config.give_up.as_secs_f64()
        ));
    }
    if run.quotas_after.is_none() {
        warnings.push("the stock could not be read afterwards".to_owned());
    }
    warnings
}

mod table;

pub use table::group;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write(self, f)
    }
}
