//! The stage on which the tables run.
//!
//! A table is a text. A row reads `<second> <command> => <outcome>`; a row without a
//! second keeps the one before; `#` begins a comment. After each row the state is
//! checked in full, and its events are applied to a second state that must come to
//! the same hash.
//!
//! - `define WORDS…` with `q=ID:CAPACITY` (`-`: unlimited), `t=ID:PRICE:QUOTA,QUOTA`
//!   (`PRICE+`: the buyer may pay more) with `@OPENS..CLOSES`, `sale=OPENS..CLOSES`,
//!   `limit=TYPES:oN:cN` (`*`: all types), `hold=S`, `pay=S`, `cur=EUR`, `group=ID`,
//!   `name=TEXT`, `if=any|absent|VERSION`. Without `q` and `t`: ten tickets of `std`
//!   for 500 and `gift` for 0 from the quota `all`.
//! - `open`, `pause`, `close` with `if=` (default `any`)
//! - `hold h1 ann std*2 gift*1@700`, `extend h1`, `release h1`, `claim h1 ann`,
//!   `buy ann std*2`, `expire h1`, `expire o1`, `cancel o1`, `cancel! o1` (scope
//!   `manage`), `pay o1 REFERENCE AMOUNT [CURRENCY] [at=SECOND]`, `refund REFERENCE [o1]`
//! - to any of these: `id=KEY`, `made=SECOND`, `ev=EVENT`, `org=ORGANIZER`
//! - to look: `stock` (per quota free/held/sold), `see h1`, `order o1`, `due [MAX]`
//! - `tick`: all that is due expires

use crate::catalogue::*;
use crate::code::{CodeKey, OrderCode};
use crate::command::*;
use crate::event::*;
use crate::sale::{Decision, Needs, Sale, Unanswered};
use crate::text::{CustomerId, Id, Reference};
use crate::time::Time;

pub const KEY: CodeKey = CodeKey(*b"a key for tests!");

pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub fn seconds(text: &str) -> Time {
    Time(text.parse::<i64>().unwrap() * 1_000_000)
}

pub fn shard_started(shard: u16) -> Event {
    let started = ShardStarted { log: 77, shard, shards: 4, key: KEY, generation: 1 };
    Event { at: Time(0), stamp: None, subject: None, fact: Fact::ShardStarted(started) }
}

/// A state, and its shadow that is made of the events alone.
pub struct Stage {
    pub sale: Sale,
    pub shadow: Sale,
    pub now: Time,
    /// Whether each step is compared with the shadow and checked in full.
    pub thorough: bool,
    /// Where applied events are kept, if wanted.
    pub recorded: Option<Vec<Event>>,
    /// The journal, where old orders of `sale` freeze: by position less one.
    pub journal: Vec<Event>,
    /// How often records of frozen orders were needed.
    pub thawed: usize,
}

impl Default for Stage {
    fn default() -> Self {
        let (sale, shadow) = (Sale::new(), Sale::new());
        let mut stage = Stage {
            sale,
            shadow,
            now: Time(0),
            thorough: true,
            recorded: None,
            journal: Vec::new(),
            thawed: 0,
        };
        stage.apply(&shard_started(3));
        stage
    }
}

/// Runs a table on a new stage.
#[track_caller]
pub fn check(table: &str) -> Stage {
    let mut stage = Stage::default();
    stage.run(table);
    stage
}

/// Runs a table on a stage on which the default event is open.
#[track_caller]
pub fn check_open(table: &str) -> Stage {
    let mut stage = Stage::default();
    stage.run("0 define => ok\n open => ok");
    stage.run(table);
    stage
}

