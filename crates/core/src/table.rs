//! Records with a key: a slab and an index over it; and the same as a queue that
//! forgets its oldest.

use std::ops::{Index as At, IndexMut as AtMut};

use crate::index::Index;
use crate::slab::{Linked, NONE, Slab};

/// A record that knows its key.
pub(crate) trait Keyed: Linked {
    /// The key, unique in its table.
    fn key(&self) -> u128;
}

/// Records by key and by slot.
pub(crate) struct Table<T> {
    slab: Slab<T>,
    index: Index,
}

impl<T: Keyed> Default for Table<T> {
    fn default() -> Self {
        Self { slab: Slab::default(), index: Index::default() }
    }
}

impl<T: Keyed> Table<T> {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, key: u128) -> Option<u32> {
        self.index.find(key, |slot| self.slab[slot].key())
    }

    /// As [`Index::touch`].
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        self.index.touch(key)
    }

    /// Adds a record whose key is not there.
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        let slot = self.slab.insert(record);
        self.index.insert(record.key(), slot, |slot| self.slab[slot].key());
        slot
    }

    /// Takes a record out; the slot must be in use.
    pub(crate) fn remove(&mut self, slot: u32) -> T {
        let record = self.slab.remove(slot);
        self.index.remove(record.key(), slot);
        record
    }

    /// Makes room in the index for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.index.reserve(more);
    }

    /// All slots are below.
    pub(crate) fn slots_end(&self) -> u32 {
        self.slab.slots()
    }

    /// All slots in use, in no order that means anything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.index.slots()
    }

    /// The records alone, for the queues that run through them.
    pub(crate) fn slab_mut(&mut self) -> &mut Slab<T> {
        &mut self.slab
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slab.memory_bytes() + self.index.memory_bytes()
    }
}

impl<T: Keyed> At<u32> for Table<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.slab[slot]
    }
}

impl<T: Keyed> AtMut<u32> for Table<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.slab[slot]
    }
}

/// Records by key, in the order in which they came, of which the oldest go first.
pub(crate) struct Fifo<T> {
    table: Table<T>,
    oldest: u32,
    newest: u32,
}

impl<T: Keyed> Default for Fifo<T> {
    fn default() -> Self {
        Self { table: Table::default(), oldest: NONE, newest: NONE }
    }
}

impl<T: Keyed> Fifo<T> {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn find(&self, key: u128) -> Option<&T> {
        self.table.find(key).map(|slot| &self.table[slot])
    }

    /// As [`Index::touch`].
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        self.table.touch(key)
    }

    /// The same for the records that leave next.
    pub(crate) fn touch_oldest(&self, records: usize) {
        let touched = self.iter().take(records).map(|record| self.table.touch(record.key()));
        std::hint::black_box(touched.fold(0, |all, slot| all ^ slot));
    }

    pub(crate) fn oldest(&self) -> Option<&T> {
        (self.oldest != NONE).then(|| &self.table[self.oldest])
    }

    pub(crate) fn newest(&self) -> Option<&T> {
        (self.newest != NONE).then(|| &self.table[self.newest])
    }

    /// Adds a record whose key is not there, as the newest.
    pub(crate) fn push(&mut self, mut record: T) {
        *record.link() = NONE;
        let slot = self.table.insert(record);
        match self.newest {
            NONE => self.oldest = slot,
            newest => *self.table[newest].link() = slot,
        }
        self.newest = slot;
    }

    /// Takes the oldest record out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.oldest == NONE {
            return None;
        }
        let mut record = self.table.remove(self.oldest);
        self.oldest = *record.link();
        if self.oldest == NONE {
            self.newest = NONE;
        }
        Some(record)
    }

    /// All records, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = T> + '_ {
        let get = |slot: u32| (slot != NONE).then(|| self.table[slot]);
        std::iter::successors(get(self.oldest), move |record| get(*{ *record }.link()))
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Wide;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Copy)]
    struct Record {
        key: Wide,
        next: u32,
    }

    impl Linked for Record {
        fn link(&mut self) -> &mut u32 {
            &mut self.next
        }
    }

    impl Keyed for Record {
        fn key(&self) -> u128 {
            self.key.get()
        }
    }

    proptest! {
        #[test]
        fn a_fifo_behaves_as_a_deque(steps in prop::collection::vec((0..5, 0..200u128), 0..3_000)) {
            let mut fifo = Fifo::<Record>::default();
            let mut model = VecDeque::new();
            for (kind, key) in steps {
                if kind < 2 {
                    prop_assert_eq!(fifo.pop().map(|record| record.key()), model.pop_front());
                } else if !model.contains(&key) {
                    fifo.push(Record { key: Wide::new(key), next: 3 });
                    model.push_back(key);
                }
                prop_assert_eq!(fifo.len(), model.len());
                prop_assert_eq!(fifo.oldest().map(Keyed::key), model.front().copied());
                prop_assert_eq!(fifo.find(key).is_some(), model.contains(&key));
            }
            let keys: Vec<u128> = fifo.iter().map(|record| record.key()).collect();
            prop_assert_eq!(keys, Vec::from(model));
        }
    }
}
