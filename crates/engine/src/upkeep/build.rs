//! Snapshots and files of ids, made from records.

use onsale_codec as codec;
use onsale_core::event::ShardStarted;
use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::sale::{ApplyError, Needs};
use onsale_core::{CodeKey, Event, Fact, Sale, Time};
use onsale_journal::{Earlier, Reader, Sealed};

use onsale_planted::{Bug, is};

use super::Upkeep;
use crate::ids::{self, Entry, Extent};
use crate::snapshot::{self, Header, Snapshot};

/// Records read at a time, and their bytes.
const RECORDS_PER_READ: usize = 10_000;
const BYTES_PER_READ: usize = 4 << 20;
/// How often one event may need more records before it can be applied.
const THAWS_MAX: usize = 8;

/// Reads an event from its record.
pub fn event_at(earlier: &dyn Earlier, position: u64) -> Result<Event, String> {
    let record = earlier.record(position).map_err(|error| error.to_string())?;
    codec::decode(&record).map_err(|error| format!("position {position}: {error}"))
}

/// The time of a record.
pub fn time_of(reader: &Reader, position: u64) -> Result<Time, String> {
    event_at(reader, position).map(|event| event.at)
}

/// Reads the records that a state needs, and hands them to it.
pub fn thaw(sale: &mut Sale, needs: &Needs, earlier: &dyn Earlier) -> Result<(), String> {
    let mut records = Vec::new();
    for position in &needs.positions {
        records.push((*position, event_at(earlier, *position)?));
    }
    sale.thaw(&records).map_err(|error| error.to_string())
}

/// Applies an event, and reads what records it needs.
pub fn apply(
    sale: &mut Sale,
    position: u64,
    event: &Event,
    earlier: &dyn Earlier,
) -> Result<(), String> {
    applied(sale, earlier, &mut |sale| sale.apply(position, event))
}

/// Lets `apply` apply an event, and reads what records it needs.
pub fn applied(
    sale: &mut Sale,
    earlier: &dyn Earlier,
    apply: &mut dyn FnMut(&mut Sale) -> Result<(), ApplyError>,
) -> Result<(), String> {
    for _ in 0..THAWS_MAX {
        match apply(sale) {
            Err(ApplyError::Needs(needs)) => thaw(sale, &needs, earlier)?,
            applied => return applied.map_err(|error| error.to_string()),
        }
    }
    Err("the same old records are needed again and again".to_owned())
}

/// Hands out the events from one position to another.
fn each_event(
    reader: &Reader,
    first: u64,
    last: u64,
    each: &mut dyn FnMut(u64, &Event) -> Result<(), String>,
) -> Result<(), String> {
    let mut next = first;
    while next <= last {
        let limit = RECORDS_PER_READ.min((last - next + 1) as usize);
        let (after, mut result) = (next - 1, Ok(()));
        let mut take = |position, record: &[u8]| {
            if result.is_ok() {
                let event = codec::decode(record).map_err(|error| error.to_string());
                result = event
                    .and_then(|event| each(position, &event))
                    .map_err(|error| format!("position {position}: {error}"));
                next = position + 1;
            }
        };
        reader.read(after, limit, BYTES_PER_READ, &mut take).map_err(|e| e.to_string())?;
        result?;
    }
    Ok(())
}

/// Short keys, positions and times of the ids from one position to another.
pub fn keys(upkeep: &Upkeep, first: u64, last: u64) -> Result<Vec<(u64, u64, Time)>, String> {
    let (mut found, key) = (Vec::new(), upkeep.key);
    let sale = knows_keys(upkeep.log, upkeep.shard, key)?;
    each_event(&upkeep.reader, first, last, &mut |position, event| {
        let id = sale.event_command_key(event).map(|id| ids::short_key(key, id));
        found.extend(id.map(|id| (id, position, event.at)));
        Ok(())
    })?;
    Ok(found)
}

