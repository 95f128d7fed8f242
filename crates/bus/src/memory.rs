//! The bus in memory: for the tests of whoever uses streams, and the plainest statement of what
//! a back end does. Its shards can be split and merged as Kinesis' are, and a stream can be made to go back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::record::{key_hash, now_us};
use crate::{
    AppendError, Entry, Error, From, Generation, Lag, Limits, Page, Placed, Position, Record,
    Records, ShardId, ShardInfo, StreamInfo, StreamName,
};

/// The most shards of a stream.
pub const SHARDS_MAX: u32 = 1_024;

/// Streams in this process. Nothing is ever taken away by itself.
#[derive(Clone, Debug, Default)]
pub struct MemoryBus {
    streams: Arc<Mutex<BTreeMap<StreamName, Stream>>>,
    /// Told whenever something may have changed for a reader that waits.
    changed: Arc<Notify>,
    /// So many appends are still to fail in part.
    failing: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Stream {
    generation: u64,
    /// How many shards it was made with.
    made_with: u32,
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    id: ShardId,
    parents: Vec<ShardId>,
    /// The lowest and the highest hash of a key that it takes.
    hashes: (u64, u64),
    ended: bool,
    /// The position of the first of `records`, from 1.
    first: u64,
    records: Vec<Record>,
}

impl MemoryBus {
    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(Error::Invalid {
                field: "shards",
                value: shards.to_string(),
                rule: "from 1 to 1024",
            });
        }
        let mut streams = self.lock();
        if let Some(there) = streams.get(stream) {
            return same_shards(stream, there.made_with as usize, shards as usize);
        }
        streams.insert(stream.clone(), Stream::new(1, shards));
        Ok(())
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        Ok(self.lock().keys().cloned().collect())
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?;
        let shards = found.shards.iter().map(Shard::told).collect();
        Ok(StreamInfo { name: stream.clone(), generation: Generation(found.generation), shards })
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let mut streams = self.lock();
        let found =
            find(&mut streams, stream).map_err(|error| AppendError::all(entries.len(), &error))?;
        let one_less = |left: usize| left.checked_sub(1);
        let fails =
            self.failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        let mut place = |entry: &Entry| match fails && key_hash(&entry.key) % 2 == 1 {
            true => Err(Error::Unavailable {
                what: "the bus in memory".into(),
                why: "it was made to fail".into(),
            }),
            false => Ok(found.append(entry)),
        };
        let placed: Vec<Result<Placed, Error>> = entries.iter().map(&mut place).collect();
        drop(streams);
        self.changed.notify_waiters();
        match placed.iter().all(Result::is_ok) {
            true => Ok(placed.into_iter().flatten().collect()),
            false => Err(AppendError { entries: placed }),
        }
    }

    /// Makes so many of the next appends fail in part, as Kinesis' do: about half of the keys are not taken.
    pub fn fail(&self, appends: usize) {
        self.failing.store(appends, Ordering::Relaxed);
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let deadline = Instant::now() + limits.wait;
        let mut from = from;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let page = self.read_now(stream, shard, from, limits)?;
            if !page.records.is_empty() || page.ended || Instant::now() >= deadline {
                return Ok(page);
            }
            from = page.next;
            // Whether it was told or the time is over: one more look says which.
            let _ = timeout_at(deadline, changed).await;
        }
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?.shard(stream, shard)?;
        let upto = upto.as_u64().unwrap_or(u64::MAX).min(found.last());
        let gone = upto.saturating_add(1).saturating_sub(found.first);
        found.records.drain(..usize::try_from(gone).expect("no more than there are"));
        found.first += gone;
        Ok(Position::from(found.first))
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Splits a shard in two halves, as Kinesis does: it ends, and its two children take its keys.
    ///
    /// # Errors
    /// [`Error::NoSuchShard`]; [`Error::Refused`] when it has ended already.
    pub fn split(&self, stream: &StreamName, shard: &ShardId) -> Result<(), Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?;
        let (low, high) = found.end(stream, shard)?;
        let middle = low + (high - low) / 2;
        found.add(vec![shard.clone()], (low, middle));
        found.add(vec![shard.clone()], (middle + 1, high));
        drop(streams);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Merges two shards, neighbours, into a new one; both end.
    ///
    /// # Errors
    /// [`Error::NoSuchShard`]; [`Error::Refused`] when one has ended already.
    pub fn merge(&self, stream: &StreamName, one: &ShardId, other: &ShardId) -> Result<(), Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?;
        let (a, b) = (found.end(stream, one)?, found.end(stream, other)?);
        found.add(vec![one.clone(), other.clone()], (a.0.min(b.0), a.1.max(b.1)));
        drop(streams);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Makes a stream anew, with its shards empty and another generation: what a restored
    /// back-up or a lost disk looks like to a reader.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`].
    pub fn start_anew(&self, stream: &StreamName) -> Result<(), Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?;
        *found = Stream::new(found.generation + 1, found.made_with);
        drop(streams);
        self.changed.notify_waiters();
        Ok(())
    }

    fn read_now(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let mut streams = self.lock();
        let found = find(&mut streams, stream)?;
        let generation = Generation(found.generation);
        let shard = found.shard(stream, shard)?;
        let next = shard.next(stream, from)?;
        let begin = usize::try_from(next - shard.first).expect("no more than there are");
        let records = Records::from(take(&shard.records[begin..], limits));
        let read_to = next + records.len() as u64 - 1;
        let behind = shard.last() - read_to;
        let first_left = shard.records.get(begin + records.len());
        let ms =
            first_left.map_or(0, |record| now_us().saturating_sub(record.written_at_us) / 1_000);
        Ok(Page {
            records,
            next: From::After(Position::from(read_to)),
            ended: shard.ended && behind == 0,
            lag: Lag { records: Some(behind), ms: Some(ms) },
            generation,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamName, Stream>> {
        self.streams.lock().expect("nothing panics while it holds the lock")
    }
}

/// The records that fit the limits, one at least.
fn take(records: &[Record], limits: Limits) -> Vec<Record> {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        let before = bytes;
        bytes += record.key.len() + record.payload.len();
        before == 0 || bytes <= limits.bytes
    };
    records.iter().take(limits.records).take_while(fits).cloned().collect()
}

fn find<'a>(
    streams: &'a mut BTreeMap<StreamName, Stream>,
    stream: &StreamName,
) -> Result<&'a mut Stream, Error> {
    streams.get_mut(stream).ok_or_else(|| Error::NoSuchStream { stream: stream.clone() })
}

