//! From a command to its fact: carried out now, or found to have been carried out
//! before.

use onsale_core::event::Subject;
use onsale_core::{Action, Command, CommandStamp, Event, Fact, Refusal};
use onsale_engine::{Answer, Query, Unavailable, View};

use super::shapes::Receipt;
use super::{Api, Result};
use crate::problem::{Problem, kind};
use crate::refused::Reason;
use crate::shards::{Pending, Replied, Tell};

/// What a command led to.
#[derive(Debug)]
pub struct Outcome {
    /// Its fact; none where all was as wanted already.
    pub fact: Option<Fact>,
    /// Whether it was carried out before, by the same request.
    pub replayed: bool,
    /// What the answer stands on.
    pub receipt: Receipt,
}

impl Outcome {
    /// The fact, taken apart.
    ///
    /// # Errors
    /// It is another one than the command leads to, which should not happen.
    pub fn take<T>(&self, part: impl FnOnce(&Fact) -> Option<T>) -> Result<T> {
        self.fact.as_ref().and_then(part).ok_or_else(|| {
            tracing::error!(fact = ?self.fact, "a command led to another fact than it can");
            Problem::new(&kind::INTERNAL, "the command led to another fact than it can")
        })
    }
}

/// Carries a command out.
///
/// # Errors
/// It was refused, or could not be decided; or its id was used for another request.
pub async fn carry_out(
    api: &Api,
    stamp: CommandStamp,
    subject: Subject,
    action: Action,
) -> Result<Outcome> {
    let Subject { organizer, event } = subject;
    let command = Box::new(Command { stamp, organizer, event, action });
    let replied = api.shards.command(command).await.map_err(|error| unavailable(api, error))?;
    outcome(api, stamp, replied)
}

/// A command that its shard has, and whose answer is not there yet.
#[derive(Debug)]
pub struct Begun {
    stamp: CommandStamp,
    reply: Pending,
}

/// Hands a command to the shard of its event. It is a function and no future, so that
/// whoever waits for the answer keeps no room for the command meanwhile. `tell` may write the answer
/// as soon as the command is decided; `shard` is that of the event, where it is known.
///
/// # Errors
/// There is no such event, or no room in the queue.
pub fn begin(
    api: &Api,
    stamp: CommandStamp,
    subject: Subject,
    action: Action,
    shard: Option<u16>,
    tell: Tell,
) -> Result<Begun> {
    let Subject { organizer, event } = subject;
    let Some(shard) = shard.or_else(|| api.shards.of_event(&organizer, &event)) else {
        return Err(Problem::from_refusal(&Refusal::UnknownEvent));
    };
    let command = Box::new(Command { stamp, organizer, event, action });
    let reply = api.shards.begin(shard, command, tell).map_err(|error| unavailable(api, error))?;
    Ok(Begun { stamp, reply })
}

impl Begun {
    /// Waits for the answer.
    ///
    /// # Errors
    /// There is none, or none that can be told.
    pub async fn replied(self, api: &Api) -> Result<(CommandStamp, Replied)> {
        let replied =
            self.reply.replied(&api.shards).await.map_err(|error| unavailable(api, error))?;
        Ok((self.stamp, replied))
    }
}

/// What an answer says of the command with this stamp.
///
/// # Errors
/// It was refused, or its id was used for another request.
pub fn outcome(api: &Api, stamp: CommandStamp, replied: Replied) -> Result<Outcome> {
    let receipt = receipt(&replied);
    match replied.answer {
        Answer::Done(event) => Ok(Outcome { fact: Some(event.fact), replayed: false, receipt }),
        Answer::Repeated { position } => {
            let event = record(api, replied.shard, position)?;
            // A payment may be found again by its reference, under another id; then the
            // core has compared what counts, and the bodies may differ in form.
            let same_id = event.stamp.is_some_and(|s| s.chosen && s.id == stamp.id);
            if same_id && event.stamp.is_some_and(|s| s.body != stamp.body) {
                let rule = "was used for another request";
                let kind = &kind::IDEMPOTENCY_KEY_REUSED;
                return Err(Problem::field(kind, "Idempotency-Key", rule));
            }
            let receipt = Receipt { position, ..receipt };
            Ok(Outcome { fact: Some(event.fact), replayed: true, receipt })
        }
        Answer::Unchanged => Ok(Outcome { fact: None, replayed: false, receipt }),
        Answer::Refused(refusal) => Err(Problem::from_refusal(&refusal)),
        Answer::Told | Answer::View(_) | Answer::Unavailable(_) => Err(unexpected()),
    }
}

/// Asks for a view.
///
/// # Errors
/// There is no such thing, or no answer.
pub async fn look(api: &Api, query: Query) -> Result<(View, Receipt)> {
    let replied = api.shards.query(query).await.map_err(|error| unavailable(api, error))?;
    let receipt = receipt(&replied);
    match replied.answer {
        Answer::View(view) => Ok((*view, receipt)),
        Answer::Refused(refusal) => Err(Problem::from_refusal(&refusal)),
        Answer::Done(_)
        | Answer::Told
        | Answer::Repeated { .. }
        | Answer::Unchanged
        | Answer::Unavailable(_) => Err(unexpected()),
    }
}

/// There is no answer; counted where a limit is why.
pub fn unavailable(api: &Api, error: Unavailable) -> Box<Problem> {
    if error == Unavailable::Busy {
        api.metrics.refused.count(Reason::Queue);
    }
    match (error, api.not_active()) {
        // Nothing was changed: that is for the other one.
        (Unavailable::Stopped, Some(problem)) => problem,
        (error, Some(fenced)) => {
            let mut problem = Problem::from_unavailable(error);
            (problem.role, problem.active) = (fenced.role, fenced.active);
            problem
        }
        (error, None) => Problem::from_unavailable(error),
    }
}

/// A record of the journal.
///
/// # Errors
/// It can't be read.
pub fn record(api: &Api, shard: u16, position: u64) -> Result<Event> {
    let info = api.shards.info(shard).expect("the shard gave the position");
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::error!(shard, position, %error, "a record can't be read");
        let detail = format!("shard {shard}, position {position} can't be read");
        Problem::new(&kind::UNREADABLE_RECORD, detail)
    };
    let bytes = info.reader.record(position).map_err(|error| unreadable(&error))?;
    onsale_codec::decode(&bytes).map_err(|error| unreadable(&error))
}

fn receipt(replied: &Replied) -> Receipt {
    let Replied { shard, position, durability, .. } = *replied;
    Receipt { shard, position, durability }
}

/// An answer that does not fit what was asked: a mistake in the program.
#[must_use]
pub fn unexpected() -> Box<Problem> {
    tracing::error!("an answer does not fit what was asked");
    Problem::new(&kind::INTERNAL, "the answer does not fit what was asked")
}
