//! Reads each file of a target's corpus once more: what fuzzers found, and what they began with. The
//! tests of two crates take this file in by its path.

use std::path::Path;

/// Calls a function with each file of a target's corpus; says how many there were.
pub fn replay(target: &str, read: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let name = file.display();
        std::panic::catch_unwind(|| read(&bytes)).unwrap_or_else(|_| panic!("with {name}"));
    }
    files.len()
}
