//! Arbitrary events over every fact, every optional field both ways, numbers
//! from the edges of their types.

use onsale_core::event::{
    CancelReason, Component, ComponentKind, EventDefined, HoldPlaced, Line, OrderPlaced,
    PaymentOutcome, PaymentRecorded, Provider, QuotaStock, RefundReason, ShardStarted, Stock,
    StockSource, Subject,
};
use onsale_core::{
    CodeKey, CommandStamp, Currency, CustomerId, Event, EventDefinition, EventState, Fact, HoldId,
    Id, Limit, OrderCode, QuotaDefinition, Reference, TicketTypeDefinition, Time, Window,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub fn event() -> impl Strategy<Value = Event> {
    (time(), option::of(stamp()), option::of(subject()), fact())
        .prop_map(|(at, stamp, subject, fact)| Event { at, stamp, subject, fact })
}

fn stamp() -> impl Strategy<Value = CommandStamp> {
    (any::<u128>(), any::<u128>(), any::<bool>()).prop_map(|(id, body, chosen)| CommandStamp {
        id,
        body,
        chosen,
        made_at: None,
    })
}

fn subject() -> impl Strategy<Value = Subject> {
    (id(), id()).prop_map(|(organizer, event)| Subject { organizer, event })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        shard_started().prop_map(Fact::ShardStarted),
        any::<u32>().prop_map(|generation| Fact::GenerationStarted { generation }),
        id().prop_map(|sale_group| Fact::GroupPlaced { sale_group }),
        event_defined().prop_map(|defined| Fact::EventDefined(Box::new(defined))),
        (any::<u32>(), state()).prop_map(|(version, state)| Fact::StateSet { version, state }),
        hold_placed().prop_map(Fact::HoldPlaced),
        (hold(), time()).prop_map(|(hold, expires_at)| Fact::HoldExtended { hold, expires_at }),
        hold().prop_map(|hold| Fact::HoldReleased { hold }),
        hold().prop_map(|hold| Fact::HoldExpired { hold }),
        order_placed().prop_map(Fact::OrderPlaced),
        payment().prop_map(Fact::PaymentRecorded),
        (order(), reference())
            .prop_map(|(order, reference)| Fact::PaymentRefunded { order, reference }),
        (order(), cancel_reason())
            .prop_map(|(order, reason)| Fact::OrderCancelled { order, reason }),
    ]
}

fn shard_started() -> impl Strategy<Value = ShardStarted> {
    (any::<u128>(), any::<u16>(), any::<u16>(), any::<[u8; 16]>(), any::<u32>()).prop_map(
        |(log, shard, shards, key, generation)| {
            let key = CodeKey(key);
            ShardStarted { log, shard, shards, key, generation }
        },
    )
}

fn event_defined() -> impl Strategy<Value = EventDefined> {
    (any::<u32>(), definition(), vec(quota_stock(), 0..4))
        .prop_map(|(version, definition, stocks)| EventDefined { version, definition, stocks })
}

fn quota_stock() -> impl Strategy<Value = QuotaStock> {
    let source = select(vec![StockSource::Own, StockSource::Transferred]);
    (option::of(small()), small(), source).prop_map(|(allotment, epoch, source)| QuotaStock {
        allotment,
        epoch,
        source,
    })
}

fn definition() -> impl Strategy<Value = EventDefinition> {
    let head = ("\\PC{0,40}", currency(), option::of(time()), window(), small(), small(), id());
    let lists = (vec(limit(), 0..3), vec(quota(), 0..3), vec(ticket_type(), 0..3));
    (head, lists).prop_map(|(head, (limits, quotas, ticket_types))| {
        let (name, currency, starts_at, sale, hold_seconds, payment_seconds, sale_group) = head;
        EventDefinition {
            name,
            currency,
            starts_at,
            sale,
            limits,
            hold_seconds,
            payment_seconds,
            sale_group,
            quotas,
            ticket_types,
        }
    })
}

fn limit() -> impl Strategy<Value = Limit> {
    (vec(id(), 0..3), option::of(small()), option::of(small())).prop_map(
        |(ticket_types, per_order, per_customer)| Limit { ticket_types, per_order, per_customer },
    )
}

fn quota() -> impl Strategy<Value = QuotaDefinition> {
    (id(), option::of(small())).prop_map(|(id, capacity)| QuotaDefinition { id, capacity })
}

fn ticket_type() -> impl Strategy<Value = TicketTypeDefinition> {
    (id(), "\\PC{0,20}", money(), any::<bool>(), vec(id(), 0..3), window()).prop_map(
        |(id, name, price, free_price, quotas, sale)| TicketTypeDefinition {
            id,
            name,
            price,
            free_price,
            quotas,
            sale,
        },
    )
}

