//! What is left of an event, live: server-sent events for as many as want to watch.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use onsale_core::event::Subject;
use tokio::time::{Instant, sleep_until};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::events::{self, Availability, LOOK};
use super::openapi::{EventPath, LastEventHeader};
use super::{Api, Call, Path, Result};
use crate::live::{BEAT_EVERY, Feed, Frame, Place, Reader};
use crate::problem::{Problem, kind};
use crate::refused::Reason;

/// Media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
/// Looks without a reader after which a feed ends.
const IDLE_LOOKS_MAX: u32 = 50;
/// The state changes with time, too: a sale begins. So it is looked at so often at least.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(follow_availability))
}

/// Follows what is left of an event, as server-sent events.
///
/// Each event is a whole state, as the availability shows it, and its id is the position that
/// it is of: one at once, then one whenever it has changed, up to ten times a second; less
/// often where many follow, about once a second where ten thousand do. Nothing is kept
/// for who is slow: the next event is the newest. With `Last-Event-ID` the state comes at once
/// only if it is another one. Comments in between tell that the connection is alive. A
/// stream ends after ten minutes: clients of server-sent events come again by themselves.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events/{event}/availability/live",
    tag = "events",
    params(EventPath, LastEventHeader),
    responses((
        status = 200, description = "The states, each an event named `availability`.",
        body = String, content_type = "text/event-stream",
    )),
)]
async fn follow_availability(
    State(api): State<Arc<Api>>,
    path: Path,
    call: Call,
) -> Result<Response> {
    let subject = path.subject(&call, &LOOK)?;
    let last = call.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let place = place(&api)?;
    let newest = match api.live.follow(&subject) {
        Some(newest) => newest,
        None => {
            let (state, frame) = look(&api, subject).await?;
            let (newest, made) = api.live.begin(subject, frame);
            if let Some(feed) = made {
                tokio::spawn(keep(api.clone(), subject, feed, state));
            }
            newest
        }
    };
    let frames = futures_util::stream::unfold(Reader::new(place, newest, last), |reader| async {
        let (bytes, reader) = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), reader))
    });
    let mut response = Body::from_stream(frames).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies would gather events before they pass them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// A place among those who follow something live.
///
/// # Errors
/// There are as many as there may be.
pub fn place(api: &Api) -> Result<Place> {
    let readers_max = api.limits.live_readers;
    Place::take(api.live.clone(), readers_max).ok_or_else(|| {
        api.metrics.refused.count(Reason::Readers);
        let detail = format!("{readers_max} follow live already (limits.live_readers)");
        let mut problem = Problem::new(&kind::TOO_MANY_READERS, detail);
        problem.max = i64::try_from(readers_max).ok();
        problem
    })
}

/// The state without its receipt, by which a change is known, and as it is sent.
async fn look(api: &Api, subject: Subject) -> Result<(Vec<u8>, Frame)> {
    let mut state = events::availability(api, subject).await?;
    let json = |state: &_| serde_json::to_vec::<Availability>(state).expect("it can be written");
    let position = state.receipt.position;
    let full = json(&state);
    state.receipt.position = 0;
    let head = format!("id: {position}\nevent: availability\ndata: ");
    let bytes = [head.as_bytes(), &full, b"\n\n"].concat().into();
    api.live.wrote();
    Ok((json(&state), Frame { position, bytes }))
}

/// Keeps a feed going as long as somebody reads it and the server does not stop.
async fn keep(api: Arc<Api>, subject: Subject, feed: Arc<Feed>, mut state: Vec<u8>) {
    let mut draining = api.draining.subscribe();
    let Subject { organizer, event } = subject;
    let shard = api.shards.of_event(&organizer, &event).unwrap_or_default();
    let durable = api.shards.durable(shard).expect("the event is there");
    let (mut next, mut looked, mut sent) = (Instant::now(), Instant::now(), Instant::now());
    let (mut position, mut idle) = (0, 0);
    loop {
        let every = api.live.every();
        next = (next + every).max(Instant::now());
        tokio::select! {
            () = sleep_until(next) => {}
            _ = draining.wait_for(|stop| *stop) => break,
        }
        idle = if feed.readers() == 0 { idle + 1 } else { 0 };
        if idle >= IDLE_LOOKS_MAX && api.live.end_if_idle(&subject) {
            return;
        }
        let mut changed = None;
        if *durable.borrow() != position || looked.elapsed() >= LOOK_EVERY {
            (looked, position) = (Instant::now(), *durable.borrow());
            match look(&api, subject).await {
                Ok((now, frame)) if now != state => (state, changed) = (now, Some(frame)),
                Ok(_) => {}
                Err(problem) if problem.kind == kind::BUSY.path() => {}
                // Whoever comes again is told why.
                Err(_) => break,
            }
        }
        if changed.is_some() || sent.elapsed() >= BEAT_EVERY {
            sent = Instant::now();
            feed.publish(changed, every).await;
        }
    }
    api.live.end(&subject);
}
