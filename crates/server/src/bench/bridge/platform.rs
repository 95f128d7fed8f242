//! A platform's database, the engine and the bridge, for one measurement.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use onsale_bridge::attach;
use onsale_bridge::database::Database;
use onsale_bridge::dialect::Dialect;
use onsale_bridge::engine::Engine;
use onsale_bridge::state::State;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::bench::apart::Apart;
use crate::bench::site::folder;
use crate::demo::process::ServerProcess;
use crate::http_client::Client;

/// The key that may do everything.
const KEY: &str = "bench-key-that-may-do-everything";
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// The dialect.
const DIALECT: &str = "classic";

/// Where a platform has its database.
#[derive(Clone, Copy)]
pub enum Place<'s> {
    /// In a file.
    Sqlite,
    /// In a server, whose URL this is; each run makes a database of its own there.
    Postgres(&'s str),
}

impl Place<'_> {
    /// For a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Place::Sqlite => "SQLite",
            Place::Postgres(_) => "PostgreSQL",
        }
    }
}

/// A runtime for what is done in this process.
///
/// # Errors
/// The operating system refused.
pub fn runtime() -> anyhow::Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A database with the box office's tables; it goes with this.
pub struct Platform<'s> {
    /// Where it is, for bridge and box office.
    pub url: String,
    place: Place<'s>,
    /// Its name in a server.
    name: String,
    runtime: Runtime,
    folder: TempDir,
}

impl<'s> Platform<'s> {
    /// With empty tables, or those of another one that nobody uses.
    ///
    /// # Errors
    /// The database fails.
    pub fn new(place: Place<'s>, like: Option<&Platform<'_>>) -> anyhow::Result<Platform<'s>> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (folder, runtime) = (folder()?, runtime()?);
        let name = format!("bench_{}", MADE.fetch_add(1, Ordering::Relaxed));
        let url = match place {
            Place::Sqlite => format!("sqlite:{}", folder.path().join("office.db").display()),
            Place::Postgres(server) => {
                let (host, _) = server.rsplit_once('/').context("--database: no name")?;
                let like = like.map_or("template1", |like| like.name.as_str());
                let sql = format!("CREATE DATABASE {name} TEMPLATE {like}");
                runtime.block_on(async { Database::open(server).await?.run(&sql).await })?;
                format!("{host}/{name}")
            }
        };
        let platform = Platform { url, place, name, runtime, folder };
        if like.is_none() {
            drop(platform.office()?);
        }
        Ok(platform)
    }

    /// The box office over it, which makes its tables.
    ///
    /// # Errors
    /// The database fails.
    pub fn office(&self) -> anyhow::Result<onsale_classic::Database> {
        let place = self.url.parse().map_err(|error: String| anyhow!(error))?;
        Ok(self.runtime.block_on(onsale_classic::Database::open(place))?)
    }

    /// A connection.
    ///
    /// # Errors
    /// The database fails.
    pub fn connect(&self) -> anyhow::Result<Database> {
        Ok(self.runtime.block_on(Database::open(&self.url))?)
    }

    /// Runs statements.
    ///
    /// # Errors
    /// The database fails.
    pub fn run(&self, sql: &str) -> anyhow::Result<()> {
        let mut db = self.connect()?;
        self.runtime.block_on(db.run(sql)).with_context(|| sql.to_owned())
    }

    /// The only text of a query.
    ///
    /// # Errors
    /// The database fails.
    pub fn text(&self, sql: &str) -> anyhow::Result<Option<String>> {
        let mut db = self.connect()?;
        let rows = self.runtime.block_on(db.ask(sql, &[]))?;
        Ok(rows.first().map(|row| row.maybe_text("t")).transpose()?.flatten())
    }

    /// Attaches a bridge and runs it; `taken`: an event of which the engine sells a quota, and how much.
    ///
    /// # Errors
    /// It does not start.
    pub fn bridge(
        &self,
        engine: &AtEngine,
        taken: Option<(&str, &str, i64)>,
    ) -> anyhow::Result<Bridge<'_>> {
        let dialect = Dialect::load(DIALECT)?;
        let mut db = self.connect()?;
        self.runtime.block_on(attach::attach(&dialect, &mut db))?;
        let state = self.folder.path().join("bridge");
        if let Some((subject, quota, amount)) = taken {
            let quotas = [(quota.to_owned(), amount)].into();
            let taken = onsale_bridge::state::Taken { number: 1, quotas };
            State::open(&state)?.set_taken(subject, Some(&taken))?;
        }
        let mut command = Command::new(std::env::current_exe().context("where this program is")?);
        command.args(["bridge", "run", "--dialect", DIALECT, "--db", &self.url]);
        command.args(["--engine", &engine.server.url, "--reconcile-seconds", "0", "--state"]);
        command.arg(&state).env("ONSALE_BRIDGE_KEY", KEY).env("RUST_LOG", "error");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("the bridge can't be started")?;
        Ok(Bridge { platform: self, child, state: State::open(&state)? })
    }
}

