//! Lists of orders, for pages, the API and exports.

use jiff::Timestamp;

use super::{Status, status};
use crate::catalogue::Page;
use crate::database::{Row, Tx, Value};
use crate::error::Error;

/// Orders on a page.
pub const PAGE_MAX: i64 = 50;
/// Orders that are read at once for an export.
pub const EXPORT_MAX: i64 = 500;

/// Which orders are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Whose events they are for.
    pub organizer_id: i64,
    /// For this event only, by its slug.
    pub event: Option<String>,
    /// In this state only.
    pub status: Option<Status>,
    /// The beginning of an order's code or of a customer, or a whole ticket's code.
    pub search: String,
}

impl Filter {
    fn values(&self) -> Vec<Value> {
        let search = self.search.trim();
        let escaped = search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        vec![
            self.organizer_id.into(),
            self.event.as_deref().unwrap_or("").into(),
            self.status.map_or("", Status::word).into(),
            search.into(),
            format!("{}%", escaped.to_uppercase()).into(),
            format!("{escaped}%").into(),
            search.to_uppercase().into(),
        ]
    }
}

/// An order in a list.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Listed {
    pub id: i64,
    pub code: String,
    pub event: String,
    pub event_name: String,
    pub currency: String,
    pub customer: String,
    pub status: Status,
    pub total_minor: i64,
    pub channel: String,
    pub created_at: Timestamp,
    pub paid_at: Option<Timestamp>,
    pub tickets: i64,
}

fn listed(row: &Row) -> Result<Listed, Error> {
    Ok(Listed {
        id: row.int(0)?,
        code: row.text(1)?,
        event: row.text(2)?,
        event_name: row.text(3)?,
        currency: row.text(4)?,
        customer: row.text(5)?,
        status: status(row, 6)?,
        total_minor: row.int(7)?,
        channel: row.text(8)?,
        created_at: row.time(9)?,
        paid_at: row.maybe_time(10)?,
        tickets: row.int(11)?,
    })
}

/// A page of orders, the newest first.
///
/// # Errors
/// The database failed.
pub fn list(tx: &mut Tx<'_>, filter: &Filter, page: i64) -> Result<Page<Listed>, Error> {
    let mut values = filter.values();
    let total = tx.one(
        "SELECT count(*) FROM orders o JOIN events e ON e.id = o.event_id \
         WHERE e.organizer_id = $1 AND ($2 = '' OR e.slug = $2) AND ($3 = '' OR o.status = $3) \
         AND ($4 = '' OR o.code LIKE $5 ESCAPE '\\' OR o.customer LIKE $6 ESCAPE '\\' \
         OR EXISTS (SELECT 1 FROM tickets k WHERE k.order_id = o.id AND k.code = $7))",
        &values,
    )?;
    values.extend([PAGE_MAX.into(), ((page - 1) * PAGE_MAX).into()]);
    let rows = tx.query(
        "SELECT o.id, o.code, e.slug, e.name, e.currency, o.customer, o.status, o.total_minor, o.channel, \
         o.created_at, o.paid_at, (SELECT CAST(coalesce(sum(l.quantity), 0) AS BIGINT) FROM order_lines l \
         WHERE l.order_id = o.id) FROM orders o JOIN events e ON e.id = o.event_id \
         WHERE e.organizer_id = $1 AND ($2 = '' OR e.slug = $2) AND ($3 = '' OR o.status = $3) \
         AND ($4 = '' OR o.code LIKE $5 ESCAPE '\\' OR o.customer LIKE $6 ESCAPE '\\' \
         OR EXISTS (SELECT 1 FROM tickets k WHERE k.order_id = o.id AND k.code = $7)) \
         ORDER BY o.id DESC LIMIT $8 OFFSET $9",
        &values,
    )?;
    let items = rows.iter().map(listed).collect::<Result<_, _>>()?;
    Ok(Page::new(items, page, PAGE_MAX, total.int(0)?))
}

/// A part of an export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The orders, the oldest first.
    pub orders: Vec<Listed>,
    /// Where to go on; none: that was all.
    pub next: Option<i64>,
}

/// The orders after an id, for an export of any length.
///
/// # Errors
/// The database failed.
pub fn export(tx: &mut Tx<'_>, filter: &Filter, after: i64) -> Result<Exported, Error> {
    let mut values = filter.values();
    values.extend([after.into(), EXPORT_MAX.into()]);
    let rows = tx.query(
        "SELECT o.id, o.code, e.slug, e.name, e.currency, o.customer, o.status, o.total_minor, o.channel, \
         o.created_at, o.paid_at, (SELECT CAST(coalesce(sum(l.quantity), 0) AS BIGINT) FROM order_lines l \
         WHERE l.order_id = o.id) FROM orders o JOIN events e ON e.id = o.event_id \
         WHERE e.organizer_id = $1 AND ($2 = '' OR e.slug = $2) AND ($3 = '' OR o.status = $3) \
         AND ($4 = '' OR o.code LIKE $5 ESCAPE '\\' OR o.customer LIKE $6 ESCAPE '\\' \
         OR EXISTS (SELECT 1 FROM tickets k WHERE k.order_id = o.id AND k.code = $7)) \
         AND o.id > $8 ORDER BY o.id LIMIT $9",
        &values,
    )?;
    let orders: Vec<Listed> = rows.iter().map(listed).collect::<Result<_, _>>()?;
    let full = orders.len() as i64 == EXPORT_MAX;
    let next = orders.last().map(|last| last.id).filter(|_| full);
    Ok(Exported { orders, next })
}
