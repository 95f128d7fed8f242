//! The first draft of a dialect, from the tables of a database: names are guessed, and each guess is marked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::Error;
use crate::database::{Database, Kind};

/// Tables by name, each with its columns and their types.
type Tables = BTreeMap<String, Vec<(String, String)>>;

const SQLITE_TABLES: &str = "SELECT m.name AS t, p.name AS c, lower(p.type) AS k FROM sqlite_schema m JOIN pragma_table_info(m.name) p \
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'onsale_%' ORDER BY m.name, p.cid";
const POSTGRES_TABLES: &str = "SELECT table_name::text AS t, column_name::text AS c, data_type::text AS k FROM information_schema.columns \
     WHERE table_schema = current_schema() AND table_name NOT LIKE 'onsale_%' ORDER BY table_name, ordinal_position";

/// Writes the draft into a new folder; the files that were written.
///
/// # Errors
/// The folder is there, or can't be written, or the database fails.
pub async fn write(db: &mut Database, folder: &Path) -> Result<Vec<String>, Error> {
    let kind = db.kind();
    let sql = if kind == Kind::Sqlite { SQLITE_TABLES } else { POSTGRES_TABLES };
    let mut tables = Tables::new();
    for row in db.ask(sql, &[]).await? {
        tables.entry(row.text("t")?).or_default().push((row.text("c")?, row.text("k")?));
    }
    let name =
        folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(32).collect();
    let files = files(&name, kind, &tables);
    let wrong = |error: std::io::Error| Error::Dialect {
        file: folder.display().to_string(),
        why: error.to_string(),
    };
    std::fs::create_dir(folder).map_err(wrong)?;
    std::fs::create_dir_all(folder.join("sql").join(kind.name())).map_err(wrong)?;
    let mut written = Vec::new();
    for (file, text) in files {
        let path = folder.join(file);
        std::fs::write(&path, text).map_err(wrong)?;
        written.push(format!("wrote {}", path.display()));
    }
    Ok(written)
}

/// The table that is named like one of these, or else whose name ends like one.
fn table<'a>(tables: &'a Tables, words: &[&str]) -> Option<&'a String> {
    let find = |is_it: &dyn Fn(&str, &str) -> bool| {
        words.iter().find_map(|word| {
            tables.keys().find(|name| {
                let name = name.to_lowercase();
                is_it(&name, word) || is_it(&name, &format!("{word}s"))
            })
        })
    };
    find(&|name, word| name == word)
        .or_else(|| find(&|name, word| name.ends_with(&format!("_{word}"))))
}

/// A column that is named like one of these, or a text that says that there is none.
fn column(tables: &Tables, table: Option<&String>, words: &[&str], otherwise: &str) -> String {
    let columns = table.and_then(|table| tables.get(table)).map(Vec::as_slice).unwrap_or_default();
    let mut names = columns.iter().map(|(name, _)| name);
    for word in words {
        if let Some(exact) = names.clone().find(|name| name.eq_ignore_ascii_case(word)) {
            return exact.clone();
        }
    }
    let part = |word: &&str| names.find(|name| name.to_lowercase().contains(word));
    match words.iter().find_map(part) {
        Some(column) => format!("{column} /* CHECK */"),
        None => format!("{otherwise} /* CHECK: no such column was found */"),
    }
}

/// The type of a column that was guessed; empty: there is none.
fn type_of<'a>(tables: &'a Tables, table: Option<&String>, column: &str) -> &'a str {
    let name = column.split(' ').next().unwrap_or_default();
    let columns = table.and_then(|table| tables.get(table)).map(Vec::as_slice).unwrap_or_default();
    columns.iter().find(|(known, _)| known == name).map_or("", |(_, of)| of.as_str())
}

/// The parameter `:event` as it is compared with a column of a type.
fn key_as(kind: Kind, of: &str) -> String {
    match of {
        _ if kind == Kind::Sqlite => ":event".to_owned(),
        "text" | "character varying" | "character" => ":event".to_owned(),
        "" | "bigint" | "integer" | "smallint" => "CAST(:event AS bigint)".to_owned(),
        other => format!("CAST(:event AS {other})"),
    }
}

