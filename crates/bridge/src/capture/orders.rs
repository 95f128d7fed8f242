//! Orders of the engine that somebody cancels in the platform: they are cancelled in the engine, too.
//!
//! The platform gives such an order's tickets back to its own sale. They are the engine's, so they are taken away again, once:
//! whoever first meets the cancelled order does it and notes it in the same transaction. That is capture, or write-back where
//! the engine cancelled the order at the same moment ([`crate::write_back::sql`]). The bridge's own file has it, too, for
//! a bridge that was detached and attached again.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Reader;
use super::{Capture, Parts, WAY};
use crate::Error;
use crate::database::{Database, Kind, Mode, Statement, Transaction};
use crate::dialect::{By, Dialect};
use crate::engine::Engine;
use crate::state::{Parked, Sent, State};

/// The status of a cancelled order, in all dialects.
pub(crate) const CANCELLED: &str = "cancelled";

/// The rows of a transfer that is noted.
pub(crate) const NOTED: &str =
    "SELECT quota, amount FROM onsale_transfer WHERE name = :name ORDER BY quota";
/// Notes a transfer's amount of one quota, once: whoever comes second waits for the first, and changes no row.
pub(crate) const NOTE: &str = "INSERT INTO onsale_transfer (name, quota, amount) \
                               VALUES (:name, :quota, :amount) ON CONFLICT DO NOTHING";

/// Why an order is set aside that is not in the platform any more.
const DELETED: &str = "somebody deleted the order in the platform; the engine still has it";
/// What an order is set aside as whose status can't be read.
const UNREADABLE: &str = "status of order ";

/// What an order that can't be brought over is parked as.
pub(crate) fn parked_as(code: &str) -> String {
    format!("order {code}")
}

/// The order that something is set aside about.
fn order_of(about: &str) -> Option<&str> {
    about.strip_prefix("order ").or_else(|| about.strip_prefix(UNREADABLE))
}

/// What capture has set aside about orders: their codes, with what was noted.
///
/// # Errors
/// The bridge's own file fails.
pub(crate) fn set_aside(state: &State) -> Result<BTreeMap<String, Vec<Parked>>, Error> {
    let mut orders: BTreeMap<String, Vec<Parked>> = BTreeMap::new();
    for parked in state.parked()?.into_iter().filter(|parked| parked.way == WAY) {
        if let Some(code) = order_of(&parked.about).map(str::to_owned) {
            orders.entry(code).or_default().push(parked);
        }
    }
    Ok(orders)
}

/// Looks again at what capture has set aside about orders: all, or one. What can be brought over now is, and where both sides
/// agree by now it is forgotten. Gives the orders of which nothing is set aside any more, and the others with the reason.
///
/// # Errors
/// The platform or the engine can't be reached; nothing is lost.
pub async fn retry(
    parts: &Parts,
    order: Option<&str>,
) -> Result<(Vec<String>, Vec<(String, String)>), Error> {
    let (mut done, mut left) = (Vec::new(), Vec::new());
    let codes = set_aside(&parts.state)?.into_keys();
    let codes: Vec<String> = codes.filter(|code| order.is_none_or(|order| order == code)).collect();
    if codes.is_empty() {
        return Ok((done, left));
    }
    let mut db = Database::open(&parts.url).await?;
    let reader = Reader::new(&parts.dialect, db.kind())?;
    for code in &codes {
        bring(parts, &reader, &mut db, code).await?;
    }
    let mut still = set_aside(&parts.state)?;
    for code in codes {
        match still.remove(&code).and_then(|parked| parked.into_iter().next()) {
            None => done.push(code),
            Some(parked) => left.push((code, parked.reason)),
        }
    }
    Ok((done, left))
}

impl Capture {
    /// Looks at orders that changed; those that we did not write are the platform's own.
    pub(super) async fn bring_orders(&mut self, codes: &BTreeSet<String>) -> Result<(), Error> {
        for code in codes {
            bring(&self.parts, &self.reader, &mut self.db, code).await?;
        }
        Ok(())
    }

