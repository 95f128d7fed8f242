//! A server in a process of its own, with an event that never sells out.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};

use onsale::http_client::Client;

pub const KEY: &str = "a-key-that-may-do-everything";
pub const EVENT: &str = "/v1/organizers/o/events/e";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","hold_seconds":3600,
    "quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]}]}"#;

/// A server that ends with this.
pub struct Server {
    pub address: SocketAddr,
    pub url: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts on a free port below those that the system gives to clients, with these
    /// variables in its environment.
    pub fn start(environment: &[(&str, &str)]) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let first = 25_000 + (std::process::id() % 3_000) as u16;
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..31_900).step_by(7).find(free).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--cores", "1"])
            .args(["--segment-mib", "8", "--data"])
            .arg(folder.path())
            .env("ONSALE_KEY", KEY)
            .env("RUST_LOG", "warn")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.map_while(Result::ok).try_for_each(|line| {
            match line.strip_prefix("listening on ") {
                Some(url) => ControlFlow::Break(url.to_owned()),
                None => ControlFlow::Continue(()),
            }
        });
        let ControlFlow::Break(url) = listening else {
            panic!("the server did not start: {:?}", child.wait());
        };
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let server = Server { address, url, child, _folder: folder };
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

    /// What it holds of the machine's memory.
    pub fn memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
