//! Taking an event over: all that is left of its stock becomes the engine's to sell.
//!
//! Three steps, each logged on `control` and safe to repeat: *intended*; *debited*, after the platform's own sale gave up
//! what was left, in a transaction that notes the transfer's number; *credited*, after the engine's definition has that
//! number as capacity. A crash between any two is finished by running it again: what the platform noted decides.
//!
//! Nothing is debited or credited where the platform keeps back less than the engine has left: see `take/kept.rs`.

mod api;
mod kept;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::capture::event::{Captured, Reader};
use crate::capture::orders::{NOTE, NOTED, own};
use crate::capture::{Parts, lock};
use crate::database::{Database, Mode};
use crate::dialect::{By, Dialect};
use crate::engine::{CONTROL, Engine, Wish};
use crate::state::{State, Taken};
use crate::write_back::api::Platform;
use kept::Kept;

/// What types of transfers begin with.
pub(crate) const PREFIX: &str = "onsale.control.transfer-";
/// How long the engine may take to have the new capacity.
const CREDIT_WAIT: Duration = Duration::from_secs(30);

/// A transfer as `control` has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transfer {
    /// Whether the last step is there.
    pub is_credited: bool,
    /// What was debited, by quota; none: not yet.
    pub debited: Option<BTreeMap<String, i64>>,
}

/// A step after which a test wants to be killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Step {
    /// It is logged that it is intended.
    Intended,
    /// The platform gave up its stock, which is not logged yet.
    Taken,
    /// That is logged.
    Debited,
    /// The engine has the stock, which is not logged yet.
    Defined,
    /// That is logged.
    Credited,
}

/// All transfers to the engine, by subject and number.
///
/// # Errors
/// The engine can't be asked.
pub async fn transfers(
    engine: &Engine,
) -> Result<BTreeMap<String, BTreeMap<u64, Transfer>>, Error> {
    let mut found: BTreeMap<String, BTreeMap<u64, Transfer>> = BTreeMap::new();
    let mut after = 0;
    loop {
        let (records, next) = engine.read(CONTROL, after).await?;
        for record in &records {
            let kind = record["type"].as_str().unwrap_or_default();
            let (Some(step), Some(subject), Some(number)) = (
                kind.strip_prefix(PREFIX),
                record["subject"].as_str(),
                record["data"]["number"].as_u64(),
            ) else {
                continue;
            };
            let transfer = found.entry(subject.to_owned()).or_default().entry(number).or_default();
            match step {
                "debited.v1" => transfer.debited = Some(amounts(&record["data"]["quotas"])),
                "credited.v1" => transfer.is_credited = true,
                _ => {}
            }
        }
        if records.is_empty() || next <= after {
            return Ok(found);
        }
        after = next;
    }
}

fn amounts(quotas: &Value) -> BTreeMap<String, i64> {
    let quotas = quotas.as_object().into_iter().flatten();
    quotas.filter_map(|(quota, amount)| Some((quota.clone(), amount.as_i64()?))).collect()
}

/// What the engine may sell by these transfers.
fn total(transfers: &BTreeMap<u64, Transfer>) -> Option<Taken> {
    let mut taken: Option<Taken> = None;
    for (number, transfer) in transfers {
        let Some(debited) = &transfer.debited else { continue };
        let taken = taken.get_or_insert_with(|| Taken { number: 0, quotas: BTreeMap::new() });
        taken.number = *number;
        for (quota, amount) in debited {
            *taken.quotas.entry(quota.clone()).or_default() += amount;
        }
    }
    taken
}

/// Learns from `control` what is taken over, where the state does not know it (it may be new).
///
/// # Errors
/// The engine can't be asked, or the state fails.
pub async fn restore(engine: &Engine, state: &State) -> Result<(), Error> {
    note(state, transfers(engine).await?).map(drop)
}

/// Notes what is taken over by these transfers where the state does not know it; whether there was something.
fn note(
    state: &State,
    transfers: BTreeMap<String, BTreeMap<u64, Transfer>>,
) -> Result<bool, Error> {
    let (known, mut is_news) = (state.taken()?, false);
    for (subject, transfers) in transfers {
        if let Some(taken) = total(&transfers)
            && known.get(&subject).is_none_or(|known| known.number < taken.number)
        {
            state.set_taken(&subject, Some(&taken))?;
            is_news = true;
        }
    }
    Ok(is_news)
}

