//! Shards whose state is in Redis: how they are opened, and where events are that other nodes have made.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use onsale_core::Id;
use onsale_core::event::Subject;
use onsale_engine::{Generation, Query, Request, ShardInfo, Unavailable};
use onsale_journal::Reader;
use onsale_redis::{Options, Seeds, ShardClient, Store};
use tokio::sync::{mpsc, watch};

use super::directory::Directory;
use super::remote::{self, Records, Remote, durability};
use super::{Answer, Driver, DurabilityCell, Figures, Inner, Shards, Shared, wall_time};

/// The file in the data folder that says which log the node has worked with.
const LOG_FILE: &str = "redis.log";

/// A store in Redis that is open.
pub struct RedisStore {
    options: Options,
    data: PathBuf,
    store: Store,
    /// Which event is where, by now.
    places: Vec<(Subject, u16)>,
    is_cluster: bool,
}

impl RedisStore {
    /// Opens a store, or makes it with this many shards where there is none and the data folder has never worked with one.
    ///
    /// # Errors
    /// It can't be reached, or what is there can't be used.
    pub async fn open(data: &Path, shards: u16, options: Options) -> anyhow::Result<RedisStore> {
        std::fs::create_dir_all(data).with_context(|| format!("cannot make {}", data.display()))?;
        let file = data.join(LOG_FILE);
        let known = match std::fs::read_to_string(&file) {
            Ok(text) => {
                let known = u128::from_str_radix(text.trim(), 16);
                Some(known.with_context(|| format!("{} is damaged", file.display()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let onsale_engine::Seeds { log, key } = super::seeds();
        let new = Seeds { log, key, shards };
        let store = Store::open(&options, known, new, wall_time()).await.context("store.url")?;
        let places = store.places.all().await?;
        let is_cluster = onsale_redis::is_cluster(&options).await.context("store.url")?;
        if known.is_none() {
            std::fs::write(&file, format!("{:032x}\n", store.seeds.log))
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(RedisStore { options, data: data.to_owned(), store, places, is_cluster })
    }
}

impl Shards {
    /// Takes a store that is open, and gives the drivers that must run for anything to be answered.
    ///
    /// # Errors
    /// The machine has no thread left.
    pub fn over_redis(opened: RedisStore) -> std::io::Result<(Shards, Vec<Driver>)> {
        let RedisStore { options, data, store, places, is_cluster } = opened;
        let directory = Arc::<Directory>::default();
        for (Subject { organizer, event }, shard) in places {
            directory.insert(shard, &[(organizer, event)], &[]);
        }
        let (closing, closing_seen) = watch::channel(false);
        let (closed_count, closed) = watch::channel(0);
        let (mut shared, mut drivers) = (Vec::new(), Vec::new());
        let places = Arc::new(store.places);
        for (number, joined) in (0..).zip(store.shards) {
            let (queue, requests) = mpsc::unbounded_channel();
            let queued = Arc::new(AtomicUsize::new(0));
            let (durable, durable_seen) = watch::channel(joined.position);
            let figures = Arc::new(Mutex::new(Figures::default()));
            let client = || ShardClient::new(options.clone(), number, store.seeds.log);
            let records = Records::of(client(), number, joined.cut, durable_seen.clone())?;
            let records = Arc::new(records);
            let promised = durability(joined.durability);
            let generation = Generation::new(joined.generation);
            let cell = DurabilityCell::new(promised);
            shared.push(Shared {
                info: ShardInfo {
                    shard: number,
                    shards: store.seeds.shards,
                    log: store.seeds.log,
                    key: store.seeds.key,
                    generation: generation.clone(),
                    durability: promised,
                    reader: Reader::elsewhere(records.clone()),
                },
                queue,
                queued: queued.clone(),
                durable: durable_seen,
                figures: figures.clone(),
                durability: cell.clone(),
            });
            drivers.push(Driver::Redis(remote::Driver::new(remote::Parts {
                shard: number,
                client: Arc::new(client()),
                records,
                requests,
                queued,
                durable,
                durability: cell,
                generation,
                figures,
                closing: closing_seen.clone(),
                closed: closed_count.clone(),
                places: (number == 0).then(|| (directory.clone(), places.clone())),
            })));
        }
        // What is no shard is in one slot of a cluster.
        let prefix = match is_cluster {
            true => format!("{{{}/control}}", options.prefix),
            false => options.prefix.clone(),
        };
        let beside = Options { prefix, ..options };
        let remote = Some(Remote { places, shards: store.seeds.shards, shared: beside });
        let (shards, making) = (shared, Arc::default());
        let inner = Inner {
            shards,
            directory,
            making,
            closing,
            closed,
            data,
            _folder: None,
            remote,
            lost: None,
        };
        Ok((Shards { inner: Arc::new(inner) }, drivers))
    }

    /// The shard of an event. Where the state is in Redis, another node may have made it.
    pub(super) async fn find_event(
        &self,
        organizer: &Id,
        event: &Id,
    ) -> Result<Option<u16>, Unavailable> {
        let known = self.inner.directory.event(organizer, event);
        let (None, Some(remote)) = (known, &self.inner.remote) else { return Ok(known) };
        let subject = Subject { organizer: *organizer, event: *event };
        let found = remote.of_event(&subject).await?;
        // It may be said where it goes before it is there.
        if let Some(shard) = found
            && self.is_there(shard, &subject).await?
        {
            self.inner.directory.insert(shard, &[(*organizer, *event)], &[]);
            return Ok(found);
        }
        Ok(None)
    }

    async fn is_there(
        &self,
        shard: u16,
        Subject { organizer, event }: &Subject,
    ) -> Result<bool, Unavailable> {
        let query = Query::Event { organizer: *organizer, event: *event };
        let replied = self.ask(shard, Request::Query(query)).await?;
        Ok(matches!(replied.answer, Answer::View(_)))
    }

    /// Where a new event goes. Of several nodes that make it at once, one says so for all.
    pub(super) async fn place_in_redis(
        &self,
        remote: &Remote,
        organizer: Id,
        event: Id,
        group: Id,
    ) -> Result<u16, Unavailable> {
        let subject = Subject { organizer, event };
        let wanted = onsale_redis::shard_of_group(&organizer, &group, remote.shards);
        let claimed = remote.claim(&subject, wanted).await?;
        if claimed == wanted || self.is_there(claimed, &subject).await? {
            return Ok(claimed);
        }
        // It was to be made with another sale group once, and was not.
        remote.claim_anew(&subject, wanted).await?;
        Ok(wanted)
    }
}
