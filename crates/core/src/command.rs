//! What a caller asks for: commands, in the imperative.

use smallvec::SmallVec;

use crate::catalogue::{EventDefinition, EventState};
use crate::code::OrderCode;
use crate::text::{CustomerId, Id, Reference};
use crate::time::Time;

/// The id of a hold, made outside (a UUIDv7) and handed in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HoldId(pub u128);

/// Which command this is, and what it said: the ground on which a repeated one
/// is told from a new one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandStamp {
    /// Digest of the caller's idempotency key; without one, a random id made by the server.
    pub id: u128,
    /// Digest of the command's method, path and body.
    pub body: u128,
    /// Whether the caller chose the id. Only then is it remembered.
    pub chosen: bool,
    /// When the id says that it was made, if it says so (a UUIDv7 does).
    pub made_at: Option<Time>,
}

/// What a change of an event's definition or state expects to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expects {
    /// No event with this id yet (`If-None-Match: *`).
    Absent,
    /// Any version (`If-Match: *`).
    Any,
    /// Exactly this version (`If-Match: "7"`).
    Version(u32),
    /// Nothing was said: fine for a new event, refused for one that is there.
    Unsaid,
}

/// One wish of a cart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    /// Which ticket type.
    pub ticket_type: Id,
    /// How many.
    pub quantity: u32,
    /// The buyer's price for one, in minor units; left out: the type's own.
    pub price: Option<i64>,
}

/// The wishes of a cart. Most have one.
pub type Items = SmallVec<[Item; 2]>;

/// A command for one event of one organizer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// Id and digest, for idempotency.
    pub stamp: CommandStamp,
    /// Whose event.
    pub organizer: Id,
    /// Which event.
    pub event: Id,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Make an event, or give it a new definition.
    DefineEvent {
        /// The whole definition.
        definition: Box<EventDefinition>,
        /// Guard against lost updates.
        expects: Expects,
    },
    /// Open, pause or close an event.
    SetState {
        /// The new state.
        state: EventState,
        /// Guard against lost updates.
        expects: Expects,
    },
    /// Set tickets aside for a buyer.
    PlaceHold {
        /// The id of the new hold.
        hold: HoldId,
        /// Who.
        customer: CustomerId,
        /// What.
        items: Items,
    },
    /// Give a hold its full time again, once.
    ExtendHold {
        /// Which.
        hold: HoldId,
    },
    /// Give a hold's tickets back.
    ReleaseHold {
        /// Which.
        hold: HoldId,
    },
    /// Make an order of a hold.
    ClaimHold {
        /// Which.
        hold: HoldId,
        /// Who; must be the hold's.
        customer: CustomerId,
    },
    /// Hold and claim in one step.
    Buy {
        /// Who.
        customer: CustomerId,
        /// What.
        items: Items,
    },
    /// A provider took money for an order.
    RecordPayment {
        /// Which order.
        order: OrderCode,
        /// The payment's natural key, unique in the event.
        reference: Reference,
        /// In minor units; must be the order's total.
        amount: i64,
        /// Must be the event's currency.
        currency: crate::catalogue::Currency,
        /// When the provider took it; left out: now.
        paid_at: Option<Time>,
    },
    /// A provider gave the money of a payment that was due back.
    RecordRefund {
        /// The order it was for; left out: whichever of the event.
        order: Option<OrderCode>,
        /// Which payment.
        reference: Reference,
    },
    /// Cancel an order; its stock comes back.
    CancelOrder {
        /// Which.
        order: OrderCode,
        /// Whether the caller may cancel a confirmed one (scope `manage`).
        manage: bool,
    },
    /// Expire one due hold. The engine's timer makes these.
    ExpireHold {
        /// Which.
        hold: HoldId,
    },
    /// Cancel one order whose time to pay is over. The engine's timer makes these.
    ExpireOrder {
        /// Which.
        order: OrderCode,
    },
}
