//! What is written to `catalogue` and `control`: CloudEvents that say what somebody wants.

use onsale_bus::StreamName;
use onsale_core::event::Subject;
use onsale_core::{Action, Expects, Id};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{CATALOGUE, CONTROL};
use crate::api::json;
use crate::catalogue::{EventBody, StateBody};
use crate::problem::{Problem, kind};

/// Type of a wish to make or redefine an event; its data is a definition.
pub const DEFINE: &str = "onsale.event.define.v1";
/// Type of a wish to open, pause or close an event; its data is `{"state": …}`.
pub const SET_STATE: &str = "onsale.event.set-state.v1";
/// What types of `control` begin with.
pub const CONTROL_PREFIX: &str = "onsale.control.";

/// A record as it is kept, a CloudEvent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// `1.0`.
    pub specversion: String,
    /// As the sender said, or one made here.
    pub id: String,
    /// As the sender said, or the stream.
    pub source: String,
    /// What is wanted.
    #[serde(rename = "type")]
    pub kind: String,
    /// Organizer and event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it came.
    pub time: String,
    /// `application/json`.
    pub datacontenttype: String,
    /// What exactly.
    pub data: Box<RawValue>,
    /// Digest of the sender's key, if it sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentkey: Option<String>,
    /// Digest of what was sent, with a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentbody: Option<String>,
}

/// What a wish is about, from `ORGANIZER/EVENT`.
///
/// # Errors
/// It is not of that form.
pub fn subject(text: &str) -> Result<Subject, Box<Problem>> {
    let rule = "must be ORGANIZER/EVENT";
    let wrong = || Problem::field(&kind::INVALID_ID, "subject", rule);
    let (organizer, event) = text.split_once('/').ok_or_else(wrong)?;
    let id = |text| Id::new(text).map_err(|error| Problem::text("subject", error));
    Ok(Subject { organizer: id(organizer)?, event: id(event)? })
}

/// What a wish asks the engine for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct StateWanted {
    state: StateBody,
}

/// The action that a wish asks for. `known` says whether the event is there.
///
/// # Errors
/// The type is not one of those, or the data breaks a rule by itself.
pub fn action(
    of: &str,
    subject: &Subject,
    data: &str,
    known: bool,
) -> Result<Action, Box<Problem>> {
    match of {
        DEFINE => {
            let body: EventBody = json::parse(data.as_bytes())?;
            let definition = body.to_definition(&subject.event);
            let definition = definition.map_err(|error| Problem::from_field_error(&error))?;
            let expects = if known { Expects::Any } else { Expects::Unsaid };
            Ok(Action::DefineEvent { definition: Box::new(definition), expects })
        }
        SET_STATE => {
            let StateWanted { state } = json::parse(data.as_bytes())?;
            Ok(Action::SetState { state: state.into(), expects: Expects::Any })
        }
        _ => {
            let rule = format!("must be {DEFINE} or {SET_STATE}");
            Err(Problem::field(&kind::UNKNOWN_RECORD_TYPE, "type", rule))
        }
    }
}

/// A record as it is shown: without what is only for the server, with its place.
#[must_use]
pub fn shown(payload: &[u8], position: u64) -> Value {
    let mut value: Value = serde_json::from_slice(payload).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.remove("sentkey");
        members.remove("sentbody");
        members.insert("shard".to_owned(), 0.into());
        members.insert("position".to_owned(), position.into());
    }
    value
}

/// The stream of this name that can be written to.
#[must_use]
pub fn writable(name: &str) -> Option<StreamName> {
    [CATALOGUE, CONTROL].contains(&name).then(|| StreamName::new(name).expect("it keeps the rule"))
}
