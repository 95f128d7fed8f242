//! How many tickets of each type a customer of an event holds and owns. Counted
//! whether or not there is a limit: one may come later.

use crate::slab::{Linked, NONE, Slab, Wide};
use crate::table::{Keyed, Table};

/// A customer of one event, with the count of one ticket type; those of further
/// types are chained.
#[derive(Clone, Copy)]
pub(crate) struct Customer {
    key: Wide,
    count: Count,
}

#[derive(Clone, Copy)]
struct Count {
    tickets: u32,
    next: u32,
    ticket_type: u16,
}

impl Linked for Count {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Linked for Customer {
    fn link(&mut self) -> &mut u32 {
        &mut self.count.next
    }
}

impl Keyed for Customer {
    fn key(&self) -> u128 {
        self.key.get()
    }
}

/// All customers who have something, by the digest of event and customer.
#[derive(Default)]
pub(crate) struct Customers {
    table: Table<Customer>,
    further: Slab<Count>,
}

impl Customers {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn key(&self, slot: u32) -> u128 {
        self.table[slot].key()
    }

    /// What a customer has, by the slot of the ticket type.
    pub(crate) fn counts(&self, key: u128) -> impl Iterator<Item = (u16, u32)> + Clone + '_ {
        self.counts_from(self.table.find(key))
    }

    /// What the customer in a slot has.
    pub(crate) fn counts_at(&self, slot: u32) -> impl Iterator<Item = (u16, u32)> + Clone + '_ {
        self.counts_from(Some(slot))
    }

    fn counts_from(&self, slot: Option<u32>) -> impl Iterator<Item = (u16, u32)> + Clone + '_ {
        let first = slot.map(|slot| self.table[slot].count);
        let further = |next: u32| (next != NONE).then(|| self.further[next]);
        std::iter::successors(first, move |count| further(count.next))
            .map(|count| (count.ticket_type, count.tickets))
    }

    /// Adds tickets, at least one; gives the customer's slot, which stays the same for
    /// as long as anything is left to them.
    pub(crate) fn add(&mut self, key: u128, ticket_type: u16, tickets: u32) -> u32 {
        let Some(slot) = self.table.find(key) else {
            let count = Count { tickets, next: NONE, ticket_type };
            return self.table.insert(Customer { key: Wide::new(key), count });
        };
        let first = &mut self.table[slot].count;
        if first.ticket_type == ticket_type {
            first.tickets += tickets;
            return slot;
        }
        let mut next = first.next;
        while next != NONE {
            let count = &mut self.further[next];
            if count.ticket_type == ticket_type {
                count.tickets += tickets;
                return slot;
            }
            next = count.next;
        }
        let next = self.table[slot].count.next;
        self.table[slot].count.next = self.further.insert(Count { tickets, next, ticket_type });
        slot
    }

    /// Takes tickets away that are there.
    pub(crate) fn take(&mut self, slot: u32, ticket_type: u16, tickets: u32) {
        let first = &mut self.table[slot].count;
        if first.ticket_type == ticket_type {
            first.tickets -= tickets;
            match (first.tickets, first.next) {
                (0, NONE) => drop(self.table.remove(slot)),
                (0, next) => self.table[slot].count = self.further.remove(next),
                _ => {}
            }
            return;
        }
        let (mut before, mut at) = (NONE, first.next);
        while self.further[at].ticket_type != ticket_type {
            (before, at) = (at, self.further[at].next);
        }
        self.further[at].tickets -= tickets;
        if self.further[at].tickets == 0 {
            let next = self.further.remove(at).next;
            match before {
                NONE => self.table[slot].count.next = next,
                before => self.further[before].next = next,
            }
        }
    }

    /// As [`crate::index::Index::touch`].
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        self.table.touch(key)
    }

    pub(crate) fn find(&self, key: u128) -> Option<u32> {
        self.table.find(key)
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.table.reserve(more);
    }

    /// Adds a customer who is not there with all that they have, at least something.
    pub(crate) fn restore(&mut self, key: u128, counts: &[(u16, u32)]) {
        let mut next = NONE;
        for (ticket_type, tickets) in counts[1..].iter().rev() {
            let (tickets, ticket_type) = (*tickets, *ticket_type);
            next = self.further.insert(Count { tickets, next, ticket_type });
        }
        let (ticket_type, tickets) = counts[0];
        let count = Count { tickets, next, ticket_type };
        self.table.insert(Customer { key: Wide::new(key), count });
    }

    /// All slots in use, in no order that means anything.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.table.slots()
    }

    /// All slots are below.
    pub(crate) fn slots_end(&self) -> u32 {
        self.table.slots_end()
    }

    /// All keys, in no order that means anything.
    pub(crate) fn keys(&self) -> impl Iterator<Item = u128> + '_ {
        self.table.slots().map(|slot| self.table[slot].key())
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.further.memory_bytes()
    }
}
