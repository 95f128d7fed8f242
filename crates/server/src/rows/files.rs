//! Small files of the data folder that whoever takes over needs, too: keys, webhooks and cursors. The active server copies
//! them to the database whenever they have changed; whoever takes over writes them to its own folder first.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use onsale_rows::{Error, Site};

use crate::cursors;
use crate::keys::KEYS_FILE;
use crate::shards::{Fence, lost};
use crate::webhooks::FILE as WEBHOOKS_FILE;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A larger one is not copied: none of these is.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Files that are copied at most.
const FILES_MAX: usize = 100_000;

/// When a file was changed, and its length.
type Stamp = (SystemTime, u64);

/// Copies what changes, on a thread of its own.
pub struct Mirror {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Mirror {
    /// Copies what is there now, and then what changes.
    ///
    /// # Errors
    /// There is no thread left.
    pub fn start(site: Site, data: PathBuf, fence: Fence) -> anyhow::Result<Mirror> {
        let (end, ended) = channel();
        let builder = std::thread::Builder::new().name("mirror".to_owned());
        let thread = builder.spawn(move || {
            let mut copier = Copier { site, data, known: BTreeMap::new() };
            loop {
                let is_last = ended.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout);
                match copier.copy() {
                    Err(error @ Error::Fenced { .. }) => return lost(&fence, &error),
                    Err(error) => {
                        tracing::warn!(%error, "keys, webhooks and cursors are not copied");
                    }
                    Ok(()) => {}
                }
                if is_last {
                    break;
                }
            }
            // So a standby need not wait until it has run out.
            if let Err(error) = copier.site.give_up() {
                tracing::warn!(%error, "the lease runs on");
            }
        })?;
        Ok(Mirror { end, thread })
    }

    /// Copies what changed last, and ends this server's lease. To be called once nothing is appended any more.
    pub fn end(self) {
        drop(self.end);
        // A panic was told.
        let _ = self.thread.join();
    }
}

struct Copier {
    site: Site,
    data: PathBuf,
    known: BTreeMap<String, Stamp>,
}

impl Copier {
    fn copy(&mut self) -> Result<(), Error> {
        let now = stamps(&self.data);
        let mut changes = Vec::new();
        for (name, stamp) in &now {
            if self.known.get(name) != Some(stamp)
                && let Ok(bytes) = fs::read(self.data.join(name))
            {
                changes.push((name.clone(), Some(bytes)));
            }
        }
        let gone = self.known.keys().filter(|name| !now.contains_key(*name));
        changes.extend(gone.map(|name| (name.clone(), None)));
        if !changes.is_empty() {
            self.site.keep_files(&changes)?;
        }
        self.known = now;
        Ok(())
    }
}

/// The files that are copied, by their path in the data folder.
fn stamps(data: &Path) -> BTreeMap<String, Stamp> {
    let mut found = BTreeMap::new();
    for name in [KEYS_FILE, WEBHOOKS_FILE] {
        note(data, PathBuf::from(name), &mut found);
    }
    walk(data, Path::new(cursors::FOLDER), &mut found);
    found
}

fn walk(data: &Path, folder: &Path, found: &mut BTreeMap<String, Stamp>) {
    for entry in fs::read_dir(data.join(folder)).into_iter().flatten().flatten() {
        let path = folder.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(data, &path, found),
            Ok(kind) if kind.is_file() && found.len() < FILES_MAX => note(data, path, found),
            _ => {}
        }
    }
}

fn note(data: &Path, path: PathBuf, found: &mut BTreeMap<String, Stamp>) {
    let Ok(about) = fs::metadata(data.join(&path)) else { return };
    if let (Ok(name), Ok(changed)) = (path.into_os_string().into_string(), about.modified())
        && about.len() <= FILE_BYTES_MAX
    {
        found.insert(name, (changed, about.len()));
    }
}

/// Takes what the last active server has copied; what is not among it is not taken away.
///
/// # Errors
/// The database or the disk failed, or a name leads out of the folder.
pub fn take(site: &mut Site, data: &Path) -> anyhow::Result<()> {
    for (name, bytes) in site.files()? {
        let path = Path::new(&name);
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        anyhow::ensure!(is_plain, "onsale.files holds {name:?}, which is no file of a data folder");
        let path = data.join(path);
        if fs::read(&path).is_ok_and(|here| here == bytes) {
            continue;
        }
        write(&path, &bytes).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Puts a file in its place so that a crash leaves the old one or the new one. Only its owner can read it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(bytes)?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}
