//! What a data folder's journals hold, file by file and record by record. Nothing is locked and
//! nothing is changed: a server may be at work on the folder.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use onsale_core::{Event, Fact};
use onsale_journal::backup::{SegmentInfo, look};
use onsale_journal::open_read_only;
use serde_json::{Value, json};

use crate::api::shapes::Receipt;
use crate::backup::{identity, source};
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
    pub shards: Vec<Vec<Part>>,
}

/// A segment and where it lies.
pub struct Part {
    /// What it holds.
    pub info: SegmentInfo,
    /// Whether it is in the archive only.
    pub archived: bool,
}

/// Looks at every segment of a folder, or of one shard of it.
///
/// # Errors
/// It is no data folder, or a file can't be read.
pub fn inspect(
    data: &Path,
    archive: Option<&Path>,
    progress: &mut dyn FnMut(u64),
) -> anyhow::Result<Inspection> {
    let identity = identity(data)?;
    let mut shards = Vec::new();
    for shard in 0..identity.shards {
        let source = source(data, archive, shard);
        let mut parts = Vec::new();
        for (sequence, folder) in source.segments()? {
            let info = look(&source, sequence).with_context(|| format!("shard {shard}"))?;
            progress(info.bytes);
            parts.push(Part { info, archived: folder > 0 });
        }
        shards.push(parts);
    }
    Ok(Inspection { log: identity.log, shards })
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
    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("log {:032x}, {} shards", self.log, self.shards.len())];
        for (shard, parts) in self.shards.iter().enumerate() {
            let generation = parts.iter().map(|part| part.info.generation).max().unwrap_or(0);
            lines.push(format!("\nshard {shard}, generation {generation}"));
            let titles = ["segment", "bytes", "used", "first", "last", "batches"];
            lines.push(format!(
                "  {:>10} {:>12} {:>12} {:>12} {:>12} {:>8}",
                titles[0], titles[1], titles[2], titles[3], titles[4], titles[5]
            ));
            for part in parts {
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
        let shard = |(shard, parts): (usize, &Vec<Part>)| {
            json!({ "shard": shard,
                "generation": parts.iter().map(|part| part.info.generation).max(),
                "last_position": parts.iter().filter_map(|part| part.info.last).max(),
                "segments": parts.iter().map(segment).collect::<Vec<_>>() })
        };
        let shards: Vec<Value> = self.shards.iter().enumerate().map(shard).collect();
        json!({ "log": format!("{:032x}", self.log), "shards": shards })
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
