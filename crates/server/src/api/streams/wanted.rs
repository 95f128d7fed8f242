//! The streams `catalogue` and `control` over HTTP: what others want is appended there, in order; the engine
//! follows `catalogue`, and what it refuses is parked with the reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRequest, Request, State};
use hyper::StatusCode;
use onsale_bus::cursors::Claim;
use onsale_bus::{Bus, Cursors, Entry, Error, From, Group, Limits, Position, ShardId, StreamName};
use onsale_core::Id;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::api::openapi::{FailuresQuery, IdempotencyHeader, ParkedPath, StreamPath, WantedQuery};
use crate::api::webhooks::{ParkedShown, failure, one_parked, parked, place};
use crate::api::{Api, Call, Path, Rendered, Result, idempotency, json, query};
use crate::bus::sent::Sent;
use crate::bus::wanted::{self, CONTROL_PREFIX, Kept};
use crate::bus::{CATALOGUE, SHARDS, follow};
use crate::catalogue::time_to_text;
use crate::cursors::leased;
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::shards::wall_time;

/// Largest request that is appended: the bus takes as much.
const BODY_BYTES_MAX: usize = 1_000_000;
/// Records, or parked ones, in one answer at most.
const PAGE_MAX: u64 = 100;
/// Longest wait, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;
/// How long a server that appends with a key keeps others that share the stream from it, at most.
const TURN: Duration = Duration::from_secs(3);
/// How often another one looks whether it is its turn.
const TURN_LOOK: Duration = Duration::from_millis(10);
/// Who may write to these streams and read them.
const CHANGE: [Scope; 1] = [Scope::Manage];

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(read_wanted, append_wanted))
        .routes(routes!(list_parked))
        .routes(routes!(drop_parked))
        .routes(routes!(retry_parked))
}

/// What somebody wants, as a CloudEvent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Wanted {
    /// `1.0`, if it is said.
    #[serde(default)]
    specversion: Option<String>,
    /// Its sender's own; left out: one is made.
    #[serde(default)]
    id: Option<String>,
    /// Who sends it; left out: the stream.
    #[serde(default)]
    source: Option<String>,
    /// In `catalogue`: `onsale.event.define.v1`, whose data is a definition as in `PUT …/events/{event}`, or
    /// `onsale.event.set-state.v1`, whose data is `{"state": "open"}`. In `control`: `onsale.control.…`.
    #[serde(rename = "type")]
    #[schema(example = "onsale.event.set-state.v1")]
    kind: String,
    /// `ORGANIZER/EVENT`.
    #[serde(default)]
    #[schema(example = "river/spring-concert")]
    subject: Option<String>,
    /// Is not looked at: the server says when it came.
    #[serde(default)]
    #[expect(dead_code, reason = "it may be there, as in any CloudEvent")]
    time: Option<String>,
    /// `application/json`, if it is said.
    #[serde(default)]
    datacontenttype: Option<String>,
    /// What exactly.
    #[schema(value_type = Value)]
    data: Box<RawValue>,
}

/// Where a record came to lie.
#[derive(Debug, Serialize, ToSchema)]
struct AppendedAt {
    /// The stream.
    stream: String,
    /// Its shard.
    shard: u16,
    /// The position in it.
    position: u64,
}

/// Records of a stream that others write to.
#[derive(Debug, Serialize, ToSchema)]
struct WantedRecords {
    /// CloudEvents with their shard and position, of the key's organizer.
    records: Vec<Value>,
    /// What to pass as `after` next time.
    next: u64,
    /// Of the stream. With another one, positions mean other records; null: nobody has written to it yet.
    #[schema(required = true, example = "6871947673600000123")]
    generation: Option<String>,
}

