//! `onsale bridge dialect`: checks one, and writes the first draft of one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use onsale_bridge::Error;
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::dialect::{Dialect, draft, statements};

use super::{EXIT_CODES, FAILED, OK, say};

/// Works on dialects.
#[derive(Clone, Debug, Subcommand)]
pub enum DialectCommand {
    /// Finds what is missing in a dialect or does not parse, and where.
    #[command(after_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Writes a first draft from the tables of a database.
    #[command(after_help = EXIT_CODES)]
    New(NewArgs),
}

/// `onsale bridge dialect check`
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// One that comes with Onsale (classic, pretix), or a folder
    #[arg(value_name = "NAME|FOLDER", env = "ONSALE_BRIDGE_DIALECT")]
    pub dialect: String,
    /// A database of the platform, which each statement is held against; left out: only the files are checked
    #[arg(long, value_name = "URL", env = "ONSALE_BRIDGE_DB", hide_env_values = true)]
    pub db: Option<String>,
}

/// `onsale bridge dialect new`
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// A database of the platform
    #[arg(long, value_name = "URL", env = "ONSALE_BRIDGE_DB", hide_env_values = true)]
    pub from: String,
    /// The folder to write; it must not be there
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

impl DialectCommand {
    /// What `--db` says.
    pub fn db(&self) -> Option<&str> {
        match self {
            DialectCommand::Check(args) => args.db.as_deref(),
            DialectCommand::New(_) => None,
        }
    }
}

/// Runs one of them.
pub async fn run(command: &DialectCommand) -> Result<u8, Error> {
    match command {
        DialectCommand::Check(args) => check(args).await,
        DialectCommand::New(args) => {
            let mut db = Database::open(&args.from).await?;
            let written = draft::write(&mut db, &args.folder).await?;
            say(&written.join("\n"));
            say(
                "A draft: look for `CHECK` in these files, then run `onsale bridge dialect check`.",
            );
            Ok(OK)
        }
    }
}

async fn check(args: &CheckArgs) -> Result<u8, Error> {
    let dialect = Dialect::load(&args.dialect)?;
    let mut found = Vec::new();
    match &args.db {
        Some(url) => {
            let mut db = Database::open(url).await?;
            let kind = db.kind();
            found = statements::check(&dialect, kind, Some(&mut db)).await?;
        }
        None => {
            for kind in [Kind::Sqlite, Kind::Postgres] {
                if dialect.settings.databases.contains(&kind) {
                    found.extend(statements::check(&dialect, kind, None).await?);
                }
            }
        }
    }
    for wrong in &found {
        say(&wrong.to_string());
    }
    if found.is_empty() {
        say(&format!("{}: nothing is missing", dialect.place));
    }
    Ok(if found.is_empty() { OK } else { FAILED })
}
