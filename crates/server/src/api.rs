//! The HTTP API: routes, what they take and what they answer.
//!
//! Each request takes the same way: its key is checked, its path and body are
//! read, it becomes a command or a query, and the answer is written once the shard has
//! made it durable. Handlers are plain functions of a [`Call`], so that the
//! hottest of them can be reached below the router.

pub mod batch;
mod call;
pub mod events;
pub mod holds;
pub mod idempotency;
pub mod json;
mod live;
pub mod names;
pub mod openapi;
pub mod orders;
pub mod payments;
mod query;
pub mod shapes;
pub mod streams;
pub mod system;
pub mod webhooks;
mod work;
mod write;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Serialize;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;

pub use call::{Brief, Call, Once, Path, TakesQuery, known};
pub use work::Begun;
pub use write::number;

use crate::admission::Admission;
use crate::bus::ServerBus;
use crate::config::Limits;
use crate::cursors::CursorStores;
use crate::keys::KeyStore;
use crate::live::Live;
use crate::metrics::{Metrics, RouteIndex};
use crate::problem::{Problem, kind};
use crate::rates::Epoch;
use crate::shards::{Kept, Shards};
use crate::webhooks::{WebhookLimits, Webhooks};

/// What a handler gives: an answer or a problem.
pub type Result<T> = std::result::Result<T, Box<Problem>>;

/// The path of the two hottest routes, with what they end in.
const HOLDS: &str = "/v1/organizers/{organizer}/events/{event}/holds";
const ORDERS: &str = "/v1/organizers/{organizer}/events/{event}/orders";

/// What all handlers share.
pub struct Api {
    /// The engine.
    pub shards: Shards,
    /// Batches that were carried out, to be used again.
    pub batches: Kept,
    /// The keys, replaced as a whole when their file changes.
    pub keys: ArcSwap<KeyStore>,
    /// How much of anything a client may have.
    pub limits: Limits,
    /// What keeps the shards' queues short.
    pub admission: Admission,
    /// Who follows events.
    pub live: Arc<Live>,
    /// The streams that others write to.
    pub bus: ServerBus,
    /// Named cursors.
    pub cursors: CursorStores,
    /// Where organizers want to be sent what happens.
    pub webhooks: Webhooks,
    /// What those may be and do.
    pub webhook_limits: WebhookLimits,
    /// What the meters of the keys count from.
    pub epoch: Epoch,
    /// Figures.
    pub metrics: Metrics,
    /// True once the server was told to stop.
    pub draining: watch::Sender<bool>,
    /// The description of the API.
    pub openapi: Bytes,
    /// Figures of `POST …/holds`.
    pub holds_route: RouteIndex,
    /// Figures of `POST …/orders`.
    pub orders_route: RouteIndex,
}

/// What is beside the sale.
pub struct Beside {
    /// The streams that others write to.
    pub bus: ServerBus,
    /// Where organizers want to be sent what happens.
    pub webhooks: Webhooks,
    /// What those may be and do.
    pub webhook_limits: WebhookLimits,
}

impl Api {
    /// Puts together what the handlers share, and the router that they are behind.
    pub fn new(
        shards: Shards,
        keys: KeyStore,
        limits: Limits,
        beside: Beside,
    ) -> (Arc<Api>, axum::Router) {
        let (router, mut document) = routes();
        let paths = document.paths.paths.iter_mut();
        let operations = paths.flat_map(|(path, item)| {
            openapi::operations(item).map(move |(method, _)| (method, path.as_str()))
        });
        let metrics = Metrics::new(operations);
        let api = Api {
            admission: Admission::new(limits.queue_time, shards.count()),
            live: Arc::default(),
            bus: beside.bus,
            cursors: CursorStores::new(&shards),
            webhooks: beside.webhooks,
            webhook_limits: beside.webhook_limits,
            shards,
            batches: Kept::default(),
            keys: ArcSwap::from_pointee(keys),
            limits,
            epoch: Epoch::now(),
            holds_route: metrics.index("POST", HOLDS),
            orders_route: metrics.index("POST", ORDERS),
            metrics,
            draining: watch::Sender::new(false),
            openapi: description().into(),
        };
        let api = Arc::new(api);
        let mut router = router.with_state(api.clone());
        if api.shards.elsewhere() {
            router = router.layer(from_fn_with_state(api.clone(), only_as_writer));
        }
        (api, router)
    }