/// What the engine refused.
#[derive(Debug, Serialize, ToSchema)]
struct ParkedList {
    /// The records, by position.
    parked: Vec<ParkedShown>,
    /// What to pass as `after` for the next page; null: this was the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// A call with a larger body than others may have.
struct LargeCall(Call);

impl FromRequest<Arc<Api>> for LargeCall {
    type Rejection = Box<Problem>;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<LargeCall> {
        let (parts, body) = request.into_parts();
        Call::read_up_to(api, parts, body, BODY_BYTES_MAX).await.map(LargeCall)
    }
}

/// Appends a record to `catalogue` or `control`.
///
/// With the scope `manage`; `control` wants a key that is bound to no organizer. The answer means that the record
/// is on the disk, or, where the sale is in a Redis, in that Redis, which keeps it as it is set to. The engine follows
/// `catalogue` within a second: it makes, redefines, opens, pauses or closes the event as by the API. What it refuses is parked with the reason, and the records after it go on.
#[utoipa::path(
    post,
    path = "/v1/streams/{stream}/records",
    tag = "streams",
    params(StreamPath, IdempotencyHeader),
    request_body = Wanted,
    responses((status = 201, description = "The record's place.", body = AppendedAt)),
)]
async fn append_wanted(
    State(api): State<Arc<Api>>,
    path: Path,
    LargeCall(call): LargeCall,
) -> Result<Rendered> {
    call.needs(&CHANGE)?;
    let stream = stream(&path)?;
    call.expect_json()?;
    let sent = idempotency::digests(&api, &call)?;
    let wanted: Wanted = json::parse(&call.body)?;
    let key = check(&call, &stream, &wanted)?;
    let bus = bus(&api)?;
    let payload = serde_json::to_vec(&kept(&stream, wanted, sent.clone()));
    let entry = Entry::new(key, payload.expect("a record can be written"));
    entry.check().map_err(|error| Problem::field(&kind::BODY_TOO_LARGE, "data", error))?;
    let mut before = api.bus.sent.lock().await;
    let answer = match sent {
        None => append(bus, &stream, entry).await.map(|placed| at(&stream, placed)),
        Some(sent) => {
            let turn = turn(&api, &stream).await?;
            let answer = append_once(bus, &stream, entry, sent, &mut before).await;
            if let Some((store, claim)) = turn
                && let Err(error) = store.release(&claim).await
            {
                tracing::warn!(%error, "other servers wait a little to append");
            }
            answer
        }
    };
    drop(before);
    api.bus.made.send_modify(|count| *count += 1);
    answer
}

/// Appends, unless that was done before with the same key.
async fn append_once(
    bus: &Bus,
    stream: &StreamName,
    entry: Entry,
    (key, body): (String, String),
    sent: &mut Sent,
) -> Result<Rendered> {
    let before = sent.before(bus, stream, &key).await;
    match before.map_err(|error| failed(&error))? {
        Some((same, position)) if same == body => Ok(at(stream, position).replayed(true)),
        Some(_) => {
            let rule = "was used for another request";
            Err(Problem::field(&kind::IDEMPOTENCY_KEY_REUSED, "Idempotency-Key", rule))
        }
        None => append(bus, stream, entry).await.map(|placed| at(stream, placed)),
    }
}

