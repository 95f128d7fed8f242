//! A server as a process of its own, and the binary as it is used.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use onsale::http_client::{Client, Response};
use onsale_rush::{Arrivals, Config};

pub use crate::process::KEY;
use crate::process::Process;

pub const EVENT: &str = "/v1/organizers/o/events/e";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","hold_seconds":60,
    "quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]},
                    {"id":"paid","name":"Paid","price":1250,"quotas":["q"]}]}"#;

pub struct Server {
    process: Process,
    pub url: String,
}

impl Server {
    pub fn start(data: &Path) -> Server {
        let process = Process::serve(data, &["--segment-mib", "1", "--shards", "2"], &[]);
        Server { url: process.url.clone(), process }
    }

    pub fn send(&self, method: &str, path: &str, header: (&str, &str), body: &str) -> Response {
        let client = Client::new(&self.url, Some(KEY)).unwrap();
        let body = (method != "GET").then_some(body);
        client.request(method, path, &[header], body).unwrap()
    }

    /// Defines the event and opens it.
    pub fn open_event(&self) {
        assert_eq!(self.send("PUT", EVENT, ("if-none-match", "*"), DEFINITION).status, 201);
        let open = r#"{"state":"open"}"#;
        assert_eq!(self.send("PATCH", EVENT, ("if-match", "*"), open).status, 200);
    }

    pub fn stop(mut self) {
        let pid = self.process.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(self.process.child.wait().unwrap().code(), Some(0));
    }
}

/// Buyers for the event of a server, some of whom abandon their holds.
pub fn buyers(url: &str, buyers: u64, per_second: f64) -> Config {
    Config {
        buyers,
        arrivals: Arrivals::Constant { per_second },
        connections: Some(16),
        think_ms: 0..=20,
        abandon: 0.1,
        direct: 0.2,
        give_up: Duration::from_millis(300),
        seed: 7,
        verify: false,
        ..Config::new(url, KEY, "o", "e")
    }
}

/// Runs the binary.
pub fn onsale<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    onsale_in(&[], arguments)
}

/// Runs the binary with some variables in its environment.
pub fn onsale_in<S: AsRef<std::ffi::OsStr>>(variables: &[(&str, &str)], arguments: &[S]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONSALE_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A path from the repository's root.
pub fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_folder(&path, &target),
            false if path.is_file() => drop(std::fs::copy(path, target).unwrap()),
            // A socket of a server that ended.
            false => {}
        }
    }
}

/// Waits for a condition, with a limit.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::yield_now();
    }
}
