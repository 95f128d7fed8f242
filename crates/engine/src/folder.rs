//! The data folder: its own file, one journal per shard, and how all of them are
//! opened and brought back to life.
//!
//! ```text
//! DATA/LOCK          held while a process writes
//! DATA/onsale.log    log id and number of shards, written once
//! DATA/shards-begun  written once every shard has its first record
//! DATA/shard-00/     the journal of shard 0
//! ```
//!
//! While a restore makes a folder, `onsale.log` says so instead: what is half made is not opened.
//! A backup has the same form, and `backup.json` beside it: such a folder is never opened for writing, since what
//! it would sell would get codes that the folder it was made of gives, too.

mod replay;
mod start;

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onsale_core::event::ShardStarted;
use onsale_core::{CodeKey, Fact, Id, Time, limits};
use onsale_journal::storage::Storage;
use onsale_journal::{FileStorage, Stores, WriteJob};
use onsale_planted::{Bug, is};

use crate::info::Durability;
use crate::upkeep::Rules;
use crate::{Answer, Error, Shard, Unavailable};

/// What the folder's own file begins with, before the format's number.
const FORMAT: &str = "onsale data folder, format ";
/// The only format so far.
const FORMAT_KNOWN: u32 = 1;
/// What stands in that file until a restore has come to its end.
const BEGUN: &str = "onsale data folder, a restore was begun\n";
/// Name of the folder's own file.
pub const FILE: &str = "onsale.log";
/// Name of the file that says that every shard had its first record: from then on one that holds nothing is lost.
/// Folders of earlier versions have it from their next start on.
pub const BEGUN_FILE: &str = "shards-begun";
/// What stands in it.
const BEGUN_TEXT: &str = "every shard of this folder has its first record\n";
/// Name of the file that makes a folder a backup.
pub const BACKUP_FILE: &str = "backup.json";
/// The generation that a new log begins with.
const FIRST_GENERATION: u32 = 1;

/// Randomness for a new folder, made outside. It is used only where there is none yet.
#[derive(Clone, Copy)]
pub struct Seeds {
    /// Id of the new log.
    pub log: u128,
    /// The secret behind its codes and digests.
    pub key: CodeKey,
}

/// What is fixed for a folder when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Id of the log.
    pub log: u128,
    /// Number of shards.
    pub shards: u16,
}

/// An open data folder. It is locked against other writers until dropped.
pub struct Folder {
    path: PathBuf,
    identity: Identity,
    _lock: onsale_journal::FolderLock,
}

impl Folder {
    /// Opens a data folder, or makes it with this many shards.
    ///
    /// # Errors
    /// It can't be read or written, is locked by another process, or is not one of ours.
    pub fn open(path: &Path, shards: u16, seeds: &Seeds) -> Result<Folder, Error> {
        if shards == 0 || shards > limits::SHARDS_MAX {
            let detail = format!("shards: must be 1 to {}", limits::SHARDS_MAX);
            return Err(Error::Folder { path: path.display().to_string(), detail });
        }
        fs::create_dir_all(path).map_err(|e| failed(path, &e))?;
        if path.join(BACKUP_FILE).exists() {
            return Err(failed(
                path,
                &"is a backup: `onsale journal restore` makes a folder of it",
            ));
        }
        let lock = onsale_journal::lock_folder(path).map_err(|e| failed(path, &e))?;
        let identity = match Folder::identity(path)? {
            Some(identity) => identity,
            // It is made before any shard is: to make another would be to sell beside what is there.
            None if Folder::has_begun(path)
                || (0..limits::SHARDS_MAX).any(|s| Folder::shard_path(path, s).exists()) =>
            {
                return Err(failed(&path.join(FILE), &"is gone, though there are shards"));
            }
            None => Folder::make(path, Identity { log: seeds.log, shards })?,
        };
        Ok(Folder { path: path.to_owned(), identity, _lock: lock })
    }

