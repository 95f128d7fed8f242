//! What happened: events, in the past tense. One event is one record of the
//! journal, complete enough to be read alone.

use smallvec::SmallVec;

use crate::catalogue::{Currency, EventDefinition, EventState};
use crate::code::{CodeKey, OrderCode};
use crate::command::{CommandStamp, HoldId};
use crate::text::{CustomerId, Id, Reference};
use crate::time::Time;

/// One thing that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When it was decided. Never runs backwards within a shard.
    pub at: Time,
    /// The command that caused it. It stands on the command's own fact, the last of
    /// its events; none on what had to happen before, and none where a timer was the
    /// cause. (`made_at` is not kept: it only matters to decide.)
    pub stamp: Option<CommandStamp>,
    /// Whose and which event (the thing that is sold for); none for facts
    /// about the shard itself.
    pub subject: Option<Subject>,
    /// What happened.
    pub fact: Fact,
}

// An event is moved a few times on its way from a decision to the journal.
const _: () = assert!(size_of::<Event>() <= 512);

/// Whose and which event a fact is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject {
    /// The organizer.
    pub organizer: Id,
    /// The event.
    pub event: Id,
}

/// The events of one command: what had to expire first, then the one fact that
/// the command asked for, last.
pub type Events = SmallVec<[Event; 1]>;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// The first record of a shard.
    ShardStarted(ShardStarted),
    /// The log went on after a restore or an unclean start without syncs: codes
    /// of the new generation differ from all before.
    GenerationStarted {
        /// The new generation.
        generation: u32,
    },
    /// A sale group was given to this shard, for good. Its organizer and the
    /// event that brought it are in the subject.
    GroupPlaced {
        /// The group.
        sale_group: Id,
    },
    /// An event was made or redefined.
    EventDefined(Box<EventDefined>),
    /// An event was opened, paused or closed.
    StateSet {
        /// The catalogue version after it.
        version: u32,
        /// The new state.
        state: EventState,
    },
    /// Tickets were set aside.
    HoldPlaced(HoldPlaced),
    /// A hold got more time.
    HoldExtended {
        /// Which.
        hold: HoldId,
        /// Its new deadline.
        expires_at: Time,
    },
    /// A hold was given back.
    HoldReleased {
        /// Which.
        hold: HoldId,
    },
    /// A hold ran out.
    HoldExpired {
        /// Which.
        hold: HoldId,
    },
    /// A hold was claimed, or a cart bought in one step.
    OrderPlaced(OrderPlaced),
    /// Money came in for an order.
    PaymentRecorded(PaymentRecorded),
    /// Money that was due back went back.
    PaymentRefunded {
        /// The order it was for.
        order: OrderCode,
        /// Which payment.
        reference: Reference,
    },
    /// An order was cancelled and its stock came back. Its applied payment, if
    /// it has one, is due back from here on.
    OrderCancelled {
        /// Which.
        order: OrderCode,
        /// Why.
        reason: CancelReason,
    },
}

/// The first record of a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardStarted {
    /// The log's id.
    pub log: u128,
    /// Which shard this is, from 0.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
    /// From which codes and digests are made. A secret: it never leaves the journal.
    pub key: CodeKey,
    /// The first generation.
    pub generation: u32,
}

/// An event was made or redefined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventDefined {
    /// The catalogue version from here on, from 1.
    pub version: u32,
    /// The whole definition.
    pub definition: EventDefinition,
    /// The right to sell of each quota, in the definition's order.
    pub stocks: Vec<QuotaStock>,
}

/// The right of this lane to sell from a quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaStock {
    /// How many; none: unlimited.
    pub allotment: Option<u32>,
    /// Grows when all rights change hands, from 1.
    pub epoch: u32,
    /// Where the rights come from.
    pub source: StockSource,
}

/// Where the rights of a quota come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StockSource {
    /// The event is sold here alone: the allotment is the capacity.
    Own,
    /// The event has two lanes: the allotment changes by transfers only.
    Transferred,
}

