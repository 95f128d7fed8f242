//! Backups while a real server sells, and folders restored from them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use onsale_core::code::OrderCode;
use onsale_core::{Event, Fact, Sale};
use onsale_engine::Folder;
use onsale_journal::{FileStorage, ReadOnly, open_read_only};
use serde_json::{Value, json};

use crate::support::{EVENT, Server, buyers, copy_folder, onsale, text, until};

fn run(arguments: &[&str]) -> String {
    let output = onsale(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}\n{err}");
    out
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

fn log(data: &Path, shard: u16) -> ReadOnly {
    let storage = FileStorage::open_read_only(Folder::shard_path(data, shard)).unwrap();
    open_read_only(Arc::new(storage)).unwrap()
}

fn events(log: &ReadOnly) -> Vec<Event> {
    let mut events = Vec::new();
    let each = &mut |_: u64, record: &[u8]| events.push(onsale_codec::decode(record).unwrap());
    log.reader.read(0, usize::MAX, usize::MAX, each).unwrap();
    events
}

fn replay(events: &[Event]) -> Sale {
    let mut sale = Sale::default();
    for (position, event) in (1..).zip(events) {
        sale.apply(position, event).unwrap();
    }
    sale
}

/// Codes of all orders and tickets of a folder.
fn codes(data: &Path, shards: u16) -> (BTreeSet<OrderCode>, BTreeSet<String>) {
    let (mut orders, mut tickets) = (BTreeSet::new(), BTreeSet::new());
    for shard in 0..shards {
        let events = events(&log(data, shard));
        let Fact::ShardStarted(started) = &events[0].fact else { panic!("no first record") };
        for event in &events {
            if let Fact::OrderPlaced(placed) = &event.fact {
                orders.insert(placed.order);
                let of_order = started.key.tickets(placed);
                tickets.extend(of_order.iter().map(|ticket| ticket.code.to_string()));
            }
        }
    }
    (orders, tickets)
}

/// Numbers that look random, the same in every run.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// A folder that was sold from, and the last of several backups that were made meanwhile.
fn sold_and_saved(folder: &Path) {
    let data = folder.join("data");
    let (data_text, backup) = (path(folder, "data"), path(folder, "backup"));
    let server = Server::start(&data);
    server.open_event();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let url = server.url.clone();
        let over = &over;
        scope.spawn(move || {
            let report = onsale_rush::run(buyers(&url, 8_000, 2_500.0), &mut |_| {}).unwrap();
            assert!(report.acknowledged.len() > 1_000, "{report}");
            over.store(true, Ordering::Relaxed);
        });
        let (mut backups, mut last) = (0, 0);
        while !over.load(Ordering::Relaxed) && backups < 100 {
            let out = run(&["journal", "backup", &data_text, &backup, "--json"]);
            let saved: Value = serde_json::from_str(&out).unwrap();
            let shards = saved["backup"]["shards"].as_array().unwrap();
            let sum = shards.iter().map(|s| s["last_position"].as_u64().unwrap()).sum();
            assert!(sum >= last, "{sum} after {last}");
            (backups, last) = (backups + 1, sum);
            let audit = onsale::audit::audit(Path::new(&backup)).unwrap();
            assert!(audit.report.ok, "{}", audit.to_text());
        }
        assert!(backups > 2, "{backups} backups were made meanwhile");
    });
    run(&["journal", "inspect", &data_text]);
    server.stop();
}

