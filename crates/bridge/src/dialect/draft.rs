//! The first draft of a dialect, from the tables of a database: names are guessed, and each guess is marked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::Error;
use crate::database::{Database, Kind};

/// Tables by name, each with its columns.
type Tables = BTreeMap<String, Vec<String>>;

const SQLITE_TABLES: &str = "SELECT m.name AS t, p.name AS c FROM sqlite_schema m JOIN pragma_table_info(m.name) p \
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE 'onsale_%' ORDER BY m.name, p.cid";
const POSTGRES_TABLES: &str = "SELECT table_name::text AS t, column_name::text AS c FROM information_schema.columns \
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
        tables.entry(row.text("t")?).or_default().push(row.text("c")?);
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

/// The table whose name is most like one of these, and has no part of a word that says it is something else.
fn table<'a>(tables: &'a Tables, words: &[&str]) -> Option<&'a String> {
    for word in words {
        let exact = tables.keys().find(|name| {
            let name = name.to_lowercase();
            name == *word
                || name == format!("{word}s")
                || name.ends_with(&format!("_{word}"))
                || name.ends_with(&format!("_{word}s"))
        });
        if exact.is_some() {
            return exact;
        }
    }
    None
}

/// A column that is named like one of these, or a text that says that there is none.
fn column(tables: &Tables, table: Option<&String>, words: &[&str], otherwise: &str) -> String {
    let columns = table.and_then(|table| tables.get(table)).map(Vec::as_slice).unwrap_or_default();
    for word in words {
        if let Some(exact) = columns.iter().find(|column| column.eq_ignore_ascii_case(word)) {
            return exact.clone();
        }
    }
    let part = |word: &&str| columns.iter().find(|column| column.to_lowercase().contains(word));
    match words.iter().find_map(part) {
        Some(column) => format!("{column} /* CHECK */"),
        None => format!("{otherwise} /* CHECK: no such column was found */"),
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
    let key = match kind {
        Kind::Sqlite => ":event".to_owned(),
        Kind::Postgres => "CAST(:event AS bigint)".to_owned(),
    };
    let id = column(tables, events, &["id", "key", "code"], "id");
    let of_event = |of: Option<&String>| {
        column(tables, of, &["event_id", "show_id", "performance_id", "event"], "event_id")
    };
    let mut toml = format!(
        "name = \"{name}\"\nabout = \"CHECK: one sentence\"\ndatabases = [\"{}\"]\n\n[capture]\nsweep_seconds = 300\n",
        kind.name()
    );
    let mut watch = |table: Option<&String>, column: &str, more: &str| {
        let column = column.split(' ').next().unwrap_or_default();
        let _ = write!(
            toml,
            "\n[[watch]]\ntable = \"{}\"\ncolumn = \"{column}\"\n{more}",
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
        let _ = writeln!(toml, "#   {table}: {}", columns.join(", "));
    }
    let of_events = |words: &[&str], otherwise: &str| column(tables, events, words, otherwise);
    let event = format!(
        "SELECT 'CHECK' AS organizer, {} AS event, {} AS name, {} AS currency,\n       'open' AS state, {} AS starts_at,\n       {} AS opens_at, {} AS closes_at\nFROM {}\nWHERE {id} = {key}\n",
        of_events(&["slug", "code", "id"], "id"),
        of_events(&["name", "title"], "'?'"),
        of_events(&["currency"], "'EUR'"),
        of_events(&["starts_at", "date_from", "begins", "start", "date"], "NULL"),
        of_events(&["sale_opens_at", "presale_start", "opens", "on_sale"], "NULL"),
        of_events(&["sale_closes_at", "presale_end", "closes", "off_sale"], "NULL"),
        named(events),
    );
    let quota = format!(
        "SELECT CAST({} AS text) AS quota, {} AS capacity\nFROM {}\nWHERE {} = {key}\n",
        column(tables, quotas, &["id"], "id"),
        column(tables, quotas, &["capacity", "size", "quantity", "total"], "0"),
        named(quotas),
        of_event(quotas),
    );
    let ticket_type = format!(
        "-- The price in minor units: cents.\nSELECT CAST({} AS text) AS ticket_type, {} AS name, {} AS price, CAST({} AS text) AS quota\nFROM {}\nWHERE {} = {key}\n",
        column(tables, types, &["id"], "id"),
        column(tables, types, &["name", "title", "label"], "'?'"),
        column(tables, types, &["price_minor", "price_cents", "price", "amount"], "0"),
        match quotas == types {
            true => column(tables, types, &["id"], "id"),
            false => column(tables, types, &["stock_id", "quota_id", "inventory_id"], "id"),
        },
        named(types),
        of_event(types),
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
