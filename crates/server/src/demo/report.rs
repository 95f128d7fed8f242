//! What the demo tells: a table for people, one JSON object for programs.

use std::fmt::Write as _;

use onsale_rush::{Heading, Report, group as thousands};
use serde_json::{Value, json};

use super::stock;
use crate::audit::Audit;

/// All that came out.
pub struct Outcome {
    /// Tickets there were.
    pub capacity: u64,
    /// What the buyers saw.
    pub rush: Report,
    /// What the journal says.
    pub audit: Audit,
    /// The most memory that the server had, in bytes.
    pub memory_bytes: u64,
    /// Cores of this machine that were used.
    pub cores: usize,
}

impl Outcome {
    /// Sold out exactly, nothing oversold, nothing lost, and the journal proves it.
    pub fn is_right(&self) -> bool {
        let (sold, oversold) = stock(&self.rush);
        self.rush.is_clean_sell_out()
            && sold == self.capacity
            && oversold == 0
            && self.audited_sold() == Some(self.capacity as i64)
            && self.audit.report.ok
    }

    /// Sold of the site's capacity, as the journal says.
    fn audited_sold(&self) -> Option<i64> {
        let quotas = self.audit.report.events.iter().flat_map(|event| &event.quotas);
        quotas.into_iter().find(|q| q.id.as_str() == super::SITE_CAPACITY).map(|q| q.sold)
    }

    fn lost(&self) -> u64 {
        // An order that was not looked for is not known to be there.
        self.rush.lost.unwrap_or(self.rush.orders)
    }
}

/// For people.
pub fn table(outcome: &Outcome) -> String {
    let Outcome { rush, .. } = outcome;
    let (sold, oversold) = stock(rush);
    let operations = rush.operations;
    let all = rush.hold_ms.all;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        writeln!(text, "  {name:<26} {value}").expect("a string takes anything");
    };
    row("tickets", thousands(outcome.capacity));
    row("buyers", format!("{} at once", thousands(rush.buyers)));
    row("sockets", thousands(rush.sockets as u64));
    row("sold", thousands(sold));
    row("oversold", thousands(oversold));
    row("acknowledged and lost", thousands(outcome.lost()));
    let sold_out = rush.seconds_to_sold_out.map_or("never".into(), |s| format!("{s:.1} s"));
    row("sold out after", sold_out);
    row("operations", format!("{}/s", thousands(operations.per_second as u64)));
    row("  accepted", format!("{}/s", thousands(operations.accepted_per_second as u64)));
    row("  refused", format!("{}/s", thousands(operations.refused_per_second as u64)));
    row("  busiest second", format!("{}/s", thousands(operations.per_second_max)));
    row("hold p50 / p99 / p99.9", format!("{:.1} / {:.0} / {:.0} ms", all.p50, all.p99, all.p999));
    row("holds abandoned", thousands(rush.abandoned_holds));
    let resold = rush.stock.as_ref().and_then(|stock| stock.resold);
    row("  sold again", resold.map_or("not known".into(), thousands));
    row("server memory", format!("{} MiB", outcome.memory_bytes >> 20));
    row("buyers' own CPU", format!("{:.0} % of a core", rush.cpu_percent));
    row("audit of the journal", outcome.audit.verdict());
    for warning in &rush.warnings {
        row("note", warning.clone());
    }
    if outcome.cores < 2 {
        row("note", "one core only: server and buyers share it".to_owned());
    }
    for finding in &outcome.audit.findings {
        row("WRONG", finding.what.clone());
    }
    let verdict = match outcome.is_right() {
        true => "\n  Sold out exactly: no ticket twice, no order lost.",
        false => "\n  NOT RIGHT: see above.",
    };
    text + verdict
}

/// For the page with charts.
pub fn heading(outcome: &Outcome) -> Heading {
    let verdict = match outcome.is_right() {
        true => "Sold out exactly: no ticket twice, no order lost.",
        false => "Not right: see the figures below.",
    };
    let rows = [
        ("server memory", format!("{} MiB", outcome.memory_bytes >> 20)),
        ("audit of the journal", outcome.audit.verdict().to_owned()),
    ];
    Heading {
        title: format!(
            "{} tickets, {} buyers",
            thousands(outcome.capacity),
            thousands(outcome.rush.buyers)
        ),
        right: outcome.is_right(),
        verdict: verdict.to_owned(),
        rows: rows.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// For programs.
pub fn to_json(outcome: &Outcome) -> Value {
    let Outcome { rush, .. } = outcome;
    let (sold, oversold) = stock(rush);
    let all = rush.hold_ms.all;
    json!({
        "tickets": outcome.capacity,
        "buyers": rush.buyers,
        "sockets": rush.sockets,
        "sold": sold,
        "oversold": oversold,
        "lost": outcome.lost(),
        "seconds_to_sold_out": rush.seconds_to_sold_out,
        "ops_per_second": rush.operations.per_second,
        "accepted_per_second": rush.operations.accepted_per_second,
        "refused_per_second": rush.operations.refused_per_second,
        "hold_ms": { "p50": all.p50, "p99": all.p99, "p999": all.p999 },
        "abandoned_holds": rush.abandoned_holds,
        "resold": rush.stock.as_ref().and_then(|stock| stock.resold),
        "server_memory_bytes": outcome.memory_bytes,
        "buyers_cpu_percent": rush.cpu_percent,
        "audit": outcome.audit.verdict(),
    })
}
