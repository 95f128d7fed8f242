//! What must be true of one shard: the model beside it, what its log may hold after a
//! crash, and what it has answered.

use onsale_core::command::{Action, Command, CommandStamp};
use onsale_core::event::{CancelReason, Event, Fact, Subject};
use onsale_core::refusal::Refusal;
use onsale_core::time::Time;

use super::rule::{Broken, Rule};
use super::short;
use crate::model::{Model, Outcome};

/// The stamp of a command that nobody sent.
const UNSENT: CommandStamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };

/// What must be true of one shard.
pub(super) struct Truth {
    /// Where the shard is, durable or not.
    pub model: Model,
    /// Where it was when the server started.
    base: Model,
    /// What took it from there to the model.
    steps: Vec<Step>,
    /// All records that the last start found.
    pub records: Vec<Event>,
    /// What was read after these while the server ran.
    followed: Vec<Event>,
    /// The highest position that an answer which left was based on.
    pub answered: u64,
    /// Whether the last run has closed the log.
    pub closed: bool,
}

/// Something that took the shard to a position.
struct Step {
    last: u64,
    now: Time,
    cause: Cause,
}

/// What a start found of the last run's.
pub(super) struct Kept {
    /// Records that no answer had spoken of, lost and kept.
    pub cut: u64,
    pub kept: u64,
    /// The last position.
    pub last: u64,
}

enum Cause {
    Command(Box<Command>),
    /// The timer, which ended these in an order of its own.
    Timer(Vec<(Subject, Action)>),
}

/// What the model says of a request.
pub(super) enum Expected {
    /// This, at this position.
    Answer(u64, Result<Outcome, Refusal>),
    /// Something would have changed, but the shard had no room for it.
    NoRoom,
}

impl Truth {
    /// A shard whose first record has just been found.
    pub(super) fn new(first: &Event) -> Result<Truth, Broken> {
        let Fact::ShardStarted(started) = &first.fact else {
            return Err(Rule::Records.broken(format!("the first record is {first:?}")));
        };
        let mut model = Model::new(started.key, started.shard, started.generation);
        model.time = first.at;
        let (base, steps, records) = (model.clone(), Vec::new(), vec![first.clone()]);
        let (followed, closed) = (Vec::new(), false);
        Ok(Truth { model, base, steps, records, followed, answered: 1, closed })
    }

    /// What the model says to a command that took the shard to this position.
    pub(super) fn expect(
        &mut self,
        command: &Command,
        now: Time,
        position: u64,
    ) -> Result<Expected, Broken> {
        let before = self.model.position;
        let now = now.max(self.model.time);
        let outcome = self.model.execute(command, now);
        if self.model.position == position {
            if let Ok(Outcome::Change(_)) = &outcome {
                let cause = Cause::Command(Box::new(command.clone()));
                self.steps.push(Step { last: position, now, cause });
            }
            return Ok(Expected::Answer(position, outcome));
        }
        if position == before {
            self.go_back()?;
            return Ok(Expected::NoRoom);
        }
        let (what, expected) = (short::command(command), self.model.position);
        Err(Rule::Answer.broken(format!(
            "{what} took the shard to {position}, the model to {expected} by {}",
            short::cut(format!("{outcome:?}"))
        )))
    }

    /// The timer took the shard to this position by ending these.
    pub(super) fn timer_ended(
        &mut self,
        ended: Vec<(Subject, Action)>,
        now: Time,
        position: u64,
    ) -> Result<(), Broken> {
        let now = now.max(self.model.time);
        for (subject, action) in &ended {
            redo(&mut self.model, &timers(*subject, action.clone()), now)?;
        }
        if self.model.position != position {
            let expected = self.model.position;
            let what = format!("the timer led to {position}, not to {expected}");
            return Err(Rule::Due.broken(what));
        }
        self.steps.push(Step { last: position, now, cause: Cause::Timer(ended) });
        Ok(())
    }

