//! The bus on Kinesis, or on what speaks its language, at any endpoint.
//!
//! - A record's key is its partition key, its payload the data, as they are: any program can
//!   read and write such a stream. A position is a sequence number; numbers are not dense.
//! - Delivery is at least once: a call without an answer is made again, and may have been heard.
//!   The first occurrences of a key's records are always in order (see `append` for the price).
//! - Shards split and merge while they are read. A shard that has ended stays listed until
//!   its records are past retention; parents that are no longer listed are no longer told.
//! - A generation is the time at which the stream was made, in milliseconds: a stream that is
//!   deleted and made again is another one.

mod append;
mod call;
mod iterator;
mod read;
mod settings;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{Shard, StreamDescriptionSummary, StreamStatus};
use tokio::time::{Instant, sleep};

use self::call::Failure;
use self::read::{Pace, Places};
pub use self::settings::{Keys, Settings};
use crate::memory::{SHARDS_MAX, same_shards};
use crate::{
    AppendError, Entry, Error, From, Generation, Limits, Page, Placed, Position, ShardId,
    ShardInfo, StreamInfo, StreamName,
};

/// How long a stream's generation is taken for what it was, as long as nothing else speaks against it.
const GENERATION_KEPT: Duration = Duration::from_secs(10);
/// Between two looks at a stream that is being made or changed.
const LOOK: Duration = Duration::from_millis(100);

/// Streams on Kinesis. Cheap to clone; clones share connections, iterators and pace.
#[derive(Clone, Debug)]
pub struct KinesisBus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    settings: Settings,
    closed: AtomicBool,
    generations: Mutex<HashMap<StreamName, (Generation, Instant)>>,
    places: Mutex<Places>,
    pace: Mutex<Pace>,
}

impl KinesisBus {
    /// A bus with these settings. Nothing is called yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a setting that breaks its rule.
    pub async fn open(settings: Settings) -> Result<KinesisBus, Error> {
        settings.check()?;
        let client = settings::client(&settings).await;
        let pace = Pace::new(settings.reads_per_second);
        let inner = Inner {
            client,
            settings,
            closed: AtomicBool::new(false),
            generations: Mutex::default(),
            places: Mutex::default(),
            pace: Mutex::new(pace),
        };
        Ok(KinesisBus { inner: Arc::new(inner) })
    }

    /// The SDK's client, for what a bus does not do: splitting and merging shards, deleting streams.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Makes records of a stream last for so many hours: 24 to 8,760 at Kinesis. Lowering it lets go of
    /// what is older, for every reader.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`], [`Error::Refused`] for a time that Kinesis does not offer.
    pub async fn retain(&self, stream: &StreamName, hours: u32) -> Result<(), Error> {
        let has = u32::try_from(self.summary(stream).await?.retention_period_hours()).unwrap_or(0);
        let client = &self.inner.client;
        let to = i32::try_from(hours).unwrap_or(i32::MAX);
        if hours > has {
            self.call("IncreaseStreamRetentionPeriod", Some(stream), || {
                let request = client.increase_stream_retention_period();
                request.stream_name(stream.as_str()).retention_period_hours(to).send()
            })
            .await?;
        } else if hours < has {
            self.call("DecreaseStreamRetentionPeriod", Some(stream), || {
                let request = client.decrease_stream_retention_period();
                request.stream_name(stream.as_str()).retention_period_hours(to).send()
            })
            .await?;
        }
        self.wait_active(stream).await
    }

