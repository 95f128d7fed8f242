//! Where the workers' effects are: a row for each record, in the order in which they were stored.

use std::time::Duration;

use onsale_bus::effects::{Fault, sqlite};
use onsale_bus::{Batch, Error, Record, Stored};

/// A lock that a frozen process holds is not waited for longer: leases must go on.
const BUSY_WAIT: Duration = Duration::from_millis(300);
const TABLE: &str = "CREATE TABLE IF NOT EXISTS applied (id INTEGER PRIMARY KEY, place TEXT NOT NULL, \
                     key TEXT NOT NULL, seq INTEGER NOT NULL)";

pub enum Database {
    Sqlite {
        file: String,
        db: rusqlite::Connection,
    },
    #[cfg(feature = "postgres")]
    Postgres {
        db: tokio_postgres::Client,
        asked: std::sync::Arc<tokio_postgres::Client>,
    },
}

/// Key and number of a record of the suite, and its place in the stream.
fn parse(batch: &Batch, record: &Record) -> (String, String, i64) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let seq = text(&record.payload).parse().unwrap();
    (format!("{}/{}", batch.shard(), record.position), text(&record.key), seq)
}

impl Database {
    pub async fn open(text: &str) -> Database {
        if let Some(file) = text.strip_prefix("sqlite:") {
            let db = rusqlite::Connection::open(file).unwrap();
            db.busy_timeout(Duration::from_secs(20)).unwrap();
            db.pragma_update(None, "journal_mode", "WAL").unwrap();
            db.pragma_update(None, "synchronous", "NORMAL").unwrap();
            sqlite::prepare(&db).unwrap();
            db.execute_batch(TABLE).unwrap();
            db.busy_timeout(BUSY_WAIT).unwrap();
            return Database::Sqlite { file: file.to_owned(), db };
        }
        #[cfg(feature = "postgres")]
        {
            let db = connect(text).await;
            onsale_bus::effects::postgres::prepare(&db).await.unwrap();
            let table = TABLE.replace("INTEGER PRIMARY KEY", "BIGSERIAL PRIMARY KEY");
            let table = table.replace("seq INTEGER", "seq BIGINT");
            // As above: two that make a table at once can meet an error.
            let sql = format!("BEGIN; SELECT pg_advisory_xact_lock(1); {table}; COMMIT");
            db.batch_execute(&sql).await.unwrap();
            db.batch_execute(
                "SET lock_timeout = '300ms'; SET idle_in_transaction_session_timeout = '1s'",
            )
            .await
            .unwrap();
            let asked = std::sync::Arc::new(connect(text).await);
            Database::Postgres { db, asked }
        }
        #[cfg(not(feature = "postgres"))]
        panic!("{text} is no database");
    }

    pub fn stored(&self) -> Stored {
        match self {
            Database::Sqlite { file, .. } => sqlite::stored(file),
            #[cfg(feature = "postgres")]
            Database::Postgres { asked, .. } => {
                onsale_bus::effects::postgres::stored(asked.clone())
            }
        }
    }

    pub async fn apply(&mut self, batch: &Batch) -> Result<(), Error> {
        let result = match self {
            Database::Sqlite { db, .. } => sqlite::apply(db, batch, |tx, record| {
                let (place, key, seq) = parse(batch, record);
                let insert = "INSERT INTO applied (place, key, seq) VALUES (?, ?, ?)";
                tx.prepare_cached(insert)?.execute(rusqlite::params![place, key, seq])?;
                Ok::<(), Fault>(())
            }),
            #[cfg(feature = "postgres")]
            Database::Postgres { db, .. } => {
                onsale_bus::effects::postgres::apply(db, batch, async |tx, record| {
                    let (place, key, seq) = parse(batch, record);
                    let insert = "INSERT INTO applied (place, key, seq) VALUES ($1, $2, $3)";
                    tx.execute(insert, &[&place, &key, &seq]).await?;
                    Ok::<(), Fault>(())
                })
                .await
            }
        };
        #[cfg(feature = "postgres")]
        if let Database::Postgres { db, .. } = self
            && db.is_closed()
        {
            // The server ends a session that was frozen within a transaction: this process begins anew.
            std::process::exit(3);
        }
        result
    }

    /// All effects, in the order in which they were stored: place, key, number.
    pub async fn effects(&self) -> Vec<(String, String, i64)> {
        let select = "SELECT place, key, seq FROM applied ORDER BY id";
        match self {
            Database::Sqlite { db, .. } => {
                let mut statement = db.prepare_cached(select).unwrap();
                let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
                statement.query_map([], row).unwrap().map(Result::unwrap).collect()
            }
            #[cfg(feature = "postgres")]
            Database::Postgres { asked, .. } => {
                let rows = asked.query(select, &[]).await.unwrap();
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
            }
        }
    }

    /// How many effects there are.
    pub async fn count(&self) -> i64 {
        let select = "SELECT count(*) FROM applied";
        match self {
            Database::Sqlite { db, .. } => db.query_row(select, [], |row| row.get(0)).unwrap(),
            #[cfg(feature = "postgres")]
            Database::Postgres { asked, .. } => asked.query_one(select, &[]).await.unwrap().get(0),
        }
    }
}

#[cfg(feature = "postgres")]
async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
