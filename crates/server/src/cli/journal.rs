//! `onsale journal inspect`, `backup` and `restore`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{FAILED, OK, USAGE, complain, remark, say};
use crate::backup::restore::{Restored, Wanted};
use crate::catalogue::{time_from_text, time_to_text};
use crate::output::{self, Results};
use crate::{backup, inspect, rows};

/// Shows what the journals of a data folder hold.
///
/// Reads every file, checks every checksum, and says what a start would not read; a server may be at work on the folder. With
/// `--records` it prints records instead, as JSON, a line each, in the form of the stream
/// `sales`, ticket codes left out.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  it was read, and a start would read all of it\n  \
    1  something is damaged or missing, marked by WRONG; or it is no data folder\n  \
    2  the arguments make no sense\n\n\
    \"no whole batch\" alone is normal where a segment in use ends: one that is being written, or was \
    not finished when the machine stopped.")]
pub struct InspectArgs {
    /// The data folder, or a backup; or postgres://…, the database that the journal is in.
    pub data: PathBuf,
    /// Where sealed segments are archived.
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,
    /// Prints these records of --shard: one position, or first..last, or first.. to the end.
    #[arg(long, value_name = "FROM[..TO]", value_parser = range, requires = "shard")]
    pub records: Option<(u64, u64)>,
    /// Whose records.
    #[arg(long, value_name = "N", requires = "records")]
    pub shard: Option<u16>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Copies a data folder while it sells.
///
/// Nothing is locked and the server is not asked: its files are read up to the last whole batch. A target
/// that holds an earlier backup of the same folder is only added to. Everything copied is synced, read back, and
/// every checksum of the whole backup is checked. A backup holds the secret behind all codes: keep it as safe as the folder.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  the backup is whole\n  \
    1  it could not be made, or what is there is damaged\n  \
    2  the arguments make no sense")]
pub struct BackupArgs {
    /// The data folder.
    pub data: PathBuf,
    /// Where the backup is, or shall be made.
    pub target: PathBuf,
    /// Where the server archives sealed segments, if it does.
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Makes a data folder of a backup, up to any position.
///
/// The new folder goes on in a higher generation, so that no code of an order or a ticket is ever issued
/// again; the backup notes which. What the old folder sold after the backup was made is not in it: tell it
/// --replaces, or --generation, if that folder may have been restored from another backup or raised its
/// generation by itself.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  the folder is whole: `onsale serve` can start with it\n  \
    1  the backup is damaged, or the folder could not be made\n  \
    2  the arguments make no sense")]
pub struct RestoreArgs {
    /// The backup.
    pub backup: PathBuf,
    /// The folder to make; must not exist, or be empty.
    pub data: PathBuf,
    /// The last position to keep of a shard; may be said once per shard. Of the others all is kept.
    #[arg(long, value_name = "SHARD=POSITION", value_parser = shard_position)]
    pub to_position: Vec<(u16, u64)>,
    /// Keeps nothing that happened later, RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to_time: Option<onsale_core::Time>,
    /// What is left of the folder that this one takes the place of; its generation is gone beyond.
    #[arg(long, value_name = "DIR")]
    pub replaces: Option<PathBuf>,
    /// The new generation [default: one above all that the backup knows of]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=127))]
    pub generation: Option<u32>,
    /// Takes no API keys over: the first start makes a new one, which may do everything, and prints it.
    #[arg(long)]
    pub without_keys: bool,
    /// Size of the journal's files in MiB
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    pub segment_mib: u64,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (from, to) = match text.split_once("..") {
        None => (number(text)?, number(text)?),
        Some((from, "")) => (number(from)?, u64::MAX),
        Some((from, to)) => (number(from)?, number(to)?),
    };
    match from > 0 && from <= to {
        true => Ok((from, to)),
        false => Err("positions begin at 1, and the first comes first".to_owned()),
    }
}

fn shard_position(text: &str) -> Result<(u16, u64), String> {
    let (shard, position) = text.split_once('=').ok_or("must be SHARD=POSITION")?;
    let shard = shard.parse().map_err(|error| format!("{shard:?}: {error}"))?;
    Ok((shard, position.parse().map_err(|error| format!("{position:?}: {error}"))?))
}

fn time(text: &str) -> Result<onsale_core::Time, String> {
    time_from_text(text).ok_or_else(|| "must be as in 2026-11-24T18:00:00Z".to_owned())
}

/// A bar on a terminal, nothing elsewhere.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::new_spinner().with_style(style)
}

const BYTES_BAR: &str = "{spinner} {bytes} ({bytes_per_sec})";

/// Inspects; returns the exit code.
pub fn inspect(args: &InspectArgs) -> u8 {
    if let Some(url) = rows::look::url(&args.data) {
        return match inspect_rows(url, args) {
            Ok(true) => OK,
            Ok(false) => FAILED,
            Err(error) => complain(&error, FAILED),
        };
    }
    let archive = args.archive.as_deref();
    if let (Some(range), Some(shard)) = (args.records, args.shard) {
        let out = &mut std::io::BufWriter::new(Results);
        return match inspect::records(&args.data, archive, shard, range, out) {
            Ok(()) => OK,
            Err(error) => complain(&error, FAILED),
        };
    }
    let bar = bar(BYTES_BAR);
    match inspect::inspect(&args.data, archive, &mut |bytes| bar.inc(bytes)) {
        Ok(found) => {
            bar.finish_and_clear();
            match args.json {
                true => say(&found.to_json().to_string()),
                false => say(&found.to_text()),
            }
            if found.is_right() { OK } else { FAILED }
        }
        Err(error) => complain(&error, FAILED),
    }
}

/// The same for a log in a database; whether nothing is wrong.
fn inspect_rows(url: &str, args: &InspectArgs) -> anyhow::Result<bool> {
    let mut log = rows::look::Log::open(url)?;
    if let (Some(range), Some(shard)) = (args.records, args.shard) {
        let id = log.identity.log;
        let out = &mut std::io::BufWriter::new(Results);
        let show = |position, event: &_| inspect::show(id, shard, position, event);
        return log.records(shard, range, &show, out).map(|()| true);
    }
    log.check()?;
    match args.json {
        true => say(&log.to_json().to_string()),
        false => say(&log.to_text()),
    }
    Ok(log.is_right())
}

/// Backs up; returns the exit code.
pub fn back_up(args: &BackupArgs) -> u8 {
    let bar = bar(BYTES_BAR);
    let archive = args.archive.as_deref();
    let done = backup::back_up(&args.data, archive, &args.target, &mut |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    match done {
        Err(error) => complain(&error, FAILED),
        Ok(done) if args.json => {
            let copied = done.copied_bytes;
            say(&serde_json::json!({ "copied_bytes": copied, "backup": done.manifest }).to_string());
            OK
        }
        Ok(done) => {
            for (shard, saved) in done.manifest.shards.iter().enumerate() {
                let backup::SavedShard { last_position, last_at, .. } = saved;
                say(&format!("shard {shard}: up to position {last_position}, of {last_at}"));
            }
            say(&format!(
                "{} bytes were copied; all of it was read back and is right",
                done.copied_bytes
            ));
            OK
        }
    }
}

/// Restores; returns the exit code.
pub fn restore(args: &RestoreArgs) -> u8 {
    let to_position: BTreeMap<u16, u64> = args.to_position.iter().copied().collect();
    if to_position.len() < args.to_position.len() {
        return complain(&anyhow::anyhow!("--to-position names a shard twice"), USAGE);
    }
    let wanted = Wanted {
        to_position,
        to_time: args.to_time,
        generation: args.generation,
        replaces: args.replaces.clone(),
        without_keys: args.without_keys,
        segment_bytes: args.segment_mib << 20,
    };
    let bar = bar("{spinner} {human_pos} records ({per_sec})");
    let restored = backup::restore::restore(&args.backup, &args.data, &wanted, &mut |n| bar.inc(n));
    bar.finish_and_clear();
    match restored {
        Ok(restored) => {
            say(&told(&restored));
            if output::end().is_err() {
                let (data, generation) = (args.data.display(), restored.generation);
                remark(&format!(
                    "onsale: {data} was made all the same, in generation {generation}: it is whole"
                ));
            }
            OK
        }
        Err(error) => complain(&error, FAILED),
    }
}

/// What was restored, and what was cut.
fn told(restored: &Restored) -> String {
    let mut lines = Vec::new();
    for (number, shard) in restored.shards.iter().enumerate() {
        let cut = match shard.cut {
            None => "all of the backup".to_owned(),
            Some((from, to)) => format!(
                "CUT: {} records, of {} to {}",
                shard.of - shard.kept,
                time_to_text(from),
                time_to_text(to)
            ),
        };
        lines.push(format!("shard {number}: up to position {}, {cut}", shard.kept));
    }
    let generation = restored.generation;
    lines.push(format!("read back and right; codes go on in generation {generation}"));
    lines.join("\n")
}
