//! What all rows sell: events of one ticket type, and holds of one ticket by customers with ids of
//! 36 bytes, as many as are asked for and always the same.

use onsale_core::command::{Expects, Item};
use onsale_core::{
    Action, Command, CommandStamp, Currency, CustomerId, EventDefinition, EventState, HoldId, Id,
    QuotaDefinition, TicketTypeDefinition, Window, limits,
};

/// The one that sells.
pub const ORGANIZER: &str = "river";
/// The ticket type that every event has.
pub const TICKET_TYPE: &str = "standard";

/// What there is to sell, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Events, taken in turn.
    pub events: u64,
    /// Customers, in an order without a pattern.
    pub customers: u64,
    /// Whether commands have ids that the caller chose, which are remembered.
    pub chosen: bool,
    /// How long a hold lives.
    pub hold_seconds: u32,
    /// Price of a ticket in minor units.
    pub price: i64,
}

impl Workload {
    /// One hot event, a customer per command.
    #[must_use]
    pub fn hot(customers: u64) -> Workload {
        Workload { events: 1, customers, chosen: true, hold_seconds: 86_400, price: 2_500 }
    }

    /// A hundred events.
    #[must_use]
    pub fn wide(customers: u64) -> Workload {
        Workload { events: 100, ..Workload::hot(customers) }
    }

    /// The commands that put all its events on sale: two for each.
    pub fn openings(self) -> impl Iterator<Item = Command> {
        (0..self.events).flat_map(move |event| {
            let definition = Box::new(self.definition(event));
            let define = Action::DefineEvent { definition, expects: Expects::Absent };
            let open = Action::SetState { state: EventState::Open, expects: Expects::Any };
            let number = u64::MAX - 2 * event;
            [define, open].into_iter().zip([number, number - 1]).map(move |(action, number)| {
                let stamp = CommandStamp { chosen: false, ..self.stamp(number) };
                Command { stamp, organizer: id(ORGANIZER), event: event_id(event), action }
            })
        })
    }

    /// The hold with this number.
    #[must_use]
    pub fn hold(self, number: u64) -> Command {
        let (customer, items) = (self.customer(number), one_ticket());
        let hold = HoldId(u128::from(number) << 64 | u128::from(spread(number)));
        self.command(number, Action::PlaceHold { hold, customer, items })
    }

    /// The claim of the hold with this number.
    #[must_use]
    pub fn claim(self, number: u64) -> Command {
        let hold = HoldId(u128::from(number) << 64 | u128::from(spread(number)));
        let customer = self.customer(number);
        let command = self.command(number, Action::ClaimHold { hold, customer });
        Command { stamp: self.stamp(number | 1 << 62), ..command }
    }

    /// The purchase in one step with this number, of so many tickets.
    #[must_use]
    pub fn buy(self, number: u64, quantity: u32) -> Command {
        let mut items = one_ticket();
        items[0].quantity = quantity;
        self.command(number, Action::Buy { customer: self.customer(number), items })
    }

    fn command(self, number: u64, action: Action) -> Command {
        let (stamp, event) = (self.stamp(number), event_id(number % self.events));
        Command { stamp, organizer: id(ORGANIZER), event, action }
    }

    fn stamp(self, number: u64) -> CommandStamp {
        let wide = |number: u64| u128::from(spread(number)) << 64 | u128::from(spread(!number));
        let (id, body) = (wide(number), wide(number ^ 1 << 63));
        CommandStamp { id, body, chosen: self.chosen, made_at: None }
    }

    fn customer(self, number: u64) -> CustomerId {
        let text = format!("customer-{:027}", shuffle(number, self.customers));
        CustomerId::new(&text).expect("36 digits and letters")
    }

    fn definition(self, event: u64) -> EventDefinition {
        let standard = TicketTypeDefinition {
            id: id(TICKET_TYPE),
            name: "Standard".to_owned(),
            price: self.price,
            free_price: false,
            quotas: vec![id("all")],
            sale: Window::default(),
        };
        EventDefinition {
            name: "Event".to_owned(),
            currency: Currency::new("EUR").expect("it is one"),
            starts_at: None,
            sale: Window::default(),
            limits: Vec::new(),
            hold_seconds: self.hold_seconds,
            payment_seconds: 1_800,
            sale_group: event_id(event),
            quotas: vec![QuotaDefinition { id: id("all"), capacity: Some(limits::CAPACITY_MAX) }],
            ticket_types: vec![standard],
        }
    }
}

/// An event as the API takes it, for the rows that go over HTTP.
#[must_use]
pub fn event_json(hold_seconds: u32) -> serde_json::Value {
    serde_json::json!({
        "name": "Event", "currency": "EUR", "hold_seconds": hold_seconds,
        "quotas": [{"id": "all", "capacity": limits::CAPACITY_MAX}],
        "ticket_types":
            [{"id": TICKET_TYPE, "name": "Standard", "price": 2_500, "quotas": ["all"]}],
    })
}

/// The id of the event with this number.
#[must_use]
pub fn event_id(event: u64) -> Id {
    id(&format!("event-{event:05}"))
}

/// An id from a text that is one.
#[must_use]
pub fn id(text: &str) -> Id {
    Id::new(text).expect("letters, digits and hyphens")
}

fn one_ticket() -> onsale_core::command::Items {
    std::iter::once(Item { ticket_type: id(TICKET_TYPE), quantity: 1, price: None }).collect()
}

/// A number below `n`, each once as `number` goes from 0 to `n`: a step that shares no factor
/// with `n` and is no small part of it.
fn shuffle(number: u64, n: u64) -> u64 {
    const STEP: u128 = 0x9e37_79b9_7f4a_7c15;
    let step = (0..).map(|more| STEP + 2 * more).find(|step| gcd(*step, u128::from(n)) == 1);
    let step = step.expect("a prime number comes sooner or later");
    (u128::from(number) * step % u128::from(n)) as u64
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Another number for each number.
fn spread(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_customer_comes_once() {
        for customers in [1, 10, 997, 1_000] {
            let workload = Workload::wide(customers);
            let all: BTreeSet<_> = (0..customers).map(|n| workload.customer(n)).collect();
            assert_eq!(all.len() as u64, customers);
            assert!(all.iter().all(|customer| customer.as_bytes().len() == 36));
        }
    }

    #[test]
    fn no_two_commands_have_the_same_id() {
        let workload = Workload::wide(50);
        let sales = (0..500).flat_map(|n| [workload.hold(n), workload.claim(n)]);
        let ids: BTreeSet<_> = sales.chain(workload.openings()).map(|c| c.stamp.id).collect();
        assert_eq!(ids.len(), 1_200);
    }
}
