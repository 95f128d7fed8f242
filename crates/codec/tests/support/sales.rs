//! Sales at random: commands of all kinds over two events.

use onsale_core::event::{Event, Events, Fact, ShardStarted, Subject};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, Decision, EventDefinition,
    EventState, Expects, HoldId, Id, Item, Limit, Needs, OrderCode, QuotaDefinition, Reference,
    Refusal, Sale, TicketTypeDefinition, Time, Unanswered, Window,
};

/// A small generator (SplitMix64), so that a seed gives the same history for ever.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// A state, what it asks next, and the journal that led to it.
pub struct History {
    pub sale: Sale,
    pub now: Time,
    random: Random,
    holds: Vec<HoldId>,
    /// By position less one.
    journal: Vec<Event>,
}

const KEY: CodeKey = CodeKey(*b"a key for tests!");

impl History {
    pub fn new(seed: u64, hot: u32) -> History {
        let mut sale = Sale::new();
        sale.keep_hot(hot);
        let (now, random) = (Time(1_000_000), Random(seed));
        let mut history = History { sale, now, random, holds: Vec::new(), journal: Vec::new() };
        let started = ShardStarted { log: 77, shard: 3, shards: 4, key: KEY, generation: 1 };
        let fact = Fact::ShardStarted(started);
        let first = Event { at: now, stamp: None, subject: None, fact };
        history.apply(&[first].into_iter().collect());
        for event in ["a", "b"] {
            let definition = Box::new(definition(event, 5));
            history.ask(event, Action::DefineEvent { definition, expects: Expects::Unsaid });
            let (state, expects) = (EventState::Open, Expects::Any);
            history.ask(event, Action::SetState { state, expects });
        }
        history
    }

    pub fn ask(&mut self, event: &str, action: Action) {
        let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
        let command = Command { stamp, organizer: id("org"), event: id(event), action };
        match self.decide(&command) {
            Ok(Decision::Change(events)) => self.apply(&events),
            other => panic!("{command:?}: {other:?}"),
        }
    }

    fn records(&self, needs: &Needs) -> Vec<(u64, Event)> {
        let record = |at: &u64| (*at, self.journal[*at as usize - 1].clone());
        needs.positions.iter().map(record).collect()
    }

    /// Decides, with the records that it takes.
    pub fn decide(&mut self, command: &Command) -> Result<Decision, Refusal> {
        let mut sale = std::mem::take(&mut self.sale);
        let decision = self.decide_on(&mut sale, command);
        self.sale = sale;
        decision
    }

    pub fn decide_on(&self, sale: &mut Sale, command: &Command) -> Result<Decision, Refusal> {
        loop {
            match sale.decide(command, self.now) {
                Ok(Decision::Needs(needs)) => sale.thaw(&self.records(&needs)).unwrap(),
                decision => return decision,
            }
        }
    }

    pub fn apply(&mut self, events: &Events) {
        let mut sale = std::mem::take(&mut self.sale);
        self.apply_to(&mut sale, events);
        self.sale = sale;
        self.journal.extend(events.iter().cloned());
    }

    pub fn apply_to(&self, sale: &mut Sale, events: &Events) {
        for event in events {
            sale.apply(sale.position() + 1, event).unwrap();
        }
    }

    pub fn due(&mut self) -> Vec<(Subject, Action)> {
        let mut sale = std::mem::take(&mut self.sale);
        let due = self.due_of(&mut sale);
        self.sale = sale;
        due
    }

    pub fn due_of(&self, sale: &mut Sale) -> Vec<(Subject, Action)> {
        let mut due = Vec::new();
        sale.due(self.now, 1_000, &mut due);
        due
    }

    /// One random command, carried out.
    pub fn step(&mut self) {
        let command = self.command();
        if let Ok(Decision::Change(events)) = self.decide(&command) {
            self.apply(&events);
        }
    }

    fn order_at_random(&mut self) -> OrderCode {
        let orders = self.sale.counts().orders as u64;
        KEY.order_code(3, self.sale.generation(), 1 + self.random.below(orders + 1))
    }

    fn hold_at_random(&mut self) -> HoldId {
        let recent = self.holds.len().saturating_sub(self.random.below(20) as usize + 1);
        self.holds.get(recent).copied().unwrap_or(HoldId(1))
    }

