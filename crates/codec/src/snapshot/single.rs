//! What stands in a snapshot by itself: the shard, groups and events.

use onsale_core::event::QuotaStock;
use onsale_core::snapshot::{EventPart, GroupPart, ShardPart, Sizes, TypePart};
use onsale_core::{CodeKey, Id};

use crate::catalogue::{
    EVENT_STATES, event_state_number, put_definition, put_quota_stock, take_definition,
    take_quota_stock,
};
use crate::error::{Error, Problem};
use crate::wire::{Fields, Value, need, put_bytes, put_message, put_signed, put_unsigned};

pub(super) fn put_shard(out: &mut Vec<u8>, part: &ShardPart) {
    put_bytes(out, 1, &part.log.to_be_bytes());
    put_unsigned(out, 2, part.shard.into());
    put_unsigned(out, 3, part.shards.into());
    put_bytes(out, 4, &part.key.0);
    put_unsigned(out, 5, part.generation.into());
    put_unsigned(out, 6, part.position);
    put_signed(out, 7, part.time.0);
    put_unsigned(out, 8, part.ids_since.into());
    for (first, generation) in &part.generations {
        put_message(out, 9, |out| {
            put_unsigned(out, 1, (*first).into());
            put_unsigned(out, 2, (*generation).into());
        });
    }
    put_bytes(out, 10, &part.frozen_hash.to_be_bytes());
    put_bytes(out, 11, &part.frozen_customers.to_be_bytes());
    let Sizes { customers, holds, orders, references } = part.sizes;
    for (number, size) in (12..).zip([customers, holds, orders, references]) {
        put_unsigned(out, number, size as u64);
    }
}

pub(super) fn take_shard(fields: Fields<'_>) -> Result<ShardPart, Error> {
    let (mut wides, mut numbers) = ([None; 4], [None; 16]);
    let (mut generations, mut time) = (Vec::new(), None);
    for field in fields {
        let field = field?;
        let number = field.number as usize;
        match number {
            1 => field.set("log", &mut wides[0], Value::id16)?,
            4 => field.set("key", &mut wides[1], Value::id16)?,
            10 => field.set("frozen_hash", &mut wides[2], Value::id16)?,
            11 => field.set("frozen_customers", &mut wides[3], Value::id16)?,
            7 => field.set("time", &mut time, Value::time)?,
            9 => generations.push(field.item("generations", generations.len(), |value| {
                take_generation(value.fields()?)
            })?),
            2 | 3 | 5 | 6 | 8 | 12..=15 => {
                field.set("number", &mut numbers[number], Value::unsigned)?;
            }
            _ => {}
        }
    }
    let number = |at: usize| numbers[at].unwrap_or(0);
    fn small<T: TryFrom<u64>>(name: &'static str, value: u64) -> Result<T, Error> {
        T::try_from(value).map_err(|_| Error::from(Problem::Value { value }).within(name))
    }
    Ok(ShardPart {
        log: need("log", wides[0])?,
        shard: small("shard", number(2))?,
        shards: small("shards", number(3))?,
        key: CodeKey(need("key", wides[1])?.to_be_bytes()),
        generation: small("generation", number(5))?,
        position: number(6),
        time: time.unwrap_or_default(),
        ids_since: small("ids_since", number(8))?,
        generations,
        frozen_hash: need("frozen_hash", wides[2])?,
        frozen_customers: need("frozen_customers", wides[3])?,
        sizes: Sizes {
            customers: small("customers", number(12))?,
            holds: small("holds", number(13))?,
            orders: small("orders", number(14))?,
            references: small("references", number(15))?,
        },
    })
}

fn take_generation(fields: Fields<'_>) -> Result<(u32, u8), Error> {
    let (mut first, mut generation) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("first", &mut first, |v| v.small())?,
            2 => field.set("generation", &mut generation, |v| v.small())?,
            _ => {}
        }
    }
    Ok((first.unwrap_or(0), generation.unwrap_or(0)))
}