#[test]
fn a_backup_under_load_is_restored_to_any_position() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    sold_and_saved(folder);
    let (data, backup) = (folder.join("data"), path(folder, "backup"));
    let (known_orders, known_tickets) = codes(&data, 2);
    let originals: Vec<Vec<Event>> = (0..2).map(|shard| events(&log(&data, shard))).collect();
    let of: Vec<u64> = (0..2).map(|s| log(Path::new(&backup), s).last_position).collect();
    let (mut seed, mut generation) = (0x5EED, 1);
    for round in 0..6 {
        let kept: Vec<u64> = match round {
            0 => of.clone(),
            _ => of.iter().map(|of| 1 + random(&mut seed) % of).collect(),
        };
        let target = path(folder, &format!("restored-{round}"));
        let limits: Vec<String> =
            (0..2).map(|s| format!("--to-position={s}={}", kept[s])).collect();
        let mut arguments = vec!["journal", "restore", &backup, &target, "--segment-mib", "1"];
        arguments.extend(limits.iter().map(String::as_str));
        let out = run(&arguments);
        generation += 1;
        assert!(out.contains(&format!("generation {generation}")), "{out}");
        assert_eq!(out.contains("CUT"), kept != of, "{out}");
        for (shard, kept) in (0..).zip(&kept) {
            let restored = log(Path::new(&target), shard);
            assert_eq!((restored.last_position, restored.generation), (kept + 1, generation));
            let mut expected = originals[usize::from(shard)][..*kept as usize].to_vec();
            let at = expected.last().unwrap().at;
            let fact = Fact::GenerationStarted { generation };
            expected.push(Event { at, stamp: None, subject: None, fact });
            let hash = replay(&events(&restored)).hash();
            assert_eq!(hash, replay(&expected).hash(), "shard {shard}, position {kept}");
        }
        assert!(onsale::audit::audit(Path::new(&target)).unwrap().report.ok, "round {round}");
    }
    sells_with_new_codes(Path::new(&path(folder, "restored-0")), &known_orders, &known_tickets);
}

/// A server starts with a restored folder, and gives out no code that was given out before.
fn sells_with_new_codes(data: &Path, orders: &BTreeSet<OrderCode>, tickets: &BTreeSet<String>) {
    let before = codes(data, 2);
    let server = Server::start(data);
    let report = onsale_rush::run(buyers(&server.url, 300, 3_000.0), &mut |_| {}).unwrap();
    assert!(report.acknowledged.len() > 50, "{report}");
    let old = before.0.first().unwrap();
    let shown = server.send("GET", &format!("{EVENT}/orders/{old}"), ("accept", "*/*"), "");
    assert_eq!(shown.status, 200, "an order of before the restore is there");
    server.stop();
    let audit = onsale::audit::audit(data).unwrap();
    assert!(audit.report.ok, "{}", audit.to_text());
    let after = codes(data, 2);
    let new: Vec<_> = after.0.difference(&before.0).collect();
    assert!(new.len() >= report.acknowledged.len() && new.len() > 50);
    assert!(new.iter().all(|code| !orders.contains(code)), "an order code came twice");
    let mut new = after.1.difference(&before.1);
    assert!(new.all(|code| !tickets.contains(code)), "a ticket code came twice");
}

#[test]
fn a_time_a_replaced_folder_and_a_generation_are_kept_to() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = (path(folder, "data"), path(folder, "backup"));
    let server = Server::start(Path::new(&data));
    server.open_event();
    onsale_rush::run(buyers(&server.url, 200, 1_000.0), &mut |_| {}).unwrap();
    run(&["journal", "backup", &data, &backup]);
    server.stop();
    let logs: Vec<Vec<Event>> = (0..2).map(|shard| events(&log(Path::new(&data), shard))).collect();
    let sold = logs.iter().find(|events| events.len() > 10).unwrap();
    let at = sold[sold.len() / 2].at;
    let time = onsale::catalogue::time_to_text(at);
    let target = path(folder, "by-time");
    run(&["journal", "restore", &backup, &target, "--to-time", &time, "--segment-mib", "1"]);
    for (shard, events) in (0..).zip(&logs) {
        let kept = events.iter().filter(|event| event.at <= at).count() as u64;
        assert_eq!(log(Path::new(&target), shard).last_position, kept + 1, "shard {shard}");
    }
    // Generation 2 is gone; what was replaced and what is asked for count, too.
    let restore = |name: &str, more: &[&str]| {
        let target = path(folder, name);
        let mut arguments = vec!["journal", "restore", &backup, &target, "--segment-mib", "1"];
        arguments.extend(more);
        onsale(&arguments)
    };
    assert_eq!(restore("low", &["--generation", "2"]).status.code(), Some(1));
    assert_eq!(restore("nine", &["--generation", "9"]).status.code(), Some(0));
    let other = path(folder, "other");
    copy_folder(Path::new(&backup), Path::new(&other));
    let nine = path(folder, "nine");
    let more = onsale(&["journal", "restore", &other, &path(folder, "ten"), "--replaces", &nine]);
    assert!(text(&more.stdout).contains("generation 10"), "{}", text(&more.stderr));
    // A backup is not sold from, and a folder that is in use is not restored to.
    let served = onsale(&["serve", "--data", &backup, "--listen", "127.0.0.1:0"]);
    assert_eq!(served.status.code(), Some(1));
    assert!(text(&served.stderr).contains("is a backup"), "{}", text(&served.stderr));
    assert_eq!(restore("data", &[]).status.code(), Some(1));
    let records = run(&["journal", "inspect", &nine, "--shard", "0", "--records", "1..3"]);
    let first: Value = serde_json::from_str(records.lines().next().unwrap()).unwrap();
    assert_eq!(first["type"], "onsale.shard.started.v1");
    assert!(!records.contains("key"), "the secret is shown: {records}");
}

