//! One call to Kinesis: what its failures mean, and when to try again.

use std::future::Future;
use std::time::Duration;

use aws_config::retry::ErrorKind;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use tokio::time::{Instant, sleep};

use super::KinesisBus;
use crate::{Error, StreamName};

/// The longest wait between two tries.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Why a call failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It may go well later.
    Passing(Error),
    /// The iterator was too old.
    Expired(Error),
    /// The stream is there already, or is being changed.
    InUse(Error),
    /// There is no such stream or shard.
    Missing(Error),
    /// It will not go well later.
    Final(Error),
}

impl Failure {
    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Passing(error)
            | Failure::Expired(error)
            | Failure::InUse(error)
            | Failure::Missing(error)
            | Failure::Final(error) => error,
        }
    }
}

impl KinesisBus {
    /// Makes a call, again while it may yet go well, for two calls' time at most: whoever asks what there is
    /// has leases to keep. Appends, which must not be given up early, have all the patience there is.
    pub(super) async fn call<T, E, F>(
        &self,
        name: &str,
        stream: Option<&StreamName>,
        make: impl Fn() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.try_call(name, stream, make).await.map_err(Failure::into_error)
    }

    /// As [`KinesisBus::call`], for whoever deals with some failures.
    pub(super) async fn try_call<T, E, F>(
        &self,
        name: &str,
        stream: Option<&StreamName>,
        make: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let settings = &self.inner.settings;
        let patience = settings.patience.min(settings.call_time * 2);
        self.try_call_for(name, stream, patience, make).await
    }

    /// As [`KinesisBus::try_call`], with a patience of its own.
    pub(super) async fn try_call_for<T, E, F>(
        &self,
        name: &str,
        stream: Option<&StreamName>,
        patience: Duration,
        make: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let begin = Instant::now();
        for tries in 0.. {
            let failure = match make().await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.failure(name, stream, &error),
            };
            if !matches!(failure, Failure::Passing(_)) || begin.elapsed() >= patience {
                return Err(failure);
            }
            sleep(backoff(self.inner.settings.backoff, tries)).await;
        }
        unreachable!("the loop ends by returning")
    }

    /// What a failed call means.
    pub(super) fn failure<E>(
        &self,
        name: &str,
        stream: Option<&StreamName>,
        error: &SdkError<E, HttpResponse>,
    ) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let what = match stream {
            Some(stream) => format!("{name} of {stream}"),
            None => name.to_owned(),
        };
        let unavailable = |what: String| {
            let why = DisplayErrorContext(error).to_string().chars().take(300).collect();
            Error::Unavailable { what, why }
        };
        match error {
            SdkError::TimeoutError(_) => {
                Failure::Passing(timed_out(what, self.inner.settings.call_time))
            }
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                Failure::Passing(timed_out(what, self.inner.settings.call_time))
            }
            // A connection that does not come about, or is closed before the answer. What is neither that nor a deadline is
            // ours: no credentials, mostly.
            SdkError::DispatchFailure(failure)
                if failure.is_io() || failure.as_other() == Some(ErrorKind::TransientError) =>
            {
                Failure::Passing(unavailable(what))
            }
            SdkError::ResponseError(_) => Failure::Passing(unavailable(what)),
            SdkError::ServiceError(told) => {
                let why = told.err().message().unwrap_or_default().to_owned();
                let code = told.err().code().unwrap_or_default();
                let status = told.raw().status().as_u16();
                meaning(what, stream, code, why, status)
            }
            _ => {
                let why = DisplayErrorContext(error).to_string().chars().take(300).collect();
                Failure::Final(Error::Refused { what, why })
            }
        }
    }
}

/// What an answer with an error means.
fn meaning(
    what: String,
    stream: Option<&StreamName>,
    code: &str,
    why: String,
    status: u16,
) -> Failure {
    let told = if code.is_empty() { format!("status {status}") } else { format!("{code}: {why}") };
    match code {
        _ if is_throttling(code) => Failure::Passing(Error::Throttled { what }),
        "ExpiredIteratorException" => Failure::Expired(Error::Unavailable { what, why: told }),
        "ResourceInUseException" => Failure::InUse(Error::Refused { what, why: told }),
        "ResourceNotFoundException" => Failure::Missing(match stream {
            Some(stream) => Error::NoSuchStream { stream: stream.clone() },
            None => Error::Refused { what, why: told },
        }),
        // Kinesis' own words for "later", and whatever stands before it.
        "InternalFailure" | "InternalFailureException" | "ServiceUnavailable" => {
            Failure::Passing(Error::Unavailable { what, why: told })
        }
        _ if status >= 500 => Failure::Passing(Error::Unavailable { what, why: told }),
        _ => Failure::Final(Error::Refused { what, why: told }),
    }
}

/// Whether an error of a call, or of a record in it, asks for less.
pub(super) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "RequestLimitExceeded"
            | "KMSThrottlingException"
    )
}

pub(super) fn timed_out(what: String, after: Duration) -> Error {
    Error::TimedOut { what, after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
}

/// How long to wait before the next try: anything up to a bound that doubles (full jitter, so that those who
/// failed together don't come back together).
pub(super) fn backoff(first: Duration, tries: u32) -> Duration {
    let most = first.saturating_mul(1 << tries.min(16)).min(BACKOFF_MAX);
    let random = getrandom::u64().unwrap_or(u64::MAX / 2);
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random % (micros + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let first = Duration::from_millis(50);
        for tries in 0..100 {
            let bound = first.saturating_mul(1 << tries.min(16)).min(BACKOFF_MAX);
            assert!((0..20).all(|_| backoff(first, tries) <= bound));
        }
        let longest = (0..200).map(|_| backoff(first, 40)).max().unwrap();
        assert!(longest > BACKOFF_MAX / 2, "{longest:?}");
    }

    #[test]
    fn failures_are_told_apart() {
        let sales = StreamName::new("sales").unwrap();
        let told = |code: &str, status| {
            meaning("PutRecords".into(), Some(&sales), code, "because".into(), status)
        };
        let passing = ["ProvisionedThroughputExceededException", "LimitExceededException"];
        for code in passing {
            assert!(matches!(told(code, 400), Failure::Passing(Error::Throttled { .. })), "{code}");
        }
        assert!(matches!(told("", 503), Failure::Passing(Error::Unavailable { .. })));
        assert!(matches!(told("ExpiredIteratorException", 400), Failure::Expired(_)));
        let refused = told("UnrecognizedClientException", 400).into_error().to_string();
        assert_eq!(refused, "PutRecords refused: UnrecognizedClientException: because");
        let missing = told("ResourceNotFoundException", 400).into_error();
        assert_eq!(missing, Error::NoSuchStream { stream: sales.clone() });
    }
}
