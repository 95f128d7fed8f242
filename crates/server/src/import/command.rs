//! `onsale import`: its arguments and what it prints.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use onsale_core::{EventDefinition, EventState, Id, Time};
use serde_json::{Value, json};

use super::upload::{Outcome, upload};
use super::{CatalogueEvent, Import, load, shift_to_now};
use crate::catalogue::StateBody;
use crate::http_client::Client;

/// Exit code: all was imported.
pub const ALL_DONE: u8 = 0;
/// Exit code: the server refused something or could not be reached.
pub const SOME_FAILED: u8 = 1;
/// Exit code: the arguments or the files make no sense; nothing was sent.
pub const BAD_INPUT: u8 = 2;

/// Quotas that are printed one by one; more are only counted.
const QUOTAS_PRINTED_MAX: usize = 8;

/// Reads what another system sells and puts it up for sale on a running server.
///
/// FILE is a catalogue in Onsale's own form, DIR an export of pretix: the answers
/// event.json, settings.json, items.json, quotas.json, categories.json and
/// subevents.json of its REST API. Everything is read and checked before the
/// first event is sent. What can't be carried is listed.
///
/// Exit codes: 0 all imported; 1 the server refused something or was not there;
/// 2 bad arguments or bad files, nothing was sent.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The server, such as http://localhost:7070.
    #[arg(long, required_unless_present = "dry_run")]
    pub url: Option<String>,
    /// For this organizer.
    #[arg(long, required_unless_present = "dry_run")]
    pub organizer: Option<Id>,
    /// A key with the scope manage.
    #[arg(long, env = "ONSALE_KEY", hide_env_values = true, required_unless_present = "dry_run")]
    pub key: Option<String>,
    /// Moves all windows by the same time, so that the one that opens last opens
    /// now and everything is on sale.
    #[arg(long)]
    pub shift_to_now: bool,
    /// Reads and checks, and sends nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Catalogue files and folders of exports.
    #[arg(required = true, value_name = "FILE|DIR")]
    pub sources: Vec<PathBuf>,
}

/// Carries the command out. Results go to `out`, what is wrong with the input to
/// `err`. Returns the exit code.
///
/// # Errors
/// Where nothing can be printed.
pub fn run(
    args: &ImportArgs,
    now: Time,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let prepared = load(&args.sources).map_err(|e| e.to_string()).and_then(|mut import| {
        if args.shift_to_now {
            shift_to_now(&mut import, now);
        }
        match import.events.is_empty() {
            true => Err(nothing_to_import(&import)),
            false => Ok((import, target(args)?)),
        }
    });
    let (import, target) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            writeln!(err, "{message}")?;
            return Ok(BAD_INPUT);
        }
    };
    let mut shown = Vec::new();
    let mut failed = false;
    for event in &import.events {
        let result = target.as_ref().map(|(client, organizer)| upload(client, organizer, event));
        failed |= matches!(result, Some(Err(_)));
        match args.json {
            true => shown.push(to_json(event, result.as_ref())),
            false => write_event(out, event, result.as_ref())?,
        }
    }
    match args.json {
        true => writeln!(out, "{}", json!({ "events": shown, "not_carried": import.not_carried }))?,
        false => write_not_carried(out, &import)?,
    }
    Ok(if failed { SOME_FAILED } else { ALL_DONE })
}

fn target(args: &ImportArgs) -> Result<Option<(Client, Id)>, String> {
    let (false, Some(url), Some(organizer)) = (args.dry_run, &args.url, args.organizer) else {
        return Ok(None);
    };
    let client = Client::new(url, args.key.as_deref()).map_err(|e| e.to_string())?;
    Ok(Some((client, organizer)))
}

fn nothing_to_import(import: &Import) -> String {
    let mut message = "there is no event to import".to_owned();
    for lost in &import.not_carried {
        message += &format!("\n  {}: {}", lost.what, lost.reason);
    }
    message
}

fn write_event(
    out: &mut impl Write,
    event: &CatalogueEvent,
    result: Option<&Result<Outcome, String>>,
) -> io::Result<()> {
    let (word, why) = match result {
        None => ("checked", None),
        Some(Ok(Outcome::Created)) => ("created", None),
        Some(Ok(Outcome::Changed)) => ("changed", None),
        Some(Ok(Outcome::Unchanged)) => ("unchanged", None),
        Some(Err(why)) => ("FAILED", Some(why)),
    };
    let definition = &event.definition;
    // Whether it sells now: a new event that says nothing is paused.
    let state = match (event.state, result) {
        (Some(state), _) => format!(", {state}"),
        (None, Some(Ok(Outcome::Created))) => format!(", {}", EventState::Paused),
        (None, _) => String::new(),
    };
    writeln!(
        out,
        "{word:9}  {}  {:?}{state}, {}, {}",
        event.id,
        definition.name,
        count(definition.ticket_types.len(), "ticket type"),
        stock(definition)
    )?;
    why.map_or(Ok(()), |why| writeln!(out, "           {why}"))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What there is, quota by quota; quotas overlap, so that a sum says little.
fn stock(definition: &EventDefinition) -> String {
    let quotas = count(definition.quotas.len(), "quota");
    if definition.quotas.len() > QUOTAS_PRINTED_MAX {
        return quotas;
    }
    let each = definition.quotas.iter().map(|quota| match quota.capacity {
        Some(capacity) => format!("{}: {capacity}", quota.id),
        None => format!("{}: unlimited", quota.id),
    });
    format!("{quotas} ({})", each.collect::<Vec<_>>().join(", "))
}

fn write_not_carried(out: &mut impl Write, import: &Import) -> io::Result<()> {
    for (left_out, title) in [(true, "Left out:"), (false, "Sold without:")] {
        let mut lost =
            import.not_carried.iter().filter(|lost| lost.left_out == left_out).peekable();
        if lost.peek().is_some() {
            writeln!(out, "\n{title}")?;
        }
        for lost in lost {
            writeln!(out, "  {}: {}", lost.what, lost.reason)?;
        }
    }
    Ok(())
}

fn to_json(event: &CatalogueEvent, result: Option<&Result<Outcome, String>>) -> Value {
    let definition = &event.definition;
    let quotas = definition.quotas.iter();
    json!({
        "id": event.id.as_str(),
        "name": definition.name,
        "state": event.state.map(StateBody::from),
        "result": match result {
            None => json!("checked"),
            Some(Ok(outcome)) => json!(outcome),
            Some(Err(_)) => json!("failed"),
        },
        "error": result.and_then(|result| result.as_ref().err()),
        "ticket_types": definition.ticket_types.len(),
        "quotas": quotas
            .map(|quota| json!({ "id": quota.id.as_str(), "capacity": quota.capacity }))
            .collect::<Vec<_>>(),
    })
}
