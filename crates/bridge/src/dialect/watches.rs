//! Whether the tables and columns that a dialect watches are in a database.
//!
//! In SQLite a trigger on a column that is not there would have the platform's own writes fail; in PostgreSQL no change
//! would be known.

use super::{Dialect, SETTINGS, Watch};
use crate::Error;
use crate::database::{Database, Kind};

/// A table's columns. The row's number can be watched, too, where a table has one.
const SQLITE: &str = "
SELECT p.name AS name FROM pragma_table_list(:table) t JOIN pragma_table_xinfo(t.name) p
WHERE t.schema = 'main' AND t.type = 'table' AND t.name = :table
UNION ALL
SELECT 'rowid' FROM pragma_table_list(:table) t
WHERE t.schema = 'main' AND t.type = 'table' AND t.name = :table AND NOT t.wr";
const POSTGRES: &str = "
SELECT a.attname::text AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.oid = to_regclass(quote_ident(:table::text)) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum";

/// All that is watched and not there.
///
/// # Errors
/// The database fails.
pub(super) async fn check(dialect: &Dialect, db: &mut Database) -> Result<Vec<Error>, Error> {
    let kind = db.kind();
    let sql = if kind == Kind::Sqlite { SQLITE } else { POSTGRES };
    let mut found = Vec::new();
    for watch in &dialect.settings.watch {
        let rows = db.ask(sql, &[("table", watch.table.as_str().into())]).await?;
        let there: Vec<String> =
            rows.iter().map(|row| row.text("name")).collect::<Result<_, _>>()?;
        found.extend(wrong(watch, kind, &there).into_iter().map(|why| Error::Dialect {
            file: format!("{}/{SETTINGS}", dialect.place),
            why: format!("watch: {why}"),
        }));
    }
    Ok(found)
}

/// What is wrong with a watch of a table that has these columns; none: there is no such table.
fn wrong(watch: &Watch, kind: Kind, there: &[String]) -> Vec<String> {
    let table = &watch.table;
    if there.is_empty() {
        return vec![format!(
            "there is no table {table} in this database (a view can't be watched)"
        )];
    }
    let is_there = |column: &String| {
        there.iter().any(|known| match kind {
            Kind::Sqlite => known.eq_ignore_ascii_case(column),
            Kind::Postgres => known == column,
        })
    };
    let names = [("column", std::slice::from_ref(&watch.column)), ("columns", &watch.columns)];
    let missing = names.into_iter().flat_map(|(of, columns)| {
        columns.iter().filter(|column| !is_there(column)).map(move |column| (of, column))
    });
    let there = there.join(", ");
    missing
        .map(|(of, column)| {
            format!("{of}: there is no column {column} in the table {table}; there are {there}")
        })
        .collect()
}
