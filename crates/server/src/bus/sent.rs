//! What was sent to `catalogue` and `control` before, by its `Idempotency-Key`: as the records say it, and, of those that retention
//! took from the data folder, a file beside them.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use onsale_bus::{Bus, Error, From, Generation, Limits, Position, ShardId, StreamInfo, StreamName};
use serde::{Deserialize, Serialize};

use super::wanted::Kept;

/// Keys that are remembered for a stream: the last ones.
const KEYS_MAX: usize = 10_000;

/// Which keys came with which bodies to where, for both streams.
#[derive(Debug, Default)]
pub struct Sent {
    streams: HashMap<StreamName, Keys>,
    /// Folder of their files; none where the streams are not in a data folder.
    folder: Option<PathBuf>,
}

/// What is known of a stream: its history, how far it was read, and the keys up to there.
#[derive(Debug)]
struct Keys {
    generation: Generation,
    /// The last position that was read.
    read_to: u64,
    by_key: HashMap<String, (String, u64)>,
    oldest_first: VecDeque<String>,
    /// The file has what was read up to there.
    is_kept: bool,
}

/// The same as a file, JSON.
#[derive(Serialize, Deserialize)]
struct KeysFile {
    generation: u64,
    read_to: u64,
    /// Key, body and position, the oldest first.
    keys: Vec<(String, String, u64)>,
}

impl Keys {
    fn note(&mut self, key: String, body: String, position: u64) {
        if self.oldest_first.len() >= KEYS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_key.remove(&oldest);
        }
        self.oldest_first.push_back(key.clone());
        self.by_key.insert(key, (body, position));
    }

    /// What is known before any record is read: what the file has, if it is of this history.
    fn begin(info: &StreamInfo, file: Option<KeysFile>) -> Keys {
        let number = |position: Position| position.as_u64().unwrap_or(0);
        let (first, last) = info
            .shards
            .first()
            .map_or((1, 0), |shard| (number(shard.first), shard.last.map_or(0, number)));
        let begin = last.saturating_sub(KEYS_MAX as u64).max(first.saturating_sub(1));
        let mut keys = Keys {
            generation: info.generation,
            read_to: begin,
            by_key: HashMap::new(),
            oldest_first: VecDeque::new(),
            is_kept: false,
        };
        if let Some(file) = file.filter(|file| file.generation == info.generation.0) {
            keys.read_to = begin.max(file.read_to);
            file.keys.into_iter().for_each(|(key, body, at)| keys.note(key, body, at));
        }
        keys
    }

    /// Reads on to the end.
    async fn read_on(&mut self, bus: &Bus, stream: &StreamName) -> Result<(), Error> {
        loop {
            let (shard, from) = (ShardId::numbered(0), From::After(Position::from(self.read_to)));
            let page = match bus.read(stream, &shard, from, Limits::default()).await {
                // Its key is not known any more; who reads the stream is told.
                Err(error @ Error::Missing { .. }) => {
                    tracing::warn!(%error, "an Idempotency-Key is not known any more");
                    self.read_to += 1;
                    continue;
                }
                page => page?,
            };
            let Some(last) = page.records.last() else { return Ok(()) };
            (self.read_to, self.is_kept) = (last.position.as_u64().unwrap_or(0), false);
            for record in &page.records {
                let Ok(kept) = serde_json::from_slice::<Kept>(&record.payload) else { continue };
                if let (Some(key), Some(body)) = (kept.sentkey, kept.sentbody) {
                    self.note(key, body, record.position.as_u64().unwrap_or(0));
                }
            }
        }
    }

    fn to_file(&self) -> KeysFile {
        let entry = |key: &String| {
            let (body, position) = self.by_key.get(key)?;
            Some((key.clone(), body.clone(), *position))
        };
        let keys = self.oldest_first.iter().filter_map(entry).collect();
        KeysFile { generation: self.generation.0, read_to: self.read_to, keys }
    }
}

impl Sent {
    /// With files in a folder for what retention takes.
    #[must_use]
    pub fn kept_in(folder: PathBuf) -> Sent {
        Sent { folder: Some(folder), ..Sent::default() }
    }

    /// Body and position of a key that came before, here or at another server: the stream is read to its end, the first time
    /// from far back.
    ///
    /// # Errors
    /// The stream can't be read.
    pub async fn before(
        &mut self,
        bus: &Bus,
        stream: &StreamName,
        key: &str,
    ) -> Result<Option<(String, u64)>, Error> {
        match self.read_to_end(bus, stream).await {
            Ok(keys) => Ok(keys.by_key.get(key).cloned()),
            Err(Error::NoSuchStream { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what is known in the file, if there is one: to be called before records are let go.
    ///
    /// # Errors
    /// The stream can't be read, or the file can't be written.
    pub async fn keep(&mut self, bus: &Bus, stream: &StreamName) -> Result<(), Error> {
        let Some(path) = self.path(stream) else { return Ok(()) };
        let keys = self.read_to_end(bus, stream).await?;
        if keys.is_kept {
            return Ok(());
        }
        let (file, to) = (keys.to_file(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&to, &file)).await;
        written.unwrap_or_else(|error| Err(error.into())).map_err(|error| Error::Unavailable {
            what: path.display().to_string(),
            why: error.to_string(),
        })?;
        keys.is_kept = true;
        Ok(())
    }

    async fn read_to_end(&mut self, bus: &Bus, stream: &StreamName) -> Result<&mut Keys, Error> {
        let info = bus.describe(stream).await?;
        let known = self.streams.remove(stream);
        let known = known.filter(|keys| keys.generation == info.generation);
        let begin = || Keys::begin(&info, self.path(stream).and_then(|path| read(&path)));
        let mut keys = known.unwrap_or_else(begin);
        match keys.read_on(bus, stream).await {
            // What was not read yet is past retention.
            Err(Error::Gone { .. }) => {
                keys = begin();
                keys.read_on(bus, stream).await?;
            }
            read => read?,
        }
        Ok(self.streams.entry(stream.clone()).or_insert(keys))
    }

    fn path(&self, stream: &StreamName) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{stream}.json")))
    }
}

/// A file that is there and whole.
fn read(path: &Path) -> Option<KeysFile> {
    let read = std::fs::read(path).map(|bytes| serde_json::from_slice(&bytes));
    match read {
        Ok(Ok(file)) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Ok(Err(error)) => unread(path, &error),
        Err(error) => unread(path, &error),
    }
}

fn unread(path: &Path, error: &dyn std::fmt::Display) -> Option<KeysFile> {
    let path = path.display();
    tracing::warn!(%path, %error, "Idempotency-Keys of records past retention are not known any more");
    None
}

/// Writes a file so that a crash leaves the old one or the new one, whole.
fn write(path: &Path, file: &KeysFile) -> std::io::Result<()> {
    let folder = path.parent().expect("it is in a folder");
    std::fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(&serde_json::to_vec(file)?)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}
