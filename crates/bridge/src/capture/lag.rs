//! How far capture is behind, for people.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::feed::Changes;
use crate::state::Sent;

/// Lags that are remembered: those of the last batches.
const LAGS_MAX: usize = 10_000;

/// What was brought over, and how long it took from commit to append.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Rows that changed.
    rows: u64,
    /// Events that were appended.
    pub appended: u64,
    /// Of the last batches, each from its first commit on, in milliseconds.
    lags: VecDeque<i64>,
}

/// What [`Lag::to_json`] gave last, as Prometheus reads it.
pub(super) fn metrics(noted: &Value) -> String {
    let rows = [
        ("rows_total", "counter", "rows_changed"),
        ("events_total", "counter", "events_appended"),
        ("lag_p50_milliseconds", "gauge", "lag_ms_p50"),
        ("lag_p99_milliseconds", "gauge", "lag_ms_p99"),
    ];
    let row = |(name, kind, field): &(&str, &str, &str)| {
        let (name, value) = (format!("onsale_bridge_capture_{name}"), noted[*field].as_i64()?);
        Some(format!("# TYPE {name} {kind}\n{name} {value}\n"))
    };
    rows.iter().filter_map(row).collect()
}

impl Lag {
    pub(super) fn note(&mut self, brought: &Changes) {
        self.rows += brought.rows;
        if brought.since_us > 0 {
            let now = Timestamp::now().as_microsecond();
            self.lags.push_back((now - brought.since_us).max(0) / 1000);
        }
        if self.lags.len() > LAGS_MAX {
            self.lags.pop_front();
        }
    }

    pub(super) fn to_json(&self, sent: &BTreeMap<String, Sent>) -> Value {
        let mut lags: Vec<i64> = self.lags.iter().copied().collect();
        lags.sort_unstable();
        let at = |share: f64| {
            lags.get(((lags.len() as f64 * share) as usize).min(lags.len().saturating_sub(1)))
        };
        json!({
            "at": Timestamp::now().to_string(),
            "events": sent.len(),
            "rows_changed": self.rows,
            "events_appended": self.appended,
            "lag_ms_p50": at(0.5),
            "lag_ms_p99": at(0.99),
            "lag_ms_max": lags.last(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_what_was_noted() {
        let now = Timestamp::now().as_microsecond();
        let mut lag = Lag { appended: 2, ..Lag::default() };
        for lags in [5_000_000, 0] {
            lag.note(&Changes { rows: 3, since_us: now - lags, ..Changes::default() });
        }
        let text = metrics(&lag.to_json(&BTreeMap::new()));
        let number = |name: &str| -> i64 {
            let name = format!("onsale_bridge_capture_{name} ");
            text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
        };
        assert_eq!((number("rows_total"), number("events_total")), (6, 2));
        for name in ["lag_p50_milliseconds", "lag_p99_milliseconds"] {
            assert!((5_000..60_000).contains(&number(name)), "{text}");
        }
        // What is not measured yet is left out.
        assert!(!metrics(&Lag::default().to_json(&BTreeMap::new())).contains("milliseconds"));
    }
}
