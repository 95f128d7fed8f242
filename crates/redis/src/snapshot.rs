//! Snapshots of a shard's state: all its keys as Redis dumps them, at one position of the stream, in bytes that can be kept
//! anywhere. A state is made again from one and the records after it, and is the same as one that was made from all records.
//!
//! A snapshot's bytes are a line that says what they are, a packed list, and a checksum of 16 bytes over both. It knows its log and
//! shard, and the record that it was taken at by id and digest: where the stream has another one there, it is refused.

use std::time::Duration;

use onsale_core::CodeKey;
use redis::{Cmd, Value as Said};

use crate::call::Trouble;
use crate::client::state_key;
use crate::heard::Heard;
use crate::library::{LAYOUT, LIBRARY, Library};
use crate::pack::{Damaged, Value};
use crate::session::{self, Failure, Options};
use crate::store::Seeds;
use crate::words::{WORDS, Word};

/// Entries of hashes, lists and sets that a state may have to be copied out at once.
pub const ENTRIES_MAX: u64 = 4_000_000;
/// Bytes of one key: more are not taken in by a Redis that is set as usual.
const PART_BYTES_MAX: usize = 512 << 20;
/// How long a copy may take: Redis is busy with nothing else, so nobody gains by giving up early.
const WAIT: Duration = Duration::from_secs(60);

const HEAD: &[u8] = b"onsale snapshot of a shard in Redis, 1\n";
const CHECKSUM_BYTES: usize = 16;

/// The state of a shard at a position.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// The log's id.
    pub log: u128,
    /// The shard.
    pub shard: u16,
    /// Of so many.
    pub shards: u16,
    /// The log's generation by then.
    pub generation: u32,
    /// The position of the last record that is in it.
    pub position: u64,
    /// That record's id in the stream, and its digest.
    record: (Vec<u8>, Vec<u8>),
    /// Each key's name behind the shard's tag, and what it had.
    parts: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What became of a snapshot that a state was to be made again from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Adopted {
    /// The state is at its position, and `rebuild_shard` goes on from there.
    Yes,
    /// Redis can't take it in, for this reason: the state is as it was, and another one may do.
    Unusable(String),
}

/// The call that copies a state out, if it has no more than so many entries.
#[must_use]
pub fn take(library: &Library, state: &str, entries_max: u64) -> Cmd {
    let mut cmd = redis::cmd("FCALL_RO");
    cmd.arg(library.function("snapshot")).arg(1).arg(state).arg(entries_max);
    cmd
}

impl Snapshot {
    /// Reads what the call has said.
    ///
    /// # Errors
    /// It is nothing that the function says; or a key is too large to be taken in again.
    pub fn read(said: Said) -> Result<Result<Snapshot, Trouble>, Damaged> {
        let mut said = Heard::of(said)?;
        if said.word(WORDS)? == Word::Trouble {
            return said.trouble().map(Err);
        }
        let (position, generation) = (said.number()?, said.number()?);
        let log = <[u8; 16]>::try_from(said.bytes()?);
        let log = log.map_err(|_| Damaged { what: "not 16 bytes" })?;
        let (shard, shards) = (said.number()?, said.number()?);
        let record = (said.bytes()?, said.bytes()?);
        let mut found = Heard::of(said.next()?)?;
        let mut parts = Vec::new();
        while !found.is_over() {
            let (name, dump) = (found.bytes()?, found.bytes()?);
            if dump.len() > PART_BYTES_MAX {
                return Err(Damaged { what: "a key has more than 512 MiB" });
            }
            parts.push((name, dump));
        }
        let log = u128::from_be_bytes(log);
        Ok(Ok(Snapshot { log, shard, shards, generation, position, record, parts }))
    }

    /// As bytes to keep. They have the secret behind the log's codes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |bytes: &[u8]| Value::from(bytes);
        let part = |(name, dump): &(Vec<u8>, Vec<u8>)| vec![bytes(name), bytes(dump)].into();
        let list = Value::List(vec![
            LAYOUT.into(),
            bytes(&self.log.to_be_bytes()),
            u32::from(self.shard).into(),
            u32::from(self.shards).into(),
            self.generation.into(),
            Value::Int(self.position as i64),
            bytes(&self.record.0),
            bytes(&self.record.1),
            Value::List(self.parts.iter().map(part).collect()),
        ]);
        let mut out = HEAD.to_vec();
        list.pack(&mut out);
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// They are something else, of another version, or not whole.
    pub fn of_bytes(bytes: &[u8]) -> Result<Snapshot, Damaged> {
        if !bytes.starts_with(HEAD) {
            return Err(Damaged { what: "not a snapshot that this version knows" });
        }
        let end = bytes.len().saturating_sub(CHECKSUM_BYTES);
        let (told, found) = bytes.split_at(end);
        if checksum(told) != found {
            return Err(Damaged { what: "the checksum is wrong" });
        }
        let packed = told.get(HEAD.len()..).ok_or(Damaged { what: "cut off" })?;
        let fields = <[Value; 9]>::try_from(Value::unpack(packed)?.list()?);
        let fields = fields.map_err(|_| Damaged { what: "another number of fields" })?;
        let [layout, log, shard, shards, generation, position, id, digest, parts] = fields;
        if layout.int() != Ok(LAYOUT) {
            return Err(Damaged { what: "the state lay in another way then" });
        }
        let part = |part: Value| {
            let part = part.list()?;
            let [name, dump] = part.as_slice() else {
                return Err(Damaged { what: "not a name and a dump" });
            };
            Ok((name.bytes()?.to_vec(), dump.bytes()?.to_vec()))
        };
        Ok(Snapshot {
            log: log.wide()?,
            shard: shard.int()?,
            shards: shards.int()?,
            generation: generation.int()?,
            position: position.int()?,
            record: (id.bytes()?.to_vec(), digest.bytes()?.to_vec()),
            parts: parts.list()?.into_iter().map(part).collect::<Result<_, Damaged>>()?,
        })
    }

