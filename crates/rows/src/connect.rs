//! A connection: how it comes about, and what the database promises on it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use onsale_tls::postgres as tls;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Config, Row};

use crate::Error;
use crate::error::told;

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What is the same for all connections of a server. Its debug form has no password in it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database.
    pub config: Config,
    /// This process: a random id that no other has.
    pub node: String,
    /// Where clients find it.
    pub address: String,
    /// How long it is the writer after each append, by the database's clock.
    pub lease: Duration,
    /// How long it may take until an append is known to be there or not.
    pub wait: Duration,
    /// Whether a database will do that loses what it has committed, for tests.
    pub accepts_os: bool,
}

impl Settings {
    /// Reads the address of a database: a URL or a list of keys and values, as PostgreSQL's own programs take it.
    ///
    /// # Errors
    /// `Url`.
    pub fn parse(url: &str) -> Result<Config, Error> {
        let mut config = tls::parse(url).map_err(|why| Error::Url { why })?;
        if config.get_user().is_none() || config.get_hosts().is_empty() {
            return Err(Error::Url { why: "it names no user or no host".to_owned() });
        }
        config.connect_timeout(CONNECT_TIME);
        config.keepalives_idle(Duration::from_secs(10));
        Ok(config)
    }

    /// How long one statement may take before its connection is given up: a part of the wait, so that there is time to
    /// find out what became of it.
    pub(crate) fn statement_time(&self) -> Duration {
        (self.wait / 3).max(Duration::from_millis(100))
    }

    pub(crate) fn lease_seconds(&self) -> f64 {
        self.lease.as_secs_f64()
    }
}

/// How long the database waits at least for the next statement of a transaction; where the lease is longer, as long as that.
const IDLE_IN_TRANSACTION_MIN: Duration = Duration::from_secs(1);

/// How well the database keeps what it has committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kept {
    /// It may be lost where the machine ends.
    Os,
    /// It is on the database's disk.
    Synced,
    /// It is on the disks of the database and of a synchronous standby.
    Replicated,
}

/// The settings that say how well, as one text: [`Found::new`] reads it.
pub(crate) const KEPT_SQL: &str = "current_setting('fsync') || ' ' || current_setting('synchronous_commit') \
    || ' ' || current_setting('synchronous_standby_names')";

/// What the settings say.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub kept: Kept,
    /// The first setting that is off.
    pub off: Option<&'static str>,
    /// `synchronous_standby_names` and `synchronous_commit`, for messages.
    pub words: String,
}

impl Found {
    pub(crate) fn new(text: &str) -> Found {
        let mut parts = text.splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_default();
        let (fsync, commit, standbys) = (part(), part(), part());
        let off = match (fsync, commit) {
            ("off", _) => Some("fsync"),
            (_, "off") => Some("synchronous_commit"),
            _ => None,
        };
        let kept = match (off, commit) {
            (Some(_), _) => Kept::Os,
            (None, "on" | "remote_apply") if !standbys.is_empty() => Kept::Replicated,
            (None, _) => Kept::Synced,
        };
        Found { kept, off, words: format!("{standbys:?} and {commit}") }
    }
}

/// A connection at work.
pub(crate) struct Connection {
    pub client: Client,
    pub found: Found,
    /// Whether the database warned of something, as it does when a commit did not wait for its standby.
    warned: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Whether the database warned of something since the last call.
    pub(crate) fn was_warned(&self) -> bool {
        self.warned.swap(false, Relaxed)
    }

    pub(crate) async fn open(settings: &Settings, what: &str) -> Result<Connection, Error> {
        let slow = |_| Error::Unreachable { why: format!("it did not answer in {CONNECT_TIME:?}") };
        tokio::time::timeout(CONNECT_TIME, open(settings, what)).await.map_err(slow)?
    }
}

async fn open(settings: &Settings, what: &str) -> Result<Connection, Error> {
    let mut config = settings.config.clone();
    config.application_name(format!("onsale {what}"));
    let what_for = "a connection";
    let failed = |error: tokio_postgres::Error| told(what_for, &error);
    let connected = tls::connect(&config).await;
    let (client, mut connection) = connected.map_err(|error| match tls::explain(&error) {
        Some(wrong) => Error::Tls { why: wrong.to_string() },
        None => match told(what_for, &error) {
            // A password that is asked for and not there.
            Error::Statement { why, .. } if error.as_db_error().is_none() => Error::Refused { why },
            error => error,
        },
    })?;
    let warned = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&warned);
    let task = tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                flag.store(true, Relaxed);
                tracing::warn!(notice = notice.message(), "the database");
            }
        }
    });
    // A process that was frozen in a transaction would keep its locks, and with them whoever wants to take over.
    let set = format!(
        "SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; \
         SET idle_in_transaction_session_timeout = {}",
        settings.lease.max(IDLE_IN_TRANSACTION_MIN).as_millis()
    );
    client.batch_execute(&set).await.map_err(failed)?;
    let sql = format!("SELECT {KEPT_SQL}, pg_is_in_recovery()");
    let row: Row = client.query_one(&sql, &[]).await.map_err(failed)?;
    if row.get(1) {
        return Err(Error::ReadOnly);
    }
    let found = Found::new(row.get(0));
    match found.off {
        Some(setting) if !settings.accepts_os => Err(Error::Unsafe { setting }),
        _ => Ok(Connection { client, found, warned, task }),
    }
}

/// A runtime for one thread that blocks.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Error::Unreachable { why: error.to_string() })
}
