//! What the bridge itself keeps, in the file `bridge.db` of the folder `--state`: what it last sent, what could not be
//! sent, what it wrote into the platform itself (so that it is known again when it comes back through capture), and which
//! events the engine sells.
//!
//! The file can be lost: what was sent is sent again and changes nothing, and what is taken over is read from `control`.
//! Several processes may have it open at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rusqlite::TransactionBehavior::Immediate;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use crate::Error;
use crate::database::WAIT;

/// How soon an open that found the file busy is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Its tables. A change of their form is a new step in this list.
const STEPS: &[&str] = &["
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- What was last appended for an event, by its key in the platform.
CREATE TABLE sent (
    key TEXT PRIMARY KEY, subject TEXT NOT NULL, definition TEXT, state TEXT, position INTEGER NOT NULL
) WITHOUT ROWID;
-- What could not be brought over, by what it is about.
CREATE TABLE parked (
    way TEXT NOT NULL, about TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL, tries INTEGER NOT NULL,
    record TEXT, PRIMARY KEY (way, about)
) WITHOUT ROWID;
-- The status of an order as we wrote it, and as we are about to write it.
CREATE TABLE echoes (code TEXT PRIMARY KEY, written TEXT, writing TEXT) WITHOUT ROWID;
-- What the engine may sell of an event, by subject: quotas and numbers as JSON.
CREATE TABLE taken (subject TEXT PRIMARY KEY, number INTEGER NOT NULL, quotas TEXT NOT NULL) WITHOUT ROWID;
", "
-- What is being appended, before it is known to be there; and the number of that attempt.
ALTER TABLE sent ADD COLUMN unsure TEXT;
ALTER TABLE sent ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
-- Position of the last definition.
ALTER TABLE sent ADD COLUMN defined INTEGER NOT NULL DEFAULT 0;
", "
-- Orders that the platform cancelled and whose tickets were taken away from its own sale again.
CREATE TABLE again (code TEXT PRIMARY KEY) WITHOUT ROWID;
"];

/// Sets something aside.
const PARK: &str = "INSERT INTO parked VALUES (?1, ?2, ?3, ?4, 1, ?5) ON CONFLICT (way, about) DO UPDATE SET \
                    reason = excluded.reason, at = excluded.at, tries = tries + 1, record = excluded.record";

/// The bridge's own file.
#[derive(Debug)]
pub struct State {
    db: Mutex<Connection>,
    /// Of the last look: it grows with changes of other connections.
    version: AtomicI64,
    folder: PathBuf,
}

/// What was last appended for an event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// The definition, as JSON; none: not known.
    pub definition: Option<String>,
    /// The state; none: it has the one that it began with. One with a question mark is not known to be there.
    pub state: Option<String>,
    /// Of the last record in `catalogue`.
    pub position: u64,
    /// A definition that is not known to be there.
    pub unsure: Option<String>,
    /// Grows whenever something else is sent than what is not known to be there.
    pub attempt: u64,
    /// Position of the last definition.
    pub defined: u64,
}

/// What could not be brought over.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Parked {
    /// `capture` or `write-back`.
    pub way: String,
    /// An event's subject, a record's id.
    pub about: String,
    /// Why.
    pub reason: String,
    /// When it was last tried.
    pub at: String,
    /// How often it was tried.
    pub tries: u32,
    /// The record, where it is needed to try again.
    #[serde(skip)]
    pub record: Option<String>,
}

/// The status of an order as we wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Echo {
    /// What is there by our last transaction that we know to be through.
    pub written: Option<String>,
    /// What we are about to write, or wrote without knowing whether it is through.
    pub writing: Option<String>,
}

impl Echo {
    /// Whether a status that was read is our own. Ask for the echo before the status is read: then a status that
    /// is not in it was set by somebody else.
    #[must_use]
    pub fn is_ours(&self, status: &str) -> bool {
        [&self.written, &self.writing].iter().any(|known| known.as_deref() == Some(status))
    }

    /// What is there, or will be as soon as what we are about to write is through.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.writing.as_deref().or(self.written.as_deref())
    }
}

/// What the engine may sell of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Number of the last transfer.
    pub number: u64,
    /// What was credited by all transfers, by quota.
    pub quotas: BTreeMap<String, i64>,
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        Error::State(error.to_string())
    }
}

