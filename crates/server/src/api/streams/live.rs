//! The stream `sales`, live: records as server-sent events, from a cursor on.
//!
//! Nothing is kept for a reader but its place: a piece of records is read when it has taken
//! the one before, so one that is slow is behind and costs nothing, until the connection's
//! own limit cuts it. How often there is a piece follows from how many read, as in [`crate::live`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use onsale_core::Id;
use onsale_engine::ShardInfo;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::read::{self, Scan};
use super::{LOOK, position, shard};
use crate::api::live::{EVENT_STREAM, place};
use crate::api::openapi::{LastEventHeader, LiveRecordsQuery};
use crate::api::{Api, Call, Result, query};
use crate::live::{BEAT_EVERY, LIFE, Place};
use crate::problem::{Problem, kind};
use crate::stream::cursor::Cursor;

/// Records in one piece at most.
const PIECE_MAX: usize = 100;
/// From one piece to the next, at least, for one who has read all there was.
const EVERY_MIN: Duration = Duration::from_millis(10);
/// Pieces in a second, about, for all readers together.
const PIECES_PER_SECOND: f64 = 5_000.0;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(follow_records))
}

/// Follows the records of a shard, as server-sent events.
///
/// With the scope `read` or `manage`. Each record is an event named `record` whose data is a CloudEvent
/// and whose id is a cursor: what `Last-Event-ID` and `after` take. Where neither is sent, only what
/// comes from now on is shown; the first thing sent is the id of that place. Comments in between tell that
/// the connection is alive, with an id that moves on past others' records. A stream ends
/// after ten minutes, and who does not read on is cut: clients of server-sent events come again by themselves, and
/// miss nothing.
#[utoipa::path(
    get,
    path = "/v1/streams/sales/records/live",
    tag = "streams",
    params(LiveRecordsQuery, LastEventHeader),
    responses((
        status = 200, description = "The records, each an event named `record`.",
        body = String, content_type = "text/event-stream",
    )),
)]
async fn follow_records(State(api): State<Arc<Api>>, call: Call) -> Result<Response> {
    call.needs(&LOOK)?;
    let asked: LiveRecordsQuery = query::parse(&call.uri)?;
    let info = shard(&api, asked.shard.as_deref())?.clone();
    let last = match call.headers.get("last-event-id").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(id)) => Some(("Last-Event-ID", id)),
        Some(Err(_)) => {
            let rule = "must be the id of an event";
            return Err(Problem::field(&kind::INVALID_QUERY, "Last-Event-ID", rule));
        }
    };
    // A client that was sent nothing yet comes again with an empty id.
    let from = last.filter(|(_, id)| !id.is_empty());
    let from = from.or(asked.after.as_deref().map(|after| ("after", after)));
    let next = match from {
        None => info.reader.durable(),
        Some((field, text)) => {
            let after = position(&api, &info, field, text).await?;
            let begins_at = read::begins_at(&info).await?;
            if after + 1 < begins_at {
                return Err(read::gone(field, begins_at));
            }
            after
        }
    };
    let follower = Follower {
        generation: info.generation.get(),
        place: place(&api)?,
        durable: api.shards.durable(info.shard).expect("the shard is there"),
        draining: api.draining.subscribe(),
        redacted: call.redacted(),
        organizer: call.grant.organizer,
        until: Instant::now() + LIFE,
        sent: Instant::now(),
        begun: false,
        info,
        next,
        api,
    };
    let pieces = futures_util::stream::unfold(follower, |follower| async {
        let (bytes, follower) = follower.piece().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), follower))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies would gather events before they pass them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One who follows a shard.
struct Follower {
    api: Arc<Api>,
    place: Place,
    info: ShardInfo,
    /// That of the records that it is after.
    generation: u32,
    organizer: Option<Id>,
    redacted: bool,
    durable: watch::Receiver<u64>,
    draining: watch::Receiver<bool>,
    /// The last position that was looked at.
    next: u64,
    /// When it is over.
    until: Instant,
    /// When something was sent last.
    sent: Instant,
    begun: bool,
}

impl Follower {
    /// What to send next; none: it is over.
    async fn piece(mut self) -> Option<(Bytes, Follower)> {
        if !self.begun {
            self.begun = true;
            let bytes = format!("id: {}\n\n", Cursor::at(&self.info, self.next));
            return Some((bytes.into(), self));
        }
        loop {
            if *self.draining.borrow_and_update() || Instant::now() >= self.until {
                return None;
            }
            let end = *self.durable.borrow_and_update();
            // Whoever comes again is told that the log went back.
            if self.info.generation.get() != self.generation {
                return None;
            }
            if self.next < end {
                if let Some(bytes) = self.read(end).await? {
                    return Some((self.send(bytes), self));
                }
                continue;
            }
            let beat = self.sent + BEAT_EVERY;
            tokio::select! {
                moved = self.durable.changed() => {
                    moved.ok()?;
                    sleep_until(self.sent + self.every()).await;
                }
                _ = self.draining.changed() => {}
                () = sleep_until(beat.min(self.until)) => {
                    let bytes = format!(": still here\nid: {}\n\n", Cursor::at(&self.info, self.next));
                    return Some((self.send(bytes.into()), self));
                }
            }
        }
    }

    fn send(&mut self, bytes: Bytes) -> Bytes {
        self.sent = Instant::now();
        self.place.count();
        bytes
    }

    /// One piece of records. The outer nothing: it is over, since they can't be read.
    async fn read(&mut self, end: u64) -> Option<Option<Bytes>> {
        let mut scan = Scan { found: Vec::new(), next: self.next };
        while scan.next < end && scan.found.is_empty() && self.sent.elapsed() < BEAT_EVERY {
            // Whoever comes again is told why.
            read::read(&self.info, self.organizer.as_ref(), &mut scan, PIECE_MAX).await.ok()?;
        }
        self.next = scan.next;
        let records = read::shown(&self.api, &self.info, &scan.found, self.redacted).await.ok()?;
        if records.is_empty() {
            // Others' records take time, too: meanwhile this one must not be taken for dead.
            let quiet = self.sent.elapsed() >= BEAT_EVERY;
            let bytes = format!(": still here\nid: {}\n\n", Cursor::at(&self.info, self.next));
            return Some(quiet.then(|| bytes.into()));
        }
        let mut bytes = Vec::with_capacity(records.len() * 1_024);
        for record in &records {
            let head =
                format!("id: {}\nevent: record\ndata: ", Cursor::at(&self.info, record.position));
            bytes.extend_from_slice(head.as_bytes());
            serde_json::to_writer(&mut bytes, record).expect("a record can be written");
            bytes.extend_from_slice(b"\n\n");
        }
        Some(Some(bytes.into()))
    }

    /// From one piece to the next, at least.
    fn every(&self) -> Duration {
        let (readers, ..) = self.api.live.figures();
        EVERY_MIN.max(Duration::from_secs_f64(readers as f64 / PIECES_PER_SECOND))
    }
}
