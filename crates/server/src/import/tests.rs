//! Sources together, shifted windows, and the command against a server that is
//! played by a thread.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use clap::Parser;
use onsale_core::{Time, Window};
use serde_json::{Value, json};

use super::command::{self, ImportArgs};
use super::*;
use crate::catalogue::{EventBody, time_from_text, time_to_text};

const NOW: Time = Time(1_800_000_000_000_000);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pretix")
}

fn at(text: &str) -> Time {
    time_from_text(text).unwrap()
}

#[test]
fn folders_and_files_are_read_together() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.json");
    let body = EventBody::from_definition(&festival().events[0].definition);
    let mut entry = serde_json::to_value(&body).unwrap();
    entry["id"] = json!("own");
    std::fs::write(&file, json!({ "events": [entry] }).to_string()).unwrap();

    let import = load(&[fixtures().join("theatre"), file.clone(), fixtures().join("big")]).unwrap();
    let ids: Vec<_> = import.events.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["theatre_1", "theatre_2", "theatre_3", "own", "big"]);
    assert_eq!(import.events[3].definition, festival().events[0].definition);
    assert_eq!(import.events[3].state, None);

    let twice = load(&[&file, &file]).unwrap_err().to_string();
    assert_eq!(twice, format!("{}: the event own came from another file before", file.display()));
    let none = load(&[folder.path().join("none")]).unwrap_err().to_string();
    assert!(none.ends_with("/none: cannot read: No such file or directory (os error 2)"), "{none}");
    let none = load(&[folder.path()]).unwrap_err().to_string();
    assert!(none.contains("/event.json: cannot read: No such file"), "{none}");
    std::fs::write(&file, "{\"events\": [\n{]}").unwrap();
    let broken = load(&[&file]).unwrap_err().to_string();
    assert_eq!(broken, format!("{}: key must be a string at line 2 column 2", file.display()));
    std::fs::write(&file, [0xff]).unwrap();
    let binary = load(&[&file]).unwrap_err().to_string();
    assert!(
        binary.ends_with("own.json: cannot read: stream did not contain valid UTF-8"),
        "{binary}"
    );
}

#[test]
fn shifted_windows_are_open_now() {
    let mut import = festival();
    shift_to_now(&mut import, Time(NOW.0 + 999_999));
    let definition = &import.events[0].definition;
    let early = &definition.ticket_types[0];
    assert_eq!(early.sale.opens_at, Some(NOW), "the last to open, at the second's start");
    let length = at("2026-12-02T08:27:53.502190Z").0 - at("2026-11-25T08:27:53.502178Z").0;
    assert_eq!(early.sale.closes_at, Some(Time(NOW.0 + length)));
    let shift = NOW.0 - at("2026-11-25T08:27:53.502178Z").0;
    assert_eq!(
        definition.sale,
        Window {
            opens_at: Some(Time(at("2026-11-25T07:57:19.595178Z").0 + shift)),
            closes_at: Some(Time(at("2027-02-21T07:57:19.595180Z").0 + shift)),
        }
    );
    assert_eq!(definition.starts_at, Some(Time(at("2027-02-22T07:57:19.595165Z").0 + shift)));
    assert_eq!(definition.ticket_types[1].sale, Window::default());
    assert_eq!(import.not_carried, []);
}

#[test]
fn what_closes_before_the_last_opening_is_told() {
    let mut import = festival();
    let definition = &mut import.events[0].definition;
    definition.ticket_types[1].sale.closes_at = Some(at("2026-11-25T08:00:00Z"));
    let mut other = import.events[0].clone();
    other.id = "other".parse().unwrap();
    other.definition.sale = Window { opens_at: None, closes_at: Some(at("2026-11-01T00:00:00Z")) };
    import.events.push(other);
    shift_to_now(&mut import, NOW);
    let told: Vec<_> = import.not_carried.iter().map(|lost| lost.what.as_str()).collect();
    assert_eq!(told, ["festival: ticket type 14-3", "other"]);

    // Where nothing opens, nothing moves.
    let mut import = load(&[fixtures().join("big")]).unwrap();
    let before = import.clone();
    shift_to_now(&mut import, NOW);
    assert_eq!(import, before);
}

