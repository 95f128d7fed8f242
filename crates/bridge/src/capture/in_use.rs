//! A replication slot that somebody else reads.

use std::time::Duration;

use tokio::time::Instant;

use crate::Error;

/// How long a slot may be in use. A server that has lost a bridge without a word (its machine is gone) knows it after 80 s,
/// as that bridge asked it to; one whose process was killed, at once.
const IN_USE_MAX: Duration = Duration::from_secs(120);

/// Since when it is in use.
#[derive(Default)]
pub(super) struct InUse(Option<Instant>);

impl InUse {
    /// Notes why capture stopped.
    ///
    /// # Errors
    /// The slot has been in use for too long: another bridge runs.
    pub(super) fn note(&mut self, error: &Error, now: Instant) -> Result<(), Error> {
        let Error::InUse(told) = error else {
            self.0 = None;
            return Ok(());
        };
        let since = *self.0.get_or_insert(now);
        if now.duration_since(since) < IN_USE_MAX {
            return Ok(());
        }
        Err(Error::refused(
            format!(
                "another bridge runs: its replication slot is in use for {} s: {told}",
                IN_USE_MAX.as_secs()
            ),
            "One runs for each platform: end the other one. Which it is: SELECT * FROM pg_stat_replication.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_stays_in_use_is_another_bridges() {
        let (mut in_use, begin) = (InUse::default(), Instant::now());
        let busy = Error::InUse("active for PID 7".to_owned());
        let other = Error::Database("it restarts".to_owned());
        let mut at =
            |seconds, error: &Error| in_use.note(error, begin + Duration::from_secs(seconds));
        for seconds in [0, 119] {
            assert_eq!(at(seconds, &busy), Ok(()));
        }
        // What comes in between begins it anew.
        assert_eq!(at(119, &other), Ok(()));
        for seconds in [120, 239] {
            assert_eq!(at(seconds, &busy), Ok(()));
        }
        let told = at(240, &busy).unwrap_err().to_string();
        assert!(told.contains("another bridge runs") && told.contains("PID 7"), "{told}");
    }
}
