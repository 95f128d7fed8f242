//! The types of records of the stream `sales`: one row for each, with an example that is
//! shown by the same code as any record. The description ([`super::asyncapi`]) and the manual are made from it.

use onsale_core::catalogue::{
    EventDefinition, EventState, Limit, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::event::{
    CancelReason, EventDefined, HoldPlaced, Line, OrderPlaced, PaymentOutcome, PaymentRecorded,
    Provider, QuotaStock, Stock, StockSource, Subject,
};
use onsale_core::{
    CodeKey, Currency, CustomerId, Event, Fact, HoldId, Id, OrderCode, Reference, Time,
};

use super::{CloudEvent, confirms, show};
use crate::api::shapes::Receipt;

/// A type of records.
#[derive(Clone, Copy, Debug)]
pub struct Type {
    /// As in `type`.
    pub name: &'static str,
    /// The schema of its `data`.
    pub data: &'static str,
    /// When such a record comes.
    pub about: &'static str,
    /// What happens in the example.
    example: fn() -> Fact,
}

/// All types, in the order of a sale.
#[rustfmt::skip]
pub const TYPES: &[Type] = &[
    Type { name: "onsale.sale-group.placed.v1", data: "GroupPlacedData", example: group_placed,
        about: "A sale group got its shard, for good: all records of its events are in that one. It comes before the first definition of the group's first event." },
    Type { name: "onsale.event.defined.v1", data: "EventDefinedData", example: event_defined,
        about: "An event was made (version 1) or got another definition. The definition is whole." },
    Type { name: "onsale.event.state-set.v1", data: "StateSetData", example: state_set,
        about: "An event was opened, paused or closed." },
    Type { name: "onsale.hold.placed.v1", data: "HoldPlacedData", example: hold_placed,
        about: "Tickets were set aside for a customer." },
    Type { name: "onsale.hold.extended.v1", data: "HoldExtendedData", example: hold_extended,
        about: "A hold got more time." },
    Type { name: "onsale.hold.released.v1", data: "HoldEndedData", example: hold_released,
        about: "A hold was given back: its tickets are free again." },
    Type { name: "onsale.hold.expired.v1", data: "HoldEndedData", example: hold_expired,
        about: "A hold ran out: its tickets are free again." },
    Type { name: "onsale.order.placed.v1", data: "OrderPlacedData", example: order_placed,
        about: "A hold was claimed (`hold` says which; it has ended by this), or a cart bought in one step. An order without anything to pay is confirmed by it and has its tickets in it; any other awaits its payment." },
    Type { name: "onsale.payment.recorded.v1", data: "PaymentRecordedData", example: payment_recorded,
        about: "Money came in for an order. `applied`: the order is confirmed by it, and its tickets are in it (`reinstated`: it came too late, and the same stock was taken again). `refund_due`: the money must go back, and `refund_reason` says why." },
    Type { name: "onsale.payment.refunded.v1", data: "PaymentRefundedData", example: payment_refunded,
        about: "Money that was due back went back." },
    Type { name: "onsale.order.cancelled.v1", data: "OrderCancelledData", example: order_cancelled,
        about: "An order was cancelled, and its tickets are void: their stock is free again. A payment that confirmed it is due back from here on." },
];

impl Type {
    /// A record of this type.
    ///
    /// # Panics
    /// Never: examples are about an event.
    #[must_use]
    pub fn example(&self) -> CloudEvent {
        let subject = Subject { organizer: id("river"), event: id("concert") };
        let at = Time(1_803_373_200_000_000);
        let event = Event { at, stamp: None, subject: Some(subject), fact: (self.example)() };
        let tickets = match confirms(&event.fact) {
            true => KEY.tickets(&paid_order()),
            false => Vec::new(),
        };
        let at = Receipt { shard: 2, position: 4_711, durability: "synced" };
        show(LOG, at, &event, &tickets, false).expect("it is about an event")
    }

    /// The name of its message in the description: `HoldPlaced`.
    #[must_use]
    pub fn message(&self) -> String {
        let words = self.name.split('.').filter(|word| !["onsale", "v1"].contains(word));
        words.flat_map(|word| word.split('-')).map(capital).collect()
    }
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

const LOG: u128 = 0x8c0f_6b0e_6f4c_4a51_9d53_0f8d_1c5d_0b7e;
const KEY: CodeKey = CodeKey([7; 16]);
const HOLD: HoldId = HoldId(0x0195_b2c9_5d80_7cc1_8f5e_3a9d_2b60_4711);
const MINUTES_US: i64 = 60_000_000;
const NOW: i64 = 1_803_373_200_000_000;

fn id(text: &str) -> Id {
    Id::new(text).expect("it is an id")
}

fn customer() -> CustomerId {
    CustomerId::new("c-4711").expect("it is an id")
}

fn reference() -> Reference {
    Reference::new("till-7-0001").expect("it is a reference")
}

fn euro() -> Currency {
    Currency::new("EUR").expect("it is a currency")
}

fn order() -> OrderCode {
    KEY.order_code(2, 1, 1_000)
}

fn lines() -> onsale_core::event::Lines {
    let line = Line {
        event: None,
        ticket_type: id("seat"),
        stock: Stock::Counted(2),
        unit_price: 2_500,
        version: 3,
        channel: None,
        components: Vec::new(),
    };
    [line].into_iter().collect()
}

fn group_placed() -> Fact {
    Fact::GroupPlaced { sale_group: id("concert") }
}

fn event_defined() -> Fact {
    let definition = EventDefinition {
        name: "Spring concert".to_owned(),
        currency: euro(),
        starts_at: Some(Time(NOW + 90 * 24 * 60 * MINUTES_US)),
        sale: Window { opens_at: Some(Time(NOW)), closes_at: None },
        limits: vec![Limit { ticket_types: Vec::new(), per_order: None, per_customer: Some(4) }],
        hold_seconds: 600,
        payment_seconds: 1_800,
        sale_group: id("concert"),
        quotas: vec![QuotaDefinition { id: id("hall"), capacity: Some(400) }],
        ticket_types: vec![TicketTypeDefinition {
            id: id("seat"),
            name: "Seat".to_owned(),
            price: 2_500,
            free_price: false,
            quotas: vec![id("hall")],
            sale: Window::default(),
        }],
    };
    let stock = QuotaStock { allotment: Some(400), epoch: 1, source: StockSource::Own };
    Fact::EventDefined(Box::new(EventDefined { version: 1, definition, stocks: vec![stock] }))
}

fn state_set() -> Fact {
    Fact::StateSet { version: 2, state: EventState::Open }
}

fn hold_placed() -> Fact {
    Fact::HoldPlaced(HoldPlaced {
        hold: HOLD,
        customer: customer(),
        expires_at: Time(NOW + 10 * MINUTES_US),
        lines: lines(),
        total: 5_000,
        currency: euro(),
    })
}

fn hold_extended() -> Fact {
    Fact::HoldExtended { hold: HOLD, expires_at: Time(NOW + 15 * MINUTES_US) }
}

fn hold_released() -> Fact {
    Fact::HoldReleased { hold: HOLD }
}

fn hold_expired() -> Fact {
    Fact::HoldExpired { hold: HOLD }
}

fn paid_order() -> OrderPlaced {
    OrderPlaced {
        order: order(),
        sequence: 1_000,
        hold: Some(HOLD),
        customer: customer(),
        lines: lines(),
        total: 5_000,
        currency: euro(),
        payment_due: Some(Time(NOW + 30 * MINUTES_US)),
    }
}

fn order_placed() -> Fact {
    Fact::OrderPlaced(paid_order())
}

fn payment_recorded() -> Fact {
    Fact::PaymentRecorded(PaymentRecorded {
        order: order(),
        provider: Provider::External,
        reference: reference(),
        amount: 5_000,
        currency: euro(),
        paid_at: Time(NOW - MINUTES_US),
        outcome: PaymentOutcome::Applied,
    })
}

fn payment_refunded() -> Fact {
    Fact::PaymentRefunded { order: order(), reference: reference() }
}

fn order_cancelled() -> Fact {
    Fact::OrderCancelled { order: order(), reason: CancelReason::Organizer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_of_their_types() {
        let mut names: Vec<&str> = TYPES.iter().map(|of| of.name).collect();
        for of in TYPES {
            assert_eq!(of.example().kind, of.name);
        }
        assert_eq!(TYPES[4].message(), "HoldExtended");
        assert_eq!(TYPES[0].message(), "SaleGroupPlaced");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TYPES.len());
    }
}
