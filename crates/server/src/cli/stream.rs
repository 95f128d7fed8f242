//! `onsale stream`: looks into the bus of a data folder or into another one, moves cursors, copies streams.

mod audit;
mod books;
mod cursors;
mod place;
mod relay;
mod remote;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use onsale_bus::{Bus, From, Limits, Position, Record, ShardId, StreamName};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, OK, complain, say};
use crate::output::Results;
use place::Place;
use remote::{KeyArg, Remote};

const EXIT_CODES: &str = "Exit codes:\n  \
    0  it went well\n  \
    1  what was asked for failed, or is not there\n  \
    2  the arguments make no sense; nothing was done\n\n\
    A place is a data folder, which a server must have open, http[s]://HOST:PORT of a server, seen with a key \
    (--key-file), redis[s]://HOST:PORT, or kinesis://REGION (with the \
    feature kinesis; AWS_ENDPOINT_URL and AWS' other variables count). The streams \
    of a data folder are `sales`, `catalogue` and `control`; what a program outside needs to know \
    of their records is in docs/events.md.";

/// Reads and copies streams of records.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = EXIT_CODES)]
pub enum StreamCommand {
    /// Lists the streams.
    #[command(after_help = EXIT_CODES)]
    List(AtPlace),
    /// Shows a stream's shards and their positions.
    #[command(after_help = EXIT_CODES)]
    Shards(OfStream),
    /// Prints records of a shard, a line each.
    #[command(after_help = EXIT_CODES)]
    Read(ReadArgs),
    /// Prints what comes from now on, of all shards, until it is stopped.
    #[command(after_help = EXIT_CODES)]
    Tail(OfStream),
    /// Lists the cursors that a data folder keeps, and how far each is behind.
    #[command(after_help = EXIT_CODES)]
    Cursors(cursors::CursorsArgs),
    /// Puts a cursor elsewhere.
    #[command(after_help = EXIT_CODES)]
    Reset(cursors::ResetArgs),
    /// Copies a stream to another place, from where it was left, in order per key.
    Relay(relay::RelayArgs),
    /// Proves that a copy of the sales is whole: its books, from its records alone.
    ///
    /// No record may be missing, each event's must be in order, nothing oversold, every ticket once, the
    /// money right. Its figures are those that `onsale journal audit` has for the same records; a record that is there twice,
    /// as it may be on Kinesis, counts once.
    #[command(after_help = EXIT_CODES)]
    Audit(OfStream),
    /// Lists records that were set aside, with the reason.
    #[command(after_help = EXIT_CODES)]
    Parked(cursors::ParkedArgs),
}

/// A place with streams.
#[derive(Clone, Debug, Args)]
pub struct AtPlace {
    /// A data folder or a URL.
    #[arg(long = "at", value_name = "PLACE", default_value = "onsale-data")]
    pub place: Place,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would hide the help of the arguments' own type"
    )]
    pub key: KeyArg,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

impl AtPlace {
    fn remote(&self) -> anyhow::Result<Option<Remote>> {
        self.place.remote(&self.key)
    }
}

/// A stream at a place.
#[derive(Clone, Debug, Args)]
pub struct OfStream {
    /// The stream.
    #[arg(default_value = "sales")]
    pub stream: StreamName,
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would hide the help of the arguments' own type"
    )]
    pub at: AtPlace,
}

/// Which records.
#[derive(Clone, Debug, Args)]
pub struct ReadArgs {
    #[command(flatten)]
    #[expect(
        missing_docs,
        reason = "a comment here would hide the help of the arguments' own type"
    )]
    pub of: OfStream,
    /// Of this shard.
    #[arg(long, value_name = "ID")]
    pub shard: ShardId,
    /// Only those after this position; left out: from the oldest one.
    #[arg(long, value_name = "POSITION")]
    pub after: Option<Position>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub limit: u64,
}

/// Runs one of them.
#[must_use]
pub fn run(command: &StreamCommand) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.context("no runtime").and_then(|runtime| runtime.block_on(start(command)));
    match done {
        Ok(()) => OK,
        Err(error) => complain(&error, FAILED),
    }
}

async fn start(command: &StreamCommand) -> anyhow::Result<()> {
    match command {
        StreamCommand::List(at) => list(at).await,
        StreamCommand::Shards(of) => shards(of).await,
        StreamCommand::Read(args) => read(args).await,
        StreamCommand::Tail(of) => tail(of).await,
        StreamCommand::Cursors(args) => cursors::list(args).await,
        StreamCommand::Reset(args) => cursors::reset(args).await,
        StreamCommand::Relay(args) => relay::run(args).await,
        StreamCommand::Audit(of) => audit::run(of).await,
        StreamCommand::Parked(args) => cursors::parked(args).await,
    }
}

async fn list(at: &AtPlace) -> anyhow::Result<()> {
    type Row = (String, usize, String);
    let rows: Vec<Row> = match at.remote()? {
        Some(remote) => remote.list()?,
        None => {
            let bus = at.place.open().await?;
            let mut rows = Vec::new();
            for stream in bus.streams().await? {
                let info = bus.describe(&stream).await?;
                rows.push((stream.to_string(), info.shards.len(), info.generation.0.to_string()));
            }
            rows
        }
    };
    if at.json {
        let row = |(stream, shards, generation): &Row| json!({"stream": stream, "shards": shards, "generation": generation});
        say(&json!({"streams": rows.iter().map(row).collect::<Vec<_>>()}).to_string());
        return Ok(());
    }
    for (stream, shards, generation) in rows {
        say(&format!("{:<24} {shards:>4} shards   generation {generation}", stream));
    }
    Ok(())
}

