//! Opens a log: keeps what may have been acknowledged, and makes that durable again
//! before anything new is written.
//!
//! After a process was killed, the end of the log may be in the page cache only. So
//! every start copies the tail, which is all above the highest position that is proven durable, to
//! a new segment under a higher term, syncs, and only then writes a mark which says
//! that it is durable. A crash in between leaves a new segment without that mark: it proves
//! nothing, the older segments are still there, and the next start does the same again.

use std::collections::VecDeque;
use std::sync::Arc;

use onsale_planted::{Bug, is};

use crate::Error;
use crate::format::{
    BLOCK_BYTES, FLAG_COPY, FLAG_MARK, HEADER_BYTES, Header, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    segment_name,
};
use crate::index::Shared;
use crate::plan::{Plan, Replay};
use crate::reader::{Batch, Reader};
use crate::scan::Identity;
use crate::spare::{Segment, SpareJob};
use crate::storage::{Kind, Storage, Stores};
use crate::writer::{State, Term, Writer};

/// What a log is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length of new segments: a multiple of 4,096 from
    /// [`SEGMENT_BYTES_MIN`] to [`SEGMENT_BYTES_MAX`]. May change from start to start.
    pub segment_bytes: u64,
    /// Id of the log.
    pub log: u128,
    /// Which of its shards.
    pub shard: u16,
    /// Its generation, where the log has none that is higher.
    pub generation: u32,
    /// When a batch counts as durable.
    pub durability: Durability,
}

/// When a batch counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// When it is on the disk: it survives whatever does not break the disk.
    #[default]
    Synced,
    /// When the operating system has it: it survives the end of the process, but where the machine
    /// ends the last batches may be lost, back to any position since the last segment began.
    Os,
}

/// An open log.
pub struct Opened {
    /// Its writer.
    pub writer: Writer,
    /// A reader; clone it as often as needed.
    pub reader: Reader,
    /// The last position that it holds, all of them durable; 0 where it is new.
    pub last_position: u64,
    /// Its generation.
    pub generation: u32,
    /// Whether it is new, or the last run has closed it: nothing that was given a position was lost.
    pub clean: bool,
    /// Remarks for the log of the program: foreign files, what was cut and where.
    pub notes: Vec<String>,
}

/// A log that is only looked at.
pub struct ReadOnly {
    /// A reader of all that a start would keep.
    pub reader: Reader,
    /// Id of the log.
    pub log: u128,
    /// Which of its shards.
    pub shard: u16,
    /// Its generation.
    pub generation: u32,
    /// The last position that a start would keep.
    pub last_position: u64,
    /// The last position that is proven to have been durable; what is above may have been.
    pub proven: u64,
    /// Remarks: foreign files, what was cut and where.
    pub notes: Vec<String>,
}

/// Opens the log in this folder, or makes it. Every record above `from` that is kept is handed to `replay`, in
/// order; segments that can't hold one are not read. When this returns, all records are durable, and the writer
/// stands on a new segment under a higher term: old ones are never appended to. Nothing is written before what
/// was read is found right and replayed.
///
/// # Errors
/// `Damaged`, `Missing`, `Foreign`, `Version`, `Options`, `Gone` where the log begins above `from` + 1,
/// `NotThere` where it ends below `from`: nothing was changed. `Replay`, with what the caller said: nothing was changed
/// either. `Io`, `Spare`, `Write`: the disk refused something; another try loses nothing.
pub fn open(
    stores: impl Into<Stores>,
    options: Options,
    from: u64,
    replay: &mut Replay<'_>,
) -> Result<Opened, Error> {
    open_stores(&stores.into(), options, from, replay)
}

