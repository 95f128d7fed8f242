//! Concurrent clients against real servers, which are killed with SIGKILL meanwhile, as is the Redis that they sell from.
//! What each event's clients asked and were told is a history; each must be linearizable:
//! explained by some order in which everything happened at one moment between its call
//! and its answer, by rules written down here once more. An event is a sale group of its own.
//!
//! `ONSALE_HISTORIES` says how many (100); `ONSALE_SEED` where the seeds begin.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod checker;
mod client;
mod hall;
#[path = "../support/process.rs"]
mod process;
mod site;

use checker::{Failure, check};
use client::{Choices, Event, History, visit};
use hall::{Answer, BALCONY, HALL, Hall, PER_CUSTOMER, State};
use onsale_services::{postgres, redis_with};
use site::{Site, Store};

/// Histories of one server, at the same time.
const EVENTS: u64 = 10;
/// Clients of an event.
const CLIENTS: u64 = 4;
/// What each of them asks.
const CALLS: u32 = 30;
/// How often a server is killed, or what it sells from.
const KILLS: u64 = 3;
const KILLS_WITH_REDIS: u64 = 6;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The histories of one site.
fn record(seed: u64, store: Store) -> Vec<History> {
    let kills = if matches!(store, Store::Redis(_)) { KILLS_WITH_REDIS } else { KILLS };
    let site = Site::start(store);
    let events: Vec<Event> = (0..EVENTS).map(|n| Event::new(format!("e-{n}"))).collect();
    for event in &events {
        let path = format!("/v1/organizers/o/events/{}", event.name);
        let definition = format!(
            r#"{{"name":"E","currency":"EUR","hold_seconds":3600,
            "limits":[{{"per_customer":{PER_CUSTOMER}}}],
            "quotas":[{{"id":"hall","capacity":{HALL}}},{{"id":"balcony","capacity":{BALCONY}}}],
            "ticket_types":[{{"id":"floor","name":"F","price":0,"quotas":["hall"]}},
                {{"id":"balcony","name":"B","price":0,"quotas":["hall","balcony"]}}]}}"#
        );
        site.open_event(&path, &definition);
    }
    std::thread::scope(|scope| {
        for (event, number) in events.iter().zip(0..) {
            for client in 0..CLIENTS {
                let seed = seed * 1_000_003 + number * CLIENTS + client;
                let site = &site;
                scope.spawn(move || visit(site, event, seed, CALLS));
            }
        }
        let all = EVENTS * CLIENTS * u64::from(CALLS);
        let mut choices = Choices(seed);
        for kill in 1..=kills {
            // Clients that give up leave fewer answers than calls.
            let part = all * kill / (kills + 2);
            site.kill_after(part / 2 + choices.below(part / 2), choices.below(1_000));
        }
    });
    site.audit();
    events.into_iter().map(|event| event.history.into_inner().unwrap()).collect()
}

fn told(history: &History, failure: &Failure) -> String {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|&index| history[index].called_ns);
    let lines = order.iter().map(|&index| {
        let operation = &history[index];
        let mark = match failure {
            Failure::NoOrder { left_out } if left_out.contains(&index) => "?",
            _ => " ",
        };
        format!("{mark} {:>12} {:?} -> {:?}", operation.called_ns, operation.call, operation.answer)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn histories_of_a_server_that_is_killed_are_linearizable() {
    record_and_check(number("ONSALE_HISTORIES", 100), || Store::Folder);
}

#[test]
fn histories_of_one_with_its_journal_in_a_database_are_linearizable() {
    record_and_check(number("ONSALE_HISTORIES", 100) / 4, || Store::Rows(postgres()));
}

#[test]
fn histories_of_three_over_a_redis_that_is_killed_too_are_linearizable() {
    let always = ["--appendonly", "yes", "--appendfsync", "always"];
    record_and_check(number("ONSALE_HISTORIES", 100), || Store::Redis(redis_with(&always)));
}

fn record_and_check(wanted: u64, store: impl Fn() -> Store) {
    let first = number("ONSALE_SEED", 1);
    let (mut checked, mut operations, mut unknown) = (0, 0, 0);
    for seed in first.. {
        if checked >= wanted {
            break;
        }
        for history in record(seed, store()) {
            if let Err(failure) = check(&Hall, State::default(), &history) {
                panic!("ONSALE_SEED={seed}: {failure:?}\n{}", told(&history, &failure));
            }
            checked += 1;
            operations += history.len();
            unknown += history.iter().filter(|operation| operation.answer.is_none()).count();
        }
    }
    println!("{checked} histories, {operations} operations, {unknown} without an answer");
    assert!(unknown > 0, "no kill left anybody without an answer");
}

#[test]
fn a_history_with_one_wrong_count_is_found_out() {
    let mut histories = record(0, Store::Folder);
    let mut found = 0;
    for history in &mut histories {
        assert_eq!(check(&Hall, State::default(), history), Ok(()));
        let counts = history.iter_mut().rev().find_map(|operation| match &mut operation.answer {
            Some((Answer::Counts(counts), _)) => Some(counts),
            _ => None,
        });
        // One ticket more is sold than anybody bought.
        counts.unwrap()[1] += 1;
        found += u32::from(check(&Hall, State::default(), history).is_err());
    }
    assert!(found > EVENTS as u32 / 2, "only {found} of {EVENTS} were found out");
}
