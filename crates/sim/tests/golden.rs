//! Journals that earlier versions wrote must be read for ever: each folder below
//! `golden/` is a data folder, and `EXPECTED` says what it must come to.
//!
//! `ONSALE_GOLDEN=NAME cargo test -p onsale-sim --test golden` writes a new one, once
//! for each release that changes the form; one that is there is never written again.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use onsale_core::{CodeKey, Time};
use onsale_engine::audit::Auditor;
use onsale_engine::{Folder, Options, Request, Seeds, Shard};
use onsale_journal::Reader;
use onsale_sim::generator::Generator;
use onsale_sim::model::Model;

const SEEDS: Seeds = Seeds { log: 0x601d, key: CodeKey(*b"a golden secret!") };
const SEGMENT_BYTES: u64 = 256 << 10;
const COMMANDS: usize = 600;
const COMMANDS_PER_BATCH: usize = 12;
/// Kinds of facts that there are; `GenerationStarted` is not written by anything yet.
const KINDS: usize = 12;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn open(data: &Path) -> Shard<()> {
    let folder = Folder::open(data, 1, &SEEDS).unwrap();
    folder.shards(&Options::new(SEGMENT_BYTES), &SEEDS, Time(0)).unwrap().pop().unwrap()
}

/// What a journal comes to, as `EXPECTED` has it.
fn comes_to(shard: &Shard<()>) -> String {
    let (sale, facts) = (shard.sale(), kinds(&shard.info().reader));
    format!("position {}\nhash {:032x}\nfacts {}\n", sale.position(), sale.hash(), facts.len())
}

fn kinds(reader: &Reader) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let each = &mut |_: u64, record: &[u8]| {
        let fact = onsale_codec::decode(record).unwrap().fact;
        let name = format!("{fact:?}");
        kinds.insert(name.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned());
    };
    reader.read(0, usize::MAX, usize::MAX, each).unwrap();
    kinds
}

#[test]
fn golden_journals_replay() {
    if let Ok(name) = std::env::var("ONSALE_GOLDEN") {
        write(&golden().join(name));
    }
    let mut found = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let copy = scratch(&format!("read-{name}"));
        copy_folder(&path, &copy);
        let shard = open(&copy);
        let expected = fs::read_to_string(path.join("EXPECTED")).unwrap();
        assert_eq!(comes_to(&shard), expected, "{name}");
        shard.sale().check().unwrap();
        let mut auditor = Auditor::new();
        let each = &mut |position: u64, record: &[u8]| {
            auditor.record(0, position, &onsale_codec::decode(record).unwrap());
        };
        shard.info().reader.read(0, usize::MAX, usize::MAX, each).unwrap();
        let report = auditor.finish();
        assert!(report.ok, "{name}: {:?}", report.findings);
        fs::remove_dir_all(copy).unwrap();
        found += 1;
    }
    assert!(found > 0, "there is no golden journal");
}

fn write(path: &Path) {
    assert!(!path.exists(), "{} is there: a golden journal is never written again", path.display());
    let data = scratch("write");
    fs::create_dir_all(&data).unwrap();
    {
        let mut shard = open(&data);
        let mut generator = Generator::new(2026);
        let mut model = Model::new(SEEDS.key, 0, 1);
        for step in 0..COMMANDS {
            let (command, now) = generator.next(&model);
            // The generator looks at the model to find commands that mean something.
            let _ = model.execute(&command, now);
            shard.submit(now, Request::Command(Box::new(command)), ());
            if step % COMMANDS_PER_BATCH == 0 || !shard.ready() {
                flush(&mut shard, now);
            }
        }
        flush(&mut shard, Time(i64::MAX >> 11));
        let mark = shard.mark().unwrap();
        shard.finish(mark.run()).unwrap();
        assert_eq!(kinds(&shard.info().reader).len(), KINDS, "{:?}", kinds(&shard.info().reader));
        fs::write(data.join("EXPECTED"), comes_to(&shard)).unwrap();
    }
    copy_folder(&data, path);
    fs::remove_dir_all(data).unwrap();
}

fn flush(shard: &mut Shard<()>, now: Time) {
    while let Some(job) = shard.seal(now) {
        shard.finish(job.run()).unwrap();
        if let Some(job) = shard.prepare() {
            shard.prepared(now, job.run()).unwrap();
        }
    }
    while shard.release().is_some() {}
}

/// An empty place for a data folder.
fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("onsale-golden-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

/// Copies files and folders, but no lock and no segment that holds nothing.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if !path.ends_with("LOCK") {
            let bytes = fs::read(&path).unwrap();
            if bytes.iter().any(|byte| *byte != 0) {
                fs::write(target, bytes).unwrap();
            }
        }
    }
}