/// What is beside the sales comes back, and whoever had read from it is told that it is another history.
#[test]
fn cursors_webhooks_and_streams_come_back() {
    const ANY: (&str, &str) = ("accept", "*/*");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = (path(folder, "data"), path(folder, "backup"));
    let server = Server::start(Path::new(&data));
    server.open_event();
    let send = |server: &Server, method: &str, path: &str, body: Value, status: u16| {
        let answer = server.send(method, path, ANY, &body.to_string());
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.problem());
        answer.json()
    };
    let none = || Value::Null;
    let note = |server: &Server, n: u64| {
        let record = json!({"type": "onsale.control.noted.v1", "data": {"n": n}});
        send(server, "POST", "/v1/streams/control/records", record, 201)
    };
    let wish = |server: &Server, event: &str| {
        let wanted = json!({
            "name": "E", "currency": "EUR", "hold_seconds": 60, "quotas": [{"id": "q", "capacity": 5}],
            "ticket_types": [{"id": "t", "name": "T", "price": 0, "quotas": ["q"]}],
        });
        let subject = format!("o/{event}");
        let record = json!({"type": "onsale.event.define.v1", "subject": subject, "data": wanted});
        send(server, "POST", "/v1/streams/catalogue/records", record, 201);
    };
    let is_there = |server: &Server, event: &str| {
        let path = format!("/v1/organizers/o/events/{event}");
        server.send("GET", &path, ANY, "").status == 200
    };
    let generation = |data: &str| {
        let told = run(&["stream", "shards", "control", "--at", data, "--json"]);
        serde_json::from_str::<Value>(&told).unwrap()["generation"].clone()
    };
    let (cursor, hook) = ("/v1/streams/sales/cursors/mailer", "/v1/organizers/o/webhooks/w");
    send(&server, "PUT", cursor, json!({"positions": {"0": 1}}), 200);
    send(&server, "PUT", hook, json!({"url": "http://127.0.0.1:9/"}), 201);
    wish(&server, "second");
    until("the wish is carried out", || is_there(&server, "second"));
    note(&server, 1);
    run(&["journal", "backup", &data, &backup]);
    note(&server, 2);
    run(&["journal", "backup", &data, &backup]);
    note(&server, 3);
    let before = generation(&data);
    server.stop();

    let restored = path(folder, "restored");
    run(&["journal", "restore", &backup, &restored, "--segment-mib", "1"]);
    let server = Server::start(Path::new(&restored));
    let notes = send(&server, "GET", "/v1/streams/control/records", none(), 200);
    let numbers: Vec<&Value> =
        notes["records"].as_array().unwrap().iter().map(|record| &record["data"]["n"]).collect();
    assert_eq!(numbers, [1, 2], "what the last backup had");
    assert_ne!(generation(&restored), before);
    assert_eq!(note(&server, 4)["position"], 3);
    assert_eq!(send(&server, "GET", hook, none(), 200)["url"], "http://127.0.0.1:9/");
    let read = "/v1/streams/sales/records?shard=0&cursor=mailer";
    let told = send(&server, "GET", read, none(), 409);
    assert_eq!(told["type"], "/problems/log-diverged");
    let is_stuck = |value: u8| {
        let page = text(&server.send("GET", "/metrics", ANY, "").body);
        page.contains(&format!("\nonsale_catalogue_stuck {value}\n"))
    };
    until("the engine says that it does not follow", || is_stuck(1));
    run(&[
        "stream",
        "reset",
        "engine",
        "--store",
        "_server",
        "--stream",
        "catalogue",
        "--to",
        "end",
        "--at",
        &restored,
    ]);
    wish(&server, "third");
    until("it follows again", || is_there(&server, "third") && is_stuck(0));
    server.stop();
}

