//! A worker process: stores what it reads, with its place, until it is killed.

use std::path::Path;
use std::time::Duration;

use onsale_bus::{Bus, Cursors, From, Group, Limits, Worker, WorkerOptions};

use crate::database::Database;

/// How long a shard is left to a worker that says nothing: longer on a kinesis-local, which takes its time when
/// sixteen ask for shards.
pub fn lease(bus: &str) -> Duration {
    Duration::from_secs(if bus.starts_with("kinesis:") { 8 } else { 2 })
}

/// Where everything is, as texts that begin with a scheme.
#[derive(Clone, Debug)]
pub struct Plan {
    pub bus: String,
    pub cursors: String,
    pub database: String,
}

impl Plan {
    const NAMES: [&str; 3] = ["ONSALE_SUITE_BUS", "ONSALE_SUITE_CURSORS", "ONSALE_SUITE_DATABASE"];

    /// The plan of this process, if it is a worker.
    pub fn given() -> Option<Plan> {
        let [bus, cursors, database] = Plan::NAMES.map(|name| std::env::var(name).ok());
        Some(Plan { bus: bus?, cursors: cursors?, database: database? })
    }

    /// The variables that make a process a worker.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        Plan::NAMES.into_iter().zip([self.bus.as_str(), &self.cursors, &self.database])
    }
}

/// The bus that a text names.
pub async fn bus(text: &str) -> Bus {
    match text.split_once(':').unwrap() {
        ("file", path) => Bus::file(path).await.unwrap(),
        #[cfg(feature = "redis")]
        ("redis", _) => {
            let options = onsale_bus::redis::RedisOptions::new(text);
            Bus::Redis(onsale_bus::redis::RedisBus::connect(&options).await.unwrap())
        }
        #[cfg(feature = "kinesis")]
        ("kinesis", _) => Bus::Kinesis(kinesis(text).await),
        _ => panic!("{text} is no bus"),
    }
}

/// Kinesis at an address, with credentials that a kinesis-local takes for right.
#[cfg(feature = "kinesis")]
pub async fn kinesis(address: &str) -> onsale_bus::kinesis::KinesisBus {
    use onsale_bus::kinesis::{Keys, KinesisBus, Settings};
    let keys = Some(Keys { id: "test".into(), secret: "test".into() });
    // An answer that is late would be asked for again, and a record come twice.
    let call_time = Duration::from_secs(50);
    let settings = Settings { keys, call_time, ..address.parse().unwrap() };
    KinesisBus::open(settings).await.unwrap()
}

/// The store of cursors that a text names.
pub async fn cursors(text: &str) -> Cursors {
    match text.split_once(':').unwrap() {
        ("file", path) => Cursors::file(Path::new(path)).unwrap(),
        #[cfg(feature = "redis")]
        ("redis", _) => {
            let options = onsale_bus::redis::RedisOptions::new(text);
            Cursors::Redis(onsale_bus::redis::RedisCursors::connect(&options).await.unwrap())
        }
        _ => panic!("{text} is no store of cursors"),
    }
}

pub fn group() -> Group {
    Group::new("ledger", "sales").unwrap()
}

pub fn run(plan: &Plan) {
    let parent = std::os::unix::process::parent_id();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut database = Database::open(&plan.database).await;
        let options = WorkerOptions {
            lease: lease(&plan.bus),
            limits: Limits { records: 50, ..Limits::default() },
            start: From::Start,
            stored: Some(database.stored()),
        };
        let (bus, cursors) = (bus(&plan.bus).await, cursors(&plan.cursors).await);
        let mut worker = Worker::join(bus, cursors, group(), options).await.unwrap();
        // Whoever started this may be killed before it can end this.
        while std::os::unix::process::parent_id() == parent {
            match worker.next_within(Duration::from_millis(500)).await {
                Ok(None) => {}
                Ok(Some(mut batch)) => loop {
                    let result = database.apply(&batch).await;
                    match worker.settle(result, &mut batch).await {
                        Ok(true) => break,
                        Ok(false) => {}
                        Err(error) => panic!("settle: {error}"),
                    }
                },
                Err(error) => panic!("next: {error}"),
            }
        }
    });
}
