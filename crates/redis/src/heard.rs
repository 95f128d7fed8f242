//! What a function said, read word by word.

use onsale_core::{Id, OrderCode, Time};
use redis::Value as Said;

use crate::call::Trouble;
use crate::pack::Damaged;
use crate::record::Codes;
use crate::words::{self, FOUND, Found};

/// What a function said, word by word.
pub(crate) struct Heard(std::vec::IntoIter<Said>);

impl Heard {
    pub(crate) fn of(said: Said) -> Result<Heard, Damaged> {
        match said {
            Said::Array(said) => Ok(Heard(said.into_iter())),
            _ => Err(Damaged { what: "a function said no list" }),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Said, Damaged> {
        self.0.next().ok_or(Damaged { what: "a function said too little" })
    }

    /// Whether that was all.
    pub(crate) fn is_over(&self) -> bool {
        self.0.len() == 0
    }

    pub(crate) fn bytes(&mut self) -> Result<Vec<u8>, Damaged> {
        match self.next()? {
            Said::BulkString(bytes) => Ok(bytes),
            Said::Int(number) => Ok(number.to_string().into_bytes()),
            _ => Err(Damaged { what: "a function said no text" }),
        }
    }

    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Result<T, Damaged> {
        let wrong = Damaged { what: "a function said no number" };
        let number = match self.next()? {
            Said::Int(number) => number,
            Said::BulkString(text) => {
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).ok_or(wrong)?
            }
            _ => return Err(wrong),
        };
        T::try_from(number).map_err(|_| wrong)
    }

    /// A number, none where it is -1.
    pub(crate) fn counted<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, Damaged> {
        match self.number::<i64>()? {
            -1 => Ok(None),
            number => {
                let number = T::try_from(number);
                number.map(Some).map_err(|_| Damaged { what: "a function said no number" })
            }
        }
    }

    pub(crate) fn word<T: Copy>(&mut self, words: words::Words<T>) -> Result<T, Damaged> {
        let unknown = Damaged { what: "a function said an unknown word" };
        words::word(words, self.number()?).ok_or(unknown)
    }

    pub(crate) fn time(&mut self) -> Result<Time, Damaged> {
        self.number().map(Time)
    }

    pub(crate) fn id(&mut self) -> Result<Id, Damaged> {
        Id::from_bytes(&self.bytes()?).map_err(|_| Damaged { what: "a function said no id" })
    }

    pub(crate) fn order(&mut self, codes: &Codes) -> Result<OrderCode, Damaged> {
        let sequence = self.number()?;
        Ok(codes.order(self.number()?, sequence))
    }

    pub(crate) fn trouble(mut self) -> Result<Trouble, Damaged> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(match self.word(FOUND)? {
            Found::Missing => Trouble::Missing { key: text(self.bytes()?) },
            Found::Fence => Trouble::Fence { present: self.number()? },
            Found::Late => Trouble::Late,
            Found::Mend => Trouble::Mend,
            Found::Lost => Trouble::Lost {
                stream: text(self.bytes()?),
                ends: self.number()?,
                state: self.number()?,
            },
            Found::Layout => Trouble::Layout { found: self.number()? },
            Found::Generations => Trouble::Generations { last: self.number()? },
            Found::Large => Trouble::Large { entries: self.number()? },
            Found::Other => {
                Trouble::Other { stream: text(self.bytes()?), position: self.number()? }
            }
        })
    }
}
