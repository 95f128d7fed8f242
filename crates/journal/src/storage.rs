//! The little that the journal asks of a file system, so that a test can put a
//! faulty disk beneath it, and the real one.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::Error;
use crate::format::segment_name;

/// Name of the file whose lock says that a folder is in use.
pub const LOCK_NAME: &str = "LOCK";

/// A flat folder of files.
pub trait Storage: Send + Sync {
    /// Names of the files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Makes a file that must not exist yet. It is there for good only after [`Storage::sync`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name, in one step, in place of a file that had it. It has
    /// it for good only after [`Storage::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a file away. It is gone for good only after [`Storage::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, new names and removals durable.
    fn sync(&self) -> io::Result<()>;
}

/// One file.
pub trait File: Send + Sync {
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills the buffer from this offset; `UnexpectedEof` where the file is shorter.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes at this offset, growing the file where it must.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file to this length.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes what was written durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes content and length durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
}

/// Where a log is kept.
#[derive(Clone)]
pub struct Stores {
    /// The folder that is written to.
    pub live: Arc<dyn Storage>,
    /// The folder for copies of segments that are full, if there is one.
    pub archive: Option<Arc<dyn Storage>>,
}

impl<S: Storage + 'static> From<Arc<S>> for Stores {
    fn from(live: Arc<S>) -> Stores {
        Stores { live, archive: None }
    }
}

impl From<Arc<dyn Storage>> for Stores {
    fn from(live: Arc<dyn Storage>) -> Stores {
        Stores { live, archive: None }
    }
}

impl Stores {
    /// One of the folders.
    ///
    /// # Panics
    /// If it is the archive, and there is none.
    pub(crate) fn of(&self, kind: Kind) -> &Arc<dyn Storage> {
        match kind {
            Kind::Live => &self.live,
            Kind::Archived => self.archive.as_ref().expect("nothing is archived without one"),
        }
    }
}

/// Which copy of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Live,
    Archived,
}

impl Kind {
    /// A segment's file, as messages have it.
    pub(crate) fn shown(self, sequence: u64) -> String {
        match self {
            Kind::Live => segment_name(sequence),
            Kind::Archived => format!("archive/{}", segment_name(sequence)),
        }
    }
}

/// A folder of real files, locked as long as this lives.
pub struct FileStorage {
    folder: PathBuf,
    writable: bool,
    _lock: Option<FolderLock>,
}

impl FileStorage {
    /// Opens a folder, made where it doesn't exist, for one process alone.
    ///
    /// # Errors
    /// `Locked` if another process (or another part of this one) has it; `Io`.
    pub fn open(folder: impl Into<PathBuf>) -> Result<FileStorage, Error> {
        let folder = folder.into();
        make_folder(&folder)?;
        let lock = lock_folder(&folder)?;
        Ok(FileStorage { folder, writable: true, _lock: Some(lock) })
    }

    /// Opens a folder that nobody writes to, and changes nothing in it.
    ///
    /// # Errors
    /// `Locked` if a writer has it; `Io`.
    pub fn open_read_only(folder: impl Into<PathBuf>) -> Result<FileStorage, Error> {
        let folder = folder.into();
        let path = folder.join(LOCK_NAME);
        let lock = match std::fs::File::open(&path) {
            Ok(file) => Some(lock_file(file, &path, FlockOperation::NonBlockingLockShared)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", &path.display().to_string())(error)),
        };
        Ok(FileStorage { folder, writable: false, _lock: lock })
    }

    /// Looks into a folder that a writer may be at work on: takes no lock, changes nothing, and sees
    /// what has been written so far. Made for backups.
    #[must_use]
    pub fn unlocked(folder: impl Into<PathBuf>) -> FileStorage {
        FileStorage { folder: folder.into(), writable: false, _lock: None }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::ReadOnlyFilesystem.into()) }
    }
}

/// Makes a folder and the ones above it, and makes them durable. Those that are there are
/// synced, too: whoever made them may have been killed before that.
fn make_folder(folder: &Path) -> Result<(), Error> {
    let at = folder.display().to_string();
    std::fs::create_dir_all(folder).map_err(Error::io("make", &at))?;
    for parent in parents(folder) {
        // One that may not be read was not made here.
        let Ok(parent) = std::fs::File::open(parent) else { continue };
        match parent.sync_all() {
            // One that nothing can be made in, or that can't be synced, was not made here either.
            Err(error) if !is_beyond_us(&error) => {
                return Err(Error::io("sync the folder of", &at)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The folders that a folder is in, the nearest first.
fn parents(folder: &Path) -> impl Iterator<Item = &Path> {
    let here = |parent: &Path| parent.as_os_str().is_empty();
    folder.ancestors().skip(1).map(move |path| if here(path) { Path::new(".") } else { path })
}

fn is_beyond_us(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, ReadOnlyFilesystem, Unsupported};
    matches!(error.kind(), InvalidInput | ReadOnlyFilesystem | Unsupported)
}

impl Storage for FileStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(self.writable).open(self.folder.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.check_writable()?;
        Ok(Arc::new(RealFile(std::fs::File::create_new(self.folder.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_writable()?;
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_writable()?;
        std::fs::remove_file(self.folder.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.check_writable()?;
        std::fs::File::open(&self.folder)?.sync_all()
    }
}

struct RealFile(std::fs::File);

impl File for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // A short write makes another try for the rest, which then says why; it is on
        // other pages.
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// A folder's lock. It is free again once this is dropped, or the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: std::fs::File,
}

/// Takes the lock of a folder that exists, for one process alone.
///
/// # Errors
/// `Locked` if another process (or another part of this one) has it; `Io`.
pub fn lock_folder(folder: &Path) -> Result<FolderLock, Error> {
    let path = folder.join(LOCK_NAME);
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path.display().to_string()))?;
    lock_file(file, &path, FlockOperation::NonBlockingLockExclusive)
}

fn lock_file(
    file: std::fs::File,
    path: &Path,
    operation: FlockOperation,
) -> Result<FolderLock, Error> {
    match rustix::fs::flock(&file, operation) {
        Ok(()) => Ok(FolderLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::Locked { path: path.display().to_string() })
        }
        Err(errno) => Err(Error::io("lock", &path.display().to_string())(errno.into())),
    }
}

#[cfg(test)]
mod tests;