impl State {
    /// Opens the file in a folder; both are made where they are missing.
    ///
    /// # Errors
    /// The file can't be used.
    pub fn open(folder: &Path) -> Result<State, Error> {
        let wrong = |error: std::io::Error| Error::State(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(wrong)?;
        let until = Instant::now() + WAIT;
        let db = loop {
            match connect(&folder.join("bridge.db")) {
                // SQLite does not wait by itself where others begin or end with the file at the same moment.
                Err(error) if is_busy(&error) && Instant::now() < until => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                opened => break opened?,
            }
        };
        let done: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if done as usize > STEPS.len() {
            return Err(Error::State("it is of a newer version of Onsale".to_owned()));
        }
        Ok(State { db: Mutex::new(db), version: AtomicI64::new(0), folder: folder.to_owned() })
    }

    /// Opens the file in a folder where a bridge has worked, and makes nothing.
    ///
    /// # Errors
    /// It is not there, or can't be used.
    pub fn open_there(folder: &Path) -> Result<State, Error> {
        let file = folder.join("bridge.db");
        if !file
            .try_exists()
            .map_err(|error| Error::State(format!("{}: {error}", file.display())))?
        {
            return Err(Error::refused(
                format!(
                    "no bridge has worked with the folder {}: there is no bridge.db in it",
                    folder.display()
                ),
                "Say by --state where it is, as for `onsale bridge run`, which makes it.",
            ));
        }
        State::open(folder)
    }

    /// Keeps other bridges from running with this folder, until it is dropped or the process ends.
    ///
    /// # Errors
    /// Another one runs, or the folder can't be used.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.folder.join("run.lock");
        let wrong = |error: std::io::Error| Error::State(format!("{}: {error}", path.display()));
        let file = File::create(&path).map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Error::refused(
                format!("another bridge runs with the folder {}", self.folder.display()),
                "One runs for each platform: end the other one. For another platform say another folder by --state.",
            )),
            Err(TryLockError::Error(error)) => Err(wrong(error)),
        }
    }

    /// Whether another process changed the file since this was last asked.
    ///
    /// # Errors
    /// The file fails.
    pub fn changed_by_others(&self) -> Result<bool, Error> {
        let now: i64 = self.db().query_row("PRAGMA data_version", [], |row| row.get(0))?;
        Ok(self.version.swap(now, Ordering::Relaxed) != now)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The connection, for tables of others in this crate.
    pub fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().expect("nobody panics with it")
    }

    /// A single fact: which database it is, how far a clock is.
    ///
    /// # Errors
    /// The file fails.
    pub fn fact(&self, name: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT value FROM facts WHERE name = ?";
        Ok(self.db().query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    /// All single facts.
    ///
    /// # Errors
    /// The file fails.
    pub fn facts(&self) -> Result<BTreeMap<String, String>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT name, value FROM facts")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Sets a single fact; none: forgets it.
    ///
    /// # Errors
    /// The file fails.
    pub fn set_fact(&self, name: &str, value: Option<&str>) -> Result<(), Error> {
        match value {
            Some(value) => {
                self.db().execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", [name, value])?
            }
            None => self.db().execute("DELETE FROM facts WHERE name = ?", [name])?,
        };
        Ok(())
    }

    /// What was last sent, by the event's key in the platform.
    ///
    /// # Errors
    /// The file fails.
    pub fn sent(&self) -> Result<BTreeMap<String, Sent>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached(
            "SELECT key, subject, definition, state, position, unsure, attempt, defined FROM sent",
        )?;
        let rows = select.query_map([], |row| {
            let number = |column: usize| row.get(column).map(i64::cast_unsigned);
            let sent = Sent {
                subject: row.get(1)?,
                definition: row.get(2)?,
                state: row.get(3)?,
                position: number(4)?,
                unsure: row.get(5)?,
                attempt: number(6)?,
                defined: number(7)?,
            };
            Ok((row.get(0)?, sent))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes what was sent; none: forgets the event.
    ///
    /// # Errors
    /// The file fails.
    pub fn set_sent(&self, key: &str, sent: Option<&Sent>) -> Result<(), Error> {
        match sent {
            None => self.db().execute("DELETE FROM sent WHERE key = ?", [key])?,
            Some(Sent { subject, definition, state, position, unsure, attempt, defined }) => {
                let [position, attempt, defined] =
                    [position, attempt, defined].map(|number| number.cast_signed());
                self.db().execute(
                    "INSERT OR REPLACE INTO sent (key, subject, definition, state, position, unsure, attempt, defined) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    params![key, subject, definition, state, position, unsure, attempt, defined],
                )?
            }
        };
        Ok(())
    }

    /// Sets something aside with the reason; again: counts a try.
    ///
    /// # Errors
    /// The file fails.
    pub fn park(
        &self,
        way: &str,
        about: &str,
        reason: &str,
        record: Option<&str>,
    ) -> Result<(), Error> {
        let at = jiff::Timestamp::now().to_string();
        self.db().execute(PARK, params![way, about, reason, at, record])?;
        Ok(())
    }

    /// Sets much aside at once: what each is about, the reason, the record. As [`State::park`] does each.
    ///
    /// # Errors
    /// The file fails; nothing is set aside then.
    pub fn park_all(&self, way: &str, all: &[(String, String, String)]) -> Result<(), Error> {
        let at = jiff::Timestamp::now().to_string();
        let mut db = self.db();
        let tx = db.transaction_with_behavior(Immediate)?;
        for (about, reason, record) in all {
            tx.prepare_cached(PARK)?.execute(params![way, about, reason, at, record])?;
        }
        Ok(tx.commit()?)
    }

    /// What is set aside of a way: only what it is about.
    ///
    /// # Errors
    /// The file fails.
    pub fn parked_names(&self, way: &str) -> Result<BTreeSet<String>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT about FROM parked WHERE way = ?")?;
        let rows = select.query_map([way], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets what was set aside, each unless its record is another one by now: what it is about, and the record.
    ///
    /// # Errors
    /// The file fails; nothing is forgotten then.
    pub fn forget_all(&self, way: &str, all: &[(String, String)]) -> Result<(), Error> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(Immediate)?;
        let sql = "DELETE FROM parked WHERE way = ? AND about = ? AND record = ?";
        for (about, record) in all {
            tx.prepare_cached(sql)?.execute([way, about, record])?;
        }
        Ok(tx.commit()?)
    }

    /// Whether an event was brought to the engine, or taken over.
    ///
    /// # Errors
    /// The file fails.
    pub fn has_event(&self, subject: &str) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM sent WHERE subject = ?1) \
                   OR EXISTS (SELECT 1 FROM taken WHERE subject = ?1)";
        Ok(self.db().prepare_cached(sql)?.query_row([subject], |row| row.get(0))?)
    }

    /// Forgets that something was set aside.
    ///
    /// # Errors
    /// The file fails.
    pub fn unpark(&self, way: &str, about: &str) -> Result<(), Error> {
        self.db().execute("DELETE FROM parked WHERE way = ? AND about = ?", [way, about])?;
        Ok(())
    }

    /// Forgets that something was set aside, unless it was set aside anew meanwhile.
    ///
    /// # Errors
    /// The file fails.
    pub fn forget(&self, Parked { way, about, tries, at, .. }: &Parked) -> Result<(), Error> {
        let sql = "DELETE FROM parked WHERE way = ? AND about = ? AND tries = ? AND at = ?";
        self.db().execute(sql, params![way, about, tries, at])?;
        Ok(())
    }

    /// What is set aside about something; none: nothing.
    ///
    /// # Errors
    /// The file fails.
    pub fn parked_about(&self, way: &str, about: &str) -> Result<Option<Parked>, Error> {
        let sql =
            "SELECT way, about, reason, at, tries, record FROM parked WHERE way = ? AND about = ?";
        Ok(self.db().query_row(sql, [way, about], parked_row).optional()?)
    }

    /// What is set aside, oldest first.
    ///
    /// # Errors
    /// The file fails.
    pub fn parked(&self) -> Result<Vec<Parked>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached(
            "SELECT way, about, reason, at, tries, record FROM parked ORDER BY at",
        )?;
        let rows = select.query_map([], parked_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Before orders are written into the platform: which status each will have.
    ///
    /// # Errors
    /// The file fails; then nothing may be written there.
    pub fn will_write<'a>(
        &self,
        orders: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(Immediate)?;
        for (code, status) in orders {
            tx.prepare_cached(
                "INSERT INTO echoes VALUES (?1, NULL, ?2) ON CONFLICT (code) DO UPDATE SET writing = ?2",
            )?
            .execute([code, status])?;
        }
        Ok(tx.commit()?)
    }

    /// After they were written, and the platform's database said so.
    ///
    /// # Errors
    /// The file fails; the orders still count as ours.
    pub fn wrote<'a>(&self, codes: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(Immediate)?;
        for code in codes {
            tx.prepare_cached(
                "UPDATE echoes SET written = writing, writing = NULL WHERE code = ? AND writing IS NOT NULL",
            )?
            .execute([code])?;
        }
        Ok(tx.commit()?)
    }

    /// What we wrote of an order; none: it is not from us.
    ///
    /// # Errors
    /// The file fails.
    pub fn echo(&self, code: &str) -> Result<Option<Echo>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT written, writing FROM echoes WHERE code = ?")?;
        let echo =
            |row: &rusqlite::Row<'_>| Ok(Echo { written: row.get(0)?, writing: row.get(1)? });
        Ok(select.query_row([code], echo).optional()?)
    }

    /// Notes, once it is so, that tickets of cancelled orders were taken away from the platform's own sale again. The platform's
    /// database has that, too, until the bridge is detached.
    ///
    /// # Errors
    /// The file fails.
    pub fn note_again<'a>(&self, codes: impl Iterator<Item = &'a str>) -> Result<(), Error> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(Immediate)?;
        for code in codes {
            tx.prepare_cached("INSERT OR IGNORE INTO again VALUES (?)")?.execute([code])?;
        }
        Ok(tx.commit()?)
    }

    /// Whether that is so of an order.
    ///
    /// # Errors
    /// The file fails.
    pub fn is_again(&self, code: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM again WHERE code = ?";
        Ok(self.db().query_row(sql, [code], |_| Ok(())).optional()?.is_some())
    }

    /// What the engine may sell, by subject.
    ///
    /// # Errors
    /// The file fails.
    pub fn taken(&self) -> Result<BTreeMap<String, Taken>, Error> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT subject, number, quotas FROM taken")?;
        let rows = select.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        let mut taken = BTreeMap::new();
        for row in rows {
            let (subject, number, quotas) = row?;
            let quotas =
                serde_json::from_str(&quotas).map_err(|error| Error::State(error.to_string()))?;
            taken.insert(subject, Taken { number: number.cast_unsigned(), quotas });
        }
        Ok(taken)
    }

    /// Notes what the engine may sell of an event; none: nothing any more.
    ///
    /// # Errors
    /// The file fails.
    pub fn set_taken(&self, subject: &str, taken: Option<&Taken>) -> Result<(), Error> {
        match taken {
            None => self.db().execute("DELETE FROM taken WHERE subject = ?", [subject])?,
            Some(taken) => {
                let quotas = serde_json::to_string(&taken.quotas)
                    .map_err(|error| Error::State(error.to_string()))?;
                self.db().execute(
                    "INSERT OR REPLACE INTO taken VALUES (?, ?, ?)",
                    params![subject, taken.number.cast_signed(), quotas],
                )?
            }
        };
        Ok(())
    }
}

