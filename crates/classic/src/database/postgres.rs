//! A connection to PostgreSQL.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use postgres::error::SqlState;
use postgres::types::private::BytesMut;
use postgres::types::{IsNull, ToSql, Type};
use postgres::{Client, Config, NoTls, Statement};

use super::{Row, Value};
use crate::error::Error;

/// How long a connection may take to come about.
const CONNECT_SECONDS_MAX: u64 = 5;
/// A statement that takes longer is ended by the server, and so is one that waits so long for a row.
const SETTINGS: &str = "SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '30s'; \
    SET client_min_messages = warning";

pub struct Connection {
    client: Client,
    /// Ready statements. The texts are constants of this crate, so there are not many.
    statements: HashMap<&'static str, Statement>,
}

impl Connection {
    pub fn open(url: &str) -> Result<Self, Error> {
        let mut config: Config = url.parse().map_err(from)?;
        config.connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX));
        config.application_name("box office");
        let mut client = config.connect(NoTls).map_err(from)?;
        client.batch_execute(SETTINGS).map_err(from)?;
        Ok(Self { client, statements: HashMap::new() })
    }

    pub fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, Error> {
        let statement = self.prepared(sql)?;
        self.client.execute(&statement, &parameters(values)).map_err(from)
    }

    pub fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, Error> {
        let statement = self.prepared(sql)?;
        let rows = self.client.query(&statement, &parameters(values)).map_err(from)?;
        rows.iter().map(row).collect()
    }

    pub fn batch(&mut self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).map_err(from)
    }

    fn prepared(&mut self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(ready) = self.statements.get(sql) {
            return Ok(ready.clone());
        }
        let ready = self.client.prepare(sql).map_err(from)?;
        self.statements.insert(sql, ready.clone());
        Ok(ready)
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row(of: &postgres::Row) -> Result<Row, Error> {
    let columns = of.columns().iter().enumerate();
    let values = columns.map(|(at, column)| {
        Ok(match *column.type_() {
            Type::INT8 => of.try_get::<_, Option<i64>>(at).map_err(from)?.into(),
            Type::INT4 => of.try_get::<_, Option<i32>>(at).map_err(from)?.map(i64::from).into(),
            Type::BOOL => of.try_get::<_, Option<bool>>(at).map_err(from)?.into(),
            Type::TIMESTAMPTZ => {
                let at = of.try_get::<_, Option<SystemTime>>(at).map_err(from)?;
                at.map(Timestamp::try_from)
                    .transpose()
                    .map_err(|e| Error::Database(e.to_string()))?
                    .into()
            }
            Type::VOID => Value::Null,
            _ => of.try_get::<_, Option<String>>(at).map_err(from)?.into(),
        })
    });
    values.collect::<Result<_, Error>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(
        &self,
        wanted: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(value) => value.to_sql(wanted, out),
            Value::Bool(value) => value.to_sql(wanted, out),
            Value::Text(value) => value.to_sql(wanted, out),
            Value::Time(value) => {
                let ms = u64::try_from(value.as_millisecond())?;
                (UNIX_EPOCH + Duration::from_millis(ms)).to_sql(wanted, out)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

fn from(error: postgres::Error) -> Error {
    let Some(told) = error.as_db_error() else {
        let cause = std::error::Error::source(&error);
        let cause = cause.map_or(String::new(), |cause| format!(": {cause}"));
        return Error::Database(format!("PostgreSQL: {error}{cause}"));
    };
    let text = told.to_string();
    match *told.code() {
        // A code or a key that another transaction had first: the next try sees it.
        SqlState::UNIQUE_VIOLATION
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::T_R_SERIALIZATION_FAILURE => Error::Again(text),
        SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Error::Busy,
        _ => Error::Database(text),
    }
}
