//! Every limit of the core in one place, with the relations between them
//! asserted at compile time.

/// Longest organizer, event, ticket type, quota and sale group id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest customer id, in bytes.
pub const CUSTOMER_BYTES_MAX: usize = 64;
/// Longest payment reference, in bytes.
pub const REFERENCE_BYTES_MAX: usize = 128;
/// Longest display name of an event or ticket type, in bytes.
pub const NAME_BYTES_MAX: usize = 200;
/// Lines in one hold or order.
pub const LINES_MAX: usize = 32;
/// Tickets in one line.
pub const QUANTITY_MAX: u32 = 1_000;
/// Tickets in one hold or order, over all its lines.
pub const TICKETS_PER_ORDER_MAX: u32 = 1_000;
/// Ticket types an event has ever had.
pub const TICKET_TYPES_MAX: usize = 1_000;
/// Quotas an event has ever had.
pub const QUOTAS_MAX: usize = 1_000;
/// Quotas one ticket type draws on.
pub const QUOTAS_PER_TYPE_MAX: usize = 16;
/// Limits of one event.
pub const LIMITS_MAX: usize = 64;
/// Capacity of one quota, in tickets.
pub const CAPACITY_MAX: u32 = 1_000_000_000;
/// Price of one ticket, in minor units of its currency.
pub const PRICE_MAX: i64 = 1_000_000_000_000;
/// Largest integer that Lua and JSON still hold exactly.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;
/// Shortest and longest life of a hold, in seconds.
pub const HOLD_SECONDS: std::ops::RangeInclusive<u32> = 1..=86_400;
/// Shortest and longest time to pay an order, in seconds.
pub const PAYMENT_SECONDS: std::ops::RangeInclusive<u32> = 1..=7_776_000;
/// Due holds that one command may expire to get at their stock.
pub const EXPIRED_PER_COMMAND_MAX: usize = 64;
/// How far a provider's clock may run ahead of ours, in microseconds.
pub const PAID_AHEAD_US: i64 = 5 * 60 * 1_000_000;
/// Payments recorded for one order.
pub const PAYMENTS_PER_ORDER_MAX: u32 = 100;
/// Command ids remembered by one shard's state; what is older is for an index outside to know.
pub const COMMANDS_REMEMBERED_MAX: usize = 1 << 17;
/// How long a command id is remembered, in microseconds.
pub const COMMANDS_REMEMBERED_US: i64 = 24 * 3_600 * 1_000_000;
/// Ended holds of which a shard remembers how they ended.
pub const ENDED_HOLDS_MAX: usize = 1 << 17;
/// Shards of one data folder.
pub const SHARDS_MAX: u16 = 64;
/// Orders of one shard, over all generations.
pub const ORDERS_PER_SHARD_MAX: u64 = (1 << 32) - 1;
/// The newest orders of a shard that are kept in full; older ones shrink once they are settled.
pub const ORDERS_HOT_MAX: u32 = 1 << 16;
/// Generations of a log.
pub const GENERATIONS_MAX: u32 = 127;

const _: () = {
    assert!(PRICE_MAX * (TICKETS_PER_ORDER_MAX as i64) < INTEGER_MAX);
    assert!(PRICE_MAX * (LINES_MAX as i64) < i64::MAX / QUANTITY_MAX as i64);
    // What an order code has room for.
    assert!(SHARDS_MAX <= 1 << 6);
    assert!(GENERATIONS_MAX < 1 << 7);
    assert!(ORDERS_PER_SHARD_MAX < 1 << 32);
    assert!(QUANTITY_MAX <= TICKETS_PER_ORDER_MAX);
    assert!(TICKET_TYPES_MAX < u16::MAX as usize);
    assert!(QUOTAS_MAX < u16::MAX as usize);
    assert!(ENDED_HOLDS_MAX < u32::MAX as usize);
    assert!(COMMANDS_REMEMBERED_MAX < u32::MAX as usize);
    assert!(ID_BYTES_MAX <= u8::MAX as usize);
    assert!(CUSTOMER_BYTES_MAX <= u8::MAX as usize);
    assert!(REFERENCE_BYTES_MAX <= u8::MAX as usize);
};