    /// The model again as it was before the last command.
    fn go_back(&mut self) -> Result<(), Broken> {
        self.model = self.base.clone();
        for step in &self.steps {
            match &step.cause {
                Cause::Command(command) => drop(redo(&mut self.model, command, step.now)?),
                Cause::Timer(ended) => {
                    for (subject, action) in ended {
                        redo(&mut self.model, &timers(*subject, action.clone()), step.now)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Up to where all records were read.
    pub(super) fn known(&self) -> u64 {
        (self.records.len() + self.followed.len()) as u64
    }

    fn record(&self, at: usize) -> Option<&Event> {
        self.records.get(at).or_else(|| self.followed.get(at - self.records.len()))
    }

    /// Takes up durable records from a position on, which must be what they were before.
    pub(super) fn read(&mut self, begin: u64, records: &[Event]) -> Result<(), Broken> {
        for (at, record) in (begin as usize - 1..).zip(records) {
            match self.record(at) {
                Some(known) if known != record => return Err(not_the_same(at + 1, record, known)),
                Some(_) => {}
                None if at as u64 == self.known() => self.followed.push(record.clone()),
                None => {
                    let what = format!("the log begins at {begin}, {} were read", self.known());
                    return Err(Rule::Readable.broken(what));
                }
            }
        }
        Ok(())
    }

    /// All records, those that were let go included.
    pub(super) fn all(&self, begin: u64, read: Vec<Event>) -> Result<Vec<Event>, Broken> {
        let mut all = Vec::new();
        for at in 0..begin as usize - 1 {
            let known = self.record(at).cloned();
            all.push(known.ok_or_else(|| Rule::Lost.broken(format!("it begins at {begin}")))?);
        }
        all.extend(read);
        Ok(all)
    }

    /// The power goes where batches are not synced: what came since the last start may be lost.
    pub(super) fn may_lose(&mut self) {
        if !self.closed {
            self.answered = self.records.len() as u64;
        }
    }

    /// Holds what a start found against all this, and goes on from there. Says how many
    /// records that no answer had spoken of are lost and kept, and where the old ones end.
    pub(super) fn restart(&mut self, mut records: Vec<Event>) -> Result<Kept, Broken> {
        let begun = new_generations(&mut records, self.records.len());
        let last = records.len() as u64;
        if last < self.answered {
            let answered = self.answered;
            return Err(Rule::Lost.broken(format!("{answered} was answered, {last} is there")));
        }
        let known = self.records.len();
        if let Some(at) = (0..known).find(|at| records[*at] != self.records[*at]) {
            return Err(not_the_same(at + 1, &records[at], &self.records[at]));
        }
        let cut = self.model.position.saturating_sub(last);
        let kept = last - self.answered;
        let mut model = self.base.clone();
        for step in std::mem::take(&mut self.steps) {
            let to = step.last.min(last);
            if model.position == last {
                break;
            }
            if to < step.last && !matches!(step.cause, Cause::Timer(_)) {
                let what =
                    format!("the log ends at {last}, within a command that ends at {}", step.last);
                return Err(Rule::Records.broken(what));
            }
            let recorded = &records[model.position as usize..to as usize];
            follow(&mut model, &step, recorded)?;
        }
        if model.position != last {
            let what = format!("{last} records, though only {} were made", model.position);
            return Err(Rule::Records.broken(what));
        }
        for event in begun {
            if let Fact::GenerationStarted { generation } = &event.fact {
                model.start_generation(*generation);
            }
            model.time = event.at;
            records.push(event);
        }
        (self.answered, self.records) = (records.len() as u64, records);
        (self.followed, self.closed) = (Vec::new(), false);
        (self.base, self.model) = (model.clone(), model);
        Ok(Kept { cut, kept, last })
    }
}

/// Takes off the records at the end, above a position, by which starts began new generations.
fn new_generations(records: &mut Vec<Event>, known: usize) -> Vec<Event> {
    let begins = |event: &Event| matches!(event.fact, Fact::GenerationStarted { .. });
    let others = records.iter().rposition(|event| !begins(event)).map_or(0, |at| at + 1);
    records.split_off(others.max(known).min(records.len()))
}

/// Does a step again and holds it against its records.
fn follow(model: &mut Model, step: &Step, recorded: &[Event]) -> Result<(), Broken> {
    let first = model.position as usize + 1;
    let made = match &step.cause {
        Cause::Command(command) => redo(model, command, step.now)?,
        Cause::Timer(_) => {
            let mut made = Vec::new();
            for event in recorded {
                made.extend(redo(model, &timers_command(event)?, step.now)?);
            }
            made
        }
    };
    match (0..recorded.len()).find(|at| made.get(*at) != Some(&recorded[*at])) {
        Some(at) if at < made.len() => Err(not_the_same(first + at, &recorded[at], &made[at])),
        None if made.len() == recorded.len() => Ok(()),
        _ => Err(Rule::Records.broken("a command left more or fewer records than it made")),
    }
}

fn not_the_same(position: usize, found: &Event, made: &Event) -> Broken {
    Rule::Records
        .broken(format!("position {position} is\n    {found:?}\n  but it was\n    {made:?}"))
}

fn redo(model: &mut Model, command: &Command, now: Time) -> Result<Vec<Event>, Broken> {
    match model.execute(command, now) {
        Ok(Outcome::Change(events)) => Ok(events),
        other => {
            let what = short::command(command);
            Err(Rule::Records.broken(format!("{what} changed something, but now: {other:?}")))
        }
    }
}

fn timers(subject: Subject, action: Action) -> Command {
    let Subject { organizer, event } = subject;
    Command { stamp: UNSENT, organizer, event, action }
}

/// The command that a timer's fact came from.
fn timers_command(event: &Event) -> Result<Command, Broken> {
    let action = match &event.fact {
        Fact::HoldExpired { hold } => Action::ExpireHold { hold: *hold },
        Fact::OrderCancelled { order, reason: CancelReason::Unpaid } => {
            Action::ExpireOrder { order: *order }
        }
        other => return Err(Rule::Records.broken(format!("not a fact of the timer: {other:?}"))),
    };
    match event.subject {
        Some(subject) => Ok(timers(subject, action)),
        None => Err(Rule::Records.broken("a fact of the timer without an event")),
    }
}
