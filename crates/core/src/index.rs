//! From a 128-bit key to the 32-bit slot of the record that has it.
//!
//! Extendible hashing: a directory by the top bits of the key's hash leads to
//! segments of 256 buckets with linear probing. A segment that is 7/8 full splits
//! in two by the next bit, so the index grows a few kilobytes at a time and no
//! insert pays for all. The keys themselves stay in the records; a bucket keeps 16
//! bits of the hash, the low 8 of which are its home bucket: what is removed is
//! closed up without a look at any record, and a look-up touches, but for one in
//! some hundreds, no record but the one that it finds.

const BUCKETS: usize = 256;
const FULL: u16 = (BUCKETS - BUCKETS / 8) as u16;
const EMPTY: u16 = 0;
/// Room for so many keys is made at once, whoever says that more will come.
const RESERVED_MAX: usize = 1 << 22;

/// Tag and slot. The slot is cut in two so that a bucket takes six bytes, and what
/// one look-up reads lies mostly in one cache line.
#[derive(Clone, Copy)]
struct Bucket {
    tag: u16,
    slot_low: u16,
    slot_high: u16,
}

const VACANT: Bucket = Bucket { tag: EMPTY, slot_low: 0, slot_high: 0 };

impl Bucket {
    fn new(tag: u16, slot: u32) -> Self {
        Self { tag, slot_low: slot as u16, slot_high: (slot >> 16) as u16 }
    }

    fn slot(self) -> u32 {
        u32::from(self.slot_low) | u32::from(self.slot_high) << 16
    }
}

struct Segment {
    /// How many top bits of the hash all its keys share.
    depth: u32,
    used: u16,
    buckets: [Bucket; BUCKETS],
}

/// The index.
#[derive(Default)]
pub(crate) struct Index {
    /// By the top `depth` bits of a hash: which segment.
    directory: Vec<u32>,
    depth: u32,
    #[expect(clippy::vec_box, reason = "the list must grow without copying the segments")]
    segments: Vec<Box<Segment>>,
    len: usize,
}

/// Spreads a key over 64 bits. Keys are keyed digests or hold ids that the server
/// made; this is for the latter, whose first half is the time.
fn hash(key: u128) -> u64 {
    let low = key as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let high = (key >> 64) as u64 ^ 0xD1B5_4A32_D192_ED03;
    let product = u128::from(low) * u128::from(high);
    let folded = product as u64 ^ (product >> 64) as u64;
    folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (folded >> 29)
}

/// Home bucket in the low byte; the high byte is never 0, which marks an empty bucket.
fn tag(hash: u64) -> u16 {
    (hash as u16) | if hash as u16 & 0xFF00 == 0 { 0x0100 } else { 0 }
}

fn home(tag: u16) -> usize {
    tag as usize % BUCKETS
}

impl Segment {
    fn new(depth: u32) -> Box<Segment> {
        Box::new(Segment { depth, used: 0, buckets: [VACANT; BUCKETS] })
    }

    fn insert(&mut self, tag: u16, slot: u32) {
        let mut bucket = home(tag);
        while self.buckets[bucket].tag != EMPTY {
            bucket = (bucket + 1) % BUCKETS;
        }
        self.buckets[bucket] = Bucket::new(tag, slot);
        self.used += 1;
    }

    fn find(&self, tag: u16, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mut bucket = home(tag);
        loop {
            match self.buckets[bucket] {
                Bucket { tag: EMPTY, .. } => return None,
                found if found.tag == tag && is(found.slot()) => return Some(bucket),
                _ => bucket = (bucket + 1) % BUCKETS,
            }
        }
    }