fn open_stores(
    stores: &Stores,
    options: Options,
    from: u64,
    replay: &mut Replay<'_>,
) -> Result<Opened, Error> {
    check(&options)?;
    let identity = Identity { log: Some(options.log), shard: Some(options.shard) };
    let mut plan = Plan::read(stores, identity, from)?;
    let generation = options.generation.max(plan.generation);
    let options = Options { generation, ..options };
    let shared = plan.index(stores);
    plan.replay(&shared, from, replay)?;
    let writer = begin_term(&shared, &options, &plan)?;
    give_back_unwritten(&*stores.live, &mut plan);
    let (last_position, clean) = (plan.last(), plan.clean);
    let reader = Reader::new(shared);
    Ok(Opened { writer, reader, last_position, generation, clean, notes: plan.notes })
}

/// Reads the log in this folder without changing anything: what it gives is what a start would
/// keep. No writer may be at work on it.
///
/// # Errors
/// `Damaged`, `Missing`, `Foreign`, `Version`, `Io`; `Empty` where there is no log.
pub fn open_read_only(stores: impl Into<Stores>) -> Result<ReadOnly, Error> {
    look(&stores.into(), 0)
}

/// The same for a log of which nothing is needed up to this position, and may be gone.
///
/// # Errors
/// As [`open_read_only`]; `Gone` where it begins above `from` + 1, `NotThere` where it ends below `from`.
pub fn open_read_only_from(stores: impl Into<Stores>, from: u64) -> Result<ReadOnly, Error> {
    look(&stores.into(), from)
}

fn look(stores: &Stores, from: u64) -> Result<ReadOnly, Error> {
    let plan = Plan::read(stores, Identity::default(), from)?;
    let (Some(log), Some(shard)) = (plan.identity.log, plan.identity.shard) else {
        return Err(Error::Empty);
    };
    let shared = plan.index(stores);
    shared.set_durable(plan.last());
    Ok(ReadOnly {
        reader: Reader::new(shared),
        log,
        shard,
        generation: plan.generation,
        last_position: plan.last(),
        proven: plan.proven,
        notes: plan.notes,
    })
}

fn check(options: &Options) -> Result<(), Error> {
    let bytes = options.segment_bytes;
    let fine = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes)
        && bytes.is_multiple_of(BLOCK_BYTES as u64);
    match fine {
        true => Ok(()),
        false => Err(Error::Options {
            detail: format!(
                "segment_bytes is {bytes}: must be a multiple of {BLOCK_BYTES} from \
                 {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
            ),
        }),
    }
}

/// Takes a blank segment, copies the tail to it, and makes it durable.
fn begin_term(shared: &Arc<Shared>, options: &Options, plan: &Plan) -> Result<Writer, Error> {
    let storage = &shared.stores.live;
    for name in &plan.unfinished {
        storage.remove(name).map_err(Error::io("remove", name))?;
    }
    // Names that an earlier run gave may be in memory only.
    storage.sync().map_err(Error::io("sync", "the folder"))?;
    let (_, tail) = plan.split();
    let tail_bytes: u64 = tail.iter().map(|batch| batch.found.batch_bytes).sum();
    let length = options.segment_bytes.max(tail_bytes + BLOCK_BYTES as u64);
    let mut spares = take_spares(&**storage, plan, options.segment_bytes, length)?;
    let segment = match spares.pop_front() {
        Some(segment) => segment,
        None => {
            let (storage, sequence) = (Arc::clone(storage), plan.next_sequence());
            SpareJob { storage, shared: None, sequence, length }.make()?
        }
    };
    let term = Term {
        log: options.log,
        shard: options.shard,
        generation: options.generation,
        term: segment.sequence,
        base: plan.last(),
        segment_bytes: options.segment_bytes,
    };
    shared.unpin();
    let offset = copy_tail(plan, &term, &segment, shared)?;
    shared.set_durable(plan.last());
    shared.set_synced(plan.last());
    let state = State { segment, offset, spares, last: plan.last(), chain: plan.chain() };
    Ok(Writer::new(Arc::clone(shared), options.durability, term, state))
}

