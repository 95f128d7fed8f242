//! Which event was asked for last: a guess that saves a digest and a look-up on
//! nearly every command. A wrong guess costs a comparison and changes nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::slab::NONE;
use crate::text::Id;

const HINTS: usize = 256;

/// Slots of events, by a few bits of their ids. Readers write here too, hence the
/// atomics; each is a guess of its own, so no order is needed among them.
pub(crate) struct EventHints([AtomicU32; HINTS]);

impl Default for EventHints {
    fn default() -> Self {
        Self([const { AtomicU32::new(NONE) }; HINTS])
    }
}

fn place(event: &Id) -> usize {
    let mix = |sum: usize, byte: &u8| sum.wrapping_mul(31).wrapping_add(*byte as usize);
    event.as_bytes().iter().fold(0, mix) % HINTS
}

impl EventHints {
    /// The slot of the event with such an id that was found last; maybe another one's.
    pub(crate) fn guess(&self, event: &Id) -> Option<u32> {
        match self.0[place(event)].load(Ordering::Relaxed) {
            NONE => None,
            slot => Some(slot),
        }
    }

    pub(crate) fn found(&self, event: &Id, slot: u32) {
        self.0[place(event)].store(slot, Ordering::Relaxed);
    }
}
