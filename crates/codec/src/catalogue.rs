//! Messages of the catalogue: what is for sale. Each `put_…` stands beside the
//! `take_…` that reads it, with the same numbers as in `onsale.proto`.

use onsale_core::event::{EventDefined, QuotaStock, StockSource};
use onsale_core::{
    EventDefinition, EventState, Limit, QuotaDefinition, TicketTypeDefinition, Window,
};

use crate::error::Error;
use crate::wire::{
    Fields, need, put_bytes, put_bytes_present, put_message, put_option, put_signed,
    put_time_option, put_unsigned,
};

const STOCK_SOURCES: &[(u64, StockSource)] =
    &[(1, StockSource::Own), (2, StockSource::Transferred)];

pub(crate) const EVENT_STATES: &[(u64, EventState)] =
    &[(1, EventState::Open), (2, EventState::Paused), (3, EventState::Closed)];

pub(crate) fn event_state_number(state: EventState) -> u64 {
    match state {
        EventState::Open => 1,
        EventState::Paused => 2,
        EventState::Closed => 3,
    }
}

pub(crate) fn put_event_defined(out: &mut Vec<u8>, defined: &EventDefined) {
    put_unsigned(out, 1, defined.version.into());
    put_message(out, 2, |out| put_definition(out, &defined.definition));
    for stock in &defined.stocks {
        put_message(out, 3, |out| put_quota_stock(out, stock));
    }
}

pub(crate) fn take_event_defined(fields: Fields<'_>) -> Result<EventDefined, Error> {
    let (mut version, mut definition, mut stocks) = (None, None, Vec::new());
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("version", &mut version, |v| v.small())?,
            2 => field.set("definition", &mut definition, |v| take_definition(v.fields()?))?,
            3 => {
                stocks.push(field.item("stocks", stocks.len(), |v| take_quota_stock(v.fields()?))?)
            }
            _ => {}
        }
    }
    Ok(EventDefined {
        version: version.unwrap_or(0),
        definition: need("definition", definition)?,
        stocks,
    })
}

pub(crate) fn put_quota_stock(out: &mut Vec<u8>, stock: &QuotaStock) {
    put_option(out, 1, stock.allotment);
    put_unsigned(out, 2, stock.epoch.into());
    let source = match stock.source {
        StockSource::Own => 1,
        StockSource::Transferred => 2,
    };
    put_unsigned(out, 3, source);
}

pub(crate) fn take_quota_stock(fields: Fields<'_>) -> Result<QuotaStock, Error> {
    let (mut allotment, mut epoch, mut source) = (None, None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("allotment", &mut allotment, |v| v.small())?,
            2 => field.set("epoch", &mut epoch, |v| v.small())?,
            3 => field.set("source", &mut source, |v| v.one_of(STOCK_SOURCES))?,
            _ => {}
        }
    }
    Ok(QuotaStock { allotment, epoch: epoch.unwrap_or(0), source: need("source", source)? })
}

pub(crate) fn put_definition(out: &mut Vec<u8>, definition: &EventDefinition) {
    put_bytes(out, 1, definition.name.as_bytes());
    put_bytes(out, 2, definition.currency.as_str().as_bytes());
    put_time_option(out, 3, definition.starts_at);
    put_window(out, 4, &definition.sale);
    for limit in &definition.limits {
        put_message(out, 5, |out| put_limit(out, limit));
    }
    put_unsigned(out, 6, definition.hold_seconds.into());
    put_unsigned(out, 7, definition.payment_seconds.into());
    put_bytes(out, 8, definition.sale_group.as_bytes());
    for quota in &definition.quotas {
        put_message(out, 9, |out| {
            put_bytes(out, 1, quota.id.as_bytes());
            put_option(out, 2, quota.capacity);
        });
    }
    for ticket_type in &definition.ticket_types {
        put_message(out, 10, |out| put_ticket_type(out, ticket_type));
    }
}

