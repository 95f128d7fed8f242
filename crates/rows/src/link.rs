//! The writer's way to one shard: appends batches, and finds out what became of one whose connection broke.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::Error;
use crate::connect::{Connection, Found, KEPT_SQL, Kept, Settings, runtime};
use crate::error::{passes, told, why};

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(50);

/// One statement, so one transaction: the head row is checked and moved on, and the batch inserted; or nothing is.
/// An update that waited for the row sees it as whoever it waited for has left it.
const APPEND: &str = "\
    WITH head AS (
        UPDATE onsale.heads SET position = $4, lease_until = clock_timestamp() + make_interval(secs => $8)
        WHERE shard = $1 AND term = $2 AND position = $3::bigint - 1 RETURNING shard)
    INSERT INTO onsale.batches (shard, term, first, last, checksum, chain, records)
    SELECT $1, $2, $3, $4, $5, $6, $7 FROM head
    RETURNING ";

/// The same without a batch.
const CHECK: &str = "\
    UPDATE onsale.heads SET lease_until = clock_timestamp() + make_interval(secs => $4)
    WHERE shard = $1 AND term = $2 AND position = $3
    RETURNING ";

/// Makes this connection the writer's, if the process is the writer. An append that is still under way on an older one
/// ends before or finds its term gone: it holds the row, or has yet to look at it.
const RAISE: &str = "\
    UPDATE onsale.heads SET term = term + 1, pid = pg_backend_pid(),
        backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()),
        lease_until = clock_timestamp() + make_interval(secs => $3)
    WHERE shard = $1 AND node = $2
    RETURNING term, position";

/// A batch to be appended.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Position of its first record.
    pub first: u64,
    /// Position of its last record.
    pub last: u64,
    /// CRC-32C over the records.
    pub checksum: u32,
    /// CRC-32C over all batches up to this one.
    pub chain: u32,
    /// Each: its length in 4 bytes, the lowest first, and so many bytes.
    pub records: &'a [u8],
}

/// The writer's way to one shard.
pub struct Link {
    settings: Settings,
    shard: i32,
    kept: Found,
    term: i64,
    position: i64,
    open: Option<Open>,
    runtime: Runtime,
}

struct Open {
    connection: Connection,
    append: Statement,
    check: Statement,
}

/// Why a try did not do it.
enum Failed {
    /// It is known that nothing was written, and will not be.
    Known(Error),
    /// It may have been written, and the connection is of no use any more.
    Unknown(String),
}

impl Link {
    /// Connects, as the writer that [`crate::Site::take_over`] has made this process.
    ///
    /// # Errors
    /// `Fenced` where it is not, or not any more; `Unreachable`, `Refused`, `Unsafe`, …
    pub fn open(settings: &Settings, shard: u16) -> Result<Link, Error> {
        let runtime = runtime()?;
        let (open, term, position) = runtime.block_on(connect(settings, shard.into()))?;
        let kept = open.connection.found.clone();
        let settings = settings.clone();
        Ok(Link { settings, shard: shard.into(), kept, term, position, open: Some(open), runtime })
    }

