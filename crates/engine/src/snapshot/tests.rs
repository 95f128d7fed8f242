//! The file of a snapshot.

use super::*;
use onsale_journal::FileStorage;

const HEADER: Header =
    Header { log: 1 << 100, shard: 3, position: 77, at: -5, generation: 2, hash: u128::MAX - 9 };

fn parts() -> Vec<Vec<u8>> {
    let part = |n: usize| (0..n).map(|at| (at * 7 + n) as u8).collect();
    [0, 1, 3_000_000, 8, 1 << 20].map(part).to_vec()
}

fn written(storage: &dyn Storage) {
    write(storage, &HEADER, &[4, 5, 9], |each| parts().iter().for_each(|part| each(part))).unwrap();
    publish(storage, HEADER.position).unwrap();
}

fn read(storage: &dyn Storage) -> io::Result<(Vec<u64>, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    let snapshot = Snapshot::open(storage, &name(77))?;
    assert_eq!(*snapshot.header(), HEADER);
    let ids = snapshot.read(&mut |part| {
        found.push(part.to_vec());
        Ok(())
    })?;
    Ok((ids, found))
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path()).unwrap();
    written(&storage);
    assert_eq!(list(&storage).unwrap(), vec![77]);
    let (ids, found) = read(&storage).unwrap();
    assert_eq!(ids, vec![4, 5, 9]);
    assert!(found == parts(), "the parts differ");
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path()).unwrap();
    write(&storage, &HEADER, &[4], |each| each(b"state")).unwrap();
    publish(&storage, HEADER.position).unwrap();
    let path = folder.path().join(name(77));
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&storage).is_err(), "byte {byte}");
        std::fs::write(&path, &whole[..byte]).unwrap();
        assert!(read(&storage).is_err(), "cut at {byte}");
    }
    std::fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(read(&storage).is_err(), "a byte too many");
}

#[test]
fn names_of_snapshots_are_told_from_others() {
    assert_eq!(parse_name(&name(0)), Some(0));
    assert_eq!(parse_name(&name(u64::MAX)), Some(u64::MAX));
    for other in ["snapshot-7.snap", TEMPORARY_NAME, "0000000001.seg", "snapshot-.snap"] {
        assert_eq!(parse_name(other), None, "{other}");
    }
}
