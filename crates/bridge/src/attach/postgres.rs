//! What is added to a database at a server: a publication and a replication slot.

use std::collections::BTreeSet;

use super::sqlite::quoted;
use super::{Plan, Step, table_steps};
use crate::Error;
use crate::database::{Database, Row};
use crate::dialect::Dialect;

/// What is asked about the server at once.
const SERVER: &str = "
SELECT current_setting('wal_level') AS wal_level,
       current_setting('server_version_num')::bigint AS version,
       current_setting('max_slot_wal_keep_size') AS keep,
       current_setting('max_replication_slots')::bigint AS slots_max,
       (SELECT count(*) FROM pg_replication_slots) AS slots,
       pg_is_in_recovery() AS is_standby,
       current_user::text AS me, current_database()::text AS db,
       r.rolreplication OR r.rolsuper AS replicates, r.rolsuper AS is_super,
       has_database_privilege(current_database(), 'CREATE') AS creates,
       has_schema_privilege(current_schema(), 'CREATE') AS makes_tables, current_schema()::text AS schema
FROM pg_roles r WHERE r.rolname = current_user";

/// The first version with a publication that can be trusted with all of this.
const VERSION_MIN: i64 = 140_000;

pub(super) async fn plan(
    dialect: &Dialect,
    db: &mut Database,
    plan: &mut Plan,
) -> Result<(), Error> {
    let name = dialect.added_name();
    let rows = db.ask(SERVER, &[]).await?;
    let server =
        rows.first().ok_or_else(|| Error::Database("it does not know its user".to_owned()))?;
    let tables: BTreeSet<&str> =
        dialect.settings.watch.iter().map(|watch| watch.table.as_str()).collect();
    check_server(server, plan)?;
    let list: Vec<String> = tables.iter().map(|table| quoted(table)).collect();
    let list = list.join(", ");
    let published = db
        .ask(
            "SELECT tablename::text AS t FROM pg_publication_tables WHERE pubname = :name",
            &[("name", name.as_str().into())],
        )
        .await?;
    let published: BTreeSet<String> =
        published.iter().map(|row| row.text("t")).collect::<Result<_, _>>()?;
    let is_made = !db
        .ask(
            "SELECT 1 AS one FROM pg_publication WHERE pubname = :name",
            &[("name", name.as_str().into())],
        )
        .await?
        .is_empty();
    let publish = match is_made {
        true => format!("ALTER PUBLICATION {name} SET TABLE {list}"),
        false => format!("CREATE PUBLICATION {name} FOR TABLE {list}"),
    };
    let is_whole = is_made && tables.iter().all(|table| published.contains(*table));
    plan.steps.push(Step {
        what: format!(
            "the publication {name} of {}",
            tables.iter().copied().collect::<Vec<_>>().join(", ")
        ),
        sql: publish.clone(),
        undo: format!("DROP PUBLICATION {name}"),
        is_there: is_made,
        is_right: is_whole,
        wrong: "has not all of them",
    });
    if !is_whole {
        check_owner(db, &tables, server, &publish, plan).await?;
    }
    let slot = match slot(db, &name).await? {
        Found::Elsewhere(database) => {
            plan.hindrances.push(slot_elsewhere(&name, &database));
            None
        }
        Found::Here { is_lost } => Some(is_lost),
        Found::No => None,
    };
    plan.steps.push(Step {
        what: format!("the replication slot {name}"),
        // A lost one is of no use and in the way.
        sql: match &slot {
            Some(_) => format!("SELECT pg_drop_replication_slot('{name}'); SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"),
            None => format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')"),
        },
        undo: format!("SELECT pg_drop_replication_slot('{name}')"),
        is_there: slot.is_some(),
        is_right: slot.is_some_and(|lost| !lost),
        wrong: "is lost: the server gave it up, since it would have kept back more than max_slot_wal_keep_size",
    });
    table_steps(dialect, db, plan).await?;
    let makes_tables =
        plan.steps.iter().any(|step| !step.is_right && step.sql.starts_with("CREATE TABLE"));
    if makes_tables {
        let (schema, me) = (server.text("schema")?, quoted(&server.text("me")?));
        let grant = format!("GRANT CREATE ON SCHEMA {schema} TO {me};");
        plan.rights.push(format!("{grant}  -- to make its tables"));
        if server.maybe_bool("makes_tables")? != Some(true) {
            lacks(plan, format!("make tables in the schema {schema}"), grant);
        }
    }
    Ok(())
}

fn lacks(plan: &mut Plan, what: String, grant: String) {
    plan.hindrances.push(Error::refused(
        format!("the database's user may not {what}"),
        format!("Let somebody who may run:  {grant}"),
    ));
}

fn check_server(server: &Row, plan: &mut Plan) -> Result<(), Error> {
    let me = quoted(&server.text("me")?);
    let level = server.text("wal_level")?;
    if level != "logical" {
        plan.hindrances.push(Error::refused(
            format!("wal_level is {level}: changes can't be read"),
            "Run ALTER SYSTEM SET wal_level = logical; as a superuser, then restart PostgreSQL.",
        ));
    }
    if server.maybe_bool("is_standby")? == Some(true) {
        plan.hindrances
            .push(Error::refused("this server is a standby", "Say the primary in --db."));
    }
    if server.integer("version")? < VERSION_MIN {
        plan.hindrances.push(Error::refused("PostgreSQL is older than 14", "Use 14 or newer."));
    }
    if server.maybe_bool("replicates")? != Some(true) {
        lacks(plan, "replicate".to_owned(), format!("ALTER ROLE {me} REPLICATION;"));
    }
    if server.integer("slots")? >= server.integer("slots_max")? {
        plan.hindrances.push(Error::refused(
            "all replication slots are in use",
            "Raise max_replication_slots and restart PostgreSQL, or drop a slot that nobody reads (pg_replication_slots).",
        ));
    }
    if server.text("keep")? == "-1" {
        plan.advice.push(
            "max_slot_wal_keep_size is unlimited: while the bridge is down PostgreSQL keeps everything that was written, \
             and may fill its disk. A limit (ALTER SYSTEM SET max_slot_wal_keep_size = '20GB'; SELECT pg_reload_conf();) \
             drops the slot instead; then `onsale bridge attach` makes a new one and nothing is lost."
                .to_owned(),
        );
    }
    plan.rights.extend([
        format!("ALTER ROLE {me} REPLICATION;  -- to read changes"),
        format!("GRANT CREATE ON DATABASE {} TO {me};  -- to make the publication, with ownership of its tables", quoted(&server.text("db")?)),
    ]);
    Ok(())
}