/// Tickets of one type in a hold or an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The event, where it is not the record's own (a cart over a sale group). As the
    /// channel it is rare, so it does not swell every line.
    pub event: Option<Box<Id>>,
    /// Which ticket type.
    pub ticket_type: Id,
    /// What was taken from stock.
    pub stock: Stock,
    /// For one ticket, in minor units.
    pub unit_price: i64,
    /// The catalogue version that priced and limited it.
    pub version: u32,
    /// Where it was sold; none: the default channel.
    pub channel: Option<Box<Id>>,
    /// Fees, taxes and discounts. Nothing makes them yet.
    pub components: Vec<Component>,
}

/// The lines of a hold or order. Most have one.
pub type Lines = SmallVec<[Line; 1]>;

/// What a line took from stock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stock {
    /// So many, whichever.
    Counted(u32),
    /// These seats. Nothing makes them yet.
    Places(Vec<Id>),
}

impl Stock {
    /// How many tickets.
    #[must_use]
    pub fn quantity(&self) -> u32 {
        match self {
            Stock::Counted(n) => *n,
            Stock::Places(places) => places.len() as u32,
        }
    }
}

/// A part of a line's price.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Component {
    /// Fee, tax or discount.
    pub kind: ComponentKind,
    /// Which one.
    pub id: Id,
    /// In minor units, for the whole line.
    pub amount: i64,
}

/// Fee, tax or discount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ComponentKind {
    /// On top.
    Fee,
    /// Inside.
    Tax,
    /// Taken off.
    Discount,
}

/// Tickets were set aside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldPlaced {
    /// Its id.
    pub hold: HoldId,
    /// For whom.
    pub customer: CustomerId,
    /// Until when: expired when now ≥ this.
    pub expires_at: Time,
    /// What.
    pub lines: Lines,
    /// Sum over the lines, in minor units of the event's currency.
    pub total: i64,
    /// The event's currency.
    pub currency: Currency,
}

/// A hold was claimed, or a cart bought in one step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderPlaced {
    /// Its code, the natural key everywhere.
    pub order: OrderCode,
    /// Number of the order in its shard, from 1, dense.
    pub sequence: u64,
    /// The hold it came from; none: bought in one step.
    pub hold: Option<HoldId>,
    /// Who.
    pub customer: CustomerId,
    /// What.
    pub lines: Lines,
    /// Sum over the lines, in minor units.
    pub total: i64,
    /// The event's currency.
    pub currency: Currency,
    /// Until when it must be paid; none: nothing to pay, confirmed at once
    /// (provider `free`).
    pub payment_due: Option<Time>,
}

/// Money came in for an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PaymentRecorded {
    /// For which order.
    pub order: OrderCode,
    /// Who took it.
    pub provider: Provider,
    /// Its natural key there.
    pub reference: Reference,
    /// In minor units.
    pub amount: i64,
    /// Of this currency.
    pub currency: Currency,
    /// When the provider took it.
    pub paid_at: Time,
    /// What became of it.
    pub outcome: PaymentOutcome,
}

/// Who takes money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// The platform that was there, or a till.
    External,
}

/// What became of a payment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentOutcome {
    /// The order is confirmed by it.
    Applied,
    /// It came after the deadline, the same stock was still free and was taken
    /// again: the order is confirmed.
    Reinstated,
    /// It must go back.
    RefundDue(RefundReason),
}

/// Why a payment must go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefundReason {
    /// The order has been paid already.
    AlreadyPaid,
    /// The deadline had passed and the stock is gone.
    StockGone,
    /// The deadline had passed and the customer meanwhile has what the limits allow.
    LimitReached,
    /// The order had been cancelled for another reason than its deadline.
    Cancelled,
}

/// Why an order was cancelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CancelReason {
    /// Not paid in time. A late payment may bring it back.
    Unpaid,
    /// The buyer's front end asked, before it was confirmed.
    Customer,
    /// The organizer asked (scope `manage`).
    Organizer,
}
