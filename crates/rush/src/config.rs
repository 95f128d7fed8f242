//! What a rush is told to do, and the rules for it.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::target::take_apart;

/// Buyers of one rush, at most.
pub(crate) const BUYERS_MAX: u64 = 10_000_000;

/// Requests at a time on one socket, at most.
const STREAMS_MAX: usize = 1_000;
/// The longest wait of a buyer: a day.
const WAIT_MS_MAX: u64 = 86_400_000;

/// When buyers arrive.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arrivals {
    /// All of them within this time, evenly, each a little early or late.
    Burst {
        /// From the first to the last.
        over: Duration,
    },
    /// So many each second, until all are there.
    Constant {
        /// More than zero.
        per_second: f64,
    },
}

/// What a buyer does who is told that the rest is on hold just now.
#[derive(Clone, PartialEq, Debug)]
pub struct Retry {
    /// Waits so long, in milliseconds, anew each time.
    pub every_ms: RangeInclusive<u64>,
    /// Asks again so many times; none: until the deadline.
    pub tries_max: Option<u32>,
}

/// One rush. [`Config::new`] has sensible values for all that it does not ask for.
/// It holds a key and so has no `Debug`.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Where the server is: `http://host:port`, a path after it is kept.
    pub url: String,
    /// The key, sent as `Authorization: Bearer`. It needs the scopes to sell, pay and read.
    pub key: String,
    /// Whose event.
    pub organizer: String,
    /// Which event.
    pub event: String,
    /// How many want tickets.
    pub buyers: u64,
    /// When they come.
    pub arrivals: Arrivals,
    /// Sockets to share; none: as many as the process may open, less a reserve. Never more than buyers.
    pub connections: Option<usize>,
    /// Speaks HTTP/2 with so many requests at a time on each socket; none: HTTP/1.1, one at a time.
    pub http2_streams: Option<usize>,
    /// Time between a hold and its claim, in milliseconds.
    pub think_ms: RangeInclusive<u64>,
    /// Share of holds (0 to 1) that are neither claimed nor released.
    pub abandon: f64,
    /// Share of buyers (0 to 1) who buy in one step, without a hold.
    pub direct: f64,
    /// After "none free now".
    pub retry: Retry,
    /// After this time nobody begins anything new.
    pub deadline: Duration,
    /// The rush ends when the server has not answered anything for so long.
    pub give_up: Duration,
    /// A request without an answer for so long is sent again.
    pub request_timeout: Duration,
    /// What to buy; none: all that is on sale, as often as there is stock of it.
    pub ticket_types: Option<Vec<String>>,
    /// Tickets per buyer; the event's own limits make it less.
    pub quantity: RangeInclusive<u32>,
    /// All choices of all buyers follow from it.
    pub seed: u64,
    /// Ends when the main stock is gone; else every buyer asks until it is told so.
    pub stop_when_sold_out: bool,
    /// Asks for every acknowledged order afterwards.
    pub verify: bool,
}

impl Config {
    /// A thousand buyers within a second.
    #[must_use]
    pub fn new(url: &str, key: &str, organizer: &str, event: &str) -> Self {
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            organizer: organizer.to_owned(),
            event: event.to_owned(),
            buyers: 1_000,
            arrivals: Arrivals::Burst { over: Duration::from_secs(1) },
            connections: None,
            http2_streams: None,
            think_ms: 100..=1_000,
            abandon: 0.0,
            direct: 0.0,
            retry: Retry { every_ms: 300..=900, tries_max: None },
            deadline: Duration::from_secs(60),
            give_up: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            ticket_types: None,
            quantity: 1..=2,
            seed: 1,
            stop_when_sold_out: true,
            verify: true,
        }
    }

    /// # Errors
    /// Names the field and its rule.
    pub fn check(&self) -> Result<()> {
        take_apart(&self.url)?;
        ensure!((1..=BUYERS_MAX).contains(&self.buyers), "buyers: must be 1 to {BUYERS_MAX}");
        for (field, share) in [("abandon", self.abandon), ("direct", self.direct)] {
            ensure!((0.0..=1.0).contains(&share), "{field}: must be 0 to 1");
        }
        if let Arrivals::Constant { per_second } = self.arrivals {
            ensure!(per_second.is_finite() && per_second > 0.0, "arrivals: must be more than zero");
        }
        for (field, range) in [("think", &self.think_ms), ("retry", &self.retry.every_ms)] {
            ensure!(!range.is_empty(), "{field}: must not end before it begins");
            ensure!(*range.end() <= WAIT_MS_MAX, "{field}: must be at most {WAIT_MS_MAX} ms");
        }
        ensure!(!self.quantity.is_empty(), "quantity: must not end before it begins");
        ensure!(*self.quantity.start() >= 1, "quantity: must be at least 1");
        ensure!(self.connections != Some(0), "connections: must be at least 1");
        let streams = self.http2_streams.unwrap_or(1);
        ensure!((1..=STREAMS_MAX).contains(&streams), "http2: must be 1 to {STREAMS_MAX}");
        ensure!(!self.request_timeout.is_zero(), "request timeout: must be more than zero");
        for (field, text) in [("organizer", &self.organizer), ("event", &self.event)] {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
            ensure!(
                !text.is_empty() && text.bytes().all(plain),
                "{field}: has no plain id: {text:?}"
            );
        }
        ensure!(self.key.bytes().all(|b| b.is_ascii_graphic()), "key: has an odd character");
        Ok(())
    }
}
