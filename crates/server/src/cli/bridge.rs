//! `onsale bridge`: ties Onsale to a ticket platform that was there before.

mod dialect;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use onsale_bridge::Error;
use onsale_bridge::attach::{self, Plan};
use onsale_bridge::capture::Parts;
use onsale_bridge::database::{Database, check_url};
use onsale_bridge::dialect::Dialect;
use onsale_bridge::engine::Engine;
use onsale_bridge::run::{Options, context};
use onsale_bridge::state::State;

use super::{FAILED, OK, USAGE, complain, remark, say};

const EXIT_CODES: &str = "Exit codes:\n  \
    0  it went well\n  \
    1  it was refused, with the way out, or found something to look after\n  \
    2  the arguments make no sense; nothing was done";

const RECONCILE_CODES: &str = "Exit codes:\n  \
    0  nothing differs\n  \
    1  something differs, or a side can't be read\n  \
    2  the arguments make no sense; nothing was done";

/// From how many orders on `retry` says on standard error how far it is.
const TOLD_FROM: usize = 500;

/// Ties Onsale to a ticket platform that was there before, without changing it.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:\n  \
    onsale bridge attach --dialect classic --db box-office.db --dry-run   says what it would add\n  \
    onsale bridge run --dialect classic --db box-office.db --engine http://localhost:7070 --key KEY\n  \
    onsale bridge take river/festival --dialect classic --db box-office.db --key KEY\n\n\
    docs/bridge.md tells it all; docs/dialects.md how to teach it another platform.")]
pub enum BridgeCommand {
    /// Adds to the platform's database what the bridge needs; says what, first.
    #[command(after_help = EXIT_CODES)]
    Attach(AttachArgs),
    /// Brings changes from the platform to the engine, and sales from the engine to the platform, until it is stopped.
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// Makes all that is left of an event the engine's to sell; safe to repeat.
    #[command(after_help = EXIT_CODES)]
    Take(TakeArgs),
    /// Compares both sides, per quota and per order, and says of each difference what likely caused it.
    #[command(after_help = RECONCILE_CODES)]
    Reconcile(ReconcileArgs),
    /// Has orders tried again that are set aside, whichever way they were to go.
    #[command(after_help = EXIT_CODES)]
    Retry(RetryArgs),
    /// Says how the bridge is: lag, alarms, what was set aside.
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Takes away all that attach added.
    #[command(after_help = EXIT_CODES)]
    Detach(DetachArgs),
    /// Works on dialects, which teach the bridge one platform each.
    #[command(subcommand)]
    Dialect(dialect::DialectCommand),
}

/// The platform.
#[derive(Clone, Debug, Args)]
pub struct Platform {
    /// One that comes with Onsale (classic, pretix), or a folder
    #[arg(long, value_name = "NAME|FOLDER", env = "ONSALE_BRIDGE_DIALECT")]
    pub dialect: String,
    /// The platform's database: a file of SQLite, or postgres://USER:PASSWORD@HOST:PORT/NAME
    #[arg(long, value_name = "URL", env = "ONSALE_BRIDGE_DB", hide_env_values = true)]
    pub db: String,
}

/// The engine.
#[derive(Clone, Debug, Args)]
pub struct AtEngine {
    /// The server of the engine
    #[arg(
        long,
        value_name = "URL",
        env = "ONSALE_BRIDGE_ENGINE",
        default_value = "http://127.0.0.1:7070"
    )]
    pub engine: String,
    /// A key of it with the scope `manage`
    #[arg(long, value_name = "KEY", env = "ONSALE_BRIDGE_KEY", hide_env_values = true)]
    pub key: String,
}

/// The bridge's own folder.
#[derive(Clone, Debug, Args)]
pub struct InFolder {
    /// The bridge's own folder; `bridge run` makes it
    #[arg(
        long,
        value_name = "FOLDER",
        env = "ONSALE_BRIDGE_STATE",
        default_value = "onsale-bridge"
    )]
    pub state: PathBuf,
}

