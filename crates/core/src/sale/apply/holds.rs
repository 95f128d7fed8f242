//! Events of holds.

use onsale_planted::{Bug, is};

use super::{ApplyError, Context, ensure, ensure_free, some, stored_lines};
use crate::command::HoldId;
use crate::event::HoldPlaced;
use crate::limits::ENDED_HOLDS_MAX;
use crate::sale::Sale;
use crate::sale::deadlines::Waiting;
use crate::sale::event_state::Place;
use crate::sale::holds::{Ended, Ending, Hold};
use crate::sale::lines::LinesAt;
use crate::time::Time;

impl Sale {
    pub(super) fn apply_hold_placed(
        &mut self,
        context: Context,
        placed: &HoldPlaced,
    ) -> Result<(), ApplyError> {
        let event = &self.events[context.event as usize];
        debug_assert_eq!(context.customer, self.customer_key(event.digest, &placed.customer));
        let lines = stored_lines(event, &placed.lines, placed.total, placed.currency)?;
        ensure(placed.expires_at > context.at, "a new hold has expired already")?;
        if !context.decided {
            ensure_free(event, &lines)?;
            ensure(self.holds.find(placed.hold.0).is_none(), "a hold with this id lives")?;
            ensure(self.ended.find(placed.hold.0).is_none(), "a hold with this id ended")?;
        }

        let event = &mut self.events[context.event as usize];
        event.used = true;
        let mut customer = crate::slab::NONE;
        for line in &lines {
            let quantity = u32::from(line.quantity);
            event.shape.shift(line.ticket_type, Place::Free, Place::Held, quantity);
            customer = self.customers.add(context.customer, line.ticket_type, quantity);
        }
        let lines = self.lines.store(&lines);
        let hold = Hold::new(placed.hold, context.position, placed.expires_at, lines, customer);
        let slot = self.holds.insert(hold);
        self.enter_hold_queue(context, slot);
        Ok(())
    }

    fn enter_hold_queue(&mut self, context: Context, slot: u32) {
        let duration_us = self.holds[slot].expires_at.0 - context.at.0;
        let known = &mut self.events[context.event as usize].hold_queues;
        let queue = self.deadlines.queue_for(context.event, Waiting::Holds, duration_us, known);
        self.deadlines.enter(self.holds.slab_mut(), queue, slot);
    }

    pub(super) fn apply_hold_extended(
        &mut self,
        context: Context,
        hold: HoldId,
        expires_at: Time,
    ) -> Result<(), ApplyError> {
        let slot = self.live_hold(context, hold)?;
        ensure(!self.holds[slot].extended, "the hold was extended before")?;
        let deadline = self.holds[slot].expires_at;
        ensure(expires_at >= deadline, "the new deadline is before the old one")?;
        self.holds[slot].extended = true;
        if expires_at > deadline {
            self.deadlines.leave(self.holds.slab_mut(), slot);
            self.holds[slot].expires_at = expires_at;
            self.enter_hold_queue(context, slot);
        }
        Ok(())
    }

    pub(super) fn apply_hold_released(
        &mut self,
        context: Context,
        hold: HoldId,
    ) -> Result<(), ApplyError> {
        let slot = self.live_hold(context, hold)?;
        self.give_back(context, slot, Ending::Released(context.at));
        Ok(())
    }

    pub(super) fn apply_hold_expired(
        &mut self,
        context: Context,
        hold: HoldId,
    ) -> Result<(), ApplyError> {
        let slot = some(self.hold_slot(context.event, hold).ok(), "there is no such hold")?;
        let deadline = self.holds[slot].expires_at;
        ensure(deadline <= context.at, "the hold is not due")?;
        self.give_back(context, slot, Ending::Expired(deadline));
        Ok(())
    }

    /// A hold that lives and is not due.
    pub(super) fn live_hold(&self, context: Context, hold: HoldId) -> Result<u32, ApplyError> {
        some(
            self.live_hold_slot(context.event, hold, context.at).ok(),
            "there is no such live hold",
        )
    }

    /// Ends a hold and frees its stock.
    fn give_back(&mut self, context: Context, slot: u32, ending: Ending) {
        let customer = self.holds[slot].customer;
        let lines = self.end_hold(context, slot, ending);
        let event = &mut self.events[context.event as usize];
        for line in self.lines.iter(lines) {
            let quantity = u32::from(line.quantity);
            event.shape.shift(line.ticket_type, Place::Held, Place::Free, quantity);
            if is(Bug::StockFreedTwice) {
                event.shape.shift(line.ticket_type, Place::Held, Place::Free, quantity);
            }
            if !is(Bug::CustomerKeepsTickets) {
                self.customers.take(customer, line.ticket_type, quantity);
            }
        }
        self.lines.free(lines);
    }

    /// Takes a hold out of the table; its lines and its stock are the caller's.
    pub(super) fn end_hold(&mut self, context: Context, slot: u32, ending: Ending) -> LinesAt {
        self.deadlines.leave(self.holds.slab_mut(), slot);
        let hold = self.holds.remove(slot);
        if self.ended.len() == ENDED_HOLDS_MAX {
            self.ended.pop();
        }
        if !(is(Bug::ClaimedHoldForgotten) && matches!(ending, Ending::Claimed(_))) {
            self.ended.push(Ended::new(hold.id(), context.event, ending));
        }
        hold.lines
    }
}
