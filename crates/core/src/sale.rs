//! The state of one shard, and the two functions that rule it.

use crate::command::Command;
use crate::event::{Event, Events};
use crate::refusal::Refusal;
use crate::time::Time;

/// What a command leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// These events, to be applied in order, all or none.
    Change(Events),
    /// The command was carried out before: its fact is the record at this
    /// position. Whether the body was the same is for the caller to compare.
    Repeated {
        /// Position of the fact.
        position: u64,
    },
    /// The state is as wanted already.
    Unchanged,
}

/// The state of one shard.
#[derive(Default)]
pub struct Sale {}

impl Sale {
    /// Decides a command.
    pub fn decide(&self, _command: &Command, _now: Time) -> Result<Decision, Refusal> {
        unimplemented!()
    }
    /// Applies an event.
    pub fn apply(&mut self, _position: u64, _event: &Event) -> Result<(), String> {
        unimplemented!()
    }
}
