//! `cargo bench -p onsale-bus --features redis --bench redis`: the bus on a Redis of its own, beside that Redis
//! asked plainly with the same bytes.
#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

use onsale_bus::redis::{RedisBus, RedisOptions, raw};
use onsale_bus::{Bus, StreamName, bench};

const RECORDS: usize = 200_000;
const BATCH: usize = 5_000;
const PAYLOAD_BYTES: usize = 200;

fn main() {
    // `cargo test` runs this without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let server = onsale_services::redis();
        let options = RedisOptions::new(server.url());
        let target = Bus::Redis(RedisBus::connect(&options).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let files = Bus::file(folder.path()).await.unwrap();
        let name = |text: String| StreamName::new(&text).unwrap();
        let entries = bench::entries(RECORDS, PAYLOAD_BYTES);
        let plain = raw::appends_per_second(&options, &name("raw".into()), &entries).await.unwrap();
        println!("Redis itself, XADD in pipelines: {plain:.0} records/s");
        for shards in [1, 8] {
            let stream = name(format!("append-{shards}"));
            target.create(&stream, shards).await.unwrap();
            let some = entries[..BATCH].to_vec();
            let rate = bench::append(&target, &stream, some, RECORDS / BATCH, 2).await.unwrap();
            println!("append, {shards} shards: {rate:.0} records/s");
            let rate = bench::read(&target, &stream).await.unwrap();
            println!("one reader, {shards} shards: {rate:.0} records/s");
            let (source, to) = (name(format!("source-{shards}")), name(format!("copy-{shards}")));
            files.create(&source, shards).await.unwrap();
            target.create(&to, shards).await.unwrap();
            for part in entries.chunks(BATCH) {
                files.append(&source, part).await.unwrap();
            }
            let rate = bench::relay(&files, &source, &target, &to).await.unwrap();
            println!("relay from files, {shards} shards: {rate:.0} records/s");
        }
        files.close().await.unwrap();
    });
}
