//! Single buyers, step by step: what they ask for, with which key, and when.

use std::time::Duration;

use super::*;
use crate::config::{Arrivals, Retry};
use crate::target::{Quota, Target, TicketType};

const HELD: &str = r#"{"id":"h-1","total":{"amount":500,"currency":"EUR"}}"#;
const SOLD_OUT: &str = r#"{"type":"/problems/sold-out","quota":"site"}"#;
const AWAITING: &str = r#"{"code":"E1","state":"awaiting_payment",
    "total":{"amount":500,"currency":"EUR"},"tickets":[]}"#;

/// Buyers who all come at once, want 2 tickets of `day` or (seldom) `early`, think
/// 100 ms and ask again after 200 ms.
fn crowd(change: impl FnOnce(&mut Config)) -> Crowd {
    let ticket_type = |id: &str, quotas: Vec<usize>, weight| TicketType {
        id: id.into(),
        id_json: format!("\"{id}\""),
        price: 250,
        free_price: false,
        quotas,
        weight,
        quantity_max: u32::MAX,
    };
    let quota = |id: &str, free| Quota {
        id: id.into(),
        capacity: Some(free),
        free: Some(free),
        held: 0,
        sold: 0,
    };
    let offer = Offer {
        ticket_types: vec![
            ticket_type("day", vec![0], 1_000_000),
            ticket_type("early", vec![0, 1], 1),
        ],
        quotas: vec![quota("site", 1_000), quota("early", 1)],
        main: Some(0),
        hold_seconds: None,
    };
    let mut config = Config::new("http://127.0.0.1:1", "k", "o", "e");
    config.buyers = 1;
    config.arrivals = Arrivals::Burst { over: Duration::ZERO };
    config.think_ms = 100..=100;
    config.retry = Retry { every_ms: 200..=200, tries_max: None };
    config.quantity = 2..=2;
    change(&mut config);
    let requests = Requests::new(&Target::new(&config).unwrap());
    Crowd::new(config, offer, requests, 7)
}

/// The request that is due at `now_us`: its path below the event, key and body.
#[track_caller]
fn sent(crowd: &mut Crowd, now_us: u64) -> (u32, String, String, String) {
    crowd.advance(now_us);
    let buyer = crowd.take().expect("somebody is due");
    let mut request = Vec::new();
    crowd.write_request(buyer, &mut request);
    let request = String::from_utf8(request).unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let value = |name: &str| head.lines().find_map(|l| l.strip_prefix(name)).unwrap().to_owned();
    assert_eq!(value("Content-Length: "), body.len().to_string());
    let path = value("POST /v1/organizers/o/events/e/");
    let path = path.strip_suffix(" HTTP/1.1").unwrap().to_owned();
    (buyer, path, value("Idempotency-Key: "), body.to_owned())
}

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after_s: None, keep: true, body: body.as_bytes() }
}

fn none_free_now() -> Answer<'static> {
    answer(409, r#"{"type":"/problems/none-free-now"}"#)
}

