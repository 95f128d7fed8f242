//! The description of the API is a promise: what is committed is what the code says.

/// `ONSALE_UPDATE=1 cargo test -p onsale --test openapi` writes it anew.
#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let served = onsale::api::description() + "\n";
    if std::env::var_os("ONSALE_UPDATE").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let differs = committed.lines().zip(served.lines()).position(|(a, b)| a != b);
    assert!(
        committed == served,
        "openapi.json differs from the code from line {} on; if that is meant, write it anew with \
         ONSALE_UPDATE=1",
        differs.map_or(1, |line| line + 1)
    );
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
