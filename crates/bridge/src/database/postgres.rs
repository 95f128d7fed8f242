//! A platform's database at a server.
//!
//! Parameters are sent as text, so that a statement decides by itself what type each is; what comes back is read by its type.

use std::collections::HashMap;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use jiff::Timestamp;
use onsale_tls::Wrong;
use onsale_tls::postgres as tls;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, IsolationLevel};

use super::{Mode, Param, Row, Statement, Value, WAIT};
use crate::Error;

/// Microseconds from 1970 to 2000, where PostgreSQL counts times from.
const EPOCH_US: i64 = 946_684_800_000_000;
const DAY_US: i64 = 86_400_000_000;
/// How long it may take until a server lets us in. Each of its addresses is given [`WAIT`] to be reached.
const LET_IN_WAIT: Duration = Duration::from_secs(30);

/// A connection to a server.
pub struct Postgres {
    /// The connection, for what is particular to PostgreSQL.
    pub client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
}

/// A transaction at a server.
pub struct PostgresTransaction<'a> {
    /// The transaction, for what is particular to PostgreSQL.
    pub tx: tokio_postgres::Transaction<'a>,
    prepared: &'a mut HashMap<String, tokio_postgres::Statement>,
}

/// What went wrong: the statement's matter, or the server's.
pub(crate) fn refused(name: &str, error: &tokio_postgres::Error) -> Error {
    let Some(told) = error.as_db_error() else { return failed(error) };
    let mut why = format!("{} ({})", told.message(), told.code().code());
    if let Some(detail) = told.detail() {
        why += &format!("; {detail}");
    }
    // Classes of codes: connection, transaction rolled back, resources, operator, system.
    let class = told.code().code().get(..2).unwrap_or_default();
    let passes = ["08", "40", "53", "57", "58"].contains(&class)
        || *told.code() == SqlState::LOCK_NOT_AVAILABLE
        // A plan that was made before the schema changed.
        || *told.code() == SqlState::FEATURE_NOT_SUPPORTED;
    match passes {
        true => Error::Database(why),
        false => Error::Statement { statement: name.to_owned(), why },
    }
}

/// What went wrong with a statement that was carried out, and had been prepared: the data's matter, too.
fn met(statement: &Statement, error: &tokio_postgres::Error) -> Error {
    let is_of_data = error.as_db_error().is_some_and(|told| {
        // Classes of codes: more rows than one, data (casts, overflows, dates, JSON).
        ["21", "22"].iter().any(|class| told.code().code().starts_with(class))
    });
    match refused(&statement.name, error) {
        Error::Statement { statement, why } if is_of_data => Error::Data { statement, why },
        other => other,
    }
}

/// An error of the connection, with its cause.
pub(crate) fn failed(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(told) => Error::Database(format!("{} ({})", told.message(), told.code().code())),
        None => match error.source() {
            Some(cause) => Error::Database(format!("{error}: {cause}")),
            None => Error::Database(error.to_string()),
        },
    }
}

/// The address of a database.
pub(crate) fn parse(url: &str) -> Result<Config, Error> {
    tls::parse(url).map_err(|why| {
        Error::refused(
            format!("--db is not a URL of PostgreSQL: {why}"),
            "It is postgres://USER:PASSWORD@HOST:PORT/NAME.",
        )
    })
}

