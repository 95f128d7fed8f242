//! Health, readiness, figures, the description of the API and of its problems.

use std::sync::Arc;

use axum::extract::State;
use hyper::HeaderMap;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::authenticate;
use super::openapi::ProblemPath;
use super::{Api, Path, Rendered, Result};
use crate::bus::follow;
use crate::metrics::bus::{self, BusFigures, SHOWN_MAX};
use crate::metrics::{self, Beside, machine};
use crate::problem::{Kind, Problem, kind};
use crate::stream::asyncapi;

/// Media type of the text format of Prometheus.
/// Media type of Prometheus' text format.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(readiness))
        .routes(routes!(figures))
        .routes(routes!(description))
        .routes(routes!(streams_description))
        .routes(routes!(list_problems))
        .routes(routes!(get_problem))
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Status {
    /// `alive` or `ready`.
    status: &'static str,
}

/// A kind of problem.
#[derive(Serialize, ToSchema)]
struct ProblemType {
    /// Its type, as in a problem.
    #[serde(rename = "type")]
    #[schema(example = "/problems/sold-out")]
    kind: String,
    /// The status of the answer.
    status: u16,
    /// For people; does not vary.
    title: &'static str,
    /// What to make of it.
    about: &'static str,
}

/// All kinds of problems.
#[derive(Serialize, ToSchema)]
struct ProblemTypes {
    /// The kinds.
    problems: Vec<ProblemType>,
}

impl ProblemType {
    fn new(kind: &Kind) -> ProblemType {
        let Kind { status, title, about, .. } = *kind;
        ProblemType { kind: kind.path(), status, title, about }
    }
}

/// Whether the server is alive. Needs no key.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "system",
    security(()),
    responses((status = 200, description = "It is.", body = Status)),
)]
async fn health() -> Rendered {
    Rendered::json(StatusCode::OK, &Status { status: "alive" })
}

/// Whether every shard takes commands. Needs no key.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "system",
    security(()),
    responses((status = 200, description = "Every shard does.", body = Status)),
)]
async fn readiness(State(api): State<Arc<Api>>) -> Result<Rendered> {
    if let Some(active) = api.shards.lost_to() {
        return Err(Problem::not_active(&kind::NOT_READY, "fenced", &active));
    }
    let ready = match *api.draining.borrow() {
        true => Err("the server is stopping".to_owned()),
        false => api.shards.ready(),
    };
    match ready {
        Ok(()) => Ok(Rendered::json(StatusCode::OK, &Status { status: "ready" })),
        Err(reason) => Err(Problem::new(&kind::NOT_READY, reason)),
    }
}

/// Figures, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "system",
    responses((status = 200, description = "The figures.", body = String, content_type = "text/plain")),
)]
async fn figures(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Rendered> {
    authenticate(&api, &headers)?;
    let gates = api.admission.figures().collect();
    let beside = Beside { live: api.live.figures(), gates };
    let shards = api.shards.figures();
    let mut text = metrics::render_active(api.shards.lost_to().is_none());
    text += &api.metrics.render(&shards, &beside);
    text += &bus::render(&bus_figures(&api).await);
    // It asks the system, which may take its time.
    let data = api.shards.data().to_owned();
    let machine = tokio::task::spawn_blocking(move || machine::render(&data)).await;
    text += &machine.unwrap_or_default();
    Ok(Rendered::new(StatusCode::OK, PROMETHEUS, text.into()))
}

async fn bus_figures(api: &Api) -> BusFigures {
    let parked = match api.cursors.of_server() {
        Ok(store) => {
            store.parked(&follow::group(), None, SHOWN_MAX).await.map_or(0, |all| all.len())
        }
        Err(_) => 0,
    };
    BusFigures {
        open: api.bus.get().is_ok(),
        cursors: api.cursors.behind(&api.shards, SHOWN_MAX).await,
        webhooks: api.webhooks.all().iter().take(SHOWN_MAX).cloned().collect(),
        parked,
        stuck: api.bus.stuck.load(std::sync::atomic::Ordering::Relaxed),
        retained: api.bus.retained(),
    }
}

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "system",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)),
)]
async fn description(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Rendered> {
    authenticate(&api, &headers)?;
    Ok(Rendered::new(StatusCode::OK, "application/json", api.openapi.clone()))
}

/// The description of the streams and of the records in them.
#[utoipa::path(
    get,
    path = "/asyncapi.json",
    tag = "system",
    responses((status = 200, description = "AsyncAPI 3.0.", body = serde_json::Value)),
)]
async fn streams_description(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Rendered> {
    authenticate(&api, &headers)?;
    Ok(Rendered::new(StatusCode::OK, "application/json", asyncapi::description().into()))
}

/// All problem types.
#[utoipa::path(
    get,
    path = "/problems",
    tag = "system",
    responses((status = 200, description = "The types.", body = ProblemTypes)),
)]
async fn list_problems(State(api): State<Arc<Api>>, headers: HeaderMap) -> Result<Rendered> {
    authenticate(&api, &headers)?;
    let problems = kind::ALL.iter().map(|kind| ProblemType::new(kind)).collect();
    Ok(Rendered::json(StatusCode::OK, &ProblemTypes { problems }))
}

/// One problem type: what its `type` points to.
#[utoipa::path(
    get,
    path = "/problems/{name}",
    tag = "system",
    params(ProblemPath),
    responses((status = 200, description = "The type.", body = ProblemType)),
)]
async fn get_problem(
    State(api): State<Arc<Api>>,
    path: Path,
    headers: HeaderMap,
) -> Result<Rendered> {
    authenticate(&api, &headers)?;
    match Kind::named(path.part("name")) {
        Some(kind) => Ok(Rendered::json(StatusCode::OK, &ProblemType::new(kind))),
        None => Err(Problem::new(&kind::UNKNOWN_ROUTE, "there is no such problem type")),
    }
}

/// There is nothing at this path. Without a key not even that is told.
pub async fn unknown_route(State(api): State<Arc<Api>>, headers: HeaderMap) -> Box<Problem> {
    match authenticate(&api, &headers) {
        Ok(_) => Problem::new(&kind::UNKNOWN_ROUTE, "there is nothing at this path"),
        Err(problem) => problem,
    }
}

/// The path does not take this method. The router adds the header Allow.
pub async fn method_not_allowed(State(api): State<Arc<Api>>, headers: HeaderMap) -> Box<Problem> {
    match authenticate(&api, &headers) {
        Ok(_) => Problem::new(&kind::METHOD_NOT_ALLOWED, "the path does not take this method"),
        Err(problem) => problem,
    }
}