/// Reads records of `catalogue` or `control` after a position.
///
/// With the scope `manage`; only those of the key's organizer are shown.
#[utoipa::path(
    get,
    path = "/v1/streams/{stream}/records",
    tag = "streams",
    params(StreamPath, WantedQuery),
    responses((status = 200, description = "The records, maybe none.", body = WantedRecords)),
)]
async fn read_wanted(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    call.needs(&CHANGE)?;
    let stream = stream(&path)?;
    let asked: WantedQuery = query::parse(&call.uri)?;
    let number = |name, text: &Option<String>, max| query::number(name, text.as_deref(), 0, max);
    let limit = number("limit", &asked.limit, PAGE_MAX)?.unwrap_or(PAGE_MAX).max(1);
    let wait_ms = number("wait_ms", &asked.wait_ms, WAIT_MS_MAX)?.unwrap_or(0);
    let after = number("after", &asked.after, i64::MAX as u64)?;
    let from = after.map_or(From::Start, |after| From::After(Position::from(after)));
    let wait = Duration::from_millis(wait_ms);
    let limits = Limits { records: limit as usize, wait, ..Limits::default() };
    let bus = bus(&api)?;
    let mut draining = api.draining.subscribe();
    let shard = ShardId::numbered(0);
    let read = tokio::select! {
        read = bus.read(&stream, &shard, from, limits) => read,
        () = async { drop(draining.wait_for(|stop| *stop).await) } => {
            bus.read(&stream, &shard, from, Limits { wait: Duration::ZERO, ..limits }).await
        }
    };
    let page = match read {
        Ok(page) => page,
        // It is made by the first append.
        Err(Error::NoSuchStream { .. }) => {
            let none = WantedRecords { records: Vec::new(), next: 0, generation: None };
            return Ok(Rendered::json(StatusCode::OK, &none));
        }
        Err(Error::Gone { begins_at, .. }) => {
            return Err(super::read::gone("after", begins_at.as_u64().unwrap_or(0)));
        }
        Err(error @ Error::Beyond { .. }) => {
            return Err(Problem::field(&kind::BEYOND_THE_END, "after", error));
        }
        Err(error) => return Err(failed(&error)),
    };
    let next = match page.next {
        From::After(position) => position.as_u64().unwrap_or(0),
        _ => after.unwrap_or(0),
    };
    let own = page.records.iter().filter(|record| covers(&call, &record.key));
    let records =
        own.map(|record| wanted::shown(&record.payload, record.position.as_u64().unwrap_or(0)));
    let generation = Some(page.generation.0.to_string());
    let answer = WantedRecords { records: records.collect(), next, generation };
    Ok(Rendered::json(StatusCode::OK, &answer))
}

/// Shows what the engine refused of `catalogue`, and why.
///
/// With the scope `manage`; only what is of the key's organizer.
#[utoipa::path(
    get,
    path = "/v1/streams/catalogue/parked",
    tag = "streams",
    params(FailuresQuery),
    responses((status = 200, description = "What is parked.", body = ParkedList)),
)]
async fn list_parked(State(api): State<Arc<Api>>, call: Call) -> Result<Rendered> {
    call.needs(&CHANGE)?;
    let asked: FailuresQuery = query::parse(&call.uri)?;
    let limit = query::number("limit", asked.limit.as_deref(), 1, PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let after = asked.after.as_deref().map(place).transpose()?;
    let store = api.cursors.of_server().map_err(|error| failed(&error))?;
    let (found, next) = parked(&store, &follow::group(), after, limit as usize).await?;
    let mut own = Vec::with_capacity(found.len());
    for record in found {
        if is_own(&api, &call, record.position).await? {
            own.push(record);
        }
    }
    Ok(Rendered::json(StatusCode::OK, &ParkedList { parked: own, next }))
}

/// Has a record that the engine refused carried out once more.
///
/// With the scope `manage`. It is tried within a second; if it is refused again, it is parked again.
#[utoipa::path(
    post,
    path = "/v1/streams/catalogue/parked/{shard}/{position}/retry",
    tag = "streams",
    params(ParkedPath),
    responses((status = 202, description = "It will be tried.", body = ParkedShown)),
)]
async fn retry_parked(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let mut record = own_parked(&api, &path, &call).await?;
    let store = api.cursors.of_server().map_err(|error| failed(&error))?;
    let cursor = follow::group().cursor(&ShardId::numbered(record.shard.into()));
    let asked = store.retry(&cursor, record.position.into()).await;
    asked.map_err(|error| match error {
        Error::NotParked { .. } => Problem::new(&kind::UNKNOWN_PARKED, error.to_string()),
        error => failed(&error),
    })?;
    record.retrying = true;
    Ok(Rendered::json(StatusCode::ACCEPTED, &record))
}

