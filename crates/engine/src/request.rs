//! What a shard is asked, and what it answers.

use onsale_core::view::{AvailabilityView, EventView, HoldView, OrderView};
use onsale_core::{Command, Event, HoldId, Id, OrderCode, Refusal};

/// What a shard is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// To change something.
    Command(Box<Command>),
    /// To show something.
    Query(Query),
}

/// What a shard can show.
#[derive(Clone, Copy, Debug)]
pub enum Query {
    /// An event and its definition.
    Event {
        /// Whose.
        organizer: Id,
        /// Which.
        event: Id,
    },
    /// What is left of an event.
    Availability {
        /// Whose.
        organizer: Id,
        /// Which.
        event: Id,
    },
    /// A live hold.
    Hold {
        /// Whose.
        organizer: Id,
        /// Of which event.
        event: Id,
        /// Which.
        hold: HoldId,
    },
    /// An order.
    Order {
        /// Whose.
        organizer: Id,
        /// Of which event.
        event: Id,
        /// Which.
        order: OrderCode,
    },
}

impl Query {
    /// Whose and which event it is about.
    #[must_use]
    pub fn subject(&self) -> (&Id, &Id) {
        match self {
            Query::Event { organizer, event }
            | Query::Availability { organizer, event }
            | Query::Hold { organizer, event, .. }
            | Query::Order { organizer, event, .. } => (organizer, event),
        }
    }
}

/// What was shown.
#[derive(Clone, Debug)]
pub enum View {
    /// An event and its definition.
    Event(EventView),
    /// What is left of an event.
    Availability(AvailabilityView),
    /// A live hold.
    Hold(HoldView),
    /// An order.
    Order(OrderView),
}

/// An answer. It leaves the shard only once `position` is durable.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The highest position that was applied when the answer was made.
    pub position: u64,
    /// What is said.
    pub answer: Answer,
}

/// What is said.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The command was carried out: its fact, the record at the reply's position.
    Done(Box<Event>),
    /// The same, and the fact was handed out when it was decided: see [`crate::Shard::submit_telling`].
    Told,
    /// The command, or its payment, was there before: its fact is the record at this
    /// position. Whether it said the same is for the caller to compare.
    Repeated {
        /// Position of the fact.
        position: u64,
    },
    /// All was as wanted already.
    Unchanged,
    /// A rule forbids it; nothing changed.
    Refused(Refusal),
    /// What was asked for.
    View(Box<View>),
    /// No decision, or none that can be told.
    Unavailable(Unavailable),
}

/// Why there is no decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// The disk is full; nothing changed.
    #[error("no room on the disk: nothing was changed")]
    StorageFull,
    /// The shard has stopped after a fault; nothing changed.
    #[error("the shard has stopped after a fault: nothing was changed")]
    Stopped,
    /// What keeps the state can't be reached, or not in time; nothing changed.
    #[error("what keeps the sale can't be reached: nothing was changed")]
    Unreachable,
    /// A fault struck while the answer waited for its sync: it may or may not have
    /// become durable. Ask again, with the same id, after a restart.
    #[error("a fault struck before the change was durable: its outcome is not known")]
    Unknown,
    /// An old record that is needed can't be read; nothing changed.
    #[error("an old record that is needed can't be read: nothing was changed")]
    Unreadable,
    /// Too many are waiting; nothing changed.
    #[error("too many requests are waiting: nothing was changed")]
    Busy,
    /// The command's events are larger than a batch can be; nothing changed.
    #[error("the command is larger than a batch can be: nothing was changed")]
    TooLarge,
}
