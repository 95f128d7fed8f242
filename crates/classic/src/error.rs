//! Why something was not done.

use std::fmt;

/// A field that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The field's name, as in the form or the JSON body.
    pub field: String,
    /// The rule, as the end of a sentence that begins with the field: `must not be below zero`.
    pub rule: String,
}

impl Wrong {
    /// The field, for people.
    #[must_use]
    pub fn label(&self) -> String {
        self.field.replace('_', " ")
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.rule)
    }
}

/// What the state of things forbids.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("{stock} is sold out: {free} left, asked for {asked}")]
    SoldOut { stock: String, asked: i64, free: i64 },
    #[error("{event} is not on sale: {why}")]
    NotOnSale { event: String, why: String },
    #[error("a customer may have {limit} tickets for this event, has {has}, asked for {asked}")]
    CustomerLimit { limit: i64, has: i64, asked: i64 },
    #[error("order {code} was cancelled")]
    Cancelled { code: String },
    #[error("order {code} is paid: only the organizer can cancel it")]
    Paid { code: String },
    #[error("order {code} is paid already, by another payment")]
    PaidAlready { code: String },
    #[error("the key was used for another order")]
    KeyReused,
    #[error("{what} can't be deleted: {why}")]
    InUse { what: String, why: String },
}

impl Refusal {
    /// A word for programs, that never changes.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::SoldOut { .. } => "sold-out",
            Refusal::NotOnSale { .. } => "not-on-sale",
            Refusal::CustomerLimit { .. } => "customer-limit",
            Refusal::Cancelled { .. } => "cancelled",
            Refusal::Paid { .. } => "paid",
            Refusal::PaidAlready { .. } => "paid-already",
            Refusal::KeyReused => "key-reused",
            Refusal::InUse { .. } => "in-use",
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that break a rule.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Wrong>),
    /// There is no such thing.
    #[error("no {what} {id}")]
    Unknown {
        /// `event`, `order`, …
        what: &'static str,
        /// As it was asked for.
        id: String,
    },
    /// The state forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is waiting for the database.
    #[error("the database is busy; try again")]
    Busy,
    /// The database can't be reached, or failed. Whether a change was made is unknown.
    #[error("the database: {0}")]
    Database(String),
    /// Another transaction was in the way; the whole may be tried again.
    #[error("the database: {0}")]
    Again(String),
}

impl Error {
    /// One field that breaks a rule.
    pub fn field(field: impl Into<String>, rule: impl Into<String>) -> Error {
        Error::Invalid(vec![Wrong { field: field.into(), rule: rule.into() }])
    }

    /// There is no such thing.
    pub fn unknown(what: &'static str, id: impl ToString) -> Error {
        Error::Unknown { what, id: id.to_string() }
    }
}
