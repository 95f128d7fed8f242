//! Backups of a data folder while a server sells from it, and data folders made of them.
//!
//! A backup is a folder of the same form with `backup.json` beside it. That file says what was copied, and which
//! generations of the log were ever given out: a restored log gets one above all of them, so no code of an
//! order or a ticket is ever issued again.

mod beside;
mod fresh;
pub mod restore;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use onsale_engine::Folder;
use onsale_engine::folder::{BACKUP_FILE, Identity};
use onsale_journal::backup::{Saved, Source, copy};
use onsale_journal::storage::LOCK_NAME;
use onsale_journal::{FileStorage, ReadOnly, lock_folder, open_read_only};
use serde::{Deserialize, Serialize};

use crate::catalogue::time_to_text;
use crate::folders::overlap;
use crate::keys::KEYS_FILE;
use crate::shards::wall_time;
use crate::webhooks::FILE as WEBHOOKS_FILE;
use beside::SavedStreams;

/// Files of the data folder itself that belong to a backup.
const OWN_FILES: [&str; 3] = ["onsale.log", KEYS_FILE, WEBHOOKS_FILE];
/// The form of `backup.json`.
const FORM: u32 = 1;
/// How often a shard is tried: its writer may take a segment away while it is copied.
const TRIES: usize = 3;

/// What `backup.json` says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub form: u32,
    /// Id of the log, 32 hexadecimal digits.
    pub log: String,
    /// When it was last added to, RFC 3339.
    pub made_at: String,
    /// The highest generation that the log was seen in or that was given to a restored one.
    pub generation_issued: u32,
    /// The shards, in order.
    pub shards: Vec<SavedShard>,
    /// The streams that others write to, by `STREAM/SHARD`.
    #[serde(default)]
    pub streams: SavedStreams,
    /// Names of the files beside the shards that were copied; empty in a backup of an earlier version.
    #[serde(default)]
    pub files: Vec<String>,
}

impl Manifest {
    /// Files beside the shards that were copied to this backup and are not there any more.
    pub(crate) fn missing_files(&self, backup: &Path) -> impl Iterator<Item = &str> {
        let missing = move |name: &&str| !backup.join(name).exists();
        self.files.iter().map(String::as_str).filter(missing)
    }
}

/// A shard in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedShard {
    /// Its last position.
    pub last_position: u64,
    /// When that happened, RFC 3339.
    pub last_at: String,
    /// Its segments, in order.
    pub segments: Vec<SavedSegment>,
}

/// A segment in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedSegment {
    /// Its sequence.
    pub sequence: u64,
    /// Bytes that the backup has of it.
    pub bytes: u64,
    /// Whether nothing will be added to it.
    pub sealed: bool,
    /// Positions of its first record and its last.
    pub records: Option<(u64, u64)>,
}

/// What a backup came to.
#[derive(Debug)]
pub struct Done {
    /// What stands in the folder now.
    pub manifest: Manifest,
    /// Bytes that were copied this time.
    pub copied_bytes: u64,
}

/// Copies a data folder to `target`, or adds what is new to the backup that is there. The folder is
/// not locked, and whoever sells from it is not disturbed. `archive` is where sealed segments were moved to.
/// `progress` is told of bytes as they are copied.
///
/// # Errors
/// `data` is no data folder or is damaged, `target` holds something else or lies in what is backed up, or a file can't
/// be read or written.
pub fn back_up(
    data: &Path,
    archive: Option<&Path>,
    target: &Path,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Done> {
    let identity = identity(data)?;
    ensure!(!data.join(BACKUP_FILE).exists(), "{} is a backup itself", data.display());
    for source in std::iter::once(data).chain(archive) {
        ensure_apart(target, source)?;
    }
    ensure_archive(archive)?;
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    if !target.join(BACKUP_FILE).exists() {
        ensure_empty(target)?;
    }
    // Held before it is read: a restore that is under way notes a generation in it.
    let _lock = lock_folder(target)?;
    let before = read_manifest(target)?;
    let log = format!("{:032x}", identity.log);
    match &before {
        Some(manifest) => ensure!(
            manifest.log == log,
            "{} is a backup of the log {}, not of {log}",
            target.display(),
            manifest.log
        ),
        None => ensure_empty(target)?,
    }
    let mut manifest = Manifest {
        form: FORM,
        log,
        made_at: time_to_text(wall_time()),
        generation_issued: before.as_ref().map_or(0, |manifest| manifest.generation_issued),
        shards: Vec::new(),
        streams: SavedStreams::new(),
        files: Vec::new(),
    };
    if before.is_none() {
        // It is there before the first segment is, so that nothing that is half a backup passes for a data folder.
        write_manifest(target, &manifest)?;
    }
    let mut copied_bytes = 0;
    // They come first: what they have read is there before they are.
    beside::copy_cursors(data, target)?;
    for shard in 0..identity.shards {
        let known = before.as_ref().and_then(|manifest| manifest.shards.get(usize::from(shard)));
        let mut count = |bytes| {
            copied_bytes += bytes;
            progress(bytes);
        };
        let place = Place { data, archive, target, shard };
        let (saved, log) = place.copy(known, identity, &mut count)?;
        manifest.generation_issued = manifest.generation_issued.max(log.generation);
        manifest.shards.push(describe(shard, &saved, &log)?);
    }
    let known = before.as_ref().map(|before| before.streams.clone()).unwrap_or_default();
    let mut count = |bytes| {
        copied_bytes += bytes;
        progress(bytes);
    };
    manifest.streams = beside::copy_streams(data, target, &known, &mut count)?;
    for name in OWN_FILES {
        copy_file(&data.join(name), &target.join(name))?;
        if target.join(name).exists() {
            manifest.files.push(name.to_owned());
        }
    }
    write_manifest(target, &manifest)?;
    Ok(Done { manifest, copied_bytes })
}

/// One shard on its way.
struct Place<'a> {
    data: &'a Path,
    archive: Option<&'a Path>,
    target: &'a Path,
    shard: u16,
}

