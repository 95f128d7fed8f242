//! How one shard comes back to life: the newest snapshot that is right, the records after it,
//! and the files of command ids.

use std::sync::Arc;

use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::{Fact, Sale, Time, limits};
use onsale_journal::storage::Storage;
use onsale_journal::{Opened, Reader, Sealed, Stores, WriteJob};

use onsale_planted::{Bug, is};

use super::replay::Replay;
use super::{FIRST_GENERATION, Identity, Options};
use crate::ids::{self, Ids, IdsFile};
use crate::info::Durability;
use crate::shard::Parts;
use crate::upkeep::{SNAPSHOTS_KEPT, Upkeep, build};
use crate::{Error, Shard, snapshot};

/// Ids that are brought into the filter before the shard serves; the rest comes after, and is looked up in
/// the files until then.
const FILL_AT_START: usize = 2 << 20;

/// Opens one shard. Says, too, whether the last run had closed its log.
pub(super) fn open_shard<T>(
    identity: Identity,
    options: &Options,
    shard: u16,
    stores: Stores,
    wall: Time,
) -> Result<(Shard<T>, bool), Error> {
    let storage = Arc::clone(&stores.live);
    let start = Start { shard, log: identity.log, storage: Arc::clone(&storage) };
    let mut notes = Vec::new();
    let mut snapshots = start.snapshots()?;
    let highest = snapshots.first().copied();
    let mut sale = start.newest(&mut snapshots, &mut notes);
    sale.keep_hot(options.rules.orders_hot);
    sale.keep_ids(options.rules.ids_hot);
    let (from, snapshot_at) = (sale.position(), sale.time());
    let mut known = Ids::default();
    let archive = stores.archive.clone().filter(|_| !options.elsewhere);
    let journal = journal_options(identity, options, shard);
    let opened = std::thread::scope(|scope| {
        let mut replay = Replay::new(&mut sale, &mut known, scope);
        onsale_journal::open(stores, journal, from, &mut |position, record, earlier| {
            replay.take(position, record, earlier)
        })
    });
    let Opened { writer, reader, last_position, clean, notes: found, .. } = match opened {
        Err(onsale_journal::Error::NotThere { durable, .. }) if from > 0 => {
            return Err(start.ahead(from, durable));
        }
        opened => opened.map_err(|source| Error::Journal { shard, source })?,
    };
    // One that is damaged has its position in its name.
    if let Some(highest) = highest.filter(|highest| *highest > last_position) {
        return Err(start.ahead(highest, last_position));
    }
    notes.extend(found);
    if let Some(archive) = archive {
        notes.extend(lost_beginning(&*archive, &reader, options.rules.retention_us));
    }
    snapshots.truncate(SNAPSHOTS_KEPT);
    let mut upkeep = Upkeep::new(storage, reader.clone(), options.rules);
    (upkeep.log, upkeep.shard, upkeep.key) = (identity.log, shard, sale.key());
    upkeep.snapshots = snapshots;
    upkeep.figures.snapshot_at = snapshot_at;
    let sealed = writer.sealed().map_err(|source| Error::Journal { shard, source })?;
    let now = wall.max(sale.time());
    // After a power loss the segment in use may begin below the snapshot: what was sealed before, but
    // not proven, was copied to it.
    let begins_at =
        writer.segment_begins_at().map_err(|source| Error::Journal { shard, source })?;
    if begins_at <= from {
        let taken = build::keys(&upkeep, begins_at, from);
        known.push_before(taken.map_err(|detail| start.failed("the journal", detail))?);
    }
    start.index(&mut upkeep, &sealed, from.min(begins_at - 1), now, &mut notes)?;
    known.take(Arc::new(upkeep.window.clone()));
    let parts = Parts {
        sale,
        writer,
        reader,
        durability: options.durability,
        elsewhere: options.elsewhere,
        ids: known,
        upkeep: Box::new(upkeep),
        notes,
    };
    Ok((Shard::new(parts), clean))
}

fn journal_options(identity: Identity, options: &Options, shard: u16) -> onsale_journal::Options {
    onsale_journal::Options {
        segment_bytes: options.segment_bytes,
        log: identity.log,
        shard,
        generation: FIRST_GENERATION,
        durability: match options.durability {
            _ if options.elsewhere => onsale_journal::Durability::Os,
            Durability::Os => onsale_journal::Durability::Os,
            // The others are promises of who keeps the log elsewhere, too.
            _ => onsale_journal::Durability::Synced,
        },
    }
}

/// Begins a new generation, for good: what was answered before may be lost, and its codes must not
/// come again.
pub(super) fn raise_generation<T>(
    shard: &mut Shard<T>,
    number: u16,
    wall: Time,
) -> Result<(), Error> {
    let generation = shard.sale().generation() + 1;
    if generation > limits::GENERATIONS_MAX {
        let detail = "has had its last generation: it can't go on after an unclean end".to_owned();
        return Err(Error::FirstRecord { shard: number, detail });
    }
    shard.raise_generation(generation);
    let fact = Fact::GenerationStarted { generation };
    write_first(shard, number, wall, fact, &mut |_, _| Ok(()))
}

/// Writes a record about the shard itself, onto the disk, too, where batches are not synced: others rely on it.
pub(super) fn write_first<T>(
    shard: &mut Shard<T>,
    number: u16,
    wall: Time,
    fact: Fact,
    keep: &mut dyn FnMut(u16, &WriteJob) -> std::io::Result<()>,
) -> Result<(), Error> {
    let failed = |source| Error::Journal { shard: number, source };
    shard.write_first(wall, fact, &mut |job| keep(number, job)).map_err(failed)?;
    if is(Bug::FirstRecordNotSynced) {
        return Ok(());
    }
    shard.sync().map_err(|detail| Error::File {
        shard: number,
        file: "the journal".to_owned(),
        detail,
    })
}

