//! Skeleton: the API that the server builds on. The real text follows.
#![allow(
    missing_docs,
    unused_variables,
    clippy::all,
    clippy::unimplemented,
    clippy::allow_attributes
)]
pub use onsale_core as core;
use onsale_core::view::{AvailabilityView, EventView, HoldView, OrderView};
use onsale_core::{Command, Event, HoldId, Id, OrderCode, Refusal, Time};

/// What a shard is asked.
#[derive(Clone, Debug)]
pub enum Request {
    Command(Box<Command>),
    Query(Query),
}

#[derive(Clone, Debug)]
pub enum Query {
    Event { organizer: Id, event: Id },
    Availability { organizer: Id, event: Id },
    Hold { organizer: Id, event: Id, hold: HoldId },
    Order { organizer: Id, event: Id, order: OrderCode },
}

#[derive(Clone, Debug)]
pub enum View {
    Event(EventView),
    Availability(AvailabilityView),
    Hold(HoldView),
    Order(OrderView),
}

/// An answer; it leaves the shard only once `position` is durable.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Highest position applied when the answer was made.
    pub position: u64,
    pub answer: Answer,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// The command's fact, as recorded at `position` of the reply.
    Done(Box<Event>),
    /// The command was carried out before; its fact is the record at this position (read it with the
    /// Reader, compare stamp.body: another body is Refusal::IdReused).
    Repeated {
        position: u64,
    },
    /// The state was as wanted already; the event's version.
    Unchanged {
        version: u32,
    },
    Refused(Refusal),
    View(Box<View>),
    /// Nothing was decided, or it is not known whether it became durable.
    Unavailable(Unavailable),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// No room on the disk: refused, nothing changed.
    StorageFull,
    /// The shard has stopped after a fault: refused, nothing changed.
    Stopped,
    /// A fault struck while the answer waited for its sync: unknown.
    Unknown,
    /// The queue is full: refused, nothing changed.
    Busy,
}

/// What everybody may know of a shard without asking its writer.
#[derive(Clone)]
pub struct ShardInfo {
    pub shard: u16,
    pub shards: u16,
    pub log: u128,
    pub key: onsale_core::CodeKey,
    pub reader: onsale_journal::Reader,
}