#[test]
fn a_damaged_backup_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = (path(folder, "data"), path(folder, "backup"));
    let server = Server::start(Path::new(&data));
    server.open_event();
    onsale_rush::run(buyers(&server.url, 200, 1_000.0), &mut |_| {}).unwrap();
    run(&["journal", "backup", &data, &backup]);
    server.stop();
    let largest = |shard: u16| {
        let files = std::fs::read_dir(Folder::shard_path(Path::new(&backup), shard)).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files.max_by_key(|file| std::fs::metadata(file).unwrap().len()).unwrap()
    };
    let segment = [largest(0), largest(1)]
        .into_iter()
        .max_by_key(|file| std::fs::metadata(file).unwrap().len())
        .unwrap();
    let whole = std::fs::read(&segment).unwrap();
    let blocks = whole.len() / 4096;
    let refused = |what: &str, number: usize| {
        let target = path(folder, &format!("target-{what}-{number}"));
        let output = onsale(&["journal", "restore", &backup, &target, "--segment-mib", "1"]);
        assert_eq!(output.status.code(), Some(1), "{what} {number}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("damaged"), "{}", text(&output.stderr));
        assert!(!Path::new(&target).join("onsale.log").exists());
    };
    // Blocks where a batch begins that has records: the others go on with one, or are marks, which have no payload.
    let payload = |block: &usize| {
        let head = &whole[block * 4096..];
        let bytes = u32::from_le_bytes(head[100..104].try_into().unwrap());
        head[0] == 0xFF && bytes > 12
    };
    let begins: Vec<usize> = (1..blocks).filter(payload).collect();
    assert!(begins.len() > 8, "{begins:?} of {blocks}");
    for block in begins.iter().step_by(begins.len() / 8) {
        let mut bytes = whole.clone();
        bytes[block * 4096 + 140] ^= 8;
        std::fs::write(&segment, &bytes).unwrap();
        refused("flipped", *block);
    }
    std::fs::write(&segment, &whole[..whole.len() / 2 / 4096 * 4096]).unwrap();
    refused("cut", 0);
    // What is gone was the last batch: only backup.json says that it was there.
    std::fs::write(&segment, &whole).unwrap();
    let files = std::fs::read_dir(segment.parent().unwrap()).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let last = files.filter(|file| file.extension().is_some_and(|end| end == "seg")).max().unwrap();
    let last_whole = std::fs::read(&last).unwrap();
    let has_records = |at: &usize| {
        let bytes = u32::from_le_bytes(last_whole[at + 100..at + 104].try_into().unwrap());
        last_whole[*at] == 0xFF && bytes > 12
    };
    let end = (0..last_whole.len()).step_by(4096).rfind(has_records).unwrap();
    std::fs::write(&last, &last_whole[..end]).unwrap();
    refused("cut", 1);
    let output = onsale(&["journal", "inspect", &backup]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let is_told = |line: &str| line.contains("WRONG: it ends at position ");
    assert_eq!(shown.lines().filter(|line| is_told(line)).count(), 1, "{shown}");
    std::fs::write(&last, &last_whole).unwrap();
    assert_eq!(onsale(&["journal", "inspect", &backup]).status.code(), Some(0));
    for (number, name) in ["keys.json", "webhooks.json"].into_iter().enumerate() {
        let file = Path::new(&backup).join(name);
        let before = std::fs::read(&file).ok();
        std::fs::write(&file, "{").unwrap();
        refused("unreadable", number);
        match before {
            Some(before) => std::fs::write(&file, before).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
    }
    std::fs::remove_file(&segment).unwrap();
    refused("missing", 0);
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A small backup, and the folder that it is of.
fn small_backup(folder: &Path) -> (String, String) {
    let (data, backup) = (path(folder, "data"), path(folder, "backup"));
    let server = Server::start(Path::new(&data));
    server.open_event();
    run(&["journal", "backup", &data, &backup]);
    server.stop();
    (data, backup)
}

#[test]
fn a_refused_restore_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = small_backup(folder);
    let nowhere = path(folder, "nowhere");
    let restore = |from: &str, to: &str, more: &[&str]| {
        let mut arguments = vec!["journal", "restore", from, to, "--segment-mib", "1"];
        arguments.extend(more);
        let output = onsale(&arguments);
        (output.status.code(), text(&output.stderr))
    };
    let refusals: [(&str, &[&str]); 9] = [
        (&backup, &["--to-position", "0=99999"]),
        (&backup, &["--to-position", "0=0"]),
        (&backup, &["--to-position", "7=1"]),
        (&backup, &["--to-time", "2000-01-01T00:00:00Z"]),
        (&backup, &["--replaces", &nowhere]),
        (&backup, &["--generation", "2"]),
        (&nowhere, &[]),
        (&data, &[]),
        // It fails at the very end: what was written by then goes, too.
        (&backup, &[]),
    ];
    assert_eq!(restore(&backup, &path(folder, "first"), &[]).0, Some(0));
    let (made, there) = (path(folder, "to/come"), path(folder, "there"));
    std::fs::create_dir(&there).unwrap();
    let unreadable = Path::new(&backup).join("webhooks.json");
    for (number, (from, more)) in refusals.iter().enumerate() {
        if number + 1 == refusals.len() {
            std::fs::create_dir(&unreadable).unwrap();
        }
        for to in [&made, &there] {
            let (code, error) = restore(from, to, more);
            assert_eq!(code, Some(1), "{more:?}: {error}");
            assert!(!error.contains("is not empty"), "{more:?}: {error}");
            assert!(!folder.join("to").exists(), "{more:?} left a folder");
            assert_eq!(names(Path::new(&there)), Vec::<String>::new(), "{more:?}");
        }
    }
    std::fs::remove_dir(unreadable).unwrap();
    // A folder that holds anything is left as it is; a lone lock is nothing.
    std::fs::write(Path::new(&there).join("mine"), "").unwrap();
    let (code, error) = restore(&backup, &there, &[]);
    assert!(code == Some(1) && error.contains("is not empty: it holds mine"), "{error}");
    assert_eq!(names(Path::new(&there)), ["mine"]);
    std::fs::rename(Path::new(&there).join("mine"), Path::new(&there).join("LOCK")).unwrap();
    assert_eq!(restore(&backup, &there, &[]).0, Some(0));
    assert!(onsale::audit::audit(Path::new(&there)).unwrap().report.ok);
}

#[test]
fn a_backup_without_its_keys_or_webhooks_is_not_taken_for_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = small_backup(folder);
    let restore = |name: &str, more: &[&str]| {
        let to = path(folder, name);
        let arguments = ["journal", "restore", &backup, &to, "--segment-mib", "1"];
        let output = onsale(&[&arguments[..], more].concat());
        (output.status.code(), text(&output.stderr))
    };
    let inspect = || {
        let output = onsale(&["journal", "inspect", &backup]);
        (output.status.code(), text(&output.stdout))
    };
    let keys = Path::new(&backup).join("keys.json");
    std::fs::remove_file(&keys).unwrap();
    let (code, error) = restore("refused", &[]);
    assert!(code == Some(1) && error.contains("has no keys.json"), "{error}");
    assert!(error.contains("--without-keys") && !folder.join("refused").exists(), "{error}");
    let (code, shown) = inspect();
    assert!(code == Some(1) && shown.contains("WRONG: keys.json is missing"), "{shown}");
    assert_eq!(restore("keyless", &["--without-keys"]).0, Some(0));
    assert!(!folder.join("keyless/keys.json").exists());
    // Keys that are there are left out, too, where that is said.
    std::fs::copy(Path::new(&data).join("keys.json"), &keys).unwrap();
    assert_eq!(restore("whole", &[]).0, Some(0));
    assert!(folder.join("whole/keys.json").exists());
    assert_eq!(restore("without", &["--without-keys"]).0, Some(0));
    assert!(!folder.join("without/keys.json").exists());
    // Not every folder has webhooks; one that had some must get them back.
    assert!(!Path::new(&backup).join("webhooks.json").exists());
    std::fs::write(Path::new(&data).join("webhooks.json"), "{}").unwrap();
    run(&["journal", "backup", &data, &backup]);
    std::fs::remove_file(Path::new(&backup).join("webhooks.json")).unwrap();
    let (code, error) = restore("hookless", &[]);
    assert!(code == Some(1) && error.contains("webhooks.json is missing"), "{error}");
    let (code, shown) = inspect();
    assert!(code == Some(1) && shown.contains("WRONG: webhooks.json is missing"), "{shown}");
}

#[test]
fn a_restore_that_can_not_print_says_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let (_, backup) = small_backup(folder.path());
    let restored = path(folder.path(), "restored");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["journal", "restore", &backup, &restored, "--segment-mib", "1"])
        .stdout(full)
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("{restored} was made all the same, in generation 2")),
        "{error}"
    );
    assert!(error.contains("cannot write to standard output"), "{error}");
    assert!(onsale::audit::audit(Path::new(&restored)).unwrap().report.ok);
}

