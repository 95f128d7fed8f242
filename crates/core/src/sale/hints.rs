//! Which event was asked for last: a guess that saves a digest and a look-up on
//! nearly every command. A wrong guess costs a comparison and changes nothing.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::slab::NONE;
use crate::text::Id;

const HINTS: usize = 256;
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Slots of events, by a few bits of their ids. Readers write here too, hence the
/// atomics; each is a guess of its own, so no order is needed among them.
pub(crate) struct EventHints([AtomicU32; HINTS]);

impl Default for EventHints {
    fn default() -> Self {
        Self([const { AtomicU32::new(NONE) }; HINTS])
    }
}

fn place(event: &Id) -> usize {
    // Ids of events often differ in their last bytes only, and these may be anywhere.
    let words = event.padded().as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    let sum = words.fold(0u64, |sum, word| (sum.rotate_left(5) ^ word).wrapping_mul(SPREAD));
    (sum >> 56) as usize % HINTS
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
