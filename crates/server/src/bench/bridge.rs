//! The row `bridge`: sales written back into PostgreSQL beside a bare loop that inserts the same rows, how soon a change
//! in the platform is a record of `catalogue`, and what an attached bridge costs the platform's own sale.
//!
//! The platform is the box office's database, the engine and the bridge are processes of their own, the engine on
//! the first core.

mod capture;
mod platform;
mod selling;
mod write_back;

use super::Settings;
use super::report::Row;
use crate::cli::bench::BRIDGE_ABOUT;
use platform::Place;

/// `onsale bench bridge`
///
/// # Errors
/// A process does not start, a database fails, or not all came over.
pub fn row(settings: &Settings) -> anyhow::Result<Row> {
    let mut row = Row::new("bridge", BRIDGE_ABOUT);
    let mut places = vec![Place::Sqlite];
    match &settings.database {
        Some(url) => {
            let place = Place::Postgres(url);
            row.figures.push(write_back::figure(settings, place, &mut row.notes)?);
            places.insert(0, place);
        }
        None => row.notes.push(
            "PostgreSQL is left out: name one with wal_level = logical by --database.".to_owned(),
        ),
    }
    for place in &places {
        row.figures.extend(capture::figures(settings, *place)?);
    }
    for place in &places {
        row.figures.push(selling::figure(settings, *place)?);
    }
    row.notes.extend([capture::note(), selling::note()]);
    row.notes.push(
        "Each run has a database of its own, in the PostgreSQL of --database or in a file as the box office has it."
            .to_owned(),
    );
    Ok(row)
}
