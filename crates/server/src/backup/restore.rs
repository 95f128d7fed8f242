//! A data folder made of a backup, up to any position.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use onsale_core::limits::GENERATIONS_MAX;
use onsale_core::{Event, Fact, Sale, Time};
use onsale_engine::Folder;
use onsale_engine::folder::{BACKUP_FILE, FILE, Identity};
use onsale_journal::backup::{append, flush, look, rewrite};
use onsale_journal::{
    Durability, FileStorage, Options, ReadOnly, Reader, lock_folder, open, open_read_only,
};

use super::fresh::Fresh;
use super::{
    Manifest, WEBHOOKS_FILE, beside, copy_file, ensure_apart, identity, read_manifest, source,
    write_manifest,
};
use crate::catalogue::time_to_text;
use crate::folders::real;
use crate::keys::{KEYS_FILE, KeyStore};
use crate::webhooks::Webhooks;

/// Records read at a time.
const RECORDS_PER_READ: usize = 10_000;
/// Bytes read at a time.
const BYTES_PER_READ: usize = 4 << 20;

/// What is to be restored.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The last position of these shards; of the others all is kept.
    pub to_position: BTreeMap<u16, u64>,
    /// Nothing later than this is kept.
    pub to_time: Option<Time>,
    /// The new generation; none: one above all that are known.
    pub generation: Option<u32>,
    /// The folder that the restored one takes the place of: its generation counts, too.
    pub replaces: Option<PathBuf>,
    /// No keys are taken over: the first start makes a new one.
    pub without_keys: bool,
    /// Length of the new journals' files.
    pub segment_bytes: u64,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    /// The generation of all codes from here on.
    pub generation: u32,
    /// The shards, in order.
    pub shards: Vec<RestoredShard>,
}

/// What became of a shard.
#[derive(Debug)]
pub struct RestoredShard {
    /// The last position that was taken over.
    pub kept: u64,
    /// The last one of the backup.
    pub of: u64,
    /// When the first and the last record that were cut happened.
    pub cut: Option<(Time, Time)>,
}

