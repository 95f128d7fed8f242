//! What the rows over HTTP run against: the server or the bare harness, as a process of its own
//! on a core of its own, in a folder that goes with it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use onsale_core::Fact;
use onsale_engine::Folder;
use onsale_journal::FileStorage;
use onsale_rush::hammer::{Pace, Plan, Template};
use serde_json::Value;

use super::workload::{ORGANIZER, TICKET_TYPE, event_id, event_json};
use crate::demo::process::{Cores, ServerProcess};
use crate::http_client::Client;

/// The key that may do everything.
const KEY: &str = "bench-key-that-may-do-everything";
/// What stands in a batch's answer once for each hold that was granted.
const GRANTED: &str = "\"status\":201";

/// What the server is set to: a row offers all that it can take and more, on purpose, so nothing is
/// turned away for that.
const SETTINGS: [(&str, &str); 1] = [("ONSALE_LIMITS_QUEUE_MS", "60000")];

/// What a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One hold.
    Hold,
    /// A batch of so many.
    Batch(usize),
}

impl Kind {
    fn path(self) -> String {
        let last = if self == Kind::Hold { "holds" } else { "batch" };
        format!("/v1/organizers/{ORGANIZER}/events/{}/{last}", event_id(0))
    }

    /// The request. Customers have 36 bytes, and so has each command's own key.
    #[must_use]
    pub fn template(self) -> Template {
        const CUSTOMER: &str = "bench-customer-0000-################";
        const COMMAND: &str = "bench-command-00000-################";
        let hold = format!(
            "\"customer\":\"{CUSTOMER}\",\"items\":[{{\"ticket_type\":\"{TICKET_TYPE}\",\"quantity\":1}}]}}"
        );
        let authorization = format!("Authorization: Bearer {KEY}\r\n");
        match self {
            Kind::Hold => {
                let headers = format!("{authorization}Idempotency-Key: {COMMAND}\r\n");
                Template::post(&self.path(), &headers, &format!("{{{hold}"), 2)
            }
            Kind::Batch(holds) => {
                let one = format!("{{\"op\":\"hold\",\"idempotency_key\":\"{COMMAND}\",{hold}");
                let body = format!("{{\"commands\":[{}]}}", vec![one; holds].join(","));
                Template::post(&self.path(), &authorization, &body, 2)
            }
        }
    }

    /// A plan to send such requests.
    #[must_use]
    pub fn plan(self, address: SocketAddr, connections: usize, duration: Duration) -> Plan {
        Plan {
            address,
            connections,
            depth: 1,
            template: self.template(),
            pace: Pace::Closed,
            warm_up: duration / 4,
            duration,
            requests_max: u64::MAX,
            each: matches!(self, Kind::Batch(_)).then_some(GRANTED),
            first_number: 0,
        }
    }
}

/// What the bare harness must be told so that it moves as many bytes as the product.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Bytes of a hold's record.
    pub record_bytes: usize,
    /// Bytes of an answer's body.
    pub answer_bytes: usize,
}

/// A server at work.
pub struct Site {
    /// Its folder.
    pub folder: tempfile::TempDir,
    /// The process.
    pub server: ServerProcess,
    /// Where it listens.
    pub address: SocketAddr,
    client: Client,
}

impl Site {
    /// The product over a folder of its own, with one event on sale.
    ///
    /// # Errors
    /// It does not start, or refuses the event.
    pub fn product(cores: &Cores) -> anyhow::Result<Site> {
        let site = Site::over(folder()?, cores)?;
        site.put_on_sale(0, 86_400)?;
        Ok(site)
    }

    /// The product over a folder that is there.
    ///
    /// # Errors
    /// It does not start.
    pub fn over(folder: tempfile::TempDir, cores: &Cores) -> anyhow::Result<Site> {
        let server = ServerProcess::start(folder.path(), &SETTINGS, KEY, cores)?;
        Site::of(folder, server)
    }

    /// The bare harness.
    ///
    /// # Errors
    /// It does not start.
    pub fn bare(shape: Shape, cores: &Cores) -> anyhow::Result<Site> {
        Site::bare_with(shape, &[], cores)
    }

    fn bare_with(shape: Shape, more: &[OsString], cores: &Cores) -> anyhow::Result<Site> {
        let folder = folder()?;
        let number = |number: usize| OsString::from(number.to_string());
        let arguments = [
            "bench-bare".into(),
            "--data".into(),
            folder.path().into(),
            "--record-bytes".into(),
            number(shape.record_bytes),
            "--answer-bytes".into(),
            number(shape.answer_bytes),
        ];
        let arguments = arguments.into_iter().chain(more.iter().cloned());
        let server = ServerProcess::launch(arguments, &[], KEY, cores)?;
        Site::of(folder, server)
    }

