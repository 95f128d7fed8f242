//! The tables, as SQL for each database, and the steps that bring an older database up to date.

/// Makes all tables in an empty SQLite database.
pub const SQLITE: &str = include_str!("../schema/sqlite.sql");
/// Makes all tables in an empty PostgreSQL database.
pub const POSTGRES: &str = include_str!("../schema/postgres.sql");

/// A step from one version of the tables to the next.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The version that it leads to; dense from 1.
    pub version: i64,
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

/// All steps, in order. One that was released is never changed; a new one is added.
pub const MIGRATIONS: [Migration; 1] =
    [Migration { version: 1, sqlite: SQLITE, postgres: POSTGRES }];

/// Where it is noted which steps were taken.
pub const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY)";
