//! Streams that others write to, beside the log: few records, each durable before it is told. Only the log's writer appends
//! and trims: each transaction looks whether it still is, and whoever takes over waits for it.

use tokio_postgres::Transaction;

use super::{MAKING, Refused, Site};
use crate::{Error, Settings};

/// The tables.
const TABLES: &str = include_str!("../streams.sql");
/// Records that are read at a time at most.
const RECORDS_PER_READ: usize = 4_096;

/// What is kept of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamState {
    /// Which history it is.
    pub generation: u64,
    /// The lowest position that is kept.
    pub first: u64,
    /// The highest there ever was; 0: nothing was appended.
    pub last: u64,
}

/// A record of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamRecord {
    /// Its position, from 1 without a gap.
    pub position: u64,
    /// Its key.
    pub key: String,
    /// Its content.
    pub payload: Vec<u8>,
    /// When it was written, in microseconds since 1970; never before the one ahead of it.
    pub written_at_us: u64,
}

impl Site {
    /// What is kept of a stream, which is made with this generation where there is none. An append whose outcome is not known is
    /// waited for.
    ///
    /// # Errors
    /// `Fenced` where the process is not the writer any more; `Unreachable`, …
    pub fn stream(&mut self, name: &str, generation: u64) -> Result<StreamState, Error> {
        self.transaction("onsale.streams", async |at, settings| {
            at.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKING]).await?;
            let sql = "SELECT to_regclass('onsale.stream_records') IS NULL";
            if at.query_one(sql, &[]).await?.get(0) {
                at.batch_execute(TABLES).await?;
            }
            check_writer(at, settings).await?;
            let sql = "INSERT INTO onsale.streams (name, generation) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            at.execute(sql, &[&name, &generation.cast_signed()]).await?;
            let sql = "SELECT generation, first, last FROM onsale.streams WHERE name = $1 FOR UPDATE";
            let row = at.query_one(sql, &[&name]).await?;
            let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
            Ok(StreamState { generation: number(0), first: number(1), last: number(2) })
        })
    }

    /// Appends records, each a key and a payload, in one transaction; gives the position of the last.
    ///
    /// # Errors
    /// `Fenced` where the process is not the writer any more; `Unreachable`: they may be there, [`Site::stream`] tells.
    pub fn append_to_stream(
        &mut self,
        name: &str,
        records: &[(&str, &[u8])],
        now_us: u64,
    ) -> Result<u64, Error> {
        self.transaction("onsale.stream_records", async |at, settings| {
            check_writer(at, settings).await?;
            let (keys, payloads): (Vec<&str>, Vec<&[u8]>) = records.iter().copied().unzip();
            let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
            let sql = "UPDATE onsale.streams SET last = last + $2, written_at_us = greatest(written_at_us, $3)
                WHERE name = $1 RETURNING last, written_at_us";
            let row = at.query_one(sql, &[&name, &count, &now_us.cast_signed()]).await?;
            let (last, written_at_us): (i64, i64) = (row.get(0), row.get(1));
            let sql = "INSERT INTO onsale.stream_records (stream, position, key, payload, written_at_us)
                SELECT $1, $2 + ordinality, key, payload, $3
                FROM unnest($4::text[], $5::bytea[]) WITH ORDINALITY AS r (key, payload, ordinality)";
            at.execute(sql, &[&name, &(last - count), &written_at_us, &keys, &payloads]).await?;
            Ok(last.cast_unsigned())
        })
    }

    /// Records after a position, or the first ones that are kept: at most so many, and about so many bytes, but one at least where
    /// there is one. They follow each other without a gap.
    ///
    /// # Errors
    /// `Missing` where the first of them is gone; `Unreachable`, …
    pub fn read_stream(
        &mut self,
        name: &str,
        after: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Vec<StreamRecord>, Error> {
        let sql = "\
            WITH page AS (
                SELECT position, key, payload, written_at_us,
                    sum(octet_length(payload)) OVER (ORDER BY position) - octet_length(payload) AS before
                FROM (SELECT * FROM onsale.stream_records WHERE stream = $1 AND position > $2
                    ORDER BY position LIMIT $3) AS next)
            SELECT position, key, payload, written_at_us FROM page WHERE before < $4 ORDER BY position";
        self.transaction("onsale.stream_records", async |at, _| {
            let limit = i64::try_from(records.min(RECORDS_PER_READ)).unwrap_or(i64::MAX);
            let bytes = i64::try_from(bytes.max(1)).unwrap_or(i64::MAX);
            let rows = at.query(sql, &[&name, &after.cast_signed(), &limit, &bytes]).await?;
            let record = |row: &tokio_postgres::Row| StreamRecord {
                position: row.get::<_, i64>(0).cast_unsigned(),
                key: row.get(1),
                payload: row.get(2),
                written_at_us: row.get::<_, i64>(3).cast_unsigned(),
            };
            let mut found: Vec<StreamRecord> = rows.iter().map(record).collect();
            let mut next = after + 1;
            if found.first().is_none_or(|record| record.position != next) {
                let sql = "SELECT first, last FROM onsale.streams WHERE name = $1";
                let kept = at.query_opt(sql, &[&name]).await?;
                let kept = kept.map_or((1, 0), |row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
                next = next.max(kept.0.cast_unsigned());
                let is_there = found.first().is_some_and(|record| record.position == next);
                if !is_there && next <= kept.1.cast_unsigned() {
                    let stream = name.to_owned();
                    return Err(Refused::Ours(Error::Missing { stream, position: next }));
                }
            }
            // One that is missing further on is told to whoever comes to it.
            let dense = found.iter().zip(next..).take_while(|(r, at)| r.position == *at).count();
            found.truncate(dense);
            Ok(found)
        })
    }

    /// Lets go of all records up to a position; gives the lowest that is kept, one past the last where none is.
    ///
    /// # Errors
    /// `Fenced` where the process is not the writer any more; `Unreachable`, …
    pub fn trim_stream(&mut self, name: &str, upto: u64) -> Result<u64, Error> {
        self.transaction("onsale.stream_records", async |at, settings| {
            check_writer(at, settings).await?;
            let sql = "UPDATE onsale.streams SET first = greatest(first, least($2, last) + 1) WHERE name = $1
                RETURNING first";
            let upto = i64::try_from(upto).unwrap_or(i64::MAX);
            let first: i64 = at.query_one(sql, &[&name, &upto]).await?.get(0);
            let sql = "DELETE FROM onsale.stream_records WHERE stream = $1 AND position < $2";
            at.execute(sql, &[&name, &first]).await?;
            Ok(first.cast_unsigned())
        })
    }
}

/// Refuses what a process wants that is not the writer any more; whoever takes over waits for this, or this for them.
pub(super) async fn check_writer(at: &Transaction<'_>, settings: &Settings) -> Result<(), Refused> {
    let sql = "SELECT node, address FROM onsale.heads WHERE shard = 0 FOR SHARE";
    let row = at.query_one(sql, &[]).await?;
    match row.get::<_, &str>(0) == settings.node {
        true => Ok(()),
        false => Err(Refused::Ours(Error::Fenced { address: row.get(1) })),
    }
}
