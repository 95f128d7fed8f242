//! Orders: sold, paid, cancelled, run out. Each is one transaction; what it takes of a stock, or gives back, is a
//! change of that stock's row under a condition, so that however many come at once nothing is sold twice.

mod list;
mod sell;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::database::{Row, Tx};
use crate::error::{Error, Refusal};
use crate::time;

pub use list::{EXPORT_MAX, Exported, Filter, Listed, PAGE_MAX, export, list};
pub use sell::{LINES_MAX, TICKETS_MAX, Wanted, sell};

/// Orders that run out in one transaction.
const EXPIRED_MAX: i64 = 100;

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Status {
    Pending,
    Paid,
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 3] = [Status::Pending, Status::Paid, Status::Cancelled];

    /// As in the database and the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Paid => "paid",
            Status::Cancelled => "cancelled",
        }
    }

    /// For people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Status::Pending => "Awaiting payment",
            Status::Paid => "Paid",
            Status::Cancelled => "Cancelled",
        }
    }

    /// Reads [`Status::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.word() == word)
    }
}

/// A line of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Line {
    pub ticket_type_id: i64,
    pub ticket_type: String,
    pub quantity: i64,
    pub unit_price_minor: i64,
}

/// A ticket's code and what it is for.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Ticket {
    pub code: String,
    pub ticket_type: String,
}

/// A payment.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Payment {
    pub provider: String,
    pub reference: String,
    pub amount_minor: i64,
    pub paid_at: Timestamp,
}

/// An order with all that belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are the columns', which the schema explains")]
pub struct Order {
    pub id: i64,
    pub code: String,
    pub organizer_id: i64,
    /// The event's slug.
    pub event: String,
    pub event_name: String,
    pub currency: String,
    pub customer: String,
    pub status: Status,
    pub total_minor: i64,
    pub channel: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub paid_at: Option<Timestamp>,
    pub cancelled_at: Option<Timestamp>,
    pub cancel_reason: Option<String>,
    pub lines: Vec<Line>,
    pub tickets: Vec<Ticket>,
    pub payments: Vec<Payment>,
}

fn status(row: &Row, column: usize) -> Result<Status, Error> {
    let word = row.text(column)?;
    Status::from_word(&word).ok_or_else(|| Error::Database(format!("orders.status holds {word}")))
}

/// An order by its code.
///
/// # Errors
/// There is none.
pub fn order(tx: &mut Tx<'_>, code: &str) -> Result<Order, Error> {
    let row = tx.first(
        "SELECT o.id, o.code, e.organizer_id, e.slug, e.name, e.currency, o.customer, o.status, o.total_minor, \
         o.channel, o.created_at, o.expires_at, o.paid_at, o.cancelled_at, o.cancel_reason \
         FROM orders o JOIN events e ON e.id = o.event_id WHERE o.code = $1",
        &[code.into()],
    )?;
    let row = row.ok_or_else(|| Error::unknown("order", code))?;
    let id = row.int(0)?;
    Ok(Order {
        id,
        code: row.text(1)?,
        organizer_id: row.int(2)?,
        event: row.text(3)?,
        event_name: row.text(4)?,
        currency: row.text(5)?,
        customer: row.text(6)?,
        status: status(&row, 7)?,
        total_minor: row.int(8)?,
        channel: row.text(9)?,
        created_at: row.time(10)?,
        expires_at: row.maybe_time(11)?,
        paid_at: row.maybe_time(12)?,
        cancelled_at: row.maybe_time(13)?,
        cancel_reason: row.maybe_text(14)?,
        lines: lines(tx, id)?,
        tickets: tickets(tx, id)?,
        payments: payments(tx, id)?,
    })
}

fn lines(tx: &mut Tx<'_>, order: i64) -> Result<Vec<Line>, Error> {
    let rows = tx.query(
        "SELECT l.ticket_type_id, t.name, l.quantity, l.unit_price_minor FROM order_lines l \
         JOIN ticket_types t ON t.id = l.ticket_type_id WHERE l.order_id = $1 ORDER BY l.id",
        &[order.into()],
    )?;
    let line = |row: &Row| {
        Ok(Line {
            ticket_type_id: row.int(0)?,
            ticket_type: row.text(1)?,
            quantity: row.int(2)?,
            unit_price_minor: row.int(3)?,
        })
    };
    rows.iter().map(line).collect()
}

fn tickets(tx: &mut Tx<'_>, order: i64) -> Result<Vec<Ticket>, Error> {
    let rows = tx.query(
        "SELECT k.code, t.name FROM tickets k JOIN ticket_types t ON t.id = k.ticket_type_id \
         WHERE k.order_id = $1 ORDER BY k.id",
        &[order.into()],
    )?;
    rows.iter().map(|row| Ok(Ticket { code: row.text(0)?, ticket_type: row.text(1)? })).collect()
}

fn payments(tx: &mut Tx<'_>, order: i64) -> Result<Vec<Payment>, Error> {
    let rows = tx.query(
        "SELECT provider, reference, amount_minor, paid_at FROM payments WHERE order_id = $1 ORDER BY id",
        &[order.into()],
    )?;
    let payment = |row: &Row| {
        Ok(Payment {
            provider: row.text(0)?,
            reference: row.text(1)?,
            amount_minor: row.int(2)?,
            paid_at: row.time(3)?,
        })
    };
    rows.iter().map(payment).collect()
}

/// What a provider tells of a payment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paid {
    /// Who took the money.
    pub provider: String,
    /// The provider's own id of the payment.
    pub reference: String,
    /// What was paid; none: what the order costs.
    pub amount_minor: Option<i64>,
}

