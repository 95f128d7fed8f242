//! The audit of a data folder: reads every record of every shard, hands it to the
//! auditor, and tells what was found in words or as JSON.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use onsale_engine::audit::{Auditor, Report};
use onsale_engine::{Folder, folder};
use onsale_journal::storage::Storage;
use onsale_journal::{FileStorage, Reader, Stores, open_read_only};
use serde_json::{Value, json};

use crate::rows::look::Log;

/// Records read at a time.
const RECORDS_PER_READ: usize = 10_000;
/// Bytes read at a time.
const BYTES_PER_READ: usize = 4 << 20;

/// A finding and where its record stands.
pub struct Located {
    /// File and offset of the batch that holds the record.
    pub place: Option<(String, u64)>,
    /// What is wrong.
    pub what: String,
}

/// What the audit of a folder came to.
pub struct Audit {
    /// Sums and findings.
    pub report: Report,
    /// The findings, with their places.
    pub findings: Vec<Located>,
}

/// Audits a folder that no server is working on.
///
/// # Errors
/// It can't be read, a server has it, or a journal is damaged: names file and offset.
pub fn audit(data: &Path) -> anyhow::Result<Audit> {
    audit_with(data, None)
}

/// The same for a folder whose full segments are in an archive.
///
/// # Errors
/// It can't be read, a server has it, or a journal is damaged: names file and offset.
pub fn audit_with(data: &Path, archive: Option<&Path>) -> anyhow::Result<Audit> {
    let identity = Folder::identity(data)?
        .ok_or_else(|| anyhow::anyhow!("{} is no data folder of Onsale", data.display()))?;
    let mut auditor = Auditor::new();
    let mut readers = Vec::new();
    for shard in 0..identity.shards {
        let reader = open(data, archive, shard, identity)?;
        read(&reader, shard, &mut auditor)?;
        readers.push(reader);
    }
    let report = auditor.finish();
    let findings = report.findings.iter().map(|finding| Located {
        place: readers
            .get(usize::from(finding.shard))
            .and_then(|reader| reader.locate(finding.position))
            .map(|(file, offset)| (format!("shard-{:02}/{file}", finding.shard), offset)),
        what: finding.to_string(),
    });
    let findings = findings.collect();
    Ok(Audit { report, findings })
}

/// Audits a log that is in a database. A server may be at work on it: what there is at the beginning is read.
///
/// # Errors
/// The database can't be reached, holds no log, or a batch is damaged or missing.
pub fn audit_rows(url: &str) -> anyhow::Result<Audit> {
    let mut auditor = Auditor::new();
    Log::open(url)?.audit(&mut auditor)?;
    let report = auditor.finish();
    let findings = report.findings.iter();
    let findings = findings.map(|finding| Located { place: None, what: finding.to_string() });
    let findings = findings.collect();
    Ok(Audit { report, findings })
}

/// Audits a store in Redis. Servers may be working on it: what comes after the look is not looked at.
///
/// # Errors
/// It can't be reached, or a stream is damaged: names its key and the position.
pub fn audit_store(options: &onsale_redis::Options) -> anyhow::Result<Audit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut auditor = Auditor::new();
    let mut record = |shard, position, event: &onsale_core::Event| {
        auditor.record(shard, position, event);
    };
    runtime.block_on(onsale_redis::read_all(options, &mut record))?;
    let report = auditor.finish();
    let findings = report.findings.iter().map(|finding| {
        let stream = format!("{{{}/{}}}sales", options.prefix, finding.shard);
        Located { place: Some((stream, finding.position)), what: finding.to_string() }
    });
    let findings = findings.collect();
    Ok(Audit { report, findings })
}

fn open(
    data: &Path,
    archive: Option<&Path>,
    shard: u16,
    identity: folder::Identity,
) -> anyhow::Result<Reader> {
    let storage = FileStorage::open_read_only(Folder::shard_path(data, shard)).map_err(
        |error| match error {
            onsale_journal::Error::Locked { .. } => {
                anyhow::anyhow!("{error}: stop the server, or audit a copy of the stopped folder")
            }
            error => error.into(),
        },
    )?;
    let archive = archive.map(|folder| Folder::shard_path(folder, shard));
    let archive = archive.map(FileStorage::open_read_only).transpose()?;
    let archive = archive.map(|archive| Arc::new(archive) as Arc<dyn Storage>);
    let named = archive.is_some();
    let opened = open_read_only(Stores { live: Arc::new(storage), archive })
        .map_err(|error| anyhow::anyhow!("shard {shard}: {error}{}", what_helps(&error, named)))?;
    anyhow::ensure!(
        (opened.log, opened.shard) == (identity.log, shard),
        "shard {shard}: its journal is shard {} of the log {:032x}, not of {:032x}",
        opened.shard,
        opened.log,
        identity.log
    );
    Ok(opened.reader)
}

/// What to do where the first records are not there: the books can be proven only from the first on,
/// since a state in between would have to be believed.
fn what_helps(error: &onsale_journal::Error, archive_is_named: bool) -> String {
    use onsale_journal::Error::{Gone, Missing};
    match error {
        Missing { .. } if !archive_is_named => {
            ". If the server archives full files, name the archive by --archive DIR, or the server's \
             configuration by --config FILE"
                .to_owned()
        }
        Gone { begins_at } => format!(
            ". The books can't be proven without the records before position {begins_at}: name a backup that \
             was begun before they were removed by --data BACKUP"
        ),
        _ => String::new(),
    }
}

