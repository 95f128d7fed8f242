//! The bridge: ties Onsale to a ticket platform that was there before, without changing it.
//!
//! It runs as a process of its own and speaks to the engine by HTTP only. What is particular to a platform is in its
//! [`dialect`]: a folder of TOML and SQL. One way, [`capture`] reads from the platform's [`database`] what is
//! for sale and appends it to the stream `catalogue`; the other way, [`write_back`] brings the engine's sales into the
//! platform; [`reconcile`] compares both sides.

pub mod attach;
pub mod capture;
pub mod database;
pub mod dialect;
pub mod engine;
mod error;
pub mod http;
pub mod reconcile;
pub mod run;
pub mod state;
pub mod status;
pub mod take;
pub mod write_back;

pub use error::Error;