/// A server that answers each request with what the script says, once each.
struct Script {
    listener: TcpListener,
    answers: Vec<(u16, &'static str, Value)>,
}

impl Script {
    fn play(self) -> Vec<String> {
        let mut seen = Vec::new();
        for (status, etag, body) in self.answers {
            let (stream, _) = self.listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut first, mut condition, mut length) = (String::new(), String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim_end().split_once(": ") {
                    None => break,
                    Some(("Content-Length", value)) => length = value.parse().unwrap(),
                    Some((name, value)) if name.starts_with("If-") => {
                        condition = format!(" {name} {value}");
                    }
                    Some(("Authorization", value)) => assert_eq!(value, "Bearer a-key"),
                    Some(_) => {}
                }
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).unwrap();
            let sent: Value = serde_json::from_slice(&sent).unwrap_or_default();
            let note = match sent.get("state") {
                Some(state) => format!(" {state}"),
                None => String::new(),
            };
            let first = first.trim_end().trim_end_matches(" HTTP/1.1");
            seen.push(format!("{first}{condition}{note}"));
            let body = body.to_string();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nETag: {etag}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
        seen
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ImportArgs,
}

/// Runs the command; returns exit code, output, errors and what the server saw.
fn run(line: &str, answers: Vec<(u16, &'static str, Value)>) -> (u8, String, String, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let fixtures = fixtures();
    let words = line
        .split(' ')
        .map(|word| word.replace("URL", &url).replace("FIXTURES", fixtures.to_str().unwrap()));
    let args =
        Line::try_parse_from(std::iter::once("import".to_owned()).chain(words)).unwrap().args;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (code, seen) = std::thread::scope(|scope| {
        let server = scope.spawn(|| Script { listener, answers }.play());
        let code = command::run(&args, NOW, &mut out, &mut err).unwrap();
        (code, server.join().unwrap())
    });
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(fixtures.to_str().unwrap(), "");
    (code, text(out), text(err), seen)
}

const BIG: &str = "--url URL --organizer river --key a-key FIXTURES/big";
const PATH: &str = "/v1/organizers/river/events/big";

fn shown(state: &str, change: impl FnOnce(&mut Value)) -> Value {
    let import = load(&[fixtures().join("big")]).unwrap();
    let body = EventBody::from_definition(&import.events[0].definition);
    let mut shown = serde_json::to_value(body).unwrap();
    shown["state"] = json!(state);
    shown["version"] = json!(7);
    change(&mut shown);
    shown
}

#[test]
fn a_new_event_is_defined_and_opened() {
    let answers = vec![
        (404, "", json!({})),
        (201, "\"1\"", shown("paused", |_| {})),
        (200, "\"2\"", shown("open", |_| {})),
    ];
    let (code, out, err, seen) = run(BIG, answers);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "created    big  \"Show big\", open, 2 ticket types, 2 quotas (1: 17850, 2: 20000)\n"
    );
    let put = format!("PUT {PATH} If-None-Match *");
    let patch = format!("PATCH {PATH} If-Match \"1\" \"open\"");
    assert_eq!(seen, [format!("GET {PATH}"), put, patch]);
}

#[test]
fn an_event_that_is_there_is_changed_only_where_it_differs() {
    let get = || format!("GET {PATH}");
    let (code, out, _, seen) = run(BIG, vec![(200, "\"7\"", shown("open", |_| {}))]);
    assert_eq!((code, seen), (0, vec![get()]));
    assert!(out.starts_with("unchanged  big  "), "{out}");

    let differs: [fn(&mut Value); 3] = [
        |shown| shown["quotas"][0]["capacity"] = json!(5),
        |shown| shown["sale"]["opens_at"] = json!("2026-01-01T00:00:00Z"),
        |shown| {
            shown.as_object_mut().unwrap().remove("hold_seconds");
        },
    ];
    for change in differs {
        let answers =
            vec![(200, "\"7\"", shown("open", change)), (200, "\"8\"", shown("open", |_| {}))];
        let (code, out, _, seen) = run(BIG, answers);
        assert_eq!((code, seen), (0, vec![get(), format!("PUT {PATH} If-Match \"7\"")]));
        assert!(out.starts_with("changed    big  "), "{out}");
    }
    let answers =
        vec![(200, "\"7\"", shown("closed", |_| {})), (200, "\"8\"", shown("open", |_| {}))];
    let (code, out, _, seen) = run(BIG, answers);
    assert_eq!((code, seen), (0, vec![get(), format!("PATCH {PATH} If-Match \"7\" \"open\"")]));
    assert!(out.starts_with("changed    big  "), "{out}");
}

#[test]
fn what_only_the_server_has_is_a_difference() {
    let ours = json!({ "name": "A", "limits": [] });
    let rows = [
        (json!({ "name": "A", "limits": [], "version": 7 }), true),
        (json!({ "name": "A", "limits": [], "sale": {} }), false),
        (json!({ "name": "A", "limits": [], "starts_at": "2027-01-01T00:00:00Z" }), false),
        (json!({ "name": "A" }), false),
    ];
    for (theirs, same) in rows {
        assert_eq!(upload::is_same(&ours, &theirs), same, "{theirs}");
    }
}

#[test]
fn what_the_server_refuses_fails_that_event_only() {
    let both = "--url URL --organizer river --key a-key --json FIXTURES/big FIXTURES/festival";
    let refused = json!({ "title": "Not allowed", "detail": "the key lacks the scope manage" });
    let answers = vec![
        (404, "", json!({})),
        (403, "", refused.clone()),
        (404, "", json!({})),
        (201, "\"1\"", json!({ "state": "paused" })),
        (200, "\"2\"", json!({ "state": "open" })),
    ];
    let (code, out, err, _) = run(both, answers);
    assert_eq!((code, err.as_str()), (1, ""));
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["events"][0]["result"], "failed");
    assert_eq!(
        out["events"][0]["error"],
        format!("PUT {PATH}: 403 the key lacks the scope manage")
    );
    assert_eq!(out["events"][1]["result"], "created");
    assert_eq!(out["events"][1]["error"], Value::Null);
    assert_eq!(out["events"][1]["quotas"][4], json!({ "id": "18", "capacity": null }));

