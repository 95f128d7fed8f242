//! Audits of a folder whose first segments are in the archive, or nowhere any more.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onsale_core::catalogue::{
    EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Expects, Item};
use onsale_core::{Action, CodeKey, CommandStamp, Currency, CustomerId, Id, Time};
use onsale_engine::{Folder, Options, Request, Rules, Seeds, Shard};

use crate::support::{copy_folder, onsale, root, text};

const SEEDS: Seeds = Seeds { log: 7, key: CodeKey([3; 16]) };
const BEGIN: Time = Time(1_749_000_000_000_000);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

fn definition() -> EventDefinition {
    EventDefinition {
        name: "Concert".into(),
        currency: Currency::new("EUR").unwrap(),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: 600,
        payment_seconds: 600,
        sale_group: id("e"),
        quotas: vec![QuotaDefinition { id: id("all"), capacity: None }],
        ticket_types: vec![TicketTypeDefinition {
            id: id("free"),
            name: "Free".into(),
            price: 0,
            free_price: false,
            quotas: vec![id("all")],
            sale: Window::default(),
        }],
    }
}

fn act(shard: &mut Shard<u64>, n: u64, action: Action) {
    let now = Time(BEGIN.0 + n as i64);
    let stamp = CommandStamp { id: u128::from(n) << 64, body: 0, chosen: true, made_at: None };
    let command = onsale_core::Command { stamp, organizer: id("o"), event: id("e"), action };
    shard.submit(now, Request::Command(Box::new(command)), n);
    while let Some(job) = shard.seal(now) {
        shard.finish(job.run()).unwrap();
    }
    while let Some(job) = shard.prepare() {
        shard.prepared(now, job.run()).unwrap();
    }
    while shard.release().is_some() {}
    for _ in 0..100 {
        let Some(job) = shard.upkeep(now) else { return };
        assert_eq!(shard.upkept(job.run()), [""; 0]);
    }
}

/// A data folder whose first segments were archived, and then used again.
fn sold(folder: &Path) -> (PathBuf, PathBuf) {
    let (data, archive) = (folder.join("data"), folder.join("archive"));
    let rules = Rules { snapshot_bytes: 128 << 10, ..Rules::default() };
    let options = Options { archive: Some(archive.clone()), rules, ..Options::new(64 << 10) };
    let open = Folder::open(&data, 1, &SEEDS).unwrap();
    let mut shard = open.shards(&options, &SEEDS, BEGIN).unwrap().remove(0);
    let definition = Box::new(definition());
    act(&mut shard, 1, Action::DefineEvent { definition, expects: Expects::Absent });
    act(&mut shard, 2, Action::SetState { state: EventState::Open, expects: Expects::Any });
    for n in 3..150 {
        let item = Item { ticket_type: id("free"), quantity: 1, price: None };
        let customer = CustomerId::new(&format!("customer-{n}")).unwrap();
        act(&mut shard, n, Action::Buy { customer, items: [item].into_iter().collect() });
    }
    shard.close().unwrap();
    (data, archive)
}

fn ours(data: &Path, more: &[&str]) -> Output {
    onsale(&[&["journal", "audit", "--data", data.to_str().unwrap()], more].concat())
}

fn theirs(data: &Path, more: &[&str]) -> Option<i32> {
    let mut command = Command::new("python3");
    command.arg(root("tools/audit.py")).arg(data).args(more).output().unwrap().status.code()
}

