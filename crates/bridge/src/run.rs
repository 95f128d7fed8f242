//! The bridge at work: capture, write-back and, from time to time, a comparison, beside each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Error;
use crate::capture::{self, Parts, orders};
use crate::dialect::By;
use crate::reconcile::{Report, reconcile};
use crate::state::State;
use crate::write_back::api::Platform;
use crate::write_back::{self, Context, Meter};

/// How often it is noted how write-back goes.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// The wait until what is set aside is looked at again, where a side could not be read.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Where Prometheus' node exporter finds figures, in the bridge's own folder.
pub const METRICS: &str = "metrics.prom";

/// The fact that says how the bridge ended by itself.
const ENDED: &str = "ended";

/// How write-back is done.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The platform's API, for dialects that write by one.
    pub platform: Option<Platform>,
    /// Orders a second that are written at most; none: as many as go.
    pub rate: Option<u32>,
    /// Goes on with another log of the engine than before.
    pub other_log: bool,
    /// How often both sides are compared; none: never.
    pub reconcile_every: Option<Duration>,
}

/// What write-back and reconcile work with.
#[must_use]
pub fn context(parts: &Parts, options: &Options) -> Context {
    Context {
        db: parts.url.clone(),
        dialect: Arc::clone(&parts.dialect),
        engine: parts.engine.clone(),
        state: Arc::clone(&parts.state),
        platform: options.platform.clone(),
        rate: options.rate,
        other_log: options.other_log,
        meter: Arc::new(Meter::default()),
    }
}

/// Works until something does not pass, and notes then at once that it ended.
///
/// # Errors
/// What does not pass, with the way out.
pub async fn run(parts: Parts, options: Options) -> Result<(), Error> {
    let state = Arc::clone(&parts.state);
    let _alone = state.lock()?;
    state.set_fact(ENDED, None)?;
    let done = work(parts, options).await;
    if let Err(error) = &done {
        let fact = json!({"error": error.to_string(), "at": now()});
        state.set_fact(ENDED, Some(&fact.to_string()))?;
    }
    done
}

async fn work(parts: Parts, options: Options) -> Result<(), Error> {
    let context = context(&parts, &options);
    let by = context.dialect.settings.write_back.by;
    if by == By::Nothing || (by == By::Api && options.platform.is_none()) {
        tracing::warn!("sales are not written back: see --platform, and the dialect");
        return tokio::select! {
            done = capture::run(parts.clone()) => done,
            () = look_again(&parts) => Ok(()),
        };
    }
    // Never sent to: the work ends by being dropped.
    let (_stop, stop) = watch::channel(false);
    tokio::select! {
        done = capture::run(parts.clone()) => done,
        () = look_again(&parts) => Ok(()),
        done = write_back::run(context.clone(), stop) => done,
        done = note(&context, options.reconcile_every) => done,
    }
}

/// Looks again, once, at what capture had set aside about orders before this start. Never ends.
async fn look_again(parts: &Parts) {
    while let Err(error) = orders::retry(parts, None).await {
        tracing::debug!(%error, "what is set aside can't be looked at yet");
        sleep(LOOK_AGAIN).await;
    }
    std::future::pending().await
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Notes how a comparison of all events ended, for [`crate::status`].
///
/// # Errors
/// The bridge's own file fails.
pub fn note_compared(state: &State, compared: &Result<Report, Error>) -> Result<(), Error> {
    let fact = match compared {
        Ok(report) => json!({"differences": report.differences(), "at": now()}),
        Err(error) => json!({"error": error.to_string(), "at": now()}),
    };
    state.set_fact("reconcile", Some(&fact.to_string()))
}

/// Notes how it goes, and compares.
async fn note(context: &Context, reconcile_every: Option<Duration>) -> Result<(), Error> {
    let mut report: Option<Report> = None;
    let mut compare_at = reconcile_every.map(|every| tokio::time::Instant::now() + every);
    loop {
        sleep(NOTE_EVERY).await;
        if let (Some(at), Some(every)) = (compare_at, reconcile_every)
            && tokio::time::Instant::now() >= at
        {
            let compared = reconcile(context, None).await;
            note_compared(&context.state, &compared)?;
            match compared {
                Ok(compared) => {
                    if !compared.is_clean() {
                        tracing::warn!(differences = compared.differences(), "the sides differ");
                    }
                    report = Some(compared);
                }
                Err(error) => {
                    tracing::warn!(%error, "the sides can't be compared");
                }
            }
            compare_at = Some(tokio::time::Instant::now() + every);
        }
        let meter = &context.meter;
        if let Ok(shards) = context.engine.sales_shards().await {
            meter.ends(&shards);
        }
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let fact = json!({
            "at": now(), "orders": count(&meter.orders), "records": count(&meter.records),
            "parked": count(&meter.parked), "errors": count(&meter.errors),
            "behind_records": meter.behind(), "shards": meter.shards(), "error": meter.last_error(),
        });
        context.state.set_fact("write-back", Some(&fact.to_string()))?;
        let text = capture::metrics(&context.state)?
            + &meter.metrics()
            + &report.as_ref().map(Report::metrics).unwrap_or_default();
        let new = context.state.folder().join(format!("{METRICS}.new"));
        let written = std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, context.state.folder().join(METRICS)));
        if let Err(error) = written {
            tracing::warn!(%error, "{METRICS} can't be written");
        }
    }
}
