//! The processes: a box office, the engine and the bridge, each the real program, and PostgreSQL where the box office
//! keeps its things there. Each can be killed by SIGKILL at any time, and starts again at its own address.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use onsale::http_client::{Client, Response};
use onsale_bridge::database::{Database, Kind, Row};
use onsale_services::{Authority, Server};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::front::front;

/// The engine's key, which may do everything.
const KEY: &str = "a-key-that-may-do-everything";
/// How long anything may take, restarts of everything around it included.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// Ports that are tried, all below those that the system gives to clients.
const PORTS: std::ops::Range<u32> = 13_000..19_900;
/// Worlds of this process: each looks for ports elsewhere, since one is only taken once somebody listens.
static WORLDS: AtomicU32 = AtomicU32::new(0);
/// How often a start is tried: another test may have looked at the port just then.
const STARTS_MAX: u32 = 20;
/// How much of a log is shown where something went wrong, in bytes.
const LOG_SHOWN: usize = 3_000;

/// A process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Who {
    Office,
    Engine,
    Bridge,
    /// The box office's PostgreSQL.
    Database,
}

/// All of it, and what is needed to wait for it. Everything ends with this.
pub struct World {
    pub kind: Kind,
    /// Of the box office's database, as all but the bridge see it.
    pub db: String,
    /// The same as the bridge sees it.
    pub bridge_db: String,
    /// The engine as the bridge sees it, if not at its own address.
    pub bridge_engine: Option<String>,
    /// A file of what the bridge trusts.
    pub trusted: Option<PathBuf>,
    folder: TempDir,
    postgres: Mutex<Option<Server>>,
    ports: BTreeMap<Who, u16>,
    running: Mutex<BTreeMap<Who, Child>>,
    progress: Mutex<Progress>,
    changed: Condvar,
    runtime: Runtime,
}

/// How far the load is.
#[derive(Default)]
struct Progress {
    answers: u64,
    is_over: bool,
}

impl World {
    /// A database and addresses; nothing runs yet.
    pub fn new(kind: Kind) -> World {
        let folder = tempfile::tempdir().unwrap();
        let postgres = (kind == Kind::Postgres).then(onsale_services::postgres);
        World::over(kind, postgres, folder)
    }

    /// The same with a PostgreSQL that speaks TLS and an engine behind a proxy that does; only the bridge wants that.
    pub fn with_tls(authority: &Authority, options: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let postgres = onsale_services::postgres_with_tls(&authority.certificate("localhost"));
        let plain = postgres.url().replace("127.0.0.1", "localhost");
        let trusted = Some(authority.write(folder.path()));
        let mut world = World::over(Kind::Postgres, Some(postgres), folder);
        (world.db, world.bridge_db) = (format!("{plain}?sslmode=disable"), plain + options);
        world.bridge_engine = Some(front(authority, world.ports[&Who::Engine]));
        world.trusted = trusted;
        world
    }

    fn over(kind: Kind, postgres: Option<Server>, folder: TempDir) -> World {
        let db = match &postgres {
            Some(server) => server.url().to_owned(),
            None => format!("sqlite:{}", folder.path().join("office.db").display()),
        };
        let world = WORLDS.fetch_add(1, Ordering::Relaxed);
        let first = std::process::id().wrapping_mul(331);
        let mut free = (world * 50..world * 50 + 1_000)
            .map(|n| PORTS.start + (first % 1_000_000 + n * 7) % (PORTS.end - PORTS.start))
            .map(|port| u16::try_from(port).unwrap())
            .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let ports = [Who::Office, Who::Engine].map(|who| (who, free.next().unwrap())).into();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.unwrap();
        World {
            kind,
            bridge_db: db.clone(),
            db,
            bridge_engine: None,
            trusted: None,
            folder,
            postgres: Mutex::new(postgres),
            ports,
            running: Mutex::default(),
            progress: Mutex::default(),
            changed: Condvar::new(),
            runtime,
        }
    }

