//! `cargo bench -p onsale-bus --features kinesis --bench kinesis`: a relay to a kinesis-local of its own, beside the same
//! bytes put there plainly, by calls that are as full as they may be.
#![expect(clippy::unwrap_used, reason = "a measurement may panic")]

use std::time::{Duration, Instant};

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use futures_util::StreamExt as _;
use onsale_bus::kinesis::{Keys, KinesisBus, Settings};
use onsale_bus::{Bus, Entry, StreamName, bench};

const RECORDS: usize = 5_000;
const PAYLOAD_BYTES: usize = 200;
const SHARDS: u32 = 4;
/// The most records of a call, and how many calls are under way at a time.
const RECORDS_PER_CALL: usize = 500;
const CALLS: usize = 4;
/// The machine is not still: the two take turns.
const PAIRS: usize = 3;

fn main() {
    // `cargo test` runs this without the word.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let server = onsale_services::kinesis();
        let keys = Some(Keys { id: "x".into(), secret: "x".into() });
        let endpoint = Some(server.url().to_owned());
        // On a busy machine it takes its time; a call that is given up is made again.
        let call_time = Duration::from_secs(60);
        let settings = Settings { endpoint, keys, call_time, ..Settings::new("us-east-1") };
        let kinesis = KinesisBus::open(settings).await.unwrap();
        let target = Bus::Kinesis(kinesis.clone());
        let folder = tempfile::tempdir().unwrap();
        let files = Bus::file(folder.path()).await.unwrap();
        let source = StreamName::new("source").unwrap();
        files.create(&source, 8).await.unwrap();
        let entries = bench::entries(RECORDS, PAYLOAD_BYTES);
        files.append(&source, &entries).await.unwrap();
        for pair in 0..PAIRS {
            let [raw, to] = ["raw", "copy"].map(|of| StreamName::new(&format!("{of}-{pair}")));
            let (raw, to) = (raw.unwrap(), to.unwrap());
            target.create(&raw, SHARDS).await.unwrap();
            target.create(&to, SHARDS).await.unwrap();
            let plain = put_per_second(&kinesis, &raw, &entries).await;
            let relayed = bench::relay(&files, &source, &target, &to).await.unwrap();
            println!(
                "PutRecords alone: {plain:.0} records/s; relay from files: {relayed:.0} records/s ({:.0} %)",
                relayed / plain * 100.0
            );
        }
        files.close().await.unwrap();
    });
}

/// Puts entries by the SDK alone, in no order; each must be taken.
async fn put_per_second(kinesis: &KinesisBus, stream: &StreamName, entries: &[Entry]) -> f64 {
    let put = |part: &[Entry]| {
        let mut request = kinesis.client().put_records().stream_name(stream.as_str());
        for entry in part {
            let record = PutRecordsRequestEntry::builder()
                .partition_key(std::str::from_utf8(&entry.key).unwrap())
                .data(Blob::new(entry.payload.as_ref()));
            request = request.records(record.build().unwrap());
        }
        request.send()
    };
    let begun = Instant::now();
    let mut calls = futures_util::stream::iter(entries.chunks(RECORDS_PER_CALL).map(put))
        .buffer_unordered(CALLS);
    while let Some(answer) = calls.next().await {
        assert_eq!(answer.unwrap().failed_record_count(), Some(0));
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = entries.len() as f64 / begun.elapsed().as_secs_f64();
    rate
}
