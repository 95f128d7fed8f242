//! Effects that are stored exactly once: the place of a cursor goes into the same database as they do, in
//! the same transaction.
//!
//! The database has a table `onsale_cursor (cursor, stream, shard, generation, position, fence)`. A transaction that stores
//! a batch's effects moves the row from the place where the batch begins to where it ends, and
//! is refused when the row is elsewhere or has a higher fence: so of two workers that both believe to have a shard
//! one alone gets through.
//!
//! A worker that is frozen in the middle of a transaction holds the row's lock, and whoever took over its shard waits for it.
//! So give every wait an end below the lease (30 s by default). PostgreSQL: `SET lock_timeout = '5s'` and
//! `idle_in_transaction_session_timeout = '15s'`, with which the server itself ends the frozen one's transaction and
//! frees the row, and `tcp_user_timeout` for one whose machine is gone; `statement_timeout` for slow effects. SQLite: a busy
//! timeout (`Connection::busy_timeout`, 5 s), with `journal_mode = WAL`; nobody ends a frozen process' transaction there, so
//! keep it to one machine whose processes can be killed. A wait that ran out is an [`Error`] like any other: nothing is
//! stored, and the batch comes again.
//!
//! Parked records that were tried again are remembered in `onsale_retried`, until the place moves into another log (one that was
//! restored gives the same positions to other records) or is reset.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use crate::cursors::{Claim, Progress};
use crate::{Error, Position};

/// Makes the tables, in SQL that both databases take.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS onsale_cursor (
    cursor TEXT NOT NULL, stream TEXT NOT NULL, shard TEXT NOT NULL,
    generation BIGINT NOT NULL, position CHAR(58) NOT NULL, fence BIGINT NOT NULL,
    PRIMARY KEY (cursor, stream, shard));
CREATE TABLE IF NOT EXISTS onsale_retried (
    cursor TEXT NOT NULL, stream TEXT NOT NULL, shard TEXT NOT NULL, position CHAR(58) NOT NULL,
    PRIMARY KEY (cursor, stream, shard, position));
";

/// Why a record's effect is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The record itself is at fault and always will be: it is set aside with this reason, and the rest goes on.
    Poison(String),
    /// Something else failed; the batch comes again.
    Failed(Error),
}

impl Fault {
    /// A record that is set aside, with the reason.
    pub fn poison(reason: impl std::fmt::Display) -> Fault {
        Fault::Poison(reason.to_string())
    }

    fn at(self, position: Position) -> Error {
        match self {
            Fault::Poison(why) => Error::Poison { position, why },
            Fault::Failed(error) => error,
        }
    }
}

impl std::convert::From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Failed(error)
    }
}

/// A row of the table.
struct Row {
    place: Progress,
    fence: u64,
}

impl Row {
    fn new(generation: i64, position: &str, fence: i64) -> Result<Row, Error> {
        let generation = crate::Generation(generation.cast_unsigned());
        let position = position.parse()?;
        let place = Progress { generation, position, ended: false };
        Ok(Row { place, fence: fence.cast_unsigned() })
    }
}

/// Whether a claim may move the row from where it is.
fn check(claim: &Claim, row: Option<&Row>) -> Result<(), Error> {
    let cursor = claim.cursor.clone();
    if let Some(row) = row
        && row.fence > claim.fence
    {
        return Err(Error::LostLease { cursor, fence: claim.fence, now: row.fence });
    }
    let place = |progress: Option<Progress>| progress.map(|at| (at.generation, at.position));
    let (stored, claimed) = (place(row.map(|row| row.place)), place(claim.progress));
    if stored == claimed {
        return Ok(());
    }
    let position = |place: Option<(_, Position)>| place.map_or(Position::ZERO, |place| place.1);
    Err(Error::Moved { cursor, stored: position(stored), claimed: position(claimed) })
}
