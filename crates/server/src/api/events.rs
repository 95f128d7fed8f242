//! Events: what is for sale, whether it sells, and what is left.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use onsale_core::command::Expects;
use onsale_core::event::Subject;
use onsale_core::view::{AvailabilityView, EventView};
use onsale_core::{Action, EventState, Fact, Id, TicketTypeDefinition, Time, Window};
use onsale_engine::{Query, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{ConditionHeaders, EventPath, ListQuery, MatchHeader, OrganizerPath};
use super::shapes::Receipt;
use super::work::{Outcome, carry_out, look, unexpected};
use super::{Api, Call, Path, Rendered, Result, idempotency, json, query};
use crate::catalogue::{EventBody, StateBody};
use crate::keys::Scope;
use crate::problem::{Problem, Text, kind};
use crate::shards::wall_time;

/// Events on one page at most.
const PAGE_MAX: u64 = 100;
/// Events on one page where nothing is said.
const PAGE_DEFAULT: u64 = 50;
/// Who may look at an event.
pub const LOOK: [Scope; 3] = [Scope::Read, Scope::Sell, Scope::Manage];

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(get_event, define_event, set_state))
        .routes(routes!(get_availability))
}

/// An event as it stands.
#[derive(Debug, Serialize, ToSchema)]
struct Event {
    /// Whose.
    #[schema(value_type = String, example = "river-festival")]
    organizer: Text<Id>,
    /// Which.
    #[schema(value_type = String, example = "spring-concert")]
    id: Text<Id>,
    /// Whether it sells.
    state: StateBody,
    /// Grows with every change of definition or state; also the ETag.
    #[schema(example = 7)]
    version: u32,
    /// Its definition.
    #[serde(flatten)]
    definition: EventBody,
    /// What the answer stands on.
    receipt: Receipt,
}

/// A page of events, sorted by id.
#[derive(Debug, Serialize, ToSchema)]
struct EventPage {
    /// The events.
    events: Vec<Event>,
    /// What to pass as `after` for the next page; null: this was the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// A change of an event's state.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct StateRequest {
    /// The new state.
    state: StateBody,
}

/// What is left of an event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Availability {
    /// Whether it sells.
    state: StateBody,
    /// Whether it can be bought from now: it is open and its sale has begun and
    /// is not over.
    on_sale: bool,
    /// Its quotas: `free + held + sold = capacity`.
    quotas: Vec<QuotaLeft>,
    /// Its ticket types.
    ticket_types: Vec<TicketTypeLeft>,
    /// What the answer stands on.
    pub receipt: Receipt,
}

/// What is left of a quota.
#[derive(Debug, Serialize, ToSchema)]
struct QuotaLeft {
    /// Its id.
    #[schema(value_type = String, example = "hall")]
    id: Text<Id>,
    /// How many there are to sell; null: unlimited.
    #[schema(required = true)]
    capacity: Option<u32>,
    /// How many can be held now; null: unlimited.
    #[schema(required = true)]
    free: Option<u32>,
    /// How many are in live holds.
    held: u32,
    /// How many are in orders that are not cancelled, paid or not.
    sold: u32,
}

/// What is left of a ticket type.
#[derive(Debug, Serialize, ToSchema)]
struct TicketTypeLeft {
    /// Its id.
    #[schema(value_type = String, example = "seat")]
    id: Text<Id>,
    /// For people.
    name: String,
    /// For one ticket, in minor units; where the buyer may choose it, the least.
    price: i64,
    /// Whether the buyer may pay more.
    free_price: bool,
    /// How many can be held now: the fewest of its quotas; null: unlimited.
    #[schema(required = true)]
    available: Option<u32>,
    /// Whether it can be bought now, if it is available.
    on_sale: bool,
}

