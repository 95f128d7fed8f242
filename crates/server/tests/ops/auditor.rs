//! `tools/audit.py` knows nothing but `docs/journal-format.md`, and agrees with `onsale journal audit`: on
//! sound journals in every number, on damaged ones in the verdict.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Server, buyers, copy_folder, onsale, root, text};

fn python(data: &Path) -> Output {
    let script = root("tools/audit.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).arg(data).arg("--json").output();
    output.expect("python3 is needed: on Debian, `apt-get install python3`")
}

fn ours(data: &Path) -> Output {
    onsale(&["journal", "audit", "--json", "--data", data.to_str().unwrap()])
}

/// Both read this folder and say the same; gives back the exit code.
fn agree(data: &Path, what: &str) -> i32 {
    let (ours, theirs) = (ours(data), python(data));
    let said = format!("{what}: {} | {}", text(&ours.stderr), text(&theirs.stderr));
    assert_eq!(ours.status.code(), theirs.status.code(), "{said}");
    if !ours.stdout.is_empty() {
        let mut reports = [ours.stdout, theirs.stdout]
            .map(|out| serde_json::from_slice::<Value>(&out).expect(&said));
        // The words are each one's own; how much is wrong is not.
        for report in &mut reports {
            report.as_object_mut().unwrap().remove("findings");
        }
        let [ours, theirs] = reports;
        for (key, value) in ours.as_object().unwrap() {
            assert_eq!(value, &theirs[key], "{key}, {said}");
        }
    }
    ours.status.code().unwrap()
}

#[test]
fn agrees_on_every_fixture_and_on_what_is_damaged() {
    let mut found = 0;
    for entry in std::fs::read_dir(root("crates/sim/tests/golden")).unwrap() {
        let fixture = entry.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("whole");
        copy_folder(&fixture, &data);
        assert_eq!(agree(&data, "as it was"), 0, "{}", fixture.display());
        damage(&data, folder.path());
        found += 1;
    }
    assert!(found > 0, "there are no fixtures");
}

/// Copies with one thing wrong each, and both say the same of it. Some of it can't be told from a batch that
/// was never finished, so it may be right to say that nothing is wrong.
fn damage(data: &Path, scratch: &Path) {
    let first = "shard-00/0000000001.seg";
    let length = std::fs::metadata(data.join(first)).unwrap().len() as usize;
    let (mut wrong, mut number) = (0, 0);
    let mut check = |what: &str, change: &dyn Fn(&Path, &mut Vec<u8>)| {
        number += 1;
        let copy = scratch.join(number.to_string());
        copy_folder(data, &copy);
        let mut bytes = std::fs::read(copy.join(first)).unwrap();
        change(&copy, &mut bytes);
        if copy.join(first).exists() {
            std::fs::write(copy.join(first), bytes).unwrap();
        }
        wrong += i32::from(agree(&copy, what) != 0);
    };
    for part in 0..12 {
        let offset = part * length / 12 / 4096 * 4096 + [3, 40, 90, 140, 300][part % 5];
        check(&format!("a bit of byte {offset} flipped"), &|_, bytes| bytes[offset] ^= 4);
    }
    for cut in [1, 4096, length / 2, length - 4096] {
        check(&format!("{cut} bytes cut off"), &|_, bytes| bytes.truncate(length - cut));
    }
    check("a block of noise", &|_, bytes| bytes[8192..12288].fill(0xA5));
    check("the segment is gone", &|copy, _| std::fs::remove_file(copy.join(first)).unwrap());
    check("a segment in between is missing", &|copy, _| {
        std::fs::copy(copy.join(first), copy.join("shard-00/0000000003.seg")).unwrap();
    });
    check("another log's id", &|copy, _| {
        let path = copy.join("onsale.log");
        let text = std::fs::read_to_string(&path).unwrap().replace("log 0", "log 1");
        std::fs::write(path, text).unwrap();
    });
    assert!(wrong > 10, "only {wrong} of {number} were noticed");
}

#[test]
fn agrees_on_what_a_server_sold() {
    let folder = tempfile::tempdir().unwrap();
    for orders in [300, 600] {
        let server = Server::start(folder.path());
        if orders == 300 {
            server.open_event();
        }
        let report = onsale_rush::run(buyers(&server.url, orders, 2_000.0), &mut |_| {}).unwrap();
        assert!(!report.acknowledged.is_empty(), "{report}");
        server.stop();
        assert_eq!(agree(folder.path(), "after a sale"), 0);
    }
}
