//! Taking stock from a platform by its API: there is no transaction over both sides, so the platform's own sale is stopped
//! first, then what is left is kept back under the transfer's name, and counted once more.
//!
//! What the platform keeps back is the note of the transfer: it is read by the statement `taken`, so a step that was done before is
//! found. A sale that had begun before the stop may come in after the count. It does so before the second one, which waits for
//! all that run; what is missing then is taken off the transfer.

use std::collections::BTreeMap;

use serde_json::json;

use crate::Error;
use crate::capture::Parts;
use crate::database::{Database, Mode, Transaction};
use crate::write_back::api::requests::{Meaning, Requests};
use crate::write_back::api::{Platform, requests_of};

/// Requests that it takes.
const NAMES: [&str; 3] = ["take-stop", "take", "take-less"];

/// What is taken.
pub(super) struct Transfer<'a> {
    /// `ORGANIZER/EVENT`.
    pub subject: &'a str,
    /// The event's key in the platform.
    pub key: &'a str,
    /// Under which name it is noted.
    pub name: &'a str,
}

/// Whether a dialect says how.
pub(super) fn is_known(parts: &Parts) -> bool {
    NAMES.iter().all(|name| parts.dialect.settings.api.contains_key(*name))
}

/// Refuses where something of the event must be otherwise first, as the statement `take-check` says.
pub(super) async fn check(parts: &Parts, db: &mut Database, key: &str) -> Result<(), Error> {
    let Some(statement) = parts.dialect.find(db.kind(), "take-check") else { return Ok(()) };
    let rows = db.query(&statement, &[("event", key.into())]).await?;
    match rows.first() {
        None => Ok(()),
        Some(row) => Err(Error::refused(row.text("why")?, row.text("way_out")?)),
    }
}

/// Takes all that is left; done before, it says what was noted, less what is missing.
pub(super) async fn debit(
    parts: &Parts,
    platform: Option<&Platform>,
    db: &mut Database,
    transfer: &Transfer<'_>,
) -> Result<BTreeMap<String, i64>, Error> {
    let requests = requests_of(&parts.dialect, platform, &NAMES)?;
    let quotas = look(parts, db, transfer, false).await?;
    if quotas.is_empty() {
        return Err(Error::refused("the event has no stock", "Make products and quotas first."));
    }
    for quota in quotas.keys() {
        send(&requests, "take-stop", transfer, quota, &[]).await?;
    }
    for (quota, there) in look(parts, db, transfer, false).await? {
        if there.noted.is_none() && there.free > 0 {
            let fact = format!("secret:{}/{quota}", transfer.name);
            let secret = secret(parts, &fact)?;
            let more = [("amount", json!(there.free)), ("secret", json!(secret))];
            send(&requests, "take", transfer, &quota, &more).await?;
            parts.state.set_fact(&fact, None)?;
        }
    }
    let mut debited = BTreeMap::new();
    for (quota, there) in look(parts, db, transfer, true).await? {
        let Some(noted) = there.noted else {
            debited.insert(quota, 0);
            continue;
        };
        let amount = (noted.amount + there.free.min(0)).max(0);
        if amount < noted.amount {
            tracing::warn!(quota, noted.amount, amount, "sales came in between: less is taken");
            let more = [("amount", json!(amount)), ("key", json!(noted.key))];
            send(&requests, "take-less", transfer, &quota, &more).await?;
        }
        debited.insert(quota, amount);
    }
    Ok(debited)
}

/// What is noted of a transfer.
struct Noted {
    amount: i64,
    /// What the platform calls the note.
    key: String,
}

/// A quota as it is in the platform.
struct There {
    free: i64,
    noted: Option<Noted>,
}

/// All quotas, in one snapshot; `locked`: after all sales that run.
async fn look(
    parts: &Parts,
    db: &mut Database,
    transfer: &Transfer<'_>,
    locked: bool,
) -> Result<BTreeMap<String, There>, Error> {
    let (dialect, kind) = (&parts.dialect, db.kind());
    let (free, taken) = (dialect.statement(kind, "free")?, dialect.statement(kind, "taken")?);
    let lock = dialect.find(kind, "take-lock").filter(|_| locked);
    let event = ("event", transfer.key.into());
    // With a lock each statement must see what was committed before it got the lock.
    let mut tx = db.begin(Mode::Write).await?;
    if let Some(lock) = lock {
        tx.query(&lock, std::slice::from_ref(&event)).await?;
    }
    let mut noted = noted(&mut tx, &taken, transfer.name).await?;
    let now = ("now", jiff::Timestamp::now().to_string().into());
    let mut quotas = BTreeMap::new();
    for row in tx.query(&free, &[event, now]).await? {
        let quota = row.text("quota")?;
        let free = row.maybe_integer("free")?.ok_or_else(|| super::unlimited(&quota))?;
        let noted = noted.remove(&quota);
        quotas.insert(quota, There { free, noted });
    }
    Ok(quotas)
}

async fn noted(
    tx: &mut Transaction<'_>,
    taken: &crate::database::Statement,
    name: &str,
) -> Result<BTreeMap<String, Noted>, Error> {
    let mut noted = BTreeMap::new();
    for row in tx.query(taken, &[]).await? {
        if row.text("name")? == name {
            let of = Noted { amount: row.integer("amount")?, key: row.text("key")? };
            noted.insert(row.text("quota")?, of);
        }
    }
    Ok(noted)
}

async fn send(
    requests: &Requests,
    name: &str,
    transfer: &Transfer<'_>,
    quota: &str,
    more: &[(&str, serde_json::Value)],
) -> Result<(), Error> {
    let (organizer, event) = transfer.subject.split_once('/').unwrap_or_default();
    let mut of = json!({
        "organizer": organizer, "event": event, "quota": quota, "name": transfer.name,
    });
    for (member, value) in more {
        of[*member] = value.clone();
    }
    let refused = |why: String| {
        Error::refused(
            format!("the platform does not take {name} for the quota {quota}: {why}"),
            "Put the cause right there and take the event again: what was done is found again.",
        )
    };
    let answer = requests.send(name, &of).await?.map_err(refused)?;
    match requests.named(name).meaning(&answer) {
        Meaning::Done | Meaning::Exists => Ok(()),
        Meaning::Missing | Meaning::Refused => Err(refused(answer.to_error().to_string())),
    }
}

/// A code that nobody guesses, the same again until it is forgotten.
fn secret(parts: &Parts, fact: &str) -> Result<String, Error> {
    if let Some(known) = parts.state.fact(fact)? {
        return Ok(known);
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::State(error.to_string()))?;
    let made: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    parts.state.set_fact(fact, Some(&made))?;
    Ok(made)
}