    /// Reads what is fixed for a folder, without locking it; none where it was never made.
    ///
    /// # Errors
    /// The file can't be read or has another form: a later one, or that of a restore that did not end.
    pub fn identity(path: &Path) -> Result<Option<Identity>, Error> {
        let file = path.join(FILE);
        match fs::read_to_string(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&file, &error)),
            Ok(text) => parse(&text).map(Some).map_err(|detail| failed(&file, &detail)),
        }
    }

    /// Writes a folder's own file, and so makes it a data folder. Gives back what was handed in.
    ///
    /// # Errors
    /// It can't be written.
    pub fn make(path: &Path, identity: Identity) -> Result<Identity, Error> {
        let Identity { log, shards } = identity;
        let text = format!("{FORMAT}{FORMAT_KNOWN}\nlog {log:032x}\nshards {shards}\n");
        Folder::write(path, FILE, &text)?;
        Ok(identity)
    }

    /// Whether every shard of this folder had its first record once.
    #[must_use]
    pub fn has_begun(path: &Path) -> bool {
        path.join(BEGUN_FILE).exists()
    }

    /// Says that every shard has its first record, which must be durable.
    ///
    /// # Errors
    /// It can't be written.
    pub fn note_begun(path: &Path) -> Result<(), Error> {
        Folder::write(path, BEGUN_FILE, BEGUN_TEXT)
    }

    /// Says that the folder is being made of a backup: until [`Folder::make`] nothing opens it.
    ///
    /// # Errors
    /// It can't be written.
    pub fn begin_restore(path: &Path) -> Result<(), Error> {
        Folder::write(path, FILE, BEGUN)
    }

    /// Writes a file of the folder's own in one step.
    fn write(path: &Path, name: &str, text: &str) -> Result<(), Error> {
        let (fresh, file) = (path.join(format!("{name}.new")), path.join(name));
        let write = || -> std::io::Result<()> {
            let mut new = fs::File::create(&fresh)?;
            new.write_all(text.as_bytes())?;
            new.sync_all()?;
            fs::rename(&fresh, &file)?;
            fs::File::open(path)?.sync_all()
        };
        write().map_err(|error| failed(&file, &error))
    }

    /// Opens all shards. Each has replayed its journal, and its kept tail is durable.
    ///
    /// # Errors
    /// A journal is damaged, lost or can't be opened; names shard, file and offset.
    pub fn shards<T>(
        &self,
        options: &Options,
        seeds: &Seeds,
        wall: Time,
    ) -> Result<Vec<Shard<T>>, Error> {
        let open = |data: &Path, shard| {
            let path = Folder::shard_path(data, shard);
            let storage = FileStorage::open(&path).map_err(|e| failed(&path, &e))?;
            Ok(Arc::new(storage) as Arc<dyn Storage>)
        };
        let stores = |shard| {
            let live = open(&self.path, shard)?;
            let archive = options.archive.as_deref().map(|path| open(path, shard)).transpose()?;
            Ok(Stores { live, archive })
        };
        let begun = Folder::has_begun(&self.path);
        if begun && !options.elsewhere {
            // Before anything is made: what is missing can be put back in its place.
            for shard in 0..self.identity.shards {
                ensure_segments(&Folder::shard_path(&self.path, shard), shard)?;
            }
        }
        let mut shards = open_all(self.identity, options, seeds.key, wall, begun, stores)?;
        if !begun && !options.elsewhere {
            // A disk that is full is no reason not to start: the next start tries again.
            if let Err(error) = Folder::note_begun(&self.path) {
                shards[0].note(format!("a shard that is lost would not be noticed: {error}"));
            }
        }
        Ok(shards)
    }

    /// The folder of a shard's journal.
    #[must_use]
    pub fn shard_path(data: &Path, shard: u16) -> PathBuf {
        data.join(format!("shard-{shard:02}"))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is fixed for this folder.
    #[must_use]
    pub fn fixed(&self) -> Identity {
        self.identity
    }
}

