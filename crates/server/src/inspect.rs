//! What a data folder's journals hold, file by file and record by record. Nothing is locked and
//! nothing is changed: a server may be at work on the folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use onsale_core::{Event, Fact};
use onsale_engine::{Folder, snapshots};
use onsale_journal::backup::{SegmentInfo, Source, look};
use onsale_journal::format::segment_name;
use onsale_journal::{Error, ReadOnly, Stores, open_read_only, open_read_only_from};
use serde_json::{Value, json};

use crate::api::shapes::Receipt;
use crate::backup::{ensure_archive, identity, read_manifest, source};
use crate::catalogue::time_to_text;
use crate::stream;

/// Records read at a time.
const RECORDS_PER_READ: usize = 1_000;
/// Bytes read at a time.
const BYTES_PER_READ: usize = 4 << 20;
/// How often a log is opened whose writer is at work: it may go on to the next segment meanwhile.
const TRIES: usize = 5;

/// The journals of a folder.
pub struct Inspection {
    log: u128,
    /// The shards, in order.
    pub shards: Vec<Journal>,
    /// What is wrong beside them.
    pub wrong: Vec<String>,
}

/// A shard's journal.
#[derive(Default)]
pub struct Journal {
    /// Its segments, in order.
    pub parts: Vec<Part>,
    /// The last position that a start would keep, where it can be told.
    last: Option<u64>,
    /// What is wrong: something that was acknowledged can't be read, or is there only once where it should be twice.
    pub wrong: Vec<String>,
    /// What else there is to say.
    notes: Vec<String>,
}

/// A segment and where it lies.
pub struct Part {
    /// What it holds.
    pub info: SegmentInfo,
    /// Whether it is in the archive only.
    pub archived: bool,
}

