//! Makes segments before they are needed: zeros all over, synced, and only then
//! under their own name, so that a batch written there later makes nothing grow
//! and needs no more room.

use std::io;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::format::{segment_name, temporary_name};
use crate::storage::{File, Storage};

/// How much is written at a time.
const FILL_BYTES: usize = 1 << 20;

/// A segment that batches can be written to.
pub(crate) struct Segment {
    pub sequence: u64,
    pub name: String,
    pub length: u64,
    pub file: Arc<dyn File>,
}

/// A spare segment to be made, on a helper thread: it writes and syncs as many bytes
/// as a segment has.
#[must_use = "the writer waits for its result"]
pub struct SpareJob {
    pub(crate) storage: Arc<dyn Storage>,
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
            Ok(file) => Ok(Segment { sequence: self.sequence, name, length: self.length, file }),
            Err(source) => {
                // Should this fail, too, the file has no standing and is removed by the next
                // try or the next start.
                let _ = self.storage.remove(&temporary);
                Err(Error::Spare { file: name, source })
            }
        }
    }

    fn fill(&self, temporary: &str, name: &str) -> io::Result<Arc<dyn File>> {
        match self.storage.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.storage.create(temporary)?;
        let zeros = vec![0; FILL_BYTES.min(self.length as usize)];
        let mut offset = 0;
        while offset < self.length {
            let bytes = zeros.len().min((self.length - offset) as usize);
            file.write_at(&zeros[..bytes], offset)?;
            offset += bytes as u64;
        }
        file.sync_all()?;
        self.storage.rename(temporary, name)?;
        if !is(Bug::FolderNotSynced) {
            self.storage.sync()?;
        }
        Ok(file)
    }
}
