//! An engine for tests: streams with keys, definitions and states as they were wished for, orders that can be cancelled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use onsale_bridge::engine::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The log of `sales`.
const LOG: &str = "0000000a.1";
/// How long it waits for something new at most.
const NO_NEWS: Duration = Duration::from_millis(5);

/// What it knows.
#[derive(Default)]
pub struct Known {
    /// Records by stream.
    pub streams: BTreeMap<String, Vec<Value>>,
    keys: BTreeMap<String, (String, u64)>,
    /// Definitions and states by `ORGANIZER/EVENT`.
    pub events: BTreeMap<String, (Value, String)>,
    /// Records of `sales`.
    pub sales: Vec<Value>,
    /// Tells who waits that there is one more.
    news: Arc<Notify>,
    /// Positions of `catalogue` that were refused, with the reason.
    pub parked: Vec<(u64, String)>,
    /// Codes of orders that were cancelled.
    pub cancelled: Vec<String>,
    /// Codes of orders that are open.
    pub open: Vec<String>,
    /// Subjects whose definitions are refused.
    pub refuses: Vec<String>,
    /// How far its clock is ahead, in seconds.
    pub ahead: i64,
    /// Answers 503 to everything.
    pub is_down: bool,
}

/// The engine of a test.
#[derive(Clone)]
pub struct Fake {
    pub known: Arc<Mutex<Known>>,
    pub url: String,
}

impl Fake {
    pub async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let known = Arc::new(Mutex::new(Known::default()));
        let fake = Fake { known, url };
        let serving = fake.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let fake = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let fake = fake.clone();
                        async move { Ok::<_, Infallible>(fake.answer(request).await) }
                    });
                    let served = hyper::server::conn::http1::Builder::new();
                    // A bridge that is killed breaks its connections off.
                    let _ = served.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        fake
    }

    pub fn client(&self) -> Engine {
        Engine::new(&self.url, "key").unwrap()
    }

    /// Definition and state of an event.
    pub fn event(&self, subject: &str) -> Option<(Value, String)> {
        self.known.lock().unwrap().events.get(subject).cloned()
    }

    /// Loses all that it was told about transfers.
    pub fn forget_transfers(&self) {
        let mut known = self.known.lock().unwrap();
        known.streams.remove("control");
        known.keys.retain(|key, _| !key.starts_with("transfer-"));
    }

    /// How many records a stream has.
    pub fn count(&self, stream: &str) -> usize {
        self.known.lock().unwrap().streams.get(stream).map_or(0, Vec::len)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let key = head.headers.get("idempotency-key").map(|key| key.to_str().unwrap().to_owned());
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let (status, json, date, news) = {
            let mut known = self.known.lock().unwrap();
            let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(known.ahead);
            let (status, json) = match known.is_down {
                true => (503, json!({"type": "/problems/overloaded", "detail": "down"})),
                false => known.answer(&head.method, &path, &query, key, &body),
            };
            (status, json, date, Arc::clone(&known.news))
        };
        if json["records"] == json!([]) {
            let _news_or_not = tokio::time::timeout(NO_NEWS, news.notified()).await;
        }
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let answer = Response::builder().status(status).header("date", date);
        answer.body(Full::new(Bytes::from(json.to_string()))).unwrap()
    }
}

