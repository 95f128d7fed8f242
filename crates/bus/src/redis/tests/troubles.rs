//! Servers that end, lose, refuse and say nothing.

use std::task::Poll;

use super::*;

/// A server that promises to keep everything.
pub(super) fn keeping() -> Server {
    redis_with(&["--appendonly", "yes", "--appendfsync", "always"])
}

/// Appends, ends the server by SIGKILL, and starts it again.
async fn restarted(server: &mut Server) -> (Bus, Generation, Result<StreamInfo, Error>) {
    let bus = bus_with(server, 2).await;
    bus.append(&sales(), &entries(0..200)).await.unwrap();
    let before = bus.describe(&sales()).await.unwrap();
    server.restart();
    let after = bus.describe(&sales()).await;
    (bus, before.generation, after)
}

/// As in a `select!` that is busy with its other branch.
#[tokio::test]
async fn a_caller_that_is_not_polled_keeps_nobody_from_connecting() {
    let server = redis();
    let link = link::Link::new(&RedisOptions::new(server.url())).unwrap();
    let mut stalled = std::pin::pin!(link.check());
    let begun = std::future::poll_fn(|context| Poll::Ready(stalled.as_mut().poll(context))).await;
    assert!(begun.is_pending());
    let other = tokio::time::timeout(Duration::from_secs(30), link.check()).await;
    other.expect("it does not wait for the stalled one").unwrap();
    stalled.await.unwrap();
}

#[tokio::test]
async fn a_server_that_keeps_all_goes_on_as_it_was() {
    let mut server = keeping();
    let (bus, before, after) = restarted(&mut server).await;
    assert_eq!(after.unwrap().generation, before);
    bus.append(&sales(), &entries(200..300)).await.unwrap();
    let counts = [all(&bus, &zero()).await.len(), all(&bus, &ShardId::numbered(1)).await.len()];
    assert_eq!(counts.iter().sum::<usize>(), 300);
    assert_eq!(bus.describe(&sales()).await.unwrap().generation, before);
}

#[tokio::test]
async fn a_server_that_went_back_is_another_history() {
    let mut server = redis();
    let bus = bus_with(&server, 1).await;
    bus.append(&sales(), &entries(0..200)).await.unwrap();
    let before = bus.describe(&sales()).await.unwrap().generation;
    told(&server, ::redis::cmd("SAVE")).await;
    bus.append(&sales(), &entries(200..300)).await.unwrap();
    server.restart();
    // Even a writer that comes first, and fills up what is missing, does not hide it.
    bus.append(&sales(), &entries(300..400)).await.unwrap_err();
    bus.append(&sales(), &entries(300..400)).await.unwrap();
    let after = bus.describe(&sales()).await.unwrap().generation;
    assert!(after > before);
    let page = bus.read(&sales(), &zero(), From::After(at(199)), limits(2)).await.unwrap();
    assert_eq!((page.generation, payloads(&page)), (after, vec![199, 300]));
    assert_eq!(bus.describe(&sales()).await.unwrap().generation, after);
}

#[tokio::test]
async fn a_server_that_lost_everything_has_no_stream() {
    let mut server = redis();
    let (bus, before, after) = restarted(&mut server).await;
    assert_eq!(after, Err(Error::NoSuchStream { stream: sales() }));
    let append = bus.append(&sales(), &entries(0..1)).await.unwrap_err();
    assert_eq!(append.first(), Error::NoSuchStream { stream: sales() });
    bus.create(&sales(), 2).await.unwrap();
    assert!(bus.describe(&sales()).await.unwrap().generation > before);
    // The stream is known with two shards, and is made anew with one behind the bus's back.
    bus.append(&sales(), &entries(0..10)).await.unwrap();
    server.restart();
    bus_with(&server, 1).await;
    let placed = bus.append(&sales(), &entries(0..10)).await;
    let placed = match placed {
        Ok(placed) => placed,
        // The broken connection was found by this append.
        Err(error) => {
            assert!(matches!(error.first(), Error::TimedOut { .. }), "{error}");
            bus.append(&sales(), &entries(0..10)).await.unwrap()
        }
    };
    assert!(placed.iter().all(|placed| placed.shard == zero()));
}