    /// Brings the cancellations of a time of which the feed does not tell: before it was made, or after its slot was lost.
    pub(super) async fn bring_missed(&mut self) -> Result<(), Error> {
        if let Some(statement) = self.parts.dialect.find(self.db.kind(), "reconcile-orders") {
            let taken = self.parts.state.taken()?;
            let is_taken = |sent: &&Sent| taken.contains_key(&sent.subject);
            let keys = self.sent.iter().filter(|(_, sent)| is_taken(sent)).map(|(key, _)| key);
            let mut missed = BTreeSet::new();
            for key in keys {
                let mut tx = self.db.begin(Mode::Read).await?;
                for row in tx.query(&statement, &[("event", key.as_str().into())]).await? {
                    if row.maybe_text("status")?.as_deref() == Some(CANCELLED) {
                        missed.insert(row.text("order")?);
                    }
                }
            }
            self.bring_orders(&missed).await?;
        }
        self.is_new = false;
        Ok(())
    }
}

async fn bring(parts: &Parts, reader: &Reader, db: &mut Database, code: &str) -> Result<(), Error> {
    let (state, about) = (&parts.state, parked_as(code));
    // Before the order is read: see `Echo::is_ours`.
    let echo = state.echo(code)?;
    let noted = state.parked_about(WAY, &about)?;
    let mut tx = db.begin(Mode::Read).await?;
    let order = reader.order(&mut tx, code).await;
    drop(tx);
    let unreadable = format!("{UNREADABLE}{code}");
    if let Err(error @ Error::Data { .. }) = order {
        return state.park(WAY, &unreadable, &error.to_string(), None);
    }
    let order = order?;
    state.unpark(WAY, &unreadable)?;
    // What was noted is forgotten unless something was noted anew meanwhile.
    let forget = || noted.as_ref().map_or(Ok(()), |noted| state.forget(noted));
    let Some(order) = order else {
        let is_over = match (&echo, &noted) {
            // It was cancelled by the engine before.
            (Some(echo), _) if echo.last() == Some(CANCELLED) => true,
            (_, Some(_)) => !is_open_anywhere(parts, code).await?,
            (echo, None) => echo.is_none(),
        };
        return if is_over { forget() } else { state.park(WAY, &about, DELETED, None) };
    };
    if order.status != CANCELLED {
        return forget();
    }
    let (organizer, event) = (order.organizer.as_str(), order.event.as_str());
    // After the order was read: what write-back has settled until then is not owed any more.
    let is_owed = state.parked_about(WAY, &about)?.is_some_and(|noted| noted.reason != DELETED);
    let is_news = match echo {
        Some(echo) => !echo.is_ours(CANCELLED) && !is_written_now(state, code)?,
        // The bridge's own file may be new.
        None => {
            state.taken()?.contains_key(&format!("{organizer}/{event}"))
                && is_open(&parts.engine, organizer, event, code).await?
        }
    };
    if is_news || is_owed { cancel(parts, db, code, organizer, event).await } else { forget() }
}

/// Forgets what was noted of orders that a comparison found the same on both sides, with the stock they are of, unless they
/// can't be read.
///
/// # Errors
/// The bridge's own file fails.
pub(crate) fn agreed<'a>(
    state: &State,
    noted: &BTreeMap<String, Vec<Parked>>,
    codes: impl Iterator<Item = &'a str>,
) -> Result<(), Error> {
    for parked in codes.filter_map(|code| noted.get(code)).flatten() {
        if !parked.about.starts_with(UNREADABLE) {
            state.forget(parked)?;
        }
    }
    Ok(())
}

/// Forgets that orders were deleted in the platform whose cancellation in the engine is written back: nothing differs any more.
///
/// # Errors
/// The bridge's own file fails.
pub(crate) fn cancelled_by_engine<'a>(
    state: &State,
    codes: impl Iterator<Item = &'a str>,
) -> Result<(), Error> {
    for code in codes {
        let noted = state.parked_about(WAY, &parked_as(code))?;
        if let Some(noted) = noted.filter(|noted| noted.reason == DELETED) {
            state.forget(&noted)?;
        }
    }
    Ok(())
}

/// Whether write-back began to cancel an order meanwhile. It takes the tickets again itself where the platform was first.
fn is_written_now(state: &State, code: &str) -> Result<bool, Error> {
    Ok(state.echo(code)?.is_some_and(|echo| echo.last() == Some(CANCELLED)))
}

