//! The stream `sales` over HTTP: read by cursor, with long-poll.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use hyper::StatusCode;
use onsale_core::event::Subject;
use onsale_core::view::TicketView;
use onsale_core::{Event, Fact};
use onsale_engine::{Query, ShardInfo, View};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::openapi::RecordsQuery;
use super::shapes::Receipt;
use super::work::{look, record};
use super::{Api, Call, Rendered, Result, query};
use crate::keys::{Grant, Scope};
use crate::problem::{Problem, kind};
use crate::stream::{CloudEvent, confirms, show};

/// Records in one answer at most.
const RECORDS_MAX: u64 = 1_000;
/// Records in one answer where nothing is said.
const RECORDS_DEFAULT: u64 = 100;
/// Longest wait, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;
/// Bytes of records read at a time.
const BYTES_PER_READ: usize = 1 << 20;
/// Records looked at for one answer at most: others' records take time, too.
const SCANNED_MAX: u64 = 50_000;
/// Who may read the stream.
const LOOK: [Scope; 2] = [Scope::Read, Scope::Manage];

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list_shards)).routes(routes!(read_records))
}

/// The shards of a stream.
#[derive(Debug, Serialize, ToSchema)]
struct ShardList {
    /// `sales`.
    stream: &'static str,
    /// Id of the log. With another id, positions mean other records.
    #[schema(format = "uuid")]
    log: String,
    /// Its shards. Order is kept within each.
    shards: Vec<ShardRange>,
}

/// A shard and its positions.
#[derive(Debug, Serialize, ToSchema)]
struct ShardRange {
    /// Which, from 0.
    shard: u16,
    /// Position of its first record.
    first: u64,
    /// What to pass as `after` to read only what comes from now on: the position of
    /// its last record.
    next: u64,
}

/// Records of a shard, in order.
#[derive(Debug, Serialize, ToSchema)]
struct Records {
    /// Which shard.
    shard: u16,
    /// The records of the key's organizer. Positions have gaps: others' records are
    /// not shown.
    records: Vec<CloudEvent>,
    /// What to pass as `after` next time. It grows even where no record is shown.
    next: u64,
}

/// Lists the shards of the stream.
///
/// With the scope `read` or `manage`.
#[utoipa::path(
    get,
    path = "/v1/streams/sales/shards",
    tag = "streams",
    responses((status = 200, description = "The shards.", body = ShardList)),
)]
async fn list_shards(State(api): State<Arc<Api>>, call: Call) -> Result<Rendered> {
    call.needs(&LOOK)?;
    let infos: Vec<&ShardInfo> =
        (0..api.shards.count()).filter_map(|n| api.shards.info(n)).collect();
    let range =
        |info: &&ShardInfo| ShardRange { shard: info.shard, first: 1, next: info.reader.durable() };
    let log = infos.first().map_or(0, |info| info.log);
    let log = Uuid::from_u128(log).to_string();
    let list = ShardList { stream: "sales", log, shards: infos.iter().map(range).collect() };
    Ok(Rendered::json(StatusCode::OK, &list))
}

/// Reads records of a shard after a position.
///
/// With the scope `read` or `manage`. `after` is exclusive. With `wait_ms` the answer waits until
/// there is a record to show, or the time is over. Records are complete: what is
/// shown is on the disk.
#[utoipa::path(
    get,
    path = "/v1/streams/sales/records",
    tag = "streams",
    params(RecordsQuery),
    responses((status = 200, description = "The records, maybe none.", body = Records)),
)]
async fn read_records(State(api): State<Arc<Api>>, call: Call) -> Result<Rendered> {
    call.needs(&LOOK)?;
    let asked: RecordsQuery = query::parse(&call.uri)?;
    let number =
        |name, text: &Option<String>, min, max| query::number(name, text.as_deref(), min, max);
    let shard = number("shard", &asked.shard, 0, u16::MAX.into())?;
    let limit = number("limit", &asked.limit, 1, RECORDS_MAX)?.unwrap_or(RECORDS_DEFAULT);
    let wait_ms = number("wait_ms", &asked.wait_ms, 0, WAIT_MS_MAX)?.unwrap_or(0);
    let after = number("after", &asked.after, 0, i64::MAX as u64)?.unwrap_or(0);
    let shard = shard.ok_or_else(|| {
        Problem::field(
            &kind::INVALID_QUERY,
            "shard",
            "must be there; /v1/streams/sales/shards lists them",
        )
    })? as u16;
    let Some(info) = api.shards.info(shard) else {
        let detail = format!("there is no shard {shard}");
        return Err(Problem::field(&kind::UNKNOWN_SHARD, "shard", detail));
    };
    let durable = info.reader.durable();
    if after > durable {
        let detail = format!("the shard ends at {durable}");
        let mut problem = Problem::field(&kind::BEYOND_THE_END, "after", detail);
        problem.max = i64::try_from(durable).ok();
        return Err(problem);
    }
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let scan = scan(&api, info, &call.grant, after, limit as usize, until).await?;
    let records = shown(&api, info, &scan.found, call.redacted()).await?;
    Ok(Rendered::json(StatusCode::OK, &Records { shard, records, next: scan.next }))
}

/// What was found, and how far was looked.
struct Scan {
    found: Vec<(u64, Event)>,
    next: u64,
}

/// Reads on until there is something to show, the time is over, or enough was looked at.
async fn scan(
    api: &Api,
    info: &ShardInfo,
    grant: &Grant,
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
            read(info, grant, &mut scan, limit).await?;
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
async fn read(info: &ShardInfo, grant: &Grant, scan: &mut Scan, limit: usize) -> Result<()> {
    let (reader, after, limit) = (info.reader.clone(), scan.next, limit - scan.found.len());
    let piece = tokio::task::spawn_blocking(move || {
        let mut piece = Vec::new();
        let mut broken = None;
        reader
            .read(after, limit, BYTES_PER_READ, &mut |position, bytes| match onsale_codec::decode(
                bytes,
            ) {
                Ok(event) => piece.push((position, event)),
                Err(error) => broken = Some(format!("position {position}: {error}")),
            })
            .map_err(|error| error.to_string())?;
        broken.map_or(Ok(piece), Err)
    });
    let piece = piece.await.map_err(|error| error.to_string()).and_then(|piece| piece);
    let piece = piece.map_err(|error| unreadable(info.shard, &error))?;
    match piece.last() {
        Some((position, _)) => scan.next = *position,
        None => return Err(unreadable(info.shard, "nothing where records must be")),
    }
    let shown = |event: &Event| event.subject.is_some_and(|s: Subject| grant.covers(&s.organizer));
    scan.found.extend(piece.into_iter().filter(|(_, event)| shown(event)));
    Ok(())
}

fn unreadable(shard: u16, error: &str) -> Box<Problem> {
    tracing::error!(shard, error, "records can't be read");
    Problem::new(&kind::UNREADABLE_RECORD, format!("records of shard {shard} can't be read"))
}

async fn shown(
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
