//! The rules of selling a second time, written to be obviously right: no index,
//! no counter. What is held, sold and owned is counted over all live holds and
//! orders each time that it is asked.
//!
//! The model shares the core's words (commands, facts, refusals, views, codes)
//! and none of its decisions. Tests run both side by side and compare.

mod cart;
mod catalogue;
mod holds;
mod money;
mod views;

use std::collections::{BTreeMap, BTreeSet};

use onsale_core::catalogue::{EventDefinition, EventState};
use onsale_core::code::{CodeKey, OrderCode};
use onsale_core::command::{Action, Command, CommandStamp, HoldId};
use onsale_core::event::{CancelReason, Event, Fact, Lines, Subject};
use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::refusal::Refusal;
use onsale_core::text::{CustomerId, Id, Reference};
use onsale_core::time::Time;
use onsale_core::view::{OrderState, PaymentState};

/// What a command led to; the core's [`onsale_core::Decision`] in plain values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// These events.
    Change(Vec<Event>),
    /// Carried out before: its fact is the record at this position.
    Repeated {
        /// Position of the fact.
        position: u64,
    },
    /// The state is as wanted already.
    Unchanged,
}

/// The state of one shard, the slow way.
#[derive(Clone, Debug)]
pub struct Model {
    /// Of its codes.
    pub key: CodeKey,
    /// Which shard it is.
    pub shard: u16,
    /// Its generation.
    pub generation: u32,
    /// Position of the last record.
    pub position: u64,
    /// Time of the last record.
    pub time: Time,
    /// Number of the last order.
    pub sequence: u64,
    /// Sale groups, by organizer, that have been placed here.
    pub groups: BTreeSet<(Id, Id)>,
    /// What is sold for, by organizer and event.
    pub events: BTreeMap<(Id, Id), EventModel>,
    /// Command ids that changed something: the fact's position and time.
    pub remembered: BTreeMap<(Id, Id, u128), (u64, Time)>,
}

/// One event and all that happened to it.
#[derive(Clone, Debug)]
pub struct EventModel {
    /// Whose.
    pub organizer: Id,
    /// Which.
    pub event: Id,
    /// Catalogue version.
    pub version: u32,
    /// Whether it sells.
    pub state: EventState,
    /// The present definition.
    pub definition: EventDefinition,
    /// Ticket types that it ever had, in the order in which they came.
    pub types_ever: Vec<Id>,
    /// Quotas that it ever had, in the order in which they came.
    pub quotas_ever: Vec<Id>,
    /// Live holds.
    pub holds: BTreeMap<HoldId, HoldModel>,
    /// How holds ended.
    pub ended: BTreeMap<HoldId, Ended>,
    /// Orders, oldest first.
    pub orders: Vec<OrderModel>,
    /// Payments, oldest first.
    pub payments: Vec<PaymentModel>,
}

/// A live hold.
#[derive(Clone, Debug)]
pub struct HoldModel {
    /// Position of the record that placed it.
    pub position: u64,
    /// Position of the record that set its deadline: placed or extended it.
    pub deadline_set: u64,
    /// Whose.
    pub customer: CustomerId,
    /// Its deadline.
    pub expires_at: Time,
    /// Whether it was extended.
    pub extended: bool,
    /// What.
    pub lines: Lines,
    /// Sum, in minor units.
    pub total: i64,
}

/// How a hold ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It ran out at its deadline.
    Expired(Time),
    /// It was given back.
    Released(Time),
    /// It became this order.
    Claimed(OrderCode),
}

/// An order.
#[derive(Clone, Debug)]
pub struct OrderModel {
    /// Its code.
    pub code: OrderCode,
    /// Its number in the shard.
    pub sequence: u64,
    /// The generation in which it was placed.
    pub generation: u32,
    /// Position of the record that placed it.
    pub position: u64,
    /// Whose.
    pub customer: CustomerId,
    /// What.
    pub lines: Lines,
    /// Sum, in minor units.
    pub total: i64,
    /// Until when it must be paid; none: nothing to pay.
    pub payment_due: Option<Time>,
    /// Its state.
    pub state: OrderState,
}

