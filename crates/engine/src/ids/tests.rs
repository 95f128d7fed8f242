//! Ids in files, filter and memory, against a map.

use std::collections::BTreeMap;

use super::*;
use onsale_journal::FileStorage;

fn open(folder: &tempfile::TempDir) -> Arc<dyn Storage> {
    Arc::new(FileStorage::open(folder.path()).unwrap())
}

const SECOND: i64 = 1_000_000;

fn key(n: u64) -> u64 {
    short_key(CodeKey([7; 16]), u128::from(n) << 64 | 5)
}

fn extent(sequence: u64, first: u64, last: u64) -> Extent {
    Extent { log: 1, shard: 2, sequence, first, last, last_at: sequence as i64 * SECOND }
}

/// Segments of so many ids each, the keys counted through.
fn window(storage: &Arc<dyn Storage>, segments: u64, ids: u64) -> Window {
    let mut window = Window::default();
    for segment in 0..segments {
        let range = segment * ids + 1..=(segment + 1) * ids;
        let mut entries: Vec<Entry> = range.clone().map(|n| (key(n), n)).collect();
        let extent = extent(segment + 1, *range.start(), *range.end());
        window.add(write(storage, &extent, &mut entries).unwrap());
    }
    window
}

#[test]
fn every_id_is_found_in_its_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    for ids in [0, 1, 271, 272, 273, 5_000, 70_000u64] {
        let mut entries: Vec<Entry> = (1..=ids).map(|n| (key(n), 10 + n)).collect();
        write(&storage, &extent(3, 11, 10 + ids), &mut entries).unwrap();
        let file = IdsFile::open(&storage, 3).unwrap();
        assert_eq!(*file.extent(), extent(3, 11, 10 + ids));
        for n in 1..=ids {
            assert_eq!(file.find(key(n)).unwrap(), Some(10 + n), "{n} of {ids}");
            assert_eq!(file.find(key(n + 1_000_000)).unwrap(), None);
        }
        let mut keys = Vec::new();
        file.each_key(&mut |key| keys.push(key)).unwrap();
        assert_eq!(keys, entries.iter().map(|entry| entry.0).collect::<Vec<_>>());
    }
}

/// All in one home: it goes on in the next blocks, past the last home, too.
#[test]
fn ids_that_fall_together_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    for base in [0, u64::MAX - 2_000] {
        let mut entries: Vec<Entry> = (0..2_000).map(|n| (base + n, n + 1)).collect();
        let file = write(&storage, &extent(1, 1, 2_000), &mut entries).unwrap();
        for n in 0..2_000 {
            assert_eq!(file.find(base + n).unwrap(), Some(n + 1), "{n} from {base}");
        }
        assert_eq!(file.find(base ^ 1 << 40).unwrap(), None);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    let mut entries: Vec<Entry> = (1..=600).map(|n| (key(n), n)).collect();
    write(&storage, &extent(1, 1, 600), &mut entries).unwrap();
    let path = folder.path().join(name(1));
    let whole = std::fs::read(&path).unwrap();
    for byte in (0..whole.len()).step_by(37).chain(0..80) {
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        std::fs::write(&path, bytes).unwrap();
        let read = IdsFile::open(&storage, 1).and_then(|file| file.each_key(&mut |_| ()));
        // What lies between the header and the first block of entries says nothing.
        assert_eq!(read.is_err(), !(80..4_096).contains(&byte), "byte {byte}");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(IdsFile::open(&storage, 1).is_err());
}

#[test]
fn a_window_finds_all_whether_they_are_in_the_filter_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    let mut window = window(&storage, 40, 500);
    // One fits the smallest filter, two do not.
    window.fill(501).unwrap();
    let filter = Arc::as_ptr(&window.filter);
    loop {
        for n in (1..=20_000).step_by(7) {
            assert_eq!(window.find(key(n)).unwrap(), Some(n));
            assert_eq!(window.find(key(n + 20_000)).unwrap(), None);
        }
        if window.fill(3_000).unwrap() {
            break;
        }
    }
    let (bytes, ids) = (window.filter.bytes(), window.size().1);
    assert_eq!(ids, 20_000);
    assert!(bytes <= 6 * ids, "{bytes} bytes for {ids} ids");
    assert_eq!(Arc::as_ptr(&window.filter), filter, "it was made again though all was known");
}

#[test]
fn a_window_forgets_what_is_older_than_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    let mut window = window(&storage, 4, 100);
    window.fill(usize::MAX).unwrap();
    let day = COMMANDS_REMEMBERED_US;
    assert_eq!(window.drop_old(Time(day + 2 * SECOND)), Vec::<u64>::new());
    assert_eq!(window.drop_old(Time(day + 2 * SECOND + 1)), vec![1]);
    assert_eq!(window.find(key(1)).unwrap(), None);
    assert_eq!(window.find(key(101)).unwrap(), Some(101));
    // A larger filter has no room for what is gone.
    window.grow().unwrap();
    assert_eq!(window.filtered, 300);
}

#[test]
fn the_youngest_of_two_commands_with_one_id_counts() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    let mut window = Window::default();
    for sequence in [1, 2] {
        let mut entries = vec![(key(1), sequence * 10)];
        let extent = extent(sequence, sequence * 10, sequence * 10);
        window.add(write(&storage, &extent, &mut entries).unwrap());
        window.fill(usize::MAX).unwrap();
    }
    let mut ids = Ids::default();
    ids.take(Arc::new(window));
    assert_eq!(ids.find(key(1)).unwrap(), Some(20));
    ids.push(key(1), 30, Time(0));
    assert_eq!(ids.find(key(1)).unwrap(), Some(30));
}

#[test]
fn ids_in_memory_are_let_go_once_they_are_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let storage = open(&folder);
    let mut ids = Ids::default();
    let count = RUN_IDS as u64 * 2 + 1;
    let mut model = BTreeMap::new();
    for n in 1..=count {
        ids.push(key(n), n, Time(n as i64));
        model.insert(key(n), n);
    }
    assert_eq!(ids.runs.len(), 3);
    let mut window = Window::default();
    let last = RUN_IDS as u64 + 5;
    let mut entries: Vec<Entry> = (1..=last).map(|n| (key(n), n)).collect();
    window.add(write(&storage, &extent(1, 1, last), &mut entries).unwrap());
    window.fill(usize::MAX).unwrap();
    ids.take(Arc::new(window));
    assert_eq!(ids.runs.len(), 2, "one of them is in the file whole");
    for (key, position) in model {
        assert_eq!(ids.find(key).unwrap(), Some(position));
    }
    assert_eq!(ids.since(), Time(0));
    for n in count..count + (RUNS_MAX * RUN_IDS) as u64 {
        ids.push(key(n + 1), n, Time(n as i64));
    }
    assert!(ids.since() > Time(0), "ids were forgotten, and nobody says so");
}
