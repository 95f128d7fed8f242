//! `onsale demo`: sells out a festival to a rush of buyers, with a server of its own on
//! one core and the buyers on another, and checks the result.

mod bridge;
pub(crate) mod process;
mod report;

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context as _;
use onsale_core::{EventState, Id};
use onsale_rush::{Arrivals, Config, Progress, Report, Retry};

use crate::audit::audit;
use crate::cli::{DemoArgs, DemoCommand, FAILED, OK, USAGE, check_page, write_page};
use crate::http_client::Client;
use crate::import::{CatalogueEvent, festival, shift_to_now, upload};
use crate::output::{remark, say};
use crate::shards::wall_time;
use process::{ServerProcess, split_cores};
use report::{Outcome, heading, table, to_json};

/// The one that sells.
const ORGANIZER: &str = "river";
/// The quota that all admission types draw on.
const SITE_CAPACITY: &str = "14";
/// How long a hold lives in the demo: short, so that abandoned ones come back soon.
const HOLD_SECONDS: u32 = 3;
/// All buyers arrive within this time.
const BURST: Duration = Duration::from_millis(500);
/// Between a hold and its claim.
const THINK_MS: RangeInclusive<u64> = 50..=1_500;
/// How long a buyer waits who is told that the rest is on hold.
const RETRY_MS: RangeInclusive<u64> = 400..=1_200;
/// One in five holds is neither claimed nor released.
const ABANDON: f64 = 0.2;
/// After this time it is given up.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the demo; returns the exit code.
#[must_use]
pub fn run(args: &DemoArgs) -> u8 {
    if let Some(DemoCommand::Bridge(args)) = &args.command {
        return bridge::run(args);
    }
    if let Err(error) = check_page(args.report.as_deref()) {
        remark(&format!("onsale demo: {error:#}"));
        return USAGE;
    }
    match sell_out(args) {
        Ok(outcome) => {
            if let Some(file) = &args.report
                && let Err(error) = write_page(file, &outcome.rush.page(&heading(&outcome)))
            {
                remark(&format!("onsale demo: {error:#}"));
                return FAILED;
            }
            say(&table(&outcome));
            if args.json {
                say(&to_json(&outcome).to_string());
            }
            if outcome.is_right() { OK } else { FAILED }
        }
        Err(error) => {
            remark(&format!("onsale demo: {error:#}"));
            FAILED
        }
    }
}

fn sell_out(args: &DemoArgs) -> anyhow::Result<Outcome> {
    let folder = tempfile::Builder::new().prefix("onsale-demo-").tempdir()?;
    let key = format!("demo-{}", uuid::Uuid::new_v4().simple());
    let cores = split_cores()?;
    remark("starting a server of its own, pinned to one core …");
    let server = ServerProcess::start(folder.path(), &[], &key, &cores)?;
    server.end_on_signal(folder.path())?;
    let event = put_on_sale(&server.url, &key)?;
    let config = rush_config(args, &server.url, &key, &event);
    let progress = Progress::new();
    let rush = onsale_rush::run(config, &mut |live| progress.show(live));
    progress.finish();
    let rush = rush.context("the rush")?;
    let memory_bytes = server.memory_bytes_max();
    let clean_stop = server.stop();
    let audit = audit(folder.path()).context("the audit")?;
    if args.keep {
        remark(&format!("the data folder is kept: {}", folder.keep().display()));
    }
    clean_stop?;
    let capacity = capacity(&event)?;
    Ok(Outcome { capacity, rush, audit, memory_bytes, cores: cores.len() })
}

/// The River Festival, on sale now.
fn put_on_sale(url: &str, key: &str) -> anyhow::Result<CatalogueEvent> {
    let mut import = festival();
    shift_to_now(&mut import, wall_time());
    let mut event = import.events.pop().context("the built-in export has an event")?;
    event.definition.hold_seconds = HOLD_SECONDS;
    event.state = Some(EventState::Open);
    let organizer: Id = ORGANIZER.parse()?;
    let client = Client::new(url, Some(key)).map_err(|e| anyhow::anyhow!("{e}"))?;
    upload(&client, &organizer, &event).map_err(|e| anyhow::anyhow!("the import: {e}"))?;
    Ok(event)
}

fn capacity(event: &CatalogueEvent) -> anyhow::Result<u64> {
    let quota = event.definition.quotas.iter().find(|q| q.id.as_str() == SITE_CAPACITY);
    let capacity = quota.and_then(|quota| quota.capacity).context("the site has a capacity")?;
    Ok(u64::from(capacity))
}

fn rush_config(args: &DemoArgs, url: &str, key: &str, event: &CatalogueEvent) -> Config {
    let admission = event.definition.ticket_types.iter();
    let admission = admission.filter(|t| t.quotas.iter().any(|q| q.as_str() == SITE_CAPACITY));
    Config {
        buyers: args.buyers,
        arrivals: Arrivals::Burst { over: BURST },
        think_ms: THINK_MS,
        abandon: ABANDON,
        retry: Retry { every_ms: RETRY_MS, tries_max: None },
        deadline: DEADLINE,
        ticket_types: Some(admission.map(|t| t.id.to_string()).collect()),
        quantity: 1..=1,
        request_timeout: Duration::from_secs(20),
        ..Config::new(url, key, ORGANIZER, event.id.as_str())
    }
}

/// What the rush says of a report that the demo needs.
fn stock(rush: &Report) -> (u64, u64) {
    rush.stock.as_ref().map_or((0, 0), |stock| (stock.sold, stock.oversold))
}
