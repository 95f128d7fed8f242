//! One request: the two hottest kinds go straight to their handlers, all else
//! through the router. Either way it is counted.

use std::time::Instant;

use axum::extract::MatchedPath;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Method, Request, Response, Version};
use tower::ServiceExt as _;

use super::body::Body;
use super::connection::Connection;
use super::host::wrong_host;
use super::reply::Reply;
use crate::admission::admit_early;
use crate::api::{Api, Call, Result, holds, orders};
use crate::metrics::RouteIndex;

/// What the hottest paths end in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hot {
    /// `POST …/holds`.
    Holds,
    /// `POST …/orders`.
    Orders,
}

/// Answers one request.
pub async fn answer(connection: &Connection, request: Request<Incoming>) -> Response<Reply> {
    let api = &*connection.api;
    let closable = request.version() < Version::HTTP_2;
    let began = Instant::now();
    let hot = request.method() == Method::POST && hot_path(request.uri().path()).is_some();
    let wrong_host = wrong_host(&request);
    let malformed = wrong_host.is_some();
    let request = Body::of(request);
    let (route, mut response) = match wrong_host {
        Some(problem) => (RouteIndex::NONE, problem.render().into_http(Reply::whole)),
        None if hot => straight(api, request).await,
        // Boxed, so that the hot way does not carry the room that the router needs.
        None => Box::pin(routed(api, connection.router.clone(), request)).await,
    };
    // HTTP/2 has a frame for that.
    if closable && (malformed || *api.draining.borrow()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    api.metrics.answered(route, response.status().as_u16(), began.elapsed());
    response
}

/// Takes `/v1/organizers/{organizer}/events/{event}/holds` or `…/orders` apart. Parts
/// with a `%` are left to the router, which decodes them.
pub fn hot_path(path: &str) -> Option<(&str, &str, Hot)> {
    let (organizer, rest) = path.strip_prefix("/v1/organizers/")?.split_once('/')?;
    let (event, last) = rest.strip_prefix("events/")?.split_once('/')?;
    let hot = match last {
        "holds" => Hot::Holds,
        "orders" => Hot::Orders,
        _ => return None,
    };
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b != b'%');
    (plain(organizer) && plain(event)).then_some((organizer, event, hot))
}

async fn straight(api: &Api, request: Request<Body>) -> (RouteIndex, Response<Reply>) {
    let (parts, body) = request.into_parts();
    let (_, _, hot) = hot_path(parts.uri.path()).expect("the caller has looked");
    let route = match hot {
        Hot::Holds => api.holds_route,
        Hot::Orders => api.orders_route,
    };
    let result: Result<_> = async {
        if hot == Hot::Holds {
            let (organizer, event, _) = hot_path(parts.uri.path()).expect("seen above");
            admit_early(api, organizer, event)?;
        }
        let call = Call::read(api, parts, body).await?;
        let (organizer, event, _) = hot_path(call.uri.path()).expect("it is still the same");
        match hot {
            Hot::Holds => holds::place(api, &call, organizer, event).await,
            Hot::Orders => orders::place(api, &call, organizer, event).await,
        }
    }
    .await;
    let rendered = result.unwrap_or_else(|problem| problem.render());
    (route, rendered.into_http(Reply::whole))
}

async fn routed(
    api: &Api,
    router: axum::Router,
    request: Request<Body>,
) -> (RouteIndex, Response<Reply>) {
    let method = request.method().clone();
    let response = match router.oneshot(request.map(axum::body::Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let matched = response.extensions().get::<MatchedPath>();
    let route = match matched {
        Some(path) => api.metrics.index(method.as_str(), path.as_str()),
        None => RouteIndex::NONE,
    };
    (route, response.map(Reply::Routed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_hot_paths_apart_and_no_other() {
        let rows = [
            ("/v1/organizers/o/events/e/holds", Some(("o", "e", Hot::Holds))),
            ("/v1/organizers/o/events/e-1.2/orders", Some(("o", "e-1.2", Hot::Orders))),
            ("/v1/organizers/o/events/e/orders/", None),
            ("/v1/organizers/o/events/e/orders/E234567892", None),
            ("/v1/organizers/o/events//holds", None),
            ("/v1/organizers//events/e/holds", None),
            ("/v1/organizers/o/events/e%2Fx/holds", None),
            ("/v1/organizers/o/x/events/e/holds", None),
            ("/v1/organizers/o/events/e/availability", None),
            ("/", None),
        ];
        for (path, expected) in rows {
            assert_eq!(hot_path(path), expected, "{path}");
        }
    }
}
