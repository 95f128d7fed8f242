//! API keys: who may do what, for which organizer.
//!
//! The file `keys.json` in the data folder holds the SHA-256 of each key, never
//! the key. It is written whole, beside the old one, and renamed over it; writers
//! take turns by a lock on `keys.lock`. A running server notices a new file and
//! reads it again, so a key works, or stops to work, without a restart. A key has
//! at least 96 bits of chance in it (160 when it is made here), so one round of
//! SHA-256 is enough: there is no dictionary to try.

pub mod command;
mod file;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onsale_core::{Id, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

pub use file::{KEYS_FILE, KeyEntry};
use file::{KeyFile, Stamp};

use crate::rates::Meter;

/// Keys in one file. A look-up reads all of them, so that its time tells nothing.
pub const KEYS_MAX: usize = 1_000;
/// Shortest key that is taken from outside, in bytes.
pub const SECRET_BYTES_MIN: usize = 24;
/// Longest key, in bytes.
pub const SECRET_BYTES_MAX: usize = 128;

/// What a key may be allowed to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Place holds, and what becomes of them: orders and their tickets.
    Sell,
    /// Record payments and refunds.
    Pay,
    /// Define events, change their state, cancel confirmed orders.
    Manage,
    /// Read the records of sales. Alone, it sees ticket codes redacted.
    Read,
}

impl Scope {
    /// All of them.
    pub const ALL: [Scope; 4] = [Scope::Sell, Scope::Pay, Scope::Manage, Scope::Read];

    /// Its name, as in the key file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scope::Sell => "sell",
            Scope::Pay => "pay",
            Scope::Manage => "manage",
            Scope::Read => "read",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether the scope is among them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        Scopes(scopes.into_iter().fold(0, |bits, scope| bits | (1 << scope as u8)))
    }
}

/// What the holder of a key may do.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Id of the key, for logs.
    pub key: Id,
    /// What.
    pub scopes: Scopes,
    /// For whom; none: for all organizers.
    pub organizer: Option<Id>,
    /// Requests per second that it may make; none: as many as any key.
    pub rate: Option<u32>,
    /// Counts them.
    pub meter: Arc<Meter>,
}

impl Grant {
    /// Whether the key counts for this organizer.
    #[must_use]
    pub fn covers(&self, organizer: &Id) -> bool {
        self.organizer.as_ref().is_none_or(|own| own == organizer)
    }
}

/// A key as its holder sends it. It can be shown once, and is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The key itself. Do not log it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What went wrong with the key file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not as it must be.
    #[error("{path}: {detail}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, with line and column or the entry.
        detail: String,
    },
    /// Nobody could be told a new key.
    #[error("the key can't be printed, so it was not made: {0}")]
    NotShown(io::Error),
    /// There is no key with this id.
    #[error("there is no key {id}")]
    UnknownKey {
        /// The id.
        id: String,
    },
    /// The file is full.
    #[error("there are {KEYS_MAX} keys: revoke one first")]
    TooManyKeys,
    /// A key that was handed in is too short, too long or not plain ASCII.
    #[error(
        "a key must be {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes of printable ASCII without \
         spaces"
    )]
    UnfitSecret,
    /// A key without scopes can do nothing.
    #[error("a key needs at least one scope")]
    NoScope,
    /// No randomness from the operating system.
    #[error("no random bytes from the operating system: {0}")]
    Random(getrandom::Error),
}

/// How the server came by its keys at start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FirstKey {
    /// The file was there. If a key was handed in, it is among them.
    Existing,
    /// The file was there, and the key that was handed in is not among its keys:
    /// it does not work.
    NotAmongThem,
    /// The file was made with the key that was handed in.
    Taken,
    /// The file was made with a new key, to be shown now and never again.
    Made(Secret),
}

/// What a new key shall be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewKey {
    /// For people.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// For whom; none: for all organizers.
    pub organizer: Option<Id>,
    /// Requests per second that it may make, 0: without limit; none: as many as any key.
    pub rate: Option<u32>,
}

/// The keys of a file, as they were when it was read.
#[derive(Debug)]
pub struct KeyStore {
    folder: PathBuf,
    stamp: Stamp,
    keys: Vec<(Digest, Grant)>,
}

impl KeyStore {
    /// Reads `keys.json` of a data folder.
    ///
    /// # Errors
    /// Where the file can't be read or is malformed.
    pub fn load(folder: &Path) -> Result<KeyStore, Error> {
        let (file, stamp) = KeyFile::read(folder)?;
        let keys = file.keys.iter().map(|entry| (entry.digest(), entry.grant())).collect();
        Ok(KeyStore { folder: folder.to_owned(), stamp, keys })
    }

