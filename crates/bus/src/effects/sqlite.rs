//! Effects in SQLite.
//!
//! Several processes share a database file best with `PRAGMA journal_mode = WAL` and a busy timeout.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{Fault, Row, TABLES, check};
use crate::cursors::Progress;
use crate::file::blocking;
use crate::{Batch, CursorId, Error, Record, Stored};

/// How long [`stored`] waits for others.
const BUSY_WAIT: Duration = Duration::from_secs(10);

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        Error::Unavailable { what: "SQLite".into(), why: error.to_string() }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Failed(error.into())
    }
}

/// Makes the tables where they are missing.
///
/// # Errors
/// When the database fails.
pub fn prepare(db: &Connection) -> Result<(), Error> {
    Ok(db.execute_batch(TABLES)?)
}

/// Stores the effects of a batch and its place in one transaction: `each` stores those of one record.
///
/// # Errors
/// Nothing is stored then: [`Error::LostLease`] or [`Error::Moved`] when another worker was faster, [`Error::Poison`]
/// when a record is to be set aside, others when the database failed. [`crate::Worker::settle`] knows what to do.
pub fn apply(
    db: &mut Connection,
    batch: &Batch,
    mut each: impl FnMut(&Transaction<'_>, &Record) -> Result<(), Fault>,
) -> Result<(), Error> {
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if advance(&tx, batch)? {
        for record in batch.records() {
            each(&tx, record).map_err(|fault| fault.at(record.position))?;
        }
    }
    Ok(tx.commit()?)
}

/// Moves the place past a batch, within the caller's transaction. False: it is a record that was tried again
/// before, whose effects are stored already.
///
/// # Errors
/// [`Error::LostLease`] or [`Error::Moved`]: the transaction must be given up.
pub fn advance(tx: &Connection, batch: &Batch) -> Result<bool, Error> {
    let claim = &batch.claim;
    let CursorId { group, shard } = &claim.cursor;
    let key = (group.name.as_str(), group.stream.as_str(), shard.as_str());
    let row = row(tx, &claim.cursor)?;
    let fence = claim.fence.cast_signed();
    if batch.is_retry {
        if let Some(row) = row.filter(|row| row.fence > claim.fence) {
            let (cursor, fence) = (claim.cursor.clone(), claim.fence);
            return Err(Error::LostLease { cursor, fence, now: row.fence });
        }
        let mut added = 0;
        for record in batch.records() {
            let insert = "INSERT INTO onsale_retried VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
            added += tx.prepare_cached(insert)?.execute(params![
                key.0,
                key.1,
                key.2,
                record.position.fixed()
            ])?;
        }
        return Ok(added > 0);
    }
    check(claim, row.as_ref())?;
    if row.is_some_and(|row| row.place.generation != batch.to.generation) {
        forget_retried(tx, &claim.cursor)?;
    }
    let upsert = "INSERT INTO onsale_cursor VALUES (?, ?, ?, ?, ?, ?) \
                  ON CONFLICT (cursor, stream, shard) DO UPDATE SET generation = excluded.generation, \
                  position = excluded.position, fence = excluded.fence";
    let generation = batch.to.generation.0.cast_signed();
    let position = batch.to.position.fixed();
    tx.prepare_cached(upsert)?
        .execute(params![key.0, key.1, key.2, generation, position, fence])?;
    Ok(true)
}

/// Where a cursor is by this database; none: nothing is stored.
///
/// # Errors
/// When the database fails.
pub fn place(db: &Connection, cursor: &CursorId) -> Result<Option<Progress>, Error> {
    Ok(row(db, cursor)?.map(|row| row.place))
}

/// The highest fence that moved a cursor; 0: none has. Who works without leases takes the next one.
///
/// # Errors
/// When the database fails.
pub fn fence(db: &Connection, cursor: &CursorId) -> Result<u64, Error> {
    Ok(row(db, cursor)?.map_or(0, |row| row.fence))
}

/// Forgets where a cursor is and what was tried again, so that it begins anew: effects are then stored again.
///
/// # Errors
/// When the database fails.
pub fn reset(db: &Connection, cursor: &CursorId) -> Result<(), Error> {
    forget_retried(db, cursor)?;
    let delete = "DELETE FROM onsale_cursor WHERE cursor = ? AND stream = ? AND shard = ?";
    let CursorId { group, shard } = cursor;
    db.execute(delete, params![group.name.as_str(), group.stream.as_str(), shard.as_str()])?;
    Ok(())
}

/// In another log the same positions are other records.
fn forget_retried(db: &Connection, cursor: &CursorId) -> Result<(), Error> {
    let delete = "DELETE FROM onsale_retried WHERE cursor = ? AND stream = ? AND shard = ?";
    let CursorId { group, shard } = cursor;
    db.execute(delete, params![group.name.as_str(), group.stream.as_str(), shard.as_str()])?;
    Ok(())
}

/// For [`crate::WorkerOptions::stored`]: asks the database in this file.
#[must_use]
pub fn stored(file: impl Into<PathBuf>) -> Stored {
    let file: PathBuf = file.into();
    Arc::new(move |claim| {
        let file = file.clone();
        Box::pin(blocking(move || {
            let db = Connection::open(&file)?;
            db.busy_timeout(BUSY_WAIT)?;
            prepare(&db)?;
            place(&db, &claim.cursor)
        }))
    })
}

fn row(db: &Connection, cursor: &CursorId) -> Result<Option<Row>, Error> {
    let select = "SELECT generation, position, fence FROM onsale_cursor \
                  WHERE cursor = ? AND stream = ? AND shard = ?";
    let CursorId { group, shard } = cursor;
    let key = params![group.name.as_str(), group.stream.as_str(), shard.as_str()];
    let columns =
        |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
    let found = db.prepare_cached(select)?.query_row(key, columns).optional()?;
    found.map(|(generation, position, fence)| Row::new(generation, &position, fence)).transpose()
}

#[cfg(test)]
mod tests;
