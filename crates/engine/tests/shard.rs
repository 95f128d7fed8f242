//! A shard on real files, driven by hand.

use onsale_core::catalogue::{
    EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Expects, Item};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Currency, CustomerId, Fact, HoldId, Id, Time,
};
use onsale_engine::folder::BEGUN_FILE;
use onsale_engine::{Answer, Folder, Options, Request, Seeds, Shard, Unavailable};

const SEEDS: Seeds = Seeds { log: 7, key: CodeKey([3; 16]) };
const BEGIN: Time = Time(1_749_000_000_000_000);
/// The smallest segments, so that batches are small, too.
const SEGMENT_BYTES: u64 = 16_384;
const HOLD_SECONDS: u32 = 10;

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn open(folder: &Folder) -> Vec<Shard<()>> {
    folder.shards(&Options::new(SEGMENT_BYTES), &SEEDS, BEGIN).expect("it opens")
}

fn command(action: Action) -> Request {
    let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
    Request::Command(Box::new(Command { stamp, organizer: id("o"), event: id("e"), action }))
}

/// Carries an action out, once there is room for it.
fn act(shard: &mut Shard<()>, now: Time, action: Action) {
    shard.submit(now, command(action), ());
    if !shard.ready() {
        sync(shard, now);
    }
}

/// Writes what is open, and takes the answers.
fn write(shard: &mut Shard<()>, now: Time) {
    while let Some(job) = shard.seal(now) {
        shard.finish(job.run()).expect("the disk is fine");
    }
    while let Some(((), reply)) = shard.release() {
        assert!(matches!(reply.answer, Answer::Done(_)), "{:?}", reply.answer);
    }
}

/// Writes what is open, takes the answers, and makes the spare segments that are missing.
fn sync(shard: &mut Shard<()>, now: Time) {
    write(shard, now);
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
        act(shard, BEGIN, place_hold(hold));
    }
}

fn place_hold(hold: u128) -> Action {
    let item = Item { ticket_type: id("standing"), quantity: 1, price: None };
    let (hold, customer) = (HoldId(hold), CustomerId::new("c").expect("a customer"));
    Action::PlaceHold { hold, customer, items: [item].into_iter().collect() }
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
fn what_is_told_at_once_leaves_only_when_it_is_durable() {
    let data = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder::open(data.path(), 1, &SEEDS).expect("a new folder");
    let mut shard = open(&folder).pop().expect("one shard");
    sync(&mut shard, BEGIN);
    place_holds(&mut shard, 1);
    write(&mut shard, BEGIN);

    let mut told = Vec::new();
    let mut submit = |shard: &mut Shard<()>, action| {
        let Request::Command(command) = command(action) else { unreachable!() };
        let mut keys = Vec::new();
        shard.look_ahead(std::slice::from_ref(&*command), &mut keys);
        shard.submit_telling(BEGIN, &command, &keys[0], (), |position, event| {
            told.push((position, matches!(event.fact, Fact::HoldPlaced(_))));
            told.len() > 1
        });
    };
    // One that is told and kept all the same, one that is refused, and those that fill the batch.
    submit(&mut shard, place_hold(100));
    submit(&mut shard, Action::ReleaseHold { hold: HoldId(99) });
    for hold in 101.. {
        if !shard.ready() {
            break;
        }
        submit(&mut shard, place_hold(hold));
    }
    assert!(shard.release().is_none(), "nothing is durable yet");

    let job = shard.seal(BEGIN).expect("there are holds in it");
    shard.finish(job.run()).expect("the disk is fine");
    let job = shard.seal(BEGIN).expect("there is the one that had no room");
    let answers: Vec<_> = std::iter::from_fn(|| shard.release()).map(|(_, reply)| reply).collect();
    assert!(matches!(answers[0].answer, Answer::Done(_)), "{:?}", answers[0]);
    assert!(matches!(answers[1].answer, Answer::Refused(_)), "{:?}", answers[1]);
    let positions = answers[2..].iter().inspect(|reply| {
        assert!(matches!(reply.answer, Answer::Told), "{reply:?}");
    });
    let mut expected: Vec<(u64, bool)> = positions.map(|reply| (reply.position, true)).collect();
    expected.insert(0, (answers[0].position, true));
    assert_eq!(told, expected);

    // It went into the next batch: nobody was there any more to be told.
    shard.finish(job.run()).expect("the disk is fine");
    let (_, last) = shard.release().expect("it is durable");
    assert!(matches!(last.answer, Answer::Done(_)), "{last:?}");
    assert!(shard.release().is_none());
}

#[test]
fn a_shard_that_is_lost_is_not_made_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 2, &SEEDS).expect("it opens");
    drop(open(&folder));
    let second = Folder::shard_path(data.path(), 1);
    // Nothing was sold yet: a first start that was interrupted looks like this, with no word of all having begun.
    std::fs::remove_dir_all(&second).expect("it was there");
    std::fs::remove_file(data.path().join(BEGUN_FILE)).expect("the first start wrote it");
    let mut shards = open(&folder);
    place_holds(&mut shards[0], 1);
    sync(&mut shards[0], BEGIN);
    drop(shards);
    std::fs::remove_dir_all(&second).expect("it was there");
    // As an earlier version left it.
    std::fs::remove_file(data.path().join(BEGUN_FILE)).expect("the second start wrote it");
    let opened = folder.shards::<()>(&Options::new(SEGMENT_BYTES), &SEEDS, BEGIN);
    let error = opened.err().expect("what the shard held is lost").to_string();
    assert!(error.starts_with("shard 1: its first record is gone"), "{error}");
}