/// How the shards of a folder are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Length of new segments.
    pub segment_bytes: u64,
    /// When an answer may leave.
    pub durability: Durability,
    /// Whether the log is kept elsewhere, and the folder holds a copy of it: then files are not synced, an answer waits
    /// for a round to where the log is, and no record is written before [`begin_shards`].
    pub elsewhere: bool,
    /// The folder for copies of full segments, one folder per shard in it; none: they stay where they are.
    pub archive: Option<PathBuf>,
    /// How much is kept, and how often.
    pub rules: Rules,
}

impl Options {
    /// The defaults, with segments of this length.
    #[must_use]
    pub fn new(segment_bytes: u64) -> Options {
        let (durability, rules) = (Durability::Synced, Rules::default());
        Options { segment_bytes, durability, elsewhere: false, archive: None, rules }
    }
}

/// Opens all shards of a log over any storage. A shard that is empty gets its first
/// record, with the secret that the others have.
///
/// # Errors
/// A journal is damaged or can't be opened; or one holds nothing though another has been at
/// work, which none is before all have their first record.
pub fn open_shards<T>(
    identity: Identity,
    options: &Options,
    key: CodeKey,
    wall: Time,
    stores: impl Fn(u16) -> Result<Stores, Error>,
) -> Result<Vec<Shard<T>>, Error> {
    open_all(identity, options, key, wall, false, stores)
}

/// The same; `begun` says that all shards had their first record before.
fn open_all<T>(
    identity: Identity,
    options: &Options,
    key: CodeKey,
    wall: Time,
    begun: bool,
    stores: impl Fn(u16) -> Result<Stores, Error>,
) -> Result<Vec<Shard<T>>, Error> {
    let mut shards = Vec::new();
    let mut unclean = Vec::new();
    for shard in 0..identity.shards {
        let (opened, clean) = start::open_shard(identity, options, shard, stores(shard)?, wall)?;
        shards.push(opened);
        unclean.push(!clean);
    }
    if options.elsewhere {
        return Ok(shards);
    }
    let fresh = begin(&mut shards, identity, (key, wall), begun, &mut |_, _| Ok(()))?;
    // Only now, when all have their first record: one with more than that is at work.
    for ((number, shard), unclean) in (0..).zip(&mut shards).zip(unclean) {
        let raises = unclean && !fresh.contains(&number);
        if raises && options.durability == Durability::Os && !is(Bug::GenerationNotRaised) {
            start::raise_generation(shard, number, wall)?;
        }
    }
    Ok(shards)
}

/// Gives every shard that is empty its first record, with the secret that the others have, and checks that all are of one
/// log; which were empty. `keep` is handed each such batch before it is written to the shard's files.
///
/// # Errors
/// One holds nothing though another has been at work, or is another log's; or `keep` or the disk failed.
pub fn begin_shards<T>(
    shards: &mut [Shard<T>],
    identity: Identity,
    key: CodeKey,
    wall: Time,
    keep: &mut dyn FnMut(u16, &WriteJob) -> std::io::Result<()>,
) -> Result<Vec<u16>, Error> {
    begin(shards, identity, (key, wall), false, keep)
}

