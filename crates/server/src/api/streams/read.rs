//! Reading records for one answer or one piece of a live stream: only up to the durable
//! position, only those of the key's organizer.

use std::io::ErrorKind;

use onsale_core::event::Subject;
use onsale_core::view::TicketView;
use onsale_core::{Event, Fact, Id};
use onsale_engine::{Query, ShardInfo, Unavailable, View};
use tokio::time::Instant;

use super::super::work::{look, record};
use super::super::{Api, Result};
use crate::api::shapes::Receipt;
use crate::problem::{Problem, kind};
use crate::stream::{CloudEvent, confirms, show};

/// Bytes of records read at a time.
const BYTES_PER_READ: usize = 1 << 20;
/// Records looked at for one answer at most: others' records take time, too.
const SCANNED_MAX: u64 = 50_000;

/// What was found, and how far was looked.
pub struct Scan {
    /// Records to show, with their positions.
    pub found: Vec<(u64, Event)>,
    /// The last position that was looked at.
    pub next: u64,
}

/// The lowest position that is left of a shard.
///
/// # Errors
/// The journal can't be read.
pub async fn begins_at(info: &ShardInfo) -> Result<u64> {
    let reader = info.reader.clone();
    let begins_at = tokio::task::spawn_blocking(move || reader.begins_at()).await;
    let begins_at = begins_at.map_err(|error| unreadable(info.shard, &error))?;
    begins_at.map_err(|error| broken(info.shard, error))
}

/// Reads on until there is something to show of this organizer (none: of all), the time is over, or enough was looked at.
///
/// # Errors
/// The position is gone, or the records can't be read.
pub async fn scan(
    api: &Api,
    info: &ShardInfo,
    organizer: Option<&Id>,
    after: u64,
    limit: usize,
    until: Instant,
) -> Result<Scan> {
    let mut durable = api.shards.durable(info.shard).expect("the shard is there");
    let mut draining = api.draining.subscribe();
    let mut scan = Scan { found: Vec::new(), next: after };
    loop {
        let end = *durable.borrow_and_update();
        while scan.next < end && scan.found.len() < limit && scan.next - after < SCANNED_MAX {
            read(info, organizer, &mut scan, limit).await?;
        }
        let enough = !scan.found.is_empty() || scan.next - after >= SCANNED_MAX;
        if enough || *draining.borrow_and_update() {
            return Ok(scan);
        }
        tokio::select! {
            moved = durable.changed() => if moved.is_err() { return Ok(scan) },
            _ = draining.changed() => {}
            () = tokio::time::sleep_until(until) => return Ok(scan),
        }
    }
}

/// Reads one piece, on a thread that may block.
///
/// # Errors
/// The position is gone, or the records can't be read.
pub async fn read(
    info: &ShardInfo,
    organizer: Option<&Id>,
    scan: &mut Scan,
    limit: usize,
) -> Result<()> {
    let (reader, after, limit) = (info.reader.clone(), scan.next, limit - scan.found.len());
    let shard = info.shard;
    let piece = tokio::task::spawn_blocking(move || {
        let mut piece = Vec::new();
        let mut undecoded = None;
        let mut each = |position, bytes: &[u8]| match onsale_codec::decode(bytes) {
            Ok(event) => piece.push((position, event)),
            Err(error) => undecoded = Some(format!("position {position}: {error}")),
        };
        let read = reader.read(after, limit, BYTES_PER_READ, &mut each);
        read.map_err(|error| broken(shard, error))?;
        undecoded.map_or(Ok(piece), |error| Err(unreadable(shard, &error)))
    });
    let piece = piece.await.map_err(|error| unreadable(shard, &error))??;
    match piece.last() {
        Some((position, _)) => scan.next = *position,
        None => return Err(unreadable(shard, &"nothing where records must be")),
    }
    let covers = |subject: Subject| organizer.is_none_or(|own| *own == subject.organizer);
    let shown = |event: &Event| event.subject.is_some_and(covers);
    scan.found.extend(piece.into_iter().filter(|(_, event)| shown(event)));
    Ok(())
}

fn broken(shard: u16, error: onsale_journal::Error) -> Box<Problem> {
    match error {
        onsale_journal::Error::Gone { begins_at } => gone("after", begins_at),
        onsale_journal::Error::Io { source, .. } if source.kind() == ErrorKind::NotConnected => {
            Problem::from_unavailable(Unavailable::Unreachable)
        }
        error => unreadable(shard, &error),
    }
}

/// The position in this field is past retention.
pub fn gone(field: &str, begins_at: u64) -> Box<Problem> {
    let detail = format!("the shard begins at {begins_at} now");
    let mut problem = Problem::field(&kind::POSITION_GONE, field, detail);
    problem.begins_at = Some(begins_at);
    problem
}

fn unreadable(shard: u16, error: &dyn std::fmt::Display) -> Box<Problem> {
    tracing::error!(shard, %error, "records can't be read");
    Problem::new(&kind::UNREADABLE_RECORD, format!("records of shard {shard} can't be read"))
}

/// Records as they are shown.
///
/// # Errors
/// A record that one of them refers to can't be read.
pub async fn shown(
    api: &Api,
    info: &ShardInfo,
    found: &[(u64, Event)],
    redacted: bool,
) -> Result<Vec<CloudEvent>> {
    let mut records = Vec::with_capacity(found.len());
    for (position, event) in found {
        let tickets = match confirms(&event.fact) {
            true => tickets(api, info, event).await?,
            false => Vec::new(),
        };
        let durability = info.durability.as_str();
        let at = Receipt { shard: info.shard, position: *position, durability };
        records.extend(show(info.log, at, event, &tickets, redacted));
    }
    Ok(records)
}

/// The tickets of the order that a record confirms. A payment's record has no
/// lines: they stand in the record that placed its order.
async fn tickets(api: &Api, info: &ShardInfo, event: &Event) -> Result<Vec<TicketView>> {
    match (&event.fact, event.subject) {
        (Fact::OrderPlaced(placed), _) => Ok(info.key.tickets(placed)),
        (Fact::PaymentRecorded(recorded), Some(Subject { organizer, event })) => {
            let query = Query::Order { organizer, event, order: recorded.order };
            let (View::Order(view), _) = look(api, query).await? else { return Ok(Vec::new()) };
            match record(api, info.shard, view.position)?.fact {
                Fact::OrderPlaced(placed) => Ok(info.key.tickets(&placed)),
                _ => Ok(Vec::new()),
            }
        }
        _ => Ok(Vec::new()),
    }
}
