//! What fuzzers found, and what they began with, once more: each file of the corpus.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use corpus::replay;

#[test]
fn what_reads_the_disk_keeps_its_promises() {
    assert!(replay("codec", onsale_sim::fuzz::codec) > 10);
    assert!(replay("journal", onsale_sim::fuzz::journal) > 5);
}
