//! `onsale import`: reads what another system sells and puts it up for sale here.
//!
//! Two sources are understood: our own catalogue file ([`crate::catalogue`]) and
//! the folder of a pretix export. Both become events of the same form and a list of
//! what could not be carried, which is told and never dropped in silence. A ticket
//! type that could only be sold wrongly is left out.

pub mod command;
mod pretix;
mod shift;
#[cfg(test)]
mod tests;
mod upload;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

pub use crate::catalogue::CatalogueEvent;
use crate::catalogue::read_catalogue;
pub use shift::shift_to_now;
pub use upload::upload;

/// Largest catalogue file, in bytes.
const CATALOGUE_BYTES_MAX: u64 = 16 << 20;

/// What was read, ready to be put up for sale.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Import {
    /// The events, in the order of the source.
    pub events: Vec<CatalogueEvent>,
    /// What they lack of what the source says.
    pub not_carried: Vec<NotCarried>,
}

/// Something that the source says and that Onsale does not do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NotCarried {
    /// What: `festival: item 14 (Weekend pass)`.
    pub what: String,
    /// Which property, and what that means.
    pub reason: String,
    /// Whether it is not sold for that reason; otherwise it is sold without.
    pub left_out: bool,
}

/// Why a source was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot read: {source}")]
    Io {
        /// Which file or folder.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The content is not as it must be.
    #[error("{at}: {detail}")]
    Input {
        /// Which file.
        at: String,
        /// What is wrong, with line and column or the field.
        detail: String,
    },
}

impl Import {
    /// Adds what another source sells.
    ///
    /// # Errors
    /// Where both sell an event with the same id.
    fn add(&mut self, other: Import, place: &Path) -> Result<(), Error> {
        for event in &other.events {
            if self.events.iter().any(|e| e.id == event.id) {
                let detail = format!("the event {} came from another file before", event.id);
                return Err(Error::Input { at: place.display().to_string(), detail });
            }
        }
        self.events.extend(other.events);
        self.not_carried.extend(other.not_carried);
        Ok(())
    }
}

/// Reads files of our own form and folders of pretix exports.
///
/// # Errors
/// The first that can't be read or is not as it must be.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Import, Error> {
    let mut import = Import::default();
    for path in paths {
        let path = path.as_ref();
        let loaded = match path.is_dir() {
            true => pretix::convert(&pretix::Export::read(path)?)?,
            false => load_catalogue(path)?,
        };
        import.add(loaded, path)?;
    }
    Ok(import)
}

fn load_catalogue(path: &Path) -> Result<Import, Error> {
    let text = read_text(path, CATALOGUE_BYTES_MAX)?;
    let events = read_catalogue(&text)
        .map_err(|detail| Error::Input { at: path.display().to_string(), detail })?;
    Ok(Import { events, not_carried: Vec::new() })
}

/// The River Festival, an export that is built in: what the demo sells.
///
/// # Panics
/// Never: a test reads it.
#[must_use]
pub fn festival() -> Import {
    let export = pretix::Export::parse("festival", |name| {
        Ok(match name {
            "event.json" => include_str!("../fixtures/pretix/festival/event.json"),
            "settings.json" => include_str!("../fixtures/pretix/festival/settings.json"),
            "items.json" => include_str!("../fixtures/pretix/festival/items.json"),
            "quotas.json" => include_str!("../fixtures/pretix/festival/quotas.json"),
            "categories.json" => include_str!("../fixtures/pretix/festival/categories.json"),
            "subevents.json" => include_str!("../fixtures/pretix/festival/subevents.json"),
            _ => unreachable!("an export has six files"),
        })
    });
    let import = export.and_then(|export| pretix::convert(&export));
    import.expect("the built-in export is sound")
}

/// An export whose files are given in their order: event, settings, items, quotas,
/// categories, subevents; missing ones are empty.
///
/// # Errors
/// As for [`load`].
pub fn export_of(files: &[&[u8]]) -> Result<Import, Error> {
    let export = pretix::Export::parse("export", |name| {
        let at = pretix::FILES.iter().position(|file| *file == name);
        let bytes = at.and_then(|at| files.get(at)).copied().unwrap_or_default();
        let text = std::str::from_utf8(bytes);
        text.map_err(|e| Error::Input { at: name.to_owned(), detail: e.to_string() })
    })?;
    pretix::convert(&export)
}

fn read_text(path: &Path, bytes_max: u64) -> Result<String, Error> {
    let io = |source| Error::Io { path: path.display().to_string(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(io)?;
    let read = file.take(bytes_max + 1).read_to_string(&mut text).map_err(io)?;
    match read as u64 > bytes_max {
        false => Ok(text),
        true => {
            let detail = format!("is longer than {bytes_max} bytes");
            Err(Error::Input { at: path.display().to_string(), detail })
        }
    }
}
