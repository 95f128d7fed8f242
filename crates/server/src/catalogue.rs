//! What is for sale, as JSON: the body of an event that the API takes and gives,
//! and the catalogue file that `onsale import` reads.
//!
//! A catalogue file is `{"events": [event…]}`. Each event is the body of
//! `PUT /v1/organizers/{organizer}/events/{event}` with its `id` beside it and,
//! optionally, the `state` that it shall have:
//!
//! ```json
//! {"events": [{
//!   "id": "spring-concert", "state": "open",
//!   "name": "Spring concert", "currency": "EUR",
//!   "quotas": [{"id": "hall", "capacity": 400}],
//!   "ticket_types": [{"id": "seat", "name": "Seat", "price": 2500, "quotas": ["hall"]}]
//! }]}
//! ```
//!
//! Times are RFC 3339 outside and microseconds inside; money is minor units on
//! both sides. Numbers are read wide and checked here, so that one out of range is
//! told by its field and not as a syntax error.

mod file;
#[cfg(test)]
mod tests;

pub use file::{CatalogueEvent, read_catalogue};

use onsale_core::catalogue::DefinitionRule;
use onsale_core::limits::{CAPACITY_MAX, HOLD_SECONDS, INTEGER_MAX, PAYMENT_SECONDS};
use onsale_core::{
    Currency, EventDefinition, EventState, Id, InvalidDefinition, InvalidText, Limit,
    QuotaDefinition, TicketTypeDefinition, Time, Window,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object;

/// How long a hold lives where the body does not say, in seconds.
pub const HOLD_SECONDS_DEFAULT: u32 = 600;
/// How long a buyer has to pay where the body does not say, in seconds.
pub const PAYMENT_SECONDS_DEFAULT: u32 = 1_800;

/// What is for sale at one event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct EventBody {
    /// For people; 1 to 200 bytes.
    #[schema(example = "Spring concert")]
    pub name: String,
    /// Of all prices: an ISO 4217 code.
    #[schema(example = "EUR")]
    pub currency: String,
    /// When the event itself begins, for people; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-03-20T19:30:00Z")]
    pub starts_at: Option<String>,
    /// When it is on sale; left out: always.
    #[serde(
        default,
        deserialize_with = "object::or_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub sale: Option<SaleBody>,
    /// How many tickets an order and a customer may have; left out: no limit.
    #[serde(default, deserialize_with = "object::list")]
    pub limits: Vec<LimitBody>,
    /// How long a hold lives, in seconds: 1 to 86,400; left out: 600.
    #[schema(minimum = 1, maximum = 86_400, default = 600)]
    pub hold_seconds: Option<i64>,
    /// How long a buyer has to pay an order, in seconds: 1 to 7,776,000; left out: 1,800.
    #[schema(minimum = 1, maximum = 7_776_000, default = 1_800)]
    pub payment_seconds: Option<i64>,
    /// The events that share a writer with this one; left out: the event's own
    /// id, so that it is alone. It never changes.
    pub sale_group: Option<String>,
    /// The pools of stock.
    #[schema(min_items = 1)]
    #[serde(deserialize_with = "object::list")]
    pub quotas: Vec<QuotaBody>,
    /// What buyers pick.
    #[schema(min_items = 1)]
    #[serde(deserialize_with = "object::list")]
    pub ticket_types: Vec<TicketTypeBody>,
}

/// When something is on sale: from `opens_at` until before `closes_at`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct SaleBody {
    /// From when, RFC 3339; left out: from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-01-10T09:00:00Z")]
    pub opens_at: Option<String>,
    /// Until before when, RFC 3339; left out: to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, example = "2027-03-20T18:00:00Z")]
    pub closes_at: Option<String>,
}

/// A limit over all ticket types of the event or over some of them together.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct LimitBody {
    /// Over these together; left out or empty: over all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_types: Vec<String>,
    /// Tickets in one hold or order.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub per_order: Option<i64>,
    /// Tickets that one customer may hold and own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub per_customer: Option<i64>,
}

/// A counted pool of stock that ticket types draw on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct QuotaBody {
    /// Its id, unique in the event.
    #[schema(example = "hall")]
    pub id: String,
    /// How many there are; null: unlimited. It must be said, so that nothing
    /// becomes unlimited by a slip.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required = true, minimum = 0, maximum = 1_000_000_000, example = 400)]
    pub capacity: Option<i64>,
}

/// What a buyer picks: a name and a price.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct TicketTypeBody {
    /// Its id, unique in the event.
    #[schema(example = "seat")]
    pub id: String,
    /// For people; 1 to 200 bytes.
    #[schema(example = "Seat")]
    pub name: String,
    /// For one ticket, in minor units of the event's currency.
    #[schema(minimum = 0, example = 2_500)]
    pub price: i64,
    /// Whether the buyer may pay more than the price; left out: no.
    #[serde(default)]
    pub free_price: bool,
    /// The quotas it draws on, each for every ticket.
    #[schema(min_items = 1)]
    pub quotas: Vec<String>,
    /// When it is on sale, within the event's own times; left out: always.
    #[serde(
        default,
        deserialize_with = "object::or_null",
        skip_serializing_if = "Option::is_none"
    )]
    pub sale: Option<SaleBody>,
}

