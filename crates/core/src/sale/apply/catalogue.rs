//! Events that define what is for sale.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{ApplyError, ensure};
use crate::catalogue::EventState;
use crate::event::{EventDefined, StockSource, Subject};
use crate::refusal::Refusal;
use crate::sale::Sale;
use crate::sale::event_state::{EventEntry, Shape};

impl Sale {
    pub(super) fn apply_event_defined(
        &mut self,
        subject: &Subject,
        digest: u128,
        slot: Option<u32>,
        defined: &EventDefined,
    ) -> Result<(), ApplyError> {
        let EventDefined { version, definition, stocks } = defined;
        let refused = |invalid| ApplyError::Definition(Refusal::InvalidDefinition(invalid));
        definition.validate().map_err(refused)?;
        ensure(stocks.len() == definition.quotas.len(), "not one stock for each quota")?;
        for (stock, quota) in stocks.iter().zip(&definition.quotas) {
            let own = stock.source == StockSource::Own;
            ensure(!own || stock.allotment == quota.capacity, "an allotment is not the capacity")?;
        }
        let group = self.group_digest(&subject.organizer, &definition.sale_group);
        ensure(self.has_group(group), "the sale group was not placed")?;
        let before = slot.map(|slot| &*self.events[slot as usize]);
        ensure(*version == before.map_or(1, |b| b.version + 1), "the version is not the next")?;
        if let Some(before) = before {
            let same = before.definition.sale_group == definition.sale_group;
            ensure(same, "the sale group has changed")?;
            let same = before.definition.currency == definition.currency;
            ensure(same || !before.used, "the currency has changed")?;
        }
        let empty = Shape::default();
        let shape = before.map_or(&empty, |before| &before.shape);
        let shape = shape.redefined(definition, stocks).map_err(ApplyError::Definition)?;
        let definition = Arc::new(definition.clone());
        match slot {
            Some(slot) => {
                let event = &mut self.events[slot as usize];
                (event.version, event.definition, event.shape) = (*version, definition, shape);
            }
            None => self.add_event(EventEntry {
                organizer: subject.organizer,
                id: subject.event,
                digest,
                version: *version,
                state: EventState::Paused,
                definition,
                shape,
                used: false,
                hold_queues: SmallVec::new(),
                order_queues: SmallVec::new(),
            }),
        }
        Ok(())
    }

    pub(in crate::sale) fn add_event(&mut self, event: EventEntry) {
        let (digest, slot) = (event.digest, self.events.len() as u32);
        self.events.push(Box::new(event));
        let events = &self.events;
        self.event_index.insert(digest, slot, |slot| events[slot as usize].digest);
    }

    pub(super) fn apply_state_set(
        &mut self,
        slot: u32,
        version: u32,
        state: EventState,
    ) -> Result<(), ApplyError> {
        let event = &mut self.events[slot as usize];
        ensure(version == event.version + 1, "the version is not the next")?;
        (event.version, event.state) = (version, state);
        Ok(())
    }
}
