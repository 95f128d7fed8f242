//! Who buys and who cancels: buyers at the engine, buyers in the box office's own shop, and somebody who cancels what the
//! engine sold in the office, sometimes at the very moment that it is cancelled at the engine, too.

use std::collections::BTreeMap;
use std::sync::Mutex;

use onsale::http_client::Response;
use serde_json::{Value, json};

use crate::office::Event;
use crate::world::{Choices, Who, World};

/// The event that the engine sells.
pub const HALL: &str = "/v1/organizers/river/events/hall";

/// An order of the engine, by all that its buyer was told.
#[derive(Clone, Debug, Default)]
pub struct Sold {
    pub total: i64,
    pub quantity: i64,
    /// Whether it is paid, or cost nothing.
    pub is_paid: bool,
    /// Payments that were taken.
    pub payments: i64,
    /// Whether somebody was told that it is cancelled, here or there.
    pub is_cancelled: bool,
}

/// All that was sold.
#[derive(Default)]
pub struct Sales {
    /// By the engine, by code.
    pub sold: Mutex<BTreeMap<String, Sold>>,
    /// Cancelled in the office, and of these at the same moment at the engine.
    pub cancelled_there: Mutex<(u64, u64)>,
    /// Orders of the box office's own shop.
    pub in_shop: Mutex<u64>,
}

impl Sales {
    fn change(&self, code: &str, change: impl FnOnce(&mut Sold)) {
        change(self.sold.lock().unwrap().entry(code.to_owned()).or_default());
    }
}

/// A buyer at the engine.
pub struct Buyer<'a> {
    pub world: &'a World,
    pub sales: &'a Sales,
    /// Ids of what costs something, and of what does not.
    pub paid: String,
    pub free: String,
    /// Makes keys and names its own.
    pub name: String,
}

