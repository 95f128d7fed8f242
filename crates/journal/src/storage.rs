//! The little that the journal asks of a file system, so that a test can put a
//! faulty disk beneath it.

use std::io;
use std::sync::Arc;

/// A flat folder of files.
pub trait Storage: Send + Sync {
    /// Names of the files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Makes a file that must not exist yet. It is there for good only after [`Storage::sync`].
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Takes a file away. It is gone for good only after [`Storage::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
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
    /// Makes what was written durable (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;
    /// Makes content and length durable (`fsync`).
    fn sync_all(&self) -> io::Result<()>;
}