pub(crate) fn take_definition(fields: Fields<'_>) -> Result<EventDefinition, Error> {
    let (mut name, mut currency, mut starts_at, mut sale) = (None, None, None, None);
    let (mut hold_seconds, mut payment_seconds, mut sale_group) = (None, None, None);
    let (mut limits, mut quotas, mut ticket_types) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("name", &mut name, |v| v.text())?,
            2 => field.set("currency", &mut currency, |v| v.currency())?,
            3 => field.set("starts_at", &mut starts_at, |v| v.time())?,
            4 => field.set("sale", &mut sale, |v| take_window(v.fields()?))?,
            5 => limits.push(field.item("limits", limits.len(), |v| take_limit(v.fields()?))?),
            6 => field.set("hold_seconds", &mut hold_seconds, |v| v.small())?,
            7 => field.set("payment_seconds", &mut payment_seconds, |v| v.small())?,
            8 => field.set("sale_group", &mut sale_group, |v| v.id())?,
            9 => quotas.push(field.item("quotas", quotas.len(), |v| take_quota(v.fields()?))?),
            10 => ticket_types.push(
                field
                    .item("ticket_types", ticket_types.len(), |v| take_ticket_type(v.fields()?))?,
            ),
            _ => {}
        }
    }
    Ok(EventDefinition {
        name: name.unwrap_or_default().to_string(),
        currency: need("currency", currency)?,
        starts_at,
        sale: sale.unwrap_or_default(),
        limits,
        hold_seconds: hold_seconds.unwrap_or(0),
        payment_seconds: payment_seconds.unwrap_or(0),
        sale_group: need("sale_group", sale_group)?,
        quotas,
        ticket_types,
    })
}

/// A window without a bound on either side is left out.
fn put_window(out: &mut Vec<u8>, number: u32, window: &Window) {
    if *window != Window::default() {
        put_message(out, number, |out| {
            put_time_option(out, 1, window.opens_at);
            put_time_option(out, 2, window.closes_at);
        });
    }
}

fn take_window(fields: Fields<'_>) -> Result<Window, Error> {
    let mut window = Window::default();
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("opens_at", &mut window.opens_at, |v| v.time())?,
            2 => field.set("closes_at", &mut window.closes_at, |v| v.time())?,
            _ => {}
        }
    }
    Ok(window)
}

fn put_limit(out: &mut Vec<u8>, limit: &Limit) {
    for ticket_type in &limit.ticket_types {
        put_bytes_present(out, 1, ticket_type.as_bytes());
    }
    put_option(out, 2, limit.per_order);
    put_option(out, 3, limit.per_customer);
}

fn take_limit(fields: Fields<'_>) -> Result<Limit, Error> {
    let mut limit = Limit { ticket_types: Vec::new(), per_order: None, per_customer: None };
    for field in fields {
        let field = field?;
        match field.number {
            1 => {
                let index = limit.ticket_types.len();
                limit.ticket_types.push(field.item("ticket_types", index, |v| v.id())?);
            }
            2 => field.set("per_order", &mut limit.per_order, |v| v.small())?,
            3 => field.set("per_customer", &mut limit.per_customer, |v| v.small())?,
            _ => {}
        }
    }
    Ok(limit)
}

fn take_quota(fields: Fields<'_>) -> Result<QuotaDefinition, Error> {
    let (mut id, mut capacity) = (None, None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("id", &mut id, |v| v.id())?,
            2 => field.set("capacity", &mut capacity, |v| v.small())?,
            _ => {}
        }
    }
    Ok(QuotaDefinition { id: need("id", id)?, capacity })
}

fn put_ticket_type(out: &mut Vec<u8>, ticket_type: &TicketTypeDefinition) {
    put_bytes(out, 1, ticket_type.id.as_bytes());
    put_bytes(out, 2, ticket_type.name.as_bytes());
    put_signed(out, 3, ticket_type.price);
    put_unsigned(out, 4, ticket_type.free_price.into());
    for quota in &ticket_type.quotas {
        put_bytes_present(out, 5, quota.as_bytes());
    }
    put_window(out, 6, &ticket_type.sale);
}

fn take_ticket_type(fields: Fields<'_>) -> Result<TicketTypeDefinition, Error> {
    let (mut id, mut name, mut price) = (None, None, None);
    let (mut free_price, mut quotas, mut sale) = (None, Vec::new(), None);
    for field in fields {
        let field = field?;
        match field.number {
            1 => field.set("id", &mut id, |v| v.id())?,
            2 => field.set("name", &mut name, |v| v.text())?,
            3 => field.set("price", &mut price, |v| v.signed())?,
            4 => field.set("free_price", &mut free_price, |v| v.boolean())?,
            5 => quotas.push(field.item("quotas", quotas.len(), |v| v.id())?),
            6 => field.set("sale", &mut sale, |v| take_window(v.fields()?))?,
            _ => {}
        }
    }
    Ok(TicketTypeDefinition {
        id: need("id", id)?,
        name: name.unwrap_or_default().to_string(),
        price: price.unwrap_or(0),
        free_price: free_price.unwrap_or(false),
        quotas,
        sale: sale.unwrap_or_default(),
    })
}
