//! `onsale bench`: its arguments, and what becomes of what is found.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::{FAILED, OK, USAGE, complain, say};
use crate::bench::report::{Heading, Row, rewrite, to_json, to_text};
use crate::bench::{self, Settings, plot};

/// What `holds` measures.
pub const HOLDS_ABOUT: &str = "one durable hold per HTTP/JSON request";
/// What `batch` measures.
pub const BATCH_ABOUT: &str = "durable holds through the batch call";
/// What `engine` measures.
pub const ENGINE_ABOUT: &str =
    "one shard without the network: decided, journalled and synced a thousand at a time";
/// What `core` measures.
pub const CORE_ABOUT: &str = "the rules and the wire form alone, without a disk";
/// What `recovery` measures.
pub const RECOVERY_ABOUT: &str = "coming back from the journal";
/// What `memory` measures.
pub const MEMORY_ABOUT: &str = "what live things cost in memory";
/// What `growth` measures.
pub const GROWTH_ABOUT: &str = "how costs go with events, sales, due holds and a day's length";
/// What `bus` measures.
pub const BUS_ABOUT: &str = "streams on files, their readers, and the relay to Redis";
/// What `redis` measures.
pub const REDIS_ABOUT: &str = "holds with the sale in Redis, beside its own function asked plainly";

/// What `postgres` measures.
pub const POSTGRES_ABOUT: &str = "one durable hold per request with the journal in a PostgreSQL";
/// What `bridge` measures.
pub const BRIDGE_ABOUT: &str =
    "a platform beside the engine: write-back, capture, and what they cost it";

/// A row of the benchmarks, or all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
#[expect(missing_docs, reason = "what a row measures is said once, in its help")]
pub enum Which {
    #[value(help = HOLDS_ABOUT)]
    Holds,
    #[value(help = BATCH_ABOUT)]
    Batch,
    #[value(help = ENGINE_ABOUT)]
    Engine,
    #[value(help = CORE_ABOUT)]
    Core,
    #[value(help = RECOVERY_ABOUT)]
    Recovery,
    #[value(help = MEMORY_ABOUT)]
    Memory,
    #[value(help = GROWTH_ABOUT)]
    Growth,
    #[value(help = BUS_ABOUT)]
    Bus,
    #[value(help = POSTGRES_ABOUT)]
    Postgres,
    #[value(help = REDIS_ABOUT)]
    Redis,
    #[value(help = BRIDGE_ABOUT)]
    Bridge,
    /// Every row, one after the other
    All,
}

/// Measures the product beside its limits, in one run.
///
/// Each figure stands beside what the same machine can do with the same bytes and
/// without the product: both are measured in turn (A B B A …), in processes and folders of
/// their own. The ratio is the median of the pairs' ratios, with the interval in which it
/// lies with 95 % confidence from six pairs on (least and most below that).
///
/// Over HTTP, the server is pinned to one core and the load generator to another, whose use of
/// it is printed: above 90 % it measures itself. Journals are written below the temporary
/// folder (TMPDIR), which should be on the disk in question. Nothing is left behind.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  \
    onsale bench                          every row; some ten minutes\n  \
    onsale bench holds --pairs 20         small differences need many pairs\n  \
    onsale bench growth --plots docs/plots --markdown docs/performance.md\n\n\
    Exit codes:\n  \
    0  it was measured, whatever was found\n  \
    1  it could not be measured, or a side did something else than was asked of it\n  \
    2  the arguments make no sense")]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum, default_values_t = [Which::All], value_name = "ROW")]
    pub rows: Vec<Which>,
    /// Pairs of measurements, limit and product in turn.
    #[arg(long, value_name = "N", default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub pairs: u16,
    /// Few and short measurements: to see that it works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// The simulated day's length in `growth`, as a share of a real one, 0 to 1. At 1 it makes
    /// 86,400,000 sales and takes some 20 GB of disk.
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = share)]
    pub scale: f64,
    /// A PostgreSQL for the rows `postgres` and `bridge` (there with wal_level = logical),
    /// postgres://USER@HOST/NAME, whose user may make databases. On another core than the first, where the
    /// server is, if it is on this machine.
    #[arg(long, value_name = "URL", env = "ONSALE_BENCH_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// A Markdown file in which each row's figures are put between their markers.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// A folder for the plots of `growth`, as SVG.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    match share > 0.0 && share <= 1.0 {
        true => Ok(share),
        false => Err("must be above 0 and at most 1".to_owned()),
    }
}

/// Measures; returns the exit code.
pub fn run(args: &BenchArgs) -> u8 {
    if let Err(error) = check_files(args) {
        return complain(&error, USAGE);
    }
    let (rows, failures) = measure(args);
    let told = tell(args, &rows);
    for error in failures.iter().chain(told.as_ref().err()) {
        complain(error, FAILED);
    }
    if failures.is_empty() && told.is_ok() { OK } else { FAILED }
}

/// What would only fail after minutes should fail at once.
fn check_files(args: &BenchArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.markdown {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let rows: Vec<Row> =
            bench::chosen(&args.rows).map(|(name, _)| Row::new(name, "")).collect();
        rewrite(&text, &rows, &heading(args)).with_context(|| file.display().to_string())?;
    }
    if let Some(folder) = &args.plots
        && !folder.is_dir()
    {
        bail!("{} is no folder", folder.display());
    }
    Ok(())
}

/// Measures all rows that are meant; one that can't be does not keep the others from it.
fn measure(args: &BenchArgs) -> (Vec<Row>, Vec<anyhow::Error>) {
    let mut settings = Settings::new(usize::from(args.pairs), args.quick, args.scale);
    settings.database.clone_from(&args.database);
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    for (name, row) in bench::chosen(&args.rows) {
        match row(&settings) {
            Ok(row) => rows.push(row),
            Err(error) => failures.push(error.context(format!("the row {name}"))),
        }
    }
    (rows, failures)
}

/// Prints what was found, and writes it where it was asked for.
fn tell(args: &BenchArgs, rows: &[Row]) -> anyhow::Result<()> {
    let heading = heading(args);
    match args.json {
        true => say(&to_json(rows, &heading).to_string()),
        false => say(to_text(rows).trim_end()),
    }
    if let Some(file) = &args.markdown {
        let text = std::fs::read_to_string(file)?;
        std::fs::write(file, rewrite(&text, rows, &heading)?)?;
    }
    if let Some(folder) = &args.plots {
        for table in rows.iter().flat_map(|row| &row.tables) {
            let file = folder.join(table.plot).with_extension("svg");
            std::fs::write(&file, plot::svg(table)).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

fn heading(args: &BenchArgs) -> Heading {
    let mut command = "onsale bench".to_owned();
    for row in args.rows.iter().filter(|row| **row != Which::All) {
        let value = row.to_possible_value().expect("no row is hidden");
        command += &format!(" {}", value.get_name());
    }
    command += &format!(" --pairs {}", args.pairs);
    if args.quick {
        command += " --quick";
    }
    if bench::chosen(&args.rows).any(|(name, _)| name == "growth") {
        command += &format!(" --scale {}", args.scale);
    }
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    Heading { command, date, machine: bench::machine() }
}
