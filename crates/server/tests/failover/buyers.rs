//! Buyers who know of two servers: they ask the one that they take for active, go where a 503 sends them, and ask again with
//! the same key until they have an answer. What they were told is kept, and held against what others were told before.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use onsale::http_client::{Client, Response};
use serde_json::json;

use crate::process::KEY;

pub const EVENT: &str = "/v1/organizers/o/events/e";
/// How long an answer may take before a buyer asks elsewhere.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two tries where nobody is active.
const AGAIN: Duration = Duration::from_millis(5);

/// What all buyers share.
#[derive(Default)]
pub struct Crowd {
    /// The two servers.
    pub urls: Mutex<[String; 2]>,
    /// Which of them is asked first.
    pub active: AtomicUsize,
    pub over: AtomicBool,
    /// Orders that were told of.
    pub orders: Mutex<Vec<String>>,
    /// So many by each server.
    pub sold_by: [AtomicU64; 2],
    /// Which server has sold last.
    pub seller: AtomicUsize,
    /// Refusals because all is sold.
    pub refused: AtomicU64,
    pub looks: AtomicU64,
    /// The highest position that anybody was told.
    pub seen: AtomicU64,
    pub wrong: Mutex<Vec<String>>,
}

pub fn client(url: &str, patience: Duration) -> Client {
    Client::new(url, Some(KEY)).unwrap().with_timeout(patience)
}

/// The position in an answer's receipt.
pub fn position(response: &Response) -> Option<u64> {
    response.json()["receipt"]["position"].as_u64()
}

impl Crowd {
    fn url(&self, which: usize) -> String {
        self.urls.lock().unwrap()[which].clone()
    }

    /// Takes in an answer of a server that was asked when `floor` had been told already.
    fn heard(&self, which: usize, floor: u64, response: &Response) {
        let Some(position) = position(response) else { return };
        // One that was carried out before has the receipt of then.
        let is_again = response.header("idempotency-replayed").is_some();
        if position < floor && !is_again {
            let status = response.status;
            self.wrong.lock().unwrap().push(format!(
                "server {which} answered {status} of position {position} after {floor} had been told"
            ));
        }
        self.seen.fetch_max(position, SeqCst);
    }

    /// Asks until there is an answer; none: it is over.
    fn ask(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&str>,
    ) -> Option<(usize, Response)> {
        loop {
            if self.over.load(SeqCst) {
                return None;
            }
            let which = self.active.load(SeqCst);
            let floor = self.seen.load(SeqCst);
            let headers: Vec<(&str, &str)> =
                key.map(|key| ("idempotency-key", key)).into_iter().collect();
            match client(&self.url(which), PATIENCE).request(method, path, &headers, body) {
                Ok(response) if response.status == 503 => {
                    let active = response.json()["active"].as_str().map(str::to_owned);
                    let other = (0..2).find(|which| Some(self.url(*which)) == active);
                    let next = other.unwrap_or(1 - which);
                    let _ = self.active.compare_exchange(which, next, SeqCst, SeqCst);
                }
                Ok(response) => {
                    self.heard(which, floor, &response);
                    return Some((which, response));
                }
                Err(_) => {
                    let _ = self.active.compare_exchange(which, 1 - which, SeqCst, SeqCst);
                }
            }
            std::thread::park_timeout(AGAIN);
        }
    }

    /// Buys a ticket after the other, and looks what is left now and then.
    pub fn buy(&self, buyer: u64) {
        for number in 0u64.. {
            let key = format!("buyer-{buyer}-{number}");
            let body = json!({ "customer": format!("c-{buyer}-{number}"),
                "items": [{ "ticket_type": "free", "quantity": 1 }] });
            let path = format!("{EVENT}/orders");
            let Some((which, response)) =
                self.ask("POST", &path, Some(&key), Some(&body.to_string()))
            else {
                return;
            };
            match response.status {
                201 | 200 => {
                    let code = response.json()["code"].as_str().unwrap().to_owned();
                    self.orders.lock().unwrap().push(code);
                    self.sold_by[which].fetch_add(1, SeqCst);
                    self.seller.store(which, SeqCst);
                }
                409 => drop(self.refused.fetch_add(1, SeqCst)),
                status => {
                    let told = response.problem();
                    self.wrong.lock().unwrap().push(format!("an order got {status}: {told}"));
                }
            }
            if number.is_multiple_of(4) {
                let Some((_, look)) = self.ask("GET", &format!("{EVENT}/availability"), None, None)
                else {
                    return;
                };
                match look.status {
                    200 => drop(self.looks.fetch_add(1, SeqCst)),
                    status => {
                        self.wrong
                            .lock()
                            .unwrap()
                            .push(format!("a look got {status}: {}", look.problem()));
                    }
                }
            }
        }
    }

    pub fn sold(&self) -> u64 {
        self.sold_by.iter().map(|sold| sold.load(SeqCst)).sum()
    }

    /// Waits until so many more orders are sold by a server, or by any; how long that took.
    pub fn wait_for_sales(&self, by: Option<usize>, more: u64, within: Duration) -> Duration {
        let sold = || by.map_or_else(|| self.sold(), |by| self.sold_by[by].load(SeqCst));
        let (begin, before) = (Instant::now(), sold());
        while sold() < before + more {
            let now = sold() - before;
            assert!(begin.elapsed() < within, "after {within:?} server {by:?} has sold {now} more");
            std::thread::park_timeout(AGAIN);
        }
        begin.elapsed()
    }
}