#[tokio::test]
async fn a_hole_in_a_shard_is_damage() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    bus.append(&sales(), &entries(0..10)).await.unwrap();
    let birth = connected(&server).await.known_of(&sales()).await.unwrap().birth;
    let mut delete = ::redis::cmd("XDEL");
    delete.arg("onsale:{sales}/0").arg(format!("{birth}-5"));
    told(&server, delete).await;
    let page = bus.read(&sales(), &zero(), From::Start, limits(100)).await.unwrap();
    assert_eq!((payloads(&page), page.next), (vec![0, 1, 2, 3], From::After(at(4))));
    let damaged = bus.read(&sales(), &zero(), page.next, limits(100)).await.unwrap_err();
    assert!(matches!(damaged, Error::Missing { .. }), "{damaged}");
    let expected = "sales/0: the record at position 5 is missing: ";
    assert!(damaged.to_string().starts_with(expected), "{damaged}");
    let page = bus.read(&sales(), &zero(), From::After(at(5)), limits(100)).await.unwrap();
    assert_eq!(payloads(&page), [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn scripts_that_are_forgotten_are_told_again() {
    let server = redis();
    let bus = bus_with(&server, 1).await;
    for _ in 0..2 {
        let mut flush = ::redis::cmd("SCRIPT");
        flush.arg("FLUSH");
        told(&server, flush).await;
        bus.append(&sales(), &entries(0..10)).await.unwrap();
    }
    assert_eq!(all(&bus, &zero()).await.len(), 20);
}

#[tokio::test]
async fn a_full_memory_is_told_and_trimming_helps() {
    let server = redis_with(&["--maxmemory", "5mb"]);
    let bus = bus_with(&server, 1).await;
    let large = vec![Entry::new("k", vec![b'x'; 10_000]); 20];
    let mut kept = 0;
    let full = loop {
        match bus.append(&sales(), &large).await {
            Ok(placed) => kept += placed.len(),
            Err(error) => break error.first(),
        }
        assert!(kept < 1_000, "it never fills up");
    };
    assert!(full.is_passing() && full.to_string().contains("its memory is full"), "{full}");
    assert_eq!(all(&bus, &zero()).await.len(), kept);
    bus.trim(&sales(), &zero(), at(kept as u64 - 1)).await.unwrap();
    bus.append(&sales(), &large[..1]).await.unwrap();
    let page = bus.read(&sales(), &zero(), From::Start, limits(10)).await.unwrap();
    assert_eq!(page.records[1].position, at(kept as u64 + 1));
}

#[tokio::test]
async fn whoever_can_t_get_in_is_told_why() {
    let server = redis_with(&["--requirepass", "right"]);
    let at_server = |who: &str| format!("redis://{who}127.0.0.1:{}", server.port());
    let ask = async |url: &str| {
        RedisBus::connect(&RedisOptions::new(url)).await.map(|_| ()).unwrap_err().to_string()
    };
    for url in [at_server(":wrong@"), at_server("")] {
        let why = ask(&url).await;
        assert!(why.contains("refused: user or password") && !why.contains("wrong@"), "{why}");
    }
    RedisBus::connect(&RedisOptions::new(&at_server(":right@"))).await.unwrap();
    let nobody = ask("redis://127.0.0.1:1").await;
    assert!(nobody.starts_with("Redis at 127.0.0.1:1 is not available: "), "{nobody}");
    let odd = ask("http://:secret@x").await;
    assert!(odd.starts_with("url: \"http\" is not redis://"), "{odd}");
    let unsafe_one = ask("rediss://:secret@x#insecure").await;
    assert!(unsafe_one.starts_with("url: \"rediss\" is not redis://"), "{unsafe_one}");
    // Redis waits for more of what it does not understand.
    let without = ask(&at_server(":right@").replace("redis:", "rediss:")).await;
    assert!(without.contains("check that TLS is spoken at this port"), "{without}");
    for said in [odd, unsafe_one, without] {
        assert!(!said.contains("secret") && !said.contains("right@"), "{said}");
    }
    drop(server);
    let node = redis_with(&["--cluster-enabled", "yes"]);
    let why = ask(node.url()).await;
    assert!(why.contains("it is a node of a cluster"), "{why}");

    let primary = redis();
    let of = primary.port().to_string();
    let replica = redis_with(&["--replicaof", "127.0.0.1", &of]);
    let why = ask(replica.url()).await;
    assert!(why.contains("it is a read-only replica"), "{why}");
    // And one that becomes a replica while it is in use.
    let bus = bus_with(&primary, 1).await;
    let mut become_one = ::redis::cmd("REPLICAOF");
    become_one.arg("127.0.0.1").arg(replica.port());
    told(&primary, become_one).await;
    let why = bus.append(&sales(), &entries(0..1)).await.unwrap_err().first();
    assert!(why.to_string().contains("it is a read-only replica"), "{why}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() {
    let server = redis();
    let mut options = RedisOptions::new(server.url());
    options.timeout = Duration::from_millis(300);
    let bus = Bus::Redis(RedisBus::connect(&options).await.unwrap());
    bus.create(&sales(), 1).await.unwrap();
    server.pause();
    let entry = entries(0..1);
    let late = bus.append(&sales(), &entry).await.unwrap_err().first();
    assert!(matches!(late, Error::TimedOut { after_ms: 300..2_000, .. }), "{late}");
    let late = bus.read(&sales(), &zero(), From::Start, limits(1)).await.unwrap_err();
    assert!(matches!(late, Error::TimedOut { .. }), "{late}");
    server.resume();
    bus.append(&sales(), &entry).await.unwrap();
    // What was not answered in time may have been carried out all the same, or not.
    assert!((1..=2).contains(&all(&bus, &zero()).await.len()));
}
