//! The books of a copy of the sales, kept from its CloudEvents alone, as any reader in any language would: for an
//! audit of the copy. It shares nothing with the engine or with the auditor of journals.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};

/// The most findings that are told in words.
const FINDINGS_MAX: usize = 100;

/// How many there are of what.
type Counts = BTreeMap<&'static str, u64>;

/// What follows from the records taken so far.
#[derive(Default)]
pub struct Books {
    /// By log and shard of the source: the positions that were there.
    shards: BTreeMap<String, BTreeSet<u64>>,
    /// By `ORGANIZER/EVENT`.
    events: BTreeMap<String, EventBook>,
    tickets: HashSet<String>,
    doubles: u64,
    findings: Vec<String>,
    findings_count: u64,
    /// How holds were placed and ended.
    holds: Counts,
}

/// One event.
#[derive(Default)]
struct EventBook {
    shard: u64,
    position: u64,
    version: u64,
    quotas: Vec<Quota>,
    /// Each ticket type's quotas.
    types: HashMap<String, Vec<String>>,
    /// By ticket type: tickets in live holds, and in orders that are not cancelled.
    held: HashMap<String, i64>,
    sold: HashMap<String, i64>,
    holds: HashMap<String, Value>,
    orders: HashMap<String, Order>,
    /// By reference: order and state.
    payments: HashMap<String, (String, &'static str)>,
}

struct Quota {
    id: String,
    capacity: Option<i64>,
    oversold: i64,
}

struct Order {
    lines: Value,
    total: Value,
    state: &'static str,
}

/// A number of a ticket type's tickets, for each of some lines.
fn lines(lines: &Value) -> impl Iterator<Item = (&str, i64)> {
    let line = |line: &'_ Value| line["quantity"].as_i64().unwrap_or(0);
    let lines = lines.as_array().map_or(&[][..], Vec::as_slice);
    lines.iter().map(move |of| (of["ticket_type"].as_str().unwrap_or_default(), line(of)))
}

fn change(counts: &mut HashMap<String, i64>, of: &Value, sign: i64) {
    for (ticket_type, quantity) in lines(of) {
        *counts.entry(ticket_type.to_owned()).or_default() += sign * quantity;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Books {
    /// Takes the next record. What is wrong with it is in the report.
    pub fn take(&mut self, payload: &[u8]) {
        let record: Value = serde_json::from_slice(payload).unwrap_or_default();
        let id = text(&record["id"]);
        let Some((source, Ok(position))) =
            id.rsplit_once('/').map(|(source, position)| (source, position.parse::<u64>()))
        else {
            return self.found(|| format!("a record whose id is {id:?}"));
        };
        if !self.shards.entry(source.to_owned()).or_default().insert(position) {
            self.doubles += 1;
            return;
        }
        let subject = text(&record["subject"]);
        // A record about the shard itself has no subject.
        if subject.is_empty() {
            return;
        }
        let mut event = self.events.remove(&subject).unwrap_or_default();
        if position < event.position {
            self.found(|| format!("{id} of {subject} comes after position {}", event.position));
        }
        event.position = position;
        event.shard = record["shard"].as_u64().unwrap_or(0);
        let (kind, data) = (text(&record["type"]), &record["data"]);
        if let Err(why) = self.apply(&mut event, &kind, data) {
            self.found(|| format!("{id}, {kind} of {subject}: {why}"));
        }
        if let Some(short) = event.short_quota() {
            self.found(|| {
                format!("{id}: more is held and sold of {subject}'s {short} than there is")
            });
        }
        self.events.insert(subject, event);
    }

    fn apply(&mut self, event: &mut EventBook, kind: &str, data: &Value) -> Result<(), String> {
        let mut count = |what| *self.holds.entry(what).or_default() += 1;
        match kind {
            "onsale.event.defined.v1" => event.define(data),
            "onsale.event.state-set.v1" => event.version = data["version"].as_u64().unwrap_or(0),
            "onsale.hold.placed.v1" => {
                count("placed");
                change(&mut event.held, &data["lines"], 1);
                let before = event.holds.insert(text(&data["hold"]), data["lines"].clone());
                if before.is_some() {
                    return Err("the hold was there before".into());
                }
            }
            "onsale.hold.released.v1" | "onsale.hold.expired.v1" => {
                count(if kind.contains("released") { "released" } else { "expired" });
                event.end_hold(&data["hold"])?;
            }
            "onsale.order.placed.v1" => {
                if !data["hold"].is_null() {
                    count("claimed");
                    event.end_hold(&data["hold"])?;
                }
                change(&mut event.sold, &data["lines"], 1);
                let state = match data["state"].as_str() {
                    Some("confirmed") => "confirmed",
                    _ => "awaiting_payment",
                };
                let (lines, total) = (data["lines"].clone(), data["total"].clone());
                let code = text(&data["order"]);
                if event.orders.insert(code, Order { lines, total, state }).is_some() {
                    return Err("the order was there before".into());
                }
                if state == "confirmed" {
                    return self.issue(event, data);
                }
            }
            "onsale.payment.recorded.v1" => return self.pay(event, data),
            "onsale.order.cancelled.v1" => return event.cancel(data),
            "onsale.payment.refunded.v1" => match event.payments.get_mut(&text(&data["reference"]))
            {
                Some((_, state)) if *state == "refund_due" => *state = "refunded",
                _ => return Err("no such payment is due back".into()),
            },
            // Types may come that are not known here.
            _ => {}
        }
        Ok(())
    }

    fn pay(&mut self, event: &mut EventBook, data: &Value) -> Result<(), String> {
        let (code, reference) = (text(&data["order"]), text(&data["reference"]));
        let is_applied = data["state"] == "applied";
        let state = if is_applied { "applied" } else { "refund_due" };
        if event.payments.insert(reference, (code.clone(), state)).is_some() {
            return Err("the payment was there before".into());
        }
        if !is_applied {
            return Ok(());
        }
        let Some(order) = event.orders.get_mut(&code) else {
            return Err(format!("there is no order {code}"));
        };
        let due = (&order.total["amount"], &order.total["currency"]);
        if due != (&data["amount"], &data["currency"]) {
            return Err(format!("order {code} costs {} {}", due.0, due.1));
        }
        match (order.state, data["reinstated"].as_bool()) {
            ("cancelled_unpaid", Some(true)) => change(&mut event.sold, &order.lines, 1),
            ("awaiting_payment", Some(false)) => {}
            (state, _) => return Err(format!("order {code} was {state}")),
        }
        order.state = "confirmed";
        self.issue(event, data)
    }

    /// Takes note of the tickets of an order that is confirmed.
    fn issue(&mut self, event: &EventBook, data: &Value) -> Result<(), String> {
        let code = text(&data["order"]);
        let tickets = data["tickets"].as_array().map_or(&[][..], Vec::as_slice);
        let order = event.orders.get(&code);
        let bought: i64 = order.map_or(0, |order| lines(&order.lines).map(|line| line.1).sum());
        if usize::try_from(bought) != Ok(tickets.len()) {
            return Err(format!("order {code} has {} tickets for {bought}", tickets.len()));
        }
        for ticket in tickets {
            let ticket = text(&ticket["code"]);
            if !self.tickets.insert(ticket.clone()) {
                return Err(format!("ticket {ticket} was there before"));
            }
        }
        Ok(())
    }

    fn found(&mut self, what: impl FnOnce() -> String) {
        self.findings_count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what());
        }
    }

    /// What the books say: as `onsale journal audit --json` does, and `doubles`.
    pub fn report(mut self) -> Value {
        let records = self.check_positions();
        let (mut live, mut orders, mut payments) = (0, Counts::new(), Counts::new());
        for event in self.events.values() {
            live += event.holds.len();
            for (_, state) in event.payments.values() {
                *payments.entry(state).or_default() += 1;
            }
            for order in event.orders.values() {
                *orders.entry(order.state).or_default() += 1;
            }
        }
        let of = |counts: &Counts, what: &str| counts.get(what).copied().unwrap_or(0);
        let (hold, order) = (|what| of(&self.holds, what), |what| of(&orders, what));
        let payment = |what| of(&payments, what);
        let events = self.events.iter().map(|(name, event)| event.report(name));
        json!({
            "ok": self.findings_count == 0,
            "records": records,
            "doubles": self.doubles,
            "holds": { "placed": hold("placed"), "claimed": hold("claimed"),
                "released": hold("released"), "expired": hold("expired"), "live": live },
            "orders": { "confirmed": order("confirmed"),
                "awaiting_payment": order("awaiting_payment"),
                "cancelled_unpaid": order("cancelled_unpaid"),
                "cancelled_customer": order("cancelled_customer"),
                "cancelled_organizer": order("cancelled_organizer"),
                "tickets": self.events.values().map(EventBook::tickets).sum::<i64>() },
            "payments": { "applied": payment("applied"), "refund_due": payment("refund_due"),
                "refunded": payment("refunded") },
            "events": events.collect::<Vec<Value>>(),
            "findings_count": self.findings_count,
            "findings": self.findings,
        })
    }

    /// Finds records that are not there: positions begin at 1 and have no gaps. Says how many there are.
    fn check_positions(&mut self) -> usize {
        let mut records = 0;
        for (shard, positions) in std::mem::take(&mut self.shards) {
            records += positions.len();
            let missing = (1..).zip(&positions).find(|(expected, position)| expected != *position);
            if let Some((first, _)) = missing {
                self.found(|| format!("{shard}/{first} is not there, and maybe more"));
            }
        }
        records
    }
}

impl EventBook {
    fn define(&mut self, data: &Value) {
        self.version = data["version"].as_u64().unwrap_or(0);
        let list = |of: &str| data["definition"][of].as_array().cloned().unwrap_or_default();
        let quota = |quota: &Value| {
            let id = text(&quota["id"]);
            let before = self.quotas.iter().find(|before| before.id == id);
            let oversold = before.map_or(0, |before| before.oversold);
            Quota { id, capacity: quota["capacity"].as_i64(), oversold }
        };
        self.quotas = list("quotas").iter().map(quota).collect();
        let quotas = |of: &Value| of["quotas"].as_array().into_iter().flatten().map(text).collect();
        let types = list("ticket_types");
        self.types = types.iter().map(|of| (text(&of["id"]), quotas(of))).collect();
    }

