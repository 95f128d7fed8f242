//! Copies a log while its writer is at work, from another process, and writes a log anew up to a
//! position.
//!
//! A copy takes no lock on the log and asks the writer nothing. It goes through the segments from the last
//! to the first: when one of them held a batch, the ones below it were complete already, so what is copied is always
//! a log without gaps, up to some whole batch. Bytes up to the end of a whole batch never change
//! again, so a later copy into the same folder only adds to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::{
    BATCH_BYTES_MAX, BLOCK_BYTES, Decoded, Header, Named, RECORD_OVERHEAD_BYTES, VERSION,
    ZERO_BLOCK, parse_name, segment_name,
};
use crate::storage::{File, FileStorage, Storage};
use crate::{Error, Reader, Writer};

/// How much is read or copied at a time.
const CHUNK_BYTES: usize = BATCH_BYTES_MAX;
/// Places of damage that are kept per segment, for messages.
const DAMAGE_MAX: usize = 64;
/// Records read at a time when a log is written anew, and their bytes.
const RECORDS_PER_READ: usize = 10_000;
const BYTES_PER_READ: usize = 4 << 20;

/// Folders whose files together are one log: a shard's own, and its archive. Nothing in them is
/// locked or changed.
pub struct Source {
    folders: Vec<(PathBuf, FileStorage)>,
}

impl Source {
    /// Looks into these folders; of two files of one name the first folder's counts.
    #[must_use]
    pub fn new(folders: impl IntoIterator<Item = PathBuf>) -> Source {
        let unlocked = |folder: PathBuf| (folder.clone(), FileStorage::unlocked(folder));
        Source { folders: folders.into_iter().map(unlocked).collect() }
    }

    /// Sequences of the segments, in order, each with the number of the folder that has it.
    ///
    /// # Errors
    /// `Io`.
    pub fn segments(&self) -> Result<BTreeMap<u64, usize>, Error> {
        let mut found = BTreeMap::new();
        for (number, (path, folder)) in self.folders.iter().enumerate() {
            let names = match folder.list() {
                // An archive may not have been begun.
                Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => continue,
                names => names.map_err(Error::io("list", &path.display().to_string()))?,
            };
            for name in names {
                if let Named::Segment(sequence) = parse_name(&name) {
                    found.entry(sequence).or_insert(number);
                }
            }
        }
        Ok(found)
    }
}

impl Storage for Source {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for (number, (_, folder)) in self.folders.iter().enumerate() {
            match folder.list() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && number > 0 => {}
                found => names.extend(found?),
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for (_, folder) in &self.folders {
            match folder.open(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => {
                    result = opened;
                    break;
                }
            }
        }
        result
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// What a segment holds, as it can be told from its file alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentInfo {
    /// Its sequence.
    pub sequence: u64,
    /// Length of its file.
    pub bytes: u64,
    /// Where the last block that is not zero ends.
    pub used_bytes: u64,
    /// Where the last whole batch ends; 0 where there is none.
    pub whole_bytes: u64,
    /// Log and shard; none where no batch is whole.
    pub of: Option<(u128, u16)>,
    /// Position of its first record.
    pub first: Option<u64>,
    /// Position of its last one.
    pub last: Option<u64>,
    /// Whole batches, marks not counted.
    pub batches: u64,
    /// Sequence of the first segment that the same run of the writer wrote.
    pub term: Option<u64>,
    /// Highest generation in a header.
    pub generation: u32,
    /// Highest position that a header says was durable.
    pub durable_upto: u64,
    /// Where blocks begin that are neither zero nor part of a whole batch: the first few. The last
    /// may be a batch that is being written.
    pub damage: Vec<u64>,
}

impl SegmentInfo {
    /// Whether it holds nothing but zeros.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.used_bytes == 0
    }

    fn take(&mut self, header: &Header, end: u64) {
        self.of = Some((header.log, header.shard));
        self.term = self.term.or(Some(header.term));
        self.generation = self.generation.max(header.generation);
        self.durable_upto = self.durable_upto.max(header.durable_upto);
        self.whole_bytes = end;
        if !header.is_mark() {
            self.batches += 1;
            self.first = self.first.or(Some(header.first));
            self.last = self.last.max(Some(header.last()));
        }
    }

    fn damaged(&mut self, offset: u64) {
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(offset);
        }
    }
}

