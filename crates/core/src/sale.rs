//! The state of one shard, and the two functions that rule it.

mod apply;
mod audit;
mod check;
mod customers;
mod deadlines;
mod decide;
mod event_state;
mod frozen;
mod hash;
mod hints;
mod holds;
mod keys;
mod knowing;
mod lines;
mod orders;
mod remembered;
mod restore;
mod save;
mod views;

use onsale_planted::{Bug, is};

use crate::code::{CodeKey, OrderCode};
use crate::command::{Action, HoldId};
use crate::event::{Events, Subject};
use crate::index::Index;
use crate::refusal::Refusal;
use crate::slab::NONE;
use crate::table::{Fifo, Table};
use crate::text::{CustomerId, Id, Reference};
use crate::time::Time;

use self::customers::Customers;
use self::deadlines::Deadlines;
use self::event_state::EventEntry;
use self::frozen::FrozenSums;
use self::hints::EventHints;
use self::holds::{Ended, Hold};
use self::lines::LineStore;
use self::orders::{Order, Orders};
use self::remembered::Memory;

pub use self::apply::ApplyError;
pub use self::deadlines::Waiting;
pub use self::holds::Ending;
pub use self::keys::{KeyMaker, Keys};
pub use self::knowing::{Known, Needs, Unanswered};
pub use self::restore::{RestoreError, Restorer};

/// What a command leads to.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are changes: a box would cost each of them"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// These events, to be applied in order, all or none.
    Change(Events),
    /// The command was carried out before: its fact is the record at this
    /// position. Whether the body was the same is for the caller to compare.
    Repeated {
        /// Position of the fact.
        position: u64,
    },
    /// The state is as wanted already.
    Unchanged,
    /// Records must be read before this can be decided: hand them to [`Sale::thaw`], then
    /// ask again.
    Needs(Needs),
}

/// The state of one shard.
///
/// [`Sale::decide`] reads it, [`Sale::apply`] alone changes what it means. The same
/// events always give the same state, which [`Sale::hash`] shows.
#[derive(Default)]
pub struct Sale {
    shard: Shard,
    position: u64,
    time: Time,
    #[expect(clippy::vec_box, reason = "the list must grow without copying the events")]
    events: Vec<Box<EventEntry>>,
    event_index: Index,
    event_hints: EventHints,
    groups: Vec<Group>,
    group_index: Index,
    holds: Table<Hold>,
    ended: Fifo<Ended>,
    orders: Orders,
    frozen: FrozenSums,
    lines: LineStore,
    customers: Customers,
    deadlines: Deadlines,
    memory: Memory,
}

/// What the first record says, and the generation since.
#[derive(Clone, Copy)]
struct Shard {
    started: bool,
    log: u128,
    shard: u16,
    shards: u16,
    key: CodeKey,
    generation: u32,
}

impl Default for Shard {
    fn default() -> Self {
        let key = CodeKey([0; 16]);
        Self { started: false, log: 0, shard: 0, shards: 0, key, generation: 0 }
    }
}

/// A sale group that lives on this shard.
struct Group {
    digest: u128,
    organizer: Id,
    sale_group: Id,
}

/// How much there is, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Events ever made.
    pub events: usize,
    /// Sale groups placed here.
    pub groups: usize,
    /// Live holds, due ones that have not been expired yet included.
    pub holds: usize,
    /// Ended holds of which the end is still known.
    pub ended_holds: usize,
    /// Orders ever placed.
    pub orders: usize,
    /// Payments ever recorded.
    pub payments: usize,
    /// Customers of an event who hold or own something.
    pub customers: usize,
    /// Command ids that are remembered.
    pub remembered: usize,
}

impl Sale {
    /// A shard before its first record, which must be `ShardStarted`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Position of the last event applied; 0: none yet.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Time of the last event applied.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// The secret from which codes and digests are made.
    #[must_use]
    pub fn key(&self) -> CodeKey {
        self.shard.key
    }

