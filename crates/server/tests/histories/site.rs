//! The real server as a process of its own, killed while clients ask and started again.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onsale::http_client::Client;

pub const KEY: &str = "a-key-that-may-do-everything";
/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ports that are tried.
const PORTS_MAX: usize = 20;

/// A server that comes back.
pub struct Site {
    folder: tempfile::TempDir,
    begin: Instant,
    running: Mutex<Running>,
    /// Told when it runs again, and at every answer.
    changed: Condvar,
}

struct Running {
    child: Child,
    url: String,
    /// How often it was started.
    starts: u32,
    answers: u64,
}

impl Site {
    pub fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (child, url) = start(folder.path());
        let running = Mutex::new(Running { child, url, starts: 1, answers: 0 });
        Site { folder, begin: Instant::now(), running, changed: Condvar::new() }
    }

    /// Nanoseconds since the start, of a clock that never runs backwards.
    pub fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Where it is, and how often it was started by now.
    pub fn url(&self) -> (String, u32) {
        let running = self.running.lock().unwrap();
        (running.url.clone(), running.starts)
    }

    /// Somebody got an answer.
    pub fn answered(&self) {
        self.running.lock().unwrap().answers += 1;
        self.changed.notify_all();
    }

    /// Waits until it was started again after a start, or for the blink of an eye where it
    /// is only slow.
    pub fn wait_for_another(&self, start: u32) {
        let running = self.running.lock().unwrap();
        let same = |running: &mut Running| running.starts == start;
        drop(self.changed.wait_timeout_while(running, Duration::from_millis(200), same).unwrap());
    }

    /// Kills it once so many answers were given, and starts it again.
    pub fn kill_after(&self, answers: u64) {
        let running = self.running.lock().unwrap();
        let fewer = |running: &mut Running| running.answers < answers;
        let (mut running, timeout) =
            self.changed.wait_timeout_while(running, PATIENCE, fewer).unwrap();
        assert!(!timeout.timed_out(), "only {} of {answers} answers came", running.answers);
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        (running.child, running.url) = start(self.folder.path());
        running.starts += 1;
        self.changed.notify_all();
    }

    pub fn send(&self, method: &str, path: &str, condition: (&str, &str), body: &str) -> u16 {
        let client = Client::new(&self.url().0, Some(KEY)).unwrap();
        client.request(method, path, &[condition], Some(body)).unwrap().status
    }

    /// Kills it for good and lets its journal prove itself.
    pub fn audit(self) {
        let mut running = self.running.lock().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        let audit = onsale::audit::audit(self.folder.path()).unwrap();
        assert!(audit.report.ok, "{}", audit.to_text());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A client that panicked leaves no server behind either.
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended before.
        let _ = running.child.kill();
        let _ = running.child.wait();
    }
}

/// Starts on a free port below those that the system gives to clients.
fn start(data: &Path) -> (Child, String) {
    let first = 25_000 + (std::process::id() % 3_000) as u16;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = (first..29_900).step_by(7).filter(free).take(PORTS_MAX);
    // One that was free may be another test's by now.
    ports.find_map(|port| start_on(data, port)).expect("the server did not start")
}

fn start_on(data: &Path, port: u16) -> Option<(Child, String)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--segment-mib", "1"])
        .arg("--data")
        .arg(data)
        .env("ONSALE_KEY", KEY)
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listening =
        lines.map_while(Result::ok).try_for_each(|line| match line.strip_prefix("listening on ") {
            Some(url) => ControlFlow::Break(url.to_owned()),
            None => ControlFlow::Continue(()),
        });
    match listening {
        ControlFlow::Break(url) => Some((child, url)),
        ControlFlow::Continue(()) => {
            child.wait().unwrap();
            None
        }
    }
}
