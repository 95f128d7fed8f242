//! Lines of holds and orders: the first sits in the hold or order itself, which
//! is enough for most; further ones are chained in a slab.

use crate::slab::{Linked, NONE, Slab};

/// Tickets of one type, as kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub unit_price: i64,
    pub version: u32,
    pub ticket_type: u16,
    pub quantity: u16,
}

#[derive(Clone, Copy)]
struct Further {
    line: Line,
    next: u32,
}

impl Linked for Further {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

/// The first line, and where the others are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinesAt {
    pub first: Line,
    further: u32,
}

/// All further lines.
#[derive(Default)]
pub(crate) struct LineStore {
    slab: Slab<Further>,
}

impl LineStore {
    /// Stores lines; there is at least one.
    pub(crate) fn store(&mut self, lines: &[Line]) -> LinesAt {
        let mut further = NONE;
        for line in lines[1..].iter().rev() {
            further = self.slab.insert(Further { line: *line, next: further });
        }
        LinesAt { first: lines[0], further }
    }

    /// Gives the room of further lines back.
    pub(crate) fn free(&mut self, lines: LinesAt) {
        let mut slot = lines.further;
        while slot != NONE {
            slot = self.slab.remove(slot).next;
        }
    }

    /// The lines, in their order.
    pub(crate) fn iter(&self, lines: LinesAt) -> impl Iterator<Item = Line> + Clone + '_ {
        let get = |slot: u32| (slot != NONE).then(|| self.slab[slot]);
        let further = std::iter::successors(get(lines.further), move |at| get(at.next));
        std::iter::once(lines.first).chain(further.map(|at| at.line))
    }

    /// Sum over the lines, in minor units.
    pub(crate) fn total(&self, lines: LinesAt) -> i64 {
        self.iter(lines).map(|line| line.unit_price * i64::from(line.quantity)).sum()
    }

    /// Further lines that are stored.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slab.memory_bytes()
    }
}
