//! MessagePack as far as Lua's `cmsgpack` writes it for the lists in records and in the state.

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A truth value; false also stands for what is left out.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Bytes, or a text.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
}

/// Bytes that are not such a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a packed value is damaged: {what}")]
pub struct Damaged {
    /// What is wrong.
    pub what: &'static str,
}

/// Lists within lists.
const DEPTH_MAX: u32 = 8;

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::Bool(truth)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        text.as_bytes().into()
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Value {
        Value::List(list)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Bool(false), Into::into)
    }
}

impl Value {
    /// Writes it.
    pub fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Value::Bool(truth) => out.push(if *truth { 0xc3 } else { 0xc2 }),
            Value::Int(number @ 0..=127) => out.push(*number as u8),
            Value::Int(number) => {
                out.push(0xd3);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Bytes(bytes) => {
                out.push(0xdb);
                out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                out.extend_from_slice(bytes);
            }
            Value::List(list) => {
                out.push(0xdd);
                out.extend_from_slice(&(list.len() as u32).to_be_bytes());
                list.iter().for_each(|value| value.pack(out));
            }
        }
    }

    /// Reads one, all of the bytes.
    ///
    /// # Errors
    /// They are something else.
    pub fn unpack(bytes: &[u8]) -> Result<Value, Damaged> {
        let mut input = Input(bytes);
        let value = input.value(0)?;
        match input.0.is_empty() {
            true => Ok(value),
            false => Err(Damaged { what: "something follows it" }),
        }
    }

    /// As a list.
    ///
    /// # Errors
    /// It is something else.
    pub fn list(self) -> Result<Vec<Value>, Damaged> {
        match self {
            Value::List(list) => Ok(list),
            _ => Err(Damaged { what: "not a list" }),
        }
    }

    /// As a number.
    ///
    /// # Errors
    /// It is something else, or too large.
    pub fn int<T: TryFrom<i64>>(&self) -> Result<T, Damaged> {
        match self {
            Value::Int(number) => {
                T::try_from(*number).map_err(|_| Damaged { what: "a number out of range" })
            }
            _ => Err(Damaged { what: "not a number" }),
        }
    }

    /// As bytes.
    ///
    /// # Errors
    /// It is something else.
    pub fn bytes(&self) -> Result<&[u8], Damaged> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Damaged { what: "not bytes" }),
        }
    }

    /// None where it is false.
    #[must_use]
    pub fn maybe(&self) -> Option<&Value> {
        (*self != Value::Bool(false)).then_some(self)
    }

    /// Whether it is true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// 16 bytes as a number, the highest first.
    ///
    /// # Errors
    /// It is something else.
    pub fn wide(&self) -> Result<u128, Damaged> {
        let bytes = <[u8; 16]>::try_from(self.bytes()?);
        bytes.map(u128::from_be_bytes).map_err(|_| Damaged { what: "not 16 bytes" })
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged { what: "cut off" })?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, Damaged> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn value(&mut self, depth: u32) -> Result<Value, Damaged> {
        let tag = self.take(1)?[0];
        let int = |number: u64| i64::try_from(number).map(Value::Int);
        Ok(match tag {
            0..=0x7f => Value::Int(tag.into()),
            // An empty table may be written as a map.
            0x80 | 0x90 => Value::List(Vec::new()),
            0x91..=0x9f => self.list(usize::from(tag & 0x0f), depth)?,
            0xa0..=0xbf => self.bytes(usize::from(tag & 0x1f))?,
            0xc2 | 0xc3 => Value::Bool(tag == 0xc3),
            0xcc..=0xcf => int(self.number(1 << (tag - 0xcc))?)
                .map_err(|_| Damaged { what: "a number out of range" })?,
            0xd0 => Value::Int((self.number(1)? as i8).into()),
            0xd1 => Value::Int((self.number(2)? as i16).into()),
            0xd2 => Value::Int((self.number(4)? as i32).into()),
            0xd3 => Value::Int(self.number(8)? as i64),
            0xc4 | 0xd9 => self.sized_bytes(1)?,
            0xc5 | 0xda => self.sized_bytes(2)?,
            0xc6 | 0xdb => self.sized_bytes(4)?,
            0xdc => {
                let length = self.number(2)? as usize;
                self.list(length, depth)?
            }
            0xdd => {
                let length = self.number(4)? as usize;
                self.list(length, depth)?
            }
            0xe0..=0xff => Value::Int((tag as i8).into()),
            _ => return Err(Damaged { what: "an unknown form" }),
        })
    }

    fn sized_bytes(&mut self, size: usize) -> Result<Value, Damaged> {
        let length = self.number(size)? as usize;
        self.bytes(length)
    }

    fn bytes(&mut self, length: usize) -> Result<Value, Damaged> {
        Ok(Value::Bytes(self.take(length)?.to_vec()))
    }

    fn list(&mut self, length: usize, depth: u32) -> Result<Value, Damaged> {
        if depth == DEPTH_MAX {
            return Err(Damaged { what: "too deep" });
        }
        // Each takes at least a byte.
        if length > self.0.len() {
            return Err(Damaged { what: "cut off" });
        }
        (0..length).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let list = vec![
            Value::Int(-1),
            Value::Int(1 << 53),
            true.into(),
            "text".into(),
            vec![Value::Int(128), Value::List(Vec::new())].into(),
        ];
        let value = Value::List(list);
        let mut bytes = Vec::new();
        value.pack(&mut bytes);
        assert_eq!(Value::unpack(&bytes), Ok(value));
        for end in 0..bytes.len() {
            assert!(Value::unpack(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn reads_what_lua_writes() {
        let rows: [(&[u8], Value); 9] = [
            (&[0xcc, 200], Value::Int(200)),
            (&[0xcd, 1, 0], Value::Int(256)),
            (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], Value::Int(1 << 32)),
            (&[0xd0, 0xff], Value::Int(-1)),
            (&[0xff], Value::Int(-1)),
            (&[0xa1, b'x'], "x".into()),
            (&[0x92, 1, 0xc2], vec![Value::Int(1), Value::Bool(false)].into()),
            (&[0x80], Value::List(Vec::new())),
            (&[0xdc, 0, 1, 5], vec![Value::Int(5)].into()),
        ];
        for (bytes, value) in rows {
            assert_eq!(Value::unpack(bytes), Ok(value), "{bytes:?}");
        }
        assert!(Value::unpack(&[0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(Value::unpack(&[0x91; 40]).is_err());
    }
}