#[test]
fn what_a_killed_restore_left_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = small_backup(folder);
    // It waits for ever for somebody to write the keys.
    let keys = Path::new(&backup).join("keys.json");
    std::fs::remove_file(&keys).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&keys).status().unwrap().success());
    let target = path(folder, "target");
    let mut restore = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["journal", "restore", &backup, &target, "--segment-mib", "1"])
        .spawn()
        .unwrap();
    until("shards are there", || Path::new(&target).join("shard-01").exists());
    // Nor is a second one begun, which would take the same generation, or a run of the backup, which would forget it.
    let busy: [&[&str]; 3] = [
        &["serve", "--data", &target, "--listen", "127.0.0.1:0"],
        &["journal", "restore", &backup, &path(folder, "second"), "--segment-mib", "1"],
        &["journal", "backup", &data, &backup],
    ];
    let busy = busy.map(onsale);
    restore.kill().unwrap();
    restore.wait().unwrap();
    for output in busy {
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("in use by another process"), "{error}");
    }
    assert!(!folder.join("second").exists());
    // Before the first shard was there it looked like this.
    let target = Path::new(&target);
    let early = folder.join("early");
    std::fs::create_dir(&early).unwrap();
    std::fs::copy(target.join("onsale.log"), early.join("onsale.log")).unwrap();
    let before = names(target);
    for (data, names_before) in [(target, before), (&early, vec!["onsale.log".to_owned()])] {
        let data_text = data.to_str().unwrap();
        let refusals: [&[&str]; 4] = [
            &["serve", "--data", data_text, "--listen", "127.0.0.1:0"],
            &["journal", "inspect", data_text],
            &["journal", "backup", data_text, &path(folder, "other")],
            &["journal", "restore", &backup, data_text],
        ];
        for arguments in refusals {
            let output = onsale(arguments);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
            let told = error.contains("a restore was begun") || error.contains("is not empty");
            assert!(told, "{arguments:?}: {error}");
        }
        let mut after = names(data);
        after.retain(|name| name != "LOCK" || names_before.contains(name));
        assert_eq!(after, names_before, "nothing was made there");
    }
}

