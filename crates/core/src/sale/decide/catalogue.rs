//! Commands that define what is for sale.

use super::{Request, event, stamp};
use crate::catalogue::{EventDefinition, EventState};
use crate::command::{Command, Expects};
use crate::event::{EventDefined, Events, Fact};
use crate::refusal::Refusal;
use crate::sale::event_state::{EventEntry, Shape};
use crate::sale::{Decision, Sale};
use crate::time::Time;

/// Whether a change finds the version that it expects.
fn expected(expects: Expects, current: u32) -> Result<(), Refusal> {
    match expects {
        Expects::Any => Ok(()),
        Expects::Version(version) if version == current => Ok(()),
        Expects::Version(_) | Expects::Absent => {
            Err(Refusal::VersionStale { current: Some(current) })
        }
        Expects::Unsaid => Err(Refusal::VersionNotSaid { current }),
    }
}

impl Sale {
    /// Checks run from what the definition says by itself, over the version that it
    /// is meant for, to what is held and sold.
    pub(super) fn decide_define(
        &self,
        command: &Command,
        slot: Option<u32>,
        definition: &EventDefinition,
        expects: Expects,
        now: Time,
    ) -> Result<Decision, Refusal> {
        definition.validate()?;
        let before = slot.map(|slot| &*self.events[slot as usize]);
        match (before, expects) {
            (Some(before), _) => expected(expects, before.version)?,
            (None, Expects::Any | Expects::Version(_)) => {
                return Err(Refusal::VersionStale { current: None });
            }
            (None, Expects::Absent | Expects::Unsaid) => {}
        }
        if before.is_some_and(|before| *before.definition == *definition) {
            return Ok(Decision::Unchanged);
        }
        let stocks = EventEntry::stocks_for(before, &definition.quotas);
        if let Some(before) = before {
            if before.definition.sale_group != definition.sale_group {
                return Err(Refusal::SaleGroupFixed { group: before.definition.sale_group });
            }
            if before.used && before.definition.currency != definition.currency {
                return Err(Refusal::CurrencyInUse);
            }
            before.shape.redefined(definition, &stocks)?;
        } else {
            Shape::default().redefined(definition, &stocks)?;
        }
        let mut events = Events::new();
        let sale_group = definition.sale_group;
        if !self.has_group(self.group_digest(&command.organizer, &sale_group)) {
            events.push(event(command, now, None, Fact::GroupPlaced { sale_group }));
        }
        let version = before.map_or(1, |before| before.version + 1);
        let defined = EventDefined { version, definition: definition.clone(), stocks };
        let fact = Fact::EventDefined(Box::new(defined));
        events.push(event(command, now, Some(stamp(command)), fact));
        Ok(Decision::Change(events))
    }

    pub(super) fn decide_set_state(
        &self,
        request: Request<'_>,
        state: EventState,
        expects: Expects,
    ) -> Result<Decision, Refusal> {
        expected(expects, request.event.version)?;
        if request.event.state == state {
            return Ok(Decision::Unchanged);
        }
        request.fact(Fact::StateSet { version: request.event.version + 1, state })
    }
}
