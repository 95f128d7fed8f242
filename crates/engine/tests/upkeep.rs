//! Snapshots, files of command ids and the archive, on real files, driven by hand.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;

use onsale_core::catalogue::{
    EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Expects, Item};
use onsale_core::limits::COMMANDS_REMEMBERED_MAX;
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, HoldId, Id, OrderCode, Time,
};
use onsale_engine::{
    Answer, Durability, Folder, Options, Query, Request, Rules, Seeds, Shard, View,
};

const SEEDS: Seeds = Seeds { log: 7, key: CodeKey([3; 16]) };
const BEGIN: Time = Time(1_749_000_000_000_000);

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// Small segments, so that there are many, and a snapshot every few of them.
fn options() -> Options {
    let rules = Rules { snapshot_bytes: 128 << 10, orders_hot: 64, ..Rules::default() };
    Options { rules, ..Options::new(64 << 10) }
}

/// A shard under test: what it is opened with, and the time.
struct Stage {
    folder: Folder,
    options: Options,
    shard: Shard<u64>,
    now: Time,
    /// The most sealed segments that there ever were.
    sealed_most: u64,
}

impl Stage {
    fn new(data: &Path, options: Options) -> Stage {
        let folder = Folder::open(data, 1, &SEEDS).unwrap();
        let shard = folder.shards(&options, &SEEDS, BEGIN).unwrap().remove(0);
        let mut stage = Stage { folder, options, shard, now: BEGIN, sealed_most: 0 };
        if stage.shard.sale().counts().events == 0 {
            let definition = Box::new(definition());
            stage.act(None, Action::DefineEvent { definition, expects: Expects::Absent });
            let state = EventState::Open;
            stage.act(None, Action::SetState { state, expects: Expects::Any });
        }
        stage
    }

    /// Starts again, after a clean end.
    fn restart(self) -> Stage {
        let Stage { folder, options, shard, now, .. } = self;
        shard.close().unwrap();
        let shard = folder.shards(&options, &SEEDS, BEGIN).unwrap().remove(0);
        Stage { folder, options, shard, now, sealed_most: 0 }
    }

    /// Carries an action out, durable, and gives the answer.
    fn act(&mut self, id: Option<u64>, action: Action) -> Answer {
        let stamp = CommandStamp {
            id: u128::from(id.unwrap_or(0)) << 64,
            body: 0,
            chosen: id.is_some(),
            made_at: None,
        };
        let (organizer, event) = (self::id("o"), self::id("e"));
        let command = Command { stamp, organizer, event, action };
        self.ask(Request::Command(Box::new(command)))
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.now.0 += 1;
        self.shard.submit(self.now, request, 0);
        self.sync();
        self.shard.release().expect("an answer").1.answer
    }

    fn sync(&mut self) {
        while let Some(job) = self.shard.seal(self.now) {
            self.shard.finish(job.run()).unwrap();
        }
        while let Some(job) = self.shard.prepare() {
            self.shard.prepared(self.now, job.run()).unwrap();
        }
    }

    /// Does all upkeep that there is, but for rare work.
    fn keep_up(&mut self) {
        for _ in 0..1_000 {
            let Some(job) = self.shard.upkeep(self.now) else { return };
            let notes = self.shard.upkept(job.run());
            assert!(notes.is_empty(), "{notes:?}");
        }
        panic!("the upkeep never ends");
    }

    /// Buys a free ticket: an order that is settled at once.
    fn buy(&mut self, n: u64) -> Answer {
        self.act(Some(n), buy(n))
    }

    /// Buys so many, ten a batch, with the upkeep now and then; gives their codes.
    fn buy_many(&mut self, count: u64) -> Vec<OrderCode> {
        let mut codes = Vec::new();
        for n in 1..=count {
            let stamp =
                CommandStamp { id: u128::from(n) << 64, body: 0, chosen: true, made_at: None };
            let (organizer, event) = (id("o"), id("e"));
            let command = Command { stamp, organizer, event, action: buy(n) };
            self.shard.submit(self.now, Request::Command(Box::new(command)), n);
            if n % 10 == 0 {
                self.sync();
                codes.extend(
                    std::iter::from_fn(|| self.shard.release()).map(|r| code_of(&r.1.answer)),
                );
            }
            if n % 200 == 0 {
                self.keep_up();
                let sealed = self.shard.figures().upkeep.sealed;
                self.sealed_most = self.sealed_most.max(sealed);
            }
        }
        codes
    }
}

fn buy(n: u64) -> Action {
    let item = Item { ticket_type: id("free"), quantity: 1, price: None };
    let customer = CustomerId::new(&format!("customer-{n}")).unwrap();
    Action::Buy { customer, items: [item].into_iter().collect() }
}