/// Makes a data folder of a backup.
///
/// # Errors
/// The backup is damaged or is none, or has no keys though they are wanted, the folder is not empty, a position is not in the backup, no
/// generation is left, or a file can't be read or written. Then nothing is left in the folder; where the process is killed
/// nothing opens what was begun.
pub fn restore(
    backup: &Path,
    data: &Path,
    wanted: &Wanted,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Restored> {
    ensure!(backup.join(BACKUP_FILE).exists(), "{} is no backup", backup.display());
    // Nobody else takes a generation from it, or writes what it knew of them before.
    let _lock = lock_folder(backup)?;
    let mut manifest = read_manifest(backup)?
        .ok_or_else(|| anyhow::anyhow!("{} is no backup", backup.display()))?;
    let identity = identity(backup)?;
    ensure_apart(data, backup)?;
    ensure_outside(data)?;
    ensure_files(backup, &manifest, wanted.without_keys)?;
    let logs = open_backup(backup, &manifest, identity)?;
    let kept = positions(&logs, wanted)?;
    let generation = next_generation(&logs, &manifest, wanted)?;
    let fresh = Fresh::begin(data)?;
    // Before anything else is written: should this end early, the generation is gone all the same.
    manifest.generation_issued = generation;
    write_manifest(backup, &manifest).context(
        "the backup must note the new generation, so that another restore does not take it, too",
    )?;
    let mut shards = Vec::new();
    for (log, kept) in logs.iter().zip(kept) {
        let path = Folder::shard_path(data, log.shard);
        write_shard(log, &path, kept, generation, wanted.segment_bytes, progress)
            .with_context(|| format!("shard {}", log.shard))?;
        check_shard(log, &path, kept).with_context(|| format!("shard {}", log.shard))?;
        let of = log.last_position;
        let cut = match kept < of {
            true => Some((time_of(&log.reader, kept + 1)?, time_of(&log.reader, of)?)),
            false => None,
        };
        shards.push(RestoredShard { kept, of, cut });
    }
    beside::restore(backup, data, &manifest.streams)?;
    let keys = Some(KEYS_FILE).filter(|_| !wanted.without_keys);
    for name in keys.into_iter().chain([WEBHOOKS_FILE]) {
        copy_file(&backup.join(name), &data.join(name))?;
    }
    check_own_files(data)?;
    fresh.finish(identity)?;
    Ok(Restored { generation, shards })
}

/// What was copied beside the shards is there. A folder without keys gets a first one, which may do everything, at its
/// start: nobody should be surprised by that.
fn ensure_files(backup: &Path, manifest: &Manifest, without_keys: bool) -> anyhow::Result<()> {
    let mut missing = manifest.missing_files(backup).filter(|name| *name != KEYS_FILE);
    if let Some(name) = missing.next() {
        anyhow::bail!("the backup is damaged: {name} is missing, though it was copied");
    }
    ensure!(
        without_keys || backup.join(KEYS_FILE).exists(),
        "the backup has no {KEYS_FILE}, so no API key would work any more. Put the {KEYS_FILE} of the data folder or of \
         another backup of it there; or say --without-keys: the first start makes one new key, which may do \
         everything, and prints it"
    );
    Ok(())
}

/// A folder within a data folder would be part of that one: nothing is made there.
fn ensure_outside(data: &Path) -> anyhow::Result<()> {
    let path = real(data);
    let inside = path.ancestors().skip(1).find(|folder| folder.join(FILE).exists());
    if let Some(folder) = inside {
        let (data, folder) = (data.display(), folder.display());
        anyhow::bail!("{data} is in {folder}, which is a data folder or a backup: take another");
    }
    Ok(())
}

/// A server that can't read them does not start: better told now than once the old folder is gone.
fn check_own_files(data: &Path) -> anyhow::Result<()> {
    if data.join(KEYS_FILE).exists() {
        KeyStore::load(data).context("the backup is damaged")?;
    }
    Webhooks::load(data).context("the backup is damaged")?;
    Ok(())
}

/// Opens all shards of a backup, and checks that it is all there.
fn open_backup(
    backup: &Path,
    manifest: &Manifest,
    identity: Identity,
) -> anyhow::Result<Vec<ReadOnly>> {
    let complete = manifest.shards.len() == usize::from(identity.shards);
    ensure!(complete, "the backup was never finished: run it again");
    ensure!(manifest.log == format!("{:032x}", identity.log), "backup.json is another log's");
    let mut logs = Vec::new();
    for (shard, saved) in (0..).zip(&manifest.shards) {
        let storage = FileStorage::open_read_only(Folder::shard_path(backup, shard))?;
        let log = open_read_only(Arc::new(storage))
            .map_err(|error| anyhow::anyhow!("the backup is damaged: shard {shard}: {error}"))?;
        ensure!(
            (log.log, log.shard) == (identity.log, shard),
            "the backup is damaged: shard {shard} holds another log"
        );
        // More may be there: from a later run that did not come to its end.
        ensure!(
            log.last_position >= saved.last_position,
            "the backup is damaged: shard {shard} ends at position {} of {}",
            log.last_position,
            saved.last_position
        );
        logs.push(log);
    }
    Ok(logs)
}

/// The last position to keep of each shard.
fn positions(logs: &[ReadOnly], wanted: &Wanted) -> anyhow::Result<Vec<u64>> {
    let unknown = wanted.to_position.keys().find(|shard| usize::from(**shard) >= logs.len());
    ensure!(unknown.is_none(), "there is no shard {}", unknown.copied().unwrap_or(0));
    let mut kept = Vec::new();
    for log in logs {
        let (shard, of) = (log.shard, log.last_position);
        let mut position = wanted.to_position.get(&shard).copied().unwrap_or(of);
        ensure!((1..=of).contains(&position), "shard {shard}: the backup has positions 1 to {of}");
        if let Some(time) = wanted.to_time {
            position = position.min(last_at(&log.reader, of, time)?);
            ensure!(position > 0, "shard {shard} began later than {}", time_to_text(time));
        }
        kept.push(position);
    }
    Ok(kept)
}

/// The last position that is not later than this; 0 where all are. Times never fall, so it is searched by halves.
fn last_at(reader: &Reader, of: u64, time: Time) -> anyhow::Result<u64> {
    let (mut low, mut high) = (0, of);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match time_of(reader, middle)? <= time {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    Ok(low)
}

fn time_of(reader: &Reader, position: u64) -> anyhow::Result<Time> {
    let record = reader.record(position)?;
    let event = onsale_codec::decode(&record).with_context(|| format!("position {position}"))?;
    Ok(event.at)
}

/// A generation above every one that was ever given out.
fn next_generation(logs: &[ReadOnly], manifest: &Manifest, wanted: &Wanted) -> anyhow::Result<u32> {
    let mut highest = logs.iter().map(|log| log.generation).max().unwrap_or(0);
    highest = highest.max(manifest.generation_issued);
    if let Some(replaced) = &wanted.replaces {
        highest = highest.max(generation_of(replaced, manifest)?);
    }
    let generation = wanted.generation.unwrap_or(highest + 1);
    ensure!(
        generation > highest,
        "the generation must be above {highest}, which was given out before"
    );
    ensure!(
        generation <= GENERATIONS_MAX,
        "codes have no room for a generation above {GENERATIONS_MAX}"
    );
    Ok(generation)
}

/// The highest generation in what is left of a data folder.
fn generation_of(data: &Path, manifest: &Manifest) -> anyhow::Result<u32> {
    let identity = identity(data)?;
    let same = format!("{:032x}", identity.log) == manifest.log;
    ensure!(same, "{} holds another log than the backup", data.display());
    let mut highest = 0;
    for shard in 0..identity.shards {
        let source = source(data, None, shard);
        for sequence in source.segments()?.into_keys() {
            highest = highest.max(look(&source, sequence)?.generation);
        }
    }
    Ok(highest)
}

/// Writes a shard's journal up to a position, under the new generation.
fn write_shard(
    log: &ReadOnly,
    path: &Path,
    kept: u64,
    generation: u32,
    segment_bytes: u64,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<()> {
    let options = Options {
        segment_bytes,
        log: log.log,
        shard: log.shard,
        generation,
        durability: Durability::Synced,
    };
    let storage = Arc::new(FileStorage::open(path)?);
    let mut writer = open(storage, options, 0, &mut |_, _, _| Ok(()))?.writer;
    rewrite(&log.reader, kept, &mut writer, progress)?;
    let at = time_of(&log.reader, kept)?;
    let fact = Fact::GenerationStarted { generation };
    let mut record = Vec::new();
    onsale_codec::encode(&Event { at, stamp: None, subject: None, fact }, &mut record);
    append(&mut writer, &record)?;
    flush(&mut writer)?;
    Ok(writer.close()?)
}

/// Reads it back: the same records, which make a state that adds up.
fn check_shard(log: &ReadOnly, path: &Path, kept: u64) -> anyhow::Result<()> {
    let restored = open_read_only(Arc::new(FileStorage::open_read_only(path)?))?;
    ensure!(restored.last_position == kept + 1, "it does not read back as it was written");
    let mut sale = Sale::default();
    let (mut after, mut wrong) = (0, None);
    while after < restored.last_position && wrong.is_none() {
        restored.reader.read(
            after,
            RECORDS_PER_READ,
            BYTES_PER_READ,
            &mut |position, record| {
                after = position;
                let applied = onsale_codec::decode(record)
                    .map_err(|error| error.to_string())
                    .and_then(|event| sale.apply(position, &event).map_err(|e| e.to_string()));
                wrong = wrong.take().or(applied.err().map(|error| (position, error)));
            },
        )?;
    }
    if let Some((position, error)) = wrong {
        anyhow::bail!("position {position}: {error}");
    }
    ensure!(sale.position() == kept + 1, "records are missing");
    ensure!(
        log.reader.record(kept)? == restored.reader.record(kept)?,
        "its last record differs from the backup's"
    );
    sale.check().map_err(|error| anyhow::anyhow!("the state does not add up: {error}"))
}
