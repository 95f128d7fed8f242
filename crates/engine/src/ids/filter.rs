//! Which segments may hold a command's id: a table of small tags in memory, in
//! six bytes per id or fewer, that answers with one look at one cache line.
//!
//! The upkeep adds to it while the shard's thread reads it. It never grows in place: the
//! upkeep makes a larger one from the files of ids, and the shard takes that over.

use std::sync::atomic::{AtomicU32, Ordering};

/// Slots in a bucket: a cache line.
const SLOTS: usize = 16;
/// Full buckets that an entry may be carried past.
const CARRIED_MAX: usize = 16;
/// Buckets of the smallest filter.
const BUCKETS_MIN: usize = 64;

/// A cache line of entries: a tag of 16 bits, then the low 16 bits of a segment's
/// sequence. 0: free.
#[repr(align(64))]
#[derive(Default)]
struct Bucket([AtomicU32; SLOTS]);

const _: () = assert!(size_of::<Bucket>() == 64);

/// The table.
pub struct Filter {
    buckets: Box<[Bucket]>,
}

/// There is no room left: a larger one is needed.
#[derive(Debug)]
pub struct Full;

impl Filter {
    /// One that has room for so many ids, at six bytes each.
    pub fn with_room_for(ids: usize) -> Filter {
        let buckets = (ids * 3 / 2).div_ceil(SLOTS).max(BUCKETS_MIN);
        Filter { buckets: (0..buckets).map(|_| Bucket::default()).collect() }
    }

    /// How many ids it should hold at most: seven slots in eight.
    pub fn room(&self) -> usize {
        self.buckets.len() * SLOTS / 8 * 7
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.buckets.len() * size_of::<Bucket>()
    }

    /// Adds an id of a segment. Only one thread at a time may add.
    ///
    /// # Errors
    /// There is no room near its place.
    pub fn add(&self, key: u64, sequence: u64) -> Result<(), Full> {
        let entry = tag(key) << 16 | u32::from(sequence as u16);
        for at in self.places(key) {
            let free = self.buckets[at].0.iter().find(|slot| slot.load(Ordering::Relaxed) == 0);
            if let Some(slot) = free {
                slot.store(entry, Ordering::Relaxed);
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Hands out the low 16 bits of the sequences of segments that may hold an id.
    pub fn find(&self, key: u64, each: &mut dyn FnMut(u16)) {
        let tag = tag(key);
        for at in self.places(key) {
            // One pass without a branch over the whole line, since nearly always nothing is found.
            let entries = self.buckets[at].0.each_ref().map(|slot| slot.load(Ordering::Relaxed));
            let hits = entries.iter().filter(|entry| **entry >> 16 == tag).count();
            if hits > 0 {
                let found = entries.iter().filter(|entry| **entry >> 16 == tag);
                found.for_each(|entry| each(*entry as u16));
            }
            // A bucket is filled from its front.
            if entries[SLOTS - 1] == 0 {
                return;
            }
        }
    }

    /// The buckets where an id may be: its own, and those after it.
    fn places(&self, key: u64) -> impl Iterator<Item = usize> {
        let buckets = self.buckets.len();
        let first = ((u128::from(key) * buckets as u128) >> 64) as usize;
        let wrap = move |at: usize| if at < buckets { at } else { at - buckets };
        (0..CARRIED_MAX.min(buckets)).map(move |n| wrap(first + n))
    }
}

/// From the low bits of the key: the bucket comes from the high ones. Never 0.
fn tag(key: u64) -> u32 {
    u32::from(key as u16).max(1)
}
