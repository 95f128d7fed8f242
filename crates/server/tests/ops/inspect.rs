//! `onsale journal inspect` says what is damaged or missing, by its exit code too.

use std::path::{Path, PathBuf};
use std::process::Command;

use onsale_engine::Folder;
use serde_json::Value;

use crate::support::{EVENT, Server, copy_folder, onsale, text, until};

/// A folder whose shards were opened by several starts, each of which began a segment; which shard has sold.
fn opened_three_times(data: &Path) -> u16 {
    for start in 0..3 {
        let server = Server::start(data);
        match start {
            0 => server.open_event(),
            _ => {
                let pause = r#"{"state":"paused"}"#;
                assert_eq!(server.send("PATCH", EVENT, ("if-match", "*"), pause).status, 200);
                let open = r#"{"state":"open"}"#;
                assert_eq!(server.send("PATCH", EVENT, ("if-match", "*"), open).status, 200);
            }
        }
        server.stop();
    }
    let found = inspected(data, &[]);
    assert_eq!((found.0, &found.1["ok"]), (0, &Value::Bool(true)), "{}", found.1);
    let last = |shard: usize| found.1["shards"][shard]["last_position"].as_u64().unwrap();
    assert_eq!(last(0).min(last(1)), 1, "one shard has not sold");
    u16::from(last(1) > last(0))
}

fn inspected(data: &Path, more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["journal", "inspect", data.to_str().unwrap(), "--json"];
    arguments.extend(more);
    let output = onsale(&arguments);
    let told = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), told)
}

fn segment(data: &Path, shard: u16, sequence: u64) -> PathBuf {
    Folder::shard_path(data, shard).join(format!("{sequence:010}.seg"))
}

/// Changes a byte in the first record of a segment.
fn damage(segment: &Path) {
    let mut bytes = std::fs::read(segment).unwrap();
    let has_records = |at: &usize| {
        bytes[*at] == 0xFF && u32::from_le_bytes(bytes[at + 100..at + 104].try_into().unwrap()) > 12
    };
    let at = (0..bytes.len()).step_by(4_096).find(has_records).unwrap();
    bytes[at + 140] ^= 8;
    std::fs::write(segment, bytes).unwrap();
}