    let (code, out, _, _) = run(BIG, vec![(401, "", json!({ "title": "No key" }))]);
    assert_eq!(code, 1);
    assert!(out.ends_with(&format!("\n           GET {PATH}: 401 No key\n")), "{out}");
}

#[test]
fn a_dry_run_needs_no_server() {
    let (code, out, err, _) = run("--dry-run --shift-to-now FIXTURES/theatre", vec![]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "checked    theatre_1  \"Evening 1\", open, 2 ticket types, 2 quotas (19: 400, 20: 250)\n\
         checked    theatre_2  \"Evening 2\", open, 2 ticket types, 2 quotas (21: 400, 22: 250)\n\
         checked    theatre_3  \"Evening 3\", open, 2 ticket types, 2 quotas (23: 400, 24: 250)\n"
    );
}

#[test]
fn bad_input_is_exit_code_2_and_sends_nothing() {
    let rows = [
        ("--dry-run FIXTURES", "/event.json: cannot read: No such file or directory (os error 2)"),
        ("--dry-run FIXTURES/none", "/none: cannot read: No such file or directory (os error 2)"),
        (
            "--url ftp://x --organizer o --key k FIXTURES/big",
            "ftp://x: must begin with http:// or https://",
        ),
    ];
    for (line, expected) in rows {
        let (code, out, err, _) = run(line, vec![]);
        assert_eq!((code, out.as_str(), err.trim_end()), (2, "", expected), "{line}");
    }
    let parse = |line: &str| Line::try_parse_from(line.split(' ')).map(|line| line.args);
    assert!(parse("import FILE").is_err(), "without a server");
    assert!(parse("import --dry-run").is_err(), "without a source");
    assert!(parse("import --url u --organizer a/b --key k FILE").is_err());
    assert!(parse("import --dry-run FILE DIR").is_ok());
}

#[test]
fn times_of_a_shift_can_be_written() {
    let mut import = festival();
    shift_to_now(&mut import, NOW);
    let body = EventBody::from_definition(&import.events[0].definition);
    let opens_at = body.ticket_types[0].sale.as_ref().and_then(|sale| sale.opens_at.clone());
    assert_eq!(opens_at.as_deref(), Some(time_to_text(NOW).as_str()));
    assert_eq!(time_to_text(NOW), "2027-01-15T08:00:00Z");
}
