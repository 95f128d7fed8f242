//! Which commands were carried out lately: their ids, so that one that comes again
//! gets the same outcome.
//!
//! An id is remembered for 24 hours of the shard's time, or until so many others came
//! after it. The window is decided by time alone, down to the second; when an entry
//! really leaves the table plays no part.

use crate::limits::{COMMANDS_REMEMBERED_MAX, COMMANDS_REMEMBERED_US};
use crate::slab::{Linked, NONE, Wide};
use crate::table::{Fifo, Keyed};
use crate::time::Time;

const SECOND_US: i64 = 1_000_000;

#[derive(Clone, Copy)]
pub(crate) struct Remembered {
    key: Wide,
    pub position: u64,
    second: u32,
    next: u32,
}

const _: () = assert!(size_of::<Remembered>() <= 32);

impl Linked for Remembered {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Keyed for Remembered {
    fn key(&self) -> u128 {
        self.key.get()
    }
}

/// The window of remembered ids.
pub(crate) struct Memory {
    entries: Fifo<Remembered>,
    /// How many there may be.
    most: usize,
    /// From which second on nothing was dropped for want of room.
    kept_since: u32,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { entries: Fifo::default(), most: COMMANDS_REMEMBERED_MAX, kept_since: 0 }
    }
}

impl Memory {
    /// Remembers so many at most from here on.
    pub(crate) fn keep(&mut self, most: usize) {
        self.most = most.clamp(1, COMMANDS_REMEMBERED_MAX);
    }

    /// Since when ids are remembered, as seen at `now`, if those since `known` are
    /// remembered elsewhere.
    pub(crate) fn since(&self, now: Time, known: Option<Time>) -> Time {
        let kept = i64::from(self.kept_since) * SECOND_US;
        let kept = known.map_or(kept, |known| kept.min(known.0));
        Time(kept.max(now.0 - COMMANDS_REMEMBERED_US))
    }

    /// Position of the fact of an id, if it is in the window.
    pub(crate) fn find(&self, key: u128, now: Time) -> Option<u64> {
        let entry = self.entries.find(key)?;
        in_window(entry, now).then_some(entry.position)
    }

    /// As [`crate::index::Index::touch`].
    #[inline]
    pub(crate) fn touch(&self, key: u128) -> u32 {
        self.entries.touch(key)
    }

    /// As [`Sale::touch_leaving`](super::Sale::touch_leaving).
    pub(crate) fn touch_leaving(&self, ids: usize) {
        if self.entries.len() + ids >= self.most {
            self.entries.touch_oldest(ids);
        }
    }

    /// Takes up an id that is not in the window.
    pub(crate) fn remember(&mut self, key: u128, position: u64, at: Time) {
        // The oldest leave as new ones come; two for one, so that a shrinking rate
        // shrinks the table, and never all at once.
        for _ in 0..2 {
            if self.entries.oldest().is_some_and(|oldest| !in_window(oldest, at)) {
                self.entries.pop();
            }
        }
        // One that is past the window but not yet gone makes way for its successor.
        while self.entries.find(key).is_some() {
            self.entries.pop();
        }
        if self.entries.len() >= self.most {
            let dropped = self.entries.pop().expect("the table is full");
            // Others of that second may still be there, but all are sure only from
            // the next one on.
            self.kept_since = dropped.second + 1;
        }
        let second = (at.0 / SECOND_US) as u32;
        self.entries.push(Remembered { key: Wide::new(key), position, second, next: NONE });
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is in the window at a time, oldest first: key, position, second.
    pub(crate) fn iter(&self, at: Time) -> impl Iterator<Item = (u128, u64, u32)> + '_ {
        let inside = self.entries.iter().filter(move |entry| in_window(entry, at));
        inside.map(|entry| (entry.key(), entry.position, entry.second))
    }

    /// All that are kept, those that are past the window too, oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u128, u64, u32)> + '_ {
        self.entries.iter().map(|entry| (entry.key(), entry.position, entry.second))
    }

    /// Takes up what was saved, oldest first; false where it can't be.
    pub(crate) fn restore(&mut self, key: u128, position: u64, second: u32) -> bool {
        let after = self.entries.newest().is_none_or(|newest| newest.second <= second);
        if !after || self.len() == COMMANDS_REMEMBERED_MAX || self.entries.find(key).is_some() {
            return false;
        }
        self.entries.push(Remembered { key: Wide::new(key), position, second, next: NONE });
        true
    }

    pub(crate) fn keep_since(&mut self, second: u32) {
        self.kept_since = second;
    }

    pub(crate) fn kept_since(&self) -> u32 {
        self.kept_since
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes()
    }
}

fn in_window(entry: &Remembered, now: Time) -> bool {
    i64::from(entry.second) >= (now.0 - COMMANDS_REMEMBERED_US).div_euclid(SECOND_US)
}