fn parked_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Parked> {
    Ok(Parked {
        way: row.get(0)?,
        about: row.get(1)?,
        reason: row.get(2)?,
        at: row.get(3)?,
        tries: row.get(4)?,
        record: row.get(5)?,
    })
}

/// Opens the file and makes what it lacks.
fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let mut db = Connection::open(file)?;
    db.busy_timeout(WAIT)?;
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")?;
    let done = |db: &Connection| -> rusqlite::Result<usize> {
        db.query_row("PRAGMA user_version", [], |row| {
            row.get::<_, u32>(0).map(|done| done as usize)
        })
    };
    if done(&db)? < STEPS.len() {
        let tx = db.transaction_with_behavior(Immediate)?;
        // Another process may have been faster.
        for step in STEPS.iter().skip(done(&tx)?) {
            tx.execute_batch(step)?;
        }
        tx.pragma_update(None, "user_version", STEPS.len() as u32)?;
        tx.commit()?;
    }
    Ok(db)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_begin_and_end_with_it_at_once() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                for worker in 0..8 {
                    let folder = folder.path();
                    scope.spawn(move || {
                        for _ in 0..5 {
                            let state = State::open(folder).unwrap();
                            state.set_fact("worker", Some(&worker.to_string())).unwrap();
                        }
                    });
                }
            });
            assert!(State::open(folder.path()).unwrap().fact("worker").unwrap().is_some());
        }
    }
}
