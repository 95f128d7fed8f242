//! A small but real box office, of the kind that sells tickets all year: organizers make events on its pages, buyers
//! buy through its JSON API, and a database (SQLite or PostgreSQL) holds it all. Each sale is a transaction on the
//! row of its stock: correct, and as fast as that row.

pub mod schema;