#[test]
fn a_buyer_holds_thinks_claims_and_pays() {
    let mut crowd = crowd(|_| {});
    let (buyer, path, hold_key, body) = sent(&mut crowd, 0);
    assert_eq!(path, "holds");
    let customer = &body[13..49];
    assert_eq!(
        body,
        format!(r#"{{"customer":"{customer}","items":[{{"ticket_type":"day","quantity":2}}]}}"#)
    );
    crowd.answered(buyer, &answer(201, HELD), 3_000);
    assert_eq!(crowd.next_due_us(), Some(103_000));

    let (_, path, claim_key, body) = sent(&mut crowd, 103_000);
    assert_eq!(path, "orders");
    assert_eq!(body, format!(r#"{{"customer":"{customer}","hold":"h-1"}}"#));
    crowd.answered(buyer, &answer(201, AWAITING), 104_000);

    let (_, path, pay_key, body) = sent(&mut crowd, 104_000);
    assert_eq!(path, "orders/E1/payments");
    assert!(body.starts_with(r#"{"amount":500,"currency":"EUR","reference":"rush-"#), "{body}");
    crowd.answered(buyer, &answer(201, r#"{"state":"applied"}"#), 110_000);
    assert!(hold_key != claim_key && claim_key != pay_key);
    assert!(crowd.is_over());
    assert_eq!(crowd.orders[0].state, OrderState::Confirmed);
    assert_eq!((crowd.sold[0], crowd.stats.fates.served), (2, 1));
    // Three milliseconds for the hold, one for the claim, six for the payment.
    let ms = |kind| crowd.stats.latency(kind).accepted.max.round();
    assert_eq!([ms(Kind::Hold), ms(Kind::Order), ms(Kind::Payment)], [3.0, 1.0, 6.0]);
}

#[test]
fn an_unknown_outcome_is_asked_for_with_the_same_key() {
    let mut crowd = crowd(|config| config.direct = 1.0);
    let (buyer, path, key, body) = sent(&mut crowd, 0);
    assert_eq!(path, "orders");
    crowd.failed(buyer, &Error::Timeout, 1_000_000);
    let again = crowd.next_due_us().unwrap();
    assert!(again > 1_000_000);
    assert_eq!(sent(&mut crowd, again), (buyer, path.clone(), key.clone(), body));
    crowd.answered(buyer, &answer(500, ""), again);
    // It may have been carried out: even at the end it must become known.
    crowd.close();
    assert!(!crowd.is_over());
    let last = crowd.next_due_us().unwrap();
    assert_eq!(sent(&mut crowd, last).2, key);
    crowd.answered(buyer, &answer(201, AWAITING), last);
    // All that time counts.
    let latency = crowd.stats.latency(Kind::Order).accepted.max;
    assert!((latency - last as f64 / 1e3).abs() < 1.0, "{latency} {last}");
}

#[test]
fn a_server_that_never_answers_is_left_in_the_end() {
    let mut crowd = crowd(|_| {});
    let mut sends = 0;
    while let Some(due) = crowd.next_due_us() {
        let (buyer, ..) = sent(&mut crowd, due);
        crowd.failed(buyer, &Error::Closed, due);
        sends += 1;
    }
    assert_eq!(sends, u32::from(REPEATS_MAX) + 1);
    assert_eq!((crowd.stats.fates.lost_touch, crowd.stats.silent_since_us), (1, Some(0)));
}

#[test]
fn later_is_later_and_the_same_request() {
    let mut crowd = crowd(|_| {});
    let (buyer, _, key, _) = sent(&mut crowd, 0);
    let later = Answer { retry_after_s: Some(2), ..answer(503, "") };
    crowd.answered(buyer, &later, 0);
    let due = crowd.next_due_us().unwrap();
    assert!((2_000_000..2_700_000).contains(&due), "{due}");
    assert_eq!(sent(&mut crowd, due).2, key);
    crowd.answered(buyer, &answer(201, HELD), due + 5_000);
    // The wait was the server's wish, and is not counted as its latency.
    assert_eq!(crowd.stats.latency(Kind::Hold).accepted.max.round(), 5.0);
    assert_eq!((crowd.stats.put_off, crowd.stats.answers), (1, [1, 0]));
}

#[test]
fn who_is_told_that_none_are_free_now_asks_anew() {
    let mut crowd = crowd(|config| config.retry.tries_max = Some(1));
    let (buyer, _, key, _) = sent(&mut crowd, 0);
    crowd.answered(buyer, &none_free_now(), 1_000);
    assert_eq!(crowd.next_due_us(), Some(201_000));
    assert_ne!(sent(&mut crowd, 201_000).2, key);
    crowd.answered(buyer, &none_free_now(), 202_000);
    assert!(crowd.is_over());
    assert_eq!(crowd.stats.fates.gave_up, 1);
    assert_eq!(crowd.stats.refusals["none-free-now"], 2);
}

#[test]
fn sold_out_means_fewer_then_another_type_then_the_end() {
    let mut crowd = crowd(|config| config.quantity = 3..=3);
    let (buyer, ..) = sent(&mut crowd, 0);
    crowd.answered(buyer, &answer(409, r#"{"type":"/p/sold-out","free":2,"quota":"site"}"#), 10);
    let (.., body) = sent(&mut crowd, 10);
    assert!(body.contains(r#""quantity":2"#), "{body}");
    // A refusal that says no more: one may be left.
    crowd.answered(buyer, &answer(409, r#"{"type":"/p/sold-out"}"#), 20);
    let (.., body) = sent(&mut crowd, 20);
    assert!(body.contains(r#""ticket_type":"day","quantity":1"#), "{body}");
    crowd.answered(buyer, &answer(409, r#"{"type":"/p/sold-out","quota":"other"}"#), 30);
    assert_eq!(crowd.stats.sold_out_us, None);
    let (.., body) = sent(&mut crowd, 30);
    assert!(body.contains(r#""ticket_type":"early","quantity":3"#), "{body}");
    crowd.answered(buyer, &answer(409, r#"{"type":"/p/sold-out","free":0,"quota":"early"}"#), 40);
    assert!(crowd.is_over());
    assert_eq!((crowd.stats.sold_out_us, crowd.stats.fates.sold_out), (None, 1));
}

#[test]
fn when_the_main_stock_is_gone_only_those_on_their_way_go_on() {
    let mut crowd = crowd(|config| {
        config.buyers = 5;
        config.quantity = 1..=1;
    });
    let [holder, waiter, on_the_way, told, _] = std::array::from_fn(|_| sent(&mut crowd, 0).0);
    crowd.answered(holder, &answer(201, HELD), 10);
    crowd.answered(waiter, &none_free_now(), 10);
    crowd.answered(told, &answer(409, SOLD_OUT), 20);
    assert_eq!(crowd.stats.sold_out_us, Some(20));
    assert_eq!(crowd.stats.answers_at_sold_out, Some([1, 2]));
    assert_eq!((crowd.stats.fates.unfinished, crowd.stats.fates.sold_out), (1, 1));
    // What is on its way is answered, but nothing follows.
    crowd.answered(on_the_way, &none_free_now(), 30);
    crowd.answered(4, &answer(409, SOLD_OUT), 30);
    assert_eq!((crowd.stats.fates.unfinished, crowd.stats.fates.sold_out), (2, 2));
    // The holder claims.
    assert_eq!(sent(&mut crowd, 200_000).0, holder);
    let confirmed = AWAITING.replace("awaiting_payment", "confirmed");
    crowd.answered(holder, &answer(201, &confirmed), 200_000);
    assert!(crowd.is_over());
    assert_eq!(crowd.take(), None);
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    for body in ["", "{}", r#"{"id":1,"total":{"amount":1,"currency":"EUR"}}"#] {
        let mut crowd = crowd(|_| {});
        let (buyer, ..) = sent(&mut crowd, 0);
        crowd.answered(buyer, &answer(201, body), 0);
        assert_eq!((crowd.stats.errors["not-understood"], crowd.is_over()), (1, true), "{body}");
    }
}

#[test]
fn an_order_for_other_money_than_its_hold_is_an_error() {
    let mut crowd = crowd(|_| {});
    let (buyer, ..) = sent(&mut crowd, 0);
    crowd.answered(buyer, &answer(201, HELD), 0);
    sent(&mut crowd, 100_000);
    crowd.answered(buyer, &answer(201, &AWAITING.replace("500", "501")), 100_000);
    assert_eq!(crowd.stats.errors["another-total"], 1);
}
