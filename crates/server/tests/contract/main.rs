//! The served description of the API against the API itself: schemathesis makes requests of
//! all kinds from it, right and wrong ones, and nothing but what it says may be answered,
//! and never a fault of the server.
//!
//! `cargo xtask test` installs schemathesis; `ONSALE_EXAMPLES` says how many examples of each
//! operation are tried (15).

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use onsale::config::{Config, Flags};
use onsale::http_client::Client;
use onsale::serve::Server;

const KEY: &str = "a-key-that-may-do-everything";
const EVENT: &str = "/v1/organizers/river/events/concert";
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","limits":[{"per_customer":1000}],
    "quotas":[{"id":"q","capacity":50000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]},
                    {"id":"paid","name":"Paid","price":1250,"free_price":true,"quotas":["q"]}]}"#;
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

fn schemathesis() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let found = std::fs::read_dir(&tools).into_iter().flatten().flatten().find_map(|entry| {
        let is_it = entry.file_name().to_string_lossy().starts_with("schemathesis-");
        let program = entry.path().join("bin/schemathesis");
        (is_it && program.exists()).then_some(program)
    });
    found.unwrap_or_else(|| {
        panic!("no schemathesis in {}: cargo xtask test installs it", tools.display())
    })
}

/// Starts on a free port below those that the system gives to clients.
fn start(folder: &Path) -> Server {
    let flags = Flags { data: Some(folder.to_owned()), ..Flags::default() };
    let mut config = Config::load(None, &flags).unwrap();
    config.journal.segment_bytes = 1 << 20;
    let first = 30_000 + (std::process::id() % 1_000) as u16;
    for port in (first..32_000).step_by(7) {
        config.listen = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(config.listen).is_ok()
            && let Ok(server) = Server::start(&config, Some(KEY), &[])
        {
            return server;
        }
    }
    panic!("no free port");
}

#[test]
fn the_api_answers_as_its_description_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let url = format!("http://{}", server.address);
    let client = Client::new(&url, Some(KEY)).unwrap();
    let send = |method, condition, body| {
        client.request(method, EVENT, &[condition], Some(body)).unwrap().status
    };
    assert_eq!(send("PUT", ("if-none-match", "*"), DEFINITION), 201);
    assert_eq!(send("PATCH", ("if-match", "*"), r#"{"state":"open"}"#), 200);
    let examples = std::env::var("ONSALE_EXAMPLES").unwrap_or_else(|_| "15".to_owned());
    let seed = std::env::var("ONSALE_SEED").unwrap_or_else(|_| "1".to_owned());
    let output = Command::new(schemathesis())
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {KEY}"), "--checks", CHECKS])
        .args(["--max-examples", &examples, "--seed", &seed, "--request-timeout", "20"])
        // It has no end: its own tests read it.
        .args(["--exclude-path-regex", "/live$", "--continue-on-failure", "--no-color"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "ONSALE_SEED={seed}\n{told}");
    // A run that met nothing would be right, too.
    let passed = told
        .lines()
        .find_map(|line| line.trim().split_once(" generated, ")?.1.strip_suffix(" passed"));
    let passed: u32 = passed.map_or(0, |number| number.replace(',', "").parse().unwrap());
    assert!(passed > 500, "only {passed} requests:\n{told}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(server.stop()).unwrap();
}
