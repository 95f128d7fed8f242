//! A sale: the checks, the stock, and the rows of the order.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Order, order};
use crate::accounts::{check_text, checked};
use crate::catalogue::{Event, TicketType, event_by_slug, whole};
use crate::codes;
use crate::database::{Tx, Value};
use crate::error::{Error, Refusal, Wrong};
use crate::time;

/// Lines of an order.
pub const LINES_MAX: usize = 20;
/// Tickets of an order.
pub const TICKETS_MAX: i64 = 100;

/// What a buyer wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The buyer, as an opaque id.
    pub customer: String,
    /// Ticket types by id, each once, and how many of each.
    pub lines: Vec<(i64, i64)>,
    /// Who sells it.
    pub channel: String,
    /// The client's own key for the order: with the same key there is one order, however often it is asked for.
    pub client_key: Option<String>,
}

impl Wanted {
    fn check(&self) -> Result<(), Error> {
        checked([
            check_text("customer", &self.customer, 1, 64),
            check_text("channel", &self.channel, 1, 40),
            self.client_key.as_ref().and_then(|key| check_text("client_key", key, 1, 100)),
        ])?;
        let mut wrong = Vec::new();
        let mut found = |field: String, rule: String| wrong.push(Wrong { field, rule });
        if self.lines.is_empty() || self.lines.len() > LINES_MAX {
            found("lines".to_owned(), format!("must be 1 to {LINES_MAX}"));
        }
        for (at, (kind, quantity)) in self.lines.iter().enumerate().take(LINES_MAX) {
            if !(1..=TICKETS_MAX).contains(quantity) {
                found(format!("lines[{at}].quantity"), format!("must be from 1 to {TICKETS_MAX}"));
            }
            if self.lines[..at].iter().any(|(other, _)| other == kind) {
                found(format!("lines[{at}].ticket_type"), "must be there only once".to_owned());
            }
        }
        if wrong.is_empty() && self.quantity() > TICKETS_MAX {
            wrong.push(Wrong {
                field: "lines".to_owned(),
                rule: format!("must be at most {TICKETS_MAX} tickets together"),
            });
        }
        if wrong.is_empty() { Ok(()) } else { Err(Error::Invalid(wrong)) }
    }

    fn quantity(&self) -> i64 {
        self.lines.iter().map(|(_, quantity)| quantity).sum()
    }

    fn digest(&self, slug: &str) -> String {
        codes::digest(
            format!("{slug}\n{}\n{:?}\n{}", self.customer, self.lines, self.channel).as_bytes(),
        )
    }
}

/// Sells: takes the stock, writes the order, its lines and its tickets. A free order is paid at once.
///
/// # Errors
/// [`Error::Invalid`] names the fields; [`Refusal`]s say what the state forbids. Nothing is taken then.
pub fn sell(tx: &mut Tx<'_>, slug: &str, wanted: &Wanted, now: Timestamp) -> Result<Order, Error> {
    wanted.check()?;
    let event = event_by_slug(tx, slug)?;
    if let Some(code) = sold_before(tx, &event, wanted)? {
        return order(tx, &code);
    }
    if let Some(why) = event.closed_since(now) {
        return Err(Refusal::NotOnSale { event: event.name, why }.into());
    }
    let whole = whole(tx, event)?;
    let lines = priced(&whole.types, wanted)?;
    let total = lines.iter().map(|(kind, quantity)| kind.price_minor.saturating_mul(*quantity));
    let total = total.fold(0, i64::saturating_add);
    if total > crate::money::MINOR_MAX {
        return Err(Error::field("lines", "cost more than an order may"));
    }
    check_limit(tx, &whole.event, wanted)?;
    take(tx, &lines)?;
    let code = codes::order();
    let order_id = insert_order(tx, &whole.event, wanted, &code, total, now)?;
    for (kind, quantity) in lines {
        tx.execute(
            "INSERT INTO order_lines (order_id, ticket_type_id, quantity, unit_price_minor) VALUES ($1, $2, $3, $4)",
            &[order_id.into(), kind.id.into(), quantity.into(), kind.price_minor.into()],
        )?;
        for _ in 0..quantity {
            tx.execute(
                "INSERT INTO tickets (order_id, ticket_type_id, code) VALUES ($1, $2, $3)",
                &[order_id.into(), kind.id.into(), codes::ticket().into()],
            )?;
        }
    }
    order(tx, &code)
}

