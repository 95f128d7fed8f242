//! A connection to SQLite: write-ahead log, every commit synced.

use std::path::Path;
use std::time::Duration;

use rusqlite::ErrorCode;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::{Row, Value};
use crate::error::Error;
use crate::time;

/// How long a transaction of another process is waited for.
const WAIT_SECONDS_MAX: u64 = 10;
/// Statements that are kept ready.
const STATEMENTS_MAX: usize = 100;

pub struct Connection {
    inner: rusqlite::Connection,
}

impl Connection {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let opened = rusqlite::Connection::open(path);
        let inner =
            opened.map_err(|error| Error::Database(format!("{}: {error}", path.display())))?;
        inner.busy_timeout(Duration::from_secs(WAIT_SECONDS_MAX)).map_err(from)?;
        inner.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        let pragmas =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
        inner.execute_batch(pragmas).map_err(from)?;
        Ok(Self { inner })
    }

    pub fn execute(&self, sql: &str, values: &[Value]) -> Result<u64, Error> {
        let mut statement = self.inner.prepare_cached(sql).map_err(from)?;
        let changed = statement.execute(rusqlite::params_from_iter(values)).map_err(from)?;
        Ok(changed as u64)
    }

    pub fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let mut statement = self.inner.prepare_cached(sql).map_err(from)?;
        let columns = statement.column_count();
        let rows = statement.query_map(rusqlite::params_from_iter(values), |row| {
            (0..columns)
                .map(|column| row.get_ref(column).map(value))
                .collect::<Result<_, _>>()
                .map(Row)
        });
        rows.map_err(from)?.collect::<Result<_, _>>().map_err(from)
    }

    pub fn batch(&self, sql: &str) -> Result<(), Error> {
        self.inner.execute_batch(sql).map_err(from)
    }
}

fn value(of: ValueRef<'_>) -> Value {
    match of {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        // No column of ours has these; whoever reads one is told what it holds.
        ValueRef::Real(value) => Value::Text(value.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => rusqlite::types::Null.into(),
            Value::Int(value) => (*value).into(),
            Value::Bool(value) => (*value).into(),
            Value::Text(value) => value.as_str().into(),
            Value::Time(value) => time::text(*value).into(),
        })
    }
}

fn from(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
        _ => match &error {
            // A code or a key that another transaction had first: the next try sees it.
            rusqlite::Error::SqliteFailure(failure, _)
                if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE =>
            {
                Error::Again(error.to_string())
            }
            _ => Error::Database(error.to_string()),
        },
    }
}
