//! Stands between the bus and kinesis-local and makes it as bad as a Kinesis can be: throttled calls,
//! records that fail while others of the call don't, expired iterators, broken and missing answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Random;

/// How often what goes wrong, in a thousand calls, and what always does.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// A call is told that there were too many.
    pub throttled: u64,
    /// Some records of a PutRecords fail.
    pub partial: u64,
    /// A GetRecords is told that its iterator is too old.
    pub expired: u64,
    /// The answer is a 5xx; half the time the call was heard.
    pub broken: u64,
    /// There is no answer; half the time the call was heard. It is costly, so it comes at even distances.
    pub hanging: u64,
    /// Records before this number are past retention.
    pub horizon: Option<String>,
    /// Each call is told that its key is not known.
    pub wrong_keys: bool,
}

/// A proxy that ends when it is dropped.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    target: u16,
    faults: Mutex<Faults>,
    random: Mutex<Random>,
    calls: AtomicU64,
    /// What went wrong how often.
    counts: Mutex<BTreeMap<&'static str, usize>>,
}

type Answer = Response<Full<Bytes>>;

impl Proxy {
    /// Starts one before a port of this machine.
    pub async fn start(target: u16, seed: u64, faults: Faults) -> Proxy {
        let listener = listen(seed).await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let random = Mutex::new(Random(seed));
        let (faults, counts) = (Mutex::new(faults), Mutex::default());
        let shared = Arc::new(Shared { target, faults, random, calls: AtomicU64::new(0), counts });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = serving.clone();
                let service = service_fn(move |request| {
                    let shared = shared.clone();
                    async move { Ok::<_, Infallible>(shared.serve(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(socket), service));
            }
        });
        Proxy { url, shared, task }
    }

    pub fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.shared.counts.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A spare port below those that the kernel gives to clients.
async fn listen(seed: u64) -> TcpListener {
    let mut random = Random(seed);
    loop {
        let port = 20_000 + u16::try_from(random.next() % 12_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
    }
}

impl Shared {
    async fn serve(&self, request: Request<Incoming>) -> Answer {
        let target = request.headers().get("x-amz-target").cloned();
        let target = target.and_then(|target| target.to_str().ok().map(str::to_owned));
        let call = target.unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (faults, fate) = (self.faults.lock().unwrap().clone(), self.fate());
        if faults.wrong_keys {
            return refusal("UnrecognizedClientException", "The security token is invalid.");
        }
        let happens = |per_mille: u64, seen: u64| (seen..seen + per_mille).contains(&fate);
        let mut seen = 0;
        let mut next = |per_mille: u64| {
            let does = happens(per_mille, seen);
            seen += per_mille;
            does
        };
        if next(faults.throttled) {
            self.count("throttled");
            let data = matches!(call.as_str(), "PutRecords" | "GetRecords");
            let code = if data {
                "ProvisionedThroughputExceededException"
            } else {
                "LimitExceededException"
            };
            return refusal(code, "Slow down.");
        }
        if next(faults.broken) {
            self.count("broken");
            self.perhaps_hear(&head, body).await;
            let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
            return answer.body(Full::from("<html>no</html>")).unwrap();
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if faults.hanging > 0 && number.is_multiple_of(1_000 / faults.hanging) {
            self.count("hanging");
            self.perhaps_hear(&head, body).await;
            // The client leaves before; this is so that nothing stays for ever.
            let _ =
                tokio::time::timeout(Duration::from_secs(60), std::future::pending::<()>()).await;
            return refusal("InternalFailure", "Too late.");
        }
        if next(faults.expired) && call == "GetRecords" {
            self.count("expired");
            return refusal("ExpiredIteratorException", "Iterator expired.");
        }
        if next(faults.partial) && call == "PutRecords" {
            self.count("partial");
            return self.partly(&head, &body).await;
        }
        let answer = self.forward(&head, body).await;
        match faults.horizon {
            Some(horizon) if call == "GetRecords" => past_retention(answer, &horizon).await,
            _ => answer,
        }
    }

    fn fate(&self) -> u64 {
        self.random.lock().unwrap().next() % 1_000
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    async fn perhaps_hear(&self, head: &hyper::http::request::Parts, body: Bytes) {
        let heard = self.random.lock().unwrap().happens(500);
        if heard {
            self.forward(head, body).await;
        }
    }

    /// Lets some records of a PutRecords fail, in the midst of the others.
    async fn partly(&self, head: &hyper::http::request::Parts, body: &Bytes) -> Answer {
        let mut request: Value = serde_json::from_slice(body).unwrap();
        let records = request["Records"].as_array().unwrap().clone();
        let fails: Vec<bool> = {
            let mut random = self.random.lock().unwrap();
            records.iter().map(|_| random.happens(300)).collect()
        };
        let failed = fails.iter().filter(|fails| **fails).count();
        *self.counts.lock().unwrap().entry("failed records").or_default() += failed;
        let passed: Vec<Value> = records
            .iter()
            .zip(&fails)
            .filter(|(_, fails)| !**fails)
            .map(|(r, _)| r.clone())
            .collect();
        let mut placed = Vec::new();
        if !passed.is_empty() {
            request["Records"] = passed.into();
            let answer = self.forward(head, request.to_string().into()).await;
            if answer.status() != StatusCode::OK {
                return answer;
            }
            let answer = answer.into_body().collect().await.unwrap().to_bytes();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            placed = answer["Records"].as_array().unwrap().clone();
        }
        let mut placed = placed.into_iter();
        let told: Vec<Value> = fails
            .into_iter()
            .enumerate()
            .map(|(at, fails)| match (fails, at % 2) {
                (false, _) => placed.next().unwrap(),
                (true, 0) => json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Slow down."}),
                (true, _) => json!({"ErrorCode": "InternalFailure", "ErrorMessage": "Internal service failure."}),
            })
            .collect();
        answer(StatusCode::OK, &json!({"FailedRecordCount": failed, "Records": told}))
    }

    async fn forward(&self, head: &hyper::http::request::Parts, body: Bytes) -> Answer {
        let socket = TcpStream::connect(("127.0.0.1", self.target)).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(head.method.clone()).uri(head.uri.clone());
        for (name, value) in &head.headers {
            if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING {
                request = request.header(name, value);
            }
        }
        let answer = sender.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut answer = Response::new(Full::new(body));
        *answer.status_mut() = head.status;
        if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
            answer.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
        }
        answer
    }
}

fn answer(status: StatusCode, body: &Value) -> Answer {
    let answer = Response::builder().status(status);
    let answer = answer.header(header::CONTENT_TYPE, "application/x-amz-json-1.1");
    answer.body(Full::from(body.to_string())).unwrap()
}

fn refusal(code: &str, message: &str) -> Answer {
    answer(StatusCode::BAD_REQUEST, &json!({"__type": code, "message": message}))
}

/// Takes those records out of an answer that are past retention.
async fn past_retention(told: Answer, horizon: &str) -> Answer {
    let status = told.status();
    let body = told.into_body().collect().await.unwrap().to_bytes();
    let mut told: Value = serde_json::from_slice(&body).unwrap();
    if let Some(records) = told["Records"].as_array_mut() {
        records.retain(|record| {
            let number = record["SequenceNumber"].as_str().unwrap();
            (number.len(), number) >= (horizon.len(), horizon)
        });
    }
    answer(status, &told)
}