    fn end_hold(&mut self, id: &Value) -> Result<(), String> {
        let lines = self.holds.remove(&text(id)).ok_or("the hold is not live")?;
        change(&mut self.held, &lines, -1);
        Ok(())
    }

    fn cancel(&mut self, data: &Value) -> Result<(), String> {
        let code = text(&data["order"]);
        let order = self.orders.get_mut(&code).ok_or("there is no such order")?;
        if order.state.starts_with("cancelled") {
            return Err("the order was cancelled before".into());
        }
        change(&mut self.sold, &order.lines, -1);
        order.state = match data["reason"].as_str() {
            Some("unpaid") => "cancelled_unpaid",
            Some("customer") => "cancelled_customer",
            _ => "cancelled_organizer",
        };
        for (of, state) in self.payments.values_mut() {
            if *of == code && *state == "applied" {
                *state = "refund_due";
            }
        }
        Ok(())
    }

    /// What of a quota is held, and sold: sums over the ticket types that draw on it now.
    fn used(&self, quota: &str) -> (i64, i64) {
        let draws = |ticket_type: &str| {
            let quotas = self.types.get(ticket_type);
            quotas.is_some_and(|quotas| quotas.iter().any(|of| of == quota))
        };
        let sum = |counts: &HashMap<String, i64>| {
            counts.iter().filter(|(of, _)| draws(of)).map(|(_, count)| count).sum()
        };
        (sum(&self.held), sum(&self.sold))
    }

