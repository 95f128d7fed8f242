//! Requests over HTTP, with a limit on time and size: to the engine, and to a platform's API.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use onsale_tls::Wrong;
use serde_json::Value;

use crate::Error;

/// How long a connection may take to be made.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Largest body of an answer, in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// `http[s]://host:port`, maybe with a path, without a slash at its end.
    base: String,
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl Http {
    /// For a server at `http[s]://host[:port][/path]`.
    ///
    /// # Errors
    /// The URL is of another form.
    pub fn new(url: &str) -> Result<Http, Error> {
        let base = url.trim_end_matches('/').to_owned();
        let parsed: Option<Uri> = base.parse().ok();
        let sound = parsed.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri.query().is_none()
        });
        if !sound {
            return Err(Error::refused(
                format!("{url}: must be http://HOST:PORT or https://HOST"),
                "Say where the server is, without user or query.",
            ));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WAIT));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnector::from((connector, onsale_tls::config()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(20))
            .build(connector);
        Ok(Http { client, base })
    }

    /// The server's URL.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where no whole answer comes in time; whether the request was carried out is not known then.
    /// [`Error::Refused`] where there is something wrong with TLS; it was not sent then.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Bytes>,
        wait: Duration,
    ) -> Result<Answer, Error> {
        let lost = |why: String| Error::Unreachable { server: self.base.clone(), why };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).map_err(|error| lost(error.to_string()))?;
            let value = HeaderValue::try_from(*value).map_err(|error| lost(error.to_string()))?;
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        let request = request.map_err(|error| lost(error.to_string()))?;
        let exchange = async {
            let answer = self.client.request(request).await;
            let answer = answer.map_err(|error| match onsale_tls::explain(&error) {
                // As for the database: asked again, it would be the same.
                Some(Wrong { why, way_out }) => {
                    Error::refused(format!("{}: {why}", self.base), format!("{way_out}."))
                }
                None => lost(with_causes(&error)),
            })?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            let body = body.map_err(|error| lost(error.to_string()))?.to_bytes();
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers =
                head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value)));
            Ok(Answer { status: head.status.as_u16(), headers: headers.collect(), body })
        };
        match tokio::time::timeout(wait, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(lost(format!("no answer within {wait:?}"))),
        }
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        None => error.to_string(),
        Some(cause) => format!("{error}: {}", with_causes(cause)),
    }
}

impl Answer {
    /// A header; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Whether it went well.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What is wrong, as an error.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let json = self.json();
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let why = match (text("type"), text("detail").or_else(|| text("title"))) {
            (Some(kind), Some(detail)) => format!("{kind}: {detail}"),
            (None, Some(detail)) => detail,
            _ => String::from_utf8_lossy(&self.body).chars().take(300).collect(),
        };
        Error::Answered { status: self.status, why }
    }
}
