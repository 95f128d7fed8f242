//! A journal in a PostgreSQL that speaks TLS, with a certificate of an authority that the server trusts, or not.

use std::path::Path;
use std::process::{Command, Stdio};

use onsale_services::{Authority, Server, postgres, postgres_with_tls, wait_until};
use tempfile::TempDir;

use crate::{Process, SETTINGS, sql};

const EVENT: &str = "/v1/organizers/o/events/tls";

/// The journal's address, with what is said of TLS.
fn address(database: &Server, host: &str, options: &str) -> String {
    format!("postgres://onsale@{host}:{}/postgres{options}", database.port())
}

/// Why a server that trusts this authority does not start.
fn refused(folder: &Path, url: &str, authority: &Authority) -> String {
    // One that starts all the same is ended.
    let output = Command::new("timeout")
        .args([
            "60",
            env!("CARGO_BIN_EXE_onsale"),
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--journal",
            url,
            "--data",
        ])
        .arg(folder.join("refused"))
        .env("SSL_CERT_FILE", authority.write(folder))
        .envs(SETTINGS)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "it starts: {url}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How many of the servers' connections there are, with TLS and without.
pub fn connections(database: &Server) -> (u64, u64) {
    let counts = sql(
        &address(database, "127.0.0.1", ""),
        "SELECT count(*) FILTER (WHERE ssl) || ' ' || count(*) FILTER (WHERE NOT ssl)
            FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'onsale %'",
    );
    let counts = counts.unwrap();
    let (with, without) = counts.split_once(' ').unwrap();
    (with.parse().unwrap(), without.parse().unwrap())
}

#[test]
fn a_journal_goes_through_tls_where_the_certificate_is_trusted() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let database = postgres_with_tls(&authority.certificate("localhost"));
    let file = authority.write(folder.path());
    let trust = [SETTINGS.as_slice(), &[("SSL_CERT_FILE", file.to_str().unwrap())]].concat();
    // `prefer` is what is meant where nothing is said.
    for (number, options) in ["?sslmode=require", "", "?sslmode=disable"].iter().enumerate() {
        let url = address(&database, "localhost", options);
        let data = folder.path().join("data");
        // It waits until the lease of the one before is over.
        let arguments = ["--journal", &url, "--segment-mib", "1", "--standby"];
        let server = Process::serve(&data, &arguments, &trust);
        let client = crate::client(&server.url, crate::PATIENCE);
        let is_ready =
            || client.request("GET", "/readyz", &[], None).is_ok_and(|answer| answer.status == 200);
        wait_until("the server is active", is_ready);
        let event = format!("{EVENT}-{number}");
        let made =
            client.request("PUT", &event, &[("if-none-match", "*")], Some(crate::DEFINITION));
        assert_eq!(made.unwrap().status, 201, "{options}");
        let (with, without) = connections(&database);
        match *options {
            "?sslmode=disable" => assert!(with == 0 && without > 0, "{with}, {without}"),
            _ => assert!(with > 0 && without == 0, "{options}: {with}, {without}"),
        }
    }
}

#[test]
fn a_certificate_that_is_not_trusted_or_of_another_name_is_refused() {
    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let database = postgres_with_tls(&authority.certificate("localhost"));
    for options in ["?sslmode=require", "?sslmode=prefer", ""] {
        let url = address(&database, "localhost", options);
        let told = refused(folder.path(), &url, &Authority::new());
        let parts = ["journal.url", "invalid peer certificate", "SSL_CERT_FILE", "sslmode=disable"];
        assert!(parts.iter().all(|part| told.contains(part)), "{options}: {told}");
        // It is the same server under a name that its certificate does not bear.
        let url = address(&database, "127.0.0.1", options);
        let told = refused(folder.path(), &url, &authority);
        let parts = ["journal.url", "not valid for name", "a name in the address"];
        assert!(parts.iter().all(|part| told.contains(part)), "{options}: {told}");
    }
    assert_eq!(connections(&database), (0, 0));
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_required() {
    let (folder, database) = (TempDir::new().unwrap(), postgres());
    let url = address(&database, "localhost", "?sslmode=require");
    let told = refused(folder.path(), &url, &Authority::new());
    let parts = ["journal.url", "sslmode=require, but the server does not speak TLS", "ssl = on"];
    assert!(parts.iter().all(|part| told.contains(part)), "{told}");
}
