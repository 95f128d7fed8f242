//! `onsale rush`: its arguments, and what becomes of them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use onsale_core::Id;
use onsale_rush::{Arrivals, Config, Heading, Progress, Report, Retry};

use super::{FAILED, OK, USAGE, check_page, complain, say, write_page};

/// Sends a crowd of buyers to an event, and checks every order it was told of.
///
/// Buyers arrive when the plan says, however slow the server is, and their latency
/// counts from that moment. They hold, think, claim and pay; some abandon their
/// hold. Afterwards every acknowledged order is asked for: each must be there, and
/// only once.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  \
    onsale rush --url http://127.0.0.1:7070 --key KEY --organizer river --event festival-day-1 \\\n    \
    --buyers 10000 --burst-seconds 2 --abandon 0.2\n\n\
    Exit codes:\n  \
    0  the rush ended, and every acknowledged order was found, once\n  \
    1  an order was lost or came twice, or the server was not there\n  \
    2  the arguments make no sense")]
pub struct RushArgs {
    /// The server, such as http://127.0.0.1:7070.
    #[arg(long)]
    pub url: String,
    /// A key with the scopes sell, pay and read.
    #[arg(long, env = "ONSALE_KEY", hide_env_values = true)]
    pub key: String,
    /// Whose event.
    #[arg(long)]
    pub organizer: Id,
    /// Which event; it must be open.
    #[arg(long)]
    pub event: Id,
    /// How many want tickets.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub buyers: u64,
    /// All of them arrive within so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, conflicts_with = "rate")]
    pub burst_seconds: f64,
    /// They arrive at this constant rate instead, per second.
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// Sockets to share [default: as many as the process may open].
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
    /// Speaks HTTP/2 with so many requests at a time on each socket, as a front tier would.
    #[arg(long, value_name = "STREAMS")]
    pub http2: Option<usize>,
    /// Time between a hold and its claim, in milliseconds.
    #[arg(long, value_name = "MIN-MAX", default_value = "100-1000", value_parser = range)]
    pub think_ms: RangeInclusive<u64>,
    /// Share of holds that are abandoned, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub abandon: f64,
    /// Share of buyers who buy in one step, without a hold, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub direct: f64,
    /// How long a buyer waits who is told that the rest is on hold, in milliseconds.
    #[arg(long, value_name = "MIN-MAX", default_value = "300-900", value_parser = range)]
    pub retry_ms: RangeInclusive<u64>,
    /// How often such a buyer asks again [default: until the deadline].
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// After so many seconds nobody begins anything new.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub deadline_seconds: u64,
    /// Tickets per buyer; the event's own limits make it less.
    #[arg(long, value_name = "MIN-MAX", default_value = "1-2", value_parser = range)]
    pub quantity: RangeInclusive<u64>,
    /// Ticket types to buy, with commas [default: all that is on sale, by their stock].
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub ticket_types: Option<Vec<Id>>,
    /// All choices of all buyers follow from it.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Goes on once the main stock is gone, until every buyer was told so.
    #[arg(long)]
    pub to_the_last_buyer: bool,
    /// Does not ask for the orders afterwards.
    #[arg(long)]
    pub no_verify: bool,
    /// Writes a report with charts to this file, a page of HTML that needs nothing else.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Lets the crowd in; returns the exit code.
pub fn run(args: &RushArgs) -> u8 {
    if let Err(error) = check_page(args.report.as_deref()) {
        return complain(&error, USAGE);
    }
    let config = match config(args) {
        Ok(config) => config,
        Err(error) => return complain(&error, USAGE),
    };
    let progress = Progress::new();
    let result = onsale_rush::run(config, &mut |live| progress.show(live));
    progress.finish();
    match result {
        Ok(report) => told(args, &report),
        Err(error) => complain(&error, FAILED),
    }
}

fn told(args: &RushArgs, report: &Report) -> u8 {
    if let Some(file) = &args.report
        && let Err(error) = write_page(file, &report.page(&heading(args, report)))
    {
        return complain(&error, FAILED);
    }
    match args.json {
        true => match serde_json::to_string(report) {
            Ok(text) => say(&text),
            Err(error) => return complain(&error.into(), FAILED),
        },
        false => say(&report.to_string()),
    }
    if report.ok() { OK } else { FAILED }
}

fn heading(args: &RushArgs, report: &Report) -> Heading {
    let verdict = match (report.ok(), report.sold_out) {
        (true, true) => "Sold out exactly: no ticket twice, no order lost.",
        (true, false) => "No ticket was sold twice, and no order was lost.",
        (false, _) => "Not right: see the figures below.",
    };
    Heading {
        title: format!("A rush on {} of {}", args.event, args.organizer),
        right: report.ok(),
        verdict: verdict.to_owned(),
        rows: Vec::new(),
    }
}

fn config(args: &RushArgs) -> anyhow::Result<Config> {
    let seconds = |name: &str, seconds: f64| {
        let duration = Duration::try_from_secs_f64(seconds);
        duration.map_err(|error| anyhow::anyhow!("{name}: {error}"))
    };
    let arrivals = match args.rate {
        Some(per_second) => Arrivals::Constant { per_second },
        None => Arrivals::Burst { over: seconds("--burst-seconds", args.burst_seconds)? },
    };
    let quantity = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let types = args.ticket_types.as_ref();
    let config = Config {
        buyers: args.buyers,
        arrivals,
        connections: args.connections,
        http2_streams: args.http2,
        think_ms: args.think_ms.clone(),
        abandon: args.abandon,
        direct: args.direct,
        retry: Retry { every_ms: args.retry_ms.clone(), tries_max: args.retries },
        deadline: Duration::from_secs(args.deadline_seconds),
        ticket_types: types.map(|ids| ids.iter().map(Id::to_string).collect()),
        quantity: quantity(*args.quantity.start())..=quantity(*args.quantity.end()),
        seed: args.seed,
        stop_when_sold_out: !args.to_the_last_buyer,
        verify: !args.no_verify,
        ..Config::new(&args.url, &args.key, args.organizer.as_str(), args.event.as_str())
    };
    config.check()?;
    Ok(config)
}

/// Reads `100-1000`, or `500` for a range of one.
fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    match (min.parse(), max.parse()) {
        (Ok(min), Ok(max)) if min <= max => Ok(min..=max),
        _ => Err("must be a number, or two with a - between them, the smaller first".to_owned()),
    }
}
