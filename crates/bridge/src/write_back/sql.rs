//! Write-back by statements in the platform's database: a batch of orders, and the place in `sales` that they end at, in
//! one transaction.
//!
//! Each statement gets the whole batch as `:orders`, a JSON array of [`Order`]. `write-check` names those that can't be
//! written, with the reason; the others listed in the dialect's `write_back.steps` write. When the database refuses the batch as
//! a whole, its orders are written one by one in the same transaction, and those that it refuses are set aside.
//!
//! An order that both sides cancel at the same moment is cancelled there when its cancellation comes to be written. The
//! platform has its tickets back then, so they are taken again here ([`LOCKS`] says of which orders that is so).

use std::collections::BTreeSet;
use std::sync::Arc;

use onsale_bus::WorkerId;
use onsale_bus::cursors::{Claim, Progress};
use onsale_bus::effects;
use onsale_bus::{
    Batch, CursorId, Error as BusError, Generation, Group, Position, Record, ShardId,
};

use super::Parked;
use super::sales::{Order, OrderRecord, fold};
use crate::Error;
use crate::capture;
use crate::capture::orders::{Again, CANCELLED, cancelled_by_engine, parked_as};
use crate::database::{Database, Mode, Statement, Transaction};
use crate::dialect::Dialect;
use crate::state::State;

/// The statement that names orders which can't be written: columns `order` and `reason`.
pub const CHECK: &str = "write-check";
/// The statement that locks the orders of a batch that are to be cancelled: columns `order` and `status`, as they are.
pub const LOCKS: &str = "write-locks";

/// A fence that no bridge has.
const FENCE_MAX: u64 = i64::MAX.cast_unsigned();

/// Writes into one platform's database.
pub struct Writer {
    db: Database,
    how: Statements,
    group: Group,
    owner: WorkerId,
    state: Arc<State>,
}

/// The dialect's statements.
struct Statements {
    check: Option<Statement>,
    cancelled: Option<(Statement, Again)>,
    steps: Vec<Statement>,
}

/// Where a shard's write-back is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Of the log.
    pub generation: Generation,
    /// The last position whose effect is there.
    pub position: u64,
}

/// What of a batch was written, and what not.
#[derive(Debug, Default)]
pub struct Written {
    /// Orders that are there now.
    pub orders: u64,
    /// Orders that are set aside.
    pub parked: Vec<Parked>,
}

impl Writer {
    /// For a database that the bridge is attached to.
    ///
    /// # Errors
    /// It is not, the dialect lacks a statement, or the database fails.
    pub async fn open(
        mut db: Database,
        dialect: &Dialect,
        state: Arc<State>,
    ) -> Result<Writer, Error> {
        crate::attach::check_tables(&mut db).await?;
        let kind = db.kind();
        let steps = super::steps(dialect)?;
        let steps = steps.iter().map(|name| dialect.statement(kind, name));
        let how = Statements {
            check: dialect.find(kind, CHECK),
            cancelled: dialect.find(kind, LOCKS).zip(Again::new(dialect, kind)?),
            steps: steps.collect::<Result<_, _>>()?,
        };
        Ok(Writer {
            how,
            group: group(&dialect.settings.name)?,
            owner: WorkerId::fresh(),
            db,
            state,
        })
    }

    /// Where a shard is; none: nothing was ever written. And the highest fence that moved it.
    ///
    /// # Errors
    /// The database fails.
    pub async fn place(&mut self, shard: u16) -> Result<(Option<Place>, u64), Error> {
        let cursor = self.cursor(shard);
        let (place, fence) = match &mut self.db {
            Database::Sqlite(db) => {
                let db = &db.connection;
                (effects::sqlite::place(db, &cursor), effects::sqlite::fence(db, &cursor))
            }
            Database::Postgres(db) => {
                let db = &db.client;
                let place = effects::postgres::place(db, &cursor).await;
                (place, effects::postgres::fence(db, &cursor).await)
            }
        };
        let place = place.map_err(failed)?.map(|at| Place {
            generation: at.generation,
            position: at.position.as_u64().unwrap_or(u64::MAX),
        });
        Ok((place, fence.map_err(failed)?))
    }

    fn cursor(&self, shard: u16) -> CursorId {
        self.group.cursor(&ShardId::numbered(shard.into()))
    }

    /// Writes what became of orders, and moves a shard's place, in one transaction. Orders that can't be written are
    /// set aside in the bridge's own file first.
    ///
    /// # Errors
    /// Nothing is written then. [`Error::Refused`]: another bridge writes back.
    pub async fn write(
        &mut self,
        shard: u16,
        fence: u64,
        from: Option<Place>,
        to: Place,
        records: &[OrderRecord],
    ) -> Result<Written, Error> {
        let batch = self.batch(shard, fence, from, to, None);
        self.carry_out(&batch, records).await
    }

