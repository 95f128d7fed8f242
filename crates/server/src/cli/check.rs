//! `onsale config check`.

use std::path::PathBuf;

use clap::Args;

use super::{OK, USAGE, complain, say};
use crate::config::{Config, Flags, environment};
use crate::output::remark;

/// Checks the configuration that `onsale serve` would start with.
///
/// Puts the defaults, the file and the environment together, and lists every mistake at once, each with
/// its key and where it was made. Variables ONSALE_… that are no settings are named, too.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  the configuration is right\n  \
    2  it is not; every mistake is listed")]
pub struct CheckArgs {
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder, where `onsale serve` gets it by its flag.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Prints every setting in force and where it comes from.
    #[arg(long)]
    pub print: bool,
}

/// Checks; returns the exit code.
pub fn run(args: &CheckArgs) -> u8 {
    for name in environment::ignored() {
        remark(&format!("onsale: {name} is no setting: it is ignored"));
    }
    let flags = Flags { data: args.data.clone(), ..Flags::default() };
    match Config::load_told(args.config.as_deref(), &flags) {
        Ok((_, settings)) => {
            match args.print {
                true => say(settings.trim_end()),
                false => say("the configuration is right"),
            }
            OK
        }
        Err(error) => complain(&error.into(), USAGE),
    }
}
