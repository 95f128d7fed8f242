//! The shard itself: what may come first, generations, and journals that are wrong.

use super::stage::{KEY, Stage, check_open, id, shard_started};
use crate::event::{Event, Fact};
use crate::sale::{ApplyError, Sale};
use crate::time::Time;

fn bare(fact: Fact) -> Event {
    Event { at: Time(0), stamp: None, subject: None, fact }
}

#[test]
fn the_first_event_starts_the_shard() {
    let mut sale = Sale::new();
    assert!(sale.apply(1, &bare(Fact::GenerationStarted { generation: 2 })).is_err());
    sale.apply(1, &shard_started(3)).unwrap();
    assert_eq!((sale.log(), sale.shard(), sale.shards(), sale.generation()), (77, 3, 4, 1));
    assert_eq!((sale.key(), sale.position(), sale.time()), (KEY, 1, Time(0)));
    assert!(sale.apply(2, &shard_started(3)).is_err());
    assert!(Sale::new().apply(1, &shard_started(4)).is_err(), "shard 4 of 4");
}

#[test]
fn positions_are_dense_and_time_never_runs_backwards() {
    let mut stage = check_open("7 hold h1 ann std*1 => ok");
    let fact = Fact::GenerationStarted { generation: 2 };
    let mut event = bare(fact);
    let expected = stage.sale.position() + 1;
    for got in [0, 1, expected - 1, expected + 1] {
        assert_eq!(stage.sale.apply(got, &event), Err(ApplyError::Position { expected, got }));
    }
    event.at = Time(6_999_999);
    let wrong = ApplyError::Time { last: Time(7_000_000), at: event.at };
    assert_eq!(stage.sale.apply(expected, &event), Err(wrong));
    // A clock that runs backwards stands still for the rules.
    stage.run("5 hold h2 ann std*1 => held h2 for 500 until @307");
}

#[test]
fn no_event_is_of_a_time_that_deadlines_could_not_lie_ahead_of() {
    let mut stage = check_open("7 hold h1 ann std*1 => ok");
    let mut event = bare(Fact::GenerationStarted { generation: 2 });
    let next = stage.sale.position() + 1;
    for at in [i64::MAX, 1 << 53] {
        event.at = Time(at);
        assert!(stage.sale.apply(next, &event).is_err(), "{at}");
    }
    event.at = Time((1 << 53) - 1);
    stage.apply(&event);
    stage.run("8 hold h2 ann std*1 => ok");
}

#[test]
fn a_new_generation_makes_other_codes_and_knows_the_old_ones() {
    let mut stage = check_open("0 buy ann std*1 => ok");
    let old = stage.code("o1");
    stage.apply(&bare(Fact::GenerationStarted { generation: 2 }));
    assert_ne!(stage.code("o1"), old);
    stage.run(&format!(
        "0 order o1 => !UnknownOrder
           order {old} => ok
           buy ann std*1 => ordered o2 for 500 due @900
           order o2 => ok
           pay {old} r1 500 => ok"
    ));
    let event = bare(Fact::GenerationStarted { generation: 2 });
    assert!(stage.sale.apply(stage.sale.position() + 1, &event).is_err(), "it must grow");
}

/// Each change of a journal's event makes an error, not a panic, and leaves the state
/// as it was.
#[test]
fn a_journal_that_contradicts_itself_is_an_error() {
    let story = "0 define q=all:5 t=std:500:all t=gift:0:all limit=*:c5 => ok
           open => ok
           hold h1 ann std*2 gift*1 id=k1 => ok
         1 extend h1 => ok
           claim h1 ann => ok
           pay o1 r1 1000 => ok
           pay o1 r2 1000 => ok
           refund r2 => ok
           hold h2 ann std*1 => ok
           release h2 => ok
           hold h3 bob std*1 => ok
         301 tick => ok
           buy bob std*1 => ok
         1201 tick => ok
           pay o2 r3 500 => ok
           cancel! o2 => ok";
    let events = record(story);
    let mut sale = Sale::new();
    for (n, event) in events.iter().enumerate() {
        let position = n as u64 + 1;
        for other in &events {
            let mut other = other.clone();
            other.at = event.at;
            if other.fact == event.fact {
                continue;
            }
            let before = sale.hash();
            if sale.apply(position, &other).is_ok() {
                // It may happen to fit; then the state must still hold together.
                sale.check().unwrap();
                sale = replay(&events[..n]);
            }
            assert_eq!(sale.hash(), before, "{other:?} at {position}");
        }
        sale.apply(position, event).unwrap();
        sale.check().unwrap();
    }
}