    /// How well the database keeps what it commits, as it said when this was opened. An append fails where it is less.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept.kept
    }

    /// How long this process is the writer after each append or check.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.settings.lease
    }

    /// The position of the last record.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.cast_unsigned()
    }

    /// Appends a batch. Once it returns well the batch is committed, and was so under this process' term.
    ///
    /// # Errors
    /// `Fenced`: another has taken over, and the batch is not there. `Unknown`: it may be there. After any error nothing
    /// may be told that came after the last append that went well.
    pub fn append(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        let (first, last) = (batch.first.cast_signed(), batch.last.cast_signed());
        if first != self.position + 1 {
            return Err(self.damaged(format!("the writer appends {first} here")));
        }
        let begun = Instant::now();
        loop {
            let reason = match self.try_append(batch) {
                Ok(()) => break,
                Err(Failed::Known(error)) => return Err(error),
                Err(Failed::Unknown(reason)) => reason,
            };
            self.connect_again(begun, reason.clone())?;
            match self.position {
                position if position == last => return Ok(()),
                position if position == first - 1 => {}
                _ => return Err(self.damaged("another batch ends here".to_owned())),
            }
            // It is not there, and is tried again: a database that is full, say, may be so for a moment.
            let waited = begun.elapsed();
            if waited > self.settings.wait {
                return Err(Error::Unknown { waited, why: reason });
            }
            self.runtime.block_on(async { tokio::time::sleep(AGAIN).await });
        }
        self.position = last;
        Ok(())
    }

    /// Makes sure that this process is still the writer, and renews its lease.
    ///
    /// # Errors
    /// As [`Link::append`].
    pub fn check(&mut self) -> Result<(), Error> {
        let (begun, position) = (Instant::now(), self.position);
        match self.try_check() {
            Ok(()) => Ok(()),
            Err(Failed::Known(error)) => Err(error),
            // To raise the term checks it, too.
            Err(Failed::Unknown(why)) => {
                self.connect_again(begun, why)?;
                match self.position == position {
                    true => Ok(()),
                    false => Err(self.damaged("another batch ends here".to_owned())),
                }
            }
        }
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Damaged { shard: self.shard as u16, position: self.position(), detail }
    }

    fn try_append(&mut self, batch: &Batch<'_>) -> Result<(), Failed> {
        let Some(open) = &self.open else { return Err(lost("there was no connection")) };
        let (first, last) = (batch.first.cast_signed(), batch.last.cast_signed());
        let (checksum, chain) = (i64::from(batch.checksum), i64::from(batch.chain));
        let lease = self.settings.lease_seconds();
        let values: [&(dyn ToSql + Sync); 8] =
            [&self.shard, &self.term, &first, &last, &checksum, &chain, &batch.records, &lease];
        let row = open.connection.client.query_opt(&open.append, &values);
        let row = self.runtime.block_on(in_time(self.settings.statement_time(), row))?;
        self.judge(row)
    }

    fn try_check(&mut self) -> Result<(), Failed> {
        let Some(open) = &self.open else { return Err(lost("there was no connection")) };
        let lease = self.settings.lease_seconds();
        let values: [&(dyn ToSql + Sync); 4] = [&self.shard, &self.term, &self.position, &lease];
        let row = open.connection.client.query_opt(&open.check, &values);
        let row = self.runtime.block_on(in_time(self.settings.statement_time(), row))?;
        self.judge(row)
    }

    /// What a statement's answer comes to: a row with the database's settings, or none where the term is gone.
    fn judge(&mut self, row: Option<tokio_postgres::Row>) -> Result<(), Failed> {
        let Some(row) = row else { return Err(self.gone()) };
        let open = self.open.as_ref().expect("it has just answered");
        if self.kept.kept == Kept::Replicated && open.connection.was_warned() {
            return Err(lost("a commit may not have waited for the standby"));
        }
        let found = Found::new(row.get(0));
        match found.kept < self.kept.kept {
            true => Err(Failed::Known(self.weaker(&found))),
            false => Ok(()),
        }
    }

    fn weaker(&self, found: &Found) -> Error {
        match found.off {
            Some(setting) => Error::Unsafe { setting },
            None => Error::Weaker { was: self.kept.words.clone(), is: found.words.clone() },
        }
    }

    /// Who has taken over.
    fn gone(&self) -> Failed {
        let Some(open) = &self.open else { return lost("there was no connection") };
        let client = &open.connection.client;
        match self.runtime.block_on(fenced(client, self.shard)) {
            Ok(error) => Failed::Known(error),
            // That much is certain.
            Err(_) => Failed::Known(Error::Fenced { address: "unknown".to_owned() }),
        }
    }

    /// Connects again and raises the own term, so that nothing that was sent before can be written later; then the position
    /// says whether it was.
    fn connect_again(&mut self, begun: Instant, mut reason: String) -> Result<(), Error> {
        self.open = None;
        tracing::warn!(shard = self.shard, reason, "the connection to the database is made again");
        loop {
            match self.runtime.block_on(connect(&self.settings, self.shard)) {
                Ok((open, ..)) if open.connection.found.kept < self.kept.kept => {
                    return Err(self.weaker(&open.connection.found));
                }
                Ok((open, term, position)) => {
                    (self.open, self.term, self.position) = (Some(open), term, position);
                    return Ok(());
                }
                Err(
                    Error::Unreachable { why } | Error::Tls { why } | Error::Statement { why, .. },
                ) => reason = why,
                // A primary that became a standby, on its way to be replaced.
                Err(error @ Error::ReadOnly) => reason = error.to_string(),
                Err(error) => return Err(error),
            }
            let waited = begun.elapsed();
            if waited > self.settings.wait {
                return Err(Error::Unknown { waited, why: reason });
            }
            self.runtime.block_on(async { tokio::time::sleep(AGAIN).await });
        }
    }
}

fn lost(why: &str) -> Failed {
    Failed::Unknown(why.to_owned())
}

/// Waits for a statement. One that takes too long may still be carried out.
async fn in_time<T>(
    time: Duration,
    statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failed> {
    match tokio::time::timeout(time, statement).await {
        Err(_) => Err(Failed::Unknown(format!("it did not answer in {time:?}"))),
        Ok(Err(error)) if passes(&error) => Err(Failed::Unknown(why(&error))),
        Ok(Err(error)) => Err(Failed::Known(told("an append", &error))),
        Ok(Ok(answer)) => Ok(answer),
    }
}

async fn connect(settings: &Settings, shard: i32) -> Result<(Open, i64, i64), Error> {
    let connection = Connection::open(settings, &format!("shard {shard}")).await?;
    let time = settings.statement_time();
    let slow = |_| Error::Unreachable { why: format!("it did not answer in {time:?}") };
    tokio::time::timeout(time, raise(settings, shard, connection)).await.map_err(slow)?
}

async fn raise(
    settings: &Settings,
    shard: i32,
    connection: Connection,
) -> Result<(Open, i64, i64), Error> {
    let client = &connection.client;
    let failed = |error: tokio_postgres::Error| told("to raise the term", &error);
    let lease = settings.lease_seconds();
    let row = client.query_opt(RAISE, &[&shard, &settings.node, &lease]).await.map_err(failed)?;
    let Some(row) = row else {
        return Err(fenced(client, shard).await.map_err(failed)?);
    };
    if connection.found.kept == Kept::Replicated && connection.was_warned() {
        let why = "a commit may not have waited for the standby".to_owned();
        return Err(Error::Unreachable { why });
    }
    let append = client.prepare(&format!("{APPEND}{KEPT_SQL}")).await.map_err(failed)?;
    let check = client.prepare(&format!("{CHECK}{KEPT_SQL}")).await.map_err(failed)?;
    Ok((Open { connection, append, check }, row.get(0), row.get(1)))
}

async fn fenced(
    client: &tokio_postgres::Client,
    shard: i32,
) -> Result<Error, tokio_postgres::Error> {
    let sql = "SELECT address FROM onsale.heads WHERE shard = $1";
    let row = client.query_opt(sql, &[&shard]).await?;
    let address = row.map_or_else(|| "unknown".to_owned(), |row| row.get(0));
    Ok(Error::Fenced { address })
}
