//! The rules of selling, pure.
//!
//! Commands go in, events come out, state follows from events alone:
//! [`Sale::decide`] reads the state and says what happens, [`Sale::apply`] makes
//! it so. Time, ids and randomness are arguments. This crate has no clock, no
//! randomness, no I/O, no runtime and no serialisation; its manifest is the proof.

pub mod catalogue;
pub mod code;
pub mod command;
mod digest;
pub mod event;
mod index;
pub mod limits;
pub mod refusal;
pub mod sale;
mod slab;
pub mod snapshot;
mod table;
pub mod text;
pub mod time;
pub mod view;

pub use catalogue::{
    Currency, EventDefinition, EventState, InvalidDefinition, Limit, QuotaDefinition,
    TicketTypeDefinition, Window,
};
pub use code::{CodeKey, OrderCode, TicketCode, TicketParts};
pub use command::{Action, Command, CommandStamp, Expects, HoldId, Item};
pub use event::{Event, Fact};
pub use refusal::Refusal;
pub use sale::{ApplyError, Counts, Decision, KeyMaker, Keys, Known, Needs, Sale, Unanswered};
pub use text::{CustomerId, Id, InvalidText, Reference};
pub use time::Time;
