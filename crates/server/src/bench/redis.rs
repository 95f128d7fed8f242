//! Holds with the sale in Redis: what a server gets out of it, beside the same function under `redis-benchmark`, which knows no
//! rules, makes no keys and reads no answers.

use std::collections::VecDeque;
use std::process::Command as Program;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use onsale_core::command::{Expects, Item};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, EventDefinition, EventState,
    HoldId, Id, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_redis::{Ask, LIBRARY, Options, Reply, Seeds, ShardClient, Store};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::apart::Apart;
use super::bus::redis::{Server, found, found_program};
use super::report::{Figure, Goal, Row, Unit, number};
use super::stats::{Side, interleaved};
use super::{Settings, machine};
use crate::cli::bench::REDIS_ABOUT;
use crate::shards::wall_time;

/// Holds of one measurement.
const HOLDS: u64 = 200_000;
/// Commands in one piece, and pieces under way, as a server has them.
const PIECE: usize = 256;
const PIECES: usize = 8;
/// How `redis-benchmark` asks: as many calls under way.
const PIPELINE: &str = "64";
const CLIENTS: &str = "32";

/// Measures the row.
///
/// # Errors
/// There is no Redis, or a side did something else than was asked of it.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("redis", REDIS_ABOUT);
    let (Some(server), Some(benchmark)) = (found(), found_program("redis-benchmark")) else {
        row.notes.push("Left out: no redis-server and redis-benchmark on the PATH.".to_owned());
        return Ok(row);
    };
    let (holds, machine) = (settings.count(HOLDS), machine());
    let apart = Apart::new()?;
    for (name, fsync, goals) in [
        ("append-only file, synced every second", "everysec", true),
        ("append-only file, synced before each answer", "always", false),
    ] {
        let (limits, products) = interleaved(settings.pairs, |side| {
            settings.tell(&format!("redis: {fsync}, {side:?}"));
            let redis = Server::start(&server, &["--appendonly", "yes", "--appendfsync", fsync])?;
            let mut core = CpuSet::new();
            core.set(apart.cores.server);
            let process = rustix::process::Pid::from_child(&redis.child);
            sched_setaffinity(Some(process), &core).context("cannot keep Redis to its core")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let client = runtime.block_on(on_sale(&redis.url))?;
            match side {
                Side::Limit => limit(&benchmark, &redis.url, holds),
                Side::Product => runtime.block_on(product(client, holds)),
            }
        })?;
        let limit = ("our function under redis-benchmark", limits);
        let figure = Figure::beside(name, Unit::PerSecond, products, limit);
        row.figures.push(match goals {
            true => figure.goal(Goal::OfLimit(0.7)).goal(Goal::AtLeast(25_000.0)),
            false => figure,
        });
    }
    row.notes.push(format!(
        "Redis has one core, who asks the other; {} holds a run, each by its own customer, under a limit, with an id that is \
         remembered; one event on one shard. {}.",
        number(holds as f64),
        machine
    ));
    Ok(row)
}

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

/// A store with one event on sale.
async fn on_sale(url: &str) -> anyhow::Result<ShardClient> {
    let timeout = Duration::from_secs(10);
    let options =
        Options { url: url.to_owned(), prefix: "onsale".to_owned(), timeout, replicas: 0 };
    let seeds = Seeds { log: 1, key: CodeKey([7; 16]), shards: 1 };
    Store::open(&options, None, seeds, wall_time()).await?;
    let client = ShardClient::new(options, 0, seeds.log);
    let definition = EventDefinition {
        name: "E".to_owned(),
        currency: Currency::new("EUR").expect("a currency"),
        starts_at: None,
        sale: Window::default(),
        limits: vec![onsale_core::Limit {
            ticket_types: Vec::new(),
            per_order: Some(4),
            per_customer: Some(4),
        }],
        hold_seconds: 3_600,
        payment_seconds: 3_600,
        sale_group: id("e"),
        quotas: vec![QuotaDefinition { id: id("q"), capacity: Some(1_000_000_000) }],
        ticket_types: vec![TicketTypeDefinition {
            id: id("t"),
            name: "T".to_owned(),
            price: 1_250,
            free_price: false,
            quotas: vec![id("q")],
            sale: Window::default(),
        }],
    };
    let definition = Box::new(definition);
    let define = command(0, Action::DefineEvent { definition, expects: Expects::Absent });
    let open = Action::SetState { state: EventState::Open, expects: Expects::Any };
    let open = command(1, open);
    for answer in client.ask(&[Ask::Command(&define), Ask::Command(&open)]).await {
        ensure!(matches!(answer?.reply, Reply::Done { .. }), "the event is not on sale");
    }
    Ok(client)
}

fn command(number: u128, action: Action) -> Command {
    let stamp = CommandStamp { id: number << 32, body: number, chosen: true, made_at: None };
    Command { stamp, organizer: id("o"), event: id("e"), action }
}

fn hold(number: u64) -> Command {
    let customer = CustomerId::new(&format!("customer-{number:012}")).expect("a customer");
    let item = Item { ticket_type: id("t"), quantity: 1, price: None };
    let hold = HoldId(u128::from(number) << 40);
    let items = std::iter::once(item).collect();
    command(u128::from(number) + 2, Action::PlaceHold { hold, customer, items })
}

/// Holds per second, as a server asks for them.
async fn product(client: ShardClient, holds: u64) -> anyhow::Result<f64> {
    let commands: Vec<Command> = (0..holds).map(hold).collect();
    let pieces: VecDeque<Vec<Command>> = commands.chunks(PIECE).map(<[Command]>::to_vec).collect();
    let (pieces, client) = (Arc::new(Mutex::new(pieces)), Arc::new(client));
    let began = Instant::now();
    let mut flights = tokio::task::JoinSet::new();
    for _ in 0..PIECES {
        let (pieces, client) = (pieces.clone(), client.clone());
        flights.spawn(async move {
            loop {
                let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(piece) = piece else { return anyhow::Ok(()) };
                let asks: Vec<Ask<'_>> = piece.iter().map(Ask::Command).collect();
                for answer in client.ask(&asks).await {
                    ensure!(matches!(answer?.reply, Reply::Done { .. }), "a hold was refused");
                }
            }
        });
    }
    while let Some(done) = flights.join_next().await {
        done??;
    }
    Ok(holds as f64 / began.elapsed().as_secs_f64())
}

/// Holds per second of the function under `redis-benchmark`.
fn limit(benchmark: &std::path::Path, url: &str, holds: u64) -> anyhow::Result<f64> {
    let port = url.rsplit(':').next().context("the address has a port")?;
    let (function, calls) = (LIBRARY.function("place_hold"), holds.to_string());
    let output = Program::new(benchmark)
        .args([
            "-p",
            port,
            "-r",
            "1000000000",
            "-n",
            &calls,
            "-P",
            PIPELINE,
            "-c",
            CLIENTS,
            "--csv",
        ])
        .args(["FCALL", &function, "1", "{onsale/0}state", "1", "9007199254740991", "0", "o/e"])
        // Key of the id, id, body; whether it was chosen, when it was made.
        .args(["__rand_int__keys", "__rand_int__ids.", "bodybodybodybody", "1", ""])
        .args(["__rand_int__hold", "customer-__rand_int__", "__rand_int__cust", "1", "t", "1", ""])
        .output()
        .with_context(|| benchmark.display().to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().last().and_then(|line| line.rsplit("\",\"").nth(6));
    let rate: Option<f64> = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.with_context(|| format!("redis-benchmark said {text:?}"))
}
