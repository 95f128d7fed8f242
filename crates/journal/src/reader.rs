//! Reads records by position, up to the durable one, from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::Error;
use crate::format::{BATCH_BYTES_MAX, BLOCK_BYTES, Decoded, Header, Records, segment_name};
use crate::scan::Identity;
use crate::storage::{File, Storage};

/// Where the batches are, and how far they are durable: shared by the writer and
/// its readers.
pub(crate) struct Shared {
    storage: Arc<dyn Storage>,
    identity: Identity,
    durable: AtomicU64,
    index: RwLock<Vec<Run>>,
}

/// Batches that follow each other, all in one segment.
struct Run {
    segment: u64,
    /// Position of the first record.
    first: u64,
    batches: Vec<Entry>,
    /// Held open only for the segment that is being written.
    file: Option<Arc<dyn File>>,
}

/// One batch, in 8 bytes: there may be millions.
struct Entry {
    /// Its first position, from the run's.
    first: u32,
    /// Its place in the segment, in blocks.
    block: u32,
}

/// Where a batch is.
#[derive(Clone)]
struct Place {
    segment: u64,
    offset: u64,
    /// Where the next one begins, if that is known: a guess at its length.
    end: Option<u64>,
    file: Option<Arc<dyn File>>,
}

impl Shared {
    pub(crate) fn new(storage: Arc<dyn Storage>, identity: Identity) -> Shared {
        let index = RwLock::default();
        Shared { storage, identity, durable: AtomicU64::new(0), index }
    }

    /// Adds the batch that follows all the others. `file` is its segment's, if it is
    /// being written.
    pub(crate) fn add(&self, segment: u64, offset: u64, first: u64, file: Option<&Arc<dyn File>>) {
        let mut runs = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if runs.last().is_none_or(|run| run.segment != segment) {
            if let Some(run) = runs.last_mut() {
                run.file = None;
                run.batches.shrink_to_fit();
            }
            let file = file.cloned();
            runs.push(Run { segment, first, batches: Vec::new(), file });
        }
        let run = runs.last_mut().expect("one was pushed where there was none");
        let block =
            u32::try_from(offset / BLOCK_BYTES as u64).expect("a segment's length is bounded");
        let first = u32::try_from(first - run.first).expect("a segment's records are bounded");
        run.batches.push(Entry { first, block });
    }

    /// Says that all up to this position is durable. What was added must reach there.
    pub(crate) fn set_durable(&self, position: u64) {
        self.durable.store(position, Ordering::Release);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Where the batch with this position is; the position must be durable.
    fn find(&self, position: u64) -> Option<Place> {
        let runs = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let at = runs.partition_point(|run| run.first <= position).checked_sub(1)?;
        let run = &runs[at];
        let after = run.batches.partition_point(|b| run.first + u64::from(b.first) <= position);
        let bytes = |entry: &Entry| u64::from(entry.block) * BLOCK_BYTES as u64;
        Some(Place {
            segment: run.segment,
            offset: bytes(run.batches.get(after.checked_sub(1)?)?),
            end: run.batches.get(after).map(bytes),
            file: run.file.clone(),
        })
    }
}

/// Reads durable records by position, from any thread.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { shared }
    }

    /// The highest position that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.shared.durable()
    }

    /// Hands out records in order, from the one after `after` to the durable one: up
    /// to `limit`, and up to `bytes_max` bytes, but at least one where there is one.
    ///
    /// # Errors
    /// `Damaged` or `Io`, with file and offset; what was handed out before is right.
    pub fn read(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        let durable = self.durable();
        let mut next = after.saturating_add(1);
        let (mut left, mut bytes_left) = (limit, bytes_max);
        let mut batch = Batch::default();
        while next <= durable && left > 0 {
            let header = self.load(next, &mut batch)?;
            let payload = header.payload(&batch.bytes).expect("it was loaded whole");
            let skipped = (next - header.first) as usize;
            for record in Records::new(payload).skip(skipped) {
                let is_first = next == after + 1;
                if left == 0 || (record.len() > bytes_left && !is_first) {
                    return Ok(());
                }
                each(next, record);
                next += 1;
                left -= 1;
                bytes_left = bytes_left.saturating_sub(record.len());
            }
        }
        Ok(())
    }

    /// One record.
    ///
    /// # Errors
    /// `NotThere` if the position is 0 or not durable; `Damaged` or `Io`, with file and offset.
    pub fn record(&self, position: u64) -> Result<Vec<u8>, Error> {
        let durable = self.durable();
        let mut found = None;
        if (1..=durable).contains(&position) {
            self.read(position - 1, 1, usize::MAX, &mut |_, record| found = Some(record.to_vec()))?;
        }
        found.ok_or(Error::NotThere { position, durable })
    }

    /// Segment and offset of the batch that holds a durable position, for messages.
    #[must_use]
    pub fn locate(&self, position: u64) -> Option<(String, u64)> {
        let durable = (1..=self.durable()).contains(&position);
        let place = durable.then(|| self.shared.find(position)).flatten()?;
        Some((segment_name(place.segment), place.offset))
    }

    /// Reads the batch that holds this durable position, and checks it.
    fn load(&self, position: u64, batch: &mut Batch) -> Result<Header, Error> {
        let place = self.shared.find(position).expect("durable positions are in the index");
        let name = segment_name(place.segment);
        let file = batch.open(&*self.shared.storage, place.segment, &name, place.file)?;
        let expected = Expected {
            identity: self.shared.identity,
            segment: place.segment,
            offset: place.offset,
            position,
        };
        // Marks may lie between this batch and the next: that much is read in vain.
        let next = place.end.map_or(0, |end| end.saturating_sub(place.offset));
        let length = (next as usize).clamp(BLOCK_BYTES, BATCH_BYTES_MAX);
        read_batch(&*file, &name, length, &expected, &mut batch.bytes)
    }
}

