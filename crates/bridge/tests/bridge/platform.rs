//! The box office's database with one organizer, for both kinds of database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onsale_bridge::Error;
use onsale_bridge::attach;
use onsale_bridge::capture::{self, Parts};
use onsale_bridge::database::{Database, Kind};
use onsale_bridge::dialect::Dialect;
use onsale_bridge::state::State;
use onsale_services::Server;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::engine::Fake;

/// How long anything may take.
const WAIT: Duration = Duration::from_secs(60);

/// A platform and an engine, and what is between them.
pub struct Site {
    pub url: String,
    pub db: Database,
    pub fake: Fake,
    pub dialect: Arc<Dialect>,
    pub folder: TempDir,
    pub server: Option<Server>,
}

impl Site {
    /// With the box office's tables and nothing attached.
    pub async fn new(kind: Kind) -> Site {
        let schema = match kind {
            Kind::Sqlite => include_str!("../../../classic/schema/sqlite.sql"),
            Kind::Postgres => include_str!("../../../classic/schema/postgres.sql"),
        };
        let server = (kind == Kind::Postgres).then(onsale_services::postgres);
        Site::with(server, schema).await
    }

    /// Attached by the box office's dialect with another statement in place of one of its own.
    pub async fn attached_with(kind: Kind, statement: &str, sql: String) -> Site {
        let mut site = Site::new(kind).await;
        let mut dialect = (*site.dialect).clone();
        dialect.sql.insert((kind, statement.to_owned()), sql).unwrap();
        site.dialect = Arc::new(dialect);
        attach::attach(&site.dialect, &mut site.db).await.unwrap();
        site
    }

    /// With the box office's tables, in a server of its own where there is one.
    async fn with(server: Option<Server>, schema: &str) -> Site {
        let mut site = Site::of(server, schema, Dialect::load("classic").unwrap()).await;
        site.sql("INSERT INTO organizers (id, slug, name, created_at) VALUES (1, 'river', 'River', '2026-11-24T10:00:00.000Z')").await;
        site
    }

    pub async fn of(server: Option<Server>, schema: &str, dialect: Dialect) -> Site {
        let folder = TempDir::new().unwrap();
        let url = match &server {
            Some(server) => server.url().to_owned(),
            None => {
                let file = folder.path().join("platform.db");
                let db = rusqlite::Connection::open(&file).unwrap();
                db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;").unwrap();
                file.display().to_string()
            }
        };
        let mut db = Database::open(&url).await.unwrap();
        db.run(schema).await.unwrap();
        Site { url, db, fake: Fake::start().await, dialect: Arc::new(dialect), folder, server }
    }

    pub async fn attached(kind: Kind) -> Site {
        let mut site = Site::new(kind).await;
        attach::attach(&site.dialect, &mut site.db).await.unwrap();
        site
    }

    /// Attached to a PostgreSQL of the caller's.
    pub async fn attached_to(server: Server) -> Site {
        let schema = include_str!("../../../classic/schema/postgres.sql");
        let mut site = Site::with(Some(server), schema).await;
        attach::attach(&site.dialect, &mut site.db).await.unwrap();
        site
    }

    pub async fn sql(&mut self, sql: &str) {
        self.db.run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Makes an event with one stock and one ticket type, of the same number.
    pub async fn event(&mut self, id: i64, slug: &str) {
        let t = "'2026-11-24T10:00:00.000Z'";
        self.sql(&format!(
            "INSERT INTO events (id, organizer_id, slug, name, starts_at, currency, status, created_at, updated_at) \
             VALUES ({id}, 1, '{slug}', 'Concert {id}', {t}, 'EUR', 'on_sale', {t}, {t}); \
             INSERT INTO stocks (id, event_id, name, capacity) VALUES ({id}, {id}, 'hall', 100); \
             INSERT INTO ticket_types (id, event_id, stock_id, name, price_minor) VALUES ({id}, {id}, {id}, 'Seat', 2500);"
        ))
        .await;
    }

    pub fn state(&self) -> Arc<State> {
        Arc::new(State::open(&self.state_folder()).unwrap())
    }

    pub fn state_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    pub fn parts(&self) -> Parts {
        Parts {
            dialect: Arc::clone(&self.dialect),
            url: self.url.clone(),
            engine: self.fake.client(),
            state: self.state(),
        }
    }

    /// Capture at work, until it is dropped.
    pub fn run(&self) -> Running {
        Running { task: tokio::spawn(capture::run(self.parts())) }
    }

    /// Why capture ends by itself, which it must.
    pub async fn why_it_ends(&self) -> String {
        let ended = tokio::time::timeout(WAIT, capture::run(self.parts())).await;
        ended.expect("it does not go on").unwrap_err().to_string()
    }

    /// Waits until an event in the engine is as it should be.
    pub async fn until_event(
        &self,
        subject: &str,
        is_so: impl Fn(&serde_json::Value, &str) -> bool,
    ) {
        self.until(&format!("{subject}: {:?}", self.fake.event(subject)), || {
            self.fake.event(subject).is_some_and(|(definition, state)| is_so(&definition, &state))
        })
        .await;
    }

    pub async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(
                begin.elapsed() < WAIT,
                "waited for: {what}; parked: {:?}",
                self.state().parked()
            );
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Capture at work.
pub struct Running {
    pub task: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Ends it where it is, and waits until it is gone.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All of a database's schema, as text.
pub fn schema(url: &str) -> String {
    if !url.contains("://") {
        let db = rusqlite::Connection::open(url).unwrap();
        let mut select = db.prepare("SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1").unwrap();
        let rows = select.query_map([], |row| row.get::<_, String>(0)).unwrap();
        return rows.map(|row| row.unwrap()).collect::<Vec<_>>().join("\n");
    }
    let psql = |program: &Path, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        // A dump of a newer program has a random word in these.
        text.lines().filter(|line| !line.contains("restrict")).collect::<Vec<_>>().join("\n")
    };
    let slots = "SELECT 'slot', slot_name FROM pg_replication_slots UNION ALL SELECT 'publication', pubname FROM pg_publication";
    psql(Path::new("pg_dump"), &["--schema-only", "--dbname", url])
        + &psql(Path::new("psql"), &[url, "-Atc", slots])
}
