//! What a bus does in a second: for `onsale bench bus`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{
    Bus, Cursors, Entry, Error, From, Group, GroupName, Limits, Position, Relay, StreamName,
    WorkerOptions,
};

/// A paced writer has no more appends under way.
const APPENDS_AT_ONCE_MAX: usize = 64;

/// Entries with keys of about ten bytes and payloads of so many.
#[must_use]
pub fn entries(count: usize, payload_bytes: usize) -> Vec<Entry> {
    (0..count)
        .map(|n| Entry::new(format!("key-{}", n % 1_000), vec![b'x'; payload_bytes]))
        .collect()
}

/// Records appended in a second: so many batches of the same entries, `at_once` of them under way at a time; the
/// last has its answer when the time is taken.
///
/// # Errors
/// When an append fails.
pub async fn append(
    bus: &Bus,
    stream: &StreamName,
    entries: Vec<Entry>,
    batches: usize,
    at_once: usize,
) -> Result<f64, Error> {
    let (entries, left) = (Arc::new(entries), Arc::new(AtomicU64::new(batches as u64)));
    let begun = Instant::now();
    let writers = (0..at_once).map(|_| {
        let (bus, stream, entries, left) =
            (bus.clone(), stream.clone(), entries.clone(), left.clone());
        let take =
            move || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        tokio::spawn(async move {
            while take().is_ok() {
                bus.append(&stream, &entries).await.map_err(|error| error.first())?;
            }
            Ok::<(), Error>(())
        })
    });
    let ended = try_join_all(writers).await;
    let broken = |error| Error::Unavailable { what: "a writer".into(), why: format!("{error}") };
    ended.map_err(broken)?.into_iter().collect::<Result<(), Error>>()?;
    Ok(rate(entries.len() as u64 * batches as u64, begun.elapsed()))
}

/// Records read in a second by one reader: all of the stream, shard by shard; each record is looked at.
///
/// # Errors
/// When a read fails.
pub async fn read(bus: &Bus, stream: &StreamName) -> Result<f64, Error> {
    let limits =
        Limits { records: Limits::RECORDS_MAX, bytes: Limits::BYTES_MAX, wait: Duration::ZERO };
    let begun = Instant::now();
    let (mut records, mut bytes) = (0, 0);
    for shard in bus.describe(stream).await?.shards {
        let mut from = From::Start;
        loop {
            let page = bus.read(stream, &shard.id, from, limits).await?;
            if page.records.is_empty() {
                break;
            }
            records += page.records.len() as u64;
            bytes += page.records.iter().map(|r| r.key.len() + r.payload.len()).sum::<usize>();
            from = page.next;
        }
    }
    std::hint::black_box(bytes);
    Ok(rate(records, begun.elapsed()))
}

/// Records relayed in a second: all that the stream has, by one relay, until the target has them.
///
/// # Errors
/// When either bus fails.
pub async fn relay(
    source: &Bus,
    stream: &StreamName,
    target: &Bus,
    to: &StreamName,
) -> Result<f64, Error> {
    let shards = source.describe(stream).await?.shards.into_iter();
    let last = shards.filter_map(|shard| shard.last?.as_u64());
    let all: u64 = last.sum();
    let limits =
        Limits { records: Limits::RECORDS_MAX, bytes: Limits::BYTES_MAX, ..Limits::default() };
    let options = WorkerOptions { limits, ..WorkerOptions::default() };
    let group = Group { name: GroupName::new("bench")?, stream: stream.clone() };
    let (source, target, cursors) = (source.clone(), target.clone(), Cursors::memory());
    let begun = Instant::now();
    let mut relay = Relay::begin(source, cursors, group, target, to.clone(), options).await?;
    let mut copied = 0;
    while copied < all {
        copied += relay.step(Duration::from_secs(10)).await?.unwrap_or(0) as u64;
    }
    let taken = begun.elapsed();
    relay.end().await?;
    Ok(rate(all, taken))
}

/// Readers at the tail of each shard until they are dropped, and how many records they have read in all.
pub struct Tail {
    readers: Vec<tokio::task::AbortHandle>,
    read: watch::Receiver<u64>,
}