    fn candidates(&self, tag: u16) -> impl Iterator<Item = u32> + '_ {
        let buckets = (home(tag)..home(tag) + BUCKETS).map(|n| self.buckets[n % BUCKETS]);
        let filled = buckets.take_while(|bucket| bucket.tag != EMPTY);
        filled.filter(move |bucket| bucket.tag == tag).map(|bucket| bucket.slot())
    }

    /// Empties a bucket and moves up what would no longer be found behind the gap.
    fn remove(&mut self, bucket: usize) {
        let mut gap = bucket;
        let mut next = (gap + 1) % BUCKETS;
        while self.buckets[next].tag != EMPTY {
            let displaced = next.wrapping_sub(home(self.buckets[next].tag)) % BUCKETS;
            let distance = next.wrapping_sub(gap) % BUCKETS;
            if displaced >= distance {
                self.buckets[gap] = self.buckets[next];
                gap = next;
            }
            next = (next + 1) % BUCKETS;
        }
        self.buckets[gap] = VACANT;
        self.used -= 1;
    }

    fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let used = self.buckets.iter().filter(|bucket| bucket.tag != EMPTY);
        used.map(|bucket| bucket.slot())
    }
}

impl Index {
    /// How many keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn segment_of(&self, hash: u64) -> usize {
        // Shifting by 64 is what depth 0 would need; in two steps it is defined.
        self.directory[(hash >> 1 >> (63 - self.depth)) as usize] as usize
    }

    /// Makes room for about so many keys at once, if there is none yet.
    pub(crate) fn reserve(&mut self, keys: usize) {
        // As full on average as it would be had it grown, and never much more than asked.
        let segments = keys.min(RESERVED_MAX).div_ceil(BUCKETS * 5 / 8);
        if !self.directory.is_empty() || segments == 0 {
            return;
        }
        self.depth = segments.next_power_of_two().trailing_zeros();
        // Where a power of two would be far too many, half of it, and some split.
        if segments < (3 << self.depth) / 4 {
            self.depth -= 1;
        }
        self.segments = (0..1 << self.depth).map(|_| Segment::new(self.depth)).collect();
        self.directory = (0..1 << self.depth).collect();
    }

    /// The slot of a key, if it is there.
    pub(crate) fn find(&self, key: u128, key_of: impl Fn(u32) -> u128) -> Option<u32> {
        if self.directory.is_empty() {
            return None;
        }
        let hash = hash(key);
        let segment = &self.segments[self.segment_of(hash)];
        let bucket = segment.find(tag(hash), |slot| key_of(slot) == key)?;
        Some(segment.buckets[bucket].slot())
    }

    /// Whether a key finds its segment full, so that adding it would split that.
    pub(crate) fn is_full_for(&self, key: u128) -> bool {
        let segment = || &self.segments[self.segment_of(hash(key))];
        !self.directory.is_empty() && segment().used >= FULL
    }

    /// Slots of which one may be that of a key: those with the same bits of its hash.
    pub(crate) fn candidates(&self, key: u128) -> impl Iterator<Item = u32> + '_ {
        let hash = hash(key);
        let segment = (!self.directory.is_empty()).then(|| &self.segments[self.segment_of(hash)]);
        segment.into_iter().flat_map(move |segment| segment.candidates(tag(hash)))
    }

    /// Adds a key that is not there (or, where slots are found by
    /// [`Index::candidates`] alone, one that a few others may have, too).
    pub(crate) fn insert(&mut self, key: u128, slot: u32, key_of: impl Fn(u32) -> u128) {
        if self.directory.is_empty() {
            self.segments.push(Segment::new(0));
            self.directory.push(0);
        }
        let hash = hash(key);
        while self.segments[self.segment_of(hash)].used >= FULL {
            self.split(self.segment_of(hash), hash, &key_of);
        }
        let segment = self.segment_of(hash);
        self.segments[segment].insert(tag(hash), slot);
        self.len += 1;
    }

    /// Takes a key out. It must be there, with this slot.
    pub(crate) fn remove(&mut self, key: u128, slot: u32) {
        let hash = hash(key);
        let segment = self.segment_of(hash);
        let segment = &mut self.segments[segment];
        let bucket = segment.find(tag(hash), |other| other == slot).expect("a key that is there");
        segment.remove(bucket);
        self.len -= 1;
    }

    /// All slots, in no order that means anything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().flat_map(|segment| segment.slots())
    }

    /// Bytes that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.segments.len() * size_of::<Segment>()
            + self.segments.capacity() * size_of::<Box<Segment>>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// Splits the segment that `near` leads to by the next bit of the hashes.
    fn split(&mut self, segment: usize, near: u64, key_of: &impl Fn(u32) -> u128) {
        let depth = self.segments[segment].depth + 1;
        if depth > self.depth {
            self.directory = self.directory.iter().flat_map(|s| [*s, *s]).collect();
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.segments[segment], Segment::new(depth));
        let mut upper = Segment::new(depth);
        for slot in old.slots() {
            let hash = hash(key_of(slot));
            match hash >> (64 - depth) & 1 {
                0 => self.segments[segment].insert(tag(hash), slot),
                _ => upper.insert(tag(hash), slot),
            }
        }
        // The entries of the directory that led to the old segment are neighbours;
        // the upper half of them now leads to the new one.
        let width = 1usize << (self.depth - depth);
        let first = (near >> (64 - depth) | 1) as usize * width;
        let new = self.segments.len() as u32;
        self.directory[first..first + width].fill(new);
        self.segments.push(upper);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// An index over keys that sit in a vector, and a map that does the same.
    #[derive(Default)]
    struct Pair {
        keys: Vec<u128>,
        index: Index,
        model: BTreeMap<u128, u32>,
    }

    impl Pair {
        fn find(&self, key: u128) -> Option<u32> {
            self.index.find(key, |slot| self.keys[slot as usize])
        }

        fn insert(&mut self, key: u128) {
            let slot = self.keys.len() as u32;
            self.keys.push(key);
            let keys = &self.keys;
            self.index.insert(key, slot, |slot| keys[slot as usize]);
            self.model.insert(key, slot);
        }

        fn remove(&mut self, key: u128) {
            let slot = self.model.remove(&key).unwrap();
            self.index.remove(key, slot);
        }

        fn check(&self) {
            assert_eq!(self.index.len(), self.model.len());
            let mut slots: Vec<u32> = self.index.slots().collect();
            let mut wanted: Vec<u32> = self.model.values().copied().collect();
            slots.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(slots, wanted);
            for (key, slot) in &self.model {
                assert_eq!(self.find(*key), Some(*slot));
                assert_eq!(self.find(*key ^ 1 << 90), None);
            }
        }
    }

    proptest! {
        /// Small numbers as keys: they come again and again, and their bits are as far
        /// from random as can be.
        #[test]
        fn behaves_as_a_map(keys in prop::collection::vec(0..600u128, 0..4_000)) {
            let mut pair = Pair::default();
            for key in keys {
                prop_assert_eq!(pair.find(key), pair.model.get(&key).copied());
                match pair.model.contains_key(&key) {
                    true => pair.remove(key),
                    false => pair.insert(key),
                }
            }
            pair.check();
        }
    }

    #[test]
    fn grows_in_small_steps_and_finds_all_on_the_way() {
        let mut pair = Pair::default();
        let (mut bytes, mut worst) = (0, 0);
        for n in 0..100_000u128 {
            pair.insert((n << 64) | (n * n));
            let now = pair.index.memory_bytes();
            worst = worst.max(now - bytes);
            bytes = now;
            if n > 10_000 {
                assert!(now <= 14 * n as usize, "{now} bytes for {n}");
            }
        }
        pair.check();
        // A segment, and at times the directory and the list of segments.
        assert!(worst < 12_000, "one insert took {worst} bytes");
    }

    #[test]
    fn does_not_grow_under_churn() {
        let mut pair = Pair::default();
        let key = |n: u128| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        (0..1_000).for_each(|n| pair.insert(key(n)));
        let before = pair.index.memory_bytes();
        for n in 0..200_000 {
            pair.remove(key(n));
            pair.insert(key(n + 1_000));
        }
        pair.check();
        assert!(pair.index.memory_bytes() <= before * 3, "it splits by chance, no more");
    }
}
