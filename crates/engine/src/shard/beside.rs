//! What a shard knows beside its state: command ids from before the state's short memory, and
//! records of old orders. Both are read from files when a command or a view needs them, by the
//! shard's own thread: a block or a batch, seldom more.

use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::view::OrderView;
use onsale_core::{Command, Decision, Id, Keys, Known, OrderCode, Refusal, Time, Unanswered};

use onsale_planted::{Bug, is};

use super::Shard;
use crate::ids;
use crate::request::Unavailable;
use crate::upkeep::build;

/// How often one command or view may need more records.
const THAWS_MAX: usize = 8;
/// Segments with unreadable ids that are remembered until the upkeep comes to them.
const UNREADABLE_MAX: usize = 64;

/// Why there is no decision and no view.
pub(super) enum Undecided {
    /// A rule forbids it.
    Refused(Refusal),
    /// It can't be told.
    Unavailable(Unavailable),
}

impl<T> Shard<T> {
    /// Under which key a command's id is kept; none: nobody chose it.
    pub(super) fn short_key(&self, keys: &Keys) -> Option<u64> {
        keys.remembered().map(|key| ids::short_key(self.sale.key(), key))
    }

    /// Since when command ids are known, as seen at a time.
    pub(super) fn ids_since(&self, now: Time) -> Time {
        let kept = self.sale.remembered_since(now).min(self.ids.since());
        kept.max(Time(now.0 - COMMANDS_REMEMBERED_US))
    }

    /// What is known of a command's id beside the state.
    ///
    /// # Errors
    /// A file can't be read. The upkeep will make it again.
    pub(super) fn known(&mut self, key: Option<u64>, now: Time) -> Result<Known, Unavailable> {
        let Some(key) = key.filter(|_| !is(Bug::IdsFilesNotAsked)) else {
            return Ok(Known::default());
        };
        if self.sale.remembered_since(now).0 <= now.0 - COMMANDS_REMEMBERED_US {
            // The state knows all of them.
            return Ok(Known::default());
        }
        let since = Some(self.ids.since());
        let found = self.ids.find(key).map_err(|(extent, error)| {
            if self.unreadable.len() < UNREADABLE_MAX {
                self.unreadable.push(extent.sequence);
            }
            self.notes.push(format!("{}: {error}: made again", ids::name(extent.sequence)));
            Unavailable::Unreadable
        })?;
        // What is not durable yet is still in the state's own memory.
        let Some(position) = found.filter(|position| *position <= self.reader.durable()) else {
            return Ok(Known { repeated: None, since });
        };
        let Ok(event) = build::event_at(&self.reader, position) else {
            return Err(Unavailable::Unreadable);
        };
        let is_same = self.sale.event_command_key(&event);
        let is_same = is_same.map(|found| ids::short_key(self.sale.key(), found)) == Some(key);
        let second = |at: i64| at.div_euclid(1_000_000);
        let is_young = second(event.at.0) >= second(now.0 - COMMANDS_REMEMBERED_US);
        Ok(Known { repeated: (is_same && is_young).then_some(position), since })
    }

    /// Decides, and reads what records that needs.
    pub(super) fn decide(
        &mut self,
        command: &Command,
        keys: &Keys,
        now: Time,
        known: &Known,
    ) -> Result<Decision, Undecided> {
        for _ in 0..THAWS_MAX {
            match self.sale.decide_with(command, keys, now, known) {
                Ok(Decision::Needs(needs)) => self.thaw(&needs)?,
                decided => return decided.map_err(Undecided::Refused),
            }
        }
        Err(Undecided::Unavailable(Unavailable::Unreadable))
    }

    /// An order as it is shown.
    pub(super) fn order(
        &mut self,
        organizer: &Id,
        event: &Id,
        order: OrderCode,
    ) -> Result<OrderView, Undecided> {
        for _ in 0..THAWS_MAX {
            match self.sale.order(organizer, event, order) {
                Ok(view) => return Ok(view),
                Err(Unanswered::Refused(refusal)) => return Err(Undecided::Refused(refusal)),
                Err(Unanswered::Needs(needs)) => self.thaw(&needs)?,
            }
        }
        Err(Undecided::Unavailable(Unavailable::Unreadable))
    }

    fn thaw(&mut self, needs: &onsale_core::Needs) -> Result<(), Undecided> {
        build::thaw(&mut self.sale, needs, &self.reader).map_err(|error| {
            if self.notes.len() < UNREADABLE_MAX {
                self.notes.push(error);
            }
            Undecided::Unavailable(Unavailable::Unreadable)
        })
    }
}
