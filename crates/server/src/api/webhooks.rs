//! Webhooks of an organizer over HTTP: where they lead, and what became of their deliveries.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use onsale_bus::{Cursors, Error, Group, Position, ShardId};
use onsale_core::Id;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{FailurePath, FailuresQuery, OrganizerPath, WebhookPath};
use super::shapes::Moment;
use super::{Api, Call, Path, Rendered, Result, json, query};
use crate::catalogue::time_to_text;
use crate::cursors::{self, Places};
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::shards::wall_time;
use crate::stream::types::TYPES;
use crate::webhooks::{self, Entry, Figures, NAME_BYTES_MAX, Networks, Target, Webhook, cursor_of};

/// Failures on one page at most.
const PAGE_MAX: u64 = 100;
/// Who may see and change webhooks.
const CHANGE: [Scope; 1] = [Scope::Manage];

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks))
        .routes(routes!(get_webhook, put_webhook, delete_webhook))
        .routes(routes!(list_failures))
        .routes(routes!(drop_failure))
        .routes(routes!(retry_failure))
}

/// What a webhook shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct WebhookBody {
    /// Where to send records: https, or http to the server's own machine.
    #[schema(format = "uri", example = "https://shop.example.org/hooks/onsale")]
    url: String,
    /// Only records of these types; left out or empty: of all.
    #[serde(default)]
    types: Vec<String>,
    /// Whether one that is there gets a new secret.
    #[serde(default)]
    new_secret: bool,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookShown {
    /// Its name.
    name: String,
    /// Where it leads.
    url: String,
    /// Types of records; empty: all.
    types: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// With which deliveries are signed. Shown once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Records that it has not come to yet, those that it does not want included.
    lag: u64,
    /// Deliveries of this server that were taken, since its start.
    delivered: u64,
    /// Tries of this server that failed, since its start.
    failed: u64,
    /// Shards in which this server tries a record again.
    failing: usize,
    /// Why it can't go on, where it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck: Option<String>,
    /// When its receiver answered 410, that it is gone for good: nothing is sent since, until the webhook is put there
    /// again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    gone_at: Option<String>,
}

/// The webhooks of an organizer.
#[derive(Debug, Serialize, ToSchema)]
struct WebhookList {
    /// By name.
    webhooks: Vec<WebhookShown>,
}

/// What a receiver did not take.
#[derive(Debug, Serialize, ToSchema)]
struct Failures {
    /// What this server tries again; the records after it wait.
    failing: Vec<FailingShown>,
    /// What was given up, by shard and position.
    parked: Vec<ParkedShown>,
    /// What to pass as `after` for the next page of parked ones; null: this was the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// A record that is being tried again.
#[derive(Debug, Serialize, ToSchema)]
struct FailingShown {
    /// Its shard.
    shard: u16,
    /// Its position.
    position: u64,
    /// Tries so far.
    tries: u32,
    /// Why the last one failed.
    reason: String,
    /// When the first one failed.
    #[schema(value_type = String, format = DateTime)]
    since: Moment,
    /// When the next one comes.
    #[schema(value_type = String, format = DateTime)]
    next_try_at: Moment,
}

/// A record that was given up.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParkedShown {
    /// Its shard.
    pub shard: u16,
    /// Its position.
    pub position: u64,
    /// How often it was given up.
    pub times: u32,
    /// Why.
    pub reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub parked_at: Moment,
    /// Whether it is about to be tried again.
    pub retrying: bool,
}

/// Lists the organizer's webhooks.
///
/// With the scope `manage`.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/webhooks",
    tag = "webhooks",
    params(OrganizerPath),
    responses((status = 200, description = "The webhooks.", body = WebhookList)),
)]
async fn list_webhooks(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let organizer = path.organizer(&call, &CHANGE)?;
    fresh(&api).await?;
    let mut webhooks = Vec::new();
    for webhook in api.webhooks.all().iter().filter(|webhook| webhook.organizer == organizer) {
        webhooks.push(shown(&api, webhook, None).await?);
    }
    Ok(Rendered::json(StatusCode::OK, &WebhookList { webhooks }))
}

/// Shows a webhook.
///
/// With the scope `manage`.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/webhooks/{name}",
    tag = "webhooks",
    params(WebhookPath),
    responses((status = 200, description = "The webhook.", body = WebhookShown)),
)]
async fn get_webhook(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let webhook = find(&api, &path, &call).await?;
    Ok(Rendered::json(StatusCode::OK, &shown(&api, &webhook, None).await?))
}