#[test]
fn a_backup_does_not_go_into_what_it_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (data, backup) = small_backup(folder);
    let archive = path(folder, "archive");
    let before = names(Path::new(&data));
    for (from, to, command) in [
        (&data, path(folder, "data/backup"), "backup"),
        (&data, data.clone(), "backup"),
        (&data, path(folder, "."), "backup"),
        (&data, path(folder, "archive/backup"), "backup"),
        (&backup, path(folder, "backup/data"), "restore"),
    ] {
        let mut arguments = vec!["journal", command, from, &to];
        arguments.extend(["--archive", &archive].iter().filter(|_| command == "backup"));
        let output = onsale(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("are one folder, or one is in the other"), "{error}");
    }
    let output = onsale(&["journal", "restore", &backup, &path(folder, "data/to/come")]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("which is a data folder or a backup: take another"), "{error}");
    // An archive that is named must be there, and a restored folder has a backup of its own.
    let restored = path(folder, "restored");
    run(&["journal", "restore", &backup, &restored, "--segment-mib", "1"]);
    let refusals: [(&[&str], &str); 3] = [
        (&["journal", "backup", &data, &backup, "--archive", &archive], "--archive: "),
        (&["journal", "inspect", &data, "--archive", &archive], "--archive: "),
        (&["journal", "backup", &restored, &backup], "take another one for its backup"),
    ];
    for (arguments, told) in refusals {
        let output = onsale(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(told), "{arguments:?}: {error}");
    }
    assert_eq!(names(Path::new(&data)), before);
    assert!(!Path::new(&archive).exists() && !folder.join("backup/data").exists());
}
