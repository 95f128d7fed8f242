//! What the bridge adds to a platform's database, and takes away again.
//!
//! PostgreSQL: a publication of the watched tables and a replication slot. SQLite: a trigger for each watched table and
//! kind of change, and the table that they write to. Where sales are written back by SQL, three small tables more.
//! Nothing of the platform's own is changed. All of it is found by its name, so attaching again adds what is missing,
//! and detaching takes away what is there.

mod postgres;
mod rights;
mod sqlite;

use crate::Error;
use crate::database::Database;
use crate::dialect::{By, Dialect, statements};

/// A thing that is added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// For people.
    pub what: String,
    /// The statement that adds it.
    pub sql: String,
    /// The statement that takes it away.
    pub undo: String,
    /// Whether something of this name is there.
    pub is_there: bool,
    /// Whether it is there as it should be.
    pub is_right: bool,
    /// What is wrong with one that is there and not as it should be.
    pub wrong: &'static str,
}

/// What attaching comes to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// What is added, in order.
    pub steps: Vec<Step>,
    /// What it needs of the database, for people.
    pub rights: Vec<String>,
    /// What to think of, for people.
    pub advice: Vec<String>,
    /// What stands in the way: nothing can be added as long as there is one.
    pub hindrances: Vec<Error>,
}

/// Tables for the place in `sales` and the transfers, kept with the effects in one transaction.
pub(crate) const TABLES: [(&str, &str); 3] = [
    (
        "onsale_cursor",
        "CREATE TABLE onsale_cursor (cursor TEXT NOT NULL, stream TEXT NOT NULL, shard TEXT NOT NULL, \
         generation BIGINT NOT NULL, position CHAR(58) NOT NULL, fence BIGINT NOT NULL, \
         PRIMARY KEY (cursor, stream, shard))",
    ),
    (
        "onsale_retried",
        "CREATE TABLE onsale_retried (cursor TEXT NOT NULL, stream TEXT NOT NULL, shard TEXT NOT NULL, \
         position CHAR(58) NOT NULL, PRIMARY KEY (cursor, stream, shard, position))",
    ),
    (
        "onsale_transfer",
        "CREATE TABLE onsale_transfer (name TEXT NOT NULL, quota TEXT NOT NULL, amount BIGINT NOT NULL, \
         PRIMARY KEY (name, quota))",
    ),
];

/// Looks at a database: what is to be added, and whether it can be.
///
/// # Errors
/// The database fails.
pub async fn plan(dialect: &Dialect, db: &mut Database) -> Result<Plan, Error> {
    let kind = db.kind();
    let mut plan =
        Plan { hindrances: statements::check(dialect, kind, Some(db)).await?, ..Plan::default() };
    if !plan.hindrances.is_empty() {
        return Ok(plan);
    }
    if let Some(statement) = dialect.find(kind, "hindrances") {
        for row in db.query(&statement, &[]).await? {
            plan.hindrances.push(Error::refused(row.text("why")?, row.text("way_out")?));
        }
    }
    match db {
        Database::Sqlite(_) => sqlite::plan(dialect, db, &mut plan).await?,
        Database::Postgres(_) => {
            postgres::plan(dialect, db, &mut plan).await?;
            rights::check(dialect, db, &mut plan).await?;
        }
    }
    Ok(plan)
}

async fn table_steps(dialect: &Dialect, db: &mut Database, plan: &mut Plan) -> Result<(), Error> {
    if dialect.settings.write_back.by != By::Sql {
        return Ok(());
    }
    for (table, sql) in TABLES {
        let is_there = table_exists(db, table).await?;
        plan.steps.push(Step {
            what: format!("the table {table}, for what the bridge has written"),
            sql: sql.to_owned(),
            undo: format!("DROP TABLE {table}"),
            is_there,
            is_right: is_there,
            wrong: "",
        });
    }
    Ok(())
}

async fn table_exists(db: &mut Database, table: &str) -> Result<bool, Error> {
    let sql = match db {
        Database::Sqlite(_) => {
            "SELECT 1 AS one FROM sqlite_schema WHERE type = 'table' AND name = :name"
        }
        Database::Postgres(_) => "SELECT 1 AS one WHERE to_regclass(:name::text) IS NOT NULL",
    };
    Ok(!db.ask(sql, &[("name", table.into())]).await?.is_empty())
}

