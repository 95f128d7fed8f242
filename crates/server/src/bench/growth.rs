//! The row `growth`: how costs go with what grows, as tables and plots.

mod day;
mod due;
mod events;
mod tickets;

use std::path::Path;

use super::Settings;
use super::report::Row;
use crate::cli::bench::GROWTH_ABOUT;

/// Bytes in what tables are given in.
const MIB: f64 = (1 << 20) as f64;

/// `onsale bench growth`
///
/// # Errors
/// The disk fails, a server does not start, or something is refused.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("growth", GROWTH_ABOUT);
    due::measure(settings, &mut row)?;
    row.tables.push(events::table(settings)?);
    row.tables.push(tickets::table(settings)?);
    row.tables.push(day::table(settings)?);
    Ok(row)
}

/// What the files below a folder take, in MiB.
fn disk_mib(folder: &Path) -> anyhow::Result<f64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => bytes += entry.metadata()?.len(),
            }
        }
    }
    Ok(bytes as f64 / MIB)
}
