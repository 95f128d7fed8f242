//! A program in another language, with AWS' own library, reads what the bus wrote: each event
//! once, though some were sent twice and shards were split and merged, and also when it was stopped.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use onsale_bus::{Bus, Entry, StreamName};
use serde_json::{Value, json};

use crate::shards::{merge_two, split_one};
use crate::{KINESIS, TURNS, kinesis, stream};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/kinesis_reader.py");
const KEYS: usize = 20;

/// Runs the example until it has read all there is; what it printed.
fn read(stream: &StreamName, checkpoint: &Path) -> Vec<Value> {
    let mut command = Command::new(onsale_services::boto3_python());
    command.arg(READER).arg(stream.as_str()).arg("--once");
    command.args(["--endpoint", KINESIS.url()]).arg("--checkpoint").arg(checkpoint);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env(name, "test");
    }
    let output = command.env("AWS_DEFAULT_REGION", "us-east-1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Events from a number on, in turn over all keys; some twice, as after a lost answer.
fn events(numbers: std::ops::Range<usize>) -> Vec<Entry> {
    let event = |n: usize| {
        let key = format!("summer/{}", n % KEYS);
        let body = json!({
            "specversion": "1.0", "id": format!("sales-{n}"), "source": "/onsale",
            "type": "onsale.order.placed", "subject": key, "data": {"number": n},
        });
        Entry::new(key, body.to_string())
    };
    numbers.flat_map(|n| if n % 10 == 3 { vec![event(n); 2] } else { vec![event(n)] }).collect()
}

#[tokio::test]
async fn a_python_program_gets_every_sale_once() {
    let _turn = TURNS.lock().await;
    let kinesis = kinesis().await;
    let bus = Bus::Kinesis(kinesis.clone());
    let name = stream("python");
    bus.create(&name, 3).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("reader.json");
    bus.append(&name, &events(0..1_000)).await.unwrap();
    let mut seen = read(&name, &checkpoint);
    assert_eq!(seen.len(), 1_000);
    split_one(&kinesis, &name, 0).await;
    bus.append(&name, &events(1_000..1_500)).await.unwrap();
    merge_two(&kinesis, &name, 0).await;
    // What was sent before the reader stopped is sent once more, too.
    bus.append(&name, &events(990..1_000)).await.unwrap();
    bus.append(&name, &events(1_500..2_000)).await.unwrap();
    seen.extend(read(&name, &checkpoint));
    assert_eq!(seen.len(), 2_000);
    let ids: BTreeSet<&str> = seen.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2_000);
    let mut last: HashMap<&str, u64> = HashMap::new();
    for event in &seen {
        let number = event["data"]["number"].as_u64().unwrap();
        let before = last.insert(event["subject"].as_str().unwrap(), number);
        assert!(before < Some(number), "{event} came after {before:?}");
    }
}
