//! Figures of what is beside the sale: cursors, webhooks, the stream that the engine follows.

use std::sync::Arc;

use super::Page;
use crate::bus::retain::{AllRetained, Retained};
use crate::cursors::Behind;
use crate::webhooks::Webhook;

/// Cursors and webhooks that are shown at most.
pub const SHOWN_MAX: usize = 1_000;

/// Figures of the bus and of those who read it.
#[derive(Default)]
pub struct BusFigures {
    /// Whether the bus is open.
    pub open: bool,
    /// How far cursors are behind.
    pub cursors: Vec<Behind>,
    /// The webhooks.
    pub webhooks: Vec<Arc<Webhook>>,
    /// Records of `catalogue` that are parked, up to [`SHOWN_MAX`].
    pub parked: usize,
    /// Whether the engine can't follow `catalogue`.
    pub stuck: bool,
    /// What retention did to the streams.
    pub retained: AllRetained,
}

/// The figures as text.
#[must_use]
pub fn render(figures: &BusFigures) -> String {
    let mut page = Page::default();
    let name = "onsale_bus_open";
    page.head(name, "gauge", "1 where the streams catalogue and control can be used.");
    page.line(name, "", u8::from(figures.open));
    let name = "onsale_catalogue_parked";
    page.head(
        name,
        "gauge",
        "Records of the stream catalogue that the engine refused, up to 1000.",
    );
    page.line(name, "", figures.parked);
    let name = "onsale_catalogue_stuck";
    page.head(name, "gauge", "1 where the engine can't follow the stream catalogue.");
    page.line(name, "", u8::from(figures.stuck));
    let name = "onsale_cursor_lag_records";
    page.head(name, "gauge", "Records after a named cursor or a webhook's, others' included.");
    for behind in &figures.cursors {
        let Behind { organizer, name: cursor, records } = behind;
        let organizer = organizer.as_deref().unwrap_or_default();
        page.line(name, &format!("organizer=\"{organizer}\",cursor=\"{cursor}\""), records);
    }
    retained(&mut page, &figures.retained);
    webhooks(&mut page, &figures.webhooks);
    page.text
}

fn retained(page: &mut Page, streams: &AllRetained) {
    let mut figure = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Retained) -> u64| {
        page.head(name, kind, help);
        for (stream, retained) in streams {
            page.line(name, &format!("stream=\"{stream}\""), value(retained));
        }
    };
    figure("onsale_stream_trimmed_total", "counter", "Records past retention that went.", &|of| {
        of.trimmed
    });
    let help = "Cursors for which records are kept that are older than streams.retention_days.";
    figure("onsale_stream_kept_for_cursors", "gauge", help, &|of| of.kept_for as u64);
    let help = "How often a cursor lost records to streams.records_max that it had yet to read.";
    figure("onsale_stream_lost_total", "counter", help, &|of| of.lost);
}

fn webhooks(page: &mut Page, webhooks: &[Arc<Webhook>]) {
    let counts: Vec<_> = webhooks.iter().map(|webhook| (webhook, webhook.figures.now())).collect();
    let mut figure = |name: &str, kind: &str, help: &str, value: &dyn Fn(usize) -> u64| {
        page.head(name, kind, help);
        for (i, (webhook, _)) in counts.iter().enumerate() {
            let (organizer, webhook) = (&webhook.entry.organizer, &webhook.entry.name);
            page.line(name, &format!("organizer=\"{organizer}\",webhook=\"{webhook}\""), value(i));
        }
    };
    figure("onsale_webhook_delivered_total", "counter", "Deliveries that were taken.", &|i| {
        counts[i].1.delivered
    });
    figure("onsale_webhook_failed_total", "counter", "Tries that failed.", &|i| counts[i].1.failed);
    figure("onsale_webhook_failing", "gauge", "Shards in which a record is tried again.", &|i| {
        counts[i].1.failing.len() as u64
    });
    figure("onsale_webhook_gone", "gauge", "1 where the receiver said that it is gone.", &|i| {
        counts[i].0.entry.gone_at.is_some().into()
    });
    figure("onsale_webhook_stuck", "gauge", "Shards that can't be followed any more.", &|i| {
        counts[i].1.stuck.len() as u64
    });
}
