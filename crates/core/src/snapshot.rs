//! A whole state in parts, so that it can be written down and be had again.
//!
//! [`Sale::save`](crate::Sale::save) hands out the parts in a fixed order: the shard,
//! groups, events, queues, customers, holds, orders, ended holds, commands.
//! [`Restorer`] takes them in the same order and gives a state with the same hash that
//! goes on exactly alike. The parts are what the state means, not how it lies in memory:
//! things name each other by their number in that order.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::catalogue::{EventDefinition, EventState};
use crate::code::CodeKey;
use crate::command::HoldId;
use crate::event::QuotaStock;
use crate::text::Id;
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

pub use crate::sale::{Ending, RestoreError, Restorer, Waiting};

/// A part of a state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// What there is once. It comes first.
    Shard(Box<ShardPart>),
    /// A sale group, in the order in which they were placed.
    Group(Box<GroupPart>),
    /// An event, in the order in which they were made.
    Event(Box<EventPart>),
    /// A queue of deadlines.
    Queue(QueuePart),
    /// A customer of an event.
    Customer(CustomerPart),
    /// A live hold, in the order of its queue.
    Hold(HoldPart),
    /// An order in full, by number.
    Order(Box<OrderPart>),
    /// An old order, by number among the others.
    Frozen(FrozenPart),
    /// An ended hold, oldest first.
    Ended(EndedPart),
    /// A remembered command, oldest first.
    Command(CommandPart),
}

/// How many parts of a kind follow, so that there is room for them at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Customers.
    pub customers: usize,
    /// Live holds.
    pub holds: usize,
    /// Orders, frozen or in full.
    pub orders: usize,
    /// Payments of frozen orders.
    pub references: usize,
}

/// What there is once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardPart {
    /// The log's id.
    pub log: u128,
    /// Which shard.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
    /// The secret of codes and digests.
    pub key: CodeKey,
    /// The present generation.
    pub generation: u32,
    /// Position of the last event applied, at least 1.
    pub position: u64,
    /// Its time.
    pub time: Time,
    /// From which second on no command id was dropped for want of room.
    pub ids_since: u32,
    /// From which order number on which generation, for the orders that there are.
    pub generations: Vec<(u32, u8)>,
    /// Sum of the frozen orders' digests.
    pub frozen_hash: u128,
    /// Sum of their customers' tickets, weighed.
    pub frozen_customers: u128,
    /// How much follows.
    pub sizes: Sizes,
}

/// A sale group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPart {
    /// Whose.
    pub organizer: Id,
    /// Which.
    pub sale_group: Id,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventPart {
    /// Whose.
    pub organizer: Id,
    /// Which.
    pub event: Id,
    /// Its catalogue version.
    pub version: u32,
    /// Whether it sells.
    pub state: EventState,
    /// The definition in force.
    pub definition: Arc<EventDefinition>,
    /// Whether anything was ever held or sold.
    pub used: bool,
    /// All types that it ever had.
    pub types: Vec<TypePart>,
    /// All quotas that it ever had, with their rights.
    pub quotas: Vec<(Id, QuotaStock)>,
}

/// A ticket type of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TypePart {
    /// Which.
    pub id: Id,
    /// Tickets in live holds.
    pub held: u32,
    /// In orders that are not cancelled.
    pub sold: u32,
    /// Of the sold ones: in frozen orders.
    pub frozen: u32,
}

/// A queue of deadlines: an event's holds or orders with the same time to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueuePart {
    /// Number of the event.
    pub event: u32,
    /// What waits.
    pub waiting: Waiting,
    /// For how long.
    pub duration_us: i64,
    /// Nothing in it is due before; none: nothing said.
    pub bound: Option<Time>,
}

/// A customer of an event and what they hold and own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CustomerPart {
    /// Digest of event and customer.
    pub key: u128,
    /// Numbers of ticket types, and how many of each.
    pub counts: SmallVec<[(u16, u32); 1]>,
}

/// Tickets of one type in a hold or order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinePart {
    /// Number of the ticket type in the event.
    pub ticket_type: u16,
    /// How many.
    pub quantity: u16,
    /// For one, in minor units.
    pub unit_price: i64,
    /// The catalogue version that priced it.
    pub version: u32,
}

/// Lines of a hold or order.
pub type LineParts = SmallVec<[LinePart; 1]>;

/// A live hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldPart {
    /// Its id.
    pub hold: HoldId,
    /// Number of its queue.
    pub queue: u32,
    /// Number of its customer.
    pub customer: u32,
    /// Position of its record.
    pub position: u64,
    /// Its deadline.
    pub expires_at: Time,
    /// Whether it was extended.
    pub extended: bool,
    /// What.
    pub lines: LineParts,
}

/// An order in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderPart {
    /// Number of its event.
    pub event: u32,
    /// Position of its record.
    pub position: u64,
    /// Digest of event and customer.
    pub customer: u128,
    /// Until when it must be paid; none: nothing to pay.
    pub payment_due: Option<Time>,
    /// Its state.
    pub state: OrderState,
    /// Number of the queue in which it awaits payment.
    pub queue: Option<u32>,
    /// What.
    pub lines: LineParts,
    /// Its payments, oldest first.
    pub payments: SmallVec<[PaymentPart; 1]>,
}

/// A payment of an order in full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaymentPart {
    /// Digest of event and reference.
    pub key: u128,
    /// In minor units.
    pub amount: i64,
    /// Position of its record.
    pub position: u64,
    /// Position of the record with which it went back; 0: it has not.
    pub refund_position: u64,
    /// What became of it.
    pub state: PaymentState,
}

/// An old order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrozenPart {
    /// Position of its record.
    pub position: u64,
    /// Its state.
    pub state: OrderState,
    /// Its payment, if it has one: position of its record, and 32 bits of its key.
    pub payment: Option<(u64, u32)>,
}

/// An ended hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndedPart {
    /// Its id.
    pub hold: HoldId,
    /// Number of its event.
    pub event: u32,
    /// How it ended.
    pub ending: Ending,
}

/// A remembered command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandPart {
    /// Digest of event and id.
    pub key: u128,
    /// Position of its fact.
    pub position: u64,
    /// When that was, in seconds.
    pub second: u32,
}
