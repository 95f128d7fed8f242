//! Which rights a dialect's statements need at a server, and which of them the user lacks.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::sqlite::quoted;
use crate::Error;
use crate::database::{Database, Kind, Param, Statement, Value};
use crate::dialect::{By, Dialect};

/// Tables that can be seen, each with the rights that the user has, as `SELECT INSERT`.
const TABLES: &str = "
SELECT c.relname::text AS name, concat_ws(' ',
       CASE WHEN has_table_privilege(c.oid, 'SELECT') THEN 'SELECT' END,
       CASE WHEN has_table_privilege(c.oid, 'INSERT') THEN 'INSERT' END,
       CASE WHEN has_table_privilege(c.oid, 'UPDATE') THEN 'UPDATE' END,
       CASE WHEN has_table_privilege(c.oid, 'DELETE') THEN 'DELETE' END) AS rights
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_table_is_visible(c.oid)
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')";

/// What the bridge does with each of its own tables. Whoever runs it may be another user than who attached it.
const OWN: [(&str, &[&str]); 3] = [
    ("onsale_cursor", &["INSERT", "SELECT", "UPDATE"]),
    ("onsale_retried", &["DELETE", "INSERT", "SELECT"]),
    ("onsale_transfer", &["INSERT", "SELECT"]),
];

/// A right of a table; several make one `GRANT`.
type Rights = BTreeMap<String, BTreeSet<&'static str>>;

/// Says which rights the statements need, and what stands in the way where the user lacks one.
pub(super) async fn check(
    dialect: &Dialect,
    db: &mut Database,
    plan: &mut Plan,
) -> Result<(), Error> {
    let me = me(db).await?;
    let has = has(db).await?;
    let (mut needed, mut lacking) = (Rights::new(), Rights::new());
    for ((_, name), sql) in dialect.sql.iter().filter(|((kind, _), _)| *kind == Kind::Postgres) {
        let rights = rights(sql, |table| has.contains_key(table));
        let lacks: Vec<_> = rights
            .iter()
            .filter(|(table, right)| has[table].split(' ').all(|known| known != *right))
            .cloned()
            .collect();
        for (table, right) in rights {
            needed.entry(table).or_default().insert(right);
        }
        // The server knows best: what is read may be a view, or some columns of a table.
        let explained = format!("EXPLAIN {}", sql.trim().trim_end_matches(';'));
        let file = dialect.file(Kind::Postgres, name);
        let statement = Statement::new(Kind::Postgres, &file, &explained);
        let params: Vec<Param<'_>> =
            statement.params.iter().map(|param| (param.as_str(), Value::Null)).collect();
        match db.query(&statement, &params).await {
            Err(Error::Statement { why, .. }) if why.contains("(42501)") && lacks.is_empty() => {
                let way_out = format!("Let somebody who may grant it to {me}.");
                plan.hindrances.push(Error::refused(format!("{}: {why}", statement.name), way_out));
            }
            Err(Error::Statement { why, .. }) if why.contains("(42501)") => {
                for (table, right) in lacks {
                    lacking.entry(table).or_default().insert(right);
                }
            }
            // Whatever else is wrong with it is told elsewhere.
            _ => {}
        }
    }
    if dialect.settings.write_back.by == By::Sql {
        for (table, rights) in OWN.into_iter().filter(|(table, _)| has.contains_key(*table)) {
            needed.entry(table.to_owned()).or_default().extend(rights);
        }
        for (table, rights) in lacking_own(&has) {
            lacking.entry(table).or_default().extend(rights);
        }
    }
    plan.hindrances.extend(lacking.iter().map(|(table, rights)| lacks(table, rights, &me)));
    plan.rights.extend(needed.iter().map(|(table, rights)| grant(table, rights, &me)));
    Ok(())
}

/// Whether the user may use the bridge's own tables, which are there.
pub(super) async fn check_own(db: &mut Database) -> Result<(), Error> {
    let lacking = lacking_own(&has(db).await?);
    let me = me(db).await?;
    match lacking.first_key_value() {
        None => Ok(()),
        Some((table, rights)) => Err(lacks(table, rights, &me)),
    }
}

async fn me(db: &mut Database) -> Result<String, Error> {
    let me = db.ask("SELECT current_user::text AS me", &[]).await?;
    Ok(quoted(&me.first().map_or(Ok(String::new()), |row| row.text("me"))?))
}

/// The rights that the user has of each table.
async fn has(db: &mut Database) -> Result<BTreeMap<String, String>, Error> {
    let rows = db.ask(TABLES, &[]).await?;
    rows.iter().map(|row| Ok((row.text("name")?, row.text("rights")?))).collect()
}

