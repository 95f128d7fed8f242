//! Changes to what is for sale, and the rules that they must keep.

use jiff::Timestamp;

use super::{PARTS_MAX, Status, Stock, TicketType, own_event};
use crate::accounts::{Broken, check_slug, check_text, checked};
use crate::database::Tx;
use crate::error::{Error, Refusal};
use crate::{money, time};

/// The largest stock.
const CAPACITY_MAX: i64 = 10_000_000;

/// What an organizer says of an event.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct EventFields {
    pub slug: String,
    pub name: String,
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub sale_opens_at: Option<Timestamp>,
    pub sale_closes_at: Option<Timestamp>,
    pub currency: String,
    pub customer_limit: Option<i64>,
    pub payment_minutes: i64,
}

impl EventFields {
    fn check(&self) -> Result<(), Error> {
        let window = match (self.sale_opens_at, self.sale_closes_at) {
            (Some(opens), Some(closes)) if closes <= opens => {
                Some(("sale_closes_at", "must be after the sale opens".to_owned()))
            }
            _ => None,
        };
        let unknown = money::decimals(&self.currency).is_none();
        checked([
            check_slug("slug", &self.slug),
            check_text("name", &self.name, 1, 200),
            check_text("description", &self.description, 0, 5_000),
            check_text("venue", &self.venue, 0, 200),
            window,
            unknown.then(|| ("currency", "must be a code of ISO 4217, as EUR".to_owned())),
            check_number("customer_limit", self.customer_limit.unwrap_or(1), 1, 1_000),
            check_number("payment_minutes", self.payment_minutes, 1, 43_200),
        ])
    }
}

fn check_number(field: &'static str, number: i64, min: i64, max: i64) -> Broken {
    (!(min..=max).contains(&number)).then(|| (field, format!("must be from {min} to {max}")))
}

/// Makes an event (a draft), or changes the one of that slug.
///
/// # Errors
/// [`Error::Invalid`] with all fields that break a rule; [`Error::Unknown`] if it is to be changed and not there.
pub fn save_event(
    tx: &mut Tx<'_>,
    organizer: i64,
    old: Option<&str>,
    new: &EventFields,
) -> Result<(), Error> {
    new.check()?;
    let old = old.map(|slug| own_event(tx, organizer, slug)).transpose()?;
    let holder = tx.first("SELECT id FROM events WHERE slug = $1", &[new.slug.as_str().into()])?;
    let holder = holder.map(|row| row.int(0)).transpose()?;
    if holder.is_some() && holder != old.as_ref().map(|old| old.id) {
        return Err(Error::field("slug", "is taken by another event"));
    }
    let mut values = vec![
        new.slug.as_str().into(),
        new.name.trim().into(),
        new.description.trim().into(),
        new.venue.trim().into(),
        new.starts_at.into(),
        new.sale_opens_at.into(),
        new.sale_closes_at.into(),
        new.currency.as_str().into(),
        new.customer_limit.into(),
        new.payment_minutes.into(),
        time::now().into(),
    ];
    let Some(old) = old else {
        values.push(organizer.into());
        tx.execute(
            "INSERT INTO events (slug, name, description, venue, starts_at, sale_opens_at, sale_closes_at, currency, \
             customer_limit, payment_minutes, created_at, updated_at, organizer_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)",
            &values,
        )?;
        return Ok(());
    };
    if new.currency != old.currency {
        let sold =
            tx.first("SELECT id FROM orders WHERE event_id = $1 LIMIT 1", &[old.id.into()])?;
        if sold.is_some() {
            return Err(Error::field("currency", "can't be changed once there are orders"));
        }
    }
    values.push(old.id.into());
    tx.execute(
        "UPDATE events SET slug = $1, name = $2, description = $3, venue = $4, starts_at = $5, sale_opens_at = $6, \
         sale_closes_at = $7, currency = $8, customer_limit = $9, payment_minutes = $10, updated_at = $11 \
         WHERE id = $12",
        &values,
    )?;
    Ok(())
}