fn definition() -> EventDefinition {
    let ticket_type = |name: &str, price| TicketTypeDefinition {
        id: id(name),
        name: name.into(),
        price,
        free_price: false,
        quotas: vec![id("all")],
        sale: Window::default(),
    };
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
        ticket_types: vec![ticket_type("paid", 1_000), ticket_type("free", 0)],
    }
}

fn code_of(answer: &Answer) -> OrderCode {
    let Answer::Done(fact) = answer else { panic!("{answer:?}") };
    let onsale_core::Fact::OrderPlaced(placed) = &fact.fact else { panic!("{fact:?}") };
    placed.order
}

fn snapshots(data: &Path) -> Vec<String> {
    let names = std::fs::read_dir(Folder::shard_path(data, 0)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names.filter(|name| name.ends_with(".snap")).collect();
    found.sort_unstable();
    found
}

#[test]
fn a_start_from_a_snapshot_comes_to_the_same_state() {
    let data = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(data.path(), options());
    let codes = stage.buy_many(6_000);
    assert_eq!(snapshots(data.path()).len(), 2, "two are kept");
    let (hash, position) = (stage.shard.sale().hash(), stage.shard.sale().position());
    let stage = stage.restart();
    assert!(stage.shard.figures().snapshot > 3_000);
    assert_eq!((stage.shard.sale().hash(), stage.shard.sale().position()), (hash, position));
    stage.shard.sale().check().unwrap();
    // The same without any snapshot.
    for name in snapshots(data.path()) {
        std::fs::remove_file(Folder::shard_path(data.path(), 0).join(name)).unwrap();
    }
    let mut stage = stage.restart();
    assert_eq!(stage.shard.sale().hash(), hash);
    // An order from long ago is shown from its records, and can be cancelled.
    let (organizer, event, order) = (id("o"), id("e"), codes[3]);
    let answer = stage.ask(Request::Query(Query::Order { organizer, event, order }));
    let Answer::View(view) = answer else { panic!("{answer:?}") };
    let View::Order(view) = *view else { panic!("{view:?}") };
    assert_eq!(view.order, order);
    let answer = stage.act(None, Action::CancelOrder { order, manage: true });
    assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    let hash = stage.shard.sale().hash();
    assert_eq!(stage.restart().shard.sale().hash(), hash);
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_one_from_the_future_stops_the_start() {
    let data = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(data.path(), options());
    stage.buy_many(4_000);
    let (hash, names) = (stage.shard.sale().hash(), snapshots(data.path()));
    let newest = Folder::shard_path(data.path(), 0).join(&names[1]);
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&newest, bytes).unwrap();
    let mut stage = stage.restart();
    assert_eq!(stage.shard.sale().hash(), hash);
    let notes = stage.shard.take_notes();
    assert!(notes.iter().any(|note| note.contains("passed over")), "{notes:?}");
    let Stage { folder, options, shard, .. } = stage;
    shard.close().unwrap();
    let ahead = Folder::shard_path(data.path(), 0).join("snapshot-00000000000000009999.snap");
    std::fs::rename(&newest, ahead).unwrap();
    let opened = folder.shards::<()>(&options, &SEEDS, BEGIN);
    let error = opened.err().expect("records are lost").to_string();
    assert!(error.contains("the log ends at"), "{error}");
}

/// More ids than the state remembers, over many segments, with and without a start in between.
#[test]
fn an_id_from_long_ago_gets_its_answer_again() {
    let data = tempfile::tempdir().unwrap();
    let rules = Rules { snapshot_bytes: 8 << 20, ..Rules::default() };
    let options = Options { rules, ..Options::new(1 << 20) };
    let mut stage = Stage::new(data.path(), options);
    let item = Item { ticket_type: id("paid"), quantity: 1, price: None };
    let place = |hold: u64| Action::PlaceHold {
        hold: HoldId(hold.into()),
        customer: CustomerId::new("c").unwrap(),
        items: [item].into_iter().collect(),
    };
    let Answer::Done(first) = stage.act(Some(1), place(1)) else { panic!("it is for sale") };
    let position = stage.shard.sale().position();
    // In large batches, since a sync for each takes its time.
    let many = COMMANDS_REMEMBERED_MAX as u64 + 5_000;
    for n in 2..=many {
        let stamp = CommandStamp { id: u128::from(n) << 64, body: 0, chosen: true, made_at: None };
        let (organizer, event) = (id("o"), id("e"));
        let command = Command { stamp, organizer, event, action: place(n) };
        stage.shard.submit(stage.now, Request::Command(Box::new(command)), n);
        if n % 1_000 == 0 || !stage.shard.ready() {
            stage.sync();
            while stage.shard.release().is_some() {}
        }
    }
    stage.sync();
    while stage.shard.release().is_some() {}
    let again = |stage: &mut Stage| match stage.act(Some(1), place(1)) {
        Answer::Repeated { position } => position,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(again(&mut stage), position, "it is in memory whole");
    stage.keep_up();
    assert_eq!(again(&mut stage), position, "it is in a file");
    let mut stage = stage.restart();
    assert!(stage.shard.figures().snapshot > 0);
    assert_eq!(again(&mut stage), position, "it is in a file, after a start");
    // Its file is damaged: it is made again from the records.
    let Stage { folder, options, shard, now, .. } = stage;
    shard.close().unwrap();
    let ids = Folder::shard_path(data.path(), 0).join("0000000001.ids");
    let mut bytes = std::fs::read(&ids).unwrap();
    bytes.iter_mut().skip(4_096).for_each(|byte| *byte ^= 1);
    std::fs::write(&ids, bytes).unwrap();
    let shard = folder.shards(&options, &SEEDS, BEGIN).unwrap().remove(0);
    let mut stage = Stage { folder, options, shard, now, sealed_most: 0 };
    assert_eq!(again(&mut stage), position, "its file was made again");
    // A day later it is forgotten.
    stage.now = Time(first.at.0 + 24 * 3_600_000_000 + 1_000_001);
    let answer = stage.act(Some(1), Action::ExtendHold { hold: HoldId(u128::MAX) });
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
}

#[test]
fn an_unclean_end_without_syncs_begins_a_new_generation() {
    let data = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Os, ..options() };
    let mut stage = Stage::new(data.path(), options.clone());
    assert_eq!(stage.shard.info().durability.as_str(), "os");
    let before = code_of(&stage.buy(1));
    let mut stage = stage.restart();
    assert_eq!(stage.shard.sale().generation(), 1, "it was closed");
    stage.buy(2);
    let Stage { folder, shard, now, .. } = stage;
    drop(shard);
    let shard = folder.shards(&options, &SEEDS, BEGIN).unwrap().remove(0);
    let mut stage = Stage { folder, options, shard, now, sealed_most: 0 };
    assert_eq!(stage.shard.sale().generation(), 2);
    let after = code_of(&stage.buy(3));
    let key = SEEDS.key;
    assert_eq!(key.open_order(before).map(|(_, generation, _)| generation), Some(1));
    assert_eq!(key.open_order(after).map(|(_, generation, _)| generation), Some(2));
    assert_eq!(stage.restart().shard.sale().generation(), 2);
}

#[test]
fn with_an_archive_the_folder_stops_growing_and_a_start_still_finds_all() {
    let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive_path = Some(archive.path().to_owned());
    let mut stage = Stage::new(data.path(), Options { archive: archive_path, ..options() });
    let codes = stage.buy_many(12_000);
    let most = stage.sealed_most;
    assert!((2..16).contains(&most), "{most} sealed segments in the folder");
    let hash = stage.shard.sale().hash();
    let mut stage = stage.restart();
    assert_eq!(stage.shard.sale().hash(), hash);
    let (organizer, event, order) = (id("o"), id("e"), codes[0]);
    let answer = stage.ask(Request::Query(Query::Order { organizer, event, order }));
    assert!(matches!(answer, Answer::View(_)), "{answer:?}");
    // Without snapshots it is all replayed, from the archive.
    for name in snapshots(data.path()) {
        std::fs::remove_file(Folder::shard_path(data.path(), 0).join(name)).unwrap();
    }
    assert_eq!(stage.restart().shard.sale().hash(), hash);
}

/// A segment that is damaged before it has a copy is told, and holds up neither the copies of the others nor the
/// check of what lies on the disk.
#[test]
fn a_damaged_segment_holds_up_no_other() {
    let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive_path = Some(archive.path().to_owned());
    let mut stage = Stage::new(data.path(), Options { archive: archive_path, ..options() });
    for n in 1..200 {
        stage.buy(n);
    }
    let path = Folder::shard_path(data.path(), 0).join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes[middle + 70] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let keep_up = |stage: &mut Stage| {
        let mut notes = Vec::new();
        for _ in 0..1_000 {
            let Some(job) = stage.shard.upkeep(stage.now) else { return notes };
            notes.extend(stage.shard.upkept(job.run()));
        }
        panic!("the upkeep never ends");
    };
    let notes = keep_up(&mut stage);
    let of_archive = notes.iter().filter(|note| note.starts_with("archive: ")).count();
    assert!(of_archive == 1 && notes[0].contains("0000000002.seg"), "{notes:?}");
    let figures = stage.shard.figures().upkeep;
    assert!(figures.sealed > 5 && figures.unarchived == 1, "{figures:?}");
    assert!(figures.scrubbed > 0 && figures.failures > 0, "{figures:?}");
    // Once it is right again, all goes on.
    bytes[middle + 70] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    stage.now.0 += 301_000_000;
    assert_eq!(keep_up(&mut stage), [""; 0]);
    let figures = stage.shard.figures();
    assert_eq!(figures.upkeep.unarchived, 0);
    assert!(figures.snapshot > 0 && figures.upkeep.snapshot_at > BEGIN, "{figures:?}");
}
