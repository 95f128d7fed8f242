//! How the bridge is, for people and scripts: from its own file, and what the engine refused.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::Error;
use crate::engine::Engine;
use crate::state::State;

/// A bridge that gave no sign of life for longer than this does not run. It gives one every second or two.
const ALIVE_MAX: SignedDuration = SignedDuration::from_secs(60);
/// Capture may read so long without a sign, where the bridge gives one.
const CAPTURE_MAX: SignedDuration = SignedDuration::from_mins(5);

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
    alarms.extend(told_by(&facts, Timestamp::now()));
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

/// What is to be looked after by what was noted.
fn told_by(facts: &serde_json::Map<String, Value>, now: Timestamp) -> Vec<String> {
    let mut alarms = Vec::new();
    let fact = |name: &str| facts.get(name).unwrap_or(&Value::Null);
    let since = |name: &str| {
        let at: Timestamp = fact(name)["at"].as_str()?.parse().ok()?;
        Some(now.duration_since(at))
    };
    let signs = [since("capture"), since("write-back")];
    let ended = fact("ended");
    match (signs.iter().flatten().min(), since("capture")) {
        _ if ended.is_object() => alarms.push(format!(
            "the bridge does not run: it ended at {}: {}",
            ended["at"].as_str().unwrap_or("-"),
            ended["error"].as_str().unwrap_or("-"),
        )),
        (None, _) => alarms.push(
            "no bridge has worked with this folder yet: start `onsale bridge run`, or see --state".to_owned(),
        ),
        (Some(alive), _) if *alive > ALIVE_MAX => alarms.push(format!(
            "the bridge does not run: its last sign of life is {} s old; what is below is from then",
            alive.as_secs()
        )),
        (Some(_), None) => alarms.push("capture has not begun yet".to_owned()),
        (Some(_), Some(capture)) if capture > CAPTURE_MAX => alarms.push(format!(
            "capture gave no sign for {} s: what changes in the platform is not brought over",
            capture.as_secs()
        )),
        _ => {}
    }
    if let Some(error) = fact("write-back")["error"].as_str() {
        alarms.push(format!("write-back waits: {error}"));
    }
    let compared = fact("reconcile");
    if let Some(differences) =
        compared["differences"].as_u64().filter(|differences| *differences > 0)
    {
        alarms.push(format!(
            "the sides differ: {differences} differences at {}; `onsale bridge reconcile` lists them",
            compared["at"].as_str().unwrap_or("-"),
        ));
    }
    if let Some(error) = compared["error"].as_str() {
        alarms.push(format!("the sides can't be compared: {error}"));
    }
    alarms
}

impl Status {
    /// Whether somebody must look after it.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        let empty = |name: &str| self.json[name].as_array().is_none_or(Vec::is_empty);
        self.alarms.is_empty() && empty("parked") && empty("refused_by_engine")
    }

    /// Orders that write-back has set aside.
    fn aside(&self) -> usize {
        let parked = self.json["parked"].as_array().into_iter().flatten();
        parked.filter(|parked| parked["way"] == crate::write_back::WAY).count()
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
                "write-back  {} writes of orders, {} records behind, {} orders set aside, {} errors{}\n",
                writing["orders"],
                writing["behind_records"],
                self.aside(),
                writing["errors"],
                writing["error"].as_str().map(|why| format!(", now: {why}")).unwrap_or_default(),
            );
        }
        for (event, orders) in self.json["facts"]["passed-over"].as_object().into_iter().flatten() {
            text += &format!(
                "passed over  {event}: {orders} orders: not an event of this platform, so they are not written back\n"
            );
        }
        let compared = &self.json["facts"]["reconcile"];
        if compared["differences"].is_u64() {
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

#[cfg(test)]
mod tests;
