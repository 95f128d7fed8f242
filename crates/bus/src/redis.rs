//! The bus and the cursors on Redis: one Redis stream for each shard.
//!
//! A stream `sales` is the hash `onsale:{sales}` with what is known of it, and the Redis streams
//! `onsale:{sales}/0`, `/1`, … All share a hash tag, so that one function sees them at once.
//! A record's id is `birth-position`: when the stream was made, in microseconds, and a position that is dense
//! from 1; a hole is therefore seen. Its fields are `k`ey, `p`ayload and `t`ime.
//!
//! **History.** A server that starts again may have lost what it acknowledged. Only one with
//! `appendonly yes` and `appendfsync always` promises otherwise, before and after. Any other start gives the
//! stream a new generation, so that every cursor is told ([`Error::Diverged`]). A server that lost everything
//! has no stream any more ([`Error::NoSuchStream`]).
//!
//! **Memory.** Nothing is let go by itself: see [`RedisBus::retain`]. Redis should have
//! `maxmemory-policy noeviction`; when its memory is full, appends say so.

mod bring;
mod cursors;
mod link;
pub mod raw;
mod retention;
mod scripts;
mod signals;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, FromRedisValue as _, Value};
use tokio::time::{Instant, timeout_at};

pub use crate::retention::{Retention, Trimmed};
pub use cursors::RedisCursors;
use link::{Call, Link, Reply};
use signals::{LOOK, Signals};

use crate::memory::same_shards;
use crate::record::key_hash;
use crate::{
    AppendError, Entry, Error, From, Generation, Lag, Limits, Page, Placed, Position, Record,
    Records, ShardId, ShardInfo, StreamInfo, StreamName,
};

/// The most shards of a stream.
pub const SHARDS_MAX: u32 = 1_024;
/// One call of the appending function takes so many entries: Redis does nothing else meanwhile.
const ENTRIES_PER_CALL: usize = 512;
/// And about so many bytes.
const BYTES_PER_CALL: usize = 1 << 20;
/// Lua's numbers are exact up to here; no stream gets so far.
const POSITION_MAX: u64 = 1 << 53;

/// Where Redis is.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// `redis://[user][:password@]host[:port][/database]`, or `rediss://…` for TLS; several with commas, of which the first
    /// that takes writes is asked. They may be nodes of a cluster where the prefix begins with a hash tag.
    pub url: String,
    /// For every call, and for making a connection.
    pub timeout: Duration,
    /// Begins all keys; several installations can share a server. One that begins with a hash tag, as in `{onsale/control}`, has all of
    /// them in one slot of a cluster.
    pub prefix: String,
}

impl RedisOptions {
    /// The server at a URL, five seconds, and the prefix `onsale`.
    #[must_use]
    pub fn new(url: &str) -> RedisOptions {
        let timeout = Duration::from_secs(5);
        RedisOptions { url: url.to_owned(), timeout, prefix: "onsale".to_owned() }
    }
}

/// Streams on Redis Streams. Cheap to clone; clones share a connection.
#[derive(Clone, Debug)]
pub struct RedisBus {
    link: Link,
    prefix: Arc<str>,
    signals: Signals,
    /// What appends must know of a stream.
    known: Arc<Mutex<HashMap<StreamName, Known>>>,
}

/// A stream as it was found; the functions refuse another birth.
#[derive(Clone, Debug)]
struct Known {
    birth: String,
    shards: u32,
}

impl RedisBus {
    /// A bus on a server, which must answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::TimedOut`]; [`Error::Refused`] for a wrong password, a replica or a node of a
    /// cluster;
    /// [`Error::Invalid`] for a URL that is none.
    pub async fn connect(options: &RedisOptions) -> Result<RedisBus, Error> {
        let bus = RedisBus::new(options)?;
        bus.link.check().await?;
        Ok(bus)
    }

    /// The same, which is connected when it is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that is none.
    pub fn new(options: &RedisOptions) -> Result<RedisBus, Error> {
        Ok(RedisBus {
            link: Link::new(options)?,
            prefix: options.prefix.as_str().into(),
            signals: Signals::new(&options.prefix),
            known: Arc::default(),
        })
    }

