//! Folders that are not as they should be: foreign, newer, incomplete, forged.

use std::path::Path;

use super::*;
use crate::FileStorage;
use crate::format::RECORD_OVERHEAD_BYTES;

const OPTIONS: Options = Options {
    segment_bytes: 16 << 10,
    log: 7,
    shard: 1,
    generation: 2,
    durability: Durability::Synced,
};

fn start(folder: &Path, options: Options) -> Result<Opened, Error> {
    let storage = FileStorage::open(folder)?;
    open(Arc::new(storage), options, 0, &mut |_, _, _| Ok(()))
}

fn look(folder: &Path) -> Result<ReadOnly, Error> {
    open_read_only(Arc::new(FileStorage::open_read_only(folder)?))
}

/// Writes one batch with these records.
fn write(writer: &mut Writer, records: &[&[u8]]) {
    for record in records {
        assert!(writer.fits(record.len() + RECORD_OVERHEAD_BYTES));
        writer.append(&mut |buffer| buffer.extend_from_slice(record));
    }
    let job = writer.seal().expect("records are open");
    writer.finish(job.run()).unwrap();
}

/// A folder with a log of these batches of one record, in as many lives.
fn log(batches: &[&[u8]]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for record in batches {
        let mut opened = start(folder.path(), OPTIONS).unwrap();
        write(&mut opened.writer, &[record]);
    }
    folder
}

/// Changes a header in a file and makes its CRC right again.
fn forge(folder: &Path, name: &str, offset: usize, change: impl FnOnce(&mut Header)) {
    let path = folder.join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let block = &mut bytes[offset..];
    let crate::format::Decoded::Header(mut header) = Header::decode(block) else {
        panic!("no header in {name} at {offset}");
    };
    change(&mut header);
    header.encode(block);
    std::fs::write(path, bytes).unwrap();
}

