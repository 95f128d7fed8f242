//! The process that holds a bus' folder: it keeps the streams' journals and knows the foreign streams.
//!
//! ```text
//! BUS/LOCK                          held by the owner
//! BUS/bus.sock                      where other processes reach it
//! BUS/streams/NAME/stream           log id and number of shards, written last when a stream is made; the number of
//!                                   its history, where the stream came out of a backup
//! BUS/streams/NAME/shard-00/        the journal of shard 0
//! BUS/streams/NAME/shard-00.trimmed the position up to which it was let go, if any was
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::future::join_all;
use onsale_journal::FolderLock;
use tokio::sync::{Mutex, watch};

use super::FileOptions;
use super::log::{Log, replace};
use super::source::{Cut, Readable, Source, blocking};
use crate::memory::same_shards;
use crate::record::key_hash;
use crate::{
    AppendError, Entry, Error, From, Generation, Limits, Page, Placed, Position, ShardId,
    StreamInfo, StreamName,
};

/// The most shards of a stream on files: each has files and a buffer of its own.
pub const SHARDS_MAX: u32 = 256;
/// What a stream's own file begins with.
const FIRST_LINE: &str = "onsale bus stream, format 1";

/// The streams of a folder, held by this process.
pub(super) struct Owner {
    place: Place,
    streams: RwLock<BTreeMap<StreamName, Arc<Stream>>>,
    /// Held while a stream is made.
    making: Mutex<()>,
}

/// Where the streams are, and how they are kept.
#[derive(Clone)]
struct Place {
    folder: PathBuf,
    options: FileOptions,
    lock: Arc<FolderLock>,
}

struct Stream {
    readable: Readable,
    /// None: another keeps it.
    own: Option<Arc<Logs>>,
}

/// The journals of a stream.
struct Logs {
    generation: Generation,
    logs: Vec<Arc<Log>>,
}

impl Source for Logs {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn shards(&self) -> u32 {
        u32::try_from(self.logs.len()).expect("few shards")
    }

    fn first(&self, shard: u32) -> Result<u64, Error> {
        Ok(self.logs[shard as usize].first())
    }

    fn durable(&self, shard: u32) -> watch::Receiver<u64> {
        self.logs[shard as usize].durable.subscribe()
    }

    fn read(
        &self,
        shard: u32,
        after: u64,
        records: usize,
        bytes: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error> {
        self.logs[shard as usize].read(after, records, bytes, each)
    }
}

impl Owner {
    /// Opens all streams of a folder whose lock is held.
    pub(super) async fn open(
        folder: &Path,
        options: FileOptions,
        lock: FolderLock,
    ) -> Result<Owner, Error> {
        let place = Place { folder: folder.to_owned(), options, lock: Arc::new(lock) };
        let at = place.clone();
        let streams = blocking(move || at.open_all()).await?;
        Ok(Owner { place, streams: RwLock::new(streams), making: Mutex::default() })
    }

    pub(super) fn register(&self, name: &StreamName, source: Arc<dyn Source>) -> Result<(), Error> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.get(name).is_some_and(|stream| stream.own.is_some()) {
            let what = format!("stream {name}");
            return Err(Error::Refused {
                what,
                why: "the bus keeps one of that name itself".into(),
            });
        }
        let readable = Readable::new(name.clone(), source);
        streams.insert(name.clone(), Arc::new(Stream { readable, own: None }));
        Ok(())
    }