/// Looks at every segment of a folder, and whether a start would read them all.
///
/// # Errors
/// It is no data folder, or what it says of itself can't be read.
pub fn inspect(
    data: &Path,
    archive: Option<&Path>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Inspection> {
    let identity = identity(data)?;
    ensure_archive(archive)?;
    // It is asked for first: a server may be about to begin them.
    let begun = Folder::has_begun(data);
    // What it says was there before the segments are looked at: a backup under way may add to them.
    let manifest = read_manifest(data)?;
    let mut shards = Vec::new();
    for shard in 0..identity.shards {
        let mut tries = 1;
        let journal = loop {
            let mut journal = Journal::default();
            if let Err(error) = journal.read(data, archive, (identity.log, shard), progress) {
                journal.wrong.push(error.to_string());
            }
            if journal.wrong.is_empty() || tries == TRIES {
                break journal;
            }
            tries += 1;
        };
        shards.push(journal);
    }
    let at_work = begun || shards.iter().any(|journal: &Journal| journal.last > Some(1));
    for journal in shards.iter_mut().filter(|journal| at_work && journal.last == Some(0)) {
        journal.wrong.push("it holds nothing, though this log had begun".to_owned());
    }
    let mut wrong = Vec::new();
    for name in manifest.iter().flat_map(|manifest| manifest.missing_files(data)) {
        wrong.push(format!("{name} is missing, though backup.json says that it was copied"));
    }
    let saved = manifest.map(|manifest| manifest.shards).unwrap_or_default();
    for (journal, saved) in shards.iter_mut().zip(saved) {
        let of = saved.last_position;
        if let Some(last) = journal.last.filter(|last| *last < of) {
            journal.wrong.push(format!("it ends at position {last}, though backup.json says {of}"));
        }
    }
    Ok(Inspection { log: identity.log, shards, wrong })
}

impl Journal {
    fn read(
        &mut self,
        data: &Path,
        archive: Option<&Path>,
        (log, shard): (u128, u16),
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        let both = source(data, archive, shard);
        let only = |folder: &Path| Arc::new(Source::new([Folder::shard_path(folder, shard)]));
        let live = only(data);
        let archive = archive.filter(|folder| Folder::shard_path(folder, shard).exists());
        let archive = archive.map(only);
        let copies = archive.as_ref().map(|archive| archive.segments()).transpose()?;
        let segments = both.segments()?;
        if let Some(copies) = &copies {
            self.find_lost_copies(&segments, copies.is_empty());
        }
        for (sequence, folder) in segments {
            let info = look(&both, sequence)?;
            progress(info.bytes);
            let copied = copies.iter().any(|copies| copies.contains_key(&sequence));
            if let Some(archive) = archive.as_ref().filter(|_| folder == 0 && copied) {
                let copy = look(&**archive, sequence)?;
                progress(copy.bytes);
                self.compare(&info, &copy);
            }
            self.parts.push(Part { info, archived: folder > 0 });
        }
        let snapshots = snapshots(&*live).unwrap_or_default();
        let archive = archive.map(|archive| archive as Arc<dyn onsale_journal::storage::Storage>);
        let opened = self.open(&Stores { live, archive })?;
        self.last = Some(opened.as_ref().map_or(0, |opened| opened.last_position));
        if opened.as_ref().is_some_and(|opened| (opened.log, opened.shard) != (log, shard)) {
            self.wrong.push("it is another log's".to_owned());
        }
        let ahead = snapshots.first().filter(|position| Some(**position) > self.last);
        if let Some(position) = ahead {
            self.wrong.push(format!(
                "there is a snapshot of position {position}, which the log does not reach: records are lost"
            ));
        }
        self.notes.extend(opened.into_iter().flat_map(|opened| opened.notes));
        Ok(())
    }

    /// Files that were moved to the archive and are not there. Retention takes the lowest ones, and never all.
    fn find_lost_copies(&mut self, segments: &BTreeMap<u64, usize>, nothing_archived: bool) {
        let archived = segments.iter().take_while(|(_, folder)| **folder > 0);
        let mut before = None;
        for (sequence, _) in archived.chain(segments.iter().find(|(_, folder)| **folder == 0)) {
            if before.is_some_and(|before| before + 1 < *sequence) {
                let missing = segment_name(sequence - 1);
                self.wrong
                    .push(format!("archive/{missing} is missing, though an earlier file is there"));
            }
            before = Some(*sequence);
        }
        if let Some(first) = before.filter(|first| nothing_archived && *first > 1) {
            let first = segment_name(first);
            self.wrong.push(format!(
                "the archive holds no file of it, though those before {first} were moved there"
            ));
        }
    }

    /// Reads it as a start would; none where nothing is in it.
    fn open(&mut self, stores: &Stores) -> Result<Option<ReadOnly>, Error> {
        let begins_at = match open_read_only(stores.clone()) {
            Err(Error::Empty) => return Ok(None),
            Err(Error::Gone { begins_at }) => begins_at,
            Err(error @ Error::Missing { .. }) if stores.archive.is_none() => {
                self.notes.push("if it was archived, name the archive by --archive".to_owned());
                return Err(error);
            }
            opened => return opened.map(Some),
        };
        self.notes.push(format!("begins at position {begins_at}: what was before is gone"));
        open_read_only_from(stores.clone(), begins_at - 1).map(Some)
    }

    /// A segment and its copy hold the same.
    fn compare(&mut self, here: &SegmentInfo, copy: &SegmentInfo) {
        let held = |info: &SegmentInfo| (info.first, info.last, info.batches);
        if held(here) != held(copy) {
            self.wrong.push(format!(
                "{} is damaged: {} batches can be read of it in the data folder, {} in the archive",
                segment_name(here.sequence),
                here.batches,
                copy.batches
            ));
        }
    }

    fn generation(&self) -> u32 {
        self.parts.iter().map(|part| part.info.generation).max().unwrap_or(0)
    }
}

impl Part {
    fn kind(&self) -> &'static str {
        match (self.info.is_blank(), self.archived) {
            (true, _) => "spare",
            (false, true) => "archived",
            (false, false) => "in use",
        }
    }
}

