//! How costs go with the number of events: one more definition over HTTP, a hold, memory, disk,
//! start.

use std::time::Instant;

use super::super::Settings;
use super::super::apart::Apart;
use super::super::report::Table;
use super::super::rules::{carry_out, opened, time_of};
use super::super::site::{Site, folder};
use super::super::workload::Workload;
use super::{MIB, disk_mib};

/// Holds to time in process.
const HOLDS: u64 = 200_000;
/// Definitions to time at each size.
const TIMED: u64 = 200;

/// From one event to ten thousand.
///
/// # Errors
/// A server does not start or refuses an event.
pub fn table(settings: &Settings) -> anyhow::Result<Table> {
    let apart = Apart::new()?;
    let most = if settings.share < 1.0 { 100 } else { 10_000 };
    let sizes = [1, 10, 100, 1_000, 10_000].into_iter().filter(|size| *size <= most);
    let mut site = Site::over(folder()?, &apart.cores)?;
    let mut defined = 0;
    let mut lines = Vec::new();
    for size in sizes {
        settings.tell(&format!("growth: {size} events"));
        let mut timed = (Instant::now(), defined);
        while defined < size {
            if size - defined == TIMED.min(size - timed.1) {
                timed = (Instant::now(), defined);
            }
            site.put_on_sale(defined, 86_400)?;
            defined += 1;
        }
        let define_ms = timed.0.elapsed().as_secs_f64() * 1e3 / (defined - timed.1) as f64;
        let memory_mib = site.server.memory_bytes() as f64 / MIB;
        let folder = site.stop()?;
        let disk_mib = disk_mib(folder.path())?;
        let began = Instant::now();
        site = Site::over(folder, &apart.cores)?;
        let start_s = began.elapsed().as_secs_f64();
        let hold_ns = hold_ns(size, settings.count(HOLDS))?;
        lines.push(vec![size as f64, define_ms, hold_ns, memory_mib, disk_mib, start_s]);
    }
    site.stop()?;
    Ok(Table {
        title: "From one event to ten thousand".to_owned(),
        plot: "growth-events",
        columns: vec![
            "events",
            "define and open one more, ms",
            "decide and apply a hold, ns",
            "server memory, MiB",
            "disk, MiB",
            "start, s",
        ],
        lines,
    })
}

/// Nanoseconds of a hold, decided and applied, in turn at each of so many events.
fn hold_ns(events: u64, holds: u64) -> anyhow::Result<f64> {
    let workload = Workload { events, ..Workload::hot(holds) };
    let mut sale = opened(workload)?;
    let commands: Vec<_> = (0..holds).map(|number| workload.hold(number)).collect();
    let began = Instant::now();
    for (number, command) in (0..).zip(&commands) {
        carry_out(&mut sale, command, time_of(number), &mut |_| {})?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e9 / holds as f64)
}
