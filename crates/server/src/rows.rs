//! `onsale serve` with its journal in a PostgreSQL: how a server becomes the log's writer, and what it does until then.
//!
//! The data folder holds a copy of the log, with snapshots and all else that is made of it. A start opens the copy, reads
//! what is missing from the database, takes over, reads what came meanwhile, and serves. A standby does the same, only
//! that between reading and taking over it goes on reading until nobody's lease runs.

pub mod files;
pub mod look;
mod standby;
pub mod streams;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use onsale_engine::folder::{Identity, begin_shards};
use onsale_engine::{Durability, Folder, Options, Seeds, Shard};
use onsale_rows::{Error, Head, Kept, Link, Settings, Site, Taken};
use tokio::sync::watch;

use crate::bus::KeptElsewhere;
use crate::config::Config;
use crate::shards::{Fence, Lost, Opened, Store, Ticket, append, seeds, wall_time};
use files::Mirror;
use standby::{Standby, Standing};

/// How often a standby asks for more, at most and at least.
const POLL_MAX: Duration = Duration::from_millis(200);
const POLL_MIN: Duration = Duration::from_millis(20);
/// Polls in the time of a lease.
const POLLS: u32 = 20;
/// How often upkeep is looked for while a server follows.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// How long a standby waits after the database could not be reached.
const TROUBLE: Duration = Duration::from_millis(200);

/// Where the journal is kept, if not in files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowsConfig {
    /// The database's address.
    pub url: Url,
    /// Where clients find this server; empty: where it listens.
    pub address: String,
    /// How long the active server is taken for alive after its last sign of life.
    pub lease: Duration,
    /// How long it may take until a batch is known to be committed or not.
    pub wait: Duration,
    /// Whether to wait, if another is active, until it is so no more.
    pub standby: bool,
}

/// An address that may have a password in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Url(…)")
    }
}

/// A server that is the log's writer.
pub struct Active {
    /// Its shards.
    pub opened: Opened,
    /// Keeps small files of its folder in the database.
    pub mirror: Mirror,
    /// The streams that are kept there.
    pub streams: KeptElsewhere,
    /// Says when it is the writer no more.
    pub lost: watch::Receiver<Option<Lost>>,
}

/// Becomes the log's writer: at once, or as a standby once it can.
///
/// # Errors
/// The database or the folder can't be used, or another server is active; says what to do.
pub fn become_active(config: &Config, rows: &RowsConfig) -> anyhow::Result<Active> {
    let settings = Settings {
        config: Settings::parse(&rows.url.0).context("journal.url")?,
        node: format!("{:032x}", uuid::Uuid::new_v4().as_u128()),
        address: match rows.address.as_str() {
            "" => format!("http://{}", config.listen),
            address => address.to_owned(),
        },
        lease: rows.lease,
        wait: rows.wait,
        accepts_os: config.journal.durability == Durability::Os,
    };
    let standby = rows.standby.then(|| Standby::start(config)).transpose()?;
    let mut follower = Follower::open(config, settings, standby.as_ref())?;
    follower.note_kept()?;
    let heads = follower.take_over(standby.as_ref())?;
    follower.begin(config, &heads)
}

/// A server's copy of the log, on its way to be the log.
struct Follower<'a> {
    settings: Settings,
    site: Site,
    folder: Folder,
    identity: Identity,
    shards: Vec<Shard<Ticket>>,
    standby: Option<&'a Standby>,
    upkeep_at: Instant,
}

