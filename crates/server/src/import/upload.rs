//! Puts events up for sale on a server, over its API.

use onsale_core::Id;
use serde::Serialize;
use serde_json::{Value, json};

use super::CatalogueEvent;
use crate::catalogue::{EventBody, StateBody};
use crate::http_client::{Client, Response};

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is new.
    Created,
    /// It was there, and its definition or state is another now.
    Changed,
    /// It was there as it shall be.
    Unchanged,
}

/// Defines one event and brings it into its state.
///
/// The definition goes in only over the version that was looked at, so that two
/// who import at once do not overwrite each other unseen.
///
/// # Errors
/// A line that says which step failed and why.
pub fn upload(client: &Client, organizer: &Id, event: &CatalogueEvent) -> Result<Outcome, String> {
    let path = format!("/v1/organizers/{organizer}/events/{}", event.id);
    let body = serde_json::to_value(EventBody::from_definition(&event.definition))
        .expect("plain values become JSON");
    let found = send(client, "GET", &path, &[], None)?;
    let (outcome, now) = match found.status {
        200 if is_same(&body, &found.json()) => (Outcome::Unchanged, found),
        200 => {
            let version = found.header("etag").unwrap_or("*");
            (Outcome::Changed, change(client, "PUT", &path, ("If-Match", version), &body)?)
        }
        404 => (Outcome::Created, change(client, "PUT", &path, ("If-None-Match", "*"), &body)?),
        _ => return Err(format!("GET {path}: {}", found.problem())),
    };
    let Some(state) = event.state else { return Ok(outcome) };
    let wanted = json!(StateBody::from(state));
    if now.json()["state"] == wanted {
        return Ok(outcome);
    }
    let version = now.header("etag").unwrap_or("*");
    change(client, "PATCH", &path, ("If-Match", version), &json!({ "state": wanted }))?;
    Ok(if outcome == Outcome::Created { Outcome::Created } else { Outcome::Changed })
}

/// Whether the event that the server shows has the definition that we have.
pub(super) fn is_same(ours: &Value, theirs: &Value) -> bool {
    let left_out = |field: &str| ours.get(field).is_some() || theirs.get(field).is_none();
    let fields = ours.as_object().expect("a body is an object");
    fields.iter().all(|(field, value)| theirs.get(field) == Some(value))
        && left_out("starts_at")
        && left_out("sale")
}

fn change(
    client: &Client,
    method: &str,
    path: &str,
    condition: (&str, &str),
    body: &Value,
) -> Result<Response, String> {
    let response = send(client, method, path, &[condition], Some(&body.to_string()))?;
    match response.status {
        200..300 => Ok(response),
        _ => Err(format!("{method} {path}: {}", response.problem())),
    }
}

fn send(
    client: &Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&str>,
) -> Result<Response, String> {
    client.request(method, path, headers, body).map_err(|e| e.to_string())
}
