//! One shard without the network: how fast it holds, what a live hold costs in memory,
//! and how fast it comes back. Beside each figure stands its limit in the same run, moving
//! the same bytes: the journal alone, without rules and state.
//!
//! `cargo bench -p onsale-engine --bench shard`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use onsale_core::command::{Expects, Item};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, EventDefinition, EventState,
    HoldId, Id, QuotaDefinition, TicketTypeDefinition, Time, Window,
};
use onsale_engine::{Answer, Folder, Request, Seeds, Shard};
use onsale_journal::{Durability, FileStorage, Options, Writer};

const HOLDS: u64 = 200_000;
const HOLDS_PER_BATCH: u64 = 1_000;
const PAIRS: usize = 5;
const SEGMENT_BYTES: u64 = 64 << 20;
const SEEDS: Seeds = Seeds { log: 1, key: CodeKey(*b"sixteen bytes ok") };

fn main() {
    let (mut ours, mut limit, mut back, mut back_limit) = (vec![], vec![], vec![], vec![]);
    let mut bytes_per_hold = 0;
    for _ in 0..PAIRS {
        let folder = tempfile::tempdir().unwrap();
        let (seconds, bytes, records) = hold(folder.path());
        ours.push(HOLDS as f64 / seconds);
        bytes_per_hold = bytes / HOLDS as usize;
        limit.push(HOLDS as f64 / append_only(&records));
        back_limit.push(read_only(folder.path()));
        back.push(reopen(folder.path()));
    }
    let ratio = |a: &[f64], b: &[f64]| middle(a) / middle(b);
    println!("\n{HOLDS} holds of one ticket, 36-byte customers, chosen ids, one event, one shard");
    println!("{PAIRS} interleaved pairs; the middle one of each, (least – most)\n");
    show("durable holds per second", &ours, 0);
    show("  limit: the journal alone, same bytes", &limit, 0);
    println!("  ratio{:>40.2}\n", ratio(&ours, &limit));
    show("start with all of them live, seconds", &back, 3);
    show("  limit: read and check the journal", &back_limit, 3);
    println!("  ratio{:>40.2}\n", ratio(&back_limit, &back));
    println!("{:<38} {:>7}", "bytes of memory per live hold", bytes_per_hold);
}

/// Holds as many as there are, durable batch by batch; seconds, memory of the state, and the
/// records that the journal has of them.
fn hold(data: &Path) -> (f64, usize, Vec<Vec<u8>>) {
    let mut shard = open(data);
    execute(&mut shard, Action::DefineEvent { definition: event(), expects: Expects::Absent }, 0);
    let open = Action::SetState { state: EventState::Open, expects: Expects::Any };
    execute(&mut shard, open, 1);
    flush(&mut shard);
    let before = shard.sale().memory_bytes();
    let began = Instant::now();
    for n in 0..HOLDS {
        let customer = CustomerId::new(&format!("customer-{n:027}")).unwrap();
        let item = Item { ticket_type: id("standard"), quantity: 1, price: None };
        let hold = HoldId(mix(n));
        let items = std::iter::once(item).collect();
        execute(&mut shard, Action::PlaceHold { hold, customer, items }, 2 + n);
        if n % HOLDS_PER_BATCH == HOLDS_PER_BATCH - 1 {
            flush(&mut shard);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let bytes = shard.sale().memory_bytes() - before;
    let mut records = Vec::new();
    let reader = shard.info().reader;
    let after = reader.durable() - HOLDS;
    reader
        .read(after, usize::MAX, usize::MAX, &mut |_, record| records.push(record.to_vec()))
        .unwrap();
    (seconds, bytes, records)
}

fn execute(shard: &mut Shard<()>, action: Action, n: u64) {
    let stamp = CommandStamp { id: mix(n), body: mix(!n), chosen: true, made_at: None };
    let (organizer, event) = (id("organizer"), id("event"));
    let command = Box::new(Command { stamp, organizer, event, action });
    shard.submit(Time(1_000_000 + n as i64), Request::Command(command), ());
}

/// Makes what is open durable, and takes the answers.
fn flush(shard: &mut Shard<()>) {
    while let Some(job) = shard.seal(Time(0)) {
        shard.finish(job.run()).unwrap();
    }
    while let Some(((), reply)) = shard.release() {
        assert!(matches!(reply.answer, Answer::Done(_)), "{reply:?}");
    }
    if let Some(job) = shard.prepare() {
        shard.prepared(Time(0), job.run()).unwrap();
    }
}

/// The same records through the journal, with nothing before and after; seconds.
fn append_only(records: &[Vec<u8>]) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::open(folder.path()).unwrap());
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        log: 1,
        shard: 0,
        generation: 1,
        durability: Durability::Synced,
    };
    let mut writer =
        onsale_journal::open(storage, options, 0, &mut |_, _, _| Ok(())).unwrap().writer;
    let began = Instant::now();
    for batch in records.chunks(HOLDS_PER_BATCH as usize) {
        for record in batch {
            writer.append(&mut |buffer| buffer.extend_from_slice(record));
        }
        write(&mut writer);
    }
    began.elapsed().as_secs_f64()
}

fn write(writer: &mut Writer) {
    let job = writer.seal().unwrap();
    writer.finish(job.run()).unwrap();
    if let Some(job) = writer.prepare() {
        writer.prepared(job.run()).unwrap();
    }
}

/// Seconds to start over this folder.
fn reopen(data: &Path) -> f64 {
    let began = Instant::now();
    let shard = open(data);
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(shard.figures().holds as u64, HOLDS);
    seconds
}

/// Seconds to read and check the journal in this folder.
fn read_only(data: &Path) -> f64 {
    let began = Instant::now();
    let storage = FileStorage::open_read_only(Folder::shard_path(data, 0)).unwrap();
    let opened = onsale_journal::open_read_only(Arc::new(storage)).unwrap();
    let mut bytes = 0;
    let each = &mut |_: u64, record: &[u8]| bytes += record.len();
    opened.reader.read(0, usize::MAX, usize::MAX, each).unwrap();
    assert!(bytes > 0);
    began.elapsed().as_secs_f64()
}

fn open(data: &Path) -> Shard<()> {
    let folder = Folder::open(data, 1, &SEEDS).unwrap();
    folder.shards(SEGMENT_BYTES, &SEEDS, Time(0)).unwrap().pop().unwrap()
}

fn event() -> Box<EventDefinition> {
    let quotas = vec![QuotaDefinition { id: id("all"), capacity: Some(HOLDS as u32) }];
    let standard = TicketTypeDefinition {
        id: id("standard"),
        name: "Standard".to_owned(),
        price: 2_500,
        free_price: false,
        quotas: vec![id("all")],
        sale: Window::default(),
    };
    Box::new(EventDefinition {
        name: "Event".to_owned(),
        currency: Currency::new("EUR").unwrap(),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: 86_400,
        payment_seconds: 1_800,
        sale_group: id("event"),
        quotas,
        ticket_types: vec![standard],
    })
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Spreads a number over 128 bits, as a random id is.
fn mix(n: u64) -> u128 {
    let spread = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    u128::from(spread(n + 1)) << 64 | u128::from(spread(!n))
}

fn middle(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn show(name: &str, figures: &[f64], digits: usize) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let most = figures.iter().copied().fold(0.0, f64::max);
    let middle = middle(figures);
    println!("{name:<38} {middle:>7.digits$}  ({least:.digits$} – {most:.digits$})");
}
