//! The way to whichever server holds a key, for what may be asked twice; and how long something is asked again.

use std::time::{Duration, Instant};

use redis::{Cmd, Value};
use tokio::sync::Mutex;

use crate::library::Library;
use crate::session::{self, Failure, Options, Session};

/// How often something is asked at once. From then on there is a pause before each time, until the time is over.
const ATTEMPTS_AT_ONCE: usize = 2;
/// The pause before something is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// How long something is asked again.
pub(crate) struct Again {
    begin: Instant,
    limit: Duration,
    attempts: usize,
}

impl Again {
    /// For so long.
    pub(crate) fn new(limit: Duration) -> Again {
        Again { begin: Instant::now(), limit, attempts: 0 }
    }

    /// Whether to ask once more; waits a little before that.
    pub(crate) async fn once_more(&mut self) -> bool {
        self.attempts += 1;
        if self.attempts > ATTEMPTS_AT_ONCE {
            tokio::time::sleep(PAUSE).await;
        }
        self.attempts == 1 || self.begin.elapsed() < self.limit
    }
}

/// A key and the server that holds it, wherever that is by now.
pub(crate) struct Link {
    options: Options,
    library: Option<&'static Library>,
    key: String,
    session: Mutex<Option<Session>>,
}

impl Link {
    /// To a key. Where a library is given the server must take writes, and has it.
    pub(crate) fn new(options: &Options, library: Option<&'static Library>, key: String) -> Link {
        Link { options: options.clone(), library, key, session: Mutex::new(None) }
    }

    /// The key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Asks what may be asked twice.
    pub(crate) async fn ask(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let mut again = Again::new(self.options.timeout);
        let mut last = Failure::Unreachable("it was not asked".into());
        let mut present = self.session.lock().await;
        while again.once_more().await {
            let session = match present.take() {
                Some(session) => Ok(session),
                None => session::find(&self.options, self.library, &self.key).await,
            };
            let asked = match session {
                Ok(session) => session.one(cmd).await.map(|said| (session, said)),
                Err(failure @ Failure::Moving(_)) => Err(failure),
                Err(failure) => return Err(failure),
            };
            match asked {
                Ok((session, said)) => {
                    *present = Some(session);
                    return Ok(said);
                }
                // A connection that is broken, or leads to where the key is no longer.
                Err(
                    failure @ (Failure::Moving(_) | Failure::Unreachable(_) | Failure::Unknown(_)),
                ) => {
                    last = failure;
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }
}