impl Inspection {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.shards.iter().all(|journal| journal.wrong.is_empty())
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("log {:032x}, {} shards", self.log, self.shards.len())];
        lines.extend(self.wrong.iter().map(|wrong| format!("  WRONG: {wrong}")));
        for (shard, journal) in self.shards.iter().enumerate() {
            lines.push(format!("\nshard {shard}, generation {}", journal.generation()));
            let titles = ["segment", "bytes", "used", "first", "last", "batches"];
            lines.push(format!(
                "  {:>10} {:>12} {:>12} {:>12} {:>12} {:>8}",
                titles[0], titles[1], titles[2], titles[3], titles[4], titles[5]
            ));
            for part in &journal.parts {
                let SegmentInfo { sequence, bytes, used_bytes, batches, .. } = part.info;
                let number = |n: Option<u64>| n.map_or("–".to_owned(), |n| n.to_string());
                let (first, last) = (number(part.info.first), number(part.info.last));
                let damage = match part.info.damage.first() {
                    None => String::new(),
                    Some(at) => format!(", no whole batch at offset {at}"),
                };
                lines.push(format!(
                    "  {sequence:>10} {bytes:>12} {used_bytes:>12} {first:>12} {last:>12} {batches:>8}  {}{damage}",
                    part.kind()
                ));
            }
            lines.extend(journal.wrong.iter().map(|wrong| format!("  WRONG: {wrong}")));
            lines.extend(journal.notes.iter().map(|note| format!("  {note}")));
        }
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let segment = |part: &Part| {
            let info = &part.info;
            json!({ "sequence": info.sequence, "kind": part.kind(), "bytes": info.bytes,
                "used_bytes": info.used_bytes, "first": info.first, "last": info.last,
                "batches": info.batches, "term": info.term, "generation": info.generation,
                "durable_upto": info.durable_upto, "damage": info.damage })
        };
        let shard = |(shard, journal): (usize, &Journal)| {
            let parts = &journal.parts;
            json!({ "shard": shard, "generation": journal.generation(),
                "last_position": parts.iter().filter_map(|part| part.info.last).max(),
                "segments": parts.iter().map(segment).collect::<Vec<_>>(),
                "wrong": journal.wrong, "notes": journal.notes })
        };
        let shards: Vec<Value> = self.shards.iter().enumerate().map(shard).collect();
        json!({ "log": format!("{:032x}", self.log), "ok": self.is_right(), "shards": shards,
            "wrong": self.wrong })
    }
}

/// Writes records `from..=to` of a shard as JSON, a line each.
///
/// # Errors
/// The log can't be read, or the output can't be written.
pub fn records(
    data: &Path,
    archive: Option<&Path>,
    shard: u16,
    (from, to): (u64, u64),
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let identity = identity(data)?;
    ensure_archive(archive)?;
    anyhow::ensure!(shard < identity.shards, "there is no shard {shard}");
    let source = Arc::new(source(data, archive, shard));
    let mut tries = 1;
    let opened = loop {
        match open_read_only(source.clone()) {
            Ok(opened) => break opened,
            Err(error) if tries == TRIES => return Err(error).context(format!("shard {shard}")),
            Err(_) => tries += 1,
        }
    };
    let to = to.min(opened.reader.durable());
    let mut after = from.saturating_sub(1);
    while after < to {
        let mut lines = Vec::new();
        let limit = RECORDS_PER_READ.min((to - after) as usize);
        opened.reader.read(after, limit, BYTES_PER_READ, &mut |position, record| {
            lines.push((position, onsale_codec::decode(record)));
            after = position;
        })?;
        for (position, event) in lines {
            let event = event.with_context(|| format!("shard {shard}, position {position}"))?;
            writeln!(out, "{}", show(identity.log, shard, position, &event))?;
        }
    }
    Ok(())
}

/// A record as the stream shows it, ticket codes and the secret left out.
#[must_use]
pub fn show(log: u128, shard: u16, position: u64, event: &Event) -> Value {
    let receipt = Receipt { shard, position, durability: "" };
    if let Some(shown) = stream::show(log, receipt, event, &[], true) {
        return serde_json::to_value(shown).expect("a record can be written as JSON");
    }
    let (kind, data) = match &event.fact {
        Fact::ShardStarted(started) => (
            "onsale.shard.started.v1",
            json!({ "log": format!("{:032x}", started.log), "shard": started.shard,
                "shards": started.shards, "generation": started.generation }),
        ),
        Fact::GenerationStarted { generation } => {
            ("onsale.generation.started.v1", json!({ "generation": generation }))
        }
        _ => ("onsale.unknown", Value::Null),
    };
    json!({ "type": kind, "time": time_to_text(event.at), "shard": shard, "position": position,
        "data": data })
}
