//! The row `core`: what a hold costs in rules and wire form, without a disk.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use onsale_core::event::ShardStarted;
use onsale_core::{Command, Decision, Event, Fact, Known, Sale, Time};
use onsale_engine::LOOK_AHEAD;

use super::Settings;
use super::drive::SEEDS;
use super::report::{Figure, Row, Unit};
use super::workload::Workload;
use crate::cli::bench::CORE_ABOUT;

/// Time of the first command.
const BEGIN: i64 = 1_000_000;

/// When the hold with this number is placed.
pub fn time_of(number: u64) -> Time {
    Time(BEGIN + 1 + number as i64)
}

/// A state with all events on sale.
///
/// # Errors
/// One is refused.
pub fn opened(workload: Workload) -> anyhow::Result<Sale> {
    let mut sale = Sale::new();
    let started =
        ShardStarted { log: SEEDS.log, shard: 0, shards: 1, key: SEEDS.key, generation: 1 };
    let fact = Fact::ShardStarted(started);
    sale.apply(1, &Event { at: Time(BEGIN), stamp: None, subject: None, fact })?;
    for command in workload.openings() {
        carry_out(&mut sale, &command, Time(BEGIN), &mut |_| {})?;
    }
    Ok(sale)
}

/// Decides and applies one command that must change something.
///
/// # Errors
/// It does not.
pub fn carry_out(
    sale: &mut Sale,
    command: &Command,
    now: Time,
    each: &mut dyn FnMut(&Event),
) -> anyhow::Result<()> {
    let events = match sale.decide(command, now) {
        Ok(Decision::Change(events)) => events,
        other => anyhow::bail!("{:?} led to {other:?}", command.action),
    };
    for event in &events {
        each(event);
        let position = sale.position() + 1;
        sale.apply(position, event)?;
    }
    Ok(())
}

/// The same for many, of which the first has this number: the keys of some at a time are made before the
/// first of them is decided, as a shard does.
///
/// # Errors
/// One does not.
pub fn carry_out_all(
    sale: &mut Sale,
    commands: &[Command],
    mut number: u64,
    each: &mut dyn FnMut(&Event),
) -> anyhow::Result<()> {
    let (known, mut all_keys) = (Known::default(), Vec::with_capacity(LOOK_AHEAD));
    for commands in commands.chunks(LOOK_AHEAD) {
        all_keys.clear();
        all_keys.extend(commands.iter().map(|command| sale.keys(command)));
        for (command, keys) in commands.iter().zip(&all_keys) {
            sale.touch(command, keys);
        }
        sale.touch_leaving(commands.len());
        for (command, keys) in commands.iter().zip(&all_keys) {
            let events = match sale.decide_with(command, keys, time_of(number), &known) {
                Ok(Decision::Change(events)) => events,
                other => anyhow::bail!("{:?} led to {other:?}", command.action),
            };
            for event in &events {
                each(event);
                sale.apply_decided(sale.position() + 1, event, keys)?;
            }
            number += 1;
        }
    }
    Ok(())
}

/// `onsale bench core`
///
/// # Errors
/// A hold is refused.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("core", CORE_ABOUT);
    let wide = settings.count(1_000_000);
    let workloads = [
        ("one event", Workload::hot(settings.count(200_000))),
        ("100 events, 1,000,000 customers", Workload::wide(wide)),
    ];
    for (name, workload) in workloads {
        let [mut decided, mut encoded, mut decoded] = [const { Vec::new() }; 3];
        for _ in 0..settings.pairs {
            settings.tell(&format!("core, {name}"));
            let costs = costs(workload)?;
            decided.push(costs.decided_ns);
            encoded.push(costs.encoded_ns);
            decoded.push(costs.decoded_ns);
        }
        let steps = [("decide and apply", decided), ("encode", encoded), ("decode", decoded)];
        for (step, samples) in steps {
            let name = format!("{step} a hold, {name}");
            row.figures.push(Figure::alone(name, Unit::Nanoseconds, samples));
        }
    }
    row.notes.push("Commands are made beforehand; ids are chosen, so they are remembered.".into());
    Ok(row)
}

struct Costs {
    decided_ns: f64,
    encoded_ns: f64,
    decoded_ns: f64,
}

fn costs(workload: Workload) -> anyhow::Result<Costs> {
    let mut sale = opened(workload)?;
    let holds = workload.customers;
    let commands: Vec<Command> = (0..holds).map(|n| workload.hold(n)).collect();
    let per_hold = |began: Instant| began.elapsed().as_secs_f64() * 1e9 / holds as f64;
    let began = Instant::now();
    carry_out_all(&mut sale, &commands, 0, &mut |_| {})?;
    let decided_ns = per_hold(began);
    ensure!(sale.counts().holds as u64 == holds, "{:?}", sale.counts());
    drop(sale);
    // A second time for the events, which are not kept while it is measured.
    let mut sale = opened(workload)?;
    let mut events = Vec::with_capacity(commands.len());
    for (number, command) in (0..).zip(&commands) {
        carry_out(&mut sale, command, time_of(number), &mut |event| events.push(event.clone()))?;
    }
    drop((sale, commands));
    let mut bytes = Vec::with_capacity(events.len() * 256);
    let mut ends = Vec::with_capacity(events.len());
    let began = Instant::now();
    for event in &events {
        onsale_codec::encode(event, &mut bytes);
        ends.push(bytes.len());
    }
    let encoded_ns = per_hold(began);
    let began = Instant::now();
    let mut start = 0;
    for end in ends {
        let event = onsale_codec::decode(&bytes[start..end])?;
        std::hint::black_box(&event);
        start = end;
    }
    let decoded_ns = per_hold(began);
    // Stamps lose the time that they were made at, which these do not have.
    let last = events.last().context("there are holds")?;
    let mut again = Vec::new();
    onsale_codec::encode(last, &mut again);
    ensure!(bytes.ends_with(&again), "what was encoded is not what was decided");
    Ok(Costs { decided_ns, encoded_ns, decoded_ns })
}