    /// Reads `keys.json`, or makes it with one key for all organizers with all
    /// scopes: the one that was handed in, else a new one.
    ///
    /// # Errors
    /// As [`KeyStore::load`]; also where the key handed in is not fit to be one.
    pub fn load_or_create(
        folder: &Path,
        handed_in: Option<&str>,
        now: Time,
    ) -> Result<(KeyStore, FirstKey), Error> {
        let handed_in = handed_in.map(fit_secret).transpose()?;
        let first = file::create_first(folder, handed_in.as_ref(), now)?;
        let store = KeyStore::load(folder)?;
        let first = match (first, handed_in) {
            (Some(made), None) => FirstKey::Made(made),
            (Some(_), Some(_)) => FirstKey::Taken,
            (None, Some(secret)) if store.authenticate(secret.reveal()).is_none() => {
                FirstKey::NotAmongThem
            }
            (None, _) => FirstKey::Existing,
        };
        Ok((store, first))
    }

    /// Whose key this is. Takes the same time for each key of the file and for none.
    #[must_use]
    pub fn authenticate(&self, secret: &str) -> Option<&Grant> {
        if secret.len() > SECRET_BYTES_MAX {
            return None;
        }
        let digest = Digest::of(secret);
        let mut found = u32::MAX;
        for (i, (other, _)) in (0u32..).zip(&self.keys) {
            found.conditional_assign(&i, digest.ct_eq(other));
        }
        self.keys.get(found as usize).map(|(_, grant)| grant)
    }

    /// The keys anew if the file has changed since; none if it has not. Costs one
    /// `stat` when it has not: call it about once a second, not per request.
    ///
    /// # Errors
    /// Where the file can't be read or is malformed: the caller goes on with the
    /// keys that it has.
    pub fn refresh_if_changed(&self) -> Result<Option<KeyStore>, Error> {
        match Stamp::of_folder(&self.folder)? == self.stamp {
            true => Ok(None),
            false => {
                let mut store = KeyStore::load(&self.folder)?;
                store.keep_meters_of(self);
                Ok(Some(store))
            }
        }
    }

    /// A key that stays goes on where it was: a change of the file gives nobody a new start.
    fn keep_meters_of(&mut self, before: &KeyStore) {
        for (digest, grant) in &mut self.keys {
            if let Some((_, old)) = before.keys.iter().find(|(other, _)| other == digest) {
                grant.meter = old.meter.clone();
            }
        }
    }
}

/// Makes a key and puts it into the file, which is made where there is none. `show` hands it to whoever wants it, at the
/// last moment before it works: one that nobody saw is not made.
///
/// # Errors
/// Where the file can't be read, is malformed, is full or can't be written, or the key can't be shown.
pub fn create(
    folder: &Path,
    new: NewKey,
    now: Time,
    show: impl FnOnce(&KeyEntry, &Secret) -> io::Result<()>,
) -> Result<(KeyEntry, Secret), Error> {
    let secret = file::random_secret()?;
    let add = |file: &mut KeyFile| {
        let entry = KeyEntry::new(&secret, new, now)?;
        file.keys.push(entry.clone());
        Ok(entry)
    };
    let entry = file::change(folder, add, |entry| show(entry, &secret).map_err(Error::NotShown))?;
    Ok((entry, secret))
}

/// All keys of the file, oldest first.
///
/// # Errors
/// Where the file can't be read or is malformed.
pub fn list(folder: &Path) -> Result<Vec<KeyEntry>, Error> {
    KeyFile::read(folder).map(|(file, _)| file.keys)
}

/// Takes a key out of the file.
///
/// # Errors
/// Where there is no key with this id, or the file can't be read or written.
pub fn revoke(folder: &Path, id: &str) -> Result<KeyEntry, Error> {
    let remove = |file: &mut KeyFile| {
        let at = file.keys.iter().position(|entry| entry.id.as_str() == id);
        let at = at.ok_or_else(|| Error::UnknownKey { id: id.to_owned() })?;
        Ok(file.keys.remove(at))
    };
    file::change(folder, remove, |_| Ok(()))
}

fn fit_secret(text: &str) -> Result<Secret, Error> {
    let fits = (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| Secret(text.to_owned())).ok_or(Error::UnfitSecret)
}

/// The SHA-256 of a key, in words, since words are compared faster than bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Digest([u64; 4]);

impl Digest {
    fn of(secret: &str) -> Digest {
        Digest::from_bytes(Sha256::digest(secret.as_bytes()).into())
    }

    fn from_bytes(bytes: [u8; 32]) -> Digest {
        let word = |i: usize| {
            let eight: [u8; 8] = bytes[i * 8..][..8].try_into().expect("eight bytes");
            u64::from_be_bytes(eight)
        };
        Digest([word(0), word(1), word(2), word(3)])
    }

    fn to_hex(self) -> String {
        self.0.iter().map(|word| format!("{word:016x}")).collect()
    }

    fn from_hex(text: &str) -> Option<Digest> {
        let plain = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !plain {
            return None;
        }
        let word = |i: usize| u64::from_str_radix(&text[i * 16..][..16], 16).ok();
        Some(Digest([word(0)?, word(1)?, word(2)?, word(3)?]))
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Digest) -> Choice {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(0, |difference, (a, b)| difference | (a ^ b)).ct_eq(&0)
    }
}
