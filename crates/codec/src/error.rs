//! What can be wrong with bytes that should be an event, and where.

use onsale_core::InvalidText;
use onsale_core::snapshot::RestoreError;

/// Why bytes are not an event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A fact that this version does not know. To skip it would be to count wrong.
    #[error("fact number {number} is unknown: the record was written by a newer version")]
    UnknownFact {
        /// Its field number in the record.
        number: u32,
    },
    /// A field that is missing, damaged or against its form.
    #[error("{field}: {problem}")]
    Field {
        /// Path of the field, or of the message where no field could be read:
        /// `record.hold_placed.lines[0].ticket_type`.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Problem {
    /// It must be there.
    #[error("is missing")]
    Missing,
    /// It must not be there beside the others.
    #[error("does not belong here")]
    Unexpected,
    /// A singular field stands twice.
    #[error("is there twice")]
    Twice,
    /// The bytes end inside it.
    #[error("the bytes end too early")]
    Truncated,
    /// A variable-length integer of more than 64 bits.
    #[error("an integer has more than 64 bits")]
    Varint,
    /// A field number of zero or above 2^29 − 1.
    #[error("{number} is not a field number")]
    FieldNumber {
        /// What stands there.
        number: u64,
    },
    /// Another wire type than the schema's, or one that is not used any more.
    #[error("has the wire type {found}")]
    WireType {
        /// What stands there.
        found: u8,
    },
    /// A number beyond its type, or an unknown value of an enum.
    #[error("{value} is not a value of it")]
    Value {
        /// What stands there.
        value: u64,
    },
    /// Bytes of another length.
    #[error("must be {expected} bytes long, is {found}")]
    Length {
        /// As the schema says.
        expected: usize,
        /// As it stands there.
        found: usize,
    },
    /// A text that is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// An id, customer or reference against its form.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// Not an order code.
    #[error("is not an order code")]
    OrderCode,
    /// Not a currency.
    #[error("is not a currency: three capital letters")]
    Currency,
    /// A snapshot of another version.
    #[error("{version} is not a version of snapshots that this program reads")]
    Version {
        /// What stands there.
        version: u64,
    },
    /// A table of a snapshot that this version does not know.
    #[error("table {number} is unknown: the snapshot was written by a newer version")]
    Table {
        /// Its field number.
        number: u32,
    },
    /// A snapshot with something missing, or too much.
    #[error("{what}")]
    Snapshot {
        /// What is wrong.
        what: &'static str,
    },
    /// A snapshot that contradicts itself.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl Error {
    /// The same error, seen from the message that has the field.
    #[cold]
    pub(crate) fn within(self, parent: impl std::fmt::Display) -> Error {
        match self {
            Error::Field { field, problem } if field.is_empty() => {
                Error::Field { field: parent.to_string(), problem }
            }
            Error::Field { field, problem } => {
                Error::Field { field: format!("{parent}.{field}"), problem }
            }
            unknown @ Error::UnknownFact { .. } => unknown,
        }
    }
}

impl From<Problem> for Error {
    /// A problem of the field at hand; its path is put before it on the way out.
    #[cold]
    fn from(problem: Problem) -> Error {
        Error::Field { field: String::new(), problem }
    }
}
