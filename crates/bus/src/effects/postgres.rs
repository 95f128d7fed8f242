//! Effects in PostgreSQL.

use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::{Fault, Row, TABLES, check};
use crate::cursors::Progress;
use crate::{Batch, CursorId, Error, Position, Record, Stored};

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        let why = match error.as_db_error() {
            Some(told) => told.to_string(),
            None => error.to_string(),
        };
        let what = "PostgreSQL".into();
        match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::Refused { what, why },
            _ => Error::Unavailable { what, why },
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        Fault::Failed(error.into())
    }
}

/// Makes the tables where they are missing.
///
/// # Errors
/// When the database fails.
pub async fn prepare(db: &Client) -> Result<(), Error> {
    // Two that make a table at the same time can meet an error, which this spares them.
    let locked = format!("BEGIN; SELECT pg_advisory_xact_lock(7298465); {TABLES} COMMIT;");
    Ok(db.batch_execute(&locked).await?)
}

/// Stores the effects of a batch and its place in one transaction: `each` stores those of one record.
///
/// # Errors
/// Nothing is stored then: [`Error::LostLease`] or [`Error::Moved`] when another worker was faster, [`Error::Poison`]
/// when a record is to be set aside, others when the database failed. [`crate::Worker::settle`] knows what to do.
pub async fn apply(
    db: &mut Client,
    batch: &Batch,
    mut each: impl AsyncFnMut(&Transaction<'_>, &Record) -> Result<(), Fault>,
) -> Result<(), Error> {
    let tx = db.transaction().await?;
    if advance(&tx, batch).await? {
        for record in batch.records() {
            each(&tx, record).await.map_err(|fault| fault.at(record.position))?;
        }
    }
    Ok(tx.commit().await?)
}

/// Moves the place past a batch, within the caller's transaction. False: it is a record that was tried again
/// before, whose effects are stored already.
///
/// # Errors
/// [`Error::LostLease`] or [`Error::Moved`]: the transaction must be given up.
pub async fn advance(tx: &Transaction<'_>, batch: &Batch) -> Result<bool, Error> {
    let claim = &batch.claim;
    let CursorId { group, shard } = &claim.cursor;
    let (name, stream, shard) = (group.name.as_str(), group.stream.as_str(), shard.as_str());
    let found = row(tx, &claim.cursor, " FOR UPDATE").await?;
    let fence = claim.fence.cast_signed();
    if batch.is_retry {
        if let Some(row) = found.filter(|row| row.fence > claim.fence) {
            let (cursor, fence) = (claim.cursor.clone(), claim.fence);
            return Err(Error::LostLease { cursor, fence, now: row.fence });
        }
        let mut added = 0;
        for record in batch.records() {
            let insert =
                "INSERT INTO onsale_retried VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
            let position = record.position.fixed();
            added += tx.execute(insert, &[&name, &stream, &shard, &position]).await?;
        }
        return Ok(added > 0);
    }
    check(claim, found.as_ref())?;
    if found.as_ref().is_some_and(|row| row.place.generation != batch.to.generation) {
        forget_retried(tx, &claim.cursor).await?;
    }
    let generation = batch.to.generation.0.cast_signed();
    let position = batch.to.position.fixed();
    let sql = match found {
        Some(_) => {
            "UPDATE onsale_cursor SET generation = $4, position = $5, fence = $6 \
             WHERE cursor = $1 AND stream = $2 AND shard = $3"
        }
        // One who was faster is waited for, and then nothing is inserted.
        None => "INSERT INTO onsale_cursor VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    };
    let rows = tx.execute(sql, &[&name, &stream, &shard, &generation, &position, &fence]).await?;
    if rows == 1 {
        return Ok(true);
    }
    let stored = row(tx, &claim.cursor, "").await?.map_or(Position::ZERO, |row| row.place.position);
    Err(Error::Moved { cursor: claim.cursor.clone(), stored, claimed: Position::ZERO })
}

/// Where a cursor is by this database; none: nothing is stored.
///
/// # Errors
/// When the database fails.
pub async fn place(db: &Client, cursor: &CursorId) -> Result<Option<Progress>, Error> {
    Ok(row(db, cursor, "").await?.map(|row| row.place))
}

/// The highest fence that moved a cursor; 0: none has. Who works without leases takes the next one.
///
/// # Errors
/// When the database fails.
pub async fn fence(db: &Client, cursor: &CursorId) -> Result<u64, Error> {
    Ok(row(db, cursor, "").await?.map_or(0, |row| row.fence))
}

/// Forgets where a cursor is and what was tried again, so that it begins anew: effects are then stored again.
///
/// # Errors
/// When the database fails.
pub async fn reset(db: &Client, cursor: &CursorId) -> Result<(), Error> {
    forget_retried(db, cursor).await?;
    let CursorId { group, shard } = cursor;
    let delete = "DELETE FROM onsale_cursor WHERE cursor = $1 AND stream = $2 AND shard = $3";
    db.execute(delete, &[&group.name.as_str(), &group.stream.as_str(), &shard.as_str()]).await?;
    Ok(())
}

/// In another log the same positions are other records.
async fn forget_retried(db: &impl GenericClient, cursor: &CursorId) -> Result<(), Error> {
    let CursorId { group, shard } = cursor;
    let delete = "DELETE FROM onsale_retried WHERE cursor = $1 AND stream = $2 AND shard = $3";
    db.execute(delete, &[&group.name.as_str(), &group.stream.as_str(), &shard.as_str()]).await?;
    Ok(())
}

/// For [`crate::WorkerOptions::stored`]: asks the database by this client.
#[must_use]
pub fn stored(db: Arc<Client>) -> Stored {
    Arc::new(move |claim| {
        let db = Arc::clone(&db);
        Box::pin(async move { place(&db, &claim.cursor).await })
    })
}

async fn row(db: &impl GenericClient, cursor: &CursorId, how: &str) -> Result<Option<Row>, Error> {
    let select = format!(
        "SELECT generation, position, fence FROM onsale_cursor \
         WHERE cursor = $1 AND stream = $2 AND shard = $3{how}"
    );
    let CursorId { group, shard } = cursor;
    let key: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
        [&group.name.as_str(), &group.stream.as_str(), &shard.as_str()];
    let found = db.query_opt(&select, &key).await?;
    found.map(|row| Row::new(row.get(0), row.get(1), row.get(2))).transpose()
}

#[cfg(test)]
mod tests;
