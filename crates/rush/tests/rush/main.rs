//! Rushes at a small shop: it sells out exactly, it lies and is caught, it is slow
//! and that is seen, its connections break and nothing is lost by it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod shop;

use std::time::Duration;

use onsale_rush::{Arrivals, Config, Ended, Report, run, verify};
use shop::{Script, Shop};

fn script() -> Script {
    Script { tickets: 200, price: 2_500, hold: Duration::from_secs(30), ..Script::default() }
}

fn config(shop: &Shop) -> Config {
    Config {
        buyers: 400,
        arrivals: Arrivals::Burst { over: Duration::from_millis(50) },
        connections: Some(20),
        think_ms: 0..=5,
        retry: onsale_rush::Retry { every_ms: 5..=20, tries_max: None },
        deadline: Duration::from_secs(30),
        give_up: Duration::from_secs(2),
        quantity: 1..=3,
        ..Config::new(&shop.url(), "secret", "o", "e")
    }
}

fn rush(config: Config) -> Report {
    run(config, &mut |_| {}).unwrap()
}

/// All that holds of a rush at a shop that tells the truth.
fn assert_clean(report: &Report) {
    assert!(report.is_clean_sell_out(), "{report}");
    assert_eq!(report.ended, Ended::SoldOut, "{report}");
    assert_eq!((report.tickets, report.oversold, report.lost), (200, 0, Some(0)), "{report}");
    let verification = report.verification.as_ref().unwrap();
    assert_eq!(verification.checked, report.orders, "{report}");
    assert_eq!(verification.tickets, 200, "{report}");
    let f = &report.fates;
    let all = f.served + f.abandoned + f.sold_out + f.gave_up + f.turned_away + f.lost_touch;
    assert_eq!(all + f.unfinished, report.buyers_arrived, "{report}");
    assert_eq!((f.served, f.lost_touch), (report.orders, 0), "{report}");
}

#[test]
fn a_shop_is_sold_out_exactly() {
    let report = rush(config(&Shop::open(script())));
    assert_clean(&report);
    assert!(report.payment_ms.accepted.count > 0, "paid orders are paid: {report}");
    assert_eq!(report.hold_ms.accepted.count, report.holds);
    assert_eq!(report.sockets, 20);
    assert!(report.errors.is_empty(), "{report}");
    assert!(report.acknowledged.len() as u64 == report.orders);
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["stock"]["sold"], 200);
    assert!(json.get("acknowledged").is_none());
}

#[test]
fn a_shop_is_sold_out_over_http2_with_more_buyers_than_sockets() {
    let shop = Shop::open(script());
    let report = rush(Config { connections: Some(3), http2_streams: Some(8), ..config(&shop) });
    assert_clean(&report);
    assert_eq!((report.sockets, report.http2_streams), (3, Some(8)), "{report}");
    assert!(report.errors.is_empty(), "{report}");
    assert!(report.to_string().contains("3, with HTTP/2, 8 requests at a time"), "{report}");
}

#[test]
fn sockets_of_http2_that_break_lose_nothing() {
    let shop = Shop::open(Script { vanish_every: Some(37), ..script() });
    let report = rush(Config { connections: Some(3), http2_streams: Some(8), ..config(&shop) });
    assert_clean(&report);
    let broken = report.errors.values().sum::<u64>() + report.reconnects;
    assert!(broken > 0, "no socket broke: {report}");
}

#[test]
fn abandoned_holds_come_back_and_are_sold_again() {
    let shop = Shop::open(Script { hold: Duration::from_millis(100), ..script() });
    let report = rush(Config { abandon: 0.3, ..config(&shop) });
    assert_clean(&report);
    assert!(report.abandoned_holds > 0 && report.fates.abandoned == report.abandoned_holds);
    let stock = report.stock.as_ref().unwrap();
    assert_eq!(stock.resold, Some(report.abandoned_tickets));
    assert!(report.refusals["none-free-now"] > 0, "{report}");
}

#[test]
fn holds_that_run_out_while_buyers_think_are_asked_for_anew() {
    let shop = Shop::open(Script { hold: Duration::from_millis(100), ..script() });
    let report = rush(Config { think_ms: 20..=150, ..config(&shop) });
    assert_clean(&report);
    assert!(report.refusals["hold-expired"] > 0, "{report}");
}

#[test]
fn buying_in_one_step_needs_no_hold() {
    let shop = Shop::open(script());
    let report = rush(Config { direct: 1.0, ..config(&shop) });
    assert_clean(&report);
    assert_eq!(report.holds, 0);
}

#[test]
fn every_buyer_is_told_when_the_rush_goes_on_after_sold_out() {
    let shop = Shop::open(script());
    let report = rush(Config { stop_when_sold_out: false, ..config(&shop) });
    assert_clean(&report);
    assert_eq!(report.buyers_arrived, 400);
    assert_eq!(report.fates.served + report.fates.sold_out, 400, "{report}");
}

#[test]
fn fewer_buyers_than_tickets_leave_some() {
    let shop = Shop::open(script());
    let report = rush(Config { buyers: 10, quantity: 1..=1, ..config(&shop) });
    assert_eq!((report.ended, report.sold_out), (Ended::BuyersDone, false), "{report}");
    assert_eq!((report.tickets, report.lost, report.sockets), (10, Some(0), 10), "{report}");
}

