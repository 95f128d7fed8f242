//! A store as a whole: which log it is, which shards it has, and which event is on which of them.

use onsale_core::event::Subject;
use onsale_core::{CodeKey, Event, Id, Time};
use redis::Value;

use crate::call::{Trouble, begin, rebuild};
use crate::client::{entries, state_key};
use crate::heard::Heard;
use crate::library::LIBRARY;
use crate::link::Link;
use crate::record::{self, Codes};
use crate::session::{self, Failure, Joined, Options};
use crate::words::{WORDS, Word};

/// What a log is made from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// Its id.
    pub log: u128,
    /// The secret of its codes.
    pub key: CodeKey,
    /// How many shards it has.
    pub shards: u16,
}

/// A store.
pub struct Store {
    /// The log's id, secret and number of shards.
    pub seeds: Seeds,
    /// What its shards said of themselves, in order.
    pub shards: Vec<Joined>,
    /// Which event is where.
    pub places: Places,
}

const SEEDS_BYTES: usize = 34;
/// Records read at a time.
const RECORDS_PER_READ: usize = 1_000;
/// Records carried out again by one call: some ten milliseconds' work.
const RECORDS_PER_REBUILD: usize = 500;

impl Seeds {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.log.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.key.0);
        bytes.extend_from_slice(&self.shards.to_be_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Seeds> {
        let bytes: &[u8; SEEDS_BYTES] = bytes.try_into().ok()?;
        let (log, rest) = bytes.split_first_chunk::<16>()?;
        let (key, shards) = rest.split_first_chunk::<16>()?;
        let shards = u16::from_be_bytes(shards.try_into().ok()?);
        Some(Seeds { log: u128::from_be_bytes(*log), key: CodeKey(*key), shards })
    }
}

impl Store {
    /// Opens a store, or makes it out of `new`. `known` is the log that this node has worked with before: one that has lost it
    /// is refused, never made anew.
    ///
    /// # Errors
    /// It can't be reached, or what is there can't be used.
    pub async fn open(
        options: &Options,
        known: Option<u128>,
        new: Seeds,
        now: Time,
    ) -> Result<Store, Failure> {
        let log = Link::new(options, Some(&LIBRARY), format!("{{{}}}log", options.prefix));
        let (seeds, begun) = match fields(&log).await? {
            Some(found) => found,
            None => (first_seeds(options, &log, known, new).await?, false),
        };
        if known.is_some_and(|known| known != seeds.log) {
            let why = "Redis has another log than this data folder has worked with";
            return Err(Failure::Unusable(why.into()));
        }
        let mut shards = Vec::new();
        for shard in 0..seeds.shards {
            shards.push(open_shard(options, &seeds, shard, begun, now).await?);
        }
        if !begun {
            log.ask(redis::cmd("HSET").arg(log.key()).arg("begun").arg(1)).await?;
        }
        let key = format!("{{{}}}events", options.prefix);
        let places = Places { link: Link::new(options, Some(&LIBRARY), key) };
        Ok(Store { seeds, shards, places })
    }
}

/// What the store says of its log, and whether all its shards had begun.
async fn fields(log: &Link) -> Result<Option<(Seeds, bool)>, Failure> {
    let found = log.ask(redis::cmd("HMGET").arg(log.key()).arg("seeds").arg("begun")).await?;
    let found: (Option<Vec<u8>>, Option<u8>) = read(found)?;
    let Some(seeds) = found.0 else { return Ok(None) };
    let odd = || Failure::Unusable(format!("{} is damaged", log.key()));
    Ok(Some((Seeds::of_bytes(&seeds).ok_or_else(odd)?, found.1.is_some())))
}

/// The seeds of a store that is there.
async fn seeds_of(log: &Link) -> Result<Seeds, Failure> {
    let found = fields(log).await?;
    let none = || Failure::Unusable(format!("there is no {}", log.key()));
    found.map(|(seeds, _)| seeds).ok_or_else(none)
}

/// The seeds of a store that has none: of its first shard, if that is there, or new ones.
async fn first_seeds(
    options: &Options,
    log: &Link,
    known: Option<u128>,
    new: Seeds,
) -> Result<Seeds, Failure> {
    let state = state_key(&options.prefix, 0);
    let of_shard = session::find(options, Some(&LIBRARY), &state).await?;
    let seeds = match of_shard.join(&LIBRARY, &state).await? {
        Ok(Joined { log, codes, shards, .. }) => Seeds { log, key: codes.key, shards },
        Err(Trouble::Missing { .. }) if known.is_none() => new,
        Err(trouble) => {
            return Err(Failure::Unusable(format!("this node's log is gone: {trouble}")));
        }
    };
    // Of several nodes that come at once, one is first.
    let bytes = seeds.to_bytes();
    log.ask(redis::cmd("HSETNX").arg(log.key()).arg("seeds").arg(bytes)).await?;
    let found = fields(log).await?;
    let gone = || Failure::Unknown(format!("{} is gone again", log.key()));
    found.map(|(seeds, _)| seeds).ok_or_else(gone)
}