/// Makes a webhook, or changes where one leads.
///
/// With the scope `manage`. A new one is sent what happens from now on, and its secret is in this
/// answer and in no other. One that is there keeps its place and its secret.
#[utoipa::path(
    put,
    path = "/v1/organizers/{organizer}/webhooks/{name}",
    tag = "webhooks",
    params(WebhookPath),
    request_body = WebhookBody,
    responses(
        (status = 201, description = "The webhook was made.", body = WebhookShown),
        (status = 200, description = "The webhook was changed.", body = WebhookShown),
    ),
)]
async fn put_webhook(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let organizer = path.organizer(&call, &CHANGE)?;
    let name = path.part("name");
    call.expect_json()?;
    let WebhookBody { url, types, new_secret } = json::parse(&call.body)?;
    let group = group(name)?;
    let target = target(&api, &url)?;
    check_types(&types)?;
    fresh(&api).await?;
    let old = api.webhooks.find(&organizer, name);
    let secret = match &old {
        Some(old) if !new_secret => None,
        _ => Some(random_secret()?),
    };
    let store = store(&api, &organizer)?;
    let places = cursors::places(&store, &group).await.map_err(failed)?;
    let generation = cursors::generation(&api.shards);
    let in_place = places.len() == usize::from(api.shards.count())
        && places.values().all(|place| place.generation == generation);
    if old.is_none() || !in_place {
        from_now_on(&api, &store, &group).await?;
    }
    let created_at = time_to_text(wall_time());
    let (kept, created_at) = match &old {
        Some(old) => (old.entry.secret.clone(), old.entry.created_at.clone()),
        None => (String::new(), created_at),
    };
    let entry = Entry {
        organizer: organizer.to_string(),
        name: name.to_owned(),
        url,
        types,
        secret: secret.clone().unwrap_or(kept),
        created_at,
        gone_at: None,
    };
    let webhook = Webhook { organizer, entry, target, figures: Figures::default() };
    let put = put(&api, webhook).await?;
    let status = if old.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(Rendered::json(status, &shown(&api, &put, secret).await?))
}

/// Takes a webhook away, with its place and its failures.
///
/// With the scope `manage`.
#[utoipa::path(
    delete,
    path = "/v1/organizers/{organizer}/webhooks/{name}",
    tag = "webhooks",
    params(WebhookPath),
    responses((status = 200, description = "The webhook, as it was.", body = WebhookShown)),
)]
async fn delete_webhook(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let webhook = find(&api, &path, &call).await?;
    call.expect_empty()?;
    let as_it_was = shown(&api, &webhook, None).await?;
    let (data, name) = (api.clone(), webhook.entry.name.clone());
    let organizer = webhook.organizer;
    let removed =
        tokio::task::spawn_blocking(move || data.webhooks.remove(&organizer, &name)).await;
    removed.map_err(|error| broken(&error))?.map_err(|error| broken(&error))?;
    let (store, group) = (store(&api, &organizer)?, group(&webhook.entry.name)?);
    forget(&api, &store, &group).await?;
    Ok(Rendered::json(StatusCode::OK, &as_it_was))
}

/// Shows what the receiver did not take: what is tried again, and what was given up.
///
/// With the scope `manage`.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/webhooks/{name}/failures",
    tag = "webhooks",
    params(WebhookPath, FailuresQuery),
    responses((status = 200, description = "The failures.", body = Failures)),
)]
async fn list_failures(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let webhook = find(&api, &path, &call).await?;
    let asked: FailuresQuery = query::parse(&call.uri)?;
    let limit = query::number("limit", asked.limit.as_deref(), 1, PAGE_MAX)?.unwrap_or(PAGE_MAX);
    let after = asked.after.as_deref().map(place).transpose()?;
    let (store, group) = (store(&api, &webhook.organizer)?, group(&webhook.entry.name)?);
    let (parked, next) = parked(&store, &group, after, limit as usize).await?;
    let failing = webhook.figures.now().failing.into_iter().map(|(shard, failing)| FailingShown {
        shard,
        position: failing.position,
        tries: failing.tries,
        reason: failing.reason,
        since: Moment(failing.since),
        next_try_at: Moment(failing.next),
    });
    let failures = Failures { failing: failing.collect(), parked, next };
    Ok(Rendered::json(StatusCode::OK, &failures))
}

/// Has a record that was given up tried once more.
///
/// With the scope `manage`. Within a second it is sent again, past its order; what is said then is in the failures.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/webhooks/{name}/failures/{shard}/{position}/retry",
    tag = "webhooks",
    params(FailurePath),
    responses((status = 202, description = "It will be tried.", body = ParkedShown)),
)]
async fn retry_failure(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let webhook = find(&api, &path, &call).await?;
    call.expect_empty()?;
    let (store, group) = (store(&api, &webhook.organizer)?, group(&webhook.entry.name)?);
    let (shard, position) = failure(&path)?;
    let mut record = one_parked(&store, &group, shard, position).await?;
    let cursor = group.cursor(&ShardId::numbered(shard.into()));
    store.retry(&cursor, position.into()).await.map_err(failed)?;
    record.retrying = true;
    Ok(Rendered::json(StatusCode::ACCEPTED, &record))
}

