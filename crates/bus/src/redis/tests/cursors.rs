//! The cursors' rules, as Redis' functions say them.

use super::*;
use crate::Cursors;
use crate::cursors::{Claim, REASON_CHARS_MAX};

const LEASE: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

async fn store(server: &Server) -> Cursors {
    Cursors::Redis(RedisCursors::connect(&RedisOptions::new(server.url())).await.unwrap())
}

fn cursor() -> CursorId {
    Group::new("mail", "sales").unwrap().cursor(&zero())
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn to(position: u64) -> Progress {
    Progress { generation: Generation(1), position: at(position), ended: false }
}

/// Takes the cursor as soon as it is free.
async fn taken(store: &Cursors, owner: &WorkerId) -> Claim {
    let begin = Instant::now();
    loop {
        if let Some(claim) = store.acquire(&cursor(), owner, LONG).await.unwrap() {
            return claim;
        }
        assert!(begin.elapsed() < LEASE * 4, "the lease does not run out");
    }
}

#[tokio::test]
async fn a_lease_keeps_others_out_until_it_runs_out() {
    let server = redis();
    let store = store(&server).await;
    let (a, b) = (worker("a"), worker("b"));
    let first = store.acquire(&cursor(), &a, LEASE).await.unwrap().unwrap();
    assert_eq!(first.progress, None);
    assert_eq!(store.acquire(&cursor(), &b, LEASE).await.unwrap(), None);
    store.commit(&first, to(5)).await.unwrap();
    store.renew(&first, LEASE).await.unwrap();
    let in_use = store.reset(&cursor(), None).await.unwrap_err();
    let Error::Leased { owner, left_ms, .. } = in_use else { panic!("{in_use}") };
    let left = Duration::from_millis(left_ms);
    assert!(owner == a && left > Duration::ZERO && left <= LEASE, "{left:?}");
    let begin = Instant::now();
    let second = taken(&store, &b).await;
    assert!(begin.elapsed() + Duration::from_millis(50) > LEASE / 2, "it was taken early");
    assert!(second.fence > first.fence);
    assert_eq!(second.progress, Some(to(5)));
    let late = store.commit(&first, to(7)).await.unwrap_err();
    let expected = Error::LostLease { cursor: cursor(), fence: first.fence, now: second.fence };
    assert_eq!(late, expected);
    assert!(store.renew(&first, LEASE).await.is_err());
    store.release(&first).await.unwrap();
    assert!(store.park(&first, at(7), "late").await.is_err());
    store.commit(&second, to(7)).await.unwrap();
    let listed = store.list(&cursor().group).await.unwrap();
    assert_eq!((listed[0].progress, listed[0].fence), (Some(to(7)), second.fence));
    let lease = listed[0].lease.as_ref().unwrap();
    assert!(lease.owner == b && lease.left > LONG / 2 && lease.left <= LONG);
    store.release(&second).await.unwrap();
    assert!(store.commit(&second, to(8)).await.is_err());
    assert_eq!(store.list(&cursor().group).await.unwrap()[0].lease, None);
}

#[tokio::test]
async fn a_commit_only_goes_forwards() {
    let server = redis();
    let store = store(&server).await;
    let claim = store.acquire(&cursor(), &worker("a"), LONG).await.unwrap().unwrap();
    store.commit(&claim, to(5)).await.unwrap();
    store.commit(&claim, to(5)).await.unwrap();
    let back = store.commit(&claim, to(4)).await.unwrap_err();
    assert_eq!(back.to_string(), "cursor mail@sales/0: 4 is before 5, a commit only goes forwards");
    let other = Progress { generation: Generation(u64::MAX), ..to(9) };
    let diverged = Error::Diverged { cursor: Generation(1), stream: other.generation };
    assert_eq!(store.commit(&claim, other).await, Err(diverged));
    let far = Progress {
        position: "49590338271490256608559692538361571095921575".parse().unwrap(),
        ..to(0)
    };
    store.commit(&claim, far).await.unwrap();
    assert!(matches!(store.commit(&claim, to(9)).await, Err(Error::Backwards { .. })));
    store.commit(&claim, Progress { ended: true, ..far }).await.unwrap();
    assert!(matches!(store.commit(&claim, far).await, Err(Error::Backwards { .. })));
    store.release(&claim).await.unwrap();
    store.reset(&cursor(), Some(to(2))).await.unwrap();
    let again = store.acquire(&cursor(), &worker("a"), LEASE).await.unwrap().unwrap();
    assert!(again.fence >= claim.fence + 2);
    assert_eq!(again.progress, Some(to(2)));
    assert_eq!(store.groups().await.unwrap(), [cursor().group]);
}

#[tokio::test]
async fn a_fence_never_comes_twice_even_from_a_store_that_lost_everything() {
    let mut server = redis();
    let store = store(&server).await;
    let mut fence = 0;
    for _ in 0..100 {
        let claim = store.acquire(&cursor(), &worker("a"), LONG).await.unwrap().unwrap();
        assert!(claim.fence > fence);
        fence = claim.fence;
    }
    server.restart();
    let claim = store.acquire(&cursor(), &worker("b"), LONG).await.unwrap().unwrap();
    assert!(claim.fence > fence);
    assert_eq!(claim.progress, None);
}

#[tokio::test]
async fn members_live_as_long_as_they_say_so() {
    let server = redis();
    let store = store(&server).await;
    let group = cursor().group;
    store.beat(&group, &worker("b"), LEASE).await.unwrap();
    store.beat(&group, &worker("a"), LONG).await.unwrap();
    assert_eq!(store.members(&group).await.unwrap(), [worker("a"), worker("b")]);
    let begin = Instant::now();
    while store.members(&group).await.unwrap().len() > 1 {
        assert!(begin.elapsed() < LEASE * 4, "it lives on");
    }
    store.leave(&group, &worker("a")).await.unwrap();
    assert!(store.members(&group).await.unwrap().is_empty());
}

#[tokio::test]
async fn parked_records_are_kept_tried_again_and_dropped() {
    let server = redis();
    let store = store(&server).await;
    let group = cursor().group;
    let claim = store.acquire(&cursor(), &worker("a"), LONG).await.unwrap().unwrap();
    for position in [3, 9, 4] {
        store.park(&claim, at(position), "no such event").await.unwrap();
    }
    store.park(&claim, at(9), &"é".repeat(10_000)).await.unwrap();
    let parked = store.parked(&group, None, 100).await.unwrap();
    let seen: Vec<(Position, u32)> =
        parked.iter().map(|parked| (parked.position, parked.tries)).collect();
    assert_eq!(seen, [(at(3), 1), (at(4), 1), (at(9), 2)]);
    assert_eq!(parked[0].reason, "no such event");
    assert_eq!(parked[2].reason.chars().count(), REASON_CHARS_MAX);
    let rest = store.parked(&group, Some((&zero(), at(3))), 1).await.unwrap();
    assert_eq!(rest, parked[1..2]);
    store.retry(&cursor(), at(4)).await.unwrap();
    assert!(store.parked(&group, None, 100).await.unwrap()[1].retry);
    store.park(&claim, at(4), "again").await.unwrap();
    assert!(!store.parked(&group, None, 100).await.unwrap()[1].retry);
    store.drop_parked(&cursor(), at(4)).await.unwrap();
    let missing = store.retry(&cursor(), at(4)).await.unwrap_err();
    assert_eq!(missing.to_string(), "cursor mail@sales/0: no record is parked at position 4");
    assert!(store.parked(&Group::new("mail", "other").unwrap(), None, 9).await.unwrap().is_empty());
}
