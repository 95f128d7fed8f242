//! Real servers for tests: a Redis, a PostgreSQL, kinesis-local in the place of Kinesis, and a pretix.
//!
//! Each function starts one that belongs to its caller alone: on a spare port, in a temporary
//! folder, with nothing of the caller's environment. When it returns, the server answers; when
//! the [`Server`] is dropped, or the test's process dies in whatever way, the server is gone.
//! `cargo xtask test` installs what they need; where something is missing they panic and say so.

mod certificates;
mod cluster;
mod pretix;
mod server;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use certificates::{Authority, Certificate};
pub use cluster::{RedisCluster, ask_redis, redis_cluster, redis_cluster_with_tls};
pub use pretix::{Pretix, pretix};
use server::{Plan, Stop, exchange};
pub use server::{Server, wait_until};

/// A Redis that keeps nothing on the disk.
pub fn redis() -> Server {
    redis_with(&["--appendonly", "no"])
}

/// A Redis with options of its own, as on its command line; `--appendfsync` and `always`
/// are two of them. Snapshots (`--save`) are off unless they are among them.
pub fn redis_with(options: &[&str]) -> Server {
    let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    start_redis(&options, false, None)
}

/// A Redis that keeps nothing on the disk, and that speaks TLS at another port ([`Server::tls_port`]).
pub fn redis_with_tls(certificate: &Certificate) -> Server {
    start_redis(&[], false, Some(certificate))
}

fn start_redis(
    options: &[String],
    is_of_cluster: bool,
    certificate: Option<&Certificate>,
) -> Server {
    let program = tools::found("redis-server");
    let options = options.to_vec();
    let (certificate, has_tls) = (certificate.cloned(), certificate.is_some());
    Server::start(Plan {
        name: "redis-server",
        scheme: "redis://",
        path: "",
        // The nodes of a cluster talk to each other on a second one.
        ports: 1 + usize::from(is_of_cluster) + usize::from(has_tls),
        stop: Stop::Kill,
        user: None,
        prepare: Box::new(move |folder| {
            if let Some(certificate) = certificate {
                certificate.write(folder, None);
            }
        }),
        command: Box::new(move |folder, ports| {
            let mut command = Command::new(&program);
            command.args(["--bind", "127.0.0.1", "--port", &ports[0].to_string(), "--save", ""]);
            if is_of_cluster {
                command.args(["--cluster-enabled", "yes", "--cluster-port", &ports[1].to_string()]);
            }
            if has_tls {
                // The last one. Of a cluster the nodes tell it to clients that come through TLS.
                command.args(["--tls-port", &ports[ports.len() - 1].to_string()]);
                for (option, file) in
                    [("cert", "server.pem"), ("key", "server.key"), ("ca-cert", "authority.pem")]
                {
                    command.arg(format!("--tls-{option}-file")).arg(folder.join(file));
                }
                command.args(["--tls-auth-clients", "no"]);
                if is_of_cluster {
                    command.args(["--tls-cluster", "yes"]);
                }
            }
            command.arg("--dir").arg(folder).args(&options);
            command
        }),
        // One that wants a password is up, too; one that still reads its files is not.
        answers: |port| {
            let answer = exchange(port, b"PING\r\n");
            answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH")
        },
    })
}

/// A PostgreSQL with an empty database; its user may do everything and needs no password.
/// It never waits for the disk: what it holds does not outlive the machine. What it writes can be
/// followed by logical replication.
pub fn postgres() -> Server {
    postgres_with(&["fsync=off"])
}

/// The same with settings of its own, `fsync=on` for one.
pub fn postgres_with(settings: &[&str]) -> Server {
    start_postgres(settings, None, init)
}

/// The same with TLS, for whoever asks for it; without TLS it still lets everybody in.
pub fn postgres_with_tls(certificate: &Certificate) -> Server {
    let files = ["ssl_cert_file=../server.pem", "ssl_key_file=../server.key"];
    let settings = [&["fsync=off", "ssl=on"], &files[..]].concat();
    start_postgres(&settings, Some(certificate.clone()), init)
}