impl InFolder {
    /// Of a bridge that has worked: for commands that would say nothing true of an empty one.
    fn there(&self) -> Result<State, Error> {
        State::open_there(&self.state)
    }
}

/// `onsale bridge attach`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct AttachArgs {
    #[command(flatten)]
    pub platform: Platform,
    #[command(flatten)]
    pub folder: InFolder,
    /// Says what it would add, and does nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Takes another database server, or one that failed over, for the right one from now on
    #[arg(long)]
    pub again: bool,
}

/// `onsale bridge run`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct RunArgs {
    #[command(flatten)]
    pub platform: Platform,
    #[command(flatten)]
    pub engine: AtEngine,
    #[command(flatten)]
    pub folder: InFolder,
    #[command(flatten)]
    pub api: AtPlatform,
    /// Orders a second that are written into the platform at most; left out: as many as it takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Goes on where the engine's log is another one than before; see what differs first
    #[arg(long)]
    pub other_log: bool,
    /// How often both sides are compared, in seconds; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub reconcile_seconds: u64,
}

/// The platform's API.
#[derive(Clone, Debug, Default, Args)]
pub struct AtPlatform {
    /// Where the platform's API is, for a dialect that writes back by one
    #[arg(long, value_name = "URL", env = "ONSALE_BRIDGE_PLATFORM")]
    pub platform: Option<String>,
    /// The key to it
    #[arg(
        long,
        value_name = "KEY",
        env = "ONSALE_BRIDGE_PLATFORM_SECRET",
        hide_env_values = true,
        default_value = ""
    )]
    pub platform_secret: String,
}

impl AtPlatform {
    fn platform(&self) -> Option<onsale_bridge::write_back::api::Platform> {
        let url = self.platform.clone()?;
        let secret = self.platform_secret.clone();
        Some(onsale_bridge::write_back::api::Platform { url, secret })
    }
}

/// `onsale bridge reconcile`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct ReconcileArgs {
    /// The event, as ORGANIZER/EVENT; left out: all
    #[arg(value_name = "EVENT")]
    pub event: Option<String>,
    #[command(flatten)]
    pub at: Platform,
    #[command(flatten)]
    pub engine: AtEngine,
    #[command(flatten)]
    pub folder: InFolder,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `onsale bridge retry`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct RetryArgs {
    /// The order's code; left out: all that are set aside
    #[arg(value_name = "ORDER")]
    pub order: Option<String>,
    #[command(flatten)]
    pub at: Platform,
    #[command(flatten)]
    pub engine: AtEngine,
    #[command(flatten)]
    pub folder: InFolder,
    #[command(flatten)]
    pub api: AtPlatform,
}

/// `onsale bridge take`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct TakeArgs {
    /// The event, as ORGANIZER/EVENT
    #[arg(value_name = "EVENT")]
    pub event: String,
    #[command(flatten)]
    pub with: RunArgs,
}

/// `onsale bridge status`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct StatusArgs {
    #[command(flatten)]
    pub folder: InFolder,
    /// The server of the engine, to show what it refused
    #[arg(long, value_name = "URL", env = "ONSALE_BRIDGE_ENGINE", requires = "key")]
    pub engine: Option<String>,
    /// A key of it with the scope `manage`
    #[arg(long, value_name = "KEY", env = "ONSALE_BRIDGE_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `onsale bridge detach`
#[derive(Clone, Debug, Args)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub struct DetachArgs {
    #[command(flatten)]
    pub platform: Platform,
    /// Also where the engine has stock of the platform, which stays set aside there
    #[arg(long)]
    pub force: bool,
}

impl BridgeCommand {
    /// The platform's database, if it is about one.
    fn db(&self) -> Option<&str> {
        match self {
            BridgeCommand::Attach(AttachArgs { platform, .. })
            | BridgeCommand::Run(RunArgs { platform, .. })
            | BridgeCommand::Take(TakeArgs { with: RunArgs { platform, .. }, .. })
            | BridgeCommand::Detach(DetachArgs { platform, .. })
            | BridgeCommand::Reconcile(ReconcileArgs { at: platform, .. })
            | BridgeCommand::Retry(RetryArgs { at: platform, .. }) => Some(&platform.db),
            BridgeCommand::Dialect(command) => command.db(),
            BridgeCommand::Status(_) => None,
        }
    }
}

