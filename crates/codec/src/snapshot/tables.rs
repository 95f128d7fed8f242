//! The tables of a snapshot: which there are, and when each is written.

use onsale_core::snapshot::{Part, Restorer};

use super::columns::{Columns, Rows};
use super::put_table;
use super::rows::{
    push_command, push_customer, push_ended, push_frozen, push_hold, push_order, push_queue,
    take_command, take_customer, take_ended, take_frozen, take_hold, take_order, take_queue,
};
use super::single::{put_event, put_group, put_shard, take_event, take_group, take_shard};
use crate::error::{Error, Problem};
use crate::wire::Fields;

/// A table is written when its columns have so many bytes: few enough that a chunk does
/// not grow much beyond its size.
const TABLE_BYTES: usize = 64 << 10;

/// A table by column that is open.
pub(super) enum Table {
    Queues(Columns<4>),
    Customers(Columns<4>),
    Holds(Columns<11>),
    Orders(Columns<17>),
    Frozen(Columns<4>),
    Ended(Columns<4>),
    Commands(Columns<3>),
}

impl Table {
    /// A table with its first row; what has no columns is put into the chunk at once.
    pub(super) fn begin(part: &Part, chunk: &mut Vec<u8>) -> Option<Table> {
        let mut table = match part {
            Part::Shard(shard) => {
                put_table(chunk, 1, |out| put_shard(out, shard));
                return None;
            }
            Part::Group(group) => {
                put_table(chunk, 2, |out| put_group(out, group));
                return None;
            }
            Part::Event(event) => {
                put_table(chunk, 3, |out| put_event(out, event));
                return None;
            }
            Part::Queue(_) => Table::Queues(Columns::new()),
            Part::Customer(_) => Table::Customers(Columns::new()),
            Part::Hold(_) => Table::Holds(Columns::new()),
            Part::Order(_) => Table::Orders(Columns::new()),
            Part::Frozen(_) => Table::Frozen(Columns::new()),
            Part::Ended(_) => Table::Ended(Columns::new()),
            Part::Command(_) => Table::Commands(Columns::new()),
        };
        table.push(part);
        Some(table)
    }

    /// Adds a row; false where it is another table's, or the table is full.
    pub(super) fn push(&mut self, part: &Part) -> bool {
        match (self, part) {
            (Table::Queues(rows), Part::Queue(part)) => push(rows, part, push_queue),
            (Table::Customers(rows), Part::Customer(part)) => push(rows, part, push_customer),
            (Table::Holds(rows), Part::Hold(part)) => push(rows, part, push_hold),
            (Table::Orders(rows), Part::Order(part)) => push(rows, &**part, push_order),
            (Table::Frozen(rows), Part::Frozen(part)) => push(rows, part, push_frozen),
            (Table::Ended(rows), Part::Ended(part)) => push(rows, part, push_ended),
            (Table::Commands(rows), Part::Command(part)) => push(rows, part, push_command),
            _ => false,
        }
    }

    pub(super) fn put(&self, chunk: &mut Vec<u8>) {
        match self {
            Table::Queues(rows) => put_table(chunk, 4, |out| rows.put(out)),
            Table::Customers(rows) => put_table(chunk, 5, |out| rows.put(out)),
            Table::Holds(rows) => put_table(chunk, 6, |out| rows.put(out)),
            Table::Orders(rows) => put_table(chunk, 7, |out| rows.put(out)),
            Table::Frozen(rows) => put_table(chunk, 8, |out| rows.put(out)),
            Table::Ended(rows) => put_table(chunk, 9, |out| rows.put(out)),
            Table::Commands(rows) => put_table(chunk, 10, |out| rows.put(out)),
        }
    }
}

fn push<P, const N: usize>(
    rows: &mut Columns<N>,
    part: &P,
    row: impl FnOnce(&mut Columns<N>, &P),
) -> bool {
    let fits = rows.bytes() < TABLE_BYTES;
    if fits {
        rows.next_row();
        row(rows, part);
    }
    fits
}

/// Reads one table and hands its parts to the restorer.
pub(super) fn take(fields: Fields<'_>, restorer: &mut Restorer) -> Result<(), Error> {
    for field in fields {
        let field = field?;
        let within = |name| move |error: Error| error.within(name);
        let fields = field.value.fields()?;
        match field.number {
            1 => give(restorer, Part::Shard(take_shard(fields).map_err(within("shard"))?.into()))?,
            2 => give(restorer, Part::Group(take_group(fields).map_err(within("group"))?.into()))?,
            3 => give(restorer, Part::Event(take_event(fields).map_err(within("event"))?.into()))?,
            4 => rows(fields, restorer, |r| take_queue(r).map(Part::Queue))
                .map_err(within("queues"))?,
            5 => rows(fields, restorer, |r| take_customer(r).map(Part::Customer))
                .map_err(within("customers"))?,
            6 => {
                rows(fields, restorer, |r| take_hold(r).map(Part::Hold)).map_err(within("holds"))?
            }
            7 => {
                rows(fields, restorer, |r| Ok(Part::Order(take_order(r)?.into())))
                    .map_err(within("orders"))?;
            }
            8 => rows(fields, restorer, |r| take_frozen(r).map(Part::Frozen))
                .map_err(within("frozen_orders"))?,
            9 => rows(fields, restorer, |r| take_ended(r).map(Part::Ended))
                .map_err(within("ended_holds"))?,
            10 => rows(fields, restorer, |r| take_command(r).map(Part::Command))
                .map_err(within("commands"))?,
            number => return Err(Problem::Table { number }.into()),
        }
    }
    Ok(())
}

fn give(restorer: &mut Restorer, part: Part) -> Result<(), Error> {
    restorer.take(part).map_err(|error| Problem::from(error).into())
}

fn rows<'a, const N: usize>(
    fields: Fields<'a>,
    restorer: &mut Restorer,
    read: impl Fn(&mut Rows<'a, N>) -> Result<Part, Error>,
) -> Result<(), Error> {
    let mut rows = Rows::read(fields)?;
    for row in 0..rows.rows {
        let part = read(&mut rows).and_then(|part| give(restorer, part));
        part.map_err(|error| error.within(format_args!("rows[{row}]")))?;
    }
    rows.finish()
}
