//! A small shop to rush at: one quota, two ticket types, holds that run out, and a
//! script of faults. Its rules are the simplest that a buyer can tell apart.

mod http2;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the shop has and what goes wrong in it.
#[derive(Clone, Default)]
pub struct Script {
    pub tickets: u64,
    /// Of the type `seat`; `free` costs nothing.
    pub price: i64,
    pub hold: Duration,
    /// Sells so many more than it has.
    pub oversell: u64,
    /// Every n-th order is acknowledged, and then not there.
    pub lose_every: Option<u64>,
    /// Every n-th order has the code of the one before.
    pub same_code_every: Option<u64>,
    /// All tickets have this code.
    pub same_ticket: bool,
    /// Every n-th order is another's total when it is looked at.
    pub change_every: Option<u64>,
    /// Says that it sold so many fewer than it did.
    pub hide: u64,
    /// Writes its answers in pieces of so many bytes.
    pub piece: Option<usize>,
    /// Says `Connection: close` with every n-th answer.
    pub close_every: Option<u64>,
    /// Closes without a word after every n-th answer.
    pub vanish_every: Option<u64>,
    /// Does what it was asked, then closes in the middle of every n-th answer.
    pub cut_every: Option<u64>,
    /// Answers every n-th POST with 503.
    pub busy_every: Option<u64>,
    /// Turns away connections beyond so many.
    pub connections_max: Option<usize>,
    /// At the n-th POST the whole shop stands still for so long.
    pub stall: Option<(u64, Duration)>,
    /// Is gone after so many POSTs.
    pub die_after: Option<u64>,
}

/// A running shop; it ends with the test's process.
pub struct Shop {
    pub address: SocketAddr,
}

#[derive(Clone)]
struct Order {
    state: &'static str,
    amount: i64,
    quantity: u64,
    first_ticket: u64,
    missing: bool,
}

#[derive(Default)]
struct State {
    script: Script,
    connections: usize,
    posts: u64,
    answers: u64,
    holds: HashMap<String, (Instant, u64, i64)>,
    orders: HashMap<String, Order>,
    order_count: u64,
    sold: u64,
    remembered: HashMap<String, (u16, Value)>,
}

impl Shop {
    pub fn open(script: Script) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build_local(tokio::runtime::LocalOptions::default())
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let state = Rc::new(RefCell::new(State { script, ..State::default() }));
                let death = Rc::new(Notify::new());
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, _) = accepted.unwrap();
                            stream.set_nodelay(true).unwrap();
                            tokio::task::spawn_local(serve(stream, state.clone(), death.clone()));
                        }
                        // Ends the runtime, and with it the listener and all connections.
                        () = death.notified() => return,
                    }
                }
            });
        });
        Self { address: told.recv().unwrap() }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// One request: method and path, idempotency key, body.
struct Request {
    line: String,
    key: Option<String>,
    body: Value,
}

