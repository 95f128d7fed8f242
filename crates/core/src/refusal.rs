//! Why a command was refused: a closed enum. A refusal changes nothing, is not
//! recorded, and says what and how much.

use crate::catalogue::{EventState, InvalidDefinition};
use crate::code::OrderCode;
use crate::event::CancelReason;
use crate::limits;
use crate::text::Id;
use crate::time::Time;

/// Why a command was refused. `line` counts from 0 in the command's items.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    // --- events and their definitions
    /// No such event here.
    #[error("there is no such event")]
    UnknownEvent,
    /// The definition breaks a rule by itself.
    #[error(transparent)]
    InvalidDefinition(#[from] InvalidDefinition),
    /// A change of an event that is there must say which version it changes.
    #[error("the event is at version {current}: send it as If-Match: \"{current}\", or *")]
    VersionNotSaid {
        /// The version that is there.
        current: u32,
    },
    /// The version that was said is not the one that is there.
    #[error("{}", version_there(*current))]
    VersionStale {
        /// The version that is there; none: no event.
        current: Option<u32>,
    },
    /// A quota may not shrink below what is sold and held.
    #[error("quotas[{index}].capacity: {quota} has {used} sold or held, {asked} is less")]
    QuotaBelowUse {
        /// Its index in the new definition.
        index: usize,
        /// Which.
        quota: Id,
        /// Wanted capacity.
        asked: u32,
        /// Sold + held.
        used: u32,
    },
    /// A quota with stock sold or held may not be taken out.
    #[error("the quota {quota} has {used} sold or held and must stay")]
    QuotaInUse {
        /// Which.
        quota: Id,
        /// Sold + held.
        used: u32,
    },
    /// A ticket type with tickets sold or held may not be taken out.
    #[error("the ticket type {ticket_type} has {used} sold or held and must stay")]
    TicketTypeInUse {
        /// Which.
        ticket_type: Id,
        /// Sold + held.
        used: u32,
    },
    /// The currency may not change once there has been a hold or an order.
    #[error("currency: can't change once tickets were held or sold")]
    CurrencyInUse,
    /// The sale group never changes.
    #[error("sale_group: is {group} and never changes")]
    SaleGroupFixed {
        /// The one it has.
        group: Id,
    },
    /// Over time the event would have had too many ticket types or quotas.
    #[error("{field}: an event has at most {max} over its whole life")]
    TooManyEver {
        /// `ticket_types` or `quotas`.
        field: &'static str,
        /// At most.
        max: usize,
    },

    // --- holds and carts
    /// The event is paused or closed.
    #[error("the event is {state}")]
    NotOpen {
        /// Its state.
        state: EventState,
    },
    /// The sale of the event, or of the line's ticket type, has not begun.
    #[error("the sale opens later")]
    SaleNotBegun {
        /// The line whose ticket type it is; none: the event.
        line: Option<usize>,
        /// When it opens.
        opens_at: Time,
    },
    /// The sale of the event, or of the line's ticket type, is over.
    #[error("the sale is over")]
    SaleOver {
        /// The line whose ticket type it is; none: the event.
        line: Option<usize>,
        /// When it closed.
        closed_at: Time,
    },
    /// No lines, or too many.
    #[error("items: must have 1 to {max} entries", max = limits::LINES_MAX)]
    LineCount,
    /// No such ticket type in this event.
    #[error("items[{line}].ticket_type: there is no such ticket type")]
    UnknownTicketType {
        /// Which line.
        line: usize,
    },
    /// Zero or too many tickets.
    #[error("items[{line}].quantity: must be 1 to {max}")]
    Quantity {
        /// Which line.
        line: usize,
        /// At most.
        max: u32,
    },
    /// Too many tickets over all lines.
    #[error("items: at most {max} tickets in all")]
    TooManyTickets {
        /// At most.
        max: u32,
    },
    /// Below the price that the type asks for at least.
    #[error("items[{line}].price: must be at least {minimum}")]
    PriceBelowMinimum {
        /// Which line.
        line: usize,
        /// In minor units.
        minimum: i64,
    },
    /// Another price than the type's own, and the buyer has no choice.
    #[error("items[{line}].price: is {price} and not the buyer's choice")]
    PriceFixed {
        /// Which line.
        line: usize,
        /// In minor units.
        price: i64,
    },
    /// More than any ticket may cost.
    #[error("items[{line}].price: must be at most {max}", max = limits::PRICE_MAX)]
    PriceTooHigh {
        /// Which line.
        line: usize,
    },
    /// More than a limit allows in one order.
    #[error("limits[{limit}].per_order: at most {max}, asked for {asked}")]
    OrderLimit {
        /// Index of the limit in the definition.
        limit: usize,
        /// Asked for.
        asked: u32,
        /// At most.
        max: u32,
    },
    /// More than a limit allows one customer.
    #[error("limits[{limit}].per_customer: at most {max}, has {has}, asked for {asked}")]
    CustomerLimit {
        /// Index of the limit in the definition.
        limit: usize,
        /// Held and owned already.
        has: u32,
        /// Asked for.
        asked: u32,
        /// At most.
        max: u32,
    },
    /// Not enough left that is not sold: waiting does not help.
    #[error("{quota} is sold out: {free} left, asked for {asked}")]
    SoldOut {
        /// Which quota.
        quota: Id,
        /// Asked of it.
        asked: u32,
        /// Allotment − sold.
        free: u32,
    },
    /// Not enough free now, the rest is on hold: it may come back.
    #[error("{quota} has {free} free and {held} on hold, asked for {asked}")]
    NoneFreeNow {
        /// Which quota.
        quota: Id,
        /// Asked of it.
        asked: u32,
        /// Free now.
        free: u32,
        /// On hold.
        held: u32,
    },
    /// No such hold in this event.
    #[error("there is no such hold in this event")]
    UnknownHold,
    /// A hold with this id is there already.
    #[error("a hold with this id exists")]
    HoldIdTaken,
    /// The hold is another customer's.
    #[error("customer: the hold is another customer's")]
    HoldOfAnother,
    /// The hold ran out.
    #[error("the hold has expired")]
    HoldExpired {
        /// When.
        at: Time,
    },
    /// The hold was given back.
    #[error("the hold was released")]
    HoldReleased {
        /// When.
        at: Time,
    },
    /// The hold has become an order.
    #[error("the hold was claimed")]
    HoldClaimed {
        /// Which.
        order: OrderCode,
    },
    /// A hold can be extended once.
    #[error("the hold was extended before")]
    ExtendedBefore,
    /// The timer asked for something that is not due, or is gone. Never seen outside.
    #[error("not due")]
    NotDue,

    // --- orders and payments
    /// No such order in this event.
    #[error("there is no such order in this event")]
    UnknownOrder,
    /// The order was cancelled.
    #[error("the order was cancelled")]
    OrderCancelled {
        /// Why.
        reason: CancelReason,
    },
    /// A confirmed order can only be cancelled with the scope `manage`.
    #[error("the order is confirmed: to cancel it takes the scope manage")]
    NeedsManage,
    /// The order costs nothing.
    #[error("the order costs nothing")]
    NothingToPay,
    /// Not the order's total.
    #[error("amount: must be {expected}")]
    PaymentAmount {
        /// In minor units.
        expected: i64,
    },
    /// Not the order's currency.
    #[error("currency: must be {}", .expected.as_str())]
    PaymentCurrency {
        /// The order's.
        expected: crate::catalogue::Currency,
    },
    /// `paid_at` lies in the future or before all time.
    #[error("paid_at: must not be in the future")]
    PaidAt,
    /// The reference stands for another payment.
    #[error("reference: was used for the order {order}")]
    ReferenceUsed {
        /// For which.
        order: OrderCode,
    },
    /// Too many payments for one order.
    #[error("an order has at most {max} payments", max = limits::PAYMENTS_PER_ORDER_MAX)]
    TooManyPayments,
    /// No such payment in this event (or of this order).
    #[error("there is no such payment")]
    UnknownPayment,
    /// The payment is not due back.
    #[error("the payment is applied: cancel the order first")]
    NotDueBack,

    // --- ids of commands
    /// The id was used for a command that said something else.
    #[error("the idempotency key was used for another request")]
    IdReused,
    /// The id says that it was made before the window of remembered ids.
    #[error("the idempotency key is older than what is remembered")]
    IdTooOld {
        /// Since when ids are remembered.
        since: Time,
    },

    // --- lanes and capacity
    /// Another lane sells this event. Nothing makes it yet.
    #[error("the event is sold by the lane {lane}")]
    LaneMoved {
        /// Which lane.
        lane: Id,
        /// Since which epoch.
        epoch: u32,
    },
    /// The shard has given all its order numbers.
    #[error("the shard is full")]
    ShardFull,
}

fn version_there(current: Option<u32>) -> String {
    match current {
        Some(version) => format!("the event is at version {version}"),
        None => "the event is not there yet".to_owned(),
    }
}
