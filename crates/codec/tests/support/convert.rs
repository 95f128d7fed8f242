//! Core's events as prost's structs: what every field of the schema should hold.

use onsale_core::event::{
    CancelReason, ComponentKind, Line, PaymentOutcome, RefundReason, Stock, StockSource,
};
use onsale_core::{Event, EventDefinition, EventState, Fact, HoldId, Id, Time, Window, event};

use super::proto;

pub fn record(event: &Event) -> proto::Record {
    let bytes = |id: Option<u128>| id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default();
    proto::Record {
        at: event.at.0,
        stamp_id: bytes(event.stamp.map(|stamp| stamp.id)),
        stamp_body: bytes(event.stamp.map(|stamp| stamp.body)),
        stamp_chosen: event.stamp.is_some_and(|stamp| stamp.chosen),
        organizer: text(event.subject.as_ref().map(|subject| &subject.organizer)),
        event: text(event.subject.as_ref().map(|subject| &subject.event)),
        fact: Some(fact(&event.fact)),
    }
}

fn fact(fact: &Fact) -> proto::RecordFact {
    use proto::RecordFact as P;
    match fact {
        Fact::ShardStarted(started) => P::ShardStarted(proto::ShardStarted {
            log: started.log.to_be_bytes().to_vec(),
            shard: started.shard.into(),
            shards: started.shards.into(),
            key: started.key.0.to_vec(),
            generation: started.generation,
        }),
        Fact::GenerationStarted { generation } => {
            P::GenerationStarted(proto::GenerationStarted { generation: *generation })
        }
        Fact::GroupPlaced { sale_group } => {
            P::GroupPlaced(proto::GroupPlaced { sale_group: sale_group.to_string() })
        }
        Fact::EventDefined(defined) => P::EventDefined(proto::EventDefined {
            version: defined.version,
            definition: Some(definition(&defined.definition)),
            stocks: defined.stocks.iter().map(quota_stock).collect(),
        }),
        Fact::StateSet { version, state } => {
            let state = match state {
                EventState::Open => 1,
                EventState::Paused => 2,
                EventState::Closed => 3,
            };
            P::StateSet(proto::StateSet { version: *version, state })
        }
        Fact::HoldPlaced(placed) => P::HoldPlaced(proto::HoldPlaced {
            hold: hold(placed.hold),
            customer: placed.customer.to_string(),
            expires_at: placed.expires_at.0,
            lines: placed.lines.iter().map(line).collect(),
            total: placed.total,
            currency: placed.currency.as_str().into(),
        }),
        Fact::HoldExtended { hold: id, expires_at } => {
            P::HoldExtended(proto::HoldExtended { hold: hold(*id), expires_at: expires_at.0 })
        }
        Fact::HoldReleased { hold: id } => P::HoldReleased(proto::HoldEnded { hold: hold(*id) }),
        Fact::HoldExpired { hold: id } => P::HoldExpired(proto::HoldEnded { hold: hold(*id) }),
        Fact::OrderPlaced(placed) => P::OrderPlaced(proto::OrderPlaced {
            order: placed.order.to_string(),
            sequence: placed.sequence,
            hold: placed.hold.map(hold).unwrap_or_default(),
            customer: placed.customer.to_string(),
            lines: placed.lines.iter().map(line).collect(),
            total: placed.total,
            currency: placed.currency.as_str().into(),
            payment_due: micros(placed.payment_due),
        }),
        Fact::OrderCancelled { order, reason } => {
            let reason = match reason {
                CancelReason::Unpaid => 1,
                CancelReason::Customer => 2,
                CancelReason::Organizer => 3,
            };
            P::OrderCancelled(proto::OrderCancelled { order: order.to_string(), reason })
        }
        Fact::PaymentRecorded(recorded) => P::PaymentRecorded(payment(recorded)),
        Fact::PaymentRefunded { order, reference } => P::PaymentRefunded(proto::PaymentRefunded {
            order: order.to_string(),
            reference: reference.to_string(),
        }),
    }
}

