//! What can't be served is refused with words that say what to do.

use std::path::Path;

use onsale_services::{postgres, wait_until};

use crate::buyers::client;
use crate::process::{KEY, Process};
use crate::{PATIENCE, SETTINGS, sql};

/// Starts a server that must not start; gives its exit code and what it said.
fn refused(data: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(arguments)
        .env("ONSALE_KEY", KEY)
        .env("RUST_LOG", "error")
        .envs(settings.iter().copied())
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn told(found: (Option<i32>, String), code: i32, words: &[&str]) {
    let (found_code, said) = found;
    assert_eq!(found_code, Some(code), "{said}");
    for part in words {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn folders_and_databases_that_do_not_fit_are_refused() {
    let (database, folder) = (postgres(), tempfile::tempdir().unwrap());
    let (files, copy) = (folder.path().join("files"), folder.path().join("copy"));
    let url = database.url();
    Process::serve(&files, &["--shards", "1"], &[]).kill();
    let os = [("ONSALE_DURABILITY", "os")];
    let of_own = ["holds a log of its own, and the database none", "Name another data folder"];
    told(refused(&files, &["--journal", url], &os), 1, &of_own);
    told(
        refused(&copy, &["--journal", url], &[]),
        1,
        &["journal.url: fsync is off", "durability = \"os\""],
    );
    let nowhere = "postgres://onsale@127.0.0.1:1/x";
    told(
        refused(&copy, &["--journal", nowhere], &os),
        1,
        &["journal.url: the database can't be reached"],
    );
    let nobody = url.replace("onsale@", "nobody:secret@");
    let (code, said) = refused(&copy, &["--journal", &nobody], &os);
    assert!(!said.contains("secret"), "{said}");
    told(
        (code, said),
        1,
        &["journal.url: the database does not let us in", "Check user, password"],
    );
    told(
        refused(&copy, &["--standby"], &[]),
        2,
        &["journal.standby (--standby): must be false without"],
    );
    told(
        refused(&copy, &["--journal", "mysql://x"], &[]),
        2,
        &["journal.url (--journal): is not an address"],
    );

    let mut server = Process::serve(&copy, &["--journal", url, "--standby"], &SETTINGS);
    let ready = || client(&server.url, PATIENCE).request("GET", "/readyz", &[], None);
    wait_until("it is active", || ready().is_ok_and(|answer| answer.status == 200));
    server.kill();
    told(
        refused(&files, &["--journal", url], &os),
        1,
        &["holds the log", "name another data folder"],
    );
    let heads = "UPDATE onsale.heads SET lease_until = '-infinity', position = 0 WHERE shard = 1";
    sql(url, heads);
    let back = ["ends at position 0 of shard 1", "has lost what it had committed"];
    told(refused(&copy, &["--journal", url], &os), 1, &back);
    sql(
        url,
        "UPDATE onsale.heads SET position = 1; UPDATE onsale.batches SET chain = 1 WHERE shard = 1",
    );
    let other = ["is not the beginning of the log in the database", "move the data folder away"];
    told(refused(&copy, &["--journal", url], &os), 1, &other);
    sql(url, "UPDATE onsale.log SET version = 2");
    told(
        refused(&copy, &["--journal", url], &os),
        1,
        &["version 2, this program works with version 1"],
    );
}
