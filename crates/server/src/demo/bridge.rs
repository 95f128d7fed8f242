//! `onsale demo bridge`: a box office that was there before, the bridge, and the engine, each a process of its own. The
//! River Festival is made in the box office, its stock is taken over, a rush buys it all from the engine, and every
//! order comes back into the box office's database. Then both sides are compared.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use onsale_bridge::attach;
use onsale_bridge::capture::Parts;
use onsale_bridge::database::Database;
use onsale_bridge::dialect::Dialect;
use onsale_bridge::engine::Engine;
use onsale_bridge::reconcile::{Report, reconcile};
use onsale_bridge::run::{Options, context};
use onsale_bridge::state::State;
use onsale_bridge::take::take;
use onsale_rush::{Arrivals, Config, Progress, Retry, group as thousands};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::process::{Cores, ServerProcess, split_cores};
use crate::cli::{BridgeDemoArgs, FAILED, OK};
use crate::output::{remark, say};

/// The event, in both.
const ORGANIZER: &str = "river";
const EVENT: &str = "festival";
/// Tickets of the festival.
const TICKETS: u64 = 20_000;
/// Prices that are changed in the box office, one after the other, before the sale.
const EDITS: u32 = 40;
/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(10);

/// What came out.
struct Outcome {
    rush: onsale_rush::Report,
    capture: Value,
    write_seconds: f64,
    behind_max: u64,
    compared: Report,
    seconds: f64,
}

impl Outcome {
    /// Tickets that the engine says it sold.
    fn sold(&self) -> u64 {
        self.rush.quotas.iter().map(|quota| quota.sold_here).sum()
    }

    fn there(&self) -> i64 {
        let quotas = self.compared.events.iter().flat_map(|event| &event.quotas);
        quotas.map(|quota| quota.platform).sum()
    }

    fn is_right(&self) -> bool {
        let compared: u64 = self.compared.events.iter().map(|event| event.orders).sum();
        self.compared.is_clean()
            && compared == self.rush.orders
            && u64::try_from(self.there()) == Ok(self.sold())
            && self.there() > 0
    }

    fn per_second(&self) -> f64 {
        self.rush.orders as f64 / self.write_seconds.max(0.001)
    }
}

/// Runs the demo; returns the exit code.
#[must_use]
pub fn run(args: &BridgeDemoArgs) -> u8 {
    match show(args) {
        Ok(outcome) => {
            say(&table(&outcome));
            if args.json {
                say(&to_json(&outcome).to_string());
            }
            if outcome.is_right() {
                return OK;
            }
            say(&format!("\n{}", outcome.compared.text()));
            FAILED
        }
        Err(error) => {
            remark(&format!("onsale demo bridge: {error:#}"));
            FAILED
        }
    }
}

/// A process that ends with this value.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn show(args: &BridgeDemoArgs) -> anyhow::Result<Outcome> {
    let begin = Instant::now();
    let folder = tempfile::Builder::new().prefix("onsale-demo-").tempdir()?;
    let key = format!("demo-{}", uuid::Uuid::new_v4().simple());
    let cores = split_cores()?;
    let file = folder.path().join("classic.db");
    remark("starting a box office with the River Festival in its SQLite, and the engine …");
    let office = start_office(&file, &key, &cores)?;
    let data = folder.path().join("engine");
    let engine = ServerProcess::start(&data, &[], &key, &cores)?;
    engine.end_on_signal(folder.path())?;
    remark(&format!("  its pages: {}   the engine: {}", office.url, engine.url));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let db = file.display().to_string();
    let parts = Parts {
        dialect: Arc::new(Dialect::load("classic")?),
        url: db.clone(),
        engine: Engine::new(&engine.url, &key)?,
        state: Arc::new(State::open(&folder.path().join("bridge"))?),
    };
    remark(&format!(
        "attaching the bridge, changing {EDITS} prices there, taking the stock over …"
    ));
    runtime.block_on(async {
        attach::attach(&parts.dialect, &mut Database::open(&db).await?).await
    })?;
    let bridge = start_bridge(folder.path(), &db, &engine.url, &key)?;
    let capture = runtime.block_on(prepare(&parts))?;
    let config = rush_config(args, &engine.url, &key);
    let progress = Progress::new();
    let rush = onsale_rush::run(config, &mut |live| progress.show(live));
    progress.finish();
    let rush = rush.context("the rush")?;
    let ended = Instant::now();
    let behind_max = runtime.block_on(written(&parts, rush.orders))?;
    let write_seconds = rush.seconds + ended.elapsed().as_secs_f64();
    remark("comparing both sides …");
    let subject = format!("{ORGANIZER}/{EVENT}");
    let context = context(&parts, &Options::default());
    let compared = runtime.block_on(reconcile(&context, Some(&subject)))?;
    drop(bridge);
    if args.keep {
        remark(&format!("the folder is kept: {}", folder.keep().display()));
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Outcome { rush, capture, write_seconds, behind_max, compared, seconds })
}

fn start_office(file: &Path, key: &str, cores: &Cores) -> anyhow::Result<ServerProcess> {
    let db = format!("sqlite:{}", file.display());
    let arguments = ["classic", "--listen", "127.0.0.1:0", "--seed", "festival", "--db", &db];
    ServerProcess::launch(arguments.map(OsString::from), &[], key, cores).context("the box office")
}