/// Whether a stream that is there may be made again.
pub(crate) fn same_shards(stream: &StreamName, has: usize, asked: usize) -> Result<(), Error> {
    if has == asked {
        Ok(())
    } else {
        Err(Error::OtherShards { stream: stream.clone(), has, asked })
    }
}

impl Stream {
    fn new(generation: u64, shards: u32) -> Stream {
        let mut stream = Stream { generation, made_with: shards, shards: Vec::new() };
        let edge = |number: u32| u128::from(number) * (1 << 64) / u128::from(shards);
        for number in 0..shards {
            let low = u64::try_from(edge(number)).expect("below the last edge");
            let high = u64::try_from(edge(number + 1) - 1).expect("below 2^64");
            stream.add(Vec::new(), (low, high));
        }
        stream
    }

    fn add(&mut self, parents: Vec<ShardId>, hashes: (u64, u64)) {
        let number = u32::try_from(self.shards.len()).expect("few shards");
        let id = ShardId::numbered(number);
        self.shards.push(Shard {
            id,
            parents,
            hashes,
            ended: false,
            first: 1,
            records: Vec::new(),
        });
    }

    fn append(&mut self, entry: &Entry) -> Placed {
        let hash = key_hash(&entry.key);
        let takes =
            |shard: &&mut Shard| !shard.ended && (shard.hashes.0..=shard.hashes.1).contains(&hash);
        let shard = self.shards.iter_mut().find(takes).expect("open shards cover all hashes");
        let position = Position::from(shard.last() + 1);
        let before = shard.records.last().map_or(0, |record| record.written_at_us);
        shard.records.push(Record {
            position,
            key: entry.key.clone(),
            payload: entry.payload.clone(),
            written_at_us: now_us().max(before),
        });
        Placed { shard: shard.id.clone(), position }
    }

    fn shard(&mut self, stream: &StreamName, shard: &ShardId) -> Result<&mut Shard, Error> {
        let missing = || Error::NoSuchShard { stream: stream.clone(), shard: shard.clone() };
        self.shards.iter_mut().find(|there| there.id == *shard).ok_or_else(missing)
    }

    /// Ends a shard and says its hashes.
    fn end(&mut self, stream: &StreamName, shard: &ShardId) -> Result<(u64, u64), Error> {
        let found = self.shard(stream, shard)?;
        if found.ended {
            let what = format!("shard {stream}/{shard}");
            return Err(Error::Refused { what, why: "it has ended already".into() });
        }
        found.ended = true;
        Ok(found.hashes)
    }
}

impl Shard {
    fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }

    fn told(&self) -> ShardInfo {
        ShardInfo {
            id: self.id.clone(),
            parents: self.parents.clone(),
            first: Position::from(self.first),
            last: Some(Position::from(if self.records.is_empty() { 0 } else { self.last() })),
            ended: self.ended,
        }
    }

    /// The position of the record to read next, which may not be there yet.
    fn next(&self, stream: &StreamName, from: From) -> Result<u64, Error> {
        let (asked, next) = match from {
            From::Start => return Ok(self.first),
            From::End => return Ok(self.last() + 1),
            From::At(time_us) => {
                let before = self.records.partition_point(|record| record.written_at_us < time_us);
                return Ok(self.first + before as u64);
            }
            From::After(position) => (position, position.as_u64().and_then(|at| at.checked_add(1))),
            From::Record(position) => (position, position.as_u64().map(|at| at.max(1))),
        };
        let next = next.filter(|next| *next <= self.last() + 1).ok_or_else(|| Error::Beyond {
            stream: stream.clone(),
            shard: self.id.clone(),
            asked,
            last: Position::from(self.last()),
        })?;
        if next < self.first {
            let (stream, shard) = (stream.clone(), self.id.clone());
            return Err(Error::Gone {
                stream,
                shard,
                asked,
                begins_at: Position::from(self.first),
            });
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests;