/// Why there is no connection.
fn not_let_in(error: &tokio_postgres::Error) -> Error {
    if let Some(wrong) = tls::explain(error) {
        return no_tls(&wrong);
    }
    let why = match failed(error) {
        Error::Database(why) => why,
        other => other.to_string(),
    };
    // What needs no server to be found wrong, as a password that is missing, has no code.
    let is_settings = error.code().is_none() && why.contains("invalid configuration");
    match error.code() {
        Some(&(SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION)) => {
            Error::refused(
                format!("the database does not let us in: {why}"),
                "Check user and password in --db.",
            )
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => {
            Error::refused(format!("--db: {why}"), "Check the name at the end of --db.")
        }
        None if is_settings => Error::refused(
            format!("the database does not let us in: {why}"),
            "Say user and password in --db: postgres://USER:PASSWORD@HOST:PORT/NAME.",
        ),
        _ => failed(error),
    }
}

/// There is no connection for something about TLS.
pub(crate) fn no_tls(wrong: &Wrong) -> Error {
    Error::refused(format!("--db: {}", wrong.why), format!("{}.", wrong.way_out))
}

impl Postgres {
    /// Connects.
    ///
    /// # Errors
    /// The URL makes no sense, or the server can't be reached or refuses us.
    pub async fn connect(url: &str) -> Result<Postgres, Error> {
        Postgres::connect_within(url, LET_IN_WAIT).await
    }

    pub(super) async fn connect_within(url: &str, limit: Duration) -> Result<Postgres, Error> {
        let mut config = parse(url)?;
        config.connect_timeout(WAIT).application_name("onsale-bridge");
        let silent = |_| {
            let why = format!("the server took the connection, and let us not in for {limit:?}");
            Error::Database(why)
        };
        let connected = timeout(limit, tls::connect(&config)).await.map_err(silent)?;
        let (client, connection) = connected.map_err(|error| not_let_in(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        Ok(Postgres { client, prepared: HashMap::new() })
    }

    pub(super) async fn begin(&mut self, mode: Mode) -> Result<PostgresTransaction<'_>, Error> {
        let begin = self.client.build_transaction();
        let begin = match mode {
            Mode::Read => begin.isolation_level(IsolationLevel::RepeatableRead).read_only(true),
            Mode::Write => begin.isolation_level(IsolationLevel::ReadCommitted),
        };
        let tx = begin.start().await.map_err(|error| failed(&error))?;
        Ok(PostgresTransaction { tx, prepared: &mut self.prepared })
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        let done = self.client.batch_execute(sql).await;
        done.map_err(|error| refused(&super::sqlite::brief(sql), &error))
    }

    pub(super) async fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let prepared = prepare(&self.client, &mut self.prepared, statement).await?;
        let values = statement.values(params)?;
        let rows = self.client.query(&prepared, &as_params(&values)).await;
        read(statement, &rows.map_err(|error| met(statement, &error))?)
    }

    pub(super) async fn prepare(&mut self, statement: &Statement) -> Result<Vec<String>, Error> {
        let prepared = prepare(&self.client, &mut self.prepared, statement).await?;
        Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect())
    }
}

fn as_params<'a>(values: &[&'a Value]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| *value as &(dyn ToSql + Sync)).collect()
}

async fn prepare(
    client: &impl tokio_postgres::GenericClient,
    prepared: &mut HashMap<String, tokio_postgres::Statement>,
    statement: &Statement,
) -> Result<tokio_postgres::Statement, Error> {
    if let Some(known) = prepared.get(&statement.sql) {
        return Ok(known.clone());
    }
    let made = client.prepare(&statement.sql).await;
    let made = made.map_err(|error| refused(&statement.name, &error))?;
    prepared.insert(statement.sql.clone(), made.clone());
    Ok(made)
}

fn read(statement: &Statement, rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, Error> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> =
        first.columns().iter().map(|column| column.name().to_owned()).collect();
    let name: Arc<str> = statement.name.as_str().into();
    let mut made = Vec::with_capacity(rows.len());
    for row in rows {
        let values = (0..columns.len()).map(|at| {
            row.try_get::<_, Value>(at).map_err(|error| {
                let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                let why = format!("the column {}: {why}", columns[at]);
                Error::Data { statement: statement.name.clone(), why }
            })
        });
        let values = values.collect::<Result<_, _>>()?;
        made.push(Row { statement: Arc::clone(&name), columns: Arc::clone(&columns), values });
    }
    Ok(made)
}

