//! What is for sale: events, their stocks and ticket types.

mod edit;

use jiff::Timestamp;

use crate::database::{Row, Tx};
use crate::error::Error;

pub use edit::{
    EventFields, StockFields, TypeFields, delete_event, delete_stock, delete_type, save_event,
    save_stock, save_type, set_status,
};

/// Events on a page.
pub const PAGE_MAX: i64 = 50;
/// Stocks and ticket types of an event, each.
pub const PARTS_MAX: i64 = 200;

/// Whether an event sells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    Draft,
    OnSale,
    Paused,
    Closed,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] = [Status::Draft, Status::OnSale, Status::Paused, Status::Closed];

    /// As in the database and the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Draft => "draft",
            Status::OnSale => "on_sale",
            Status::Paused => "paused",
            Status::Closed => "closed",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Status::Draft => "Draft",
            Status::OnSale => "On sale",
            Status::Paused => "Paused",
            Status::Closed => "Closed",
        }
    }

    /// Reads [`Status::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// An event. Its window is `[sale_opens_at, sale_closes_at)`.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Event {
    pub id: i64,
    pub organizer_id: i64,
    pub slug: String,
    pub name: String,
    pub description: String,
    pub venue: String,
    pub starts_at: Timestamp,
    pub sale_opens_at: Option<Timestamp>,
    pub sale_closes_at: Option<Timestamp>,
    pub currency: String,
    pub status: Status,
    pub customer_limit: Option<i64>,
    pub payment_minutes: i64,
}

impl Event {
    /// Why it does not sell at a time; none: it does.
    #[must_use]
    pub fn closed_since(&self, now: Timestamp) -> Option<String> {
        match self.status {
            Status::OnSale => {}
            other => return Some(format!("it is {}", other.label().to_lowercase())),
        }
        if let Some(opens) = self.sale_opens_at.filter(|opens| now < *opens) {
            return Some(format!("its sale opens at {}", crate::time::for_people(opens)));
        }
        let closes = self.sale_closes_at.filter(|closes| now >= *closes);
        closes.map(|closes| format!("its sale closed at {}", crate::time::for_people(closes)))
    }
}

/// A counted pool of places.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Stock {
    pub id: i64,
    pub event_id: i64,
    pub name: String,
    pub capacity: i64,
    pub sold: i64,
    pub blocked: i64,
}

impl Stock {
    /// What can still be sold.
    #[must_use]
    pub fn free(&self) -> i64 {
        self.capacity - self.sold - self.blocked
    }

    /// How much of it is sold, in percent.
    #[must_use]
    pub fn percent(&self) -> i64 {
        self.sold * 100 / self.capacity.max(1)
    }
}

/// What a buyer picks.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct TicketType {
    pub id: i64,
    pub event_id: i64,
    pub stock_id: i64,
    pub name: String,
    pub description: String,
    pub price_minor: i64,
    pub active: bool,
    pub position: i64,
    /// What its stock has left.
    pub free: i64,
    /// Its stock's name.
    pub stock: String,
}

/// An event with all that belongs to it.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Whole {
    pub event: Event,
    pub stocks: Vec<Stock>,
    pub types: Vec<TicketType>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Its number, from 1.
    pub number: i64,
    /// How many pages there are, at least 1.
    pub pages: i64,
    /// How many items there are on all of them.
    pub total: i64,
}

impl<T> Page<T> {
    pub(crate) fn new(items: Vec<T>, number: i64, size: i64, total: i64) -> Self {
        Page { items, number, pages: ((total + size - 1) / size).max(1), total }
    }
}

fn event(row: &Row) -> Result<Event, Error> {
    let status = row.text(10)?;
    let Some(status) = Status::from_word(&status) else {
        return Err(Error::Database(format!("events.status holds {status}")));
    };
    Ok(Event {
        id: row.int(0)?,
        organizer_id: row.int(1)?,
        slug: row.text(2)?,
        name: row.text(3)?,
        description: row.text(4)?,
        venue: row.text(5)?,
        starts_at: row.time(6)?,
        sale_opens_at: row.maybe_time(7)?,
        sale_closes_at: row.maybe_time(8)?,
        currency: row.text(9)?,
        status,
        customer_limit: row.maybe_int(11)?,
        payment_minutes: row.int(12)?,
    })
}

/// An event by its slug.
///
/// # Errors
/// There is none.
pub fn event_by_slug(tx: &mut Tx<'_>, slug: &str) -> Result<Event, Error> {
    let row = tx.first(
        "SELECT id, organizer_id, slug, name, description, venue, starts_at, sale_opens_at, sale_closes_at, \
         currency, status, customer_limit, payment_minutes FROM events WHERE slug = $1",
        &[slug.into()],
    )?;
    event(&row.ok_or_else(|| Error::unknown("event", slug))?)
}

