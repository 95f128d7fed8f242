//! The statements of a dialect: what each is for, its parameters, its columns.

use super::{By, Dialect, Settings, watches};
use crate::Error;
use crate::database::{Database, Kind};

/// A statement that the bridge knows.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name: that of its file, without `.sql`.
    pub name: &'static str,
    /// When it must be there.
    pub needed: Needed,
    /// The parameters that it may use.
    pub params: &'static [&'static str],
    /// The columns that it must give.
    pub columns: &'static [&'static str],
    /// The columns that it may give.
    pub more: &'static [&'static str],
    /// What it does.
    pub about: &'static str,
}

/// When a statement must be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needed {
    /// Always.
    Always,
    /// Where sales are written back by SQL.
    WriteBackBySql,
    /// Where stock is taken by an API.
    TakingByApi,
    /// Where stock is taken in any way.
    Taking,
    /// Never: where it is missing, something is not done.
    Never,
}

/// All of them.
#[rustfmt::skip]
pub const STATEMENTS: &[Known] = &[
    Known { name: "events", needed: Needed::Always, params: &["now"], columns: &["key"], more: &[],
        about: "the keys of all events that shall be known to the engine" },
    Known { name: "event", needed: Needed::Always, params: &["event", "now"],
        columns: &["organizer", "event", "name", "currency"],
        more: &["state", "starts_at", "opens_at", "closes_at", "per_order", "per_customer", "hold_seconds", "payment_seconds"],
        about: "the event with the key :event, in one row; no row: it is not there, or not to be known" },
    Known { name: "quotas", needed: Needed::Always, params: &["event", "now"], columns: &["quota", "capacity"], more: &[],
        about: "the pools of stock of the event :event" },
    Known { name: "ticket-types", needed: Needed::Always, params: &["event", "now"],
        columns: &["ticket_type", "name", "price", "quota"],
        more: &["active", "free_price", "opens_at", "closes_at"],
        about: "the ticket types of the event :event, a row for each quota that one draws on" },
    Known { name: "time-changed", needed: Needed::Never, params: &["since", "now"], columns: &["key"], more: &[],
        about: "the keys of events that time alone changed after :since and until :now" },
    Known { name: "order", needed: Needed::Never, params: &["order"], columns: &["organizer", "event", "status"], more: &[],
        about: "the order with the code :order: whose it is, and whether it is pending, paid or cancelled" },
    Known { name: "order-lines", needed: Needed::Never, params: &["order"], columns: &["key", "quota", "quantity"], more: &[],
        about: "how much of which quota the order :order had, with the event's key" },
    Known { name: "hindrances", needed: Needed::Never, params: &[], columns: &["why", "way_out"], more: &[],
        about: "what stands in the way of attaching, a row each" },
    Known { name: "write-check", needed: Needed::Never, params: &["orders"], columns: &["order", "reason"], more: &[],
        about: "orders of :orders (a JSON array) that can't be written, and why" },
    Known { name: "write-locks", needed: Needed::Never, params: &["orders"], columns: &["order", "status"], more: &[],
        about: "locks the orders of :orders (a JSON array) that are to be cancelled, and says their status as it is" },
    Known { name: "reconcile-orders", needed: Needed::Never, params: &["event"], columns: &["order", "status", "total", "tickets"], more: &[],
        about: "the engine's orders that are there for the event :event; tickets: their codes, sorted, with commas" },
    Known { name: "reconcile-quotas", needed: Needed::Never, params: &["event"], columns: &["quota", "engine", "others"],
        more: &["capacity", "blocked", "counted"],
        about: "of each quota of the event :event, tickets of the engine's orders and of others" },
    Known { name: "free", needed: Needed::Taking, params: &["event", "now"], columns: &["quota", "free"], more: &[],
        about: "what is left of each quota of the event :event, locked against sales until the transaction ends" },
    Known { name: "take-check", needed: Needed::Never, params: &["event"], columns: &["why", "way_out"], more: &[],
        about: "what must be otherwise before the event :event is taken over, a row each" },
    Known { name: "take-lock", needed: Needed::Never, params: &["event"], columns: &[], more: &[],
        about: "waits for the sales of the event :event that run, and holds up others until the transaction ends" },
    Known { name: "taken", needed: Needed::TakingByApi, params: &[], columns: &["name", "quota", "amount", "key"], more: &[],
        about: "what the platform keeps back for the engine, by the name of the transfer" },
    Known { name: "take", needed: Needed::WriteBackBySql, params: &["event", "quota", "amount"], columns: &[], more: &[],
        about: "takes :amount of the quota :quota away from the platform's own sale; changes no row where so many are not free" },
];