    pub(super) async fn create(&self, name: &StreamName, shards: u32) -> Result<(), Error> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(Error::Invalid {
                field: "shards",
                value: shards.to_string(),
                rule: "from 1 to 256",
            });
        }
        let _making = self.making.lock().await;
        if let Ok(there) = self.find(name) {
            return same_shards(name, there.readable.source.shards() as usize, shards as usize);
        }
        let (place, stream) = (self.place.clone(), name.clone());
        let made = blocking(move || place.make(&stream, shards)).await?;
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(name.clone(), Arc::new(made));
        Ok(())
    }

    pub(super) fn streams(&self) -> Vec<StreamName> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn describe(&self, name: &StreamName) -> Result<StreamInfo, Error> {
        self.find(name)?.readable.describe()
    }

    pub(super) async fn append(
        &self,
        name: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let all = |error: &Error| AppendError::all(entries.len(), error);
        let stream = self.find(name).map_err(|error| all(&error))?;
        let shards = stream.readable.source.shards();
        let ids: Vec<ShardId> = (0..shards).map(ShardId::numbered).collect();
        let placed = |shard: usize, position: u64| Placed {
            shard: ids[shard].clone(),
            position: Position::from(position),
        };
        let shard_of: Vec<usize> =
            entries.iter().map(|entry| shard_of(&entry.key, ids.len())).collect();
        let mut by_shard: Vec<Vec<&Entry>> = vec![Vec::new(); ids.len()];
        for (entry, shard) in entries.iter().zip(&shard_of) {
            by_shard[*shard].push(entry);
        }
        let append = |(shard, entries): (usize, Vec<_>)| {
            let stream = Arc::clone(&stream);
            async move { stream.append(shard, &entries).await.into_iter() }
        };
        let mut outcomes = join_all(by_shard.into_iter().enumerate().map(append)).await;
        let mut failed = false;
        let mut outcome = |shard: usize| {
            let outcome = outcomes[shard].next().expect("one for each entry");
            failed |= outcome.is_err();
            outcome.map(|position| placed(shard, position))
        };
        let results: Vec<Result<Placed, Error>> =
            shard_of.iter().map(|shard| outcome(*shard)).collect();
        if failed {
            return Err(AppendError { entries: results });
        }
        Ok(results.into_iter().flatten().collect())
    }

    pub(super) async fn read(
        &self,
        name: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        self.find(name)?.readable.read(shard, from, limits).await
    }

    pub(super) async fn trim(
        &self,
        name: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let stream = self.find(name)?;
        let number = stream.readable.number(shard)?;
        let upto = upto.as_u64().unwrap_or(u64::MAX);
        let trim = move || match &stream.own {
            Some(own) => own.logs[number as usize].trim(upto),
            None => stream.readable.source.trim(number, upto).map_err(|error| stream.named(error)),
        };
        Ok(Position::from(blocking(trim).await?))
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        let streams: Vec<Arc<Stream>> = {
            let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *streams).into_values().collect()
        };
        let logs =
            streams.iter().filter_map(|stream| stream.own.as_ref()).flat_map(|own| &own.logs);
        join_all(logs.map(|log| log.close())).await.into_iter().collect()
    }

    fn find(&self, name: &StreamName) -> Result<Arc<Stream>, Error> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams.get(name).cloned().ok_or_else(|| Error::NoSuchStream { stream: name.clone() })
    }
}

impl Stream {
    /// Appends entries to a shard. For each its position, or why it has none.
    async fn append(&self, shard: usize, entries: &[&Entry]) -> Vec<Result<u64, Error>> {
        if let Some(own) = &self.own {
            return own.logs[shard].append(entries).await;
        }
        if entries.is_empty() {
            return Vec::new();
        }
        let source = Arc::clone(&self.readable.source);
        let number = u32::try_from(shard).expect("few shards");
        let all: Vec<Entry> = entries.iter().map(|entry| (*entry).clone()).collect();
        match blocking(move || source.append(number, all)).await {
            Ok(first) => (first..).map(Ok).take(entries.len()).collect(),
            Err(error) => vec![Err(self.named(error)); entries.len()],
        }
    }

    /// An error of a source, which does not know what it is called here.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Refused { why, .. } => {
                Error::Refused { what: format!("stream {}", self.readable.name), why }
            }
            error => error,
        }
    }
}

fn shard_of(key: &[u8], shards: usize) -> usize {
    // The high part of a product spreads as evenly as a remainder and costs less.
    let wide = u128::from(key_hash(key)) * shards as u128;
    usize::try_from(wide >> 64).expect("below the number of shards")
}

