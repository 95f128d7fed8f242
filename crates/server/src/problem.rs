//! What the API says when it says no: `application/problem+json` as in RFC 9457.
//!
//! Every problem has a [`Kind`] with a stable type, `/problems/sold-out` for one.
//! All kinds are in one table ([`kind::ALL`]), and there is one place that turns a
//! refusal of the core into a problem ([`Problem::from_refusal`]). A problem says
//! what and how much: its numbers have fields of their own, for programs.

pub mod kind;
mod refusal;
pub mod tally;
#[cfg(test)]
mod tests;

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use onsale_core::{Id, InvalidText};
use onsale_engine::Unavailable;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::Rendered;
use crate::catalogue::{FieldError, FieldProblem};
pub use kind::Kind;

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused, as in RFC 9457. Nothing was changed, unless the
/// type says otherwise. Members that do not apply are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Problem {
    /// What kind of problem, for programs: a path that can be read for more.
    #[serde(rename = "type")]
    #[schema(format = "uri-reference", example = "/problems/sold-out")]
    pub kind: String,
    /// The same for people; does not vary.
    #[schema(example = "Sold out")]
    pub title: &'static str,
    /// The status of the answer.
    #[schema(example = 409)]
    pub status: u16,
    /// This very case, for people.
    #[schema(example = "hall is sold out: 1 left, asked for 2")]
    pub detail: String,
    /// The field that breaks a rule, as a path into the body, or the name of a
    /// header, a query parameter or a part of the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "items[0].quantity")]
    pub field: Option<String>,
    /// Line of malformed JSON, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column of malformed JSON, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// Which quota.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub quota: Option<Text<Id>>,
    /// Which ticket type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ticket_type: Option<Text<Id>>,
    /// How many were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<u64>,
    /// How many are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// How many are on hold, and may come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// How many are sold or held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Which limit of the event, counted from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// How many the customer has already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<u64>,
    /// The least that is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The most that is allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
    /// The price or amount that is expected, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_amount: Option<i64>,
    /// The currency that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_currency: Option<String>,
    /// When the sale opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub opens_at: Option<String>,
    /// When the sale closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub closed_at: Option<String>,
    /// When it came to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub at: Option<String>,
    /// Since when idempotency keys are remembered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// The order it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The state that forbids it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// Why the order was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<&'static str>,
    /// The version that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The sale group that the event has for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub sale_group: Option<Text<Id>>,
    /// The scopes of which the key needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<&'static str>>,
    /// The lane that sells the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub lane: Option<Text<Id>>,
    /// Since which epoch the lane sells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The lowest position that is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<u64>,
    /// Where the active server is: what its paths begin with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://10.0.0.7:7070")]
    pub active: Option<String>,
    /// What this server is instead: `standby`, or `fenced` where another has taken over from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Methods that the path takes.
    #[serde(skip)]
    pub allow: Option<String>,
    /// Seconds until it is worth another try.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// A text of the core's, as JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<T>(pub T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Problem {
    /// A problem of this kind, in these words.
    #[must_use]
    pub fn new(kind: &Kind, detail: impl Into<String>) -> Box<Problem> {
        tally::count(kind);
        Box::new(Problem {
            kind: kind.path(),
            title: kind.title,
            status: kind.status,
            detail: detail.into(),
            retry_after: kind.retry_after,
            ..Problem::default()
        })
    }

    /// A problem of this kind with a field.
    #[must_use]
    pub fn field(
        kind: &Kind,
        field: impl Into<String>,
        rule: impl std::fmt::Display,
    ) -> Box<Problem> {
        let field = field.into();
        let mut problem = Problem::new(kind, format!("{field}: {rule}"));
        problem.field = Some(field);
        problem
    }

    /// A text in the wrong form.
    #[must_use]
    pub fn text(field: impl Into<String>, error: InvalidText) -> Box<Problem> {
        let kind = match error {
            InvalidText::PersonalData => &kind::PERSONAL_DATA,
            _ => &kind::INVALID_ID,
        };
        Problem::field(kind, field, error)
    }

    /// A definition that breaks a rule by itself.
    #[must_use]
    pub fn from_field_error(error: &FieldError) -> Box<Problem> {
        match &error.problem {
            FieldProblem::Text(text) => Problem::text(&error.field, *text),
            FieldProblem::Rule(rule) => Problem::from_rule(&error.field, rule),
            FieldProblem::UnknownCurrency => {
                Problem::field(&kind::UNKNOWN_CURRENCY, &error.field, &error.problem)
            }
            FieldProblem::NotATime => {
                Problem::field(&kind::INVALID_TIME, &error.field, &error.problem)
            }
        }
    }

    /// There is no decision, or none that can be told.
    #[must_use]
    pub fn from_unavailable(error: Unavailable) -> Box<Problem> {
        let kind = match error {
            Unavailable::StorageFull => &kind::STORAGE_FULL,
            Unavailable::Stopped => &kind::SHARD_STOPPED,
            Unavailable::Unreachable => &kind::STORE_UNREACHABLE,
            Unavailable::Unknown => &kind::OUTCOME_UNKNOWN,
            Unavailable::Busy => &kind::BUSY,
            Unavailable::Unreadable => &kind::UNREADABLE_RECORD,
            Unavailable::TooLarge => &kind::COMMAND_TOO_LARGE,
        };
        Problem::new(kind, error.to_string())
    }

    /// Another server is active; `active` is where, or empty where that is not known.
    #[must_use]
    pub fn not_active(kind: &Kind, role: &'static str, active: &str) -> Box<Problem> {
        let detail = match active {
            "" => format!("this server is a {role} one; no active one is known"),
            active => format!("this server is a {role} one; the active one is {active}"),
        };
        let mut problem = Problem::new(kind, detail);
        problem.role = Some(role);
        problem.active = (!active.is_empty()).then(|| active.to_owned());
        problem
    }

    /// The answer it makes.
    #[must_use]
    pub fn render(&self) -> Rendered {
        let status = StatusCode::from_u16(self.status).expect("kinds have valid statuses");
        let mut rendered = Rendered::json(status, self);
        rendered.media_type = MEDIA_TYPE;
        let mut header = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).expect("printable ASCII");
            rendered.headers.push((name, value));
        };
        if let Some(allow) = &self.allow {
            header(ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after {
            header(RETRY_AFTER, &seconds.to_string());
        }
        if self.status == StatusCode::UNAUTHORIZED.as_u16() {
            header(WWW_AUTHENTICATE, "Bearer realm=\"onsale\"");
        }
        if self.kind == kind::CONTENT_ENCODING.path() {
            header(ACCEPT_ENCODING, "identity");
        }
        rendered
    }
}

impl IntoResponse for Box<Problem> {
    fn into_response(self) -> Response {
        self.render().into_response()
    }
}