fn quota_stock(stock: &event::QuotaStock) -> proto::QuotaStock {
    let source = match stock.source {
        StockSource::Own => 1,
        StockSource::Transferred => 2,
    };
    proto::QuotaStock { allotment: stock.allotment, epoch: stock.epoch, source }
}

fn definition(definition: &EventDefinition) -> proto::EventDefinition {
    let texts = |ids: &[Id]| ids.iter().map(Id::to_string).collect::<Vec<_>>();
    proto::EventDefinition {
        name: definition.name.clone(),
        currency: definition.currency.as_str().into(),
        starts_at: micros(definition.starts_at),
        sale: window(&definition.sale),
        limits: definition
            .limits
            .iter()
            .map(|limit| proto::Limit {
                ticket_types: texts(&limit.ticket_types),
                per_order: limit.per_order,
                per_customer: limit.per_customer,
            })
            .collect(),
        hold_seconds: definition.hold_seconds,
        payment_seconds: definition.payment_seconds,
        sale_group: definition.sale_group.to_string(),
        quotas: definition
            .quotas
            .iter()
            .map(|quota| proto::Quota { id: quota.id.to_string(), capacity: quota.capacity })
            .collect(),
        ticket_types: definition
            .ticket_types
            .iter()
            .map(|ticket_type| proto::TicketType {
                id: ticket_type.id.to_string(),
                name: ticket_type.name.clone(),
                price: ticket_type.price,
                free_price: ticket_type.free_price,
                quotas: texts(&ticket_type.quotas),
                sale: window(&ticket_type.sale),
            })
            .collect(),
    }
}

fn line(line: &Line) -> proto::Line {
    proto::Line {
        event: text(line.event.as_deref()),
        ticket_type: line.ticket_type.to_string(),
        stock: Some(match &line.stock {
            Stock::Counted(quantity) => proto::LineStock::Counted(*quantity),
            Stock::Places(ids) => {
                let ids = ids.iter().map(Id::to_string).collect();
                proto::LineStock::Places(proto::Places { ids })
            }
        }),
        unit_price: line.unit_price,
        version: line.version,
        channel: text(line.channel.as_deref()),
        components: line
            .components
            .iter()
            .map(|component| proto::Component {
                kind: match component.kind {
                    ComponentKind::Fee => 1,
                    ComponentKind::Tax => 2,
                    ComponentKind::Discount => 3,
                },
                id: component.id.to_string(),
                amount: component.amount,
            })
            .collect(),
    }
}

fn payment(payment: &event::PaymentRecorded) -> proto::PaymentRecorded {
    let (outcome, refund_reason) = match payment.outcome {
        PaymentOutcome::Applied => (1, 0),
        PaymentOutcome::Reinstated => (2, 0),
        PaymentOutcome::RefundDue(RefundReason::AlreadyPaid) => (3, 1),
        PaymentOutcome::RefundDue(RefundReason::StockGone) => (3, 2),
        PaymentOutcome::RefundDue(RefundReason::LimitReached) => (3, 3),
        PaymentOutcome::RefundDue(RefundReason::Cancelled) => (3, 4),
    };
    proto::PaymentRecorded {
        order: payment.order.to_string(),
        provider: 1,
        reference: payment.reference.to_string(),
        amount: payment.amount,
        currency: payment.currency.as_str().into(),
        paid_at: payment.paid_at.0,
        outcome,
        refund_reason,
    }
}

fn window(window: &Window) -> Option<proto::Window> {
    let found =
        proto::Window { opens_at: micros(window.opens_at), closes_at: micros(window.closes_at) };
    (*window != Window::default()).then_some(found)
}

fn text(id: Option<&Id>) -> String {
    id.map(Id::to_string).unwrap_or_default()
}

fn hold(id: HoldId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

fn micros(time: Option<Time>) -> Option<i64> {
    time.map(|time| time.0)
}