/// A payment.
#[derive(Clone, Debug)]
pub struct PaymentModel {
    /// Position of its record.
    pub position: u64,
    /// Position of the record of its refund.
    pub refund_position: Option<u64>,
    /// For which order.
    pub order: OrderCode,
    /// Its natural key.
    pub reference: Reference,
    /// In minor units.
    pub amount: i64,
    /// Its state.
    pub state: PaymentState,
}

/// What a rule sees of the world besides its event.
#[derive(Clone, Copy)]
struct World {
    now: Time,
    /// Position that the first fact will get.
    next_position: u64,
    /// Number that the next order will get.
    next_sequence: u64,
    key: CodeKey,
    shard: u16,
    generation: u32,
}

/// What a rule says; facts are in the state already.
enum Step {
    /// Facts, in order; the last one is what was asked for.
    Facts(Vec<Fact>),
    /// An old record says the same.
    Repeated(u64),
    /// Nothing to do.
    Unchanged,
}

impl Model {
    /// A shard that has just been started: its first record is at position 1.
    #[must_use]
    pub fn new(key: CodeKey, shard: u16, generation: u32) -> Model {
        Model {
            key,
            shard,
            generation,
            position: 1,
            time: Time::default(),
            sequence: 0,
            groups: BTreeSet::new(),
            events: BTreeMap::new(),
            remembered: BTreeMap::new(),
        }
    }

    /// A record about the shard itself: the log goes on under a new generation.
    pub fn start_generation(&mut self, generation: u32) {
        self.generation = generation;
        self.position += 1;
    }

    /// Decides a command and, unless it is refused, carries it out. A time before the
    /// last record's counts as that.
    ///
    /// # Errors
    /// The refusal; nothing has changed then.
    pub fn execute(&mut self, command: &Command, now: Time) -> Result<Outcome, Refusal> {
        let now = now.max(self.time);
        if let Some(position) = self.look_up(command, now)? {
            return Ok(Outcome::Repeated { position });
        }
        let facts = match self.step(command, now)? {
            Step::Facts(facts) => facts,
            Step::Repeated(position) => return Ok(Outcome::Repeated { position }),
            Step::Unchanged => return Ok(Outcome::Unchanged),
        };
        self.position += facts.len() as u64;
        self.time = now;
        if matches!(facts.last(), Some(Fact::OrderPlaced(_))) {
            self.sequence += 1;
        }
        if command.stamp.chosen && !is_timers(&command.action) {
            let key = (command.organizer, command.event, command.stamp.id);
            self.remembered.insert(key, (self.position, now));
        }
        Ok(Outcome::Change(as_events(facts, command, now)))
    }

    /// The position of the fact that this command's id led to before. The window of
    /// what is remembered counts in whole seconds.
    fn look_up(&self, command: &Command, now: Time) -> Result<Option<u64>, Refusal> {
        if !command.stamp.chosen {
            return Ok(None);
        }
        let since = Time(now.0 - COMMANDS_REMEMBERED_US);
        let key = (command.organizer, command.event, command.stamp.id);
        match self.remembered.get(&key) {
            Some((position, at)) if second(*at) >= second(since) => return Ok(Some(*position)),
            _ => {}
        }
        match command.stamp.made_at.is_some_and(|made_at| made_at < since) {
            true => Err(Refusal::IdTooOld { since }),
            false => Ok(None),
        }
    }

