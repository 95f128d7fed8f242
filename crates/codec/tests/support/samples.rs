//! One record of each fact, fixed for all time: the golden bytes are theirs.

use onsale_core::event::{
    CancelReason, Component, ComponentKind, EventDefined, HoldPlaced, Line, OrderPlaced,
    PaymentOutcome, PaymentRecorded, Provider, QuotaStock, RefundReason, ShardStarted, Stock,
    StockSource, Subject,
};
use onsale_core::{
    CodeKey, CommandStamp, Currency, CustomerId, Event, EventDefinition, EventState, Fact, HoldId,
    Id, Limit, OrderCode, QuotaDefinition, Reference, TicketTypeDefinition, Time, Window,
};

const AT: Time = Time(1_800_000_000_000_000);
const HOLD: HoldId = HoldId(0x0192_7c5e_8a00_7abc_8def_0123_4567_89ab);

fn id(text: &str) -> Id {
    Id::new(text).expect("well-formed")
}

fn order() -> OrderCode {
    OrderCode::parse("E7QXK2M9PA").expect("well-formed")
}

fn eur() -> Currency {
    Currency::new("EUR").expect("well-formed")
}

fn customer() -> CustomerId {
    CustomerId::new("c-4711").expect("well-formed")
}

fn reference() -> Reference {
    Reference::new("pay/2027-01-15/1").expect("well-formed")
}

/// The samples, by name, in the order of the facts' numbers.
pub fn samples() -> Vec<(&'static str, Event)> {
    let subject = Subject { organizer: id("river"), event: id("14-3") };
    let stamp = CommandStamp {
        id: 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff,
        body: 0xffee_ddcc_bbaa_9988_7766_5544_3322_1100,
        chosen: true,
        made_at: None,
    };
    let shard = |fact| Event { at: AT, stamp: None, subject: None, fact };
    let timer = |fact| Event { at: AT, stamp: None, subject: Some(subject), fact };
    let asked = |fact| Event { at: AT, stamp: Some(stamp), subject: Some(subject), fact };
    vec![
        ("shard_started", shard(Fact::ShardStarted(shard_started()))),
        ("generation_started", shard(Fact::GenerationStarted { generation: 2 })),
        ("group_placed", asked(Fact::GroupPlaced { sale_group: id("festival") })),
        ("event_defined", asked(Fact::EventDefined(Box::new(event_defined())))),
        ("state_set", asked(Fact::StateSet { version: 2, state: EventState::Open })),
        ("hold_placed", asked(Fact::HoldPlaced(hold_placed()))),
        ("hold_extended", asked(Fact::HoldExtended { hold: HOLD, expires_at: AT.plus_seconds(9) })),
        ("hold_released", asked(Fact::HoldReleased { hold: HOLD })),
        ("hold_expired", timer(Fact::HoldExpired { hold: HOLD })),
        ("order_placed", asked(Fact::OrderPlaced(order_placed()))),
        (
            "order_cancelled",
            timer(Fact::OrderCancelled { order: order(), reason: CancelReason::Unpaid }),
        ),
        ("payment_recorded", asked(Fact::PaymentRecorded(payment()))),
        (
            "payment_refunded",
            asked(Fact::PaymentRefunded { order: order(), reference: reference() }),
        ),
    ]
}

fn shard_started() -> ShardStarted {
    ShardStarted {
        log: 0x0192_7c5e_0000_7000_8000_0000_0000_0001,
        shard: 3,
        shards: 4,
        key: CodeKey(*b"0123456789abcdef"),
        generation: 1,
    }
}

fn event_defined() -> EventDefined {
    let own = |allotment| QuotaStock { allotment, epoch: 1, source: StockSource::Own };
    EventDefined {
        version: 1,
        definition: EventDefinition {
            name: "River Festival – Saturday".into(),
            currency: eur(),
            starts_at: Some(AT.plus_seconds(86_400)),
            sale: Window { opens_at: Some(AT), closes_at: None },
            limits: vec![
                Limit { ticket_types: vec![], per_order: Some(10), per_customer: None },
                Limit { ticket_types: vec![id("vip")], per_order: None, per_customer: Some(2) },
            ],
            hold_seconds: 600,
            payment_seconds: 3_600,
            sale_group: id("festival"),
            quotas: vec![
                QuotaDefinition { id: id("site"), capacity: Some(20_000) },
                QuotaDefinition { id: id("stream"), capacity: None },
            ],
            ticket_types: vec![
                TicketTypeDefinition {
                    id: id("vip"),
                    name: "VIP".into(),
                    price: 12_900,
                    free_price: false,
                    quotas: vec![id("site")],
                    sale: Window::default(),
                },
                TicketTypeDefinition {
                    id: id("online"),
                    name: "Online".into(),
                    price: 0,
                    free_price: true,
                    quotas: vec![id("site"), id("stream")],
                    sale: Window { opens_at: None, closes_at: Some(AT.plus_seconds(60)) },
                },
            ],
        },
        stocks: vec![
            own(Some(20_000)),
            QuotaStock { source: StockSource::Transferred, ..own(None) },
        ],
    }
}

fn plain_line() -> Line {
    Line {
        event: None,
        ticket_type: id("vip"),
        stock: Stock::Counted(2),
        unit_price: 12_900,
        version: 1,
        channel: None,
        components: vec![],
    }
}

fn hold_placed() -> HoldPlaced {
    HoldPlaced {
        hold: HOLD,
        customer: customer(),
        expires_at: AT.plus_seconds(600),
        lines: vec![plain_line()].into(),
        total: 25_800,
        currency: eur(),
    }
}

/// Also what nothing makes yet: another event's line, places, a channel, components.
fn order_placed() -> OrderPlaced {
    let full_line = Line {
        event: Some(Box::new(id("14-4"))),
        stock: Stock::Places(vec![id("A-1"), id("A-2")]),
        channel: Some(Box::new(id("till"))),
        components: vec![
            Component { kind: ComponentKind::Fee, id: id("booking"), amount: 300 },
            Component { kind: ComponentKind::Discount, id: id("early"), amount: -1_000 },
        ],
        ..plain_line()
    };
    OrderPlaced {
        order: order(),
        sequence: 1,
        hold: Some(HOLD),
        customer: customer(),
        lines: vec![plain_line(), full_line].into(),
        total: 50_900,
        currency: eur(),
        payment_due: Some(AT.plus_seconds(3_600)),
    }
}

fn payment() -> PaymentRecorded {
    PaymentRecorded {
        order: order(),
        provider: Provider::External,
        reference: reference(),
        amount: 50_900,
        currency: eur(),
        paid_at: Time(AT.0 - 1),
        outcome: PaymentOutcome::RefundDue(RefundReason::StockGone),
    }
}
