//! The two readers, one against the other.

use proptest::prelude::*;

use super::*;

/// What programs send: one command of each kind, and then some.
const PLAIN: [&str; 8] = [
    r#"{"op":"hold","idempotency_key":"k-1","customer":"c-1","items":[{"ticket_type":"seat","quantity":2}]}"#,
    r#"{"op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":1,"price":0},{"ticket_type":"b","quantity":999999999999999}]}"#,
    r#"{ "customer" : "c" , "items" : [ { "quantity" : 1 , "ticket_type" : "a" } ] , "op" : "buy" }"#,
    r#"{"op":"claim","customer":"c~!","hold":"0192f0c1-7c00-7000-8000-000000000000"}"#,
    r#"{"op":"release","hold":"","idempotency_key":""}"#,
    r#"{"op":"extend","hold":"x y"}"#,
    r#"{"op":"payment","idempotency_key":"p","order":"E234567892","amount":5000,"currency":"EUR","reference":"r"}"#,
    r#"{"op":"payment","order":"E","amount":0,"currency":"","reference":"r","paid_at":"2026-01-01T00:00:00Z"}"#,
];

/// What is well-formed, or nearly, and not plain.
const OTHER: [&str; 17] = [
    r#"{"op":"hold","customer":"\u0063","items":[{"ticket_type":"a","quantity":1}]}"#,
    r#"{"op":"hold","customer":"ü","items":[{"ticket_type":"a","quantity":1}]}"#,
    r#"{"op":"hold","idempotency_key":null,"customer":"c","items":[]}"#,
    r#"{"op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":1.0}]}"#,
    r#"{"op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":-1}]}"#,
    r#"{"op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":01}]}"#,
    r#"{"op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":1e3}]}"#,
    r#"{"op":"hold","customer":"c","hold":"h","items":[{"ticket_type":"a","quantity":1}]}"#,
    r#"{"op":"hold","op":"hold","customer":"c","items":[{"ticket_type":"a","quantity":1}]}"#,
    r#"{"op":"sell","customer":"c"}"#,
    r#"{"customer":"c","hold":"h"}"#,
    r#"{"op":"claim","customer":"c"}"#,
    r#"{"op":"claim","customer":"c","hold":"h","seat":1}"#,
    "{\"op\":\"claim\",\"customer\":\"c\",\"hold\":\"h\n\"}",
    r#"["hold"]"#,
    "{}",
    "7",
];

fn list(commands: &[&str]) -> String {
    format!("{{\"commands\":[{}]}}", commands.join(","))
}

fn read_plain(body: &str) -> Option<Vec<Sent<'_>>> {
    let mut commands = Vec::new();
    plain::read(body.as_bytes(), &mut commands).map(|()| commands)
}

fn read(body: &[u8]) -> Result<Vec<Sent<'_>>> {
    let mut commands = Vec::new();
    super::read(body, &mut commands).map(|()| commands)
}

/// If the plain reader takes it, serde must take it, and find the same. Whether it did.
fn agree(body: &str) -> bool {
    let Some(plain) = read_plain(body) else { return false };
    let any = read_any(body.as_bytes()).unwrap_or_else(|problem| panic!("{body}: {problem:?}"));
    assert_eq!(plain.len(), any.len(), "{body}");
    for (plain, any) in plain.iter().zip(&any) {
        assert_eq!(plain.text, any.text, "{body}");
        assert_eq!(plain.command, any.command, "{body}");
    }
    true
}

#[test]
fn what_programs_send_is_plain() {
    for command in PLAIN {
        assert!(agree(&list(&[command])), "{command}");
    }
    assert!(agree(&format!(" \n{} \t", list(&PLAIN))));
}

#[test]
fn what_is_not_plain_is_left_to_serde() {
    for command in OTHER {
        assert!(!agree(&list(&[PLAIN[0], command])), "{command}");
        let body = list(&[PLAIN[0], command, PLAIN[3]]);
        let read = read(body.as_bytes());
        // One wrong command takes no other with it, as long as the body is JSON at all.
        match (command.contains("01") || command.contains('\n'), read) {
            (true, read) => assert_eq!(read.unwrap_err().kind, "/problems/malformed-json"),
            (false, read) => {
                let read = read.unwrap();
                assert!(read[0].command.is_ok() && read[2].command.is_ok(), "{command}");
            }
        }
    }
}

#[test]
fn there_are_at_most_so_many_commands() {
    let many = |n: usize| list(&vec![PLAIN[5]; n]);
    assert_eq!(read(many(COMMANDS_MAX).as_bytes()).unwrap().len(), COMMANDS_MAX);
    for n in [0, COMMANDS_MAX + 1, 3 * COMMANDS_MAX] {
        let problem = read(many(n).as_bytes()).unwrap_err();
        assert_eq!(problem.kind, "/problems/command-count", "{n}");
        assert_eq!((problem.min, problem.max), (Some(1), Some(COMMANDS_MAX as i64)));
    }
}

/// A change of a text: at which place, of how many bytes, into what.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let token = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\"",
        "\\",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        "0",
        "1",
        "-",
        ".",
        "e",
        "null",
        "true",
        "\"op\"",
        "\"hold\"",
        "\"items\"",
        "\u{7f}",
        "é",
        "\\n",
        "\"price\":1,",
        "{}",
    ]);
    (any::<prop::sample::Index>(), 0..4usize, token.prop_map(str::to_owned))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn both_readers_agree(
        commands in prop::collection::vec(prop::sample::select(&PLAIN[..]), 1..4),
        changes in prop::collection::vec(change(), 0..4),
    ) {
        let mut body = list(&commands);
        for (at, count, token) in changes {
            let places: Vec<usize> = body.char_indices().map(|(i, _)| i).collect();
            let from = at.index(places.len());
            let end = places.get(from + count).copied().unwrap_or(body.len());
            body.replace_range(places[from]..end, &token);
        }
        agree(&body);
    }
}

#[test]
fn one_hold_is_read_alike() {
    let agree = |body: &str| {
        let Some(plain) = plain::hold(body.as_bytes()) else { return false };
        let any: HoldRequest<'_> = json::parse(body.as_bytes()).expect(body);
        assert_eq!(format!("{plain:?}"), format!("{any:?}"), "{body}");
        true
    };
    let mut taken = 0;
    for text in PLAIN.iter().chain(&OTHER) {
        let body = text.replace("\"op\":\"hold\",", "");
        taken += u32::from(agree(&body));
        for (at, c) in body.char_indices() {
            agree(&format!("{}{}", &body[..at], &body[at + c.len_utf8()..]));
            agree(&format!("{}{c}{}", &body[..at], &body[at..]));
        }
    }
    assert_eq!(taken, 2, "those without a key of their own");
}
