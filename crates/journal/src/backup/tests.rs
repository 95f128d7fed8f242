//! Copies of a log that is being written, copies of copies, and logs written anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Source, append, copy, flush, look, rewrite};
use crate::format::SEGMENT_BYTES_MIN;
use crate::{Durability, Error, FileStorage, Opened, Options, open, open_read_only};

const OPTIONS: Options = Options {
    segment_bytes: 16 * SEGMENT_BYTES_MIN,
    log: 7,
    shard: 1,
    generation: 1,
    durability: Durability::Synced,
};

fn start(folder: &Path) -> Opened {
    let storage = Arc::new(FileStorage::open(folder).unwrap());
    open(storage, OPTIONS, 0, &mut |_, _, _| Ok(())).unwrap()
}

fn record(number: u64) -> Vec<u8> {
    vec![number as u8; 100 + (number * 37 % 900) as usize]
}

/// Appends records up to this position, a few per batch.
fn write(opened: &mut Opened, upto: u64) {
    let writer = &mut opened.writer;
    for number in writer.last_position() + 1..=upto {
        append(writer, &record(number)).unwrap();
        if number % 5 == 0 {
            flush(writer).unwrap();
        }
    }
    flush(writer).unwrap();
}

/// What a copy comes to: its last position, once every record was found right.
fn check(folder: &Path) -> u64 {
    let storage = FileStorage::open_read_only(folder).unwrap();
    let log = open_read_only(Arc::new(storage)).unwrap();
    log.reader
        .read(0, usize::MAX, usize::MAX, &mut |position, bytes| {
            assert_eq!(bytes, record(position), "position {position}");
        })
        .unwrap();
    log.last_position
}

type Known = BTreeMap<u64, (u64, bool)>;

fn save(from: &Path, to: &Path, known: &Known) -> Result<(Known, u64), Error> {
    let target = FileStorage::open(to).unwrap();
    let mut copied = 0;
    let source = Source::new([from.to_owned()]);
    let saved = copy(&source, &target, known, &mut |bytes| copied += bytes)?;
    let entry = |s: &super::Saved| (s.info.sequence, (s.info.bytes, s.sealed));
    Ok((saved.iter().map(entry).collect(), copied))
}

/// Says that it is over when it is dropped, so that a writer ends also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_is_whole_whenever_it_is_made() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = start(folder.path());
    write(&mut opened, 10);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = Over(&over);
        scope.spawn(|| {
            let mut upto = 20;
            while !over.load(Ordering::Relaxed) && upto < 1_000_000 {
                write(&mut opened, upto);
                upto += 10;
            }
        });
        let (mut known, mut last, mut grew) = (Known::new(), 0, 0);
        // On a busy machine the writer may come to nothing between two copies.
        for _ in 0..3_000 {
            if grew > 10 {
                break;
            }
            let durable = Source::new([folder.path().to_owned()]).segments().unwrap().len();
            (known, _) = save(folder.path(), target.path(), &known).unwrap();
            let now = check(target.path());
            assert!(now >= last, "{now} after {last}, {durable} segments");
            grew += u64::from(now > last);
            last = now;
        }
        assert!(grew > 10, "the log hardly grew meanwhile");
    });
}

#[test]
fn a_second_copy_adds_only_what_is_new() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = start(folder.path());
    write(&mut opened, 2_000);
    let (known, first) = save(folder.path(), target.path(), &Known::new()).unwrap();
    assert_eq!(check(target.path()), 2_000);
    let (known, none) = save(folder.path(), target.path(), &known).unwrap();
    assert_eq!(none, 0);
    write(&mut opened, 2_100);
    // What an interrupted copy left behind the bytes that are known is written over.
    let live = known.iter().rev().find(|(_, (_, sealed))| !sealed).unwrap();
    let path = target.path().join(crate::format::segment_name(*live.0));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[9; 5_000]);
    std::fs::write(&path, bytes).unwrap();
    let (_, more) = save(folder.path(), target.path(), &known).unwrap();
    assert!(more > 0 && more < first / 4, "{more} after {first}");
    assert_eq!(check(target.path()), 2_100);
}

#[test]
fn a_log_that_went_on_in_another_run_is_added_to_the_copy() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut known = Known::new();
    for round in 1..=4 {
        let mut opened = start(folder.path());
        write(&mut opened, round * 300);
        (known, _) = save(folder.path(), target.path(), &known).unwrap();
        assert_eq!(check(target.path()), round * 300);
    }
}

#[test]
fn another_log_is_refused() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = tempfile::tempdir().unwrap();
    write(&mut start(one.path()), 500);
    let mut opened = start(other.path());
    append(&mut opened.writer, b"something else").unwrap();
    write(&mut opened, 500);
    let (known, _) = save(one.path(), target.path(), &Known::new()).unwrap();
    let refused = save(other.path(), target.path(), &known);
    assert!(matches!(refused, Err(Error::Backup { .. })), "{refused:?}");
}

#[test]
fn a_log_is_written_anew_up_to_any_position() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut opened = start(folder.path());
    write(&mut opened, 1_000);
    for upto in [1, 2, 499, 1_000] {
        let path = other.path().join(upto.to_string());
        let mut new = start(&path);
        let mut records = 0;
        rewrite(&opened.reader, upto, &mut new.writer, &mut |n| records += n).unwrap();
        drop(new);
        assert_eq!((check(&path), records), (upto, upto));
    }
}

#[test]
fn a_segment_is_described_with_its_damage() {
    let folder = tempfile::tempdir().unwrap();
    write(&mut start(folder.path()), 100);
    let source = Source::new([folder.path().to_owned()]);
    let info = look(&source, 1).unwrap();
    assert_eq!((info.first, info.last, info.of), (Some(1), Some(100), Some((7, 1))));
    assert!(info.damage.is_empty() && info.whole_bytes == info.used_bytes);
    let path = folder.path().join("0000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first block is the mark of the start, the first batch's payload follows.
    bytes[4096 + 200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let info = look(&source, 1).unwrap();
    assert_eq!((info.first, info.damage.as_slice()), (Some(6), [4096].as_slice()));
}

#[test]
fn what_the_archive_has_alone_is_copied_and_what_is_gone_is_kept() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let target = tempfile::tempdir().unwrap();
    write(&mut start(folder.path()), 2_000);
    let away = crate::format::segment_name(1);
    std::fs::copy(folder.path().join(&away), archive.path().join(&away)).unwrap();
    std::fs::remove_file(folder.path().join(&away)).unwrap();
    let storage = FileStorage::open(target.path()).unwrap();
    let both = Source::new([folder.path().to_owned(), archive.path().to_owned()]);
    let saved = copy(&both, &storage, &Known::new(), &mut |_| {}).unwrap();
    drop(storage);
    assert_eq!(check(target.path()), 2_000);
    // Later it is gone from the archive, too.
    let known: Known = saved.iter().map(|s| (s.info.sequence, (s.info.bytes, s.sealed))).collect();
    let (again, copied) = save(folder.path(), target.path(), &known).unwrap();
    assert_eq!((again, copied, check(target.path())), (known, 0, 2_000));
}
