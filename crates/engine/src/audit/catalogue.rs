//! Rules of the catalogue: definitions, versions, states.

use std::collections::BTreeMap;
use std::sync::Arc;

use onsale_core::EventState;
use onsale_core::event::{EventDefined, StockSource, Subject};

use super::EventBook;
use super::finding::{Context, Rule};
use super::report::HoldTotals;
use super::stock::{Quota, find_type};

impl EventBook {
    /// The book of an event that is defined for the first time. It begins paused.
    pub(super) fn new(
        context: &mut Context<'_>,
        subject: &Subject,
        defined: &EventDefined,
    ) -> Self {
        check_definition(context, defined);
        check_version(context, defined.version, 0);
        let mut book = EventBook {
            subject: *subject,
            shard: context.shard,
            version: defined.version,
            state: EventState::Paused,
            definition: Arc::new(defined.definition.clone()),
            used_currency: None,
            quotas: BTreeMap::new(),
            customers: BTreeMap::new(),
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            payments: BTreeMap::new(),
            hold_totals: HoldTotals::default(),
        };
        book.take_quotas(defined);
        book.check_stock(context);
        book
    }

    /// A new definition of an event that is there: types and quotas in use stay, and
    /// what is held and sold, counted anew, fits.
    pub(super) fn redefine(&mut self, context: &mut Context<'_>, defined: &EventDefined) {
        check_definition(context, defined);
        check_version(context, defined.version, self.version);
        context.check(Rule::Placement, self.shard == context.shard, || {
            format!("the event lives on shard {}", self.shard)
        });
        let definition = &defined.definition;
        let same = definition.sale_group == self.definition.sale_group;
        context.check(Rule::Placement, same, || "the sale group has changed".into());
        let same = self.used_currency.is_none_or(|currency| currency == definition.currency);
        context.check(Rule::Definition, same, || "the currency changed after a sale".into());
        self.check_recount(context);
        for (id, quota) in &self.quotas {
            let stays = definition.quotas.iter().any(|quota| quota.id.as_str() == id);
            context.check(Rule::Definition, stays || quota.held + quota.sold == 0, || {
                format!(
                    "the quota {id} was taken out with {} held and sold",
                    quota.held + quota.sold
                )
            });
        }
        for id in self.customers.values().flat_map(BTreeMap::keys) {
            context.check(Rule::Definition, find_type(definition, id).is_some(), || {
                format!("the ticket type {id} was taken out with tickets held or sold")
            });
        }
        self.definition = Arc::new(definition.clone());
        self.version = defined.version;
        self.take_quotas(defined);
        self.check_stock(context);
    }

    /// Takes the quotas of a definition over, with what is held and sold of each.
    fn take_quotas(&mut self, defined: &EventDefined) {
        let counts = self.recount(&defined.definition);
        let before = std::mem::take(&mut self.quotas);
        for (definition, stock) in defined.definition.quotas.iter().zip(&defined.stocks) {
            let id = definition.id.to_string();
            let (held, sold) = counts.get(&id).copied().unwrap_or_default();
            let mut quota = Quota::new(definition, stock);
            quota.oversold = before.get(&id).map_or(0, |quota| quota.oversold);
            (quota.held, quota.sold) = (held, sold);
            quota.free -= held + sold;
            self.quotas.insert(id, quota);
        }
    }

    pub(super) fn set_state(&mut self, context: &mut Context<'_>, version: u32, state: EventState) {
        check_version(context, version, self.version);
        (self.version, self.state) = (version, state);
    }
}

fn check_version(context: &mut Context<'_>, version: u32, before: u32) {
    context.check(Rule::Versions, Some(version) == before.checked_add(1), || {
        format!("version {version} follows version {before}")
    });
}

/// A definition by itself, and its stocks beside it.
fn check_definition(context: &mut Context<'_>, defined: &EventDefined) {
    let EventDefined { definition, stocks, .. } = defined;
    if let Err(invalid) = definition.validate() {
        context.found(Rule::Definition, || format!("the definition is invalid: {invalid}"));
    }
    context.check(Rule::Definition, stocks.len() == definition.quotas.len(), || {
        format!("{} stocks for {} quotas", stocks.len(), definition.quotas.len())
    });
    for (quota, stock) in definition.quotas.iter().zip(stocks) {
        let own = stock.source == StockSource::Own;
        context.check(Rule::Definition, !own || stock.allotment == quota.capacity, || {
            let (allotment, capacity) = (stock.allotment, quota.capacity);
            format!(
                "quota {}: its allotment {allotment:?} is not its capacity {capacity:?}",
                quota.id
            )
        });
    }
}