    /// A file or folder of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn address(&self, who: Who) -> String {
        format!("127.0.0.1:{}", self.ports[&who])
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.env("ONSALE_KEY", KEY).env("CLASSIC_DB", &self.db).env("RUST_LOG", "warn");
        command.env("ONSALE_BRIDGE_DIALECT", "classic").env("ONSALE_BRIDGE_DB", &self.bridge_db);
        command.envs(self.trusted.as_ref().map(|file| ("SSL_CERT_FILE", file)));
        let engine = format!("http://{}", self.address(Who::Engine));
        command.env("ONSALE_BRIDGE_ENGINE", self.bridge_engine.as_ref().unwrap_or(&engine));
        command.env("ONSALE_BRIDGE_KEY", KEY).env("ONSALE_BRIDGE_STATE", self.path("bridge"));
        command
    }

    /// Runs a command to its end; it must not fail.
    pub fn run(&self, arguments: &[&str], input: &str) -> String {
        let output = self.try_run(arguments, input);
        let told = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{arguments:?}: {said}\n{told}");
        said.trim().to_owned()
    }

    /// Runs a command to its end, whatever it comes to.
    pub fn try_run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.program();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts it, and waits until it listens where it does.
    pub fn start(&self, who: Who) {
        if who == Who::Database {
            self.postgres.lock().unwrap().as_mut().unwrap().restart();
            return;
        }
        let child = (0..STARTS_MAX).find_map(|_| self.try_start(who));
        let child = child.unwrap_or_else(|| panic!("{who:?} does not start"));
        self.running.lock().unwrap().insert(who, child);
    }

    fn try_start(&self, who: Who) -> Option<Child> {
        let mut command = self.program();
        match who {
            Who::Office => command.args(["classic", "--listen", &self.address(who)]),
            Who::Bridge => command.args(["bridge", "run", "--reconcile-seconds", "5"]),
            _ => command
                .args(["serve", "--segment-mib", "1", "--listen", &self.address(who), "--data"])
                .arg(self.path("engine")),
        };
        let log = self.path(&format!("{who:?}.log"));
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        if who == Who::Bridge {
            return Some(child);
        }
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (told, listens) = sync_channel(1);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.starts_with("listening on ") {
                    // It may have been given up.
                    let _ = told.send(());
                }
            }
        });
        if listens.recv_timeout(PATIENCE).is_ok() {
            return Some(child);
        }
        let _ = child.kill();
        child.wait().unwrap();
        None
    }

    /// Kills it, wherever it is. It must not have ended by itself before.
    pub fn kill(&self, who: Who) {
        if who == Who::Database {
            self.postgres.lock().unwrap().as_mut().unwrap().kill();
            return;
        }
        let mut child = self.running.lock().unwrap().remove(&who).unwrap();
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(ended.is_none(), "{who:?} ended by itself: {ended:?}");
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap()
    }

    /// Answers that the load has got.
    pub fn answers(&self) -> u64 {
        self.progress().answers
    }

    /// Waits until the load has got so many answers.
    pub fn wait_for_answers(&self, answers: u64) {
        let fewer = |progress: &mut Progress| progress.answers < answers;
        let (progress, timeout) =
            self.changed.wait_timeout_while(self.progress(), PATIENCE, fewer).unwrap();
        assert!(!timeout.timed_out(), "only {} of {answers} answers came", progress.answers);
    }

    /// Has the load end.
    pub fn end_load(&self) {
        self.progress().is_over = true;
        self.changed.notify_all();
    }

    pub fn is_over(&self) -> bool {
        self.progress().is_over
    }

    /// Lets others go on for a moment.
    pub fn breathe(&self) {
        drop(self.changed.wait_timeout(self.progress(), LOOK).unwrap());
    }

    /// Waits until something is so, and says what it was else.
    pub fn wait_until(&self, mut is_so: impl FnMut() -> Result<(), String>) {
        let begin = Instant::now();
        while let Err(not) = is_so() {
            assert!(begin.elapsed() < PATIENCE, "{not}");
            self.breathe();
        }
    }

    /// Asks the office or the engine until it says what became of it. Whoever asks must be able to ask twice.
    pub fn ask(
        &self,
        who: Who,
        (method, path): (&str, &str),
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Response {
        let key = (who == Who::Engine).then_some(KEY);
        let client = Client::new(&format!("http://{}", self.address(who)), key).unwrap();
        let begin = Instant::now();
        loop {
            let answer = client.request(method, path, headers, body);
            match answer {
                Ok(answer) if answer.status < 500 && answer.status != 429 => {
                    self.progress().answers += 1;
                    self.changed.notify_all();
                    return answer;
                }
                other => assert!(begin.elapsed() < PATIENCE, "{method} {path}: {other:?}"),
            }
            self.breathe();
        }
    }

    /// Rows of the box office's database, asked for until it answers.
    pub fn rows(&self, sql: &str) -> Vec<Row> {
        let begin = Instant::now();
        loop {
            let rows = self
                .runtime
                .block_on(async { Database::open(&self.db).await?.ask(sql, &[]).await });
            match rows {
                Ok(rows) => return rows,
                Err(error) => assert!(begin.elapsed() < PATIENCE, "{sql}: {error}"),
            }
            self.breathe();
        }
    }

    /// A whole number, `n`, of the box office's database.
    pub fn number(&self, sql: &str) -> i64 {
        self.rows(sql).first().map_or(0, |row| row.integer("n").unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in self.running.get_mut().unwrap().values_mut() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for who in [Who::Office, Who::Engine, Who::Bridge] {
                let log = std::fs::read(self.path(&format!("{who:?}.log"))).unwrap_or_default();
                let tail = &log[log.len().saturating_sub(LOG_SHOWN)..];
                println!("── {who:?} said at last:\n{}", String::from_utf8_lossy(tail));
            }
        }
    }
}

/// What a seed decides.
pub struct Choices(pub u64);

impl Choices {
    /// A number below this one (`splitmix64`).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
