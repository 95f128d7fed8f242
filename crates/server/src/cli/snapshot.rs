//! `onsale journal snapshot`, and the folder that it writes to.
//!
//! A file is one shard's state at one position, `LOG-SHARD-POSITION.snapshot`. Files of other logs are left alone.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use onsale_redis::Options;
use onsale_redis::snapshot::{Snapshot, take_snapshot};
use tempfile::{NamedTempFile, TempPath};

use super::{FAILED, OK, USAGE, complain, say};
use crate::config::{Config, Flags};

/// How many of each shard are kept.
const KEPT: usize = 2;
const ENDING: &str = ".snapshot";

/// Writes snapshots of the states of a store in Redis, one file for each shard.
///
/// `onsale journal rebuild --snapshots` begins with them, so that it reads only the records that came later. Servers may be
/// at work: Redis copies the state of one shard after the other, and does nothing else meanwhile. The two newest files of each shard are
/// kept. They have the secret behind all codes; only the user that runs this can read them. Where one shard can't be copied
/// the folder stays as it was.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  all are written\n  \
    1  not all could be, so none is\n  \
    2  the arguments make no sense")]
pub struct SnapshotArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The folder for them. It is made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// A store in Redis.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// The store, redis://HOST:PORT or rediss://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub store: String,
    /// The servers' configuration, where it says more of the store.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl StoreArgs {
    /// The store that they name.
    ///
    /// # Errors
    /// The address or the configuration makes no sense.
    pub fn options(&self) -> anyhow::Result<Options> {
        let flags = Flags { store: Some(self.store.clone()), ..Flags::default() };
        Config::load(self.config.as_deref(), &flags)?.store.context("--store must not be empty")
    }
}

/// Writes them; returns the exit code.
pub fn run(args: &SnapshotArgs) -> u8 {
    let options = match args.store.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    match write_all(&options, &args.to) {
        Ok(()) => OK,
        Err(error) => complain(&error, FAILED),
    }
}

/// Writes them all, or leaves the folder as it was.
fn write_all(options: &Options, to: &Path) -> anyhow::Result<()> {
    let missing = to.ancestors().take_while(|folder| {
        let is_named = !folder.as_os_str().is_empty();
        is_named && !folder.exists()
    });
    let made: Vec<&Path> = missing.collect();
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let written = take_all(options, to).and_then(|all| {
        let told: Vec<Told> = all.iter().map(|written| written.told).collect();
        put_there(to, all).map(|()| told)
    });
    let told = written.inspect_err(|_| {
        // One that somebody else has put something into stays.
        made.iter().for_each(|folder| drop(std::fs::remove_dir(folder)));
    })?;
    for Told { shard, position, bytes, .. } in &told {
        say(&format!("shard {shard}: position {position}, {bytes} bytes"));
    }
    told.iter().try_for_each(|told| take_older_away(to, told.log, told.shard))
}

/// A snapshot in a file that has no name yet.
struct Written {
    told: Told,
    file: TempPath,
}

/// What is said of it.
#[derive(Clone, Copy)]
struct Told {
    log: u128,
    shard: u16,
    position: u64,
    bytes: usize,
}

impl Written {
    fn path(&self, folder: &Path) -> PathBuf {
        let Told { log, shard, position, .. } = self.told;
        folder.join(format!("{log:032x}-{shard}-{position}{ENDING}"))
    }
}

/// Takes a snapshot of each shard. What there is of them goes away with what this gives.
fn take_all(options: &Options, folder: &Path) -> anyhow::Result<Vec<Written>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let seeds = runtime.block_on(onsale_redis::seeds(options))?;
    let mut all = Vec::new();
    for shard in 0..seeds.shards {
        let snapshot = runtime.block_on(take_snapshot(options, shard))?;
        all.push(write(folder, &snapshot)?);
    }
    Ok(all)
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

/// The logs that a folder has snapshots of.
pub(super) fn logs(folder: &Path) -> anyhow::Result<BTreeSet<u128>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut logs = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let name = entry.with_context(cannot)?.file_name();
        logs.extend(parts_of(&name.to_string_lossy()).map(|(log, ..)| log));
    }
    Ok(logs)
}

/// Log, shard and position of a file's name.
fn parts_of(name: &str) -> Option<(u128, u16, u64)> {
    let mut parts = name.strip_suffix(ENDING)?.splitn(3, '-');
    let log = u128::from_str_radix(parts.next()?, 16).ok()?;
    Some((log, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Writes a snapshot beside those that are there.
fn write(folder: &Path, snapshot: &Snapshot) -> anyhow::Result<Written> {
    let Snapshot { log, shard, position, .. } = *snapshot;
    if let Some(newer) = kept(folder, log, shard)?.first()
        && newer.position > position
    {
        bail!(
            "{} is of a later position than the log is at by now ({position}): records that were there are lost; \
             move the file away once you know why",
            newer.path.display()
        );
    }
    let bytes = snapshot.to_bytes();
    let written = || -> std::io::Result<TempPath> {
        // A temporary file is made with mode 0600, and the rename keeps that.
        let mut new = NamedTempFile::new_in(folder)?;
        new.write_all(&bytes)?;
        new.as_file().sync_all()?;
        Ok(new.into_temp_path())
    };
    let file = written()
        .with_context(|| format!("shard {shard}: cannot write to {}", folder.display()))?;
    Ok(Written { told: Told { log, shard, position, bytes: bytes.len() }, file })
}

/// Gives all of them their names, or none.
fn put_there(folder: &Path, all: Vec<Written>) -> anyhow::Result<()> {
    let mut new = Vec::new();
    let named = all.into_iter().try_for_each(|written| -> anyhow::Result<()> {
        let path = written.path(folder);
        // One of the same position has the same in it.
        let is_new = !path.exists();
        let persisted = written.file.persist(&path);
        persisted.with_context(|| format!("cannot write {}", path.display()))?;
        new.extend(is_new.then_some(path));
        Ok(())
    });
    let synced = named.and_then(|()| {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("cannot sync {}", folder.display()))
    });
    if synced.is_err() {
        new.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
    synced
}

/// Takes all but the newest away.
fn take_older_away(folder: &Path, log: u128, shard: u16) -> anyhow::Result<()> {
    for old in kept(folder, log, shard)?.iter().skip(KEPT) {
        std::fs::remove_file(&old.path).with_context(|| {
            format!("all are written, but cannot remove {}", old.path.display())
        })?;
    }
    Ok(())
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