    /// Why nothing may be answered any more, if another server has taken over.
    pub fn not_active(&self) -> Option<Box<Problem>> {
        let active = self.shards.lost_to()?;
        Some(Problem::not_active(&kind::NOT_ACTIVE, "fenced", &active))
    }
}

/// The description of the API, as it is served and committed.
///
/// # Panics
/// Never: the document is made of texts and numbers.
#[must_use]
pub fn description() -> String {
    let (_, document) = routes();
    document.to_pretty_json().expect("the document is made of texts and numbers")
}

fn routes() -> (axum::Router<Arc<Api>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::head())
        .merge(events::routes())
        .merge(live::routes())
        .merge(holds::routes())
        .merge(orders::routes())
        .merge(payments::routes())
        .merge(batch::routes())
        .merge(streams::routes())
        .merge(webhooks::routes())
        .merge(system::routes())
        .split_for_parts();
    openapi::add_problems(&mut document);
    openapi::open_parts(&mut document);
    let with_query = Arc::new(openapi::with_query(&mut document));
    let router = router
        .method_not_allowed_fallback(system::method_not_allowed)
        .route_layer(from_fn_with_state(with_query, remember_route))
        .fallback(system::unknown_route);
    (router, document)
}

/// Where another server may take over without this one's doing: lets an answer go only if this one was the log's writer
/// after the answer was made. What goes through a shard waits there for the same.
async fn only_as_writer(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    const OF_SHARD: &str = "/v1/organizers/{organizer}/events/{event}";
    if matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    if let Some(problem) = api.not_active() {
        return problem.into_response();
    }
    let matched = request.extensions().get::<MatchedPath>();
    let of_shard = matched.is_some_and(|matched| matched.as_str().starts_with(OF_SHARD));
    let response = next.run(request).await;
    if of_shard {
        return response;
    }
    match api.shards.confirm().await {
        Ok(()) => response,
        Err(error) => {
            let problem = api.not_active();
            problem.unwrap_or_else(|| Problem::from_unavailable(error)).into_response()
        }
    }
}

/// Notes in the request whether its route takes a query, and in the answer which route gave it, for the figures.
async fn remember_route(
    State(with_query): State<Arc<openapi::WithQuery>>,
    matched: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let asks = request.uri().query().is_some();
    if asks && with_query.contains(request.method().as_str(), matched.as_str()) {
        request.extensions_mut().insert(TakesQuery);
    }
    let mut response = next.run(request).await;
    response.extensions_mut().insert(matched);
    response
}

/// An answer, ready to be sent.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// Its status.
    pub status: StatusCode,
    /// Its media type.
    pub media_type: &'static str,
    /// Its other headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub body: Bytes,
}

impl Rendered {
    /// An answer with a body.
    #[must_use]
    pub fn new(status: StatusCode, media_type: &'static str, body: Bytes) -> Rendered {
        Rendered { status, media_type, headers: Vec::new(), body }
    }

    /// An answer as JSON, written straight into its buffer.
    ///
    /// # Panics
    /// Never: the shapes are made of texts, numbers and lists of them.
    #[must_use]
    pub fn json<T: Serialize>(status: StatusCode, value: &T) -> Rendered {
        let mut body = Vec::with_capacity(512);
        serde_json::to_writer(&mut body, value).expect("the shapes can be written");
        Rendered::new(status, "application/json", body.into())
    }

    /// The same answer, marked as given before if it was.
    #[must_use]
    pub fn replayed(mut self, replayed: bool) -> Rendered {
        if replayed {
            let name = HeaderName::from_static("idempotency-replayed");
            self.headers.push((name, HeaderValue::from_static("true")));
        }
        self
    }

    /// As a response with any kind of body.
    pub fn into_http<B>(self, body: impl FnOnce(Bytes) -> B) -> hyper::Response<B> {
        let mut response = hyper::Response::new(body(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

impl IntoResponse for Rendered {
    fn into_response(self) -> Response {
        self.into_http(axum::body::Body::from)
    }
}
