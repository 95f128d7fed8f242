//! From a command to its events, or a refusal. Reads the state, changes nothing.

mod cart;
mod catalogue;
mod holds;
mod orders;

use onsale_planted::{Bug, is};

use super::{Decision, EventEntry, Keys, Known, Sale, Unanswered};
use crate::command::{Action, Command, CommandStamp};
use crate::event::{Event, Events, Fact, Subject};
use crate::refusal::Refusal;
use crate::time::Time;

/// A command on its way: whose, when, and on which event.
#[derive(Clone, Copy)]
struct Request<'a> {
    command: &'a Command,
    now: Time,
    keys: &'a Keys,
    /// Slot of the event.
    slot: u32,
    event: &'a EventEntry,
}

impl Request<'_> {
    /// The events of a command: what had to happen first, then its own fact, which
    /// alone carries its stamp.
    #[inline(always)]
    fn change(&self, first: impl ExactSizeIterator<Item = Fact>, fact: Fact) -> Decision {
        let own = event(self.command, self.now, Some(stamp(self.command)), fact);
        if first.len() == 0 {
            // In place: an event is large.
            return Decision::Change(Events::from_buf([own]));
        }
        let mut events: Events =
            first.map(|fact| event(self.command, self.now, None, fact)).collect();
        events.push(own);
        Decision::Change(events)
    }

    fn fact(&self, fact: Fact) -> Result<Decision, Refusal> {
        Ok(self.change(std::iter::empty(), fact))
    }

    /// A fact that the clock caused.
    fn timed(&self, fact: Fact) -> Result<Decision, Refusal> {
        let mut events = Events::new();
        events.push(event(self.command, self.now, None, fact));
        Ok(Decision::Change(events))
    }
}

fn stamp(command: &Command) -> CommandStamp {
    CommandStamp { made_at: None, ..command.stamp }
}

#[inline(always)]
fn event(command: &Command, at: Time, stamp: Option<CommandStamp>, fact: Fact) -> Event {
    let subject = Subject { organizer: command.organizer, event: command.event };
    Event { at, stamp, subject: Some(subject), fact }
}

impl Sale {
    /// Decides a command at a time, which counts as the time of the last event if it
    /// lies before that.
    ///
    /// The decision stands for the state as it is: its events must be applied before
    /// the next command is decided.
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn decide(&self, command: &Command, now: Time) -> Result<Decision, Refusal> {
        self.decide_knowing(command, now, &Known::default())
    }

    /// The same, with what an index outside knows of the command's id.
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn decide_knowing(
        &self,
        command: &Command,
        now: Time,
        known: &Known,
    ) -> Result<Decision, Refusal> {
        let keys = self.keys(command);
        self.touch(command, &keys);
        self.decide_with(command, &keys, now, known)
    }

    /// The same, with the command's keys at hand, which [`Sale::keys`] gave.
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn decide_with(
        &self,
        command: &Command,
        keys: &Keys,
        now: Time,
        known: &Known,
    ) -> Result<Decision, Refusal> {
        let now = now.max(self.time);
        let slot = self.slot_for(keys, &command.organizer, &command.event);
        if let Some(position) = self.repeated(&command.stamp, keys, now, known)? {
            return Ok(Decision::Repeated { position });
        }
        if let Action::DefineEvent { definition, expects } = &command.action {
            return self.decide_define(command, slot, definition, *expects, now);
        }
        let slot = slot.ok_or(Refusal::UnknownEvent)?;
        let request = Request { command, now, keys, slot, event: &self.events[slot as usize] };
        let decision = match &command.action {
            Action::DefineEvent { .. } => unreachable!("decided above"),
            Action::SetState { state, expects } => {
                return self.decide_set_state(request, *state, *expects);
            }
            Action::PlaceHold { hold, customer, items } => {
                return self.decide_place_hold(request, *hold, customer, items);
            }
            Action::ExtendHold { hold } => return self.decide_extend_hold(request, *hold),
            Action::ReleaseHold { hold } => return self.decide_release_hold(request, *hold),
            Action::ClaimHold { hold, customer } => {
                return self.decide_claim_hold(request, *hold, customer);
            }
            Action::Buy { customer, items } => {
                return self.decide_buy(request, customer, items);
            }
            Action::RecordPayment { order, reference, amount, currency, paid_at } => self
                .decide_record_payment(
                    request,
                    &orders::Paid {
                        order: *order,
                        reference: *reference,
                        amount: *amount,
                        currency: *currency,
                        paid_at: *paid_at,
                    },
                ),
            Action::RecordRefund { order, reference } => {
                self.decide_record_refund(request, *order, reference)
            }
            Action::CancelOrder { order, manage } => {
                self.decide_cancel_order(request, *order, *manage)
            }
            Action::ExpireHold { hold } => return self.decide_expire_hold(request, *hold),
            Action::ExpireOrder { order } => return self.decide_expire_order(request, *order),
        };
        match decision {
            Ok(decision) => Ok(decision),
            Err(Unanswered::Refused(refusal)) => Err(refusal),
            Err(Unanswered::Needs(needs)) => Ok(Decision::Needs(needs)),
        }
    }

    /// Position of the fact of a command that was carried out before.
    ///
    /// # Errors
    /// The id says that it is older than what is remembered: nobody knows whether it
    /// was carried out.
    fn repeated(
        &self,
        stamp: &CommandStamp,
        keys: &Keys,
        now: Time,
        known: &Known,
    ) -> Result<Option<u64>, Refusal> {
        if !stamp.chosen || is(Bug::RepeatCarriedOutAgain) {
            return Ok(None);
        }
        if let Some(position) = self.memory.find(keys.id, now) {
            return Ok(Some(position));
        }
        if known.repeated.is_some() {
            return Ok(known.repeated);
        }
        let since = self.memory.since(now, known.since);
        match stamp.made_at {
            Some(made_at) if made_at < since => Err(Refusal::IdTooOld { since }),
            _ => Ok(None),
        }
    }
}
