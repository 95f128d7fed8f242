//! Reads what comes with a request: a JSON body, a query. What is wrong with it names its field.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Problem;
use crate::error::Error;

/// Last page that is looked up: beyond it, search is the way.
const PAGE_NUMBER_MAX: i64 = 10_000;

/// A JSON body; an empty one is `{}`.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            let detail = format!("the body: {}", rejection.body_text());
            match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
                }
                status => Problem::new(status, "malformed", detail),
            }
        })?;
        let text = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
        let body = read.map_err(|error| {
            let (path, inner) = (error.path().to_string(), error.inner());
            match inner.is_data() {
                true => Error::field(
                    if path == "." { "body".to_owned() } else { path },
                    inner.to_string(),
                )
                .into(),
                false => Problem::new(
                    StatusCode::BAD_REQUEST,
                    "malformed",
                    format!("the body is not JSON: {inner}"),
                ),
            }
        })?;
        let end = reader.end();
        end.map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST, "malformed", format!("the body: {e}"))
        })?;
        Ok(Body(body))
    }
}

/// The query of an address.
pub struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        Ok(Query(form_urlencoded::parse(query).into_owned().collect()))
    }
}

impl Query {
    /// A parameter that is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// The page that is asked for, from 1.
    pub fn page(&self) -> Result<i64, Problem> {
        let number = self.get("page").map_or(Ok(1), str::parse);
        match number {
            Ok(number) if (1..=PAGE_NUMBER_MAX).contains(&number) => Ok(number),
            _ => Err(Error::field("page", format!("must be from 1 to {PAGE_NUMBER_MAX}")).into()),
        }
    }

    /// Refuses parameters that nothing is known of.
    pub fn only(&self, known: &[&str]) -> Result<(), Problem> {
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            Some((key, _)) => {
                Err(Error::field(key.as_str(), "is not a parameter of this address").into())
            }
            None => Ok(()),
        }
    }
}
