//! What can be seen of the state.

use super::lines::LinesAt;
use super::{EventEntry, Sale, Unanswered};
use crate::code::OrderCode;
use crate::command::HoldId;
use crate::refusal::Refusal;
use crate::text::Id;
use crate::time::Time;
use crate::view::{
    AvailabilityView, EventView, HoldView, LineView, OrderState, OrderView, PaymentView, QuotaView,
};

impl Sale {
    fn view_event(&self, organizer: &Id, event: &Id) -> Option<(u32, &EventEntry)> {
        let slot = self.slot_of(organizer, event)?;
        Some((slot, &self.events[slot as usize]))
    }

    /// An event as it stands.
    #[must_use]
    pub fn event(&self, organizer: &Id, event: &Id) -> Option<EventView> {
        let (_, event) = self.view_event(organizer, event)?;
        Some(EventView {
            organizer: event.organizer,
            event: event.id,
            version: event.version,
            state: event.state,
            definition: event.definition.clone(),
        })
    }

    /// What is left of an event.
    #[must_use]
    pub fn availability(&self, organizer: &Id, event: &Id) -> Option<AvailabilityView> {
        let (_, event) = self.view_event(organizer, event)?;
        let mut quotas = vec![None; event.definition.quotas.len()];
        for quota in &event.shape.quotas {
            if let Some(index) = quota.defined {
                let (id, stock, held, sold) = (quota.id, quota.stock, quota.held, quota.sold);
                quotas[index as usize] = Some(QuotaView { id, stock, held, sold });
            }
        }
        let (state, definition) = (event.state, event.definition.clone());
        Some(AvailabilityView { state, definition, quotas: quotas.into_iter().flatten().collect() })
    }

    /// A live hold at a time.
    ///
    /// # Errors
    /// It is not known, or ended, or is due.
    pub fn hold(
        &self,
        organizer: &Id,
        event: &Id,
        hold: HoldId,
        now: Time,
    ) -> Result<HoldView, Refusal> {
        let (slot, event) = self.view_event(organizer, event).ok_or(Refusal::UnknownEvent)?;
        let held = &self.holds[self.live_hold_slot(slot, hold, now)?];
        Ok(HoldView {
            hold,
            position: held.position,
            expires_at: held.expires_at,
            extended: held.extended,
            lines: self.line_views(event, held.lines),
            total: self.lines.total(held.lines),
            currency: event.definition.currency,
        })
    }

    /// An order.
    ///
    /// # Errors
    /// It is not known in this event, or the event is not; or it is old and its records
    /// must be read first.
    pub fn order(
        &self,
        organizer: &Id,
        event: &Id,
        order: OrderCode,
    ) -> Result<OrderView, Unanswered> {
        let (event_slot, event) = self.view_event(organizer, event).ok_or(Refusal::UnknownEvent)?;
        let known = self.order_at(self.order_slot(event_slot, order)?);
        let lines = self.line_views(event, known.lines);
        let tickets = match known.state {
            OrderState::Confirmed => {
                let places = lines.iter().map(|line| (line.ticket_type, line.quantity));
                self.shard.key.tickets_of(order, places)
            }
            _ => Vec::new(),
        };
        let payments = self.orders.payments_of(known).map(|slot| {
            let payment = &self.orders.payments[slot];
            let (position, amount, state) = (payment.position, payment.amount, payment.state);
            PaymentView { position, amount, state }
        });
        Ok(OrderView {
            order,
            position: known.position,
            state: known.state,
            payment_due: known.payment_due(),
            lines,
            total: self.lines.total(known.lines),
            currency: event.definition.currency,
            tickets,
            payments: payments.collect(),
        })
    }

    fn line_views(&self, event: &EventEntry, lines: LinesAt) -> Vec<LineView> {
        let view = |line: super::lines::Line| LineView {
            ticket_type: event.shape.types[line.ticket_type as usize].id,
            quantity: u32::from(line.quantity),
            unit_price: line.unit_price,
            version: line.version,
        };
        self.lines.iter(lines).map(view).collect()
    }

    /// All events as (organizer, event), in the order in which they were made.
    pub fn events(&self) -> impl ExactSizeIterator<Item = (Id, Id)> + '_ {
        self.events.iter().map(|event| (event.organizer, event.id))
    }

    /// All sale groups of this shard as (organizer, sale group), in the order in which
    /// they were placed.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (Id, Id)> + '_ {
        self.groups.iter().map(|group| (group.organizer, group.sale_group))
    }
}
