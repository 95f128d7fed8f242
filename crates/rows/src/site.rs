//! All shards of a log: the schema, who is active, what was written, and the taking over.

mod streams;

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use crate::Error;
use crate::connect::{Connection, Kept, Settings, runtime};
use crate::error::{passes, told};
pub use streams::{StreamRecord, StreamState};

/// The version of the schema.
const VERSION: i32 = 1;
/// The schema.
const SCHEMA: &str = include_str!("schema.sql");
/// The lock under which the schema is made: two servers may start at once.
const MAKING: i64 = 7_298_466;
/// Bytes of batches that are read at a time, about.
const BYTES_PER_READ: i64 = 8 << 20;

/// What is fixed for a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its id.
    pub log: u128,
    /// Its number of shards.
    pub shards: u16,
}

/// Where a shard's log ends, and who writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which shard.
    pub shard: u16,
    /// The term.
    pub term: u64,
    /// The last position.
    pub position: u64,
    /// Where clients find the active server; empty: there never was one.
    pub address: String,
    /// What is left of its lease; none: it has run out.
    pub left: Option<Duration>,
    node: String,
}

/// How a try to take over went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Taken {
    /// This process is the writer now.
    Over(Vec<Head>),
    /// Another is at work.
    Held {
        /// Where clients find it.
        address: String,
        /// What is left of its lease.
        left: Duration,
    },
}

/// One row: a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Position of its first record.
    pub first: u64,
    /// Position of its last record.
    pub last: u64,
    /// The term that wrote it.
    pub term: u64,
    /// CRC-32C over all batches up to this one.
    pub chain: u32,
    /// Each: its length in 4 bytes, the lowest first, and so many bytes.
    pub records: Vec<u8>,
}

/// All shards of a log.
pub struct Site {
    settings: Settings,
    connection: Option<Connection>,
    runtime: Runtime,
}

const HEADS: &str = "\
    SELECT shard, term, position, address, node,
        extract(epoch FROM greatest(lease_until, 'epoch') - clock_timestamp())::float8, pid, backend_start
    FROM onsale.heads ORDER BY shard";

impl Site {
    /// Connects.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Unsafe`, `ReadOnly`.
    pub fn connect(settings: &Settings) -> Result<Site, Error> {
        let runtime = runtime()?;
        let connection = Some(runtime.block_on(Connection::open(settings, "control"))?);
        Ok(Site { settings: settings.clone(), connection, runtime })
    }

    /// How well the database keeps what it commits.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Unsafe`, `ReadOnly`.
    pub fn kept(&mut self) -> Result<Kept, Error> {
        self.connected()?;
        Ok(self.connection.as_ref().map_or(Kept::Os, |connection| connection.found.kept))
    }

    fn connected(&mut self) -> Result<(), Error> {
        if self.connection.as_ref().is_none_or(|c| c.client.is_closed()) {
            self.connection =
                Some(self.runtime.block_on(Connection::open(&self.settings, "control"))?);
        }
        Ok(())
    }

    /// Does something in a transaction; after an error of the connection the next call makes a new one.
    fn transaction<T>(
        &mut self,
        what: &'static str,
        work: impl AsyncFnOnce(&Transaction<'_>, &Settings) -> Result<T, Refused>,
    ) -> Result<T, Error> {
        self.connected()?;
        let connection = self.connection.as_mut().expect("it was just made");
        let (time, settings) = (self.settings.statement_time(), &self.settings);
        let all = async {
            let transaction = connection.client.transaction().await?;
            match work(&transaction, settings).await {
                Ok(done) => {
                    transaction.commit().await?;
                    Ok(done)
                }
                Err(error) => {
                    // Else it would stay open until the next call.
                    transaction.rollback().await?;
                    Err(error)
                }
            }
        };
        let done = self.runtime.block_on(async { tokio::time::timeout(time, all).await });
        let (error, is_over) = match done {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(Refused::Ours(error))) => return Err(error),
            Ok(Err(Refused::Theirs(error))) => (told(what, &error), passes(&error)),
            Err(_) => (Error::Unreachable { why: format!("it did not answer in {time:?}") }, true),
        };
        if is_over {
            self.connection = None;
        }
        Err(error)
    }

