//! What capture looks after now and then: whether clocks agree, whether the slot will hold.

use jiff::{SignedDuration, Timestamp};

use super::Parts;
use crate::Error;
use crate::database::Database;

/// Clocks that differ by more than this are told.
const CLOCKS_MAX: SignedDuration = SignedDuration::from_secs(30);
/// A slot that keeps back more than this is told, in bytes.
const KEPT_MAX: i64 = 1 << 30;

/// Compares the clocks of the database, the engine and this machine. Windows open by the engine's clock.
pub(super) async fn clocks(db: &mut Database, parts: &Parts) -> Result<(), Error> {
    let here = Timestamp::now();
    let theirs = match db {
        // A file has no clock of its own.
        Database::Sqlite(_) => None,
        Database::Postgres(_) => {
            let rows = db.ask("SELECT clock_timestamp() AS t", &[]).await?;
            rows.first().map(|row| row.maybe_time("t")).transpose()?.flatten()
        }
    };
    let engine = parts.engine.time().await?;
    let alarm = [("the database's", theirs), ("the engine's", engine)].into_iter().find_map(
        |(whose, time)| {
            let off = time?.duration_since(here);
            (off.abs() > CLOCKS_MAX).then(|| {
                format!(
                    "{whose} clock is {} s off this machine's: sales may open at the wrong time",
                    off.as_secs()
                )
            })
        },
    );
    told(parts, "alarm:clock", alarm)
}

/// Whether the slot is about to be lost, or keeps back much.
pub(super) async fn slot(db: &mut Database, parts: &Parts) -> Result<(), Error> {
    if matches!(db, Database::Sqlite(_)) {
        return Ok(());
    }
    let sql = "SELECT COALESCE(wal_status, '') AS wal_status, safe_wal_size, \
               COALESCE(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint AS kept \
               FROM pg_replication_slots WHERE slot_name = :name::text";
    let name = parts.dialect.added_name();
    let rows = db.ask(sql, &[("name", name.as_str().into())]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (status, kept) = (row.text("wal_status")?, row.integer("kept")?);
    let alarm = if status == "unreserved" || status == "lost" {
        Some(format!(
            "the replication slot {name} is about to be lost: max_slot_wal_keep_size is too small"
        ))
    } else if kept > KEPT_MAX {
        let mib = kept >> 20;
        Some(format!(
            "the replication slot {name} keeps back {mib} MiB: is a transaction open for long? (pg_stat_activity)"
        ))
    } else {
        None
    };
    told(parts, "alarm:slot", alarm)
}

fn told(parts: &Parts, name: &str, alarm: Option<String>) -> Result<(), Error> {
    if let Some(text) = &alarm
        && parts.state.fact(name)?.is_none()
    {
        tracing::error!("{text}");
    }
    parts.state.set_fact(name, alarm.as_deref())
}