/// Forgets a record that the engine refused.
///
/// With the scope `manage`.
#[utoipa::path(
    delete,
    path = "/v1/streams/catalogue/parked/{shard}/{position}",
    tag = "streams",
    params(ParkedPath),
    responses((status = 200, description = "The record, as it was.", body = ParkedShown)),
)]
async fn drop_parked(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let record = own_parked(&api, &path, &call).await?;
    let store = api.cursors.of_server().map_err(|error| failed(&error))?;
    let cursor = follow::group().cursor(&ShardId::numbered(record.shard.into()));
    let dropped = store.drop_parked(&cursor, record.position.into()).await;
    dropped.map_err(|error| failed(&error))?;
    Ok(Rendered::json(StatusCode::OK, &record))
}

async fn own_parked(api: &Api, path: &Path, call: &Call) -> Result<ParkedShown> {
    call.needs(&CHANGE)?;
    call.expect_empty()?;
    let (shard, position) = failure(path)?;
    let store = api.cursors.of_server().map_err(|error| failed(&error))?;
    let record = one_parked(&store, &follow::group(), shard, position).await?;
    match is_own(api, call, position).await? {
        true => Ok(record),
        false => Err(Problem::new(&kind::UNKNOWN_PARKED, "nothing of yours is parked there")),
    }
}

/// Whether a record of `catalogue` is of the key's organizer.
async fn is_own(api: &Api, call: &Call, position: u64) -> Result<bool> {
    if call.grant.organizer.is_none() {
        return Ok(true);
    }
    let stream = StreamName::new(CATALOGUE).expect("it keeps the rule");
    let limits = Limits { records: 1, ..Limits::default() };
    let from = From::Record(Position::from(position));
    let page = bus(api)?.read(&stream, &ShardId::numbered(0), from, limits).await;
    let page = match page {
        // It is past retention, and so is whose it was.
        Err(Error::Gone { .. }) => return Ok(false),
        page => page.map_err(|error| failed(&error))?,
    };
    Ok(page.records.first().is_some_and(|record| covers(call, &record.key)))
}

fn covers(call: &Call, key: &[u8]) -> bool {
    let Some(own) = &call.grant.organizer else { return true };
    let organizer = key.split(|byte| *byte == b'/').next().unwrap_or_default();
    own.as_bytes() == organizer
}

fn stream(path: &Path) -> Result<StreamName> {
    let name = path.part("stream");
    wanted::writable(name).ok_or_else(|| {
        let detail =
            format!("there is no stream {name}; beside sales there are catalogue, control");
        Problem::new(&kind::UNKNOWN_STREAM, detail)
    })
}

/// Checks a wish as far as it can be without the engine; gives the key that it is ordered by.
fn check(call: &Call, stream: &StreamName, wanted: &Wanted) -> Result<String> {
    let fixed = [
        ("specversion", &wanted.specversion, "1.0"),
        ("datacontenttype", &wanted.datacontenttype, "application/json"),
    ];
    for (field, said, must) in fixed {
        if said.as_deref().is_some_and(|said| said != must) {
            let rule = format!("must be {must}");
            return Err(Problem::field(&kind::INVALID_ID, field, rule));
        }
    }
    for (field, text) in [("id", &wanted.id), ("source", &wanted.source)] {
        if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > 255) {
            return Err(Problem::field(&kind::INVALID_ID, field, "must be 1 to 255 bytes"));
        }
    }
    if stream.as_str() == CATALOGUE {
        let Some(text) = &wanted.subject else {
            return Err(Problem::field(&kind::MISSING_FIELD, "subject", "must be there"));
        };
        let subject = wanted::subject(text)?;
        let organizer: &Id = &subject.organizer;
        if !call.grant.covers(organizer) {
            let detail = format!("the key is not bound to {organizer}");
            return Err(Problem::field(&kind::OTHER_ORGANIZER, "subject", detail));
        }
        wanted::action(&wanted.kind, &subject, wanted.data.get(), true)?;
        return Ok(text.clone());
    }
    if let Some(own) = &call.grant.organizer {
        let detail =
            format!("the key is bound to {own}; control takes keys that are bound to none");
        return Err(Problem::new(&kind::OTHER_ORGANIZER, detail));
    }
    if !wanted.kind.starts_with(CONTROL_PREFIX) || wanted.kind.len() > 255 {
        let rule = format!("must begin with {CONTROL_PREFIX}");
        return Err(Problem::field(&kind::UNKNOWN_RECORD_TYPE, "type", rule));
    }
    match &wanted.subject {
        Some(text) => wanted::subject(text).map(|_| text.clone()),
        None => Ok("all".to_owned()),
    }
}

