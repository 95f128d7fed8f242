//! From an event to the next state.
//!
//! Each kind of event is first checked in full against the state, then carried
//! out: an event that does not follow from what came before is an error and
//! changes nothing. A journal that was not written by [`Sale::decide`] is found out
//! here.

mod catalogue;
mod holds;
mod orders;

use smallvec::SmallVec;

use super::lines::Line;
use super::{EventEntry, Group, Keys, Needs, Sale, Shard};
use crate::catalogue::Currency;
use crate::event::{Event, Fact, Lines, ShardStarted, Stock, Subject};
use crate::limits::{
    GENERATIONS_MAX, INTEGER_MAX, LINES_MAX, PRICE_MAX, QUANTITY_MAX, SHARDS_MAX,
    TICKETS_PER_ORDER_MAX,
};
use crate::refusal::Refusal;
use crate::text::Id;
use crate::time::Time;

/// Why an event does not follow from the ones before it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApplyError {
    /// Positions are dense.
    #[error("the event at position {got} came where {expected} was due")]
    Position {
        /// The next position.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// Time never runs backwards.
    #[error("the event is of {at:?}, but the one before it of {last:?}")]
    Time {
        /// Time of the last event.
        last: Time,
        /// Time of this one.
        at: Time,
    },
    /// A definition that would have been refused.
    #[error("the definition does not fit: {0}")]
    Definition(Refusal),
    /// Records must be read first: hand them to [`Sale::thaw`], then apply again.
    #[error(transparent)]
    Needs(#[from] Needs),
    /// Anything else that the state contradicts.
    #[error("{what}")]
    Inconsistent {
        /// What is wrong.
        what: &'static str,
    },
}

const _: () = assert!(QUANTITY_MAX <= u16::MAX as u32);

pub(super) type StoredLines = SmallVec<[Line; 4]>;

/// Fails with `what` unless `holds`.
pub(super) fn ensure(holds: bool, what: &'static str) -> Result<(), ApplyError> {
    match holds {
        true => Ok(()),
        false => Err(ApplyError::Inconsistent { what }),
    }
}

pub(super) fn some<T>(value: Option<T>, what: &'static str) -> Result<T, ApplyError> {
    value.ok_or(ApplyError::Inconsistent { what })
}

/// When, where in the log, and on which event a fact is carried out.
#[derive(Clone, Copy)]
struct Context {
    at: Time,
    position: u64,
    event: u32,
    /// Key of the customer, of a fact that names one.
    customer: u128,
    /// Whether it was decided on the state as it is, so that what was checked then need not be again.
    decided: bool,
}

impl Sale {
    /// Carries an event out.
    ///
    /// # Errors
    /// The event does not follow from those before it; nothing has changed then.
    pub fn apply(&mut self, position: u64, event: &Event) -> Result<(), ApplyError> {
        let keys = self.event_keys(event);
        self.touch_event(event, &keys);
        self.carry_out(position, event, &keys, false)
    }

    /// The same, with the event's keys at hand, which a [`super::KeyMaker`] or
    /// [`Sale::event_keys`] gave.
    ///
    /// # Errors
    /// As [`Sale::apply`].
    pub fn apply_with(
        &mut self,
        position: u64,
        event: &Event,
        keys: &Keys,
    ) -> Result<(), ApplyError> {
        self.carry_out(position, event, keys, false)
    }

    /// The same for an event that was decided a moment ago, on the state as it is now but for the events
    /// of its command before it, with the keys of that command. What was looked up to decide it is
    /// not looked up again, but for debug builds.
    ///
    /// # Errors
    /// As [`Sale::apply`].
    pub fn apply_decided(
        &mut self,
        position: u64,
        event: &Event,
        keys: &Keys,
    ) -> Result<(), ApplyError> {
        self.carry_out(position, event, keys, !cfg!(debug_assertions))
    }

    fn carry_out(
        &mut self,
        position: u64,
        event: &Event,
        keys: &Keys,
        decided: bool,
    ) -> Result<(), ApplyError> {
        let expected = self.position + 1;
        if position != expected {
            return Err(ApplyError::Position { expected, got: position });
        }
        if event.at < self.time {
            return Err(ApplyError::Time { last: self.time, at: event.at });
        }
        // Deadlines lie ahead of it and must still be numbers.
        ensure(event.at.0 <= INTEGER_MAX, "the time is out of range")?;
        match (&event.fact, &event.subject) {
            (Fact::ShardStarted(started), None) => self.apply_shard_started(started)?,
            (Fact::GenerationStarted { generation }, None) => {
                self.apply_generation_started(*generation)?;
            }
            (_, Some(subject)) => {
                ensure(self.shard.started, "the shard has not started")?;
                self.apply_to_event(position, event, subject, keys, decided)?;
                if event.stamp.is_some_and(|stamp| stamp.chosen) {
                    self.memory.remember(keys.id, position, event.at);
                }
            }
            (_, None) => return ensure(false, "the event has no subject"),
        }
        self.position = position;
        self.time = event.at;
        self.freeze_passed();
        Ok(())
    }

    fn apply_to_event(
        &mut self,
        position: u64,
        event: &Event,
        subject: &Subject,
        keys: &Keys,
        decided: bool,
    ) -> Result<(), ApplyError> {
        let slot = self.slot_for(keys, &subject.organizer, &subject.event);
        match &event.fact {
            Fact::GroupPlaced { sale_group } => {
                return self.apply_group_placed(&subject.organizer, *sale_group);
            }
            Fact::EventDefined(defined) => {
                return self.apply_event_defined(subject, keys.event, slot, defined);
            }
            _ => {}
        }
        let slot = some(slot, "there is no such event")?;
        let customer = keys.customer;
        let context = Context { at: event.at, position, event: slot, customer, decided };
        match &event.fact {
            Fact::StateSet { version, state } => self.apply_state_set(slot, *version, *state),
            Fact::HoldPlaced(placed) => self.apply_hold_placed(context, placed),
            Fact::HoldExtended { hold, expires_at } => {
                self.apply_hold_extended(context, *hold, *expires_at)
            }
            Fact::HoldReleased { hold } => self.apply_hold_released(context, *hold),
            Fact::HoldExpired { hold } => self.apply_hold_expired(context, *hold),
            Fact::OrderPlaced(placed) => self.apply_order_placed(context, placed),
            Fact::PaymentRecorded(recorded) => self.apply_payment_recorded(context, recorded),
            Fact::PaymentRefunded { order, reference } => {
                self.apply_payment_refunded(context, *order, reference)
            }
            Fact::OrderCancelled { order, reason } => {
                self.apply_order_cancelled(context, *order, *reason)
            }
            Fact::ShardStarted(_)
            | Fact::GenerationStarted { .. }
            | Fact::GroupPlaced { .. }
            | Fact::EventDefined(_) => ensure(false, "a fact about the shard has a subject"),
        }
    }

    fn apply_shard_started(&mut self, started: &ShardStarted) -> Result<(), ApplyError> {
        ensure(!self.shard.started, "the shard has started before")?;
        ensure(started.shards >= 1 && started.shards <= SHARDS_MAX, "shards: out of range")?;
        ensure(started.shard < started.shards, "shard: not below the number of shards")?;
        ensure(started.generation <= GENERATIONS_MAX, "generation: too high")?;
        let ShardStarted { log, shard, shards, key, generation } = *started;
        self.shard = Shard { started: true, log, shard, shards, key, generation };
        Ok(())
    }

    fn apply_generation_started(&mut self, generation: u32) -> Result<(), ApplyError> {
        ensure(self.shard.started, "the shard has not started")?;
        ensure(generation > self.shard.generation, "the generation does not grow")?;
        ensure(generation <= GENERATIONS_MAX, "generation: too high")?;
        self.shard.generation = generation;
        Ok(())
    }

    pub(super) fn apply_group_placed(
        &mut self,
        organizer: &Id,
        sale_group: Id,
    ) -> Result<(), ApplyError> {
        let digest = self.group_digest(organizer, &sale_group);
        ensure(!self.has_group(digest), "the sale group was placed before")?;
        let slot = self.groups.len() as u32;
        self.groups.push(Group { digest, organizer: *organizer, sale_group });
        let groups = &self.groups;
        self.group_index.insert(digest, slot, |slot| groups[slot as usize].digest);
        Ok(())
    }
}

/// A record's lines in the form in which they are kept, checked but for whether there
/// is stock.
pub(super) fn stored_lines(
    event: &EventEntry,
    lines: &Lines,
    total: i64,
    currency: Currency,
) -> Result<StoredLines, ApplyError> {
    ensure((1..=LINES_MAX).contains(&lines.len()), "lines: none or too many")?;
    ensure(currency == event.definition.currency, "another currency than the event's")?;
    let (mut stored, mut sum, mut tickets) = (StoredLines::new(), 0, 0);
    for line in lines {
        ensure(line.event.is_none(), "a line of another event: not supported")?;
        let quantity = match line.stock {
            Stock::Counted(quantity) => quantity,
            Stock::Places(_) => return ensure(false, "seats: not supported").map(|()| stored),
        };
        ensure((1..=QUANTITY_MAX).contains(&quantity), "a line's quantity is out of range")?;
        ensure((0..=PRICE_MAX).contains(&line.unit_price), "a line's price is out of range")?;
        ensure((1..=event.version).contains(&line.version), "a line's version is unknown")?;
        let slot = event.shape.type_slot(&line.ticket_type);
        let ticket_type = some(slot, "there is no such ticket type")?;
        let (unit_price, version) = (line.unit_price, line.version);
        stored.push(Line { unit_price, version, ticket_type, quantity: quantity as u16 });
        sum += unit_price * i64::from(quantity);
        tickets += quantity;
    }
    ensure(tickets <= TICKETS_PER_ORDER_MAX, "too many tickets")?;
    ensure(sum == total, "the total is not the sum of the lines")?;
    Ok(stored)
}

/// Checks that what new lines take is for sale and free.
fn ensure_free(event: &EventEntry, lines: &[Line]) -> Result<(), ApplyError> {
    for line in lines {
        let defined = event.shape.types[line.ticket_type as usize].defined;
        ensure(defined.is_some(), "the ticket type was taken out of the definition")?;
    }
    let wants = lines.iter().map(|line| (line.ticket_type, u32::from(line.quantity)));
    ensure(event.shape.has_free(&event.shape.asked(wants)), "a quota would be oversold")
}
