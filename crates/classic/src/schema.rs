//! The tables, as SQL for each database.

/// Makes all tables in an empty SQLite database.
pub const SQLITE: &str = include_str!("../schema/sqlite.sql");
/// Makes all tables in an empty PostgreSQL database.
pub const POSTGRES: &str = include_str!("../schema/postgres.sql");