/// Puts an event on sale, pauses or closes it, or takes it back to a draft.
///
/// # Errors
/// There is no such event, or nothing that could be sold.
pub fn set_status(
    tx: &mut Tx<'_>,
    organizer: i64,
    slug: &str,
    status: Status,
) -> Result<(), Error> {
    let event = own_event(tx, organizer, slug)?;
    if status == Status::OnSale {
        let any = tx
            .first("SELECT id FROM ticket_types WHERE event_id = $1 LIMIT 1", &[event.id.into()])?;
        if any.is_none() {
            return Err(Error::field("status", "can't be on sale: the event has no ticket type"));
        }
    }
    let values = [status.word().into(), time::now().into(), event.id.into()];
    tx.execute("UPDATE events SET status = $1, updated_at = $2 WHERE id = $3", &values)?;
    Ok(())
}

/// Takes an event away that never sold anything.
///
/// # Errors
/// There is no such event, or it has orders.
pub fn delete_event(tx: &mut Tx<'_>, organizer: i64, slug: &str) -> Result<(), Error> {
    let event = own_event(tx, organizer, slug)?;
    if tx.first("SELECT id FROM orders WHERE event_id = $1 LIMIT 1", &[event.id.into()])?.is_some()
    {
        return Err(Refusal::InUse { what: event.name, why: "it has orders".to_owned() }.into());
    }
    for sql in [
        "DELETE FROM ticket_types WHERE event_id = $1",
        "DELETE FROM stocks WHERE event_id = $1",
        "DELETE FROM events WHERE id = $1",
    ] {
        tx.execute(sql, &[event.id.into()])?;
    }
    Ok(())
}

/// What an organizer says of a stock.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct StockFields {
    pub name: String,
    pub capacity: i64,
    pub blocked: i64,
}

/// Makes a stock, or changes the one of that id; its id.
///
/// # Errors
/// As for [`save_event`]. It can't be smaller than what is sold and blocked.
pub fn save_stock(
    tx: &mut Tx<'_>,
    organizer: i64,
    slug: &str,
    old: Option<i64>,
    new: &StockFields,
) -> Result<i64, Error> {
    checked([
        check_text("name", &new.name, 1, 100),
        check_number("capacity", new.capacity, 0, CAPACITY_MAX),
        check_number("blocked", new.blocked, 0, CAPACITY_MAX),
    ])?;
    let whole = own_event(tx, organizer, slug).and_then(|event| super::whole(tx, event))?;
    let others = whole.stocks.iter().filter(|stock| Some(stock.id) != old);
    check_others(others.map(|stock| stock.name.as_str()), new.name.trim())?;
    let Some(old) = old else {
        if new.blocked > new.capacity {
            return Err(Error::field(
                "blocked",
                format!("must be at most {}, the capacity", new.capacity),
            ));
        }
        let values = [
            whole.event.id.into(),
            new.name.trim().into(),
            new.capacity.into(),
            new.blocked.into(),
        ];
        let sql = "INSERT INTO stocks (event_id, name, capacity, blocked) VALUES ($1, $2, $3, $4) RETURNING id";
        return tx.one(sql, &values)?.int(0);
    };
    let old: &Stock = whole
        .stocks
        .iter()
        .find(|stock| stock.id == old)
        .ok_or_else(|| Error::unknown("stock", old))?;
    let values = [new.name.trim().into(), new.capacity.into(), new.blocked.into(), old.id.into()];
    // The condition holds against sales that go on meanwhile.
    let changed = tx.execute(
        "UPDATE stocks SET name = $1, capacity = $2, blocked = $3 WHERE id = $4 AND sold + $3 <= $2",
        &values,
    )?;
    if changed > 0 {
        return Ok(old.id);
    }
    let sold = tx.one("SELECT sold FROM stocks WHERE id = $1", &[old.id.into()])?.int(0)?;
    if new.capacity < sold {
        return Err(Error::field("capacity", format!("must be at least {sold}, which are sold")));
    }
    let most = new.capacity - sold;
    Err(Error::field(
        "blocked",
        format!("must be at most {most}, which are neither sold nor beyond the capacity"),
    ))
}

/// Takes a stock away that nothing draws on.
///
/// # Errors
/// There is no such stock, or a ticket type draws on it.
pub fn delete_stock(tx: &mut Tx<'_>, organizer: i64, slug: &str, id: i64) -> Result<(), Error> {
    let whole = own_event(tx, organizer, slug).and_then(|event| super::whole(tx, event))?;
    let stock = whole
        .stocks
        .into_iter()
        .find(|stock| stock.id == id)
        .ok_or_else(|| Error::unknown("stock", id))?;
    if whole.types.iter().any(|kind| kind.stock_id == id) {
        return Err(
            Refusal::InUse { what: stock.name, why: "ticket types draw on it".to_owned() }.into()
        );
    }
    tx.execute("DELETE FROM stocks WHERE id = $1", &[id.into()])?;
    Ok(())
}

