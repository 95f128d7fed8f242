//! How costs go with the number of tickets sold: a sale, memory, disk, start.

use std::time::Instant;

use anyhow::ensure;

use super::super::Settings;
use super::super::engine::opened_shard;
use super::super::recovery::reopen;
use super::super::report::Table;
use super::super::rules::time_of;
use super::super::site::folder;
use super::super::workload::Workload;
use super::{MIB, disk_mib};

/// Tickets to a sale.
const QUANTITY: u32 = 2;

/// From 20,000 tickets to ten million, two to a sale, each by another customer.
///
/// # Errors
/// The disk fails, or a sale is refused.
pub fn table(settings: &Settings) -> anyhow::Result<Table> {
    let mut lines = Vec::new();
    for tickets in [20_000, 200_000, 2_000_000, 10_000_000] {
        settings.tell(&format!("growth: {tickets} tickets"));
        lines.push(line(settings.count(tickets))?);
    }
    Ok(Table {
        title: "From 20,000 tickets to ten million, two to a sale".to_owned(),
        plot: "growth-tickets",
        columns: vec![
            "tickets",
            "durable sale, µs",
            "state, MiB",
            "disk, MiB",
            "start, s",
            "start without snapshots, s",
        ],
        lines,
    })
}

fn line(tickets: u64) -> anyhow::Result<Vec<f64>> {
    let folder = folder()?;
    let sales = tickets / u64::from(QUANTITY);
    let workload = Workload { price: 0, ..Workload::hot(sales) };
    let mut drive = opened_shard(folder.path(), workload)?;
    let began = Instant::now();
    for number in 0..sales {
        drive.submit(time_of(number), Box::new(workload.buy(number, QUANTITY)))?;
    }
    drive.flush()?;
    let sale_us = began.elapsed().as_secs_f64() * 1e6 / sales as f64;
    drive.rest()?;
    ensure!(drive.granted == sales, "{} of {sales} were granted", drive.granted);
    drive.keep_up()?;
    let state_mib = drive.shard.figures().state_bytes as f64 / MIB;
    drop(drive);
    let disk_mib = disk_mib(folder.path())?;
    let (drive, starts) = reopen(folder.path())?;
    let orders = drive.shard.sale().counts().orders as u64;
    ensure!(orders == sales, "{orders} of {sales} sales came back");
    Ok(vec![tickets as f64, sale_us, state_mib, disk_mib, starts.seconds, starts.without])
}
