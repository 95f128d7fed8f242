//! What readers at the tail cost the writer, and how soon a record is with its reader.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use onsale_bus::{Bus, bench};
use tokio::sync::oneshot::error::TryRecvError;

use super::{BATCH, PAYLOAD_BYTES, folder, runtime, stream};
use crate::bench::Settings;
use crate::bench::report::{Figure, Goal, Unit, number};
use crate::bench::stats::{Side, interleaved};

/// Readers at the tail.
const READERS: usize = 100;
/// The writer's pace: a batch each time, a million records a second. Readers keep up with it on a small machine; at a
/// slower pace it is mostly the cost of waking up that is measured, which an idle machine has with no readers at all.
const EVERY: Duration = Duration::from_millis(2);
/// What is copied again and again, beyond what a core's own caches hold.
const COPIED_BYTES: usize = 8 << 20;
/// Threads of the writer, by which their processor time is told from the readers'.
const WRITER: &str = "bench-writer";
/// Readers that are further behind when the writer ends were not at the tail.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// When the readers are given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What there is beside the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Beside {
    Nothing,
    /// Readers at the tail.
    Readers,
    /// A thread that copies memory and has nothing to do with the bus: what a busy neighbour costs by itself.
    Copying,
}

/// Processor time of a paced writer for each record, with readers at the tail and without; and what it is beside a
/// thread that is busy with something else.
///
/// # Errors
/// The disk fails, or a reader did not get every record.
pub fn cost(settings: &Settings, warnings: &mut Vec<String>) -> anyhow::Result<[Figure; 2]> {
    let per_second = number(BATCH as f64 / EVERY.as_secs_f64());
    let name = |beside: &str| {
        format!("the writer's processor time for a record, {beside}, paced at {per_second}/s")
    };
    let (limits, products) = beside(settings, Beside::Readers, warnings)?;
    let limit = ("without readers", limits);
    let readers = name(&format!("{READERS} readers at the tail"));
    let readers = Figure::beside(readers, Unit::Nanoseconds, products, limit);
    let (limits, products) = beside(settings, Beside::Copying, warnings)?;
    let limit = ("alone", limits);
    let copying = name("beside a thread that only copies memory");
    let copying = Figure::beside(copying, Unit::Nanoseconds, products, limit);
    // A tenth more: 1 / 1.1.
    Ok([readers.goal(Goal::OfLimit(0.91)), copying])
}

/// Nanoseconds of the writer for each record, alone and beside something.
fn beside(
    settings: &Settings,
    what: Beside,
    warnings: &mut Vec<String>,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let batches = (settings.seconds(4.0).as_millis() / EVERY.as_millis()) as u32;
    interleaved(settings.pairs, |side| {
        let beside = if side == Side::Product { what } else { Beside::Nothing };
        settings.tell(&format!("bus: the writer beside {beside:?}"));
        let (cost, behind) = write_watched(beside, batches)?;
        if behind > BEHIND_MAX {
            warnings.push(format!(
                "The readers were {behind:?} behind when the writer ended, not at the tail."
            ));
        }
        Ok(cost)
    })
}