    /// Writes what became of orders of one shard that were set aside, whatever the place: those that can be written, together.
    ///
    /// # Errors
    /// Nothing is written then.
    pub async fn retry(&mut self, records: &[OrderRecord]) -> Result<Written, Error> {
        let (mut left, mut parked) = (records.to_vec(), Vec::new());
        loop {
            let mut written = self.retry_whole(&left).await?;
            // A transaction in which one is refused was taken back: see `transact`.
            let refused: BTreeSet<&str> =
                written.parked.iter().map(|(code, _)| code.as_str()).collect();
            left.retain(|record| !refused.contains(record.order.as_str()));
            let is_done = refused.is_empty() || left.is_empty();
            parked.append(&mut written.parked);
            if is_done {
                return Ok(Written { orders: written.orders, parked });
            }
        }
    }

    async fn retry_whole(&mut self, records: &[OrderRecord]) -> Result<Written, Error> {
        let shard = records.first().map_or(0, |record| record.shard);
        let (place, _) = self.place(shard).await?;
        let to = place.unwrap_or(Place { generation: Generation(0), position: 0 });
        // It moves no place, so a bridge at work that begins anew meanwhile is not in its way.
        let batch = self.batch(shard, FENCE_MAX, place, to, Some(records));
        self.carry_out(&batch, records).await
    }

    fn batch(
        &self,
        shard: u16,
        fence: u64,
        from: Option<Place>,
        to: Place,
        again: Option<&[OrderRecord]>,
    ) -> Batch {
        let progress = |place: Place| Progress {
            generation: place.generation,
            position: Position::from(place.position),
            ended: false,
        };
        let claim = Claim {
            cursor: self.cursor(shard),
            owner: self.owner.clone(),
            fence,
            progress: from.map(progress),
        };
        let record = |record: &OrderRecord| Record {
            position: Position::from(record.position),
            key: record.subject.clone().into(),
            payload: bytes::Bytes::new(),
            written_at_us: 0,
        };
        let records = again.unwrap_or_default().iter().map(record).collect();
        Batch::new(claim, progress(to), again.is_some(), records)
    }

    async fn carry_out(
        &mut self,
        batch: &Batch,
        records: &[OrderRecord],
    ) -> Result<Written, Error> {
        let (orders, odd) = fold(records);
        let mut parked: Vec<Parked> = odd;
        let orders: Vec<Order> =
            orders.into_iter().filter(|o| parked.iter().all(|(code, _)| *code != o.code)).collect();
        let echoes = orders.iter().filter_map(|o| Some((o.code.as_str(), o.status.as_deref()?)));
        self.state.will_write(echoes)?;
        let refused = match self.transact(batch, &orders, records, &parked, All).await {
            Err(error) if is_poison(&error) => {
                self.transact(batch, &orders, records, &parked, OneByOne).await?
            }
            done => done?,
        };
        parked.extend(refused);
        if batch.is_retry && !parked.is_empty() {
            return Ok(Written { orders: 0, parked });
        }
        let is_there = |o: &&Order| parked.iter().all(|(code, _)| *code != o.code);
        self.state.wrote(orders.iter().filter(is_there).map(|o| o.code.as_str()))?;
        let is_end = |o: &&Order| o.status.as_deref() == Some(CANCELLED);
        let ended = orders.iter().filter(is_there).filter(is_end);
        cancelled_by_engine(&self.state, ended.map(|o| o.code.as_str()))?;
        let written = orders.iter().filter(is_there).count() as u64;
        Ok(Written { orders: written, parked })
    }
}

impl Writer {
    /// One transaction. Orders that are not in it, these and those it gives, are set aside before it is made so.
    async fn transact(
        &mut self,
        batch: &Batch,
        orders: &[Order],
        records: &[OrderRecord],
        odd: &[Parked],
        how: How,
    ) -> Result<Vec<Parked>, Error> {
        let Writer { db, how: statements, state, .. } = self;
        let Attempt { tx, refused, again } =
            attempt(db, batch, statements, state, orders, how).await?;
        let aside = [odd, refused.as_slice()].concat();
        super::park(state, &aside, records)?;
        // What was tried again in vain must not count as tried: it is tried once more later.
        if !batch.is_retry || aside.is_empty() {
            tx.commit().await?;
            state.note_again(again.iter().map(String::as_str))?;
            for code in &again {
                state.unpark(capture::WAY, &parked_as(code))?;
            }
        }
        Ok(refused)
    }
}

/// How the orders of a batch are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    All,
    OneByOne,
}
use How::{All, OneByOne};

/// What was written within a transaction that is still to be committed.
struct Attempt<'a> {
    tx: Transaction<'a>,
    /// Orders that are not in it, and why.
    refused: Vec<Parked>,
    /// Orders whose tickets were taken again.
    again: Vec<String>,
}

