//! Whether the platform still keeps back what the engine may sell.
//!
//! Of what all transfers gave, the engine's orders that are written back have a part, and the platform keeps the rest back:
//! blocked stock, vouchers. Where that is less, somebody gave the platform's own sale what is the engine's. Taking it again would
//! make one ticket the engine's twice. Where it is more, the rest is the platform's own and nobody sells it.

use std::collections::BTreeMap;

use crate::Error;
use crate::capture::Parts;
use crate::database::{Database, Kind, Mode, Row, Statement, Transaction};

/// The statement that tells what is kept back.
const STATEMENT: &str = "reconcile-quotas";

/// An event, and what tells of it.
pub(super) struct Kept<'a> {
    /// `ORGANIZER/EVENT`.
    pub subject: &'a str,
    /// The event's key in the platform.
    pub key: &'a str,
    statement: Option<Statement>,
    dialect: &'a str,
}

impl Kept<'_> {
    /// Of an event.
    pub(super) fn new<'a>(
        parts: &'a Parts,
        kind: Kind,
        subject: &'a str,
        key: &'a str,
    ) -> Kept<'a> {
        let statement = parts.dialect.find(kind, STATEMENT);
        Kept { subject, key, statement, dialect: &parts.dialect.settings.name }
    }

    /// Refuses where less is kept back than the engine has left of what it was given, by quota.
    pub(super) async fn check(
        &self,
        db: &mut Database,
        given: &BTreeMap<String, i64>,
    ) -> Result<(), Error> {
        let mut tx = db.begin(Mode::Read).await?;
        self.check_in(&mut tx, given).await
    }

    /// The same in a transaction. In one that has the event's stock locked it stays so until its end.
    pub(super) async fn check_in(
        &self,
        tx: &mut Transaction<'_>,
        given: &BTreeMap<String, i64>,
    ) -> Result<(), Error> {
        for row in self.rows(tx).await? {
            let Some(blocked) = row.maybe_integer("blocked")? else { continue };
            let (quota, sold) = (row.text("quota")?, row.integer("engine")?);
            let given = given.get(&quota).copied().unwrap_or(0);
            let left = given - sold;
            if left > 0 && blocked < left {
                let of = |column: &str| row.maybe_integer(column);
                let others = of("others")?.unwrap_or(0);
                let counted = of("counted")?.unwrap_or(0).max(sold + others);
                let free = of("capacity")?.map(|capacity| (capacity - counted - blocked).max(0));
                return Err(self.lacks(&quota, given, sold, blocked, free));
            }
        }
        Ok(())
    }

    /// Refuses where the platform has orders of more than the engine was ever given, before a transfer that only the platform
    /// knows: the engine's log went back, and what it had sold by then is not its to sell again.
    pub(super) async fn check_log(
        &self,
        tx: &mut Transaction<'_>,
        given: &BTreeMap<String, i64>,
    ) -> Result<(), Error> {
        let subject = self.subject;
        for row in self.rows(tx).await? {
            let (quota, sold) = (row.text("quota")?, row.integer("engine")?);
            let given = given.get(&quota).copied().unwrap_or(0);
            if sold > given {
                return Err(Error::refused(
                    format!(
                        "{subject}: the platform has {sold} of the quota {quota} in orders of the engine, which by its own log was \
                         given {given}: that log went back, or it is another engine"
                    ),
                    format!(
                        "`onsale bridge reconcile {subject}` lists the orders. Bring the engine's log back; where it is lost, unblock in \
                         the platform what is blocked for it, and run `onsale bridge detach --force`, `attach` and `take` again."
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Refuses where the dialect does not tell what is kept back: then nothing more can be taken.
    pub(super) fn check_told(&self) -> Result<(), Error> {
        match self.statement {
            Some(_) => Ok(()),
            None => Err(Error::refused(
                format!(
                    "the dialect {} does not tell what the platform keeps back for the engine, so more can't be taken of {}",
                    self.dialect, self.subject
                ),
                format!(
                    "Add the statement {STATEMENT} with the column blocked to it: docs/dialects.md tells how."
                ),
            )),
        }
    }

    /// How much of the event is blocked, of all quotas.
    pub(super) async fn blocked(&self, db: &mut Database) -> Result<i64, Error> {
        let mut tx = db.begin(Mode::Read).await?;
        let rows = self.rows(&mut tx).await?;
        let blocked = rows.iter().map(|row| Ok(row.maybe_integer("blocked")?.unwrap_or(0).max(0)));
        blocked.sum()
    }

    async fn rows(&self, tx: &mut Transaction<'_>) -> Result<Vec<Row>, Error> {
        match &self.statement {
            Some(statement) => tx.query(statement, &[("event", self.key.into())]).await,
            None => Ok(Vec::new()),
        }
    }

    /// `free`: what the platform has left to sell; none: that is not told, or is without end.
    fn lacks(&self, quota: &str, given: i64, sold: i64, blocked: i64, free: Option<i64>) -> Error {
        let (subject, left) = (self.subject, given - sold);
        let lacking = left - blocked;
        let first = match free.map(|free| lacking - free).filter(|more| *more > 0) {
            None => String::new(),
            Some(more) => format!(
                "Only {} of it are free in the platform: first raise its capacity by {more}, or cancel as many tickets there. ",
                lacking - more
            ),
        };
        Error::refused(
            format!(
                "{subject}: of the quota {quota} the engine was given {given}, of which {sold} are in orders here and {left} are left to \
                 sell; the platform keeps back only {blocked}: {lacking} may be sold by both"
            ),
            format!(
                "{first}Block {lacking} of it again in the platform, then take again. Where orders of the engine were cancelled there a moment \
                 ago, `onsale bridge run` does that by itself. `onsale bridge reconcile {subject}` tells all that differs."
            ),
        )
    }
}