/// Reads a segment from its beginning to its end and checks every checksum.
///
/// # Errors
/// `Io`; `Version` where a later program wrote it.
pub fn look(storage: &dyn Storage, sequence: u64) -> Result<SegmentInfo, Error> {
    let name = segment_name(sequence);
    let file = storage.open(&name).map_err(Error::io("open", &name))?;
    let bytes = file.length().map_err(Error::io("read the length of", &name))?;
    let mut info = SegmentInfo { sequence, bytes, ..SegmentInfo::default() };
    let mut window = Vec::new();
    let (mut offset, mut wanted) = (0, CHUNK_BYTES);
    while offset < bytes {
        window.resize((bytes - offset).min(wanted as u64) as usize, 0);
        file.read_at(&mut window, offset).map_err(Error::io("read", &name))?;
        let before = offset;
        offset = look_at(&mut info, &window, offset, &name)?;
        // Nothing fitted into the window: the batch there is longer.
        wanted = if offset == before { 2 * window.len() } else { CHUNK_BYTES };
    }
    Ok(info)
}

/// Looks at what begins in this window; gives back where the next one should begin.
fn look_at(info: &mut SegmentInfo, window: &[u8], start: u64, name: &str) -> Result<u64, Error> {
    let mut at = 0;
    while at < window.len() {
        let block = &window[at..window.len().min(at + BLOCK_BYTES)];
        let (offset, next) = (start + at as u64, at + BLOCK_BYTES);
        if *block == ZERO_BLOCK[..block.len()] {
            at = next;
            continue;
        }
        let header = match Header::decode(block) {
            Decoded::Header(header) => header,
            Decoded::Unknown { version, flags } => {
                let (file, known) = (name.to_owned(), VERSION);
                return Err(Error::Version { file, offset, version, flags, known });
            }
            Decoded::None => {
                info.damaged(offset);
                info.used_bytes = (start + next as u64).min(info.bytes);
                at = next;
                continue;
            }
        };
        let is_here = header.segment == info.sequence && header.offset == offset;
        let length = if is_here { header.batch_bytes() } else { BLOCK_BYTES };
        let end = offset + length as u64;
        if at + length > window.len() && end <= info.bytes {
            return Ok(offset);
        }
        info.used_bytes = end.min(info.bytes);
        match window.get(at..at + length) {
            // A remnant of an earlier use of the file says nothing.
            Some(_) if !is_here => {}
            Some(batch) if header.is_mark() || header.is_whole(batch) => info.take(&header, end),
            _ => info.damaged(offset),
        }
        at += length;
    }
    Ok(start + at as u64)
}

/// A segment in a backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Saved {
    /// What it holds.
    pub info: SegmentInfo,
    /// Whether it was complete: later segments hold batches, and nothing is ever added to it.
    pub sealed: bool,
}

