//! `onsale stream` over HTTP: what a server's API shows of its streams, to an operator elsewhere.
//!
//! The key's scopes and its organizer say what is shown. Places that are only files, such as the cursors of relays, are
//! not to be seen from here.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, bail};
use clap::Args;
use onsale_bus::{Position, ShardId, StreamName};
use serde_json::{Value, json};

use super::cursors::OneCursor;
use super::write_line;
use crate::bus::{CATALOGUE, CONTROL};
use crate::catalogue::time_from_text;
use crate::cursors::WEBHOOK_PREFIX;
use crate::http_client::Client;

/// Records that are asked for at a time: both streams' routes give as many.
const PAGE_MAX: u64 = 100;
/// How long a server may wait for what comes, in milliseconds: less than the client waits.
const WAIT_MS: u64 = 5_000;
/// Parked records that are listed at most.
const PARKED_MAX: usize = 1_000;

/// The key to a server.
#[derive(Clone, Debug, Args)]
pub struct KeyArg {
    /// A file with the key to a server at an http:// or https:// place; left out: ONSALE_KEY has it.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

impl KeyArg {
    fn read(&self) -> anyhow::Result<(String, String)> {
        let (key, from) = match &self.key_file {
            Some(file) => {
                let text = std::fs::read_to_string(file);
                let from = file.display().to_string();
                (text.with_context(|| format!("the key file {from}"))?, format!("in {from}"))
            }
            None => {
                let key = std::env::var("ONSALE_KEY").ok().filter(|key| !key.is_empty());
                let key = key.context("a server wants a key: --key-file FILE, or ONSALE_KEY")?;
                (key, "in ONSALE_KEY".to_owned())
            }
        };
        Ok((key.trim().to_owned(), from))
    }
}

/// A server and the key to it.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    url: String,
    /// Where the key is from, for messages.
    key_from: String,
}

impl Remote {
    /// The server at this URL.
    ///
    /// # Errors
    /// There is no key, or it or the URL can't be used.
    pub fn new(url: &str, key: &KeyArg) -> anyhow::Result<Remote> {
        let (key, key_from) = key.read()?;
        Ok(Remote { client: Client::new(url, Some(&key))?, url: url.to_owned(), key_from })
    }

    fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.client.request("GET", path, &[], None)?;
        let Remote { url, key_from, .. } = self;
        match answer.status {
            200 => Ok(answer.json()),
            401 => bail!("{url} does not know the key {key_from}: {}", answer.problem()),
            403 => bail!("the key {key_from} may not do this at {url}: {}", answer.problem()),
            _ => bail!("{url}{path}: {}", answer.problem()),
        }
    }

    /// The streams as `(name, shards, generation)`, as far as the key may see them.
    ///
    /// # Errors
    /// The server does not answer, or knows no such key.
    pub fn list(&self) -> anyhow::Result<Vec<(String, usize, String)>> {
        let mut found = Vec::new();
        for stream in [CATALOGUE, CONTROL] {
            let path = format!("/v1/streams/{stream}/records?limit=1");
            // The key may see the sales alone; and the stream is made by the first who writes to it.
            if self.client.request("GET", &path, &[], None)?.status == 403 {
                continue;
            }
            if let Some(generation) = self.get(&path)?["generation"].as_str() {
                found.push((stream.to_owned(), 1, generation.to_owned()));
            }
        }
        let sales = self.get("/v1/streams/sales/shards")?;
        let shards = sales["shards"].as_array().map_or(0, Vec::len);
        found.push(("sales".to_owned(), shards, generation(&sales)));
        Ok(found)
    }

    /// A stream's shards, as `onsale stream shards --json` has them.
    ///
    /// # Errors
    /// The server does not answer, or has no such stream.
    pub fn shards(&self, stream: &StreamName) -> anyhow::Result<Value> {
        if stream.as_str() != "sales" {
            let first = self.get(&format!("/v1/streams/{stream}/records?limit=1"))?;
            let generation = first["generation"].clone();
            let first = first["records"][0]["position"].as_u64().map(|first| first.to_string());
            let shard =
                json!({"shard": "0", "parents": [], "first": first, "last": null, "ended": false});
            return Ok(
                json!({"stream": stream.as_str(), "generation": generation, "shards": [shard]}),
            );
        }
        let told = self.get("/v1/streams/sales/shards")?;
        let shard = |shard: &Value| {
            let number = |name: &str| shard[name].as_u64().map(|number| number.to_string());
            let (shard, first, last) = (number("shard"), number("first"), number("next"));
            json!({"shard": shard, "parents": [], "first": first, "last": last, "ended": false})
        };
        let shards: Vec<Value> =
            told["shards"].as_array().into_iter().flatten().map(shard).collect();
        Ok(json!({"stream": "sales", "generation": generation(&told), "shards": shards}))
    }

    /// Records of a shard after a position, at most so many, and the position to go on from.
    fn page(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        after: Option<u64>,
        limit: u64,
        wait_ms: u64,
    ) -> anyhow::Result<(Vec<Value>, u64)> {
        let mut path = format!("/v1/streams/{stream}/records?limit={}", limit.min(PAGE_MAX));
        match stream.as_str() {
            "sales" => path += &format!("&shard={shard}"),
            _ => anyhow::ensure!(shard.as_str() == "0", "the stream {stream} has one shard, 0"),
        }
        if let Some(after) = after {
            path += &format!("&after={after}");
        }
        if wait_ms > 0 {
            path += &format!("&wait_ms={wait_ms}");
        }
        let mut answer = self.get(&path)?;
        let next = answer["next"].as_u64().context("the server does not say where to go on")?;
        let records = answer["records"].as_array_mut().map(std::mem::take);
        Ok((records.unwrap_or_default(), next))
    }

    /// Prints records of a shard.
    ///
    /// # Errors
    /// The server does not answer, or the position is gone.
    pub fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        after: Option<Position>,
        limit: u64,
        json: bool,
    ) -> anyhow::Result<()> {
        let number = |after: Position| after.as_u64().context("the position is too large");
        let mut after = after.map(number).transpose()?;
        let mut left = limit;
        while left > 0 {
            let (records, next) = self.page(stream, shard, after, left, 0)?;
            for record in &records {
                write_line(&line(record, shard, json))?;
            }
            left -= records.len() as u64;
            // Others' records are not shown: no record does not mean the end.
            if after == Some(next) || (records.is_empty() && after.is_none()) {
                return Ok(());
            }
            after = Some(next);
        }
        Ok(())
    }

    /// Prints what comes from now on; gives why it ended.
    ///
    /// # Errors
    /// The shards can't be told.
    pub fn tail(&self, stream: &StreamName, json: bool) -> anyhow::Result<Receiver<anyhow::Error>> {
        let (failed, failures) = channel();
        let told = self.shards(stream)?;
        for shard in told["shards"].as_array().into_iter().flatten() {
            let id = ShardId::new(shard["shard"].as_str().unwrap_or_default())?;
            let last = shard["last"].as_str().and_then(|last| last.parse().ok());
            let (remote, stream, failed) = (self.clone(), stream.clone(), failed.clone());
            std::thread::spawn(move || remote.follow(&stream, &id, last, json, &failed));
        }
        Ok(failures)
    }

    fn follow(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: Option<u64>,
        json: bool,
        failed: &Sender<anyhow::Error>,
    ) {
        let go_on = || -> anyhow::Result<()> {
            let mut after = match from {
                Some(last) => last,
                None => self.end(stream, shard)?,
            };
            loop {
                let (records, next) = self.page(stream, shard, Some(after), PAGE_MAX, WAIT_MS)?;
                for record in &records {
                    write_line(&line(record, shard, json))?;
                }
                after = next;
            }
        };
        if let Err(error) = go_on() {
            // Whoever waited for it may have ended.
            let _ = failed.send(error);
        }
    }

    /// The last position of a stream that does not tell it: where reading comes to its end.
    fn end(&self, stream: &StreamName, shard: &ShardId) -> anyhow::Result<u64> {
        let mut after = None;
        loop {
            let (_, next) = self.page(stream, shard, after, PAGE_MAX, 0)?;
            if after == Some(next) || next == 0 {
                return Ok(next);
            }
            after = Some(next);
        }
    }

    /// The cursors of the key's organizer, or of the keys that are bound to none.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn cursors(&self) -> anyhow::Result<Vec<Value>> {
        let told = self.get("/v1/streams/sales/cursors")?;
        let row = |cursor: &Value| {
            let shard = |shard: &Value| {
                let place = shard["cursor"].as_str().and_then(|text| text.rsplit('.').next());
                let number = shard["shard"].as_u64().map(|number| number.to_string());
                json!({"shard": number, "position": place, "lag": shard["lag"]})
            };
            let shards: Vec<Value> =
                cursor["shards"].as_array().into_iter().flatten().map(shard).collect();
            let lag: u64 = shards.iter().filter_map(|shard| shard["lag"].as_u64()).sum();
            let name = &cursor["name"];
            json!({"store": "", "name": name, "stream": "sales", "lag": lag, "shards": shards})
        };
        Ok(told["cursors"].as_array().into_iter().flatten().map(row).collect())
    }

    /// What is parked of the engine's cursor of `catalogue`, or of a webhook.
    ///
    /// # Errors
    /// The server does not answer, or keeps no parked records for this cursor that it would show.
    pub fn parked(&self, cursor: &OneCursor) -> anyhow::Result<Vec<Value>> {
        let (name, store) = (cursor.name.as_str(), cursor.store.as_str());
        let path = match (name, cursor.stream.as_str(), name.strip_prefix(WEBHOOK_PREFIX)) {
            ("engine", "catalogue", _) => "/v1/streams/catalogue/parked".to_owned(),
            (_, "sales", Some(webhook)) if !store.starts_with('_') => {
                format!("/v1/organizers/{store}/webhooks/{webhook}/failures")
            }
            _ => bail!(
                "over http a server shows what is parked of `engine --stream catalogue`, and of \
                 `webhook.NAME --store ORGANIZER`; the rest is seen on its machine"
            ),
        };
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let mut page = self.get(&format!("{path}?limit={PAGE_MAX}{after}"))?;
            found.extend(page["parked"].as_array_mut().map(std::mem::take).unwrap_or_default());
            match page["next"].as_str() {
                Some(next) if found.len() < PARKED_MAX => after = format!("&after={next}"),
                _ => return Ok(found),
            }
        }
    }
}

/// Number of the history that all shards are in, as [`crate::cursors::generation`] makes it: of the log's id and theirs.
fn generation(told: &Value) -> String {
    let shards = told["shards"].as_array().into_iter().flatten();
    let sum: u64 = shards.filter_map(|shard| shard["generation"].as_u64()).sum();
    let log = told["log"].as_str().and_then(|log| log.get(..8));
    let log = log.and_then(|begin| u64::from_str_radix(begin, 16).ok()).unwrap_or(0);
    (log << 32 | sum).to_string()
}

/// A record as a line: as it is, or with what the other places say of one beside it.
fn line(record: &Value, shard: &ShardId, json: bool) -> String {
    if !json {
        return record.to_string();
    }
    let at = record["time"].as_str().and_then(time_from_text);
    json!({
        "shard": shard.as_str(),
        "position": record["position"].as_u64().map(|position| position.to_string()),
        "key": record["subject"],
        "written_at_us": at.map(|at| at.0),
        "payload": record,
    })
    .to_string()
}
