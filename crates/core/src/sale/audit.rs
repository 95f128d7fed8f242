//! Whether an event is one that [`Sale::decide`] would have made.

use super::{Decision, Sale};
use crate::command::{Action, Command, CommandStamp, Expects, Item};
use crate::event::{CancelReason, Event, Fact, Lines, OrderPlaced};

impl Sale {
    /// Decides again what led to an event, in the state before it, and compares. So
    /// an audit proves, beyond what [`Sale::apply`] checks, that prices, windows and
    /// limits were kept as they stood at the time.
    ///
    /// # Errors
    /// Says what would have been decided.
    pub fn audit(&self, event: &Event) -> Result<(), String> {
        let (Some(subject), Some(action)) = (event.subject, action_of(&event.fact)) else {
            return Ok(());
        };
        // An id that nobody chose: that of the event is not in the window yet, or,
        // past it, may be there a second time.
        let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
        let command = Command { stamp, organizer: subject.organizer, event: subject.event, action };
        match self.decide(&command, event.at) {
            Ok(Decision::Change(events)) if events.len() == 1 && events[0].fact == event.fact => {
                Ok(())
            }
            Ok(Decision::Change(events)) => {
                let facts: Vec<&Fact> = events.iter().map(|event| &event.fact).collect();
                Err(format!("{:?} was recorded, {facts:?} would be decided", event.fact))
            }
            Ok(other) => Err(format!("{:?} was recorded, but it is {other:?}", event.fact)),
            Err(refusal) => Err(format!("{:?} was recorded, but: {refusal}", event.fact)),
        }
    }
}

/// The command that a fact tells of; none for facts about the shard.
fn action_of(fact: &Fact) -> Option<Action> {
    Some(match fact {
        Fact::ShardStarted(_) | Fact::GenerationStarted { .. } | Fact::GroupPlaced { .. } => {
            return None;
        }
        Fact::EventDefined(defined) => Action::DefineEvent {
            definition: Box::new(defined.definition.clone()),
            expects: match defined.version {
                1 => Expects::Absent,
                version => Expects::Version(version - 1),
            },
        },
        Fact::StateSet { version, state } => {
            Action::SetState { state: *state, expects: Expects::Version(version.saturating_sub(1)) }
        }
        Fact::HoldPlaced(placed) => Action::PlaceHold {
            hold: placed.hold,
            customer: placed.customer,
            items: items_of(&placed.lines),
        },
        Fact::HoldExtended { hold, .. } => Action::ExtendHold { hold: *hold },
        Fact::HoldReleased { hold } => Action::ReleaseHold { hold: *hold },
        Fact::HoldExpired { hold } => Action::ExpireHold { hold: *hold },
        Fact::OrderPlaced(OrderPlaced { hold: Some(hold), customer, .. }) => {
            Action::ClaimHold { hold: *hold, customer: *customer }
        }
        Fact::OrderPlaced(OrderPlaced { hold: None, customer, lines, .. }) => {
            Action::Buy { customer: *customer, items: items_of(lines) }
        }
        Fact::PaymentRecorded(paid) => Action::RecordPayment {
            order: paid.order,
            reference: paid.reference,
            amount: paid.amount,
            currency: paid.currency,
            paid_at: Some(paid.paid_at),
        },
        Fact::PaymentRefunded { order, reference } => {
            Action::RecordRefund { order: Some(*order), reference: *reference }
        }
        Fact::OrderCancelled { order, reason: CancelReason::Unpaid } => {
            Action::ExpireOrder { order: *order }
        }
        Fact::OrderCancelled { order, reason } => {
            Action::CancelOrder { order: *order, manage: *reason == CancelReason::Organizer }
        }
    })
}

fn items_of(lines: &Lines) -> crate::command::Items {
    let item = |line: &crate::event::Line| Item {
        ticket_type: line.ticket_type,
        quantity: line.stock.quantity(),
        price: Some(line.unit_price),
    };
    lines.iter().map(item).collect()
}
