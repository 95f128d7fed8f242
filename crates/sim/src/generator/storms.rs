//! Short scripts for the rules that chance alone would hardly ever reach: more
//! due holds than one command may expire, more payments than an order may have,
//! more ticket types than an event may ever have had.

use onsale_core::catalogue::EventState;
use onsale_core::command::{Action, Expects, Item, Items};
use onsale_core::limits::{
    EXPIRED_PER_COMMAND_MAX, PAYMENTS_PER_ORDER_MAX, QUOTAS_MAX, TICKET_TYPES_MAX,
};
use onsale_core::text::Id;

use super::definitions::{plain_definition, ticket_type};
use super::{Generator, SECOND, Scripted, customer, id};
use crate::model::Model;

/// A script that each history has one of.
#[derive(Clone, Copy)]
pub(super) enum Storm {
    Holds,
    Ties,
    Payments,
    Types,
}

/// Neighbouring seeds have different storms, so that a few histories have them all.
pub(super) fn of_seed(seed: u64) -> Storm {
    match seed % 5 {
        0 => Storm::Holds,
        1 => Storm::Ties,
        2 | 3 => Storm::Payments,
        _ => Storm::Types,
    }
}

impl Generator {
    /// Begins the storm once its time has come; gives its first action.
    pub(super) fn storm(&mut self, model: &Model) -> Option<((Id, Id), Action)> {
        let (storm, commands_left) = self.storm.as_mut()?;
        *commands_left = commands_left.saturating_sub(1);
        if *commands_left > 0 {
            return None;
        }
        match storm {
            Storm::Holds => self.storm_of_holds(),
            Storm::Ties => self.storm_of_ties(),
            Storm::Payments => self.storm_of_payments(model),
            Storm::Types => self.storm_of_types(),
        }
        if !self.script.is_empty() {
            self.storm = None;
        }
        self.scripted()
    }

    /// Many holds fall due while the timers sleep, then somebody wants their stock.
    fn storm_of_holds(&mut self) {
        let subject = (id("north"), id("storm"));
        let holds = EXPIRED_PER_COMMAND_MAX + self.rng.below(40);
        let mut definition = plain_definition();
        let free = self.rng.below(3) as u32;
        definition.quotas[0].capacity = Some(holds as u32 + free);
        let definition = Box::new(definition);
        self.plan(subject, Action::DefineEvent { definition, expects: Expects::Unsaid });
        let (state, expects) = (EventState::Open, Expects::Any);
        self.plan(subject, Action::SetState { state, expects });
        for n in 0..holds {
            let (hold, items) = (self.new_hold(), one_line(1));
            self.plan(subject, Action::PlaceHold { hold, customer: customer(n), items });
        }
        self.script.push_back(Scripted::TimersLate(true));
        self.script.push_back(Scripted::Wait(6 * SECOND));
        for _ in 0..6 {
            let most = EXPIRED_PER_COMMAND_MAX as u32 + free;
            let items = one_line(*self.rng.pick(&[1, 10, 30, most, most + 1]));
            let (hold, customer) = (self.new_hold(), self.customer());
            self.plan(subject, Action::PlaceHold { hold, customer, items });
        }
    }

    /// Holds of several durations fall due at the same instant, an extended one among
    /// them. The shortest duration is the first there is, so that an order by age of
    /// the duration would show.
    fn storm_of_ties(&mut self) {
        let subject = (id("south"), id("ties"));
        let mut definition = plain_definition();
        definition.quotas[0].capacity = Some(12);
        let mut extended = None;
        for (hold_seconds, wait) in [(5, 0), (20, 10), (10, 5), (5, 3)] {
            definition.hold_seconds = hold_seconds;
            let (definition, expects) = (Box::new(definition.clone()), Expects::Any);
            let expects = if wait == 0 { Expects::Unsaid } else { expects };
            self.plan(subject, Action::DefineEvent { definition, expects });
            let (state, expects) = (EventState::Open, Expects::Any);
            self.plan(subject, Action::SetState { state, expects });
            for quantity in [1, 2] {
                let (hold, items) = (self.new_hold(), one_line(quantity));
                self.plan(subject, Action::PlaceHold { hold, customer: customer(0), items });
                match (hold_seconds, wait, quantity) {
                    (20, _, 1) => extended = Some(hold),
                    (5, 3, 1) => {
                        let hold = extended.expect("it was placed before");
                        self.plan(subject, Action::ExtendHold { hold });
                    }
                    _ => {}
                }
            }
            self.script.push_back(Scripted::Wait(wait * SECOND));
        }
        self.script.push_back(Scripted::TimersLate(true));
        self.script.push_back(Scripted::Wait(2 * SECOND));
        for _ in 0..4 {
            let items = one_line(1 + self.rng.below(3) as u32);
            let (hold, customer) = (self.new_hold(), self.customer());
            self.plan(subject, Action::PlaceHold { hold, customer, items });
        }
    }

    /// One order is paid over and over.
    fn storm_of_payments(&mut self, model: &Model) {
        for event in model.events.values() {
            let Some(order) = event.orders.iter().find(|o| o.total > 0) else { continue };
            for _ in 0..=PAYMENTS_PER_ORDER_MAX {
                let action = Action::RecordPayment {
                    order: order.code,
                    reference: self.new_reference(),
                    amount: order.total,
                    currency: event.definition.currency,
                    paid_at: None,
                };
                self.plan((event.organizer, event.event), action);
            }
            return;
        }
    }

    /// Two definitions that share nothing, each with over half of all that is allowed.
    fn storm_of_types(&mut self) {
        let subject = (id("south"), id("giant"));
        let many_types = self.rng.percent(50);
        for prefix in ["a", "b"] {
            let mut definition = plain_definition();
            let half = QUOTAS_MAX.min(TICKET_TYPES_MAX) / 2 + 1;
            match many_types {
                true => {
                    definition.ticket_types = (0..half)
                        .map(|i| ticket_type(id(&format!("{prefix}{i}")), 1, vec![id("q0")]))
                        .collect();
                }
                false => {
                    let ids: Vec<Id> = (0..half).map(|i| id(&format!("{prefix}{i}"))).collect();
                    definition.quotas.clear();
                    definition.ticket_types.clear();
                    for (i, some) in ids.chunks(16).enumerate() {
                        let name = id(&format!("t{i}"));
                        definition.ticket_types.push(ticket_type(name, 1, some.to_vec()));
                    }
                    for id in ids {
                        let capacity = None;
                        definition.quotas.push(onsale_core::QuotaDefinition { id, capacity });
                    }
                }
            }
            let expects = if prefix == "a" { Expects::Unsaid } else { Expects::Any };
            let definition = Box::new(definition);
            self.plan(subject, Action::DefineEvent { definition, expects });
        }
    }

    fn plan(&mut self, subject: (Id, Id), action: Action) {
        self.script.push_back(Scripted::Do(subject, Box::new(action)));
    }
}

fn one_line(quantity: u32) -> Items {
    let item = Item { ticket_type: id("t0"), quantity, price: None };
    std::iter::once(item).collect()
}
