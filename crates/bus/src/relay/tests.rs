//! Relays between buses in memory.

use super::*;
use crate::{From, Limits};

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

async fn buses() -> (Bus, Bus, Cursors) {
    let (source, target) = (Bus::memory(), Bus::memory());
    source.create(&name("sales"), 4).await.unwrap();
    target.create(&name("copy"), 3).await.unwrap();
    let entries: Vec<Entry> =
        (0..200).map(|n| Entry::new(format!("k{}", n % 20), (n / 20).to_string())).collect();
    source.append(&name("sales"), &entries).await.unwrap();
    (source, target, Cursors::memory())
}

async fn relay(source: &Bus, target: &Bus, cursors: &Cursors) -> Relay {
    let options = WorkerOptions {
        limits: Limits { records: 7, ..Limits::default() },
        ..WorkerOptions::default()
    };
    let group = Group::new("relay", "sales").unwrap();
    let (source, cursors, target) = (source.clone(), cursors.clone(), target.clone());
    Relay::begin(source, cursors, group, target, name("copy"), options).await.unwrap()
}

async fn copied(target: &Bus) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for shard in target.describe(&name("copy")).await.unwrap().shards {
        let page =
            target.read(&name("copy"), &shard.id, From::Start, Limits::default()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        found.extend(page.records.iter().map(|r| (text(&r.key), text(&r.payload))));
    }
    found
}

#[tokio::test(start_paused = true)]
async fn all_is_copied_in_the_order_of_each_key_and_a_new_relay_goes_on() {
    let (source, target, cursors) = buses().await;
    let mut first = relay(&source, &target, &cursors).await;
    for _ in 0..9 {
        first.step(Duration::from_secs(1)).await.unwrap().unwrap();
    }
    first.end().await.unwrap();
    let mut second = relay(&source, &target, &cursors).await;
    while second.step(Duration::from_secs(1)).await.unwrap().is_some() {}
    is_whole(&copied(&target).await);
}

#[tokio::test(start_paused = true)]
async fn between_append_and_commit_there_is_no_gap() {
    let (source, target, cursors) = buses().await;
    let mut killed = relay(&source, &target, &cursors).await;
    killed.step(Duration::from_secs(1)).await.unwrap().unwrap();
    // It appends and is gone before it commits.
    let batch = killed.worker.next().await.unwrap();
    killed.copy(&batch).await.unwrap();
    let twice = batch.records().count();
    drop(killed);
    let mut next = relay(&source, &target, &cursors).await;
    let lease = WorkerOptions::default().lease;
    while next.step(2 * lease).await.unwrap().is_some() {}
    let mut copied = copied(&target).await;
    assert_eq!(copied.len(), 200 + twice, "the target in memory can't tell");
    copied.sort();
    copied.dedup();
    assert_eq!(copied.len(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_relay_holds_is_not_copied_yet() {
    let (source, target, cursors) = buses().await;
    let mut killed = relay(&source, &target, &cursors).await;
    killed.step(Duration::from_secs(1)).await.unwrap().unwrap();
    drop(killed);
    let mut next = relay(&source, &target, &cursors).await;
    assert_eq!(
        next.step(Duration::from_secs(1)).await,
        Ok(None),
        "all is the other's by its lease"
    );
    assert_eq!(next.is_at_end().await, Ok(false));
    let begun = tokio::time::Instant::now();
    while !next.is_at_end().await.unwrap() {
        next.step(Duration::from_secs(1)).await.unwrap();
        assert!(begun.elapsed() < 3 * WorkerOptions::default().lease, "it never ends");
    }
    is_whole(&copied(&target).await);
    // What comes after that is not copied until it is.
    let more = [Entry::new("k0", "10")];
    source.append(&name("sales"), &more).await.unwrap();
    assert_eq!(next.is_at_end().await, Ok(false));
}

/// Each key's records in their order, and each once.
fn is_whole(copied: &[(String, String)]) {
    assert_eq!(copied.len(), 200);
    for key in 0..20 {
        let of_key = copied.iter().filter(|(of, _)| *of == format!("k{key}"));
        let numbers: Vec<u32> = of_key.map(|(_, payload)| payload.parse().unwrap()).collect();
        assert_eq!(numbers, (0..10).collect::<Vec<u32>>(), "k{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_target_did_not_take_comes_again_in_its_order() {
    let (source, target, cursors) = buses().await;
    let Bus::Memory(memory) = &target else { unreachable!() };
    let mut relay = relay(&source, &target, &cursors).await;
    memory.fail(5);
    while relay.step(Duration::from_secs(1)).await.unwrap().is_some() {
        memory.fail(3);
    }
    is_whole(&copied(&target).await);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_fails_on_and_on_holds_the_place() {
    let (source, target, cursors) = buses().await;
    let Bus::Memory(memory) = &target else { unreachable!() };
    let mut relay = relay(&source, &target, &cursors).await;
    memory.fail(usize::MAX);
    // Batches of keys that are taken go through; of one that is not, nothing counts as copied.
    while relay.step(Duration::from_secs(1)).await.unwrap().expect("not all is copied") > 0 {}
    memory.fail(0);
    while relay.step(Duration::from_secs(1)).await.unwrap().is_some() {}
    let mut copied = copied(&target).await;
    // What was taken of the batch that failed is there twice, next to where it belongs.
    let mut seen = std::collections::BTreeSet::new();
    copied.retain(|record| seen.insert(record.clone()));
    is_whole(&copied);
}

#[tokio::test(start_paused = true)]
async fn what_the_target_refuses_is_told_and_nothing_is_lost() {
    let (source, target, cursors) = buses().await;
    let too_large: Reshape =
        Arc::new(|_, record| Entry::new(record.key.clone(), vec![0; 1_000_001]));
    let mut bad = relay(&source, &target, &cursors).await.reshaping(too_large);
    let error = bad.step(Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().ends_with("at most 1000000 are taken"), "{error}");
    bad.end().await.unwrap();
    let mut good = relay(&source, &target, &cursors).await;
    while good.step(Duration::from_secs(1)).await.unwrap().is_some() {}
    assert_eq!(copied(&target).await.len(), 200);
}