fn start_bridge(folder: &Path, db: &str, engine: &str, key: &str) -> anyhow::Result<Ends> {
    let mut command = Command::new(std::env::current_exe().context("where this program is")?);
    command.args(["bridge", "run", "--dialect", "classic", "--db", db, "--engine", engine]);
    command.arg("--state").arg(folder.join("bridge"));
    command.env("ONSALE_BRIDGE_KEY", key).env("RUST_LOG", "warn");
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    Ok(Ends(command.spawn().context("the bridge can't be started")?))
}

/// Waits for the event, changes prices and waits for each in the engine, takes the stock over. Gives how long prices took.
async fn prepare(parts: &Parts) -> anyhow::Result<Value> {
    let known = async || Ok(parts.engine.event(ORGANIZER, EVENT).await?.map(|_| Value::Null));
    wait_for("the event in the engine", known).await?;
    let mut db = Database::open(&parts.url).await?;
    let mut lags_ms = Vec::new();
    for edit in 1..=EDITS {
        let price = 10_000 + edit;
        let sql = format!(
            "UPDATE ticket_types SET price_minor = {price} WHERE id = (SELECT MIN(id) FROM ticket_types)"
        );
        let begin = Instant::now();
        db.run(&sql).await?;
        let seen = async || {
            let event = parts.engine.event(ORGANIZER, EVENT).await?.unwrap_or_default();
            let types = event["ticket_types"].as_array();
            let is_there = types.into_iter().flatten().any(|kind| kind["price"] == price);
            Ok(is_there.then_some(Value::Null))
        };
        wait_for("a new price in the engine", seen).await?;
        lags_ms.push(begin.elapsed().as_millis() as u64);
    }
    lags_ms.sort_unstable();
    take(parts, &format!("{ORGANIZER}/{EVENT}"), |_| Ok(())).await?;
    let open = async || {
        let event = parts.engine.event(ORGANIZER, EVENT).await?;
        Ok(event.filter(|event| event["state"] == "open"))
    };
    wait_for("the event on sale in the engine", open).await?;
    let at = |share: usize| lags_ms[(lags_ms.len() * share / 100).min(lags_ms.len() - 1)];
    Ok(json!({"lag_ms_p50": at(50), "lag_ms_p99": at(99)}))
}

/// Waits until something is there.
async fn wait_for(
    what: &str,
    look: impl AsyncFn() -> anyhow::Result<Option<Value>>,
) -> anyhow::Result<Value> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        sleep(LOOK).await;
    }
    anyhow::bail!("waited {PATIENCE:?} for {what}")
}

/// Waits until all orders are written back, and shows how far it is. Gives the most records that were behind.
async fn written(parts: &Parts, orders: u64) -> anyhow::Result<u64> {
    let end: u64 = parts.engine.sales_shards().await?.iter().map(|shard| shard.next).sum();
    let (begin, mut behind_max) = (Instant::now(), 0);
    loop {
        let fact = parts.state.fact("write-back")?.unwrap_or_default();
        let fact: Value = serde_json::from_str(&fact).unwrap_or_default();
        let shards = fact["shards"].as_object().into_iter().flatten();
        let position: u64 = shards.filter_map(|(_, shard)| shard["position"].as_u64()).sum();
        let behind = end.saturating_sub(position);
        behind_max = behind_max.max(behind);
        let orders = thousands(orders);
        remark(&format!("writing back {orders} orders: {} records to go", thousands(behind)));
        if behind == 0 {
            return Ok(behind_max);
        }
        anyhow::ensure!(begin.elapsed() < PATIENCE, "write-back stands still: {fact}");
        sleep(Duration::from_secs(1)).await;
    }
}

fn rush_config(args: &BridgeDemoArgs, url: &str, key: &str) -> Config {
    Config {
        buyers: args.buyers,
        arrivals: Arrivals::Burst { over: Duration::from_millis(500) },
        think_ms: 50..=1_000,
        abandon: 0.0,
        retry: Retry { every_ms: 400..=1_200, tries_max: None },
        deadline: PATIENCE,
        quantity: 1..=1,
        request_timeout: Duration::from_secs(20),
        ..Config::new(url, key, ORGANIZER, EVENT)
    }
}

fn table(outcome: &Outcome) -> String {
    let number = |name: &str| outcome.capture[name].to_string();
    let verdict = if outcome.is_right() { "both sides agree" } else { "SOMETHING IS WRONG" };
    let rows = [
        ("tickets", thousands(TICKETS)),
        ("sold by the engine", thousands(outcome.sold())),
        ("orders", thousands(outcome.rush.orders)),
        ("in the box office", thousands(outcome.there().unsigned_abs())),
        (
            "capture lag p50 / p99",
            format!("{} / {} ms", number("lag_ms_p50"), number("lag_ms_p99")),
        ),
        ("written back", format!("{} orders/s", thousands(outcome.per_second() as u64))),
        ("  behind at most", format!("{} records", thousands(outcome.behind_max))),
        ("differences", outcome.compared.differences().to_string()),
        ("all of it took", format!("{:.0} s", outcome.seconds)),
        ("verdict", verdict.to_owned()),
    ];
    rows.iter().map(|(name, value)| format!("  {name:<26} {value}\n")).collect::<String>()
}

fn to_json(outcome: &Outcome) -> Value {
    json!({
        "tickets": TICKETS,
        "sold_by_engine": outcome.sold(),
        "orders": outcome.rush.orders,
        "in_box_office": outcome.there(),
        "capture_lag_ms": {"p50": outcome.capture["lag_ms_p50"], "p99": outcome.capture["lag_ms_p99"]},
        "written_back_per_second": outcome.per_second(),
        "behind_records_max": outcome.behind_max,
        "differences": outcome.compared.differences(),
        "seconds": outcome.seconds,
    })
}
