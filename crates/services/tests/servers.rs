//! Each server starts, answers, and is gone with its owner, however that one ends.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use onsale_services::{
    Pretix, Server, boto3_python, kinesis, postgres, pretix, redis, redis_with, wait_until,
};

/// Which server the process of [`an_owner`] starts.
const OWNED: &str = "ONSALE_TEST_OWNED";

fn start(name: &str) -> Server {
    match name {
        "redis" => redis(),
        "postgres" => postgres(),
        _ => kinesis(),
    }
}

fn connects(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// What a server at a port says to some bytes until it closes or `enough`.
fn ask(port: u16, question: &[u8], enough: usize) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(question).unwrap();
    let mut answer = Vec::new();
    let mut part = [0; 512];
    while answer.len() < enough {
        match stream.read(&mut part).unwrap() {
            0 => break,
            length => answer.extend_from_slice(&part[..length]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Starts it, drops it, and has it started by a process that is killed.
fn lives_as_long_as_its_owner(name: &str) {
    let server = start(name);
    let (port, folder) = (server.port(), server.folder().to_owned());
    assert!(connects(port) && (20_000..32_768).contains(&port));
    drop(server);
    assert!(!connects(port), "{name} outlives its owner's word");
    assert!(!folder.exists(), "{name} leaves files");

    // Whoever is killed clears nothing away: its files are in a folder that is. All may pass it.
    let left = tempfile::tempdir().unwrap();
    fs::set_permissions(left.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap());
    owner.args(["--exact", "an_owner", "--nocapture"]);
    owner.env(OWNED, name).env("TMPDIR", left.path());
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port = lines.filter_map(|line| line.strip_prefix("port ")?.parse().ok()).next().unwrap();
    assert!(connects(port));
    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until(&format!("{name} is gone, as its owner is"), || !connects(port));
}

/// Other tests start this one, and kill it. By itself it does nothing.
#[test]
fn an_owner() {
    let Ok(name) = std::env::var(OWNED) else { return };
    // The server's thread ends before the process does, which must not end the server.
    let server = thread::spawn(move || start(&name)).join().unwrap();
    println!("\nport {}", server.port());
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn redis_ends_with_its_owner() {
    lives_as_long_as_its_owner("redis");
}

#[test]
fn postgres_ends_with_its_owner() {
    lives_as_long_as_its_owner("postgres");
}

#[test]
fn kinesis_ends_with_its_owner() {
    lives_as_long_as_its_owner("kinesis");
}

#[test]
fn redis_keeps_what_it_is_told_to_keep() {
    let mut kept = redis_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut lost = redis();
    for server in [&mut kept, &mut lost] {
        let port = server.port();
        assert_eq!(ask(port, b"SET a 1\r\n", 5), "+OK\r\n");
        server.kill();
        assert!(!connects(port));
        server.restart();
        assert_eq!(server.port(), port);
    }
    assert_eq!(ask(kept.port(), b"GET a\r\n", 7), "$1\r\n1\r\n");
    assert_eq!(ask(lost.port(), b"GET a\r\n", 5), "$-1\r\n");
}

#[test]
fn a_paused_one_is_silent_until_it_is_resumed() {
    let server = redis();
    server.pause();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    assert!(stream.read(&mut answer).is_err());
    server.resume();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    // And one that is dropped while it is paused ends as well.
    server.pause();
}

#[test]
fn boto3_talks_to_kinesis() {
    let server = kinesis();
    let program = "import boto3, sys\n\
        kinesis = boto3.client('kinesis', endpoint_url=sys.argv[1], region_name='us-east-1',\n\
            aws_access_key_id='a', aws_secret_access_key='b')\n\
        print(kinesis.list_streams()['StreamNames'])\n";
    let output = Command::new(boto3_python()).args(["-c", program, server.url()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n", "{said}");
}

#[test]
fn pretix_sells_through_its_api_and_comes_back() {
    let mut pretix = pretix();
    let port = pretix.web.port();
    let get = |path: &str| {
        let token = Pretix::TOKEN;
        let request = format!(
            "GET /api/v1/organizers/river/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Token {token}\r\nConnection: close\r\n\r\n"
        );
        ask(port, request.as_bytes(), usize::MAX)
    };
    let events = get("events/");
    assert!(events.starts_with("HTTP/1.1 200"), "{events}");
    assert!(events.contains("\"slug\":\"festival\"") && events.contains("\"slug\":\"concert\""));
    // Its workers end with it: one that lives on would keep the port.
    pretix.web.kill();
    wait_until("nobody listens any more", || !connects(port));
    pretix.web.restart();
    assert!(get("events/festival/quotas/").contains("20000"));
}
