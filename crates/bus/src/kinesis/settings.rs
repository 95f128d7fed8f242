//! Where Kinesis is, and how patient to be with it.

use std::str::FromStr;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Credentials;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::Error;

/// How Kinesis is reached. As text: `kinesis://REGION`, or `kinesis://REGION?endpoint=URL` for something that
/// speaks its language; then the credentials come from where AWS' own tools look for them (the environment,
/// `~/.aws`, the machine's role).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Another address than the region's own, such as `http://127.0.0.1:4567`.
    pub endpoint: Option<String>,
    /// Credentials; without, they are looked for.
    pub keys: Option<Keys>,
    /// How long one call may take.
    pub call_time: Duration,
    /// How long a call that is throttled or unanswered is tried again before that is said.
    pub patience: Duration,
    /// The longest wait before the first time that something is tried again; it doubles each time.
    pub backoff: Duration,
    /// How often a shard is read in a second. Kinesis allows five, for all readers together.
    pub reads_per_second: u32,
}

/// Credentials that are given.
#[derive(Clone)]
pub struct Keys {
    /// The access key's id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How long a connection may take to come about.
const CONNECT_TIME: Duration = Duration::from_secs(3);

impl Settings {
    /// The usual ones, for a region.
    pub fn new(region: impl Into<String>) -> Settings {
        Settings {
            region: region.into(),
            endpoint: None,
            keys: None,
            call_time: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            backoff: Duration::from_millis(50),
            reads_per_second: 5,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || !self.region.bytes().all(fine) {
            return Err(invalid("region", &self.region, "lower case, such as eu-central-1"));
        }
        if let Some(endpoint) = &self.endpoint {
            let rest = endpoint.strip_prefix("http://").or(endpoint.strip_prefix("https://"));
            if rest.is_none_or(str::is_empty) {
                return Err(invalid("endpoint", endpoint, "http://HOST:PORT or https://HOST"));
            }
        }
        if !(1..=1_000).contains(&self.reads_per_second) {
            let value = self.reads_per_second.to_string();
            return Err(invalid("reads_per_second", &value, "from 1 to 1000"));
        }
        Ok(())
    }
}

impl FromStr for Settings {
    type Err = Error;

    fn from_str(text: &str) -> Result<Settings, Error> {
        let rule = "kinesis://REGION or kinesis://REGION?endpoint=URL";
        let wrong = || invalid("url", text, rule);
        let rest = text.strip_prefix("kinesis://").ok_or_else(wrong)?;
        let (region, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut settings = Settings::new(region.trim_end_matches('/'));
        if !query.is_empty() {
            settings.endpoint = Some(query.strip_prefix("endpoint=").ok_or_else(wrong)?.to_owned());
        }
        settings.check()?;
        Ok(settings)
    }
}

fn invalid(field: &'static str, value: &str, rule: &'static str) -> Error {
    Error::Invalid { field, value: value.chars().take(80).collect(), rule }
}

/// A client. It tries nothing again by itself: an append that does must know which entries to hold back.
pub(super) async fn client(settings: &Settings) -> Client {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let times = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIME.min(settings.call_time))
        .operation_timeout(settings.call_time);
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new(settings.region.clone()))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(times.build());
    if let Some(endpoint) = &settings.endpoint {
        config = config.endpoint_url(endpoint);
    }
    if let Some(keys) = &settings.keys {
        let given = Credentials::new(&keys.id, &keys.secret, None, None, "given");
        config = config.credentials_provider(given);
    }
    Client::new(&config.load().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_others() {
        let plain: Settings = "kinesis://eu-central-1".parse().unwrap();
        assert_eq!((plain.region.as_str(), plain.endpoint), ("eu-central-1", None));
        let local: Settings = "kinesis://us-east-1?endpoint=http://127.0.0.1:4567".parse().unwrap();
        assert_eq!(local.endpoint.as_deref(), Some("http://127.0.0.1:4567"));
        for bad in [
            "redis://x",
            "kinesis://",
            "kinesis://EU",
            "kinesis://a?end=http://x",
            "kinesis://a?endpoint=",
            "kinesis://a?endpoint=ftp://x",
        ] {
            assert!(matches!(bad.parse::<Settings>(), Err(Error::Invalid { .. })), "{bad}");
        }
    }
}
