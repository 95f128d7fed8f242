//! From a 128-bit key to the 32-bit slot of the record that has it.
//!
//! Extendible hashing: a directory by the top bits of the key's hash leads to
//! segments of 256 buckets with linear probing. A segment that is 7/8 full splits
//! in two by the next bit, so the index grows a few kilobytes at a time and no
//! insert pays for all. The keys themselves stay in the records; a bucket keeps 32
//! bits of the hash: its home bucket, so that what is removed is closed up, and the
//! top bits, so that a segment splits, both without a look at any record. A look-up
//! touches, but for one in thousands, no record but the one that it finds.

const BUCKETS: usize = 256;
const FULL: u16 = (BUCKETS - BUCKETS / 8) as u16;
const EMPTY: u16 = 0;
/// Room for so many keys is made at once, whoever says that more will come.
const RESERVED_MAX: usize = 1 << 22;

/// How many of the top bits of a hash a bucket keeps. A segment deeper than that asks for
/// the keys when it splits.
const TOP_BITS: u32 = 16;

/// Bits of the hash, and the slot: eight of them fill a cache line.
#[derive(Clone, Copy)]
struct Bucket {
    tag: Tag,
    slot: u32,
}

/// What a bucket keeps of a hash.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tag {
    /// The top bits.
    top: u16,
    /// The low bits: the home bucket in the low byte; the high byte is 0 in empty buckets only.
    low: u16,
}

const VACANT: Bucket = Bucket { tag: Tag { top: 0, low: EMPTY }, slot: 0 };

impl Bucket {
    fn is_vacant(self) -> bool {
        self.tag.low == EMPTY
    }
}

#[repr(align(64))]
struct Buckets([Bucket; BUCKETS]);

/// A segment; what is needed of all of them lies together, apart from the buckets.
struct Segment {
    buckets: Box<Buckets>,
    used: u16,
    /// How many top bits of the hash all its keys share.
    depth: u16,
}

/// The index.
#[derive(Default)]
pub(crate) struct Index {
    /// By the top `depth` bits of a hash: which segment.
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment>,
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

impl Tag {
    fn of(hash: u64) -> Tag {
        let low = hash as u16;
        let top = (hash >> (64 - TOP_BITS)) as u16;
        Tag { top, low: low | if low & 0xFF00 == 0 { 0x0100 } else { 0 } }
    }

    fn home(self) -> usize {
        self.low as usize % BUCKETS
    }

    /// The bit of the hash, counted from the top, by which a segment of this depth splits.
    fn bit(self, depth: u16) -> Option<bool> {
        let below = TOP_BITS.checked_sub(u32::from(depth) + 1)?;
        Some(self.top >> below & 1 == 1)
    }
}

impl Segment {
    fn new(depth: u16) -> Segment {
        Segment { buckets: Box::new(Buckets([VACANT; BUCKETS])), used: 0, depth }
    }

    fn insert(&mut self, tag: Tag, slot: u32) {
        let mut bucket = tag.home();
        while !self.buckets.0[bucket].is_vacant() {
            bucket = (bucket + 1) % BUCKETS;
        }
        self.buckets.0[bucket] = Bucket { tag, slot };
        self.used += 1;
    }

    fn find(&self, tag: Tag, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mut bucket = tag.home();
        loop {
            let found = self.buckets.0[bucket];
            if found.is_vacant() {
                return None;
            }
            if found.tag == tag && is(found.slot) {
                return Some(bucket);
            }
            bucket = (bucket + 1) % BUCKETS;
        }
    }

    fn candidates(&self, tag: Tag) -> impl Iterator<Item = u32> + '_ {
        let buckets = (tag.home()..tag.home() + BUCKETS).map(|n| self.buckets.0[n % BUCKETS]);
        let filled = buckets.take_while(|bucket| !bucket.is_vacant());
        filled.filter(move |bucket| bucket.tag == tag).map(|bucket| bucket.slot)
    }

