//! What a start reads, and what stays in memory, does not grow with the log.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::storage::Storage;
use crate::{Durability, FileStorage, Options, Reader, Writer, open};

const OPTIONS: Options = Options {
    segment_bytes: 32 << 10,
    log: 7,
    shard: 1,
    generation: 1,
    durability: Durability::Synced,
};

/// A folder that counts what is read.
struct Counting {
    folder: FileStorage,
    bytes: Arc<AtomicU64>,
}

struct CountingFile {
    file: Arc<dyn File>,
    bytes: Arc<AtomicU64>,
}

impl Counting {
    fn open(folder: &Path) -> (Arc<Counting>, Arc<AtomicU64>) {
        let (folder, bytes) = (FileStorage::open(folder).unwrap(), Arc::default());
        (Arc::new(Counting { folder, bytes: Arc::clone(&bytes) }), bytes)
    }

    fn counting(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(CountingFile { file, bytes: Arc::clone(&self.bytes) })
    }
}

impl Storage for Counting {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.folder.list()
    }

    fn open(&self, name: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.counting(self.folder.open(name)?))
    }

    fn create(&self, name: &str) -> std::io::Result<Arc<dyn File>> {
        Ok(self.counting(self.folder.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.folder.remove(name)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.folder.sync()
    }
}

impl File for CountingFile {
    fn length(&self) -> std::io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> std::io::Result<()> {
        self.file.truncate(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> std::io::Result<()> {
        self.file.sync_all()
    }
}

/// Writes batches of one record up to this position.
fn write(writer: &mut Writer, upto: u64) {
    while writer.last_position() < upto {
        let next = writer.last_position() + 1;
        writer.append(&mut |buffer| buffer.extend_from_slice(&next.to_le_bytes()));
        let job = writer.seal().unwrap();
        writer.finish(job.run()).unwrap();
        if let Some(job) = writer.prepare() {
            writer.prepared(job.run()).unwrap();
        }
    }
}

/// Bytes that a start from a position reads, up to the first record that it replays and to its end.
fn read_by_start(folder: &Path, from: u64) -> (u64, Reader) {
    let (storage, bytes) = Counting::open(folder);
    let opened = open(storage, OPTIONS, from, &mut |position, _, earlier| {
        // Any earlier record can be read meanwhile, and no later one.
        let before = position * 7919 % position;
        match earlier.record(before) {
            Ok(record) => assert_eq!(record, before.to_le_bytes()),
            Err(error) => assert_eq!(before, 0, "{error}"),
        }
        assert!(earlier.record(position + 1).is_err());
        Ok(())
    });
    (bytes.load(Ordering::Relaxed), opened.unwrap().reader)
}

#[test]
fn a_start_reads_only_what_it_needs_and_memory_does_not_grow() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, _) = Counting::open(folder.path());
    let mut opened = open(storage, OPTIONS, 0, &mut |_, _, _| Ok(())).unwrap();
    write(&mut opened.writer, 800);
    assert_eq!(opened.reader.shared().recent().runs.len(), RECENT_RUNS_MAX);
    assert_eq!(opened.reader.shared().index().runs.len(), 1);
    drop(opened);
    // The end of the log costs a few segments, spares included; all of it costs all.
    let (tail, _) = read_by_start(folder.path(), 795);
    let (end, reader) = read_by_start(folder.path(), 800);
    assert!(tail < 12 * OPTIONS.segment_bytes && end < 8 * OPTIONS.segment_bytes, "{tail}, {end}");
    assert!(reader.shared().sequences().end > 80);
    for position in (1..=800).chain((1..=800).rev()) {
        assert_eq!(reader.record(position).unwrap(), position.to_le_bytes());
    }
    assert_eq!(reader.shared().recent().runs.len(), RECENT_RUNS_MAX);
    drop(reader);
    let (all, _) = read_by_start(folder.path(), 0);
    assert!(all > 80 * OPTIONS.segment_bytes, "{all}");
}