impl Tail {
    /// Starts so many readers, spread over the shards, on the runtime that it is called on. They read what is appended
    /// from now on.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`].
    pub async fn start(bus: &Bus, stream: &StreamName, readers: usize) -> Result<Tail, Error> {
        let shards = bus.describe(stream).await?.shards;
        let (count, read) = watch::channel(0);
        let count = Arc::new(count);
        let readers = (0..readers).map(|n| {
            let shard = &shards[n % shards.len()];
            let mut from = From::After(shard.last.unwrap_or(Position::from(0)));
            let (bus, stream, count) = (bus.clone(), stream.clone(), Arc::clone(&count));
            let shard = shard.id.clone();
            let reader = tokio::spawn(async move {
                let limits =
                    Limits { records: 10_000, bytes: 4 << 20, wait: Duration::from_secs(10) };
                while let Ok(page) = bus.read(&stream, &shard, from, limits).await {
                    from = page.next;
                    count.send_modify(|count| *count += page.records.len() as u64);
                }
            });
            reader.abort_handle()
        });
        Ok(Tail { readers: readers.collect(), read })
    }

    /// Waits until they have read so many records in all.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when they have not by then.
    pub async fn have_read(&self, records: u64, within: Duration) -> Result<(), Error> {
        let mut read = self.read.clone();
        let done = tokio::time::timeout(within, read.wait_for(|read| *read >= records)).await;
        match done {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::TimedOut {
                what: "the readers at the tail".into(),
                after_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.readers.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// Appends a batch of entries so many times, one each `every`, whether the one before has its answer or not.
/// `make` gets the time since the begin at which the batch is meant to go.
///
/// # Errors
/// When an append fails.
pub async fn append_paced(
    bus: &Bus,
    stream: &StreamName,
    batches: u32,
    every: Duration,
    make: impl Fn(Duration) -> Vec<Entry>,
) -> Result<(), Error> {
    let broken = |error| Error::Unavailable { what: "a writer".into(), why: format!("{error}") };
    let mut tick = tokio::time::interval(every);
    let mut under_way = JoinSet::new();
    for number in 0..batches {
        tick.tick().await;
        let (bus, stream, entries) = (bus.clone(), stream.clone(), make(every * number));
        if under_way.len() == APPENDS_AT_ONCE_MAX
            && let Some(ended) = under_way.join_next().await
        {
            ended.map_err(broken)??;
        }
        under_way.spawn(async move {
            let placed = bus.append(&stream, &entries).await;
            placed.map(|_| ()).map_err(|error| error.first())
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended.map_err(broken)??;
    }
    Ok(())
}

/// Appends so many records a second at a steady pace, on the bus' runtime, each read back at the tail on the one that
/// this is called on; gives the times from the moment when the append was meant to be called to the record in the
/// reader's hands, in microseconds, sorted.
///
/// # Errors
/// When the bus fails.
pub async fn lags_us(
    bus: &Bus,
    home: &Handle,
    stream: &StreamName,
    per_second: u32,
    time: Duration,
) -> Result<Vec<u64>, Error> {
    const EVERY: Duration = Duration::from_millis(10);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let entry = |payload: Vec<u8>| Entry::new("key", payload);
    let broken = |error| Error::Unavailable { what: "the writer".into(), why: format!("{error}") };
    let writer = home.spawn({
        let (bus, stream) = (bus.clone(), stream.clone());
        async move { bus.append(&stream, &[entry(vec![0; 8])]).await }
    });
    let placed = writer.await.map_err(broken)?.map_err(|error| error.first())?;
    let (shard, mut from) = (placed[0].shard.clone(), From::After(placed[0].position));
    let batch = (per_second / 100).max(1) as usize;
    let batches = u32::try_from(time.as_millis() / EVERY.as_millis()).unwrap_or(u32::MAX);
    let begun = Instant::now();
    let writer = home.spawn({
        let (bus, stream) = (bus.clone(), stream.clone());
        async move {
            let batch = |at: Duration| {
                let payload = [&us(at).to_le_bytes()[..], &[b'x'; 92]].concat();
                vec![entry(payload); batch]
            };
            append_paced(&bus, &stream, batches, EVERY, batch).await
        }
    });
    let total = batch * batches as usize;
    let mut lags = Vec::with_capacity(total);
    let limits = Limits { records: 10_000, bytes: 4 << 20, wait: Duration::from_secs(1) };
    while lags.len() < total {
        let page = bus.read(stream, &shard, from, limits).await?;
        if page.records.is_empty() && writer.is_finished() {
            break;
        }
        from = page.next;
        let now_us = us(begun.elapsed());
        let sent = page.records.iter().filter_map(|record| record.payload.first_chunk::<8>());
        lags.extend(sent.map(|sent| now_us.saturating_sub(u64::from_le_bytes(*sent))));
    }
    writer.await.map_err(broken)??;
    lags.sort_unstable();
    Ok(lags)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(records: u64, time: Duration) -> f64 {
    records as f64 / time.as_secs_f64()
}
