//! The words that Rust and Lua share, and their numbers. Lua is given them as tables (`S.Open`), made from these
//! lists, so that no number is written twice. Those of records and of the state are kept in Redis: what was there
//! keeps its place, what is new comes last.

use onsale_core::event::{
    CancelReason, PaymentOutcome, Provider, RefundReason as Refund, StockSource,
};
use onsale_core::view::{OrderState, PaymentState};
use onsale_core::{EventState, limits};

/// Values by name; their number is their place, from 1.
pub(crate) type Words<T> = &'static [(&'static str, T)];

/// Kinds of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    ShardStarted,
    GenerationStarted,
    GroupPlaced,
    EventDefined,
    StateSet,
    HoldPlaced,
    HoldExtended,
    HoldReleased,
    HoldExpired,
    OrderPlaced,
    PaymentRecorded,
    PaymentRefunded,
    OrderCancelled,
}

pub(crate) const KINDS: Words<Kind> = &[
    ("ShardStarted", Kind::ShardStarted),
    ("GenerationStarted", Kind::GenerationStarted),
    ("GroupPlaced", Kind::GroupPlaced),
    ("EventDefined", Kind::EventDefined),
    ("StateSet", Kind::StateSet),
    ("HoldPlaced", Kind::HoldPlaced),
    ("HoldExtended", Kind::HoldExtended),
    ("HoldReleased", Kind::HoldReleased),
    ("HoldExpired", Kind::HoldExpired),
    ("OrderPlaced", Kind::OrderPlaced),
    ("PaymentRecorded", Kind::PaymentRecorded),
    ("PaymentRefunded", Kind::PaymentRefunded),
    ("OrderCancelled", Kind::OrderCancelled),
];

pub(crate) const STATES: Words<EventState> =
    &[("Open", EventState::Open), ("Paused", EventState::Paused), ("Closed", EventState::Closed)];

pub(crate) const ORDER_STATES: Words<OrderState> = &[
    ("AwaitingPayment", OrderState::AwaitingPayment),
    ("Confirmed", OrderState::Confirmed),
    ("Unpaid", OrderState::Cancelled(CancelReason::Unpaid)),
    ("Customer", OrderState::Cancelled(CancelReason::Customer)),
    ("Organizer", OrderState::Cancelled(CancelReason::Organizer)),
];

pub(crate) const PAYMENT_STATES: Words<PaymentState> = &[
    ("Applied", PaymentState::Applied),
    ("RefundDue", PaymentState::RefundDue),
    ("Refunded", PaymentState::Refunded),
];

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Expired,
    Released,
    Claimed,
}

pub(crate) const ENDINGS: Words<Ending> =
    &[("Expired", Ending::Expired), ("Released", Ending::Released), ("Claimed", Ending::Claimed)];

pub(crate) const REASONS: Words<Refund> = &[
    ("AlreadyPaid", Refund::AlreadyPaid),
    ("StockGone", Refund::StockGone),
    ("LimitReached", Refund::LimitReached),
    ("Cancelled", Refund::Cancelled),
];

/// What became of a payment; the reason of a refund stands beside it.
pub(crate) const OUTCOMES: Words<PaymentOutcome> = &[
    ("Applied", PaymentOutcome::Applied),
    ("Reinstated", PaymentOutcome::Reinstated),
    ("RefundDue", PaymentOutcome::RefundDue(Refund::AlreadyPaid)),
];

pub(crate) const PROVIDERS: Words<Provider> = &[("External", Provider::External)];

pub(crate) const SOURCES: Words<StockSource> =
    &[("Own", StockSource::Own), ("Transferred", StockSource::Transferred)];

/// What a change expects to find; a version stands beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    Absent,
    Any,
    Version,
    Unsaid,
}

pub(crate) const EXPECTED: Words<Expected> = &[
    ("Absent", Expected::Absent),
    ("Any", Expected::Any),
    ("Version", Expected::Version),
    ("Unsaid", Expected::Unsaid),
];

/// The first word of a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Word {
    Done,
    Repeated,
    Unchanged,
    Refused,
    View,
    Trouble,
}

pub(crate) const WORDS: Words<Word> = &[
    ("Done", Word::Done),
    ("Repeated", Word::Repeated),
    ("Unchanged", Word::Unchanged),
    ("Refused", Word::Refused),
    ("View", Word::View),
    ("Trouble", Word::Trouble),
];

/// What a function found wrong with what it stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Missing,
    Fence,
    Late,
    Mend,
    Lost,
    Layout,
    Generations,
    Large,
    Other,
}

pub(crate) const FOUND: Words<Found> = &[
    ("Missing", Found::Missing),
    ("Fence", Found::Fence),
    ("Late", Found::Late),
    ("Mend", Found::Mend),
    ("Lost", Found::Lost),
    ("Layout", Found::Layout),
    ("Generations", Found::Generations),
    ("Large", Found::Large),
    ("Other", Found::Other),
];