fn kept(stream: &StreamName, wanted: Wanted, sent: Option<(String, String)>) -> Kept {
    let (sentkey, sentbody) = sent.unzip();
    Kept {
        specversion: "1.0".to_owned(),
        id: wanted.id.unwrap_or_else(|| Uuid::now_v7().to_string()),
        source: wanted.source.unwrap_or_else(|| format!("/v1/streams/{stream}")),
        kind: wanted.kind,
        subject: wanted.subject,
        time: time_to_text(wall_time()),
        datacontenttype: "application/json".to_owned(),
        data: wanted.data,
        sentkey,
        sentbody,
    }
}

/// The right to append with a key, where servers share the stream: one at a time, so that each sees the keys of those before.
async fn turn(api: &Api, stream: &StreamName) -> Result<Option<(Cursors, Claim)>> {
    if api.shards.shared().is_none() {
        return Ok(None);
    }
    let store = api.cursors.of_server().map_err(|error| failed(&error))?;
    let group = Group::new(&format!("append-{stream}"), "turns").expect("the names keep the rule");
    let cursor = group.cursor(&ShardId::numbered(0));
    let begin = Instant::now();
    loop {
        let claim = store.acquire(&cursor, api.cursors.node(), TURN).await;
        if let Some(claim) = claim.map_err(|error| failed(&error))? {
            return Ok(Some((store, claim)));
        }
        if begin.elapsed() > 2 * TURN {
            let error = leased(&store, &group, cursor).await;
            return Err(failed(&error.unwrap_or_else(|error| error)));
        }
        tokio::time::sleep(TURN_LOOK).await;
    }
}

async fn append(bus: &Bus, stream: &StreamName, entry: Entry) -> Result<u64> {
    let entries = [entry];
    let mut placed = bus.append(stream, &entries).await;
    if placed.as_ref().is_err_and(|error| matches!(error.first(), Error::NoSuchStream { .. })) {
        bus.create(stream, SHARDS).await.map_err(|error| failed(&error))?;
        placed = bus.append(stream, &entries).await;
    }
    let placed = placed.map_err(|error| failed(&error.first()))?;
    Ok(placed.first().and_then(|placed| placed.position.as_u64()).unwrap_or(0))
}

fn at(stream: &StreamName, position: u64) -> Rendered {
    let at = AppendedAt { stream: stream.to_string(), shard: 0, position };
    Rendered::json(StatusCode::CREATED, &at)
}

fn bus(api: &Api) -> Result<&Bus> {
    api.bus.get().map_err(|error| Problem::new(&kind::NO_BUS, error))
}

fn failed(error: &Error) -> Box<Problem> {
    match error {
        Error::Gone { begins_at, .. } => {
            return super::read::gone("after", begins_at.as_u64().unwrap_or(1));
        }
        Error::Beyond { last, .. } => {
            let detail = format!("the stream ends at {last}");
            let mut problem = Problem::field(&kind::BEYOND_THE_END, "after", detail);
            problem.max = last.as_u64().and_then(|last| i64::try_from(last).ok());
            return problem;
        }
        Error::Missing { .. } => {
            tracing::error!(%error, "a record of a stream is gone");
            return Problem::new(&kind::STORE_FAILED, error.to_string());
        }
        _ => {}
    }
    tracing::error!(%error, "a stream can't be read or written");
    Problem::new(&kind::STORE_FAILED, "the stream can't be read or written; the log says more")
}