impl Upkeep {
    /// Writes the file of ids of a sealed segment, and takes it into the window. One that is older
    /// than the window needs none.
    pub fn make_ids(&mut self, segment: &Sealed, now: Time) -> Result<(), String> {
        let Sealed { sequence, first, last, .. } = *segment;
        if last < first || time_of(&self.reader, last)?.0 < now.0 - COMMANDS_REMEMBERED_US {
            self.indexed = sequence;
            return Ok(());
        }
        let (mut entries, mut last_at) = (Vec::<Entry>::new(), 0);
        let sale = knows_keys(self.log, self.shard, self.key)?;
        each_event(&self.reader, first, last, &mut |position, event| {
            let taken = !is(Bug::IdsFileShort) || position <= first + (last - first) / 2;
            if let Some(key) = sale.event_command_key(event).filter(|_| taken) {
                entries.push((ids::short_key(self.key, key), position));
            }
            last_at = event.at.0;
            Ok(())
        })?;
        let extent = Extent { log: self.log, shard: self.shard, sequence, first, last, last_at };
        let written = ids::write(&self.storage, &extent, &mut entries);
        self.window.add(written.map_err(|error| format!("{}: {error}", ids::name(sequence)))?);
        self.indexed = sequence;
        self.fill(super::FILL_IDS)
    }

    /// The state in the newest snapshot that is right; else the one before the first record.
    fn restored(&self) -> Sale {
        let load = |position: &u64| load(&*self.storage, &snapshot::name(*position)).ok();
        self.snapshots.iter().find_map(load).map_or_else(Sale::new, |(sale, _)| sale)
    }
}

/// A state that knows no more than how keys of command ids are made.
pub fn knows_keys(log: u128, shard: u16, key: CodeKey) -> Result<Sale, String> {
    let mut sale = Sale::new();
    let started = ShardStarted { log, shard, shards: shard + 1, key, generation: 1 };
    let fact = Fact::ShardStarted(started);
    let event = Event { at: Time(0), stamp: None, subject: None, fact };
    sale.apply(1, &event).map_err(|error| error.to_string())?;
    Ok(sale)
}

/// Makes a snapshot of the state after a position, from the one before it and the records between;
/// gives the time of the last.
pub fn snapshot(upkeep: &mut Upkeep, upto: u64) -> Result<Time, String> {
    let mut sale = upkeep.restored();
    sale.keep_hot(upkeep.rules.orders_hot);
    sale.keep_ids(upkeep.rules.ids_hot);
    let (reader, storage) = (&upkeep.reader, &*upkeep.storage);
    each_event(reader, sale.position() + 1, upto, &mut |position, event| {
        if position == upto && is(Bug::SnapshotLacksRecord) {
            return Ok(());
        }
        apply(&mut sale, position, event, reader)
    })?;
    let header = Header {
        log: upkeep.log,
        shard: upkeep.shard,
        position: upto,
        at: sale.time().0,
        generation: sale.generation(),
        hash: sale.hash(),
    };
    let ids: Vec<u64> = upkeep.window.sequences().collect();
    let failed = |error: std::io::Error| format!("{}: {error}", snapshot::name(upto));
    snapshot::write(storage, &header, &ids, |each| {
        codec::snapshot::encode(&sale, &mut |part: &[u8]| each(part));
    })
    .map_err(failed)?;
    // One state at a time in memory.
    drop(sale);
    let (read, found) = load(storage, snapshot::TEMPORARY_NAME)?;
    if (read.hash() != header.hash || found != header) && !is(Bug::SnapshotForgetsIds) {
        return Err("a snapshot does not read back as it was written".to_owned());
    }
    snapshot::publish(storage, upto).map_err(failed)?;
    Ok(Time(header.at))
}

/// Reads a snapshot.
pub fn load(
    storage: &dyn onsale_journal::storage::Storage,
    name: &str,
) -> Result<(Sale, Header), String> {
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let snapshot = Snapshot::open(storage, name).map_err(failed)?;
    let mut decoder = codec::snapshot::Decoder::new();
    snapshot
        .read(&mut |part| decoder.chunk(part).map_err(|error| error.to_string()))
        .map_err(failed)?;
    let sale = decoder.finish().map_err(|error| format!("{name}: {error}"))?;
    let header = *snapshot.header();
    match (sale.position(), sale.log(), sale.shard()) == (header.position, header.log, header.shard)
    {
        true => Ok((sale, header)),
        false => Err(format!("{name}: it is not of the state that its header says")),
    }
}