    pub(crate) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            let (value, rule) = (shards.to_string(), "from 1 to 1024");
            return Err(Error::Invalid { field: "shards", value, rule });
        }
        let client = &self.inner.client;
        let count = i32::try_from(shards).expect("it was checked");
        let made = self
            .try_call("CreateStream", Some(stream), || {
                client.create_stream().stream_name(stream.as_str()).shard_count(count).send()
            })
            .await;
        match made {
            Ok(_) | Err(Failure::InUse(_)) => {}
            Err(failure) => return Err(failure.into_error()),
        }
        self.wait_active(stream).await?;
        let listed = self.list_shards(stream).await?;
        let made_with = listed.iter().filter(|shard| shard.parent_shard_id().is_none()).count();
        let open = listed.iter().filter(|shard| !is_ended(shard)).count();
        let asked = shards as usize;
        if made_with == asked { Ok(()) } else { same_shards(stream, open, asked) }
    }

    pub(crate) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        let client = &self.inner.client;
        let mut names = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .call("ListStreams", None, || {
                    client.list_streams().set_exclusive_start_stream_name(after.clone()).send()
                })
                .await?;
            // Others' streams may have names that ours can't have; they can't be read by them.
            names.extend(page.stream_names().iter().filter_map(|name| StreamName::new(name).ok()));
            after = page.stream_names().last().cloned();
            if !page.has_more_streams() || after.is_none() {
                names.sort();
                return Ok(names);
            }
        }
    }

    pub(crate) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        // Every worker asks this all the time, and Kinesis has few summaries to give.
        let listed =
            self.list_shards(stream).await.inspect_err(|_| self.forget_generation(stream))?;
        let generation = self.generation(stream).await?;
        Ok(StreamInfo { name: stream.clone(), generation, shards: told(&listed)? })
    }

    pub(crate) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        self.open_still().map_err(|error| AppendError::all(entries.len(), &error))?;
        append::append(self, stream, entries).await
    }

    pub(crate) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        self.open_still()?;
        read::read(self, stream, shard, from, limits).await
    }

    pub(crate) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let what = format!("trimming {stream}/{shard} up to {upto}");
        let why = "Kinesis keeps every record for the stream's retention, in hours".into();
        Err(Error::Refused { what, why })
    }

    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.inner.closed.store(true, Ordering::Release);
        Ok(())
    }

    fn open_still(&self) -> Result<(), Error> {
        if self.inner.closed.load(Ordering::Acquire) {
            let (what, why) = ("the bus on Kinesis".into(), "it was closed".into());
            return Err(Error::Unavailable { what, why });
        }
        Ok(())
    }

    async fn summary(&self, stream: &StreamName) -> Result<StreamDescriptionSummary, Error> {
        let client = &self.inner.client;
        let output = self
            .call("DescribeStreamSummary", Some(stream), || {
                client.describe_stream_summary().stream_name(stream.as_str()).send()
            })
            .await?;
        output.stream_description_summary().cloned().ok_or_else(|| Error::Unavailable {
            what: "DescribeStreamSummary".into(),
            why: "the answer tells nothing".into(),
        })
    }

    async fn wait_active(&self, stream: &StreamName) -> Result<(), Error> {
        let begin = Instant::now();
        loop {
            let status = self.summary(stream).await?.stream_status().clone();
            if status == StreamStatus::Active {
                return Ok(());
            }
            if begin.elapsed() >= self.inner.settings.patience {
                let what = format!("stream {stream}, which is {status}, to become ACTIVE");
                return Err(call::timed_out(what, self.inner.settings.patience));
            }
            sleep(LOOK).await;
        }
    }

    async fn fresh_generation(&self, stream: &StreamName) -> Result<Generation, Error> {
        let made_at = *self.summary(stream).await?.stream_creation_timestamp();
        let ms = made_at.to_millis().ok().and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
        let generation = Generation(ms);
        let known = (generation, Instant::now());
        self.inner.generations.lock().expect("no panic").insert(stream.clone(), known);
        Ok(generation)
    }

    /// The stream's generation, as it was some seconds ago at most.
    async fn generation(&self, stream: &StreamName) -> Result<Generation, Error> {
        let known = self.inner.generations.lock().expect("no panic").get(stream).copied();
        match known {
            Some((generation, at)) if at.elapsed() < GENERATION_KEPT => Ok(generation),
            _ => self.fresh_generation(stream).await,
        }
    }

    fn forget_generation(&self, stream: &StreamName) {
        self.inner.generations.lock().expect("no panic").remove(stream);
    }

    async fn list_shards(&self, stream: &StreamName) -> Result<Vec<Shard>, Error> {
        let client = &self.inner.client;
        let mut shards = Vec::new();
        let mut next: Option<String> = None;
        loop {
            // With the token of a page, the name must not be given.
            let name = next.is_none().then(|| stream.as_str().to_owned());
            let page = self
                .call("ListShards", Some(stream), || {
                    let request = client.list_shards().set_stream_name(name.clone());
                    request.set_next_token(next.clone()).send()
                })
                .await?;
            shards.extend_from_slice(page.shards());
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(shards);
            }
        }
    }
}

fn is_ended(shard: &Shard) -> bool {
    shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_some())
}

/// What is told of shards, parents before children. A parent that is no longer listed is past retention: nobody
/// waits for it.
fn told(listed: &[Shard]) -> Result<Vec<ShardInfo>, Error> {
    let mut shards = Vec::with_capacity(listed.len());
    for shard in listed {
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        let is_listed = |id: &&str| listed.iter().any(|other| other.shard_id() == *id);
        let parents = parents.into_iter().flatten().filter(is_listed).map(ShardId::new);
        let range = shard.sequence_number_range();
        let first = range.map_or("0", |range| range.starting_sequence_number()).parse()?;
        shards.push(ShardInfo {
            id: ShardId::new(shard.shard_id())?,
            parents: parents.collect::<Result<_, _>>()?,
            first,
            last: None,
            ended: is_ended(shard),
        });
    }
    shards.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(parents_first(shards))
}

/// The same shards, none before a parent of it.
fn parents_first(mut shards: Vec<ShardInfo>) -> Vec<ShardInfo> {
    let mut sorted: Vec<ShardInfo> = Vec::with_capacity(shards.len());
    while !shards.is_empty() {
        let is_told = |parent: &ShardId| sorted.iter().any(|shard| shard.id == *parent);
        let (next, rest): (Vec<ShardInfo>, Vec<ShardInfo>) =
            shards.into_iter().partition(|shard| shard.parents.iter().all(is_told));
        if next.is_empty() {
            // Shards that descend from each other can't be; they are told all the same.
            sorted.extend(rest);
            return sorted;
        }
        sorted.extend(next);
        shards = rest;
    }
    sorted
}
