//! The real server as a process of its own, killed while clients ask and started again.

use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use onsale::http_client::Client;
use onsale_services::{Server, wait_until};

pub use crate::process::KEY;
use crate::process::Process;

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that comes back.
pub struct Site {
    folder: tempfile::TempDir,
    /// Where its journal is, if not in the folder.
    database: Option<Server>,
    begin: Instant,
    running: Mutex<Running>,
    /// Told when it runs again, and at every answer.
    changed: Condvar,
}

struct Running {
    process: Process,
    /// How often it was started.
    starts: u32,
    answers: u64,
}

impl Site {
    pub fn start(database: Option<Server>) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let process = start(folder.path(), database.as_ref());
        let running = Mutex::new(Running { process, starts: 1, answers: 0 });
        Site { folder, database, begin: Instant::now(), running, changed: Condvar::new() }
    }

    /// Nanoseconds since the start, of a clock that never runs backwards.
    pub fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Where it is, and how often it was started by now.
    pub fn url(&self) -> (String, u32) {
        let running = self.running.lock().unwrap();
        (running.process.url.clone(), running.starts)
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
        running.process.kill();
        running.process = start(self.folder.path(), self.database.as_ref());
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
        running.process.kill();
        let audit = match &self.database {
            None => onsale::audit::audit(self.folder.path()).unwrap(),
            Some(database) => onsale::audit::audit_rows(database.url()).unwrap(),
        };
        assert!(audit.report.ok, "{}", audit.to_text());
    }
}

fn start(data: &Path, database: Option<&Server>) -> Process {
    let quiet = ("RUST_LOG", "error");
    let Some(database) = database else {
        return Process::serve(data, &["--segment-mib", "1"], &[quiet]);
    };
    // What was killed is taken for alive a little longer.
    let journal = ["--segment-mib", "1", "--standby", "--journal", database.url()];
    let settings = [quiet, ("ONSALE_DURABILITY", "os"), ("ONSALE_JOURNAL_LEASE_MS", "200")];
    let process = Process::serve(data, &journal, &settings);
    let client = Client::new(&process.url, Some(KEY)).unwrap();
    let ready = || client.request("GET", "/readyz", &[], None);
    wait_until("it is active", || ready().is_ok_and(|answer| answer.status == 200));
    process
}
