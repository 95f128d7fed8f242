//! Retention of the streams that others write to: old records go by age and number, and what that means for
//! those who have yet to read them is logged and counted.
//!
//! The stream `sales` is the journal itself: `archive.retention_days` says what is kept of that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use onsale_bus::{Error, Retention, StreamName};

use super::{CATALOGUE, CONTROL};
use crate::api::Api;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(600);

/// What retention did to a stream since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Records that went.
    pub trimmed: u64,
    /// Cursors for which older records than the age says are kept now.
    pub kept_for: usize,
    /// How often a cursor lost records that it had yet to read.
    pub lost: u64,
}

/// What retention did to each stream.
pub type AllRetained = BTreeMap<&'static str, Retained>;

/// Retention from its settings; 0 stands for no limit.
#[must_use]
pub fn retention(days: u64, records_max: u64) -> Retention {
    let or_all = |limit: u64| if limit == 0 { u64::MAX } else { limit };
    let age = Duration::from_secs(or_all(days.saturating_mul(86_400)));
    Retention { age, records: or_all(records_max) }
}

/// Keeps to it until the server stops.
pub async fn run(api: Arc<Api>) {
    let mut draining = api.draining.subscribe();
    tokio::select! {
        () = keep_to_it(&api) => {}
        _ = draining.wait_for(|stop| *stop) => {}
    }
}

async fn keep_to_it(api: &Api) {
    loop {
        for stream in [CATALOGUE, CONTROL] {
            if let Err(error) = retain(api, stream).await {
                tracing::warn!(stream, %error, "old records can't be let go; it is tried again");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn retain(api: &Api, name: &'static str) -> Result<(), Error> {
    let Ok(bus) = api.bus.get() else { return Ok(()) };
    let stream = StreamName::new(name)?;
    let readers = api.cursors.of_stream(&stream).await?;
    if api.bus.retention != retention(0, 0) {
        match api.bus.sent.lock().await.keep(bus, &stream).await {
            Err(Error::NoSuchStream { .. }) => return Ok(()),
            kept => kept?,
        }
    }
    let done = match bus.retain(&stream, api.bus.retention, &readers).await {
        // It is made by the first append.
        Err(Error::NoSuchStream { .. }) => return Ok(()),
        done => done?,
    };
    api.bus.note_retained(name, |all| {
        all.kept_for = done.iter().map(|shard| shard.kept_for.len()).sum();
        for shard in &done {
            all.trimmed += shard.records;
            all.lost += shard.lost_for.len() as u64;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_keeps_all() {
        let all = retention(0, 0);
        assert_eq!((all.age, all.records), (Duration::from_secs(u64::MAX), u64::MAX));
        let some = retention(2, 7);
        assert_eq!((some.age, some.records), (Duration::from_secs(172_800), 7));
    }
}
