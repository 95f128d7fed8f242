//! A state out of its parts.
//!
//! Every part is checked against those before it, and the sums at the end: bytes that
//! were damaged and yet read as parts give an error, not a state that fails later.

mod sales;

use smallvec::SmallVec;

use onsale_planted::{Bug, is};

use super::frozen::{FrozenSums, weight};
use super::{EventEntry, Sale, Shard};
use crate::limits::{GENERATIONS_MAX, INTEGER_MAX, SHARDS_MAX, TICKET_TYPES_MAX};
use crate::sale::event_state::Shape;
use crate::snapshot::{
    CommandPart, CustomerPart, EventPart, GroupPart, Part, QueuePart, ShardPart,
};

/// Why parts do not make a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct RestoreError {
    /// What is wrong.
    pub what: &'static str,
}

fn ensure(holds: bool, what: &'static str) -> Result<(), RestoreError> {
    match holds {
        true => Ok(()),
        false => Err(RestoreError { what }),
    }
}

fn some<T>(value: Option<T>, what: &'static str) -> Result<T, RestoreError> {
    value.ok_or(RestoreError { what })
}

/// Takes the parts of a state in the order in which [`Sale::save`] gave them.
#[derive(Default)]
pub struct Restorer {
    sale: Sale,
    /// The place in the order of the kind of part that came last.
    stage: u8,
    /// By event and ticket type: tickets in holds, and in orders in full.
    counted: Vec<Vec<(u64, u64)>>,
    /// What the counts of customers weigh, less what is in holds and orders in full.
    tickets: u128,
}

