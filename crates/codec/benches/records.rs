//! Records alone: what a hold's record costs to write and to read, and what a replay of
//! many costs beside applying the same events, decoded beforehand.
//!
//! `cargo bench -p onsale-codec --bench records`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]

use std::time::Instant;

use onsale_core::event::{EventDefined, HoldPlaced, Line, QuotaStock, ShardStarted, Stock};
use onsale_core::event::{StockSource, Subject};
use onsale_core::{
    CodeKey, CommandStamp, Currency, CustomerId, Event, EventDefinition, EventState, Fact, HoldId,
    Id, QuotaDefinition, Sale, TicketTypeDefinition, Time, Window,
};

const HOLDS: u64 = 400_000;
const CUSTOMERS: u64 = 1_000_000;
const EVENTS: u64 = 100;
const ROUNDS: usize = 5;
const KEY: CodeKey = CodeKey(*b"sixteen bytes ok");

fn main() {
    // `cargo test` runs this too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let events: Vec<Event> = beginning().into_iter().chain((0..HOLDS).map(hold)).collect();
    let (mut bytes, mut ends) = (Vec::with_capacity(1 << 28), Vec::new());
    for _ in 0..ROUNDS {
        bytes.clear();
        ends.clear();
        let encode = per_hold(|| {
            for event in &events {
                onsale_codec::encode(event, &mut bytes);
                ends.push(bytes.len());
            }
        });
        let records = || {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            starts.zip(&ends).map(|(start, end)| &bytes[start..*end])
        };
        let decode = per_hold(|| {
            for record in records() {
                std::hint::black_box(onsale_codec::decode(record).unwrap());
            }
        });
        let mut applied = Sale::new();
        let apply = per_hold(|| {
            for (position, event) in (1..).zip(&events) {
                applied.apply(position, event).unwrap();
            }
        });
        let mut replayed = Sale::new();
        let replay = per_hold(|| {
            for (position, record) in (1..).zip(records()) {
                replayed.apply(position, &onsale_codec::decode(record).unwrap()).unwrap();
            }
        });
        assert_eq!(applied.hash(), replayed.hash());
        println!(
            "encode {encode:>4} ns, decode {decode:>4} ns, apply {apply:>5} ns, decode and apply \
             {replay:>5} ns per hold"
        );
    }
}

fn per_hold(run: impl FnOnce()) -> u128 {
    let began = Instant::now();
    run();
    began.elapsed().as_nanos() / u128::from(HOLDS)
}

fn beginning() -> Vec<Event> {
    let started = ShardStarted { log: 1, shard: 0, shards: 1, key: KEY, generation: 1 };
    let fact = Fact::ShardStarted(started);
    let mut events = vec![Event { at: Time(0), stamp: None, subject: None, fact }];
    for n in 0..EVENTS {
        let definition = definition(n);
        let stock = QuotaStock { allotment: Some(1_000_000), epoch: 1, source: StockSource::Own };
        let defined = EventDefined { version: 1, definition, stocks: vec![stock] };
        for fact in [
            Fact::GroupPlaced { sale_group: event(n) },
            Fact::EventDefined(Box::new(defined)),
            Fact::StateSet { version: 2, state: EventState::Open },
        ] {
            events.push(Event { at: Time(1), stamp: None, subject: Some(subject(n)), fact });
        }
    }
    events
}

fn hold(n: u64) -> Event {
    let random = KEY.digest("random", &[&n.to_le_bytes()]);
    let line = Line {
        event: None,
        ticket_type: id("standard"),
        stock: Stock::Counted(1),
        unit_price: 2_500,
        version: 2,
        channel: None,
        components: Vec::new(),
    };
    let placed = HoldPlaced {
        // A UUIDv7: its time, then what stands for random bits.
        hold: HoldId(u128::from(n / 100) << 80 | random >> 48),
        customer: CustomerId::new(&format!("customer-{:027}", random as u64 % CUSTOMERS)).unwrap(),
        expires_at: Time(902_000_000),
        lines: [line].into_iter().collect(),
        total: 2_500,
        currency: Currency::new("EUR").unwrap(),
    };
    let stamp = CommandStamp { id: random, body: !random, chosen: true, made_at: None };
    let subject = Some(subject((random >> 64) as u64 % EVENTS));
    Event { at: Time(2_000_000), stamp: Some(stamp), subject, fact: Fact::HoldPlaced(placed) }
}

fn definition(n: u64) -> EventDefinition {
    let standard = TicketTypeDefinition {
        id: id("standard"),
        name: "Standard".to_owned(),
        price: 2_500,
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
        ticket_types: vec![standard],
    }
}

fn subject(n: u64) -> Subject {
    Subject { organizer: id("organizer"), event: event(n) }
}

fn event(n: u64) -> Id {
    id(&format!("event-{n}"))
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}
