//! `onsale journal snapshot`, and the folder that it writes to.
//!
//! A file is one shard's state at one position, `LOG-SHARD-POSITION.snapshot`. Files of other logs are left alone.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use onsale_redis::Options;
use onsale_redis::snapshot::{Snapshot, take_snapshot};

use super::{FAILED, OK, USAGE, complain, say};
use crate::config::{Config, Flags};

/// How many of each shard are kept.
const KEPT: usize = 2;
const ENDING: &str = ".snapshot";

/// Writes snapshots of the states of a store in Redis, one file for each shard.
///
/// `onsale journal rebuild --snapshots` begins with them, so that it reads only the records that came later. Servers may be
/// at work: Redis copies the state of one shard after the other, and does nothing else meanwhile. The two newest files of each shard are
/// kept. They have the secret behind all codes; only the user that runs this can read them.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  all are written\n  \
    1  not all could be\n  \
    2  the arguments make no sense")]
pub struct SnapshotArgs {
    /// The store, redis://HOST:PORT or rediss://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub store: String,
    /// The folder for them. It is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The servers' configuration, where it says more of the store.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Writes them; returns the exit code.
pub fn run(args: &SnapshotArgs) -> u8 {
    let options = match store(&args.store, args.config.as_deref()) {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    match write_all(&options, &args.to) {
        Ok(()) => OK,
        Err(error) => complain(&error, FAILED),
    }
}

/// The store that the arguments name.
pub(super) fn store(url: &str, config: Option<&Path>) -> anyhow::Result<Options> {
    let flags = Flags { store: Some(url.to_owned()), ..Flags::default() };
    Config::load(config, &flags)?.store.context("--store must not be empty")
}

fn write_all(options: &Options, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seeds = runtime.block_on(onsale_redis::seeds(options))?;
    for shard in 0..seeds.shards {
        let snapshot = runtime.block_on(take_snapshot(options, shard))?;
        let bytes = write(to, &snapshot)?;
        say(&format!("shard {shard}: position {}, {bytes} bytes", snapshot.position));
    }
    Ok(())
}

/// A file of a folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Kept {
    /// Its path.
    pub path: PathBuf,
    /// The position that it says.
    pub position: u64,
}

/// The files of a shard, the newest first.
pub(super) fn kept(folder: &Path, log: u128, shard: u16) -> anyhow::Result<Vec<Kept>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some((of, shard_of, position)) = parts_of(&name)
            && (of, shard_of) == (log, shard)
        {
            found.push(Kept { path, position });
        }
    }
    found.sort_by_key(|kept| std::cmp::Reverse(kept.position));
    Ok(found)
}

/// Whether a folder has snapshots of any log.
pub(super) fn has_any(folder: &Path) -> anyhow::Result<bool> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        if parts_of(&entry.with_context(cannot)?.file_name().to_string_lossy()).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Log, shard and position of a file's name.
fn parts_of(name: &str) -> Option<(u128, u16, u64)> {
    let mut parts = name.strip_suffix(ENDING)?.splitn(3, '-');
    let log = u128::from_str_radix(parts.next()?, 16).ok()?;
    Some((log, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Writes a snapshot, then takes older ones away; gives the size of the file.
fn write(folder: &Path, snapshot: &Snapshot) -> anyhow::Result<usize> {
    let Snapshot { log, shard, position, .. } = *snapshot;
    let before = kept(folder, log, shard)?;
    if let Some(newer) = before.first().filter(|newest| newest.position > position) {
        bail!(
            "{} is of a later position than the log is at by now ({position}): records that were there are lost; \
             move the file away once you know why",
            newer.path.display()
        );
    }
    let path = folder.join(format!("{log:032x}-{shard}-{position}{ENDING}"));
    let bytes = snapshot.to_bytes();
    let written = || -> std::io::Result<()> {
        // A temporary file is made with mode 0600, and the rename keeps that.
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&bytes)?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))?;
    for old in kept(folder, log, shard)?.iter().skip(KEPT) {
        std::fs::remove_file(&old.path)
            .with_context(|| format!("cannot remove {}", old.path.display()))?;
    }
    Ok(bytes.len())
}

/// Reads a file.
///
/// # Errors
/// It can't be read, is damaged, or is not what its name says.
pub(super) fn read(kept: &Kept) -> anyhow::Result<Snapshot> {
    let snapshot = Snapshot::of_bytes(&std::fs::read(&kept.path)?)?;
    ensure!(snapshot.position == kept.position, "its name says another position");
    Ok(snapshot)
}