impl Restorer {
    /// Before the first part.
    #[must_use]
    pub fn new() -> Restorer {
        Restorer::default()
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// It contradicts those before it; nothing can be taken after it.
    pub fn take(&mut self, part: Part) -> Result<(), RestoreError> {
        let stage = match &part {
            Part::Shard(_) => 1,
            Part::Group(_) => 2,
            Part::Event(_) => 3,
            Part::Queue(_) => 4,
            Part::Customer(_) => 5,
            Part::Hold(_) => 6,
            Part::Order(_) | Part::Frozen(_) => 7,
            Part::Ended(_) => 8,
            Part::Command(_) => 9,
        };
        // The shard comes once and before all others.
        let next = self.stage == 0 && stage == 1;
        ensure(next || (self.stage > 0 && stage > 1), "the shard is not the first part")?;
        ensure(stage >= self.stage, "the parts are out of order")?;
        self.stage = stage;
        match part {
            Part::Shard(part) => self.take_shard(*part),
            Part::Group(part) => self.take_group(&part),
            Part::Event(part) => self.take_event(*part),
            Part::Queue(part) => self.take_queue(part),
            Part::Customer(part) => self.take_customer(&part),
            Part::Hold(part) => self.take_hold(&part),
            Part::Order(part) => self.take_order(&part),
            Part::Frozen(part) => self.take_frozen(&part),
            Part::Ended(part) => self.take_ended(&part),
            Part::Command(part) => self.take_command(part),
        }
    }

    fn take_shard(&mut self, part: ShardPart) -> Result<(), RestoreError> {
        let ShardPart { log, shard, shards, key, generation, .. } = part;
        ensure((1..=SHARDS_MAX).contains(&shards) && shard < shards, "the shard is out of range")?;
        ensure(generation <= GENERATIONS_MAX, "the generation is too high")?;
        ensure(part.position > 0, "there is no first event")?;
        ensure((0..=INTEGER_MAX).contains(&part.time.0), "the time is out of range")?;
        let generations = &part.generations;
        let ascending = |pair: &[(u32, u8)]| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1;
        let last = generations.last().is_none_or(|last| u32::from(last.1) <= generation);
        let first = generations.first().is_none_or(|first| first.0 == 0);
        let fine = first && last && generations.windows(2).all(ascending);
        ensure(fine, "the generations of orders are out of order")?;
        self.sale.shard = Shard { started: true, log, shard, shards, key, generation };
        (self.sale.position, self.sale.time) = (part.position, part.time);
        self.sale.memory.keep_since(part.ids_since);
        self.sale.frozen = FrozenSums { hash: part.frozen_hash, customers: part.frozen_customers };
        self.sale.customers.reserve(part.sizes.customers);
        self.sale.holds.reserve(part.sizes.holds);
        self.sale.orders.restore(part.generations, part.sizes.references);
        Ok(())
    }

    fn take_group(&mut self, part: &GroupPart) -> Result<(), RestoreError> {
        let placed = self.sale.apply_group_placed(&part.organizer, part.sale_group);
        placed.map_err(|_| RestoreError { what: "a sale group is there twice" })
    }

    fn take_event(&mut self, part: EventPart) -> Result<(), RestoreError> {
        let EventPart { organizer, event: id, version, state, definition, used, .. } = part;
        let valid = definition.validate().is_ok();
        ensure(valid && version > 0, "the definition of an event breaks a rule")?;
        let group = self.sale.group_digest(&organizer, &definition.sale_group);
        ensure(self.sale.has_group(group), "an event's sale group is missing")?;
        let digest = self.sale.event_digest(&organizer, &id);
        ensure(self.sale.event_slot(digest).is_none(), "an event is there twice")?;
        let shape = Shape::restored(&definition, &part.types, &part.quotas);
        let shape = shape.map_err(|what| RestoreError { what })?;
        self.counted.push(vec![(0, 0); shape.types.len()]);
        let (hold_queues, order_queues) = (SmallVec::new(), SmallVec::new());
        self.sale.add_event(EventEntry {
            organizer,
            id,
            digest,
            version,
            state,
            definition,
            shape,
            used,
            hold_queues,
            order_queues,
        });
        Ok(())
    }

    fn take_queue(&mut self, part: QueuePart) -> Result<(), RestoreError> {
        let QueuePart { event, waiting, duration_us, bound } = part;
        let entry = some(self.sale.events.get_mut(event as usize), "a queue of no event")?;
        let known = match waiting {
            super::Waiting::Holds => &mut entry.hold_queues,
            super::Waiting::Orders => &mut entry.order_queues,
        };
        self.sale.deadlines.add(event, waiting, duration_us, bound, known);
        Ok(())
    }

    fn take_customer(&mut self, part: &CustomerPart) -> Result<(), RestoreError> {
        let counts = &part.counts;
        ensure(self.sale.customers.find(part.key).is_none(), "a customer is there twice")?;
        let fits = (1..=TICKET_TYPES_MAX).contains(&counts.len());
        ensure(fits, "a customer has nothing, or too much")?;
        for (at, (ticket_type, tickets)) in counts.iter().enumerate() {
            let once = counts[..at].iter().all(|(other, _)| other != ticket_type);
            ensure(once && *tickets > 0, "a customer's counts do not fit together")?;
            let weight = weight(part.key, *ticket_type).wrapping_mul(u128::from(*tickets));
            self.tickets = self.tickets.wrapping_add(weight);
        }
        self.sale.customers.restore(part.key, counts);
        Ok(())
    }

    fn take_command(&mut self, part: CommandPart) -> Result<(), RestoreError> {
        let CommandPart { key, position, second } = part;
        if is(Bug::SnapshotForgetsIds) {
            return Ok(());
        }
        let fits =
            position <= self.sale.position && self.sale.memory.restore(key, position, second);
        ensure(fits, "a remembered command does not fit to the others")
    }

    /// The state, once all parts were taken.
    ///
    /// # Errors
    /// The counts are not those of the holds and orders.
    pub fn finish(mut self) -> Result<Sale, RestoreError> {
        for (event, counted) in self.sale.events.iter().zip(&self.counted) {
            for (ticket_type, (held, sold)) in event.shape.types.iter().zip(counted) {
                let sold = sold + u64::from(ticket_type.frozen);
                let same =
                    (u64::from(ticket_type.held), u64::from(ticket_type.sold)) == (*held, sold);
                ensure(same, "a ticket type's counts are not those of the holds and orders")?;
            }
        }
        let same = self.tickets == self.sale.frozen.customers;
        ensure(same, "the counts of customers are not those of their holds and orders")?;
        let orders = self.sale.orders.generations();
        let covered = orders.last().is_none_or(|last| (last.0 as usize) < self.sale.orders.len());
        ensure(covered, "the generations of orders are not theirs")?;
        self.sale.orders.start_passing();
        Ok(self.sale)
    }
}
