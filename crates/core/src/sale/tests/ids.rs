//! Commands that come again.

use super::stage::{Stage, check_open, id};
use crate::catalogue::EventState;
use crate::command::{Action, Command, CommandStamp, Expects};
use crate::limits::COMMANDS_REMEMBERED_MAX;
use crate::refusal::Refusal;
use crate::sale::{Decision, Known};
use crate::time::Time;

#[test]
fn an_id_that_changed_something_gives_its_record_again() {
    check_open(
        "0 hold h1 ann std*1 id=k1 => held h1 for 500 until @300
           hold h2 ann std*9 id=k1 => repeated 5     # whatever it says now
           buy ann std*1 => ok                       # an id that nobody chose
           buy ann std*1 => ok
           release h1 id=k2 => ok
           release h1 id=k2 => repeated 8
           hold h2 ann ev=other std*1 id=k1 => !UnknownEvent
           define ev=other => ok
           open ev=other => ok
           hold h2 ann ev=other std*1 id=k1 => ok    # an id is of one event
           hold h3 ann std*1 id=k1 => repeated 5",
    );
}

#[test]
fn a_refusal_is_decided_again() {
    check_open(
        "0 hold h1 ann std*11 id=k1 => !SoldOut { quota: \"all\", asked: 11, free: 10 }
           define q=all:11 t=std:500:all if=any => ok
           hold h1 ann std*11 id=k1 => ok
           hold h1 ann std*11 id=k1 => repeated 6",
    );
}

#[test]
fn the_record_of_a_command_is_its_own_fact_not_what_expired_for_it() {
    check_open(
        "0 hold h1 ann std*10 => ok
         300 hold h2 ann std*5 id=k1 => expired h1, held h2 for 2500 until @600
           hold h2 ann std*5 id=k1 => repeated 7
           define ev=b group=g id=k2 => group g, defined v1
           define ev=b group=g id=k2 => repeated 9",
    );
}

#[test]
fn ids_are_remembered_for_a_day() {
    check_open(
        "0 define hold=1 if=any => ok
         100 hold h1 ann std*1 id=k1 => ok
         86500 hold h2 ann std*1 id=k1 => repeated 6
         86501 hold h2 ann std*1 id=k1 => ok
           hold h3 ann std*1 id=k1 => repeated 7",
    );
}

#[test]
fn an_id_that_is_older_than_what_is_remembered_is_refused() {
    check_open(
        "90000 hold h1 ann std*1 id=k1 made=3599 => !IdTooOld { since: @3600 }
           hold h1 ann std*1 made=3599 => ok         # not chosen by the caller
           hold h2 ann std*1 id=k1 made=3600 => ok
           hold h2 ann std*1 id=k1 made=3599 => repeated 6",
    );
}

#[test]
fn room_for_ids_is_bounded_and_the_window_says_so() {
    let mut stage = Stage::default();
    stage.run("0 define q=all:- t=std:0:all => ok\n open => ok");
    stage.thorough = false;
    stage.run("10 hold h1 ann std*1 id=first => ok");
    for n in 0..COMMANDS_REMEMBERED_MAX - 1 {
        let state = if n % 2 == 0 { "pause" } else { "open" };
        let action = crate::command::Action::SetState {
            state: match state {
                "open" => crate::catalogue::EventState::Open,
                _ => crate::catalogue::EventState::Paused,
            },
            expects: crate::command::Expects::Any,
        };
        let stamp =
            crate::command::CommandStamp { id: n as u128, body: 0, chosen: true, made_at: None };
        let (organizer, event) = (super::stage::id("org"), super::stage::id("ev"));
        stage.now = crate::time::Time(20_000_000);
        stage.carry_out(&crate::command::Command { stamp, organizer, event, action });
    }
    assert_eq!(stage.sale.counts().remembered, COMMANDS_REMEMBERED_MAX);
    stage.run(
        "20 release h1 id=first => repeated 5
            open => ok
            hold h2 ann std*1 id=k1 made=10 => ok
            hold h3 ann std*1 id=first made=10 => !IdTooOld { since: @11 }
            hold h3 ann std*1 id=first made=11 => ok",
    );
    assert_eq!(stage.sale.counts().remembered, COMMANDS_REMEMBERED_MAX);
    assert_eq!(stage.sale.hash(), stage.shadow.hash());
}

/// What an index outside knows counts as if it were remembered here.
#[test]
fn an_id_that_is_known_outside_is_repeated_and_widens_the_window() {
    let mut stage = check_open("0 hold h1 ann std*1 => ok");
    stage.now = Time(200_000_000_000);
    let stamp = CommandStamp { id: 9, body: 0, chosen: true, made_at: Some(Time(150_000_000_000)) };
    let action = Action::SetState { state: EventState::Paused, expects: Expects::Any };
    let command = Command { stamp, organizer: id("org"), event: id("ev"), action };
    // As if room for ids had run out a moment ago.
    stage.sale.memory.keep_since(190_000);
    let decide = |since, repeated| {
        let known = Known { repeated, since };
        stage.sale.decide_knowing(&command, stage.now, &known)
    };
    let too_old = |second: i64| Err(Refusal::IdTooOld { since: Time(second * 1_000_000) });
    assert_eq!(decide(None, None), too_old(190_000));
    assert_eq!(decide(Some(Time(160_000_000_000)), None), too_old(160_000));
    assert!(matches!(decide(Some(Time(140_000_000_000)), None), Ok(Decision::Change(_))));
    // A claim to know more than a day does not make the window longer than that.
    let older =
        Command { stamp: CommandStamp { made_at: Some(Time(0)), ..stamp }, ..command.clone() };
    let known = Known { repeated: None, since: Some(Time(0)) };
    assert_eq!(stage.sale.decide_knowing(&older, stage.now, &known), too_old(200_000 - 86_400));
    assert_eq!(decide(None, Some(4)), Ok(Decision::Repeated { position: 4 }));
}

#[test]
fn a_command_and_the_record_of_its_fact_have_the_same_key() {
    let mut stage = check_open("0 define ev=b group=g => ok");
    stage.recorded = Some(Vec::new());
    stage.run("0 open ev=b id=k1 => ok\n pause ev=b => ok");
    let recorded = stage.recorded.take().unwrap();
    let stamp = recorded[0].stamp.unwrap();
    let action = Action::SetState { state: EventState::Open, expects: Expects::Any };
    let command = Command { stamp, organizer: id("org"), event: id("b"), action };
    let key = stage.sale.command_key(&command);
    assert!(key.is_some());
    assert_eq!(stage.sale.event_command_key(&recorded[0]), key);
    assert_eq!(stage.sale.event_command_key(&recorded[1]), None, "an id that nobody chose");
    let of_another = Command { event: id("ev"), ..command };
    assert_ne!(stage.sale.command_key(&of_another), key, "an id is of one event");
}