async fn shards(of: &OfStream) -> anyhow::Result<()> {
    let told = match of.at.remote()? {
        Some(remote) => remote.shards(&of.stream)?,
        None => {
            let info = of.at.place.open().await?.describe(&of.stream).await?;
            let shards: Vec<Value> = info.shards.iter().map(shard).collect();
            let generation = info.generation.0.to_string();
            json!({"stream": of.stream.as_str(), "generation": generation, "shards": shards})
        }
    };
    if of.at.json {
        say(&told.to_string());
        return Ok(());
    }
    for shard in told["shards"].as_array().into_iter().flatten() {
        let text = |name: &str| shard[name].as_str().unwrap_or("?");
        let ended = if shard["ended"] == true { "   ended" } else { "" };
        let number = |name: &str| text(name).parse::<u64>().ok();
        let kept = match (number("first"), number("last")) {
            (Some(first), Some(last)) if first > last => "empty".to_owned(),
            _ => format!("{} to {}", text("first"), text("last")),
        };
        say(&format!("{:<24} {kept}{ended}", text("shard")));
    }
    Ok(())
}

/// A shard as JSON.
fn shard(shard: &onsale_bus::ShardInfo) -> Value {
    json!({
        "shard": shard.id.as_str(),
        "parents": shard.parents.iter().map(ShardId::as_str).collect::<Vec<_>>(),
        "first": shard.first.to_string(),
        "last": shard.last.map(|last| last.to_string()),
        "ended": shard.ended,
    })
}

async fn read(args: &ReadArgs) -> anyhow::Result<()> {
    if let Some(remote) = args.of.at.remote()? {
        let json = args.of.at.json;
        return remote.read(&args.of.stream, &args.shard, args.after, args.limit, json);
    }
    let bus = args.of.at.place.open().await?;
    let mut from = args.after.map_or(From::Start, From::After);
    let mut left = usize::try_from(args.limit).unwrap_or(usize::MAX);
    while left > 0 {
        let limits = Limits { records: left.min(Limits::RECORDS_MAX), ..Limits::default() };
        let page = bus.read(&args.of.stream, &args.shard, from, limits).await?;
        if page.records.is_empty() {
            break;
        }
        left -= page.records.len();
        from = page.next;
        print(&args.shard, &page.records, args.of.at.json)?;
    }
    Ok(())
}

async fn tail(of: &OfStream) -> anyhow::Result<()> {
    if let Some(remote) = of.at.remote()? {
        let failures = remote.tail(&of.stream, of.at.json)?;
        let failed = tokio::task::spawn_blocking(move || failures.recv());
        return tokio::select! {
            failed = failed => Err(failed??),
            stopped = stopped() => {
                stopped?;
                // Threads that wait for a server end with the process.
                std::process::exit(OK.into());
            }
        };
    }
    let bus = of.at.place.open().await?;
    let info = bus.describe(&of.stream).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for shard in info.shards.into_iter().filter(|shard| !shard.ended) {
        // From the end that was told, so that nothing is missed until the first read.
        let from = shard.last.map_or(From::End, From::After);
        tasks.spawn(follow(bus.clone(), of.stream.clone(), shard.id, from, of.at.json));
    }
    tokio::select! {
        ended = tasks.join_next() => match ended {
            Some(ended) => ended?,
            None => Ok(()),
        },
        stopped = stopped() => stopped,
    }
}

/// Waits until somebody wants the program to end: SIGINT or SIGTERM.
async fn stopped() -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("no signals")?;
    tokio::select! {
        _ = term.recv() => Ok(()),
        stopped = tokio::signal::ctrl_c() => stopped.context("no signals"),
    }
}

async fn follow(
    bus: Bus,
    stream: StreamName,
    shard: ShardId,
    mut from: From,
    json: bool,
) -> anyhow::Result<()> {
    let limits = Limits { wait: Duration::from_secs(20), ..Limits::default() };
    loop {
        let page = bus.read(&stream, &shard, from, limits).await?;
        print(&shard, &page.records, json)?;
        from = page.next;
        if page.ended {
            return Ok(());
        }
    }
}

/// Prints records: the payload alone, or all of it as JSON.
fn print(shard: &ShardId, records: &[Record], json: bool) -> anyhow::Result<()> {
    let mut out = Results;
    for record in records {
        let payload = String::from_utf8_lossy(&record.payload);
        if !json {
            writeln!(out, "{payload}")?;
            continue;
        }
        let payload = serde_json::from_str(&payload).unwrap_or_else(|_| Value::from(&*payload));
        let line = json!({
            "shard": shard.as_str(),
            "position": record.position.to_string(),
            "key": String::from_utf8_lossy(&record.key),
            "written_at_us": record.written_at_us,
            "payload": payload,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints one line, at once.
fn write_line(line: &str) -> std::io::Result<()> {
    let mut out = Results;
    writeln!(out, "{line}")?;
    out.flush()
}
