//! The stock of an event: three piles per quota, and what each customer has.

use std::collections::BTreeMap;
use std::sync::Arc;

use onsale_core::event::QuotaStock;
use onsale_core::{EventDefinition, Id, QuotaDefinition, TicketTypeDefinition};

use super::EventBook;
use super::finding::{Context, Rule};
use super::lines::Line;

/// One quota. Numbers are signed, so that what must not be negative can be seen to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Quota {
    pub capacity: Option<u32>,
    /// None: unlimited; `free` means nothing then.
    pub allotment: Option<u32>,
    pub free: i64,
    pub held: i64,
    pub sold: i64,
    /// By how much held + sold ever went beyond the allotment.
    pub oversold: i64,
    /// A broken quota is told of once, not with every record that follows.
    broken: bool,
}

/// The piles that tickets lie on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pile {
    Free,
    Held,
    Sold,
}

impl Quota {
    /// A quota that has nothing sold or held.
    pub(super) fn new(definition: &QuotaDefinition, stock: &QuotaStock) -> Quota {
        let (capacity, allotment) = (definition.capacity, stock.allotment);
        let free = i64::from(allotment.unwrap_or(0));
        Quota { capacity, allotment, free, held: 0, sold: 0, oversold: 0, broken: false }
    }

    /// Moves tickets from one pile to another.
    pub(super) fn shift(&mut self, from: Pile, to: Pile, quantity: i64) {
        *self.pile(from) -= quantity;
        *self.pile(to) += quantity;
    }

    fn pile(&mut self, pile: Pile) -> &mut i64 {
        match pile {
            Pile::Free => &mut self.free,
            Pile::Held => &mut self.held,
            Pile::Sold => &mut self.sold,
        }
    }

    /// Whether the piles are as they must be.
    fn is_right(&self) -> bool {
        let Quota { free, held, sold, .. } = *self;
        let counted = self
            .allotment
            .is_none_or(|allotment| free >= 0 && free + held + sold == i64::from(allotment));
        held >= 0 && sold >= 0 && counted
    }
}

/// A ticket type of a definition.
pub(super) fn find_type<'a>(
    definition: &'a EventDefinition,
    id: &str,
) -> Option<&'a TicketTypeDefinition> {
    definition.ticket_types.iter().find(|ticket_type| ticket_type.id.as_str() == id)
}

/// The quotas that a ticket type draws on; none where the definition lacks the type.
fn quotas_of<'a>(definition: &'a EventDefinition, id: &str) -> &'a [Id] {
    find_type(definition, id).map_or(&[], |ticket_type| &ticket_type.quotas)
}

impl EventBook {
    /// Moves lines from one pile to another, in each quota that they draw on.
    pub(super) fn shift(&mut self, lines: &[Line], from: Pile, to: Pile) {
        let definition = Arc::clone(&self.definition);
        for line in lines {
            for quota in quotas_of(&definition, &line.ticket_type) {
                if let Some(quota) = self.quotas.get_mut(quota.as_str()) {
                    quota.shift(from, to, line.quantity);
                }
            }
        }
    }

    /// Takes free stock for a customer.
    pub(super) fn take(&mut self, customer: &str, lines: &[Line], to: Pile) {
        self.shift(lines, Pile::Free, to);
        let tickets = self.customers.entry(customer.to_string()).or_default();
        for line in lines {
            *tickets.entry(line.ticket_type.clone()).or_default() += line.quantity;
        }
    }

    /// Gives a customer's stock back.
    pub(super) fn give_back(&mut self, customer: &str, lines: &[Line], from: Pile) {
        self.shift(lines, from, Pile::Free);
        let Some(tickets) = self.customers.get_mut(customer) else { return };
        for line in lines {
            *tickets.entry(line.ticket_type.clone()).or_default() -= line.quantity;
        }
        tickets.retain(|_, quantity| *quantity != 0);
        if tickets.is_empty() {
            self.customers.remove(customer);
        }
    }

    /// What a customer has of a limit's ticket types; all types where it names none.
    pub(super) fn tickets_of(&self, customer: &str, ticket_types: &[Id]) -> i64 {
        let Some(tickets) = self.customers.get(customer) else { return 0 };
        let covered = |id: &str| covers(ticket_types, id);
        tickets.iter().filter(|(id, _)| covered(id)).map(|(_, quantity)| quantity).sum()
    }

    /// Whether free stock is there for all lines together, of types that are defined.
    pub(super) fn is_in_stock(&self, lines: &[Line]) -> bool {
        let mut asked = BTreeMap::<&str, i64>::new();
        for line in lines {
            if find_type(&self.definition, &line.ticket_type).is_none() {
                return false;
            }
            for quota in quotas_of(&self.definition, &line.ticket_type) {
                *asked.entry(quota.as_str()).or_default() += line.quantity;
            }
        }
        asked.iter().all(|(id, asked)| {
            self.quotas.get(*id).is_some_and(|q| q.allotment.is_none() || q.free >= *asked)
        })
    }

    /// Checks every quota, after a record was carried out.
    pub(super) fn check_stock(&mut self, context: &mut Context<'_>) {
        for (id, quota) in &mut self.quotas {
            let right = quota.is_right();
            if let Some(allotment) = quota.allotment {
                let beyond = quota.held + quota.sold - i64::from(allotment);
                quota.oversold = quota.oversold.max(beyond);
            }
            context.check(Rule::Stock, right || quota.broken, || {
                let Quota { free, held, sold, allotment, .. } = *quota;
                match allotment {
                    Some(all) => {
                        format!("quota {id}: {free} free + {held} held + {sold} sold of {all}")
                    }
                    None => format!("quota {id}: {held} held, {sold} sold, unlimited"),
                }
            });
            quota.broken = !right;
        }
    }

    /// Held and sold of each quota of a definition, counted from the live holds and
    /// the orders themselves.
    pub(super) fn recount(&self, definition: &EventDefinition) -> BTreeMap<String, (i64, i64)> {
        let mut counts: BTreeMap<String, (i64, i64)> =
            definition.quotas.iter().map(|quota| (quota.id.to_string(), (0, 0))).collect();
        let mut add = |lines: &[Line], held: bool| {
            for line in lines {
                for quota in quotas_of(definition, &line.ticket_type) {
                    let count = counts.entry(quota.to_string()).or_default();
                    *if held { &mut count.0 } else { &mut count.1 } += line.quantity;
                }
            }
        };
        self.holds.values().for_each(|hold| add(&hold.lines, true));
        self.orders.values().filter(|o| !o.is_cancelled()).for_each(|o| add(&o.lines, false));
        counts
    }

    /// Checks the running counts against a recount.
    pub(super) fn check_recount(&self, context: &mut Context<'_>) {
        for (id, (held, sold)) in self.recount(&self.definition) {
            let Some(quota) = self.quotas.get(&id) else { continue };
            context.check(Rule::Stock, (quota.held, quota.sold) == (held, sold), || {
                let (counted_held, counted_sold) = (quota.held, quota.sold);
                format!(
                    "quota {id}: {counted_held} held and {counted_sold} sold were counted, \
                     holds have {held} and orders {sold}"
                )
            });
        }
    }
}

/// Whether a limit over these types covers a type; without types it covers all.
pub(super) fn covers(ticket_types: &[Id], id: &str) -> bool {
    ticket_types.is_empty() || ticket_types.iter().any(|covered| covered.as_str() == id)
}
