//! All buyers as one state machine without I/O: what is due at a time, which
//! request a buyer makes next, what an answer means. Each buyer is a few words in
//! a table, so that a million of them are no burden; connections serve whoever is due.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use serde::Serialize;

use crate::client::{Answer, Error};
use crate::config::Config;
use crate::plan::{Choices, arrival_us};
use crate::stats::{Kind, Outcome, Stats};
use crate::target::Offer;
use crate::wire::{HoldAnswer, OrderAnswer, PaymentAnswer, Problem, Requests, token};

/// A request without a usable answer is sent again so many times.
const REPEATS_MAX: u8 = 30;
/// The first wait after an error; it doubles, five times at most.
const BACKOFF_US: u64 = 50_000;
/// A server that says "later" is not believed beyond this.
const RETRY_AFTER_S_MAX: u64 = 10;
/// What a buyer adds to a price of his own choice, at most, in hundreds of minor units.
const GENEROSITY_MAX: u64 = 5;

/// State of an order, as the server told it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// It must be paid.
    AwaitingPayment,
    /// Paid, or free.
    Confirmed,
}

/// An order that the server acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Acknowledged {
    /// Its code.
    pub code: String,
    /// As acknowledged last: by the order's own answer or by its payment's.
    pub state: OrderState,
    /// Total in minor units.
    pub amount: i64,
    /// Of the total.
    pub currency: String,
    /// What was bought.
    pub ticket_type: String,
    /// How many.
    pub quantity: u32,
    /// Codes of the tickets, if they were told.
    pub tickets: Vec<String>,
}

/// What a buyer wants next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Hold,
    /// Hold and claim in one.
    Buy,
    Claim,
    Pay,
    Done,
}

struct Buyer {
    step: Step,
    in_flight: bool,
    ticket_type: u16,
    quantity: u32,
    price: Option<i64>,
    /// How often "none free now" was the answer.
    tries: u32,
    /// Counts requests; the present one keeps its number, and so its key, when it is repeated.
    request: u32,
    repeats: u8,
    /// When the present request was meant to be sent.
    intended_us: u64,
    /// The hold's id as a JSON string.
    hold_json: Box<str>,
    hold_amount: i64,
    /// The order to pay, in `orders`.
    order: u32,
    choices: Choices,
}

/// The buyers and what they have seen.
pub(crate) struct Crowd {
    config: Config,
    pub(crate) offer: Offer,
    requests: Requests,
    /// Told apart from all other runs, so that keys and customers are new.
    nonce: u64,
    /// Those who have arrived.
    buyers: Vec<Buyer>,
    next_arrival_us: Option<u64>,
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    ready: VecDeque<u32>,
    /// Arrived and not done.
    active: usize,
    /// Per ticket type: nothing of it is left.
    gone: Vec<bool>,
    /// Per quota: tickets in acknowledged orders.
    pub(crate) sold: Vec<u64>,
    /// Per quota: tickets in abandoned holds.
    pub(crate) abandoned: Vec<u64>,
    pub(crate) orders: Vec<Acknowledged>,
    pub(crate) stats: Stats,
    closing: bool,
}

impl Crowd {
    pub(crate) fn new(config: Config, offer: Offer, requests: Requests, nonce: u64) -> Self {
        let (types, quotas) = (offer.ticket_types.len(), offer.quotas.len());
        let mut crowd = Self {
            config,
            offer,
            requests,
            nonce,
            buyers: Vec::new(),
            next_arrival_us: None,
            waiting: BinaryHeap::new(),
            ready: VecDeque::new(),
            active: 0,
            gone: vec![false; types],
            sold: vec![0; quotas],
            abandoned: vec![0; quotas],
            orders: Vec::new(),
            stats: Stats::new(),
            closing: false,
        };
        crowd.plan_next_arrival();
        crowd
    }

    // --- time

    /// When something is due next, if nothing else happens.
    pub(crate) fn next_due_us(&self) -> Option<u64> {
        let waiting = self.waiting.peek().map(|Reverse((due, _))| *due);
        [waiting, self.next_arrival_us].into_iter().flatten().min()
    }

