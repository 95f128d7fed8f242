//! Changes that a replication slot tells, in the order of commits.

mod line;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use line::{Limits, Line};
use onsale_tls as tls;
use pgwire_replication::client::IdentifySystem;
use pgwire_replication::{Lsn, PgWireError, ReplicationConfig, ReplicationEvent};
use tokio::time::{Instant, timeout};
use tokio_postgres::config::Host;

use super::{CHANGES_MAX, Changes, tunnel};
use crate::Error;
use crate::capture::pgoutput::{self, Datum, Message, Tuple};
use crate::database::{Kind, Statement, Transaction, no_tls, parse};
use crate::dialect::{About, Dialect, Watch};
use crate::state::State;

/// After a commit, how long others are waited for that come right after it.
const GATHER: Duration = Duration::from_millis(10);
/// From 1970 to 2000, in microseconds.
const EPOCH_US: i64 = 946_684_800_000_000;
/// PostgreSQL's code where a slot is read by somebody else.
const OBJECT_IN_USE: &str = "SQLSTATE 55006";
/// Rows whose watched values are remembered, so that a change of others is told from one of these.
const SEEN_MAX: usize = 200_000;

/// A replication slot that is read.
pub struct Slot {
    line: Line,
    watches: Vec<Watch>,
    relations: HashMap<u32, Relation>,
    /// Digests of watched values by a digest of table and row.
    seen: HashMap<u64, u64>,
    /// Of the transaction that is being read, until its commit.
    open: Changes,
    /// The transactions that were told and are not done yet.
    transactions: BTreeSet<u32>,
    open_transaction: Option<u32>,
    /// All before this is told.
    upto: Lsn,
    snapshot: Statement,
}

/// A table as the feed describes it.
struct Relation {
    /// Which watches are about it.
    watches: Vec<usize>,
    columns: Vec<String>,
    /// Names of those that tell its rows apart. Only of these a change tells what was before.
    keys: Vec<String>,
}

fn failed(error: &PgWireError) -> Error {
    let text = error.to_string();
    if text.contains("does not exist")
        || text.contains("can no longer")
        || text.contains("was not created in this database")
        || text.contains("invalidated")
    {
        return Error::refused(
            format!("the replication slot can't be read on: {text}"),
            "Run `onsale bridge attach`: it makes a new one, and the bridge reads everything anew when it starts.",
        );
    }
    match text.contains(OBJECT_IN_USE) {
        true => Error::InUse(text),
        false => Error::Database(text),
    }
}

async fn config(dialect: &Dialect, url: &str) -> Result<ReplicationConfig, Error> {
    let parsed = parse(url)?;
    let host = match parsed.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let password = parsed.get_password().map(|text| String::from_utf8_lossy(text).into_owned());
    let user = parsed.get_user().unwrap_or("postgres").to_owned();
    let database = parsed.get_dbname().unwrap_or(&user).to_owned();
    let name = dialect.added_name();
    let mut config = ReplicationConfig::new(
        host,
        user,
        password.unwrap_or_default(),
        database,
        name.clone(),
        name,
    );
    config.port = parsed.get_ports().first().copied().unwrap_or(5432);
    if !config.is_unix_socket() {
        let secured = tunnel::open(&parsed, &config.host, config.port).await;
        let secured = secured.map_err(|error| match tls::explain(&error) {
            Some(wrong) => no_tls(&wrong),
            None => Error::Database(error.to_string()),
        })?;
        if let Some(folder) = secured {
            config.host = folder.display().to_string();
        }
    }
    Ok(config)
}

impl Slot {
    pub(super) async fn open(
        dialect: &Dialect,
        url: &str,
        state: &Arc<State>,
    ) -> Result<Slot, Error> {
        let state = Arc::clone(state);
        let check =
            move |system: &IdentifySystem| check_system(&system.system_id, system.timeline, &state);
        let line = Line::open(config(dialect, url).await?, Limits::default(), check).await?;
        Ok(Slot {
            line,
            watches: dialect.settings.watch.clone(),
            relations: HashMap::new(),
            seen: HashMap::new(),
            open: Changes::default(),
            transactions: BTreeSet::new(),
            open_transaction: None,
            upto: Lsn(0),
            snapshot: Statement::new(
                Kind::Postgres,
                "the snapshot",
                "SELECT pg_current_snapshot()::text AS s",
            ),
        })
    }

