//! What fuzzers found, and what they began with, once more: each file of the corpus.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use corpus::replay;

#[test]
fn what_reads_from_outside_keeps_its_promises() {
    assert!(replay("body", onsale::fuzz::body) > 5);
    assert!(replay("batch_body", onsale::fuzz::batch_body) > 5);
    assert!(replay("catalogue", onsale::fuzz::catalogue) > 2);
    assert!(replay("pretix", onsale::fuzz::pretix) > 1);
}