impl Drop for Platform<'_> {
    fn drop(&mut self) {
        let Place::Postgres(server) = self.place else { return };
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // The server goes, too, at the end.
        let _ = self.runtime.block_on(async { Database::open(server).await?.run(&sql).await });
    }
}

/// A bridge at work; it is ended and detached with this.
pub struct Bridge<'p> {
    platform: &'p Platform<'p>,
    child: Child,
    /// Its own file.
    pub state: State,
}

impl Bridge<'_> {
    /// Waits until capture has read everything once.
    ///
    /// # Errors
    /// It ended, or stands still.
    pub fn has_begun(&mut self) -> anyhow::Result<()> {
        self.wait_for("its beginning", |bridge| {
            let noted = bridge.state.fact("capture")?.unwrap_or_default();
            let noted: Value = serde_json::from_str(&noted).unwrap_or_default();
            Ok(noted["events"].as_u64().is_some_and(|events| events > 0))
        })
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// It ended, or stands still.
    pub fn wait_for(
        &mut self,
        what: &str,
        is_so: impl Fn(&Bridge<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let since = Instant::now();
        while !is_so(self)? {
            if let Some(status) = self.child.try_wait()? {
                bail!("the bridge ended: {status}");
            }
            ensure!(since.elapsed() < PATIENCE, "the bridge stands still: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Bridge<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let since = Instant::now();
        // The server lets go of a slot a moment after its reader has gone.
        while since.elapsed() < PATIENCE {
            let detached = self.platform.runtime.block_on(async {
                let mut db = Database::open(&self.platform.url).await?;
                attach::detach(&Dialect::load(DIALECT)?, &mut db, true).await
            });
            if detached.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The engine, on the first core.
pub struct AtEngine {
    server: ServerProcess,
    client: Client,
    _folder: TempDir,
}

impl AtEngine {
    /// Starts it.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> anyhow::Result<AtEngine> {
        let folder = folder()?;
        // All others may be on any core.
        let apart = Apart::new()?;
        let server = ServerProcess::start(folder.path(), &[], KEY, &apart.cores)?;
        let client = Client::new(&server.url, Some(KEY)).map_err(|error| anyhow!("{error}"))?;
        Ok(AtEngine { server, client, _folder: folder })
    }

    /// As the bridge speaks to it.
    ///
    /// # Errors
    /// Its address makes no sense.
    pub fn engine(&self) -> anyhow::Result<Engine> {
        Ok(Engine::new(&self.server.url, KEY)?)
    }

    /// Sends a request that must go well; its answer.
    ///
    /// # Errors
    /// It does not.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let headers: &[(&str, &str)] = if method == "PATCH" { &[("If-Match", "*")] } else { &[] };
        let body = body.map(ToString::to_string);
        let answer = self.client.request(method, path, headers, body.as_deref());
        let answer = answer.map_err(|error| anyhow!("{method} {path}: {error}"))?;
        ensure!((200..300).contains(&answer.status), "{method} {path}: {}", answer.problem());
        Ok(answer.json())
    }
}
