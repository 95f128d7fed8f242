//! Named cursors over HTTP: kept by the server, for readers that have no place of their own
//! to keep them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use onsale_bus::cursors::Progress;
use onsale_bus::{Cursors, Error, Group};
use onsale_engine::ShardInfo;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{LOOK, position, read};
use crate::api::openapi::CursorPath;
use crate::api::{Api, Call, Path, Rendered, Result, json};
use crate::cursors::{self, CURSORS_MAX, Places, WEBHOOK_PREFIX};
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::stream::cursor::Cursor;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list_cursors)).routes(routes!(
        get_cursor,
        put_cursor,
        delete_cursor
    ))
}

/// Named cursors of the key's organizer.
#[derive(Debug, Serialize, ToSchema)]
struct CursorList {
    /// The cursors, by name.
    cursors: Vec<NamedCursor>,
}

/// A named cursor.
#[derive(Debug, Serialize, ToSchema)]
struct NamedCursor {
    /// Its name.
    #[schema(example = "mailer")]
    name: String,
    /// Where it is in each shard.
    shards: Vec<CursorPlace>,
}

/// Where a cursor is in a shard.
#[derive(Debug, Serialize, ToSchema)]
struct CursorPlace {
    /// Which shard.
    shard: u16,
    /// The place; null: nothing was committed yet.
    #[schema(required = true)]
    cursor: Option<String>,
    /// Records after it, others' included.
    lag: u64,
}

/// Where a cursor shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct CursorCommit {
    /// For each shard, by its number, a cursor or position as it was given.
    #[schema(example = json!({"0": "8c0f6b0e-6f4c-4a51-9d53-0f8d1c5d0b7e.1.0.4711"}))]
    #[serde(deserialize_with = "once_each")]
    positions: BTreeMap<String, PlaceText>,
    /// Whether it may go backwards, or to another log; with the scope `manage`.
    #[serde(default)]
    reset: bool,
}

/// Places by shard, where each shard comes once.
fn once_each<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<String, PlaceText>, D::Error> {
    struct Places;

    impl<'de> Visitor<'de> for Places {
        type Value = BTreeMap<String, PlaceText>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with a place for each shard")
        }

        fn visit_map<A: MapAccess<'de>>(
            self,
            mut map: A,
        ) -> std::result::Result<Self::Value, A::Error> {
            let mut places = BTreeMap::new();
            while let Some((shard, place)) = map.next_entry::<String, PlaceText>()? {
                if places.contains_key(&shard) {
                    return Err(A::Error::custom(format_args!("duplicate field `{shard}`")));
                }
                places.insert(shard, place);
            }
            Ok(places)
        }
    }

    deserializer.deserialize_map(Places)
}

/// A place as it is sent: a number or a text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "must be a cursor as it was given, or a position: a number from 0")]
enum PlaceText {
    /// A position.
    Number(u64),
    /// A cursor.
    Text(String),
}

/// Lists the named cursors of the key's organizer.
///
/// With the scope `read` or `manage`.
#[utoipa::path(
    get,
    path = "/v1/streams/sales/cursors",
    tag = "streams",
    responses((status = 200, description = "The cursors.", body = CursorList)),
)]
async fn list_cursors(State(api): State<Arc<Api>>, call: Call) -> Result<Rendered> {
    call.needs(&LOOK)?;
    let store = store(&api, &call)?;
    let mut cursors = Vec::new();
    for group in store.groups().await.map_err(|error| failed("name", error))? {
        let places =
            cursors::places(&store, &group).await.map_err(|error| failed("name", error))?;
        if !places.is_empty() {
            cursors.push(shown(&api, &group, &places));
        }
    }
    Ok(Rendered::json(StatusCode::OK, &CursorList { cursors }))
}

/// Shows a named cursor.
///
/// With the scope `read` or `manage`.
#[utoipa::path(
    get,
    path = "/v1/streams/sales/cursors/{name}",
    tag = "streams",
    params(CursorPath),
    responses((status = 200, description = "The cursor.", body = NamedCursor)),
)]
async fn get_cursor(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    call.needs(&LOOK)?;
    let (group, places) = named(&api, &call, path.part("name")).await?;
    Ok(Rendered::json(StatusCode::OK, &shown(&api, &group, &places)))
}

/// Moves a named cursor forwards, which makes it where there is none.
///
/// With the scope `read` or `manage`. Backwards, or out of another log, it moves only with `reset`, which needs
/// `manage`. Shards are moved one after the other; those that are not named stay.
#[utoipa::path(
    put,
    path = "/v1/streams/sales/cursors/{name}",
    tag = "streams",
    params(CursorPath),
    request_body = CursorCommit,
    responses((status = 200, description = "The cursor.", body = NamedCursor)),
)]
async fn put_cursor(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    call.needs(&LOOK)?;
    call.expect_json()?;
    let CursorCommit { positions, reset } = json::parse(&call.body)?;
    if reset {
        call.needs(&[Scope::Manage])?;
    }
    let group = group(path.part("name"))?;
    let mut moves: Vec<(u16, Progress)> = Vec::with_capacity(positions.len());
    for (shard, place) in &positions {
        let field = format!("positions.{shard}");
        let number: Option<u16> = shard.parse().ok();
        // Else a shard could be there twice.
        if let Some(number) = number.filter(|number| number.to_string() != *shard) {
            let rule = format!("must be written {number}, as in the list of shards");
            return Err(Problem::field(&kind::WRONG_TYPE, &field, rule));
        }
        let info = number.and_then(|number| api.shards.info(number)).ok_or_else(|| {
            Problem::field(&kind::UNKNOWN_SHARD, &field, "there is no such shard")
        })?;
        let position = match place {
            PlaceText::Number(number) => position(&api, info, &field, &number.to_string()).await?,
            PlaceText::Text(text) => position(&api, info, &field, text).await?,
        };
        moves.push((info.shard, cursors::progress(&api.shards, position)));
    }
    let store = store(&api, &call)?;
    let groups = store.groups().await.map_err(|error| failed("name", error))?;
    if groups.len() >= CURSORS_MAX && !groups.contains(&group) {
        let mut problem = Problem::new(&kind::TOO_MANY_CURSORS, "delete one first");
        problem.max = i64::try_from(CURSORS_MAX).ok();
        return Err(problem);
    }
    for (shard, to) in moves {
        let moved = match reset {
            true => cursors::reset(&store, &group, shard, Some(to)).await,
            false => cursors::commit(&store, &group, shard, to).await,
        };
        moved.map_err(|error| failed(&format!("positions.{shard}"), error))?;
    }
    let places = cursors::places(&store, &group).await.map_err(|error| failed("name", error))?;
    Ok(Rendered::json(StatusCode::OK, &shown(&api, &group, &places)))
}