/// Adds what is missing. What was added before stays as it is; so it can be called again after a failure.
///
/// # Errors
/// The first hindrance, or the database fails.
pub async fn attach(dialect: &Dialect, db: &mut Database) -> Result<Plan, Error> {
    let plan = plan(dialect, db).await?;
    if let Some(hindrance) = plan.hindrances.first() {
        return Err(hindrance.clone());
    }
    for step in plan.steps.iter().filter(|step| !step.is_right) {
        db.run(&step.sql).await?;
    }
    Ok(plan)
}

/// Takes away what is there, whatever the state of the dialect's statements; what was taken away.
///
/// # Errors
/// The bridge is at work, the engine has stock of the platform (unless `force`), somebody else owns what is there, or the
/// database fails. But for the last nothing was done.
pub async fn detach(dialect: &Dialect, db: &mut Database, force: bool) -> Result<Vec<Step>, Error> {
    let mut plan = Plan::default();
    match db {
        Database::Sqlite(_) => sqlite::plan(dialect, db, &mut plan).await?,
        Database::Postgres(_) => postgres::plan(dialect, db, &mut plan).await?,
    }
    if !force {
        let count = transfers(dialect, db).await?;
        if count > 0 {
            return Err(Error::refused(
                format!("the engine has stock of this platform: {count} transfers are noted here"),
                "Bring the sales over and unblock what the engine has left by hand, or say --force: the stock stays set aside in the platform.",
            ));
        }
    }
    let there: Vec<Step> = plan.steps.into_iter().rev().filter(|step| step.is_there).collect();
    if matches!(db, Database::Postgres(_)) {
        postgres::check_idle(dialect, db).await?;
        postgres::check_owner_of(db, &there).await?;
    }
    for step in &there {
        db.run(&step.undo).await?;
    }
    Ok(there)
}

/// How many transfers to the engine are noted in the platform.
async fn transfers(dialect: &Dialect, db: &mut Database) -> Result<i64, Error> {
    let mut count = 0;
    if table_exists(db, "onsale_transfer").await? {
        let noted = "SELECT count(*) AS n FROM onsale_transfer WHERE amount > 0";
        let noted = db.ask(noted, &[]).await?;
        count += noted.first().map_or(Ok(0), |row| row.integer("n"))?;
    }
    if let Some(statement) = dialect.find(db.kind(), "taken") {
        for row in db.query(&statement, &[]).await? {
            count += i64::from(row.integer("amount")? > 0);
        }
    }
    Ok(count)
}

/// Whether the tables are there that write-back by SQL needs, and may be used.
///
/// # Errors
/// One is missing or may not be used, or the database fails.
pub(crate) async fn check_tables(db: &mut Database) -> Result<(), Error> {
    for (table, _) in TABLES {
        if !table_exists(db, table).await? {
            return Err(Error::refused(
                format!("the bridge is not attached to this database: there is no table {table}"),
                "Run `onsale bridge attach`, which adds what is missing.",
            ));
        }
    }
    match db {
        Database::Sqlite(_) => Ok(()),
        Database::Postgres(_) => rights::check_own(db).await,
    }
}

/// Whether all is there that capture needs; what is missing, else.
///
/// # Errors
/// Something is missing, or the database fails.
pub async fn check_attached(dialect: &Dialect, db: &mut Database) -> Result<(), Error> {
    let mut plan = Plan::default();
    match db {
        Database::Sqlite(_) => sqlite::plan(dialect, db, &mut plan).await?,
        Database::Postgres(_) => postgres::plan(dialect, db, &mut plan).await?,
    }
    match plan.steps.iter().find(|step| !step.is_right) {
        None => Ok(()),
        Some(step) => Err(Error::refused(
            match step.is_there {
                true => format!("{} {}", step.what, step.wrong),
                false => format!(
                    "the bridge is not attached to this database: there is not {}",
                    step.what
                ),
            },
            "Run `onsale bridge attach`, which adds what is missing. The bridge reads everything anew when it starts, \
             so nothing is lost by it.",
        )),
    }
}
