//! `cargo bench -p onsale-bus`: what the bus on files does in a second, on this machine.
#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

use std::time::Duration;

use onsale_bus::{Bus, StreamName, bench};

const BATCH: usize = 2_000;
const BATCHES: usize = 1_000;
const PAYLOAD_BYTES: usize = 100;

fn main() {
    // `cargo test` runs this without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let folder = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let bus = Bus::file(folder.path()).await.unwrap();
        let name = |text: String| StreamName::new(&text).unwrap();
        for shards in [1, 8] {
            let stream = name(format!("append-{shards}"));
            bus.create(&stream, shards).await.unwrap();
            let entries = bench::entries(BATCH, PAYLOAD_BYTES);
            let rate = bench::append(&bus, &stream, entries, BATCHES, 4).await.unwrap();
            println!("append, {shards} shards, batches of {BATCH}, durable: {rate:.0} records/s");
            let rate = bench::read(&bus, &stream).await.unwrap();
            println!("one reader, {shards} shards: {rate:.0} records/s");
        }
        let mut rates = [0.0, 0.0];
        for round in 0..10 {
            let stream = name(format!("tail-{round}"));
            bus.create(&stream, 1).await.unwrap();
            let readers = if round % 2 == 0 { 0 } else { 100 };
            let pace = Duration::from_millis(100);
            let tail = bench::Tail::start(&bus, &stream, readers, pace).await.unwrap();
            let entries = bench::entries(BATCH, PAYLOAD_BYTES);
            rates[round % 2] += bench::append(&bus, &stream, entries, BATCHES / 2, 4).await.unwrap() / 5.0;
            println!("  {readers} readers, {} records read at the tail", tail.records());
        }
        let [alone, watched] = rates;
        println!(
            "100 readers at the tail: the writer has {alone:.0} records/s alone, {watched:.0} with them ({:.1} %)",
            (watched / alone - 1.0) * 100.0
        );
        let stream = name("lag".to_owned());
        bus.create(&stream, 1).await.unwrap();
        let lags = bench::lags_us(&bus, &stream, 100_000, 5).await.unwrap();
        let at = |share: usize| lags[lags.len() * share / 1_000];
        println!("lag at 100,000 records/s: p50 {} µs, p99 {} µs, p99.9 {} µs", at(500), at(990), at(999));
        bus.close().await.unwrap();
    });
}
