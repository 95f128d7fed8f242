//! Tables by column: each a packed field of numbers, or bytes of a fixed width.

use crate::error::{Error, Problem};
use crate::wire::{Fields, Value, put_bytes, put_unsigned, put_varint};

/// A table being written. Its field 1 is the number of rows, its columns follow.
pub(super) struct Columns<const N: usize> {
    rows: u64,
    columns: [Vec<u8>; N],
    /// What the difference to is written, by column.
    last: [i64; N],
}

impl<const N: usize> Columns<N> {
    pub(super) fn new() -> Self {
        Self { rows: 0, columns: std::array::from_fn(|_| Vec::new()), last: [0; N] }
    }

    /// Bytes in all columns.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(Vec::len).sum()
    }

    pub(super) fn next_row(&mut self) {
        self.rows += 1;
    }

    pub(super) fn number(&mut self, column: usize, value: impl Into<u64>) {
        put_varint(&mut self.columns[column], value.into());
    }

    /// A number as its difference to the one before it: short where they grow slowly.
    pub(super) fn next(&mut self, column: usize, value: i64) {
        let difference = value.wrapping_sub(std::mem::replace(&mut self.last[column], value));
        let zigzag = (difference << 1) ^ (difference >> 63);
        put_varint(&mut self.columns[column], zigzag as u64);
    }

    pub(super) fn wide(&mut self, column: usize, value: u128) {
        self.columns[column].extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_unsigned(out, 1, self.rows);
        for (number, column) in self.columns.iter().enumerate() {
            put_bytes(out, number as u32 + 2, column);
        }
    }
}

/// A table being read.
pub(super) struct Rows<'a, const N: usize> {
    pub(super) rows: u64,
    columns: [Fields<'a>; N],
    last: [i64; N],
}

impl<'a, const N: usize> Rows<'a, N> {
    pub(super) fn read(fields: Fields<'a>) -> Result<Self, Error> {
        let (mut rows, mut columns) = (None, [None; N]);
        for field in fields {
            let field = field?;
            match field.number {
                1 => field.set("rows", &mut rows, Value::unsigned)?,
                number if (number as usize) < N + 2 => {
                    field.set("column", &mut columns[number as usize - 2], Value::bytes)?;
                }
                _ => {}
            }
        }
        let columns = columns.map(|bytes| Fields::new(bytes.unwrap_or_default()));
        Ok(Self { rows: rows.unwrap_or(0), columns, last: [0; N] })
    }

    pub(super) fn number(&mut self, column: usize) -> Result<u64, Error> {
        self.columns[column].varint().map_err(Error::from)
    }

    /// A number that must fit a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self, column: usize) -> Result<T, Error> {
        let value = self.number(column)?;
        T::try_from(value).map_err(|_| Problem::Value { value }.into())
    }

    /// A number that was written as its difference to the one before it.
    pub(super) fn next(&mut self, column: usize) -> Result<i64, Error> {
        let zigzag = self.number(column)?;
        let difference = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        self.last[column] = self.last[column].wrapping_add(difference);
        Ok(self.last[column])
    }

    pub(super) fn wide(&mut self, column: usize) -> Result<u128, Error> {
        let bytes = self.columns[column].bytes(16)?;
        Ok(u128::from_be_bytes(bytes.try_into().expect("16 bytes")))
    }

    /// Whether all columns were read to their end.
    pub(super) fn finish(&self) -> Result<(), Error> {
        match self.columns.iter().all(Fields::is_empty) {
            true => Ok(()),
            false => Err(Problem::Snapshot { what: "columns of unlike length" }.into()),
        }
    }
}
