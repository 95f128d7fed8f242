//! What can be seen.

use super::stage::{KEY, check_open, id};
use crate::time::Time;

#[test]
fn tickets_follow_from_the_record_alone_and_exist_once_confirmed() {
    let mut stage = check_open("0 buy ann std*2 gift*1 => ok");
    let code = stage.code("o1");
    let view = |stage: &super::stage::Stage| stage.sale.order(&id("org"), &id("ev"), code).unwrap();
    assert!(view(&stage).tickets.is_empty());
    stage.run("0 pay o1 r 1000 => ok");
    let tickets = view(&stage).tickets;
    let types: Vec<String> = tickets.iter().map(|t| t.ticket_type.to_string()).collect();
    assert_eq!(types, ["std", "std", "gift"]);
    for (ordinal, ticket) in tickets.iter().enumerate() {
        let parts = KEY.open_ticket(ticket.code).unwrap();
        assert_eq!((parts.shard, parts.generation, parts.sequence), (3, 1, 1));
        assert_eq!((parts.ordinal as usize, parts.issue), (ordinal, 0));
    }
    stage.recorded = Some(Vec::new());
    stage.run("0 buy ann gift*3 => ok");
    let recorded = stage.recorded.take().unwrap();
    let crate::event::Fact::OrderPlaced(placed) = &recorded[0].fact else { panic!() };
    let tickets = stage.sale.order(&id("org"), &id("ev"), placed.order).unwrap().tickets;
    assert_eq!(KEY.tickets(placed), tickets);
}

#[test]
fn views_say_where_the_record_is() {
    let stage = check_open("0 hold h1 ann std*2 => ok\n buy ann std*1 => ok");
    let (organizer, event) = (id("org"), id("ev"));
    let hold = stage.sale.hold(&organizer, &event, crate::command::HoldId(1), Time(0)).unwrap();
    assert_eq!((hold.position, hold.lines[0].version), (5, 2));
    let order = stage.sale.order(&organizer, &event, stage.code("o1")).unwrap();
    assert_eq!((order.position, order.payment_due), (6, Some(Time(900_000_000))));
    let view = stage.sale.event(&organizer, &event).unwrap();
    assert_eq!((view.version, view.definition.ticket_types.len()), (2, 2));
    assert!(stage.sale.event(&event, &organizer).is_none());
    assert!(stage.sale.availability(&event, &organizer).is_none());
    let counts = stage.sale.counts();
    assert_eq!((counts.events, counts.holds, counts.orders, counts.customers), (1, 1, 1, 1));
}
