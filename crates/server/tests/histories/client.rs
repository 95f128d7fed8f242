//! A client that writes down when it asked and when it was answered. When an answer does not
//! come it asks again with the same key, or gives up and never knows.

use std::sync::Mutex;

use onsale::http_client::{Client, Response};
use serde_json::{Value, json};

use crate::checker::Operation;
use crate::hall::{Answer, Call, Wish};
use crate::site::{KEY, Site};

pub type History = Vec<Operation<Call, Answer>>;

/// Times that a client asks again at most.
const TRIES_MAX: u64 = 50;
/// All other refusals for now (503) say that nothing was changed.
const OUTCOME_UNKNOWN: &str = "/problems/outcome-unknown";

/// All choices follow from a seed.
pub struct Choices(pub u64);

impl Choices {
    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Knuth's MMIX generator; its upper half is random enough.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What the clients of one event share.
pub struct Event {
    pub name: String,
    pub history: Mutex<History>,
    known: Mutex<Known>,
}

/// What somebody heard of.
#[derive(Default)]
struct Known {
    /// And their customers.
    holds: Vec<(String, u8)>,
    orders: Vec<String>,
}

impl Event {
    pub fn new(name: String) -> Event {
        Event { name, history: Mutex::default(), known: Mutex::default() }
    }