/// Shows the organizer's events, sorted by id.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events",
    tag = "events",
    params(OrganizerPath, ListQuery),
    responses((status = 200, description = "A page of events.", body = EventPage)),
)]
async fn list_events(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let organizer = path.organizer(&call, &LOOK)?;
    let ListQuery { after, limit } = query::parse(&call.uri)?;
    let after = after.map(|text| Id::new(&text).map_err(|error| Problem::text("after", error)));
    let limit = query::number("limit", limit.as_deref(), 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let limit = limit as usize;
    let mut ids = api.shards.events(&organizer, after.transpose()?.as_ref(), limit + 1);
    let more = ids.len() > limit;
    ids.truncate(limit);
    let next = ids.last().filter(|_| more).map(Id::to_string);
    let mut events = Vec::with_capacity(ids.len());
    for id in ids {
        let (view, receipt) = event_view(&api, Subject { organizer, event: id }).await?;
        events.push(shown(&view, receipt));
    }
    Ok(Rendered::json(StatusCode::OK, &EventPage { events, next }))
}

/// Shows an event and its definition.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events/{event}",
    tag = "events",
    params(EventPath),
    responses((
        status = 200, description = "The event.", body = Event,
        headers(("ETag" = String, description = "The version, for If-Match.")),
    )),
)]
async fn get_event(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &LOOK)?;
    let (view, receipt) = event_view(&api, subject).await?;
    Ok(answer(StatusCode::OK, &shown(&view, receipt)))
}

/// Makes an event, or gives it a new definition.
///
/// With the scope `manage`. A new event is paused. A change of one that is there wants
/// `If-Match`; `If-None-Match: *` makes sure that it is new. A quota may grow, and
/// shrink to what is sold and held.
#[utoipa::path(
    put,
    path = "/v1/organizers/{organizer}/events/{event}",
    tag = "events",
    params(EventPath, ConditionHeaders),
    request_body = EventBody,
    responses(
        (
            status = 201, description = "The event was made.", body = Event,
            headers(("ETag" = String, description = "The version, for If-Match.")),
        ),
        (
            status = 200, description = "The event has this definition.", body = Event,
            headers(("ETag" = String, description = "The version, for If-Match.")),
        ),
    ),
)]
async fn define_event(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Manage])?;
    let expects = expects(&call)?;
    call.expect_json()?;
    let body: EventBody = json::parse(&call.body)?;
    let definition =
        body.to_definition(&subject.event).map_err(|error| Problem::from_field_error(&error))?;
    let action = Action::DefineEvent { definition: Box::new(definition), expects };
    let stamp = idempotency::stamp_without_key(&api, &call);
    let outcome = carry_out(&api, stamp, subject, action).await?;
    let (status, version) = match &outcome.fact {
        Some(Fact::EventDefined(defined)) if defined.version == 1 => (StatusCode::CREATED, 1),
        Some(Fact::EventDefined(defined)) => (StatusCode::OK, defined.version),
        Some(_) => return Err(unexpected()),
        None => (StatusCode::OK, 0),
    };
    changed(&api, subject, &outcome, status, version).await
}

/// Opens, pauses or closes an event.
///
/// With the scope `manage`. Paused and closed stop new holds and extensions;
/// claims and payments go on.
#[utoipa::path(
    patch,
    path = "/v1/organizers/{organizer}/events/{event}",
    tag = "events",
    params(EventPath, MatchHeader),
    request_body = StateRequest,
    responses((
        status = 200, description = "The event has this state.", body = Event,
        headers(("ETag" = String, description = "The version, for If-Match.")),
    )),
)]
async fn set_state(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Manage])?;
    let expects = expects(&call)?;
    call.expect_json()?;
    let StateRequest { state } = json::parse(&call.body)?;
    let action = Action::SetState { state: state.into(), expects };
    let stamp = idempotency::stamp_without_key(&api, &call);
    let outcome = carry_out(&api, stamp, subject, action).await?;
    let version = match &outcome.fact {
        Some(Fact::StateSet { version, .. }) => *version,
        Some(_) => return Err(unexpected()),
        None => 0,
    };
    changed(&api, subject, &outcome, StatusCode::OK, version).await
}

/// The event after a change. If another change came in between, the version told is
/// still the one that this change made, so that a later `If-Match` meets the truth.
async fn changed(
    api: &Api,
    subject: Subject,
    outcome: &Outcome,
    status: StatusCode,
    version: u32,
) -> Result<Rendered> {
    let (view, receipt) = event_view(api, subject).await?;
    let mut event = shown(&view, receipt);
    match &outcome.fact {
        Some(Fact::EventDefined(defined)) => {
            event.definition = EventBody::from_definition(&defined.definition);
        }
        Some(Fact::StateSet { state, .. }) => event.state = (*state).into(),
        _ => {}
    }
    if version > 0 {
        (event.version, event.receipt) = (version, outcome.receipt);
    }
    Ok(answer(status, &event))
}