    /// What the log is; where there is none yet it is made as offered, with its schema; none where nothing is offered.
    ///
    /// # Errors
    /// `Version`, `Foreign`, `Right`, `Unreachable`, …
    pub fn identity(&mut self, offered: Option<Identity>) -> Result<Option<Identity>, Error> {
        self.transaction("the schema onsale", async |at, _| {
            at.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKING]).await?;
            let sql = "SELECT to_regnamespace('onsale') IS NOT NULL";
            if !at.query_one(sql, &[]).await?.get::<_, bool>(0) {
                let Some(offered) = offered else { return Ok(None) };
                make(at, offered).await?;
            }
            let found = at.query_opt("SELECT version, log, shards FROM onsale.log", &[]).await;
            let row = match found {
                Ok(Some(row)) => row,
                Ok(None) => return foreign("onsale.log is empty"),
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                    return foreign("it has no table log");
                }
                Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
                    return foreign("its table log has other columns");
                }
                Err(error) => return Err(error.into()),
            };
            let version: i32 = row.get(0);
            if version != VERSION {
                return Err(Refused::Ours(Error::Version { found: version, known: VERSION }));
            }
            let log = u128::from_str_radix(row.get::<_, &str>(1), 16);
            match (log, u16::try_from(row.get::<_, i32>(2))) {
                (Ok(log), Ok(shards)) => Ok(Some(Identity { log, shards })),
                _ => foreign("onsale.log is not as it was written"),
            }
        })
    }

    /// Where each shard's log ends, and who writes it.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub fn heads(&mut self) -> Result<Vec<Head>, Error> {
        self.transaction("onsale.heads", async |at, _| {
            Ok(at.query(HEADS, &[]).await?.iter().map(head).collect())
        })
    }

    /// Makes this process the writer, if no other has a lease that runs: raises the terms of all shards in one
    /// transaction, and ends the connections that wrote until then.
    ///
    /// # Errors
    /// `Unreachable`, … It may have come to it nevertheless; to try again does no harm.
    pub fn take_over(&mut self) -> Result<Taken, Error> {
        // Whoever holds a head row though its lease has run out is stuck: it is in the way.
        let (heads, backends) = self.heads_and_backends()?;
        if let Some(held) = self.held(&heads) {
            return Ok(held);
        }
        self.end(&backends);
        let (node, address) = (self.settings.node.clone(), self.settings.address.clone());
        let taken = self.transaction("to take over", async |at, settings| {
            // The rows may have been waited for: what they say is looked up once they are ours.
            at.execute("SELECT 1 FROM onsale.heads ORDER BY shard FOR UPDATE", &[]).await?;
            let heads: Vec<Head> = at.query(HEADS, &[]).await?.iter().map(head).collect();
            if let Some(held) = held(&heads, &node) {
                return Ok(held);
            }
            let sql = "UPDATE onsale.heads SET term = term + 1, node = $1, address = $2, pid = NULL,
                    backend_start = NULL, lease_until = clock_timestamp() + make_interval(secs => $3)";
            at.execute(sql, &[&node, &address, &settings.lease_seconds()]).await?;
            Ok(Taken::Over(at.query(HEADS, &[]).await?.iter().map(head).collect()))
        })?;
        if matches!(taken, Taken::Over(_)) {
            self.end(&backends);
        }
        Ok(taken)
    }

    fn held(&self, heads: &[Head]) -> Option<Taken> {
        held(heads, &self.settings.node)
    }

    #[expect(clippy::type_complexity, reason = "it is used twice, just above")]
    fn heads_and_backends(
        &mut self,
    ) -> Result<(Vec<Head>, Vec<(i32, std::time::SystemTime)>), Error> {
        self.transaction("onsale.heads", async |at, _| {
            let rows = at.query(HEADS, &[]).await?;
            let backend = |row: &tokio_postgres::Row| {
                Some((row.get::<_, Option<i32>>(6)?, row.get::<_, Option<_>>(7)?))
            };
            Ok((rows.iter().map(head).collect(), rows.iter().filter_map(backend).collect()))
        })
    }

    /// Ends connections that have written, so that none stays stuck in the database. That their term is gone is what keeps
    /// the log safe: where this may not be done, nothing is lost.
    fn end(&mut self, backends: &[(i32, std::time::SystemTime)]) {
        for (pid, start) in backends {
            let ended = self.transaction("to end a connection", async |at, _| {
                let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE pid = $1 AND backend_start = $2";
                at.query(sql, &[pid, start]).await?;
                Ok(())
            });
            if let Err(error) = ended {
                tracing::warn!(%error, pid, "a connection of the former active server stays");
            }
        }
    }

    /// Ends this process' own lease, so that a standby need not wait for it to run out.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub fn give_up(&mut self) -> Result<(), Error> {
        self.transaction("to give up the lease", async |at, settings| {
            let sql = "UPDATE onsale.heads SET lease_until = '-infinity' WHERE node = $1";
            at.execute(sql, &[&settings.node]).await?;
            Ok(())
        })
    }

    /// Hands out the batches after a position, some at a time; none: there are no more. Each is checked: it begins
    /// where the one before it ended, and its checksum is right.
    ///
    /// # Errors
    /// `Damaged`, `Unreachable`, …
    pub fn read(&mut self, shard: u16, after: u64) -> Result<Vec<Row>, Error> {
        let sql = "\
            WITH page AS (
                SELECT first, last, term, checksum, chain, records,
                    sum(octet_length(records)) OVER (ORDER BY first) - octet_length(records) AS before
                FROM (SELECT * FROM onsale.batches WHERE shard = $1 AND first > $2 ORDER BY first LIMIT 256) AS next)
            SELECT first, last, term, checksum, chain, records FROM page WHERE before < $3 ORDER BY first";
        let rows = self.transaction("onsale.batches", async |at, _| {
            let (shard, after) = (i32::from(shard), after.cast_signed());
            Ok(at.query(sql, &[&shard, &after, &BYTES_PER_READ]).await?)
        })?;
        let mut next = after + 1;
        let mut batches = Vec::with_capacity(rows.len());
        for row in rows {
            let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
            let (first, last, term, checksum) = (number(0), number(1), number(2), number(3));
            let damaged = |detail: &str| {
                Err(Error::Damaged { shard, position: next, detail: detail.to_owned() })
            };
            let (chain, records) = (number(4) as u32, row.get::<_, Vec<u8>>(5));
            if first != next {
                return damaged("the batch that begins here is not there");
            }
            if u64::from(crc32c::crc32c(&records)) != checksum {
                return damaged("the records do not fit their checksum");
            }
            next = last + 1;
            batches.push(Row { first, last, term, chain, records });
        }
        Ok(batches)
    }

    /// The chain after a position, where a batch ends there.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub fn chain(&mut self, shard: u16, position: u64) -> Result<Option<u32>, Error> {
        self.transaction("onsale.batches", async |at, _| {
            let sql = "SELECT last, chain FROM onsale.batches WHERE shard = $1 AND first <= $2
                    ORDER BY first DESC LIMIT 1";
            let (shard, position) = (i32::from(shard), position.cast_signed());
            let row = at.query_opt(sql, &[&shard, &position]).await?;
            let row = row.filter(|row| row.get::<_, i64>(0) == position);
            Ok(row.map(|row| row.get::<_, i64>(1) as u32))
        })
    }

    /// The last position of the batch before the one that holds a position; 0: there is none.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub fn batch_before(&mut self, shard: u16, position: u64) -> Result<u64, Error> {
        self.transaction("onsale.batches", async |at, _| {
            let sql = "SELECT first - 1 FROM onsale.batches WHERE shard = $1 AND first <= $2
                    ORDER BY first DESC LIMIT 1";
            let (shard, position) = (i32::from(shard), position.cast_signed());
            let row = at.query_opt(sql, &[&shard, &position]).await?;
            Ok(row.map_or(0, |row| row.get::<_, i64>(0).cast_unsigned()))
        })
    }

    /// All small files.
    ///
    /// # Errors
    /// `Unreachable`, …
    pub fn files(&mut self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.transaction("onsale.files", async |at, _| {
            let rows = at.query("SELECT name, bytes FROM onsale.files ORDER BY name", &[]).await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    /// Keeps small files, as the writer; none: it is gone.
    ///
    /// # Errors
    /// `Unreachable`, …; `Fenced` where the process is not the writer any more.
    pub fn keep_files(&mut self, files: &[(String, Option<Vec<u8>>)]) -> Result<(), Error> {
        self.transaction("onsale.files", async |at, settings| {
            streams::check_writer(at, settings).await?;
            for (name, bytes) in files {
                match bytes {
                    Some(bytes) => {
                        let sql = "INSERT INTO onsale.files (name, bytes) VALUES ($1, $2) ON CONFLICT (name)
                            DO UPDATE SET bytes = $2, written_at = clock_timestamp()";
                        at.execute(sql, &[name, bytes]).await?;
                    }
                    None => {
                        at.execute("DELETE FROM onsale.files WHERE name = $1", &[name]).await?;
                    }
                }
            }
            Ok(())
        })
    }
}

/// Why something was not done.
enum Refused {
    Ours(Error),
    Theirs(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Refused {
    fn from(error: tokio_postgres::Error) -> Refused {
        Refused::Theirs(error)
    }
}

fn foreign<T>(why: &str) -> Result<T, Refused> {
    Err(Refused::Ours(Error::Foreign { why: why.to_owned() }))
}

async fn make(at: &Transaction<'_>, offered: Identity) -> Result<(), Refused> {
    at.batch_execute(SCHEMA).await?;
    let (log, shards) = (format!("{:032x}", offered.log), i32::from(offered.shards));
    let sql = "INSERT INTO onsale.log (version, log, shards) VALUES ($1, $2, $3)";
    at.execute(sql, &[&VERSION, &log, &shards]).await?;
    let sql = "INSERT INTO onsale.heads (shard) SELECT generate_series(0, $1 - 1)";
    at.execute(sql, &[&shards]).await?;
    Ok(())
}

fn head(row: &tokio_postgres::Row) -> Head {
    let left: f64 = row.get(5);
    Head {
        shard: row.get::<_, i32>(0) as u16,
        term: row.get::<_, i64>(1).cast_unsigned(),
        position: row.get::<_, i64>(2).cast_unsigned(),
        address: row.get(3),
        node: row.get(4),
        left: (left > 0.0).then(|| Duration::from_secs_f64(left)),
    }
}

/// Whoever else has a lease that runs, of any shard: they run out together, or the server is still at work.
fn held(heads: &[Head], node: &str) -> Option<Taken> {
    let others = heads.iter().filter(|head| head.node != node);
    let longest = others.filter_map(|head| Some((head.left?, &head.address))).max()?;
    Some(Taken::Held { address: longest.1.clone(), left: longest.0 })
}