impl Stage {
    #[track_caller]
    pub fn run(&mut self, table: &str) {
        for row in table.lines() {
            let row = row.split('#').next().unwrap().trim();
            if row.is_empty() {
                continue;
            }
            let (mut left, wanted) = row.split_once("=>").expect(row);
            if let Some((second, rest)) = left.split_once(' ')
                && second.parse::<i64>().is_ok()
            {
                self.now = seconds(second);
                left = rest;
            }
            let (outcome, wanted) = (self.step(left.trim()), wanted.trim());
            let fine = wanted == outcome || (wanted == "ok" && !outcome.starts_with('!'));
            assert!(fine, "{row}\n  wanted: {wanted}\n outcome: {outcome}");
        }
    }

    /// Hands the records over that something needs.
    pub fn thaw(&mut self, needs: &Needs) {
        assert!(needs.positions.is_sorted() && !needs.positions.is_empty(), "{needs:?}");
        let record = |position: &u64| (*position, self.journal[*position as usize - 1].clone());
        let records: Vec<(u64, Event)> = needs.positions.iter().map(record).collect();
        self.sale.thaw(&records).unwrap();
        self.thawed += 1;
        if self.thorough {
            self.sale.check().unwrap();
            assert_eq!(self.sale.hash(), self.shadow.hash());
        }
    }

    pub fn apply(&mut self, event: &Event) {
        if self.thorough {
            self.sale.audit(event).unwrap();
        }
        let position = self.sale.position() + 1;
        self.sale.apply(position, event).unwrap();
        self.shadow.apply(position, event).unwrap();
        if self.sale.orders.hot_max != u32::MAX || self.journal.len() < 100 {
            self.journal.push(event.clone());
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(event.clone());
        }
        if self.thorough {
            self.sale.check().unwrap();
            assert_eq!(self.sale.hash(), self.shadow.hash());
        }
    }

    /// Carries one command out; a refusal's outcome begins with `!`.
    pub fn step(&mut self, text: &str) -> String {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let (organizer, event) = (
            option(&mut words, "org=").unwrap_or("org"),
            option(&mut words, "ev=").unwrap_or("ev"),
        );
        let (organizer, event) = (id(organizer), id(event));
        let look = match words.as_slice() {
            ["stock"] => Some(self.stock(&organizer, &event)),
            ["see", hold] => Some(self.see(&organizer, &event, hold_id(hold))),
            ["order", order] => Some(self.order(&organizer, &event, self.code(order))),
            ["due", max @ ..] => {
                Some(self.due(max.first().map_or(usize::MAX >> 1, |n| n.parse().unwrap())))
            }
            ["tick"] => Some(self.tick()),
            _ => None,
        };
        if let Some(outcome) = look {
            return self.readable(&outcome);
        }
        let stamp = stamp(&mut words);
        let action = self.action(&words);
        let outcome = self.carry_out(&Command { stamp, organizer, event, action });
        self.readable(&outcome)
    }

    pub fn carry_out(&mut self, command: &Command) -> String {
        let decision = loop {
            match self.sale.decide(command, self.now) {
                Ok(Decision::Needs(needs)) => self.thaw(&needs),
                decision => break decision,
            }
        };
        if self.thorough {
            assert_eq!(decision, self.shadow.decide(command, self.now));
        }
        match decision {
            Ok(Decision::Change(events)) => {
                events.iter().for_each(|event| self.apply(event));
                let facts: Vec<String> = events.iter().map(fact_text).collect();
                facts.join(", ")
            }
            Ok(Decision::Repeated { position }) => format!("repeated {position}"),
            Ok(Decision::Unchanged) => "unchanged".into(),
            Ok(Decision::Needs(needs)) => panic!("{needs}"),
            Err(refusal) => format!("!{refusal:?}"),
        }
    }

    /// `o1` is the first order of the shard; other words are codes themselves.
    pub fn code(&self, word: &str) -> OrderCode {
        match word.strip_prefix('o').map(str::parse) {
            Some(Ok(sequence)) => KEY.order_code(3, self.sale.generation(), sequence),
            _ => OrderCode::parse(word).expect(word),
        }
    }

