//! A platform's database in a file.

use std::sync::Arc;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};

use super::{Mode, Param, Row, Statement, Value, WAIT};
use crate::Error;

/// A connection to a file.
pub struct Sqlite {
    /// The connection, for what is particular to SQLite.
    pub connection: Connection,
}

/// A transaction in a file.
pub struct SqliteTransaction<'a> {
    db: &'a mut Sqlite,
    done: bool,
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(truth) => ToSqlOutput::from(*truth),
            Value::Integer(number) => ToSqlOutput::from(*number),
            Value::Real(number) => ToSqlOutput::from(*number),
            Value::Text(text) => ToSqlOutput::from(text.as_str()),
        })
    }
}

fn failed(error: &rusqlite::Error) -> Error {
    Error::Database(error.to_string())
}

/// An error of a statement: the statement's, unless the file is busy or broken.
fn refused(statement: &Statement, error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::DiskFull
            | ErrorCode::SchemaChanged,
        ) => failed(&error),
        _ => Error::Statement { statement: statement.name.clone(), why: error.to_string() },
    }
}

/// An error of a statement that was carried out, and had been prepared. One that can still be prepared fits the schema: then
/// the data is at fault, as a sum that is too large or a text that is no JSON.
fn met(connection: &Connection, statement: &Statement, error: rusqlite::Error) -> Error {
    let of_data = [
        ErrorCode::Unknown,
        ErrorCode::TooBig,
        ErrorCode::TypeMismatch,
        ErrorCode::ConstraintViolation,
    ];
    let may_be = error.sqlite_error_code().is_some_and(|code| of_data.contains(&code));
    match refused(statement, error) {
        Error::Statement { statement: name, why }
            if may_be && connection.prepare(&statement.sql).is_ok() =>
        {
            Error::Data { statement: name, why }
        }
        other => other,
    }
}

/// The file that a URL names.
pub(super) fn path(url: &str) -> &str {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    path.strip_prefix("//").unwrap_or(path)
}

impl Sqlite {
    /// Opens a file that is there.
    ///
    /// # Errors
    /// It is not there, or is no database.
    pub fn open(url: &str) -> Result<Sqlite, Error> {
        let path = path(url);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(WAIT)?;
            connection.set_prepared_statement_cache_capacity(64);
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
            Ok(connection)
        });
        match opened {
            Ok(connection) => Ok(Sqlite { connection }),
            Err(error) => Err(Error::Database(format!("{path}: {error}"))),
        }
    }

    pub(super) fn begin(&mut self, mode: Mode) -> Result<SqliteTransaction<'_>, Error> {
        let begin = match mode {
            Mode::Read => "BEGIN DEFERRED",
            Mode::Write => "BEGIN IMMEDIATE",
        };
        self.connection.execute_batch(begin).map_err(|error| failed(&error))?;
        Ok(SqliteTransaction { db: self, done: false })
    }

    pub(super) fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.connection.execute_batch(sql).map_err(|error| {
            let statement = Statement { name: brief(sql), sql: String::new(), params: Vec::new() };
            refused(&statement, error)
        })
    }

    pub(super) fn query(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let values = statement.values(params)?;
        let wrong = |error| refused(statement, error);
        let mut prepared = self.connection.prepare_cached(&statement.sql).map_err(wrong)?;
        let columns: Arc<[String]> = prepared.column_names().map(str::to_owned).collect();
        let name: Arc<str> = statement.name.as_str().into();
        let met = |error| met(&self.connection, statement, error);
        let mut found = prepared.query(rusqlite::params_from_iter(values)).map_err(wrong)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(met)? {
            let value = |at| row.get_ref(at).map(to_value);
            let values: Result<_, _> = (0..columns.len()).map(value).collect();
            let values = values.map_err(wrong)?;
            rows.push(Row { statement: Arc::clone(&name), columns: Arc::clone(&columns), values });
        }
        Ok(rows)
    }

    pub(super) fn prepare(&self, statement: &Statement) -> Result<Vec<String>, Error> {
        let prepared = self.connection.prepare(&statement.sql);
        let prepared = prepared.map_err(|error| refused(statement, error))?;
        Ok(prepared.column_names().map(str::to_owned).collect())
    }
}

/// The first words of SQL, to tell it by.
pub fn brief(sql: &str) -> String {
    let line = sql.trim().lines().next().unwrap_or_default();
    line.chars().take(60).collect()
}

fn to_value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Value::Text(String::from_utf8_lossy(text).into_owned())
        }
    }
}

impl SqliteTransaction<'_> {
    /// The connection, for what is particular to SQLite.
    pub fn connection(&self) -> &Connection {
        &self.db.connection
    }

    pub(super) fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        self.db.query(statement, params)
    }

    pub(super) fn execute(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, Error> {
        let values = statement.values(params)?;
        let wrong = |error| refused(statement, error);
        let mut prepared = self.db.connection.prepare_cached(&statement.sql).map_err(wrong)?;
        let changed = prepared.execute(rusqlite::params_from_iter(values));
        let changed = changed.map_err(|error| met(&self.db.connection, statement, error))?;
        Ok(changed as u64)
    }

    pub(super) fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.db.connection.execute_batch(sql).map_err(|error| failed(&error))
    }

    pub(super) fn commit(mut self) -> Result<(), Error> {
        let committed = self.db.connection.execute_batch("COMMIT");
        self.done = committed.is_ok();
        committed.map_err(|error| failed(&error))
    }
}

impl Drop for SqliteTransaction<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Where it fails there is no transaction any more, which is what is wanted.
            let _ = self.db.connection.execute_batch("ROLLBACK");
        }
    }
}
