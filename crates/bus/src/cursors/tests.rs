//! Every store keeps the same rules.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;

const LEASE: Duration = Duration::from_secs(10);

/// A store, and its clock.
struct Store {
    cursors: Cursors,
    now_ms: Option<Arc<AtomicU64>>,
    _folder: tempfile::TempDir,
}

impl Store {
    async fn pass(&self, time: Duration) {
        match &self.now_ms {
            Some(now_ms) => drop(now_ms.fetch_add(time.as_millis() as u64, Ordering::Relaxed)),
            None => tokio::time::advance(time).await,
        }
    }
}

fn stores() -> Vec<Store> {
    let (folder, now_ms) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(1)));
    let file = Cursors::File(FileCursors::with_clock(folder.path(), Arc::clone(&now_ms)));
    vec![
        Store { cursors: Cursors::memory(), now_ms: None, _folder: tempfile::tempdir().unwrap() },
        Store { cursors: file, now_ms: Some(now_ms), _folder: folder },
    ]
}

fn at(position: u64) -> Progress {
    Progress { generation: Generation(1), position: Position::from(position), ended: false }
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name).unwrap()
}

fn cursor() -> CursorId {
    Group::new("mail", "sales").unwrap().cursor(&ShardId::numbered(0))
}

#[tokio::test(start_paused = true)]
async fn a_lease_keeps_others_out_until_it_runs_out() {
    for clock in stores() {
        let store = &clock.cursors;
        let (a, b) = (worker("a"), worker("b"));
        let first = store.acquire(&cursor(), &a, LEASE).await.unwrap().unwrap();
        assert_eq!(store.acquire(&cursor(), &b, LEASE).await.unwrap(), None);
        store.commit(&first, at(5)).await.unwrap();
        clock.pass(LEASE / 2).await;
        store.renew(&first, LEASE).await.unwrap();
        clock.pass(LEASE * 3 / 4).await;
        assert_eq!(store.acquire(&cursor(), &b, LEASE).await.unwrap(), None);
        let in_use = store.reset(&cursor(), None).await.unwrap_err();
        let Error::Leased { owner, left_ms, .. } = in_use else { panic!("{in_use}") };
        let left = Duration::from_millis(left_ms);
        assert!(owner == a && left > Duration::ZERO && left <= LEASE, "{left:?}");
        clock.pass(LEASE / 2).await;

        // It has run out, but nobody took it: its owner may go on.
        store.commit(&first, at(6)).await.unwrap();
        let second = store.acquire(&cursor(), &b, LEASE).await.unwrap().unwrap();
        assert!(second.fence > first.fence);
        assert_eq!(second.progress, Some(at(6)));
        let late = store.commit(&first, at(7)).await.unwrap_err();
        let expected = "cursor mail@sales/0: the lease with fence 1 is lost, the fence is 2";
        assert_eq!(late.to_string(), expected);
        assert!(store.renew(&first, LEASE).await.is_err());
        store.release(&first).await.unwrap();
        assert!(store.park(&first, Position::from(7), "late").await.is_err());
        store.commit(&second, at(7)).await.unwrap();
        store.release(&second).await.unwrap();
        assert!(store.commit(&second, at(8)).await.is_err());
        assert_eq!(store.list(&cursor().group).await.unwrap()[0].progress, Some(at(7)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_only_goes_forwards() {
    for clock in stores() {
        let store = &clock.cursors;
        let claim = store.acquire(&cursor(), &worker("a"), LEASE).await.unwrap().unwrap();
        store.commit(&claim, at(5)).await.unwrap();
        store.commit(&claim, at(5)).await.unwrap();
        let back = store.commit(&claim, at(4)).await.unwrap_err();
        assert_eq!(
            back.to_string(),
            "cursor mail@sales/0: 4 is before 5, a commit only goes forwards"
        );
        let other = Progress { generation: Generation(2), ..at(9) };
        assert!(matches!(store.commit(&claim, other).await, Err(Error::Diverged { .. })));
        store.commit(&claim, Progress { ended: true, ..at(5) }).await.unwrap();
        assert!(matches!(store.commit(&claim, at(5)).await, Err(Error::Backwards { .. })));
        store.release(&claim).await.unwrap();
        store.reset(&cursor(), Some(at(2))).await.unwrap();
        let again = store.acquire(&cursor(), &worker("a"), LEASE).await.unwrap().unwrap();
        assert_eq!((again.fence, again.progress), (3, Some(at(2))));
        assert_eq!(store.groups().await.unwrap(), [cursor().group]);
    }
}

#[tokio::test(start_paused = true)]
async fn members_live_as_long_as_they_say_so() {
    for clock in stores() {
        let store = &clock.cursors;
        let group = cursor().group;
        store.beat(&group, &worker("a"), LEASE).await.unwrap();
        clock.pass(LEASE / 2).await;
        store.beat(&group, &worker("b"), LEASE).await.unwrap();
        assert_eq!(store.members(&group).await.unwrap(), [worker("a"), worker("b")]);
        clock.pass(LEASE / 2).await;
        assert_eq!(store.members(&group).await.unwrap(), [worker("b")]);
        store.leave(&group, &worker("b")).await.unwrap();
        assert!(store.members(&group).await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn parked_records_are_kept_tried_again_and_dropped() {
    for clock in stores() {
        let store = &clock.cursors;
        let group = cursor().group;
        let claim = store.acquire(&cursor(), &worker("a"), LEASE).await.unwrap().unwrap();
        for position in [3, 9, 4] {
            store.park(&claim, Position::from(position), "no such event").await.unwrap();
        }
        store.park(&claim, Position::from(9), &"x".repeat(10_000)).await.unwrap();
        let parked = store.parked(&group, None, 100).await.unwrap();
        let seen: Vec<(u64, u32)> =
            parked.iter().map(|parked| (parked.position.as_u64().unwrap(), parked.tries)).collect();
        assert_eq!(seen, [(3, 1), (4, 1), (9, 2)]);
        assert_eq!(parked[2].reason.len(), REASON_CHARS_MAX);
        let zero = ShardId::numbered(0);
        let rest = store.parked(&group, Some((&zero, Position::from(3))), 1).await.unwrap();
        assert_eq!(rest, parked[1..2]);
        store.retry(&cursor(), Position::from(4)).await.unwrap();
        assert!(store.parked(&group, None, 100).await.unwrap()[1].retry);
        store.park(&claim, Position::from(4), "again").await.unwrap();
        assert!(!store.parked(&group, None, 100).await.unwrap()[1].retry);
        store.drop_parked(&cursor(), Position::from(4)).await.unwrap();
        let missing = store.retry(&cursor(), Position::from(4)).await.unwrap_err();
        assert_eq!(missing.to_string(), "cursor mail@sales/0: no record is parked at position 4");
    }
}

#[tokio::test]
async fn many_who_want_the_same_cursor_get_it_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Cursors::file(folder.path()).unwrap();
    let tries = (0..20).map(|n| {
        let (store, owner) = (store.clone(), worker(&format!("w{n}")));
        async move { store.acquire(&cursor(), &owner, LEASE).await.unwrap() }
    });
    let won: Vec<Claim> =
        futures_util::future::join_all(tries).await.into_iter().flatten().collect();
    assert_eq!((won.len(), won[0].fence), (1, 1));
    store.release(&won[0]).await.unwrap();
    for n in 2..200 {
        let claim = store.acquire(&cursor(), &worker("w"), LEASE).await.unwrap().unwrap();
        assert_eq!(claim.fence, n);
    }
    let versions = std::fs::read_dir(folder.path().join("mail@sales/cursors/0")).unwrap().count();
    assert_eq!(versions, 2);
}