fn text<T>(result: Result<T, Error>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_look_finds_whose_log_it_is() {
    let folder = log(&[b"one", b"two"]);
    let found = look(folder.path()).unwrap();
    assert_eq!((found.log, found.shard, found.generation), (7, 1, 2));
    assert_eq!((found.last_position, found.proven), (2, 1));
    assert_eq!(found.reader.record(2).unwrap(), b"two");
    assert_eq!(found.reader.locate(2).unwrap(), ("0000000002.seg".to_owned(), 8192));
    assert_eq!(found.reader.locate(3), None);
    assert!(matches!(found.reader.record(0), Err(Error::NotThere { durable: 2, .. })));
    assert!(matches!(look(tempfile::tempdir().unwrap().path()), Err(Error::Empty)));
}

#[test]
fn another_log_or_shard_is_an_error_that_says_which() {
    let folder = log(&[b"one"]);
    let other_log = text(start(folder.path(), Options { log: 0x5e, ..OPTIONS }));
    assert_eq!(
        other_log,
        "0000000001.seg holds, at offset 0, shard 1 of log 00000000000000000000000000000007, but \
         this is shard 1 of log 0000000000000000000000000000005e"
    );
    let other_shard = start(folder.path(), Options { shard: 0, ..OPTIONS });
    assert!(matches!(other_shard, Err(Error::Foreign { .. })));
    // One segment of another shard among ours.
    let other = log(&[b"one", b"two"]);
    forge(other.path(), "0000000002.seg", 0, |header| header.shard = 9);
    assert!(matches!(start(other.path(), OPTIONS), Err(Error::Foreign { offset: 0, .. })));
    assert!(matches!(look(other.path()), Err(Error::Foreign { offset: 0, .. })));
}

#[test]
fn the_generation_never_falls() {
    let folder = log(&[b"one"]);
    start(folder.path(), Options { generation: 3, ..OPTIONS }).unwrap();
    start(folder.path(), Options { generation: 1, ..OPTIONS }).unwrap();
    assert_eq!(look(folder.path()).unwrap().generation, 3);
}

#[test]
fn a_later_version_is_an_error_that_says_so() {
    let folder = log(&[b"one"]);
    let path = folder.path().join("0000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 8] = 2;
    bytes[4096 + 12..4096 + 16].fill(0);
    let crc = crc32c::crc32c(&bytes[4096..4096 + 128]);
    bytes[4096 + 12..4096 + 16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let message = text(start(folder.path(), OPTIONS));
    assert!(
        message.contains("0000000001.seg holds, at offset 4096, a batch of version 2"),
        "{message}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_segment_that_is_missing_is_named() {
    let folder = log(&[b"one", b"two", b"three"]);
    std::fs::remove_file(folder.path().join("0000000002.seg")).unwrap();
    assert_eq!(
        text(start(folder.path(), OPTIONS)),
        "0000000002.seg is missing, though a later segment is there"
    );
}

#[test]
fn spares_without_what_was_written_before_them_are_no_new_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = start(folder.path(), OPTIONS).unwrap();
    while let Some(job) = opened.writer.prepare() {
        opened.writer.prepared(job.run()).unwrap();
    }
    drop(opened);
    // Nothing was written yet: this log is new as long as its first segment is there.
    assert_eq!(start(folder.path(), OPTIONS).unwrap().last_position, 0);
    std::fs::remove_file(folder.path().join("0000000001.seg")).unwrap();
    std::fs::remove_file(folder.path().join("0000000002.seg")).unwrap();
    let missing = "0000000002.seg is missing, though a later segment is there";
    assert_eq!(text(start(folder.path(), OPTIONS)), missing);
    assert_eq!(text(look(folder.path())), missing);
}

#[test]
fn a_batch_that_does_not_follow_is_damage_below_what_is_proven_and_cut_above() {
    let folder = log(&[b"one", b"two"]);
    let mut opened = start(folder.path(), OPTIONS).unwrap();
    write(&mut opened.writer, &[b"three"]);
    drop(opened);
    forge(folder.path(), "0000000003.seg", 8192, |header| header.previous ^= 1);
    assert_eq!(look(folder.path()).unwrap().last_position, 2);
    forge(folder.path(), "0000000003.seg", 0, |header| header.previous ^= 1);
    forge(folder.path(), "0000000002.seg", 8192, |header| header.previous ^= 1);
    let message = text(start(folder.path(), OPTIONS));
    assert!(message.starts_with("0000000003.seg is damaged at offset 0"), "{message}");
    assert!(message.contains("does not follow from the one before it"), "{message}");
}

#[test]
fn terms_never_fall_and_a_segment_has_one() {
    let folder = log(&[b"one", b"two"]);
    forge(folder.path(), "0000000001.seg", 0, |header| header.term = 0);
    let message = text(look(folder.path()));
    assert!(message.contains("offset 4096: a batch of another term"), "{message}");
    let folder = log(&[b"one", b"two"]);
    for offset in [0, 4096, 8192] {
        forge(folder.path(), "0000000002.seg", offset, |header| header.term = 0);
    }
    let message = text(look(folder.path()));
    assert!(message.contains("its term 0 is below the term 1 before it"), "{message}");
}

#[test]
fn remnants_of_an_earlier_use_of_a_file_say_nothing() {
    let folder = log(&[b"one", b"two"]);
    // As if the second segment had been used before, as the ninth, up to position 99.
    let path = folder.path().join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.copy_within(4096..8192, 12_288);
    std::fs::write(&path, bytes).unwrap();
    forge(folder.path(), "0000000002.seg", 12_288, |header| {
        (header.segment, header.offset) = (9, 12_288);
        (header.first, header.durable_upto) = (100, 99);
    });
    let opened = start(folder.path(), OPTIONS).unwrap();
    assert_eq!(opened.last_position, 2);
}

#[test]
fn bytes_without_one_batch_are_no_new_log() {
    let folder = log(&[b"one"]);
    let path = folder.path().join("0000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    (bytes[20], bytes[4096 + 20]) = (1, 1);
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(start(folder.path(), OPTIONS), Err(Error::Damaged { offset: 0, .. })));
}

#[test]
fn segments_may_have_another_length_from_start_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = 0;
    // Large batches end up as the tail of a log whose segments are smaller than they are.
    for segment_bytes in [256 << 10, 16 << 10, 64 << 10, 16 << 10, 256 << 10] {
        let options = Options { segment_bytes, ..OPTIONS };
        let mut opened = start(folder.path(), options).unwrap();
        assert_eq!(opened.last_position, written);
        while let Some(job) = opened.writer.prepare() {
            opened.writer.prepared(job.run()).unwrap();
        }
        for _ in 0..6 {
            let record = vec![written as u8; segment_bytes as usize / 4 - 4096];
            write(&mut opened.writer, &[&record]);
            written += 1;
            while let Some(job) = opened.writer.prepare() {
                opened.writer.prepared(job.run()).unwrap();
            }
        }
    }
    assert_eq!(start(folder.path(), OPTIONS).unwrap().last_position, written);
}

#[test]
fn many_starts_take_little_room() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 1 << 20, ..OPTIONS };
    for _ in 0..20 {
        let mut opened = start(folder.path(), options).unwrap();
        write(&mut opened.writer, &[b"one"]);
    }
    let sizes =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    let total: u64 = sizes.sum();
    assert!(total < 2 << 20, "{total} bytes");
}

#[test]
fn foreign_files_and_what_was_cut_are_noted() {
    let folder = log(&[b"one", b"two"]);
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    std::fs::write(folder.path().join("0000000003.tmp"), "half a spare").unwrap();
    let path = folder.path().join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8192 + 130] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut opened = start(folder.path(), OPTIONS).unwrap();
    assert_eq!(opened.last_position, 1);
    opened.notes.sort();
    assert_eq!(
        opened.notes,
        [
            "0000000002.seg, offset 8192: positions 2 to 2 were never durable: cut",
            "notes.txt is no file of the log: left alone",
        ]
    );
    assert!(folder.path().join("notes.txt").exists());
    assert!(!folder.path().join("0000000003.tmp").exists());
}

#[test]
fn options_that_can_not_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for segment_bytes in [0, 4096, (64 << 10) + 1, (64 << 10) + 512, 1 << 33] {
        let result = start(folder.path(), Options { segment_bytes, ..OPTIONS });
        assert!(matches!(result, Err(Error::Options { .. })), "{segment_bytes}");
    }
}
