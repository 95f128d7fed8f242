//! The rules alone: how long it takes to decide a hold and to make it so, over many
//! customers and events, with no bytes written anywhere.
//!
//! `cargo bench -p onsale-core --bench rules`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark measures time"
)]

use std::time::Instant;

use onsale_core::command::{Expects, Item};
use onsale_core::event::{Event, Fact, ShardStarted};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, Decision, EventDefinition,
    EventState, HoldId, Id, QuotaDefinition, Sale, TicketTypeDefinition, Time, Window,
};

const HOLDS: usize = 400_000;
const CUSTOMERS: u64 = 1_000_000;
const EVENTS: u64 = 100;
const ROUNDS: usize = 5;
const KEY: CodeKey = CodeKey(*b"sixteen bytes ok");

fn main() {
    // `cargo test` runs this too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let commands: Vec<Command> = (0..HOLDS as u64).map(hold).collect();
    for _ in 0..ROUNDS {
        let mut sale = beginning();
        let (mut decide, mut apply) = (0, 0);
        for command in &commands {
            let now = Time(2_000_000);
            let before = Instant::now();
            let Ok(Decision::Change(events)) = sale.decide(command, now) else {
                panic!("it is for sale");
            };
            let between = Instant::now();
            for event in &events {
                sale.apply(sale.position() + 1, event).unwrap();
            }
            decide += (between - before).as_nanos();
            apply += between.elapsed().as_nanos();
        }
        let per = |nanos: u128| nanos / HOLDS as u128;
        println!("decide {:>5} ns, apply {:>5} ns per hold", per(decide), per(apply));
    }
}

fn beginning() -> Sale {
    let mut sale = Sale::new();
    let started = ShardStarted { log: 1, shard: 0, shards: 1, key: KEY, generation: 1 };
    let fact = Fact::ShardStarted(started);
    sale.apply(1, &Event { at: Time(0), stamp: None, subject: None, fact }).unwrap();
    for n in 0..EVENTS {
        let definition = Box::new(definition(n));
        for action in [
            Action::DefineEvent { definition, expects: Expects::Absent },
            Action::SetState { state: EventState::Open, expects: Expects::Any },
        ] {
            let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
            let command = Command { stamp, organizer: id("organizer"), event: event(n), action };
            let Ok(Decision::Change(events)) = sale.decide(&command, Time(1)) else {
                panic!("it is new");
            };
            for event in &events {
                sale.apply(sale.position() + 1, event).unwrap();
            }
        }
    }
    sale
}

fn hold(n: u64) -> Command {
    let random = KEY.digest("random", &[&n.to_le_bytes()]);
    let customer = CustomerId::new(&format!("customer-{:027}", random as u64 % CUSTOMERS)).unwrap();
    let items = [Item { ticket_type: id("standard"), quantity: 1, price: None }];
    // A UUIDv7: its time, then what stands for random bits.
    let hold = HoldId(u128::from(n / 100) << 80 | random >> 48);
    let action = Action::PlaceHold { hold, customer, items: items.into_iter().collect() };
    let stamp = CommandStamp { id: random, body: !random, chosen: true, made_at: None };
    Command {
        stamp,
        organizer: id("organizer"),
        event: event((random >> 64) as u64 % EVENTS),
        action,
    }
}

fn definition(n: u64) -> EventDefinition {
    let ticket_type = |name: &str, price| TicketTypeDefinition {
        id: id(name),
        name: name.to_owned(),
        price,
        free_price: false,
        quotas: vec![id("all")],
        sale: Window::default(),
    };
    EventDefinition {
        name: "Event".to_owned(),
        currency: Currency::new("EUR").unwrap(),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: 900,
        payment_seconds: 1_800,
        sale_group: event(n),
        quotas: vec![QuotaDefinition { id: id("all"), capacity: Some(1_000_000) }],
        ticket_types: vec![ticket_type("reduced", 1_500), ticket_type("standard", 2_500)],
    }
}

fn event(n: u64) -> Id {
    id(&format!("event-{n}"))
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}
