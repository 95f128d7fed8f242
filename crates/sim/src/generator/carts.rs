//! Carts, holds, claims.

use onsale_core::command::{Action, HoldId, Item, Items};
use onsale_core::limits::{LINES_MAX, PRICE_MAX, QUANTITY_MAX};
use onsale_core::text::Id;

use super::definitions::type_id;
use super::{Generator, id};
use crate::model::{EventModel, Model};

impl Generator {
    pub(super) fn place_hold(&mut self, model: &Model, event: &EventModel) -> Action {
        let hold = match self.rng.once_in(150) {
            true => self.hold(model, event),
            false => self.new_hold(),
        };
        Action::PlaceHold { hold, customer: self.customer(), items: self.items(event) }
    }

    pub(super) fn buy(&mut self, event: &EventModel) -> Action {
        Action::Buy { customer: self.customer(), items: self.items(event) }
    }

    pub(super) fn claim_hold(&mut self, model: &Model, event: &EventModel) -> Action {
        let hold = self.hold(model, event);
        let customer = match event.holds.get(&hold) {
            Some(of) if !self.rng.percent(7) => of.customer,
            _ => self.customer(),
        };
        Action::ClaimHold { hold, customer }
    }

    pub(super) fn extend_hold(&mut self, model: &Model, event: &EventModel) -> Action {
        Action::ExtendHold { hold: self.hold(model, event) }
    }

    pub(super) fn release_hold(&mut self, model: &Model, event: &EventModel) -> Action {
        Action::ReleaseHold { hold: self.hold(model, event) }
    }

    /// A hold of the event, mostly live; now and then ended, unknown or another event's.
    pub(super) fn hold(&mut self, model: &Model, event: &EventModel) -> HoldId {
        let other = match self.rng.once_in(60) {
            true => model.events.values().nth(self.rng.below(model.events.len().max(1))),
            false => None,
        };
        let event = other.unwrap_or(event);
        let live: Vec<HoldId> = event.holds.keys().copied().collect();
        let ended: Vec<HoldId> = event.ended.keys().copied().collect();
        let in_time = event.holds.iter().filter(|(_, hold)| hold.expires_at > self.now);
        let in_time: Vec<HoldId> = in_time.map(|(id, _)| *id).collect();
        match self.rng.below(100) {
            0..=79 if !in_time.is_empty() => *self.rng.pick(&in_time),
            0..=87 if !live.is_empty() => *self.rng.pick(&live),
            0..=96 if !ended.is_empty() => *self.rng.pick(&ended),
            _ => self.new_hold(),
        }
    }

    fn items(&mut self, event: &EventModel) -> Items {
        let lines = match self.rng.below(200) {
            0..=139 => 1,
            140..=179 => 2,
            180..=197 => 3 + self.rng.below(4),
            198 => 0,
            _ => LINES_MAX + self.rng.below(2),
        };
        let huge = self.rng.once_in(250);
        (0..lines)
            .map(|_| {
                let mut item = self.item(event);
                if huge {
                    item.quantity = 600;
                }
                item
            })
            .collect()
    }

    fn item(&mut self, event: &EventModel) -> Item {
        let ticket_type = match self.rng.below(100) {
            0..=97 => self.rng.pick(&event.definition.ticket_types).id,
            98 => type_id(self.rng.below(6)),
            _ => id("unheard-of"),
        };
        let quantity = self.quantity(event, ticket_type);
        Item { ticket_type, quantity, price: self.price_offered(event, ticket_type) }
    }

    /// Mostly a few; now and then all that is free, or one more.
    fn quantity(&mut self, event: &EventModel, ticket_type: Id) -> u32 {
        match self.rng.below(200) {
            0..=159 => 1 + self.rng.below(3) as u32,
            160..=179 => 1 + self.rng.below(8) as u32,
            180..=189 => self.left(event, ticket_type, false),
            190..=193 => self.left(event, ticket_type, false) + 1,
            194 => self.left(event, ticket_type, true),
            195 => self.left(event, ticket_type, true) + 1,
            196 => 0,
            197 => QUANTITY_MAX,
            198 => QUANTITY_MAX + 1,
            _ => u32::MAX,
        }
    }

    /// What is left in the scarcest quota of a type: free, or not sold.
    fn left(&mut self, event: &EventModel, ticket_type: Id, count_held: bool) -> u32 {
        let Some(of) = event.definition.ticket_types.iter().find(|t| t.id == ticket_type) else {
            return 1;
        };
        let quotas = event.quotas();
        let draws = quotas.iter().filter(|q| of.quotas.contains(&q.id));
        let left = draws.filter_map(|q| Some(q.free()? + if count_held { q.held } else { 0 }));
        left.min().unwrap_or(20).max(1)
    }

    fn price_offered(&mut self, event: &EventModel, ticket_type: Id) -> Option<i64> {
        let of = event.definition.ticket_types.iter().find(|t| t.id == ticket_type);
        let (price, free) = of.map_or((0, false), |t| (t.price, t.free_price));
        match self.rng.below(100) {
            0..=69 => None,
            70..=79 => Some(price),
            80..=91 if free => Some((price + self.rng.within(0, 3_000)).min(PRICE_MAX)),
            80..=93 => None,
            94 => Some(price - 1),
            95 => Some(price + 1),
            96 => Some(PRICE_MAX),
            97 => Some(PRICE_MAX + 1),
            98 => Some(i64::MIN),
            _ => Some(i64::MAX),
        }
    }
}