/// Forgets a record that was given up.
///
/// With the scope `manage`.
#[utoipa::path(
    delete,
    path = "/v1/organizers/{organizer}/webhooks/{name}/failures/{shard}/{position}",
    tag = "webhooks",
    params(FailurePath),
    responses((status = 200, description = "The record, as it was.", body = ParkedShown)),
)]
async fn drop_failure(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let webhook = find(&api, &path, &call).await?;
    call.expect_empty()?;
    let (store, group) = (store(&api, &webhook.organizer)?, group(&webhook.entry.name)?);
    let (shard, position) = failure(&path)?;
    let record = one_parked(&store, &group, shard, position).await?;
    let cursor = group.cursor(&ShardId::numbered(shard.into()));
    store.drop_parked(&cursor, position.into()).await.map_err(failed)?;
    Ok(Rendered::json(StatusCode::OK, &record))
}

/// Brings in what other servers have changed.
async fn fresh(api: &Arc<Api>) -> Result<()> {
    if !api.webhooks.are_shared() {
        return Ok(());
    }
    let data = api.clone();
    let refreshed = tokio::task::spawn_blocking(move || data.webhooks.refresh()).await;
    refreshed.map_err(|error| broken(&error))?.map_err(|error| broken(&error))
}

async fn find(api: &Arc<Api>, path: &Path, call: &Call) -> Result<Arc<Webhook>> {
    let organizer = path.organizer(call, &CHANGE)?;
    fresh(api).await?;
    let name = path.part("name");
    api.webhooks.find(&organizer, name).ok_or_else(|| {
        Problem::new(&kind::UNKNOWN_WEBHOOK, format!("{organizer} has no webhook {name}"))
    })
}

fn group(name: &str) -> Result<Group> {
    let group = cursor_of(name).ok().filter(|_| name.len() <= NAME_BYTES_MAX && !name.is_empty());
    group.ok_or_else(|| {
        let rule = format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, '-', '_' and '.'");
        Problem::field(&kind::INVALID_ID, "name", rule)
    })
}

fn store(api: &Api, organizer: &Id) -> Result<Cursors> {
    api.cursors.of(Some(organizer)).map_err(failed)
}

/// Where a URL leads, if it may.
fn target(api: &Api, url: &str) -> Result<Target> {
    let wrong = |rule: &str| Problem::field(&kind::INVALID_URL, "url", rule);
    let target = Target::parse(url).map_err(wrong)?;
    let policy = api.webhook_limits.policy;
    let networks = if target.secure { policy.secure } else { policy.plain };
    let allowed = match target.host.parse() {
        Ok(address) => networks.allow(address),
        // A name is looked up, and its address checked, for each connection.
        Err(_) if networks == Networks::Loopback => target.host == "localhost",
        Err(_) => networks != Networks::None,
    };
    match allowed {
        true => Ok(target),
        false => Err(wrong("leads where the server's configuration does not allow ([webhooks])")),
    }
}

fn check_types(types: &[String]) -> Result<()> {
    for (i, name) in types.iter().enumerate() {
        if !TYPES.iter().any(|of| of.name == name) {
            let known: Vec<&str> = TYPES.iter().map(|of| of.name).collect();
            let rule = format!("must be one of {}", known.join(", "));
            return Err(Problem::field(&kind::UNKNOWN_RECORD_TYPE, format!("types[{i}]"), rule));
        }
        if types[..i].contains(name) {
            return Err(Problem::field(
                &kind::DUPLICATE_ID,
                format!("types[{i}]"),
                "is there twice",
            ));
        }
    }
    Ok(())
}

fn random_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| broken(&error))?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("whsec_{hex}"))
}

async fn put(api: &Arc<Api>, webhook: Webhook) -> Result<Arc<Webhook>> {
    let data = api.clone();
    let per_organizer = api.webhook_limits.per_organizer;
    let put = tokio::task::spawn_blocking(move || data.webhooks.put(webhook, per_organizer)).await;
    match put.map_err(|error| broken(&error))? {
        Ok(webhook) => Ok(webhook),
        Err(webhooks::Error::TooMany { max }) => {
            let detail = format!("there may be {max}: delete one first");
            let mut problem = Problem::new(&kind::TOO_MANY_WEBHOOKS, detail);
            problem.max = i64::try_from(max).ok();
            Err(problem)
        }
        Err(error) => Err(broken(&error)),
    }
}

/// Puts a webhook's cursor to the end of each shard, and drops what was parked.
async fn from_now_on(api: &Api, store: &Cursors, group: &Group) -> Result<()> {
    forget(api, store, group).await?;
    for shard in 0..api.shards.count() {
        let durable = api.shards.info(shard).map_or(0, |info| info.reader.durable());
        let now = cursors::progress(&api.shards, durable);
        cursors::seize(store, group, shard, Some(now)).await.map_err(failed)?;
    }
    Ok(())
}