/// Whether an event sells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StateBody {
    /// Sells.
    Open,
    /// Does not sell for now.
    Paused,
    /// Does not sell any more.
    Closed,
}

// By hand: what is derived takes a number here for malformed JSON.
impl<'de> Deserialize<'de> for StateBody {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<StateBody, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "open" => Ok(StateBody::Open),
            "paused" => Ok(StateBody::Paused),
            "closed" => Ok(StateBody::Closed),
            other => Err(serde::de::Error::unknown_variant(other, &["open", "paused", "closed"])),
        }
    }
}

impl From<StateBody> for EventState {
    fn from(state: StateBody) -> EventState {
        match state {
            StateBody::Open => EventState::Open,
            StateBody::Paused => EventState::Paused,
            StateBody::Closed => EventState::Closed,
        }
    }
}

impl From<EventState> for StateBody {
    fn from(state: EventState) -> StateBody {
        match state {
            EventState::Open => StateBody::Open,
            EventState::Paused => StateBody::Paused,
            EventState::Closed => StateBody::Closed,
        }
    }
}

/// A field that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Its path: `ticket_types[2].quotas[0]`.
    pub field: String,
    /// What is wrong with it.
    pub problem: FieldProblem,
}

/// What a time must be.
pub const TIME_RULE: &str =
    "must be a time as in RFC 3339, such as 2027-03-20T19:30:00Z, from 1970 to 2255";

/// What can be wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldProblem {
    /// An id in the wrong form.
    #[error(transparent)]
    Text(InvalidText),
    /// A rule of the definition, checked by the core.
    #[error(transparent)]
    Rule(DefinitionRule),
    /// No currency of ISO 4217.
    #[error("must be a currency of ISO 4217, such as EUR")]
    UnknownCurrency,
    /// Not a time.
    #[error("{TIME_RULE}")]
    NotATime,
}

impl From<InvalidDefinition> for FieldError {
    fn from(error: InvalidDefinition) -> FieldError {
        FieldError { field: error.field, problem: FieldProblem::Rule(error.rule) }
    }
}

impl EventBody {
    /// The definition of the event that this body is for, checked as a whole.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn to_definition(&self, event_id: &Id) -> Result<EventDefinition, FieldError> {
        let sale_group = match &self.sale_group {
            Some(text) => id("sale_group", text)?,
            None => *event_id,
        };
        let limits = each("limits", &self.limits, LimitBody::to_limit)?;
        let quotas = each("quotas", &self.quotas, QuotaBody::to_quota)?;
        let ticket_types = each("ticket_types", &self.ticket_types, TicketTypeBody::to_type)?;
        let definition = EventDefinition {
            name: self.name.clone(),
            currency: currency("currency", &self.currency)?,
            starts_at: time("starts_at", self.starts_at.as_deref())?,
            sale: window("sale", self.sale.as_ref())?,
            limits,
            hold_seconds: within("hold_seconds", self.hold_seconds, HOLD_SECONDS)?
                .unwrap_or(HOLD_SECONDS_DEFAULT),
            payment_seconds: within("payment_seconds", self.payment_seconds, PAYMENT_SECONDS)?
                .unwrap_or(PAYMENT_SECONDS_DEFAULT),
            sale_group,
            quotas,
            ticket_types,
        };
        definition.validate()?;
        Ok(definition)
    }

    /// The body that says all of a definition, its defaults too.
    #[must_use]
    pub fn from_definition(definition: &EventDefinition) -> EventBody {
        EventBody {
            name: definition.name.clone(),
            currency: definition.currency.as_str().to_owned(),
            starts_at: definition.starts_at.map(time_to_text),
            sale: SaleBody::from_window(&definition.sale),
            limits: definition.limits.iter().map(LimitBody::from_limit).collect(),
            hold_seconds: Some(definition.hold_seconds.into()),
            payment_seconds: Some(definition.payment_seconds.into()),
            sale_group: Some(definition.sale_group.as_str().to_owned()),
            quotas: definition.quotas.iter().map(QuotaBody::from_quota).collect(),
            ticket_types: definition.ticket_types.iter().map(TicketTypeBody::from_type).collect(),
        }
    }
}

impl SaleBody {
    fn from_window(window: &Window) -> Option<SaleBody> {
        (*window != Window::default()).then(|| SaleBody {
            opens_at: window.opens_at.map(time_to_text),
            closes_at: window.closes_at.map(time_to_text),
        })
    }
}

