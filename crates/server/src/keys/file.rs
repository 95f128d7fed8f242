//! The key file: its form, and how it is read, locked and written.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use onsale_core::{Id, Time};
use serde::{Deserialize, Serialize};

use super::{Digest, Error, Grant, KEYS_MAX, NewKey, Scope, Secret};
use crate::catalogue::{time_from_text, time_to_text};
use crate::rates::RATE_MAX;

/// Name of the file in the data folder.
pub const KEYS_FILE: &str = "keys.json";
/// Writers lock this file, since the other is replaced by each of them.
const LOCK_FILE: &str = "keys.lock";
/// Largest file, in bytes: room for [`KEYS_MAX`] entries with long names.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The whole file.
#[derive(Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyFile {
    /// Oldest first.
    pub keys: Vec<KeyEntry>,
}

/// What the file knows of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// Its id, unique in the file.
    pub id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// SHA-256 of the key, in hexadecimal digits.
    pub sha256: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For whom; null: for all organizers.
    #[serde(deserialize_with = "Option::deserialize")]
    pub organizer: Option<String>,
    /// Requests per second that it may make, 0: without limit; left out: as many as any key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl KeyEntry {
    /// An entry with an id of its own.
    pub(super) fn new(secret: &Secret, new: NewKey, now: Time) -> Result<KeyEntry, Error> {
        if new.scopes.is_empty() {
            return Err(Error::NoScope);
        }
        let in_secret = secret.reveal().strip_prefix("onsale_").and_then(|s| s.split_once('_'));
        let id = match in_secret {
            Some((id, _)) if Id::new(id).is_ok() => id.to_owned(),
            _ => random_text::<5>()?,
        };
        Ok(KeyEntry {
            id,
            name: new.name,
            sha256: Digest::of(secret.reveal()).to_hex(),
            scopes: Scope::ALL.into_iter().filter(|s| new.scopes.contains(s)).collect(),
            organizer: new.organizer.map(|id| id.as_str().to_owned()),
            rate: new.rate,
            created_at: time_to_text(now),
        })
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::from_hex(&self.sha256).expect("checked when it was read")
    }

    pub(super) fn grant(&self) -> Grant {
        let id = |text: &str| Id::new(text).expect("checked when it was read");
        Grant {
            key: id(&self.id),
            scopes: self.scopes.iter().copied().collect(),
            organizer: self.organizer.as_deref().map(id),
            rate: self.rate,
            meter: Arc::default(),
        }
    }

    fn check(&self) -> Result<(), String> {
        Id::new(&self.id).map_err(|e| format!("id: {e}"))?;
        if self.name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
            return Err(format!("name: must be at most {NAME_BYTES_MAX} bytes long"));
        }
        Digest::from_hex(&self.sha256).ok_or("sha256: must be 64 hexadecimal digits")?;
        if self.scopes.is_empty() {
            return Err("scopes: must have at least one entry".to_owned());
        }
        if let Some(organizer) = &self.organizer {
            Id::new(organizer).map_err(|e| format!("organizer: {e}"))?;
        }
        if self.rate.is_some_and(|rate| rate > RATE_MAX) {
            return Err(format!("rate: must be at most {RATE_MAX}"));
        }
        time_from_text(&self.created_at).ok_or("created_at: must be a time as in RFC 3339")?;
        Ok(())
    }
}

/// What shows that a file is another one than before.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Stamp {
    pub(super) fn of_folder(folder: &Path) -> Result<Stamp, Error> {
        let path = folder.join(KEYS_FILE);
        let metadata = std::fs::metadata(&path).map_err(io("read", &path))?;
        Ok(Stamp::of(&metadata))
    }

    fn of(metadata: &std::fs::Metadata) -> Stamp {
        Stamp {
            inode: metadata.ino(),
            length: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }
}

impl KeyFile {
    /// Reads and checks the file.
    pub(super) fn read(folder: &Path) -> Result<(KeyFile, Stamp), Error> {
        let path = folder.join(KEYS_FILE);
        let file = File::open(&path).map_err(io("read", &path))?;
        let stamp = Stamp::of(&file.metadata().map_err(io("read", &path))?);
        let mut json = String::new();
        let mut bounded = file.take(FILE_BYTES_MAX + 1);
        bounded.read_to_string(&mut json).map_err(io("read", &path))?;
        let parsed = match json.len() as u64 > FILE_BYTES_MAX {
            true => Err(format!("is longer than {FILE_BYTES_MAX} bytes")),
            false => KeyFile::parse(&json),
        };
        match parsed {
            Ok(file) => Ok((file, stamp)),
            Err(detail) => Err(Error::Malformed { path, detail }),
        }
    }