    /// Which shard this is.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shard.shard
    }

    /// How many shards the log has.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shard.shards
    }

    /// The log's id.
    #[must_use]
    pub fn log(&self) -> u128 {
        self.shard.log
    }

    /// The log's generation.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.shard.generation
    }

    /// Since when command ids are remembered, as seen at `now`.
    #[must_use]
    pub fn remembered_since(&self, now: Time) -> Time {
        self.memory.since(now, None)
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            events: self.events.len(),
            groups: self.groups.len(),
            holds: self.holds.len(),
            ended_holds: self.ended.len(),
            orders: self.orders.len(),
            payments: self.orders.payments_len(),
            customers: self.customers.len(),
            remembered: self.memory.len(),
        }
    }

    /// Bytes that the tables of holds, orders, customers and command ids take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.holds.memory_bytes()
            + self.ended.memory_bytes()
            + self.orders.memory_bytes()
            + self.lines.memory_bytes()
            + self.customers.memory_bytes()
            + self.deadlines.memory_bytes()
            + self.memory.memory_bytes()
    }

    /// A time before which no hold or order is due; it may lie earlier than the first
    /// real deadline, never later. None: nothing waits.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.deadlines.next_due()
    }

    /// Adds to `out` up to `max` holds and orders that are due at `now`, as the actions
    /// that expire them. They stay due until the events of these are applied.
    ///
    /// Takes `&mut self` to put the bounds of queues right that it came upon; what the
    /// state means does not change.
    pub fn due(&mut self, now: Time, max: usize, out: &mut Vec<(Subject, Action)>) {
        let end = out.len() + max;
        let mut taken = smallvec::SmallVec::<[u32; 8]>::new();
        while out.len() < end {
            let Some(queue) = self.deadlines.take_due(now) else { break };
            taken.push(queue);
            self.due_of(queue, now, end, out);
        }
        for queue in taken {
            let head = self.deadlines.queue(queue).head;
            let deadline = (head != NONE).then(|| match self.deadlines.queue(queue).waiting {
                Waiting::Holds => self.holds[head].expires_at,
                Waiting::Orders => self.order_at(head).payment_due().expect("it waits"),
            });
            self.deadlines.put_back(queue, deadline.filter(|_| !is(Bug::TimerSleepsOn)));
        }
    }

    fn due_of(&self, queue: u32, now: Time, end: usize, out: &mut Vec<(Subject, Action)>) {
        let event = &self.events[self.deadlines.queue(queue).event as usize];
        let subject = Subject { organizer: event.organizer, event: event.id };
        let room = end - out.len();
        match self.deadlines.queue(queue).waiting {
            Waiting::Holds => {
                let records = self.deadlines.records(queue, |slot| &self.holds[slot]);
                let holds = records.map(|slot| self.holds[slot]);
                let due = holds.take_while(|hold| hold.expires_at <= now).take(room);
                out.extend(due.map(|hold| (subject, Action::ExpireHold { hold: hold.id() })));
            }
            Waiting::Orders if is(Bug::TimerSkipsOrders) => {}
            Waiting::Orders => {
                let records = self.deadlines.records(queue, |slot| self.order_at(slot));
                let is_due =
                    |slot: &u32| self.order_at(*slot).payment_due().is_some_and(|due| due <= now);
                let action = |slot| {
                    let order = self.code_of(self.order_at(slot).number);
                    Action::ExpireOrder { order }
                };
                let due = records.take_while(is_due).take(room);
                out.extend(due.map(|slot| (subject, action(slot))));
            }
        }
    }

    // --- look-ups that decide, apply and the views share

    fn event_digest(&self, organizer: &Id, event: &Id) -> u128 {
        self.shard.key.event_digest(organizer, event)
    }

    fn event_slot(&self, digest: u128) -> Option<u32> {
        self.event_index.find(digest, |slot| self.events[slot as usize].digest)
    }

    /// An event's digest, and its slot; [`NONE`] where it is not there.
    fn find_event(&self, organizer: &Id, id: &Id) -> (u128, u32) {
        if let Some(slot) = self.event_hints.guess(id) {
            let event = &self.events[slot as usize];
            if event.id == *id && event.organizer == *organizer {
                return (event.digest, slot);
            }
        }
        let digest = self.event_digest(organizer, id);
        let slot = self.event_slot(digest);
        if let Some(slot) = slot {
            self.event_hints.found(id, slot);
        }
        (digest, slot.unwrap_or(NONE))
    }

    fn group_digest(&self, organizer: &Id, sale_group: &Id) -> u128 {
        let parts = [organizer.as_bytes(), sale_group.as_bytes()];
        self.shard.key.digest("group", &parts)
    }

    fn has_group(&self, digest: u128) -> bool {
        self.group_index.find(digest, |slot| self.groups[slot as usize].digest).is_some()
    }

    fn customer_key(&self, event: u128, customer: &CustomerId) -> u128 {
        self.shard.key.customer_digest(event, customer)
    }

    fn payment_key(&self, event: u128, reference: &Reference) -> u128 {
        self.shard.key.payment_digest(event, reference)
    }

    /// A hold that lives in an event, due or not.
    ///
    /// # Errors
    /// How it ended, or that nothing is known of it.
    fn hold_slot(&self, event: u32, hold: HoldId) -> Result<u32, Refusal> {
        if let Some(slot) = self.holds.find(hold.0) {
            return match self.event_of_hold(&self.holds[slot]) == event {
                true => Ok(slot),
                false => Err(Refusal::UnknownHold),
            };
        }
        match self.ended.find(hold.0) {
            Some(ended) if ended.event == event => Err(match ended.ending {
                Ending::Expired(at) => Refusal::HoldExpired { at },
                Ending::Released(at) => Refusal::HoldReleased { at },
                Ending::Claimed(order) => Refusal::HoldClaimed { order: self.code_of(order) },
            }),
            _ => Err(Refusal::UnknownHold),
        }
    }

    /// A hold that lives in an event and is not due.
    fn live_hold_slot(&self, event: u32, hold: HoldId, now: Time) -> Result<u32, Refusal> {
        let slot = self.hold_slot(event, hold)?;
        let early = i64::from(is(Bug::HoldExpiresEarly)) - i64::from(is(Bug::HoldExpiresLate));
        match self.holds[slot].expires_at {
            at if at.0 <= now.0 + early => Err(Refusal::HoldExpired { at }),
            _ => Ok(slot),
        }
    }

    fn event_of_hold(&self, hold: &Hold) -> u32 {
        self.deadlines.queue(hold.links.queue).event
    }

    /// The slot of an order of an event, by its code.
    fn order_slot(&self, event: u32, code: OrderCode) -> Result<u32, Unanswered> {
        let number = self.order_number(code).ok_or(Refusal::UnknownOrder)?;
        let slot = self.hot_order(number)?;
        match self.order_at(slot).event == event {
            true => Ok(slot),
            false => Err(Refusal::UnknownOrder.into()),
        }
    }

    /// The number of an order by its code, whatever its event.
    fn order_number(&self, code: OrderCode) -> Option<u32> {
        let (shard, generation, sequence) = self.shard.key.open_order(code)?;
        let known = 1..=self.orders.len() as u64;
        if shard != self.shard.shard || !known.contains(&sequence) {
            return None;
        }
        let number = (sequence - 1) as u32;
        (self.orders.generation_of(number) == generation).then_some(number)
    }

    /// The code of the order with a number.
    fn code_of(&self, number: u32) -> OrderCode {
        let generation = self.orders.generation_of(number);
        self.shard.key.order_code(self.shard.shard, generation, u64::from(number) + 1)
    }

    /// The order in a slot.
    fn order_at(&self, slot: u32) -> &Order {
        &self.orders.hot[slot]
    }
}

#[cfg(test)]
mod tests;
