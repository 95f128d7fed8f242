//! What can be seen of the model, in the core's own views.

use std::sync::Arc;

use onsale_core::code::{OrderCode, TicketParts};
use onsale_core::command::HoldId;
use onsale_core::event::Lines;
use onsale_core::text::Id;
use onsale_core::view::{
    AvailabilityView, HoldView, LineView, OrderState, OrderView, PaymentView, QuotaView, TicketView,
};

use super::{EventModel, Model, OrderModel};

impl Model {
    /// What is left of an event.
    #[must_use]
    pub fn availability(&self, organizer: Id, event: Id) -> Option<AvailabilityView> {
        let event = self.events.get(&(organizer, event))?;
        Some(AvailabilityView {
            state: event.state,
            definition: Arc::new(event.definition.clone()),
            quotas: event.quotas(),
        })
    }

    /// A live hold.
    #[must_use]
    pub fn hold(&self, organizer: Id, event: Id, hold: HoldId) -> Option<HoldView> {
        let event = self.events.get(&(organizer, event))?;
        let of = event.holds.get(&hold)?;
        Some(HoldView {
            hold,
            position: of.position,
            expires_at: of.expires_at,
            extended: of.extended,
            lines: line_views(&of.lines),
            total: of.total,
            currency: event.definition.currency,
        })
    }

    /// An order.
    #[must_use]
    pub fn order(&self, organizer: Id, event: Id, code: OrderCode) -> Option<OrderView> {
        let event = self.events.get(&(organizer, event))?;
        let order = event.order(code)?;
        let payments = event.payments.iter().filter(|p| p.order == code);
        Some(OrderView {
            order: code,
            position: order.position,
            state: order.state,
            payment_due: order.payment_due,
            lines: line_views(&order.lines),
            total: order.total,
            currency: event.definition.currency,
            tickets: self.tickets(order),
            payments: payments
                .map(|p| PaymentView { position: p.position, amount: p.amount, state: p.state })
                .collect(),
        })
    }

    /// One ticket for each seat of a confirmed order, in the order of its lines.
    fn tickets(&self, order: &OrderModel) -> Vec<TicketView> {
        if order.state != OrderState::Confirmed {
            return Vec::new();
        }
        let types = order
            .lines
            .iter()
            .flat_map(|line| std::iter::repeat_n(line.ticket_type, line.stock.quantity() as usize));
        types
            .enumerate()
            .map(|(ordinal, ticket_type)| {
                let code = self.key.ticket_code(TicketParts {
                    shard: self.shard,
                    generation: order.generation,
                    sequence: order.sequence,
                    ordinal: ordinal as u16,
                    issue: 0,
                });
                TicketView { code, ticket_type }
            })
            .collect()
    }
}

impl EventModel {
    /// Counts of each quota, in the definition's order.
    #[must_use]
    pub fn quotas(&self) -> Vec<QuotaView> {
        let quota = |(quota, stock): (&onsale_core::QuotaDefinition, _)| {
            let draws =
                self.definition.ticket_types.iter().filter(|t| t.quotas.contains(&quota.id));
            QuotaView {
                id: quota.id,
                stock,
                held: draws.clone().map(|t| self.held_of(t.id)).sum(),
                sold: draws.map(|t| self.sold_of(t.id)).sum(),
            }
        };
        self.definition.quotas.iter().zip(self.stocks()).map(quota).collect()
    }
}

fn line_views(lines: &Lines) -> Vec<LineView> {
    lines
        .iter()
        .map(|line| LineView {
            ticket_type: line.ticket_type,
            quantity: line.stock.quantity(),
            unit_price: line.unit_price,
            version: line.version,
        })
        .collect()
}
