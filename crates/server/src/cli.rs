//! The command line: one binary, commands by noun. `--help` is the manual.
//!
//! Exit codes are the same everywhere: 0 it went well; 1 the thing that was asked for
//! failed or found something wrong; 2 the arguments or files make no sense, and
//! nothing was done. Whoever closes the pipe of the results changes none of these; a full disk makes a 1 of a 0.

mod audit;
pub mod bench;
pub mod bridge;
mod check;
mod classic;
mod journal;
mod rebuild;
mod rush;
mod snapshot;
pub mod stream;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::bench::bare::BareArgs;
use crate::config::{self, Config, Flags};
use crate::import::command::ImportArgs;
use crate::keys::command::KeysCommand;
use crate::output::{self, remark, say};
use crate::shards::wall_time;
use crate::{import, keys, serve};

pub use audit::AuditArgs;
pub use bench::BenchArgs;
pub use check::CheckArgs;
pub use classic::ClassicArgs;
pub use journal::{BackupArgs, InspectArgs, RestoreArgs};
pub use rush::RushArgs;

/// Exit code: it went well.
pub const OK: u8 = 0;
/// Exit code: what was asked for failed, or found something wrong.
pub const FAILED: u8 = 1;
/// Exit code: the arguments or files make no sense; nothing was done.
pub const USAGE: u8 = 2;

const EXIT_CODES: &str = "Exit codes:\n  \
    0  it went well\n  \
    1  what was asked for failed, or found something wrong\n  \
    2  the arguments or files make no sense; nothing was done";

const EXAMPLES: &str = "Examples:\n  \
    onsale demo                                  sells 20,000 tickets to 50,000 buyers, and checks it\n  \
    onsale serve --data ./data                   starts to sell; prints the first key, once\n  \
    onsale import --url http://localhost:7070 --organizer river --key KEY catalogue.json\n  \
    onsale journal audit --data ./data           proves the books from the journal alone\n\n\
    Exit codes:\n  \
    0  it went well\n  \
    1  what was asked for failed, or found something wrong\n  \
    2  the arguments or files make no sense; nothing was done\n\
    They are the same where a reader closes the pipe of the results early (`| head`). Results that can't be written, \
    as on a full disk, are a failure.";

/// Sells tickets when everybody comes at once.
///
/// Onsale is a selling engine: it sets tickets aside, takes orders and payments, and
/// never sells one ticket twice, however many buyers come in the same second.
/// Everything it says is on the disk first.
#[derive(Debug, Parser)]
#[command(name = "onsale", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// How to write the log, on standard error; text on a terminal, else JSON, unless this is said
    #[arg(long, global = true, value_name = "FORM", env = "ONSALE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub enum Command {
    Serve(ServeArgs),
    Import(ImportArgs),
    Rush(Box<RushArgs>),
    Demo(DemoArgs),
    Classic(ClassicArgs),
    Bench(BenchArgs),
    #[command(name = "bench-bare", hide = true)]
    BenchBare(BareArgs),
    #[command(subcommand)]
    Journal(JournalCommand),
    #[command(subcommand)]
    Stream(stream::StreamCommand),
    #[command(subcommand)]
    Bridge(bridge::BridgeCommand),
    #[command(subcommand)]
    Config(ConfigCommand),
    #[command(subcommand, after_help = EXIT_CODES)]
    Keys(KeysCommand),
}

const SERVE_HELP: &str = "\
Every setting has a default, can stand in a TOML file (--config), in the environment \
(ONSALE_DATA, ONSALE_LIMITS_BODY_KIB, …) and, the most common ones, be a flag; the \
later of these counts. `onsale serve --print-config` prints the commented defaults.

At the first start with a folder a key is made that may do everything, and printed \
once to standard output; or hand one in by ONSALE_KEY. `onsale keys` makes more.

Buy a ticket, once an event is there (`onsale import`, or PUT …/events/EVENT):

  curl -s http://127.0.0.1:7070/v1/organizers/ORGANIZER/events/EVENT/orders \\
    -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' \\
    -d '{\"customer\":\"c-1\",\"items\":[{\"ticket_type\":\"TYPE\",\"quantity\":1}]}'

The whole API is described at /openapi.json. SIGTERM and SIGINT stop the server: it \
takes no new connections, answers the requests that are under way, makes everything \
durable and ends with 0.

