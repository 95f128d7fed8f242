//! Holds the server to what it said: every acknowledged order must be there, in the
//! state, with the total and the tickets that were told, and no code may be given twice.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::client::{Connection, Error};
use crate::config::Config;
use crate::crowd::{Acknowledged, OrderState};
use crate::pool::ANSWER_BYTES_MAX;
use crate::report::Live;
use crate::target::Target;
use crate::wire::OrderAnswer;

/// Connections that ask at the same time.
const CONNECTIONS: usize = 32;
/// Wait before an order is asked for again.
const PAUSE: Duration = Duration::from_millis(100);
/// Findings that are told in words.
const PROBLEMS_MAX: usize = 10;

/// What was found of the acknowledged orders.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Verification {
    /// Orders that were asked for and answered.
    pub checked: u64,
    /// Not found.
    pub lost: u64,
    /// Found, but not as acknowledged: another state, total or ticket.
    pub changed: u64,
    /// The server did not answer.
    pub unchecked: u64,
    /// Acknowledgements with a code that another had.
    pub duplicate_orders: u64,
    /// Tickets with a code that another had.
    pub duplicate_tickets: u64,
    /// Tickets with a code.
    pub tickets: u64,
    /// Orders that were never paid, and were cancelled for it.
    pub cancelled_orders: u64,
    /// The first few findings, in words.
    pub problems: Vec<String>,
    /// Indexes of the cancelled orders.
    #[serde(skip)]
    pub(crate) cancelled: Vec<usize>,
}

impl Verification {
    /// Everything was found, once, as it was acknowledged.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        let Self { lost, changed, unchecked, duplicate_orders, duplicate_tickets, .. } = self;
        lost + changed + unchecked + duplicate_orders + duplicate_tickets == 0
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text());
        }
    }
}

/// Asks for every one of these orders, for example after a restart of the server.
/// Blocks; must not be called from within an async runtime.
///
/// # Errors
/// Bad configuration. What the server answers, or that it does not, is in the result.
pub fn verify(config: &Config, orders: &[Acknowledged]) -> Result<Verification> {
    config.check()?;
    let target = Target::new(config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .context("can't start the runtime")?;
    Ok(runtime.block_on(check(&target, orders, config.give_up, &mut |_| {})))
}

/// What the server says of an order.
enum Found {
    Order(OrderAnswer),
    Missing,
    Unknown(String),
}

struct Shared {
    target: Target,
    codes: Vec<String>,
    next: Cell<usize>,
    found: RefCell<Vec<Option<Found>>>,
    last_answer: Cell<Instant>,
    give_up: Duration,
}

pub(crate) async fn check(
    target: &Target,
    orders: &[Acknowledged],
    give_up: Duration,
    progress: &mut dyn FnMut(&Live),
) -> Verification {
    let shared = Rc::new(Shared {
        target: target.clone(),
        codes: orders.iter().map(|o| o.code.clone()).collect(),
        next: Cell::new(0),
        found: RefCell::new(orders.iter().map(|_| None).collect()),
        last_answer: Cell::new(Instant::now()),
        give_up,
    });
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS.min(orders.len()) {
        tasks.spawn_local(ask(shared.clone()));
    }
    let mut ticks = tokio::time::interval(PAUSE);
    while !tasks.is_empty() {
        tokio::select! {
            _ = tasks.join_next() => {}
            _ = ticks.tick() => {
                let done = shared.next.get().min(orders.len()) as u64;
                progress(&Live::of_phase("verifying", done, orders.len() as u64));
            }
        }
    }
    let found = std::mem::take(&mut *shared.found.borrow_mut());
    judge(orders, found)
}

/// Asks for one order after the other until none is left.
async fn ask(shared: Rc<Shared>) {
    let mut connection = None;
    loop {
        let index = shared.next.get();
        let Some(code) = shared.codes.get(index) else { return };
        shared.next.set(index + 1);
        let request = shared.target.get(&format!("/orders/{code}"));
        let mut why = "the server has stopped to answer".to_owned();
        let found = loop {
            if shared.last_answer.get().elapsed() > shared.give_up {
                break Found::Unknown(why);
            }
            why = match exchange(&shared.target, &mut connection, &request).await {
                Ok(found) => {
                    shared.last_answer.set(Instant::now());
                    break found;
                }
                Err(why) => why,
            };
            tokio::time::sleep(PAUSE).await;
        };
        shared.found.borrow_mut()[index] = Some(found);
    }
}

/// One answer; an error says why to ask again.
async fn exchange(
    target: &Target,
    connection: &mut Option<Connection>,
    request: &[u8],
) -> Result<Found, String> {
    let asking = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(target.address).await?,
        };
        open.exchange(request, ANSWER_BYTES_MAX).await?;
        Ok::<_, Error>(open)
    };
    let asked = tokio::time::timeout(target.request_timeout, asking).await;
    let open = asked.unwrap_or(Err(Error::Timeout)).map_err(|error| error.to_string())?;
    let answer = open.answer();
    let found = match answer.status {
        200 => match serde_json::from_slice(answer.body) {
            Ok(order) => Found::Order(order),
            Err(error) => Found::Unknown(format!("the answer is not as expected: {error}")),
        },
        404 | 410 => Found::Missing,
        429 | 500..=599 => return Err(format!("the server answered {}", answer.status)),
        status => Found::Unknown(format!("the server answered {status}")),
    };
    if answer.keep {
        *connection = Some(open);
    }
    Ok(found)
}