    /// Makes ready who is due by `now_us`; says how many.
    pub(crate) fn advance(&mut self, now_us: u64) -> usize {
        let before = self.ready.len();
        while let Some(at) = self.next_arrival_us.filter(|&at| at <= now_us) {
            self.arrive(at);
        }
        while let Some(&Reverse((due, buyer))) = self.waiting.peek() {
            if due > now_us {
                break;
            }
            self.waiting.pop();
            if self.buyers[buyer as usize].step != Step::Done {
                self.ready.push_back(buyer);
            }
        }
        self.ready.len() - before
    }

    /// Who is to be served next. Its request is on its way until [`Self::answered`]
    /// or [`Self::failed`].
    pub(crate) fn take(&mut self) -> Option<u32> {
        loop {
            let index = self.ready.pop_front()?;
            let buyer = &mut self.buyers[index as usize];
            if buyer.step != Step::Done {
                buyer.in_flight = true;
                return Some(index);
            }
        }
    }

    /// The buyer was not served after all, and is next.
    pub(crate) fn give_back(&mut self, index: u32) {
        self.buyers[index as usize].in_flight = false;
        self.ready.push_front(index);
    }

    /// Nobody begins anything new; who has a hold or an order finishes.
    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.next_arrival_us = None;
        for index in 0..self.buyers.len() {
            let buyer = &self.buyers[index];
            if !buyer.in_flight && self.may_leave(buyer) {
                self.leave(index as u32, |fates| &mut fates.unfinished);
            }
        }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.active == 0 && self.next_arrival_us.is_none()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.buyers.len() as u64
    }

    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Whether the present request can be left alone: a hold runs out by itself, but
    /// an order that may exist must become known.
    fn may_leave(&self, buyer: &Buyer) -> bool {
        buyer.step == Step::Hold || (buyer.step == Step::Buy && buyer.repeats == 0)
    }

    fn plan_next_arrival(&mut self) {
        let index = self.buyers.len() as u64;
        let Config { arrivals, seed, buyers, .. } = self.config;
        self.next_arrival_us = (index < buyers).then(|| arrival_us(arrivals, seed, index, buyers));
    }

    fn arrive(&mut self, at_us: u64) {
        let index = self.buyers.len() as u32;
        let mut choices = Choices::new(self.config.seed, index);
        let direct = choices.happens(self.config.direct);
        self.buyers.push(Buyer {
            step: if direct { Step::Buy } else { Step::Hold },
            in_flight: false,
            ticket_type: 0,
            quantity: 0,
            price: None,
            tries: 0,
            request: 1,
            repeats: 0,
            intended_us: at_us,
            hold_json: Box::default(),
            hold_amount: 0,
            order: 0,
            choices,
        });
        self.active += 1;
        self.choose(index, |_| true);
        self.ready.push_back(index);
        self.plan_next_arrival();
    }

    /// Picks a ticket type, by weight, among those that `may` be; false: there is none.
    fn choose(&mut self, index: u32, may: impl Fn(usize) -> bool) -> bool {
        let types = &self.offer.ticket_types;
        let weight = |(t, _): &(usize, _)| may(*t);
        let total: u64 = types.iter().enumerate().filter(weight).map(|(_, t)| t.weight).sum();
        if total == 0 {
            return false;
        }
        let buyer = &mut self.buyers[index as usize];
        let mut place = buyer.choices.below(total);
        for (at, ticket_type) in types.iter().enumerate().filter(weight) {
            if place < ticket_type.weight {
                let most = u64::from(ticket_type.quantity_max.max(1));
                let (from, to) = (*self.config.quantity.start(), *self.config.quantity.end());
                let wanted = buyer.choices.within(&(from.into()..=to.into()));
                buyer.ticket_type = at as u16;
                buyer.quantity = wanted.min(most) as u32;
                buyer.price = ticket_type.free_price.then(|| {
                    ticket_type.price + 100 * buyer.choices.below(GENEROSITY_MAX + 1) as i64
                });
                return true;
            }
            place -= ticket_type.weight;
        }
        unreachable!("a place below the sum of all weights lies in one of them")
    }

    // --- requests

    /// Writes the request that the buyer makes now over `out`.
    pub(crate) fn write_request(&mut self, index: u32, out: &mut Vec<u8>) {
        let buyer = &self.buyers[index as usize];
        let customer = token(self.nonce, index, 0);
        let key = token(self.nonce, index, buyer.request);
        let both = [&customer, &key];
        let id_json = &self.offer.ticket_types[usize::from(buyer.ticket_type)].id_json;
        match buyer.step {
            Step::Hold | Step::Buy => {
                let path = if buyer.step == Step::Hold { "holds" } else { "orders" };
                self.requests.items(out, path, both, id_json, buyer.quantity, buyer.price);
            }
            Step::Claim => self.requests.claim(out, both, &buyer.hold_json),
            Step::Pay => {
                let order = &self.orders[buyer.order as usize];
                self.requests.payment(out, &key, &order.code, order.amount, &order.currency);
            }
            Step::Done => unreachable!("who is done is not served"),
        }
    }

    /// The request was answered.
    pub(crate) fn answered(&mut self, index: u32, answer: &Answer<'_>, now_us: u64) {
        self.buyers[index as usize].in_flight = false;
        match answer.status {
            200..=299 => self.accepted(index, answer, now_us),
            408 | 425 | 429 | 503 => self.put_off(index, answer, now_us),
            500..=599 => self.failed_as(index, "status-5xx", now_us),
            _ => self.refused(index, answer, now_us),
        }
    }

    /// There was no answer: what it would have been becomes known by asking again
    /// with the same key.
    pub(crate) fn failed(&mut self, index: u32, error: &Error, now_us: u64) {
        self.failed_as(index, error.kind(), now_us);
    }

    fn failed_as(&mut self, index: u32, kind: &'static str, now_us: u64) {
        self.stats.error(kind, now_us);
        let closing = self.closing;
        let buyer = &mut self.buyers[index as usize];
        buyer.in_flight = false;
        if buyer.repeats == REPEATS_MAX {
            return self.leave(index, |fates| &mut fates.lost_touch);
        }
        if closing && buyer.step == Step::Hold {
            return self.leave(index, |fates| &mut fates.unfinished);
        }
        let backoff = BACKOFF_US << buyer.repeats.min(5);
        buyer.repeats += 1;
        let wait = backoff / 2 + buyer.choices.below(backoff);
        self.waiting.push(Reverse((now_us + wait, index)));
    }

    /// The server is alive but wants the request later: it was not carried out.
    fn put_off(&mut self, index: u32, answer: &Answer<'_>, now_us: u64) {
        self.stats.put_off += 1;
        self.stats.silent_since_us = None;
        let buyer = &mut self.buyers[index as usize];
        let wait_us = answer.retry_after_s.unwrap_or(1).min(RETRY_AFTER_S_MAX) * 1_000_000;
        let jitter_us = buyer.choices.below(wait_us / 4 + 100_000);
        if self.closing && self.may_leave(&self.buyers[index as usize]) {
            return self.leave(index, |fates| &mut fates.unfinished);
        }
        self.send_at(index, now_us + wait_us + jitter_us);
    }

    // --- what answers mean

    fn accepted(&mut self, index: u32, answer: &Answer<'_>, now_us: u64) {
        let buyer = &self.buyers[index as usize];
        let kind = match buyer.step {
            Step::Hold => Kind::Hold,
            Step::Pay => Kind::Payment,
            _ => Kind::Order,
        };
        self.stats.answer(kind, Outcome::Accepted, buyer.intended_us, now_us);
        self.stats.silent_since_us = None;
        let understood = match kind {
            Kind::Hold => self.held(index, answer.body, now_us),
            Kind::Order => self.ordered(index, answer.body, now_us),
            Kind::Payment => self.paid(index, answer.body),
        };
        if understood.is_none() {
            *self.stats.errors.entry("not-understood").or_default() += 1;
            self.leave(index, |fates| &mut fates.lost_touch);
        }
    }

    fn held(&mut self, index: u32, body: &[u8], now_us: u64) -> Option<()> {
        let hold: HoldAnswer = serde_json::from_slice(body).ok()?;
        self.stats.holds += 1;
        let of_main = self.of_main(index);
        self.stats.timeline.held(of_main, now_us);
        let buyer = &mut self.buyers[index as usize];
        if buyer.choices.happens(self.config.abandon) {
            let lapse_us = self.offer.hold_seconds.map(|seconds| now_us + seconds * 1_000_000);
            self.stats.timeline.abandoned(of_main, lapse_us);
            self.stats.abandoned_tickets += u64::from(buyer.quantity);
            for &quota in &self.offer.ticket_types[usize::from(buyer.ticket_type)].quotas {
                self.abandoned[quota] += u64::from(buyer.quantity);
            }
            self.leave(index, |fates| &mut fates.abandoned);
            return Some(());
        }
        buyer.step = Step::Claim;
        buyer.hold_json = serde_json::to_string(&hold.id).ok()?.into();
        buyer.hold_amount = hold.total.amount;
        let think_us = buyer.choices.within(&self.config.think_ms) * 1_000;
        self.begin_at(index, now_us + think_us);
        Some(())
    }

    fn ordered(&mut self, index: u32, body: &[u8], now_us: u64) -> Option<()> {
        let order: OrderAnswer = serde_json::from_slice(body).ok()?;
        let state = match order.state.as_str() {
            "awaiting_payment" => OrderState::AwaitingPayment,
            "confirmed" => OrderState::Confirmed,
            _ => return None,
        };
        let of_main = self.of_main(index);
        let buyer = &mut self.buyers[index as usize];
        if buyer.step == Step::Claim {
            self.stats.timeline.ended(of_main, now_us);
        }
        self.stats.timeline.sold(of_main, now_us);
        if buyer.step == Step::Claim && order.total.amount != buyer.hold_amount {
            // Told as an error: the money of the order is not that of its hold.
            *self.stats.errors.entry("another-total").or_default() += 1;
        }
        let ticket_type = &self.offer.ticket_types[usize::from(buyer.ticket_type)];
        for &quota in &ticket_type.quotas {
            self.sold[quota] += u64::from(buyer.quantity);
        }
        buyer.order = self.orders.len() as u32;
        self.orders.push(Acknowledged {
            code: order.code,
            state,
            amount: order.total.amount,
            currency: order.total.currency,
            ticket_type: ticket_type.id.clone(),
            quantity: buyer.quantity,
            tickets: order.tickets.into_iter().map(|t| t.code).collect(),
        });
        if let (Some(main), Some(stock)) = (self.offer.main, self.offer.stock())
            && self.sold[main] >= stock
        {
            self.stats.sold_out(now_us);
        }
        match state {
            OrderState::Confirmed => self.leave(index, |fates| &mut fates.served),
            OrderState::AwaitingPayment => {
                buyer.step = Step::Pay;
                self.begin_at(index, now_us);
            }
        }
        Some(())
    }

    fn paid(&mut self, index: u32, body: &[u8]) -> Option<()> {
        let payment: PaymentAnswer = serde_json::from_slice(body).ok()?;
        if matches!(payment.state.as_deref(), Some("refund_due" | "refunded")) {
            self.stats.payments_due_back += 1;
            self.leave(index, |fates| &mut fates.turned_away);
        } else {
            let order = self.buyers[index as usize].order;
            self.orders[order as usize].state = OrderState::Confirmed;
            self.leave(index, |fates| &mut fates.served);
        }
        Some(())
    }

    fn refused(&mut self, index: u32, answer: &Answer<'_>, now_us: u64) {
        let buyer = &self.buyers[index as usize];
        let (step, intended_us) = (buyer.step, buyer.intended_us);
        let kind = match step {
            Step::Hold => Kind::Hold,
            Step::Pay => Kind::Payment,
            _ => Kind::Order,
        };
        self.stats.answer(kind, Outcome::Refused, intended_us, now_us);
        self.stats.silent_since_us = None;
        let problem = Problem::read(answer.status, answer.body);
        self.stats.refusal(&problem.kind);
        match (step, problem.kind.as_str()) {
            (Step::Hold | Step::Buy, "none-free-now") => self.try_again(index, now_us),
            (Step::Hold | Step::Buy, "sold-out") => self.told_sold_out(index, &problem, now_us),
            // The buyer thought, or the server took, too long: like a person, begin anew.
            (Step::Claim, "hold-expired") => {
                let of_main = self.of_main(index);
                self.stats.timeline.ended(of_main, now_us);
                self.buyers[index as usize].step = Step::Hold;
                self.try_again(index, now_us);
            }
            _ => self.leave(index, |fates| &mut fates.turned_away),
        }
    }

    fn try_again(&mut self, index: u32, now_us: u64) {
        if self.closing {
            return self.leave(index, |fates| &mut fates.unfinished);
        }
        let buyer = &mut self.buyers[index as usize];
        buyer.tries += 1;
        if self.config.retry.tries_max.is_some_and(|most| buyer.tries > most) {
            return self.leave(index, |fates| &mut fates.gave_up);
        }
        let wait_us = buyer.choices.within(&self.config.retry.every_ms) * 1_000;
        self.begin_at(index, now_us + wait_us);
    }

    /// Fewer may be had when more than one was asked for; else another type may.
    fn told_sold_out(&mut self, index: u32, problem: &Problem, now_us: u64) {
        let buyer = &mut self.buyers[index as usize];
        if buyer.quantity > 1 && problem.free != Some(0) {
            let left = problem.free.unwrap_or(1);
            buyer.quantity = left.clamp(1, buyer.quantity - 1);
            self.again_unless_closing(index, now_us);
            return;
        }
        let ticket_type = usize::from(buyer.ticket_type);
        self.gone[ticket_type] = true;
        let main_gone = self.is_main_gone(problem);
        if main_gone {
            self.stats.sold_out(now_us);
        }
        let close_now = main_gone && self.config.stop_when_sold_out && !self.closing;
        let gone = std::mem::take(&mut self.gone);
        let found = !close_now && self.choose(index, |t| !gone[t]);
        self.gone = gone;
        if found {
            self.again_unless_closing(index, now_us);
        } else {
            self.leave(index, |fates| &mut fates.sold_out);
        }
        if close_now {
            self.close();
        }
    }

    fn again_unless_closing(&mut self, index: u32, now_us: u64) {
        if self.closing {
            self.leave(index, |fates| &mut fates.sold_out);
        } else {
            self.begin_at(index, now_us);
        }
    }

    /// Whether the refusal of a single ticket says that the main stock is gone: it
    /// names its quota, or every type that draws on it is gone.
    fn is_main_gone(&self, problem: &Problem) -> bool {
        let Some(main) = self.offer.main else { return false };
        if let Some(quota) = &problem.quota {
            return *quota == self.offer.quotas[main].id;
        }
        let types = self.offer.ticket_types.iter().zip(&self.gone);
        types.filter(|(t, _)| t.quotas.contains(&main)).all(|(_, &gone)| gone)
    }

    /// Tickets of the main stock that the buyer wants or has; all, where there is none.
    fn of_main(&self, index: u32) -> u64 {
        let buyer = &self.buyers[index as usize];
        let quotas = &self.offer.ticket_types[usize::from(buyer.ticket_type)].quotas;
        let counts = self.offer.main.is_none_or(|main| quotas.contains(&main));
        if counts { u64::from(buyer.quantity) } else { 0 }
    }

    // --- moves

    /// The next request, a new one with a key of its own, is meant for `at_us`.
    fn begin_at(&mut self, index: u32, at_us: u64) {
        let buyer = &mut self.buyers[index as usize];
        buyer.request += 1;
        buyer.repeats = 0;
        self.send_at(index, at_us);
    }

    /// The present request is now meant for `at_us`.
    fn send_at(&mut self, index: u32, at_us: u64) {
        self.buyers[index as usize].intended_us = at_us;
        self.waiting.push(Reverse((at_us, index)));
    }

    fn leave(&mut self, index: u32, fate: impl FnOnce(&mut crate::stats::Fates) -> &mut u64) {
        let buyer = &mut self.buyers[index as usize];
        buyer.step = Step::Done;
        buyer.hold_json = Box::default();
        self.active -= 1;
        *fate(&mut self.stats.fates) += 1;
    }
}

#[cfg(test)]
mod tests;
