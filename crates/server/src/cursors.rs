//! Named cursors that the server keeps for readers outside: a store for each organizer, in the
//! data folder or, where servers share a Redis, there; and what they count in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use onsale_bus::cursors::{CursorState, Progress};
use onsale_bus::{
    CursorId, Cursors, Error, Generation, Group, Position, ShardId, StreamName, WorkerId,
};
use onsale_core::Id;

use crate::shards::Shards;

/// Folder of the stores in the data folder.
pub const FOLDER: &str = "cursors";
/// Store of the keys that are bound to no organizer. No id begins with an underscore.
const UNBOUND: &str = "_all";
/// Store of the server's own cursors.
const SERVER: &str = "_server";
/// The stream that they read.
const STREAM: &str = "sales";
/// How long a cursor is the server's while it is moved.
const LEASE: Duration = Duration::from_secs(10);
/// How often a cursor is moved again that another server moves, too.
const COMMITS_MAX: u32 = 5;
/// Cursors that an organizer may have.
pub const CURSORS_MAX: usize = 100;
/// What the names of the cursors of webhooks begin with; no reader's name may.
pub const WEBHOOK_PREFIX: &str = "webhook.";

/// The stores of all organizers.
#[derive(Debug)]
pub struct CursorStores {
    folder: PathBuf,
    open: Mutex<BTreeMap<String, Cursors>>,
    /// Where servers share them.
    #[cfg(feature = "redis")]
    shared: Option<onsale_bus::redis::RedisCursors>,
    /// Who this server is among those.
    node: WorkerId,
}

/// How far a cursor is behind the end of the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Behind {
    /// Whose; none: of the keys that are bound to no organizer.
    pub organizer: Option<String>,
    /// Its name.
    pub name: String,
    /// Records after it, over all shards, others' included.
    pub records: u64,
}

impl CursorStores {
    /// The stores of these shards.
    ///
    /// # Panics
    /// Never: the address of a store that is open is right.
    #[must_use]
    pub fn new(shards: &Shards) -> CursorStores {
        let is_shared = cfg!(feature = "redis") && shards.shared().is_some();
        let node = if is_shared { WorkerId::fresh() } else { worker() };
        CursorStores {
            folder: shards.data().join(FOLDER),
            open: Mutex::default(),
            #[cfg(feature = "redis")]
            shared: shards.shared().map(|options| {
                let options = crate::bus::options(options, ":cursors");
                onsale_bus::redis::RedisCursors::new(&options).expect("the address is right")
            }),
            node,
        }
    }

    /// The store of an organizer; none: of the keys that are bound to none.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn of(&self, organizer: Option<&Id>) -> Result<Cursors, Error> {
        self.store(&organizer.map_or_else(|| UNBOUND.to_owned(), Id::to_string))
    }

    /// The store of the servers' own cursors.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn of_server(&self) -> Result<Cursors, Error> {
        self.store(SERVER)
    }

    /// Who this server is where it follows a stream itself: the one that has the folder, or one of those that share it.
    #[must_use]
    pub fn node(&self) -> &WorkerId {
        &self.node
    }

    fn store(&self, name: &str) -> Result<Cursors, Error> {
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            return Ok(Cursors::Redis(shared.part(name)));
        }
        self.file(name.to_owned())
    }

    fn file(&self, name: String) -> Result<Cursors, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = open.get(&name) {
            return Ok(store.clone());
        }
        let store = Cursors::file(self.folder.join(&name))?;
        open.insert(name, store.clone());
        Ok(store)
    }

    /// How far every cursor is behind, up to so many of them.
    pub async fn behind(&self, shards: &Shards, limit: usize) -> Vec<Behind> {
        let mut all = Vec::new();
        let stores = self.all().await.unwrap_or_default();
        for (name, store) in stores.into_iter().filter(|(name, _)| name != SERVER) {
            let organizer = (name != UNBOUND).then(|| Id::new(&name).ok()).flatten();
            for group in store.groups().await.unwrap_or_default() {
                if all.len() >= limit {
                    return all;
                }
                let Some(places) = places(&store, &group).await.ok().filter(|p| !p.is_empty())
                else {
                    continue;
                };
                let records = (0..shards.count()).map(|shard| lag(shards, shard, &places)).sum();
                let organizer = organizer.map(|id| id.to_string());
                all.push(Behind { organizer, name: group.name.to_string(), records });
            }
        }
        all
    }

    /// All cursors of a stream, the server's own and those of relays included.
    ///
    /// # Errors
    /// A store fails.
    pub async fn of_stream(&self, stream: &StreamName) -> Result<Vec<CursorState>, Error> {
        let mut all = Vec::new();
        for (_, store) in self.all().await? {
            for group in store.groups().await?.into_iter().filter(|group| group.stream == *stream) {
                all.extend(store.list(&group).await?);
            }
        }
        Ok(all)
    }

    /// The stores that are there, by name.
    async fn all(&self) -> Result<Vec<(String, Cursors)>, Error> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        let mut all = Vec::new();
        for name in names {
            all.push((name.clone(), self.file(name)?));
        }
        #[cfg(feature = "redis")]
        if let Some(shared) = &self.shared {
            // What this server had in files once counts no more.
            all.clear();
            let parts = shared.parts().await?.into_iter();
            all.extend(parts.map(|name| (name.clone(), Cursors::Redis(shared.part(&name)))));
        }
        Ok(all)
    }
}

