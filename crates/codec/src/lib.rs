//! The wire form of events: protobuf's, by proto3's rules, written by hand over
//! the core's own types so that encoding appends to the caller's buffer and
//! allocates nothing of its own.
//!
//! `onsale.proto`, beside this crate's manifest, is the schema and the document for
//! readers in other languages. What was written once stays readable: numbers
//! are never used for something else, unknown fields are skipped, an unknown
//! fact is an error of its own, since a reader that skipped it would count wrong.
//!
//! Stricter than protobuf, because a journal is written by one program and a
//! difference means damage: a singular field may stand only once, numbers must
//! fit their type, enums must be known, groups are refused.

mod catalogue;
mod error;
mod fact;
mod record;
mod sale;
pub mod snapshot;
mod wire;

pub use error::{Error, Problem};

/// The version of the wire form. It grows only with a change that a reader of
/// the old version would misread; new fields and new facts leave it as it is.
pub const VERSION: u32 = 1;

/// Appends the wire form of an event. `made_at` of its stamp is not kept.
pub fn encode(event: &onsale_core::Event, out: &mut Vec<u8>) {
    record::put(event, out);
}

/// Appends the wire form of a definition by itself. Equal ones have the same bytes.
pub fn encode_definition(definition: &onsale_core::EventDefinition, out: &mut Vec<u8>) {
    catalogue::put_definition(out, definition);
}

/// Reads the wire form of a definition by itself, all of the bytes.
///
/// # Errors
/// As [`decode`].
pub fn decode_definition(bytes: &[u8]) -> Result<onsale_core::EventDefinition, Error> {
    catalogue::take_definition(wire::Fields::new(bytes))
}

/// Reads the wire form of one event, all of the bytes.
///
/// # Errors
/// An unknown fact, or the first field that is missing, damaged or against its
/// form, by its path. It never panics, and allocates no more than a fixed
/// multiple of the bytes.
pub fn decode(bytes: &[u8]) -> Result<onsale_core::Event, Error> {
    record::take(bytes)
}
