//! A small but real box office, of the kind that sells tickets all year: organizers make events on its pages, buyers
//! buy through its JSON API or a plain page, and a database (SQLite or PostgreSQL) holds it all. Each sale is a
//! transaction on the row of its stock: correct, and as fast as that row.

pub mod accounts;
mod api;
pub mod bench;
pub mod catalogue;
mod codes;
pub mod database;
mod error;
mod money;
pub mod orders;
mod pages;
pub mod schema;
pub mod seed;
pub mod serve;
pub mod time;

pub use database::Database;
pub use error::{Error, Refusal, Wrong};