/// Refusals, by the names of the core's.
pub(crate) const REFUSALS: Words<()> = &[
    ("UnknownEvent", ()),
    ("InvalidDefinition", ()),
    ("VersionNotSaid", ()),
    ("VersionStale", ()),
    ("QuotaBelowUse", ()),
    ("QuotaInUse", ()),
    ("TicketTypeInUse", ()),
    ("CurrencyInUse", ()),
    ("SaleGroupFixed", ()),
    ("TooManyEver", ()),
    ("NotOpen", ()),
    ("SaleNotBegun", ()),
    ("SaleOver", ()),
    ("LineCount", ()),
    ("UnknownTicketType", ()),
    ("Quantity", ()),
    ("TooManyTickets", ()),
    ("PriceBelowMinimum", ()),
    ("PriceFixed", ()),
    ("PriceTooHigh", ()),
    ("OrderLimit", ()),
    ("CustomerLimit", ()),
    ("SoldOut", ()),
    ("NoneFreeNow", ()),
    ("UnknownHold", ()),
    ("HoldIdTaken", ()),
    ("HoldOfAnother", ()),
    ("HoldExpired", ()),
    ("HoldReleased", ()),
    ("HoldClaimed", ()),
    ("ExtendedBefore", ()),
    ("NotDue", ()),
    ("UnknownOrder", ()),
    ("OrderCancelled", ()),
    ("NeedsManage", ()),
    ("NothingToPay", ()),
    ("PaymentAmount", ()),
    ("PaymentCurrency", ()),
    ("PaidAt", ()),
    ("ReferenceUsed", ()),
    ("TooManyPayments", ()),
    ("UnknownPayment", ()),
    ("NotDueBack", ()),
    ("IdTooOld", ()),
    ("ShardFull", ()),
];

/// The core's limits that Lua needs, by name.
const LIMITS: &[(&str, i64)] = &[
    ("LINES_MAX", limits::LINES_MAX as i64),
    ("QUANTITY_MAX", limits::QUANTITY_MAX as i64),
    ("TICKETS_PER_ORDER_MAX", limits::TICKETS_PER_ORDER_MAX as i64),
    ("TICKET_TYPES_MAX", limits::TICKET_TYPES_MAX as i64),
    ("QUOTAS_MAX", limits::QUOTAS_MAX as i64),
    ("PRICE_MAX", limits::PRICE_MAX),
    ("EXPIRED_PER_COMMAND_MAX", limits::EXPIRED_PER_COMMAND_MAX as i64),
    ("PAID_AHEAD_US", limits::PAID_AHEAD_US),
    ("PAYMENTS_PER_ORDER_MAX", limits::PAYMENTS_PER_ORDER_MAX as i64),
    ("COMMANDS_REMEMBERED_US", limits::COMMANDS_REMEMBERED_US),
    ("ENDED_HOLDS_MAX", limits::ENDED_HOLDS_MAX as i64),
    ("ORDERS_PER_SHARD_MAX", limits::ORDERS_PER_SHARD_MAX as i64),
    ("GENERATIONS_MAX", limits::GENERATIONS_MAX as i64),
];

/// The number of a value.
///
/// # Panics
/// It is not among the words, which a test rules out.
pub(crate) fn number<T: PartialEq>(words: Words<T>, value: &T) -> i64 {
    let place = words.iter().position(|(_, word)| word == value);
    place.expect("every value has a word") as i64 + 1
}

/// The value with a number.
pub(crate) fn word<T: Copy>(words: Words<T>, number: i64) -> Option<T> {
    let place = usize::try_from(number.checked_sub(1)?).ok()?;
    words.get(place).map(|(_, value)| *value)
}

/// The name with a number.
pub(crate) fn name<T>(words: Words<T>, number: i64) -> Option<&'static str> {
    let place = usize::try_from(number.checked_sub(1)?).ok()?;
    words.get(place).map(|(name, _)| *name)
}

/// All of it as Lua.
pub(crate) fn lua() -> String {
    let mut text = String::new();
    table(&mut text, "K", KINDS);
    table(&mut text, "S", STATES);
    table(&mut text, "O", ORDER_STATES);
    table(&mut text, "P", PAYMENT_STATES);
    table(&mut text, "E", ENDINGS);
    table(&mut text, "B", REASONS);
    table(&mut text, "U", OUTCOMES);
    table(&mut text, "V", PROVIDERS);
    table(&mut text, "C", SOURCES);
    table(&mut text, "X", EXPECTED);
    table(&mut text, "W", WORDS);
    table(&mut text, "T", FOUND);
    table(&mut text, "R", REFUSALS);
    let limits = LIMITS.iter().map(|(name, value)| format!("{name} = {value}"));
    text += &format!("local L = {{ {} }}\n", limits.collect::<Vec<_>>().join(", "));
    text
}

fn table<T>(text: &mut String, local: &str, words: Words<T>) {
    let entries = words.iter().enumerate().map(|(i, (name, _))| format!("{name} = {}", i + 1));
    *text += &format!("local {local} = {{ {} }}\n", entries.collect::<Vec<_>>().join(", "));
}
