//! Real servers as processes of their own, killed while clients ask and started again; where they sell from a Redis, that, too.

use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use onsale::http_client::Client;
use onsale_services::{Server, wait_until};

pub use crate::process::KEY;
use crate::process::Process;

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Servers over one Redis.
const SERVERS_ON_REDIS: usize = 3;

/// Where a sale is kept.
pub enum Store {
    /// In the data folder.
    Folder,
    /// In rows of a PostgreSQL.
    Rows(Server),
    /// In a Redis, from which several servers sell.
    Redis(Server),
}

impl Store {
    fn servers(&self) -> usize {
        match self {
            Store::Folder | Store::Rows(_) => 1,
            Store::Redis(_) => SERVERS_ON_REDIS,
        }
    }
}

/// Servers that come back.
pub struct Site {
    /// A folder for each.
    folders: Vec<tempfile::TempDir>,
    store: Mutex<Store>,
    begin: Instant,
    running: Mutex<Running>,
    /// Told when one runs again, and at every answer.
    changed: Condvar,
}

struct Running {
    /// None where one is down.
    servers: Vec<Option<Process>>,
    /// How often any of them, or what keeps the sale, was started.
    starts: u32,
    answers: u64,
}

impl Site {
    pub fn start(store: Store) -> Site {
        let folders: Vec<_> = (0..store.servers()).map(|_| tempfile::tempdir().unwrap()).collect();
        let servers = folders.iter().map(|folder| Some(start(folder.path(), &store))).collect();
        let running = Mutex::new(Running { servers, starts: 1, answers: 0 });
        let (store, begin, changed) = (Mutex::new(store), Instant::now(), Condvar::new());
        Site { folders, store, begin, running, changed }
    }

    /// Nanoseconds since the start, of a clock that never runs backwards.
    pub fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    /// Where one of the servers is that run, and how often any was started by now.
    pub fn url(&self, which: u64) -> (String, u32) {
        let running = self.running.lock().unwrap();
        let all_down = |running: &mut Running| running.servers.iter().all(Option::is_none);
        let (running, timeout) =
            self.changed.wait_timeout_while(running, PATIENCE, all_down).unwrap();
        assert!(!timeout.timed_out(), "no server runs");
        let up: Vec<&Process> = running.servers.iter().flatten().collect();
        (up[which as usize % up.len()].url.clone(), running.starts)
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

    /// Kills a server, or the Redis, once so many answers were given, and starts it again.
    pub fn kill_after(&self, answers: u64, which: u64) {
        let running = self.running.lock().unwrap();
        let fewer = |running: &mut Running| running.answers < answers;
        let (mut running, timeout) =
            self.changed.wait_timeout_while(running, PATIENCE, fewer).unwrap();
        assert!(!timeout.timed_out(), "only {} of {answers} answers came", running.answers);
        let mut store = self.store.lock().unwrap();
        let servers = self.folders.len();
        let mut which = which as usize;
        if let Store::Redis(redis) = &mut *store {
            which %= servers * 2;
            if which >= servers {
                drop(running);
                redis.kill();
                redis.restart();
                return self.started(|_| {});
            }
        }
        let which = which % servers;
        drop(running.servers[which].take());
        drop(running);
        let process = start(self.folders[which].path(), &store);
        self.started(|running| running.servers[which] = Some(process));
    }

    fn started(&self, change: impl FnOnce(&mut Running)) {
        let mut running = self.running.lock().unwrap();
        change(&mut running);
        running.starts += 1;
        self.changed.notify_all();
    }

    /// Makes an event, opens it, and lets every server hear of it.
    pub fn open_event(&self, path: &str, definition: &str) {
        let client = |which| Client::new(&self.url(which).0, Some(KEY)).unwrap();
        let change = |method, condition, body| {
            client(0).request(method, path, &[condition], Some(body)).unwrap().status
        };
        assert_eq!(change("PUT", ("if-none-match", "*"), definition), 201);
        assert_eq!(change("PATCH", ("if-match", "*"), r#"{"state":"open"}"#), 200);
        for which in 0..self.folders.len() as u64 {
            assert_eq!(client(which).request("GET", path, &[], None).unwrap().status, 200);
        }
    }

    /// Kills them for good and lets what was kept prove itself.
    pub fn audit(self) {
        let Site { folders, store, running, .. } = self;
        drop(running);
        let audit = match &*store.lock().unwrap() {
            Store::Folder => onsale::audit::audit(folders[0].path()),
            Store::Rows(database) => onsale::audit::audit_rows(database.url()),
            Store::Redis(redis) => onsale::audit::audit_store(&onsale_redis::Options {
                url: redis.url().to_owned(),
                prefix: "onsale".to_owned(),
                timeout: PATIENCE,
                replicas: 0,
            }),
        };
        let audit = audit.unwrap();
        assert!(audit.report.ok, "{}", audit.to_text());
    }
}

fn start(data: &Path, store: &Store) -> Process {
    let quiet = ("RUST_LOG", "error");
    let database = match store {
        Store::Folder => return Process::serve(data, &["--segment-mib", "1"], &[quiet]),
        Store::Redis(redis) => {
            let store = ["--shards", "2", "--store", redis.url()];
            return Process::serve(data, &store, &[("RUST_LOG", "off")]);
        }
        Store::Rows(database) => database,
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
