//! How the bridge is, for people and scripts: from its own file, and what the engine refused.

use serde_json::{Value, json};

use crate::Error;
use crate::engine::Engine;
use crate::state::State;

/// How it is.
#[derive(Clone, Debug)]
pub struct Status {
    /// What must be looked after.
    pub alarms: Vec<String>,
    /// All of it, as JSON.
    pub json: Value,
}

/// Looks at the file, and asks the engine where there is one.
///
/// # Errors
/// The file or the engine can't be read.
pub async fn status(state: &State, engine: Option<&Engine>) -> Result<Status, Error> {
    let mut alarms = Vec::new();
    let mut facts = serde_json::Map::new();
    for (name, value) in state.facts()? {
        match name.strip_prefix("alarm:") {
            Some(_) => alarms.push(value),
            None if name.starts_with("secret:") => {}
            None => {
                let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
                facts.insert(name, value);
            }
        }
    }
    let parked = state.parked()?;
    let taken = state.taken()?;
    let events: Vec<Value> = state
        .sent()?
        .into_iter()
        .map(|(key, sent)| {
            let engine_sells = taken.get(&sent.subject).map(|taken| json!(taken.quotas));
            json!({"key": key, "event": sent.subject, "state": sent.state, "engine_sells": engine_sells, "position": sent.position})
        })
        .collect();
    let refused = match engine {
        Some(engine) => engine.parked().await?,
        None => Vec::new(),
    };
    let refused: Vec<Value> = refused
        .iter()
        .map(|parked| json!({"position": parked.position, "reason": parked.reason}))
        .collect();
    let json = json!({
        "alarms": alarms, "facts": facts, "events": events, "parked": parked, "refused_by_engine": refused,
    });
    Ok(Status { alarms, json })
}

impl Status {
    /// Whether somebody must look after it.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        let empty = |name: &str| self.json[name].as_array().is_none_or(Vec::is_empty);
        self.alarms.is_empty() && empty("parked") && empty("refused_by_engine")
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for alarm in &self.alarms {
            text += &format!("ALARM  {alarm}\n");
        }
        let capture = &self.json["facts"]["capture"];
        if capture.is_object() {
            let lag = match (&capture["lag_ms_p50"], &capture["lag_ms_p99"]) {
                (Value::Null, _) => "no lag measured yet".to_owned(),
                (p50, p99) => format!("lag p50 {p50} ms, p99 {p99} ms"),
            };
            text += &format!(
                "capture  {} events, {} appended, {lag}, at {}\n",
                capture["events"],
                capture["events_appended"],
                capture["at"].as_str().unwrap_or("-"),
            );
        }
        let writing = &self.json["facts"]["write-back"];
        if writing.is_object() {
            text += &format!(
                "write-back  {} orders, {} records behind, {} set aside, {} errors{}\n",
                writing["orders"],
                writing["behind_records"],
                writing["parked"],
                writing["errors"],
                writing["error"].as_str().map(|why| format!(", now: {why}")).unwrap_or_default(),
            );
        }
        let compared = &self.json["facts"]["reconcile"];
        if compared.is_object() {
            text += &format!(
                "reconcile  {} differences at {}\n",
                compared["differences"],
                compared["at"].as_str().unwrap_or("-"),
            );
        }
        for event in self.json["events"].as_array().into_iter().flatten() {
            let sells = match &event["engine_sells"] {
                Value::Null => "the platform sells".to_owned(),
                quotas => format!("the engine sells {quotas}"),
            };
            text += &format!("event  {}  {sells}\n", event["event"].as_str().unwrap_or("-"));
        }
        for parked in self.json["parked"].as_array().into_iter().flatten() {
            let word = |name: &str| parked[name].as_str().unwrap_or("-").to_owned();
            text += &format!("parked  {}  {}: {}\n", word("way"), word("about"), word("reason"));
        }
        for refused in self.json["refused_by_engine"].as_array().into_iter().flatten() {
            let reason = refused["reason"].as_str().unwrap_or("-");
            text +=
                &format!("refused by the engine  catalogue/{}: {reason}\n", refused["position"]);
        }
        text
    }
}
