//! What can go wrong in the bridge, in terms of whose matter it is.

/// Why something was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A file of a dialect is missing or wrong.
    #[error("{file}: {why}")]
    Dialect {
        /// Which file, with a line where there is one.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// The platform's database does not take a statement of the dialect.
    #[error("{statement}: {why}")]
    Statement {
        /// Name of the statement.
        statement: String,
        /// What the database says.
        why: String,
    },
    /// A statement of the dialect meets data that it fails on, or gives what can't be used: a text that is no number, a
    /// number that is too large, a null. With other data it works.
    #[error("{statement}: {why}")]
    Data {
        /// Name of the statement.
        statement: String,
        /// What the database says, or what is wrong with what it gave.
        why: String,
    },
    /// The platform's database can't be reached, or is not ready now. It may be later.
    #[error("the database: {0}")]
    Database(String),
    /// Somebody else reads the replication slot: another bridge, or one that has just ended, of which the server does not
    /// know yet. It may be free later.
    #[error("another bridge reads the replication slot, or one did that has just ended: {0}")]
    InUse(String),
    /// The engine, or another server over HTTP, can't be reached or is not ready now. It may be later.
    #[error("{server}: {why}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// What happened.
        why: String,
    },
    /// The engine, or another server over HTTP, refuses a request.
    #[error("{status} {why}")]
    Answered {
        /// The status code.
        status: u16,
        /// What it says.
        why: String,
    },
    /// The bridge's own file can't be used.
    #[error("the bridge's state: {0}")]
    State(String),
    /// It can't be done as things are; there is a way out.
    #[error("{why}\n  {way_out}")]
    Refused {
        /// Why not.
        why: String,
        /// What to do.
        way_out: String,
    },
}

impl Error {
    /// A refusal with the way out.
    pub fn refused(why: impl Into<String>, way_out: impl Into<String>) -> Error {
        Error::Refused { why: why.into(), way_out: way_out.into() }
    }

    /// Whether the same may work later by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Database(_) | Error::InUse(_) | Error::Unreachable { .. } => true,
            Error::Answered { status, .. } => *status >= 500 || *status == 429 || *status == 408,
            _ => false,
        }
    }
}