/// Marks an order as paid. The same payment told again changes nothing.
///
/// # Errors
/// There is no such order; it is cancelled, or paid by another payment; the amount is not what it costs.
pub fn pay(tx: &mut Tx<'_>, code: &str, paid: &Paid, now: Timestamp) -> Result<Order, Error> {
    let found = order(tx, code)?;
    let told =
        |known: &Payment| known.provider == paid.provider && known.reference == paid.reference;
    if found.payments.iter().any(told) {
        return Ok(found);
    }
    match found.status {
        Status::Pending => {}
        Status::Paid => return Err(Refusal::PaidAlready { code: found.code }.into()),
        Status::Cancelled => return Err(Refusal::Cancelled { code: found.code }.into()),
    }
    if paid.amount_minor.is_some_and(|amount| amount != found.total_minor) {
        return Err(Error::field(
            "amount_minor",
            format!("must be {}, what the order costs", found.total_minor),
        ));
    }
    let values = [now.into(), found.id.into()];
    let sql = "UPDATE orders SET status = 'paid', paid_at = $1, expires_at = NULL WHERE id = $2 AND status = 'pending'";
    if tx.execute(sql, &values)? == 0 {
        return Err(Error::Again("the order changed meanwhile".to_owned()));
    }
    let known = tx.first(
        "SELECT id FROM payments WHERE provider = $1 AND reference = $2",
        &[paid.provider.as_str().into(), paid.reference.as_str().into()],
    )?;
    if known.is_some() {
        return Err(Error::field("reference", "was used for another order's payment"));
    }
    tx.execute(
        "INSERT INTO payments (order_id, provider, reference, amount_minor, paid_at) VALUES ($1, $2, $3, $4, $5)",
        &[
            found.id.into(),
            paid.provider.as_str().into(),
            paid.reference.as_str().into(),
            found.total_minor.into(),
            now.into(),
        ],
    )?;
    order(tx, code)
}

/// Who cancels an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Whoever bought it: only while it is not paid.
    Buyer,
    /// The organizer of this id: theirs alone, paid or not.
    Organizer(i64),
}

/// Cancels an order, and gives back what it took. One that is cancelled already stays as it is.
///
/// # Errors
/// There is no such order, or it may not be cancelled.
pub fn cancel(tx: &mut Tx<'_>, code: &str, by: By, now: Timestamp) -> Result<Order, Error> {
    let found = order(tx, code)?;
    let reason = match by {
        By::Organizer(id) if id != found.organizer_id => return Err(Error::unknown("order", code)),
        By::Organizer(_) => "organizer",
        By::Buyer if found.status == Status::Paid => {
            return Err(Refusal::Paid { code: found.code }.into());
        }
        By::Buyer => "buyer",
    };
    if found.status == Status::Cancelled {
        return Ok(found);
    }
    let sql = "UPDATE orders SET status = 'cancelled', cancelled_at = $1, cancel_reason = $2, expires_at = NULL \
               WHERE id = $3 AND status = $4";
    let values = [now.into(), reason.into(), found.id.into(), found.status.word().into()];
    if tx.execute(sql, &values)? == 0 {
        return Err(Error::Again("the order changed meanwhile".to_owned()));
    }
    give_back(tx, &[found.id])?;
    order(tx, code)
}

/// Cancels orders that were not paid in time; how many. Ask again while it is as many as a transaction takes.
///
/// # Errors
/// The database failed.
pub fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<u64, Error> {
    let due = tx.query(
        "SELECT id FROM orders WHERE status = 'pending' AND expires_at <= $1 ORDER BY expires_at LIMIT $2",
        &[now.into(), EXPIRED_MAX.into()],
    )?;
    let mut ended = Vec::new();
    for row in due {
        let id = row.int(0)?;
        let sql = "UPDATE orders SET status = 'cancelled', cancelled_at = $1, cancel_reason = 'unpaid', \
                   expires_at = NULL WHERE id = $2 AND status = 'pending'";
        if tx.execute(sql, &[now.into(), id.into()])? == 1 {
            ended.push(id);
        }
    }
    give_back(tx, &ended)?;
    Ok(ended.len() as u64)
}

/// Whether [`expire`] may have left some.
#[must_use]
pub fn may_be_more(expired: u64) -> bool {
    expired == EXPIRED_MAX.unsigned_abs()
}

/// Gives back what orders took. Stocks are changed in the order of their ids, so that no two transactions wait for
/// each other.
fn give_back(tx: &mut Tx<'_>, orders: &[i64]) -> Result<(), Error> {
    let mut taken: BTreeMap<i64, i64> = BTreeMap::new();
    for order in orders {
        let rows = tx.query(
            "SELECT t.stock_id, l.quantity FROM order_lines l JOIN ticket_types t ON t.id = l.ticket_type_id \
             WHERE l.order_id = $1",
            &[(*order).into()],
        )?;
        for row in rows {
            *taken.entry(row.int(0)?).or_default() += row.int(1)?;
        }
    }
    for (stock, quantity) in taken {
        tx.execute(
            "UPDATE stocks SET sold = sold - $1 WHERE id = $2",
            &[quantity.into(), stock.into()],
        )?;
    }
    Ok(())
}

/// Cancels orders that were not paid in time, for ever: once a second, and at once again while there are more.
pub(crate) async fn reap(db: crate::Database) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        loop {
            match db.write(|tx| expire(tx, time::now())).await {
                Ok(ended) if may_be_more(ended) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "orders that ran out could not be cancelled");
                    break;
                }
            }
        }
    }
}
