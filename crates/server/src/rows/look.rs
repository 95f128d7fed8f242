//! Looks at a log in a database from outside: audit and inspection. A server may be at work on it.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, ensure};
use onsale_core::Event;
use onsale_engine::audit::Auditor;
use onsale_journal::{Records, chain};
use onsale_rows::{Head, Identity, Row, Settings, Site};
use serde_json::{Value, json};

/// How long the database may take over one answer, three times.
const WAIT: std::time::Duration = std::time::Duration::from_secs(180);

/// The address of a database, where one is named in the place of a data folder.
#[must_use]
pub fn url(data: &Path) -> Option<&str> {
    let text = data.to_str()?;
    (text.starts_with("postgres://") || text.starts_with("postgresql://")).then_some(text)
}

/// A log that is looked at.
pub struct Log {
    site: Site,
    /// What it is.
    pub identity: Identity,
    /// Where its shards ended when it was opened.
    pub heads: Vec<Head>,
    /// What a check found wrong.
    wrong: Vec<String>,
}

impl Log {
    /// Connects. Nothing is changed.
    ///
    /// # Errors
    /// The database can't be reached, or holds no log.
    pub fn open(url: &str) -> anyhow::Result<Log> {
        let settings = Settings {
            config: Settings::parse(url)?,
            node: String::new(),
            address: String::new(),
            lease: std::time::Duration::ZERO,
            wait: WAIT,
            accepts_os: true,
        };
        let mut site = Site::connect(&settings)?;
        let identity = site.identity(None)?.context("the database holds no log of Onsale")?;
        let heads = site.heads()?;
        Ok(Log { site, identity, heads, wrong: Vec::new() })
    }

    /// Reads every batch up to where the shards ended, and notes what is damaged or missing.
    ///
    /// # Errors
    /// The database can't be reached any more.
    pub fn check(&mut self) -> anyhow::Result<()> {
        for Head { shard, position, .. } in self.heads.clone() {
            if let Err(error) = self.batches(shard, (0, position), &mut |_| Ok(())) {
                // That it can't be asked any more says nothing about the log.
                self.site.heads()?;
                self.wrong.push(format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// Whether nothing is wrong, as far as was checked.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    /// Hands out the batches of a shard from one position to another, each with the check that it follows the one
    /// before it.
    ///
    /// # Errors
    /// One is damaged or missing, or `each` failed.
    fn batches(
        &mut self,
        shard: u16,
        (after, to): (u64, u64),
        each: &mut dyn FnMut(&Row) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (mut position, mut before) = (after, self.site.chain(shard, after)?.unwrap_or(0));
        while position < to {
            let rows = self.site.read(shard, position)?;
            ensure!(
                !rows.is_empty(),
                "shard {shard}: batches after position {position} are not there"
            );
            for row in rows.iter().filter(|row| row.first <= to) {
                let count = (row.last - row.first + 1) as u32;
                let (bytes, crc) = (row.records.len() as u32, crc32c::crc32c(&row.records));
                ensure!(
                    chain(row.first, before, count, bytes, crc) == row.chain
                        && Records::new(&row.records).count() == count as usize,
                    "shard {shard}, position {}: the batch does not follow the one before it",
                    row.first
                );
                each(row)?;
                (position, before) = (row.last, row.chain);
            }
        }
        Ok(())
    }

    /// Hands every record to an auditor.
    ///
    /// # Errors
    /// One is damaged or missing.
    pub fn audit(&mut self, auditor: &mut Auditor) -> anyhow::Result<()> {
        for head in self.heads.clone() {
            self.batches(head.shard, (0, head.position), &mut |row| {
                for (position, record) in (row.first..).zip(Records::new(&row.records)) {
                    let event = decode(head.shard, position, record)?;
                    auditor.record(head.shard, position, &event);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Writes records `from..=to` of a shard, a line each, as `show` has it.
    ///
    /// # Errors
    /// The log can't be read, or the output can't be written.
    pub fn records(
        &mut self,
        shard: u16,
        (from, to): (u64, u64),
        show: &dyn Fn(u64, &Event) -> Value,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let head = self.heads.iter().find(|head| head.shard == shard);
        let to = to.min(head.with_context(|| format!("there is no shard {shard}"))?.position);
        let begin = self.site.batch_before(shard, from)?;
        self.batches(shard, (begin, to), &mut |row| {
            for (position, record) in (row.first..).zip(Records::new(&row.records)) {
                if (from..=to).contains(&position) {
                    writeln!(out, "{}", show(position, &decode(shard, position, record)?))?;
                }
            }
            Ok(())
        })
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Identity { log, shards } = self.identity;
        let mut lines = vec![format!("log {log:032x}, {shards} shards, in a database")];
        let titles = ["shard", "term", "position", "active"];
        let [shard, term, position, active] = titles;
        lines.push(format!("  {shard:>6} {term:>8} {position:>14}  {active}"));
        for Head { shard, term, position, address, left, .. } in &self.heads {
            let active = match (address.as_str(), left) {
                ("", _) => "nobody yet".to_owned(),
                (address, None) => format!("{address}, its lease has run out"),
                (address, Some(left)) => format!("{address}, for {} ms at least", left.as_millis()),
            };
            lines.push(format!("  {shard:>6} {term:>8} {position:>14}  {active}"));
        }
        lines.extend(self.wrong.iter().map(|wrong| format!("  WRONG: {wrong}")));
        lines.join("\n")
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let shard = |head: &Head| {
            json!({ "shard": head.shard, "term": head.term, "last_position": head.position,
                "active": head.address, "lease_ms": head.left.map(|left| left.as_millis() as u64) })
        };
        let shards: Vec<Value> = self.heads.iter().map(shard).collect();
        json!({ "log": format!("{:032x}", self.identity.log), "ok": self.is_right(),
            "shards": shards, "wrong": self.wrong })
    }
}

fn decode(shard: u16, position: u64, record: &[u8]) -> anyhow::Result<Event> {
    onsale_codec::decode(record).with_context(|| format!("shard {shard}, position {position}"))
}
