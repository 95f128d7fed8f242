//! The requests of a platform's API that a dialect describes: filled in, sent until they are answered by more than "not now".

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Platform;
use crate::Error;
use crate::dialect::Dialect;
use crate::http::{Answer, Http};
use crate::write_back::template::{self, Scope, fill};

/// How long an answer is waited for.
pub(super) const WAIT: Duration = Duration::from_secs(60);
/// The first and the longest pause before a request is sent again.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A request that was sent so often is left for later.
const TRIES_MAX: u32 = 30;

/// A request, and what its answers mean; any other answer sets the order aside.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    method: String,
    path: String,
    /// JSON.
    body: Option<String>,
    /// It is done.
    done: Vec<u16>,
    /// It was done before, or something else is in the way: look and compare.
    #[serde(default)]
    exists: Vec<Sign>,
    /// There is nothing to do it to.
    #[serde(default)]
    missing: Vec<u16>,
    /// Not now: send it again.
    #[serde(default)]
    again: Vec<u16>,
    /// What must be equal where it exists: pointers into the answer of `look`, and templates.
    #[serde(default)]
    pub equal: BTreeMap<String, Value>,
}

/// How an answer is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sign {
    status: u16,
    /// A text that is in its body.
    #[serde(default)]
    body: String,
}

impl Sign {
    fn is(&self, answer: &Answer) -> bool {
        answer.status == self.status && String::from_utf8_lossy(&answer.body).contains(&self.body)
    }
}

/// What an answer means.
pub(crate) enum Meaning {
    /// It is done.
    Done,
    /// It was done before, or something else is in the way.
    Exists,
    /// There is nothing to do it to.
    Missing,
    /// It is refused.
    Refused,
}

impl Request {
    pub fn meaning(&self, answer: &Answer) -> Meaning {
        if self.done.contains(&answer.status) {
            Meaning::Done
        } else if self.missing.contains(&answer.status) {
            Meaning::Missing
        } else if self.exists.iter().any(|sign| sign.is(answer)) {
            Meaning::Exists
        } else {
            Meaning::Refused
        }
    }
}

/// A dialect's requests by name, and where they go.
pub(crate) struct Requests {
    http: Http,
    headers: Vec<(String, String)>,
    requests: BTreeMap<&'static str, (Request, Method, Option<Value>)>,
}

impl Requests {
    /// Reads those of these names.
    ///
    /// # Errors
    /// One is missing or wrong, or it is not said where the API is.
    pub fn open(
        dialect: &Dialect,
        platform: Option<&Platform>,
        headers: &BTreeMap<String, String>,
        names: &[&'static str],
    ) -> Result<Requests, Error> {
        let wrong = |what: &str, why: String| Error::Dialect {
            file: format!("{}/dialect.toml", dialect.place),
            why: format!("{what}: {why}"),
        };
        let platform = platform.ok_or_else(|| {
            Error::refused(
                "this dialect changes the platform by its API",
                "Say where it is by --platform, and its key by ONSALE_BRIDGE_PLATFORM_SECRET.",
            )
        })?;
        let mut requests = BTreeMap::new();
        for name in names {
            let what = format!("api.{name}");
            let table = dialect.settings.api.get(*name);
            let table = table.ok_or_else(|| wrong(&what, "is missing".into()))?;
            let request: Request =
                table.clone().try_into().map_err(|error| wrong(&what, format!("{error}")))?;
            let method = request.method.parse().map_err(|_| wrong(&what, "no method".into()))?;
            let body = request.body.as_deref().map(serde_json::from_str).transpose();
            let body = body.map_err(|error| wrong(&format!("{what}.body"), error.to_string()))?;
            requests.insert(*name, (request, method, body));
        }
        let secret = json!({"secret": platform.secret});
        let header = |(name, value): (&String, &String)| -> Result<(String, String), Error> {
            let value = template::text(value, &Scope::new(&secret));
            let value = value.map_err(|error| wrong("write_back.headers", error.to_string()))?;
            Ok((name.clone(), value))
        };
        let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
        Ok(Requests { http: Http::new(&platform.url)?, headers, requests })
    }

    /// One of them, by a name that was asked for.
    pub fn named(&self, name: &str) -> &Request {
        &self.requests[name].0
    }

    /// Sends a request until it is answered by more than "not now". The inner error: it can't be made of this.
    ///
    /// # Errors
    /// There is no answer, or "not now" again and again, or something is wrong with TLS.
    pub async fn send(&self, name: &str, of: &Value) -> Result<Result<Answer, String>, Error> {
        let (request, method, body) = &self.requests[name];
        let scope = Scope::new(of);
        let filled = template::text(&request.path, &scope)
            .and_then(|path| Ok((path, body.as_ref().map(|body| fill(body, &scope)).transpose()?)));
        let (path, body) = match filled {
            Ok(filled) => filled,
            Err(error) => return Ok(Err(format!("{name}: {error}"))),
        };
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.extend(body.is_some().then_some(("content-type", "application/json")));
        let mut pause = PAUSE_MIN;
        for _ in 0..TRIES_MAX {
            let answer = self.http.send(method.clone(), &path, &headers, body.clone(), WAIT).await;
            let after = match &answer {
                Ok(answer) if !request.again.contains(&answer.status) => {
                    return Ok(Ok(answer.clone()));
                }
                Ok(answer) => answer.header("retry-after").and_then(|text| text.parse().ok()),
                Err(error) if !error.is_transient() => return Err(error.clone()),
                Err(_) => None,
            };
            sleep(after.map_or(pause, Duration::from_secs).min(PAUSE_MAX)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let why = format!("{name}: not taken {TRIES_MAX} times in a row");
        Err(Error::Unreachable { server: self.http.base().to_owned(), why })
    }
}
