//! An event as the platform has it, read by the dialect's statements and made into what the engine takes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::database::{Database, Kind, Mode, Param, Row, Statement, Transaction};
use crate::dialect::Dialect;
use crate::state::Taken;

/// A moment that is over: what is not active is not for sale since then.
const LONG_AGO: &str = "1970-01-02T00:00:00Z";

/// The statements that read events.
#[derive(Clone, Debug)]
pub struct Reader {
    events: Statement,
    event: Statement,
    quotas: Statement,
    ticket_types: Statement,
    time_changed: Option<Statement>,
    order: Option<Statement>,
}

/// An event as it is in the platform.
#[derive(Clone, PartialEq, Debug)]
pub struct Captured {
    /// `ORGANIZER/EVENT`.
    pub subject: String,
    /// The definition, with the platform's own capacities.
    pub definition: Map<String, Value>,
    /// The state that the platform gives it: `open`, `paused` or `closed`.
    pub state: String,
}

/// An order as it is in the platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CapturedOrder {
    /// Whose it is.
    pub organizer: String,
    /// Of which event.
    pub event: String,
    /// `pending`, `paid` or `cancelled`.
    pub status: String,
}

impl Reader {
    /// From a dialect.
    ///
    /// # Errors
    /// A statement is missing.
    pub fn new(dialect: &Dialect, kind: Kind) -> Result<Reader, Error> {
        Ok(Reader {
            events: dialect.statement(kind, "events")?,
            event: dialect.statement(kind, "event")?,
            quotas: dialect.statement(kind, "quotas")?,
            ticket_types: dialect.statement(kind, "ticket-types")?,
            time_changed: dialect.find(kind, "time-changed"),
            order: dialect.find(kind, "order"),
        })
    }

    /// The keys of all events.
    ///
    /// # Errors
    /// The database fails, or gives what makes no sense.
    pub async fn keys(
        &self,
        tx: &mut Transaction<'_>,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, Error> {
        let rows = tx.query(&self.events, &[at("now", now)]).await?;
        rows.iter().map(|row| row.text("key")).collect()
    }

    /// The keys of events that time alone changed.
    ///
    /// # Errors
    /// The database fails, or gives what makes no sense.
    pub async fn time_changed(
        &self,
        tx: &mut Transaction<'_>,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, Error> {
        let Some(statement) = &self.time_changed else { return Ok(BTreeSet::new()) };
        let rows = tx.query(statement, &[at("since", since), at("now", now)]).await?;
        rows.iter().map(|row| row.text("key")).collect()
    }

