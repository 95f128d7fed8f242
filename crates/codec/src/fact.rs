//! The facts: which number stands for which, and the small messages among them.

use onsale_core::event::ShardStarted;
use onsale_core::{CodeKey, Fact, HoldId};

use crate::catalogue::{EVENT_STATES, event_state_number, put_event_defined, take_event_defined};
use crate::error::Error;
use crate::sale::{
    CANCEL_REASONS, cancel_reason_number, put_hold_placed, put_order_placed, put_payment_recorded,
    take_hold_placed, take_order_placed, take_payment_recorded,
};
use crate::wire::{Fields, Value, need, put_bytes, put_message, put_signed, put_unsigned};

/// The name of the fact with this number; none: unknown to this version.
pub(crate) fn name(number: u32) -> Option<&'static str> {
    Some(match number {
        16 => "shard_started",
        17 => "generation_started",
        18 => "group_placed",
        24 => "event_defined",
        25 => "state_set",
        32 => "hold_placed",
        33 => "hold_extended",
        34 => "hold_released",
        35 => "hold_expired",
        40 => "order_placed",
        41 => "order_cancelled",
        48 => "payment_recorded",
        49 => "payment_refunded",
        _ => return None,
    })
}

pub(crate) fn put(fact: &Fact, out: &mut Vec<u8>) {
    match fact {
        Fact::ShardStarted(started) => put_message(out, 16, |out| put_shard_started(out, started)),
        Fact::GenerationStarted { generation } => {
            put_message(out, 17, |out| put_unsigned(out, 1, (*generation).into()));
        }
        Fact::GroupPlaced { sale_group } => {
            put_message(out, 18, |out| put_bytes(out, 1, sale_group.as_bytes()));
        }
        Fact::EventDefined(defined) => put_message(out, 24, |out| put_event_defined(out, defined)),
        Fact::StateSet { version, state } => put_message(out, 25, |out| {
            put_unsigned(out, 1, (*version).into());
            put_unsigned(out, 2, event_state_number(*state));
        }),
        Fact::HoldPlaced(placed) => put_message(out, 32, |out| put_hold_placed(out, placed)),
        Fact::HoldExtended { hold, expires_at } => put_message(out, 33, |out| {
            put_hold(out, *hold);
            put_signed(out, 2, expires_at.0);
        }),
        Fact::HoldReleased { hold } => put_message(out, 34, |out| put_hold(out, *hold)),
        Fact::HoldExpired { hold } => put_message(out, 35, |out| put_hold(out, *hold)),
        Fact::OrderPlaced(placed) => put_message(out, 40, |out| put_order_placed(out, placed)),
        Fact::OrderCancelled { order, reason } => put_message(out, 41, |out| {
            put_bytes(out, 1, &order.0);
            put_unsigned(out, 2, cancel_reason_number(*reason));
        }),
        Fact::PaymentRecorded(payment) => {
            put_message(out, 48, |out| put_payment_recorded(out, payment));
        }
        Fact::PaymentRefunded { order, reference } => put_message(out, 49, |out| {
            put_bytes(out, 1, &order.0);
            put_bytes(out, 2, reference.as_bytes());
        }),
    }
}