/// Runs one of them.
#[must_use]
pub fn run(command: &BridgeCommand) -> u8 {
    // Before anything is made: later it would be waited for, as for one that is busy.
    if let Some(Err(error)) = command.db().map(check_url) {
        return complain(&error.into(), USAGE);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into(), FAILED),
    };
    let done = runtime.block_on(async {
        match command {
            BridgeCommand::Attach(args) => attach_command(args).await,
            BridgeCommand::Run(args) => run_command(args).await,
            BridgeCommand::Take(args) => take_command(args).await,
            BridgeCommand::Reconcile(args) => reconcile_command(args).await,
            BridgeCommand::Retry(args) => retry_command(args).await,
            BridgeCommand::Status(args) => status_command(args).await,
            BridgeCommand::Detach(args) => detach_command(args).await,
            BridgeCommand::Dialect(command) => dialect::run(command).await,
        }
    });
    match done {
        Ok(code) => code,
        Err(error @ Error::Dialect { .. }) => complain(&error.into(), USAGE),
        Err(error) => complain(&error.into(), FAILED),
    }
}

async fn attach_command(args: &AttachArgs) -> Result<u8, Error> {
    let dialect = Dialect::load(&args.platform.dialect)?;
    let mut db = Database::open(&args.platform.db).await?;
    let plan = attach::plan(&dialect, &mut db).await?;
    say(&told(&plan));
    if let Some(hindrance) = plan.hindrances.first() {
        return Err(hindrance.clone());
    }
    if args.dry_run {
        say("Nothing was done (--dry-run).");
        return Ok(OK);
    }
    attach::attach(&dialect, &mut db).await?;
    if args.again {
        let state = State::open(&args.folder.state)?;
        for fact in ["database", "timeline", "alarm:failover"] {
            state.set_fact(fact, None)?;
        }
    }
    say(
        "Attached. `onsale bridge run` brings changes over; `onsale bridge detach` takes all of this away.",
    );
    Ok(OK)
}

/// What attaching comes to, for people.
fn told(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for step in &plan.steps {
        let word = if step.is_right { "there" } else { "adds " };
        lines.push(format!("{word}  {}", step.what));
        if !step.is_right {
            lines.push(format!("       {}", step.sql));
        }
    }
    lines.extend(plan.rights.iter().map(|right| format!("needs  {right}")));
    lines.extend(plan.advice.iter().map(|advice| format!("think  {advice}")));
    lines.extend(plan.hindrances.iter().skip(1).map(|hindrance| format!("stop   {hindrance}")));
    lines.join("\n")
}

fn parts(platform: &Platform, engine: &AtEngine, state: State) -> Result<Parts, Error> {
    Ok(Parts {
        dialect: Arc::new(Dialect::load(&platform.dialect)?),
        url: platform.db.clone(),
        engine: Engine::new(&engine.engine, &engine.key)?,
        state: Arc::new(state),
    })
}

async fn reconcile_command(args: &ReconcileArgs) -> Result<u8, Error> {
    let parts = parts(&args.at, &args.engine, args.folder.there()?)?;
    let context = context(&parts, &Options::default());
    let report = onsale_bridge::reconcile::reconcile(&context, args.event.as_deref()).await;
    // One event says nothing of the others.
    if args.event.is_none() {
        onsale_bridge::run::note_compared(&parts.state, &report)?;
    }
    let report = report?;
    let json = || serde_json::to_string(&report).expect("a report can be written");
    say(&if args.json { json() } else { report.text() });
    Ok(if report.is_clean() { OK } else { FAILED })
}

