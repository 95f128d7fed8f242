//! `onsale keys create|list|revoke`.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use onsale_core::{Id, Time};
use serde_json::json;

use super::{KeyEntry, NewKey, Scope, create, list, revoke};
use crate::rates::RATE_MAX;

/// Makes, lists and revokes API keys. A running server follows within a second or two.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Makes a key and prints it, once: it is not kept. One that can't be printed is not made.
    Create {
        /// Where the keys are.
        #[command(flatten)]
        folder: Folder,
        /// What it may do.
        #[arg(long, value_delimiter = ',', required = true, value_name = "SCOPE,…")]
        scopes: Vec<Scope>,
        /// For this organizer only; left out: for all.
        #[arg(long)]
        organizer: Option<Id>,
        /// A name, for people.
        #[arg(long)]
        name: Option<String>,
        /// Requests per second that it may make, a second's worth at once; 0: without limit.
        /// Left out: limits.requests_per_second of the server.
        #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(..=RATE_MAX as i64))]
        rate: Option<u32>,
    },
    /// Lists the keys: their ids and what they may do, never the keys themselves.
    List {
        /// Where the keys are.
        #[command(flatten)]
        folder: Folder,
    },
    /// Takes a key out: it works no longer.
    Revoke {
        /// Where the keys are.
        #[command(flatten)]
        folder: Folder,
        /// Id of the key, as `list` shows it.
        id: String,
    },
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct Folder {
    /// The data folder of the server.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Prints one JSON value instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Carries the command out; returns what is to be printed, but for a new key, which `show` prints.
///
/// # Errors
/// Where the key file can't be read, is malformed or can't be written, or there
/// is no such key.
pub fn run(
    command: KeysCommand,
    now: Time,
    show: &dyn Fn(&str) -> io::Result<()>,
) -> anyhow::Result<Option<String>> {
    match command {
        KeysCommand::Create { folder, scopes, organizer, name, rate } => {
            check(&folder)?;
            let new = NewKey { name, scopes, organizer, rate };
            create(&folder.data, new, now, |entry, secret| {
                let secret = secret.reveal();
                if folder.json {
                    let mut value = to_json(entry);
                    value["key"] = json!(secret);
                    return show(&value.to_string());
                }
                show(&format!("{}\n\nThe key is shown this once:\n\n  {secret}", line(entry)))
            })?;
            Ok(None)
        }
        KeysCommand::List { folder } => {
            check(&folder)?;
            let entries = list(&folder.data)?;
            if folder.json {
                let values: Vec<_> = entries.iter().map(to_json).collect();
                return Ok(Some(json!({ "keys": values }).to_string()));
            }
            Ok(Some(entries.iter().map(line).collect::<Vec<_>>().join("\n")))
        }
        KeysCommand::Revoke { folder, id } => {
            check(&folder)?;
            let entry = revoke(&folder.data, &id)?;
            Ok(Some(match folder.json {
                true => to_json(&entry).to_string(),
                false => format!("revoked: {}", line(&entry)),
            }))
        }
    }
}

fn check(folder: &Folder) -> anyhow::Result<()> {
    let metadata = std::fs::metadata(&folder.data);
    metadata.with_context(|| format!("there is no data folder {}", folder.data.display()))?;
    Ok(())
}

fn to_json(entry: &KeyEntry) -> serde_json::Value {
    json!({
        "id": entry.id, "name": entry.name, "scopes": entry.scopes,
        "organizer": entry.organizer, "rate": entry.rate, "created_at": entry.created_at,
    })
}

fn line(entry: &KeyEntry) -> String {
    let scopes: Vec<_> = entry.scopes.iter().map(|scope| scope.name()).collect();
    let organizer = entry.organizer.as_deref().unwrap_or("all organizers");
    let name = entry.name.as_deref().unwrap_or("");
    // Last, since few have one.
    let rate = entry.rate.map_or(String::new(), |rate| format!("  {rate}/s"));
    let line = format!(
        "{}  {:20}  {:20}  {:17}  {name}{rate}",
        entry.id,
        entry.created_at.split('.').next().unwrap_or_default().trim_end_matches('Z'),
        scopes.join(","),
        organizer
    );
    line.trim_end().to_owned()
}
