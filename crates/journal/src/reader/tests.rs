//! Reads by position, beside a writer at work and over what rots meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Durability, FileStorage, Opened, Options, Writer, open};

fn start(folder: &std::path::Path) -> Opened {
    let storage = Arc::new(FileStorage::open(folder).unwrap());
    let options = Options {
        segment_bytes: 64 << 10,
        log: 1,
        shard: 0,
        generation: 1,
        durability: Durability::Synced,
    };
    open(storage, options, 0, &mut |_, _, _| Ok(())).unwrap()
}

/// What the record at a position holds.
fn record(position: u64) -> Vec<u8> {
    let length = 8 + (position * 7919 % 400) as usize;
    position.to_le_bytes().into_iter().cycle().take(length).collect()
}

/// Writes a batch of so many records.
fn write(writer: &mut Writer, records: u64) {
    for _ in 0..records {
        let next = writer.last_position() + 1;
        writer.append(&mut |buffer| buffer.extend_from_slice(&record(next)));
    }
    let job = writer.seal().unwrap();
    writer.finish(job.run()).unwrap();
    if let Some(job) = writer.prepare() {
        writer.prepared(job.run()).unwrap();
    }
}

fn positions(reader: &Reader, after: u64, limit: usize, bytes_max: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let mut each = |position, bytes: &[u8]| {
        assert_eq!(bytes, record(position));
        found.push(position);
    };
    reader.read(after, limit, bytes_max, &mut each).unwrap();
    found
}

#[test]
fn reads_keep_to_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { mut writer, reader, .. } = start(folder.path());
    for records in [1, 10, 3, 20, 20, 20, 20, 20, 20] {
        write(&mut writer, records);
    }
    let all: Vec<u64> = (1..=134).collect();
    assert_eq!(positions(&reader, 0, usize::MAX, usize::MAX), all);
    assert_eq!(positions(&reader, 5, 12, usize::MAX), all[5..17]);
    assert_eq!(positions(&reader, 5, 0, usize::MAX), []);
    for after in [134, 135, u64::MAX] {
        assert_eq!(positions(&reader, after, 1, 1), []);
    }
    // As many as the bytes allow, but one at least.
    assert_eq!(positions(&reader, 8, 100, 0), [9]);
    let two = record(9).len() + record(10).len();
    assert_eq!(positions(&reader, 8, 100, two), [9, 10]);
    assert_eq!(positions(&reader, 8, 100, two - 1), [9]);
    for position in 1..=134 {
        assert_eq!(reader.record(position).unwrap(), record(position));
    }
    for position in [0, 135, u64::MAX] {
        let error = reader.record(position).unwrap_err();
        assert!(matches!(error, Error::NotThere { durable: 134, .. }), "{error}");
    }
}

#[test]
fn what_is_open_or_being_written_is_not_seen() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { mut writer, reader, .. } = start(folder.path());
    writer.append(&mut |buffer| buffer.extend_from_slice(&record(1)));
    let job = writer.seal().unwrap();
    let done = job.run();
    assert_eq!(positions(&reader, 0, 10, usize::MAX), []);
    assert!(reader.record(1).is_err() && reader.locate(1).is_none());
    writer.finish(done).unwrap();
    assert_eq!(positions(&reader, 0, 10, usize::MAX), [1]);
}

#[test]
fn readers_follow_a_writer_on_other_threads() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { mut writer, reader, .. } = start(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for every in [1, 3] {
            let (reader, done) = (reader.clone(), &done);
            scope.spawn(move || {
                let mut next = 1;
                loop {
                    let was_done = done.load(Ordering::Acquire);
                    for position in positions(&reader, next - 1, 50 * every, usize::MAX) {
                        assert_eq!(position, next);
                        next += 1;
                    }
                    if next % 7 == 0 {
                        assert_eq!(reader.record(next / 2 + 1).unwrap(), record(next / 2 + 1));
                    }
                    if was_done && next > reader.durable() {
                        break;
                    }
                    std::thread::yield_now();
                }
                assert_eq!(next, 1 + (0..150).map(|batch| 1 + batch % 30).sum::<u64>());
            });
        }
        for batch in 0..150 {
            write(&mut writer, 1 + batch % 30);
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn what_rots_while_the_log_is_open_is_found_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { mut writer, reader, .. } = start(folder.path());
    for _ in 0..3 {
        write(&mut writer, 2);
    }
    let (name, offset) = reader.locate(3).unwrap();
    let path = folder.path().join(&name);
    let good = std::fs::read(&path).unwrap();
    for at in [offset + 3, offset + 56, offset + 130] {
        let mut bad = good.clone();
        bad[at as usize] ^= 4;
        std::fs::write(&path, &bad).unwrap();
        match reader.record(4) {
            Err(Error::Damaged { file, offset: found, position: 4, .. }) => {
                assert_eq!((&file, found), (&name, offset));
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(reader.record(2).unwrap(), record(2));
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(positions(&reader, 0, 10, usize::MAX), [1, 2, 3, 4, 5, 6]);
}