/// The code of the order that was made with the same key.
fn sold_before(tx: &mut Tx<'_>, event: &Event, wanted: &Wanted) -> Result<Option<String>, Error> {
    let Some(key) = &wanted.client_key else { return Ok(None) };
    let row = tx.first(
        "SELECT code, request_digest FROM orders WHERE event_id = $1 AND client_key = $2",
        &[event.id.into(), key.into()],
    )?;
    let Some(row) = row else { return Ok(None) };
    match row.maybe_text(1)? == Some(wanted.digest(&event.slug)) {
        true => row.text(0).map(Some),
        false => Err(Refusal::KeyReused.into()),
    }
}

fn priced<'a>(
    types: &'a [TicketType],
    wanted: &Wanted,
) -> Result<Vec<(&'a TicketType, i64)>, Error> {
    let lines = wanted.lines.iter().enumerate().map(|(at, (id, quantity))| {
        let kind = types.iter().find(|kind| kind.id == *id && kind.active);
        let rule = "must be one of the event's ticket types that are for sale";
        kind.map(|kind| (kind, *quantity))
            .ok_or_else(|| Error::field(format!("lines[{at}].ticket_type"), rule))
    });
    lines.collect()
}

/// Counts what the customer has. Whoever counts for a customer does so alone, or two orders of the same second could
/// both find room.
fn check_limit(tx: &mut Tx<'_>, event: &Event, wanted: &Wanted) -> Result<(), Error> {
    let Some(limit) = event.customer_limit else { return Ok(()) };
    tx.alone(format!("customer {} {}", event.id, wanted.customer))?;
    let has = tx.one(
        "SELECT CAST(coalesce(sum(l.quantity), 0) AS BIGINT) FROM orders o JOIN order_lines l ON l.order_id = o.id \
         WHERE o.event_id = $1 AND o.customer = $2 AND o.status <> 'cancelled'",
        &[event.id.into(), wanted.customer.as_str().into()],
    )?;
    let (has, asked) = (has.int(0)?, wanted.quantity());
    match has + asked > limit {
        true => Err(Refusal::CustomerLimit { limit, has, asked }.into()),
        false => Ok(()),
    }
}

/// Takes the stocks, in the order of their ids, so that no two sales wait for each other.
fn take(tx: &mut Tx<'_>, lines: &[(&TicketType, i64)]) -> Result<(), Error> {
    let mut wanted: BTreeMap<i64, i64> = BTreeMap::new();
    for (kind, quantity) in lines {
        *wanted.entry(kind.stock_id).or_default() += quantity;
    }
    for (id, asked) in wanted {
        let taken = tx.execute(
            "UPDATE stocks SET sold = sold + $1 WHERE id = $2 AND sold + $1 + blocked <= capacity",
            &[asked.into(), id.into()],
        )?;
        if taken == 0 {
            let row = tx.one(
                "SELECT name, capacity - sold - blocked FROM stocks WHERE id = $1",
                &[id.into()],
            )?;
            return Err(Refusal::SoldOut { stock: row.text(0)?, asked, free: row.int(1)? }.into());
        }
    }
    Ok(())
}

fn insert_order(
    tx: &mut Tx<'_>,
    event: &Event,
    wanted: &Wanted,
    code: &str,
    total: i64,
    now: Timestamp,
) -> Result<i64, Error> {
    let (status, expires, paid) = match total {
        0 => ("paid", Value::Null, now.into()),
        _ => ("pending", time::plus_seconds(now, event.payment_minutes * 60).into(), Value::Null),
    };
    let values = [
        event.id.into(),
        code.into(),
        wanted.customer.as_str().into(),
        status.into(),
        total.into(),
        wanted.channel.as_str().into(),
        wanted.client_key.clone().into(),
        wanted.client_key.as_ref().map(|_| wanted.digest(&event.slug)).into(),
        now.into(),
        expires,
        paid,
    ];
    let row = tx.one(
        "INSERT INTO orders (event_id, code, customer, status, total_minor, channel, client_key, request_digest, \
         created_at, expires_at, paid_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id",
        &values,
    )?;
    row.int(0)
}
