//! A state written down and read again is the same state; what is damaged is an error.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

#[path = "support/sales.rs"]
mod sales;

use onsale_codec::snapshot::{self, Decoder};
use onsale_core::{Decision, Sale};

use sales::{History, Random};

fn chunks(sale: &Sale) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    snapshot::encode(sale, &mut |chunk| chunks.push(chunk.to_vec()));
    chunks
}

fn decode(chunks: &[Vec<u8>]) -> Result<Sale, onsale_codec::Error> {
    snapshot::decode(chunks.iter().map(Vec::as_slice))
}

#[test]
fn a_state_comes_back_and_goes_on_exactly_alike() {
    for seed in 1..=4 {
        let mut history = History::new(seed, 20);
        let mut others: Vec<Sale> = Vec::new();
        for step in 0..2_500 {
            if step % 600 == 300 {
                let mut restored = decode(&chunks(&history.sale)).unwrap();
                restored.keep_hot(20);
                restored.check().unwrap();
                assert_eq!(restored.hash(), history.sale.hash(), "seed {seed}, step {step}");
                assert_eq!(restored.counts(), history.sale.counts());
                assert!(history.due() == history.due_of(&mut restored), "seed {seed}, step {step}");
                others.push(restored);
            }
            let command = history.command();
            let decision = history.decide(&command);
            for other in &mut others {
                assert_eq!(
                    history.decide_on(other, &command),
                    decision,
                    "seed {seed}: {command:?}"
                );
                if let Ok(Decision::Change(events)) = &decision {
                    history.apply_to(other, events);
                }
            }
            if let Ok(Decision::Change(events)) = &decision {
                history.apply(events);
            }
        }
        let counts = history.sale.counts();
        assert!(counts.orders > 100 && counts.payments > 20 && counts.holds > 0, "{counts:?}");
        for other in &mut others {
            assert_eq!(other.hash(), history.sale.hash(), "seed {seed}");
            other.check().unwrap();
        }
    }
}

/// Whatever is cut off or flipped: an error, or a state that holds together. No panic.
#[test]
fn damage_is_an_error() {
    let mut history = History::new(9, 5);
    (0..400).for_each(|_| history.step());
    let whole = chunks(&history.sale).concat();
    decode(std::slice::from_ref(&whole)).unwrap();
    for length in 0..whole.len() {
        let cut = whole[..length].to_vec();
        assert!(decode(&[cut]).is_err(), "cut to {length} of {}", whole.len());
    }
    let mut random = Random(5);
    let mut found = 0;
    for _ in 0..4_000 {
        let mut damaged = whole.clone();
        for _ in 0..=random.below(2) {
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.next() as u8;
        }
        match decode(&[damaged]) {
            Err(error) => {
                found += 1;
                assert!(error.to_string().starts_with("snapshot"), "{error}");
            }
            Ok(sale) => sale.check().unwrap(),
        }
    }
    assert!(found > 1_000, "{found} of 4,000 were found");
}

#[test]
fn what_is_not_a_snapshot_says_so() {
    let mut history = History::new(3, 5);
    (0..200).for_each(|_| history.step());
    let right = chunks(&history.sale);
    let error = |chunks: &[Vec<u8>]| decode(chunks).err().unwrap().to_string();
    assert_eq!(error(&[]), "snapshot: the last chunk is missing");
    assert_eq!(error(&[vec![0x12, 0]]), "snapshot.version: is missing");
    assert_eq!(
        error(&[vec![8, 9]]),
        "snapshot.version: 9 is not a version of snapshots that this program reads"
    );
    assert_eq!(
        error(&[vec![8, 1, 0x12, 2, 0x5A, 0]]),
        "snapshot.tables[0]: table 11 is unknown: the snapshot was written by a newer version"
    );
    let twice = [right.clone(), right].concat();
    assert_eq!(error(&twice), "snapshot: a chunk follows the last one");
    assert!(error(&[b"a text of some kind".to_vec()]).starts_with("snapshot"));
}

/// A claim of a billion rows in a few bytes costs nothing but an error.
#[test]
fn sizes_that_are_claimed_are_not_believed() {
    let mut history = History::new(3, 5);
    (0..50).for_each(|_| history.step());
    let chunk = chunks(&history.sale).concat();
    // The sizes stand in fields 12 to 15 of the shard's table: make each huge.
    let mut decoder = Decoder::new();
    decoder.chunk(&sales::with_huge_sizes(&chunk)).unwrap();
    let restored = decoder.finish().unwrap();
    assert_eq!(restored.hash(), history.sale.hash());
    assert!(restored.memory_bytes() < 200 << 20, "{} bytes", restored.memory_bytes());
}

#[test]
fn a_shard_without_its_first_record_is_nothing() {
    let restored = decode(&chunks(&Sale::new())).unwrap();
    assert_eq!((restored.position(), restored.hash()), (0, Sale::new().hash()));
}