fn files(name: &str, kind: Kind, tables: &Tables) -> Vec<(String, String)> {
    let events = table(tables, &["event", "show", "performance", "concert"]);
    let types = table(
        tables,
        &["ticket_type", "tickettype", "item", "product", "price", "category", "tier"],
    );
    let quotas =
        table(tables, &["stock", "quota", "inventory", "allotment", "allocation"]).or(types);
    let orders = table(tables, &["order", "booking", "sale", "purchase", "reservation"]);
    let named =
        |table: Option<&String>| table.cloned().unwrap_or_else(|| "CHECK_which_table".to_owned());
    let id = column(tables, events, &["id", "key", "code"], "id");
    let of_event = |of: Option<&String>| {
        column(
            tables,
            of,
            &["event_id", "show_id", "performance_id", "event", "show", "perf"],
            "event_id",
        )
    };
    let key = |of: Option<&String>, column: &str| key_as(kind, type_of(tables, of, column));
    let price = column(tables, types, &["price_minor", "price_cents", "price", "amount"], "0");
    let price = match type_of(tables, types, &price) {
        of if of.starts_with("numeric") || of.starts_with("decimal") => {
            format!("CAST({price} * 100 AS bigint) /* CHECK: in cents? */")
        }
        _ => price,
    };
    let mut toml = format!(
        "name = \"{name}\"\nabout = \"CHECK: one sentence\"\ndatabases = [\"{}\"]\n\n[capture]\nsweep_seconds = 300\n",
        kind.name()
    );
    let mut watch = |table: Option<&String>, column: &str, more: &str| {
        // TOML has comments of another kind than SQL.
        let (column, mark) = match column.split_once(" /* CHECK") {
            None => (column, ""),
            Some((column, " */")) => (column, "  # CHECK"),
            Some(_) => {
                ("CHECK_which_column", "  # no such column was found; or leave this watch out")
            }
        };
        let _ = write!(
            toml,
            "\n[[watch]]\ntable = \"{}\"\ncolumn = \"{column}\"{mark}\n{more}",
            named(table)
        );
    };
    watch(events, &id, "");
    watch(types, &of_event(types), "");
    if quotas != types {
        watch(quotas, &of_event(quotas), "");
    }
    watch(
        orders,
        &column(tables, orders, &["code", "reference", "number"], "code"),
        "about = \"order\"\n",
    );
    toml += "\n# How sales are written back: nothing, sql or api; see docs/dialects.md.\n[write_back]\nby = \"nothing\"\n\n# All tables of the database:\n";
    for (table, columns) in tables {
        let columns: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(toml, "#   {table}: {}", columns.join(", "));
    }
    let of_events = |words: &[&str], otherwise: &str| column(tables, events, words, otherwise);
    let event = format!(
        "SELECT 'CHECK' AS organizer, {} AS event, {} AS name, {} AS currency,\n       'open' AS state, {} AS starts_at,\n       {} AS opens_at, {} AS closes_at\nFROM {}\nWHERE {id} = {}\n",
        of_events(&["slug", "code", "id"], "id"),
        of_events(&["name", "title"], "'?'"),
        of_events(&["currency"], "'EUR'"),
        of_events(&["starts_at", "date_from", "begins", "start", "date", "time"], "NULL"),
        of_events(&["sale_opens_at", "presale_start", "opens"], "NULL"),
        of_events(&["sale_closes_at", "presale_end", "closes"], "NULL"),
        named(events),
        key(events, &id),
    );
    let quota = format!(
        "SELECT CAST({} AS text) AS quota, {} AS capacity\nFROM {}\nWHERE {} = {}\n",
        column(tables, quotas, &["id", "code", "tier", "category"], "id"),
        column(tables, quotas, &["capacity", "size", "seats", "places", "quantity", "total"], "0"),
        named(quotas),
        of_event(quotas),
        key(quotas, &of_event(quotas)),
    );
    let ticket_type = format!(
        "-- The price in minor units: cents.\nSELECT CAST({} AS text) AS ticket_type, {} AS name, {} AS price, CAST({} AS text) AS quota\nFROM {}\nWHERE {} = {}\n",
        column(tables, types, &["id", "code", "tier", "category"], "id"),
        column(tables, types, &["name", "title", "label", "tier", "category"], "'?'"),
        price,
        match quotas == types {
            true => column(tables, types, &["id", "code", "tier", "category"], "id"),
            false => column(tables, types, &["stock_id", "quota_id", "inventory_id"], "id"),
        },
        named(types),
        of_event(types),
        key(types, &of_event(types)),
    );
    let sql = |statement: &str| format!("sql/{}/{statement}.sql", kind.name());
    vec![
        ("dialect.toml".to_owned(), toml),
        (sql("events"), format!("SELECT CAST({id} AS text) AS key FROM {}\n", named(events))),
        (sql("event"), event),
        (sql("quotas"), quota),
        (sql("ticket-types"), ticket_type),
    ]
}