impl LimitBody {
    fn to_limit(&self, at: &str) -> Result<Limit, FieldError> {
        Ok(Limit {
            ticket_types: ids(&format!("{at}.ticket_types"), &self.ticket_types)?,
            per_order: count(&format!("{at}.per_order"), self.per_order, 1)?,
            per_customer: count(&format!("{at}.per_customer"), self.per_customer, 1)?,
        })
    }

    fn from_limit(limit: &Limit) -> LimitBody {
        LimitBody {
            ticket_types: texts(&limit.ticket_types),
            per_order: limit.per_order.map(i64::from),
            per_customer: limit.per_customer.map(i64::from),
        }
    }
}

impl QuotaBody {
    fn to_quota(&self, at: &str) -> Result<QuotaDefinition, FieldError> {
        Ok(QuotaDefinition {
            id: id(&format!("{at}.id"), &self.id)?,
            capacity: count(&format!("{at}.capacity"), self.capacity, 0)?,
        })
    }

    fn from_quota(quota: &QuotaDefinition) -> QuotaBody {
        QuotaBody { id: quota.id.as_str().to_owned(), capacity: quota.capacity.map(i64::from) }
    }
}

impl TicketTypeBody {
    fn to_type(&self, at: &str) -> Result<TicketTypeDefinition, FieldError> {
        Ok(TicketTypeDefinition {
            id: id(&format!("{at}.id"), &self.id)?,
            name: self.name.clone(),
            price: self.price,
            free_price: self.free_price,
            quotas: ids(&format!("{at}.quotas"), &self.quotas)?,
            sale: window(&format!("{at}.sale"), self.sale.as_ref())?,
        })
    }

    fn from_type(ticket_type: &TicketTypeDefinition) -> TicketTypeBody {
        TicketTypeBody {
            id: ticket_type.id.as_str().to_owned(),
            name: ticket_type.name.clone(),
            price: ticket_type.price,
            free_price: ticket_type.free_price,
            quotas: texts(&ticket_type.quotas),
            sale: SaleBody::from_window(&ticket_type.sale),
        }
    }
}

/// Reads a time as in RFC 3339. What is below a microsecond is dropped.
#[must_use]
pub fn time_from_text(text: &str) -> Option<Time> {
    let timestamp: jiff::Timestamp = text.parse().ok()?;
    Some(Time(timestamp.as_microsecond())).filter(|time| (0..=INTEGER_MAX).contains(&time.0))
}

/// Writes a time as in RFC 3339, in UTC.
///
/// # Panics
/// Never for a time that the core takes: all of them lie before the year 2256.
#[must_use]
pub fn time_to_text(time: Time) -> String {
    let timestamp = jiff::Timestamp::from_microsecond(time.0);
    timestamp.expect("a time below 2^53 microseconds").to_string()
}

fn each<B, D>(
    field: &str,
    bodies: &[B],
    convert: impl Fn(&B, &str) -> Result<D, FieldError>,
) -> Result<Vec<D>, FieldError> {
    bodies.iter().enumerate().map(|(i, body)| convert(body, &format!("{field}[{i}]"))).collect()
}

fn id(field: &str, text: &str) -> Result<Id, FieldError> {
    Id::new(text).map_err(|e| FieldError { field: field.into(), problem: FieldProblem::Text(e) })
}

fn ids(field: &str, texts: &[String]) -> Result<Vec<Id>, FieldError> {
    each(field, texts, |text, at| id(at, text))
}

fn texts(ids: &[Id]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

fn currency(field: &str, text: &str) -> Result<Currency, FieldError> {
    let known = iso_currency::Currency::from_code(text);
    known
        .and_then(|_| Currency::new(text))
        .ok_or_else(|| FieldError { field: field.into(), problem: FieldProblem::UnknownCurrency })
}

fn time(field: &str, text: Option<&str>) -> Result<Option<Time>, FieldError> {
    let Some(text) = text else { return Ok(None) };
    match time_from_text(text) {
        Some(time) => Ok(Some(time)),
        None => Err(FieldError { field: field.into(), problem: FieldProblem::NotATime }),
    }
}

fn window(field: &str, body: Option<&SaleBody>) -> Result<Window, FieldError> {
    let Some(body) = body else { return Ok(Window::default()) };
    Ok(Window {
        opens_at: time(&format!("{field}.opens_at"), body.opens_at.as_deref())?,
        closes_at: time(&format!("{field}.closes_at"), body.closes_at.as_deref())?,
    })
}

/// A number of tickets, from `min` to the largest capacity.
fn count(field: &str, value: Option<i64>, min: u32) -> Result<Option<u32>, FieldError> {
    within(field, value, min..=CAPACITY_MAX)
}

fn within(
    field: &str,
    value: Option<i64>,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, FieldError> {
    let Some(value) = value else { return Ok(None) };
    match u32::try_from(value) {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let (min, max) = ((*range.start()).into(), (*range.end()).into());
            let problem = FieldProblem::Rule(DefinitionRule::OutOfRange { min, max });
            Err(FieldError { field: field.into(), problem })
        }
    }
}