fn init(programs: &Path, folder: &Path) -> Command {
    let mut command = Command::new(programs.join("initdb"));
    command.arg("--pgdata").arg(folder.join("data"));
    command.args(["--auth=trust", "--username=onsale", "--encoding=UTF8", "--locale=C"]);
    command.arg("--no-sync");
    command
}

/// A PostgreSQL that follows another one and repeats what that writes; `SELECT pg_promote()` makes it one of its own.
pub fn postgres_following(primary: &Server) -> Server {
    let port = primary.port().to_string();
    start_postgres(&[], None, move |programs: &Path, folder: &Path| {
        let mut command = Command::new(programs.join("pg_basebackup"));
        command.arg("--pgdata").arg(folder.join("data"));
        command.args(["--host=127.0.0.1", "--port", &port, "--username=onsale", "--no-password"]);
        command.args(["--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"]);
        command
    })
}

fn start_postgres(
    settings: &[&str],
    certificate: Option<Certificate>,
    fill: impl FnOnce(&Path, &Path) -> Command + 'static,
) -> Server {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    let programs = tools::postgres_programs();
    let user = tools::user_for_postgres();
    let fillers = programs.clone();
    Server::start(Plan {
        name: "postgres",
        scheme: "postgres://onsale@",
        path: "/postgres",
        ports: 1,
        // A killed one leaves its children behind for a moment; this ends them first.
        stop: Stop::Quit,
        user: user.clone(),
        prepare: Box::new(move |folder| {
            if let Some(user) = &user {
                user.give(folder);
            }
            if let Some(certificate) = certificate {
                certificate.write(folder, user.as_ref());
            }
            server::run(tools::as_user(fill(&fillers, folder), user.as_ref()), folder);
        }),
        command: Box::new(move |folder, ports| {
            let mut command = Command::new(programs.join("postgres"));
            command.arg("-D").arg(folder.join("data")).args(["-p", &ports[0].to_string()]);
            let fixed =
                ["listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical"];
            for option in fixed.into_iter().chain(settings.iter().map(String::as_str)) {
                command.args(["-c", option]);
            }
            command
        }),
        // The first message of its protocol: a length, version 3.0, and the user. `R` lets us in.
        answers: |port| {
            let hello = b"\0\0\0\x27\0\x03\0\0user\0onsale\0database\0postgres\0\0";
            exchange(port, hello).starts_with(b"R")
        },
    })
}

/// A kinesis-local. It knows no option for its address: it listens on all interfaces of the
/// machine. Shards split and streams appear within some milliseconds, and it lets a stream have
/// up to a thousand shards; any key and secret are right.
pub fn kinesis() -> Server {
    let (node, package) = (tools::found("node"), tools::kinesis_package());
    Server::start(Plan {
        name: "kinesis-local",
        scheme: "http://",
        path: "",
        // Without and with TLS.
        ports: 2,
        stop: Stop::Kill,
        user: None,
        prepare: Box::new(|_| ()),
        command: Box::new(move |_, ports| {
            let mut command = Command::new(&node);
            // It reads its certificate from the folder that it runs in.
            command.arg("main.js").current_dir(&package);
            command.env("KINESIS_MOCK_PLAIN_PORT", ports[0].to_string());
            command.env("KINESIS_MOCK_TLS_PORT", ports[1].to_string());
            for name in ["CREATE_STREAM", "DELETE_STREAM", "SPLIT_SHARD", "MERGE_SHARDS"] {
                command.env(format!("{name}_DURATION"), "20ms");
            }
            command.env("UPDATE_SHARD_COUNT_DURATION", "20ms");
            command.env("SHARD_LIMIT", "1000").env("LOG_LEVEL", "ERROR");
            command
        }),
        answers: |port| {
            let request = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            exchange(port, request).starts_with(b"HTTP/1.1 200")
        },
    })
}

/// A Python that has boto3.
///
/// # Panics
/// Where it is not installed.
pub fn boto3_python() -> PathBuf {
    tools::boto3_python()
}
