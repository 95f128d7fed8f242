//! Onsale as a service: the unit of systemd, readiness, logs.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, onsale, root, text};

const UNIT: &str = "packaging/systemd/onsale.service";
const EXPOSURE_MAX: f64 = 2.0;

/// What systemd-analyze says, on standard output and standard error.
fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze").args(arguments).output();
    let output = output.expect("systemd-analyze is needed: on Debian, `apt-get install systemd`");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn the_unit_gives_the_service_no_more_than_it_needs() {
    let unit = root(UNIT);
    let (_, said) = analyze(&["security", "--offline=true", unit.to_str().unwrap()]);
    let (_, level) = said.rsplit_once("Overall exposure level for onsale.service: ").expect(&said);
    let level: f64 = level.split(' ').next().unwrap().parse().unwrap();
    assert!(level <= EXPOSURE_MAX, "{said}");
}

#[test]
fn systemd_understands_the_unit_and_the_program_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_onsale");
    let unit = std::fs::read_to_string(root(UNIT)).unwrap();
    let copy = folder.path().join("onsale.service");
    std::fs::write(&copy, unit.replace("/usr/bin/onsale", binary)).unwrap();
    let (fine, said) = analyze(&["verify", "--man=no", copy.to_str().unwrap()]);
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("onsale.service")).collect();
    assert!(fine && about_us.is_empty(), "{said}");
    let config = folder.path().join("onsale.toml");
    std::fs::write(&config, onsale(&["serve", "--print-config"]).stdout).unwrap();
    let config = config.to_str().unwrap();
    let checked = onsale(&["config", "check", "--config", config, "--print"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains(&format!("# {config}")));
    for line in unit.lines().filter(|line| line.starts_with("Exec")) {
        let words: Vec<&str> = line.split_once(' ').unwrap().1.split(' ').collect();
        let mut words: Vec<&str> =
            words.into_iter().map(|w| if w.ends_with(".toml") { config } else { w }).collect();
        words.push("--help");
        assert_eq!(onsale(&words).status.code(), Some(0), "{line}");
    }
}

#[test]
fn a_configuration_is_checked_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("onsale.toml");
    std::fs::write(&file, "shards = 0\nlisten = \"nowhere\"\nno_such_key = 1\n").unwrap();
    let output = onsale(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    for part in ["shards (", "listen (", "no_such_key ("] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn systemd_is_told_and_faults_are_logged_as_json_with_their_shard() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Server::start(&data).stop();
    let note = data.join("shard-01/notes.txt");
    std::fs::write(note, "not a file of the log").unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--segment-mib", "1"])
        .args(["--log-format", "json", "--data"])
        .arg(data)
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let told = || {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        text(&bytes[..length])
    };
    assert_eq!(told(), "READY=1");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert_eq!(told(), "STOPPING=1");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let about =
        |line: &&Value| line["fields"]["note"].as_str().is_some_and(|n| n.contains("notes.txt"));
    let line = lines.iter().find(about).expect(&log);
    assert_eq!((&line["level"], &line["fields"]["shard"]), (&"WARN".into(), &1.into()));
}
