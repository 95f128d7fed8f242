//! One shard without the network: how fast it holds, what a live hold costs in memory,
//! and how fast it comes back. Beside each figure stands its limit in the same run, moving
//! the same bytes: a bare loop of rules and bytes without a shard, and the journal alone, without
//! rules and state.
//!
//! `cargo bench -p onsale-engine --bench shard`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use onsale_core::command::{Expects, Item};
use onsale_core::event::ShardStarted;
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, Decision, Event, EventDefinition,
    EventState, Fact, HoldId, Id, QuotaDefinition, Sale, TicketTypeDefinition, Time, Window,
};
use onsale_engine::{Answer, Folder, Options, Request, Seeds, Shard};
use onsale_journal::{Durability, FileStorage, SpareDone, SpareJob, WriteDone, WriteJob};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOLDS: usize = 400_000;
const HOLDS_PER_BATCH: usize = 1_000;
const CUSTOMERS: u64 = 1_000_000;
const EVENTS: usize = 100;
const PAIRS: usize = 5;
const SEGMENT_BYTES: u64 = 64 << 20;
const SEEDS: Seeds = Seeds { log: 1, key: CodeKey(*b"sixteen bytes ok") };

/// Seconds that a run took: of the wall, and of its thread's processor.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    thread: f64,
}

fn main() {
    let (mut ours, mut bare, mut limit) = (vec![], vec![], vec![]);
    let (mut back, mut back_limit) = (vec![], vec![]);
    let mut bytes_per_hold = 0;
    for _ in 0..PAIRS {
        let folder = tempfile::tempdir().unwrap();
        let (took, bytes, records) = hold(folder.path());
        ours.push(took);
        bytes_per_hold = bytes / HOLDS;
        bare.push(bare_loop());
        limit.push(append_only(&records));
        back_limit.push(read_only(folder.path()));
        back.push(reopen(folder.path()));
    }
    println!(
        "\n{HOLDS} holds of one ticket, {HOLDS_PER_BATCH} a batch, one shard; {EVENTS} events, {CUSTOMERS} customers"
    );
    println!(
        "(36 bytes each), chosen ids. A helper thread writes and syncs. {PAIRS} interleaved rounds;"
    );
    println!("the middle one of each, (least – most)\n");
    for (name, of) in [
        ("holds per second", (|took| took.wall) as fn(&Took) -> f64),
        ("holds per second of the writer's thread", |took: &Took| took.thread),
    ] {
        let rate = |tooks: &[Took]| -> Vec<f64> {
            tooks.iter().map(|took| HOLDS as f64 / of(took)).collect()
        };
        let (ours, bare, limit) = (rate(&ours), rate(&bare), rate(&limit));
        println!("{name}");
        show("  the shard, durable", &ours, 0);
        show("  limit: decide, encode, apply, write", &bare, 0);
        show("  limit: the journal alone, same bytes", &limit, 0);
        println!("  ratio to the first limit{:>22.2}\n", middle(&ours) / middle(&bare));
    }
    show("start with all of them live, seconds", &back, 3);
    show("  limit: read and check the journal", &back_limit, 3);
    println!("  ratio{:>41.2}\n", middle(&back_limit) / middle(&back));
    println!("{:<39} {:>7}", "bytes of memory per live hold", bytes_per_hold);
}

fn measure(run: impl FnOnce()) -> Took {
    let thread = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let (began, thread_began) = (Instant::now(), thread());
    run();
    Took { wall: began.elapsed().as_secs_f64(), thread: thread() - thread_began }
}

#[expect(clippy::vec_box, reason = "a shard takes them in boxes")]
/// The commands, made before the time runs.
fn commands() -> Vec<Box<Command>> {
    let command = |n: usize| {
        let number = mix(n as u64) as u64 % CUSTOMERS;
        let customer = CustomerId::new(&format!("customer-{number:027}")).unwrap();
        let item = Item { ticket_type: id("standard"), quantity: 1, price: None };
        let items = std::iter::once(item).collect();
        command(n % EVENTS, Action::PlaceHold { hold: HoldId(mix(n as u64)), customer, items }, n)
    };
    (0..HOLDS).map(command).collect()
}