/// Opens the spares that can be used. If one can't, it and those after it are taken
/// away, from the last one on, so that never one is missing between two others.
fn take_spares(
    storage: &dyn Storage,
    plan: &Plan,
    segment_bytes: u64,
    first_bytes: u64,
) -> Result<VecDeque<Segment>, Error> {
    let fits = |(_, length): &&(u64, u64)| *length == segment_bytes && first_bytes <= *length;
    let usable = plan.spares.iter().take_while(fits).count();
    for (sequence, _) in plan.spares[usable..].iter().rev() {
        let name = segment_name(*sequence);
        storage.remove(&name).map_err(Error::io("remove", &name))?;
        storage.sync().map_err(Error::io("sync", "the folder"))?;
    }
    let open = |(sequence, length): &(u64, u64)| {
        let name = segment_name(*sequence);
        let file = storage.open(&name).map_err(Error::io("open", &name))?;
        Ok(Segment { sequence: *sequence, name, length: *length, reuse: 0, file })
    };
    plan.spares[..usable].iter().map(open).collect()
}

/// Writes the tail to the new segment, syncs it, then a mark which says so, and syncs
/// that. Gives back where the mark ends.
fn copy_tail(plan: &Plan, term: &Term, segment: &Segment, shared: &Shared) -> Result<u64, Error> {
    let mut offset = 0;
    let failed = |offset| {
        let file = segment.name.clone();
        move |source| Error::Write { file, offset, source }
    };
    let mut batch = Batch::default();
    let (_, tail) = plan.split();
    for kept in tail {
        let found = plan.load(&shared.stores, kept, &mut batch)?;
        let copy = Header {
            flags: FLAG_COPY,
            previous: found.previous,
            first: found.first,
            durable_upto: plan.proven,
            count: found.count,
            payload_bytes: found.payload_bytes,
            payload_crc: found.payload_crc,
            ..term.header(segment.sequence, offset)
        };
        // A header that a later minor form made longer is written as this version knows it.
        let extra = usize::from(found.header_bytes) - HEADER_BYTES;
        batch.bytes.drain(..extra);
        batch.bytes.truncate(HEADER_BYTES + copy.payload_bytes as usize);
        batch.bytes.resize(copy.batch_bytes(), 0);
        copy.encode(&mut batch.bytes);
        segment.file.write_at(&batch.bytes, offset).map_err(failed(offset))?;
        shared.add(&copy, &segment.file);
        offset += batch.bytes.len() as u64;
    }
    if offset > 0 && !is(Bug::TailNotSynced) {
        segment.file.sync_data().map_err(failed(0))?;
    }
    let mark = Header {
        flags: FLAG_MARK,
        previous: plan.chain(),
        first: plan.last() + 1,
        durable_upto: plan.last(),
        ..term.header(segment.sequence, offset)
    };
    let mut bytes = vec![0; BLOCK_BYTES];
    mark.encode(&mut bytes);
    segment.file.write_at(&bytes, offset).map_err(failed(offset))?;
    if !is(Bug::TailNotSynced) {
        segment.file.sync_data().map_err(failed(offset))?;
    }
    shared.add(&mark, &segment.file);
    Ok(offset + BLOCK_BYTES as u64)
}

/// Cuts the zeros that a former run did not come to write on off its segments, which are never appended
/// to: many starts would otherwise fill the disk. They say nothing, so nothing is lost.
fn give_back_unwritten(storage: &dyn Storage, plan: &mut Plan) {
    for segment in &plan.segments {
        let is_full = segment.used_bytes == 0 || segment.used_bytes == segment.length;
        if is_full || segment.kind == Kind::Archived {
            continue;
        }
        let cut = storage.open(&segment.name).and_then(|file| file.truncate(segment.used_bytes));
        if let Err(error) = cut {
            plan.notes.push(format!("{}: unused room was not given back: {error}", segment.name));
        }
    }
}

#[cfg(test)]
mod tests;