impl Place<'_> {
    /// Copies it, and opens the copy as a start would: every checksum and the whole chain are right.
    fn copy(
        &self,
        known: Option<&SavedShard>,
        identity: Identity,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<(Vec<Saved>, ReadOnly)> {
        let shard = self.shard;
        let known: BTreeMap<u64, (u64, bool)> = known
            .iter()
            .flat_map(|known| &known.segments)
            .map(|segment| (segment.sequence, (segment.bytes, segment.sealed)))
            .collect();
        let mut tries = 1;
        let (saved, log) = loop {
            match self.try_copy(&known, progress) {
                Ok(copied) => break copied,
                Err(error @ onsale_journal::Error::Backup { .. }) if tries == TRIES => {
                    anyhow::bail!(
                        "shard {shard}: {error}. If the folder was restored since, take another one for its backup"
                    )
                }
                Err(error) if tries == TRIES => anyhow::bail!("shard {shard}: {error}"),
                Err(error) => tracing::warn!(shard, %error, "the copy is made once more"),
            }
            tries += 1;
        };
        let is_ours = (log.log, log.shard) == (identity.log, shard);
        ensure!(is_ours, "shard {shard}: its journal is another log's");
        Ok((saved, log))
    }

    fn try_copy(
        &self,
        known: &BTreeMap<u64, (u64, bool)>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Vec<Saved>, ReadOnly), onsale_journal::Error> {
        let source = source(self.data, self.archive, self.shard);
        let path = Folder::shard_path(self.target, self.shard);
        let saved = copy(&source, &FileStorage::open(&path)?, known, progress)?;
        let log = open_read_only(Arc::new(FileStorage::open_read_only(&path)?))?;
        Ok((saved, log))
    }
}

/// The files of a shard: its own folder's, and its archive's.
pub(crate) fn source(data: &Path, archive: Option<&Path>, shard: u16) -> Source {
    let folders = std::iter::once(data).chain(archive);
    Source::new(folders.map(|folder| Folder::shard_path(folder, shard)))
}

fn describe(shard: u16, saved: &[Saved], log: &ReadOnly) -> anyhow::Result<SavedShard> {
    ensure!(log.last_position > 0, "shard {shard} holds nothing yet: try again");
    let last = log.reader.record(log.last_position)?;
    let last = onsale_codec::decode(&last)
        .with_context(|| format!("shard {shard}, position {}", log.last_position))?;
    Ok(SavedShard {
        last_position: log.last_position,
        last_at: time_to_text(last.at),
        segments: saved.iter().map(beside::segment).collect(),
    })
}

/// What is fixed for a data folder that must be there.
pub(crate) fn identity(data: &Path) -> anyhow::Result<Identity> {
    Folder::identity(data)?
        .ok_or_else(|| anyhow::anyhow!("{} is no data folder of Onsale", data.display()))
}

/// A lone `LOCK` says nothing: whoever made it ended before it did anything else.
fn ensure_empty(folder: &Path) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", folder.display()))?.file_name();
        ensure!(
            name == LOCK_NAME,
            "{} is not empty: it holds {}",
            folder.display(),
            name.display()
        );
    }
    Ok(())
}

/// One that is named is there: else all that is in it would be left out.
pub(crate) fn ensure_archive(archive: Option<&Path>) -> anyhow::Result<()> {
    if let Some(folder) = archive {
        ensure!(folder.is_dir(), "--archive: {} is no folder", folder.display());
    }
    Ok(())
}

/// What is made must not lie in what it is made of, nor the other way round.
fn ensure_apart(target: &Path, source: &Path) -> anyhow::Result<()> {
    let (target, source, lies) = (target.display(), source.display(), overlap(target, source));
    ensure!(!lies, "{target} and {source} are one folder, or one is in the other: take another");
    Ok(())
}

/// What stands in a backup; none where the folder is none.
///
/// # Errors
/// Its file can't be read, is damaged or has a later form.
pub(crate) fn read_manifest(folder: &Path) -> anyhow::Result<Option<Manifest>> {
    let path = folder.join(BACKUP_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
    if manifest.form != FORM {
        bail!("{} has the form {}: use a newer program", path.display(), manifest.form);
    }
    Ok(Some(manifest))
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(manifest)? + "\n";
    write_file(&folder.join(BACKUP_FILE), text.as_bytes())
}

/// Copies a small file, where there is one.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    match fs::read(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        bytes => write_file(to, &bytes.with_context(|| format!("cannot read {}", from.display()))?),
    }
}

/// Writes a file, for its owner alone, in one step: the old one or the new one is there, whole.
fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    let write = || -> std::io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(path.parent().expect("a file is in a folder"))?.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
