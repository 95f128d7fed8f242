//! The README's commands on the stream, as a new user types them; `onsale stream` on a served folder; a copy on
//! a real Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{KEY, Server, buyers, onsale, onsale_in, root, text};

/// Output of `onsale stream`, which must end well.
fn stream(arguments: &[&str]) -> String {
    stream_in(&[], arguments)
}

/// The same with some variables in its environment.
fn stream_in(variables: &[(&str, &str)], arguments: &[&str]) -> String {
    let output = onsale_in(variables, &[&["stream"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All records of a stream at a place, by shard, as the place's own command reads them.
fn all(place: &str, stream_name: &str) -> BTreeMap<String, Vec<Value>> {
    let at = ["--at", place];
    let shards = stream(&[&["shards", stream_name, "--json"], &at[..]].concat());
    let shards: Value = serde_json::from_str(&shards).unwrap();
    let mut found = BTreeMap::new();
    for shard in shards["shards"].as_array().unwrap() {
        let shard = shard["shard"].as_str().unwrap().to_owned();
        let read = ["read", stream_name, "--shard", &shard, "--limit", "1000000", "--json"];
        let records = lines(&stream(&[&read, &at[..]].concat()));
        found.insert(shard, records);
    }
    found
}

/// Payloads of a stream by key, in order.
fn by_key(shards: &BTreeMap<String, Vec<Value>>) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for record in shards.values().flatten() {
        let key = record["key"].as_str().unwrap().to_owned();
        found.entry(key).or_default().push(record["payload"].clone());
    }
    found
}

#[test]
fn a_served_folder_is_read_and_copied_to_redis() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let at = data.to_str().unwrap();
    let server = Server::start(&data);
    server.open_event();
    onsale_rush::run(buyers(&server.url, 50, 1_000.0), &mut |_| {}).unwrap();
    let place = r#"{"positions":{"0":1}}"#;
    let put = server.send("PUT", "/v1/streams/sales/cursors/mailer", ("accept", "*/*"), place);
    assert_eq!(put.status, 200, "{}", put.problem());

    assert!(stream(&["list", "--at", at]).starts_with("sales "));
    let here = all(at, "sales");
    // The secret of the codes is not among what is shown.
    assert_eq!(here["0"][0]["payload"]["type"], "onsale.shard.noted.v1");
    assert_eq!(here["0"][0]["payload"].get("data"), None);
    let cursors: Value = serde_json::from_str(&stream(&["cursors", "--at", at, "--json"])).unwrap();
    assert_eq!(cursors["cursors"][0]["name"], "mailer");
    let lag = here.values().map(Vec::len).sum::<usize>() - 1;
    assert_eq!(cursors["cursors"][0]["lag"], json!(lag));
    stream(&["reset", "mailer", "--to", "end", "--at", at]);
    let cursors: Value = serde_json::from_str(&stream(&["cursors", "--at", at, "--json"])).unwrap();
    assert_eq!(cursors["cursors"][0]["lag"], 0);
    assert_eq!(stream(&["parked", "mailer", "--at", at]), "");

    let redis = onsale_services::redis();
    let relay = ["relay", "--from", at, "--to", redis.url(), "--until-end"];
    stream(&relay);
    let there = all(redis.url(), "sales");
    assert_eq!(by_key(&there), by_key(&here), "the same sales, in order for each event");
    // It goes on where it was, and brings nothing twice.
    onsale_rush::run(buyers(&server.url, 20, 1_000.0), &mut |_| {}).unwrap();
    stream(&relay);
    stream(&relay);
    assert_eq!(by_key(&all(redis.url(), "sales")), by_key(&all(at, "sales")));
    server.stop();
    // Without a server there is nobody to ask.
    let alone = onsale(&["stream", "shards", "--at", at]);
    assert_eq!(alone.status.code(), Some(1));
    assert!(text(&alone.stderr).contains("start `onsale serve"), "{}", text(&alone.stderr));
}

/// What an audit says of a copy and what it says of the journal are the same figures.
fn assert_agrees(copy: &Value, journal: &Value) {
    assert_eq!((&copy["ok"], &copy["findings_count"]), (&json!(true), &json!(0)), "{copy}");
    for of in ["records", "holds", "orders", "payments", "events"] {
        assert_eq!(copy[of], journal[of], "{of}");
    }
}

#[test]
fn three_copies_of_the_sales_and_the_audit_of_each_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let at = data.to_str().unwrap();
    let server = Server::start(&data);
    server.open_event();
    onsale_rush::run(buyers(&server.url, 150, 1_000.0), &mut |_| {}).unwrap();
    let audit = |variables: &[(&str, &str)], place: &str| -> Value {
        let said = stream_in(variables, &["audit", "--json", "--at", place]);
        serde_json::from_str(&said).unwrap()
    };
    let mut audits = vec![audit(&[], at)];
    let redis = onsale_services::redis();
    stream(&["relay", "--from", at, "--to", redis.url(), "--until-end"]);
    audits.push(audit(&[], redis.url()));
    #[cfg(feature = "kinesis")]
    {
        let kinesis = onsale_services::kinesis();
        let variables = [
            ("AWS_ENDPOINT_URL", kinesis.url()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ];
        let there = "kinesis://us-east-1";
        let begun = std::time::Instant::now();
        let relay = ["relay", "--from", redis.url(), "--to", there, "--shards", "2"];
        let said = stream_in(&variables, &[&relay[..], &["--until-end"]].concat());
        println!("to Kinesis: {} within {:?}", said.trim(), begun.elapsed());
        audits.push(audit(&variables, there));
    }
    server.stop();
    let journal = onsale(&["journal", "audit", "--json", "--data", at]);
    let journal: Value = serde_json::from_slice(&journal.stdout).unwrap();
    assert!(journal["orders"]["tickets"].as_u64() > Some(100), "{journal}");
    audits.iter().for_each(|copy| assert_agrees(copy, &journal));
}

/// The README's blocks of commands under a heading.
fn blocks(heading: &str) -> Vec<String> {
    let page = std::fs::read_to_string(root("README.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let begin = section.split("```sh\n").skip(1);
    begin.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_readme_works_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"));
    let redis = onsale_services::redis();
    let [selling, reading] = ["Selling", "Reading what happened"].map(blocks);
    // From the second block of the first section on, up to where somebody has to fill in what was answered.
    let event = selling[1].split("# A paid one").next().unwrap();
    let event =
        event.replace("KEY=onsale_…                    # as printed", &format!("KEY={KEY}"));
    let mut script = format!("set -e\n{event}\n{}\n{}", reading[0], reading[1]);
    #[cfg(feature = "kinesis")]
    let kinesis = onsale_services::kinesis();
    if cfg!(feature = "kinesis") {
        script += &reading[2];
    }
    #[cfg(feature = "kinesis")]
    let script = script.replace("http://127.0.0.1:4568", kinesis.url());
    let address = server.url.strip_prefix("http://").unwrap();
    let script =
        script.replace("127.0.0.1:7070", address).replace("redis://127.0.0.1:6379", redis.url());
    assert!(script.contains(KEY) && script.contains(address) && script.contains(redis.url()));
    let program = Path::new(env!("CARGO_BIN_EXE_onsale")).parent().unwrap();
    let mut path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    if cfg!(feature = "kinesis") {
        // Its `python3` is the one that has boto3.
        let python = onsale_services::boto3_python();
        path = format!("{}:{path}", python.parent().unwrap().display());
    }
    std::os::unix::fs::symlink(root("examples"), folder.path().join("examples")).unwrap();
    let ran = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let said = text(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", text(&ran.stderr));
    for expected in [
        "\"state\":\"confirmed\"",
        "\"cursor\":\"",
        "id: ",
        "\"name\":\"mailer\"",
        "\"secret\":\"whsec_",
        "{\"stream\":\"catalogue\",\"shard\":0,\"position\":1}",
        "mailer@sales",
        "records copied",
    ] {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    assert!(!said.contains("/problems/"), "{said}");
    if cfg!(feature = "kinesis") {
        // The program in Python prints each record of the sales.
        let (_, printed) = said.rsplit_once("the books are right\n").unwrap();
        let here = all(folder.path().join("data").to_str().unwrap(), "sales");
        let ids = |records: &mut dyn Iterator<Item = &Value>| -> BTreeSet<String> {
            records.map(|record| record["id"].to_string()).collect()
        };
        let printed = lines(printed);
        let here: Vec<&Value> = here.values().flatten().map(|record| &record["payload"]).collect();
        assert_eq!(printed.len(), here.len(), "every sale once");
        assert_eq!(ids(&mut printed.iter()), ids(&mut here.into_iter()));
    }
    server.stop();
}