fn command(event: usize, action: Action, n: usize) -> Box<Command> {
    let stamp =
        CommandStamp { id: mix(n as u64), body: mix(!n as u64), chosen: true, made_at: None };
    Box::new(Command {
        stamp,
        organizer: id("organizer"),
        event: id(&format!("event-{event}")),
        action,
    })
}

#[expect(clippy::vec_box, reason = "a shard takes them in boxes")]
/// What makes the events ready to sell.
fn beginning() -> Vec<Box<Command>> {
    let mut commands = Vec::new();
    for at in 0..EVENTS {
        let definition = event(&format!("event-{at}"));
        let define = Action::DefineEvent { definition, expects: Expects::Absent };
        commands.push(command(at, define, HOLDS + 2 * at));
        let open = Action::SetState { state: EventState::Open, expects: Expects::Any };
        commands.push(command(at, open, HOLDS + 2 * at + 1));
    }
    commands
}

fn time(n: usize) -> Time {
    Time(1_000_000 + n as i64)
}

/// Holds as many as there are, durable batch by batch; gives the memory of the state and the
/// records that the journal has of them, too.
fn hold(data: &Path) -> (Took, usize, Vec<Vec<u8>>) {
    let mut shard = open(data);
    let mut writer = Helper::start(WriteJob::run);
    let mut spares = Helper::start(SpareJob::run);
    for command in beginning() {
        shard.submit(time(0), Request::Command(command), ());
    }
    flush(&mut shard, &mut writer, &mut spares);
    let before = shard.sale().memory_bytes();
    let mut commands = commands().into_iter().enumerate();
    let took = measure(|| {
        for _ in 0..HOLDS / HOLDS_PER_BATCH {
            for (n, command) in commands.by_ref().take(HOLDS_PER_BATCH) {
                shard.submit(time(n), Request::Command(command), ());
            }
            // The batch before this one must be durable before this one can be written.
            finish(&mut shard, &mut writer, &mut spares);
            writer.give(shard.seal(Time(0)).unwrap());
        }
        flush(&mut shard, &mut writer, &mut spares);
    });
    let bytes = shard.sale().memory_bytes() - before;
    let mut records = Vec::new();
    let reader = shard.info().reader;
    let after = reader.durable() - HOLDS as u64;
    let each = &mut |_, record: &[u8]| records.push(record.to_vec());
    reader.read(after, usize::MAX, usize::MAX, each).unwrap();
    (took, bytes, records)
}

/// Takes the batch that is being written, and lets its answers go.
fn finish(shard: &mut Shard<()>, writer: &mut Writing, spares: &mut Sparing) {
    if let Some(done) = writer.take() {
        shard.finish(done).unwrap();
    }
    while let Some(((), reply)) = shard.release() {
        assert!(matches!(reply.answer, Answer::Done(_)), "{reply:?}");
    }
    if let Some(done) = spares.take_if_done() {
        shard.prepared(Time(0), done).unwrap();
    }
    if let Some(job) = shard.prepare() {
        spares.give(job);
    }
    assert!(shard.ready(), "the spare segment came too late");
}

/// Makes all that is open durable.
fn flush(shard: &mut Shard<()>, writer: &mut Writing, spares: &mut Sparing) {
    finish(shard, writer, spares);
    while let Some(job) = shard.seal(Time(0)) {
        writer.give(job);
        finish(shard, writer, spares);
    }
}

type Writing = Helper<WriteJob, WriteDone>;
type Sparing = Helper<SpareJob, SpareDone>;

/// A thread for one job at a time.
struct Helper<Job, Done> {
    jobs: mpsc::Sender<Job>,
    done: mpsc::Receiver<Done>,
    busy: bool,
}

impl<Job: Send + 'static, Done: Send + 'static> Helper<Job, Done> {
    fn start(run: impl Fn(Job) -> Done + Send + 'static) -> Helper<Job, Done> {
        let (jobs, todo) = mpsc::channel();
        let (results, done) = mpsc::channel();
        std::thread::spawn(move || todo.into_iter().try_for_each(|job| results.send(run(job))));
        Helper { jobs, done, busy: false }
    }

