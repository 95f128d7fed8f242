//! What the API says when it says no, in the form of RFC 9457.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::{Error, Refusal};

/// A refused request.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    detail: String,
    /// More members of the answer.
    more: Value,
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), more: json!({}) }
    }

    pub fn unauthorized(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Invalid(wrong) => {
                let errors =
                    wrong.iter().map(|wrong| json!({ "field": wrong.field, "rule": wrong.rule }));
                let more = json!({ "errors": errors.collect::<Vec<_>>() });
                Self { more, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
            }
            Error::Unknown { .. } => Self::new(StatusCode::NOT_FOUND, "not-found", detail),
            Error::Refused(refusal) => {
                let more = match &refusal {
                    Refusal::SoldOut { stock, asked, free } => {
                        json!({ "stock": stock, "asked": asked, "free": free })
                    }
                    Refusal::CustomerLimit { limit, has, asked } => {
                        json!({ "limit": limit, "has": has, "asked": asked })
                    }
                    _ => json!({}),
                };
                Self { more, ..Self::new(StatusCode::CONFLICT, refusal.kind(), detail) }
            }
            Error::Busy | Error::Again(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the database is busy; try again",
            ),
            Error::Database(_) => {
                // What exactly is for the operator.
                tracing::error!(%detail, "a request failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "database",
                    "the database failed; it is not known whether \
                    the change was made: ask again with the same key",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": format!("/problems/{}", self.kind),
            "title": self.kind.replace('-', " "),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), self.more) {
            body.extend(more);
        }
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => None,
        };
        response
    }
}
