//! A shard whose log is kept elsewhere, driven by hand: when its answers leave, and how another follows it.

use onsale_core::{CodeKey, Id, Time};
use onsale_engine::folder::begin_shards;
use onsale_engine::{Answer, Folder, Options, Query, Request, Seeds, Shard, Unavailable};
use onsale_journal::WriteJob;

const SEEDS: Seeds = Seeds { log: 7, key: CodeKey([3; 16]) };
const BEGIN: Time = Time(1_749_000_000_000_000);

fn open(folder: &Folder) -> Shard<u32> {
    let options = Options { elsewhere: true, ..Options::new(1 << 16) };
    folder.shards(&options, &SEEDS, BEGIN).expect("it opens").remove(0)
}

/// What was kept elsewhere of a batch: its first position, its records, the chain after it.
type Kept = (u64, Vec<u8>, u32);

/// A folder and its shard, with its first record, which was kept elsewhere.
fn begun(data: &std::path::Path) -> (Folder, Shard<u32>, Vec<Kept>) {
    let folder = Folder::open(data, 1, &SEEDS).expect("it opens");
    let (mut shards, mut kept) = (vec![open(&folder)], Vec::new());
    let mut keep = |_, job: &WriteJob| {
        kept.push((job.first(), job.payload().to_vec(), job.chain()));
        Ok(())
    };
    begin_shards(&mut shards, folder.fixed(), SEEDS.key, BEGIN, &mut keep).expect("it begins");
    (folder, shards.remove(0), kept)
}

/// Asks for an event that is not there.
fn ask(shard: &mut Shard<u32>, ticket: u32) {
    let id = Id::new("nothing").expect("an id");
    shard.submit(BEGIN, Request::Query(Query::Event { organizer: id, event: id }), ticket);
}

fn released(shard: &mut Shard<u32>) -> Vec<u32> {
    std::iter::from_fn(|| shard.release()).map(|(ticket, _)| ticket).collect()
}

#[test]
fn a_refusal_waits_for_a_round_that_was_begun_after_it() {
    let data = tempfile::tempdir().expect("a folder");
    let (_folder, mut shard, _) = begun(data.path());
    assert!(!shard.check(false), "nothing waits");
    ask(&mut shard, 1);
    assert_eq!(released(&mut shard), []);
    assert!(shard.check(false));
    // One that comes while a round is under way waits for the next.
    ask(&mut shard, 2);
    assert!(!shard.check(false), "one is under way");
    shard.checked(Ok(()));
    assert_eq!(released(&mut shard), [1]);
    assert!(shard.check(false));
    shard.checked(Ok(()));
    assert_eq!(released(&mut shard), [2]);
    assert!(!shard.check(false) && shard.check(true), "only a lease is to be renewed");
    shard.checked(Ok(()));
}

#[test]
fn who_was_taken_over_from_answers_nothing() {
    let data = tempfile::tempdir().expect("a folder");
    let (_folder, mut shard, _) = begun(data.path());
    ask(&mut shard, 1);
    assert!(shard.check(false));
    ask(&mut shard, 2);
    shard.checked(Err("another has taken over".to_owned()));
    ask(&mut shard, 3);
    for wanted in [Unavailable::Unknown, Unavailable::Unknown, Unavailable::Stopped] {
        let (_, reply) = shard.release().expect("an answer");
        assert!(matches!(reply.answer, Answer::Unavailable(why) if why == wanted), "{reply:?}");
    }
    assert!(!shard.check(true));
}

#[test]
fn a_follower_takes_only_what_comes_next() {
    let [data, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let (_folder, shard, kept) = begun(data.path());
    let folder = Folder::open(other.path(), 1, &SEEDS).expect("it opens");
    let (first, records, chain) = &kept[0];
    let follow = |first, records: &[u8], chain| open(&folder).follow(first, records, chain);
    let error = follow(first + 1, records, *chain).unwrap_err();
    assert!(error.contains("begins at position 2, but the copy ends at 0"), "{error}");
    let error = follow(*first, records, chain ^ 1).unwrap_err();
    assert!(error.contains("does not follow what the copy holds"), "{error}");
    let error = follow(*first, &[], *chain).unwrap_err();
    assert!(error.contains("holds no record"), "{error}");
    let large = vec![0; 1 << 20];
    let error = follow(*first, &large, *chain).unwrap_err();
    assert!(error.contains("segment_mib"), "{error}");
    let mut follower = open(&folder);
    follower.follow(*first, records, *chain).expect("it fits");
    assert_eq!(follower.end(), shard.end());
    assert_eq!(follower.sale().hash(), shard.sale().hash());
}