#[test]
fn damage_and_gaps_are_shown_and_fail() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = folder.join("data");
    let sold = opened_three_times(&data);
    type Break<'a> = &'a dyn Fn(&Path);
    let rows: [(&str, Break<'_>, u16, &str); 6] = [
        ("flipped", &|data| damage(&segment(data, sold, 1)), sold, "0000000001.seg is damaged"),
        (
            "middle",
            &|data| std::fs::remove_file(segment(data, sold, 2)).unwrap(),
            sold,
            "0000000002.seg is missing",
        ),
        (
            "first",
            &|data| std::fs::remove_file(segment(data, sold, 1)).unwrap(),
            sold,
            "0000000001.seg is missing",
        ),
        (
            "emptied",
            &|data| {
                let shard = Folder::shard_path(data, 1 - sold);
                std::fs::remove_dir_all(&shard).unwrap();
                std::fs::create_dir(&shard).unwrap();
            },
            1 - sold,
            "holds nothing",
        ),
        (
            "gone",
            &|data| std::fs::remove_dir_all(Folder::shard_path(data, sold)).unwrap(),
            sold,
            "No such file",
        ),
        (
            "cut",
            &|data| {
                let name = format!("snapshot-{:020}.snap", 1_000);
                std::fs::write(Folder::shard_path(data, sold).join(name), "").unwrap();
            },
            sold,
            "records are lost",
        ),
    ];
    for (name, break_it, shard, told) in rows {
        let copy = folder.join(name);
        copy_folder(&data, &copy);
        break_it(&copy);
        let (code, found) = inspected(&copy, &[]);
        assert_eq!((code, &found["ok"]), (1, &Value::Bool(false)), "{name}: {found}");
        for each in [0, 1] {
            let wrong = found["shards"][usize::from(each)]["wrong"].to_string();
            assert_eq!(wrong.contains(told), each == shard, "{name}: {wrong}");
        }
        let output = onsale(&["journal", "inspect", copy.to_str().unwrap()]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(
            shown.lines().any(|l| l.contains("WRONG: ") && l.contains(told)),
            "{name}: {shown}"
        );
    }
    // A batch that was never finished is nothing bad.
    let copy = folder.join("torn");
    copy_folder(&data, &copy);
    let (_, found) = inspected(&copy, &[]);
    let used = found["shards"][usize::from(sold)]["segments"].as_array().unwrap();
    let last = used.iter().rfind(|segment| segment["kind"] == "in use").unwrap();
    let file = segment(&copy, sold, last["sequence"].as_u64().unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    let end = last["used_bytes"].as_u64().unwrap() as usize;
    bytes[end..end + 4_096].fill(0x55);
    std::fs::write(&file, bytes).unwrap();
    let output = onsale(&["journal", "inspect", copy.to_str().unwrap()]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("no whole batch at offset") && !shown.contains("WRONG"), "{shown}");
}

/// What became of `onsale serve` over a folder that it must refuse.
fn refused_by_serve(data: &Path) -> String {
    // One that does start must not keep the test.
    let output = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_onsale"), "serve", "--listen", "127.0.0.1:0"])
        .args(["--segment-mib", "1", "--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn the_only_journal_that_sold_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let sold = opened_once(&data);
    let shard = |data: &Path| Folder::shard_path(data, sold);
    type Break<'a> = &'a dyn Fn(&Path);
    let rows: [(&str, Break<'_>, &str); 4] = [
        ("first", &|data| std::fs::remove_file(segment(data, sold, 1)).unwrap(), "is missing"),
        (
            "segments",
            &|data| (1..=3).for_each(|s| std::fs::remove_file(segment(data, sold, s)).unwrap()),
            "holds nothing",
        ),
        (
            "emptied",
            &|data| {
                std::fs::remove_dir_all(shard(data)).unwrap();
                std::fs::create_dir(shard(data)).unwrap();
            },
            "holds nothing",
        ),
        ("gone", &|data| std::fs::remove_dir_all(shard(data)).unwrap(), "No such file"),
    ];
    for (name, break_it, told) in rows {
        let copy = folder.path().join(name);
        copy_folder(&data, &copy);
        break_it(&copy);
        let (code, found) = inspected(&copy, &[]);
        let wrong = found["shards"][usize::from(sold)]["wrong"].to_string();
        assert!(code == 1 && wrong.contains(told), "{name}: {found}");
        let refusal = refused_by_serve(&copy);
        let expected = if name == "first" { "is missing" } else { "its first record is gone" };
        assert!(refusal.contains(expected), "{name}: {refusal}");
    }
    // What was not broken starts as ever.
    Server::start(&data).stop();
}

/// A folder whose one shard that sold has its first segment and two spares; which shard that is.
fn opened_once(data: &Path) -> u16 {
    let server = Server::start(data);
    server.open_event();
    let spares = |shard| (2..=3).all(|sequence| segment(data, shard, sequence).exists());
    until("both shards have their spares", || spares(0) && spares(1));
    server.stop();
    let (code, found) = inspected(data, &[]);
    let last = |shard: usize| found["shards"][shard]["last_position"].as_u64().unwrap();
    assert_eq!((code, last(0).min(last(1))), (0, 1), "one shard has not sold: {found}");
    u16::from(last(1) > last(0))
}

#[test]
fn a_segment_is_looked_at_in_the_archive_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, archive) = (folder.join("data"), folder.join("archive"));
    let sold = opened_three_times(&data);
    let archive_text = archive.to_str().unwrap();
    std::fs::create_dir_all(Folder::shard_path(&archive, sold)).unwrap();
    for sequence in [1, 2] {
        let from = segment(&data, sold, sequence);
        std::fs::copy(from, segment(&archive, sold, sequence)).unwrap();
    }
    assert_eq!(inspected(&data, &["--archive", archive_text]).0, 0);
    let whole = std::fs::read(segment(&data, sold, 1)).unwrap();
    for place in [&data, &archive] {
        damage(&segment(place, sold, 1));
        let (code, found) = inspected(&data, &["--archive", archive_text]);
        let wrong = found["shards"][usize::from(sold)]["wrong"].to_string();
        assert!(code == 1 && wrong.contains("0000000001.seg is damaged"), "{wrong}");
        std::fs::write(segment(place, sold, 1), &whole).unwrap();
    }
    std::fs::remove_file(segment(&data, sold, 1)).unwrap();
    assert_eq!(inspected(&data, &["--archive", archive_text]).0, 0);
    let (code, found) = inspected(&data, &[]);
    let shard = &found["shards"][usize::from(sold)];
    assert_eq!(code, 1, "{shard}");
    assert!(shard["notes"].to_string().contains("--archive"), "{shard}");
}

#[test]
fn a_folder_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    opened_three_times(&data);
    let file = data.join("onsale.log");
    let later = std::fs::read_to_string(&file).unwrap().replace("format 1", "format 2");
    std::fs::write(&file, &later).unwrap();
    let data_text = data.to_str().unwrap();
    let backup = folder.path().join("backup");
    let refusals: [&[&str]; 4] = [
        &["serve", "--data", data_text, "--listen", "127.0.0.1:0"],
        &["journal", "inspect", data_text],
        &["journal", "audit", "--data", data_text],
        &["journal", "backup", data_text, backup.to_str().unwrap()],
    ];
    for arguments in refusals {
        let output = onsale(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("has format 2, of a later version"), "{arguments:?}: {error}");
        assert!(error.contains("start that version, or restore a backup"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), later);
}
