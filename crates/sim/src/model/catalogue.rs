//! Definitions and states of events.

use std::collections::BTreeMap;

use onsale_core::catalogue::{EventDefinition, EventState};
use onsale_core::command::Expects;
use onsale_core::event::{EventDefined, Fact, QuotaStock, StockSource};
use onsale_core::limits::{QUOTAS_MAX, TICKET_TYPES_MAX};
use onsale_core::refusal::Refusal;
use onsale_core::text::Id;

use super::{EventModel, Model, Step};

impl Model {
    pub(super) fn define(
        &mut self,
        subject: (Id, Id),
        definition: &EventDefinition,
        expects: Expects,
    ) -> Result<Step, Refusal> {
        definition.validate()?;
        let Some(event) = self.events.get_mut(&subject) else {
            if matches!(expects, Expects::Any | Expects::Version(_)) {
                return Err(Refusal::VersionStale { current: None });
            }
            let event = EventModel::new(subject, definition);
            let defined = event.defined();
            self.events.insert(subject, event);
            let sale_group = definition.sale_group;
            let new = self.groups.insert((subject.0, sale_group));
            let placed = new.then_some(Fact::GroupPlaced { sale_group });
            return Ok(Step::Facts(placed.into_iter().chain([defined]).collect()));
        };
        event.check_version(expects)?;
        if event.definition == *definition {
            return Ok(Step::Unchanged);
        }
        event.check_redefinition(definition)?;
        event.version += 1;
        event.definition = definition.clone();
        add_new(&mut event.types_ever, &type_ids(definition));
        add_new(&mut event.quotas_ever, &quota_ids(definition));
        Ok(Step::Facts(vec![event.defined()]))
    }
}

impl EventModel {
    fn new((organizer, event): (Id, Id), definition: &EventDefinition) -> EventModel {
        EventModel {
            organizer,
            event,
            version: 1,
            state: EventState::Paused,
            definition: definition.clone(),
            types_ever: type_ids(definition),
            quotas_ever: quota_ids(definition),
            holds: BTreeMap::new(),
            ended: BTreeMap::new(),
            orders: Vec::new(),
            payments: Vec::new(),
        }
    }

    fn defined(&self) -> Fact {
        let stocks = self.stocks();
        let (version, definition) = (self.version, self.definition.clone());
        Fact::EventDefined(Box::new(EventDefined { version, definition, stocks }))
    }

    /// The right to sell of each quota: an event that is sold here alone has all its capacity.
    pub(super) fn stocks(&self) -> Vec<QuotaStock> {
        let stock = |allotment| QuotaStock { allotment, epoch: 1, source: StockSource::Own };
        self.definition.quotas.iter().map(|q| stock(q.capacity)).collect()
    }

    fn check_version(&self, expects: Expects) -> Result<(), Refusal> {
        match expects {
            Expects::Any => Ok(()),
            Expects::Version(version) if version == self.version => Ok(()),
            Expects::Version(_) | Expects::Absent => {
                Err(Refusal::VersionStale { current: Some(self.version) })
            }
            Expects::Unsaid => Err(Refusal::VersionNotSaid { current: self.version }),
        }
    }

    /// What may not change, and what may not shrink below its use.
    fn check_redefinition(&self, new: &EventDefinition) -> Result<(), Refusal> {
        let old = &self.definition;
        if new.sale_group != old.sale_group {
            return Err(Refusal::SaleGroupFixed { group: old.sale_group });
        }
        let ever_touched =
            !(self.holds.is_empty() && self.ended.is_empty() && self.orders.is_empty());
        if new.currency != old.currency && ever_touched {
            return Err(Refusal::CurrencyInUse);
        }
        check_ever("ticket_types", &self.types_ever, &type_ids(new), TICKET_TYPES_MAX)?;
        for ticket_type in &self.types_ever {
            let used = self.used_of(*ticket_type);
            if used > 0 && !type_ids(new).contains(ticket_type) {
                return Err(Refusal::TicketTypeInUse { ticket_type: *ticket_type, used });
            }
        }
        check_ever("quotas", &self.quotas_ever, &quota_ids(new), QUOTAS_MAX)?;
        for quota in &self.quotas_ever {
            let used = self.used_under(old, *quota);
            if used > 0 && !quota_ids(new).contains(quota) {
                return Err(Refusal::QuotaInUse { quota: *quota, used });
            }
        }
        for (index, quota) in new.quotas.iter().enumerate() {
            let used = self.used_under(new, quota.id);
            if let Some(asked) = quota.capacity
                && asked < used
            {
                return Err(Refusal::QuotaBelowUse { index, quota: quota.id, asked, used });
            }
        }
        Ok(())
    }

    fn used_of(&self, ticket_type: Id) -> u32 {
        self.held_of(ticket_type) + self.sold_of(ticket_type)
    }

    /// Held and sold of a quota, with ticket types mapped to it as this definition says.
    fn used_under(&self, definition: &EventDefinition, quota: Id) -> u32 {
        let draws = definition.ticket_types.iter().filter(|t| t.quotas.contains(&quota));
        draws.map(|t| self.used_of(t.id)).sum()
    }

    pub(super) fn set_state(
        &mut self,
        state: EventState,
        expects: Expects,
    ) -> Result<Step, Refusal> {
        self.check_version(expects)?;
        if self.state == state {
            return Ok(Step::Unchanged);
        }
        self.version += 1;
        self.state = state;
        Ok(Step::Facts(vec![Fact::StateSet { version: self.version, state }]))
    }
}

/// Over its whole life an event may have had so many different ids, not more.
fn check_ever(field: &'static str, ever: &[Id], new: &[Id], max: usize) -> Result<(), Refusal> {
    let mut all = ever.to_vec();
    add_new(&mut all, new);
    match all.len() > max {
        true => Err(Refusal::TooManyEver { field, max }),
        false => Ok(()),
    }
}

fn add_new(ever: &mut Vec<Id>, ids: &[Id]) {
    for id in ids {
        if !ever.contains(id) {
            ever.push(*id);
        }
    }
}

fn type_ids(definition: &EventDefinition) -> Vec<Id> {
    definition.ticket_types.iter().map(|t| t.id).collect()
}

fn quota_ids(definition: &EventDefinition) -> Vec<Id> {
    definition.quotas.iter().map(|q| q.id).collect()
}