/// What the user may not do with those of the bridge's own tables that are there.
fn lacking_own(has: &BTreeMap<String, String>) -> Rights {
    let mut lacking = Rights::new();
    for (table, rights) in OWN {
        let Some(has) = has.get(table) else { continue };
        let lacks: BTreeSet<_> = rights
            .iter()
            .copied()
            .filter(|right| has.split(' ').all(|has| has != *right))
            .collect();
        if !lacks.is_empty() {
            lacking.insert(table.to_owned(), lacks);
        }
    }
    lacking
}

fn grant(table: &str, rights: &BTreeSet<&str>, me: &str) -> String {
    let rights = rights.iter().copied().collect::<Vec<_>>().join(", ");
    format!("GRANT {rights} ON {} TO {me};", quoted(table))
}

fn lacks(table: &str, rights: &BTreeSet<&str>, me: &str) -> Error {
    let verbs: Vec<&str> = rights.iter().map(|right| verb(right)).collect();
    Error::refused(
        format!("the database's user may not {} the table {table}", verbs.join(", ")),
        format!("Let somebody who may run:  {}", grant(table, rights, me)),
    )
}

fn verb(right: &str) -> &'static str {
    match right {
        "INSERT" => "add to",
        "UPDATE" => "change",
        "DELETE" => "delete from",
        _ => "read",
    }
}

/// The rights of tables that SQL needs, as its words say: what comes after FROM, JOIN and a comma is read, and what FOR
/// UPDATE locks are the tables that stand within the same parentheses.
fn rights(sql: &str, is_table: impl Fn(&str) -> bool) -> Vec<(String, &'static str)> {
    let lines = sql.lines().map(|line| line.split_once("--").map_or(line, |(before, _)| before));
    let mut plain = lines.collect::<Vec<_>>().join("\n");
    for sign in ["(", ")", ","] {
        plain = plain.replace(sign, &format!(" {sign} "));
    }
    let is_part = |c: char| c.is_alphanumeric() || "_(),".contains(c);
    let words = plain.split(|c| !is_part(c)).filter(|word| !word.is_empty());
    let (mut open, mut groups) = (vec![0], 0);
    let mut before = String::new();
    let mut found = BTreeSet::new();
    let (mut read, mut locked) = (Vec::new(), BTreeSet::new());
    for word in words {
        let group = open.last().copied().unwrap_or_default();
        match (before.as_str(), word) {
            // What is read from within parentheses is locked with the rest.
            ("FROM" | "JOIN", "(") => {
                open.push(group);
                continue;
            }
            (_, "(") => {
                groups += 1;
                open.push(groups);
                continue;
            }
            (_, ")") => drop(open.pop()),
            ("FOR", _)
                if ["UPDATE", "SHARE", "NO", "KEY"].contains(&word.to_uppercase().as_str()) =>
            {
                locked.insert(group);
            }
            (verb, table) if is_table(table) => {
                let right = match verb {
                    "INTO" => "INSERT",
                    "UPDATE" => "UPDATE",
                    "FROM" | "JOIN" | "," => "SELECT",
                    _ => "",
                };
                if !right.is_empty() {
                    found.extend([(table.to_owned(), "SELECT"), (table.to_owned(), right)]);
                    read.push((group, table.to_owned()));
                }
            }
            _ => {}
        }
        before = word.to_uppercase();
    }
    let locked = read.into_iter().filter(|(group, _)| locked.contains(group));
    found.extend(locked.map(|(_, table)| (table, "UPDATE")));
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::rights;

    #[test]
    fn rights_are_told_by_the_words() {
        let of = |sql: &str| {
            let found = rights(sql, |table| ["stocks", "orders", "lines"].contains(&table));
            found.iter().map(|(table, right)| format!("{right} {table}")).collect::<Vec<_>>()
        };
        assert_eq!(
            of("SELECT orders FROM stocks s, lines -- FROM orders"),
            ["SELECT lines", "SELECT stocks"]
        );
        assert_eq!(
            of("select 1 from (stocks join other)for update"),
            ["SELECT stocks", "UPDATE stocks"]
        );
        assert_eq!(
            of("INSERT INTO orders SELECT 1 FROM lines ON CONFLICT DO UPDATE SET orders = 1"),
            ["SELECT lines", "INSERT orders", "SELECT orders"]
        );
        assert_eq!(of("UPDATE stocks SET x = 1"), ["SELECT stocks", "UPDATE stocks"]);
        assert_eq!(
            of("SELECT 1 FROM stocks WHERE EXISTS (SELECT 1 FROM lines) ORDER BY id FOR UPDATE"),
            ["SELECT lines", "SELECT stocks", "UPDATE stocks"]
        );
    }
}
