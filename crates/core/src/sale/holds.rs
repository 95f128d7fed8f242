//! Live holds, and how the last ones ended.

use super::deadlines::{Links, Timed};
use super::lines::LinesAt;
use crate::command::HoldId;
use crate::slab::{Linked, Wide};
use crate::table::Keyed;
use crate::time::Time;

/// A live hold. Its customer, price and lines stand in full in its record.
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    id: Wide,
    pub position: u64,
    pub expires_at: Time,
    pub lines: LinesAt,
    /// Slot of its customer.
    pub customer: u32,
    pub links: Links,
    pub extended: bool,
}

const _: () = assert!(size_of::<Hold>() <= 80);

impl Hold {
    pub(crate) fn new(
        id: HoldId,
        position: u64,
        expires_at: Time,
        lines: LinesAt,
        customer: u32,
    ) -> Self {
        let (id, links, extended) = (Wide::new(id.0), Links::OUT, false);
        Self { id, position, expires_at, lines, customer, links, extended }
    }

    pub(crate) fn id(&self) -> HoldId {
        HoldId(self.id.get())
    }
}

impl Linked for Hold {
    fn link(&mut self) -> &mut u32 {
        &mut self.links.next
    }
}

impl Keyed for Hold {
    fn key(&self) -> u128 {
        self.id.get()
    }
}

impl Timed for Hold {
    fn deadline(&self) -> Time {
        self.expires_at
    }
    fn links(&self) -> Links {
        self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It ran out, at its deadline.
    Expired(Time),
    /// It was given back.
    Released(Time),
    /// It became the order with this number, which is its sequence less one.
    Claimed(u32),
}

/// An ended hold.
#[derive(Clone, Copy)]
pub(crate) struct Ended {
    id: Wide,
    pub ending: Ending,
    pub event: u32,
    next: u32,
}

impl Ended {
    pub(crate) fn new(id: HoldId, event: u32, ending: Ending) -> Self {
        Self { id: Wide::new(id.0), ending, event, next: crate::slab::NONE }
    }
}

impl Ended {
    pub(crate) fn id(&self) -> HoldId {
        HoldId(self.id.get())
    }
}

impl Linked for Ended {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Keyed for Ended {
    fn key(&self) -> u128 {
        self.id.get()
    }
}
