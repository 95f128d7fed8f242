//! Orders of the engine that somebody cancels in the platform: they are cancelled in the engine, too.
//!
//! The platform gives such an order's tickets back to its own sale. They are the engine's, so they are taken away again, once:
//! whoever first meets the cancelled order does it and notes it in the same transaction. That is capture, or write-back where
//! the engine cancelled the order at the same moment ([`crate::write_back::sql`]). The bridge's own file has it, too, for
//! a bridge that was detached and attached again.

use std::collections::BTreeSet;

use super::{Capture, WAY};
use crate::Error;
use crate::database::{Kind, Mode, Statement, Transaction};
use crate::dialect::{By, Dialect};
use crate::engine::Engine;
use crate::state::Sent;

/// The status of a cancelled order, in all dialects.
pub(crate) const CANCELLED: &str = "cancelled";

/// The rows of a transfer that is noted.
pub(crate) const NOTED: &str =
    "SELECT quota, amount FROM onsale_transfer WHERE name = :name ORDER BY quota";
/// Notes a transfer's amount of one quota, once: whoever comes second waits for the first, and changes no row.
pub(crate) const NOTE: &str = "INSERT INTO onsale_transfer (name, quota, amount) \
                               VALUES (:name, :quota, :amount) ON CONFLICT DO NOTHING";

/// What an order that can't be brought over is parked as.
pub(crate) fn parked_as(code: &str) -> String {
    format!("order {code}")
}

impl Capture {
    /// Looks at orders that changed; those that we did not write are the platform's own.
    pub(super) async fn bring_orders(&mut self, codes: &BTreeSet<String>) -> Result<(), Error> {
        for code in codes {
            // Before the order is read: see `Echo::is_ours`.
            let echo = self.parts.state.echo(code)?;
            let mut tx = self.db.begin(Mode::Read).await?;
            let order = self.reader.order(&mut tx, code).await;
            drop(tx);
            let (about, unreadable) = (parked_as(code), format!("status of order {code}"));
            if let Err(error @ Error::Data { .. }) = order {
                self.parts.state.park(WAY, &unreadable, &error.to_string(), None)?;
                continue;
            }
            let order = order?;
            self.parts.state.unpark(WAY, &unreadable)?;
            let Some(order) = order else {
                if echo.is_some() {
                    let reason =
                        "somebody deleted the order in the platform; the engine still has it";
                    self.parts.state.park(WAY, &about, reason, None)?;
                }
                continue;
            };
            if order.status != CANCELLED {
                continue;
            }
            let (organizer, event) = (order.organizer.as_str(), order.event.as_str());
            let is_news = match echo {
                Some(echo) => {
                    !echo.is_ours(CANCELLED) || self.parts.state.is_parked(WAY, &about)?
                }
                // The bridge's own file may be new.
                None => {
                    self.parts.state.taken()?.contains_key(&format!("{organizer}/{event}"))
                        && is_open(&self.parts.engine, organizer, event, code).await?
                }
            };
            if is_news {
                self.cancel(code, organizer, event).await?;
            }
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

    async fn cancel(&mut self, code: &str, organizer: &str, event: &str) -> Result<(), Error> {
        let state = std::sync::Arc::clone(&self.parts.state);
        let about = parked_as(code);
        if let Some(again) = Again::new(&self.parts.dialect, self.db.kind())?
            && !state.is_again(code)?
        {
            let mut tx = self.db.begin(Mode::Write).await?;
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
        match self
            .parts
            .engine
            .cancel(organizer, event, code, &format!("legacy-cancelled-{code}"))
            .await
        {
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
                    "Free as many there, or cancel another order, and touch the order again.",
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
