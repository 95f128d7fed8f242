//! Copies of full segments in a second folder, checks of what lies in both, and what may be let go.
//!
//! A copy gets its name in the archive only once it was written, synced, read back and found right. Only then may
//! the segment's file be used again (see [`crate::SpareJob`]), and only from the lowest segment on, so that
//! folder and archive together never have a gap, wherever a crash comes.

use std::io;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::format::{segment_name, temporary_name};
use crate::index::Shared;
use crate::scan::{Found, Scanned, open_segment, scan_file};
use crate::storage::{File, Kind, Storage};

/// How much is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// A segment that is full: nothing is ever added to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Its sequence.
    pub sequence: u64,
    /// Position of its first record.
    pub first: u64,
    /// Position of its last record; `first` - 1 or less where a start has taken over all that it held.
    pub last: u64,
    /// Length of its file.
    pub bytes: u64,
    /// Whether there is a verified copy in the archive.
    pub archived: bool,
}

/// A sealed segment without a copy, to be archived by a helper thread.
#[must_use = "nothing is archived until it is run"]
pub struct ArchiveJob {
    pub(crate) shared: Arc<Shared>,
    /// Which; none: the lowest there is.
    pub(crate) sequence: Option<u64>,
}

impl ArchiveJob {
    /// Copies the segment, reads the copy back, checks every checksum in both, and gives the copy its name. Gives
    /// the segment; none where nothing is to be archived any more.
    ///
    /// # Errors
    /// `Damaged` where the segment or what was read back is not right; `Io`. Nothing counts as archived then.
    pub fn run(self) -> Result<Option<Sealed>, Error> {
        let _one_at_a_time = self.shared.archiving();
        let Some(sealed) = self.shared.to_archive(self.sequence)? else { return Ok(None) };
        let archive = &**self.shared.stores.of(Kind::Archived);
        let temporary = temporary_name(sealed.sequence);
        if let Err(error) = self.copy(archive, &sealed, &temporary) {
            // Should this fail, too, the next try removes it.
            let _ = archive.remove(&temporary);
            return Err(error);
        }
        self.shared.set_archived(sealed.sequence, true);
        Ok(Some(Sealed { archived: true, ..sealed }))
    }

    fn copy(&self, archive: &dyn Storage, sealed: &Sealed, temporary: &str) -> Result<(), Error> {
        let (sequence, name) = (sealed.sequence, Kind::Archived.shown(sealed.sequence));
        let from = open_segment(&self.shared.stores, Kind::Live, sequence)?;
        let used_bytes = check(&self.shared, &*from, Kind::Live, sequence)?.used_bytes;
        match archive.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove what is left of", &name)(error));
            }
            _ => {}
        }
        let to = archive.create(temporary).map_err(Error::io("make", &name))?;
        let written = copy_bytes(&*from, &*to, used_bytes).map_err(Error::io("write", &name))?;
        if !is(Bug::ArchiveCopyNotSynced) {
            to.sync_all().map_err(Error::io("sync", &name))?;
        }
        drop(to);
        let copy = archive.open(temporary).map_err(Error::io("open", &name))?;
        check(&self.shared, &*copy, Kind::Archived, sequence)?;
        let read = checksum(&*copy, used_bytes).map_err(Error::io("read", &name))?;
        if read != written {
            return Err(damaged(&name, 0, sealed.first, "it was not read back as it was written"));
        }
        let finish = || {
            archive.rename(temporary, &segment_name(sequence))?;
            if is(Bug::ArchiveNameNotSynced) { Ok(()) } else { archive.sync() }
        };
        finish().map_err(Error::io("name", &name))
    }
}

/// Copies so many bytes, and gives their checksum.
fn copy_bytes(from: &dyn File, to: &dyn File, bytes: u64) -> io::Result<u32> {
    let write = |part: &[u8], offset| to.write_at(part, offset);
    pass_over(from, bytes, write)
}

fn checksum(file: &dyn File, bytes: u64) -> io::Result<u32> {
    pass_over(file, bytes, |_, _| Ok(()))
}