    /// The product over a database that is empty, with one event on sale.
    ///
    /// # Errors
    /// It does not start, or refuses the event.
    pub fn product_on(database: &str, cores: &Cores) -> anyhow::Result<Site> {
        let folder = folder()?;
        let settings = [SETTINGS[0], ("ONSALE_JOURNAL_URL", database)];
        let server = ServerProcess::start(folder.path(), &settings, KEY, cores)?;
        let site = Site::of(folder, server)?;
        site.put_on_sale(0, 86_400)?;
        Ok(site)
    }

    /// The bare harness over a database that is empty.
    ///
    /// # Errors
    /// It does not start.
    pub fn bare_on(shape: Shape, database: &str, cores: &Cores) -> anyhow::Result<Site> {
        Site::bare_with(shape, &["--database".into(), database.into()], cores)
    }

    fn of(folder: tempfile::TempDir, server: ServerProcess) -> anyhow::Result<Site> {
        let address = server.url.strip_prefix("http://").context("an address over HTTP")?;
        let client = Client::new(&server.url, Some(KEY)).map_err(|error| anyhow!("{error}"))?;
        Ok(Site { address: address.trim().parse()?, folder, server, client })
    }

    /// Sends one request that must go well.
    ///
    /// # Errors
    /// It does not.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<()> {
        let headers: &[(&str, &str)] = if method == "PATCH" { &[("If-Match", "*")] } else { &[] };
        let answer = self.client.request(method, path, headers, Some(&body.to_string()));
        let answer = answer.map_err(|error| anyhow!("{method} {path}: {error}"))?;
        let said = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "{method} {path}: {} {said}", answer.status);
        Ok(())
    }

    /// Defines the event with this number and opens it.
    ///
    /// # Errors
    /// The server refuses it.
    pub fn put_on_sale(&self, event: u64, hold_seconds: u32) -> anyhow::Result<()> {
        let path = format!("/v1/organizers/{ORGANIZER}/events/{}", event_id(event));
        self.send("PUT", &path, &event_json(hold_seconds))?;
        self.send("PATCH", &path, &serde_json::json!({"state": "open"}))
    }

    /// Tickets that are on hold at the first event.
    ///
    /// # Errors
    /// The server does not say.
    pub fn held(&self) -> anyhow::Result<u64> {
        let path = format!("/v1/organizers/{ORGANIZER}/events/{}/availability", event_id(0));
        let answer = self.client.request("GET", &path, &[], None);
        let answer = answer.map_err(|error| anyhow!("{path}: {error}"))?;
        let held = &answer.json()["quotas"][0]["held"];
        held.as_u64().with_context(|| format!("{path}: {}", answer.json()))
    }

    /// Stops it, and gives its folder back.
    ///
    /// # Errors
    /// It did not end cleanly.
    pub fn stop(self) -> anyhow::Result<tempfile::TempDir> {
        self.server.stop()?;
        Ok(self.folder)
    }
}

/// A folder for one run.
///
/// # Errors
/// It can't be made.
pub fn folder() -> anyhow::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("onsale-bench-").tempdir().context("a temporary folder")
}

/// What holds are in a stopped server's journal: how many, and the bytes of their records.
///
/// # Errors
/// It can't be read.
pub fn holds_in(data: &Path) -> anyhow::Result<(u64, u64)> {
    let identity = Folder::identity(data)?.context("a data folder")?;
    let (mut holds, mut bytes) = (0, 0);
    for shard in 0..identity.shards {
        records_in(&Folder::shard_path(data, shard), &mut |record| {
            let event = onsale_codec::decode(record)?;
            if matches!(event.fact, Fact::HoldPlaced(_)) {
                holds += 1;
                bytes += record.len() as u64;
            }
            Ok(())
        })?;
    }
    Ok((holds, bytes))
}

/// How many records there are in the journal of a stopped bare harness, and their bytes.
///
/// # Errors
/// It can't be read.
pub fn bare_records_in(data: &Path) -> anyhow::Result<(u64, u64)> {
    let (mut records, mut bytes) = (0, 0);
    records_in(data, &mut |record| {
        records += 1;
        bytes += record.len() as u64;
        Ok(())
    })?;
    Ok((records, bytes))
}

fn records_in(
    journal: &Path,
    each: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let storage = Arc::new(FileStorage::open_read_only(journal)?);
    let reader = onsale_journal::open_read_only(storage)?.reader;
    let mut result = Ok(());
    reader.read(0, usize::MAX, usize::MAX, &mut |_, record| {
        if result.is_ok() {
            result = each(record);
        }
    })?;
    result
}
