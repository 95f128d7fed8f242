//! What goes wrong is told clearly, and nothing is lost by it.

use std::time::Duration;

use onsale_bus::kinesis::{KinesisBus, Settings};
use onsale_bus::{Bus, Entry, Error, From, Limits, ShardId};
use tokio::io::AsyncReadExt as _;

use crate::proxy::{Faults, Proxy};
use crate::{KINESIS, bus, entry, settings, stream};

/// As the others, but it gives up soon.
fn impatient(endpoint: &str) -> Settings {
    Settings {
        patience: Duration::from_millis(300),
        call_time: Duration::from_millis(300),
        ..settings(endpoint)
    }
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let bus = bus().await;
    let (name, nowhere) = (stream("there"), stream("nowhere"));
    bus.create(&name, 1).await.unwrap();
    let shard = ShardId::new("shardId-000000000077").unwrap();
    let missing = bus.read(&nowhere, &shard, From::Start, Limits::default()).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no stream nowhere");
    let missing = bus.append(&nowhere, &[entry("k", "v")]).await.unwrap_err();
    assert_eq!(missing.to_string(), "1 of 1 entries are not placed: there is no stream nowhere");
    assert!(matches!(bus.describe(&nowhere).await, Err(Error::NoSuchStream { .. })));
    let missing = bus.read(&name, &shard, From::Start, Limits::default()).await.unwrap_err();
    assert_eq!(missing.to_string(), "stream there has no shard shardId-000000000077");
    let trimmed = bus.trim(&name, &shard, 7.into()).await.unwrap_err();
    assert!(matches!(trimmed, Error::Refused { .. }), "{trimmed}");
}

#[tokio::test]
async fn what_is_too_large_is_not_sent() {
    let bus = bus().await;
    let name = stream("large");
    bus.create(&name, 1).await.unwrap();
    let entries = [entry("k", "fine"), Entry::new("k", vec![0; 1_000_000])];
    let error = bus.append(&name, &entries).await.unwrap_err();
    assert!(matches!(error.first(), Error::TooLarge { field: "key and payload", .. }), "{error}");
    let info = bus.describe(&name).await.unwrap();
    let page = bus.read(&name, &info.shards[0].id, From::Start, Limits::default()).await.unwrap();
    assert!(page.records.is_empty());
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_told() {
    let proxy = Proxy::start(KINESIS.port(), 1, Faults::default()).await;
    let url = proxy.url.clone();
    drop(proxy);
    let bus = Bus::Kinesis(KinesisBus::open(impatient(&url)).await.unwrap());
    let error = bus.describe(&stream("down")).await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("is not available"), "{error}");
    let error = bus.append(&stream("down"), &[entry("k", "v")]).await.unwrap_err();
    assert!(matches!(error.first(), Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_connection_that_closes_before_the_answer_may_go_well_later() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // Something of the request came; there will be no answer.
            let _ = socket.read(&mut [0; 16_384]).await;
        }
    });
    let bus = Bus::Kinesis(KinesisBus::open(impatient(&url)).await.unwrap());
    let error = bus.describe(&stream("closes")).await.unwrap_err();
    assert!(error.is_passing(), "{error}");
    closing.abort();
}

#[tokio::test]
async fn no_answer_in_time_is_told() {
    let proxy =
        Proxy::start(KINESIS.port(), 2, Faults { hanging: 1_000, ..Faults::default() }).await;
    let bus = Bus::Kinesis(KinesisBus::open(impatient(&proxy.url)).await.unwrap());
    let error = bus.describe(&stream("hangs")).await.unwrap_err();
    assert_eq!(error.to_string(), "ListShards of hangs: no answer within 300 ms");
}

#[tokio::test]
async fn wrong_credentials_are_not_tried_again() {
    let faults = Faults { wrong_keys: true, ..Faults::default() };
    let proxy = Proxy::start(KINESIS.port(), 3, faults).await;
    let bus = Bus::Kinesis(KinesisBus::open(settings(&proxy.url)).await.unwrap());
    let begin = std::time::Instant::now();
    let error = bus.append(&stream("keys"), &[entry("k", "v")]).await.unwrap_err().first();
    assert!(error.to_string().contains("refused: UnrecognizedClientException"), "{error}");
    assert!(matches!(error, Error::Refused { .. }));
    assert!(begin.elapsed() < settings("").patience / 2);
}

#[tokio::test]
async fn what_is_past_retention_is_told() {
    let proxy = Proxy::start(KINESIS.port(), 4, Faults::default()).await;
    let open = || KinesisBus::open(settings(&proxy.url));
    let bus = Bus::Kinesis(open().await.unwrap());
    let name = stream("retention");
    bus.create(&name, 1).await.unwrap();
    let entries: Vec<Entry> = (1..=5).map(|n| entry("k", &n.to_string())).collect();
    let placed = bus.append(&name, &entries).await.unwrap();
    let shard = &placed[0].shard;
    let position = |n: usize| placed[n - 1].position;
    let read = |bus: Bus, from| {
        let name = &name;
        async move { bus.read(name, shard, from, Limits::default()).await }
    };
    // From here on the first three are gone.
    proxy.set(Faults { horizon: Some(position(4).to_string()), ..Faults::default() });
    let gone = read(bus.clone(), From::After(position(2))).await.unwrap_err();
    let expected = Error::Gone {
        stream: name.clone(),
        shard: shard.clone(),
        asked: position(2),
        begins_at: position(4),
    };
    assert_eq!(gone, expected);
    assert!(matches!(read(bus.clone(), From::Record(position(3))).await, Err(Error::Gone { .. })));
    let page = read(bus.clone(), From::After(position(4))).await.unwrap();
    assert_eq!(page.records.len(), 1);
    let page = read(bus.clone(), From::Start).await.unwrap();
    assert_eq!(page.records[0].position, position(4));
    // A reader who was there when the rest went misses nothing and hears nothing.
    let page = read(bus.clone(), From::After(position(5))).await.unwrap();
    assert!(page.records.is_empty());
    let sixth = bus.append(&name, &[entry("k", "6")]).await.unwrap()[0].position;
    proxy.set(Faults { horizon: Some(sixth.to_string()), ..Faults::default() });
    let page = read(bus.clone(), From::After(position(5))).await.unwrap();
    assert_eq!(page.records.len(), 1);
    // Whoever comes back only now can't know what there was between.
    let anew = Bus::Kinesis(open().await.unwrap());
    let gone = read(anew, From::After(position(5))).await.unwrap_err();
    assert!(matches!(gone, Error::Gone { begins_at, .. } if begins_at == sixth));
}

#[tokio::test]
async fn a_closed_bus_says_so() {
    let bus = bus().await;
    bus.close().await.unwrap();
    let error = bus.append(&stream("closed"), &[entry("k", "v")]).await.unwrap_err();
    assert!(error.to_string().contains("it was closed"), "{error}");
}
