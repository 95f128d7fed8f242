//! The bus on a real kinesis-local: what every back end does, what goes wrong, and what changes under a reader.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod basics;
mod errors;
mod faults;
mod proxy;
mod python;
#[cfg(feature = "redis")]
mod relay;
mod reshard;
mod shards;

use std::sync::LazyLock;
use std::time::Duration;

use onsale_bus::kinesis::{Keys, KinesisBus, Settings};
use onsale_bus::{Bus, Entry, StreamName};
use onsale_services::Server;

/// One for all tests here: each has streams of its own. It ends with the process.
static KINESIS: LazyLock<Server> = LazyLock::new(onsale_services::kinesis);

/// Those that give it much to do take turns.
static TURNS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Settings for an address, impatient, and faster than Kinesis would allow.
fn settings(endpoint: &str) -> Settings {
    Settings {
        endpoint: Some(endpoint.to_owned()),
        keys: Some(Keys { id: "test".into(), secret: "test".into() }),
        backoff: Duration::from_millis(5),
        reads_per_second: 20,
        ..Settings::new("us-east-1")
    }
}

async fn kinesis() -> KinesisBus {
    KinesisBus::open(settings(KINESIS.url())).await.unwrap()
}

async fn bus() -> Bus {
    Bus::Kinesis(kinesis().await)
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn entry(key: &str, payload: &str) -> Entry {
    Entry::new(key.to_owned(), payload.to_owned())
}

/// A small source of randomness that starts from a seed: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True so often in a thousand.
    fn happens(&mut self, per_mille: u64) -> bool {
        self.next() % 1_000 < per_mille
    }
}

/// A seed from the environment (`ONSALE_SEED`), or a new one; printed.
fn seed() -> u64 {
    let given = std::env::var("ONSALE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| getrandom::u64().unwrap());
    println!("ONSALE_SEED={seed}");
    seed
}
