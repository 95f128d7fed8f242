//! What changed in the platform's database, as it is told: not the values, but what is to be read again.

mod postgres;
mod sqlite;
mod tunnel;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::database::{Database, Transaction};
use crate::dialect::{About, Dialect};
use crate::state::State;

/// Changes that are told at once at most; more come next time.
const CHANGES_MAX: usize = 10_000;

/// What is to be read again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Everything: a row went, and it is not known which event it belonged to.
    pub all: bool,
    /// Keys of events.
    pub events: BTreeSet<String>,
    /// Of these, those that a row may have come to from another event, which is not told then.
    pub moved: BTreeSet<String>,
    /// Values to look events up by, with the statement that does it.
    pub lookups: BTreeSet<(String, String)>,
    /// Codes of orders.
    pub orders: BTreeSet<String>,
    /// How many rows changed.
    pub rows: u64,
    /// When the first of them was committed, in microseconds since 1970; 0: not known.
    pub since_us: i64,
}

impl Changes {
    /// Whether nothing is to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.events.is_empty() && self.lookups.is_empty() && self.orders.is_empty()
    }

    /// Adds others.
    pub fn merge(&mut self, more: Changes) {
        if self.since_us == 0 || (more.since_us != 0 && more.since_us < self.since_us) {
            self.since_us = more.since_us;
        }
        self.all |= more.all;
        self.events.extend(more.events);
        self.moved.extend(more.moved);
        self.lookups.extend(more.lookups);
        self.orders.extend(more.orders);
        self.rows += more.rows;
    }

    /// Notes what a row of a watched table is about; no key: it is not known.
    fn note(&mut self, watch: &crate::dialect::Watch, key: Option<String>) {
        match (watch.about, &watch.lookup, key) {
            (About::Order, _, code) => self.orders.extend(code),
            (About::Event, None, Some(key)) => self.events.extend([key]),
            (About::Event, Some(lookup), Some(key)) => self.lookups.extend([(lookup.clone(), key)]),
            (About::Event, _, None) => self.all = true,
        }
    }
}

/// Where changes come from. It is asked again after [`Feed::next`] only once what it told is kept ([`Feed::done`]).
pub enum Feed {
    /// From triggers.
    Sqlite(sqlite::Outbox),
    /// From a replication slot.
    Postgres(Box<postgres::Slot>),
}

impl Feed {
    /// Begins where it was left. Whatever changed before is not told, so everything is to be read once after this.
    ///
    /// # Errors
    /// The database is not attached, is another one than before, or fails.
    pub async fn open(
        dialect: &Dialect,
        db: &mut Database,
        url: &str,
        state: &Arc<State>,
    ) -> Result<Feed, Error> {
        crate::attach::check_attached(dialect, db).await?;
        Ok(match db {
            Database::Sqlite(_) => Feed::Sqlite(sqlite::Outbox::new(dialect)),
            Database::Postgres(_) => {
                Feed::Postgres(Box::new(postgres::Slot::open(dialect, url, state).await?))
            }
        })
    }

    /// What changed since; waits for a change, and for more that come right after it.
    ///
    /// # Errors
    /// The database fails, or the place in it is lost.
    pub async fn next(&mut self, db: &mut Database, wait: Duration) -> Result<Changes, Error> {
        match self {
            Feed::Sqlite(feed) => feed.next(db, wait).await,
            Feed::Postgres(feed) => feed.next(wait).await,
        }
    }

    /// Whether all that was told can be seen in a transaction. PostgreSQL tells of a commit before others can see it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn is_visible(&mut self, tx: &mut Transaction<'_>) -> Result<bool, Error> {
        match self {
            Feed::Sqlite(_) => Ok(true),
            Feed::Postgres(feed) => feed.is_visible(tx).await,
        }
    }

    /// What was told is kept: it need not be told again.
    ///
    /// # Errors
    /// The database fails.
    pub async fn done(&mut self, db: &mut Database) -> Result<(), Error> {
        match self {
            Feed::Sqlite(feed) => feed.done(db).await,
            Feed::Postgres(feed) => {
                feed.done();
                Ok(())
            }
        }
    }
}
