//! `tools/plan.py`, which tells from measured costs how many machines an on-sale needs.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{root, text};

fn plan(arguments: &[&str]) -> Output {
    let mut command = Command::new("python3");
    let output = command.arg(root("tools/plan.py")).args(arguments).output();
    output.expect("python3 is needed: on Debian, `apt-get install python3`")
}

/// A crowd of two thousand for five hundred tickets, with more arguments.
fn crowd(more: &[&str]) -> Value {
    let few = ["--buyers", "2000", "--tickets", "500", "--within", "1", "--json"];
    let quick = ["--hold-seconds", "5", "--claim-seconds", "2", "--retry", "1"];
    let output = plan(&[&few[..], &quick, more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_ticket_is_sold_once_and_every_command_counted() {
    let told = crowd(&["--abandon", "0.3"]);
    let number = |key: &str| told[key].as_u64().unwrap();
    assert_eq!((number("sold"), number("claims")), (500, 500));
    // What ran out was sold again; holds that are open at the end are nobody's.
    assert!(number("ran_out") > 50 && number("holds") >= 500 + number("ran_out"), "{told}");
    assert_eq!(number("commands"), number("holds") + number("claims") + number("refused"));
    assert_eq!(told, crowd(&["--abandon", "0.3"]), "the same arguments, the same answer");
    assert_ne!(told, crowd(&["--abandon", "0.3", "--seed", "2"]));
}

#[test]
fn a_queue_is_as_long_as_arithmetic_says() {
    // All come at once, so that the last waits for the work of all: 2,000 at 1 ms.
    let told = crowd(&["--within", "0", "--op-us", "1000", "--patience", "0", "--abandon", "0"]);
    let longest = told["longest_wait_at_engine_ms"].as_f64().unwrap();
    assert!((1_990.0..2_010.0).contains(&longest), "{told}");
    // Over four shards, by sale groups, a quarter of it each.
    let spread = ["--within", "0", "--op-us", "1000", "--patience", "0", "--abandon", "0"];
    let told = crowd(&[&spread[..], &["--events", "4", "--shards", "4"]].concat());
    let longest = told["longest_wait_at_engine_ms"].as_f64().unwrap();
    assert!((495.0..510.0).contains(&longest), "{told}");
}

#[test]
fn front_tiers_that_know_what_is_free_keep_refusals_from_the_engine() {
    let (blind, informed) = (crowd(&[]), crowd(&["--informed"]));
    let refused = |told: &Value| told["refused"].as_u64().unwrap();
    assert!(refused(&informed) * 3 < refused(&blind), "{blind} {informed}");
    assert_eq!(informed["sold"], 500);
}

#[test]
fn what_makes_no_sense_is_named() {
    for (arguments, named) in [
        (&["--buyers", "0"][..], "--buyers: 0 is not between 1 and 10000000"),
        (&["--op-us", "fast"], "--op-us: 'fast' is not a number"),
        (&["--claim-seconds", "400"], "--claim-seconds"),
        (&["--events", "600000"], "--events"),
    ] {
        let output = plan(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
}