async fn retry_command(args: &RetryArgs) -> Result<u8, Error> {
    let parts = parts(&args.at, &args.engine, args.folder.there()?)?;
    let options = Options { platform: args.api.platform(), ..Options::default() };
    let context = context(&parts, &options);
    let order = args.order.as_deref();
    let (agreed, mut left) = onsale_bridge::capture::orders::retry(&parts, order).await?;
    let told = |done, all| {
        if all >= TOLD_FROM {
            remark(&format!("{done} of {all} orders tried again"));
        }
    };
    let retried = onsale_bridge::write_back::retry(&context, order, told).await?;
    left.extend(retried.left);
    // One verdict of each order.
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (order, why) in &left {
        reasons.entry(order).or_default().push(why);
    }
    let settled: BTreeSet<&String> = agreed.iter().chain(&retried.settled).collect();
    let is_left = |order: &&String| reasons.contains_key(order.as_str());
    let written: BTreeSet<&String> = retried.written.iter().collect();
    for order in settled.difference(&written).filter(|order| !is_left(order)) {
        say(&format!("{order} is settled: both sides agree on it"));
    }
    for order in retried.written.iter().filter(|order| !is_left(order)) {
        say(&format!("{order} is written back"));
    }
    for order in &retried.passed_over {
        say(&format!("{order} is passed over: its event is not one of this platform"));
    }
    for (order, why) in &reasons {
        say(&format!("{order} stays aside: {}", why.join("; ")));
    }
    let is_none = settled.is_empty()
        && retried.written.is_empty()
        && retried.passed_over.is_empty()
        && left.is_empty();
    if args.order.is_none() && is_none {
        say(match parts.state.parked()?.is_empty() {
            true => "nothing is set aside",
            false => {
                "no order is set aside; what else is, as `onsale bridge status` shows, goes through by itself once it is put right"
            }
        });
    }
    if let Some(order) = &args.order
        && is_none
    {
        let why = format!("{order} is not set aside");
        return Err(Error::refused(why, "`onsale bridge status` lists those that are."));
    }
    Ok(if left.is_empty() { OK } else { FAILED })
}

async fn run_command(args: &RunArgs) -> Result<u8, Error> {
    let parts = parts(&args.platform, &args.engine, State::open(&args.folder.state)?)?;
    let every = std::time::Duration::from_secs(args.reconcile_seconds);
    let options = Options {
        platform: args.api.platform(),
        rate: args.rate,
        other_log: args.other_log,
        reconcile_every: (args.reconcile_seconds > 0).then_some(every),
    };
    let stopped = async {
        let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = asked.recv() => Ok(()),
            stopped = tokio::signal::ctrl_c() => stopped,
        }
    };
    tokio::select! {
        done = onsale_bridge::run::run(parts, options) => done.map(|()| OK),
        _ = stopped => Ok(OK),
    }
}

async fn take_command(args: &TakeArgs) -> Result<u8, Error> {
    // It may come before the bridge has made its file.
    let state = State::open(&args.with.folder.state)?;
    let parts = parts(&args.with.platform, &args.with.engine, state)?;
    let platform = args.with.api.platform();
    let done = onsale_bridge::take::take_by(&parts, platform.as_ref(), &args.event, |_| Ok(()));
    let taken = done.await?;
    for (quota, amount) in &taken.quotas {
        say(&format!("{amount} of the quota {quota} are the engine's to sell"));
    }
    Ok(OK)
}

async fn status_command(args: &StatusArgs) -> Result<u8, Error> {
    let state = args.folder.there()?;
    let engine = match (&args.engine, &args.key) {
        (Some(url), Some(key)) => Some(Engine::new(url, key)?),
        _ => None,
    };
    let status = onsale_bridge::status::status(&state, engine.as_ref()).await?;
    say(&if args.json { status.json.to_string() } else { status.text().trim_end().to_owned() });
    Ok(if status.is_fine() { OK } else { FAILED })
}

async fn detach_command(args: &DetachArgs) -> Result<u8, Error> {
    let dialect = Dialect::load(&args.platform.dialect)?;
    let mut db = Database::open(&args.platform.db).await?;
    for step in attach::detach(&dialect, &mut db, args.force).await? {
        say(&format!("took away {}", step.what));
    }
    say("Detached: nothing of the bridge is left in this database.");
    Ok(OK)
}
