//! A server in a process of its own, with an event that never sells out.

use std::net::SocketAddr;

use onsale::http_client::Client;

pub use crate::support::KEY;
use crate::support::Process;

pub const EVENT: &str = "/v1/organizers/o/events/e";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","hold_seconds":3600,
    "quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]}]}"#;

/// A server that ends with this.
pub struct Server {
    pub address: SocketAddr,
    pub url: String,
    process: Process,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts with these variables in its environment.
    pub fn start(environment: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["--cores", "1", "--segment-mib", "8"];
        let process = Process::serve(folder.path(), &arguments, environment);
        let url = process.url.clone();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let server = Server { address, url, process, _folder: folder };
        assert_eq!(server.send("PUT", EVENT, Some(DEFINITION)).0, 201);
        assert_eq!(server.send("PATCH", EVENT, Some(r#"{"state":"open"}"#)).0, 200);
        server
    }

    /// Sends one request on a connection of its own; gives back status and body.
    pub fn send(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        self.try_send(method, path, body).unwrap()
    }

    /// The same where the server may have no room for a connection.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> Result<(u16, String), String> {
        let client = Client::new(&self.url, Some(KEY)).unwrap();
        let condition = match method {
            "PUT" => vec![("if-none-match", "*")],
            "PATCH" => vec![("if-match", "*")],
            _ => vec![],
        };
        let answer = client.request(method, path, &condition, body).map_err(|e| e.to_string())?;
        Ok((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    /// A figure of the server.
    pub fn figure(&self, name: &str) -> f64 {
        let (status, text) = self.send("GET", "/metrics", None);
        assert_eq!(status, 200, "{text}");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// The processor time that it has taken, in seconds.
    pub fn processor_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.process.child.id())).unwrap();
        // The name may have spaces: the fields after it are counted.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<u64>().unwrap();
        (ticks(11) + ticks(12)) as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// What it holds of the machine's memory.
    pub fn memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }
}
