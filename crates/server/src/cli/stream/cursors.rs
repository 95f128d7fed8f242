//! `onsale stream cursors`, `reset` and `parked`: what a data folder keeps for readers.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use onsale_bus::cursors::Progress;
use onsale_bus::{Bus, Cursors, Group, GroupName, Position, ShardId, ShardInfo, StreamName};
use serde_json::{Value, json};

use super::place::Place;
use super::remote::KeyArg;
use crate::cli::say;
use crate::cursors::FOLDER;

/// The store of the server's own cursors, and of relays.
const SERVER: &str = "_server";
/// Parked records that are listed at most.
const PARKED_MAX: usize = 1_000;

/// Whose cursors.
#[derive(Clone, Debug, Args)]
pub struct CursorsArgs {
    /// The data folder, which a server must have open, or that server's URL.
    #[arg(long = "at", value_name = "PLACE", default_value = "onsale-data")]
    pub place: Place,
    #[command(flatten)]
    pub key: KeyArg,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Which cursor.
#[derive(Clone, Debug, Args)]
pub struct OneCursor {
    /// Its name, as `onsale stream cursors` shows it.
    pub name: GroupName,
    /// The stream that it reads.
    #[arg(long, value_name = "STREAM", default_value = "sales")]
    pub stream: StreamName,
    /// Whose it is: an organizer, `_all` for keys that are bound to none, `_server` for the server's own.
    #[arg(long, value_name = "ID", default_value = "_all")]
    pub store: String,
}

/// Which cursor shall be where.
#[derive(Clone, Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    pub cursor: OneCursor,
    /// Only in this shard; left out: in all.
    #[arg(long, value_name = "ID")]
    pub shard: Option<ShardId>,
    /// `start`, `end`, or a position: the last one that counts as read.
    #[arg(long, value_name = "PLACE")]
    pub to: To,
    /// The data folder, which a server must have open, or the Redis that is copied from.
    #[arg(long = "at", value_name = "PLACE", default_value = "onsale-data")]
    pub place: Place,
}

/// Which parked records.
#[derive(Clone, Debug, Args)]
pub struct ParkedArgs {
    #[command(flatten)]
    pub cursor: OneCursor,
    /// The data folder, or a server's URL.
    #[arg(long = "at", value_name = "PLACE", default_value = "onsale-data")]
    pub place: Place,
    #[command(flatten)]
    pub key: KeyArg,
    /// Prints one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Where a cursor shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum To {
    /// Before the oldest record.
    Start,
    /// After the newest one.
    End,
    /// After this one.
    Position(Position),
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<To, String> {
        match text {
            "start" => Ok(To::Start),
            "end" => Ok(To::End),
            other => other
                .parse()
                .map(To::Position)
                .map_err(|_| "must be start, end or a position".to_owned()),
        }
    }
}

/// The stores of a data folder, with their names.
fn stores(data: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let folder = data.join(FOLDER);
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A store of a place. A Redis has one: that of the relays that copy from it.
async fn store(place: &Place, name: &str) -> anyhow::Result<Cursors> {
    #[cfg(feature = "redis")]
    if let Place::Redis(url) = place {
        let options = onsale_bus::redis::RedisOptions::new(url);
        return Ok(Cursors::Redis(onsale_bus::redis::RedisCursors::connect(&options).await?));
    }
    let found = stores(place.data()?)?.into_iter().find(|(other, _)| other == name);
    let (_, path) = found.with_context(|| format!("there are no cursors of {name}"))?;
    Ok(Cursors::file(path)?)
}

/// `onsale stream cursors`
pub async fn list(args: &CursorsArgs) -> anyhow::Result<()> {
    let rows = match args.place.remote(&args.key)? {
        Some(remote) => remote.cursors()?,
        None => rows(&args.place).await?,
    };
    if args.json {
        say(&json!({"cursors": rows}).to_string());
        return Ok(());
    }
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let lag = row["lag"].as_u64().map_or("?".to_owned(), |lag| lag.to_string());
        let place = format!("{}@{}", text("name"), text("stream"));
        say(&format!("{:<20} {place:<40} {lag:>12} behind", text("store")));
    }
    Ok(())
}

/// All cursors of a data folder.
async fn rows(place: &Place) -> anyhow::Result<Vec<Value>> {
    let bus = place.open().await?;
    let stores = match place {
        Place::Redis(_) => vec![(SERVER.to_owned(), store(place, SERVER).await?)],
        _ => stores(place.data()?)?
            .into_iter()
            .map(|(name, path)| Ok((name, Cursors::file(path)?)))
            .collect::<anyhow::Result<_>>()?,
    };
    let mut rows = Vec::new();
    for (name, store) in stores {
        for group in store.groups().await? {
            rows.extend(row(&bus, &store, &name, &group).await?);
        }
    }
    Ok(rows)
}

