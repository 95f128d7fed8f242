//! What is beside the sales in a data folder: named cursors, and the streams that others write to.
//!
//! Cursors are copied before the streams that they read, so none is ahead of its stream. A restore gives every stream
//! another generation, as it does with the sales: a cursor of before is told so, instead of skipping what came in the
//! place of what it had read.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use onsale_bus::cursors::copy_store;
use onsale_bus::file::begin_new_histories;
use onsale_journal::backup::{Saved, Source, copy};
use onsale_journal::{FileStorage, open_read_only};
use serde::{Deserialize, Serialize};

use super::{SavedSegment, TRIES, copy_file, write_file};
use crate::{bus, cursors};

/// A stream's own file: its id and its shards.
const STREAM_FILE: &str = "stream";

/// Shards of the streams in a backup, by `STREAM/SHARD`.
pub type SavedStreams = BTreeMap<String, SavedLog>;

/// A shard of a stream in a backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedLog {
    /// Its last position; 0: it has none.
    pub last_position: u64,
    /// Its segments, in order.
    pub segments: Vec<SavedSegment>,
}

/// Copies all named cursors.
///
/// # Errors
/// A file can't be read or written.
pub fn copy_cursors(from: &Path, to: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.join(cursors::FOLDER), to.join(cursors::FOLDER));
    for name in names(&from)? {
        copy_store(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// Copies all streams, or adds what is new to the copies that are there.
///
/// # Errors
/// A file can't be read or written, or what is there is of another stream.
pub fn copy_streams(
    from: &Path,
    to: &Path,
    known: &SavedStreams,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<SavedStreams> {
    let mut saved = SavedStreams::new();
    let [from, to] = [from, to].map(|data| bus::folder(data).join("streams"));
    for stream in names(&from)? {
        let (from, to) = (from.join(&stream), to.join(&stream));
        // One without it is being made, or never was to the end.
        if !from.join(STREAM_FILE).exists() {
            continue;
        }
        for shard in names(&from)?.into_iter().filter(|name| from.join(name).is_dir()) {
            let name = format!("{stream}/{shard}");
            let log = copy_log(&from.join(&shard), &to.join(&shard), known.get(&name), progress);
            saved.insert(name.clone(), log.with_context(|| format!("the stream {name}"))?);
        }
        copy_file(&from.join(STREAM_FILE), &to.join(STREAM_FILE))?;
    }
    Ok(saved)
}

/// The streams and cursors of a backup, in a new data folder.
///
/// # Errors
/// The backup is damaged, or a file can't be written.
pub fn restore(backup: &Path, data: &Path, streams: &SavedStreams) -> anyhow::Result<()> {
    copy_cursors(backup, data)?;
    let restored = copy_streams(backup, data, &SavedStreams::new(), &mut |_| {})?;
    for (name, saved) in streams {
        let there = restored.get(name).map_or(0, |log| log.last_position);
        let of = saved.last_position;
        anyhow::ensure!(
            there >= of,
            "the backup is damaged: the stream {name} ends at {there} of {of}"
        );
    }
    Ok(begin_new_histories(&bus::folder(data))?)
}

/// Copies the journal of a shard, opens the copy, which checks it, and notes what was let go before it.
fn copy_log(
    from: &Path,
    to: &Path,
    known: Option<&SavedLog>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<SavedLog> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let known: BTreeMap<u64, (u64, bool)> = known
        .into_iter()
        .flat_map(|log| &log.segments)
        .map(|segment| (segment.sequence, (segment.bytes, segment.sealed)))
        .collect();
    let mut tries = 1;
    let saved = loop {
        let source = Source::new([from.to_owned()]);
        match copy(&source, &FileStorage::open(to)?, &known, progress) {
            Ok(saved) => break saved,
            Err(error) if tries == TRIES => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the copy is made once more"),
        }
        tries += 1;
    };
    let last_position = match saved.iter().any(|saved| saved.info.last.is_some()) {
        true => open_read_only(Arc::new(FileStorage::open_read_only(to)?))?.last_position,
        false => 0,
    };
    copy_trimmed(from, to, last_position)?;
    let segments = saved.iter().map(segment).collect();
    Ok(SavedLog { last_position, segments })
}

/// Copies up to where a shard was let go, which is written after the segments are read: it may be beyond their end then.
fn copy_trimmed(from: &Path, to: &Path, last_position: u64) -> anyhow::Result<()> {
    let [from, to] = [from, to].map(|folder| PathBuf::from(folder).with_extension("trimmed"));
    let text = match fs::read_to_string(&from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read {}", from.display()))?,
    };
    let upto: u64 =
        text.trim().parse().with_context(|| format!("{} is damaged", from.display()))?;
    write_file(&to, format!("{}\n", upto.min(last_position)).as_bytes())
}

/// What a backup notes of a segment.
pub(super) fn segment(saved: &Saved) -> SavedSegment {
    SavedSegment {
        sequence: saved.info.sequence,
        bytes: saved.info.bytes,
        sealed: saved.sealed,
        records: saved.info.first.zip(saved.info.last),
    }
}

/// Names in a folder, sorted; none where there is none.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<std::io::Result<Vec<String>>>()?;
        names.sort();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.with_context(|| format!("cannot read {}", folder.display())),
    }
}