/// An event of an organizer, by its slug. Those of others are as if they were not there.
///
/// # Errors
/// There is none.
pub fn own_event(tx: &mut Tx<'_>, organizer: i64, slug: &str) -> Result<Event, Error> {
    match event_by_slug(tx, slug)? {
        event if event.organizer_id == organizer => Ok(event),
        _ => Err(Error::unknown("event", slug)),
    }
}

/// An event with its stocks and types.
///
/// # Errors
/// The database failed.
pub fn whole(tx: &mut Tx<'_>, event: Event) -> Result<Whole, Error> {
    let rows = tx.query(
        "SELECT id, event_id, name, capacity, sold, blocked FROM stocks WHERE event_id = $1 ORDER BY id",
        &[event.id.into()],
    )?;
    let stocks: Vec<Stock> = rows.iter().map(stock).collect::<Result<_, _>>()?;
    let rows = tx.query(
        "SELECT t.id, t.event_id, t.stock_id, t.name, t.description, t.price_minor, t.active, t.position, \
         s.capacity - s.sold - s.blocked, s.name FROM ticket_types t JOIN stocks s ON s.id = t.stock_id \
         WHERE t.event_id = $1 ORDER BY t.position, t.id",
        &[event.id.into()],
    )?;
    let types = rows.iter().map(ticket_type).collect::<Result<_, _>>()?;
    Ok(Whole { event, stocks, types })
}

fn stock(row: &Row) -> Result<Stock, Error> {
    Ok(Stock {
        id: row.int(0)?,
        event_id: row.int(1)?,
        name: row.text(2)?,
        capacity: row.int(3)?,
        sold: row.int(4)?,
        blocked: row.int(5)?,
    })
}

fn ticket_type(row: &Row) -> Result<TicketType, Error> {
    Ok(TicketType {
        id: row.int(0)?,
        event_id: row.int(1)?,
        stock_id: row.int(2)?,
        name: row.text(3)?,
        description: row.text(4)?,
        price_minor: row.int(5)?,
        active: row.flag(6)?,
        position: row.int(7)?,
        free: row.int(8)?,
        stock: row.text(9)?,
    })
}

/// Events that buyers may see, the next one first.
///
/// # Errors
/// The database failed.
pub fn public_events(tx: &mut Tx<'_>, page: i64) -> Result<Page<Event>, Error> {
    let total = tx.one("SELECT count(*) FROM events WHERE status <> 'draft'", &[])?.int(0)?;
    let rows = tx.query(
        "SELECT id, organizer_id, slug, name, description, venue, starts_at, sale_opens_at, sale_closes_at, \
         currency, status, customer_limit, payment_minutes FROM events WHERE status <> 'draft' \
         ORDER BY starts_at, id LIMIT $1 OFFSET $2",
        &[PAGE_MAX.into(), ((page - 1) * PAGE_MAX).into()],
    )?;
    let events = rows.iter().map(event).collect::<Result<_, _>>()?;
    Ok(Page::new(events, page, PAGE_MAX, total))
}

/// An event in the organizer's list.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// The event.
    pub event: Event,
    /// Tickets of all its stocks together, under the names of a stock.
    pub stock: Stock,
}

/// An organizer's events, the latest first, with what they sold.
///
/// # Errors
/// The database failed.
pub fn own_events(tx: &mut Tx<'_>, organizer: i64, page: i64) -> Result<Page<Listed>, Error> {
    let total = tx
        .one("SELECT count(*) FROM events WHERE organizer_id = $1", &[organizer.into()])?
        .int(0)?;
    let rows = tx.query(
        "SELECT e.id, e.organizer_id, e.slug, e.name, e.description, e.venue, e.starts_at, e.sale_opens_at, \
         e.sale_closes_at, e.currency, e.status, e.customer_limit, e.payment_minutes, \
         CAST(coalesce(sum(s.capacity), 0) AS BIGINT), CAST(coalesce(sum(s.sold), 0) AS BIGINT), \
         CAST(coalesce(sum(s.blocked), 0) AS BIGINT) FROM events e LEFT JOIN stocks s ON s.event_id = e.id \
         WHERE e.organizer_id = $1 GROUP BY e.id ORDER BY e.starts_at DESC, e.id DESC LIMIT $2 OFFSET $3",
        &[organizer.into(), PAGE_MAX.into(), ((page - 1) * PAGE_MAX).into()],
    )?;
    let listed = rows.iter().map(|row| {
        let event = event(row)?;
        let (capacity, sold, blocked) = (row.int(13)?, row.int(14)?, row.int(15)?);
        let stock =
            Stock { id: 0, event_id: event.id, name: String::new(), capacity, sold, blocked };
        Ok(Listed { event, stock })
    });
    Ok(Page::new(listed.collect::<Result<_, Error>>()?, page, PAGE_MAX, total))
}
