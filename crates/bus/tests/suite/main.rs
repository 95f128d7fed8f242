//! One suite for all back ends: 16 worker processes share the shards of a stream; some are killed, some frozen past
//! their leases and continued. Every record's effect is stored once, in the order of its key, and what a silent
//! worker had is taken over within two leases. The binary starts itself for the workers.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod child;
mod database;
mod ground;
#[cfg(feature = "kinesis")]
#[path = "../kinesis/shards.rs"]
mod shards;

use ground::Ground;
use onsale_bus::Cursors;
use onsale_bus::file::{FileBus, FileOptions};

/// Not a test of its own: what a worker process runs.
#[test]
fn worker_process() {
    if let Some(plan) = child::Plan::given() {
        child::run(&plan);
    }
}

#[tokio::test]
async fn files() {
    let folder = tempfile::tempdir().unwrap();
    let (streams, cursors) = (folder.path().join("bus"), folder.path().join("cursors"));
    let options = FileOptions { segment_bytes: 256 << 10 };
    let bus = onsale_bus::Bus::File(FileBus::open(&streams, options).await.unwrap());
    let ground = Ground {
        bus: bus.clone(),
        cursors: Cursors::file(&cursors).unwrap(),
        plan: child::Plan {
            bus: format!("file:{}", streams.display()),
            cursors: format!("file:{}", cursors.display()),
            database: format!("sqlite:{}", folder.path().join("effects.db").display()),
        },
        shards: 64,
        records_per_round: 5_000,
    };
    ground.run(async |_| {}).await;
    bus.close().await.unwrap();
}

#[cfg(all(feature = "redis", feature = "postgres"))]
#[tokio::test]
async fn redis() {
    let (redis, postgres) = (onsale_services::redis(), onsale_services::postgres());
    let ground = Ground {
        bus: child::bus(redis.url()).await,
        cursors: child::cursors(redis.url()).await,
        plan: child::Plan {
            bus: redis.url().to_owned(),
            cursors: redis.url().to_owned(),
            database: postgres.url().to_owned(),
        },
        shards: 64,
        records_per_round: 5_000,
    };
    ground.run(async |_| {}).await;
}

#[cfg(feature = "kinesis")]
#[tokio::test]
async fn kinesis() {
    let server = onsale_services::kinesis();
    let folder = tempfile::tempdir().unwrap();
    let cursors = folder.path().join("cursors");
    let address = format!("kinesis://us-east-1?endpoint={}", server.url());
    let kinesis = child::kinesis(&address).await;
    let ground = Ground {
        bus: onsale_bus::Bus::Kinesis(kinesis.clone()),
        cursors: Cursors::file(&cursors).unwrap(),
        plan: child::Plan {
            bus: address,
            cursors: format!("file:{}", cursors.display()),
            database: format!("sqlite:{}", folder.path().join("effects.db").display()),
        },
        shards: 8,
        // A kinesis-local takes some hundreds a second beside all who ask it.
        records_per_round: 1_000,
    };
    let sales = onsale_bus::StreamName::new("sales").unwrap();
    ground
        .run(async |round| {
            shards::split_one(&kinesis, &sales, round).await;
            shards::merge_two(&kinesis, &sales, round).await;
        })
        .await;
}