    fn action(&self, words: &[&str]) -> Action {
        let customer = |word: &str| CustomerId::new(word).unwrap();
        match words {
            ["define", words @ ..] => define(words),
            ["open", words @ ..] => set_state(EventState::Open, words),
            ["pause", words @ ..] => set_state(EventState::Paused, words),
            ["close", words @ ..] => set_state(EventState::Closed, words),
            ["hold", hold, who, what @ ..] => Action::PlaceHold {
                hold: hold_id(hold),
                customer: customer(who),
                items: what.iter().map(|word| item(word)).collect(),
            },
            ["buy", who, what @ ..] => Action::Buy {
                customer: customer(who),
                items: what.iter().map(|word| item(word)).collect(),
            },
            ["extend", hold] => Action::ExtendHold { hold: hold_id(hold) },
            ["release", hold] => Action::ReleaseHold { hold: hold_id(hold) },
            ["claim", hold, who] => {
                Action::ClaimHold { hold: hold_id(hold), customer: customer(who) }
            }
            ["expire", what] if what.starts_with('o') => {
                Action::ExpireOrder { order: self.code(what) }
            }
            ["expire", what] => Action::ExpireHold { hold: hold_id(what) },
            ["cancel", order] => Action::CancelOrder { order: self.code(order), manage: false },
            ["cancel!", order] => Action::CancelOrder { order: self.code(order), manage: true },
            ["pay", order, reference, amount, words @ ..] => {
                let mut words = words.to_vec();
                let paid_at = option(&mut words, "at=").map(seconds);
                Action::RecordPayment {
                    order: self.code(order),
                    reference: Reference::new(reference).unwrap(),
                    amount: amount.parse().unwrap(),
                    currency: Currency::new(words.first().unwrap_or(&"EUR")).unwrap(),
                    paid_at,
                }
            }
            ["refund", reference, order @ ..] => Action::RecordRefund {
                order: order.first().map(|order| self.code(order)),
                reference: Reference::new(reference).unwrap(),
            },
            _ => panic!("no such command: {words:?}"),
        }
    }

    fn stock(&self, organizer: &Id, event: &Id) -> String {
        let view = self.sale.availability(organizer, event).expect("the event");
        let count = |quota: &crate::view::QuotaView| {
            let free = quota.free().map_or("-".into(), |free| free.to_string());
            format!("{} {free}/{}/{}", quota.id, quota.held, quota.sold)
        };
        view.quotas.iter().map(count).collect::<Vec<_>>().join(", ")
    }

    fn see(&self, organizer: &Id, event: &Id, hold: HoldId) -> String {
        match self.sale.hold(organizer, event, hold, self.now) {
            Ok(view) => {
                let extended = if view.extended { " extended" } else { "" };
                let (lines, until) = (lines_text(&view.lines), at(view.expires_at));
                format!("{lines} for {} until {until}{extended}", view.total)
            }
            Err(refusal) => format!("!{refusal:?}"),
        }
    }

    fn order(&mut self, organizer: &Id, event: &Id, code: OrderCode) -> String {
        let view = loop {
            match self.sale.order(organizer, event, code) {
                Err(Unanswered::Needs(needs)) => self.thaw(&needs),
                view => break view,
            }
        };
        assert_eq!(view, self.shadow.order(organizer, event, code));
        match view {
            Ok(view) => {
                let payments: Vec<String> =
                    view.payments.iter().map(|p| format!("; {:?} {}", p.state, p.amount)).collect();
                let (lines, tickets) = (lines_text(&view.lines), view.tickets.len());
                let state = format!("{:?}", view.state);
                format!(
                    "{state}: {lines} for {}, {tickets} tickets{}",
                    view.total,
                    payments.concat()
                )
            }
            Err(Unanswered::Refused(refusal)) => format!("!{refusal:?}"),
            Err(Unanswered::Needs(needs)) => panic!("{needs}"),
        }
    }