async fn read_request(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some(end) = input.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8(input[..end].to_vec()).unwrap();
            let header = |name: &str| {
                let find = |line: &str| {
                    let (n, value) = line.split_once(": ")?;
                    n.eq_ignore_ascii_case(name).then(|| value.to_owned())
                };
                head.lines().find_map(find)
            };
            assert_eq!(header("authorization").as_deref(), Some("Bearer secret"));
            assert!(header("host").is_some());
            let length = header("content-length").map_or(0, |l| l.parse().unwrap());
            if input.len() >= end + 4 + length {
                let body = &input[end + 4..end + 4 + length];
                let body =
                    if length == 0 { Value::Null } else { serde_json::from_slice(body).unwrap() };
                let line =
                    head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
                let key = header("idempotency-key");
                input.drain(..end + 4 + length);
                return Some(Request { line, key, body });
            }
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

async fn serve(mut stream: TcpStream, state: Rc<RefCell<State>>, death: Rc<Notify>) {
    let most = state.borrow().script.connections_max;
    if most.is_some_and(|most| state.borrow().connections >= most) {
        let no =
            b"HTTP/1.1 503 x\r\nRetry-After: 0\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(no).await;
        return;
    }
    state.borrow_mut().connections += 1;
    let mut preface = [0; 4];
    let peeked = stream.peek(&mut preface).await;
    match peeked.is_ok() && preface == *b"PRI " {
        true => http2::answer_all(stream, &state).await,
        false => answer_all(stream, &state, &death).await,
    }
    state.borrow_mut().connections -= 1;
}

async fn answer_all(mut stream: TcpStream, state: &RefCell<State>, death: &Notify) {
    let mut input = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut input).await {
        let (script, answers, (status, body)) = {
            let mut state = state.borrow_mut();
            let answer = state.answer(&request);
            state.answers += 1;
            if state.script.die_after.is_some_and(|n| state.posts >= n) {
                death.notify_one();
            }
            (state.script.clone(), state.answers, answer)
        };
        let every = |n: Option<u64>| n.is_some_and(|n| answers.is_multiple_of(n));
        let close = if every(script.close_every) { "Connection: close\r\n" } else { "" };
        let body = body.to_string();
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} x\r\nRetry-After: 0\r\n{close}Content-Length: {length}\r\n\r\n{body}"
        );
        let answer = if every(script.cut_every) { &answer[..answer.len() / 2] } else { &answer };
        for piece in answer.as_bytes().chunks(script.piece.unwrap_or(usize::MAX)) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if !close.is_empty() || every(script.cut_every) || every(script.vanish_every) {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> (u16, Value) {
        let (method, path) = request.line.split_once(' ').unwrap();
        let path = path.strip_prefix("/v1/organizers/o/events/e").unwrap();
        if method == "GET" {
            return self.get(path);
        }
        assert_eq!(method, "POST");
        self.posts += 1;
        if let Some((at, time)) = self.script.stall
            && at == self.posts
        {
            // The stall is what the test is about, not a wait for something.
            std::thread::park_timeout(time);
        }
        if self.script.busy_every.is_some_and(|n| self.posts.is_multiple_of(n)) {
            return (503, json!({"type": "https://x.example/problems/overloaded"}));
        }
        let key = request.key.clone().expect("every POST has a key");
        if let Some(answer) = self.remembered.get(&key) {
            return answer.clone();
        }
        let answer = match path {
            "/holds" => self.hold(&request.body),
            "/orders" => self.order(&request.body),
            _ => self.pay(path, &request.body),
        };
        if answer.0 < 300 {
            self.remembered.insert(key, answer.clone());
        }
        answer
    }

    fn held(&self) -> u64 {
        let now = Instant::now();
        self.holds.values().filter(|hold| hold.0 > now).map(|hold| hold.1).sum()
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let tickets = self.script.tickets;
        match path {
            "" => (
                200,
                json!({"id": "e", "ticket_types": [
                {"id": "seat", "name": "Seat", "price": self.script.price, "quotas": ["site"]},
                {"id": "free", "name": "Free", "price": 0, "quotas": ["site"]}]}),
            ),
            "/availability" => {
                let (held, sold) = (self.held(), self.sold.saturating_sub(self.script.hide));
                let free = tickets.saturating_sub(held + sold);
                (
                    200,
                    json!({"state": "open", "quotas": [
                    {"id": "site", "capacity": tickets, "free": free, "held": held, "sold": sold}]}),
                )
            }
            _ => match self.orders.get(path.strip_prefix("/orders/").unwrap()) {
                Some(order) if !order.missing => (
                    200,
                    order_json(
                        path.strip_prefix("/orders/").unwrap(),
                        order,
                        self.script.same_ticket,
                    ),
                ),
                _ => (404, json!({"type": "https://x.example/problems/unknown-order"})),
            },
        }
    }

    /// Quantity and total of the only item, or why it can't be had.
    fn stock_for(&self, body: &Value) -> Result<(u64, i64), (u16, Value)> {
        let item = &body["items"][0];
        let quantity = item["quantity"].as_u64().unwrap();
        let price = if item["ticket_type"] == "seat" { self.script.price } else { 0 };
        let left = self.script.tickets + self.script.oversell - self.sold;
        if quantity > left {
            return Err((
                409,
                json!({"type": "https://x.example/problems/sold-out",
                "quota": "site", "asked": quantity, "free": left}),
            ));
        }
        if quantity > left.saturating_sub(self.held()) {
            return Err((409, json!({"type": "https://x.example/problems/none-free-now"})));
        }
        Ok((quantity, price * quantity as i64))
    }

    fn hold(&mut self, body: &Value) -> (u16, Value) {
        assert_eq!(body["customer"].as_str().unwrap().len(), 36);
        let (quantity, total) = match self.stock_for(body) {
            Ok(stock) => stock,
            Err(refusal) => return refusal,
        };
        let id = format!("hold-{}", self.posts);
        self.holds.insert(id.clone(), (Instant::now() + self.script.hold, quantity, total));
        (201, json!({"id": id, "total": {"amount": total, "currency": "EUR"}}))
    }

    fn order(&mut self, body: &Value) -> (u16, Value) {
        let (quantity, amount) = match body["hold"].as_str() {
            None => match self.stock_for(body) {
                Ok(stock) => stock,
                Err(refusal) => return refusal,
            },
            Some(id) => match self.holds.get(id) {
                Some(&(until, quantity, total)) if until > Instant::now() => {
                    self.holds.remove(id);
                    (quantity, total)
                }
                _ => return (410, json!({"type": "https://x.example/problems/hold-expired"})),
            },
        };
        self.order_count += 1;
        let count = self.order_count;
        let every = |n: Option<u64>| n.is_some_and(|n| count.is_multiple_of(n));
        let code = format!("E{:09}", count - u64::from(every(self.script.same_code_every)));
        let state = if amount == 0 { "confirmed" } else { "awaiting_payment" };
        let missing = every(self.script.lose_every);
        let mut order = Order { state, amount, quantity, first_ticket: self.sold, missing };
        self.sold += quantity;
        let answer = order_json(&code, &order, self.script.same_ticket);
        order.amount += i64::from(every(self.script.change_every));
        self.orders.insert(code, order);
        (201, answer)
    }

    fn pay(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let code = path.strip_prefix("/orders/").and_then(|p| p.strip_suffix("/payments")).unwrap();
        let order = self.orders.get_mut(code).unwrap();
        assert_eq!((&body["amount"], &body["currency"]), (&json!(order.amount), &json!("EUR")));
        assert!(body["reference"].as_str().unwrap().len() > 36);
        order.state = "confirmed";
        (201, json!({"state": "applied"}))
    }
}

fn order_json(code: &str, order: &Order, same_ticket: bool) -> Value {
    let count = if order.state == "confirmed" { order.quantity } else { 0 };
    let tickets: Vec<Value> = (0..count)
        .map(|n| if same_ticket { 0 } else { order.first_ticket + n })
        .map(|number| json!({"code": format!("T{number}"), "ticket_type": "x"}))
        .collect();
    json!({"code": code, "state": order.state, "tickets": tickets,
        "total": {"amount": order.amount, "currency": "EUR"}})
}
