//! Messages of PostgreSQL's `pgoutput` (protocol 1, text): which row of which table changed.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>

/// A message that matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Describes a table, before the first change of it and after each change of its form.
    Relation {
        /// Its number in what follows.
        id: u32,
        /// Its name.
        table: String,
        /// Its columns, in order.
        columns: Vec<String>,
        /// Which of them tell its rows apart, by their numbers.
        keys: Vec<usize>,
    },
    /// A row came.
    Insert {
        /// The table.
        relation: u32,
        /// Its values.
        new: Tuple,
    },
    /// A row changed.
    Update {
        /// The table.
        relation: u32,
        /// Values from before, where the table or the change of its key gives them.
        old: Option<Tuple>,
        /// Its values.
        new: Tuple,
    },
    /// A row went.
    Delete {
        /// The table.
        relation: u32,
        /// What is known of it: its key at least.
        old: Tuple,
    },
    /// Tables were emptied.
    Truncate {
        /// Which.
        relations: Vec<u32>,
    },
    /// Nothing for us.
    Other,
}

/// Values of a row, in the order of the columns.
pub type Tuple = Vec<Datum>;

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Datum {
    /// Null, or not given.
    Null,
    /// A large value that did not change, and is not given.
    Unchanged,
    /// Its text.
    Text(String),
}

/// Reads a message; none: it is cut off or of another protocol.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Message> {
    let mut bytes = Bytes(bytes);
    Some(match bytes.u8()? {
        b'R' => {
            let id = bytes.u32()?;
            bytes.text()?;
            let table = bytes.text()?;
            bytes.u8()?;
            let count = bytes.u16()?;
            let (mut columns, mut keys) = (Vec::new(), Vec::new());
            for number in 0..count {
                if bytes.u8()? & 1 != 0 {
                    keys.push(usize::from(number));
                }
                columns.push(bytes.text()?);
                bytes.u32()?;
                bytes.u32()?;
            }
            Message::Relation { id, table, columns, keys }
        }
        b'I' => {
            let relation = bytes.u32()?;
            bytes.u8()?;
            Message::Insert { relation, new: bytes.tuple()? }
        }
        b'U' => {
            let relation = bytes.u32()?;
            let mut old = None;
            if bytes.u8()? != b'N' {
                old = Some(bytes.tuple()?);
                bytes.u8()?;
            }
            Message::Update { relation, old, new: bytes.tuple()? }
        }
        b'D' => {
            let relation = bytes.u32()?;
            bytes.u8()?;
            Message::Delete { relation, old: bytes.tuple()? }
        }
        b'T' => {
            let count = bytes.u32()?;
            bytes.u8()?;
            Message::Truncate { relations: (0..count).map(|_| bytes.u32()).collect::<Option<_>>()? }
        }
        _ => Message::Other,
    })
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    fn tuple(&mut self) -> Option<Tuple> {
        let count = self.u16()?;
        let mut tuple = Vec::with_capacity(count.into());
        for _ in 0..count {
            tuple.push(match self.u8()? {
                b'n' => Datum::Null,
                b'u' => Datum::Unchanged,
                _ => {
                    let length = self.u32()? as usize;
                    Datum::Text(String::from_utf8_lossy(self.take(length)?).into_owned())
                }
            });
        }
        Some(tuple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_cut_ones_are_told() {
        let mut update = b"U\0\0\0\x07N\0\x03t\0\0\0\x0212nu".to_vec();
        let new = vec![Datum::Text("12".to_owned()), Datum::Null, Datum::Unchanged];
        assert_eq!(read(&update), Some(Message::Update { relation: 7, old: None, new }));
        update.pop();
        assert_eq!(read(&update), None);
        let relation = b"R\0\0\0\x07public\0stocks\0d\0\x01\x01id\0\0\0\0\x14\xff\xff\xff\xff";
        let columns = vec!["id".to_owned()];
        assert_eq!(
            read(relation),
            Some(Message::Relation { id: 7, table: "stocks".to_owned(), columns, keys: vec![0] })
        );
        let delete = b"D\0\0\0\x07K\0\x02t\0\0\0\x011n";
        let old = vec![Datum::Text("1".to_owned()), Datum::Null];
        assert_eq!(read(delete), Some(Message::Delete { relation: 7, old }));
        assert_eq!(read(b"B123"), Some(Message::Other));
        assert_eq!(
            read(b"T\0\0\0\x01\0\0\0\0\x07"),
            Some(Message::Truncate { relations: vec![7] })
        );
        assert_eq!(read(b""), None);
    }
}
