//! How a shard hands out its upkeep, piece by piece, and takes it back.

use std::sync::Arc;

use onsale_core::Time;

use super::Shard;
use crate::upkeep::{UpkeepDone, UpkeepJob};

impl<T> Shard<T> {
    /// A piece of upkeep, for a helper thread; none while one is under way, or where there is
    /// nothing to do now. It does not hurry: the caller decides how often to ask.
    pub fn upkeep(&mut self, now: Time) -> Option<UpkeepJob> {
        if self.stopped.is_some() {
            return None;
        }
        let mut upkeep = self.upkeep.take()?;
        for sequence in self.unreadable.drain(..) {
            upkeep.window.forget(sequence);
            upkeep.indexed = upkeep.indexed.min(sequence - 1);
        }
        match upkeep.job(&self.writer, now.max(self.sale.time())) {
            Ok(job) => Some(job),
            Err(upkeep) => {
                self.upkeep_figures = upkeep.figures;
                self.upkeep = Some(upkeep);
                None
            }
        }
    }

    /// Takes the result of a piece of upkeep; gives what is worth a line in a log.
    pub fn upkept(&mut self, done: UpkeepDone) -> Vec<String> {
        let UpkeepDone { mut upkeep } = done;
        self.ids.take(Arc::new(upkeep.window.clone()));
        self.upkeep_figures = upkeep.figures;
        self.snapshot = upkeep.snapshots.first().copied().unwrap_or(0);
        // What lies below it is read from the archive, where there is one.
        self.writer.release_below(upkeep.safe_below());
        let notes = std::mem::take(&mut upkeep.notes);
        self.upkeep = Some(upkeep);
        notes
    }

    /// What is worth a line in a log since the last call, or since it was opened.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}