/// Reads the fact with this number, which must be one that has a name.
pub(crate) fn take(number: u32, fields: Fields<'_>) -> Result<Fact, Error> {
    Ok(match number {
        16 => Fact::ShardStarted(take_shard_started(fields)?),
        17 => {
            let generation = take_one(fields, "generation", |v| v.small())?;
            Fact::GenerationStarted { generation: generation.unwrap_or(0) }
        }
        18 => {
            let sale_group = take_one(fields, "sale_group", |v| v.id())?;
            Fact::GroupPlaced { sale_group: need("sale_group", sale_group)? }
        }
        24 => Fact::EventDefined(Box::new(take_event_defined(fields)?)),
        25 => {
            let (version, state) =
                take_two(fields, "version", |v| v.small(), "state", |v| v.one_of(EVENT_STATES))?;
            Fact::StateSet { version: version.unwrap_or(0), state: need("state", state)? }
        }
        32 => Fact::HoldPlaced(take_hold_placed(fields)?),
        33 => {
            let (hold, expires_at) =
                take_two(fields, "hold", take_hold, "expires_at", |v| v.time())?;
            let expires_at = expires_at.unwrap_or_default();
            Fact::HoldExtended { hold: need("hold", hold)?, expires_at }
        }
        34 => Fact::HoldReleased { hold: need("hold", take_one(fields, "hold", take_hold)?)? },
        35 => Fact::HoldExpired { hold: need("hold", take_one(fields, "hold", take_hold)?)? },
        40 => Fact::OrderPlaced(take_order_placed(fields)?),
        41 => {
            let (order, reason) =
                take_two(fields, "order", |v| v.order(), "reason", |v| v.one_of(CANCEL_REASONS))?;
            Fact::OrderCancelled { order: need("order", order)?, reason: need("reason", reason)? }
        }
        48 => Fact::PaymentRecorded(take_payment_recorded(fields)?),
        49 => {
            let (order, reference) =
                take_two(fields, "order", |v| v.order(), "reference", |v| v.reference())?;
            let (order, reference) = (need("order", order)?, need("reference", reference)?);
            Fact::PaymentRefunded { order, reference }
        }
        number => return Err(Error::UnknownFact { number }),
    })
}

fn put_shard_started(out: &mut Vec<u8>, started: &ShardStarted) {
    put_bytes(out, 1, &started.log.to_be_bytes());
    put_unsigned(out, 2, started.shard.into());
    put_unsigned(out, 3, started.shards.into());
    put_bytes(out, 4, &started.key.0);
    put_unsigned(out, 5, started.generation.into());
}

fn take_shard_started(fields: Fields<'_>) -> Result<ShardStarted, Error> {
    let (mut log, mut shard, mut shards) = (None, None, None);
    let (mut key, mut generation) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("log", &mut log, |v| v.id16())?,
            2 => field.set("shard", &mut shard, |v| v.small())?,
            3 => field.set("shards", &mut shards, |v| v.small())?,
            4 => field.set("key", &mut key, |v| v.bytes16().map(CodeKey))?,
            5 => field.set("generation", &mut generation, |v| v.small())?,
            _ => {}
        }
    }
    Ok(ShardStarted {
        log: need("log", log)?,
        shard: shard.unwrap_or(0),
        shards: shards.unwrap_or(0),
        key: need("key", key)?,
        generation: generation.unwrap_or(0),
    })
}

fn put_hold(out: &mut Vec<u8>, hold: HoldId) {
    put_bytes(out, 1, &hold.0.to_be_bytes());
}

fn take_hold(value: Value<'_>) -> Result<HoldId, Error> {
    value.id16().map(HoldId)
}

/// A message that has one field, number 1.
fn take_one<'a, A>(
    fields: Fields<'a>,
    name: &'static str,
    read: impl Fn(Value<'a>) -> Result<A, Error>,
) -> Result<Option<A>, Error> {
    let mut value = None;
    for field in fields {
        let field = field?;
        if field.number == 1 {
            field.set(name, &mut value, &read)?;
        }
    }
    Ok(value)
}

/// A message that has two fields, numbers 1 and 2.
fn take_two<'a, A, B>(
    fields: Fields<'a>,
    first_name: &'static str,
    first_read: impl Fn(Value<'a>) -> Result<A, Error>,
    second_name: &'static str,
    second_read: impl Fn(Value<'a>) -> Result<B, Error>,
) -> Result<(Option<A>, Option<B>), Error> {
    let (mut first, mut second) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set(first_name, &mut first, &first_read)?,
            2 => field.set(second_name, &mut second, &second_read)?,
            _ => {}
        }
    }
    Ok((first, second))
}
