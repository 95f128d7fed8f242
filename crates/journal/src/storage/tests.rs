//! The real files: locks, and what a look may do.

use super::*;

#[test]
fn a_folder_has_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    let storage = FileStorage::open(&path).unwrap();
    let again = FileStorage::open(&path).map(|_| ());
    assert!(
        matches!(&again, Err(Error::Locked { path }) if path.ends_with("a/b/LOCK")),
        "{again:?}"
    );
    assert!(matches!(FileStorage::open_read_only(&path), Err(Error::Locked { .. })));
    drop(storage);
    let looks = [(); 2].map(|()| FileStorage::open_read_only(&path).unwrap());
    assert!(matches!(lock_folder(&path), Err(Error::Locked { .. })));
    drop(looks);
    lock_folder(&path).unwrap();
}

#[test]
fn the_folders_above_are_known_down_to_here() {
    let rows: [(&str, &[&str]); 4] = [
        ("data/shard-00", &["data", "."]),
        ("data", &["."]),
        ("/a/b/c", &["/a/b", "/a", "/"]),
        ("../d", &["..", "."]),
    ];
    for (folder, expected) in rows {
        let expected: Vec<&Path> = expected.iter().map(Path::new).collect();
        assert_eq!(parents(Path::new(folder)).collect::<Vec<_>>(), expected, "{folder}");
    }
}

#[test]
fn a_look_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), b"bytes").unwrap();
    let storage = FileStorage::open_read_only(folder.path()).unwrap();
    assert!(storage.create("new").is_err());
    assert!(storage.remove("file").is_err());
    assert!(storage.rename("file", "other").is_err());
    let file = storage.open("file").unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert!(file.truncate(0).is_err());
    assert_eq!(storage.list().unwrap(), ["file"], "not even a lock is left");
    assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"bytes");
}

#[test]
fn files_do_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(folder.path()).unwrap();
    let file = storage.create("a").unwrap();
    assert!(storage.create("a").is_err(), "it is there already");
    file.write_at(b"hello", 3).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    storage.rename("a", "b").unwrap();
    storage.sync().unwrap();
    let file = storage.open("b").unwrap();
    let mut bytes = [0; 5];
    file.read_at(&mut bytes, 3).unwrap();
    assert_eq!(&bytes, b"hello");
    let beyond = file.read_at(&mut bytes, 4).unwrap_err();
    assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
    file.truncate(4).unwrap();
    assert_eq!(file.length().unwrap(), 4);
    storage.remove("b").unwrap();
    assert_eq!(storage.open("b").map(|_| ()).unwrap_err().kind(), io::ErrorKind::NotFound);
}
