//! Holds and what becomes of them, and buying in one step.

use onsale_core::catalogue::EventState;
use onsale_core::command::{HoldId, Item};
use onsale_core::event::{Fact, HoldPlaced, Lines, OrderPlaced};
use onsale_core::refusal::Refusal;
use onsale_core::text::CustomerId;
use onsale_core::time::Time;
use onsale_core::view::OrderState;

use super::{Ended, EventModel, HoldModel, OrderModel, Step, World};

impl EventModel {
    pub(super) fn place_hold(
        &mut self,
        world: &World,
        hold: HoldId,
        customer: CustomerId,
        items: &[Item],
    ) -> Result<Step, Refusal> {
        let cart = self.check_cart(customer, items, world.now)?;
        let mut facts = self.expire(&cart.expired);
        let position = world.next_position + facts.len() as u64;
        let expires_at = world.now.plus_seconds(self.definition.hold_seconds);
        self.holds.insert(
            hold,
            HoldModel {
                position,
                deadline_set: position,
                customer,
                expires_at,
                extended: false,
                lines: cart.lines.clone(),
                total: cart.total,
            },
        );
        facts.push(Fact::HoldPlaced(HoldPlaced {
            hold,
            customer,
            expires_at,
            lines: cart.lines,
            total: cart.total,
            currency: self.definition.currency,
        }));
        Ok(Step::Facts(facts))
    }

    pub(super) fn buy(
        &mut self,
        world: &World,
        customer: CustomerId,
        items: &[Item],
    ) -> Result<Step, Refusal> {
        let cart = self.check_cart(customer, items, world.now)?;
        let mut facts = self.expire(&cart.expired);
        let position = world.next_position + facts.len() as u64;
        facts.push(self.place_order(world, position, None, customer, cart.lines, cart.total));
        Ok(Step::Facts(facts))
    }

    pub(super) fn extend_hold(&mut self, world: &World, id: HoldId) -> Result<Step, Refusal> {
        let hold = self.live_hold(world.now, id)?;
        if self.state != EventState::Open {
            return Err(Refusal::NotOpen { state: self.state });
        }
        if hold.extended {
            return Err(Refusal::ExtendedBefore);
        }
        let full = world.now.plus_seconds(self.definition.hold_seconds);
        let hold = self.holds.get_mut(&id).expect("it is live");
        hold.extended = true;
        if full > hold.expires_at {
            hold.expires_at = full;
            hold.deadline_set = world.next_position;
        }
        let expires_at = hold.expires_at;
        Ok(Step::Facts(vec![Fact::HoldExtended { hold: id, expires_at }]))
    }

    pub(super) fn release_hold(&mut self, world: &World, id: HoldId) -> Result<Step, Refusal> {
        self.live_hold(world.now, id)?;
        self.holds.remove(&id);
        self.ended.insert(id, Ended::Released(world.now));
        Ok(Step::Facts(vec![Fact::HoldReleased { hold: id }]))
    }

    pub(super) fn claim_hold(
        &mut self,
        world: &World,
        id: HoldId,
        customer: CustomerId,
    ) -> Result<Step, Refusal> {
        if self.live_hold(world.now, id)?.customer != customer {
            return Err(Refusal::HoldOfAnother);
        }
        let hold = self.holds.remove(&id).expect("it is live");
        let position = world.next_position;
        let fact = self.place_order(world, position, Some(id), customer, hold.lines, hold.total);
        Ok(Step::Facts(vec![fact]))
    }

    /// The timer's wish: a hold that is due ends.
    pub(super) fn expire_hold(&mut self, world: &World, id: HoldId) -> Result<Step, Refusal> {
        match self.holds.get(&id) {
            Some(hold) if hold.expires_at <= world.now => Ok(Step::Facts(self.expire(&[id]))),
            _ => Err(Refusal::NotDue),
        }
    }

    /// A hold that has not ended and whose deadline has not come.
    pub(super) fn live_hold(&self, now: Time, id: HoldId) -> Result<&HoldModel, Refusal> {
        match (self.holds.get(&id), self.ended.get(&id)) {
            (Some(hold), _) if hold.expires_at <= now => {
                Err(Refusal::HoldExpired { at: hold.expires_at })
            }
            (Some(hold), _) => Ok(hold),
            (None, Some(Ended::Expired(at))) => Err(Refusal::HoldExpired { at: *at }),
            (None, Some(Ended::Released(at))) => Err(Refusal::HoldReleased { at: *at }),
            (None, Some(Ended::Claimed(order))) => Err(Refusal::HoldClaimed { order: *order }),
            (None, None) => Err(Refusal::UnknownHold),
        }
    }

    pub(super) fn expire(&mut self, holds: &[HoldId]) -> Vec<Fact> {
        for id in holds {
            let hold = self.holds.remove(id).expect("only live holds expire");
            self.ended.insert(*id, Ended::Expired(hold.expires_at));
        }
        holds.iter().map(|hold| Fact::HoldExpired { hold: *hold }).collect()
    }

    fn place_order(
        &mut self,
        world: &World,
        position: u64,
        hold: Option<HoldId>,
        customer: CustomerId,
        lines: Lines,
        total: i64,
    ) -> Fact {
        let sequence = world.next_sequence;
        let code = world.key.order_code(world.shard, world.generation, sequence);
        let due = world.now.plus_seconds(self.definition.payment_seconds);
        let payment_due = (total > 0).then_some(due);
        let state = match payment_due {
            Some(_) => OrderState::AwaitingPayment,
            None => OrderState::Confirmed,
        };
        if let Some(hold) = hold {
            self.ended.insert(hold, Ended::Claimed(code));
        }
        self.orders.push(OrderModel {
            code,
            sequence,
            generation: world.generation,
            position,
            customer,
            lines: lines.clone(),
            total,
            payment_due,
            state,
        });
        Fact::OrderPlaced(OrderPlaced {
            order: code,
            sequence,
            hold,
            customer,
            lines,
            total,
            currency: self.definition.currency,
            payment_due,
        })
    }
}
