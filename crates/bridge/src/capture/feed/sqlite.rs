//! Changes that triggers have noted in the outbox.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{CHANGES_MAX, Changes};
use crate::Error;
use crate::database::{Database, Kind, Mode, Statement};
use crate::dialect::{Dialect, Watch};

/// Between two looks into the outbox.
const LOOK: Duration = Duration::from_millis(20);

/// The table that triggers write to.
pub struct Outbox {
    watches: HashMap<String, Watch>,
    select: Statement,
    delete: Statement,
    /// Id of the last row that was told.
    upto: Option<i64>,
}

impl Outbox {
    pub(super) fn new(dialect: &Dialect) -> Outbox {
        let watches =
            dialect.settings.watch.iter().map(|watch| (watch.table.clone(), watch.clone()));
        let statement = |sql: &str| Statement::new(Kind::Sqlite, "the outbox", sql);
        Outbox {
            watches: watches.collect(),
            select: statement(&format!(
                "SELECT id, tbl, key, at FROM onsale_outbox ORDER BY id LIMIT {CHANGES_MAX}"
            )),
            delete: statement("DELETE FROM onsale_outbox WHERE id <= :id"),
            upto: None,
        }
    }

    pub(super) async fn next(
        &mut self,
        db: &mut Database,
        wait: Duration,
    ) -> Result<Changes, Error> {
        let until = Instant::now() + wait;
        loop {
            let rows = db.query(&self.select, &[]).await?;
            if !rows.is_empty() {
                let mut changes = Changes { rows: rows.len() as u64, ..Changes::default() };
                changes.since_us = rows[0].maybe_integer("at")?.unwrap_or(0);
                for row in &rows {
                    self.upto = Some(row.integer("id")?);
                    if let Some(watch) = self.watches.get(&row.text("tbl")?) {
                        changes.note(watch, row.maybe_text("key")?);
                    }
                }
                return Ok(changes);
            }
            if Instant::now() + LOOK > until {
                sleep(until.saturating_duration_since(Instant::now())).await;
                return Ok(Changes::default());
            }
            sleep(LOOK).await;
        }
    }

    pub(super) async fn done(&mut self, db: &mut Database) -> Result<(), Error> {
        let Some(upto) = self.upto else { return Ok(()) };
        let mut tx = db.begin(Mode::Write).await?;
        tx.execute(&self.delete, &[("id", upto.into())]).await?;
        tx.commit().await?;
        self.upto = None;
        Ok(())
    }
}
