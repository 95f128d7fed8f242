//! The file of the webhooks in the data folder, replaced as a whole. It has their secrets in it, so only
//! its owner can read it.

use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Error;

/// Its name in the data folder.
pub const FILE: &str = "webhooks.json";

/// What is kept of a webhook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whose.
    pub organizer: String,
    /// Its name, unique in the organizer.
    pub name: String,
    /// Where it leads.
    pub url: String,
    /// Which types of records it wants; empty: all.
    pub types: Vec<String>,
    /// With which its deliveries are signed.
    pub secret: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When its receiver said that it is gone for good, RFC 3339: nothing is sent since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_at: Option<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole<T> {
    webhooks: Vec<T>,
}

/// One of them, as servers that share them keep it.
#[must_use]
pub fn text(entry: &Entry) -> String {
    serde_json::to_string(entry).expect("texts become JSON")
}

/// Reads the file; one that is not there has none.
pub fn read(data: &Path) -> Result<Vec<Entry>, Error> {
    let path = data.join(FILE);
    let wrong = |detail: String| Error::File { path: path.clone(), detail };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error.to_string())),
    };
    let whole: Whole<Entry> = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(whole.webhooks)
}

/// Writes the file so that a crash leaves the old one or the new one, whole.
pub fn write<'a>(data: &Path, entries: impl Iterator<Item = &'a Entry>) -> Result<(), Error> {
    let path = data.join(FILE);
    let whole = Whole { webhooks: entries.collect() };
    let mut json = serde_json::to_vec_pretty(&whole).expect("texts become JSON");
    json.push(b'\n');
    let written = || -> std::io::Result<()> {
        // A temporary file is made with mode 0600, and the rename keeps that.
        let mut new = tempfile::NamedTempFile::new_in(data)?;
        new.write_all(&json)?;
        new.as_file().sync_all()?;
        new.persist(&path).map_err(|error| error.error)?;
        std::fs::File::open(data)?.sync_all()
    };
    written().map_err(|error| Error::File { path: path.clone(), detail: error.to_string() })
}
