//! A pretix, an engine, and the bridge between them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use onsale::http_client::Client;
use onsale_bridge::state::State;
use onsale_services::{Pretix, pretix};
use serde_json::{Value, json};

use crate::process::{KEY, Process};

/// How long pretix may take to answer: its first answers take a while on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All of it. What runs ends with this.
pub struct Site {
    pub pretix: Pretix,
    pub engine: Process,
    folder: tempfile::TempDir,
    bridge: Option<Held>,
}

/// A process that ends with this: `onsale bridge run`, or one that holds a lock.
pub struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    /// With nothing attached.
    pub fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let engine = Process::serve(&folder.path().join("data"), &[], &[]);
        Site { pretix: pretix(), engine, folder, bridge: None }
    }

    /// Runs `onsale bridge …` to its end: its exit code and what it prints.
    pub fn bridge(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// The same, where it must go well.
    pub fn bridge_well(&self, arguments: &[&str]) -> String {
        let (code, text) = self.bridge(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.arg("bridge").args(arguments).stdin(Stdio::null());
        command.env("ONSALE_BRIDGE_DIALECT", "pretix").env("RUST_LOG", "warn");
        command.env("ONSALE_BRIDGE_DB", self.pretix.database_url());
        command.env("ONSALE_BRIDGE_ENGINE", &self.engine.url).env("ONSALE_BRIDGE_KEY", KEY);
        command.env("ONSALE_BRIDGE_STATE", self.folder.path().join("bridge"));
        command.env("ONSALE_BRIDGE_PLATFORM", self.pretix.url());
        command.env("ONSALE_BRIDGE_PLATFORM_SECRET", Pretix::TOKEN);
        command
    }

    /// The bridge's own file.
    pub fn state(&self) -> State {
        State::open(&self.folder.path().join("bridge")).unwrap()
    }

    /// Starts `bridge run`; the one that ran is killed.
    pub fn run_bridge(&mut self) {
        self.bridge = None;
        let child = self.command(&["run"]).stdout(Stdio::null()).spawn().unwrap();
        self.bridge = Some(Held(child));
    }

    /// Kills `bridge run`.
    pub fn kill_bridge(&mut self) {
        self.bridge = None;
    }

    /// What `bridge status` says.
    pub fn status(&self) -> Value {
        let (_, text) = self.bridge(&["status", "--json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Asks pretix, below its organizer.
    pub fn pretix(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let client = Client::new(self.pretix.url(), None).unwrap().with_timeout(PATIENCE);
        let token = format!("Token {}", Pretix::TOKEN);
        let path = format!("/api/v1/organizers/{}/{path}", Pretix::ORGANIZER);
        let body = body.map(Value::to_string);
        let headers = [("authorization", token.as_str())];
        let answer = client.request(method, &path, &headers, body.as_deref()).unwrap();
        (answer.status, answer.json())
    }

    /// The same, where it must go well.
    pub fn pretix_well(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = (!body.is_null()).then_some(body);
        let (status, json) = self.pretix(method, path, body);
        assert!((200..300).contains(&status), "{method} {path} {body:?}: {status} {json}");
        json
    }

    /// Asks the engine, below its organizer.
    pub fn engine(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let client = Client::new(&self.engine.url, Some(KEY)).unwrap();
        let path = format!("/v1/organizers/{}/{path}", Pretix::ORGANIZER);
        let body = body.map(Value::to_string);
        // What takes money must have a key; each payment has a path of its own here.
        let key = [("idempotency-key", path.as_str())];
        let headers = if path.ends_with("/payments") { &key[..] } else { &[] };
        let answer = client.request(method, &path, headers, body.as_deref()).unwrap();
        (answer.status, answer.json())
    }

    /// An event as the engine serves it; null where it does not know it.
    pub fn event(&self, id: &str) -> Value {
        match self.engine("GET", &format!("events/{id}"), None) {
            (200, event) => event,
            _ => json!(null),
        }
    }

    /// Asks for streams of the engine.
    fn streams(&self, path: &str) -> Value {
        let client = Client::new(&self.engine.url, Some(KEY)).unwrap();
        client.request("GET", &format!("/v1/streams/sales/{path}"), &[], None).unwrap().json()
    }

    /// The position of the last record of each shard.
    pub fn ends(&self) -> Vec<(String, u64)> {
        let shards = self.streams("shards");
        let shards = shards["shards"].as_array().unwrap().iter();
        shards.map(|of| (of["shard"].to_string(), of["next"].as_u64().unwrap())).collect()
    }

    /// How many records of a type the engine has.
    pub fn records(&self, kind: &str) -> usize {
        let mut count = 0;
        for (shard, end) in self.ends() {
            let mut after = 0;
            while after < end {
                let page = self.streams(&format!("records?shard={shard}&after={after}&limit=1000"));
                let records = page["records"].as_array().unwrap();
                count += records.iter().filter(|record| record["type"] == kind).count();
                after = page["next"].as_u64().unwrap();
            }
        }
        count
    }

    /// What a statement in pretix' database gives, a line for each row.
    pub fn psql(&self, sql: &str) -> String {
        run(Command::new("psql").args([&self.pretix.database_url(), "-qAtc", sql]))
    }

    /// The number that it gives.
    pub fn count(&self, sql: &str) -> u64 {
        let text = self.psql(sql);
        text.trim().parse().unwrap_or_else(|error| panic!("{sql}: {text}: {error}"))
    }

    /// Holds the lock that a sale of an event holds in pretix, until it is dropped.
    pub fn half_a_sale(&self, event: &str) -> Held {
        let mut command = Command::new("psql");
        command.args([&self.pretix.database_url(), "-qAt"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut held = Held(child);
        let sql = format!(
            "BEGIN;\nSELECT pg_advisory_xact_lock_shared((id << 16) | 1) FROM pretixbase_event WHERE slug = '{event}';\n\\echo held\n"
        );
        held.0.stdin.as_mut().unwrap().write_all(sql.as_bytes()).unwrap();
        let lines = BufReader::new(held.0.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "held"));
        held
    }

    /// Schema, publications and slots of pretix' database, line by line.
    pub fn schema(&self) -> Vec<String> {
        let url = self.pretix.database_url();
        let dump = run(Command::new("pg_dump").args(["--schema-only", "--dbname", &url]));
        let slots = self.psql("SELECT 'slot ' || slot_name FROM pg_replication_slots");
        // A dump of a newer program has a random word in these.
        let lines = dump.lines().chain(slots.lines()).filter(|line| !line.contains("restrict"));
        lines.map(str::to_owned).collect()
    }
}

fn run(command: &mut Command) -> String {
    let output = command.current_dir(Path::new("/")).output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