async fn cancel(
    parts: &Parts,
    db: &mut Database,
    code: &str,
    organizer: &str,
    event: &str,
) -> Result<(), Error> {
    let (state, about) = (&parts.state, parked_as(code));
    if let Some(again) = Again::new(&parts.dialect, db.kind())?
        && !state.is_again(code)?
    {
        let mut tx = db.begin(Mode::Write).await?;
        match again.take(&mut tx, code).await {
            Ok(()) => {
                tx.commit().await?;
                state.note_again(std::iter::once(code))?;
            }
            Err(error @ (Error::Refused { .. } | Error::Data { .. })) => {
                return state.park(WAY, &about, &error.to_string(), None);
            }
            Err(error) => return Err(error),
        }
    }
    match parts.engine.cancel(organizer, event, code, &format!("legacy-cancelled-{code}")).await {
        Ok(()) => {
            tracing::info!(code, "cancelled in the platform, so it is cancelled in the engine")
        }
        // It is cancelled there already.
        Err(Error::Answered { status: 409, .. }) => {}
        Err(Error::Answered { status: status @ (400 | 404 | 422), why }) => {
            return state.park(WAY, &about, &format!("{status} {why}"), None);
        }
        Err(error) => return Err(error),
    }
    // From now on this status is known.
    state.will_write(std::iter::once((code, CANCELLED)))?;
    state.wrote(std::iter::once(code))?;
    state.unpark(WAY, &about)
}

/// Whether the engine has an order of this code that is not cancelled, of whichever event.
async fn is_open_anywhere(parts: &Parts, code: &str) -> Result<bool, Error> {
    for subject in parts.state.taken()?.into_keys() {
        let (organizer, event) = subject.split_once('/').unwrap_or_default();
        if is_open(&parts.engine, organizer, event, code).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the engine has an order of this code that is not cancelled.
async fn is_open(engine: &Engine, organizer: &str, event: &str, code: &str) -> Result<bool, Error> {
    match engine.order(organizer, event, code).await {
        Ok(order) => Ok(order.is_some_and(|order| order["state"] != CANCELLED)),
        // Its code is none of the engine's.
        Err(Error::Answered { status: 400 | 422, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes the tickets of orders that the platform cancelled away from its own sale again.
#[derive(Clone, Debug)]
pub(crate) struct Again {
    kind: Kind,
    lines: Statement,
    take: Statement,
}

impl Again {
    /// None: the dialect does not say what an order had, or how stock is taken by SQL.
    ///
    /// # Errors
    /// A statement is missing.
    pub(crate) fn new(dialect: &Dialect, kind: Kind) -> Result<Option<Again>, Error> {
        let lines = dialect.find(kind, "order-lines");
        let Some(lines) = lines.filter(|_| dialect.settings.write_back.by == By::Sql) else {
            return Ok(None);
        };
        Ok(Some(Again { kind, lines, take: dialect.statement(kind, "take")? }))
    }

    /// Takes an order's tickets, unless that was done before, and notes it.
    ///
    /// # Errors
    /// [`Error::Refused`]: the platform has sold them again; the transaction is to be taken back. Or the database fails.
    pub(crate) async fn take(&self, tx: &mut Transaction<'_>, code: &str) -> Result<(), Error> {
        let (name, note) = (format!("cancel-{code}"), own(self.kind, NOTE));
        for line in tx.query(&self.lines, &[("order", code.into())]).await? {
            let (quota, amount) = (line.text("quota")?, line.integer("quantity")?);
            let noted = [
                ("name", name.as_str().into()),
                ("quota", quota.as_str().into()),
                ("amount", amount.into()),
            ];
            if tx.execute(&note, &noted).await? == 0 {
                continue;
            }
            let params = [
                ("event", line.text("key")?.into()),
                ("quota", quota.as_str().into()),
                ("amount", amount.into()),
            ];
            if tx.execute(&self.take, &params).await? == 0 {
                return Err(Error::refused(
                    format!(
                        "{code} was cancelled in the platform, which has sold its tickets again: {amount} of the quota {quota}"
                    ),
                    "Free as many there, or cancel another order, and run `onsale bridge retry`. Don't block them: that is done by it.",
                ));
            }
        }
        Ok(())
    }
}

/// A statement of ours.
pub(crate) fn own(kind: Kind, sql: &str) -> Statement {
    Statement::new(kind, "the bridge's own statement", sql)
}