async fn open_shard(
    options: &Options,
    seeds: &Seeds,
    shard: u16,
    begun: bool,
    now: Time,
) -> Result<Joined, Failure> {
    let state = state_key(&options.prefix, shard);
    let session = session::find(options, Some(&LIBRARY), &state).await?;
    let trouble = match session.join(&LIBRARY, &state).await? {
        Ok(joined) if joined.log == seeds.log => return Ok(joined),
        Ok(_) => return Err(Failure::Unusable(format!("{state} is of another log"))),
        Err(trouble) => trouble,
    };
    if begun || !matches!(trouble, Trouble::Missing { .. }) {
        return Err(Failure::Unusable(trouble.to_string()));
    }
    let run = &session.status.run;
    let of = (shard, seeds.shards);
    session.one(&begin(&LIBRARY, &state, seeds.log, of, seeds.key, run, now)).await?;
    // Where only the state was missing, nothing was made.
    let joined = session.join(&LIBRARY, &state).await?;
    joined.map_err(|trouble| Failure::Unusable(trouble.to_string()))
}

/// Which event is on which shard: one hash for all nodes.
pub struct Places {
    link: Link,
}

impl Places {
    /// The shard of an event.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn of_event(&self, of: &Subject) -> Result<Option<u16>, Failure> {
        read(self.link.ask(redis::cmd("HGET").arg(self.link.key()).arg(name(of))).await?)
    }

    /// Says where an event that is not there yet goes; gives where it really goes, which another node may have said before.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn claim(&self, of: &Subject, shard: u16) -> Result<u16, Failure> {
        self.link.ask(redis::cmd("HSETNX").arg(self.link.key()).arg(name(of)).arg(shard)).await?;
        Ok(self.of_event(of).await?.unwrap_or(shard))
    }

    /// Says anew where an event goes that is not where it was said to be.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn move_claim(&self, of: &Subject, shard: u16) -> Result<(), Failure> {
        self.link
            .ask(redis::cmd("HSET").arg(self.link.key()).arg(name(of)).arg(shard))
            .await
            .map(drop)
    }

    /// How many there are.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn count(&self) -> Result<usize, Failure> {
        read(self.link.ask(redis::cmd("HLEN").arg(self.link.key())).await?)
    }

    /// All of them.
    ///
    /// # Errors
    /// It can't be reached, or names something that is no event.
    pub async fn all(&self) -> Result<Vec<(Subject, u16)>, Failure> {
        let found = self.link.ask(redis::cmd("HGETALL").arg(self.link.key())).await?;
        let found: Vec<(Vec<u8>, u16)> = read(found)?;
        let odd = || Failure::Unusable(format!("{} is damaged", self.link.key()));
        let place = |(name, shard): (Vec<u8>, u16)| {
            record::subject(&name).map(|subject| (subject, shard)).map_err(|_| odd())
        };
        found.into_iter().map(place).collect()
    }
}

fn name(Subject { organizer, event }: &Subject) -> String {
    format!("{organizer}/{event}")
}

fn read<T: redis::FromRedisValue>(value: Value) -> Result<T, Failure> {
    redis::from_redis_value(value).map_err(|error| Failure::Unusable(error.to_string()))
}

/// Texts by their names that all nodes share: one hash.
pub struct Texts {
    link: Link,
}

impl Texts {
    /// Those at a key.
    #[must_use]
    pub fn new(options: &Options, key: String) -> Texts {
        Texts { link: Link::new(options, Some(&LIBRARY), key) }
    }

    /// All of them, in no order.
    ///
    /// # Errors
    /// It can't be reached, or has something else at the key.
    pub async fn all(&self) -> Result<Vec<(String, String)>, Failure> {
        read(self.link.ask(redis::cmd("HGETALL").arg(self.link.key())).await?)
    }

    /// Puts one there, in the place of one with its name.
    ///
    /// # Errors
    /// It can't be reached, or has no room.
    pub async fn put(&self, name: &str, text: &str) -> Result<(), Failure> {
        let mut put = redis::cmd("HSET");
        put.arg(self.link.key()).arg(name).arg(text);
        self.link.ask(&put).await.map(drop)
    }

    /// Takes one away, if it is there.
    ///
    /// # Errors
    /// It can't be reached.
    pub async fn remove(&self, name: &str) -> Result<(), Failure> {
        self.link.ask(redis::cmd("HDEL").arg(self.link.key()).arg(name)).await.map(drop)
    }
}

/// Where a new sale group goes: always to the same shard.
#[must_use]
pub fn shard_of_group(organizer: &Id, group: &Id, shards: u16) -> u16 {
    let digest = CodeKey([0; 16]).digest("place", &[organizer.as_bytes(), group.as_bytes()]);
    (digest % u128::from(shards)) as u16
}