/// Learns of what was taken over by somebody with another state, once it is credited; whether there was something. `after` is the
/// position in `control` up to which that was looked for.
///
/// # Errors
/// The engine can't be asked, or the state fails.
pub(crate) async fn learn(engine: &Engine, state: &State, after: &mut u64) -> Result<bool, Error> {
    let mut is_credited = false;
    loop {
        let (records, next) = engine.read(CONTROL, *after).await?;
        let credited = format!("{PREFIX}credited.v1");
        is_credited |= records.iter().any(|record| record["type"] == credited.as_str());
        if records.is_empty() || next <= *after {
            break;
        }
        *after = next;
    }
    if !is_credited {
        return Ok(false);
    }
    let mut all = transfers(engine).await?;
    // One that is under way is its own take's matter, which looks first whether it may be credited.
    all.values_mut().for_each(|transfers| transfers.retain(|_, transfer| transfer.is_credited));
    note(state, all)
}

/// Takes an event over by the platform's database: see [`take_by`].
///
/// # Errors
/// As for that.
pub async fn take(
    parts: &Parts,
    subject: &str,
    after: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Taken, Error> {
    take_by(parts, None, subject, after).await
}

/// Takes an event over, or finishes what was begun; what the engine may sell now, by quota. The platform's API is for
/// dialects that write by one. `after` is for tests: it is called after each step, and an error of it ends the work there.
///
/// # Errors
/// The event is not there, the platform can't give its stock up or no longer keeps back what the engine has left, the engine does
/// not take it.
pub async fn take_by(
    parts: &Parts,
    platform: Option<&Platform>,
    subject: &str,
    mut after: impl FnMut(Step) -> Result<(), Error>,
) -> Result<Taken, Error> {
    let by = parts.dialect.settings.write_back.by;
    if by == By::Nothing || (by == By::Api && !api::is_known(parts)) {
        return Err(Error::refused(
            format!("the dialect {} does not say how stock is taken", parts.dialect.settings.name),
            "Block the stock in the platform yourself; events of such platforms are not taken over yet.",
        ));
    }
    if let Some(alarm) = parts.state.fact("alarm:failover")? {
        return Err(Error::refused(alarm, "No stock is moved until both sides were compared."));
    }
    let mut db = Database::open(&parts.url).await?;
    let key = key_of(&parts.dialect, &mut db, subject).await?;
    let mut all = transfers(&parts.engine).await?;
    let known = all.remove(subject).unwrap_or_default();
    let kept = Kept::new(parts, db.kind(), subject, &key);
    let given = total(&known).map(|taken| taken.quotas).unwrap_or_default();
    kept.check(&mut db, &given).await?;
    let (number, begun) = match known.last_key_value() {
        Some((number, transfer)) if !transfer.is_credited => (*number, Some(transfer.clone())),
        Some((number, _)) if nothing_left(parts, &mut db, &key).await? => {
            let taken = total(&known)
                .ok_or_else(|| Error::State(format!("transfer {number} is of nothing")))?;
            parts.state.set_taken(subject, Some(&taken))?;
            let event = read_event(parts, &mut db, &key).await?;
            check_there(subject, &taken, event.as_ref())?;
            return Ok(taken);
        }
        Some((number, _)) => {
            kept.check_told()?;
            (number + 1, None)
        }
        None => (1, None),
    };
    let log = |step: &str, quotas: Option<&BTreeMap<String, i64>>| {
        let mut data = json!({"number": number, "from": "legacy", "to": "engine"});
        data["quotas"] = quotas.map_or(json!("all"), |quotas| json!(quotas));
        let wish = Wish { kind: format!("{PREFIX}{step}.v1"), subject: subject.to_owned(), data };
        (wish, format!("transfer-{}-{number}-{step}", crate::engine::escaped(subject)))
    };
    if begun.is_none() {
        if known.is_empty() {
            api::check(parts, &mut db, &key).await?;
            if by == By::Sql {
                check_free(parts, &mut db, &kept, all.into_keys()).await?;
            }
        }
        let (wish, once) = log("intended", None);
        parts.engine.append(CONTROL, &wish, &once).await?;
    }
    after(Step::Intended)?;
    let debited = match begun.and_then(|transfer| transfer.debited) {
        Some(debited) => debited,
        None => {
            let name = format!("take-{subject}-{number}");
            let debited = if by == By::Api {
                let transfer = api::Transfer { subject, key: &key, name: &name };
                api::debit(parts, platform, &mut db, &transfer).await?
            } else {
                debit(parts, &mut db, &kept, &given, &name).await?
            };
            after(Step::Taken)?;
            let (wish, once) = log("debited", Some(&debited));
            parts.engine.append(CONTROL, &wish, &once).await?;
            debited
        }
    };
    after(Step::Debited)?;
    let mut all = known;
    all.insert(number, Transfer { is_credited: false, debited: Some(debited.clone()) });
    let taken = total(&all).ok_or_else(|| Error::State("a transfer of nothing".to_owned()))?;
    kept.check(&mut db, &taken.quotas).await?;
    let event = credit(parts, &mut db, subject, &key, &taken).await?;
    after(Step::Defined)?;
    let (wish, once) = log("credited", Some(&debited));
    parts.engine.append(CONTROL, &wish, &once).await?;
    after(Step::Credited)?;
    check_there(subject, &taken, event.as_ref())?;
    Ok(taken)
}

/// Whether the platform still has a quota of an event.
fn has_quota(event: Option<&Captured>, quota: &str) -> bool {
    let quotas = event.and_then(|event| event.definition.get("quotas")?.as_array());
    quotas.into_iter().flatten().any(|known| known["id"] == json!(quota))
}

/// Refuses where a quota of which the engine was given something is gone from the platform. All else is done by then.
fn check_there(subject: &str, taken: &Taken, event: Option<&Captured>) -> Result<(), Error> {
    let gone = |(quota, amount): &(&String, &i64)| **amount > 0 && !has_quota(event, quota);
    let Some((quota, amount)) = taken.quotas.iter().find(gone) else { return Ok(()) };
    Err(Error::refused(
        format!(
            "{subject}: the quota {quota}, of which the engine was given {amount}, is not in the platform any more: it was deleted, or \
             no ticket type draws on it"
        ),
        format!(
            "The engine sells nothing of it now; all else of the event is taken over. Where that was a mistake, make it again there with \
             the same id, or have a ticket type draw on it, and take again. `onsale bridge reconcile {subject}` tells what differs."
        ),
    ))
}

/// The key of an event, by subject.
async fn key_of(dialect: &Dialect, db: &mut Database, subject: &str) -> Result<String, Error> {
    let reader = Reader::new(dialect, db.kind())?;
    reader.subjects(db).await?.remove(subject).ok_or_else(|| {
        Error::refused(
            format!("the platform has no event {subject} that may be known to the engine"),
            "Say it as ORGANIZER/EVENT, as `onsale bridge status` lists them.",
        )
    })
}

fn unlimited(quota: &str) -> Error {
    let why = format!("the quota {quota} is unlimited");
    Error::refused(why, "Only counted stock can be taken over.")
}

/// Refuses to take an event over for the first time where nothing of it is free and something is blocked: by the house, or for
/// the same event by another address. `given`: all other events that were taken over.
async fn check_free(
    parts: &Parts,
    db: &mut Database,
    kept: &Kept<'_>,
    given: impl Iterator<Item = String>,
) -> Result<(), Error> {
    let subject = kept.subject;
    let name = format!("take-{subject}-1");
    let kind = db.kind();
    let mut tx = db.begin(Mode::Read).await?;
    let noted = tx.query(&own(kind, NOTED), &[("name", name.into())]).await?;
    drop(tx);
    let blocked = kept.blocked(db).await?;
    // What was debited before, and is not known to the engine, is credited.
    if !noted.is_empty() || blocked == 0 || !nothing_left(parts, db, kept.key).await? {
        return Ok(());
    }
    let there = Reader::new(&parts.dialect, db.kind())?.subjects(db).await?;
    let gone: Vec<String> = given.filter(|given| !there.contains_key(given)).collect();
    let why = format!("{subject}: nothing of it is free: {blocked} are blocked");
    Err(match gone.as_slice() {
        [] => Error::refused(
            format!("{why} by the house"),
            "Unblock in the platform what the engine is to sell, and take again.",
        ),
        gone => Error::refused(
            format!("{why}, by the house or for another address of the event"),
            format!(
                "The engine was given {}, which is not in the platform any more. The address of an event that was taken over must not \
                 change: if it is this one, rename it back. Else unblock what the engine is to sell, and take again.",
                gone.join(", ")
            ),
        ),
    })
}

async fn nothing_left(parts: &Parts, db: &mut Database, key: &str) -> Result<bool, Error> {
    let free = parts.dialect.statement(db.kind(), "free")?;
    let now = Timestamp::now().to_string();
    let mut tx = db.begin(Mode::Write).await?;
    let rows = tx.query(&free, &[("event", key.into()), ("now", now.into())]).await?;
    for row in &rows {
        if row.integer("free")? > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes all that is left from the platform's own sale and notes it there, in one transaction; done before, it says what was noted.
async fn debit(
    parts: &Parts,
    db: &mut Database,
    kept: &Kept<'_>,
    given: &BTreeMap<String, i64>,
    name: &str,
) -> Result<BTreeMap<String, i64>, Error> {
    let (kind, key) = (db.kind(), kept.key);
    let (free, take) =
        (parts.dialect.statement(kind, "free")?, parts.dialect.statement(kind, "take")?);
    let now = Timestamp::now().to_string();
    let mut tx = db.begin(Mode::Write).await?;
    let noted = tx.query(&own(kind, NOTED), &[("name", name.into())]).await?;
    if !noted.is_empty() {
        kept.check_log(&mut tx, given).await?;
        return noted.iter().map(|row| Ok((row.text("quota")?, row.integer("amount")?))).collect();
    }
    let rows = tx.query(&free, &[("event", key.into()), ("now", now.into())]).await?;
    kept.check_in(&mut tx, given).await?;
    let mut debited = BTreeMap::new();
    for row in rows {
        let (quota, amount) = (row.text("quota")?, row.maybe_integer("free")?);
        let amount = amount.ok_or_else(|| unlimited(&quota))?;
        let amount = amount.max(0);
        if amount > 0 {
            let params = [
                ("event", key.into()),
                ("quota", quota.as_str().into()),
                ("amount", amount.into()),
            ];
            if tx.execute(&take, &params).await? != 1 {
                return Err(Error::Statement {
                    statement: take.name.clone(),
                    why: format!("it did not change one row for the quota {quota}"),
                });
            }
        }
        let noted =
            [("name", name.into()), ("quota", quota.as_str().into()), ("amount", amount.into())];
        if tx.execute(&own(kind, NOTE), &noted).await? != 1 {
            return Err(Error::Database("somebody else takes this event over now".to_owned()));
        }
        debited.insert(quota, amount);
    }
    if debited.is_empty() {
        return Err(Error::refused(
            "the event has no stock",
            "Make ticket types and stock in the platform first.",
        ));
    }
    tx.commit().await?;
    Ok(debited)
}

/// An event as the platform has it; none: it is not there.
async fn read_event(
    parts: &Parts,
    db: &mut Database,
    key: &str,
) -> Result<Option<Captured>, Error> {
    let reader = Reader::new(&parts.dialect, db.kind())?;
    let mut tx = db.begin(Mode::Read).await?;
    reader.event(&mut tx, key, Timestamp::now()).await
}

/// Has the engine's definition changed to what it may sell, and waits until it is, but for quotas that the platform does not have
/// any more. Gives the event as it was sent.
async fn credit(
    parts: &Parts,
    db: &mut Database,
    subject: &str,
    key: &str,
    taken: &Taken,
) -> Result<Option<Captured>, Error> {
    let (organizer, name) = subject.split_once('/').unwrap_or((subject, ""));
    let (event, position) = {
        let _lock = lock(&parts.state).await?;
        parts.state.set_taken(subject, Some(taken))?;
        let event = read_event(parts, db, key).await?;
        let position = crate::capture::send_one(parts, key, event.as_ref()).await?;
        (event, position)
    };
    let until = Instant::now() + CREDIT_WAIT;
    loop {
        let known = parts.engine.event(organizer, name).await?;
        let quotas =
            known.as_ref().map(|known| known["quotas"].as_array().cloned().unwrap_or_default());
        let has = |quota: &String, amount: i64| {
            quotas
                .iter()
                .flatten()
                .any(|known| known["id"] == json!(quota) && known["capacity"] == json!(amount))
        };
        let mut there = taken.quotas.iter().filter(|(quota, _)| has_quota(event.as_ref(), quota));
        if there.all(|(quota, amount)| has(quota, *amount)) {
            return Ok(event);
        }
        let parked = parts.engine.parked().await?;
        let refused = parked.iter().find(|parked| parked.position == position);
        if let Some(parked) = refused {
            return Err(Error::refused(
                format!("the engine does not take {subject}: {}", parked.reason),
                "Put the cause right in the platform, and take the event again: the stock stays set aside meanwhile.",
            ));
        }
        if Instant::now() > until {
            return Err(Error::Unreachable {
                server: "the engine".to_owned(),
                why: format!("{subject} does not have its new stock after {CREDIT_WAIT:?}"),
            });
        }
        sleep(Duration::from_millis(50)).await;
    }
}