Exit codes:
  0  it was told to stop, and did
  1  it could not start, or did not end cleanly
  2  the configuration makes no sense; every mistake is listed";

/// Serves the API: what `onsale` is for.
#[derive(Debug, Args)]
#[command(after_help = SERVE_HELP)]
pub struct ServeArgs {
    /// The data folder: journal and keys. Made where there is none [default: onsale-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Cores to work on, one pinned thread each [default: 1]
    #[arg(long, value_name = "N")]
    pub cores: Option<String>,
    /// Shards of a folder that is made; fixed from then on [default: 4]
    #[arg(long, value_name = "N")]
    pub shards: Option<String>,
    /// Size of the journal's files in MiB [default: 32]
    #[arg(long, value_name = "MIB")]
    pub segment_mib: Option<String>,
    /// Keeps the journal in a PostgreSQL instead of files: postgres://USER@HOST/NAME. A password is
    /// best handed in by ONSALE_JOURNAL_URL instead of this
    #[arg(long, value_name = "URL")]
    pub journal: Option<String>,
    /// With --journal: follows the active server, and takes its place when it is gone
    #[arg(long)]
    pub standby: bool,
    /// Keeps the sale in a Redis or Valkey, redis://HOST:PORT or rediss://HOST:PORT, from which any number of servers may sell
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints the commented default configuration and ends
    #[arg(long)]
    pub print_config: bool,
}

/// Works on a journal.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub enum JournalCommand {
    Audit(AuditArgs),
    Inspect(InspectArgs),
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Rebuild(rebuild::RebuildArgs),
    Snapshot(snapshot::SnapshotArgs),
}

/// Works on the configuration.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "a comment here would hide the help of the arguments' own types")]
pub enum ConfigCommand {
    Check(CheckArgs),
}

/// Shows it all: sells out a festival to a rush of buyers, and checks the result.
///
/// Imports the River Festival (20,000 tickets, free and paid), starts a server of
/// its own pinned to one core, lets 50,000 buyers in at once, one in five of whom
/// abandons a hold, until everything is sold; then audits the journal and prints
/// what happened. Leaves nothing behind.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes:\n  \
    0  sold out exactly: nothing oversold, nothing acknowledged lost, the audit is clean\n  \
    1  anything else\n  \
    2  the arguments make no sense"
)]
pub struct DemoArgs {
    /// Another one.
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
    /// How many want tickets, 30,000 at least: one in five abandons a hold, some give up, and 20,000 must be sold.
    #[arg(long, value_name = "N", default_value_t = 50_000,
        value_parser = clap::value_parser!(u64).range(30_000..=10_000_000))]
    pub buyers: u64,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    pub json: bool,
    /// Writes a report with charts to this file, a page of HTML that needs nothing else.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Keeps the data folder and says where it is.
    #[arg(long)]
    pub keep: bool,
}

/// Other demos.
#[derive(Clone, Debug, Subcommand)]
pub enum DemoCommand {
    /// Shows the bridge: an event of a box office with a database of its own is sold out by the engine, every order
    /// comes back into that database, and both sides are compared
    #[command(after_help = "Exit codes:\n  \
        0  every order is in the box office, and nothing differs\n  \
        1  anything else\n  \
        2  the arguments make no sense")]
    Bridge(BridgeDemoArgs),
}

/// `onsale demo bridge`
#[derive(Clone, Debug, Args)]
pub struct BridgeDemoArgs {
    /// How many want tickets, of 20,000.
    #[arg(long, value_name = "N", default_value_t = 50_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub buyers: u64,
    /// Prints one JSON object on the last line.
    #[arg(long)]
    pub json: bool,
    /// Keeps the folder with all that the three wrote, and says where it is.
    #[arg(long)]
    pub keep: bool,
}

/// Runs the program: reads the arguments and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let code = match Cli::try_parse() {
        Ok(Cli { command, log_format }) => {
            start_log(log_format);
            run(command)
        }
        Err(error) => explain(&error),
    };
    match output::end() {
        Ok(()) => ExitCode::from(code),
        Err(error) => ExitCode::from(complain(&anyhow::anyhow!(error), code.max(FAILED))),
    }
}

