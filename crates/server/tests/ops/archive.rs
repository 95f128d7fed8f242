//! Audits of a folder whose first segments are in the archive, or nowhere any more.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use onsale_core::catalogue::{
    EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Expects, Item};
use onsale_core::{Action, CodeKey, CommandStamp, Currency, CustomerId, Id, Time};
use onsale_engine::{Folder, Options, Request, Rules, Seeds, Shard};

use crate::support::{onsale, root, text};

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