    fn step(&mut self, command: &Command, now: Time) -> Result<Step, Refusal> {
        let world = World {
            now,
            next_position: self.position + 1,
            next_sequence: self.sequence + 1,
            key: self.key,
            shard: self.shard,
            generation: self.generation,
        };
        let subject = (command.organizer, command.event);
        let hold_known = |hold| {
            self.events.values().any(|e| e.holds.contains_key(&hold) || e.ended.contains_key(&hold))
        };
        if let Action::PlaceHold { hold, .. } = &command.action
            && self.events.contains_key(&subject)
            && hold_known(*hold)
        {
            return Err(Refusal::HoldIdTaken);
        }
        if let Action::DefineEvent { definition, expects } = &command.action {
            return self.define(subject, definition, *expects);
        }
        let event = self.events.get_mut(&subject).ok_or(Refusal::UnknownEvent)?;
        match &command.action {
            Action::DefineEvent { .. } => unreachable!("handled above"),
            Action::SetState { state, expects } => event.set_state(*state, *expects),
            Action::PlaceHold { hold, customer, items } => {
                event.place_hold(&world, *hold, *customer, items)
            }
            Action::ExtendHold { hold } => event.extend_hold(&world, *hold),
            Action::ReleaseHold { hold } => event.release_hold(&world, *hold),
            Action::ClaimHold { hold, customer } => event.claim_hold(&world, *hold, *customer),
            Action::Buy { customer, items } => event.buy(&world, *customer, items),
            Action::RecordPayment { order, reference, amount, currency, paid_at } => {
                event.record_payment(&world, *order, *reference, *amount, *currency, *paid_at)
            }
            Action::RecordRefund { order, reference } => {
                event.record_refund(&world, *order, *reference)
            }
            Action::CancelOrder { order, manage } => event.cancel_order(*order, *manage),
            Action::ExpireHold { hold } => event.expire_hold(&world, *hold),
            Action::ExpireOrder { order } => event.expire_order(&world, *order),
        }
    }
}

/// Whether only the engine's timer sends it.
fn is_timers(action: &Action) -> bool {
    matches!(action, Action::ExpireHold { .. } | Action::ExpireOrder { .. })
}

fn second(time: Time) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// The facts as records: only the one that was asked for carries the command's
/// stamp, and what a timer asked for carries none.
fn as_events(facts: Vec<Fact>, command: &Command, now: Time) -> Vec<Event> {
    let by_timer = matches!(command.action, Action::ExpireHold { .. } | Action::ExpireOrder { .. });
    let subject = Some(Subject { organizer: command.organizer, event: command.event });
    let last = facts.len() - 1;
    let stamp = CommandStamp { made_at: None, ..command.stamp };
    let stamped = |i| (i == last && !by_timer).then_some(stamp);
    facts
        .into_iter()
        .enumerate()
        .map(|(i, fact)| Event { at: now, stamp: stamped(i), subject, fact })
        .collect()
}

impl EventModel {
    /// Tickets of this type in live holds.
    #[must_use]
    pub fn held_of(&self, ticket_type: Id) -> u32 {
        self.holds.values().map(|hold| quantity_of(&hold.lines, ticket_type)).sum()
    }

    /// Tickets of this type in orders that are not cancelled.
    #[must_use]
    pub fn sold_of(&self, ticket_type: Id) -> u32 {
        let counts = |order: &&OrderModel| !order.is_cancelled();
        self.orders.iter().filter(counts).map(|o| quantity_of(&o.lines, ticket_type)).sum()
    }

    /// Tickets of these types that a customer holds and owns.
    #[must_use]
    pub fn customer_has(&self, customer: CustomerId, types: &[Id]) -> u32 {
        let of_types = |lines: &Lines| types.iter().map(|t| quantity_of(lines, *t)).sum::<u32>();
        let held = self.holds.values().filter(|h| h.customer == customer).map(|h| &h.lines);
        let owned = self
            .orders
            .iter()
            .filter(|o| o.customer == customer && !o.is_cancelled())
            .map(|o| &o.lines);
        held.chain(owned).map(of_types).sum()
    }

    /// The order of this code.
    #[must_use]
    pub fn order(&self, code: OrderCode) -> Option<&OrderModel> {
        self.orders.iter().find(|order| order.code == code)
    }

    fn order_mut(&mut self, code: OrderCode) -> Option<&mut OrderModel> {
        self.orders.iter_mut().find(|order| order.code == code)
    }
}

impl OrderModel {
    /// Whether its stock went back.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.state, OrderState::Cancelled(_))
    }

    /// Whether its time to pay has run out unpaid.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.state == OrderState::AwaitingPayment && self.payment_due.is_some_and(|due| due <= now)
    }

    fn cancelled_for(&self) -> Option<CancelReason> {
        match self.state {
            OrderState::Cancelled(reason) => Some(reason),
            OrderState::AwaitingPayment | OrderState::Confirmed => None,
        }
    }
}

/// Tickets of one type in these lines.
#[must_use]
pub fn quantity_of(lines: &Lines, ticket_type: Id) -> u32 {
    lines.iter().filter(|l| l.ticket_type == ticket_type).map(|l| l.stock.quantity()).sum()
}
