//! Makes segments before they are needed: zeros all over, synced, and only then
//! under their own name, so that a batch written there later makes nothing grow
//! and needs no more room.
//!
//! The file of the lowest segment is used again where that is sealed, archived and released: its copy is
//! checked once more; its name is taken away, for good; only then are its bytes. A crash in between costs
//! a file without standing, which the next start removes.

use std::io;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::archive::check;
use crate::format::{segment_name, temporary_name};
use crate::index::Shared;
use crate::scan::open_segment;
use crate::storage::{File, Kind, Storage};

/// How much is written at a time, and synced before more is: the syncs of batches wait behind
/// what the disk has still to write, and behind a whole segment that is long.
const FILL_BYTES: usize = 1 << 20;

/// A segment that batches can be written to.
pub(crate) struct Segment {
    pub sequence: u64,
    pub name: String,
    pub length: u64,
    /// How often its file was a segment before.
    pub reuse: u32,
    pub file: Arc<dyn File>,
}

/// A spare segment to be made, on a helper thread: it writes and syncs as many bytes
/// as a segment has.
#[must_use = "the writer waits for its result"]
pub struct SpareJob {
    pub(crate) storage: Arc<dyn Storage>,
    /// Where to look for a segment to use again.
    pub(crate) shared: Option<Arc<Shared>>,
    pub(crate) sequence: u64,
    pub(crate) length: u64,
}

/// How it went.
#[must_use = "the writer waits for it"]
pub struct SpareDone {
    pub(crate) result: Result<Segment, Error>,
}

impl SpareJob {
    /// Makes it. What could not be finished is taken away again.
    pub fn run(self) -> SpareDone {
        SpareDone { result: self.make() }
    }

    pub(crate) fn make(&self) -> Result<Segment, Error> {
        let name = segment_name(self.sequence);
        let temporary = temporary_name(self.sequence);
        match self.fill(&temporary, &name) {
            Ok((file, reuse)) => {
                let (sequence, length) = (self.sequence, self.length);
                Ok(Segment { sequence, name, length, reuse, file })
            }
            Err(source) => {
                // Should this fail, too, the file has no standing and is removed by the next
                // try or the next start.
                let _ = self.storage.remove(&temporary);
                Err(Error::Spare { file: name, source })
            }
        }
    }

    fn fill(&self, temporary: &str, name: &str) -> io::Result<(Arc<dyn File>, u32)> {
        match self.storage.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (file, reuse) = match self.take_used(temporary)? {
            Some(used) => used,
            None => (self.storage.create(temporary)?, 0),
        };
        let zeros = vec![0; FILL_BYTES.min(self.length as usize)];
        let mut offset = 0;
        while offset < self.length {
            let bytes = zeros.len().min((self.length - offset) as usize);
            file.write_at(&zeros[..bytes], offset)?;
            offset += bytes as u64;
            if offset < self.length {
                file.sync_data()?;
            }
        }
        file.sync_all()?;
        self.storage.rename(temporary, name)?;
        if !is(Bug::FolderNotSynced) {
            self.storage.sync()?;
        }
        Ok((file, reuse))
    }

    /// The file of a segment that is not needed any more, under this name, and how often it was used; none where
    /// there is none.
    fn take_used(&self, temporary: &str) -> io::Result<Option<(Arc<dyn File>, u32)>> {
        let Some(shared) = &self.shared else { return Ok(None) };
        // A segment that can't be read is not used again.
        let Some(sealed) = shared.reusable().ok().flatten() else { return Ok(None) };
        let copy = open_segment(&shared.stores, Kind::Archived, sealed.sequence);
        match copy.and_then(|file| check(shared, &*file, Kind::Archived, sealed.sequence)) {
            Ok(_) => {}
            Err(Error::Damaged { .. }) => {
                shared.set_archived(sealed.sequence, false);
                return Ok(None);
            }
            Err(_) if is(Bug::ReusedBeforeArchived) => {}
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                shared.set_archived(sealed.sequence, false);
                return Ok(None);
            }
            Err(_) => return Ok(None),
        }
        let head = shared.head(sealed.sequence).ok().flatten();
        shared.set_live(sealed.sequence, false);
        let name = segment_name(sealed.sequence);
        if let Err(error) = self.storage.rename(&name, temporary) {
            shared.set_live(sealed.sequence, true);
            return Err(error);
        }
        // The name must be gone for good before the bytes are.
        self.storage.sync()?;
        let file = self.storage.open(temporary)?;
        if file.length()? > self.length {
            file.truncate(self.length)?;
        }
        Ok(Some((file, head.map_or(0, |head| head.reuse).saturating_add(1))))
    }
}
