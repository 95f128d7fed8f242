//! The database behind it all: SQLite or PostgreSQL.
//!
//! What is done with it is written once, as plain functions over a transaction ([`Tx`]), in SQL that both
//! understand: parameters are `$1`, `$2`, … and appear for the first time in that order. Each runs on a thread of
//! its own that may wait. A transaction that another was in the way of is tried again.

mod postgres;
mod sqlite;
mod value;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::Error;
use crate::schema::{MIGRATIONS, VERSIONS};
pub use value::{Row, Value};

/// How long work waits for a connection.
const WAIT_SECONDS_MAX: u64 = 10;
/// How often a transaction is tried that another was in the way of.
const TRIES_MAX: u32 = 5;
/// Connections to PostgreSQL, and threads that read SQLite.
const CONNECTIONS_MAX: usize = 16;

/// Where the database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// A server's URL.
    Postgres(String),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("sqlite: must be followed by a file".to_owned()),
                path => Ok(Place::Sqlite(path.into())),
            };
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Place::Postgres(text.to_owned()));
        }
        Err("must be sqlite:FILE or postgres://USER@HOST/DATABASE".to_owned())
    }
}

/// A database with its connections. Clones share them.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    idle: Mutex<Vec<Connection>>,
    /// SQLite has one writer at a time; it is fairer to wait here than there.
    writers: Semaphore,
    readers: Semaphore,
}

/// A connection's drop may wait for the server, which a thread of the runtime must not do.
impl Drop for Inner {
    fn drop(&mut self) {
        let idle = std::mem::take(self.idle.get_mut().expect("nobody panics with it"));
        if !idle.is_empty() {
            let _ = std::thread::spawn(move || drop(idle)).join();
        }
    }
}

enum Connection {
    Sqlite(sqlite::Connection),
    Postgres(Box<postgres::Connection>),
}

/// A transaction under way. It is committed if the work that it was made for ends well.
pub struct Tx<'a> {
    connection: &'a mut Connection,
}

impl Tx<'_> {
    /// Runs a statement; how many rows it changed.
    ///
    /// # Errors
    /// The database failed, or another transaction was in the way.
    pub fn execute(&mut self, sql: &'static str, values: &[Value]) -> Result<u64, Error> {
        match self.connection {
            Connection::Sqlite(connection) => connection.execute(sql, values),
            Connection::Postgres(connection) => connection.execute(sql, values),
        }
    }

    /// Runs a query.
    ///
    /// # Errors
    /// As for [`Tx::execute`].
    pub fn query(&mut self, sql: &'static str, values: &[Value]) -> Result<Vec<Row>, Error> {
        match self.connection {
            Connection::Sqlite(connection) => connection.query(sql, values),
            Connection::Postgres(connection) => connection.query(sql, values),
        }
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// As for [`Tx::execute`].
    pub fn first(&mut self, sql: &'static str, values: &[Value]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, values)?.into_iter().next())
    }

    /// The only row of a query that always has one.
    ///
    /// # Errors
    /// As for [`Tx::execute`].
    pub fn one(&mut self, sql: &'static str, values: &[Value]) -> Result<Row, Error> {
        let row = self.first(sql, values)?;
        row.ok_or_else(|| Error::Database("a row that must be there is missing".to_owned()))
    }

    /// Sees to it that no other transaction that names the same text runs beside this one.
    pub(crate) fn alone(&mut self, name: String) -> Result<(), Error> {
        match self.connection {
            // It has one writer at a time anyway.
            Connection::Sqlite(_) => Ok(()),
            Connection::Postgres(connection) => connection
                .query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", &[name.into()])
                .map(drop),
        }
    }

    fn batch(&mut self, sql: &str) -> Result<(), Error> {
        match self.connection {
            Connection::Sqlite(connection) => connection.batch(sql),
            Connection::Postgres(connection) => connection.batch(sql),
        }
    }
}

impl Database {
    /// Opens a database, makes it if it is a file that is not there, and brings its tables up to date.
    ///
    /// # Errors
    /// It can't be opened, or its tables are of a later version.
    pub async fn open(place: Place) -> Result<Database, Error> {
        let writers = match place {
            Place::Sqlite(_) => 1,
            Place::Postgres(_) => CONNECTIONS_MAX,
        };
        let inner = Inner {
            place,
            idle: Mutex::default(),
            writers: Semaphore::new(writers),
            readers: Semaphore::new(CONNECTIONS_MAX),
        };
        let database = Database { inner: Arc::new(inner) };
        database.write(migrate).await?;
        Ok(database)
    }