/// A cursor that was ever committed, as JSON.
async fn row(
    bus: &Bus,
    store: &Cursors,
    name: &str,
    group: &Group,
) -> anyhow::Result<Option<Value>> {
    let states = store.list(group).await?;
    if states.iter().all(|state| state.progress.is_none()) {
        return Ok(None);
    }
    let Ok(lags) = onsale_bus::lag(bus, store, group).await else {
        return Ok(Some(
            json!({"store": name, "name": group.name.as_str(), "stream": group.stream.as_str()}),
        ));
    };
    let all: Option<u64> = lags.iter().map(|lag| lag.records).sum();
    let shard = |lag: &onsale_bus::CursorLag| {
        json!({
            "shard": lag.shard.as_str(),
            "position": lag.progress.map(|progress| progress.position.to_string()),
            "lag": lag.records,
        })
    };
    let shards: Vec<Value> = lags.iter().map(shard).collect();
    let (cursor, stream) = (group.name.as_str(), group.stream.as_str());
    Ok(Some(json!({"store": name, "name": cursor, "stream": stream, "lag": all, "shards": shards})))
}

/// `onsale stream reset`
pub async fn reset(args: &ResetArgs) -> anyhow::Result<()> {
    let bus = args.place.open().await?;
    let store = store(&args.place, &args.cursor.store).await?;
    let group = Group { name: args.cursor.name.clone(), stream: args.cursor.stream.clone() };
    is_there(&store, &group, &args.cursor.store).await?;
    let info = bus.describe(&group.stream).await?;
    let is_meant = |shard: &&ShardInfo| args.shard.as_ref().is_none_or(|id| *id == shard.id);
    let mut moves = Vec::new();
    for shard in info.shards.iter().filter(is_meant) {
        let position = match args.to {
            To::Start => shard
                .first
                .as_u64()
                .map_or(shard.first, |first| Position::from(first.saturating_sub(1))),
            To::End => shard.last.context("the stream does not say where it ends")?,
            To::Position(asked) => match shard.last {
                Some(last) if asked > last => {
                    let (stream, shard) = (group.stream.clone(), shard.id.clone());
                    let beyond = onsale_bus::Error::Beyond { stream, shard, asked, last };
                    return Err(anyhow::Error::from(beyond).context("--to"));
                }
                _ => asked,
            },
        };
        moves.push((&shard.id, Progress { generation: info.generation, position, ended: false }));
    }
    anyhow::ensure!(!moves.is_empty(), "--shard: the stream {} has no such shard", group.stream);
    for (shard, to) in &moves {
        store.reset(&group.cursor(shard), Some(*to)).await?;
    }
    say(&format!("{group}: reset in {} shards", moves.len()));
    Ok(())
}

/// Refuses a cursor that is not there: a mistyped name must not make another one, or look like one that is well.
async fn is_there(store: &Cursors, group: &Group, of: &str) -> anyhow::Result<()> {
    let groups = store.groups().await?;
    anyhow::ensure!(groups.contains(group), "there is no cursor {group} of {of}");
    Ok(())
}

/// `onsale stream parked`
pub async fn parked(args: &ParkedArgs) -> anyhow::Result<()> {
    if let Some(remote) = args.place.remote(&args.key)? {
        return tell_remote(&remote.parked(&args.cursor)?, args.json);
    }
    let store = store(&args.place, &args.cursor.store).await?;
    let group = Group { name: args.cursor.name.clone(), stream: args.cursor.stream.clone() };
    is_there(&store, &group, &args.cursor.store).await?;
    let parked = store.parked(&group, None, PARKED_MAX).await?;
    let row = |record: &onsale_bus::cursors::Parked| {
        json!({
            "shard": record.shard.as_str(),
            "position": record.position.to_string(),
            "times": record.tries,
            "reason": record.reason,
            "parked_at_us": record.parked_at_us,
            "retrying": record.retry,
        })
    };
    if args.json {
        say(&json!({"parked": parked.iter().map(row).collect::<Vec<_>>()}).to_string());
        return Ok(());
    }
    for record in &parked {
        say(&format!(
            "{}/{}  {} times  {}",
            record.shard, record.position, record.tries, record.reason
        ));
    }
    Ok(())
}

/// Prints what a server says that is parked.
fn tell_remote(parked: &[Value], json: bool) -> anyhow::Result<()> {
    if json {
        say(&json!({"parked": parked}).to_string());
        return Ok(());
    }
    for record in parked {
        let reason = record["reason"].as_str().unwrap_or_default();
        let (shard, position) = (&record["shard"], &record["position"]);
        say(&format!("{shard}/{position}  {} times  {reason}", record["times"]));
    }
    Ok(())
}