/// What a statement is for.
#[must_use]
pub fn about(name: &str) -> &'static str {
    STATEMENTS
        .iter()
        .find(|known| known.name == name)
        .map_or("a lookup, or a step of write-back", |known| known.about)
}

fn is_needed(known: &Known, settings: &Settings) -> bool {
    let by_api = settings.write_back.by == By::Api && settings.api.contains_key("take");
    match known.needed {
        Needed::Always => true,
        Needed::WriteBackBySql => settings.write_back.by == By::Sql,
        Needed::TakingByApi => by_api,
        Needed::Taking => by_api || settings.write_back.by == By::Sql,
        Needed::Never => false,
    }
}

/// All that is wrong with a dialect's files, for one kind of database; with a database of the platform also what that says
/// to each statement, and which of the watched tables and columns are not there.
///
/// # Errors
/// The database fails.
pub async fn check(
    dialect: &Dialect,
    kind: Kind,
    mut db: Option<&mut Database>,
) -> Result<Vec<Error>, Error> {
    let mut found = Vec::new();
    if !dialect.settings.databases.contains(&kind) {
        let why = format!("databases: {} is not among them", kind.name());
        found.push(Error::Dialect { file: format!("{}/dialect.toml", dialect.place), why });
        return Ok(found);
    }
    for known in STATEMENTS {
        if is_needed(known, &dialect.settings)
            && let Err(error) = dialect.statement(kind, known.name)
        {
            found.push(error);
        }
    }
    let lookups = dialect.settings.watch.iter().filter_map(|watch| watch.lookup.as_deref());
    for lookup in lookups.clone() {
        found.extend(dialect.statement(kind, lookup).err());
    }
    let steps = match dialect.settings.write_back.by {
        By::Sql => crate::write_back::steps(dialect),
        _ => Ok(Vec::new()),
    };
    let steps = steps.unwrap_or_else(|error| {
        found.push(error);
        Vec::new()
    });
    for step in &steps {
        found.extend(dialect.statement(kind, step).err());
    }
    for (of, name) in dialect.sql.keys() {
        if *of != kind {
            continue;
        }
        let wrong = |why: String| Error::Dialect { file: dialect.file(kind, name), why };
        let statement = dialect.statement(kind, name)?;
        let known = STATEMENTS.iter().find(|known| known.name == name);
        let params: &[&str] = match known {
            Some(known) => known.params,
            None if lookups.clone().any(|lookup| lookup == name) => &["key"],
            None if steps.contains(name) => &["orders"],
            None => {
                found.push(wrong("there is no statement of this name".to_owned()));
                continue;
            }
        };
        for param in statement.params.iter().filter(|param| !params.contains(&param.as_str())) {
            let there: Vec<String> = params.iter().map(|name| format!(":{name}")).collect();
            found.push(wrong(format!(
                "there is no parameter :{param}; there are {}",
                there.join(", ")
            )));
        }
        let Some(db) = db.as_deref_mut() else { continue };
        let columns = match db.prepare(&statement).await {
            Ok(columns) => columns,
            Err(Error::Statement { why, .. }) => {
                found.push(wrong(why));
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(known) = known else { continue };
        for column in
            known.columns.iter().filter(|column| !columns.iter().any(|has| has == *column))
        {
            found.push(wrong(format!(
                "the column {column} is missing; there are {}",
                columns.join(", ")
            )));
        }
        let is_known = |column: &String| {
            known.columns.is_empty()
                || known.columns.contains(&column.as_str())
                || known.more.contains(&column.as_str())
        };
        for column in columns.iter().filter(|column| !is_known(column)) {
            found.push(wrong(format!("the column {column} is not known here")));
        }
    }
    if let Some(db) = db {
        found.extend(watches::check(dialect, db).await?);
    }
    Ok(found)
}