/// Prints help, which is a result, or what is wrong with the arguments; the exit code.
fn explain(error: &clap::Error) -> u8 {
    let to_stderr = error.use_stderr();
    match error.print() {
        // It is told at the end, as far as it is a result.
        Err(error) if !to_stderr => output::note(&error),
        _ => {}
    }
    if to_stderr { USAGE } else { OK }
}

fn run(command: Command) -> u8 {
    match command {
        Command::Serve(args) => serve_command(args),
        Command::Import(args) => {
            let (mut out, mut err) = (output::Told, std::io::stderr());
            let printed = import::command::run(&args, wall_time(), &mut out, &mut err);
            printed.unwrap_or(FAILED)
        }
        Command::Rush(args) => rush::run(&args),
        Command::Demo(args) => crate::demo::run(&args),
        Command::Classic(args) => classic::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchBare(args) => crate::bench::bare::run(&args),
        Command::Journal(JournalCommand::Audit(args)) => audit::run(&args),
        Command::Journal(JournalCommand::Inspect(args)) => journal::inspect(&args),
        Command::Journal(JournalCommand::Backup(args)) => journal::back_up(&args),
        Command::Journal(JournalCommand::Restore(args)) => journal::restore(&args),
        Command::Journal(JournalCommand::Rebuild(args)) => rebuild::run(&args),
        Command::Journal(JournalCommand::Snapshot(args)) => snapshot::run(&args),
        Command::Stream(command) => stream::run(&command),
        Command::Bridge(command) => bridge::run(&command),
        Command::Config(ConfigCommand::Check(args)) => check::run(&args),
        Command::Keys(command) => match keys::command::run(command, wall_time(), &output::show) {
            Ok(text) => {
                text.iter().for_each(|text| say(text));
                OK
            }
            Err(error) => complain(&error, FAILED),
        },
    }
}

fn serve_command(args: ServeArgs) -> u8 {
    if args.print_config {
        say(config::DEFAULTS.trim_end());
        return OK;
    }
    let ServeArgs { data, listen, cores, shards, segment_mib, journal, standby, store, .. } = args;
    let flags = Flags { data, listen, cores, shards, segment_mib, journal, standby, store };
    let file = args.config;
    let config = match Config::load(file.as_deref(), &flags) {
        Ok(config) => config,
        Err(error) => return complain(&error.into(), USAGE),
    };
    for name in config::environment::ignored() {
        tracing::warn!("{name} is no setting: it is ignored");
    }
    match serve::run(&config) {
        Ok(()) => OK,
        Err(error) => complain(&error, FAILED),
    }
}

/// Whether a report can be written to this file, so that nobody waits for one in vain.
///
/// # Errors
/// Names the option, the file and why.
pub fn check_page(file: Option<&Path>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let was_there = file.exists();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).with_context(|| format!("--report: {}", file.display()))?;
    if !was_there {
        // Nothing to report may come of it.
        std::fs::remove_file(file).with_context(|| format!("--report: {}", file.display()))?;
    }
    Ok(())
}

/// Writes a report.
///
/// # Errors
/// Names the option, the file and why.
pub fn write_page(file: &Path, page: &str) -> anyhow::Result<()> {
    std::fs::write(file, page).with_context(|| format!("--report: {}", file.display()))
}

/// Prints what went wrong, with its causes, and gives the code back.
fn complain(error: &anyhow::Error, code: u8) -> u8 {
    match output::of_results(error) {
        // The reader has had enough.
        Some(true) => OK,
        // It is told at the end.
        Some(false) => FAILED,
        None => {
            remark(&format!("onsale: {}", with_causes(error)));
            code
        }
    }
}

/// An error with its causes; what its own words end with already is not said again.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        match text.as_str() {
            "" => text = cause,
            said if said.ends_with(&cause) => {}
            _ => text += &format!(": {cause}"),
        }
    }
    text
}

/// Logs to standard error: as text on a terminal, else as JSON, unless a form is said. `RUST_LOG` says how much.
fn start_log(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It would say so on standard error, and panic where that is what is broken.
    let log = log.log_internal_errors(false);
    let on_terminal = std::io::stderr().is_terminal();
    match format.unwrap_or(if on_terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => log.with_target(false).with_ansi(on_terminal).init(),
        LogFormat::Json => log.json().init(),
    }
}