fn pass_over(
    file: &dyn File,
    bytes: u64,
    mut each: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<u32> {
    let mut buffer = vec![0; COPY_BYTES.min(bytes as usize)];
    let (mut offset, mut crc) = (0, 0);
    while offset < bytes {
        let part = &mut buffer[..COPY_BYTES.min((bytes - offset) as usize)];
        file.read_at(part, offset)?;
        each(part, offset)?;
        crc = crc32c::crc32c_append(crc, part);
        offset += part.len() as u64;
    }
    Ok(crc)
}

/// Reads a copy of a sealed segment and checks every checksum up to the last record that is the log's. What lies
/// behind that, after a crash, was never durable.
pub(crate) fn check(
    shared: &Shared,
    file: &dyn File,
    kind: Kind,
    sequence: u64,
) -> Result<Scanned, Error> {
    let (first, last) = shared.range(sequence)?;
    let is_headless = shared.head(sequence)?.is_none();
    let mut identity = shared.identity;
    let scanned = scan_file(file, kind.shown(sequence), kind, sequence, &mut identity)?;
    let error = |offset, position, why| Err(damaged(&scanned.name, offset, position, why));
    let damage = scanned.damage.first().copied();
    if is_headless {
        // Nothing, or what is left of a start that a crash cut short; unless it begins within the log.
        let is_missed = |batch: &&Found| batch.whole && batch.last() <= last;
        let missed = scanned.batches.iter().find(is_missed).map(|batch| batch.first);
        return match missed.or((first <= last).then_some(first)) {
            Some(position) => {
                error(damage.unwrap_or(0), position, "it does not begin with a batch")
            }
            None => Ok(scanned),
        };
    }
    let (mut next, mut end, mut chain) = (first, 0, None);
    for batch in scanned.batches.iter().filter(|batch| batch.first <= last) {
        if batch.first != next || chain.is_some_and(|chain| chain != batch.previous) {
            break;
        }
        if !batch.whole {
            return error(batch.offset, next, "the payload does not fit its checksum");
        }
        (next, end, chain) = (batch.last() + 1, batch.end(), Some(batch.chain));
    }
    if let Some(offset) = damage.filter(|offset| *offset < end) {
        return error(offset, next, "no batch can be read here");
    }
    if next <= last {
        let offset = scanned.damage.iter().find(|offset| **offset >= end);
        return error(*offset.unwrap_or(&end), next, "a batch should follow here");
    }
    Ok(scanned)
}

fn damaged(file: &str, offset: u64, position: u64, detail: &str) -> Error {
    Error::Damaged { file: file.to_owned(), offset, position, detail: detail.to_owned() }
}

/// A sealed segment to be checked by a helper thread, in the folder and in the archive.
#[must_use = "nothing is checked until it is run"]
pub struct ScrubJob {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sequence: u64,
}

/// What a check of a segment came to.
#[derive(Debug, Default)]
pub struct Scrubbed {
    /// Bytes that were read.
    pub bytes: u64,
    /// What was found: `Damaged`, `Io`, each of one file.
    pub found: Vec<Error>,
}

impl ScrubJob {
    /// Reads every copy that there is and checks every checksum. Changes nothing.
    #[must_use]
    pub fn run(self) -> Scrubbed {
        let mut scrubbed = Scrubbed::default();
        for kind in self.shared.copies(self.sequence).into_iter().flatten() {
            let checked = open_segment(&self.shared.stores, kind, self.sequence)
                .and_then(|file| check(&self.shared, &*file, kind, self.sequence));
            match checked {
                Ok(scanned) => scrubbed.bytes += scanned.length,
                // It may have been used again, or let go, meanwhile.
                Err(_) if !self.shared.copies(self.sequence).contains(&Some(kind)) => {}
                Err(error) => scrubbed.found.push(error),
            }
        }
        scrubbed
    }
}

/// Segments to be removed by a helper thread: the log then begins later.
#[must_use = "nothing is removed until it is run"]
pub struct TrimJob {
    pub(crate) shared: Arc<Shared>,
    pub(crate) below: u64,
    /// From where.
    pub(crate) kind: Kind,
}

impl TrimJob {
    /// Removes segments, from the lowest one on, whose records are all below the position and which are nowhere
    /// else. Gives how many.
    ///
    /// # Errors
    /// `Io`, `Damaged` (a segment's beginning can't be read): the rest is left.
    pub fn run(self) -> Result<u64, Error> {
        let mut removed = 0;
        while let Some(sequence) = self.shared.trim(self.below, self.kind)? {
            let store = self.shared.stores.of(self.kind);
            let (name, shown) = (segment_name(sequence), self.kind.shown(sequence));
            store.remove(&name).map_err(Error::io("remove", &shown))?;
            // One by one, so that never one is missing between two others.
            store.sync().map_err(Error::io("sync", "the folder of segments"))?;
            removed += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests;