fn window() -> impl Strategy<Value = Window> {
    (option::of(time()), option::of(time()))
        .prop_map(|(opens_at, closes_at)| Window { opens_at, closes_at })
}

fn hold_placed() -> impl Strategy<Value = HoldPlaced> {
    (hold(), customer(), time(), vec(line(), 0..4), money(), currency()).prop_map(
        |(hold, customer, expires_at, lines, total, currency)| HoldPlaced {
            hold,
            customer,
            expires_at,
            lines: lines.into(),
            total,
            currency,
        },
    )
}

fn order_placed() -> impl Strategy<Value = OrderPlaced> {
    let head = (order(), any::<u64>(), option::of(hold()), customer());
    let tail = (vec(line(), 0..4), money(), currency(), option::of(time()));
    (head, tail).prop_map(
        |((order, sequence, hold, customer), (lines, total, currency, payment_due))| OrderPlaced {
            order,
            sequence,
            hold,
            customer,
            lines: lines.into(),
            total,
            currency,
            payment_due,
        },
    )
}

fn line() -> impl Strategy<Value = Line> {
    let stock =
        prop_oneof![small().prop_map(Stock::Counted), vec(id(), 0..4).prop_map(Stock::Places),];
    let optional = (option::of(id()), option::of(id()), vec(component(), 0..3));
    (id(), stock, money(), small(), optional).prop_map(
        |(ticket_type, stock, unit_price, version, (event, channel, components))| Line {
            event: event.map(Box::new),
            ticket_type,
            stock,
            unit_price,
            version,
            channel: channel.map(Box::new),
            components,
        },
    )
}

fn component() -> impl Strategy<Value = Component> {
    let kind = select(vec![ComponentKind::Fee, ComponentKind::Tax, ComponentKind::Discount]);
    (kind, id(), money()).prop_map(|(kind, id, amount)| Component { kind, id, amount })
}

fn payment() -> impl Strategy<Value = PaymentRecorded> {
    (order(), reference(), money(), currency(), time(), outcome()).prop_map(
        |(order, reference, amount, currency, paid_at, outcome)| PaymentRecorded {
            order,
            provider: Provider::External,
            reference,
            amount,
            currency,
            paid_at,
            outcome,
        },
    )
}

fn outcome() -> impl Strategy<Value = PaymentOutcome> {
    let due = |reason| PaymentOutcome::RefundDue(reason);
    select(vec![
        PaymentOutcome::Applied,
        PaymentOutcome::Reinstated,
        due(RefundReason::AlreadyPaid),
        due(RefundReason::StockGone),
        due(RefundReason::LimitReached),
        due(RefundReason::Cancelled),
    ])
}

fn cancel_reason() -> impl Strategy<Value = CancelReason> {
    select(vec![CancelReason::Unpaid, CancelReason::Customer, CancelReason::Organizer])
}

fn state() -> impl Strategy<Value = EventState> {
    select(vec![EventState::Open, EventState::Paused, EventState::Closed])
}

fn id() -> impl Strategy<Value = Id> {
    "[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}".prop_map(|text| Id::new(&text).expect("made to its form"))
}

fn customer() -> impl Strategy<Value = CustomerId> {
    "[!-?A-~]{1,64}".prop_map(|text| CustomerId::new(&text).expect("made to its form"))
}

fn reference() -> impl Strategy<Value = Reference> {
    "[!-?A-~]{1,128}".prop_map(|text| Reference::new(&text).expect("made to its form"))
}

fn order() -> impl Strategy<Value = OrderCode> {
    "E[A-HJ-NP-Z2-9]{9}".prop_map(|text| OrderCode::parse(&text).expect("made to its form"))
}

fn currency() -> impl Strategy<Value = Currency> {
    "[A-Z]{3}".prop_map(|text| Currency::new(&text).expect("made to its form"))
}

fn hold() -> impl Strategy<Value = HoldId> {
    any::<u128>().prop_map(HoldId)
}

fn time() -> impl Strategy<Value = Time> {
    prop_oneof![select(vec![0, 1, -1, i64::MIN, i64::MAX, (1 << 53) - 1]), any::<i64>()]
        .prop_map(Time)
}

fn money() -> impl Strategy<Value = i64> {
    prop_oneof![select(vec![0, 1, -1, 127, 128, i64::MIN, i64::MAX]), any::<i64>()]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![select(vec![0, 1, 127, 128, u32::MAX]), any::<u32>()]
}