#[test]
fn a_shop_that_lies_is_caught() {
    let lies = |script: Script| rush(config(&Shop::open(script)));

    let report = lies(Script { lose_every: Some(50), ..script() });
    let verification = report.verification.as_ref().unwrap();
    assert!(verification.lost > 0 && !report.is_clean_sell_out(), "{report}");
    assert!(report.to_string().contains("acknowledged, but not found"), "{report}");

    let report = lies(Script { change_every: Some(50), price: 0, ..script() });
    assert!(report.verification.as_ref().unwrap().changed > 0, "{report}");

    let report = lies(Script { same_code_every: Some(50), price: 0, ..script() });
    assert!(report.verification.as_ref().unwrap().duplicate_orders > 0, "{report}");

    let report = lies(Script { same_ticket: true, ..script() });
    assert_eq!(report.verification.as_ref().unwrap().duplicate_tickets, 199, "{report}");

    let report = lies(Script { hide: 1, ..script() });
    assert_eq!((report.tickets, report.oversold, report.sold_out), (200, 0, false), "{report}");

    let report = lies(Script { oversell: 3, ..script() });
    assert_eq!(report.oversold, 3, "{report}");
    assert!(!report.sold_out && !report.is_clean_sell_out(), "{report}");
}

#[test]
fn a_stall_is_seen_by_all_who_wanted_something_meanwhile() {
    let stall = Duration::from_millis(400);
    let shop = Shop::open(Script { stall: Some((100, stall)), tickets: 10_000, ..script() });
    let report = rush(Config {
        buyers: 1_000,
        arrivals: Arrivals::Constant { per_second: 1_000.0 },
        // One socket, as a closed loop would have: it sends one request during the stall.
        connections: Some(1),
        abandon: 1.0,
        quantity: 1..=1,
        ..config(&shop)
    });
    let hold = report.hold_ms.accepted;
    assert_eq!(hold.count, 1_000, "{report}");
    assert!(hold.max >= 400.0, "{report}");
    // 400 of 1,000 buyers arrived in the stall and waited 200 ms each on average.
    assert!(hold.p99 >= 380.0, "{report}");
}

#[test]
fn broken_connections_lose_nothing() {
    let faults: [(&str, Script); 5] = [
        ("pieces", Script { piece: Some(7), ..script() }),
        ("close", Script { close_every: Some(3), ..script() }),
        ("vanish", Script { vanish_every: Some(3), ..script() }),
        ("cut", Script { cut_every: Some(7), ..script() }),
        ("busy", Script { busy_every: Some(7), ..script() }),
    ];
    for (fault, script) in faults {
        // The first answers must be whole: what is for sale is read once.
        let report = rush(config(&Shop::open(script)));
        assert_clean(&report);
        match fault {
            "vanish" => assert!(report.reconnects > 0, "{report}"),
            "cut" => assert!(report.errors["cut"] > 0, "{report}"),
            "busy" => assert!(report.put_off > 0, "{report}"),
            _ => assert!(report.errors.is_empty(), "{fault}: {report}"),
        }
    }
}

#[test]
fn connections_that_the_server_does_not_want_leave_the_pool() {
    let shop = Shop::open(Script { connections_max: Some(5), ..script() });
    let report = rush(config(&shop));
    assert_clean(&report);
    // One may have been taken by the question what is for sale, which is closed by then.
    assert!((4..=5).contains(&report.sockets), "{report}");
    assert_eq!(report.sockets + report.sockets_failed, 20, "{report}");
    assert!(report.errors.is_empty(), "{report}");
}

#[test]
fn a_server_that_dies_ends_the_rush_with_a_report() {
    // Sixty holds and at least twenty claims: some orders were acknowledged.
    let shop = Shop::open(Script { die_after: Some(100), ..script() });
    let give_up = Duration::from_millis(300);
    let config = Config { give_up, buyers: 60, ..config(&shop) };
    let report = rush(config.clone());
    assert_eq!(report.ended, Ended::ServerGone, "{report}");
    assert!(!report.acknowledged.is_empty() && !report.is_clean_sell_out(), "{report}");
    let again = verify(&config, &report.acknowledged).unwrap();
    assert_eq!(again.unchecked, report.orders);
    assert!(!again.is_ok());
    // A shop that comes back without its memory has lost every order.
    let empty = Shop::open(script());
    let again = verify(&Config { url: empty.url(), ..config }, &report.acknowledged).unwrap();
    assert_eq!((again.lost, again.unchecked), (report.orders, 0));
}

#[test]
fn the_deadline_ends_a_rush_that_can_not_sell_out() {
    // All is on hold, and no hold runs out.
    let shop = Shop::open(script());
    let deadline = Duration::from_millis(300);
    let report = rush(Config { abandon: 1.0, deadline, ..config(&shop) });
    assert_eq!((report.ended, report.orders), (Ended::Deadline, 0), "{report}");
    assert!(report.fates.unfinished > 0, "{report}");
}

#[test]
fn what_can_not_begin_is_an_error() {
    let shop = Shop::open(script());
    let error = |config: Config| format!("{:#}", run(config, &mut |_| {}).unwrap_err());
    let unknown = Config { ticket_types: Some(vec!["none".into()]), ..config(&shop) };
    assert!(error(unknown).contains("there is no \"none\""));
    assert!(error(Config { abandon: 2.0, ..config(&shop) }).contains("abandon"));
    assert!(error(Config { url: "https://x".into(), ..config(&shop) }).contains("http://"));
    // A port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Config { url: format!("http://{gone}"), ..config(&shop) };
    assert!(error(gone).contains("can't connect"));
}
