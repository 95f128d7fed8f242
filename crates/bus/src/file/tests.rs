//! The bus on files: what is appended is there again, for this process and for others.

use std::time::Duration;

use super::*;
use crate::{Bus, Generation};

const OPTIONS: FileOptions = FileOptions { segment_bytes: 64 << 10 };

fn sales() -> StreamName {
    StreamName::new("sales").unwrap()
}

async fn open(folder: &Path) -> Bus {
    Bus::File(FileBus::open(folder, OPTIONS).await.unwrap())
}

fn entries(range: std::ops::Range<u32>, bytes: usize) -> Vec<Entry> {
    range.map(|n| Entry::new(format!("key-{}", n % 7), format!("{n:0bytes$}"))).collect()
}

/// All records of a shard, by pages.
async fn all(bus: &Bus, shard: &ShardId) -> Vec<String> {
    let mut found = Vec::new();
    let mut from = From::Start;
    loop {
        let page = bus.read(&sales(), shard, from, Limits::default()).await.unwrap();
        if page.records.is_empty() {
            return found;
        }
        found.extend(page.records.iter().map(|r| String::from_utf8_lossy(&r.payload).into_owned()));
        from = page.next;
    }
}

#[tokio::test]
async fn a_page_says_how_far_its_end_is_behind() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path()).await;
    bus.create(&sales(), 1).await.unwrap();
    bus.append(&sales(), &entries(0..10, 8)).await.unwrap();
    let limits = Limits { records: 3, ..Limits::default() };
    let mut from = From::Start;
    for behind in [7, 4, 1, 0, 0] {
        let page = bus.read(&sales(), &ShardId::numbered(0), from, limits).await.unwrap();
        assert_eq!(page.lag.records, Some(behind));
        from = page.next;
    }
    bus.close().await.unwrap();
}

#[tokio::test]
async fn what_is_appended_is_there_after_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut generation = Generation(0);
    for round in 0..3 {
        let bus = open(folder.path()).await;
        bus.create(&sales(), 3).await.unwrap();
        let info = bus.describe(&sales()).await.unwrap();
        assert!(round == 0 || info.generation == generation, "it is the same history");
        generation = info.generation;
        let placed =
            bus.append(&sales(), &entries(round * 100..(round + 1) * 100, 8)).await.unwrap();
        assert_eq!(placed.len(), 100);
        let mut found = 0;
        for shard in &info.shards {
            let records = all(&bus, &shard.id).await;
            assert!(records.is_sorted(), "each key's order is that of the appends: {records:?}");
            found += records.len();
        }
        assert_eq!(found, (round as usize + 1) * 100);
        // Half of the times it ends without a word.
        if round % 2 == 0 {
            bus.close().await.unwrap();
            assert!(bus.append(&sales(), &entries(0..1, 1)).await.is_err());
        }
    }
}

#[tokio::test]
async fn another_opens_the_folder_and_becomes_a_client() {
    let folder = tempfile::tempdir().unwrap();
    let owner = open(folder.path()).await;
    owner.create(&sales(), 1).await.unwrap();
    let client = open(folder.path()).await;
    assert!(matches!(&client, Bus::File(bus) if !bus.is_owner()));
    let zero = ShardId::numbered(0);
    let limits = Limits { wait: Duration::from_secs(20), ..Limits::default() };
    let waiting = tokio::spawn({
        let (client, zero) = (client.clone(), zero.clone());
        async move { client.read(&sales(), &zero, From::End, limits).await.unwrap() }
    });
    // It may come before or after the reader begins to wait: then nothing is seen, and more comes.
    while !waiting.is_finished() {
        client.append(&sales(), &entries(0..10, 5)).await.unwrap();
    }
    let page = waiting.await.unwrap();
    assert!(!page.records.is_empty());
    assert_eq!(all(&client, &zero).await, all(&owner, &zero).await);
    assert_eq!(client.describe(&sales()).await, owner.describe(&sales()).await);
    assert_eq!(client.streams().await.unwrap(), [sales()]);
    let large = Entry::new("k", vec![0; 20 << 10]);
    let error = client.append(&sales(), &[large]).await.unwrap_err().first();
    assert!(matches!(error, Error::TooLarge { max: 16_384, .. }), "{error}");
    let beyond = client.read(&sales(), &zero, From::After(9_999.into()), limits).await.unwrap_err();
    assert!(matches!(beyond, Error::Beyond { .. }));
    let error = client.create(&sales(), 9).await.unwrap_err();
    assert!(matches!(error, Error::OtherShards { has: 1, asked: 9, .. }));

    drop(owner);
    let again = async {
        while client.streams().await.is_ok() {
            tokio::task::yield_now().await;
        }
        // The lock is free once the last task of the owner is gone.
        loop {
            let bus = open(folder.path()).await;
            if matches!(&bus, Bus::File(bus) if bus.is_owner()) {
                return bus;
            }
        }
    };
    let _owner = tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
    client.append(&sales(), &entries(0..1, 5)).await.unwrap();
}