/// Shows what is left of an event.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events/{event}/availability",
    tag = "events",
    params(EventPath),
    responses((status = 200, description = "What is left.", body = Availability)),
)]
async fn get_availability(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &LOOK)?;
    Ok(Rendered::json(StatusCode::OK, &availability(&api, subject).await?))
}

/// What is left of an event.
///
/// # Errors
/// There is no such event, or no answer.
pub async fn availability(api: &Api, subject: Subject) -> Result<Availability> {
    let Subject { organizer, event } = subject;
    let (view, receipt) = look(api, Query::Availability { organizer, event }).await?;
    let View::Availability(view) = view else { return Err(unexpected()) };
    Ok(left(&view, receipt, wall_time()))
}

fn left(view: &AvailabilityView, receipt: Receipt, now: Time) -> Availability {
    let definition = &view.definition;
    let on_sale = view.state == EventState::Open && contains(&definition.sale, now);
    let quota = |quota: &onsale_core::view::QuotaView| QuotaLeft {
        id: Text(quota.id),
        capacity: quota.stock.allotment,
        free: quota.free(),
        held: quota.held,
        sold: quota.sold,
    };
    let ticket_type = |ticket_type: &TicketTypeDefinition| {
        let own = view.quotas.iter().filter(|quota| ticket_type.quotas.contains(&quota.id));
        TicketTypeLeft {
            id: Text(ticket_type.id),
            name: ticket_type.name.clone(),
            price: ticket_type.price,
            free_price: ticket_type.free_price,
            available: own.filter_map(|quota| quota.free()).min(),
            on_sale: on_sale && contains(&ticket_type.sale, now),
        }
    };
    Availability {
        state: view.state.into(),
        on_sale,
        quotas: view.quotas.iter().map(quota).collect(),
        ticket_types: definition.ticket_types.iter().map(ticket_type).collect(),
        receipt,
    }
}

fn contains(window: &Window, now: Time) -> bool {
    window.opens_at.is_none_or(|opens| opens <= now)
        && window.closes_at.is_none_or(|closes| now < closes)
}

async fn event_view(api: &Api, subject: Subject) -> Result<(EventView, Receipt)> {
    let Subject { organizer, event } = subject;
    match look(api, Query::Event { organizer, event }).await? {
        (View::Event(view), receipt) => Ok((view, receipt)),
        _ => Err(unexpected()),
    }
}

fn shown(view: &EventView, receipt: Receipt) -> Event {
    Event {
        organizer: Text(view.organizer),
        id: Text(view.event),
        state: view.state.into(),
        version: view.version,
        definition: EventBody::from_definition(&view.definition),
        receipt,
    }
}

fn answer(status: StatusCode, event: &Event) -> Rendered {
    let tag = format!("\"{}\"", event.version);
    let mut rendered = Rendered::json(status, event);
    rendered.headers.push((ETAG, HeaderValue::from_str(&tag).expect("digits in quotes")));
    rendered
}

/// What a change expects to find, from its headers.
fn expects(call: &Call) -> Result<Expects> {
    let header = |name: &HeaderName| {
        let mut values = call.headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or_default().trim());
        (first, values.next().is_some())
    };
    let wrong = |name: &str, rule: &str| Problem::field(&kind::INVALID_CONDITION, name, rule);
    let (wanted, more) = header(&IF_MATCH);
    let (unwanted, more_unwanted) = header(&IF_NONE_MATCH);
    match (wanted, unwanted) {
        (None, None) => Ok(Expects::Unsaid),
        (None, Some("*")) if !more_unwanted => Ok(Expects::Absent),
        (None, Some(_)) => Err(wrong("If-None-Match", "must be *")),
        (Some(_), Some(_)) => Err(wrong("If-Match", "must not come with If-None-Match")),
        (Some("*"), None) if !more => Ok(Expects::Any),
        (Some(tag), None) => {
            let inside = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
            match inside.and_then(|tag| Some((tag, tag.parse::<u32>().ok()?))) {
                // As it was given: neither "+7" nor "07" is the ETag "7".
                Some((tag, version)) if !more && version.to_string() == tag => {
                    Ok(Expects::Version(version))
                }
                _ => Err(wrong("If-Match", "must be * or one ETag as it was given, such as \"7\"")),
            }
        }
    }
}
