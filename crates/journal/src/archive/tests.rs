//! Segments that are copied, used again, let go and checked, on real files.

use std::path::Path;

use super::*;
use crate::{Durability, FileStorage, Opened, Options, Reader, Stores, Writer, open};

const OPTIONS: Options = Options {
    segment_bytes: 32 << 10,
    log: 7,
    shard: 1,
    generation: 1,
    durability: Durability::Synced,
};

/// A folder with one for the log and one for the archive in it.
struct Folders(tempfile::TempDir);

impl Folders {
    fn new() -> Folders {
        Folders(tempfile::tempdir().unwrap())
    }

    fn live(&self) -> std::path::PathBuf {
        self.0.path().join("live")
    }

    fn archive(&self) -> std::path::PathBuf {
        self.0.path().join("archive")
    }

    fn start(&self, from: u64) -> Result<Opened, Error> {
        let stores = Stores {
            live: Arc::new(FileStorage::open(self.live())?),
            archive: Some(Arc::new(FileStorage::open(self.archive())?)),
        };
        let mut next = from + 1;
        open(stores, OPTIONS, from, &mut |position, bytes, _| {
            assert_eq!((position, bytes), (next, &record(position)[..]));
            next += 1;
            Ok(())
        })
    }
}

fn segments(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "LOCK");
    names.sort();
    names
}