/// Copies a log, whose writer may be at work, to a folder that may hold an earlier copy of it. `known` says how
/// many bytes of which segments the folder has, and whether they were sealed. Every file is synced, and what was
/// copied is read back and checked. `progress` is told of bytes as they are copied.
///
/// # Errors
/// `Backup` where the folder holds another log, or more than the log itself has; `Io`. After any error a second try may
/// help: the writer may have taken a segment away meanwhile.
pub fn copy(
    source: &Source,
    target: &dyn Storage,
    known: &BTreeMap<u64, (u64, bool)>,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<Saved>, Error> {
    let mut saved = Vec::new();
    let mut sealed = false;
    let there: BTreeSet<u64> = source.segments()?.into_keys().collect();
    for sequence in
        there.iter().chain(known.keys()).copied().collect::<BTreeSet<u64>>().iter().rev()
    {
        let (sequence, before) = (*sequence, known.get(sequence).copied());
        if !there.contains(&sequence) {
            // The log has let go of it; the backup keeps it.
            saved.push(Saved { info: look(target, sequence)?, sealed: true });
            continue;
        }
        if let Some((bytes, true)) = before
            && begins_alike(source, target, sequence)?
        {
            let info = look(target, sequence)?;
            if info.bytes != bytes {
                return Err(differs(sequence, "its copy has another length than it had"));
            }
            saved.push(Saved { info, sealed: true });
            sealed = true;
            continue;
        }
        let info = look(source, sequence)?;
        // What is not whole at the end may still be being written; below that it will stay.
        let bytes = if sealed { info.used_bytes } else { info.whole_bytes };
        if !sealed && bytes == 0 {
            continue;
        }
        let before = before.map_or(0, |(bytes, _)| bytes);
        copy_segment(source, target, sequence, (before, bytes), progress)?;
        let copied = look(target, sequence)?;
        if (copied.bytes, copied.batches, copied.last) != (bytes, info.batches, info.last) {
            return Err(differs(sequence, "what was copied does not read back as it was"));
        }
        saved.push(Saved { info: copied, sealed });
        sealed = true;
    }
    target.sync().map_err(Error::io("sync", "the backup's folder"))?;
    saved.reverse();
    Ok(saved)
}

/// Whether a segment's first block is the same in both.
fn begins_alike(source: &Source, target: &dyn Storage, sequence: u64) -> Result<bool, Error> {
    let name = segment_name(sequence);
    let first = |storage: &dyn Storage| {
        let file = storage.open(&name)?;
        let mut block = vec![0; (BLOCK_BYTES as u64).min(file.length()?) as usize];
        file.read_at(&mut block, 0)?;
        Ok(block)
    };
    let (here, there) = (first(source), first(target));
    Ok(here.map_err(Error::io("read", &name))? == there.map_err(Error::io("read", &name))?)
}

/// Brings a segment's copy from `before` bytes to `after`. What it has already must be the same.
fn copy_segment(
    source: &Source,
    target: &dyn Storage,
    sequence: u64,
    (before, after): (u64, u64),
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let name = segment_name(sequence);
    if before > after {
        return Err(differs(sequence, "the backup has more of it than the log"));
    }
    let from = source.open(&name).map_err(Error::io("open", &name))?;
    let to = match target.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => target.create(&name),
        opened => opened,
    };
    let to = to.map_err(Error::io("make the copy of", &name))?;
    // What a copy that was interrupted left behind.
    to.truncate(before).map_err(Error::io("cut the copy of", &name))?;
    let (mut offset, mut there, mut here) = (0, Vec::new(), Vec::new());
    while offset < after {
        let end = if offset < before { before } else { after };
        let length = (end - offset).min(CHUNK_BYTES as u64) as usize;
        there.resize(length, 0);
        from.read_at(&mut there, offset).map_err(Error::io("read", &name))?;
        if offset < before {
            here.resize(length, 0);
            to.read_at(&mut here, offset).map_err(Error::io("read the copy of", &name))?;
            if here != there {
                return Err(differs(sequence, "the backup has other bytes in it than the log"));
            }
        } else {
            to.write_at(&there, offset).map_err(Error::io("write the copy of", &name))?;
            progress(length as u64);
        }
        offset += length as u64;
    }
    to.sync_all().map_err(Error::io("sync the copy of", &name))
}

fn differs(sequence: u64, detail: &str) -> Error {
    Error::Backup { file: segment_name(sequence), detail: detail.to_owned() }
}

/// Appends a log's records up to a position to a writer that stands at the beginning, and makes them
/// durable. `progress` is told of records as they are written.
///
/// # Errors
/// What reading or writing says; `Backup` where a record is longer than the new log's batches.
pub fn rewrite(
    reader: &Reader,
    upto: u64,
    writer: &mut Writer,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let mut after = writer.last_position();
    let mut records: Vec<Vec<u8>> = Vec::new();
    while after < upto {
        records.clear();
        let limit = RECORDS_PER_READ.min((upto - after) as usize);
        reader
            .read(after, limit, BYTES_PER_READ, &mut |_, record| records.push(record.to_vec()))?;
        for record in &records {
            append(writer, record)?;
        }
        after += records.len() as u64;
        progress(records.len() as u64);
    }
    flush(writer)
}

/// Appends one record, and makes what came before it durable where there is no room beside it.
///
/// # Errors
/// What writing says; `Backup` where the record is longer than a batch.
pub fn append(writer: &mut Writer, record: &[u8]) -> Result<(), Error> {
    let bytes = record.len() + RECORD_OVERHEAD_BYTES;
    if !writer.fits(bytes) {
        flush(writer)?;
        if !writer.fits(bytes)
            && let Some(job) = writer.prepare()
        {
            writer.prepared(job.run())?;
        }
        if !writer.fits(bytes) {
            let detail = format!("a record of {} bytes needs longer segments", record.len());
            return Err(Error::Backup { file: "the new log".to_owned(), detail });
        }
    }
    writer.append(&mut |buffer| buffer.extend_from_slice(record));
    Ok(())
}

/// Makes all that was appended durable.
///
/// # Errors
/// `Write`.
pub fn flush(writer: &mut Writer) -> Result<(), Error> {
    match writer.seal() {
        Some(job) => writer.finish(job.run()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
