//! Protobuf's building blocks: tags, variable-length integers, lengths; and the
//! core's short texts and fixed ids upon them.
//!
//! `put_…` functions append a field; a plain one leaves out its type's zero, as
//! proto3 does. `Value` methods read one.

use onsale_core::{Currency, CustomerId, Id, InvalidText, OrderCode, Reference, Time};

use crate::error::{Error, Problem};

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Goes through a buffer of its own, so that the caller's is checked for room once.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    let mut bytes = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    out.extend_from_slice(&bytes[..=length]);
}

#[inline]
fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, (u64::from(number) << 3) | u64::from(wire_type));
}

/// A number that is there, zero or not: optional fields and members of a oneof.
#[inline]
pub(crate) fn put_present(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, VARINT);
    put_varint(out, value);
}

/// `uint32`, `uint64`, `bool` and enums.
#[inline]
pub(crate) fn put_unsigned(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_present(out, number, value);
    }
}

/// `int64`: a negative one takes ten bytes.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: u32, value: i64) {
    put_unsigned(out, number, value as u64);
}

/// `sint64`: a small negative one stays short.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, number: u32, value: i64) {
    put_unsigned(out, number, ((value << 1) ^ (value >> 63)) as u64);
}

/// `optional int64` for a time.
pub(crate) fn put_time_option(out: &mut Vec<u8>, number: u32, value: Option<Time>) {
    if let Some(time) = value {
        put_present(out, number, time.0 as u64);
    }
}

/// `optional uint32`.
pub(crate) fn put_option(out: &mut Vec<u8>, number: u32, value: Option<u32>) {
    if let Some(value) = value {
        put_present(out, number, u64::from(value));
    }
}

/// `string` and `bytes` that are there, empty or not: members of a list.
#[inline]
pub(crate) fn put_bytes_present(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `string` and `bytes`.
#[inline]
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes_present(out, number, bytes);
    }
}

/// A message that is there, empty or not. Its length is written when it is known:
/// one byte is set aside for it, and only a message of 128 bytes or more is moved
/// to make room.
#[inline]
pub(crate) fn put_message(out: &mut Vec<u8>, number: u32, body: impl FnOnce(&mut Vec<u8>)) {
    put_tag(out, number, BYTES);
    out.push(0);
    let start = out.len();
    body(out);
    let mut length = out.len() - start;
    let mut at = start - 1;
    while length >= 0x80 {
        out[at] = length as u8 | 0x80;
        at += 1;
        out.insert(at, 0);
        length >>= 7;
    }
    out[at] = length as u8;
}

/// The fields of one message, in the order of the bytes.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

/// One field: its number and what stands there.
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) value: Value<'a>,
}

/// What stands in a field. The fixed ones occur in unknown fields only.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed64,
    Fixed32,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            // Most are short.
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(Problem::Truncated)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Problem::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Problem::Varint)
    }

    #[inline]
    pub(crate) fn bytes(&mut self, length: u64) -> Result<&'a [u8], Problem> {
        let length = usize::try_from(length).map_err(|_| Problem::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, Problem> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(Problem::FieldNumber { number });
        }
        let value = match (tag & 7) as u8 {
            VARINT => Value::Varint(self.varint()?),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.bytes(length)?)
            }
            FIXED64 => self.bytes(8).map(|_| Value::Fixed64)?,
            FIXED32 => self.bytes(4).map(|_| Value::Fixed32)?,
            found => return Err(Problem::WireType { found }),
        };
        Ok(Field { number: number as u32, value })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.rest.is_empty() {
            true => None,
            false => Some(self.field().map_err(Error::from)),
        }
    }
}

