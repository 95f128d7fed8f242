//! The keys under which a command or an event looks things up: digests over its texts, made
//! once and handed on, since each costs as much as several look-ups.

use super::Sale;
use crate::code::CodeKey;
use crate::command::{Action, Command, CommandStamp};
use crate::event::{Event, Fact, Subject};
use crate::slab::NONE;
use crate::text::{CustomerId, Id, Reference};

use onsale_planted::{Bug, is};

/// What a command or an event looks up. It stays right whatever is applied meanwhile, but not
/// across the first record of a shard, which brings the secret.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Slot of its event, where that was found.
    pub(super) slot: u32,
    /// Digest of its event.
    pub(super) event: u128,
    /// Digest of its event and customer; 0 where it names none.
    pub(super) customer: u128,
    /// Under which its id is remembered.
    pub(super) id: u128,
    /// Whether its id is remembered: somebody chose it.
    chosen: bool,
}

impl Keys {
    /// Of what has no subject.
    pub(super) const NONE: Keys = Keys { slot: NONE, event: 0, customer: 0, id: 0, chosen: false };

    fn new(event: (u128, u32), stamp: Option<&CommandStamp>) -> Keys {
        let (event, slot) = event;
        let id = stamp.map_or(0, |stamp| stamp_key(event, stamp));
        Keys { slot, event, customer: 0, id, chosen: stamp.is_some_and(|stamp| stamp.chosen) }
    }

    /// Digest of its event.
    #[must_use]
    pub fn event(&self) -> u128 {
        self.event
    }

    /// Digest of its event and customer, if it names one.
    #[must_use]
    pub fn customer(&self) -> Option<u128> {
        (self.customer != 0).then_some(self.customer)
    }

    /// The key of the command's id, if it is remembered.
    #[must_use]
    pub fn remembered(&self) -> Option<u128> {
        self.chosen.then_some(self.id)
    }
}

fn stamp_key(event: u128, stamp: &CommandStamp) -> u128 {
    // Both are digests, and the event's is keyed: their sum is as good as a third.
    if is(Bug::IdsAcrossEvents) { stamp.id } else { event.wrapping_add(stamp.id) }
}

/// The customer whose key an event needs.
fn customer_of(fact: &Fact) -> Option<&CustomerId> {
    match fact {
        Fact::HoldPlaced(placed) => Some(&placed.customer),
        Fact::OrderPlaced(placed) => Some(&placed.customer),
        _ => None,
    }
}

/// The customer whose key a command needs.
fn customer_of_command(action: &Action) -> Option<&CustomerId> {
    match action {
        Action::PlaceHold { customer, .. }
        | Action::Buy { customer, .. }
        | Action::ClaimHold { customer, .. } => Some(customer),
        _ => None,
    }
}

impl CodeKey {
    pub(super) fn event_digest(&self, organizer: &Id, event: &Id) -> u128 {
        self.digest("event", &[organizer.as_bytes(), event.as_bytes()])
    }

    /// Under which a payment is kept: digest of its event's digest and its reference.
    #[must_use]
    pub fn payment_digest(&self, event: u128, reference: &Reference) -> u128 {
        self.digest("payment", &[&event.to_le_bytes()[..], reference.as_bytes()])
    }
}

/// Makes the keys of events away from the state: on the thread that decodes them.
#[derive(Clone, Debug)]
pub struct KeyMaker {
    key: CodeKey,
    /// The event that came last.
    last: Option<(Subject, u128)>,
}

impl KeyMaker {
    /// For a log with this secret.
    #[must_use]
    pub fn new(key: CodeKey) -> KeyMaker {
        KeyMaker { key, last: None }
    }

    /// The keys of the next event of a shard.
    pub fn keys(&mut self, event: &Event) -> Keys {
        if let Fact::ShardStarted(started) = &event.fact {
            *self = KeyMaker::new(started.key);
        }
        let Some(subject) = event.subject else { return Keys::NONE };
        let digest = self.event(subject);
        let mut keys = Keys::new((digest, NONE), event.stamp.as_ref());
        if let Some(customer) = customer_of(&event.fact) {
            keys.customer = self.key.customer_digest(digest, customer);
        }
        keys
    }