#[test]
fn an_audit_reads_the_archive_and_says_what_it_can_not_see() {
    let folder = tempfile::tempdir().unwrap();
    let (data, archive) = sold(folder.path());
    let named = ["--archive", archive.to_str().unwrap()];
    let config = folder.path().join("onsale.toml");
    std::fs::write(&config, format!("[archive]\nfolder = {:?}\n", named[1])).unwrap();
    let audit = ours(&data, &named);
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
    assert!(text(&audit.stdout).contains("147 confirmed"), "{}", text(&audit.stdout));
    assert_eq!(theirs(&data, &named), Some(0));
    let configured = ours(&data, &["--config", config.to_str().unwrap()]);
    assert_eq!(text(&configured.stdout), text(&audit.stdout), "{}", text(&configured.stderr));
    // Without the archive the beginning is missing.
    let without = ours(&data, &[]);
    assert_eq!((without.status.code(), theirs(&data, &[])), (Some(1), Some(1)));
    assert!(text(&without.stderr).contains("--archive DIR"), "{}", text(&without.stderr));
    // What retention does.
    let backup = folder.path().join("backup");
    let places = [data.to_str().unwrap(), backup.to_str().unwrap()];
    let saved = onsale(&[&["journal", "backup"], &places[..], &named].concat());
    assert_eq!(saved.status.code(), Some(0), "{}", text(&saved.stderr));
    std::fs::remove_file(archive.join("shard-00/0000000001.seg")).unwrap();
    let trimmed = ours(&data, &named);
    assert_eq!((trimmed.status.code(), theirs(&data, &named)), (Some(1), Some(1)));
    let said = text(&trimmed.stderr);
    assert!(said.contains("before position ") && said.contains("--data BACKUP"), "{said}");
    // A backup goes on with what is left, and keeps what it had.
    let saved = onsale(&[&["journal", "backup"], &places[..], &named].concat());
    assert_eq!(saved.status.code(), Some(0), "{}", text(&saved.stderr));
    let audit = ours(&backup, &[]);
    assert_eq!(audit.status.code(), Some(0), "{}", text(&audit.stderr));
}

fn inspected(data: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = onsale(&[&["journal", "inspect", data.to_str().unwrap()], more].concat());
    (output.status.code(), text(&output.stdout))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("shard-00")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names
}

/// What a start says over the folder.
fn notes(data: &Path, archive: &Path, retention_us: Option<i64>) -> Vec<String> {
    let rules = Rules { snapshot_bytes: 128 << 10, retention_us, ..Rules::default() };
    let archive = Some(archive.to_owned());
    let options = Options { archive, rules, ..Options::new(64 << 10) };
    let open = Folder::open(data, 1, &SEEDS).unwrap();
    let mut shard = open.shards::<u64>(&options, &SEEDS, BEGIN).unwrap().remove(0);
    let notes = shard.take_notes();
    shard.close().unwrap();
    notes
}

#[test]
fn files_that_are_missing_in_the_archive_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (data, archive) = sold(folder.path());
    let named = ["--archive", archive.to_str().unwrap()];
    let moved = names(&archive).into_iter().filter(|name| !names(&data).contains(name));
    let moved: Vec<String> = moved.collect();
    assert!(moved.len() > 2, "{moved:?}");
    let (code, shown) = inspected(&data, &named);
    assert!(code == Some(0) && !shown.contains("WRONG"), "{shown}");
    type Break<'a> = &'a dyn Fn(&Path);
    let remove = |archive: &Path, name: &str| {
        std::fs::remove_file(archive.join("shard-00").join(name)).unwrap();
    };
    let rows: [(&str, Break<'_>, i32, Option<&str>, &str); 3] = [
        // As retention does it.
        ("first", &|archive| remove(archive, &moved[0]), 0, None, "removes none"),
        (
            "middle",
            &|archive| remove(archive, &moved[1]),
            1,
            Some("0000000002.seg is missing, though an earlier file is there"),
            "archive: 0000000002.seg is missing",
        ),
        (
            "emptied",
            &|archive| names(archive).iter().for_each(|name| remove(archive, name)),
            1,
            Some("the archive holds no file of it"),
            "the archive holds no file of this shard",
        ),
    ];
    for (what, break_it, code, wrong, note) in rows {
        let (data_copy, copy) =
            (folder.path().join(format!("{what}-data")), folder.path().join(what));
        copy_folder(&data, &data_copy);
        copy_folder(&archive, &copy);
        break_it(&copy);
        let (found, shown) = inspected(&data_copy, &["--archive", copy.to_str().unwrap()]);
        assert_eq!(found, Some(code), "{what}: {shown}");
        let told = shown
            .lines()
            .any(|line| line.contains("WRONG: ") && wrong.is_some_and(|w| line.contains(w)));
        assert_eq!(told, wrong.is_some(), "{what}: {shown}");
        // It starts from a snapshot, and says what is gone.
        let kept_notes = notes(&data_copy, &copy, None);
        assert!(kept_notes.iter().any(|said| said.contains(note)), "{what}: {kept_notes:?}");
        let trimmed = notes(&data_copy, &copy, Some(1 << 60));
        let is_normal = !trimmed.iter().any(|said| said.contains(note));
        assert_eq!(is_normal, what == "first", "{what}: {trimmed:?}");
    }
    assert!(!notes(&data, &archive, None).iter().any(|said| said.contains("neither")));
}