/// What the record at a position holds.
fn record(position: u64) -> Vec<u8> {
    let length = 8 + (position * 7919 % 3000) as usize;
    position.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// Writes batches of one record up to this position.
fn write(writer: &mut Writer, upto: u64) {
    while writer.last_position() < upto {
        let next = writer.last_position() + 1;
        writer.append(&mut |buffer| buffer.extend_from_slice(&record(next)));
        let job = writer.seal().unwrap();
        writer.finish(job.run()).unwrap();
        if let Some(job) = writer.prepare() {
            writer.prepared(job.run()).unwrap();
        }
    }
}

fn archive_all(writer: &Writer) -> Vec<Sealed> {
    let next = || writer.archive().and_then(|job| job.run().unwrap());
    std::iter::from_fn(next).collect()
}

fn check_reader(reader: &Reader, begins_at: u64) {
    assert_eq!(reader.begins_at().unwrap(), begins_at);
    for position in begins_at..=reader.durable() {
        assert_eq!(reader.record(position).unwrap(), record(position));
    }
    for position in 1..begins_at {
        match reader.record(position) {
            Err(Error::Gone { begins_at: found }) => assert_eq!(found, begins_at),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_sealed_is_archived_used_again_and_still_read() {
    let folders = Folders::new();
    let Opened { mut writer, reader, clean, .. } = folders.start(0).unwrap();
    assert!(clean && writer.archive().is_none());
    write(&mut writer, 30);
    // Nothing is archived or used again unless it is asked for.
    let sealed = writer.sealed().unwrap();
    assert!(sealed.len() >= 3 && segments(&folders.archive()).is_empty());
    for pair in sealed.windows(2) {
        assert_eq!((pair[0].sequence + 1, pair[0].last + 1), (pair[1].sequence, pair[1].first));
    }
    assert!(sealed.iter().all(|s| !s.archived && s.bytes == OPTIONS.segment_bytes));
    writer.release_below(sealed[1].last);
    write(&mut writer, 50);
    assert_eq!(segments(&folders.live())[0], "0000000001.seg", "it is not archived");
    let archived = archive_all(&writer);
    assert!(archived.len() > 4 && archived[..sealed.len()].iter().all(|s| s.archived));
    assert_eq!(segments(&folders.archive()).len(), archived.len());
    write(&mut writer, 80);
    // Two were released, the second one by its very last position.
    assert_eq!(segments(&folders.live())[0], "0000000003.seg");
    writer.release_below(u64::MAX);
    write(&mut writer, 120);
    let left = writer.sealed().unwrap();
    assert_eq!(segments(&folders.live())[0], segment_name(left[0].sequence));
    assert!(!left[0].archived && left[0].sequence == archived.last().unwrap().sequence + 1);
    check_reader(&reader, 1);
    // Whoever began to read before a file was used again reads on from the archive.
    drop(reader);
    writer.close().unwrap();
    assert!(folders.start(120).unwrap().clean);
    let opened = folders.start(0).unwrap();
    assert!(!opened.clean);
    check_reader(&opened.reader, 1);
}

#[test]
fn a_file_that_is_used_again_says_so() {
    let folders = Folders::new();
    let Opened { mut writer, reader, .. } = folders.start(0).unwrap();
    writer.release_below(u64::MAX);
    for upto in [40, 80, 120, 160] {
        write(&mut writer, upto);
        archive_all(&writer);
    }
    let (last, _) = reader.locate(160).unwrap();
    let bytes = std::fs::read(folders.live().join(last)).unwrap();
    let crate::format::Decoded::Header(header) = crate::format::Header::decode(&bytes) else {
        panic!("no header");
    };
    assert!(header.reuse >= 2, "{header:?}");
}

#[test]
fn what_is_trimmed_is_gone_and_a_start_from_there_is_refused() {
    let folders = Folders::new();
    let Opened { mut writer, reader, .. } = folders.start(0).unwrap();
    writer.release_below(60);
    write(&mut writer, 100);
    archive_all(&writer);
    write(&mut writer, 160);
    let lowest = writer.sealed().unwrap()[0];
    assert!(lowest.first > 40 && lowest.first <= 61);
    // Only what is wholly below the position, and in the archive only.
    assert_eq!(writer.trim_archive(1).run().unwrap(), 0);
    check_reader(&reader, 1);
    assert!(writer.trim_archive(20).run().unwrap() > 0);
    let begins_at = reader.begins_at().unwrap();
    assert!((2..=20).contains(&begins_at), "{begins_at}");
    check_reader(&reader, begins_at);
    writer.trim_archive(u64::MAX).run().unwrap();
    check_reader(&reader, lowest.first);
    drop((writer, reader));
    match folders.start(lowest.first - 2) {
        Err(Error::Gone { begins_at }) => assert_eq!(begins_at, lowest.first),
        other => panic!("{:?}", other.map(|o| o.last_position)),
    }
    let opened = folders.start(lowest.first - 1).unwrap();
    check_reader(&opened.reader, lowest.first);
    assert!(matches!(folders.start(161), Err(Error::Locked { .. })));
    drop(opened);
    assert!(matches!(folders.start(161), Err(Error::NotThere { durable: 160, .. })));
}

#[test]
fn a_scrub_names_file_and_offset_and_a_damaged_copy_is_not_relied_on() {
    let folders = Folders::new();
    let Opened { mut writer, reader, .. } = folders.start(0).unwrap();
    write(&mut writer, 60);
    archive_all(&writer);
    let sealed = writer.sealed().unwrap();
    let (name, offset) = reader.locate(sealed[1].first + 1).unwrap();
    assert_eq!(name, "0000000002.seg");
    assert!(writer.scrub(2).run().found.is_empty());
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[offset as usize + 140] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    for (path, shown) in [
        (folders.live().join(&name), "0000000002.seg"),
        (folders.archive().join(&name), "archive/0000000002.seg"),
    ] {
        flip(&path);
        let scrubbed = writer.scrub(2).run();
        match &scrubbed.found[..] {
            [Error::Damaged { file, offset: found, position, .. }] => {
                assert_eq!((&file[..], *found), (shown, offset));
                assert_eq!(*position, sealed[1].first + 1);
            }
            other => panic!("{other:?}"),
        }
        // The other copy is read instead.
        check_reader(&reader, 1);
        flip(&path);
    }
    // The first segment is used again, but not the one whose copy is damaged now.
    flip(&folders.archive().join(&name));
    writer.release_below(u64::MAX);
    write(&mut writer, 120);
    assert_eq!(segments(&folders.live())[0], name);
    check_reader(&reader, 1);
    assert_eq!(archive_all(&writer)[0].sequence, 2, "it is archived once more");
    assert!(writer.scrub(2).run().found.is_empty());
    write(&mut writer, 180);
    assert_ne!(segments(&folders.live())[0], name);
    check_reader(&reader, 1);
}

#[test]
fn a_damaged_segment_is_not_archived_and_a_start_reads_the_good_copy() {
    let folders = Folders::new();
    let Opened { mut writer, reader, .. } = folders.start(0).unwrap();
    write(&mut writer, 60);
    let sealed = writer.sealed().unwrap();
    let (name, offset) = reader.locate(sealed[1].first).unwrap();
    let path = folders.live().join(&name);
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[offset as usize + 130] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    writer.archive().unwrap().run().unwrap();
    for _ in 0..2 {
        match writer.archive().unwrap().run() {
            Err(Error::Damaged { file, offset: found, .. }) => {
                assert_eq!((file, found), (name.clone(), offset));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(segments(&folders.archive()), ["0000000001.seg"]);
    std::fs::write(&path, &good).unwrap();
    archive_all(&writer);
    std::fs::write(&path, &bad).unwrap();
    drop((writer, reader));
    let opened = folders.start(0).unwrap();
    assert_eq!(opened.notes, ["0000000002.seg is damaged: read from the archive"]);
    check_reader(&opened.reader, 1);
}
