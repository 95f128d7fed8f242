//! The binary `onsale` that serves a folder in a process of its own: for tests that kill it, stop it or
//! look at what it costs. Each takes this file in by its path.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A key that may do everything.
pub const KEY: &str = "a-key-that-may-do-everything";
/// Ports that are tried, all below those that the system gives to clients.
const PORTS: std::ops::Range<u32> = 13_000..29_900;
/// How many of them, before it must be something else that is wrong.
const PORTS_MAX: usize = 20;

/// A server. It ends with this.
pub struct Process {
    pub child: Child,
    /// What it says is taken as long as it runs.
    _said: BufReader<ChildStdout>,
    /// What its paths begin with.
    pub url: String,
}

impl Process {
    /// Starts on a free port, and waits until it listens.
    pub fn serve(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        // Tests run at the same time, in one process and in several.
        static STARTS: AtomicU32 = AtomicU32::new(0);
        let mine = std::process::id() * 331 + STARTS.fetch_add(1, Ordering::Relaxed) * 131;
        let port = |n: u32| PORTS.start + (mine % 1_000_000 + n * 7) % (PORTS.end - PORTS.start);
        let ports = (0..1_000).map(|n| port(n) as u16);
        let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        // One that was free may be another test's by now.
        let mut started = free.by_ref().take(PORTS_MAX);
        let started = started.find_map(|port| Process::listen(data, port, arguments, environment));
        started.expect("the server did not start")
    }

    fn listen(
        data: &Path,
        port: u16,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Option<Process> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(data)
            .args(arguments)
            .env("ONSALE_KEY", KEY)
            .env("RUST_LOG", "warn")
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let lines = said.by_ref().lines();
        let listening = lines.map_while(Result::ok).try_for_each(|line| {
            let listens = line.strip_prefix("listening on ");
            match listens.or_else(|| line.strip_prefix("standby on ")) {
                Some(url) => ControlFlow::Break(url.to_owned()),
                None => ControlFlow::Continue(()),
            }
        });
        if let ControlFlow::Break(url) = listening {
            return Some(Process { child, _said: said, url });
        }
        child.wait().unwrap();
        None
    }

    /// Ends it by SIGKILL, if it has not ended by itself.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