    /// A quota of which more was taken than ever before beyond what there is.
    fn short_quota(&mut self) -> Option<String> {
        let mut short = None;
        for at in 0..self.quotas.len() {
            let (held, sold) = self.used(&self.quotas[at].id);
            let quota = &mut self.quotas[at];
            let over = quota.capacity.map_or(0, |capacity| held + sold - capacity);
            if over > quota.oversold {
                quota.oversold = over;
                short = Some(quota.id.clone());
            }
        }
        short
    }

    /// Tickets of confirmed orders.
    fn tickets(&self) -> i64 {
        let confirmed = self.orders.values().filter(|order| order.state == "confirmed");
        confirmed.flat_map(|order| lines(&order.lines)).map(|line| line.1).sum()
    }

    fn report(&self, name: &str) -> Value {
        let (organizer, event) = name.split_once('/').unwrap_or((name, ""));
        let quota = |quota: &Quota| {
            let (held, sold) = self.used(&quota.id);
            let free = quota.capacity.map(|capacity| capacity - held - sold);
            json!({ "id": quota.id, "capacity": quota.capacity, "allotment": quota.capacity,
                "free": free, "held": held, "sold": sold, "oversold": quota.oversold })
        };
        let quotas: Vec<Value> = self.quotas.iter().map(quota).collect();
        json!({ "organizer": organizer, "event": event, "shard": self.shard,
            "version": self.version, "quotas": quotas })
    }
}

#[cfg(test)]
mod tests;