/// Forgets a named cursor.
///
/// With the scope `manage`.
#[utoipa::path(
    delete,
    path = "/v1/streams/sales/cursors/{name}",
    tag = "streams",
    params(CursorPath),
    responses((status = 200, description = "The cursor, as it was.", body = NamedCursor)),
)]
async fn delete_cursor(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    call.needs(&[Scope::Manage])?;
    call.expect_empty()?;
    let (group, places) = named(&api, &call, path.part("name")).await?;
    let store = store(&api, &call)?;
    for shard in places.keys() {
        let forgotten = cursors::reset(&store, &group, *shard, None).await;
        forgotten.map_err(|error| failed("name", error))?;
    }
    Ok(Rendered::json(StatusCode::OK, &shown(&api, &group, &places)))
}

/// Where a named cursor of the key's organizer is in a shard; none: nothing was committed there.
///
/// # Errors
/// There is no such cursor, or it is of another log.
pub async fn after(api: &Api, call: &Call, info: &ShardInfo, name: &str) -> Result<Option<u64>> {
    let (_, places) = named(api, call, name).await?;
    let Some(place) = places.get(&info.shard) else { return Ok(None) };
    let position = place.position.as_u64().unwrap_or(u64::MAX);
    if place.generation != cursors::generation(&api.shards) || position > info.reader.durable() {
        let detail = "the cursor is of another log or generation: reset it on purpose";
        return Err(Problem::field(&kind::DIVERGED, "cursor", detail));
    }
    let begins_at = read::begins_at(info).await?;
    match position + 1 < begins_at {
        true => Err(read::gone("cursor", begins_at)),
        false => Ok(Some(position)),
    }
}

/// A cursor that is there.
async fn named(api: &Api, call: &Call, name: &str) -> Result<(Group, Places)> {
    let group = group(name)?;
    let store = store(api, call)?;
    let places = cursors::places(&store, &group).await.map_err(|error| failed("name", error))?;
    match places.is_empty() {
        true => Err(Problem::new(&kind::UNKNOWN_CURSOR, format!("there is no cursor {name}"))),
        false => Ok((group, places)),
    }
}

fn group(name: &str) -> Result<Group> {
    if name.starts_with(WEBHOOK_PREFIX) {
        let rule = "names that begin with webhook. are those of webhooks";
        return Err(Problem::field(&kind::INVALID_ID, "name", rule));
    }
    cursors::group(name).map_err(|_| {
        let rule = "must be 1 to 64 of a-z, 0-9, '-', '_' and '.', a letter first";
        Problem::field(&kind::INVALID_ID, "name", rule)
    })
}

fn store(api: &Api, call: &Call) -> Result<Cursors> {
    api.cursors.of(call.grant.organizer.as_ref()).map_err(|error| failed("name", error))
}

fn shown(api: &Api, group: &Group, places: &Places) -> NamedCursor {
    let generation = cursors::generation(&api.shards);
    let place = |info: &ShardInfo| {
        let place = places.get(&info.shard).filter(|place| place.generation == generation);
        let position = place.and_then(|place| place.position.as_u64());
        CursorPlace {
            shard: info.shard,
            cursor: position.map(|position| Cursor::at(info, position).to_string()),
            lag: cursors::lag(&api.shards, info.shard, places),
        }
    };
    let infos = (0..api.shards.count()).filter_map(|shard| api.shards.info(shard));
    NamedCursor { name: group.name.to_string(), shards: infos.map(place).collect() }
}

/// A store that says no, or can't.
fn failed(field: &str, error: Error) -> Box<Problem> {
    match error {
        Error::Backwards { stored, .. } => {
            let rule = format!("the cursor is at {stored} already; say reset to move it back");
            let mut problem = Problem::field(&kind::CURSOR_BACKWARDS, field, rule);
            problem.min = stored.as_u64().and_then(|stored| i64::try_from(stored).ok());
            problem
        }
        Error::Diverged { .. } => {
            let rule = "the cursor is of another log or generation: reset it on purpose";
            Problem::field(&kind::DIVERGED, field, rule)
        }
        Error::Leased { .. } | Error::LostLease { .. } => {
            Problem::field(&kind::CURSOR_IN_USE, field, error)
        }
        error => {
            tracing::error!(%error, "a cursor can't be kept");
            Problem::new(&kind::STORE_FAILED, "the cursor can't be read or kept; the log says more")
        }
    }
}