impl<'a> Follower<'a> {
    fn open(
        config: &Config,
        settings: Settings,
        standby: Option<&'a Standby>,
    ) -> anyhow::Result<Follower<'a>> {
        let in_database = || "journal.url";
        let mut site = again(standby, || Site::connect(&settings)).with_context(in_database)?;
        let (data, seeds) = (config.data.as_path(), seeds());
        let here = Folder::identity(data)?;
        let offered = here
            .is_none()
            .then_some(onsale_rows::Identity { log: seeds.log, shards: config.shards });
        let there = again(standby, || site.identity(offered)).with_context(in_database)?;
        let identity = same_log(data, here, there)?;
        let seeds = Seeds { log: identity.log, ..seeds };
        let folder = Folder::open(data, identity.shards, &seeds)?;
        let options = Options {
            elsewhere: true,
            durability: durability(site.kept().with_context(in_database)?),
            ..config.journal.clone()
        };
        let shards = folder.shards(&options, &seeds, wall_time())?;
        let mut follower = Follower {
            settings,
            site,
            folder,
            identity,
            shards,
            standby,
            upkeep_at: Instant::now() + UPKEEP_EVERY,
        };
        follower.check_copies()?;
        Ok(follower)
    }

    fn note_kept(&mut self) -> anyhow::Result<()> {
        let kept = again(self.standby, || self.site.kept())?;
        tracing::info!(receipts = durability(kept).as_str(), "the journal is in the database");
        Ok(())
    }

    /// Checks that the copy is a beginning of the log in the database.
    fn check_copies(&mut self) -> anyhow::Result<()> {
        let heads = again(self.standby, || self.site.heads())?;
        for (shard, head) in (0..).zip(&heads) {
            let (position, chain) = self.shards[usize::from(shard)].end();
            let path = Folder::shard_path(self.folder.path(), shard);
            let path = path.display();
            ensure!(
                position <= head.position,
                "the log in the database ends at position {} of shard {shard}, the copy in {path} at {position}: \
                 the database has lost what it had committed, or was set back. Nothing was changed. To go on with \
                 what the database has, move the data folder away",
                head.position
            );
            let there = again(self.standby, || self.site.chain(shard, position))?;
            ensure!(
                position == 0 || there == Some(chain),
                "the copy in {path} is not the beginning of the log in the database: at position {position} of \
                 shard {shard} they differ. Nothing was changed. To copy the log anew, move the data folder away"
            );
        }
        Ok(())
    }

    /// Reads on until there is nothing more.
    fn catch_up(&mut self) -> anyhow::Result<Vec<Head>> {
        loop {
            let heads = self.site.heads()?;
            let mut at_end = true;
            for (head, shard) in heads.iter().zip(&mut self.shards) {
                let mut position = shard.end().0;
                while position < head.position {
                    at_end = false;
                    for row in self.site.read(head.shard, position)? {
                        shard.follow(row.first, &row.records, row.chain).map_err(|detail| {
                            anyhow::anyhow!("shard {} in the database: {detail}", head.shard)
                        })?;
                        position = row.last;
                    }
                }
            }
            self.keep_up();
            if at_end {
                return Ok(heads);
            }
        }
    }

    /// Snapshots and the like, as they are due.
    fn keep_up(&mut self) {
        if self.upkeep_at > Instant::now() {
            return;
        }
        for (number, shard) in (0u16..).zip(&mut self.shards) {
            if let Some(job) = shard.upkeep(wall_time()) {
                for note in shard.upkept(job.run()) {
                    tracing::warn!(shard = number, note, "the upkeep of the copy");
                }
            }
        }
        self.upkeep_at = Instant::now() + UPKEEP_EVERY;
    }

    /// Follows until the log is ours.
    fn take_over(&mut self, standby: Option<&Standby>) -> anyhow::Result<Vec<Head>> {
        let poll = (self.settings.lease / POLLS).clamp(POLL_MIN, POLL_MAX);
        loop {
            match self.try_to_take_over() {
                Ok(Taken::Over(heads)) => return Ok(heads),
                Ok(Taken::Held { address, left }) => match standby {
                    None => return Err(Error::Held { address, left }).context("journal.url"),
                    Some(standby) => {
                        standby.show(Standing { active: address, positions: self.positions() });
                        std::thread::sleep(poll.min(left));
                    }
                },
                Err(error) if standby.is_some() && is_unreachable(&error) => {
                    tracing::warn!(%error, "the standby can't follow just now");
                    std::thread::sleep(TROUBLE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_to_take_over(&mut self) -> anyhow::Result<Taken> {
        self.catch_up()?;
        Ok(self.site.take_over()?)
    }

    fn positions(&self) -> Vec<u64> {
        self.shards.iter().map(|shard| shard.end().0).collect()
    }

    /// Reads what came before the log was ours, and makes it ready to be written to.
    fn begin(mut self, config: &Config, heads: &[Head]) -> anyhow::Result<Active> {
        let began = Instant::now();
        self.catch_up()?;
        for (head, shard) in heads.iter().zip(&self.shards) {
            let position = shard.end().0;
            ensure!(
                position == head.position,
                "shard {}: the log in the database ends at position {}, its batches at {position}: it was changed \
                 by something else than Onsale",
                head.shard,
                head.position
            );
        }
        let mut links = Vec::with_capacity(self.shards.len());
        for shard in 0..self.identity.shards {
            links.push(Link::open(&self.settings, shard).context("journal.url")?);
        }
        let kept = links.iter().map(Link::kept).min().unwrap_or(Kept::Os);
        let identity = self.identity;
        let mut keep = |shard: u16, job: &_| {
            append(&mut links[usize::from(shard)], job).map_err(std::io::Error::other)
        };
        begin_shards(&mut self.shards, identity, seeds().key, wall_time(), &mut keep)?;
        self.shards.iter_mut().for_each(|shard| shard.promise(durability(kept)));
        let fence = Fence::new(None);
        let (lost, data) = (fence.subscribe(), self.folder.path().to_owned());
        files::take(&mut self.site, &data)?;
        let site = Site::connect(&self.settings).context("journal.url")?;
        let streams = streams::open(site, self.settings.wait).context("journal.url")?;
        let mirror = Mirror::start(self.site, data, fence.clone())?;
        let rows = |link| Store::Rows { link: Box::new(link), fence: fence.clone() };
        let stores = links.into_iter().map(rows).collect();
        tracing::info!(took = ?began.elapsed(), listen = %config.listen, "this server is the active one now");
        let opened =
            Opened { folder: self.folder, shards: self.shards, stores, lost: Some(lost.clone()) };
        Ok(Active { opened, mirror, streams, lost })
    }
}

/// Tries again as long as the database can't be reached, where a standby waits anyhow.
fn again<T>(
    standby: Option<&Standby>,
    mut attempt: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match attempt() {
            Err(error @ Error::Unreachable { .. }) if standby.is_some() => {
                tracing::warn!(%error, "the standby can't follow just now");
                std::thread::sleep(TROUBLE);
            }
            done => return done,
        }
    }
}

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Unreachable { .. } | Error::ReadOnly))
}

/// What receipts say.
fn durability(kept: Kept) -> Durability {
    match kept {
        Kept::Os => Durability::Os,
        Kept::Synced => Durability::Synced,
        Kept::Replicated => Durability::Replicated,
    }
}

/// The log that both the folder and the database are of.
fn same_log(
    data: &Path,
    here: Option<Identity>,
    there: Option<onsale_rows::Identity>,
) -> anyhow::Result<Identity> {
    let data = data.display();
    let Some(there) = there else {
        bail!(
            "{data} holds a log of its own, and the database none: a log can't be moved to a database. Name another \
             data folder, in which the database's log is copied"
        );
    };
    let there = Identity { log: there.log, shards: there.shards };
    match here {
        Some(here) if here != there => bail!(
            "{data} holds the log {:032x} with {} shards, the database {:032x} with {}: name another data folder, or \
             another database",
            here.log,
            here.shards,
            there.log,
            there.shards
        ),
        _ => Ok(there),
    }
}
