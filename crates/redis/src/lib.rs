//! The selling engine on Redis or Valkey: all rules of the core in Lua, run by the server itself, so that any number of
//! nodes without a state of their own can sell from it.
//!
//! `lua/` has the rules: one function per command. A function checks that it may run at all, brings the state up to
//! its stream if an earlier call was cut off, decides by the core's rules in the core's order, writes the records to the
//! shard's stream, and then changes the state. This crate makes the calls out of the core's commands, and
//! of what comes back the core's events, refusals and views. That both engines say the same is what
//! `tests/differential.rs` shows.

mod call;
mod client;
mod heard;
mod library;
mod link;
mod pack;
mod record;
mod session;
pub mod snapshot;
mod store;
mod words;

pub use call::{About, Caller, Look, Reply, Terms, Trouble, View, begin, join, rebuild};
pub use client::{Ask, Said, ShardClient, Tick, state_key};
pub use library::{DUE_PER_CALL_MAX, LAYOUT, LIBRARY, Library};
pub use pack::{Damaged, Value};
pub use record::{Codes, decode};
pub use session::{Durability, Failure, Joined, Options, Status};
pub use store::{
    Places, Seeds, Store, Texts, claim_places, is_cluster, read_all, rebuild_shard, seeds,
    shard_of_group,
};