    pub(super) fn parse(json: &str) -> Result<KeyFile, String> {
        let file: KeyFile = serde_json::from_str(json).map_err(|e| e.to_string())?;
        if file.keys.len() > KEYS_MAX {
            return Err(format!("keys: must have at most {KEYS_MAX} entries"));
        }
        let mut ids = std::collections::BTreeSet::new();
        for (i, entry) in file.keys.iter().enumerate() {
            entry.check().map_err(|e| format!("keys[{i}].{e}"))?;
            if !ids.insert(entry.id.as_str()) {
                return Err(format!("keys[{i}].id: the id {} is there twice", entry.id));
            }
        }
        Ok(file)
    }

    /// Writes the file so that a crash leaves the old one or the new one, whole. `confirm` is asked when all but the
    /// name of the new one is done.
    fn write(
        &self,
        folder: &Path,
        confirm: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = folder.join(KEYS_FILE);
        let json = serde_json::to_string_pretty(self).expect("plain texts become JSON");
        // A temporary file is made with mode 0600, and the rename keeps that.
        let mut new = tempfile::NamedTempFile::new_in(folder).map_err(io("write", &path))?;
        let written = new.write_all(json.as_bytes()).and_then(|()| new.write_all(b"\n"));
        written.and_then(|()| new.as_file().sync_all()).map_err(io("write", &path))?;
        confirm()?;
        new.persist(&path).map_err(|e| io("replace", &path)(e.error))?;
        let directory = File::open(folder).map_err(io("open", folder))?;
        directory.sync_all().map_err(io("sync", folder))
    }
}

/// Changes the file under the lock; a file that is not there counts as empty. Nothing is changed unless `confirm` goes
/// well, which is told of what the change came to.
pub(super) fn change<T>(
    folder: &Path,
    change: impl FnOnce(&mut KeyFile) -> Result<T, Error>,
    confirm: impl FnOnce(&T) -> Result<(), Error>,
) -> Result<T, Error> {
    let _lock = lock(folder)?;
    let mut file = match folder.join(KEYS_FILE).exists() {
        true => KeyFile::read(folder)?.0,
        false => KeyFile::default(),
    };
    let result = change(&mut file)?;
    if file.keys.len() > KEYS_MAX {
        return Err(Error::TooManyKeys);
    }
    file.write(folder, || confirm(&result))?;
    Ok(result)
}

/// Makes the file with its first key, unless it is there. Returns the key.
pub(super) fn create_first(
    folder: &Path,
    handed_in: Option<&Secret>,
    now: Time,
) -> Result<Option<Secret>, Error> {
    let _lock = lock(folder)?;
    if folder.join(KEYS_FILE).exists() {
        return Ok(None);
    }
    let (secret, name) = match handed_in {
        Some(secret) => (secret.clone(), "first key, from the environment"),
        None => (random_secret()?, "first key"),
    };
    let all = NewKey {
        name: Some(name.into()),
        scopes: Scope::ALL.to_vec(),
        organizer: None,
        rate: None,
    };
    let entry = KeyEntry::new(&secret, all, now)?;
    KeyFile { keys: vec![entry] }.write(folder, || Ok(()))?;
    Ok(Some(secret))
}

/// Held until it is dropped.
fn lock(folder: &Path) -> Result<File, Error> {
    let path = folder.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(io("open", &path))?;
    file.lock().map_err(io("lock", &path))?;
    Ok(file)
}

/// A new key: `onsale_`, its id (8 symbols), `_`, and 160 random bits (32 symbols).
pub(super) fn random_secret() -> Result<Secret, Error> {
    Ok(Secret(format!("onsale_{}_{}", random_text::<5>()?, random_text::<20>()?)))
}

/// `N` random bytes in base 32 (RFC 4648, in lower case). `N` is a multiple of
/// five, so that nothing is left over.
fn random_text<const N: usize>() -> Result<String, Error> {
    const { assert!(N.is_multiple_of(5)) };
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let mut text = String::with_capacity(N / 5 * 8);
    for five in bytes.chunks_exact(5) {
        let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let symbols = (0..8).rev().map(|i| (bits >> (5 * i)) as usize % 32);
        text.extend(symbols.map(|i| char::from(b"abcdefghijklmnopqrstuvwxyz234567"[i])));
    }
    Ok(text)
}

/// Says what was tried on which file.
fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
