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
    EventState, HoldId, Id, Keys, Known, QuotaDefinition, Sale, TicketTypeDefinition, Time, Window,
};
use smallvec::SmallVec;

const ROUNDS: usize = 3;
const AHEAD: usize = 16;
const KEY: CodeKey = CodeKey(*b"sixteen bytes ok");

/// Holds, customers and events.
#[derive(Clone, Copy)]
struct Load {
    holds: u64,
    customers: u64,
    events: u64,
}

const LOADS: [(&str, Load); 2] = [
    ("hot", Load { holds: 200_000, customers: 200_000, events: 1 }),
    ("wide", Load { holds: 1_000_000, customers: 1_000_000, events: 100 }),
];

fn main() {
    // `cargo test` runs this too, and wants no figures. Names choose loads.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let chosen = |name: &str| arguments.len() == 1 || arguments.iter().any(|a| a == name);
    for (name, load) in LOADS.into_iter().filter(|(name, _)| chosen(name)) {
        let commands: Vec<Command> = (0..load.holds).map(|n| hold(n, load)).collect();
        for _ in 0..ROUNDS {
            let mut sale = beginning(load);
            let began = Instant::now();
            drive(&mut sale, &commands);
            let nanos = began.elapsed().as_nanos() / u128::from(load.holds);
            println!("{name}: decide and apply {nanos:>5} ns per hold");
        }
    }
}

/// As the engine does: the keys of some commands are made, and what they look up is read early.
#[inline(never)]
fn drive(sale: &mut Sale, commands: &[Command]) {
    let (now, known) = (Time(2_000_000), Known::default());
    for commands in commands.chunks(AHEAD) {
        let keys: SmallVec<[Keys; AHEAD]> = commands.iter().map(|c| sale.keys(c)).collect();
        commands.iter().zip(&keys).for_each(|(command, keys)| sale.touch(command, keys));
        sale.touch_leaving(commands.len());
        for (command, keys) in commands.iter().zip(&keys) {
            let Ok(Decision::Change(events)) = sale.decide_with(command, keys, now, &known) else {
                panic!("it is for sale");
            };
            for event in &events {
                sale.apply_decided(sale.position() + 1, event, keys).unwrap();
            }
        }
    }
}

fn beginning(load: Load) -> Sale {
    let mut sale = Sale::new();
    let started = ShardStarted { log: 1, shard: 0, shards: 1, key: KEY, generation: 1 };
    let fact = Fact::ShardStarted(started);
    sale.apply(1, &Event { at: Time(0), stamp: None, subject: None, fact }).unwrap();
    for n in 0..load.events {
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

fn hold(n: u64, load: Load) -> Command {
    let random = KEY.digest("random", &[&n.to_le_bytes()]);
    let customer =
        CustomerId::new(&format!("customer-{:027}", random as u64 % load.customers)).unwrap();
    let items = [Item { ticket_type: id("standard"), quantity: 1, price: None }];
    // A UUIDv7: its time, then what stands for random bits.
    let hold = HoldId(u128::from(n / 100) << 80 | random >> 48);
    let action = Action::PlaceHold { hold, customer, items: items.into_iter().collect() };
    let stamp = CommandStamp { id: random, body: !random, chosen: true, made_at: None };
    Command {
        stamp,
        organizer: id("organizer"),
        event: event((random >> 64) as u64 % load.events),
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
