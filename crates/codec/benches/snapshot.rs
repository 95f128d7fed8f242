//! How long it takes to write a large state down and to have it again: a million paid
//! orders, nearly all of them old, and 200,000 live holds, each of a customer of its own.
//!
//! `cargo bench -p onsale-codec --bench snapshot`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]
#![expect(dead_code, reason = "the histories at random are for the tests")]

#[path = "../tests/support/sales.rs"]
mod sales;

use std::time::Instant;

use onsale_codec::snapshot;
use onsale_core::limits::ORDERS_HOT_MAX;
use onsale_core::{Action, Currency, CustomerId, HoldId, Id, Item, Reference};

const ORDERS: u64 = 1_000_000;
const HOLDS: u64 = 200_000;
const ROUNDS: usize = 5;

fn main() {
    // `cargo test` runs this too, and wants no figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut history = sales::History::new(1, ORDERS_HOT_MAX);
    for n in 0..ORDERS {
        paid_order(&mut history, n);
    }
    for n in 0..HOLDS {
        hold(&mut history, ORDERS + n);
    }
    let sale = &history.sale;
    println!("{:?}", sale.counts());
    println!("bytes of memory                {:>12}", sale.memory_bytes());
    let began = Instant::now();
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    snapshot::encode(sale, &mut |chunk| chunks.push(chunk.to_vec()));
    println!("seconds to write               {:>12.3}", began.elapsed().as_secs_f64());
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    println!("bytes in {:>4} chunks           {bytes:>12}", chunks.len());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let restored = snapshot::decode(chunks.iter().map(Vec::as_slice)).unwrap();
        println!("seconds to read                {:>12.3}", began.elapsed().as_secs_f64());
        assert_eq!(restored.counts(), sale.counts());
    }
    let restored = snapshot::decode(chunks.iter().map(Vec::as_slice)).unwrap();
    let began = Instant::now();
    assert_eq!(restored.hash(), sale.hash());
    println!("seconds to hash, twice         {:>12.3}", began.elapsed().as_secs_f64());
}

/// A paid order of a customer of its own.
fn paid_order(history: &mut sales::History, n: u64) {
    history.now.0 += 10;
    history.ask("a", Action::Buy { customer: customer(n), items: one() });
    let order = history.sale.key().order_code(3, 1, n + 1);
    let reference = Reference::new(&format!("pay-{n}")).unwrap();
    let currency = Currency::new("EUR").unwrap();
    history
        .ask("a", Action::RecordPayment { order, reference, amount: 5, currency, paid_at: None });
}

/// A hold of a customer of its own.
fn hold(history: &mut sales::History, n: u64) {
    // As a UUIDv7: its time, then what stands for random bits.
    let random = history.sale.key().digest("hold", &[&n.to_le_bytes()]);
    let hold = HoldId(u128::from(n / 100) << 80 | random >> 48);
    history.ask("a", Action::PlaceHold { hold, customer: customer(n), items: one() });
}

fn customer(n: u64) -> CustomerId {
    CustomerId::new(&format!("customer-{n}")).unwrap()
}

fn one() -> onsale_core::command::Items {
    let ticket_type = Id::new("x").unwrap();
    [Item { ticket_type, quantity: 1, price: None }].into_iter().collect()
}