/// What an organizer says of a ticket type.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct TypeFields {
    pub stock_id: i64,
    pub name: String,
    pub description: String,
    pub price_minor: i64,
    pub active: bool,
    pub position: i64,
}

/// Makes a ticket type, or changes the one of that id; its id. Orders keep the price that they were made at.
///
/// # Errors
/// As for [`save_event`].
pub fn save_type(
    tx: &mut Tx<'_>,
    organizer: i64,
    slug: &str,
    old: Option<i64>,
    new: &TypeFields,
) -> Result<i64, Error> {
    checked([
        check_text("name", &new.name, 1, 100),
        check_text("description", &new.description, 0, 1_000),
        check_price(new.price_minor),
        check_number("position", new.position, 0, 10_000),
    ])?;
    let whole = own_event(tx, organizer, slug).and_then(|event| super::whole(tx, event))?;
    if !whole.stocks.iter().any(|stock| stock.id == new.stock_id) {
        return Err(Error::field("stock", "must be one of the event's stocks"));
    }
    let others = whole.types.iter().filter(|kind| Some(kind.id) != old);
    check_others(others.map(|kind| kind.name.as_str()), new.name.trim())?;
    let mut values = vec![
        new.stock_id.into(),
        new.name.trim().into(),
        new.description.trim().into(),
        new.price_minor.into(),
        new.active.into(),
        new.position.into(),
    ];
    let Some(old) = old else {
        values.push(whole.event.id.into());
        let sql = "INSERT INTO ticket_types (stock_id, name, description, price_minor, active, position, event_id) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
        return tx.one(sql, &values)?.int(0);
    };
    let old: &TicketType = whole
        .types
        .iter()
        .find(|kind| kind.id == old)
        .ok_or_else(|| Error::unknown("ticket type", old))?;
    if old.stock_id != new.stock_id && has_lines(tx, old.id)? {
        // What it sold is counted in its stock.
        return Err(Error::field("stock", "can't be changed once tickets are sold"));
    }
    values.push(old.id.into());
    tx.execute(
        "UPDATE ticket_types SET stock_id = $1, name = $2, description = $3, price_minor = $4, active = $5, \
         position = $6 WHERE id = $7",
        &values,
    )?;
    Ok(old.id)
}

/// Takes a ticket type away that never sold anything.
///
/// # Errors
/// There is no such type, or it has orders.
pub fn delete_type(tx: &mut Tx<'_>, organizer: i64, slug: &str, id: i64) -> Result<(), Error> {
    let whole = own_event(tx, organizer, slug).and_then(|event| super::whole(tx, event))?;
    let kind = whole.types.into_iter().find(|kind| kind.id == id);
    let kind = kind.ok_or_else(|| Error::unknown("ticket type", id))?;
    if has_lines(tx, id)? {
        let why = "it has orders; it can be taken off sale instead".to_owned();
        return Err(Refusal::InUse { what: kind.name, why }.into());
    }
    tx.execute("DELETE FROM ticket_types WHERE id = $1", &[id.into()])?;
    Ok(())
}

fn has_lines(tx: &mut Tx<'_>, kind: i64) -> Result<bool, Error> {
    let sql = "SELECT id FROM order_lines WHERE ticket_type_id = $1 LIMIT 1";
    Ok(tx.first(sql, &[kind.into()])?.is_some())
}

fn check_price(minor: i64) -> Broken {
    if minor < 0 {
        return Some(("price", "must not be below zero".to_owned()));
    }
    (minor > money::MINOR_MAX)
        .then(|| ("price", format!("must be at most {} minor units", money::MINOR_MAX)))
}

fn check_others<'a>(names: impl Iterator<Item = &'a str>, name: &str) -> Result<(), Error> {
    let names: Vec<&str> = names.collect();
    if names.contains(&name) {
        return Err(Error::field("name", "is taken in this event"));
    }
    if names.len() as i64 >= PARTS_MAX {
        return Err(Error::field(
            "name",
            format!("is one too many: an event has at most {PARTS_MAX}"),
        ));
    }
    Ok(())
}