/// Where a cursor is in each shard; nothing of those in which it never was.
pub type Places = BTreeMap<u16, Progress>;

/// The cursor of this name.
///
/// # Errors
/// The name breaks its rule.
pub fn group(name: &str) -> Result<Group, Error> {
    Group::new(name, STREAM)
}

/// Who the server is to a store of readers' cursors. It is always the same: so what it held before a crash is its own again at
/// once, and where servers share a store the last one that comes is in the right.
#[must_use]
pub fn worker() -> WorkerId {
    WorkerId::new("server").expect("it keeps the rule")
}

/// The stream's history, as cursors remember it: which log, and how often it began anew.
#[must_use]
pub fn generation(shards: &Shards) -> Generation {
    let infos = (0..shards.count()).filter_map(|shard| shards.info(shard));
    let (log, sum) = infos.fold((0, 0), |(_, sum), info| (info.log, sum + info.generation.get()));
    Generation(((log >> 96) as u64) << 32 | u64::from(sum))
}

/// A place in a shard.
#[must_use]
pub fn progress(shards: &Shards, position: u64) -> Progress {
    Progress { generation: generation(shards), position: Position::from(position), ended: false }
}

/// Where a cursor is.
///
/// # Errors
/// The store fails.
pub async fn places(store: &Cursors, group: &Group) -> Result<Places, Error> {
    let states = store.list(group).await?;
    let place = |state: onsale_bus::cursors::CursorState| {
        Some((state.cursor.shard.as_str().parse().ok()?, state.progress?))
    };
    Ok(states.into_iter().filter_map(place).collect())
}

/// Moves a cursor forwards in a shard.
///
/// # Errors
/// It would move backwards, is of another history, or is another worker's.
pub async fn commit(store: &Cursors, group: &Group, shard: u16, to: Progress) -> Result<(), Error> {
    let cursor = group.cursor(&ShardId::numbered(shard.into()));
    for tries in 1.. {
        let Some(claim) = store.acquire(&cursor, &worker(), LEASE).await? else {
            return Err(leased(store, group, cursor).await?);
        };
        let done = store.commit(&claim, to).await;
        // Another server has come in between.
        if matches!(done, Err(Error::LostLease { .. })) && tries < COMMITS_MAX {
            continue;
        }
        store.release(&claim).await?;
        return done;
    }
    unreachable!("the last try returns")
}

/// Says who has a cursor that could not be taken, and for how long.
///
/// # Errors
/// The store fails.
pub async fn leased(store: &Cursors, group: &Group, cursor: CursorId) -> Result<Error, Error> {
    let state = store.list(group).await?.into_iter().find(|state| state.cursor == cursor);
    let lease = state.and_then(|state| state.lease);
    let left = lease.as_ref().map_or(Duration::ZERO, |lease| lease.left);
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let owner = lease.map_or_else(worker, |lease| lease.owner);
    Ok(Error::Leased { cursor, owner, left_ms })
}

/// Puts a cursor anywhere in a shard; none: nowhere.
///
/// # Errors
/// It is another worker's.
pub async fn reset(
    store: &Cursors,
    group: &Group,
    shard: u16,
    to: Option<Progress>,
) -> Result<(), Error> {
    let cursor = group.cursor(&ShardId::numbered(shard.into()));
    // What the server has itself it gives up first.
    if let Some(claim) = store.acquire(&cursor, &worker(), LEASE).await? {
        store.release(&claim).await?;
    }
    store.reset(&cursor, to).await
}

/// The same, whoever has it: a server that follows it is told so by its next step.
///
/// # Errors
/// The store fails, or others take it again and again.
pub async fn seize(
    store: &Cursors,
    group: &Group,
    shard: u16,
    to: Option<Progress>,
) -> Result<(), Error> {
    let cursor = group.cursor(&ShardId::numbered(shard.into()));
    for tries in 1.. {
        let state = store.list(group).await?.into_iter().find(|state| state.cursor == cursor);
        if let Some(lease) = state.and_then(|state| state.lease)
            && let Some(claim) = store.acquire(&cursor, &lease.owner, LEASE).await?
        {
            store.release(&claim).await?;
        }
        match store.reset(&cursor, to).await {
            Err(Error::Leased { .. }) if tries < COMMITS_MAX => {}
            done => return done,
        }
    }
    unreachable!("the last try returns")
}

/// Records after a cursor in a shard, others' included.
#[must_use]
pub fn lag(shards: &Shards, shard: u16, places: &Places) -> u64 {
    let durable = shards.info(shard).map_or(0, |info| info.reader.durable());
    let at = places.get(&shard).and_then(|place| place.position.as_u64()).unwrap_or(0);
    durable.saturating_sub(at)
}