fn read(reader: &Reader, shard: u16, auditor: &mut Auditor) -> anyhow::Result<()> {
    let (mut after, mut failed) = (0, None);
    while after < reader.durable() && failed.is_none() {
        reader.read(after, RECORDS_PER_READ, BYTES_PER_READ, &mut |position, record| {
            after = position;
            match onsale_codec::decode(record) {
                Ok(event) => auditor.record(shard, position, &event),
                Err(error) => failed = failed.take().or(Some((position, error))),
            }
        })?;
    }
    match failed {
        None => Ok(()),
        Some((position, error)) => {
            let (file, offset) = reader.locate(position).unwrap_or_default();
            anyhow::bail!("shard {shard}, position {position} ({file}, offset {offset}): {error}")
        }
    }
}

impl Audit {
    /// `"ok"`, or how much is wrong.
    #[must_use]
    pub fn verdict(&self) -> String {
        match self.report.ok {
            true => "ok".to_owned(),
            false => format!("{} findings", self.report.findings_count),
        }
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let Report { records, shards, events, holds, orders, payments, .. } = &self.report;
        let mut line = |title: &str, words: String| {
            writeln!(text, "{title:9} {words}").expect("a string takes anything");
        };
        line("records", format!("{records} in {} shards", shards.len()));
        line(
            "holds",
            format!(
                "{} placed: {} claimed, {} released, {} expired, {} live",
                holds.placed, holds.claimed, holds.released, holds.expired, holds.live
            ),
        );
        line(
            "orders",
            format!(
                "{} confirmed, {} awaiting payment, {} cancelled; {} tickets",
                orders.confirmed,
                orders.awaiting_payment,
                orders.cancelled_unpaid + orders.cancelled_customer + orders.cancelled_organizer,
                orders.tickets
            ),
        );
        line(
            "payments",
            format!(
                "{} applied, {} due back, {} refunded",
                payments.applied, payments.refund_due, payments.refunded
            ),
        );
        for event in events {
            writeln!(text, "\n{}/{}", event.organizer, event.event).expect("a string");
            writeln!(
                text,
                "  {:24} {:>11} {:>11} {:>11} {:>11}",
                "quota", "allotment", "free", "held", "sold"
            )
            .expect("a string");
            for quota in &event.quotas {
                let or_unlimited = |n: Option<i64>| n.map_or("unlimited".into(), |n| n.to_string());
                writeln!(
                    text,
                    "  {:24} {:>11} {:>11} {:>11} {:>11}",
                    quota.id.as_str(),
                    or_unlimited(quota.allotment.map(i64::from)),
                    or_unlimited(quota.free),
                    quota.held,
                    quota.sold
                )
                .expect("a string");
            }
        }
        for finding in &self.findings {
            let place = finding.place.as_ref();
            let place = place.map_or(String::new(), |(file, at)| format!("{file}, offset {at}: "));
            write!(text, "\nWRONG  {place}{}", finding.what).expect("a string");
        }
        let more = self.report.findings_count - self.findings.len() as u64;
        if more > 0 {
            write!(text, "\nand {more} more").expect("a string");
        }
        let verdict = match self.report.ok {
            true => {
                "\nok: every quota has free + held + sold = allotment; limits, codes and money are right"
            }
            false => "\n\nnot right",
        };
        text + verdict
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Report { records, events, holds, orders, payments, .. } = &self.report;
        let quotas = |event: &onsale_engine::audit::EventReport| -> Vec<Value> {
            let quota = |q: &onsale_engine::audit::QuotaReport| {
                json!({ "id": q.id.as_str(), "capacity": q.capacity, "allotment": q.allotment,
                    "free": q.free, "held": q.held, "sold": q.sold, "oversold": q.oversold })
            };
            event.quotas.iter().map(quota).collect()
        };
        let events: Vec<Value> = events
            .iter()
            .map(|e| {
                json!({ "organizer": e.organizer.as_str(), "event": e.event.as_str(),
                    "shard": e.shard, "version": e.version, "quotas": quotas(e) })
            })
            .collect();
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                let (file, offset) = f.place.clone().unzip();
                json!({ "file": file, "offset": offset, "what": f.what })
            })
            .collect();
        json!({
            "ok": self.report.ok,
            "records": records,
            "holds": { "placed": holds.placed, "claimed": holds.claimed,
                "released": holds.released, "expired": holds.expired, "live": holds.live },
            "orders": { "confirmed": orders.confirmed,
                "awaiting_payment": orders.awaiting_payment,
                "cancelled_unpaid": orders.cancelled_unpaid,
                "cancelled_customer": orders.cancelled_customer,
                "cancelled_organizer": orders.cancelled_organizer,
                "tickets": orders.tickets },
            "payments": { "applied": payments.applied, "refund_due": payments.refund_due,
                "refunded": payments.refunded },
            "events": events,
            "findings_count": self.report.findings_count,
            "findings": findings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::audit;

    #[test]
    fn what_is_no_data_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = audit(folder.path()).err().expect("there is nothing in it").to_string();
        assert!(error.ends_with("is no data folder of Onsale"), "{error}");
    }
}