impl Known {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        query: &str,
        key: Option<String>,
        body: &[u8],
    ) -> (u16, Value) {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match (method.as_str(), parts.as_slice()) {
            ("GET", ["healthz"]) => (200, json!({})),
            ("POST", ["v1", "streams", stream, "records"]) => {
                self.append(stream, key.unwrap(), body)
            }
            ("GET", ["v1", "streams", "sales", "shards"]) => (200, self.shards()),
            ("GET", ["v1", "streams", "sales", "records"]) => (200, self.sales(query)),
            ("GET", ["v1", "streams", "catalogue", "parked"]) => {
                let parked = |(position, reason): &(u64, String)| json!({"shard": "0", "position": position, "reason": reason});
                let parked: Vec<Value> = self.parked.iter().map(parked).collect();
                (200, json!({"parked": parked}))
            }
            ("DELETE", ["v1", "streams", "catalogue", "parked", _, position]) => {
                self.parked.retain(|(parked, _)| parked.to_string() != **position);
                (200, json!({}))
            }
            ("GET", ["v1", "streams", stream, "records"]) => {
                let after = query.split('&').find_map(|part| part.strip_prefix("after="));
                let after: usize = after.map_or(0, |after| after.parse().unwrap());
                let records = self.streams.get(*stream).cloned().unwrap_or_default();
                let page = records.iter().enumerate().skip(after).take(100);
                let numbered = |(at, record): (usize, &Value)| {
                    let mut record = record.clone();
                    record["position"] = json!(at + 1);
                    record
                };
                let page: Vec<Value> = page.map(numbered).collect();
                let next = after + page.len();
                (200, json!({"records": page, "next": next}))
            }
            ("GET", ["v1", "organizers", organizer, "events", event]) => {
                match self.events.get(&format!("{organizer}/{event}")) {
                    Some((definition, state)) => {
                        let mut json = definition.clone();
                        json["state"] = json!(state);
                        (200, json)
                    }
                    None => (404, json!({})),
                }
            }
            ("GET", ["v1", "organizers", _, "events", _, "orders", code]) => {
                match self.open.iter().any(|open| open == code) {
                    true => (200, json!({"code": code, "state": "confirmed"})),
                    false => (404, json!({"type": "/problems/unknown-order"})),
                }
            }
            ("POST", ["v1", "organizers", _, "events", _, "orders", code, "cancel"]) => {
                self.cancelled.push((*code).to_owned());
                (200, json!({}))
            }
            _ => panic!("{method} {path}"),
        }
    }

    /// One shard, once something is sold.
    fn shards(&self) -> Value {
        let next = self.sales.len();
        let shard = json!({"shard": 0, "generation": 1, "first": 0, "next": next, "cursor": format!("{LOG}.{next}")});
        json!({"shards": if next == 0 { vec![] } else { vec![shard] }})
    }

    fn sales(&self, query: &str) -> Value {
        let after = query.split('&').find_map(|part| part.strip_prefix("after="));
        let after = after.and_then(|cursor| cursor.rsplit('.').next()?.parse::<usize>().ok());
        let after = after.unwrap_or(0);
        let records: Vec<&Value> = self.sales.iter().skip(after).take(1_000).collect();
        let next = after + records.len();
        json!({"records": records, "next": next, "cursor": format!("{LOG}.{next}")})
    }

    /// Tells of an order on `sales`.
    pub fn sold(&mut self, subject: &str, order: &str, kind: &str, mut data: Value) {
        data["order"] = json!(order);
        let position = self.sales.len() + 1;
        self.sales.push(json!({
            "id": position.to_string(), "type": format!("onsale.{kind}.v1"), "subject": subject,
            "time": "2026-11-24T10:00:00Z", "position": position, "data": data,
        }));
        self.news.notify_waiters();
    }

    fn append(&mut self, stream: &str, key: String, body: &[u8]) -> (u16, Value) {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let wish: Value = serde_json::from_str(&text).unwrap();
        if let Some((before, position)) = self.keys.get(&key) {
            return match *before == text {
                true => (201, json!({"stream": stream, "shard": 0, "position": position})),
                false => (422, json!({"type": "/problems/idempotency-key-reused", "detail": key})),
            };
        }
        if wish["subject"].as_str().unwrap().contains('_') {
            let why =
                json!({"type": "/problems/invalid-id", "detail": "event: only letters, digits, -"});
            return (400, why);
        }
        let types = wish["data"]["ticket_types"].as_array().cloned().unwrap_or_default();
        if types.iter().any(|of| of["price"].as_i64().unwrap() < 0) {
            return (
                400,
                json!({"type": "/problems/out-of-range", "detail": "ticket_types[0].price: must not be below zero"}),
            );
        }
        let records = self.streams.entry(stream.to_owned()).or_default();
        records.push(wish.clone());
        let position = records.len() as u64;
        self.keys.insert(key, (text, position));
        if stream == "catalogue" {
            self.follow(position, &wish);
        }
        (201, json!({"stream": stream, "shard": 0, "position": position}))
    }

    fn follow(&mut self, position: u64, wish: &Value) {
        let subject = wish["subject"].as_str().unwrap().to_owned();
        if self.refuses.contains(&subject) {
            return self.parked.push((position, "/problems/below-sold: hall".to_owned()));
        }
        let state = wish["data"]["state"].as_str();
        match (self.events.get_mut(&subject), state) {
            (Some(event), Some(state)) => state.clone_into(&mut event.1),
            (None, Some(_)) => {
                self.parked.push((position, "/problems/unknown-event: no".to_owned()))
            }
            (Some(event), None) => event.0 = wish["data"].clone(),
            (None, None) => {
                drop(self.events.insert(subject, (wish["data"].clone(), "paused".to_owned())))
            }
        }
    }
}
