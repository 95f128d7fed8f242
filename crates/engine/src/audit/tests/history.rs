//! A history of records, told in few words.
//!
//! The event `river/night` sells `seat` (100 ¢, at most 4 per order and 5 per
//! customer) and `gift` (free of charge or more, as the buyer likes), both from the
//! quota `hall` of 10; `gift` also from `unlimited`.

use onsale_core::event::{
    CancelReason, EventDefined, HoldPlaced, Line, Lines, OrderPlaced, PaymentOutcome,
    PaymentRecorded, Provider, QuotaStock, ShardStarted, Stock, StockSource, Subject,
};
use onsale_core::{
    CodeKey, CommandStamp, Currency, CustomerId, Event, EventDefinition, EventState, Fact, HoldId,
    Id, Limit, OrderCode, QuotaDefinition, Reference, TicketTypeDefinition, Time, Window,
};

use super::super::{Auditor, Report};

pub const KEY: CodeKey = CodeKey(*b"sixteen byte key");
pub const SECOND: i64 = 1_000_000;
pub const BEGIN: Time = Time(1_800_000_000 * SECOND);

pub fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

pub fn eur() -> Currency {
    Currency::new("EUR").expect("a currency")
}

pub fn subject(event: &str) -> Subject {
    Subject { organizer: id("river"), event: id(event) }
}

pub fn started(shard: u16, shards: u16) -> ShardStarted {
    ShardStarted { log: 7, shard, shards, key: KEY, generation: 1 }
}

pub fn definition() -> EventDefinition {
    let ticket_type = |name: &str, price, free_price, quotas: &[&str]| TicketTypeDefinition {
        id: id(name),
        name: name.into(),
        price,
        free_price,
        quotas: quotas.iter().map(|quota| id(quota)).collect(),
        sale: Window::default(),
    };
    EventDefinition {
        name: "Night".into(),
        currency: eur(),
        starts_at: None,
        sale: Window::default(),
        limits: vec![Limit {
            ticket_types: vec![id("seat")],
            per_order: Some(4),
            per_customer: Some(5),
        }],
        hold_seconds: 60,
        payment_seconds: 600,
        sale_group: id("night"),
        quotas: vec![
            QuotaDefinition { id: id("hall"), capacity: Some(10) },
            QuotaDefinition { id: id("unlimited"), capacity: None },
        ],
        ticket_types: vec![
            ticket_type("seat", 100, false, &["hall"]),
            ticket_type("gift", 0, true, &["hall", "unlimited"]),
        ],
    }
}

pub fn defined(version: u32, definition: EventDefinition) -> Box<EventDefined> {
    let stock = |allotment| QuotaStock { allotment, epoch: 1, source: StockSource::Own };
    let stocks = definition.quotas.iter().map(|quota| stock(quota.capacity)).collect();
    Box::new(EventDefined { version, definition, stocks })
}

pub fn line(ticket_type: &str, quantity: u32, unit_price: i64) -> Line {
    Line {
        event: None,
        ticket_type: id(ticket_type),
        stock: Stock::Counted(quantity),
        unit_price,
        version: 2,
        channel: None,
        components: vec![],
    }
}

/// Records as they come, with the numbers that the next ones need.
pub struct History {
    pub records: Vec<(u16, u64, Event)>,
    pub now: Time,
    pub shard: u16,
    pub subject: Subject,
    pub generation: u32,
    /// Number of the last order.
    pub sequence: u64,
}

impl History {
    /// A shard that was started, and the event `river/night`, open at version 2.
    pub fn new() -> History {
        let mut history = History {
            records: vec![],
            now: BEGIN,
            shard: 0,
            subject: subject("night"),
            generation: 1,
            sequence: 0,
        };
        history.start(started(0, 1));
        history.add(Fact::GroupPlaced { sale_group: id("night") });
        history.add(Fact::EventDefined(defined(1, definition())));
        history.add(Fact::StateSet { version: 2, state: EventState::Open });
        history
    }

    pub fn start(&mut self, started: ShardStarted) {
        self.push(None, None, Fact::ShardStarted(started));
    }

    /// Adds a fact about the event.
    pub fn add(&mut self, fact: Fact) {
        self.push(Some(self.subject), None, fact);
    }

