//! A real pretix, the open-source ticket shop, as it comes from PyPI: a PostgreSQL, a Redis and
//! its web process.
//!
//! To bring its database up takes more than a minute, so that is done once: the database is kept as a
//! dump below `target/tools`, which the first test that needs it makes.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::server::{Plan, Stop, exchange};
use crate::{Server, postgres, redis, server, tools};

/// What fills a new database.
const SEED: &str = include_str!("pretix/seed.py");
/// How the web process works.
// Not by the name of the package: python would take it for that.
const GUNICORN: &str = include_str!("pretix/web_conf.py");

/// A pretix with an organizer `river`, whose events `festival` (quotas `Site` of 20,000 and `Field` of 2,000) and
/// `concert` (the same) are on sale.
pub struct Pretix {
    /// The web process: pages and API.
    pub web: Server,
    /// Its PostgreSQL, whose write-ahead log can be read logically.
    pub database: Server,
    /// Its Redis.
    pub redis: Server,
}

impl Pretix {
    /// The token of a team that may do everything in the organizer.
    pub const TOKEN: &str = "onsale0token0for0tests";
    /// The organizer's slug.
    pub const ORGANIZER: &str = "river";
    /// Who may enter the back office, and the password.
    pub const USER: (&str, &str) = ("office@example.org", "onsale-office");

    /// Where pages and API are.
    pub fn url(&self) -> &str {
        self.web.url()
    }

    /// The database, for whoever may do everything.
    pub fn database_url(&self) -> String {
        database_url(&self.database)
    }

    /// Runs a program in Python inside of pretix; what it prints. It takes some seconds to begin.
    ///
    /// # Panics
    /// When the program fails.
    pub fn shell(&self, program: &str) -> String {
        shell(self.web.folder(), program)
    }
}

/// Starts one. The first on a machine takes two minutes, each after it some seconds.
///
/// # Panics
/// Where it is not installed, or does not come up.
pub fn pretix() -> Pretix {
    let (database, redis) = (postgres(), redis());
    let dump = dump();
    // Whoever runs PostgreSQL has no way into this folder, and needs none: the dump comes by a pipe.
    sql(&database, "postgres", "CREATE DATABASE pretix");
    let (database_port, redis_port) = (database.port(), redis.port());
    let python = tools::pretix_python();
    let web = Server::start(Plan {
        name: "pretix",
        scheme: "http://",
        path: "",
        ports: 1,
        stop: Stop::Kill,
        user: None,
        prepare: Box::new(move |folder| {
            fs::write(folder.join("pretix.cfg"), settings(folder, database_port, redis_port))
                .expect("the folder is our own");
            fs::write(folder.join("web_conf.py"), GUNICORN).expect("the folder is our own");
            fill(&dump, database_port, folder);
        }),
        command: Box::new(move |folder, ports| {
            let mut command = Command::new(&python);
            command.args(["-m", "gunicorn", "pretix.wsgi", "--config"]);
            command.arg(folder.join("web_conf.py"));
            command.args(["--bind", &format!("127.0.0.1:{}", ports[0])]);
            for (name, value) in environment(folder) {
                command.env(name, value);
            }
            command
        }),
        answers: |port| {
            let request =
                b"GET /healthcheck/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
            exchange(port, request).starts_with(b"HTTP/1.1 200")
        },
    });
    Pretix { web, database, redis }
}

fn database_url(database: &Server) -> String {
    format!("postgres://onsale@127.0.0.1:{}/pretix", database.port())
}

/// Where the database is kept: another seed or version is another file.
fn dump() -> PathBuf {
    let mut digest = DefaultHasher::new();
    SEED.hash(&mut digest);
    let version = tools::pretix_version();
    tools::folder().join(format!("pretix-{version}-{:016x}.dump", digest.finish()))
}

/// Fills the database from the dump, which is made if it is not there.
fn fill(dump: &Path, port: u16, folder: &Path) {
    let lock = fs::File::create(dump.with_extension("lock")).expect("tools have a folder");
    lock.lock().expect("a file can be locked");
    if dump.exists() {
        drop(lock);
        let restore = ["--dbname=pretix", "--no-owner", "--jobs=2"];
        client("pg_restore", port, &[&restore[..], &[&dump.display().to_string()]].concat());
        return;
    }
    manage(folder, &["migrate", "--verbosity=0"], Stdio::null());
    shell(folder, SEED);
    let new = dump.with_extension("new").display().to_string();
    client("pg_dump", port, &["--format=custom", "--compress=1", "--file", &new, "pretix"]);
    fs::rename(new, dump).expect("it was just written");
}

/// Runs one statement.
fn sql(database: &Server, name: &str, statement: &str) {
    client("psql", database.port(), &["--quiet", "--dbname", name, "--command", statement]);
}

/// Runs a client of PostgreSQL.
fn client(program: &str, port: u16, arguments: &[&str]) {
    let mut command = Command::new(tools::postgres_programs().join(program));
    command.args(["--host=127.0.0.1", "--username=onsale", "--no-password"]);
    command.arg(format!("--port={port}")).args(arguments);
    server::run(command, Path::new("/"));
}

/// Runs a program in Python inside of pretix.
fn shell(folder: &Path, program: &str) -> String {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), program).expect("the file is our own");
    manage(folder, &["shell"], file.reopen().expect("it is there").into())
}

/// Runs a command of pretix; what it prints.
fn manage(folder: &Path, arguments: &[&str], input: Stdio) -> String {
    let mut command = Command::new(tools::pretix_python());
    command.args(["-m", "pretix"]).args(arguments).stdin(input).current_dir(folder);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(environment(folder));
    let output = command.output().expect("python can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pretix {}: {said}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn environment(folder: &Path) -> [(&'static str, PathBuf); 3] {
    [
        ("PRETIX_CONFIG_FILE", folder.join("pretix.cfg")),
        ("HOME", folder.to_owned()),
        ("PYTHONUTF8", "1".into()),
    ]
}

/// Its configuration. Without a broker, what it would do later it does at once.
fn settings(folder: &Path, database: u16, redis: u16) -> String {
    let data = folder.join("data");
    format!(
        "[pretix]\ninstance_name=pretix\nurl=http://127.0.0.1\ndatadir={}\nregistration=off\n\
         ecb_rates=off\n[database]\nbackend=postgresql\nname=pretix\nuser=onsale\n\
         password=none\nhost=127.0.0.1\nport={database}\n[redis]\n\
         location=redis://127.0.0.1:{redis}/0\nsessions=true\n[mail]\nfrom=pretix@example.org\n\
         host=127.0.0.1\nport=9\n[django]\ndebug=off\nsecret=onsale-tests-onsale-tests-onsale-tests\n",
        data.display()
    )
}
