//! What is added to a file: triggers and the table that they write to.

use super::{Plan, Step, table_exists, table_steps};
use crate::Error;
use crate::database::Database;
use crate::dialect::{About, Dialect, Watch};

/// The table that triggers write to. Its ids are given anew when it is empty, which does no harm: what was read is
/// deleted by id before anything else is read.
pub const OUTBOX: &str = "onsale_outbox";
/// Microseconds since 1970, to a millisecond, as every SQLite can say it.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)";

/// What is wrong with what an earlier version or another dialect made.
const OTHER_FORM: &str = "is of another form than this version and dialect have it";

pub(super) async fn plan(
    dialect: &Dialect,
    db: &mut Database,
    plan: &mut Plan,
) -> Result<(), Error> {
    plan.rights.push("to write to the file and its folder".to_owned());
    let is_there = table_exists(db, OUTBOX).await?;
    let columns = format!("SELECT name FROM pragma_table_info('{OUTBOX}') WHERE name = 'at'");
    let has_time = !db.ask(&columns, &[]).await?.is_empty();
    plan.steps.push(Step {
        what: format!("the table {OUTBOX}, which the triggers write to"),
        sql: match is_there {
            // Of an earlier version.
            true => format!("ALTER TABLE {OUTBOX} ADD COLUMN at INTEGER"),
            false => format!(
                "CREATE TABLE {OUTBOX} (id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, key TEXT, at INTEGER)"
            ),
        },
        undo: format!("DROP TABLE {OUTBOX}"),
        is_there,
        is_right: has_time,
        wrong: OTHER_FORM,
    });
    for watch in &dialect.settings.watch {
        if !table_exists(db, &watch.table).await? {
            // It is told with what else is wrong with the dialect.
            continue;
        }
        for change in ["INSERT", "UPDATE", "DELETE"] {
            // A new order is the platform's own matter.
            if watch.about == About::Order && change == "INSERT" {
                continue;
            }
            plan.steps.push(trigger(dialect, watch, change, db).await?);
        }
    }
    table_steps(dialect, db, plan).await
}

async fn trigger(
    dialect: &Dialect,
    watch: &Watch,
    change: &str,
    db: &mut Database,
) -> Result<Step, Error> {
    let name = format!("{}_{}_{}", dialect.added_name(), watch.table, change.to_lowercase());
    let (table, column) = (quoted(&watch.table), quoted(&watch.column));
    let text = watch.table.replace('\'', "''");
    let note = |row: &str| {
        format!("INSERT INTO {OUTBOX} (tbl, key, at) VALUES ('{text}', {row}.{column}, {NOW});")
    };
    let (when, body) = match change {
        "INSERT" => (String::new(), note("NEW")),
        "DELETE" => (String::new(), note("OLD")),
        _ => {
            let differs = |column: &String| format!("OLD.{0} IS NOT NEW.{0}", quoted(column));
            let when: Vec<String> = watch.columns.iter().map(differs).collect();
            let when = if when.is_empty() {
                String::new()
            } else {
                format!(" WHEN {}", when.join(" OR "))
            };
            let old = format!(
                "INSERT INTO {OUTBOX} (tbl, key, at) SELECT '{text}', OLD.{column}, {NOW} WHERE OLD.{column} IS NOT NEW.{column};"
            );
            (when, format!("{} {old}", note("NEW")))
        }
    };
    let of: Vec<String> = watch.columns.iter().map(|column| quoted(column)).collect();
    let of = match change {
        "UPDATE" if !of.is_empty() => format!(" OF {}", of.join(", ")),
        _ => String::new(),
    };
    let found = db
        .ask(
            "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name = :name",
            &[("name", name.as_str().into())],
        )
        .await?;
    let create =
        format!("CREATE TRIGGER {name} AFTER {change}{of} ON {table}{when} BEGIN {body} END");
    let there = found.first().map(|row| row.text("sql")).transpose()?;
    // One of an earlier form of the dialect is replaced.
    let sql = match &there {
        Some(sql) if *sql != create => format!("DROP TRIGGER {name}; {create}"),
        _ => create.clone(),
    };
    Ok(Step {
        what: format!("the trigger {name}"),
        sql,
        undo: format!("DROP TRIGGER {name}"),
        is_there: there.is_some(),
        is_right: there.is_some_and(|sql| sql == create),
        wrong: OTHER_FORM,
    })
}

/// A name as SQL takes it, whatever it is made of.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
