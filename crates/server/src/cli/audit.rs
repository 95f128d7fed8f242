//! `onsale journal audit`.

use std::path::PathBuf;

use clap::Args;

use super::{FAILED, OK, USAGE, complain, say};
use crate::audit::Audit;
use crate::config::{self, Config, Flags};
use crate::rows;

/// Proves the books from the journal alone.
///
/// Recomputes everything from the records and checks per quota that free + held +
/// sold = allotment, the limits, that codes are unique, and the money. It shares no
/// code with the engine's own counting. What is wrong is told with file, offset
/// and event. No server may be working on the folder; where the journal is in a database, or the sale in
/// Redis (--store), one may.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  nothing is wrong\n  \
    1  something is wrong, or the journal is damaged or in use\n  \
    2  the arguments make no sense")]
pub struct AuditArgs {
    /// The data folder; or postgres://…, the database that the journal is in.
    #[arg(long, value_name = "DIR", required_unless_present = "store")]
    pub data: Option<PathBuf>,
    /// A store in Redis instead, redis://HOST:PORT or rediss://HOST:PORT. Servers may be working on it.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "archive"])]
    pub store: Option<String>,
    /// Where the server archives full files of the journal, if it does. Without it, what the
    /// configuration says counts.
    #[arg(long, value_name = "DIR")]
    pub archive: Option<PathBuf>,
    /// The server's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Prints one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl AuditArgs {
    /// The archive that is named, or else the one that the server has by its configuration.
    fn archive(&self) -> Result<Option<PathBuf>, config::Error> {
        if self.archive.is_some() {
            return Ok(self.archive.clone());
        }
        let configured = Config::load(self.config.as_deref(), &Flags::default())?;
        // A server makes it at its next start.
        Ok(configured.journal.archive.filter(|archive| archive.is_dir()))
    }
}

/// Audits; returns the exit code.
pub fn run(args: &AuditArgs) -> u8 {
    let audited = match (&args.data, &args.store) {
        (Some(data), _) => match rows::look::url(data) {
            Some(url) => crate::audit::audit_rows(url),
            None if !data.is_dir() => {
                return complain(&anyhow::anyhow!("{} is no folder", data.display()), USAGE);
            }
            None => match args.archive() {
                Ok(archive) => crate::audit::audit_with(data, archive.as_deref()),
                Err(error) => return complain(&error.into(), USAGE),
            },
        },
        (None, store) => {
            let flags = Flags { store: store.clone(), ..Flags::default() };
            match Config::load(args.config.as_deref(), &flags) {
                Ok(Config { store: Some(options), .. }) => crate::audit::audit_store(&options),
                Ok(_) => return complain(&anyhow::anyhow!("--store must not be empty"), USAGE),
                Err(error) => return complain(&error.into(), USAGE),
            }
        }
    };
    let audit = match audited {
        Ok(audit) => audit,
        Err(error) => return complain(&error, FAILED),
    };
    told(&audit, args.json)
}

fn told(audit: &Audit, json: bool) -> u8 {
    match json {
        true => say(&audit.to_json().to_string()),
        false => say(&audit.to_text()),
    }
    if audit.report.ok { OK } else { FAILED }
}