    /// When a stream was made, in microseconds, as far as it is known here: [`crate::Bus::describe`] finds it out. A stream that was made
    /// anew has another time.
    #[must_use]
    pub fn made_at_us(&self, stream: &StreamName) -> Option<u64> {
        self.known().get(stream)?.birth.parse().ok()
    }

    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            let value = shards.to_string();
            return Err(Error::Invalid { field: "shards", value, rule: "from 1 to 1024" });
        }
        let mut list = redis::cmd("SADD");
        list.arg(self.list_key()).arg(stream.as_str());
        self.link.command(&list, "create a stream").await?;
        let keys = [self.key(stream), self.brought_key(stream)];
        let arguments = |command: &mut Cmd| {
            command.arg(shards);
        };
        let script = &scripts::CREATE;
        let call = Call {
            script,
            keys: &keys,
            arguments: &arguments,
            what: "create a stream",
            twice: true,
        };
        let reply = self.link.call(&call).await?;
        same_shards(stream, usize::try_from(reply.number(0)?).unwrap_or(0), shards as usize)
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        let mut list = redis::cmd("SMEMBERS");
        list.arg(self.list_key());
        let names = self.link.command(&list, "list streams").await?;
        let names = Vec::<String>::from_redis_value(names).unwrap_or_default();
        let mut streams = Vec::new();
        for name in &names {
            let stream = StreamName::new(name)?;
            match self.describe(&stream).await {
                Ok(_) => streams.push(stream),
                Err(Error::NoSuchStream { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        streams.sort();
        Ok(streams)
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        let keys = [self.key(stream)];
        let script = &scripts::DESCRIBE;
        let call = Call {
            script,
            keys: &keys,
            arguments: &|_| (),
            what: "describe a stream",
            twice: true,
        };
        let reply = self.link.call(&call).await?;
        found(&reply, stream, None)?;
        let shards = reply.values[2..].chunks(2).count();
        let known = Known {
            birth: reply.text(1)?.to_owned(),
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
        };
        let shards = (0..known.shards).map(|number| {
            let at = 2 + 2 * number as usize;
            let (first, last) = (reply.number(at)?, reply.number(at + 1)?);
            Ok(ShardInfo {
                id: ShardId::numbered(number),
                parents: Vec::new(),
                first: Position::from(first),
                last: Some(Position::from(if first > last { 0 } else { last })),
                ended: false,
            })
        });
        let info = StreamInfo {
            name: stream.clone(),
            generation: Generation(reply.number(0)?),
            shards: shards.collect::<Result<_, Error>>()?,
        };
        self.known().insert(stream.clone(), known);
        Ok(info)
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let mut placed = Vec::with_capacity(entries.len());
        let size = |entry: &Entry| entry.key.len() + entry.payload.len();
        for part in parts(entries, size) {
            match self.append_part(stream, part).await {
                Ok(places) => placed.extend(places.into_iter().map(Ok)),
                // What follows is not even sent: order within a key is kept.
                Err(error) => {
                    let why = format!("what is before it failed: {error}");
                    let unsent = Error::Unavailable { what: "the rest of the append".into(), why };
                    placed.extend(part.iter().map(|_| Err(error.clone())));
                    placed.resize(entries.len(), Err(unsent));
                    return Err(AppendError { entries: placed });
                }
            }
        }
        Ok(placed.into_iter().flatten().collect())
    }

    async fn append_part(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, Error> {
        let keys = [self.key(stream)];
        loop {
            let known = self.known_of(stream).await?;
            let shards: Vec<u32> = entries.iter().map(|entry| known.shard(&entry.key)).collect();
            let arguments = |command: &mut Cmd| {
                command.arg(&known.birth).arg(entries.len());
                for (entry, shard) in entries.iter().zip(&shards) {
                    command.arg(shard).arg(&*entry.key).arg(&*entry.payload);
                }
            };
            let (script, what) = (&scripts::APPEND, "append");
            let call = Call { script, keys: &keys, arguments: &arguments, what, twice: false };
            let mut reply = self.link.call(&call).await?;
            if self.is_anew(&reply, stream) {
                continue;
            }
            found(&reply, stream, None)?;
            let positions = reply.list(0)?;
            if positions.len() != entries.len() {
                return Err(reply.odd(0));
            }
            let place = |(position, shard): (Value, u32)| match position {
                Value::Int(position) => {
                    let position = Position::from(position.unsigned_abs());
                    Ok(Placed { shard: ShardId::numbered(shard), position })
                }
                _ => Err(reply.odd(0)),
            };
            return positions.into_iter().zip(shards).map(place).collect();
        }
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        if limits.wait.is_zero() {
            return self.read_now(stream, shard, from, limits).await;
        }
        let deadline = Instant::now() + limits.wait;
        let news = self.signals.of(&self.link, &self.key(stream), shard.as_str());
        let mut from = from;
        loop {
            let told = news.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let page = self.read_now(stream, shard, from, limits).await?;
            if !page.records.is_empty() || Instant::now() >= deadline {
                return Ok(page);
            }
            from = page.next;
            // Whether it was told or the time is over: one more look says which.
            let _ = timeout_at(deadline.min(Instant::now() + LOOK), told).await;
        }
    }

    async fn read_now(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let (word, given) = match from {
            From::Start => ("start", 0),
            From::End => ("end", 0),
            From::After(position) => ("after", position.as_u64().unwrap_or(u64::MAX)),
            From::Record(position) => ("record", position.as_u64().unwrap_or(u64::MAX)),
            From::At(time_us) => ("at", time_us),
        };
        let keys = [self.key(stream)];
        let arguments = |command: &mut Cmd| {
            command.arg(number(shard)).arg(word).arg(given.min(POSITION_MAX));
            command.arg(limits.records).arg(limits.bytes);
        };
        let script = &scripts::READ;
        let call = Call { script, keys: &keys, arguments: &arguments, what: "read", twice: true };
        let mut reply = self.link.call(&call).await?;
        found(&reply, stream, Some(shard))?;
        let asked = match from {
            From::After(position) | From::Record(position) => position,
            _ => Position::ZERO,
        };
        let (stream, shard) = (stream.clone(), shard.clone());
        match reply.word.as_str() {
            "beyond" => {
                let last = Position::from(reply.number(0)?);
                Err(Error::Beyond { stream, shard, asked, last })
            }
            "gone" => {
                let begins_at = Position::from(reply.number(0)?);
                Err(Error::Gone { stream, shard, asked, begins_at })
            }
            _ => page(&mut reply),
        }
    }

    /// Whether every shard has all records from its first to its last. None is read: Redis knows how many there are.
    /// Whether the first ones were deleted, other than by [`RedisBus::retain`], is known by Redis since 7.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::NoSuchStream`], or when Redis fails.
    pub async fn check(&self, stream: &StreamName) -> Result<(), Error> {
        let (keys, script) = ([self.key(stream)], &scripts::CHECK);
        let what = "look whether all is there";
        let call = Call { script, keys: &keys, arguments: &|_| (), what, twice: true };
        found(&self.link.call(&call).await?, stream, None)
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let upto = upto.as_u64().unwrap_or(u64::MAX).min(POSITION_MAX);
        let reply = self.trim_by(stream, shard, upto, 0, None, 0).await?;
        Ok(Position::from(reply.number(0)?))
    }

    async fn trim_by(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: u64,
        before_us: u64,
        records: Option<u64>,
        protected: u64,
    ) -> Result<Reply, Error> {
        let keys = [self.key(stream)];
        let arguments = |command: &mut Cmd| {
            command.arg(number(shard)).arg(upto).arg(before_us);
            command.arg(records.map_or_else(String::new, |records| records.to_string()));
            command.arg(protected);
        };
        let script = &scripts::TRIM;
        let call = Call { script, keys: &keys, arguments: &arguments, what: "trim", twice: true };
        let reply = self.link.call(&call).await?;
        found(&reply, stream, Some(shard))?;
        Ok(reply)
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.link.close().await;
        Ok(())
    }

    /// A stream's key, which is also the channel on which its appends are told.
    fn key(&self, stream: &StreamName) -> String {
        format!("{}:{{{stream}}}", self.prefix)
    }

    /// How far cursors of other streams have brought their records into this one.
    fn brought_key(&self, stream: &StreamName) -> String {
        format!("{}:{{{stream}}}:from", self.prefix)
    }

    fn list_key(&self) -> String {
        format!("{}:streams", self.prefix)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<StreamName, Known>> {
        self.known.lock().expect("nothing panics while it holds the lock")
    }

    async fn known_of(&self, stream: &StreamName) -> Result<Known, Error> {
        let known = self.known().get(stream).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        self.describe(stream).await?;
        let known = self.known().get(stream).cloned();
        known.ok_or_else(|| Error::NoSuchStream { stream: stream.clone() })
    }

    /// Whether the stream was made anew since it was last looked at; it is looked at again then.
    fn is_anew(&self, reply: &Reply, stream: &StreamName) -> bool {
        let is_anew = reply.word == "anew";
        if is_anew || reply.word == "none" {
            self.known().remove(stream);
        }
        is_anew
    }
}

impl Known {
    fn shard(&self, key: &[u8]) -> u32 {
        let place = (u128::from(key_hash(key)) * u128::from(self.shards)) >> 64;
        u32::try_from(place).expect("below the number of shards")
    }
}

/// Cuts what is to be sent into calls.
fn parts<T>(all: &[T], size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |item: &&T| {
            bytes += size(item);
            bytes <= BYTES_PER_CALL
        };
        let count = rest.iter().take(ENTRIES_PER_CALL).take_while(fits).count();
        let (part, more) = rest.split_at(count.max(1).min(rest.len()));
        rest = more;
        (!part.is_empty()).then_some(part)
    })
}

/// A shard's number; one that no stream has when it is not a number as this back end writes it.
fn number(shard: &ShardId) -> i64 {
    let number = shard.as_str().parse::<u32>().ok();
    let number = number.filter(|number| number.to_string() == shard.as_str());
    number.map_or(-1, i64::from)
}

/// Whether the stream and the shard are there, with their records.
fn found(reply: &Reply, stream: &StreamName, shard: Option<&ShardId>) -> Result<(), Error> {
    match (reply.word.as_str(), shard) {
        ("none", _) => Err(Error::NoSuchStream { stream: stream.clone() }),
        ("no-shard", Some(shard)) => {
            Err(Error::NoSuchShard { stream: stream.clone(), shard: shard.clone() })
        }
        ("missing", _) => Err(Error::Missing {
            stream: stream.clone(),
            shard: ShardId::new(reply.text(0)?)?,
            which: reply.text(1)?.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn page(reply: &mut Reply) -> Result<Page, Error> {
    let (generation, next, last) = (reply.number(0)?, reply.number(1)?, reply.number(2)?);
    let lag_ms = reply.number(3)?;
    let mut values = reply.list(4)?.into_iter();
    let mut records = Vec::with_capacity(values.len() / 3);
    while let (Some(key), Some(payload), Some(time)) = (values.next(), values.next(), values.next())
    {
        let (Value::BulkString(key), Value::BulkString(payload)) = (key, payload) else {
            return Err(reply.odd(4));
        };
        records.push(Record {
            position: Position::from(next + records.len() as u64),
            key: Bytes::from(key),
            payload: Bytes::from(payload),
            written_at_us: u64::from_redis_value(time).map_err(|_| reply.odd(4))?,
        });
    }
    let read_to = next + records.len() as u64 - 1;
    Ok(Page {
        records: Records::from(records),
        next: From::After(Position::from(read_to)),
        ended: false,
        lag: Lag { records: Some(last - read_to), ms: Some(lag_ms) },
        generation: Generation(generation),
    })
}