async fn forget(api: &Api, store: &Cursors, group: &Group) -> Result<()> {
    for shard in 0..api.shards.count() {
        cursors::seize(store, group, shard, None).await.map_err(failed)?;
    }
    loop {
        let parked = store.parked(group, None, PAGE_MAX as usize).await.map_err(failed)?;
        if parked.is_empty() {
            return Ok(());
        }
        for record in parked {
            let cursor = group.cursor(&record.shard);
            store.drop_parked(&cursor, record.position).await.map_err(failed)?;
        }
    }
}

/// A page of parked records, and where the next one begins.
///
/// # Errors
/// The store fails.
pub async fn parked(
    store: &Cursors,
    group: &Group,
    after: Option<(u16, u64)>,
    limit: usize,
) -> Result<(Vec<ParkedShown>, Option<String>)> {
    let after = after.map(|(shard, at)| (ShardId::numbered(shard.into()), Position::from(at)));
    let from = after.as_ref().map(|(shard, at)| (shard, *at));
    let mut found = store.parked(group, from, limit + 1).await.map_err(failed)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let shown = |record: onsale_bus::cursors::Parked| ParkedShown {
        shard: record.shard.as_str().parse().unwrap_or(u16::MAX),
        position: record.position.as_u64().unwrap_or(u64::MAX),
        times: record.tries,
        reason: record.reason,
        parked_at: Moment(onsale_core::Time(i64::try_from(record.parked_at_us).unwrap_or(0))),
        retrying: record.retry,
    };
    let page: Vec<ParkedShown> = found.into_iter().map(shown).collect();
    let next = page.last().filter(|_| more).map(|last| format!("{}.{}", last.shard, last.position));
    Ok((page, next))
}

/// One of the parked records.
///
/// # Errors
/// It is not parked.
pub async fn one_parked(
    store: &Cursors,
    group: &Group,
    shard: u16,
    position: u64,
) -> Result<ParkedShown> {
    let before = position.checked_sub(1).map(|before| (shard, before));
    let (page, _) = parked(store, group, before, 1).await?;
    let found =
        page.into_iter().find(|record| record.shard == shard && record.position == position);
    found.ok_or_else(|| {
        let detail = format!("nothing is parked at shard {shard}, position {position}");
        Problem::new(&kind::UNKNOWN_PARKED, detail)
    })
}

/// Shard and position of a path.
///
/// # Errors
/// One of them is no number.
pub fn failure(path: &Path) -> Result<(u16, u64)> {
    let number = |name: &str| {
        let rule = "must be a number";
        path.part(name).parse::<u64>().map_err(|_| Problem::field(&kind::INVALID_ID, name, rule))
    };
    let (shard, position) = (number("shard")?, number("position")?);
    let shard = u16::try_from(shard);
    let shard = shard.map_err(|_| Problem::field(&kind::UNKNOWN_SHARD, "shard", "is not there"))?;
    Ok((shard, position))
}

/// The place of a page's end: shard and position with a dot in between.
///
/// # Errors
/// It is something else.
pub fn place(text: &str) -> Result<(u16, u64)> {
    let parts = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parts.ok_or_else(|| {
        Problem::field(&kind::INVALID_QUERY, "after", "must be the `next` of the page before")
    })
}

async fn shown(api: &Api, webhook: &Webhook, secret: Option<String>) -> Result<WebhookShown> {
    let (store, group) = (store(api, &webhook.organizer)?, group(&webhook.entry.name)?);
    let places: Places = cursors::places(&store, &group).await.map_err(failed)?;
    let lag = (0..api.shards.count()).map(|shard| cursors::lag(&api.shards, shard, &places)).sum();
    let counts = webhook.figures.now();
    let Entry { name, url, types, created_at, gone_at, .. } = webhook.entry.clone();
    Ok(WebhookShown {
        name,
        url,
        types,
        created_at,
        secret,
        lag,
        delivered: counts.delivered,
        failed: counts.failed,
        failing: counts.failing.len(),
        stuck: counts.stuck.into_values().next(),
        gone_at,
    })
}

fn failed(error: Error) -> Box<Problem> {
    match error {
        Error::NotParked { .. } => Problem::new(&kind::UNKNOWN_PARKED, error.to_string()),
        Error::Leased { .. } => Problem::new(&kind::CURSOR_IN_USE, error.to_string()),
        error => broken(&error),
    }
}

fn broken(error: &dyn std::fmt::Display) -> Box<Problem> {
    tracing::error!(%error, "a webhook can't be read or kept");
    Problem::new(&kind::STORE_FAILED, "the webhook can't be read or kept; the log says more")
}