fn begin<T>(
    shards: &mut [Shard<T>],
    identity: Identity,
    (key, wall): (CodeKey, Time),
    begun: bool,
    keep: &mut dyn FnMut(u16, &WriteJob) -> std::io::Result<()>,
) -> Result<Vec<u16>, Error> {
    let known = shards.iter().find(|s: &&Shard<T>| s.sale().position() > 0);
    let key = known.filter(|_| !is(Bug::SecretMadeAgain)).map_or(key, |s| s.sale().key());
    let at_work = begun || shards.iter().any(|s| s.sale().position() > 1);
    let mut fresh = Vec::new();
    for (number, shard) in (0..).zip(shards) {
        if shard.sale().position() == 0 {
            if at_work && !is(Bug::LostShardMadeAgain) {
                return Err(lost(number));
            }
            let Identity { log, shards } = identity;
            let generation = FIRST_GENERATION;
            let started = ShardStarted { log, shard: number, shards, key, generation };
            start::write_first(shard, number, wall, Fact::ShardStarted(started), keep)?;
            fresh.push(number);
        }
        let sale = shard.sale();
        let found = (sale.log(), sale.shard(), sale.shards(), sale.key());
        if found != (identity.log, number, identity.shards, key) {
            let detail = "is another shard's, or has another secret than its siblings".to_owned();
            return Err(Error::FirstRecord { shard: number, detail });
        }
        shard.began();
    }
    Ok(fresh)
}

/// The shard of a sale group: the one that a record says, which is final; else the one where a
/// new group goes.
#[must_use]
pub fn place(recorded: Option<u16>, organizer: &Id, group: &Id, shards: u16) -> u16 {
    if let Some(shard) = recorded
        && !is(Bug::PlacementComputedAgain)
    {
        return shard;
    }
    let mut hasher = std::hash::DefaultHasher::new();
    (organizer, group).hash(&mut hasher);
    // The bug stands for another version's way to compute it.
    let hash = hasher.finish() ^ u64::from(recorded.is_some());
    (hash % u64::from(shards)) as u16
}

/// Whether an answer to the definition of a new event settles on which shard it is. So does one
/// that nobody knows the outcome of: made again on another shard, it might be there twice.
#[must_use]
pub fn settles_place(answer: &Answer) -> bool {
    match answer {
        Answer::Done(_) | Answer::Told => true,
        Answer::Unavailable(Unavailable::Unknown) => !is(Bug::UnknownPlaceForgotten),
        _ => false,
    }
}

/// A shard that has begun has segments for ever: in its own folder at least the one that is written to.
fn ensure_segments(path: &Path, shard: u16) -> Result<(), Error> {
    let names = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(lost(shard)),
        names => names.map_err(|error| failed(path, &error))?,
    };
    for name in names {
        let name = name.map_err(|error| failed(path, &error))?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "seg") {
            return Ok(());
        }
    }
    Err(lost(shard))
}

fn lost(shard: u16) -> Error {
    let detail = "is gone, with all that came after it, though this log had begun. Put the missing files back, or \
                  restore a backup";
    Error::FirstRecord { shard, detail: detail.to_owned() }
}

fn failed(path: &Path, detail: &dyn std::fmt::Display) -> Error {
    Error::Folder { path: path.display().to_string(), detail: detail.to_string() }
}

fn parse(text: &str) -> Result<Identity, String> {
    if text == BEGUN {
        let way_out = "delete the folder, and restore once more";
        return Err(format!("says that a restore was begun which did not end: {way_out}"));
    }
    let format = text.lines().next().and_then(|line| line.strip_prefix(FORMAT)?.parse().ok());
    match format {
        Some(FORMAT_KNOWN) => parse_known(text),
        Some(later) if later > FORMAT_KNOWN => {
            return Err(format!(
                "has format {later}, of a later version; this one knows {FORMAT_KNOWN}: start that version, or restore a \
                 backup that was made before the upgrade"
            ));
        }
        _ => None,
    }
    .ok_or_else(|| format!("is not the file of an Onsale data folder, format {FORMAT_KNOWN}"))
}

fn parse_known(text: &str) -> Option<Identity> {
    let mut lines = text.lines().skip(1);
    let log = u128::from_str_radix(lines.next()?.strip_prefix("log ")?, 16).ok()?;
    let shards = lines.next()?.strip_prefix("shards ")?.parse().ok()?;
    (lines.next().is_none() && (1..=limits::SHARDS_MAX).contains(&shards))
        .then_some(Identity { log, shards })
}