    /// The calls that put it in the place of a state: one for each key, which leave the state as it is, then the one that does it.
    #[must_use]
    pub fn adopt(&self, library: &Library, state: &str) -> (Vec<Cmd>, Cmd) {
        let tag = state.strip_suffix("state").unwrap_or(state);
        let restore = |(name, dump): &(Vec<u8>, Vec<u8>)| {
            let key = [tag.as_bytes(), b"restored/", name].concat();
            redis::cmd("RESTORE").arg(key).arg(0).arg(dump).arg("REPLACE").to_owned()
        };
        let mut adopt = redis::cmd("FCALL");
        adopt.arg(library.function("adopt")).arg(1).arg(state);
        adopt.arg(&self.record.0).arg(&self.record.1);
        for (name, _) in &self.parts {
            adopt.arg(name);
        }
        (self.parts.iter().map(restore).collect(), adopt)
    }

    /// The call that takes away what was restored and not adopted.
    fn forget(&self, state: &str) -> Cmd {
        let tag = state.strip_suffix("state").unwrap_or(state);
        let mut forget = redis::cmd("UNLINK");
        for (name, _) in &self.parts {
            forget.arg([tag.as_bytes(), b"restored/", name].concat());
        }
        forget
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    CodeKey([0; 16]).digest("snapshot", &[bytes]).to_be_bytes()
}

/// Copies the state of a shard out, while servers sell. Redis does nothing else until it is done.
///
/// # Errors
/// It can't be reached; keys of the state are missing, or it is behind its stream; it has more than [`ENTRIES_MAX`] entries.
pub async fn take_snapshot(options: &Options, shard: u16) -> Result<Snapshot, Failure> {
    let options = Options { timeout: options.timeout.max(WAIT), ..options.clone() };
    let state = state_key(&options.prefix, shard);
    let session = session::find(&options, Some(&LIBRARY), &state).await?;
    let said = session.one(&take(&LIBRARY, &state, ENTRIES_MAX)).await?;
    let unusable = |what: &dyn std::fmt::Display| Failure::Unusable(format!("{state}: {what}"));
    match Snapshot::read(said).map_err(|error| unusable(&error))? {
        Ok(snapshot) => Ok(snapshot),
        Err(Trouble::Mend) => Err(Failure::Moving(Trouble::Mend.to_string())),
        Err(trouble) => Err(unusable(&trouble)),
    }
}

/// Puts a snapshot in the place of a shard's state, if it belongs there.
///
/// # Errors
/// It can't be reached; the snapshot is of another log or shard, or of a history that is not the stream's, or the stream
/// ends before it. The state is as it was then.
pub async fn adopt_snapshot(
    options: &Options,
    seeds: &Seeds,
    shard: u16,
    snapshot: &Snapshot,
) -> Result<Adopted, Failure> {
    let options = Options { timeout: options.timeout.max(WAIT), ..options.clone() };
    let state = state_key(&options.prefix, shard);
    if snapshot.log != seeds.log {
        let why = format!("it is of the log {:032x}, but this is {:032x}", snapshot.log, seeds.log);
        return Err(Failure::Unusable(why));
    }
    if (snapshot.shard, snapshot.shards) != (shard, seeds.shards) {
        let (of, all) = (snapshot.shard, snapshot.shards);
        let why = format!("it is of shard {of} of {all}, not {shard} of {}", seeds.shards);
        return Err(Failure::Unusable(why));
    }
    let session = session::find(&options, Some(&LIBRARY), &state).await?;
    let (restore, adopt) = snapshot.adopt(&LIBRARY, &state);
    for part in &restore {
        match session.one(part).await {
            Ok(_) => {}
            // Redis does not like what it was given, or has no room for it beside the state.
            Err(Failure::Unknown(why) | Failure::Full(why)) => {
                session.one(&snapshot.forget(&state)).await?;
                return Ok(Adopted::Unusable(why));
            }
            Err(failure) => return Err(failure),
        }
    }
    let wrong = |error: Damaged| Failure::Unusable(error.to_string());
    let mut heard = Heard::of(session.one(&adopt).await?).map_err(wrong)?;
    if heard.word(WORDS).map_err(wrong)? != Word::Trouble {
        return Ok(Adopted::Yes);
    }
    session.one(&snapshot.forget(&state)).await?;
    let Snapshot { generation, position, .. } = snapshot;
    let why = match heard.trouble().map_err(wrong)? {
        Trouble::Lost { stream, ends, .. } => format!(
            "it is at position {position}, but {stream} ends at {ends}: records that were there are lost"
        ),
        Trouble::Other { stream, .. } => format!(
            "{stream} has another record at its position {position} than in generation {generation}, when it was taken: \
             records that were there are lost, and others have come in their place"
        ),
        trouble => trouble.to_string(),
    };
    Err(Failure::Unusable(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_may_be_another_one() {
        let snapshot = Snapshot {
            log: 7,
            shard: 1,
            shards: 2,
            generation: 3,
            position: 1 << 40,
            record: (b"1-9".to_vec(), b"digest".to_vec()),
            parts: vec![(b"state".to_vec(), vec![0; 70]), (b"ids".to_vec(), Vec::new())],
        };
        let bytes = snapshot.to_bytes();
        assert_eq!(Snapshot::of_bytes(&bytes), Ok(snapshot));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Snapshot::of_bytes(&other).is_err(), "byte {at}");
            assert!(Snapshot::of_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