fn replay(events: &[Event]) -> Sale {
    let mut sale = Sale::new();
    for (n, event) in events.iter().enumerate() {
        sale.apply(n as u64 + 1, event).unwrap();
    }
    sale
}

/// The events of a story, taken from the decisions on a stage.
fn record(story: &str) -> Vec<Event> {
    let mut stage = Stage { recorded: Some(vec![shard_started(3)]), ..Stage::default() };
    stage.run(story);
    stage.recorded.unwrap()
}

#[test]
fn single_fields_of_an_event_that_lie_are_found_out() {
    let events = record(
        "0 define => ok
           open => ok
           hold h1 ann std*2 => ok
           claim h1 ann => ok
           pay o1 r1 1000 => ok",
    );
    let mut sale = Sale::new();
    for (n, event) in events.iter().enumerate() {
        let position = n as u64 + 1;
        for lie in lies(event) {
            assert!(sale.apply(position, &lie).is_err(), "{lie:?}");
        }
        sale.apply(position, event).unwrap();
    }
}

fn lies(event: &Event) -> Vec<Event> {
    let mut lies = Vec::new();
    let mut lie = |change: &dyn Fn(&mut Fact)| {
        let mut event = event.clone();
        change(&mut event.fact);
        lies.push(event);
    };
    match &event.fact {
        Fact::EventDefined(_) => {
            fn of(fact: &mut Fact) -> &mut crate::event::EventDefined {
                let Fact::EventDefined(defined) = fact else { unreachable!() };
                defined
            }
            lie(&|fact| of(fact).version = 2);
            lie(&|fact| of(fact).stocks.clear());
            lie(&|fact| of(fact).stocks[0].allotment = Some(11));
            lie(&|fact| of(fact).definition.sale_group = id("other"));
            lie(&|fact| of(fact).definition.hold_seconds = 0);
        }
        Fact::StateSet { .. } => lie(&|fact| {
            let Fact::StateSet { version, .. } = fact else { unreachable!() };
            *version += 1;
        }),
        Fact::HoldPlaced(_) => {
            fn of(fact: &mut Fact) -> &mut crate::event::HoldPlaced {
                let Fact::HoldPlaced(placed) = fact else { unreachable!() };
                placed
            }
            lie(&|fact| of(fact).total += 1);
            lie(&|fact| of(fact).expires_at = Time(0));
            lie(&|fact| of(fact).currency = crate::catalogue::Currency::new("USD").unwrap());
            lie(&|fact| of(fact).lines[0].ticket_type = id("none"));
            lie(&|fact| of(fact).lines[0].version = 3);
            lie(&|fact| of(fact).lines[0].event = Some(Box::new(id("ev"))));
            lie(&|fact| of(fact).lines[0].stock = crate::event::Stock::Places(vec![id("a")]));
            lie(&|fact| of(fact).lines.clear());
            lie(&|fact| {
                of(fact).lines[0].stock = crate::event::Stock::Counted(11);
                of(fact).total = 5_500;
            });
        }
        Fact::OrderPlaced(_) => {
            fn of(fact: &mut Fact) -> &mut crate::event::OrderPlaced {
                let Fact::OrderPlaced(placed) = fact else { unreachable!() };
                placed
            }
            lie(&|fact| of(fact).sequence = 2);
            lie(&|fact| of(fact).order = KEY.order_code(3, 1, 2));
            lie(&|fact| of(fact).customer = crate::text::CustomerId::new("bob").unwrap());
            lie(&|fact| of(fact).payment_due = None);
            lie(&|fact| {
                of(fact).lines[0].stock = crate::event::Stock::Counted(4);
                of(fact).lines[0].unit_price = 250;
            });
            lie(&|fact| of(fact).lines[0].unit_price = 0);
            lie(&|fact| of(fact).hold = Some(crate::command::HoldId(2)));
        }
        Fact::PaymentRecorded(_) => {
            fn of(fact: &mut Fact) -> &mut crate::event::PaymentRecorded {
                let Fact::PaymentRecorded(recorded) = fact else { unreachable!() };
                recorded
            }
            lie(&|fact| of(fact).amount = 999);
            lie(&|fact| of(fact).order = KEY.order_code(3, 1, 2));
            lie(&|fact| of(fact).outcome = crate::event::PaymentOutcome::Reinstated);
        }
        _ => {}
    }
    lies
}