impl PostgresTransaction<'_> {
    pub(super) async fn query(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let prepared = prepare(&self.tx, self.prepared, statement).await?;
        let values = statement.values(params)?;
        let rows = self.tx.query(&prepared, &as_params(&values)).await;
        read(statement, &rows.map_err(|error| met(statement, &error))?)
    }

    pub(super) async fn execute(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, Error> {
        let prepared = prepare(&self.tx, self.prepared, statement).await?;
        let values = statement.values(params)?;
        let changed = self.tx.execute(&prepared, &as_params(&values)).await;
        changed.map_err(|error| met(statement, &error))
    }

    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        self.tx.batch_execute(sql).await.map_err(|error| failed(&error))
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.tx.commit().await.map_err(|error| refused("COMMIT", &error))
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let text = match self {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(truth) => truth.to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                return Ok(IsNull::No);
            }
        };
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(
        of: &Type,
        raw: &'a [u8],
    ) -> Result<Value, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *of {
            Type::BOOL => Value::Bool(bool::from_sql(of, raw)?),
            Type::INT2 => Value::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Value::Integer(i32::from_sql(of, raw)?.into()),
            Type::OID => Value::Integer(u32::from_sql(of, raw)?.into()),
            Type::INT8 => Value::Integer(i64::from_sql(of, raw)?),
            Type::FLOAT4 => Value::Real(f32::from_sql(of, raw)?.into()),
            Type::FLOAT8 => Value::Real(f64::from_sql(of, raw)?),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                let since_2000 = i64::from_be_bytes(raw.try_into()?);
                Value::Text(time(since_2000)?)
            }
            Type::DATE => {
                let days = i32::from_be_bytes(raw.try_into()?);
                Value::Text(time(i64::from(days) * DAY_US)?)
            }
            Type::UUID => {
                let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
                Value::Text(format!(
                    "{}-{}-{}-{}-{}",
                    hex.get(..8).ok_or("is no UUID")?,
                    hex.get(8..12).ok_or("is no UUID")?,
                    hex.get(12..16).ok_or("is no UUID")?,
                    hex.get(16..20).ok_or("is no UUID")?,
                    hex.get(20..).ok_or("is no UUID")?
                ))
            }
            Type::NUMERIC => Value::Text(numeric(raw)?),
            Type::JSON => Value::Text(std::str::from_utf8(raw)?.to_owned()),
            // Its first byte is the version of its form.
            Type::JSONB => {
                Value::Text(std::str::from_utf8(raw.get(1..).ok_or("is empty")?)?.to_owned())
            }
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::CHAR => {
                Value::Text(std::str::from_utf8(raw)?.to_owned())
            }
            _ => return Err(format!("is of the type {of}: cast it to text or bigint").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Value, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn time(since_2000_us: i64) -> Result<String, Box<dyn std::error::Error + Sync + Send>> {
    let since_1970 = since_2000_us.checked_add(EPOCH_US).ok_or("is no time of a calendar")?;
    Ok(Timestamp::from_microsecond(since_1970)?.to_string())
}

/// The digits of a NUMERIC: groups of four, a weight (groups before the point, less one), a sign, digits after the point.
fn numeric(raw: &[u8]) -> Result<String, Box<dyn std::error::Error + Sync + Send>> {
    let word = |at: usize| -> Result<u16, &'static str> {
        let bytes = raw.get(at * 2..at * 2 + 2).ok_or("is cut off")?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (groups, weight, sign, scale) = (word(0)?, word(1)?.cast_signed(), word(2)?, word(3)?);
    if sign != 0 && sign != 0x4000 {
        return Err("is not a number".into());
    }
    let group = |at: i16| -> Result<u16, &'static str> {
        match u16::try_from(at) {
            Ok(at) if at < groups => word(4 + usize::from(at)),
            _ => Ok(0),
        }
    };
    let mut text = String::from(if sign == 0 { "" } else { "-" });
    if weight < 0 {
        text.push('0');
    }
    for at in 0..=weight {
        let digits = group(at)?;
        text += &if at == 0 { digits.to_string() } else { format!("{digits:04}") };
    }
    let mut fraction = String::new();
    let mut at = weight + 1;
    while fraction.len() < usize::from(scale) {
        fraction += &format!("{:04}", group(at)?);
        at += 1;
    }
    fraction.truncate(usize::from(scale));
    if !fraction.is_empty() {
        text += &format!(".{fraction}");
    }
    Ok(text)
}
