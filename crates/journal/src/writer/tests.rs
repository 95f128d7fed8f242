//! What the writer takes, and what it gives out.

use std::sync::Arc;

use crate::format::{BLOCK_BYTES, HEADER_BYTES, RECORD_OVERHEAD_BYTES, batch_bytes_max};
use crate::{Durability, FileStorage, Opened, Options, Room, open};

const SEGMENT_BYTES: u64 = 64 << 10;

fn start() -> (tempfile::TempDir, Opened) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(FileStorage::open(folder.path()).unwrap());
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        log: 1,
        shard: 0,
        generation: 1,
        durability: Durability::Synced,
    };
    let opened = open(storage, options, 0, &mut |_, _, _| Ok(())).unwrap();
    (folder, opened)
}

#[test]
fn a_batch_takes_so_much_and_no_more() {
    let (_folder, Opened { mut writer, reader, .. }) = start();
    let most = batch_bytes_max(SEGMENT_BYTES) - HEADER_BYTES;
    assert_eq!(batch_bytes_max(SEGMENT_BYTES), 16 << 10);
    assert!(writer.fits(most) && !writer.fits(most + 1) && !writer.fits(usize::MAX));
    let record = vec![7; most - 2 * RECORD_OVERHEAD_BYTES - 1];
    writer.append(&mut |buffer| buffer.extend_from_slice(&record));
    assert!(writer.fits(5) && !writer.fits(6));
    writer.append(&mut |buffer| buffer.push(8));
    assert!(writer.fits(0) && !writer.fits(1));
    let job = writer.seal().unwrap();
    assert_eq!((job.bytes(), job.records()), (16 << 10, 2));
    assert!(writer.is_empty() && writer.fits(most));
    assert_eq!((writer.last_position(), writer.durable(), reader.durable()), (2, 0, 0));
    writer.finish(job.run()).unwrap();
    assert_eq!((writer.durable(), reader.durable()), (2, 2));
    assert_eq!(reader.record(1).unwrap(), record);
}

#[test]
#[should_panic(expected = "`fits` was not asked")]
fn a_record_that_does_not_fit_is_a_fault_of_the_caller() {
    let (_folder, Opened { mut writer, .. }) = start();
    writer.append(&mut |buffer| buffer.resize(SEGMENT_BYTES as usize, 0));
}

#[test]
fn one_batch_is_open_and_one_is_written() {
    let (_folder, Opened { mut writer, .. }) = start();
    assert!(writer.seal().is_none() && writer.mark().is_none());
    writer.append(&mut |_| {});
    assert!(writer.mark().is_none(), "a batch is open");
    let first = writer.seal().unwrap();
    assert!(writer.mark().is_none(), "a batch is being written");
    writer.append(&mut |_| {});
    assert!(writer.seal().is_none(), "one at a time");
    writer.finish(first.run()).unwrap();
    let second = writer.seal().unwrap();
    writer.finish(second.run()).unwrap();
    let mark = writer.mark().unwrap();
    assert_eq!((mark.bytes(), mark.records()), (BLOCK_BYTES, 0));
    assert!(writer.mark().is_none() && writer.seal().is_none());
    writer.append(&mut |_| {});
    assert!(writer.seal().is_none(), "the mark is being written");
    writer.finish(mark.run()).unwrap();
    let third = writer.seal().unwrap();
    writer.finish(third.run()).unwrap();
    assert_eq!(writer.durable(), 3);
}

#[test]
fn two_spares_are_kept_and_used_in_order() {
    let (folder, Opened { mut writer, reader, .. }) = start();
    for _ in 0..2 {
        let job = writer.prepare().unwrap();
        assert!(writer.prepare().is_none());
        writer.prepared(job.run()).unwrap();
    }
    assert!(writer.prepare().is_none());
    // The mark of the start has the first block, so three such batches go into a segment.
    let most = batch_bytes_max(SEGMENT_BYTES) - HEADER_BYTES - RECORD_OVERHEAD_BYTES;
    let mut rooms = Vec::new();
    while writer.room() != Room::None {
        writer.append(&mut |buffer| buffer.resize(buffer.len() + most, 1));
        let job = writer.seal().unwrap();
        writer.finish(job.run()).unwrap();
        rooms.push(reader.locate(writer.durable()).unwrap().0);
    }
    let count = |name: &str| rooms.iter().filter(|room| *room == name).count();
    assert_eq!(["0000000001.seg", "0000000002.seg", "0000000003.seg"].map(count), [3, 4, 4]);
    assert!(!writer.fits(0) && writer.mark().is_none());
    let job = writer.prepare().unwrap();
    writer.prepared(job.run()).unwrap();
    assert_eq!(writer.room(), Room::All);
    assert!(folder.path().join("0000000004.seg").exists());
}

#[test]
fn full_segments_below_a_position_go_where_there_is_no_archive() {
    let (folder, Opened { mut writer, reader, .. }) = start();
    while writer.sealed().unwrap().len() < 3 {
        writer.append(&mut |buffer| buffer.resize(9_000, 1));
        let job = writer.seal().unwrap();
        writer.finish(job.run()).unwrap();
        if let Some(job) = writer.prepare() {
            writer.prepared(job.run()).unwrap();
        }
    }
    let sealed = writer.sealed().unwrap();
    assert_eq!(writer.trim_archive(u64::MAX).run().unwrap(), 0);
    assert_eq!(writer.trim_folder(sealed[1].last).run().unwrap(), 1);
    assert_eq!(reader.begins_at().unwrap(), sealed[1].first);
    assert!(matches!(reader.record(1), Err(crate::Error::Gone { .. })));
    assert_eq!(writer.trim_folder(u64::MAX).run().unwrap(), 2, "not the one in use");
    let (first, last) = (reader.begins_at().unwrap(), writer.last_position());
    assert_eq!(first, sealed[2].last + 1);
    reader.record(first).unwrap();
    writer.close().unwrap();

    let storage = || Arc::new(FileStorage::open(folder.path()).unwrap());
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        log: 1,
        shard: 0,
        generation: 1,
        durability: Durability::Synced,
    };
    let mut replayed = 0;
    drop(reader);
    assert!(open(storage(), options, 0, &mut |_, _, _| Ok(())).is_err());
    let opened = open(storage(), options, first - 1, &mut |_, _, _| {
        replayed += 1;
        Ok(())
    });
    let Opened { reader, .. } = opened.unwrap();
    assert_eq!(replayed, last + 1 - first);
    assert_eq!((reader.begins_at().unwrap(), reader.durable()), (first, last));
}