    /// The keys of a command: for who decides it elsewhere.
    pub fn command_keys(&mut self, command: &Command) -> Keys {
        let subject = Subject { organizer: command.organizer, event: command.event };
        let digest = self.event(subject);
        let mut keys = Keys::new((digest, NONE), Some(&command.stamp));
        if let Some(customer) = customer_of_command(&command.action) {
            keys.customer = self.key.customer_digest(digest, customer);
        }
        keys
    }

    fn event(&mut self, subject: Subject) -> u128 {
        let digest = match self.last {
            Some((last, digest)) if last == subject => digest,
            _ => self.key.event_digest(&subject.organizer, &subject.event),
        };
        self.last = Some((subject, digest));
        digest
    }
}

impl Sale {
    /// The keys of a command.
    #[must_use]
    pub fn keys(&self, command: &Command) -> Keys {
        let event = self.find_event(&command.organizer, &command.event);
        let mut keys = Keys::new(event, Some(&command.stamp));
        if let Some(customer) = customer_of_command(&command.action) {
            keys.customer = self.shard.key.customer_digest(keys.event, customer);
        }
        keys
    }

    /// The keys of an event.
    #[must_use]
    pub fn event_keys(&self, event: &Event) -> Keys {
        let Some(subject) = &event.subject else { return Keys::NONE };
        let found = self.find_event(&subject.organizer, &subject.event);
        let mut keys = Keys::new(found, event.stamp.as_ref());
        if let Some(customer) = customer_of(&event.fact) {
            keys.customer = self.shard.key.customer_digest(keys.event, customer);
        }
        keys
    }

    /// Reads early what a command will look up. The look-ups themselves, with their branches on
    /// what they read, wait for memory one after the other; several of these in a row wait together.
    #[inline]
    pub fn touch(&self, command: &Command, keys: &Keys) {
        let hold = match &command.action {
            Action::PlaceHold { hold, .. }
            | Action::ClaimHold { hold, .. }
            | Action::ReleaseHold { hold }
            | Action::ExtendHold { hold } => self.holds.touch(hold.0),
            _ => 0,
        };
        let customer = if keys.customer == 0 { 0 } else { self.customers.touch(keys.customer) };
        let id = if keys.chosen { self.memory.touch(keys.id) } else { 0 };
        std::hint::black_box(hold ^ customer ^ id);
    }

    /// Reads early where the oldest remembered ids stand, which leave as so many new ones come.
    pub fn touch_leaving(&self, ids: usize) {
        self.memory.touch_leaving(ids);
    }

    /// The same as [`Sale::touch`] for an event that will be applied.
    #[inline]
    pub fn touch_event(&self, event: &Event, keys: &Keys) {
        let hold = match &event.fact {
            Fact::HoldPlaced(placed) => self.holds.touch(placed.hold.0),
            Fact::OrderPlaced(placed) => placed.hold.map_or(0, |hold| self.holds.touch(hold.0)),
            Fact::HoldExpired { hold }
            | Fact::HoldReleased { hold }
            | Fact::HoldExtended { hold, .. } => self.holds.touch(hold.0),
            _ => 0,
        };
        let customer = if keys.customer == 0 { 0 } else { self.customers.touch(keys.customer) };
        let id = if keys.chosen { self.memory.touch(keys.id) } else { 0 };
        std::hint::black_box(hold ^ customer ^ id);
    }

    /// The slot of the event that keys are for.
    pub(super) fn slot_for(&self, keys: &Keys, organizer: &Id, event: &Id) -> Option<u32> {
        match keys.slot {
            NONE => self.slot_of(organizer, event),
            slot => Some(slot),
        }
    }

    /// The slot of an event, if it is there.
    pub(super) fn slot_of(&self, organizer: &Id, event: &Id) -> Option<u32> {
        let (_, slot) = self.find_event(organizer, event);
        (slot != NONE).then_some(slot)
    }
}
