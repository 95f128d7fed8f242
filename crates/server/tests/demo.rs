//! The demo, as a user runs it, with a smaller crowd: it sells out exactly, says so in
//! its last line, and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[test]
fn sells_out_exactly_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let page = elsewhere.path().join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["demo", "--json", "--buyers", "30000", "--report"])
        .arg(&page)
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let expected = [("tickets", 20_000), ("sold", 20_000), ("oversold", 0), ("lost", 0)];
    for (name, number) in expected {
        assert_eq!(last[name], number, "{name}: {out}");
    }
    assert_eq!(last["buyers"], 30_000);
    assert_eq!(last["audit"], "ok");
    assert!(last["abandoned_holds"].as_u64().unwrap() > 0, "nobody abandoned a hold: {out}");
    assert_eq!(last["resold"], last["abandoned_holds"], "they were not sold again: {out}");
    for name in ["p50", "p99", "p999"] {
        assert!(last["hold_ms"][name].is_number(), "{out}");
    }
    assert!(last["ops_per_second"].as_f64().unwrap() > 0.0);
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "it left {left:?}");
    check_page(&std::fs::read_to_string(page).unwrap());
}

#[test]
fn the_box_office_has_every_order_and_nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["demo", "bridge", "--json", "--buyers", "1500"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("both sides agree"), "{out}");
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!((&last["orders"], &last["differences"]), (&1_500.into(), &0.into()), "{out}");
    assert_eq!(last["in_box_office"], last["sold_by_engine"], "{out}");
    for figure in [&last["capture_lag_ms"]["p99"], &last["written_back_per_second"]] {
        assert!(figure.as_f64().unwrap() > 0.0, "{out}");
    }
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "it left {left:?}");
}

/// The page says how it ended, has all its charts with something in them, and needs nothing else.
fn check_page(page: &str) {
    assert!(page.contains("Sold out exactly"), "{page}");
    assert_eq!(page.matches("<svg").count(), 3);
    for class in ["area sold", "area held", "area free", "area refused", "line p50", "line p99"] {
        let path = page.split_once(&format!("class=\"{class}\" d=\"")).unwrap().1;
        assert!(path.split_once('"').unwrap().0.len() > 200, "{class}: nothing is drawn");
    }
    for foreign in ["NaN", "inf\"", "src=", "href=", "http:", "https:", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// How long the demo may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn leaves_nothing_behind_when_it_is_interrupted() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the server sells", || has_connections(temporary.path()));
    let pid = demo.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    until("the server is gone", || server_of(temporary.path()).is_none());
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "it left {left:?}");
}

/// The process whose arguments name this folder.
fn server_of(folder: &Path) -> Option<String> {
    let folder = folder.to_str().unwrap();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let arguments = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        arguments.contains(folder).then(|| entry.file_name().into_string().unwrap())
    })
}

/// Whether the server has taken more connections than an import needs.
fn has_connections(folder: &Path) -> bool {
    let Some(pid) = server_of(folder) else { return false };
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"));
    files.is_ok_and(|files| files.count() > 100)
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
