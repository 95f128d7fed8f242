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
               FROM pg_replication_slots WHERE slot_name = :name::text AND database = current_database()";
    let name = parts.dialect.added_name();
    let rows = db.ask(sql, &[("name", name.as_str().into())]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (status, kept) = (row.text("wal_status")?, row.integer("kept")?);
    let alarm = about_slot(&name, &status, kept);
    told(parts, "alarm:slot", alarm)
}

/// What is wrong with a slot of this status that keeps back so many bytes.
fn about_slot(name: &str, status: &str, kept: i64) -> Option<String> {
    if status == "unreserved" || status == "lost" {
        return Some(format!(
            "the replication slot {name} is about to be lost: max_slot_wal_keep_size is too small"
        ));
    }
    let mib = kept >> 20;
    (kept > KEPT_MAX).then(|| {
        format!(
            "the replication slot {name} keeps back {mib} MiB: is a transaction open for long? (pg_stat_activity)"
        )
    })
}

fn told(parts: &Parts, name: &str, alarm: Option<String>) -> Result<(), Error> {
    if let Some(text) = &alarm
        && parts.state.fact(name)?.is_none()
    {
        tracing::error!("{text}");
    }
    parts.state.set_fact(name, alarm.as_deref())
}

#[cfg(test)]
mod tests {
    use super::about_slot;

    #[test]
    fn a_slot_is_told_before_it_is_lost_and_where_it_keeps_much() {
        for (status, kept, expected) in [
            ("reserved", 1 << 30, None),
            ("reserved", (1 << 30) + 1, Some("keeps back 1024 MiB")),
            ("extended", 3 << 30, Some("keeps back 3072 MiB")),
            ("unreserved", 0, Some("about to be lost")),
            ("lost", 0, Some("about to be lost")),
        ] {
            let told = about_slot("onsale_classic", status, kept);
            assert_eq!(told.is_some(), expected.is_some(), "{status} {kept}: {told:?}");
            assert!(
                told.unwrap_or_default().contains(expected.unwrap_or_default()),
                "{status} {kept}"
            );
        }
    }
}
