//! What a bus does in a second: for `onsale bench bus` and `cargo bench -p onsale-bus`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::{
    Bus, Cursors, Entry, Error, From, Group, GroupName, Limits, Relay, StreamName, WorkerOptions,
};

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
    read: Arc<AtomicU64>,
}

impl Tail {
    /// Starts so many readers, spread over the shards. `pace`: how long each rests after a page, as one that does
    /// something with it would.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`].
    pub async fn start(
        bus: &Bus,
        stream: &StreamName,
        readers: usize,
        pace: Duration,
    ) -> Result<Tail, Error> {
        let shards = bus.describe(stream).await?.shards;
        let read = Arc::new(AtomicU64::new(0));
        let readers = (0..readers).map(|n| {
            let shard = shards[n % shards.len()].id.clone();
            let (bus, stream, read) = (bus.clone(), stream.clone(), read.clone());
            let reader = tokio::spawn(async move {
                let limits =
                    Limits { records: 10_000, bytes: 4 << 20, wait: Duration::from_secs(10) };
                let mut from = From::End;
                while let Ok(page) = bus.read(&stream, &shard, from, limits).await {
                    from = page.next;
                    read.fetch_add(page.records.len() as u64, Ordering::Relaxed);
                    tokio::time::sleep(pace).await;
                }
            });
            reader.abort_handle()
        });
        Ok(Tail { readers: readers.collect(), read })
    }

    /// Records that were read so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.readers.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// Appends so many records a second at a steady pace, each read back at the tail; gives the times from the call of the
/// append to the record in the reader's hands, in microseconds, sorted.
///
/// # Errors
/// When the bus fails.
pub async fn lags_us(
    bus: &Bus,
    stream: &StreamName,
    per_second: u32,
    seconds: u32,
) -> Result<Vec<u64>, Error> {
    let entry = |payload: Vec<u8>| Entry::new("key", payload);
    let begun = Instant::now();
    let placed = bus.append(stream, &[entry(vec![0; 8])]).await.map_err(|error| error.first())?;
    let (shard, mut from) = (placed[0].shard.clone(), From::After(placed[0].position));
    let batch = (per_second / 100).max(1);
    let total = u64::from(batch) * 100 * u64::from(seconds);
    let writer = tokio::spawn({
        let (bus, stream) = (bus.clone(), stream.clone());
        async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..100 * seconds {
                tick.tick().await;
                let now_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                let payload = [&now_us.to_le_bytes()[..], &[b'x'; 92]].concat();
                let entries = vec![entry(payload); batch as usize];
                bus.append(&stream, &entries).await.map_err(|error| error.first())?;
            }
            Ok::<(), Error>(())
        }
    });
    let mut lags = Vec::new();
    while (lags.len() as u64) < total && !(writer.is_finished() && lags.is_empty()) {
        let limits = Limits { wait: Duration::from_secs(1), ..Limits::default() };
        let page = bus.read(stream, &shard, from, limits).await?;
        from = page.next;
        let now_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let sent = page.records.iter().filter_map(|record| record.payload.first_chunk::<8>());
        lags.extend(sent.map(|sent| now_us.saturating_sub(u64::from_le_bytes(*sent))));
    }
    lags.sort_unstable();
    Ok(lags)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(records: u64, time: Duration) -> f64 {
    records as f64 / time.as_secs_f64()
}
