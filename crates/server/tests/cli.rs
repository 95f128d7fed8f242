//! The binary as it is used: output, exit codes, signals.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

const EVENT: &str = r#"{"name":"Small","currency":"EUR","quotas":[{"id":"q","capacity":5}],
    "ticket_types":[{"id":"t","name":"T","price":0,"quotas":["q"]}]}"#;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONSALE_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn onsale(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A server as a process of its own.
struct Server {
    child: Child,
    address: String,
    key: Option<String>,
    out: BufReader<std::process::ChildStdout>,
}

/// A free port below those that the system gives to clients. No two tests of this process get the same.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 25_000 + (std::process::id() % 3_000) as u16;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::repeat_with(|| first + 11 * TAKEN.fetch_add(1, Ordering::Relaxed));
    ports.take_while(|port| *port < 32_000).find(free).unwrap()
}

fn serve(data: &Path, more: &[&str]) -> Server {
    let port = free_port();
    let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--segment-mib", "1"])
        .args(["--data", data.to_str().unwrap()])
        .args(more)
        .env_remove("ONSALE_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (mut key, mut address) = (None, None);
    while address.is_none() {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before it listened");
        key = key.or(line.strip_prefix("key: ").map(|key| key.trim().to_owned()));
        address = line.strip_prefix("listening on http://").map(|a| a.trim().to_owned());
    }
    Server { child, address: address.unwrap(), key, out }
}

impl Server {
    fn send(&self, key: &str, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\nif-match: *\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let request =
            if method == "PUT" { request.replace("if-match: *\r\n", "") } else { request };
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends a signal and waits for the end; the exit code and what was still printed.
    fn stop(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only a test that failed has left it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_first_start_prints_a_key_and_a_stop_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = serve(data, &["--shards", "2"]);
    let key = server.key.clone().expect("the first start prints a key");
    let event = "/v1/organizers/o/events/e";
    let made = server.send(&key, "PUT", event, EVENT);
    assert!(made.starts_with("HTTP/1.1 201"), "{made}");
    let opened = server.send(&key, "PATCH", event, r#"{"state":"open"}"#);
    assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
    let cart = r#"{"customer":"c","items":[{"ticket_type":"t","quantity":2}]}"#;
    let order = server.send(&key, "POST", &format!("{event}/orders"), cart);
    assert!(order.starts_with("HTTP/1.1 201"), "{order}");
    let body = order.split("\r\n\r\n").nth(1).unwrap();
    let order: serde_json::Value = serde_json::from_str(body).unwrap();

    let data_text = data.to_str().unwrap();
    let busy = onsale(&["journal", "audit", "--data", data_text]);
    assert_eq!(busy.status.code(), Some(1), "a server has the folder");
    let second = onsale(&["serve", "--data", data_text, "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1), "a second server may not have it, too");
    assert_eq!(server.stop("-TERM").0, Some(0));

    let audit = onsale(&["journal", "audit", "--data", data_text, "--json"]);
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
    let audit: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!((&audit["ok"], &audit["orders"]["tickets"]), (&true.into(), &2.into()));

    // The key is printed once, and works on.
    let server = serve(data, &[]);
    assert_eq!(server.key, None);
    let path = format!("{event}/orders/{}", order["code"].as_str().unwrap());
    let shown = server.send(&key, "GET", &path, "");
    assert!(shown.contains(order["tickets"][0]["code"].as_str().unwrap()), "{shown}");
    assert_eq!(server.stop("-INT"), (Some(0), String::new()));
}

#[test]
fn a_configuration_that_makes_no_sense_is_told_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("onsale.toml");
    std::fs::write(&file, "shards = 0\nlisten = \"nowhere\"\n").unwrap();
    let output = onsale(&["serve", "--config", file.to_str().unwrap(), "--cores", "0"]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    for part in ["shards (", "listen (", "cores (--cores)"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let missing = onsale(&["serve", "--config", "/nowhere/onsale.toml"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn the_default_configuration_can_be_printed_and_used() {
    let printed = onsale(&["serve", "--print-config"]);
    assert_eq!(printed.status.code(), Some(0));
    let defaults: toml::Table = text(&printed.stdout).parse().unwrap();
    assert_eq!(defaults["listen"].as_str(), Some("127.0.0.1:7070"));
}

#[test]
fn exit_codes_are_what_help_says() {
    let rush =
        ["rush", "--url", "http://127.0.0.1:9", "--key", "k", "--organizer", "o", "--event", "e"];
    let rows: &[(&[&str], i32)] = &[
        (&["--help"], 0),
        (&["serve", "--help"], 0),
        (&["--version"], 0),
        (&[], 2),
        (&["sell"], 2),
        (&["journal", "audit"], 2),
        (&["journal", "audit", "--data", "/nowhere"], 2),
        (
            &[
                "rush",
                "--url",
                "x",
                "--key",
                "k",
                "--organizer",
                "o",
                "--event",
                "e",
                "--abandon",
                "2",
            ],
            2,
        ),
        (&["rush", "--url", "ftp://x", "--key", "k", "--organizer", "o", "--event", "e"], 2),
        (&[&["rush", "--url", ""], &rush[3..]].concat(), 2),
        (&[&["rush", "--url", "https://127.0.0.1"], &rush[3..]].concat(), 2),
        (&[&["rush", "--url", "http://127.0.0.1:99999"], &rush[3..]].concat(), 2),
        (&[&rush[..], &["--think-ms", "0-18446744073709551615"]].concat(), 2),
        (&[&rush[..], &["--retry-ms", "1-86400001"]].concat(), 2),
        (&["demo", "--report", "/nowhere/report.html"], 2),
        (&["keys", "list", "--data", "/nowhere"], 1),
    ];
    for (arguments, code) in rows {
        let output = onsale(arguments);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_rush_that_comes_to_nothing_leaves_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.html");
    let url = format!("http://127.0.0.1:{}", free_port());
    let rush = |url: &str| {
        let event = ["--organizer", "o", "--event", "e", "--key", "k"];
        let report = ["--report", report.to_str().unwrap()];
        onsale(&[&["rush", "--url", url], &event[..], &report[..]].concat())
    };
    assert_eq!(rush(&url).status.code(), Some(1));
    assert!(!report.exists());
    std::fs::write(&report, "an earlier one").unwrap();
    assert_eq!(rush(&url).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "an earlier one");
}

/// A standard output that nobody reads, and one that has no room.
fn closed() -> Stdio {
    Stdio::from(std::io::pipe().unwrap().1)
}

fn full() -> Stdio {
    Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap())
}

fn onsale_to(arguments: &[&str], out: Stdio, err: Stdio) -> (Option<i32>, String) {
    let mut command = command(arguments);
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    (output.status.code(), text(&output.stderr))
}

/// A command ends well and says nothing where nobody reads, and fails with one line where there is no room.
fn is_quiet_or_fails(arguments: &[&str]) {
    let read = onsale_to(arguments, Stdio::null(), Stdio::piped());
    assert_eq!(read.0, Some(0), "{arguments:?}: {}", read.1);
    let unread = onsale_to(arguments, closed(), Stdio::piped());
    assert_eq!(unread, (Some(0), String::new()), "{arguments:?}");
    let (code, error) = onsale_to(arguments, full(), Stdio::piped());
    assert_eq!(code, Some(1), "{arguments:?}: {error}");
    assert!(error.starts_with("onsale: cannot write to standard output: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
}

#[test]
fn results_that_nobody_reads_or_that_have_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = serve(&data, &["--shards", "1"]);
    let data = data.to_str().unwrap();
    is_quiet_or_fails(&["stream", "read", "sales", "--shard", "0", "--at", data]);
    assert_eq!(server.stop("-TERM").0, Some(0));
    let catalogue = folder.path().join("catalogue.json");
    let event = EVENT.replacen('{', r#"{"id":"e","#, 1);
    std::fs::write(&catalogue, format!(r#"{{"events":[{event}]}}"#)).unwrap();
    let commands: [&[&str]; 10] = [
        &["--help"],
        &["--version"],
        &["serve", "--print-config"],
        &["config", "check", "--print"],
        &["keys", "list", "--data", data],
        &["journal", "inspect", data],
        &["journal", "inspect", data, "--json"],
        &["journal", "inspect", data, "--shard", "0", "--records", "1.."],
        &["journal", "audit", "--data", data],
        &["import", "--dry-run", catalogue.to_str().unwrap()],
    ];
    commands.into_iter().for_each(is_quiet_or_fails);
    // What is wrong is said by the exit code all the same.
    let wrong: [(&[&str], i32); 3] = [
        (&["journal", "inspect", "/nowhere"], 1),
        (&["keys", "list", "--data", "/nowhere/at/all"], 1),
        (&["serve", "--cores", "0"], 2),
    ];
    for (arguments, code) in wrong {
        let told = onsale_to(arguments, Stdio::null(), Stdio::piped());
        assert_eq!(told.0, Some(code), "{arguments:?}: {}", told.1);
        for (out, err) in [(closed(), closed()), (full(), full())] {
            assert_eq!(onsale_to(arguments, out, err).0, Some(code), "{arguments:?}");
        }
    }
}

#[test]
fn a_key_that_nobody_saw_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let create = ["keys", "create", "--scopes", "sell", "--data", data];
    let list = || text(&onsale(&["keys", "list", "--data", data]).stdout).lines().count();
    assert_eq!(onsale(&create).status.code(), Some(0));
    let json = onsale(&[&create[..], &["--json"]].concat());
    let shown: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(shown["key"].as_str().unwrap().starts_with("onsale_"), "{shown}");
    assert_eq!(list(), 2);
    for out in [closed(), full()] {
        let (code, error) = onsale_to(&create, out, Stdio::piped());
        assert_eq!(code, Some(1), "{error}");
        assert!(
            error.starts_with("onsale: the key can't be printed, so it was not made: "),
            "{error}"
        );
        assert_eq!((error.lines().count(), list()), (1, 2), "{error}");
    }
}

#[test]
fn a_server_goes_on_though_nobody_reads_what_it_prints() {
    for (out, err) in [(closed(), closed()), (full(), full())] {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
            .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--segment-mib", "1"])
            .args(["--data", folder.path().to_str().unwrap()])
            .env("ONSALE_KEY", "a-key-that-may-do-everything")
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap();
        let begin = std::time::Instant::now();
        let mut stream = loop {
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not listen");
            assert_eq!(child.try_wait().unwrap(), None, "it ended");
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(_) => std::thread::yield_now(),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