/// Of a file that is in both places the better one is read, by both auditors.
#[test]
fn both_auditors_read_the_better_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (data, archive) = sold(folder.path());
    let both: Vec<String> =
        names(&data).into_iter().filter(|name| names(&archive).contains(name)).collect();
    let (first, last) = (&both[0], &both[both.len() - 1]);
    let last_here = names(&data).pop().unwrap();
    assert!(both.len() > 1 && *last < last_here, "{both:?}");
    let is_record = |bytes: &[u8], at: usize| {
        bytes[at] == 0xFF && u32::from_le_bytes(bytes[at + 100..at + 104].try_into().unwrap()) > 12
    };
    let flip = |folder: &Path, name: &str, within: usize| {
        let path = folder.join("shard-00").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let mut records = (0..bytes.len()).step_by(4_096).filter(|at| is_record(&bytes, *at));
        let at = records.nth(1).unwrap();
        bytes[at + within] ^= 4;
        std::fs::write(path, bytes).unwrap();
    };
    let cut = |folder: &Path, name: &str, blocks: usize| {
        let path = folder.join("shard-00").join(name);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(path, &bytes[..blocks * 4_096]).unwrap();
    };
    let remove = |folder: &Path, name: &str| {
        std::fs::remove_file(folder.join("shard-00").join(name)).unwrap();
    };
    type Break<'a> = &'a dyn Fn(&Path, &Path);
    let rows: [(&str, Break<'_>, i32); 9] = [
        ("nothing", &|_, _| {}, 0),
        ("payload here", &|data, _| flip(data, first, 140), 0),
        ("header here", &|data, _| flip(data, first, 60), 0),
        ("payload there", &|_, archive| flip(archive, first, 140), 0),
        ("header there", &|_, archive| flip(archive, first, 60), 0),
        (
            "both",
            &|data, archive| {
                flip(data, first, 140);
                flip(archive, first, 140);
            },
            1,
        ),
        ("cut there", &|_, archive| cut(archive, first, 2), 0),
        ("a gap here", &|data, _| remove(data, last), 1),
        (
            "the end here",
            &|data, _| {
                let later = names(data).into_iter().filter(|name| name >= last);
                later.for_each(|name| remove(data, &name));
            },
            1,
        ),
    ];
    for (what, break_it, code) in rows {
        let folder = tempfile::tempdir().unwrap();
        let copies = ["data", "archive"].map(|name| folder.path().join(name));
        copy_folder(&data, &copies[0]);
        copy_folder(&archive, &copies[1]);
        break_it(&copies[0], &copies[1]);
        let named = ["--archive", copies[1].to_str().unwrap()];
        let audit = ours(&copies[0], &named);
        let said = text(&audit.stderr);
        assert_eq!(audit.status.code(), Some(code), "{what}, ours: {said}");
        assert_eq!(theirs(&copies[0], &named), Some(code), "{what}, theirs; ours: {said}");
    }
}

/// What was written last is never in the archive only.
#[test]
fn a_folder_without_its_last_segment_is_not_sound() {
    let folder = tempfile::tempdir().unwrap();
    let (data, archive) = sold(folder.path());
    let named = ["--archive", archive.to_str().unwrap()];
    for entry in std::fs::read_dir(data.join("shard-00")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "seg") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let audit = ours(&data, &named);
    assert_eq!((audit.status.code(), theirs(&data, &named)), (Some(1), Some(1)));
}