    fn due(&mut self, max: usize) -> String {
        let mut due = Vec::new();
        self.sale.due(self.now, max, &mut due);
        let text = |(_, action): &(Subject, Action)| match action {
            Action::ExpireHold { hold } => format!("h{}", hold.0),
            Action::ExpireOrder { order } => order.to_string(),
            other => panic!("{other:?}"),
        };
        due.iter().map(text).collect::<Vec<_>>().join(" ")
    }

    fn tick(&mut self) -> String {
        let mut outcomes = Vec::new();
        loop {
            let mut due = Vec::new();
            self.sale.due(self.now, 2, &mut due);
            if due.is_empty() {
                return outcomes.join(", ");
            }
            for (Subject { organizer, event }, action) in due {
                let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
                let outcome = self.carry_out(&Command { stamp, organizer, event, action });
                assert!(!outcome.starts_with('!'), "what is due can expire: {outcome}");
                outcomes.push(outcome);
            }
        }
    }

    /// Puts `o1` for codes and `@5` for times.
    fn readable(&self, text: &str) -> String {
        let mut text = text.to_string();
        for sequence in (1..=self.sale.counts().orders as u64).rev() {
            for generation in 1..=self.sale.generation() {
                let code = KEY.order_code(3, generation, sequence);
                text = text.replace(code.as_str(), &format!("o{sequence}"));
            }
        }
        while let Some((before, rest)) = text.split_once("Time(") {
            let (number, after) = rest.split_once(')').unwrap();
            text = format!("{before}{}{after}", at(Time(number.parse().unwrap())));
        }
        text
    }
}

fn at(time: Time) -> String {
    match time.0 % 1_000_000 {
        0 => format!("@{}", time.0 / 1_000_000),
        _ => format!("@{}us", time.0),
    }
}

fn lines_text(lines: &[crate::view::LineView]) -> String {
    let line = |line: &crate::view::LineView| {
        format!("{}*{}@{}", line.ticket_type, line.quantity, line.unit_price)
    };
    lines.iter().map(line).collect::<Vec<_>>().join(" ")
}

fn fact_text(event: &Event) -> String {
    match &event.fact {
        Fact::GroupPlaced { sale_group } => format!("group {sale_group}"),
        Fact::EventDefined(defined) => format!("defined v{}", defined.version),
        Fact::StateSet { version, state } => format!("{state:?} v{version}"),
        Fact::HoldPlaced(HoldPlaced { hold, expires_at, total, .. }) => {
            format!("held h{} for {total} until {}", hold.0, at(*expires_at))
        }
        Fact::HoldExtended { hold, expires_at } => {
            format!("extended h{} until {}", hold.0, at(*expires_at))
        }
        Fact::HoldReleased { hold } => format!("released h{}", hold.0),
        Fact::HoldExpired { hold } => format!("expired h{}", hold.0),
        Fact::OrderPlaced(OrderPlaced { order, total, payment_due, .. }) => {
            let due = payment_due.map_or("confirmed".into(), |due| format!("due {}", at(due)));
            format!("ordered {order} for {total} {due}")
        }
        Fact::PaymentRecorded(paid) => format!("paid {} {:?}", paid.order, paid.outcome),
        Fact::PaymentRefunded { order, .. } => format!("refunded {order}"),
        Fact::OrderCancelled { order, reason } => format!("cancelled {order} {reason:?}"),
        other => format!("{other:?}"),
    }
}

fn option<'a>(words: &mut Vec<&'a str>, name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| word.starts_with(name))?;
    Some(&words.remove(at)[name.len()..])
}

fn stamp(words: &mut Vec<&str>) -> CommandStamp {
    let made_at = option(words, "made=").map(seconds);
    match option(words, "id=") {
        Some(key) => CommandStamp {
            id: KEY.digest("test", &[key.as_bytes()]),
            body: 5,
            chosen: true,
            made_at,
        },
        None => CommandStamp { id: 1, body: 5, chosen: false, made_at },
    }
}

pub fn hold_id(word: &str) -> HoldId {
    HoldId(word.strip_prefix('h').expect(word).parse().expect(word))
}