impl<'a> Field<'a> {
    /// Reads a singular field into its place.
    #[inline]
    pub(crate) fn set<T>(
        &self,
        name: &'static str,
        place: &mut Option<T>,
        read: impl FnOnce(Value<'a>) -> Result<T, Error>,
    ) -> Result<(), Error> {
        if place.is_some() {
            return Err(Error::from(Problem::Twice).within(name));
        }
        *place = Some(read(self.value).map_err(|error| error.within(name))?);
        Ok(())
    }

    /// Reads one member of a list.
    pub(crate) fn item<T>(
        &self,
        name: &'static str,
        index: usize,
        read: impl FnOnce(Value<'a>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        read(self.value).map_err(|error| error.within(format_args!("{name}[{index}]")))
    }
}

/// What a field holds that must be there.
pub(crate) fn need<T>(name: &'static str, place: Option<T>) -> Result<T, Error> {
    place.ok_or_else(|| Error::from(Problem::Missing).within(name))
}

impl<'a> Value<'a> {
    fn wire_type(self) -> u8 {
        match self {
            Value::Varint(_) => VARINT,
            Value::Bytes(_) => BYTES,
            Value::Fixed64 => FIXED64,
            Value::Fixed32 => FIXED32,
        }
    }

    /// `uint64`.
    pub(crate) fn unsigned(self) -> Result<u64, Error> {
        match self {
            Value::Varint(value) => Ok(value),
            other => Err(Problem::WireType { found: other.wire_type() }.into()),
        }
    }

    /// `bytes`.
    pub(crate) fn bytes(self) -> Result<&'a [u8], Error> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(Problem::WireType { found: other.wire_type() }.into()),
        }
    }

    /// A message.
    pub(crate) fn fields(self) -> Result<Fields<'a>, Error> {
        self.bytes().map(Fields::new)
    }

    /// `uint32`, or a smaller number in it.
    pub(crate) fn small<T: TryFrom<u64>>(self) -> Result<T, Error> {
        let value = self.unsigned()?;
        T::try_from(value).map_err(|_| Problem::Value { value }.into())
    }

    /// An enum: `known` lists its values.
    pub(crate) fn one_of<T: Copy>(self, known: &[(u64, T)]) -> Result<T, Error> {
        let value = self.unsigned()?;
        let found = known.iter().find(|(number, _)| *number == value);
        found.map(|(_, known)| *known).ok_or_else(|| Problem::Value { value }.into())
    }

    /// `bool`.
    pub(crate) fn boolean(self) -> Result<bool, Error> {
        self.one_of(&[(0, false), (1, true)])
    }

    /// `int64`.
    pub(crate) fn signed(self) -> Result<i64, Error> {
        self.unsigned().map(|value| value as i64)
    }

    /// `sint64`.
    pub(crate) fn zigzag(self) -> Result<i64, Error> {
        self.unsigned().map(|value| (value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A time: `int64`, microseconds.
    pub(crate) fn time(self) -> Result<Time, Error> {
        self.signed().map(Time)
    }

    /// `bytes` of exactly 16.
    pub(crate) fn bytes16(self) -> Result<[u8; 16], Error> {
        let bytes = self.bytes()?;
        let length = Problem::Length { expected: 16, found: bytes.len() };
        bytes.try_into().map_err(|_| length.into())
    }

    /// A 128-bit id: 16 bytes, the highest first, as in a UUID.
    pub(crate) fn id16(self) -> Result<u128, Error> {
        self.bytes16().map(u128::from_be_bytes)
    }

    /// `string`.
    pub(crate) fn text(self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Problem::NotUtf8.into())
    }

    #[inline]
    pub(crate) fn id(self) -> Result<Id, Error> {
        let bytes = self.bytes()?;
        Id::from_bytes(bytes).map_err(|invalid| not_a_text(bytes, invalid))
    }

    #[inline]
    pub(crate) fn customer(self) -> Result<CustomerId, Error> {
        let bytes = self.bytes()?;
        CustomerId::from_bytes(bytes).map_err(|invalid| not_a_text(bytes, invalid))
    }

    #[inline]
    pub(crate) fn reference(self) -> Result<Reference, Error> {
        let bytes = self.bytes()?;
        Reference::from_bytes(bytes).map_err(|invalid| not_a_text(bytes, invalid))
    }

    pub(crate) fn order(self) -> Result<OrderCode, Error> {
        OrderCode::parse(self.text()?).ok_or_else(|| Problem::OrderCode.into())
    }

    pub(crate) fn currency(self) -> Result<Currency, Error> {
        Currency::new(self.text()?).ok_or_else(|| Problem::Currency.into())
    }
}

/// Why bytes are not a short text. What has the form is ASCII, so only what has not is
/// looked at as UTF-8.
#[cold]
fn not_a_text(bytes: &[u8], invalid: InvalidText) -> Error {
    match std::str::from_utf8(bytes) {
        Ok(_) => Problem::Text(invalid).into(),
        Err(_) => Problem::NotUtf8.into(),
    }
}