    pub(super) async fn next(&mut self, wait: Duration) -> Result<Changes, Error> {
        let mut told = Changes::default();
        let mut until = Instant::now() + wait;
        while told.rows < CHANGES_MAX as u64 {
            let left = until.saturating_duration_since(Instant::now());
            let event = match timeout(left, self.line.next()).await {
                Ok(event) => event?,
                // What is open goes on next time: it counts from its commit.
                Err(_) => break,
            };
            match event {
                ReplicationEvent::Begin { xid, .. } => self.open_transaction = Some(xid),
                ReplicationEvent::XLogData { data, .. } => self.change(&data)?,
                ReplicationEvent::Commit { end_lsn, commit_time_micros, .. } => {
                    self.upto = self.upto.max(end_lsn);
                    let mut changes = std::mem::take(&mut self.open);
                    changes.since_us = commit_time_micros + EPOCH_US;
                    let transaction = self.open_transaction.take();
                    if !changes.is_empty() {
                        self.transactions.extend(transaction);
                        told.merge(changes);
                        until = until.min(Instant::now() + GATHER);
                    }
                }
                // Nothing of ours is before this, so the server can let go of it.
                ReplicationEvent::KeepAlive { wal_end, .. } if self.open_transaction.is_none() => {
                    self.upto = self.upto.max(wal_end);
                    if told.is_empty() && self.transactions.is_empty() {
                        self.done();
                    }
                }
                _ => {}
            }
        }
        Ok(told)
    }

    fn change(&mut self, data: &[u8]) -> Result<(), Error> {
        let message = pgoutput::read(data).ok_or_else(|| {
            Error::Database("the feed has a message that can't be read".to_owned())
        })?;
        match message {
            Message::Relation { id, table, columns, keys } => {
                let of = |(at, watch): (usize, &Watch)| (watch.table == table).then_some(at);
                let watches = self.watches.iter().enumerate().filter_map(of).collect();
                let keys = keys.iter().map(|number| columns[*number].clone()).collect();
                self.relations.insert(id, Relation { watches, columns, keys });
            }
            Message::Insert { relation, new } => self.row(relation, None, Some(&new), true),
            Message::Update { relation, old, new } => {
                self.row(relation, old.as_ref(), Some(&new), false)
            }
            Message::Delete { relation, old } => self.row(relation, Some(&old), None, false),
            Message::Truncate { .. } => {
                self.open.all = true;
                self.open.rows += 1;
            }
            Message::Other => {}
        }
        Ok(())
    }

    fn row(&mut self, relation: u32, old: Option<&Tuple>, new: Option<&Tuple>, is_insert: bool) {
        let Some(relation) = self.relations.get(&relation) else {
            // It can't be: a table is described before its rows.
            self.open.all = true;
            return;
        };
        self.open.rows += 1;
        for at in &relation.watches {
            let watch = &self.watches[*at];
            // A new order is the platform's own matter.
            let is_new_order = watch.about == About::Order && is_insert;
            let value = |tuple: &Tuple| match text(relation, tuple, &watch.column) {
                Some(Datum::Text(text)) => Some(text.clone()),
                _ => None,
            };
            match new {
                None => self.open.note(watch, old.and_then(value)),
                Some(new) => {
                    let (key, digest) =
                        (row_digest(relation, *at, new), watched_digest(relation, watch, new));
                    if self.seen.len() >= SEEN_MAX {
                        self.seen.clear();
                    }
                    let same = digest.is_some() && self.seen.get(&key) == digest.as_ref();
                    if let Some(digest) = digest {
                        self.seen.insert(key, digest);
                    }
                    if same || is_new_order {
                        continue;
                    }
                    let now = value(new);
                    self.open.note(watch, now.clone());
                    match old.and_then(value) {
                        Some(before) => self.open.note(watch, Some(before)),
                        // It may have been another event's before, which is not told: see `Capture::bring`.
                        None if !is_insert
                            && watch.about == About::Event
                            && watch.lookup.is_none()
                            && !relation.keys.contains(&watch.column) =>
                        {
                            self.open.moved.extend(now);
                        }
                        None => {}
                    }
                }
            }
        }
    }