    /// Whether anything changes by time alone.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.time_changed.is_some()
    }

    /// An event; none: it is not there, or not to be known.
    ///
    /// # Errors
    /// The database fails, or gives what makes no sense.
    pub async fn event(
        &self,
        tx: &mut Transaction<'_>,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Captured>, Error> {
        let params = [("event", key.into()), at("now", now)];
        let Some(row) = tx.query(&self.event, &params).await?.into_iter().next() else {
            return Ok(None);
        };
        let quotas = tx.query(&self.quotas, &params).await?;
        let ticket_types = tx.query(&self.ticket_types, &params).await?;
        Ok(Some(captured(&row, &quotas, &ticket_types)?))
    }

    /// The subjects of all events that can be read, with their keys.
    ///
    /// # Errors
    /// The database fails.
    pub async fn subjects(&self, db: &mut Database) -> Result<BTreeMap<String, String>, Error> {
        let (now, mut subjects) = (Timestamp::now(), BTreeMap::new());
        let mut tx = db.begin(Mode::Read).await?;
        for key in self.keys(&mut tx, now).await? {
            match self.event(&mut tx, &key, now).await {
                Ok(event) => subjects.extend(event.map(|event| (event.subject, key))),
                // One of which something can't be used has nothing to do with the others.
                Err(Error::Data { .. }) => {
                    drop(tx);
                    tx = db.begin(Mode::Read).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(subjects)
    }

    /// Whether the dialect tells of single orders.
    #[must_use]
    pub fn has_orders(&self) -> bool {
        self.order.is_some()
    }

    /// An order; none: it is not there.
    ///
    /// # Errors
    /// The database fails, or gives what makes no sense.
    pub async fn order(
        &self,
        tx: &mut Transaction<'_>,
        code: &str,
    ) -> Result<Option<CapturedOrder>, Error> {
        let Some(statement) = &self.order else { return Ok(None) };
        let rows = tx.query(statement, &[("order", code.into())]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(CapturedOrder {
            organizer: row.text("organizer")?,
            event: row.text("event")?,
            status: row.text("status")?,
        }))
    }
}

fn at(name: &'static str, time: Timestamp) -> Param<'static> {
    (name, time.to_string().into())
}

fn captured(row: &Row, quotas: &[Row], ticket_types: &[Row]) -> Result<Captured, Error> {
    let (organizer, event) = (row.text("organizer")?, row.text("event")?);
    let mut definition = Map::new();
    definition.insert("name".to_owned(), row.text("name")?.into());
    definition.insert("currency".to_owned(), row.text("currency")?.into());
    if let Some(time) = row.maybe_time("starts_at")? {
        definition.insert("starts_at".to_owned(), time.to_string().into());
    }
    definition.extend(window(row)?.map(|window| ("sale".to_owned(), window)));
    let mut limit = Map::new();
    for name in ["per_order", "per_customer"] {
        limit.extend(row.maybe_integer(name)?.map(|number| (name.to_owned(), number.into())));
    }
    let limits = if limit.is_empty() { Vec::new() } else { vec![Value::Object(limit)] };
    definition.insert("limits".to_owned(), limits.into());
    for name in ["hold_seconds", "payment_seconds"] {
        definition.extend(row.maybe_integer(name)?.map(|number| (name.to_owned(), number.into())));
    }
    let quota = |row: &Row| {
        Ok(json!({"id": row.text("quota")?, "capacity": row.maybe_integer("capacity")?}))
    };
    let quotas: Result<Vec<Value>, Error> = quotas.iter().map(quota).collect();
    definition.insert("quotas".to_owned(), quotas?.into());
    definition.insert("ticket_types".to_owned(), types(ticket_types)?.into());
    let state = row.maybe_text("state")?.unwrap_or_else(|| "open".to_owned());
    if !["open", "paused", "closed"].contains(&state.as_str()) {
        let why = format!("the column state must be open, paused or closed; it is {state}");
        return Err(Error::Data { statement: row.statement.to_string(), why });
    }
    Ok(Captured { subject: format!("{organizer}/{event}"), definition, state })
}

/// Ticket types from rows, one for each quota that a type draws on.
fn types(rows: &[Row]) -> Result<Vec<Value>, Error> {
    let mut order: Vec<String> = Vec::new();
    let mut types: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for row in rows {
        let id = row.text("ticket_type")?;
        let quota = row.text("quota")?;
        if let Some(known) = types.get_mut(&id) {
            if let Some(Value::Array(quotas)) = known.get_mut("quotas") {
                quotas.push(quota.into());
            }
            continue;
        }
        let mut made = Map::new();
        made.insert("id".to_owned(), id.clone().into());
        made.insert("name".to_owned(), row.text("name")?.into());
        made.insert("price".to_owned(), row.integer("price")?.into());
        if row.maybe_bool("free_price")? == Some(true) {
            made.insert("free_price".to_owned(), true.into());
        }
        made.insert("quotas".to_owned(), vec![Value::from(quota)].into());
        let sale = match row.maybe_bool("active")? {
            Some(false) => Some(json!({"closes_at": LONG_AGO})),
            _ => window(row)?,
        };
        made.extend(sale.map(|window| ("sale".to_owned(), window)));
        order.push(id.clone());
        types.insert(id, made);
    }
    Ok(order.iter().filter_map(|id| types.remove(id)).map(Value::Object).collect())
}

fn window(row: &Row) -> Result<Option<Value>, Error> {
    let mut window = Map::new();
    for name in ["opens_at", "closes_at"] {
        window.extend(row.maybe_time(name)?.map(|time| (name.to_owned(), time.to_string().into())));
    }
    Ok((!window.is_empty()).then_some(Value::Object(window)))
}

impl Captured {
    /// Definition and state as the engine shall have them. Of an event that was taken over the engine has what was credited,
    /// whatever the platform's capacity is now; one that was not is known and does not sell.
    #[must_use]
    pub fn wanted(&self, taken: Option<&Taken>) -> (Value, &str) {
        let mut definition = self.definition.clone();
        let Some(taken) = taken else { return (definition.into(), "paused") };
        if let Some(Value::Array(quotas)) = definition.get_mut("quotas") {
            for quota in quotas {
                let credited = quota["id"].as_str().and_then(|id| taken.quotas.get(id));
                quota["capacity"] = credited.copied().unwrap_or(0).into();
            }
        }
        (definition.into(), &self.state)
    }
}