#[tokio::test]
async fn what_is_trimmed_stays_trimmed_and_its_segments_go() {
    let folder = tempfile::tempdir().unwrap();
    let zero = ShardId::numbered(0);
    let bus = open(folder.path()).await;
    bus.create(&sales(), 1).await.unwrap();
    for round in 0..40 {
        bus.append(&sales(), &entries(round * 10..round * 10 + 10, 900)).await.unwrap();
    }
    let segments = || {
        let files = std::fs::read_dir(folder.path().join("streams/sales/shard-00")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().path().extension() == Some("seg".as_ref()))
            .count()
    };
    let before = segments();
    assert_eq!(bus.trim(&sales(), &zero, 300.into()).await.unwrap(), 301.into());
    assert!(segments() + 3 < before, "{before} and {} are left", segments());
    for bus in [bus.clone(), open(folder.path()).await] {
        let gone = bus.read(&sales(), &zero, From::After(299.into()), Limits::default()).await;
        let expected = "sales/0: what follows position 299 is gone, the shard begins at 301";
        assert_eq!(gone.unwrap_err().to_string(), expected);
    }
    bus.close().await.unwrap();
    drop(bus);
    let bus = open(folder.path()).await;
    assert_eq!(all(&bus, &zero).await.len(), 100);
    let info = bus.describe(&sales()).await.unwrap();
    assert_eq!((info.shards[0].first, info.shards[0].last), (301.into(), Some(400.into())));
}

#[tokio::test]
async fn reading_begins_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let bus = open(folder.path()).await;
    bus.create(&sales(), 1).await.unwrap();
    let zero = ShardId::numbered(0);
    for n in 0..20 {
        bus.append(&sales(), &entries(n..n + 1, 3)).await.unwrap();
    }
    let page = bus.read(&sales(), &zero, From::Start, Limits::default()).await.unwrap();
    for record in &page.records {
        let found = bus
            .read(&sales(), &zero, From::At(record.written_at_us), Limits::default())
            .await
            .unwrap();
        assert_eq!(found.records[0].written_at_us, record.written_at_us);
        assert!(found.records[0].position <= record.position);
    }
    let after = bus.read(&sales(), &zero, From::At(u64::MAX), Limits::default()).await.unwrap();
    assert!(after.records.is_empty());
    assert_eq!(after.next, From::After(20.into()));
}

#[tokio::test]
async fn a_stream_made_anew_is_another_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let bus = open(folder.path()).await;
        bus.create(&sales(), 1).await.unwrap();
        seen.push(bus.describe(&sales()).await.unwrap().generation);
        bus.close().await.unwrap();
        std::fs::remove_dir_all(folder.path().join("streams")).unwrap();
    }
    assert_ne!(seen[0], seen[1]);
}

/// A foreign log: its records are the positions. It has more of them than it tells yet.
struct Numbers(tokio::sync::watch::Sender<u64>);

impl Source for Numbers {
    fn generation(&self) -> Generation {
        Generation(5)
    }

    fn shards(&self) -> u32 {
        1
    }

    fn first(&self, _: u32) -> Result<u64, Error> {
        Ok(1)
    }

    fn durable(&self, _: u32) -> tokio::sync::watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn read(
        &self,
        _: u32,
        after: u64,
        records: usize,
        _: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error> {
        for at in (after + 1..=*self.0.borrow() + 100).take(records) {
            let payload = at.to_string();
            each(at, Cut { key: b"k", payload: payload.as_bytes(), written_at_us: at });
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_foreign_log_is_read_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let bus = FileBus::open(folder.path(), OPTIONS).await.unwrap();
    let source = Arc::new(Numbers(tokio::sync::watch::Sender::new(10_000)));
    bus.register(&sales(), Arc::clone(&source) as Arc<dyn Source>).unwrap();
    let (owner, client) = (Bus::File(bus), open(folder.path()).await);
    for bus in [&owner, &client] {
        let found = all(bus, &ShardId::numbered(0)).await;
        assert_eq!((found.len(), found[9_999].as_str()), (10_000, "10000"));
        let error = bus.append(&sales(), &entries(0..1, 1)).await.unwrap_err().first();
        assert_eq!(error.to_string(), "stream sales refused: it is written by the engine alone");
        assert!(bus.trim(&sales(), &ShardId::numbered(0), 1.into()).await.is_err());
    }
}
