//! The place of a data folder that is being made: it comes to its end, or nothing is left of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use onsale_engine::Folder;
use onsale_engine::folder::{FILE, Identity};
use onsale_journal::storage::LOCK_NAME;
use onsale_journal::{FolderLock, lock_folder};

use super::ensure_empty;

/// A folder that was empty and is locked. Dropped before [`Fresh::finish`] it takes away all that is in it, and
/// the folders that were made for it.
pub struct Fresh {
    path: PathBuf,
    /// Folders that were not there before, the outermost first.
    made: Made,
    /// Whether the file of the lock was there before.
    had_lock: bool,
    finished: bool,
    _lock: FolderLock,
}

/// Folders that were made; those that are empty go with this.
struct Made(Vec<PathBuf>);

impl Fresh {
    /// Takes an empty place, or makes it, and says in it that a restore was begun.
    ///
    /// # Errors
    /// Something is in it, another process has it, or it can't be written.
    pub fn begin(path: &Path) -> anyhow::Result<Fresh> {
        let mut made: Vec<PathBuf> = path.ancestors().map(Path::to_owned).collect();
        made.retain(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        made.reverse();
        let made = Made(made);
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        // Twice: nothing is written where something is, and nothing came in before it was locked.
        ensure_empty(path)?;
        let had_lock = path.join(LOCK_NAME).exists();
        let lock = lock_folder(path)?;
        ensure_empty(path)?;
        let path = path.to_owned();
        let fresh = Fresh { path, made, had_lock, finished: false, _lock: lock };
        Folder::begin_restore(&fresh.path)?;
        Ok(fresh)
    }

    /// Makes it a data folder. All its shards are there.
    ///
    /// # Errors
    /// Its own files can't be written.
    pub fn finish(mut self, identity: Identity) -> anyhow::Result<()> {
        Folder::note_begun(&self.path)?;
        Folder::make(&self.path, identity)?;
        self.finished = true;
        Ok(())
    }

    /// Takes away what is in it. What says that it is not whole goes last.
    fn clear(&self) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            match path.is_dir() {
                true => fs::remove_dir_all(path)?,
                false if name == FILE || name == LOCK_NAME => {}
                false => fs::remove_file(path)?,
            }
        }
        match fs::remove_file(self.path.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ if self.had_lock => Ok(()),
            _ => fs::remove_file(self.path.join(LOCK_NAME)),
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.finished {
            self.made.0.clear();
        } else if let Err(error) = self.clear() {
            let path = self.path.display();
            tracing::warn!(%error, "what was begun is left in {path}: nothing starts with it");
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for folder in self.0.iter().rev() {
            // One that somebody put something into stays.
            let _ = fs::remove_dir(folder);
        }
    }
}