/// Writes within a transaction.
async fn attempt<'a>(
    db: &'a mut Database,
    batch: &Batch,
    statements: &Statements,
    state: &State,
    orders: &[Order],
    how: How,
) -> Result<Attempt<'a>, Error> {
    let mut tx = db.begin(Mode::Write).await?;
    let goes_on = match &mut tx {
        Transaction::Sqlite(tx) => effects::sqlite::advance(tx.connection(), batch),
        Transaction::Postgres(tx) => effects::postgres::advance(&tx.tx, batch).await,
    };
    if !goes_on.map_err(failed)? || orders.is_empty() {
        return Ok(Attempt { tx, refused: Vec::new(), again: Vec::new() });
    }
    let again = take_again(&mut tx, statements, state, orders).await?;
    if how == All {
        let refused = write(&mut tx, statements, orders).await?;
        return Ok(Attempt { tx, refused, again });
    }
    let mut refused = Vec::new();
    for order in orders {
        tx.run("SAVEPOINT onsale").await?;
        match write(&mut tx, statements, std::slice::from_ref(order)).await {
            Ok(named) => refused.extend(named),
            Err(error) if is_poison(&error) => {
                tx.run("ROLLBACK TO SAVEPOINT onsale").await?;
                refused.push((order.code.clone(), error.to_string()));
            }
            Err(error) => return Err(error),
        }
        tx.run("RELEASE SAVEPOINT onsale").await?;
    }
    Ok(Attempt { tx, refused, again })
}

/// Takes the tickets of orders again that the platform cancelled before we could: those that are cancelled there now, and
/// not by us, once. Where the platform has sold them again, that is told. Gives the orders.
async fn take_again(
    tx: &mut Transaction<'_>,
    Statements { cancelled, .. }: &Statements,
    state: &State,
    orders: &[Order],
) -> Result<Vec<String>, Error> {
    let mut taken = Vec::new();
    let Some((locks, again)) = cancelled else { return Ok(taken) };
    let is_wanted = |order: &&Order| !order.is_new && order.status.as_deref() == Some(CANCELLED);
    let wanted: Vec<&Order> = orders.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Ok(taken);
    }
    for row in tx.query(locks, &[("orders", json_of(&wanted)?.into())]).await? {
        let (code, status) = (row.text("order")?, row.text("status")?);
        let written = state.echo(&code)?.and_then(|echo| echo.written);
        if status == CANCELLED && written.as_deref() == Some(CANCELLED) && !state.is_again(&code)? {
            continue;
        }
        if status != CANCELLED || state.is_again(&code)? {
            // Nothing is owed: we cancel it here ourselves, or its tickets were taken again. What capture noted before, of an
            // order that was brought back meanwhile, would have it take them once more.
            if let Some(noted) = state.parked_about(capture::WAY, &parked_as(&code))? {
                state.forget(&noted)?;
            }
            continue;
        }
        tx.run("SAVEPOINT onsale").await?;
        match again.take(tx, &code).await {
            Ok(()) => taken.push(code),
            Err(error @ (Error::Refused { .. } | Error::Data { .. })) => {
                tx.run("ROLLBACK TO SAVEPOINT onsale").await?;
                state.park(capture::WAY, &parked_as(&code), &error.to_string(), None)?;
            }
            Err(error) => return Err(error),
        }
        tx.run("RELEASE SAVEPOINT onsale").await?;
    }
    Ok(taken)
}

/// The dialect's statements; gives the orders that its check names.
async fn write(
    tx: &mut Transaction<'_>,
    Statements { check, steps, .. }: &Statements,
    orders: &[Order],
) -> Result<Vec<Parked>, Error> {
    let mut json = json_of(orders)?;
    let mut refused: Vec<Parked> = Vec::new();
    if let Some(check) = check {
        for row in tx.query(check, &[("orders", json.as_str().into())]).await? {
            refused.push((row.text("order")?, row.text("reason")?));
        }
        if !refused.is_empty() {
            let left = orders.iter().filter(|o| refused.iter().all(|(code, _)| *code != o.code));
            let left: Vec<&Order> = left.collect();
            if left.is_empty() {
                return Ok(refused);
            }
            json = json_of(&left)?;
        }
    }
    for step in steps {
        tx.execute(step, &[("orders", json.as_str().into())]).await?;
    }
    Ok(refused)
}

fn json_of(orders: &(impl serde::Serialize + ?Sized)) -> Result<String, Error> {
    serde_json::to_string(orders).map_err(|error| Error::State(error.to_string()))
}

/// Whether an error is about what was to be written, and not about the statement: a table that is missing is no order's fault.
fn is_poison(error: &Error) -> bool {
    let why = match error {
        Error::Data { .. } => return true,
        Error::Statement { why, .. } => why,
        _ => return false,
    };
    // PostgreSQL's classes for what is wrong in a query, and what SQLite says for the same.
    let about_query = ["(42", "(0A", "(25", "no such", "syntax error", "has no column"];
    !about_query.iter().any(|sign| why.contains(sign))
}

/// Name of the cursor in the platform's database.
pub(crate) fn group(dialect: &str) -> Result<Group, Error> {
    let name = format!("bridge-{}", dialect.replace('_', "-"));
    Group::new(&name, "sales").map_err(|error| Error::State(error.to_string()))
}

fn failed(error: BusError) -> Error {
    match error {
        BusError::LostLease { .. } => Error::refused(
            "another bridge writes back into this database",
            "Let one run; end the other one.",
        ),
        other => Error::Database(other.to_string()),
    }
}