    /// Where it is, without a password.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.inner.place {
            Place::Sqlite(path) => format!("sqlite:{}", path.display()),
            Place::Postgres(url) => match url.split_once('@') {
                Some((_, rest)) => format!("postgres://…@{rest}"),
                None => url.clone(),
            },
        }
    }

    /// Does work that changes something: all of it, or nothing. It may run more than once.
    ///
    /// # Errors
    /// What the work says, or the database.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(true, work).await
    }

    /// Does work that only reads.
    ///
    /// # Errors
    /// As for [`Database::write`].
    pub async fn read<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run(false, work).await
    }

    async fn run<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl Fn(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        let turn = if writes { &self.inner.writers } else { &self.inner.readers };
        let turn = tokio::time::timeout(Duration::from_secs(WAIT_SECONDS_MAX), turn.acquire());
        let turn = turn.await.map_err(|_| Error::Busy)?.expect("it is never closed");
        // The turn ends with this future. If that is dropped the work still ends by itself; another may begin
        // meanwhile, which costs a wait in the database.
        let done = tokio::task::spawn_blocking(move || inner.repeat(writes, &work)).await;
        drop(turn);
        match done {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl Inner {
    fn repeat<T>(
        &self,
        writes: bool,
        work: &impl Fn(&mut Tx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            match self.once(writes, work) {
                Err(Error::Again(_)) if tries < TRIES_MAX => tries += 1,
                result => return result,
            }
        }
    }

    /// A panic in the work takes the connection along, and with it the transaction.
    fn once<T>(
        &self,
        writes: bool,
        work: &impl Fn(&mut Tx<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.begun(writes)?;
        let mut tx = Tx { connection: &mut connection };
        let result = work(&mut tx).and_then(|done| tx.batch("COMMIT").map(|()| done));
        if result.is_err() && tx.batch("ROLLBACK").is_err() {
            // One whose state is unknown is not used again.
            return result;
        }
        let mut idle = self.idle.lock().expect("nobody panics with it");
        if idle.len() < 2 * CONNECTIONS_MAX {
            idle.push(connection);
        }
        result
    }

    /// A connection with a transaction begun. One that lay idle may have died meanwhile, with its server: nothing was
    /// done with it yet, so another takes its place.
    fn begun(&self, writes: bool) -> Result<Connection, Error> {
        let begin = |connection: &mut Connection| {
            let immediate = writes && matches!(connection, Connection::Sqlite(_));
            Tx { connection }.batch(if immediate { "BEGIN IMMEDIATE" } else { "BEGIN" })
        };
        loop {
            let idle = self.idle.lock().expect("nobody panics with it").pop();
            let Some(mut connection) = idle else { break };
            match begin(&mut connection) {
                Ok(()) => return Ok(connection),
                Err(Error::Database(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = match &self.place {
            Place::Sqlite(path) => Connection::Sqlite(sqlite::Connection::open(path)?),
            Place::Postgres(url) => {
                Connection::Postgres(Box::new(postgres::Connection::open(url)?))
            }
        };
        begin(&mut connection)?;
        Ok(connection)
    }
}

/// Takes the steps that are missing, in one transaction.
fn migrate(tx: &mut Tx<'_>) -> Result<(), Error> {
    tx.alone("box office: tables".to_owned())?;
    tx.batch(VERSIONS)?;
    let row = tx.one("SELECT coalesce(max(version), 0) FROM schema_versions", &[])?;
    let (stands, known) = (row.int(0)?, MIGRATIONS.len() as i64);
    if stands > known {
        let why = format!("its tables are of version {stands}, this program knows {known}");
        return Err(Error::Database(why));
    }
    for step in MIGRATIONS.iter().filter(|step| step.version > stands) {
        let sql = match tx.connection {
            Connection::Sqlite(_) => step.sqlite,
            Connection::Postgres(_) => step.postgres,
        };
        tx.batch(sql)?;
        tx.execute("INSERT INTO schema_versions (version) VALUES ($1)", &[step.version.into()])?;
    }
    Ok(())
}