#[test]
fn the_only_shard_that_sold_is_not_made_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 2, &SEEDS).expect("it opens");
    let mut shards = open(&folder);
    for _ in 0..2 {
        let spare = shards[0].prepare().expect("one is missing");
        shards[0].prepared(BEGIN, spare.run()).expect("the disk is fine");
    }
    place_holds(&mut shards[0], 1);
    sync(&mut shards[0], BEGIN);
    drop(shards);
    let (first, aside) = (Folder::shard_path(data.path(), 0), data.path().join("aside"));
    let options = Options::new(SEGMENT_BYTES);
    let refused = |what: &str, told: &str, has_note: bool| {
        let note = data.path().join(BEGUN_FILE);
        if !has_note {
            std::fs::remove_file(&note).expect("it was there");
        }
        let before = listing(&first);
        let opened = folder.shards::<()>(&options, &SEEDS, BEGIN);
        let error = opened.err().unwrap_or_else(|| panic!("{what}: it is lost")).to_string();
        assert!(error.starts_with("shard 0: ") && error.contains(told), "{what}: {error}");
        assert_eq!(listing(&first), before, "{what}: something was changed");
        if !has_note {
            Folder::note_begun(data.path()).expect("the disk is fine");
        }
    };
    let segment = first.join("0000000001.seg");
    std::fs::rename(&segment, &aside).expect("it was there");
    let missing = "0000000001.seg is missing, though a later segment is there";
    refused("spares are left", missing, true);
    refused("spares are left, and no word", missing, false);
    for sequence in [2, 3] {
        std::fs::remove_file(first.join(format!("{sequence:010}.seg"))).expect("it was there");
    }
    refused("no segment is left", "its first record is gone", true);
    std::fs::rename(&first, data.path().join("emptied")).expect("it was there");
    refused("the folder is gone", "its first record is gone", true);
    std::fs::rename(data.path().join("emptied"), &first).expect("it was there");
    // What was put back is opened as if nothing had been.
    std::fs::rename(&aside, &segment).expect("it was there");
    assert_eq!(open(&folder)[0].sale().counts().holds, 1);
}

/// Names in a folder; none where it is gone.
fn listing(folder: &std::path::Path) -> Option<Vec<std::ffi::OsString>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a name").file_name()).collect();
    names.sort();
    Some(names)
}

#[test]
fn a_folder_that_lost_its_own_file_is_not_made_anew() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 2, &SEEDS).expect("it opens");
    drop(open(&folder));
    drop(folder);
    std::fs::remove_file(data.path().join("onsale.log")).expect("it was there");
    for shards_left in [2, 1, 0] {
        let first = Folder::shard_path(data.path(), 0);
        if shards_left < 2 {
            let lost = if shards_left == 1 { first } else { Folder::shard_path(data.path(), 1) };
            std::fs::remove_dir_all(lost).expect("it was there");
        }
        let error = Folder::open(data.path(), 2, &SEEDS).err().expect("it is lost").to_string();
        assert!(error.ends_with("onsale.log: is gone, though there are shards"), "{error}");
        assert!(!data.path().join("onsale.log").exists());
    }
}

#[test]
fn on_a_full_disk_nothing_waits_for_the_next_try_to_find_room() {
    let data = tempfile::tempdir().expect("a folder");
    let folder = Folder::open(data.path(), 1, &SEEDS).expect("it opens");
    let mut shard = open(&folder).remove(0);
    let spare = shard.prepare().expect("none is there yet");
    shard.prepared(BEGIN, spare.run()).expect("the disk is fine");
    // No second spare can be made: something else has its name.
    let taken = Folder::shard_path(data.path(), 0).join("0000000003.tmp");
    std::fs::create_dir(&taken).expect("the folder is there");
    let spare = shard.prepare().expect("one is not enough");
    shard.prepared(BEGIN, spare.run()).expect_err("its name is taken");
    place_holds(&mut shard, 1);
    for hold in 2.. {
        write(&mut shard, BEGIN);
        if shard.figures().storage_full {
            break;
        }
        act(&mut shard, BEGIN, place_hold(hold));
    }

    let next_try = shard.prepare().expect("one is missing");
    shard.submit(BEGIN, command(place_hold(u128::MAX)), ());
    assert!(shard.ready(), "what is essential waits behind a sale");
    shard.submit(BEGIN, command(Action::ReleaseHold { hold: HoldId(1) }), ());
    let job = shard.seal(BEGIN).expect("a hold was released");
    shard.finish(job.run()).expect("the disk is fine");
    let answers = std::iter::from_fn(|| shard.release()).map(|((), reply)| reply.answer);
    let answers: Vec<Answer> = answers.collect();
    let full = Unavailable::StorageFull;
    assert!(
        matches!(&answers[..], [Answer::Unavailable(why), Answer::Done(_)] if *why == full),
        "{answers:?}"
    );

    // There is room again.
    std::fs::remove_dir(&taken).expect("it was there");
    shard.prepared(BEGIN, next_try.run()).expect("the name is free");
    act(&mut shard, BEGIN, place_hold(u128::MAX));
    sync(&mut shard, BEGIN);
}
