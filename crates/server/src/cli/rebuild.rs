//! `onsale journal rebuild`.

use std::path::PathBuf;

use clap::Args;

use super::{FAILED, OK, USAGE, complain, say};
use crate::config::{Config, Flags};

/// Makes the state of a store in Redis again from its streams.
///
/// For when keys of the state were lost or changed by other hands while the streams are whole. Stop all servers first: one
/// that works on the store meanwhile does not sell until it is done. `onsale journal audit --store` proves the streams.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  it was made again\n  \
    1  it could not be\n  \
    2  the arguments make no sense")]
pub struct RebuildArgs {
    /// The store, redis://HOST:PORT or rediss://HOST:PORT.
    #[arg(long, value_name = "URL")]
    pub store: String,
    /// The servers' configuration, where it says more of the store.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Rebuilds; returns the exit code.
pub fn run(args: &RebuildArgs) -> u8 {
    let flags = Flags { store: Some(args.store.clone()), ..Flags::default() };
    let options = match Config::load(args.config.as_deref(), &flags) {
        Ok(Config { store: Some(options), .. }) => options,
        Ok(_) => return complain(&anyhow::anyhow!("--store must not be empty"), USAGE),
        Err(error) => return complain(&error.into(), USAGE),
    };
    match rebuild(&options) {
        Ok(records) => {
            say(&format!("made again from {records} records"));
            OK
        }
        Err(error) => complain(&error, FAILED),
    }
}

/// Makes the state again; gives the number of records.
fn rebuild(options: &onsale_redis::Options) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut records = 0;
    let mut each = |_, reached, last| records += if reached == last { last } else { 0 };
    runtime.block_on(onsale_redis::rebuild_all(options, &mut each))?;
    Ok(records)
}
