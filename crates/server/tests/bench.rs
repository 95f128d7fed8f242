//! `onsale bench`, as a user runs it: every row measures something, and both of its sides did
//! what was asked of them (a side that writes other bytes, or loses a hold, ends a row with 1).

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use onsale_services::postgres_with;
use serde_json::Value;

/// One at a time, since each keeps both cores of a small machine busy: a short run might get nothing done beside others.
static ALONE: Mutex<()> = Mutex::new(());

fn bench(temporary: &Path, arguments: &[&str]) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.arg("bench").args(arguments).env("TMPDIR", temporary).output().unwrap()
}

/// A row, quickly; its JSON. Nothing is left behind.
fn quick(row: &str) -> Value {
    quick_with(row, &[])
}

fn quick_with(row: &str, more: &[&str]) -> Value {
    let temporary = tempfile::tempdir().unwrap();
    let arguments = [&[row, "--quick", "--pairs", "1", "--json"], more].concat();
    let output = bench(temporary.path(), &arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    let left: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "it left {left:?}");
    let all: Value = serde_json::from_str(&out).unwrap();
    let [row_found] = all["rows"].as_array().unwrap().as_slice() else { panic!("{all}") };
    assert_eq!(row_found["name"], row);
    let figures = row_found["figures"].as_array().unwrap();
    assert!(!figures.is_empty(), "{all}");
    for figure in figures {
        assert!(figure["product"]["middle"]["median"].as_f64().unwrap() > 0.0, "{figure}");
        if !figure["limit"].is_null() {
            assert!(figure["ratio"]["median"].as_f64().unwrap() > 0.0, "{figure}");
        }
    }
    row_found.clone()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn postgres_and_its_bare_harness_write_the_same() {
    let server = postgres_with(&["fsync=on"]);
    let row = quick_with("postgres", &["--database", server.url()]);
    assert_eq!(row["figures"].as_array().unwrap().len(), 10, "{row}");
    let note = row["notes"].to_string();
    assert!(note.contains("fsync on, synchronous_commit on"), "{note}");
}

#[test]
fn holds_and_its_bare_harness_write_the_same() {
    let row = quick("holds");
    assert_eq!(row["figures"].as_array().unwrap().len(), 10, "{row}");
    assert!(row["notes"][1].as_str().unwrap().contains("of its core"), "{row}");
}

#[test]
fn a_batch_grants_all_of_its_holds() {
    let row = quick("batch");
    assert!(row["notes"][1].as_str().unwrap().contains("of an answer's body"), "{row}");
}

#[test]
fn engine_and_both_its_limits_write_the_same() {
    let figures = quick("engine")["figures"].clone();
    assert_eq!(figures[0]["product"], figures[1]["product"]);
    assert_ne!(figures[0]["limit"]["samples"], figures[1]["limit"]["samples"]);
}

#[test]
fn rules_and_recovery_are_measured() {
    assert_eq!(quick("core")["figures"].as_array().unwrap().len(), 6);
    let recovery = quick("recovery");
    let figures = recovery["figures"].as_array().unwrap();
    let of = |words: &str| {
        let names = figures.iter().filter_map(|figure| figure["name"].as_str());
        names.filter(|name| name.ends_with(words)).count()
    };
    assert_eq!((figures.len(), of("without a snapshot"), of("records after it")), (4, 2, 1));
}

#[test]
fn memory_is_made_up_of_its_parts() {
    let figures = quick("memory")["figures"].clone();
    let median = |index: usize| figures[index]["product"]["middle"]["median"].as_f64().unwrap();
    let parts: f64 = (1..4).map(median).sum();
    assert!((0.7..1.6).contains(&(parts / median(0))), "{figures}");
}

#[test]
fn streams_and_the_relay_are_measured_beside_what_they_stand_on() {
    let row = quick("bus");
    let figures = row["figures"].as_array().unwrap();
    let beside = figures.iter().filter(|figure| !figure["limit"].is_null()).count();
    assert_eq!((figures.len(), beside), (9, 5), "{row}");
    let units: Vec<&str> = figures.iter().map(|figure| figure["unit"].as_str().unwrap()).collect();
    assert_eq!(units, ["/s", "/s", "ns", "ns", "ms", "ms", "ms", "ms", "/s"]);
}

#[test]
fn both_ways_of_the_bridge_are_measured() {
    let server = onsale_services::postgres();
    let row = quick_with("bridge", &["--database", server.url()]);
    let figures = row["figures"].as_array().unwrap();
    let beside = figures.iter().filter(|figure| !figure["limit"].is_null()).count();
    assert_eq!((figures.len(), beside), (7, 3), "{row}");
}

/// Without a Redis the row says that it has none, and measures the rest.
#[test]
fn without_a_redis_the_relay_is_left_out() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["bench", "bus", "--quick", "--pairs", "1", "--json"]);
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.env("TMPDIR", temporary.path()).env("PATH", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let all: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let notes = all["rows"][0]["notes"].to_string();
    assert!(notes.contains("no redis-server on the PATH"), "{all}");
    assert_eq!(all["rows"][0]["figures"].as_array().unwrap().len(), 8, "{all}");
}

#[test]
fn growth_is_told_in_a_file_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("figures.md");
    let before = "# Mine\n<!-- onsale bench growth -->\n<!-- end -->\nkept\n";
    std::fs::write(&file, before).unwrap();
    let [markdown, plots] = [&file, folder.path()].map(|path| path.to_str().unwrap());
    let arguments = ["growth", "--quick", "--pairs", "1", "--markdown", markdown, "--plots", plots];
    let output = bench(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(after.starts_with("# Mine\n") && after.ends_with("<!-- end -->\nkept\n"), "{after}");
    for plot in ["growth-events", "growth-tickets", "growth-day"] {
        assert!(after.contains(&format!("(plots/{plot}.svg)")), "{after}");
        let svg = std::fs::read_to_string(folder.path().join(plot).with_extension("svg")).unwrap();
        assert!(svg.contains("<polyline"), "{svg}");
    }
}

#[test]
fn arguments_that_make_no_sense_end_with_2_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let unmarked = folder.path().join("unmarked.md");
    std::fs::write(&unmarked, "no markers\n").unwrap();
    let unmarked = unmarked.to_str().unwrap();
    for arguments in [
        &["speed"][..],
        &["--pairs", "0"],
        &["--pairs", "1001"],
        &["--scale", "1.5"],
        &["--scale", "0"],
        &["holds", "--markdown", "/nowhere/file.md"],
        &["holds", "--markdown", unmarked],
        &["growth", "--plots", "/nowhere"],
    ] {
        let output = bench(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_sale_in_redis_and_its_function_alone_both_hold() {
    let row = quick("redis");
    assert_eq!(row["figures"].as_array().unwrap().len(), 2, "{row}");
}
