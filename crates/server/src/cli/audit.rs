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
/// and event. No server may be working on the folder; where the journal is in a database, one may.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  nothing is wrong\n  \
    1  something is wrong, or the journal is damaged or in use\n  \
    2  the arguments make no sense")]
pub struct AuditArgs {
    /// The data folder; or postgres://…, the database that the journal is in.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
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
    if let Some(url) = rows::look::url(&args.data) {
        return match crate::audit::audit_rows(url) {
            Ok(audit) => told(&audit, args.json),
            Err(error) => complain(&error, FAILED),
        };
    }
    if !args.data.is_dir() {
        return complain(&anyhow::anyhow!("{} is no folder", args.data.display()), USAGE);
    }
    let archive = match args.archive() {
        Ok(archive) => archive,
        Err(error) => return complain(&error.into(), USAGE),
    };
    let audit = match crate::audit::audit_with(&args.data, archive.as_deref()) {
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