    /// Empties a bucket and moves up what would no longer be found behind the gap.
    fn remove(&mut self, bucket: usize) {
        let buckets = &mut self.buckets.0;
        let mut gap = bucket;
        let mut next = (gap + 1) % BUCKETS;
        while !buckets[next].is_vacant() {
            let displaced = next.wrapping_sub(buckets[next].tag.home()) % BUCKETS;
            let distance = next.wrapping_sub(gap) % BUCKETS;
            if displaced >= distance {
                buckets[gap] = buckets[next];
                gap = next;
            }
            next = (next + 1) % BUCKETS;
        }
        buckets[gap] = VACANT;
        self.used -= 1;
    }

    fn used(&self) -> impl Iterator<Item = Bucket> + '_ {
        self.buckets.0.iter().copied().filter(|bucket| !bucket.is_vacant())
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
        let depth = self.depth as u16;
        self.segments = (0..1 << self.depth).map(|_| Segment::new(depth)).collect();
        self.directory = (0..1 << self.depth).collect();
    }

    /// The slot of a key, if it is there.
    pub(crate) fn find(&self, key: u128, key_of: impl Fn(u32) -> u128) -> Option<u32> {
        if self.directory.is_empty() {
            return None;
        }
        let hash = hash(key);
        let segment = &self.segments[self.segment_of(hash)];
        let bucket = segment.find(Tag::of(hash), |slot| key_of(slot) == key)?;
        Some(segment.buckets.0[bucket].slot)
    }

    /// Reads where the look-up of a key begins; what it gives means nothing. Several of these
    /// in a row wait for memory together, which the look-ups themselves, with their branches
    /// on what they read, do one after the other.
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        if self.directory.is_empty() {
            return 0;
        }
        let hash = hash(key);
        self.segments[self.segment_of(hash)].buckets.0[Tag::of(hash).home()].slot
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
        segment.into_iter().flat_map(move |segment| segment.candidates(Tag::of(hash)))
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
        self.segments[segment].insert(Tag::of(hash), slot);
        self.len += 1;
    }

    /// Takes a key out. It must be there, with this slot.
    pub(crate) fn remove(&mut self, key: u128, slot: u32) {
        let hash = hash(key);
        let segment = self.segment_of(hash);
        let segment = &mut self.segments[segment];
        let bucket =
            segment.find(Tag::of(hash), |other| other == slot).expect("a key that is there");
        segment.remove(bucket);
        self.len -= 1;
    }

    /// All slots, in no order that means anything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().flat_map(|segment| segment.used().map(|bucket| bucket.slot))
    }

    /// Bytes that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.segments.len() * size_of::<Buckets>()
            + self.segments.capacity() * size_of::<Segment>()
            + self.directory.capacity() * size_of::<u32>()
    }

    /// Splits the segment that `near` leads to by the next bit of the hashes.
    fn split(&mut self, segment: usize, near: u64, key_of: &impl Fn(u32) -> u128) {
        let depth = self.segments[segment].depth + 1;
        if u32::from(depth) > self.depth {
            self.directory = self.directory.iter().flat_map(|s| [*s, *s]).collect();
            self.depth += 1;
        }
        let old = std::mem::replace(&mut self.segments[segment], Segment::new(depth));
        let mut upper = Segment::new(depth);
        for Bucket { tag, slot } in old.used() {
            let by_key = || hash(key_of(slot)) >> (64 - depth) & 1 == 1;
            match tag.bit(old.depth).unwrap_or_else(by_key) {
                false => self.segments[segment].insert(tag, slot),
                true => upper.insert(tag, slot),
            }
        }
        // The entries of the directory that led to the old segment are neighbours;
        // the upper half of them now leads to the new one.
        let width = 1usize << (self.depth - u32::from(depth));
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
                assert!(now <= 18 * n as usize, "{now} bytes for {n}");
            }
        }
        pair.check();
        // A segment, and at times the directory and the list of segments.
        assert!(worst < 16_000, "one insert took {worst} bytes");
    }

    /// All keys begin with the bits that buckets keep: only the keys themselves say how to go on.
    #[test]
    fn splits_deeper_than_the_bits_that_it_keeps() {
        let mut pair = Pair::default();
        let alike = (0u128..).filter(|key| hash(*key) >> (64 - TOP_BITS) == 0);
        alike.take(BUCKETS + 4).for_each(|key| pair.insert(key));
        pair.check();
        assert!(pair.index.depth > TOP_BITS);
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