pub(super) fn put_group(out: &mut Vec<u8>, part: &GroupPart) {
    put_bytes(out, 1, part.organizer.as_bytes());
    put_bytes(out, 2, part.sale_group.as_bytes());
}

pub(super) fn take_group(fields: Fields<'_>) -> Result<GroupPart, Error> {
    let (mut organizer, mut sale_group) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("organizer", &mut organizer, Value::id)?,
            2 => field.set("sale_group", &mut sale_group, Value::id)?,
            _ => {}
        }
    }
    let (organizer, sale_group) = (need("organizer", organizer)?, need("sale_group", sale_group)?);
    Ok(GroupPart { organizer, sale_group })
}

pub(super) fn put_event(out: &mut Vec<u8>, part: &EventPart) {
    put_bytes(out, 1, part.organizer.as_bytes());
    put_bytes(out, 2, part.event.as_bytes());
    put_unsigned(out, 3, part.version.into());
    put_unsigned(out, 4, event_state_number(part.state));
    put_message(out, 5, |out| put_definition(out, &part.definition));
    put_unsigned(out, 6, part.used.into());
    for ticket_type in &part.types {
        put_message(out, 7, |out| {
            put_bytes(out, 1, ticket_type.id.as_bytes());
            put_unsigned(out, 2, ticket_type.held.into());
            put_unsigned(out, 3, ticket_type.sold.into());
            put_unsigned(out, 4, ticket_type.frozen.into());
        });
    }
    for (quota, stock) in &part.quotas {
        put_message(out, 8, |out| {
            put_bytes(out, 1, quota.as_bytes());
            put_message(out, 2, |out| put_quota_stock(out, stock));
        });
    }
}

pub(super) fn take_event(fields: Fields<'_>) -> Result<EventPart, Error> {
    let (mut organizer, mut event, mut version, mut state) = (None, None, None, None);
    let (mut definition, mut used) = (None, None);
    let (mut types, mut quotas) = (Vec::new(), Vec::new());
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("organizer", &mut organizer, Value::id)?,
            2 => field.set("event", &mut event, Value::id)?,
            3 => field.set("version", &mut version, |v| v.small())?,
            4 => field.set("state", &mut state, |v| v.one_of(EVENT_STATES))?,
            5 => field.set("definition", &mut definition, |v| take_definition(v.fields()?))?,
            6 => field.set("used", &mut used, Value::boolean)?,
            7 => types.push(field.item("types", types.len(), |v| take_type(v.fields()?))?),
            8 => quotas.push(field.item("quotas", quotas.len(), |v| take_quota(v.fields()?))?),
            _ => {}
        }
    }
    Ok(EventPart {
        organizer: need("organizer", organizer)?,
        event: need("event", event)?,
        version: version.unwrap_or(0),
        state: need("state", state)?,
        definition: need("definition", definition)?.into(),
        used: used.unwrap_or(false),
        types,
        quotas,
    })
}

fn take_type(fields: Fields<'_>) -> Result<TypePart, Error> {
    let (mut id, mut held, mut sold, mut frozen) = (None, None, None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("id", &mut id, Value::id)?,
            2 => field.set("held", &mut held, |v| v.small())?,
            3 => field.set("sold", &mut sold, |v| v.small())?,
            4 => field.set("frozen", &mut frozen, |v| v.small())?,
            _ => {}
        }
    }
    Ok(TypePart {
        id: need("id", id)?,
        held: held.unwrap_or(0),
        sold: sold.unwrap_or(0),
        frozen: frozen.unwrap_or(0),
    })
}

fn take_quota(fields: Fields<'_>) -> Result<(Id, QuotaStock), Error> {
    let (mut id, mut stock) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("id", &mut id, Value::id)?,
            2 => field.set("stock", &mut stock, |v| take_quota_stock(v.fields()?))?,
            _ => {}
        }
    }
    Ok((need("id", id)?, need("stock", stock)?))
}