/// Hands out every record of every shard, in order, without joining or changing anything: shard, position, event. Gives the
/// seeds of the log.
///
/// # Errors
/// It can't be reached; there is no log; a stream does not begin at position 1, has a gap, or ends before its state.
pub async fn read_all(
    options: &Options,
    each: &mut dyn FnMut(u16, u64, &Event),
) -> Result<Seeds, Failure> {
    let seeds = seeds_of(&Link::new(options, None, format!("{{{}}}log", options.prefix))).await?;
    for shard in 0..seeds.shards {
        let state = state_key(&options.prefix, shard);
        let stream = format!("{{{}/{shard}}}sales", options.prefix);
        let link = Link::new(options, None, state.clone());
        let codes = Codes { shard, key: seeds.key };
        let (mut next, mut from) = (1, "-".to_owned());
        // What comes later than this look is not waited for.
        let applied = link.ask(redis::cmd("HGET").arg(&state).arg("p")).await?;
        let applied: Option<u64> = read(applied)?;
        let applied = applied.ok_or_else(|| Failure::Unusable(format!("{state} is missing")))?;
        loop {
            let mut range = redis::cmd("XRANGE");
            range.arg(&stream).arg(&from).arg("+").arg("COUNT").arg(RECORDS_PER_READ);
            let said = link.ask(&range).await?;
            let last = last_id(&said);
            let records = entries(said, &codes)?;
            for (position, event) in &records {
                if *position != next {
                    let why = format!("{stream}: {position} stands where {next} must be");
                    return Err(Failure::Unusable(why));
                }
                each(shard, *position, event);
                next += 1;
            }
            match last {
                Some(last) if records.len() == RECORDS_PER_READ => from = format!("({last}"),
                _ => break,
            }
        }
        if next <= applied {
            let why = format!("{stream} ends at {}, but its state is at {applied}", next - 1);
            return Err(Failure::Unusable(why));
        }
    }
    Ok(seeds)
}

/// The id of the last entry.
fn last_id(said: &Value) -> Option<String> {
    let Value::Array(entries) = said else { return None };
    let Some(Value::Array(entry)) = entries.last() else { return None };
    redis::from_redis_value(entry.first()?.clone()).ok()
}

/// What a store's log is made from.
///
/// # Errors
/// It can't be reached, or there is no log.
pub async fn seeds(options: &Options) -> Result<Seeds, Failure> {
    seeds_of(&Link::new(options, None, format!("{{{}}}log", options.prefix))).await
}

/// Makes the state of a shard again from its stream: from all of it, or, where a snapshot has just been adopted
/// (`after_snapshot`), from what comes after that. No server must be working on the store; one that is stops selling
/// until it is done. Gives the last position.
///
/// # Errors
/// It can't be reached; there is no log; a stream does not begin where it must, or has a gap.
pub async fn rebuild_shard(
    options: &Options,
    shard: u16,
    after_snapshot: bool,
) -> Result<u64, Failure> {
    let state = state_key(&options.prefix, shard);
    let session = session::find(options, Some(&LIBRARY), &state).await?;
    let mut first = !after_snapshot;
    loop {
        let call = rebuild(&LIBRARY, &state, first, RECORDS_PER_REBUILD);
        first = false;
        let wrong = |error: crate::Damaged| Failure::Unusable(error.to_string());
        let mut heard = Heard::of(session.one(&call).await?).map_err(wrong)?;
        if heard.word(WORDS).map_err(wrong)? == Word::Trouble {
            let why = match heard.trouble().map_err(wrong)? {
                Trouble::Missing { key } if key.ends_with("sales") => {
                    format!("{key} does not begin with its log's first record")
                }
                trouble => trouble.to_string(),
            };
            return Err(Failure::Unusable(why));
        }
        let reached: u64 = heard.number().map_err(wrong)?;
        let last: u64 = heard.number().map_err(wrong)?;
        if reached >= last {
            return Ok(last);
        }
    }
}

/// Says anew of all events of a shard that they are there, as its state has them.
///
/// # Errors
/// It can't be reached, or the state is missing.
pub async fn claim_places(options: &Options, shard: u16) -> Result<(), Failure> {
    let state = Link::new(options, None, state_key(&options.prefix, shard));
    let events = state.ask(redis::cmd("HGET").arg(state.key()).arg("n")).await?;
    let events: Option<usize> = read(events)?;
    let missing = || Failure::Unusable(format!("{} is missing", state.key()));
    let events = events.ok_or_else(missing)?;
    let places = Link::new(options, Some(&LIBRARY), format!("{{{}}}events", options.prefix));
    for from in (0..events).step_by(RECORDS_PER_READ) {
        let mut names = redis::cmd("HMGET");
        names.arg(state.key());
        for slot in from..events.min(from + RECORDS_PER_READ) {
            names.arg(format!("E{slot}"));
        }
        let names: Vec<Vec<u8>> = read(state.ask(&names).await?)?;
        let mut say = redis::cmd("HSET");
        say.arg(places.key());
        for name in &names {
            say.arg(name).arg(shard);
        }
        places.ask(&say).await?;
    }
    Ok(())
}

/// Whether a store is a Redis Cluster.
///
/// # Errors
/// It can't be reached.
pub async fn is_cluster(options: &Options) -> Result<bool, Failure> {
    let log = Link::new(options, None, format!("{{{}}}log", options.prefix));
    let told: String = read(log.ask(redis::cmd("INFO").arg("server")).await?)?;
    Ok(session::field(&told, "redis_mode") == "cluster")
}
