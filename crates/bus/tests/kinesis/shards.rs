//! Splits and merges shards.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::types::Shard;
use onsale_bus::StreamName;
use onsale_bus::kinesis::KinesisBus;

/// The open shards by the first hash they take, when the stream is at rest.
async fn open_shards(kinesis: &KinesisBus, name: &StreamName) -> BTreeMap<u128, Shard> {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(30), "{name} does not come to rest");
        let client = kinesis.client();
        let summary = client.describe_stream_summary().stream_name(name.as_str()).send().await;
        let summary = summary.unwrap().stream_description_summary.unwrap();
        if summary.stream_status.as_str() == "ACTIVE" {
            let listed = client.list_shards().stream_name(name.as_str()).send().await.unwrap();
            let open = |shard: &Shard| {
                let range = shard.sequence_number_range().unwrap();
                range.ending_sequence_number().is_none()
            };
            let low = |shard: &Shard| {
                shard.hash_key_range().unwrap().starting_hash_key().parse::<u128>().unwrap()
            };
            let shards = listed.shards.unwrap().into_iter().filter(open);
            return shards.map(|shard| (low(&shard), shard)).collect();
        }
        tokio::task::yield_now().await;
    }
}

/// Splits one of the open shards in two halves.
pub async fn split_one(kinesis: &KinesisBus, name: &StreamName, round: usize) {
    let shards = open_shards(kinesis, name).await;
    let (low, shard) = shards.iter().nth(round).unwrap();
    let high: u128 = shard.hash_key_range().unwrap().ending_hash_key().parse().unwrap();
    let middle = low + (high - low) / 2;
    let request = kinesis.client().split_shard().stream_name(name.as_str());
    let request = request.shard_to_split(shard.shard_id());
    request.new_starting_hash_key(middle.to_string()).send().await.unwrap();
}

/// Merges two of the open shards, neighbours.
pub async fn merge_two(kinesis: &KinesisBus, name: &StreamName, round: usize) {
    let shards = open_shards(kinesis, name).await;
    let ids: Vec<&str> = shards.values().map(|shard| shard.shard_id()).collect();
    let request = kinesis.client().merge_shards().stream_name(name.as_str());
    let request = request.shard_to_merge(ids[ids.len() - 2 - round]);
    request.adjacent_shard_to_merge(ids[ids.len() - 1 - round]).send().await.unwrap();
}