    pub(super) async fn is_visible(&mut self, tx: &mut Transaction<'_>) -> Result<bool, Error> {
        if self.transactions.is_empty() {
            return Ok(true);
        }
        let rows = tx.query(&self.snapshot, &[]).await?;
        let text = rows.first().map(|row| row.text("s")).transpose()?.unwrap_or_default();
        Ok(self.transactions.iter().all(|transaction| sees(&text, *transaction)))
    }

    pub(super) fn done(&mut self) {
        self.transactions.clear();
        self.line.keep(self.upto);
    }
}

/// Whether a snapshot (`xmin:xmax:xip,…`, numbers of 64 bits) sees a transaction (the lower 32 bits of its number).
fn sees(snapshot: &str, transaction: u32) -> bool {
    let mut parts = snapshot.split(':');
    parts.next();
    let end: u64 = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    // The number nearest to the end that has these lower bits.
    let distance = (end as u32).wrapping_sub(transaction).cast_signed();
    if distance <= 0 {
        return false;
    }
    let mut running =
        parts.next().unwrap_or_default().split(',').filter_map(|text| text.parse::<u64>().ok());
    !running.any(|running| running as u32 == transaction)
}

fn text<'a>(relation: &Relation, tuple: &'a Tuple, column: &str) -> Option<&'a Datum> {
    let at = relation.columns.iter().position(|name| name == column)?;
    tuple.get(at)
}

/// A digest of which row it is: by its first column, which is its key in all platforms that were met.
fn row_digest(relation: &Relation, watch: usize, tuple: &Tuple) -> u64 {
    let mut hasher = DefaultHasher::new();
    (watch, &relation.columns).hash(&mut hasher);
    if let Some(Datum::Text(key)) = tuple.first() {
        key.hash(&mut hasher);
    }
    hasher.finish()
}

/// A digest of the watched values; none: all matter, or one is not known.
fn watched_digest(relation: &Relation, watch: &Watch, tuple: &Tuple) -> Option<u64> {
    if watch.columns.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for column in &watch.columns {
        match text(relation, tuple, column)? {
            Datum::Unchanged => return None,
            Datum::Null => 0_u8.hash(&mut hasher),
            Datum::Text(text) => text.hash(&mut hasher),
        }
    }
    Some(hasher.finish())
}

/// Whether it is the server that was read before.
fn check_system(system: &str, timeline: u32, state: &State) -> Result<(), Error> {
    let timeline = timeline.to_string();
    match state.fact("database")? {
        Some(known) if known != system => {
            return Err(Error::refused(
                format!(
                    "this is another database server than before (system {system}, not {known})"
                ),
                "Where that is right, run `onsale bridge attach --again`.",
            ));
        }
        Some(_) => {}
        None => state.set_fact("database", Some(system))?,
    }
    match state.fact("timeline")? {
        Some(known) if known != timeline => {
            let text = format!(
                "the database failed over (timeline {known} → {timeline}): what was committed last may be lost there. \
                 Run `onsale bridge reconcile`, then `onsale bridge attach --again`"
            );
            tracing::error!("{text}");
            state.set_fact("alarm:failover", Some(&text))?;
        }
        _ => {}
    }
    state.set_fact("timeline", Some(&timeline))
}

#[cfg(test)]
mod tests {
    use super::sees;

    #[test]
    fn a_snapshot_sees_what_was_committed_before_it() {
        let rows = [
            ("10:20:12,15", 9, true),
            ("10:20:12,15", 12, false),
            ("10:20:12,15", 13, true),
            ("10:20:12,15", 20, false),
            ("10:20:12,15", 25, false),
            ("10:20:", 19, true),
            // The lower 32 bits have gone round.
            ("4294967290:4294967300:4294967298", 2, false),
            ("4294967290:4294967300:4294967298", 4_294_967_295, true),
            ("4294967290:4294967300:4294967298", 3, true),
            ("4294967290:4294967300:4294967298", 4, false),
        ];
        for (snapshot, transaction, expected) in rows {
            assert_eq!(sees(snapshot, transaction), expected, "{snapshot} {transaction}");
        }
    }
}
