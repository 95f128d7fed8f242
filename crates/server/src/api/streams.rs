//! The stream `sales` over HTTP: read by cursor, with long-poll, and live.

mod cursors;
mod live;
pub mod read;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use hyper::StatusCode;
use onsale_engine::ShardInfo;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::openapi::RecordsQuery;
use super::work::unavailable;
use super::{Api, Call, Rendered, Result, query};
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::stream::CloudEvent;
use crate::stream::cursor::Cursor;

/// Records in one answer at most.
const RECORDS_MAX: u64 = 1_000;
/// Records in one answer where nothing is said.
const RECORDS_DEFAULT: u64 = 100;
/// Longest wait, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;
/// Who may read the stream.
const LOOK: [Scope; 2] = [Scope::Read, Scope::Manage];

/// The routes of this file, and of those below it.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_shards))
        .routes(routes!(read_records))
        .merge(live::routes())
        .merge(cursors::routes())
        .merge(wanted::routes())
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
    /// Of its log. With another one, positions may mean other records: the log went back.
    generation: u32,
    /// Position of its first record that is left.
    first: u64,
    /// What to pass as `after` to read only what comes from now on: the position of
    /// its last record.
    next: u64,
    /// The same as a cursor, which knows its log.
    cursor: String,
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
    /// The same as a cursor, which knows its log: best passed as `after`.
    #[schema(example = "8c0f6b0e-6f4c-4a51-9d53-0f8d1c5d0b7e.1.2.4711")]
    cursor: String,
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
    let mut shards = Vec::with_capacity(infos.len());
    for info in &infos {
        let (first, next) = (read::begins_at(info).await?, info.reader.durable());
        let cursor = Cursor::at(info, next).to_string();
        let (shard, generation) = (info.shard, info.generation.get());
        shards.push(ShardRange { shard, generation, first, next, cursor });
    }
    let log = infos.first().map_or(0, |info| info.log);
    let log = Uuid::from_u128(log).to_string();
    Ok(Rendered::json(StatusCode::OK, &ShardList { stream: "sales", log, shards }))
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
    let info = shard(&api, asked.shard.as_deref())?;
    let limit = number("limit", &asked.limit, 1, RECORDS_MAX)?.unwrap_or(RECORDS_DEFAULT);
    let wait_ms = number("wait_ms", &asked.wait_ms, 0, WAIT_MS_MAX)?.unwrap_or(0);
    let after = match (asked.after.as_deref(), asked.cursor.as_deref()) {
        (Some(_), Some(_)) => {
            let rule = "must not come with after";
            return Err(Problem::field(&kind::INVALID_QUERY, "cursor", rule));
        }
        (Some(text), None) => Some(position(&api, info, "after", text).await?),
        (None, Some(name)) => cursors::after(&api, &call, info, name).await?,
        (None, None) => None,
    };
    let after = match after {
        Some(after) => after,
        None => read::begins_at(info).await? - 1,
    };
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let scan =
        read::scan(&api, info, call.grant.organizer.as_ref(), after, limit as usize, until).await?;
    let records = read::shown(&api, info, &scan.found, call.redacted()).await?;
    let cursor = Cursor::at(info, scan.next).to_string();
    let answer = Records { shard: info.shard, records, next: scan.next, cursor };
    Ok(Rendered::json(StatusCode::OK, &answer))
}

/// The shard that is asked for.
fn shard<'a>(api: &'a Api, asked: Option<&str>) -> Result<&'a ShardInfo> {
    let Some(number) = query::number("shard", asked, 0, u16::MAX.into())? else {
        let rule = "must be there; /v1/streams/sales/shards lists them";
        return Err(Problem::field(&kind::INVALID_QUERY, "shard", rule));
    };
    api.shards.info(number as u16).ok_or_else(|| {
        let detail = format!("there is no shard {number}");
        Problem::field(&kind::UNKNOWN_SHARD, "shard", detail)
    })
}

/// How far a shard is. One that others write to, too, is asked where it seems not to be as far as a reader was.
async fn durable(api: &Api, info: &ShardInfo, wanted: u64) -> Result<u64> {
    if wanted > info.reader.durable() && api.shards.is_shared() {
        let probed = api.shards.probe(info.shard).await;
        probed.map_err(|error| unavailable(api, error))?;
    }
    Ok(info.reader.durable())
}

/// The position that a reader names, as a number or as a cursor.
///
/// # Errors
/// It is neither; it is of another log, generation or shard; the shard ends before it.
async fn position(api: &Api, info: &ShardInfo, field: &str, text: &str) -> Result<u64> {
    if text.bytes().any(|b| b == b'.') {
        let cursor: Cursor =
            text.parse().map_err(|error| Problem::field(&kind::INVALID_QUERY, field, error))?;
        let durable = durable(api, info, cursor.position).await?;
        if cursor.shard != info.shard && cursor.log == info.log {
            let rule = format!("it is a cursor of shard {}, not {}", cursor.shard, info.shard);
            return Err(Problem::field(&kind::INVALID_QUERY, field, rule));
        }
        if !cursor.is_of(info) || cursor.position > durable {
            let detail = format!("the shard is now {}", Cursor::at(info, durable));
            return Err(Problem::field(&kind::DIVERGED, field, detail));
        }
        return Ok(cursor.position);
    }
    let position = query::number(field, Some(text), 0, i64::MAX as u64)?.unwrap_or_default();
    let durable = durable(api, info, position).await?;
    if position > durable {
        let detail = format!("the shard ends at {durable}");
        let mut problem = Problem::field(&kind::BEYOND_THE_END, field, detail);
        problem.max = i64::try_from(durable).ok();
        return Err(problem);
    }
    Ok(position)
}
