//! Commands on holds.

use onsale_planted::{Bug, is};

use super::Request;
use super::cart::{Cart, check_open, expiries};
use crate::command::{HoldId, Items};
use crate::event::{Fact, HoldPlaced};
use crate::refusal::Refusal;
use crate::sale::{Decision, Sale};
use crate::text::CustomerId;

impl Sale {
    pub(super) fn decide_place_hold(
        &self,
        request: Request<'_>,
        hold: HoldId,
        customer: &CustomerId,
        items: &Items,
    ) -> Result<Decision, Refusal> {
        if self.holds.find(hold.0).is_some() || self.ended.find(hold.0).is_some() {
            return Err(Refusal::HoldIdTaken);
        }
        let mut cart = Cart::default();
        let due = self.check_cart(request, items, &mut cart)?;
        let definition = &request.event.definition;
        let placed = HoldPlaced {
            hold,
            customer: *customer,
            expires_at: request.now.plus_seconds(definition.hold_seconds),
            lines: cart.lines,
            total: cart.total,
            currency: definition.currency,
        };
        Ok(request.change(expiries(due), Fact::HoldPlaced(placed)))
    }

    pub(super) fn decide_extend_hold(
        &self,
        request: Request<'_>,
        hold: HoldId,
    ) -> Result<Decision, Refusal> {
        let slot = self.live_hold_slot(request.slot, hold, request.now)?;
        check_open(request.event)?;
        if self.holds[slot].extended {
            return Err(Refusal::ExtendedBefore);
        }
        // The definition may give less time by now; an extension never takes any away.
        let from = if is(Bug::ExtensionAddsUp) { self.holds[slot].expires_at } else { request.now };
        let full = from.plus_seconds(request.event.definition.hold_seconds);
        let expires_at = full.max(self.holds[slot].expires_at);
        request.fact(Fact::HoldExtended { hold, expires_at })
    }

    pub(super) fn decide_release_hold(
        &self,
        request: Request<'_>,
        hold: HoldId,
    ) -> Result<Decision, Refusal> {
        self.live_hold_slot(request.slot, hold, request.now)?;
        request.fact(Fact::HoldReleased { hold })
    }

    pub(super) fn decide_expire_hold(
        &self,
        request: Request<'_>,
        hold: HoldId,
    ) -> Result<Decision, Refusal> {
        let slot = self.hold_slot(request.slot, hold).map_err(|_| Refusal::NotDue)?;
        match self.holds[slot].expires_at <= request.now {
            true => request.timed(Fact::HoldExpired { hold }),
            false => Err(Refusal::NotDue),
        }
    }
}