/// Says so where the first records are gone, and nothing may have removed them: retention leaves some of the archive.
/// Where a file is damaged that nobody needs now, that is found when it is read.
fn lost_beginning(
    archive: &dyn Storage,
    reader: &Reader,
    retention_us: Option<i64>,
) -> Option<String> {
    let begins_at = reader.begins_at().ok().filter(|position| *position > 1)?;
    let holds_some = archive.list().ok()?.iter().any(|name| name.ends_with(".seg"));
    let why = match (holds_some, retention_us) {
        (true, Some(_)) => return None,
        (true, None) => "though archive.retention_days removes none",
        (false, _) => "and the archive holds no file of this shard",
    };
    Some(format!(
        "records before position {begins_at} are neither in the folder nor in the archive, {why}: put the files back; \
         until then orders of that time can't be shown, paid, cancelled or refunded"
    ))
}

/// Where one shard is read from.
struct Start {
    shard: u16,
    log: u128,
    storage: Arc<dyn Storage>,
}

impl Start {
    fn failed(&self, file: &str, detail: String) -> Error {
        Error::File { shard: self.shard, file: file.to_owned(), detail }
    }

    fn ahead(&self, position: u64, last: u64) -> Error {
        let detail = format!(
            "it is of position {position}, but the log ends at {last}: records are lost that were \
             durable. Nothing was changed. Put the missing files back; or, to go on with what is \
             left, take the snapshot away"
        );
        self.failed(&snapshot::name(position), detail)
    }

    /// Positions of the snapshots, the newest first.
    fn snapshots(&self) -> Result<Vec<u64>, Error> {
        snapshot::list(&*self.storage).map_err(|error| self.failed("snapshots", error.to_string()))
    }

    /// The state in the newest snapshot that is right; those that are not are taken off the list.
    fn newest(&self, snapshots: &mut Vec<u64>, notes: &mut Vec<String>) -> Sale {
        while let Some(position) = snapshots.first() {
            match build::load(&*self.storage, &snapshot::name(*position)) {
                Ok((sale, header)) if (header.log, header.shard) == (self.log, self.shard) => {
                    return sale;
                }
                Ok(_) => notes.push(format!("{}: of another log", snapshot::name(*position))),
                Err(error) => notes.push(format!("{error}: passed over")),
            }
            snapshots.remove(0);
        }
        Sale::new()
    }

    /// Takes up the files of ids. Those that are missing or damaged are made again if the records
    /// that were replayed do not have them.
    fn index(
        &self,
        upkeep: &mut Upkeep,
        sealed: &[Sealed],
        from: u64,
        now: Time,
        notes: &mut Vec<String>,
    ) -> Result<(), Error> {
        let names = self.storage.list().map_err(|e| self.failed("files of ids", e.to_string()))?;
        let mut sequences: Vec<u64> = names.iter().filter_map(|n| ids::parse_name(n)).collect();
        sequences.sort_unstable();
        for sequence in sequences {
            let segment = sealed.iter().find(|s| s.sequence == sequence);
            match IdsFile::open(&self.storage, sequence) {
                Ok(file) if self.fits(&file, segment) => upkeep.window.add(file),
                Ok(_) => notes.push(format!("{}: not of this segment", ids::name(sequence))),
                Err(error) => notes.push(format!("{}: {error}", ids::name(sequence))),
            }
        }
        for sequence in upkeep.window.drop_old(now) {
            let removed = ids::remove_if_there(&*self.storage, &ids::name(sequence));
            removed.map_err(|error| self.failed(&ids::name(sequence), error.to_string()))?;
        }
        loop {
            let lacks = |s: &&Sealed| s.last <= from && s.sequence > upkeep.indexed;
            let next = sealed.iter().filter(lacks).find(|s| !upkeep.window.has(s.sequence));
            let Some(segment) = next else { break };
            let made = upkeep.make_ids(segment, now);
            made.map_err(|detail| self.failed(&ids::name(segment.sequence), detail))?;
        }
        self.find_gap(upkeep, from, now, notes);
        // A block that is damaged is found here, or when it is read.
        for _ in 0..sealed.len() + 1 {
            match upkeep.window.fill(FILL_AT_START) {
                Ok(_) => break,
                Err((sequence, error)) => {
                    notes.push(format!("{}: {error}: made again", ids::name(sequence)));
                    upkeep.window.forget(sequence);
                    if let Some(segment) = sealed.iter().find(|s| s.sequence == sequence) {
                        let made = upkeep.make_ids(segment, now);
                        made.map_err(|detail| self.failed(&ids::name(sequence), detail))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Says since when ids are known, where some are in no file and can't be put into one.
    fn find_gap(&self, upkeep: &mut Upkeep, from: u64, now: Time, notes: &mut Vec<String>) {
        let gap = upkeep.window.gap_below(from);
        if gap == 0 {
            return;
        }
        let at = build::time_of(&upkeep.reader, gap).unwrap_or(now);
        if at.0 >= now.0 - COMMANDS_REMEMBERED_US {
            upkeep.window.since = Time(at.0 + 1_000_000);
            notes.push(format!("command ids up to position {gap} are not known any more"));
        }
    }

    fn fits(&self, file: &IdsFile, segment: Option<&Sealed>) -> bool {
        let extent = file.extent();
        (extent.log, extent.shard) == (self.log, self.shard)
            && segment.is_none_or(|s| (s.first, s.last) == (extent.first, extent.last))
    }
}
