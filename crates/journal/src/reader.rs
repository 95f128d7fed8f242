//! Reads records by position, up to the durable one, from any thread.

use std::sync::Arc;

use crate::Error;
use crate::archive::Sealed;
use crate::format::{
    BATCH_BYTES_MAX, BLOCK_BYTES, Decoded, FIRST_SEQUENCE, Header, Records, segment_name,
};
use crate::index::{Found, Place, Shared, not_in};
use crate::scan::{Identity, open_segment};
use crate::storage::{File, Kind, Stores};

/// Reads records that came before the one at hand.
pub trait Earlier {
    /// One of them.
    ///
    /// # Errors
    /// `NotThere` if the position is 0 or comes later; `Gone`; `Damaged` or `Io`, with file and offset.
    fn record(&self, position: u64) -> Result<Vec<u8>, Error>;

    /// The last position that there is now, or that will be handed out.
    fn last(&self) -> u64;
}

impl Earlier for Reader {
    fn record(&self, position: u64) -> Result<Vec<u8>, Error> {
        Reader::record(self, position)
    }

    fn last(&self) -> u64 {
        self.durable()
    }
}

/// Records that are kept elsewhere than in files of this crate. Calls may wait for another machine.
pub trait Elsewhere: Send + Sync {
    /// The highest position that is known to be durable.
    fn durable(&self) -> u64;

    /// The lowest position that is left.
    ///
    /// # Errors
    /// `Io`: it can't be reached.
    fn begins_at(&self) -> Result<u64, Error>;

    /// As [`Reader::read`].
    ///
    /// # Errors
    /// As [`Reader::read`].
    fn read(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error>;
}

/// Reads durable records by position, from any thread.
#[derive(Clone)]
pub struct Reader {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Files(Arc<Shared>),
    Elsewhere(Arc<dyn Elsewhere>),
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Reader {
        Reader { source: Source::Files(shared) }
    }

    /// One that reads what is kept elsewhere.
    #[must_use]
    pub fn elsewhere(records: Arc<dyn Elsewhere>) -> Reader {
        Reader { source: Source::Elsewhere(records) }
    }

    /// The files that it reads.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Shared {
        match &self.source {
            Source::Files(shared) => shared,
            Source::Elsewhere(_) => panic!("it reads no files"),
        }
    }

    /// The highest position that is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        match &self.source {
            Source::Files(shared) => shared.durable(),
            Source::Elsewhere(records) => records.durable(),
        }
    }

    /// Hands out records in order, from the one after `after` to the durable one: up
    /// to `limit`, and up to `bytes_max` bytes, but at least one where there is one.
    ///
    /// # Errors
    /// `Damaged` or `Io`, with file and offset; `Gone` where the log begins later now. What was handed out before
    /// is right.
    pub fn read(
        &self,
        after: u64,
        limit: usize,
        bytes_max: usize,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), Error> {
        let files = match &self.source {
            Source::Files(shared) => Files { shared },
            Source::Elsewhere(records) => return records.read(after, limit, bytes_max, each),
        };
        let durable = self.durable();
        let mut next = after.saturating_add(1);
        let (mut left, mut bytes_left) = (limit, bytes_max);
        let mut batch = Batch::default();
        while next <= durable && left > 0 {
            let header = files.load(next, &mut batch)?;
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
    /// `NotThere` if the position is 0 or not durable; `Gone`; `Damaged` or `Io`, with file and offset.
    pub fn record(&self, position: u64) -> Result<Vec<u8>, Error> {
        let durable = self.durable();
        let mut found = None;
        if (1..=durable).contains(&position) {
            self.read(position - 1, 1, usize::MAX, &mut |_, record| found = Some(record.to_vec()))?;
        }
        found.ok_or(Error::NotThere { position, durable })
    }

    /// The lowest position that is left, or the one that comes next where the log is empty.
    ///
    /// # Errors
    /// `Io`, `Damaged`: the first segment can't be read.
    pub fn begins_at(&self) -> Result<u64, Error> {
        let shared = match &self.source {
            Source::Files(shared) => shared,
            Source::Elsewhere(records) => return records.begins_at(),
        };
        let first = shared.sequences().start;
        if first == FIRST_SEQUENCE {
            return Ok(1);
        }
        Ok(shared.range(first)?.0)
    }

    /// The sealed segments in the folder, in order; of a log that is only looked at, or is kept elsewhere, none.
    ///
    /// # Errors
    /// `Io`, `Foreign`, `Version`.
    pub fn sealed(&self) -> Result<Vec<Sealed>, Error> {
        match &self.source {
            Source::Files(shared) => shared.sealed(),
            Source::Elsewhere(_) => Ok(Vec::new()),
        }
    }

    /// Segment and offset of the batch that holds a durable position, for messages.
    #[must_use]
    pub fn locate(&self, position: u64) -> Option<(String, u64)> {
        let Source::Files(shared) = &self.source else { return None };
        if !(1..=self.durable()).contains(&position) {
            return None;
        }
        let place = match shared.find(position).ok()? {
            Found::Here(place) => place,
            Found::Gone(_) => return None,
            Found::In(segment) => {
                let mut copies = shared.copies(segment).into_iter().flatten();
                copies.find_map(|kind| shared.run(segment, kind).ok()?.find(position))?
            }
        };
        Some((place.kind.shown(place.segment), place.offset))
    }
}

/// The segments of a log, to be read from.
struct Files<'a> {
    shared: &'a Arc<Shared>,
}