fn judge(orders: &[Acknowledged], found: Vec<Option<Found>>) -> Verification {
    let mut verification = Verification::default();
    let mut codes = HashSet::with_capacity(orders.len());
    let mut tickets = HashMap::with_capacity(orders.len());
    for (index, (order, found)) in orders.iter().zip(found).enumerate() {
        if !codes.insert(order.code.as_str()) {
            verification.duplicate_orders += 1;
            verification.problem(|| format!("order {}: the code was given twice", order.code));
        }
        let found = found.unwrap_or_else(|| Found::Unknown("was not asked for".to_owned()));
        verification.order(index, order, &found);
        let mut own: Vec<String> = order.tickets.clone();
        if let Found::Order(found) = found {
            // What both say is one ticket; what one says twice are two.
            let told: HashSet<&String> = order.tickets.iter().collect();
            own.extend(found.tickets.into_iter().map(|t| t.code).filter(|c| !told.contains(c)));
        }
        verification.tickets += own.len() as u64;
        for ticket in own {
            if let Some(other) = tickets.insert(ticket, index) {
                verification.duplicate_tickets += 1;
                let (this, other) = (&order.code, &orders[other].code);
                verification.problem(|| format!("orders {other} and {this}: share a ticket code"));
            }
        }
    }
    verification
}

impl Verification {
    fn order(&mut self, index: usize, told: &Acknowledged, found: &Found) {
        let code = &told.code;
        match found {
            Found::Unknown(why) => {
                self.unchecked += 1;
                self.problem(|| format!("order {code}: {why}"));
            }
            Found::Missing => {
                self.checked += 1;
                self.lost += 1;
                self.problem(|| format!("order {code}: acknowledged, but not found"));
            }
            Found::Order(found) => {
                self.checked += 1;
                if told.state == OrderState::AwaitingPayment && found.state == "cancelled" {
                    self.cancelled_orders += 1;
                    self.cancelled.push(index);
                }
                if let Err(what) = compare(told, found) {
                    self.changed += 1;
                    self.problem(|| format!("order {code}: {what}"));
                }
            }
        }
    }
}

/// Whether an order is as it was acknowledged, or what is not.
fn compare(told: &Acknowledged, found: &OrderAnswer) -> Result<(), String> {
    if found.code != told.code {
        return Err(format!("answered with the order {}", found.code));
    }
    let state_fits = match told.state {
        OrderState::Confirmed => found.state == "confirmed",
        // Its payment may have been carried out, or its time may be up.
        OrderState::AwaitingPayment => {
            matches!(found.state.as_str(), "awaiting_payment" | "confirmed" | "cancelled")
        }
    };
    if !state_fits {
        return Err(format!("acknowledged as {:?}, is {}", told.state, found.state));
    }
    let total = (found.total.amount, found.total.currency.as_str());
    if total != (told.amount, told.currency.as_str()) {
        return Err(format!("acknowledged for {} {}, is {total:?}", told.amount, told.currency));
    }
    let codes = || found.tickets.iter().map(|t| &t.code);
    if found.state == "confirmed" && codes().len() != told.quantity as usize {
        return Err(format!("has {} tickets, bought were {}", codes().len(), told.quantity));
    }
    if let Some(lost) = told.tickets.iter().find(|ticket| !codes().any(|code| code == *ticket)) {
        return Err(format!("the ticket {lost} is gone"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