/// Whether the publication can be made: its maker must own the tables.
async fn check_owner(
    db: &mut Database,
    tables: &BTreeSet<&str>,
    server: &Row,
    publish: &str,
    plan: &mut Plan,
) -> Result<(), Error> {
    if server.maybe_bool("is_super")? == Some(true) {
        return Ok(());
    }
    let (me, name) = (quoted(&server.text("me")?), quoted(&server.text("db")?));
    if server.maybe_bool("creates")? != Some(true) {
        lacks(
            plan,
            format!("make a publication in the database {name}"),
            format!("GRANT CREATE ON DATABASE {name} TO {me};"),
        );
    }
    let sql = "SELECT pg_has_role(c.relowner, 'USAGE') AS owns FROM pg_class c WHERE c.oid = to_regclass(:name::text)";
    for table in tables {
        let rows = db.ask(sql, &[("name", quoted(table).into())]).await?;
        if rows.first().map(|row| row.maybe_bool("owns")).transpose()?.flatten() == Some(false) {
            plan.hindrances.push(Error::refused(
                format!("only the owner of the table {table} may publish it"),
                format!("Let the owner run:  {publish};  and then attach again."),
            ));
            return Ok(());
        }
    }
    Ok(())
}

/// What there is of a slot: their names are those of the whole server, each is of one database.
enum Found {
    No,
    Here { is_lost: bool },
    Elsewhere(String),
}

async fn slot(db: &mut Database, name: &str) -> Result<Found, Error> {
    let sql = "SELECT COALESCE(wal_status, '') = 'lost' AS lost, database::text AS db, database = current_database() AS here
        FROM pg_replication_slots WHERE slot_name = :name::text";
    let rows = db.ask(sql, &[("name", name.into())]).await?;
    let Some(row) = rows.first() else { return Ok(Found::No) };
    Ok(match row.maybe_bool("here")? {
        Some(true) => Found::Here { is_lost: row.maybe_bool("lost")? == Some(true) },
        _ => Found::Elsewhere(row.maybe_text("db")?.unwrap_or_else(|| "none".to_owned())),
    })
}

/// Why a database can't be attached where another one of its server is.
fn slot_elsewhere(name: &str, database: &str) -> Error {
    Error::refused(
        format!(
            "the replication slot {name} is of the database {database}: a server has one slot of a name"
        ),
        "Detach that database, if it needs no bridge any more; for both at once, copy the dialect's folder and give the copy another name \
         (name in its dialect.toml).",
    )
}

/// Whether nobody reads the slot.
pub(super) async fn check_idle(dialect: &Dialect, db: &mut Database) -> Result<(), Error> {
    let name = dialect.added_name();
    let sql = "SELECT active_pid::bigint AS pid FROM pg_replication_slots \
        WHERE slot_name = :name::text AND database = current_database() AND active";
    match db.ask(sql, &[("name", name.as_str().into())]).await?.first() {
        None => Ok(()),
        Some(_) => Err(Error::refused(
            "the bridge is at work: somebody reads its slot",
            "Stop `onsale bridge run` first.",
        )),
    }
}

/// What the user may not take away, each by the statement that would. The owner of a schema may drop its tables, too.
const NOT_OURS: &str = "
SELECT 'DROP PUBLICATION ' || pubname AS undo FROM pg_publication WHERE NOT pg_has_role(pubowner, 'USAGE')
UNION ALL
SELECT 'DROP TABLE ' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid)
  AND NOT pg_has_role(c.relowner, 'USAGE') AND NOT pg_has_role(n.nspowner, 'USAGE')
UNION ALL
SELECT format('SELECT pg_drop_replication_slot(%L)', s.slot_name) FROM pg_replication_slots s, pg_roles r
WHERE r.rolname = current_user AND NOT r.rolreplication AND NOT r.rolsuper";

/// Whether the user may take away all of these.
pub(super) async fn check_owner_of(db: &mut Database, steps: &[Step]) -> Result<(), Error> {
    let rows = db.ask(NOT_OURS, &[]).await?;
    let not_ours: BTreeSet<String> =
        rows.iter().map(|row| row.text("undo")).collect::<Result<_, _>>()?;
    let not_ours: Vec<&Step> = steps.iter().filter(|step| not_ours.contains(&step.undo)).collect();
    if not_ours.is_empty() {
        return Ok(());
    }
    let what: Vec<&str> = not_ours.iter().map(|step| step.what.as_str()).collect();
    let undo: Vec<String> = not_ours.iter().map(|step| format!("{};", step.undo)).collect();
    Err(Error::refused(
        format!("the database's user may not take away {}; nothing was done", what.join(", ")),
        format!("Let the owner run:  {}  and then detach again.", undo.join(" ")),
    ))
}
