//! The platform's database: SQLite or PostgreSQL, asked by statements of a dialect with named parameters.
//!
//! Work with SQLite is done where it is called and blocks the thread meanwhile; the bridge runs on several.

mod postgres;
mod sqlite;
mod statement;
mod value;

use std::time::Duration;

pub use postgres::{Postgres, PostgresTransaction};
pub(crate) use postgres::{no_tls, parse};
pub use sqlite::{Sqlite, SqliteTransaction};
pub use statement::Statement;
pub use value::{Row, Value};

use crate::Error;

/// How long a database is waited for: to connect, and for the locks of others.
pub const WAIT: Duration = Duration::from_secs(10);

/// A parameter of a statement and its value.
pub type Param<'a> = (&'a str, Value);

/// Which database it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// Of the database at a URL.
    ///
    /// # Errors
    /// It is neither.
    pub fn of(url: &str) -> Result<Kind, Error> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Kind::Postgres);
        }
        if url.starts_with("sqlite:") || !url.contains("://") {
            return Ok(Kind::Sqlite);
        }
        let why =
            "the database must be a file, sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/NAME";
        Err(Error::refused(why, "Say --db as one of these."))
    }

    /// Name of the folder of its statements in a dialect.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Sqlite => "sqlite",
            Kind::Postgres => "postgres",
        }
    }
}

/// What a transaction is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Reads, all of it as it was at one moment.
    Read,
    /// Reads and writes.
    Write,
}

/// A connection to the platform's database.
pub enum Database {
    /// To a file.
    Sqlite(Sqlite),
    /// To a server.
    Postgres(Postgres),
}

/// A transaction; what is not committed is taken back when it is dropped.
pub enum Transaction<'a> {
    /// In a file.
    Sqlite(SqliteTransaction<'a>),
    /// At a server.
    Postgres(PostgresTransaction<'a>),
}

/// Whether a URL can be one of a platform's database: one in a file must be there. Nothing is opened.
///
/// # Errors
/// It is of another form, or there is no such file.
pub fn check_url(url: &str) -> Result<(), Error> {
    if Kind::of(url)? == Kind::Postgres || std::path::Path::new(sqlite::path(url)).is_file() {
        return Ok(());
    }
    Err(Error::refused(
        format!("--db: there is no file {}", sqlite::path(url)),
        "Name the platform's own database: a file of SQLite that is there, or postgres://USER:PASSWORD@HOST:PORT/NAME.",
    ))
}

impl Database {
    /// Connects.
    ///
    /// # Errors
    /// The URL makes no sense, or the database can't be reached or refuses us.
    pub async fn open(url: &str) -> Result<Database, Error> {
        Ok(match Kind::of(url)? {
            Kind::Sqlite => Database::Sqlite(Sqlite::open(url)?),
            Kind::Postgres => Database::Postgres(Postgres::connect(url).await?),
        })
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Database::Sqlite(_) => Kind::Sqlite,
            Database::Postgres(_) => Kind::Postgres,
        }
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// The database fails.
    pub async fn begin(&mut self, mode: Mode) -> Result<Transaction<'_>, Error> {
        Ok(match self {
            Database::Sqlite(db) => Transaction::Sqlite(db.begin(mode)?),
            Database::Postgres(db) => Transaction::Postgres(db.begin(mode).await?),
        })
    }

    /// Runs statements without parameters, one after the other; each alone in SQLite, all or none in PostgreSQL.
    ///
    /// # Errors
    /// The database refuses one, or fails.
    pub async fn run(&mut self, sql: &str) -> Result<(), Error> {
        match self {
            Database::Sqlite(db) => db.run(sql),
            Database::Postgres(db) => db.run(sql).await,
        }
    }

    /// The rows of a statement, in a transaction of its own.
    ///
    /// # Errors
    /// The database refuses it, or fails.
    pub async fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Database::Sqlite(db) => db.query(statement, params),
            Database::Postgres(db) => db.query(statement, params).await,
        }
    }

    /// The rows of SQL that is ours, not a dialect's.
    ///
    /// # Errors
    /// The database refuses it, or fails.
    pub async fn ask(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let statement = Statement::new(self.kind(), "the bridge's own statement", sql);
        self.query(&statement, params).await
    }

    /// Whether the database takes a statement: the names of its columns.
    ///
    /// # Errors
    /// The database refuses it, or fails.
    pub async fn prepare(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        match self {
            Database::Sqlite(db) => db.prepare(statement),
            Database::Postgres(db) => db.prepare(statement).await,
        }
    }
}

impl Transaction<'_> {
    /// The rows of a statement.
    ///
    /// # Errors
    /// The database refuses it, or fails. The transaction is of no use any more.
    pub async fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        match self {
            Transaction::Sqlite(tx) => tx.query(statement, params),
            Transaction::Postgres(tx) => tx.query(statement, params).await,
        }
    }

    /// How many rows a statement changed.
    ///
    /// # Errors
    /// The database refuses it, or fails. The transaction is of no use any more.
    pub async fn execute(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, Error> {
        match self {
            Transaction::Sqlite(tx) => tx.execute(statement, params),
            Transaction::Postgres(tx) => tx.execute(statement, params).await,
        }
    }

    /// Runs SQL that is ours and has no parameters, such as a savepoint.
    ///
    /// # Errors
    /// The database fails. The transaction is of no use any more.
    pub async fn run(&mut self, sql: &str) -> Result<(), Error> {
        match self {
            Transaction::Sqlite(tx) => tx.run(sql),
            Transaction::Postgres(tx) => tx.run(sql).await,
        }
    }

    /// Makes it so.
    ///
    /// # Errors
    /// The database fails; for PostgreSQL it may be so or not when the connection broke.
    pub async fn commit(self) -> Result<(), Error> {
        match self {
            Transaction::Sqlite(tx) => tx.commit(),
            Transaction::Postgres(tx) => tx.commit().await,
        }
    }
}

#[cfg(test)]
mod tests;
