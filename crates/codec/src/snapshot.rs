//! The wire form of a whole state, in chunks.
//!
//! The schema is `Snapshot` in `onsale.proto`. Each chunk is a message of its own, so
//! that it can be checked and read by itself; all of them one after the other are one
//! message, too. What there is much of stands in tables by column. Between the chunks
//! the caller may put what it likes (checksums, for one): damage that still reads as a
//! state is found by the sums within it, but not all damage is.

mod columns;
mod rows;
mod single;
mod tables;

use onsale_core::Sale;
use onsale_core::snapshot::{Part, Restorer};

use crate::error::{Error, Problem};
use crate::wire::{Fields, Value, put_bytes_present, put_unsigned};

/// The version of the form, which the first chunk tells. It grows with each change that
/// an older reader can't read.
pub const VERSION: u32 = 1;

/// A chunk ends with the first table that brings it to so many bytes.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes a state down; `out` gets one chunk after the other, each of some 256 KiB. (An
/// event with its whole definition is never cut, so some may be larger.)
pub fn encode(sale: &Sale, out: &mut impl FnMut(&[u8])) {
    let mut writer = Writer::default();
    put_unsigned(&mut writer.chunk, 1, VERSION.into());
    sale.save(&mut |part| {
        writer.part(&part);
        if writer.chunk.len() >= CHUNK_BYTES {
            out(&writer.chunk);
            writer.chunk.clear();
        }
    });
    writer.flush();
    put_unsigned(&mut writer.chunk, 3, 1);
    out(&writer.chunk);
}

#[derive(Default)]
struct Writer {
    chunk: Vec<u8>,
    table: Option<tables::Table>,
}

impl Writer {
    fn part(&mut self, part: &Part) {
        let fits = self.table.as_mut().is_some_and(|table| table.push(part));
        if !fits {
            self.flush();
            self.table = tables::Table::begin(part, &mut self.chunk);
        }
    }

    /// Puts the open table into the chunk.
    fn flush(&mut self) {
        if let Some(table) = self.table.take() {
            table.put(&mut self.chunk);
        }
    }
}

/// Reads a state, chunk by chunk.
#[derive(Default)]
pub struct Decoder {
    restorer: Restorer,
    tables: usize,
    begun: bool,
    last: bool,
}

/// Reads a state out of all its chunks.
///
/// # Errors
/// As [`Decoder::chunk`] and [`Decoder::finish`].
pub fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Sale, Error> {
    let mut decoder = Decoder::new();
    for chunk in chunks {
        decoder.chunk(chunk)?;
    }
    decoder.finish()
}

impl Decoder {
    /// Before the first chunk.
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// It is damaged, or not a snapshot's, or of another version, or does not fit to the
    /// ones before it. It never panics, and allocates no more than a fixed multiple of
    /// the bytes and some 50 MB.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.read(bytes).map_err(|error| error.within("snapshot"))
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.last {
            return Err(Problem::Snapshot { what: "a chunk follows the last one" }.into());
        }
        for field in Fields::new(bytes) {
            let field = field?;
            match field.number {
                1 => self.version(field.value).map_err(|error| error.within("version"))?,
                _ if !self.begun => {
                    return Err(Error::from(Problem::Missing).within("version"));
                }
                2 => {
                    let index = self.tables;
                    self.tables += 1;
                    field.item("tables", index, |value| {
                        tables::take(value.fields()?, &mut self.restorer)
                    })?;
                }
                3 => self.last |= field.value.boolean()?,
                _ => {}
            }
        }
        Ok(())
    }

    fn version(&mut self, value: Value<'_>) -> Result<(), Error> {
        let version = value.unsigned()?;
        if version != u64::from(VERSION) {
            return Err(Problem::Version { version }.into());
        }
        if std::mem::replace(&mut self.begun, true) {
            return Err(Problem::Twice.into());
        }
        Ok(())
    }

    /// The state, once all chunks were taken.
    ///
    /// # Errors
    /// The last chunk is missing, or what they say does not add up.
    pub fn finish(self) -> Result<Sale, Error> {
        let end = match self.last {
            true => self.restorer.finish().map_err(Problem::from),
            false => Err(Problem::Snapshot { what: "the last chunk is missing" }),
        };
        end.map_err(|problem| Error::from(problem).within("snapshot"))
    }
}

/// A table's message, with its number.
fn put_table(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let mut table = Vec::new();
    crate::wire::put_message(&mut table, number, body);
    put_bytes_present(out, 2, &table);
}
