//! The descriptions of the API and of the streams are a promise: what is committed is what the code says.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use onsale::stream::asyncapi;

/// Before the part of the manual that is made from the code, and after it.
const MARKS: [&str; 2] = ["<!-- types: begin -->\n", "<!-- types: end -->\n"];

/// Holds a file to what the code says. `ONSALE_UPDATE=1 cargo test -p onsale --test openapi` writes it anew.
fn hold(file: &str, said: impl FnOnce(&str) -> String) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let said = said(&committed);
    if std::env::var_os("ONSALE_UPDATE").is_some() {
        std::fs::write(path, &said).unwrap();
        return;
    }
    let differs = committed.lines().zip(said.lines()).position(|(a, b)| a != b);
    assert!(
        committed == said,
        "{file} differs from the code from line {} on; if that is meant, write it anew with \
         ONSALE_UPDATE=1",
        differs.map_or(1, |line| line + 1)
    );
}

#[test]
fn the_committed_description_is_the_one_that_is_served() {
    hold("openapi.json", |_| onsale::api::description() + "\n");
}

#[test]
fn the_committed_description_of_the_streams_is_the_one_that_is_served() {
    hold("../../docs/asyncapi.json", |_| asyncapi::description() + "\n");
}

#[test]
fn the_manual_of_the_streams_shows_what_is_sent() {
    hold("../../docs/events.md", |page| {
        let (before, rest) = page.split_once(MARKS[0]).expect("the part begins");
        let (_, after) = rest.split_once(MARKS[1]).expect("the part ends");
        [before, MARKS[0], "\n", &asyncapi::manual(), MARKS[1], after].concat()
    });
}

#[test]
fn every_operation_says_how_it_can_fail() {
    let document: serde_json::Value = serde_json::from_str(&onsale::api::description()).unwrap();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let succeeds = responses.keys().any(|status| status.starts_with('2'));
            assert!(succeeds, "{method} {path} does not say how it succeeds");
            if path != "/healthz" && path != "/readyz" {
                let refused = &responses["401"]["content"]["application/problem+json"]["schema"];
                assert_eq!(refused["$ref"], "#/components/schemas/Problem", "{method} {path}");
            }
            operations += 1;
        }
    }
    assert!(operations >= 20, "only {operations} operations");
}
