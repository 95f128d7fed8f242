//! What goes in and what comes out: entries, records, pages, and what is told of a stream.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::{Error, Generation, Position, ShardId, StreamName};

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// The largest payload and its key together, in bytes: Kinesis' limit, for every back end, so
/// that what one takes a relay can bring to another.
pub const PAYLOAD_BYTES_MAX: usize = 1_000_000;

/// What is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Says the shard, and within which order is kept: 1 to 256 bytes of UTF-8.
    pub key: Bytes,
    /// The content, which the bus does not look into.
    pub payload: Bytes,
}

impl Entry {
    /// An entry from anything that is bytes.
    pub fn new(key: impl Into<Bytes>, payload: impl Into<Bytes>) -> Entry {
        Entry { key: key.into(), payload: payload.into() }
    }

    /// Whether a bus takes it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Invalid`], with the field and the rule.
    pub fn check(&self) -> Result<(), Error> {
        if self.key.is_empty() || std::str::from_utf8(&self.key).is_err() {
            let value = String::from_utf8_lossy(&self.key).chars().take(80).collect();
            return Err(Error::Invalid { field: "key", value, rule: "1 to 256 bytes of UTF-8" });
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge {
                field: "key",
                bytes: self.key.len(),
                max: KEY_BYTES_MAX,
            });
        }
        let bytes = self.key.len() + self.payload.len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge {
                field: "key and payload",
                bytes,
                max: PAYLOAD_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// Where an entry came to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The shard of its key.
    pub shard: ShardId,
    /// Its place there.
    pub position: Position,
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in its shard.
    pub position: Position,
    /// The key it was appended under.
    pub key: Bytes,
    /// The content.
    pub payload: Bytes,
    /// When the back end took it, in microseconds since 1970; never falling along a shard.
    pub written_at_us: u64,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The oldest record that is there.
    Start,
    /// What comes after now.
    End,
    /// The record after this position.
    After(Position),
    /// The record at this position: one that is known to be there.
    Record(Position),
    /// The first record written at or after this time, in microseconds since 1970.
    At(u64),
}

/// How much one read gives, and how long it waits for something to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many records, 1 to [`Limits::RECORDS_MAX`]; more is cut to that.
    pub records: usize,
    /// About so many bytes of keys and payloads; one record is always given, however large.
    pub bytes: usize,
    /// How long to wait when there is nothing: zero answers at once. At most [`Limits::WAIT_MAX`].
    pub wait: Duration,
}

impl Limits {
    /// The most records of one page.
    pub const RECORDS_MAX: usize = 10_000;
    /// The most bytes of one page, but for a single record.
    pub const BYTES_MAX: usize = 4 << 20;
    /// The longest wait.
    pub const WAIT_MAX: Duration = Duration::from_secs(60);

    /// The limits, cut to what is allowed.
    #[must_use]
    pub fn bounded(self) -> Limits {
        Limits {
            records: self.records.clamp(1, Limits::RECORDS_MAX),
            bytes: self.bytes.clamp(1, Limits::BYTES_MAX),
            wait: self.wait.min(Limits::WAIT_MAX),
        }
    }
}

impl Default for Limits {
    /// A thousand records, a mebibyte, no wait.
    fn default() -> Limits {
        Limits { records: 1_000, bytes: 1 << 20, wait: Duration::ZERO }
    }
}

/// What one read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records, in order; none when there was nothing new.
    pub records: Records,
    /// Where to go on: mostly after the last record; a time where the back end has no position to say.
    pub next: From,
    /// The shard has ended and this was the last of it: there is nothing after `next`, ever.
    pub ended: bool,
    /// How far `next` is from the end.
    pub lag: Lag,
    /// The history it was read from.
    pub generation: Generation,
}

/// Records in order, as a slice. Readers of the same place may share them.
#[derive(Clone, Default)]
pub struct Records {
    all: Arc<Vec<Record>>,
    range: Range<usize>,
}

impl Records {
    /// A part of records that others have, too.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn part(all: Arc<Vec<Record>>, range: Range<usize>) -> Records {
        assert!(range.start <= range.end && range.end <= all.len(), "a part of what is there");
        Records { all, range }
    }
}

impl Deref for Records {
    type Target = [Record];

    fn deref(&self) -> &[Record] {
        &self.all[self.range.clone()]
    }
}

impl std::convert::From<Vec<Record>> for Records {
    fn from(records: Vec<Record>) -> Records {
        let range = 0..records.len();
        Records { all: Arc::new(records), range }
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = &'a Record;
    type IntoIter = std::slice::Iter<'a, Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Records) -> bool {
        **self == **other
    }
}

impl Eq for Records {}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How far a reader is behind; a back end tells what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lag {
    /// In records.
    pub records: Option<u64>,
    /// In milliseconds: the age of what is next, zero at the end.
    pub ms: Option<u64>,
}

/// What is told of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: StreamName,
    /// Its history.
    pub generation: Generation,
    /// All shards that can still be read, parents before children.
    pub shards: Vec<ShardInfo>,
}

/// What is told of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its name.
    pub id: ShardId,
    /// The shards it came from by a split or a merge: they are read to their end before it.
    pub parents: Vec<ShardId>,
    /// The lowest position that can be read, as far as the back end says (Kinesis: where the shard began).
    pub first: Position,
    /// The highest one; zero when it is empty, none where the back end does not say.
    pub last: Option<Position>,
    /// It takes no more records.
    pub ended: bool,
}

/// Now, in microseconds since 1970.
#[must_use]
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The number for a key by which it is given to a shard: SipHash-1-3 with a fixed key, for files and Redis.
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher13::new_with_keys(0x6f6e_7361_6c65, 0x0062_7573);
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_limits() {
        let check =
            |key: usize, payload: usize| Entry::new(vec![b'k'; key], vec![0; payload]).check();
        assert_eq!(check(1, 0), Ok(()));
        assert_eq!(check(256, PAYLOAD_BYTES_MAX - 256), Ok(()));
        assert!(matches!(check(0, 1), Err(Error::Invalid { field: "key", .. })));
        assert!(matches!(
            check(257, 1),
            Err(Error::TooLarge { field: "key", bytes: 257, max: 256 })
        ));
        let error = check(1, PAYLOAD_BYTES_MAX).unwrap_err();
        assert_eq!(error.to_string(), "key and payload: 1000001 bytes, at most 1000000 are taken");
        assert!(Entry::new(&b"\xff"[..], "").check().is_err());
    }
}
