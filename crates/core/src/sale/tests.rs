//! Tests of the rules, as tables: one row, one command, one outcome.

mod bounds;
mod carts;
mod catalogue;
mod corruption;
mod histories;
mod ids;
mod orders;
mod shard;
mod stage;
mod timers;
mod views;