    pub fn command(&mut self) -> Command {
        self.now.0 += self.random.below(400_000) as i64;
        let event = if self.random.below(3) == 0 { "b" } else { "a" };
        let customer = CustomerId::new(&format!("c{}", self.random.below(30))).unwrap();
        let items = (0..=self.random.below(3)).map(|n| Item {
            ticket_type: id(["x", "y", "z"][n as usize % 3]),
            quantity: 1 + self.random.below(2) as u32,
            price: None,
        });
        let items = items.collect();
        let action = match self.random.below(20) {
            0..6 => {
                let hold = HoldId(u128::from(self.random.next()) << 64 | 7);
                self.holds.push(hold);
                Action::PlaceHold { hold, customer, items }
            }
            6..8 => Action::Buy { customer, items },
            8..11 => Action::ClaimHold { hold: self.hold_at_random(), customer },
            11 => Action::ExtendHold { hold: self.hold_at_random() },
            12 => Action::ReleaseHold { hold: self.hold_at_random() },
            13..16 => {
                let order = self.order_at_random();
                let amount = self.total(event, order);
                let reference = format!("r{}", self.random.below(400));
                let (reference, currency) =
                    (Reference::new(&reference).unwrap(), Currency::new("EUR").unwrap());
                Action::RecordPayment { order, reference, amount, currency, paid_at: None }
            }
            16 => Action::CancelOrder {
                order: self.order_at_random(),
                manage: self.random.below(2) == 0,
            },
            17 => {
                let reference = format!("r{}", self.random.below(400));
                let reference = Reference::new(&reference).unwrap();
                Action::RecordRefund { order: None, reference }
            }
            18 if self.random.below(10) == 0 => Action::DefineEvent {
                definition: Box::new(definition(event, 3 + self.random.below(5) as u32)),
                expects: Expects::Any,
            },
            _ => match self.due().into_iter().next() {
                Some((subject, action)) => return unsent(subject, action),
                None => Action::Buy { customer, items },
            },
        };
        let chosen = self.random.below(3) == 0;
        let stamp =
            CommandStamp { id: self.random.below(300).into(), body: 0, chosen, made_at: None };
        Command { stamp, organizer: id("org"), event: id(event), action }
    }

    fn total(&mut self, event: &str, order: OrderCode) -> i64 {
        loop {
            match self.sale.order(&id("org"), &id(event), order) {
                Ok(view) => return view.total,
                Err(Unanswered::Refused(_)) => return 7,
                Err(Unanswered::Needs(needs)) => {
                    let records = self.records(&needs);
                    self.sale.thaw(&records).unwrap();
                }
            }
        }
    }
}

fn unsent(subject: Subject, action: Action) -> Command {
    let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
    Command { stamp, organizer: subject.organizer, event: subject.event, action }
}

fn definition(event: &str, hold_seconds: u32) -> EventDefinition {
    let ticket_type = |name: &str, price, quotas: &[&str]| TicketTypeDefinition {
        id: id(name),
        name: name.to_owned(),
        price,
        free_price: false,
        quotas: quotas.iter().map(|quota| id(quota)).collect(),
        sale: Window::default(),
    };
    let per_customer = Some(40);
    EventDefinition {
        name: "An event".to_owned(),
        currency: Currency::new("EUR").unwrap(),
        starts_at: None,
        sale: Window::default(),
        limits: vec![Limit { ticket_types: vec![id("y"), id("z")], per_order: None, per_customer }],
        hold_seconds,
        payment_seconds: hold_seconds * 3,
        sale_group: id(event),
        quotas: vec![
            QuotaDefinition { id: id("p"), capacity: None },
            QuotaDefinition { id: id("q"), capacity: Some(2_000) },
        ],
        ticket_types: vec![
            ticket_type("x", 5, &["p"]),
            ticket_type("y", 7, &["p", "q"]),
            ticket_type("z", 0, &["q"]),
        ],
    }
}

/// The bytes of a snapshot with the sizes that its shard claims made huge.
pub fn with_huge_sizes(whole: &[u8]) -> Vec<u8> {
    // version = 1, then the first table: its length, and in it the shard's.
    assert_eq!(whole[..3], [8, 1, 0x12]);
    let (length, at) = varint(whole, 3);
    let (table, rest) = whole[at..].split_at(length as usize);
    assert_eq!(table[0], 0x0A);
    let (_, at) = varint(table, 1);
    let mut shard = Vec::new();
    let mut from = at;
    while from < table.len() {
        let (tag, value_at) = varint(table, from);
        let (value, mut next) = varint(table, value_at);
        if tag & 7 == 2 {
            next += value as usize;
        }
        if tag >> 3 < 12 {
            shard.extend_from_slice(&table[from..next]);
        }
        from = next;
    }
    for number in 12..=15u8 {
        shard.extend_from_slice(&[number << 3, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
    }
    let mut table = vec![0x0A];
    push_varint(&mut table, shard.len());
    table.extend_from_slice(&shard);
    let mut out = vec![8, 1, 0x12];
    push_varint(&mut out, table.len());
    [out, table, rest.to_vec()].concat()
}

fn varint(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let (mut value, mut shift) = (0, 0);
    loop {
        value |= u64::from(bytes[at] & 0x7F) << shift;
        shift += 7;
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (value, at);
        }
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