    /// Adds a fact with a chosen id of a command.
    pub fn add_chosen(&mut self, id: u128, fact: Fact) {
        let stamp = CommandStamp { id, body: 0, chosen: true, made_at: None };
        self.push(Some(self.subject), Some(stamp), fact);
    }

    pub fn push(&mut self, subject: Option<Subject>, stamp: Option<CommandStamp>, fact: Fact) {
        let last = self.records.iter().rev().find(|(shard, ..)| *shard == self.shard);
        let position = last.map_or(0, |(_, position, _)| *position) + 1;
        let event = Event { at: self.now, stamp, subject, fact };
        self.records.push((self.shard, position, event));
    }

    pub fn wait(&mut self, seconds: i64) {
        self.now.0 += seconds * SECOND;
    }

    pub fn held(&self, hold: u128, customer: &str, lines: &[Line]) -> HoldPlaced {
        HoldPlaced {
            hold: HoldId(hold),
            customer: CustomerId::new(customer).expect("a customer"),
            expires_at: self.now.plus_seconds(60),
            lines: lines.to_vec().into(),
            total: total(lines),
            currency: eur(),
        }
    }

    pub fn hold(&mut self, hold: u128, customer: &str, lines: &[Line]) {
        let placed = self.held(hold, customer, lines);
        self.add(Fact::HoldPlaced(placed));
    }

    /// The next order, not yet added.
    pub fn ordered(&self, hold: Option<u128>, customer: &str, lines: &[Line]) -> OrderPlaced {
        let sequence = self.sequence + 1;
        let total = total(lines);
        OrderPlaced {
            order: KEY.order_code(self.shard, self.generation, sequence),
            sequence,
            hold: hold.map(HoldId),
            customer: CustomerId::new(customer).expect("a customer"),
            lines: lines.to_vec().into(),
            total,
            currency: eur(),
            payment_due: (total > 0).then_some(self.now.plus_seconds(600)),
        }
    }

    pub fn add_order(&mut self, placed: OrderPlaced) -> OrderCode {
        let code = placed.order;
        self.sequence += 1;
        self.add(Fact::OrderPlaced(placed));
        code
    }

    /// An order from a hold, or in one step.
    pub fn order(&mut self, hold: Option<u128>, customer: &str, lines: &[Line]) -> OrderCode {
        let placed = self.ordered(hold, customer, lines);
        self.add_order(placed)
    }

    pub fn paid(&self, order: OrderCode, reference: &str, amount: i64) -> PaymentRecorded {
        PaymentRecorded {
            order,
            provider: Provider::External,
            reference: Reference::new(reference).expect("a reference"),
            amount,
            currency: eur(),
            paid_at: self.now,
            outcome: PaymentOutcome::Applied,
        }
    }

    pub fn pay(&mut self, order: OrderCode, reference: &str, amount: i64, outcome: PaymentOutcome) {
        let paid = PaymentRecorded { outcome, ..self.paid(order, reference, amount) };
        self.add(Fact::PaymentRecorded(paid));
    }

    pub fn refund(&mut self, order: OrderCode, reference: &str) {
        let reference = Reference::new(reference).expect("a reference");
        self.add(Fact::PaymentRefunded { order, reference });
    }

    pub fn cancel(&mut self, order: OrderCode, reason: CancelReason) {
        self.add(Fact::OrderCancelled { order, reason });
    }

    pub fn extend(&mut self, hold: u128) {
        let expires_at = self.now.plus_seconds(60);
        self.add(Fact::HoldExtended { hold: HoldId(hold), expires_at });
    }

    pub fn release(&mut self, hold: u128) {
        self.add(Fact::HoldReleased { hold: HoldId(hold) });
    }

    pub fn expire(&mut self, hold: u128) {
        self.add(Fact::HoldExpired { hold: HoldId(hold) });
    }

    pub fn audit(&self) -> Report {
        let mut auditor = Auditor::new();
        for (shard, position, event) in &self.records {
            auditor.record(*shard, *position, event);
        }
        auditor.finish()
    }
}

fn total(lines: &[Line]) -> i64 {
    lines.iter().map(|line| line.unit_price * i64::from(line.stock.quantity())).sum()
}

/// Lines by type, quantity and price.
pub fn lines(of: &[(&str, u32, i64)]) -> Vec<Line> {
    let lines: Lines = of.iter().map(|(id, quantity, price)| line(id, *quantity, *price)).collect();
    lines.into_vec()
}