impl Files<'_> {
    /// Reads the batch that holds this durable position, and checks it.
    fn load(&self, position: u64, batch: &mut Batch) -> Result<Header, Error> {
        match self.shared.find(position)? {
            Found::Here(place) => self.load_at(&place, position, batch),
            Found::In(segment) => self.load_from(segment, position, batch),
            Found::Gone(_) if self.shared.sequences().start == FIRST_SEQUENCE => {
                Err(not_in(FIRST_SEQUENCE, position))
            }
            Found::Gone(begins_at) => Err(Error::Gone { begins_at }),
        }
    }

    /// Reads from a segment that is full, or from another place that has the same, if there is one.
    fn load_from(&self, segment: u64, position: u64, batch: &mut Batch) -> Result<Header, Error> {
        let mut found_error = match self.load_copy(segment, position, batch) {
            Err(error @ Error::Damaged { .. }) => error,
            result => return result,
        };
        // A segment whose first block is broken is not known to begin where it does: its records
        // seem to be in the one before it.
        for headless in self.shared.headless_after(segment) {
            match self.load_copy(headless, position, batch) {
                Ok(header) => return Ok(header),
                Err(error) if self.shared.has_batches(headless) => found_error = error,
                Err(_) => {}
            }
        }
        // A start that could not read a mark copied the tail from below it: from there on first
        // positions have fallen once.
        for later in segment + 1..self.shared.sequences().end {
            if self.shared.head(later).is_ok_and(|head| head.is_some_and(|h| h.first <= position))
                && let Ok(header) = self.load_copy(later, position, batch)
            {
                return Ok(header);
            }
        }
        // The tail that a start has copied is there a second time.
        if let (Some(before), Some(head)) =
            (segment.checked_sub(1), self.shared.head(segment).ok().flatten())
            && let Ok(header) = self.load_copy(before, position, batch)
            && header.term < head.term
            && header.last() <= head.base
        {
            return Ok(header);
        }
        Err(found_error)
    }

    /// Reads from one segment: from its file, or else from its archived copy.
    fn load_copy(&self, segment: u64, position: u64, batch: &mut Batch) -> Result<Header, Error> {
        let mut first_error = None;
        for kind in self.shared.copies(segment).into_iter().flatten() {
            let loaded = self.shared.run(segment, kind).and_then(|run| {
                let place = run.find(position).ok_or_else(|| not_in(segment, position))?;
                self.load_at(&place, position, batch).inspect_err(|_| {
                    // Perhaps a header was read wrongly once: they are read again the next time.
                    if position <= run.last {
                        self.shared.forget_run(segment, kind);
                    }
                })
            });
            match loaded {
                Ok(header) => return Ok(header),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Missing { file: segment_name(segment) }))
    }

    fn load_at(&self, place: &Place, position: u64, batch: &mut Batch) -> Result<Header, Error> {
        let Place { segment, kind, offset, .. } = *place;
        let file = batch.open(&self.shared.stores, segment, kind, place.file.as_ref())?;
        let identity = self.shared.identity;
        let expected = Expected { identity, segment, offset, position };
        // Marks may lie between this batch and the next: that much is read in vain.
        let next = place.end.map_or(0, |end| end.saturating_sub(offset));
        let length = (next as usize).clamp(BLOCK_BYTES, BATCH_BYTES_MAX);
        read_batch(&*file, &kind.shown(segment), length, &expected, &mut batch.bytes)
    }
}

/// A batch in memory, and the segment that was opened for it: used again for the next.
#[derive(Default)]
pub(crate) struct Batch {
    pub bytes: Vec<u8>,
    opened: Option<(u64, Kind, Arc<dyn File>)>,
}

impl Batch {
    /// The segment's file: the one at hand, or the one opened last, or opened now.
    pub(crate) fn open(
        &mut self,
        stores: &Stores,
        segment: u64,
        kind: Kind,
        at_hand: Option<&Arc<dyn File>>,
    ) -> Result<Arc<dyn File>, Error> {
        if let Some(file) = at_hand {
            return Ok(Arc::clone(file));
        }
        let file = match &self.opened {
            Some((opened, of, file)) if (*opened, *of) == (segment, kind) => Arc::clone(file),
            _ => open_segment(stores, kind, segment)?,
        };
        self.opened = Some((segment, kind, Arc::clone(&file)));
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
