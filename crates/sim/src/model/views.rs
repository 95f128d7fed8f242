//! What can be seen of the model, in the core's own views.

use std::collections::BTreeSet;
use std::sync::Arc;

use onsale_core::code::{OrderCode, TicketParts};
use onsale_core::command::{Action, HoldId};
use onsale_core::event::{Lines, Subject};
use onsale_core::refusal::Refusal;
use onsale_core::text::{CustomerId, Id};
use onsale_core::time::Time;
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

    /// A live hold at a time.
    ///
    /// # Errors
    /// It is not known, or ended, or is due.
    pub fn hold(
        &self,
        organizer: Id,
        event: Id,
        hold: HoldId,
        now: Time,
    ) -> Result<HoldView, Refusal> {
        let event = self.events.get(&(organizer, event)).ok_or(Refusal::UnknownEvent)?;
        let of = event.live_hold(now, hold)?;
        Ok(HoldView {
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
    ///
    /// # Errors
    /// It is not known in this event, or the event is not.
    pub fn order(&self, organizer: Id, event: Id, code: OrderCode) -> Result<OrderView, Refusal> {
        let event = self.events.get(&(organizer, event)).ok_or(Refusal::UnknownEvent)?;
        let order = event.order(code).ok_or(Refusal::UnknownOrder)?;
        let payments = event.payments.iter().filter(|p| p.order == code);
        Ok(OrderView {
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

    /// Holds and orders that are due, as the commands that end them.
    #[must_use]
    pub fn due(&self, now: Time) -> Vec<(Subject, Action)> {
        let mut due = Vec::new();
        for event in self.events.values() {
            let subject = Subject { organizer: event.organizer, event: event.event };
            let holds = event.due_holds(now).into_iter();
            due.extend(holds.map(|(hold, _)| (subject, Action::ExpireHold { hold })));
            let orders = event.orders.iter().filter(|order| order.is_due(now));
            due.extend(orders.map(|o| (subject, Action::ExpireOrder { order: o.code })));
        }
        due
    }

    /// When the first live hold or unpaid order is due.
    #[must_use]
    pub fn first_deadline(&self) -> Option<Time> {
        let of_event = |event: &EventModel| {
            let holds = event.holds.values().map(|hold| hold.expires_at);
            let awaits = |order: &&OrderModel| order.state == OrderState::AwaitingPayment;
            let orders = event.orders.iter().filter(awaits).filter_map(|o| o.payment_due);
            holds.chain(orders).min()
        };
        self.events.values().filter_map(of_event).min()
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
    /// Those who hold or own something.
    #[must_use]
    pub fn customers(&self) -> BTreeSet<CustomerId> {
        let holding = self.holds.values().map(|hold| hold.customer);
        let owning = self.orders.iter().filter(|o| !o.is_cancelled()).map(|o| o.customer);
        holding.chain(owning).collect()
    }

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
