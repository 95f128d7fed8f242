//! The README's commands on the stream, as a new user types them; `onsale stream` on a served folder; a copy on
//! a real Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{KEY, Server, buyers, onsale, onsale_in, root, text, until};

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
    // A cursor past the end, or one that nobody made, would hide what is not read.
    let refused = |arguments: &[&str], rule: &str| {
        let output = onsale(&[&["stream"], arguments, &["--at", at]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(rule), "{arguments:?}: {}", text(&output.stderr));
    };
    refused(&["reset", "mailer", "--to", "99999999"], "--to: sales/0: position 99999999 is after");
    refused(&["reset", "zzz", "--to", "end"], "there is no cursor zzz@sales of _all");
    refused(&["parked", "zzz"], "there is no cursor zzz@sales of _all");
    let cursors: Value = serde_json::from_str(&stream(&["cursors", "--at", at, "--json"])).unwrap();
    assert_eq!((&cursors["cursors"][0]["lag"], &cursors["cursors"][1]), (&json!(0), &Value::Null));

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

/// A relay that goes on until it is stopped, and has copied all: where a cursor is put to the end after that, nothing is left out.
fn relay_on(at: &str, redis: &onsale_services::Server) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
    command.args(["stream", "relay", "--from", at, "--to", redis.url()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it has copied all", || by_key(&all(redis.url(), "sales")) == by_key(&all(at, "sales")));
    child
}

#[test]
fn a_relay_that_was_told_to_stop_lets_go_and_one_that_was_killed_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let at = data.to_str().unwrap();
    let server = Server::start(&data);
    server.open_event();
    let sell = || onsale_rush::run(buyers(&server.url, 20, 1_000.0), &mut |_| {}).unwrap();
    sell();
    let redis = onsale_services::redis();
    stream(&["relay", "--from", at, "--to", redis.url(), "--until-end"]);
    sell();
    let mut told = relay_on(at, &redis);
    let signal = Command::new("kill").args(["-TERM", &told.id().to_string()]).status().unwrap();
    assert!(signal.success());
    assert_eq!(told.wait().unwrap().code(), Some(0), "SIGTERM ends it as it should");
    // It holds nothing more: a reset is taken at once.
    let reset = ["reset", "relay", "--store", "_server", "--to", "end", "--at", at];
    stream(&reset);

    sell();
    let mut killed = relay_on(at, &redis);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let refused = onsale(&[&["stream"], &reset[..]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("ms more"), "{}", text(&refused.stderr));
    sell();
    stream(&["relay", "--from", at, "--to", redis.url(), "--until-end"]);
    assert_eq!(by_key(&all(redis.url(), "sales")), by_key(&all(at, "sales")));
    server.stop();
}

/// Sends a Redis a plain command; gives the first line of what it answers.
fn tell(redis: &onsale_services::Server, command: &str) -> String {
    use std::io::{BufRead as _, Write as _};
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    write!(connection, "{command}\r\n").unwrap();
    let mut answer = String::new();
    std::io::BufReader::new(connection).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn a_copy_that_was_lost_is_made_again_as_the_error_says() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let at = data.to_str().unwrap();
    let server = Server::start(&data);
    server.open_event();
    onsale_rush::run(buyers(&server.url, 20, 1_000.0), &mut |_| {}).unwrap();
    let (first, second) = (onsale_services::redis(), onsale_services::redis());
    stream(&["relay", "--from", at, "--to", first.url(), "--until-end"]);
    let on = ["relay", "--from", first.url(), "--to", second.url(), "--until-end"];
    stream(&on);
    let failed = |arguments: &[&str], said: &str| {
        let output = onsale(&[&["stream"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    };
    failed(
        &[&on[..], &["--cursor", "other"]].concat(),
        "was brought to the target's sales as relay",
    );
    assert_eq!(tell(&second, "FLUSHALL"), "+OK\r\n");
    failed(&on, "reset the cursor to the start");
    failed(&["audit", "--at", second.url()], "has no record: it is no copy of the sales");
    let cursors = stream(&["cursors", "--at", first.url(), "--json"]);
    let cursors: Value = serde_json::from_str(&cursors).unwrap();
    assert_eq!(
        (&cursors["cursors"][0]["name"], &cursors["cursors"][0]["lag"]),
        (&json!("relay"), &json!(0))
    );
    let reset = ["reset", "relay", "--store", "_server", "--to", "start", "--at", first.url()];
    stream(&reset);
    stream(&on);
    assert_eq!(by_key(&all(second.url(), "sales")), by_key(&all(at, "sales")));

    // A copy of which a record was lost, and then the whole shard.
    let there = all(second.url(), "sales");
    let shard = there.iter().max_by_key(|(_, records)| records.len()).unwrap().0;
    let key = format!("onsale:{{sales}}/{shard}");
    let eighth = "redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 8)[8][1]";
    let delete = format!("EVAL \"redis.call('XDEL', KEYS[1], {eighth})\" 1 {key}");
    assert_eq!(tell(&second, &delete), "$-1\r\n");
    let missing = format!("sales/{shard}: the record at position 8 is missing");
    failed(&["audit", "--at", second.url()], &missing);
    let missing = format!("the target's sales/{shard} is damaged: 1 of the records from 1 to ");
    failed(&on, &missing);
    assert_eq!(tell(&second, &format!("DEL {key}")), ":1\r\n");
    failed(&["audit", "--at", second.url()], &format!("sales/{shard}: all up to position "));
    failed(&on, "copy all again, to another stream by another cursor");
    // Places that are none.
    let elsewhere = |to: &str, code, said: &str| {
        let output = onsale(&["stream", "relay", "--from", at, "--to", to]);
        let told = text(&output.stderr);
        assert!(output.status.code() == Some(code) && told.contains(said), "{to}: {told}");
        assert!(!told.contains("secret"), "{told}");
    };
    let form = "--to <URL>: must be redis://[user][:password@]host[:port][/database]";
    elsewhere("redis://user:secret@127.0.0.1:99999", 2, form);
    elsewhere("redis://127.0.0.1/one", 2, form);
    let none = format!("redis://127.0.0.1:{}/99", second.port());
    elsewhere(&none, 1, &format!("--to {none}: Redis at 127.0.0.1"));
    elsewhere(&none, 1, "it has no database of the number at the end of its URL");
    stream(&[&on[..], &["--to-stream", "again", "--cursor", "again"]].concat());
    assert_eq!(by_key(&all(second.url(), "again")), by_key(&all(at, "sales")));
    stream(&["audit", "again", "--at", second.url()]);
    server.stop();
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

/// The same over HTTP, as an operator elsewhere looks at it.
#[test]
fn a_server_is_looked_at_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let key_file = folder.path().join("key");
    std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
    let (at, key) = (data.to_str().unwrap(), key_file.to_str().unwrap());
    let server = Server::start(&data);
    let remote = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onsale"));
        command.arg("stream").args(arguments).args(["--at", &server.url, "--key-file", key]);
        let output = command.env_remove("ONSALE_KEY").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    server.open_event();
    onsale_rush::run(buyers(&server.url, 150, 1_000.0), &mut |_| {}).unwrap();
    let place = r#"{"positions":{"0":1}}"#;
    let put = server.send("PUT", "/v1/streams/sales/cursors/mailer", ("accept", "*/*"), place);
    assert_eq!(put.status, 200, "{}", put.problem());
    let refused =
        r#"{"type":"onsale.event.set-state.v1","subject":"o/none","data":{"state":"open"}}"#;
    let records = "/v1/streams/catalogue/records";
    assert_eq!(server.send("POST", records, ("accept", "*/*"), refused).status, 201);

    // `control` is made by the first who writes to it.
    assert!(!remote(&["list"]).contains("control"));
    let note = r#"{"type":"onsale.control.noted.v1","data":{"n":0}}"#;
    let control = "/v1/streams/control/records";
    assert_eq!(server.send("POST", control, ("accept", "*/*"), note).status, 201);
    assert_eq!(remote(&["list"]), stream(&["list", "--at", at]));
    assert_eq!(remote(&["list"]).lines().count(), 3, "{}", remote(&["list"]));
    let shards = |place: &str| -> Value { serde_json::from_str(place).unwrap() };
    let here = shards(&stream(&["shards", "--json", "--at", at]));
    let there = shards(&remote(&["shards", "--json"]));
    assert_eq!(here["shards"], there["shards"]);
    for shard in ["0", "1"] {
        let read = ["read", "--shard", shard, "--limit", "1000000", "--json"];
        let is_shown = |record: &Value| record["payload"]["type"] != "onsale.shard.noted.v1";
        let places = |text: &str| -> Vec<(Value, Value, Value)> {
            let lines = lines(text).into_iter().filter(is_shown);
            let place = |line: Value| {
                (line["position"].clone(), line["key"].clone(), line["payload"]["id"].clone())
            };
            lines.map(place).collect()
        };
        let here = places(&stream(&[&read[..], &["--at", at]].concat()));
        assert_eq!(places(&remote(&read)), here, "shard {shard}");
    }
    let few = remote(&["read", "--shard", "0", "--after", "1", "--limit", "3"]);
    assert!(lines(&few).len() <= 3);
    assert!(remote(&["read", "catalogue", "--shard", "0"]).contains("set-state"));
    assert!(remote(&["cursors"]).contains("mailer@sales"));
    let begin = std::time::Instant::now();
    let parked = ["parked", "engine", "--stream", "catalogue"];
    while !remote(&parked).contains("1 times") {
        assert!(begin.elapsed().as_secs() < 60, "{}", remote(&parked));
    }
    // What comes from now on, until it is killed.
    let mut tail = Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["stream", "tail", "control", "--at", &server.url, "--key-file", key])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let note = r#"{"type":"onsale.control.noted.v1","data":{"n":1}}"#;
    assert_eq!(
        server.send("POST", "/v1/streams/control/records", ("accept", "*/*"), note).status,
        201
    );
    let mut line = String::new();
    let mut out = std::io::BufReader::new(tail.stdout.take().unwrap());
    // It may have begun after the first one, so there is another until one comes.
    let (came, comes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        came.send(line).unwrap();
    });
    let line = loop {
        if let Ok(line) = comes.recv_timeout(std::time::Duration::from_millis(200)) {
            break line;
        }
        assert!(begin.elapsed().as_secs() < 60, "nothing comes at the tail");
        server.send("POST", "/v1/streams/control/records", ("accept", "*/*"), note);
    };
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert!(line.contains("onsale.control.noted.v1"), "{line}");

    // What is wrong is said.
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "not-a-key").unwrap();
    let wrong = wrong.to_str().unwrap();
    for (arguments, says) in [
        (&["list", "--at", &server.url, "--key-file", wrong][..], "does not know the key in"),
        (&["list", "--at", &server.url, "--key-file", "/nowhere"], "the key file /nowhere"),
        (&["list", "--at", "http://127.0.0.1:9", "--key-file", key], "127.0.0.1:9"),
        (&["shards", "nothing", "--at", &server.url, "--key-file", key], "nothing"),
        (&["parked", "mailer", "--at", &server.url, "--key-file", key], "seen on its machine"),
        (&["reset", "mailer", "--to", "end", "--at", &server.url], "only looked at"),
    ] {
        let output = onsale(&[&["stream"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    server.stop();
}
