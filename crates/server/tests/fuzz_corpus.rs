//! What fuzzers found, and what they began with, once more: each file of the corpus.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;

/// Calls a function with each file of a target's corpus; says how many there were.
fn replay(target: &str, read: fn(&[u8])) -> usize {
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

#[test]
fn what_reads_from_outside_keeps_its_promises() {
    assert!(replay("body", onsale::fuzz::body) > 5);
    assert!(replay("batch_body", onsale::fuzz::batch_body) > 5);
    assert!(replay("catalogue", onsale::fuzz::catalogue) > 2);
    assert!(replay("pretix", onsale::fuzz::pretix) > 1);
}
