//! A pretix export: the answers of its REST API, one file per resource.
//!
//! Each event or, in a series, each subevent becomes an event; items and their
//! variations become ticket types with the ids that they have there; what is left
//! of a quota becomes its stock. Rules follow pretix: a window is the narrowest of
//! all that apply, a subevent's price comes before the item's.

mod convert;
mod export;
mod kind;
#[cfg(test)]
mod tests;
mod value;

pub use convert::convert;
pub use export::{Export, FILES};
