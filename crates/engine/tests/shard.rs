//! A shard on real files, driven by hand.

use onsale_core::catalogue::{
    EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Expects, Item};
use onsale_core::{Action, CodeKey, Command, CommandStamp, Currency, CustomerId, HoldId, Id, Time};
use onsale_engine::{Answer, Folder, Request, Seeds, Shard};

const SEEDS: Seeds = Seeds { log: 7, key: CodeKey([3; 16]) };
const BEGIN: Time = Time(1_749_000_000_000_000);
/// The smallest segments, so that batches are small, too.
const SEGMENT_BYTES: u64 = 16_384;
const HOLD_SECONDS: u32 = 10;

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn open(folder: &Folder) -> Vec<Shard<()>> {
    folder.shards(SEGMENT_BYTES, &SEEDS, BEGIN).expect("it opens")
}

/// Carries an action out, once there is room for it.
fn act(shard: &mut Shard<()>, now: Time, action: Action) {
    let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
    let command = Command { stamp, organizer: id("o"), event: id("e"), action };
    shard.submit(now, Request::Command(Box::new(command)), ());
    if !shard.ready() {
        sync(shard, now);
    }
}

/// Writes what is open, makes spare segments where some are missing, and takes the answers.
fn sync(shard: &mut Shard<()>, now: Time) {
    while let Some(job) = shard.seal(now) {
        shard.finish(job.run()).expect("the disk is fine");
    }
    while let Some(((), reply)) = shard.release() {
        assert!(matches!(reply.answer, Answer::Done(_)), "{:?}", reply.answer);
    }
    while let Some(job) = shard.prepare() {
        shard.prepared(now, job.run()).expect("the disk is fine");
    }
}

fn definition() -> EventDefinition {
    EventDefinition {
        name: "Concert".into(),
        currency: Currency::new("EUR").expect("a currency"),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: HOLD_SECONDS,
        payment_seconds: 60,
        sale_group: id("e"),
        quotas: vec![QuotaDefinition { id: id("all"), capacity: None }],
        ticket_types: vec![TicketTypeDefinition {
            id: id("standing"),
            name: "Standing".into(),
            price: 1_000,
            free_price: false,
            quotas: vec![id("all")],
            sale: Window::default(),
        }],
    }
}

fn place_holds(shard: &mut Shard<()>, number: u128) {
    let definition = Box::new(definition());
    act(shard, BEGIN, Action::DefineEvent { definition, expects: Expects::Absent });
    act(shard, BEGIN, Action::SetState { state: EventState::Open, expects: Expects::Any });
    for hold in 1..=number {
        let item = Item { ticket_type: id("standing"), quantity: 1, price: None };
        let (hold, customer) = (HoldId(hold), CustomerId::new("c").expect("a customer"));
        act(
            shard,
            BEGIN,
            Action::PlaceHold { hold, customer, items: [item].into_iter().collect() },
        );
    }
}

#[test]
fn the_timer_says_that_there_is_more_only_while_there_is_room_for_it() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 1, &SEEDS).expect("it opens");
    let mut shard = open(&folder).remove(0);
    place_holds(&mut shard, 1_000);
    sync(&mut shard, BEGIN);
    let now = BEGIN.plus_seconds(HOLD_SECONDS);
    let (mut batches, mut slices) = (0, 0);
    while shard.sale().counts().holds > 0 {
        // A driver that nobody keeps waiting goes on until there is nothing more.
        while shard.expire(now) {
            slices += 1;
            assert!(slices < 1_000, "there is more, but never room for it");
        }
        sync(&mut shard, now);
        batches += 1;
        assert!(batches < 1_000, "the holds never end");
    }
    assert!(batches > 1, "all fit into one batch: the test shows nothing");
}

#[test]
fn a_shard_that_is_lost_is_not_made_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 2, &SEEDS).expect("it opens");
    drop(open(&folder));
    let second = Folder::shard_path(data.path(), 1);
    // Nothing was sold yet: a first start that was interrupted looks like this.
    std::fs::remove_dir_all(&second).expect("it was there");
    let mut shards = open(&folder);
    place_holds(&mut shards[0], 1);
    sync(&mut shards[0], BEGIN);
    drop(shards);
    std::fs::remove_dir_all(&second).expect("it was there");
    let opened = folder.shards::<()>(SEGMENT_BYTES, &SEEDS, BEGIN);
    let error = opened.err().expect("what the shard held is lost").to_string();
    assert!(error.starts_with("shard 1: its first record is gone"), "{error}");
}

#[test]
fn a_folder_that_lost_its_own_file_is_not_made_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 2, &SEEDS).expect("it opens");
    drop(open(&folder));
    drop(folder);
    std::fs::remove_file(data.path().join("onsale.log")).expect("it was there");
    let error = Folder::open(data.path(), 2, &SEEDS).err().expect("it is lost").to_string();
    assert!(error.ends_with("onsale.log: is gone, though there are shards"), "{error}");
    assert!(!data.path().join("onsale.log").exists());
}
