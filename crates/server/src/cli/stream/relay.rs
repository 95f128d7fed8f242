//! `onsale stream relay`: copies a stream to another bus.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use onsale_bus::{Bus, Cursors, Error, Group, GroupName, Relay, StreamName, WorkerOptions};

use super::place::Place;
use super::stopped;
use crate::cli::say;
use crate::cursors::FOLDER;

/// How long to wait for records; after so long without any, a copy that shall end asks whether all is copied.
const WAIT: Duration = Duration::from_secs(1);

/// What to copy, and where to.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "The place is kept by a cursor at the source, in the data folder or in Redis, so a relay that was stopped in any way goes on where \
    it was. Order is kept for each event. To Redis no record comes twice; elsewhere the last ones may, \
    and the id of each record says which it is. Several of one --cursor share the work; what one had that was killed \
    is another's after 30 seconds. A target that was emptied is an error: `onsale stream reset relay --store _server --to start`, \
    and all is copied again. So is one that lost some of its records: copy all to another stream there, by another cursor \
    (--to-stream, --cursor). After the source was restored from a backup: the same, and to another stream \
    (--to-stream), since the old copy has records that are no more.\n\n\
    Exit codes:\n  0  it was stopped (SIGINT, SIGTERM), or all is copied, with --until-end\n  1  it failed\n  2  the arguments make no sense"
)]
pub struct RelayArgs {
    /// The stream.
    #[arg(default_value = "sales")]
    pub stream: StreamName,
    /// Where to copy it from: a data folder, which a server must have open, or a Redis.
    #[arg(long, value_name = "PLACE", default_value = "onsale-data")]
    pub from: Place,
    /// Where to copy it to.
    #[arg(long, value_name = "URL")]
    pub to: Place,
    /// The stream's name there; left out: the same.
    #[arg(long, value_name = "STREAM")]
    pub to_stream: Option<StreamName>,
    /// Shards of a stream that is made there; left out: as many as here.
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Name of the cursor.
    #[arg(long, value_name = "NAME", default_value = "relay")]
    pub cursor: GroupName,
    /// Ends when all that the stream has is copied; what another relay has under way is waited for.
    #[arg(long)]
    pub until_end: bool,
}

/// `onsale stream relay`
pub async fn run(args: &RelayArgs) -> anyhow::Result<()> {
    let cursors = cursors(&args.from).await?;
    let source = args.from.open().await.with_context(|| format!("--from {}", args.from))?;
    let target = args.to.open().await.with_context(|| format!("--to {}", args.to))?;
    let to = args.to_stream.clone().unwrap_or_else(|| args.stream.clone());
    let shards = source.describe(&args.stream).await?.shards.len();
    make(&target, &to, args.shards.unwrap_or(u32::try_from(shards).unwrap_or(u32::MAX))).await?;
    let group = Group { name: args.cursor.clone(), stream: args.stream.clone() };
    let relay = Relay::begin(source, cursors, group, target, to, WorkerOptions::default()).await?;
    copy(relay, args.until_end).await
}

/// Where the relay's place is kept: beside what it copies from.
async fn cursors(from: &Place) -> anyhow::Result<Cursors> {
    #[cfg(feature = "redis")]
    if let Place::Redis(url) = from {
        let options = onsale_bus::redis::RedisOptions::new(url);
        return Ok(Cursors::Redis(onsale_bus::redis::RedisCursors::connect(&options).await?));
    }
    Ok(Cursors::file(from.data()?.join(FOLDER).join("_server"))?)
}

/// Makes the stream at the target where there is none.
async fn make(target: &Bus, to: &StreamName, shards: u32) -> anyhow::Result<()> {
    match target.describe(to).await {
        Ok(_) => Ok(()),
        Err(Error::NoSuchStream { .. }) => Ok(target.create(to, shards).await?),
        Err(error) => Err(error.into()),
    }
}

async fn copy(mut relay: Relay, until_end: bool) -> anyhow::Result<()> {
    let mut count = 0;
    let mut is_told = false;
    let stopped = stopped();
    tokio::pin!(stopped);
    let done = loop {
        tokio::select! {
            step = relay.step(WAIT) => match step {
                Ok(Some(records)) => count += records,
                Ok(None) if until_end => match relay.is_at_end().await {
                    Ok(true) => break Ok(()),
                    Ok(false) if !is_told => {
                        is_told = true;
                        tracing::warn!("not all is copied: waiting for shards that another relay has by its lease");
                    }
                    Ok(false) => {}
                    Err(error) => break Err(error.into()),
                },
                Ok(None) => {}
                Err(error) => break Err(error.into()),
            },
            stopped = &mut stopped => break stopped,
        }
    };
    let left = relay.end().await;
    say(&format!("{count} records copied"));
    done.and(left.map_err(Into::into))
}