impl Place {
    fn open_all(&self) -> Result<BTreeMap<StreamName, Arc<Stream>>, Error> {
        let folder = self.folder.join("streams");
        fs::create_dir_all(&folder).map_err(|error| broken(&folder, &error))?;
        let mut streams = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|error| broken(&folder, &error))? {
            let path = entry.map_err(|error| broken(&folder, &error))?.path();
            let name = path.file_name().and_then(|name| StreamName::new(name.to_str()?).ok());
            // A stream without its own file was never made to the end: nothing was appended to it.
            let (Some(name), Some(identity)) = (name, Identity::read(&path)?) else { continue };
            let stream = self.open_stream(&name, identity)?;
            streams.insert(name, Arc::new(stream));
        }
        Ok(streams)
    }

    fn open_stream(&self, name: &StreamName, identity: Identity) -> Result<Stream, Error> {
        let path = self.stream(name);
        let open = |shard: u32| {
            let number = u16::try_from(shard).expect("few shards");
            let folder = path.join(format!("shard-{shard:02}"));
            let (what, lock) = (format!("{name}/{shard}"), Arc::clone(&self.lock));
            Log::open(what, &folder, identity.log, number, self.options.segment_bytes, lock)
        };
        let logs = (0..identity.shards).map(open).collect::<Result<_, Error>>()?;
        let generation = identity.generation();
        let own = Arc::new(Logs { generation, logs });
        let readable = Readable::new(name.clone(), Arc::clone(&own) as Arc<dyn Source>);
        Ok(Stream { readable, own: Some(own) })
    }

    fn make(&self, name: &StreamName, shards: u32) -> Result<Stream, Error> {
        let path = self.stream(name);
        let [high, low] = [(); 2].map(|()| random());
        let log = u128::from(high) << 64 | u128::from(low);
        let identity = Identity { log, shards, history: None };
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| broken(&path, &error))?;
        }
        let stream = self.open_stream(name, identity)?;
        identity.write(&path)?;
        Ok(stream)
    }

    fn stream(&self, name: &StreamName) -> PathBuf {
        self.folder.join("streams").join(name.as_str())
    }
}

/// What a stream's own file says.
#[derive(Clone, Copy)]
struct Identity {
    /// Id of its journals.
    log: u128,
    shards: u32,
    /// Which of the histories under this id it is; none: the first.
    history: Option<u64>,
}

impl Identity {
    /// Of the stream in this folder; none where it was never made to the end.
    fn read(path: &Path) -> Result<Option<Identity>, Error> {
        let file = path.join("stream");
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| broken(&file, &error))?,
        };
        let parse = || {
            let mut lines = text.lines().filter(|line| *line != FIRST_LINE);
            let log = u128::from_str_radix(lines.next()?.strip_prefix("log ")?, 16).ok()?;
            let shards: u32 = lines.next()?.strip_prefix("shards ")?.parse().ok()?;
            let history = match lines.next() {
                Some(line) => Some(u64::from_str_radix(line.strip_prefix("history ")?, 16).ok()?),
                None => None,
            };
            (1..=SHARDS_MAX).contains(&shards).then_some(Identity { log, shards, history })
        };
        let why = || format!("it does not say: {FIRST_LINE:?}, log, shards");
        let damaged = || Error::Damaged { what: file.display().to_string(), why: why() };
        parse().map(Some).ok_or_else(damaged)
    }

    fn write(self, path: &Path) -> Result<(), Error> {
        let Identity { log, shards, history } = self;
        let mut text = format!("{FIRST_LINE}\nlog {log:032x}\nshards {shards}\n");
        if let Some(history) = history {
            text += &format!("history {history:016x}\n");
        }
        let file = path.join("stream");
        replace(&file, text.as_bytes()).map_err(|error| broken(&file, &error))
    }

    fn generation(self) -> Generation {
        Generation(self.history.unwrap_or_else(|| key_hash(&self.log.to_be_bytes())) >> 1)
    }
}

/// Gives every stream of a folder, which nobody may have open, another generation: for one that came out of a
/// backup, whose end may lie before what readers have seen, and go on with other records.
///
/// # Errors
/// [`Error::Unavailable`], [`Error::Damaged`].
pub fn begin_new_histories(folder: &Path) -> Result<(), Error> {
    let streams = folder.join("streams");
    let entries = match fs::read_dir(&streams) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| broken(&streams, &error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| broken(&streams, &error))?.path();
        if let Some(identity) = Identity::read(&path)? {
            Identity { history: Some(random()), ..identity }.write(&path)?;
        }
    }
    Ok(())
}

fn random() -> u64 {
    getrandom::u64().expect("the system gives random bits")
}

fn broken(path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable { what: path.display().to_string(), why: error.to_string() }
}
