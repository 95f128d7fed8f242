//! `onsale journal rebuild`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use onsale_redis::snapshot::{Adopted, adopt_snapshot};
use onsale_redis::{Options, Seeds};

use super::snapshot::StoreArgs;
use super::{FAILED, OK, USAGE, complain, remark, say, snapshot};

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
    #[command(flatten)]
    pub store: StoreArgs,
    /// The folder that `onsale journal snapshot` writes to: the newest of each shard that is whole is taken, then the records
    /// that came later. Of a shard that has none, and without the folder, all records are read.
    #[arg(long, value_name = "DIR")]
    pub snapshots: Option<PathBuf>,
}

/// Rebuilds; returns the exit code.
pub fn run(args: &RebuildArgs) -> u8 {
    let options = match args.store.options() {
        Ok(options) => options,
        Err(error) => return complain(&error, USAGE),
    };
    match rebuild(&options, args.snapshots.as_deref()) {
        Ok((records, 0)) => {
            say(&format!("made again from {records} records"));
            OK
        }
        Ok((records, snapshots)) => {
            say(&format!("made again from {snapshots} snapshots and {records} records"));
            OK
        }
        Err(error) => complain(&error, FAILED),
    }
}

/// Makes the states again; gives the number of records and of snapshots that were read.
fn rebuild(options: &Options, snapshots: Option<&Path>) -> anyhow::Result<(u64, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut records, mut taken) = (0, 0);
    runtime.block_on(async {
        let seeds = onsale_redis::seeds(options).await?;
        if let Some(folder) = snapshots {
            check(folder, seeds.log)?;
        }
        for shard in 0..seeds.shards {
            let begun = match snapshots {
                Some(folder) => adopt(options, &seeds, shard, folder).await?,
                None => None,
            };
            let last = onsale_redis::rebuild_shard(options, shard, begun.is_some())
                .await
                .with_context(|| format!("shard {shard}"))?;
            onsale_redis::claim_places(options, shard).await?;
            records += last - begun.unwrap_or(0);
            taken += usize::from(begun.is_some());
        }
        Ok((records, taken))
    })
}

/// Whether the folder is this log's, as far as can be seen: it has snapshots of it, or none at all.
fn check(folder: &Path, log: u128) -> anyhow::Result<()> {
    let logs = snapshot::logs(folder)?;
    ensure!(
        logs.is_empty() || logs.contains(&log),
        "{} has no snapshot of the log {log:032x}, but of others: name the folder that is this store's, or leave \
         --snapshots out to read all records",
        folder.display()
    );
    Ok(())
}

/// Puts the newest snapshot of a shard that is whole in the place of its state; gives its position. Those that are damaged are told of.
async fn adopt(
    options: &Options,
    seeds: &Seeds,
    shard: u16,
    folder: &Path,
) -> anyhow::Result<Option<u64>> {
    let found = snapshot::kept(folder, seeds.log, shard)?;
    if found.is_empty() {
        let folder = folder.display();
        remark(&format!(
            "onsale: shard {shard}: {folder} has no snapshot of it: all its records are read"
        ));
    }
    for kept in found {
        let path = kept.path.display();
        let snapshot = match snapshot::read(&kept) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                remark(&format!("onsale: shard {shard}: {path} is left out: {error:#}"));
                continue;
            }
        };
        let adopted = adopt_snapshot(options, seeds, shard, &snapshot).await.with_context(|| {
            format!(
                "shard {shard} is as it was; {path} can't be used: move it away to take an older one, or leave --snapshots out \
                 to read all records"
            )
        })?;
        match adopted {
            Adopted::Yes => return Ok(Some(snapshot.position)),
            Adopted::Unusable(why) => {
                let why = format!("Redis does not take it: {why}");
                remark(&format!("onsale: shard {shard}: {path} is left out: {why}"));
            }
        }
    }
    Ok(None)
}