/// Nanoseconds of the writer for each record, and how long after it the readers had all.
fn write_watched(beside: Beside, batches: u32) -> anyhow::Result<(f64, Duration)> {
    let (folder, name) = (folder()?, stream("tail"));
    let path = folder.path().to_owned();
    let records = u64::from(batches) * BATCH as u64;
    let (to_readers, bus) = std::sync::mpsc::channel::<Bus>();
    let (to_writer, ready) = tokio::sync::oneshot::channel();
    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let readers = if beside == Beside::Readers { READERS } else { 0 };
    let watched = name.clone();
    // Each side has a runtime of its own, and so threads of its own, those for the disk too.
    let reading = std::thread::spawn(move || {
        let bus = bus.recv()?;
        if beside == Beside::Copying {
            let _ = to_writer.send(());
            let (from, mut to) = (vec![1_u8; COPIED_BYTES], vec![0; COPIED_BYTES]);
            while is_done.try_recv() == Err(TryRecvError::Empty) {
                to.copy_from_slice(std::hint::black_box(&from));
            }
            return Ok(Duration::ZERO);
        }
        runtime()?.block_on(async {
            let tail = bench::Tail::start(&bus, &watched, readers).await?;
            let _ = to_writer.send(());
            is_done.await.context("the writer failed")?;
            let ended = Instant::now();
            tail.have_read(records * readers as u64, PATIENCE).await?;
            anyhow::Ok(ended.elapsed())
        })
    });
    let writing = std::thread::Builder::new().name(WRITER.to_owned()).spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime =
            builder.enable_all().thread_name(WRITER).thread_keep_alive(PATIENCE).build()?;
        runtime.block_on(async {
            let bus = Bus::file(&path).await?;
            bus.create(&name, 1).await?;
            to_readers.send(bus.clone())?;
            ready.await.context("the readers failed")?;
            let entries = bench::entries(BATCH, PAYLOAD_BYTES);
            let before = processor_ns()?;
            bench::append_paced(&bus, &name, batches, EVERY, |_| entries.clone()).await?;
            let cost = (processor_ns()? - before) as f64 / records as f64;
            let _ = done.send(());
            anyhow::Ok((bus, cost))
        })
        // The runtime ends here: the bus is closed on another.
    })?;
    let written = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
    let behind = reading.join().map_err(|_| anyhow::anyhow!("the readers panicked"))?;
    let (bus, cost) = written?;
    runtime()?.block_on(bus.close())?;
    Ok((cost, behind?))
}

/// Processor time that the writer's threads have had, in nanoseconds.
fn processor_ns() -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end while it is looked at.
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
        if name.trim_end() == WRITER {
            let times = std::fs::read_to_string(task.join("schedstat")).context("schedstat")?;
            let time = times.split(' ').next().context("schedstat is empty")?;
            sum += time.parse::<u64>().context("schedstat")?;
        }
    }
    ensure!(sum > 0, "the system does not say what a thread had of the processor");
    Ok(sum)
}

/// From the moment when a record was to be appended to the record in its reader's hands, at this rate, which is so named.
///
/// # Errors
/// The disk fails, or a record is missing.
pub fn lag(settings: &Settings, per_second: f64, named: &str) -> anyhow::Result<[Figure; 2]> {
    let per_second = per_second as u32;
    let time = settings.seconds(5.0);
    let [mut middle, mut high] = [Vec::new(), Vec::new()];
    for _ in 0..settings.pairs {
        settings.tell("bus: lag");
        let (folder, name) = (folder()?, stream("lag"));
        // The bus and its writer have a thread, the reader has another, as in two processes.
        let home =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let bus = home.block_on(async {
            let bus = Bus::file(folder.path()).await?;
            bus.create(&name, 1).await?;
            anyhow::Ok(bus)
        })?;
        let lags =
            runtime()?.block_on(bench::lags_us(&bus, home.handle(), &name, per_second, time))?;
        home.block_on(bus.close())?;
        let wanted = u64::from(per_second / 100) * (time.as_millis() / 10) as u64;
        ensure!(lags.len() as u64 == wanted, "{} of {wanted} records were read", lags.len());
        let at =
            |share: f64| lags[((lags.len() as f64 * share) as usize).min(lags.len() - 1)] as f64;
        middle.push(at(0.5) / 1_000.0);
        high.push(at(0.99) / 1_000.0);
    }
    let rate = number(f64::from(per_second));
    let name = |which: &str| format!("lag {which}, from append to reader, at {rate}/s, {named}");
    Ok([
        Figure::alone(name("p50"), Unit::Milliseconds, middle),
        Figure::alone(name("p99"), Unit::Milliseconds, high).goal(Goal::AtMost(100.0)),
    ])
}