    fn path(&self, below: &str) -> String {
        format!("/v1/organizers/o/events/{}{below}", self.name)
    }
}

/// Asks so many times.
pub fn visit(site: &Site, event: &Event, seed: u64, calls: u32) {
    let mut choices = Choices(seed);
    for number in 0..calls {
        let Some(call) = choose(event, &mut choices) else { continue };
        let key = format!("{}-{seed}-{number}", event.name);
        // A release has no key: asked again it is another one, which finds the hold released.
        let gives_up = choices.below(3) == 0 || matches!(call, Call::Release { .. });
        let called_ns = site.now_ns();
        let answer = match ask(site, event, &call, &key, gives_up) {
            Heard::Answer(answer, at_ns) => Some((answer, at_ns)),
            Heard::Nothing => None,
            // As if it had never been asked.
            Heard::NotDone => continue,
        };
        if let Some((answer, _)) = &answer {
            learn(event, &call, answer);
        }
        event.history.lock().unwrap().push(Operation { call, called_ns, answer });
    }
}

fn choose(event: &Event, choices: &mut Choices) -> Option<Call> {
    let wish = Wish {
        customer: choices.below(5) as u8,
        balcony: choices.below(2) == 0,
        tickets: 1 + choices.below(2) as u32,
    };
    let known = event.known.lock().unwrap();
    let Known { holds, orders } = &*known;
    // Those of late: older ones have all ended.
    let late =
        |choices: &mut Choices, all: usize| all - 1 - choices.below(all.min(4) as u64) as usize;
    Some(match choices.below(12) {
        0..=3 => Call::Hold(wish),
        4 => Call::Buy(wish),
        5 | 6 if !holds.is_empty() => {
            let (hold, customer) = holds[late(choices, holds.len())].clone();
            Call::Claim { hold, customer }
        }
        7 if !holds.is_empty() => {
            Call::Release { hold: holds[late(choices, holds.len())].0.clone() }
        }
        8 if !orders.is_empty() => {
            Call::Cancel { order: orders[late(choices, orders.len())].clone() }
        }
        9..=11 => Call::Look,
        _ => return None,
    })
}

fn learn(event: &Event, call: &Call, answer: &Answer) {
    let mut known = event.known.lock().unwrap();
    match (call, answer) {
        (Call::Hold(wish), Answer::Held(id)) => known.holds.push((id.clone(), wish.customer)),
        (_, Answer::Ordered(code)) => known.orders.push(code.clone()),
        _ => {}
    }
}

/// What a client knows of its call.
enum Heard {
    /// The answer, and when it was there.
    Answer(Answer, u64),
    Nothing,
    /// That nothing was changed.
    NotDone,
}

fn ask(site: &Site, event: &Event, call: &Call, key: &str, gives_up: bool) -> Heard {
    // Each call begins at another server, and is asked again at the next.
    let first = key.bytes().map(u64::from).sum::<u64>();
    for which in first..first + TRIES_MAX {
        let (url, start) = site.url(which);
        let client = Client::new(&url, Some(KEY)).unwrap();
        let sent = send(&client, event, call, key);
        let answered_ns = site.now_ns();
        match sent {
            Ok(response) if response.status != 503 => {
                site.answered();
                return Heard::Answer(understand(call, &response), answered_ns);
            }
            Ok(response) if gives_up && response.json()["type"] != OUTCOME_UNKNOWN => {
                return Heard::NotDone;
            }
            // It said that it may have happened, or died over it.
            _ if gives_up => return Heard::Nothing,
            _ => site.wait_for_another(start),
        }
    }
    panic!("no answer to {call:?} after {TRIES_MAX} tries");
}

fn send(
    client: &Client,
    event: &Event,
    call: &Call,
    key: &str,
) -> Result<Response, onsale::http_client::Error> {
    let cart = |wish: &Wish| {
        let ticket_type = if wish.balcony { "balcony" } else { "floor" };
        json!({"customer": format!("c-{}", wish.customer),
            "items": [{"ticket_type": ticket_type, "quantity": wish.tickets}]})
    };
    let (method, path, body) = match call {
        Call::Hold(wish) => ("POST", event.path("/holds"), Some(cart(wish))),
        Call::Buy(wish) => ("POST", event.path("/orders"), Some(cart(wish))),
        Call::Claim { hold, customer } => {
            let body = json!({"customer": format!("c-{customer}"), "hold": hold});
            ("POST", event.path("/orders"), Some(body))
        }
        Call::Release { hold } => ("DELETE", event.path(&format!("/holds/{hold}")), None),
        Call::Cancel { order } => ("POST", event.path(&format!("/orders/{order}/cancel")), None),
        Call::Look => ("GET", event.path("/availability"), None),
    };
    let body = body.map(|body| body.to_string());
    let keyed = [("idempotency-key", key)];
    let headers = if method == "GET" { &[] } else { &keyed[..] };
    client.request(method, &path, headers, body.as_deref())
}

fn understand(call: &Call, response: &Response) -> Answer {
    let json = response.json();
    let number =
        |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("{name} in {json}")) as u32;
    let text =
        |name: &str| json[name].as_str().unwrap_or_else(|| panic!("{name} in {json}")).to_owned();
    let quota = || match json["quota"].as_str() {
        Some("hall") => "hall",
        Some("balcony") => "balcony",
        _ => panic!("no quota in {json}"),
    };
    if response.status < 300 {
        return match call {
            Call::Hold(_) => Answer::Held(text("id")),
            Call::Buy(_) | Call::Claim { .. } => Answer::Ordered(text("code")),
            Call::Release { .. } => Answer::Released,
            Call::Cancel { .. } => Answer::Cancelled,
            Call::Look => Answer::Counts(counts(&json)),
        };
    }
    match json["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")) {
        Some("sold-out") => Answer::SoldOut(quota(), number("free")),
        Some("none-free-now") => Answer::NoneFreeNow(quota(), number("free"), number("held")),
        Some("customer-limit") => Answer::CustomerLimit(number("has")),
        Some("hold-released") => Answer::HoldReleased,
        Some("hold-claimed") => Answer::HoldClaimed(text("order")),
        Some("order-cancelled") => Answer::OrderCancelled,
        _ => panic!("an answer that nobody expected to {call:?}: {} {json}", response.status),
    }
}

fn counts(availability: &Value) -> [u32; 4] {
    let quotas = availability["quotas"].as_array().unwrap();
    let of = |quota: &str, what: &str| {
        let found = quotas.iter().find(|q| q["id"] == quota).unwrap();
        found[what].as_u64().unwrap() as u32
    };
    [of("hall", "held"), of("hall", "sold"), of("balcony", "held"), of("balcony", "sold")]
}
