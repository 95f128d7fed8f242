//! Orders of the engine that somebody cancels in the platform: they are cancelled in the engine, too.

use std::collections::BTreeSet;

use super::{Capture, WAY};
use crate::Error;
use crate::database::{Kind, Mode, Statement};
use crate::dialect::By;

/// The status of a cancelled order, in all dialects.
const CANCELLED: &str = "cancelled";

/// The rows of a transfer that is noted.
pub(crate) const NOTED: &str =
    "SELECT quota, amount FROM onsale_transfer WHERE name = :name ORDER BY quota";
/// Notes a transfer's amount of one quota, once.
pub(crate) const NOTE: &str =
    "INSERT INTO onsale_transfer (name, quota, amount) VALUES (:name, :quota, :amount)";

impl Capture {
    /// Looks at orders that changed; those that we did not write are the platform's own.
    pub(super) async fn bring_orders(&mut self, codes: &BTreeSet<String>) -> Result<(), Error> {
        for code in codes {
            // Before the order is read: see `Echo::is_ours`.
            let Some(echo) = self.parts.state.echo(code)? else { continue };
            let mut tx = self.db.begin(Mode::Read).await?;
            let order = self.reader.order(&mut tx, code).await?;
            drop(tx);
            let Some(order) = order else {
                let reason = "somebody deleted the order in the platform; the engine still has it";
                self.parts.state.park(WAY, &format!("order {code}"), reason, None)?;
                continue;
            };
            if order.status == CANCELLED && !echo.is_ours(CANCELLED) {
                self.cancel(code, &order.organizer, &order.event).await?;
            }
        }
        Ok(())
    }

    async fn cancel(&mut self, code: &str, organizer: &str, event: &str) -> Result<(), Error> {
        let state = std::sync::Arc::clone(&self.parts.state);
        let about = format!("order {code}");
        // The platform thinks that the order's tickets are its own again; they are the engine's.
        if let Err(error) = self.take_again(code).await {
            if matches!(error, Error::Refused { .. }) {
                return state.park(WAY, &about, &error.to_string(), None);
            }
            return Err(error);
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

    /// Takes the tickets of an order away from the platform's own sale again, once.
    async fn take_again(&mut self, code: &str) -> Result<(), Error> {
        let (dialect, kind) = (&self.parts.dialect, self.db.kind());
        let Some(lines) = dialect.find(kind, "order-lines") else { return Ok(()) };
        if dialect.settings.write_back.by != By::Sql {
            return Ok(());
        }
        let take = dialect.statement(kind, "take")?;
        let name = format!("cancel-{code}");
        let mut tx = self.db.begin(Mode::Write).await?;
        if !tx.query(&own(kind, NOTED), &[("name", name.as_str().into())]).await?.is_empty() {
            return Ok(());
        }
        for line in tx.query(&lines, &[("order", code.into())]).await? {
            let (quota, amount) = (line.text("quota")?, line.integer("quantity")?);
            let params = [
                ("event", line.text("key")?.into()),
                ("quota", quota.as_str().into()),
                ("amount", amount.into()),
            ];
            if tx.execute(&take, &params).await? == 0 {
                return Err(Error::refused(
                    format!(
                        "{code} was cancelled in the platform, which has sold its tickets again: {amount} of the quota {quota}"
                    ),
                    "Free as many there, or cancel another order, and touch the order again.",
                ));
            }
            tx.execute(
                &own(kind, NOTE),
                &[
                    ("name", name.as_str().into()),
                    ("quota", quota.into()),
                    ("amount", amount.into()),
                ],
            )
            .await?;
        }
        tx.commit().await
    }
}

/// A statement of ours.
pub(crate) fn own(kind: Kind, sql: &str) -> Statement {
    Statement::new(kind, "the bridge's own statement", sql)
}