    fn give(&mut self, job: Job) {
        self.busy = true;
        self.jobs.send(job).unwrap();
    }

    /// Waits for what was given.
    fn take(&mut self) -> Option<Done> {
        std::mem::take(&mut self.busy).then(|| self.done.recv().unwrap())
    }

    fn take_if_done(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.busy = false;
        Some(done)
    }
}

/// What the rules and the bytes cost with no shard around them: no journal, no answers.
fn bare_loop() -> Took {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("bare")).unwrap();
    file.write_all_at(&vec![0; 2 * SEGMENT_BYTES as usize], 0).unwrap();
    file.sync_all().unwrap();
    let mut writer = Helper::start(move |(bytes, at): (Vec<u8>, u64)| {
        file.write_all_at(&bytes, at).unwrap();
        file.sync_data().unwrap();
        bytes
    });
    let mut sale = Sale::new();
    let started = ShardStarted { log: 1, shard: 0, shards: 1, key: SEEDS.key, generation: 1 };
    let fact = Fact::ShardStarted(started);
    sale.apply(1, &Event { at: Time(0), stamp: None, subject: None, fact }).unwrap();
    let mut bytes = Vec::new();
    for command in beginning() {
        decide(&mut sale, &command, time(0), &mut bytes);
    }
    bytes.clear();
    let commands = commands();
    let (mut other, mut at) = (Some(Vec::new()), 0);
    measure(|| {
        for (batch, commands) in commands.chunks(HOLDS_PER_BATCH).enumerate() {
            for (n, command) in commands.iter().enumerate() {
                decide(&mut sale, command, time(batch * HOLDS_PER_BATCH + n), &mut bytes);
            }
            bytes.resize(bytes.len().next_multiple_of(4_096), 0);
            std::hint::black_box(crc32c::crc32c(&bytes));
            let next = other.take().or_else(|| writer.take()).unwrap();
            let full = std::mem::replace(&mut bytes, next);
            bytes.clear();
            let length = full.len() as u64;
            writer.give((full, at));
            at += length;
        }
        writer.take().unwrap();
    })
}

fn decide(sale: &mut Sale, command: &Command, now: Time, bytes: &mut Vec<u8>) {
    let Ok(Decision::Change(events)) = sale.decide(command, now) else {
        panic!("it is for sale");
    };
    for event in &events {
        let start = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        onsale_codec::encode(event, bytes);
        let length = (bytes.len() - start - 4) as u32;
        bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        sale.apply(sale.position() + 1, event).unwrap();
    }
}

/// The same records through the journal, with nothing before and after.
fn append_only(records: &[Vec<u8>]) -> Took {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::open(folder.path()).unwrap());
    let options = onsale_journal::Options {
        segment_bytes: SEGMENT_BYTES,
        log: 1,
        shard: 0,
        generation: 1,
        durability: Durability::Synced,
    };
    let mut writer =
        onsale_journal::open(storage, options, 0, &mut |_, _, _| Ok(())).unwrap().writer;
    let (mut writing, mut sparing) = (Helper::start(WriteJob::run), Helper::start(SpareJob::run));
    measure(|| {
        for batch in records.chunks(HOLDS_PER_BATCH) {
            for record in batch {
                writer.append(&mut |buffer| buffer.extend_from_slice(record));
            }
            if let Some(done) = writing.take() {
                writer.finish(done).unwrap();
            }
            writing.give(writer.seal().unwrap());
            if let Some(done) = sparing.take_if_done() {
                writer.prepared(done).unwrap();
            }
            if let Some(job) = writer.prepare() {
                sparing.give(job);
            }
        }
        writer.finish(writing.take().unwrap()).unwrap();
    })
}

/// Seconds to start over this folder.
fn reopen(data: &Path) -> f64 {
    let began = Instant::now();
    let shard = open(data);
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(shard.figures().holds, HOLDS);
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
    folder.shards(&Options::new(SEGMENT_BYTES), &SEEDS, Time(0)).unwrap().pop().unwrap()
}

fn event(name: &str) -> Box<EventDefinition> {
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
        sale_group: id(name),
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
    println!("{name:<39} {middle:>7.digits$}  ({least:.digits$} – {most:.digits$})");
}