/// `std*2@700`
fn item(word: &str) -> Item {
    let (ticket_type, rest) = word.split_once('*').expect(word);
    let (quantity, price) = match rest.split_once('@') {
        Some((quantity, price)) => (quantity, Some(price.parse().unwrap())),
        None => (rest, None),
    };
    Item { ticket_type: id(ticket_type), quantity: quantity.parse().unwrap(), price }
}

fn expects(word: Option<&str>, unsaid: Expects) -> Expects {
    match word {
        None => unsaid,
        Some("any") => Expects::Any,
        Some("absent") => Expects::Absent,
        Some("unsaid") => Expects::Unsaid,
        Some(version) => Expects::Version(version.parse().unwrap()),
    }
}

fn set_state(state: EventState, words: &[&str]) -> Action {
    let expects = expects(option(&mut words.to_vec(), "if="), Expects::Any);
    Action::SetState { state, expects }
}

fn define(words: &[&str]) -> Action {
    let mut words = words.to_vec();
    let expects = expects(option(&mut words, "if="), Expects::Unsaid);
    Action::DefineEvent { definition: Box::new(definition(&words)), expects }
}

pub fn definition(words: &[&str]) -> EventDefinition {
    let mut definition = EventDefinition {
        name: "An event".into(),
        currency: Currency::new("EUR").unwrap(),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: 300,
        payment_seconds: 900,
        sale_group: id("group"),
        quotas: Vec::new(),
        ticket_types: Vec::new(),
    };
    let default = ["q=all:10", "t=std:500:all", "t=gift:0:all"];
    let bare = !words.iter().any(|word| word.starts_with("q=") || word.starts_with("t="));
    for word in words.iter().chain(if bare { default.iter() } else { [].iter() }) {
        let (name, value) = word.split_once('=').expect(word);
        match name {
            "q" => definition.quotas.push(quota(value)),
            "t" => definition.ticket_types.push(ticket_type(value)),
            "limit" => definition.limits.push(limit(value)),
            "sale" => definition.sale = window(value),
            "hold" => definition.hold_seconds = value.parse().unwrap(),
            "pay" => definition.payment_seconds = value.parse().unwrap(),
            "cur" => definition.currency = Currency::new(value).unwrap(),
            "group" => definition.sale_group = id(value),
            "name" => definition.name = value.into(),
            _ => panic!("no such word: {word}"),
        }
    }
    definition
}

fn quota(value: &str) -> QuotaDefinition {
    let (name, capacity) = value.split_once(':').expect(value);
    QuotaDefinition { id: id(name), capacity: capacity.parse().ok() }
}

fn ticket_type(value: &str) -> TicketTypeDefinition {
    let (value, sale) = match value.split_once('@') {
        Some((value, sale)) => (value, window(sale)),
        None => (value, Window::default()),
    };
    let [name, price, quotas] = value.split(':').collect::<Vec<_>>().try_into().unwrap();
    TicketTypeDefinition {
        id: id(name),
        name: name.into(),
        price: price.trim_end_matches('+').parse().unwrap(),
        free_price: price.ends_with('+'),
        quotas: quotas.split(',').filter(|q| !q.is_empty()).map(id).collect(),
        sale,
    }
}

fn window(value: &str) -> Window {
    let (opens, closes) = value.split_once("..").expect(value);
    let time = |text: &str| (!text.is_empty()).then(|| seconds(text));
    Window { opens_at: time(opens), closes_at: time(closes) }
}

fn limit(value: &str) -> Limit {
    let mut parts = value.split(':');
    let types = parts.next().unwrap();
    let mut limit = Limit { ticket_types: Vec::new(), per_order: None, per_customer: None };
    if types != "*" {
        limit.ticket_types = types.split(',').map(id).collect();
    }
    for part in parts {
        let number = part[1..].parse().ok();
        match &part[..1] {
            "o" => limit.per_order = number,
            _ => limit.per_customer = number,
        }
    }
    limit
}
