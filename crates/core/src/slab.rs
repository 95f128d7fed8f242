//! A table of small records addressed by 32-bit slots. It grows chunk by chunk,
//! so that no insert ever copies the whole, and gives freed slots out again.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

const CHUNK: usize = 256;

/// A record that can lend a field to chain free slots.
pub(crate) trait Linked: Copy {
    /// The field. A record that is in use may keep a link of its own in it.
    fn link(&mut self) -> &mut u32;
}

/// 128 bits that need no 16-byte alignment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wide([u64; 2]);

impl Wide {
    pub(crate) const fn new(value: u128) -> Self {
        Self([value as u64, (value >> 64) as u64])
    }

    pub(crate) const fn get(self) -> u128 {
        self.0[0] as u128 | (self.0[1] as u128) << 64
    }
}

/// The table.
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: u32,
    len: u32,
}

impl<T: Linked> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: NONE, len: 0 }
    }
}

impl<T: Linked> Slab<T> {
    /// Records in use.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// Slots ever given out: all slots are below.
    pub(crate) fn slots(&self) -> u32 {
        match self.chunks.last() {
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    /// Puts a record in, into the slot freed last or, without one, the next new one.
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        self.len += 1;
        if self.free != NONE {
            let slot = self.free;
            self.free = *self[slot].link();
            self[slot] = record;
            return slot;
        }
        let slot = self.slots();
        assert!(slot < NONE, "memory ends long before 32-bit slots do");
        if (slot as usize).is_multiple_of(CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks.last_mut().expect("a chunk with room").push(record);
        slot
    }

    /// Takes a record out. The slot must be in use.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let record = self[slot];
        *self[slot].link() = self.free;
        self.free = slot;
        self.len -= 1;
        record
    }

    /// Bytes that its chunks take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy)]
    struct Record {
        value: u64,
        next: u32,
    }

    impl Linked for Record {
        fn link(&mut self) -> &mut u32 {
            &mut self.next
        }
    }

    proptest! {
        /// Against a map from slots to values; slots must be given out again.
        #[test]
        fn behaves_as_a_map(steps in prop::collection::vec((0..3, any::<u64>()), 0..2_000)) {
            let mut slab = Slab::<Record>::default();
            let mut model = std::collections::BTreeMap::new();
            let mut peak = 0;
            for (kind, value) in steps {
                match kind {
                    0 if !model.is_empty() => {
                        let nth = value as usize % model.len();
                        let slot = *model.keys().nth(nth).unwrap();
                        prop_assert_eq!(slab.remove(slot).value, model.remove(&slot).unwrap());
                    }
                    _ => {
                        let slot = slab.insert(Record { value, next: 7 });
                        prop_assert!(model.insert(slot, value).is_none());
                        peak = peak.max(model.len());
                    }
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            prop_assert_eq!(slab.slots() as usize, peak);
            for (slot, value) in model {
                prop_assert_eq!(slab[slot].value, value);
            }
        }
    }

    #[test]
    fn a_full_chunk_is_followed_by_another() {
        let mut slab = Slab::<Record>::default();
        for value in 0..2_000 {
            assert_eq!(slab.insert(Record { value, next: NONE }), value as u32);
        }
        assert!((0..2_000).all(|slot| slab[slot].value == u64::from(slot)));
        let chunks = 2_000usize.div_ceil(CHUNK);
        assert!(slab.memory_bytes() >= chunks * CHUNK * size_of::<Record>());
    }
}
