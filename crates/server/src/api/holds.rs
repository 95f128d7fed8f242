//! Holds: tickets set aside for a buyer.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use onsale_core::{Action, CommandStamp, CustomerId, Event, Fact, HoldId};
use onsale_engine::{Answer, Query, View};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::call::Brief;
use super::openapi::{EventPath, HoldPath, IdempotencyHeader};
use super::shapes::{
    Hold, HoldExtended, HoldReleased, HoldRequest, HoldUuid, Moment, Receipt, items,
};
use super::work::{self, Begun, carry_out, look, outcome, record, unexpected};
use super::{Api, Call, Path, Rendered, Result, batch, idempotency, write};
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::shards::{Ground, Replied, wall_time};

/// Room for the answer to a hold; most are shorter.
const ANSWER_BYTES: usize = 384;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(place_hold))
        .routes(routes!(get_hold, release_hold))
        .routes(routes!(extend_hold))
}

/// Places a hold: sets tickets aside until a deadline, all or nothing.
///
/// With the scope `sell`. The same `Idempotency-Key` gives the same hold.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/holds",
    tag = "holds",
    params(EventPath, IdempotencyHeader),
    request_body = HoldRequest,
    responses((status = 201, description = "The hold.", body = Hold)),
)]
async fn place_hold(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    place(&api, &call, path.part("organizer"), path.part("event")).await
}

/// Places a hold; also reached below the router.
///
/// # Errors
/// The request is refused.
pub async fn place(api: &Api, call: &Call, organizer: &str, event: &str) -> Result<Rendered> {
    let (stamp, replied) = begin(api, &call.brief(), organizer, event)?.replied(api).await?;
    answer(api, stamp, replied)
}

/// Hands a hold to the shard of its event.
///
/// # Errors
/// The request is refused.
pub fn begin(api: &Api, brief: &Brief<'_>, organizer: &str, event: &str) -> Result<Begun> {
    let subject = brief.subject(organizer, event, &[Scope::Sell])?;
    brief.expect_json()?;
    let request = batch::hold(brief.body)?;
    let action = Action::PlaceHold {
        hold: HoldIds::now().next(),
        customer: customer(&request.customer)?,
        items: items(&request.items)?,
    };
    work::begin(api, idempotency::stamp_of(api, brief)?, subject, action, brief.shard, tell)
}

/// Writes the answer as the hold is decided, so that its fact need not be kept.
fn tell(text: &mut Vec<u8>, ground: Ground, event: &Event) -> bool {
    let Fact::HoldPlaced(placed) = &event.fact else { return false };
    let Ground { shard, position, durability } = ground;
    text.reserve_exact(ANSWER_BYTES);
    write::hold_placed(text, placed, Receipt { shard, position, durability });
    true
}

/// What is answered once the shard has replied.
///
/// # Errors
/// The request is refused.
pub fn answer(api: &Api, stamp: CommandStamp, replied: Replied) -> Result<Rendered> {
    if matches!(replied.answer, Answer::Told) {
        return Ok(Rendered::new(StatusCode::CREATED, "application/json", replied.text.into()));
    }
    let outcome = outcome(api, stamp, replied)?;
    let body = outcome.take(|fact| match fact {
        Fact::HoldPlaced(placed) => {
            let mut body = Vec::with_capacity(ANSWER_BYTES);
            write::hold_placed(&mut body, placed, outcome.receipt);
            Some(body)
        }
        _ => None,
    })?;
    let rendered = Rendered::new(StatusCode::CREATED, "application/json", body.into());
    Ok(rendered.replayed(outcome.replayed))
}

/// Shows a hold that is live.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events/{event}/holds/{hold}",
    tag = "holds",
    params(HoldPath),
    responses((status = 200, description = "The hold.", body = Hold)),
)]
async fn get_hold(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Sell, Scope::Read, Scope::Manage])?;
    let hold = hold_id("hold", path.part("hold"))?;
    let query = Query::Hold { organizer: subject.organizer, event: subject.event, hold };
    let (View::Hold(view), receipt) = look(&api, query).await? else { return Err(unexpected()) };
    let Fact::HoldPlaced(placed) = record(&api, receipt.shard, view.position)?.fact else {
        return Err(unexpected());
    };
    Ok(Rendered::json(StatusCode::OK, &Hold::standing(&view, &placed, receipt)))
}

/// Gives a hold's tickets back.
///
/// With the scope `sell`.
#[utoipa::path(
    delete,
    path = "/v1/organizers/{organizer}/events/{event}/holds/{hold}",
    tag = "holds",
    params(HoldPath),
    responses((status = 200, description = "The hold is released.", body = HoldReleased)),
)]
async fn release_hold(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Sell])?;
    call.expect_empty()?;
    let hold = hold_id("hold", path.part("hold"))?;
    let stamp = idempotency::stamp_without_key(&api, &call);
    let outcome = carry_out(&api, stamp, subject, Action::ReleaseHold { hold }).await?;
    let receipt = outcome.receipt;
    let released = HoldReleased { id: HoldUuid(hold), state: "released", receipt };
    Ok(Rendered::json(StatusCode::OK, &released))
}

/// Gives a hold its full time again, once.
///
/// With the scope `sell`.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/holds/{hold}/extend",
    tag = "holds",
    params(HoldPath, IdempotencyHeader),
    responses((status = 200, description = "The new deadline.", body = HoldExtended)),
)]
async fn extend_hold(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Sell])?;
    call.expect_empty()?;
    let hold = hold_id("hold", path.part("hold"))?;
    let stamp = idempotency::stamp(&api, &call)?;
    let outcome = carry_out(&api, stamp, subject, Action::ExtendHold { hold }).await?;
    let extended = outcome.take(|fact| match fact {
        Fact::HoldExtended { hold, expires_at } => Some(HoldExtended {
            id: HoldUuid(*hold),
            expires_at: Moment(*expires_at),
            receipt: outcome.receipt,
        }),
        _ => None,
    })?;
    Ok(Rendered::json(StatusCode::OK, &extended).replayed(outcome.replayed))
}

/// Makes ids of holds: UUIDs of version 7 of one moment.
#[derive(Clone, Copy, Debug)]
pub struct HoldIds {
    millis: u64,
}

impl HoldIds {
    /// Ids that say that they were made now.
    #[must_use]
    pub fn now() -> HoldIds {
        HoldIds { millis: u64::try_from(wall_time().0 / 1_000).unwrap_or(0) }
    }

    /// A new id.
    #[must_use]
    pub fn next(self) -> HoldId {
        // A random UUID is the cheapest source of chance that there is.
        let random = Uuid::new_v4().into_bytes();
        let chance = random[6..].first_chunk().expect("ten bytes of sixteen");
        HoldId(uuid::Builder::from_unix_timestamp_millis(self.millis, chance).as_uuid().as_u128())
    }
}

/// A customer's id, out of a body.
///
/// # Errors
/// It is in the wrong form.
pub fn customer(text: &str) -> Result<CustomerId> {
    CustomerId::new(text).map_err(|error| Problem::text("customer", error))
}

/// A hold's id, out of a body or a path.
///
/// # Errors
/// It is in the wrong form.
pub fn hold_id(field: &str, text: &str) -> Result<HoldId> {
    match Uuid::try_parse(text) {
        Ok(uuid) => Ok(HoldId(uuid.as_u128())),
        Err(_) => Err(Problem::field(&kind::INVALID_ID, field, "must be a UUID")),
    }
}
