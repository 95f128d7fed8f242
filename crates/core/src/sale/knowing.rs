//! What the state does not keep itself: ids of commands from before its short memory,
//! which an index outside knows, and records of old orders, which the journal has.

use smallvec::SmallVec;

use super::{ApplyError, Sale};
use crate::command::Command;
use crate::event::{Event, Fact};
use crate::refusal::Refusal;
use crate::time::Time;

/// What an index outside the state knows of a command's id. The default: nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// Position of the fact of the command with this id, if it was carried out within
    /// the last 24 hours.
    pub repeated: Option<u64>,
    /// Since when all ids are known, there or here; none: since they are known here.
    pub since: Option<Time>,
}

/// Positions of the records that must be handed to [`Sale::thaw`] before something can
/// be answered.
#[derive(Clone, PartialEq, Eq, Debug, Default, thiserror::Error)]
#[error("needs the records at {positions:?}")]
pub struct Needs {
    /// Ascending, each once, at least one.
    pub positions: SmallVec<[u64; 4]>,
}

/// Why there is no answer, or none yet.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// A rule forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Records must be read first.
    #[error(transparent)]
    Needs(#[from] Needs),
}

impl Sale {
    /// How many of the newest orders are kept in full, whatever their state; older ones may
    /// shrink once they are settled, and then [`Needs`] can come up. Until this is
    /// called, all are kept in full. It changes nothing that the state means.
    pub fn keep_hot(&mut self, orders: u32) {
        self.orders.hot_max = orders;
    }

    /// How many command ids are remembered here at most: for who has an index of older ones, and
    /// for tests. Where the limit is reached this is a part of what the state means, so every replay of
    /// a log must have the same.
    pub fn keep_ids(&mut self, most: u32) {
        self.memory.keep(most as usize);
    }

    /// Takes records that something needed, so that it can be answered. It changes
    /// nothing that the state means.
    ///
    /// # Errors
    /// They are not the records at these positions, or not all that were needed.
    pub fn thaw(&mut self, records: &[(u64, Event)]) -> Result<(), ApplyError> {
        for (position, event) in records {
            if let Fact::OrderPlaced(placed) = &event.fact {
                self.thaw_order(*position, event, placed, records)?;
            }
        }
        self.freeze_passed();
        Ok(())
    }

    /// Under which key an index outside keeps a command's id; none: nobody chose it, so
    /// it is not remembered.
    #[must_use]
    pub fn command_key(&self, command: &Command) -> Option<u128> {
        command.stamp.chosen.then(|| self.keys(command).id)
    }

    /// The key of the id of the command that an event tells of, if it is remembered.
    #[must_use]
    pub fn event_command_key(&self, event: &Event) -> Option<u128> {
        let chosen = event.stamp.is_some_and(|stamp| stamp.chosen) && event.subject.is_some();
        chosen.then(|| self.event_keys(event).id)
    }
}
