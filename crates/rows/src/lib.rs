//! A log whose batches are rows of a PostgreSQL, for one writer at a time of however many believe to be it.
//!
//! Each shard has a head row: a term, the last position, who writes, and until when its lease runs by the database's
//! clock. [`Link`] appends: one statement checks the term and the position in the head row, moves both on and inserts the
//! batch. [`Site`] is everything else: it makes the schema, reads batches, and takes over by raising the terms of all
//! shards in one transaction. Whoever was the writer until then finds no row of its term any more, at its next
//! statement, however long it was frozen; so it is the term that keeps the log safe, and the lease only says when it is
//! worth taking over.
//!
//! It knows no tickets, and it blocks: each value has a small runtime of its own and is used from one thread.

mod connect;
mod error;
mod link;
mod site;

pub use connect::{Kept, Settings};
pub use error::Error;
pub use link::{Batch, Link};
pub use site::{Head, Identity, Row, Site, StreamRecord, StreamState, Taken};