impl<'a> Buyer<'a> {
    pub fn new(world: &'a World, sales: &'a Sales, hall: &Event, name: &str) -> Buyer<'a> {
        let id = |is_free: bool| {
            let found = hall.types.iter().find(|(_, (_, price))| (*price == 0) == is_free);
            found.unwrap().0.to_string()
        };
        Buyer { world, sales, paid: id(false), free: id(true), name: name.to_owned() }
    }

    fn post(&self, path: &str, key: &str, body: Option<&Value>) -> Response {
        let body = body.map(ToString::to_string);
        let (path, headers) = (format!("{HALL}{path}"), [("Idempotency-Key", key)]);
        self.world.ask(Who::Engine, ("POST", &path), &headers, body.as_deref())
    }

    fn made(&self, path: &str, key: &str, body: &Value) -> Value {
        let answer = self.post(path, key, Some(body));
        assert_eq!(answer.status, 201, "{path} {body}: {}", answer.problem());
        answer.json()
    }

    /// Buys until the load is over.
    pub fn work(&self, seed: u64) {
        let mut choices = Choices(seed);
        for number in 1_u64.. {
            if self.world.is_over() {
                break;
            }
            let key = format!("{}-{number}", self.name);
            let quantity = 1 + choices.below(3) as i64;
            let is_free = choices.below(4) == 0;
            let ticket_type = if is_free { &self.free } else { &self.paid };
            let items = json!([{"ticket_type": ticket_type, "quantity": quantity}]);
            let cart = json!({"customer": format!("c-{key}"), "items": items});
            let choice = choices.below(10);
            let order = if choice < 4 {
                let hold = self.made("/holds", &format!("{key}-hold"), &cart);
                if choice == 0 {
                    let path = format!("/holds/{}", hold["id"].as_str().unwrap());
                    let path = format!("{HALL}{path}");
                    self.world.ask(Who::Engine, ("DELETE", &path), &[], None);
                    continue;
                }
                let claim = json!({"customer": cart["customer"], "hold": hold["id"]});
                self.made("/orders", &format!("{key}-order"), &claim)
            } else {
                self.made("/orders", &format!("{key}-order"), &cart)
            };
            let code = order["code"].as_str().unwrap().to_owned();
            let total = order["total"]["amount"].as_i64().unwrap();
            // From now on somebody may cancel it.
            self.sales.change(&code, |sold| {
                (sold.total, sold.quantity, sold.is_paid) = (total, quantity, is_free);
            });
            if !is_free && choice != 4 {
                self.pay(&code, total, &key);
            }
            if choice == 5 {
                self.cancel(&code);
            }
        }
    }

    fn pay(&self, code: &str, total: i64, key: &str) {
        let body = json!({"amount": total, "currency": "EUR", "reference": key});
        let answer = self.made(&format!("/orders/{code}/payments"), &format!("{key}-pay"), &body);
        // Where the order was cancelled meanwhile it is due back.
        let is_applied = answer["state"] == "applied";
        assert!(is_applied || answer["refund_reason"] == "cancelled", "{answer}");
        self.sales.change(code, |sold| {
            sold.payments += 1;
            sold.is_paid = is_applied;
        });
    }

    fn cancel(&self, code: &str) {
        let answer = self.post(&format!("/orders/{code}/cancel"), &format!("cancel-{code}"), None);
        // 409: it was cancelled in the office before.
        assert!([200, 409].contains(&answer.status), "{code}: {}", answer.problem());
        self.sales.change(code, |sold| sold.is_cancelled = true);
    }

    /// Cancels in the office what the engine sold, until the load is over.
    pub fn cancel_there(&self, office_key: &str, seed: u64) {
        let (mut choices, mut cancelled) = (Choices(seed), 0);
        let key = format!("Bearer {office_key}");
        while !self.world.is_over() {
            let code = {
                let sold = self.sales.sold.lock().unwrap();
                let open: Vec<_> = sold.iter().filter(|(_, sold)| !sold.is_cancelled).collect();
                let enough = cancelled * 8 >= open.len();
                let at = choices.below(open.len().max(1) as u64) as usize;
                open.get(at).filter(|_| !enough).map(|(code, _)| (*code).clone())
            };
            let Some(code) = code else {
                self.world.breathe();
                continue;
            };
            let both = choices.below(2) == 0;
            let is_there = std::thread::scope(|scope| {
                if both {
                    scope.spawn(|| self.cancel(&code));
                }
                let path = format!("/api/orders/{code}/cancel");
                let headers = [("Authorization", key.as_str())];
                let answer = self.world.ask(Who::Office, ("POST", &path), &headers, None);
                // 404: it is not written back yet.
                assert!([200, 404].contains(&answer.status), "{code}: {}", answer.problem());
                answer.status == 200
            });
            if is_there {
                cancelled += 1;
                self.sales.change(&code, |sold| sold.is_cancelled = true);
                let mut counts = self.sales.cancelled_there.lock().unwrap();
                counts.0 += 1;
                counts.1 += u64::from(both);
            }
        }
    }

    /// Buys in the box office's own shop what the engine does not sell, until the load is over.
    pub fn shop(&self, shop: &Event, seed: u64) {
        let mut choices = Choices(seed);
        let types: Vec<&i64> = shop.types.keys().collect();
        for number in 1_u64.. {
            if self.world.is_over() {
                break;
            }
            let lines = json!([{"ticket_type": types[choices.below(2) as usize], "quantity": 1}]);
            let key = format!("shop-{number}");
            let order =
                json!({"event": shop.slug, "customer": key, "lines": lines, "client_key": key});
            let post = |path: &str, body: &Value| {
                let answer =
                    self.world.ask(Who::Office, ("POST", path), &[], Some(&body.to_string()));
                assert!(answer.status < 300, "{path} {body}: {}", answer.problem());
                answer.json()
            };
            let order = post("/api/orders", &order);
            *self.sales.in_shop.lock().unwrap() += 1;
            let path = format!("/api/orders/{}", order["code"].as_str().unwrap());
            if order["status"] == "pending" {
                match choices.below(3) {
                    0 => drop(post(&format!("{path}/pay"), &json!({"reference": key}))),
                    1 => drop(post(&format!("{path}/cancel"), &json!({}))),
                    _ => {}
                }
            }
            self.world.breathe();
        }
    }
}
