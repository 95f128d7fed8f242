//! Where a reader of a shard is, as a text that it hands back: the position, with the log and
//! the generation that it counts in. So a reader of a log that went back is told, and never
//! takes other records for those that it would have read.

use std::fmt;
use std::str::FromStr;

use onsale_engine::ShardInfo;
use uuid::Uuid;

/// A place in a shard: all records up to a position were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    /// Id of the log.
    pub log: u128,
    /// Its generation.
    pub generation: u32,
    /// The shard.
    pub shard: u16,
    /// The position of the last record that was read, or 0.
    pub position: u64,
}

impl Cursor {
    /// A place in this shard.
    #[must_use]
    pub fn at(info: &ShardInfo, position: u64) -> Cursor {
        let generation = info.generation.get();
        Cursor { log: info.log, generation, shard: info.shard, position }
    }

    /// Whether it is of this shard as it is now.
    #[must_use]
    pub fn is_of(&self, info: &ShardInfo) -> bool {
        *self == Cursor::at(info, self.position)
    }
}

/// `LOG.GENERATION.SHARD.POSITION`: nothing in it needs an escape in a URL or a header.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cursor { log, generation, shard, position } = self;
        write!(f, "{}.{generation}.{shard}.{position}", Uuid::from_u128(*log))
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be a cursor as it was given: LOG.GENERATION.SHARD.POSITION")]
pub struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Cursor, NoCursor> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(NoCursor);
        let log = Uuid::try_parse(part()?).map_err(|_| NoCursor)?.as_u128();
        let generation = number(part()?)?;
        let shard = number(part()?)?;
        let position = number(part()?)?;
        match parts.next() {
            None => Ok(Cursor { log, generation, shard, position }),
            Some(_) => Err(NoCursor),
        }
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, NoCursor> {
    text.parse().map_err(|_| NoCursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor =
            Cursor { log: 0x8c0f_6b0e << 96, generation: 3, shard: 63, position: u64::MAX };
        let text = cursor.to_string();
        assert_eq!(text, "8c0f6b0e-0000-0000-0000-000000000000.3.63.18446744073709551615");
        assert_eq!(text.parse(), Ok(cursor));
        let wrong = ["", "7", "a.b.c.d", &text[1..], &format!("{text}.1"), &format!("{text}x")];
        for text in wrong {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
