//! What can go wrong with a log in a database. Every text says what to do about it.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::SqlState;

/// What can go wrong with a log in a database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address makes no sense.
    #[error(
        "is not an address of PostgreSQL: {why}. It is postgres://USER:PASSWORD@HOST:PORT/NAME"
    )]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// The database does not let us in.
    #[error(
        "the database does not let us in: {why}. Check user, password and name of the database in the address"
    )]
    Refused {
        /// What it said.
        why: String,
    },
    /// There is something wrong with TLS, or there is none where it is required.
    #[error("no connection to the database: {why}")]
    Tls {
        /// What, and what to do.
        why: String,
    },
    /// The user lacks a right.
    #[error(
        "the database's user may not do what is needed: {why}. It needs CREATE on the database for the first start, \
         and to own the schema onsale"
    )]
    Right {
        /// What it said.
        why: String,
    },
    /// The database can't be reached, or the connection broke.
    #[error("the database can't be reached: {why}")]
    Unreachable {
        /// Why.
        why: String,
    },
    /// The database refused a statement.
    #[error("the database refused {what}: {why}")]
    Statement {
        /// Which.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The database is set so that it forgets what it has committed.
    #[error(
        "{setting} is off in the database, so what it commits can be lost: switch it on; or say durability = \"os\", \
         for tests, and receipts say so"
    )]
    Unsafe {
        /// Which setting.
        setting: &'static str,
    },
    /// The database only repeats what another writes.
    #[error(
        "the database is a standby itself and takes no writes: name its primary, or several hosts and \
         target_session_attrs=read-write"
    )]
    ReadOnly,
    /// The database does less than it did when the server started.
    #[error(
        "the database does not wait for its synchronous standby any more (synchronous_standby_names and \
         synchronous_commit were {was}, and are {is}): start the server again, and its receipts say so"
    )]
    Weaker {
        /// What was found at the start.
        was: String,
        /// What is found now.
        is: String,
    },
    /// The schema is of another version.
    #[error(
        "the schema onsale in the database is of version {found}, this program works with version {known}: use the \
         program that made it, or another database"
    )]
    Version {
        /// What is there.
        found: i32,
        /// What is known here.
        known: i32,
    },
    /// The schema is not one of ours.
    #[error(
        "there is a schema onsale in the database that is not ours ({why}): use another database"
    )]
    Foreign {
        /// What is missing.
        why: String,
    },
    /// Another server is at work.
    #[error(
        "another server, {address}, is active for {left:?} at least: stop it first, or start this one with --standby"
    )]
    Held {
        /// Where clients find it.
        address: String,
        /// What is left of its lease.
        left: Duration,
    },
    /// Another server has taken over: this one may write nothing more.
    #[error("another server, {address}, has taken over")]
    Fenced {
        /// Where clients find it.
        address: String,
    },
    /// It is not known whether a batch was committed, and could not be found out in time.
    #[error("the database did not say in {waited:?} whether a batch was committed: {why}")]
    Unknown {
        /// How long it was tried.
        waited: Duration,
        /// What was in the way the last time.
        why: String,
    },
    /// A record of a stream is gone that was not let go.
    #[error(
        "the record at position {position} of the stream {stream} is not in onsale.stream_records: put it back from a \
         backup of the database, or read on from after it"
    )]
    Missing {
        /// The stream.
        stream: String,
        /// Where it was.
        position: u64,
    },
    /// What is in the database contradicts itself.
    #[error("shard {shard}, position {position} in the database: {detail}. Nothing was changed")]
    Damaged {
        /// Which shard.
        shard: u16,
        /// Position of the first record of the batch.
        position: u64,
        /// What is wrong.
        detail: String,
    },
}

/// An error's text with what caused it.
pub(crate) fn why(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(told) => format!("{} ({})", told.message(), told.code().code()),
        None => match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    }
}

/// Whether the connection is of no use any more, or the server could not do it at this moment: another try may help.
pub(crate) fn passes(error: &tokio_postgres::Error) -> bool {
    let Some(told) = error.as_db_error() else {
        return error.is_closed()
            || error.source().is_some_and(|cause| cause.is::<std::io::Error>());
    };
    // Classes of codes: connection, transaction rolled back, resources, operator, system. 55P03: a lock was not had in time; 25P03: it was
    // frozen in a transaction for long.
    let class = told.code().code().get(..2).unwrap_or_default();
    let codes = [SqlState::LOCK_NOT_AVAILABLE, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT];
    ["08", "40", "53", "57", "58"].contains(&class) || codes.contains(told.code())
}

/// What an error of a connection or a statement comes to.
pub(crate) fn told(what: &'static str, error: &tokio_postgres::Error) -> Error {
    let why = why(error);
    match error.code() {
        Some(
            &(SqlState::INVALID_PASSWORD
            | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            | SqlState::INVALID_CATALOG_NAME),
        ) => Error::Refused { why },
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Error::Right { why },
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Error::ReadOnly,
        _ if passes(error) => Error::Unreachable { why },
        _ => Error::Statement { what, why },
    }
}