/// A batch in memory, and the segment that was opened for it: used again for the next.
#[derive(Default)]
pub(crate) struct Batch {
    pub bytes: Vec<u8>,
    opened: Option<(u64, Arc<dyn File>)>,
}

impl Batch {
    /// The segment's file: the one at hand, or the one opened last, or opened now.
    pub(crate) fn open(
        &mut self,
        storage: &dyn Storage,
        segment: u64,
        name: &str,
        at_hand: Option<Arc<dyn File>>,
    ) -> Result<Arc<dyn File>, Error> {
        let file = match (at_hand, &self.opened) {
            (Some(file), _) => file,
            (None, Some((opened, file))) if *opened == segment => Arc::clone(file),
            (None, _) => storage.open(name).map_err(Error::io("open", name))?,
        };
        self.opened = Some((segment, Arc::clone(&file)));
        Ok(file)
    }
}

/// What a batch must say of itself.
pub(crate) struct Expected {
    pub identity: Identity,
    pub segment: u64,
    pub offset: u64,
    /// A position that it holds.
    pub position: u64,
}

/// Reads one batch and checks it. `length` is how much to read at first.
pub(crate) fn read_batch(
    file: &dyn File,
    name: &str,
    length: usize,
    expected: &Expected,
    bytes: &mut Vec<u8>,
) -> Result<Header, Error> {
    let offset = expected.offset;
    let damaged = |detail: &str| Error::Damaged {
        file: name.to_owned(),
        offset,
        position: expected.position,
        detail: detail.to_owned(),
    };
    bytes.resize(length, 0);
    file.read_at(bytes, offset).map_err(Error::io("read", name))?;
    let Decoded::Header(header) = Header::decode(bytes) else {
        return Err(damaged("there was a batch here, but its header is not right any more"));
    };
    let is_expected = (expected.identity.log, expected.identity.shard)
        == (Some(header.log), Some(header.shard))
        && (header.segment, header.offset) == (expected.segment, offset)
        && !header.is_mark()
        && (header.first..=header.last()).contains(&expected.position);
    if !is_expected {
        return Err(damaged("another batch stands where this position was"));
    }
    let whole = header.batch_bytes();
    if whole > bytes.len() {
        let read = bytes.len();
        bytes.resize(whole, 0);
        file.read_at(&mut bytes[read..], offset + read as u64).map_err(Error::io("read", name))?;
    }
    match header.is_whole(bytes) {
        true => Ok(header),
        false => Err(damaged("the payload does not fit its checksum")),
    }
}

#[cfg(test)]
mod tests;
