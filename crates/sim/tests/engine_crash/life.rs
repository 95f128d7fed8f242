//! One life of a shard between a start and a crash, beside the model; and what is known
//! of its log over all lives.

use std::collections::BTreeMap;
use std::sync::Arc;

use onsale_core::command::{Action, Command, CommandStamp};
use onsale_core::event::{CancelReason, Event, Fact};
use onsale_core::refusal::Refusal;
use onsale_core::time::Time;
use onsale_engine::folder::{Identity, Options, open_shards};
use onsale_engine::{Answer, Reply, Request, Shard, Unavailable};
use onsale_journal::{SpareJob, WriteJob};
use onsale_sim::disk::FaultyDisk;
use onsale_sim::generator::Generator;
use onsale_sim::model::{Model, Outcome};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{KEY, compare, replay};

/// When logs are made: before any history begins.
const MADE_AT: Time = Time(1_749_000_000_000_000);
const IDENTITY: Identity = Identity { log: 7, shards: 1 };

/// What was asked of a log over all its lives, as far as it was kept.
pub struct Log {
    generator: Generator,
    segment_bytes: u64,
    steps: Vec<Step>,
    now: Time,
    /// The highest position that an answer which left was based on.
    answered: u64,
    /// The last position when the last life ended.
    last: u64,
}

/// Something that took the log to a position.
struct Step {
    last_position: u64,
    cause: Cause,
    now: Time,
}

enum Cause {
    Command(Box<Command>),
    /// The engine's own timer, in an order of its own.
    Timer,
}

/// Where opening went wrong.
pub enum Stage {
    /// The engine says that it can't start.
    Start(String),
    /// It started, and a rule is broken.
    Check(String),
}

/// A running shard.
pub struct Life {
    shard: Shard<u64>,
    model: Model,
    /// What the model says of requests whose answers have not left.
    expected: BTreeMap<u64, Expected>,
    tickets: u64,
    deferred: Option<(u64, Command)>,
    write: Option<WriteJob>,
    spare: Option<SpareJob>,
    /// All that was there at the start.
    pub records: Vec<Event>,
    /// Records of the life before that no answer had spoken of: gone, and kept.
    pub cut: u64,
    pub kept: u64,
    pub answers: usize,
    pub unavailable: usize,
}

enum Expected {
    /// This, at this position.
    Answer(u64, Result<Outcome, Refusal>),
    /// No room for it, or stopped.
    Unavailable,
}

impl Log {
    pub fn new(seed: u64, segment_bytes: u64) -> Log {
        let generator = Generator::new(seed);
        Log { generator, segment_bytes, steps: Vec::new(), now: MADE_AT, answered: 0, last: 0 }
    }

    /// Starts the engine on what is on the disk, and checks that all that was answered
    /// is there, nothing else, and nothing by halves.
    pub fn open(&mut self, disk: &FaultyDisk) -> Result<Life, Stage> {
        let stores = |_| Ok(Arc::new(disk.clone()).into());
        let options = Options::new(self.segment_bytes);
        let shards = open_shards(IDENTITY, &options, KEY, MADE_AT, stores);
        let shard = shards.map_err(|e| Stage::Start(e.to_string()))?.remove(0);
        let life = self.check(shard, disk).map_err(Stage::Check)?;
        Ok(life)
    }

    fn check(&mut self, shard: Shard<u64>, disk: &FaultyDisk) -> Result<Life, String> {
        let records = match read_all(&shard) {
            Ok(records) => records,
            // The fault that was meant for the start struck here.
            Err(_) if disk.is_stopped() => return Err("the disk has stopped".into()),
            Err(error) => return Err(error),
        };
        let position = shard.sale().position();
        if position != records.len() as u64 {
            return Err(format!("{} records, but the state is of {position}", records.len()));
        }
        if position < self.answered {
            return Err(format!("{} was answered, but only {position} is kept", self.answered));
        }
        let cut = self.last.saturating_sub(position);
        let kept = position.saturating_sub(self.answered);
        (self.answered, self.last) = (position, position);
        let model = self.model_of(&records)?;
        compare(shard.sale(), &model, self.now.max(shard.sale().time()))?;
        replay(&records, shard.sale().hash())?;
        Ok(Life {
            shard,
            model,
            expected: BTreeMap::new(),
            tickets: 0,
            deferred: None,
            write: None,
            spare: None,
            records,
            cut,
            kept,
            answers: 0,
            unavailable: 0,
        })
    }

    /// Does again what was kept, and forgets the rest.
    fn model_of(&mut self, records: &[Event]) -> Result<Model, String> {
        let last = records.len() as u64;
        let kept = self.steps.iter().take_while(|step| step.last_position <= last).count();
        // What the timer did is many commands: some may be kept, others not.
        if let Some(step) = self.steps.get_mut(kept)
            && matches!(step.cause, Cause::Timer)
        {
            step.last_position = last;
            self.steps.truncate(kept + 1);
        } else {
            self.steps.truncate(kept);
        }
        let mut model = Model::new(KEY, 0, 1);
        for step in &self.steps {
            let from = model.position as usize;
            let recorded = &records[from..step.last_position as usize];
            let made = match &step.cause {
                Cause::Command(command) => redo(&mut model, command, step.now)?,
                Cause::Timer => {
                    let mut made = Vec::new();
                    for event in recorded {
                        made.extend(redo(&mut model, &timers_command(event)?, step.now)?);
                    }
                    made
                }
            };
            if made != recorded {
                return Err(format!("{recorded:#?} is recorded,\nit was {made:#?}"));
            }
        }
        match model.position == last {
            true => Ok(model),
            false => Err(format!("{last} records: a command is there by halves")),
        }
    }
}

fn redo(model: &mut Model, command: &Command, now: Time) -> Result<Vec<Event>, String> {
    match model.execute(command, now) {
        Ok(Outcome::Change(events)) => Ok(events),
        other => Err(format!("{command:?} changed something, and now: {other:?}")),
    }
}

/// The command that a timer's fact came from.
fn timers_command(event: &Event) -> Result<Command, String> {
    let subject = event.subject.ok_or("a fact of the timer without an event")?;
    let action = match &event.fact {
        Fact::HoldExpired { hold } => Action::ExpireHold { hold: *hold },
        Fact::OrderCancelled { order, reason: CancelReason::Unpaid } => {
            Action::ExpireOrder { order: *order }
        }
        other => return Err(format!("not a fact of the timer: {other:?}")),
    };
    let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
    Ok(Command { stamp, organizer: subject.organizer, event: subject.event, action })
}

fn read_all(shard: &Shard<u64>) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut damaged = None;
    let read = shard.info().reader.read(0, usize::MAX, usize::MAX, &mut |_, record| {
        match onsale_codec::decode(record) {
            Ok(event) => events.push(event),
            Err(error) => damaged = Some(error.to_string()),
        }
    });
    read.map_err(|error| error.to_string())?;
    damaged.map_or(Ok(events), Err)
}

impl Life {
    /// Takes commands until the shard or the disk has stopped, or there were enough.
    pub fn work(
        &mut self,
        log: &mut Log,
        rng: &mut Rng,
        commands: usize,
        ended: impl Fn() -> bool,
    ) -> Result<(), String> {
        for _ in 0..commands {
            if ended() || self.shard.stopped().is_some() {
                break;
            }
            match rng.below(40) {
                0 => self.run_timer(log, &ended)?,
                1..=9 => self.seal(log)?,
                10..=19 => self.finish(log)?,
                20..=22 => self.mark(),
                23..=29 => self.prepare(log, rng)?,
                _ => {}
            }
            // The timer may have been the last thing that happened, half of it.
            if ended() {
                break;
            }
            if self.shard.ready() && self.shard.stopped().is_none() {
                let (command, now) = log.generator.next(&self.model);
                log.now = log.now.max(now);
                self.submit(log, command)?;
            } else {
                self.finish(log)?;
                self.seal(log)?;
                self.prepare(log, rng)?;
            }
        }
        self.finish(log)?;
        self.release(log)?;
        log.last = self.shard.sale().position();
        Ok(())
    }

    fn submit(&mut self, log: &mut Log, command: Command) -> Result<(), String> {
        self.tickets += 1;
        let (ticket, before) = (self.tickets, self.shard.sale().position());
        let request = Request::Command(Box::new(command.clone()));
        self.shard.submit(log.now, request, ticket);
        if !self.shard.ready() {
            self.deferred = Some((ticket, command));
            return Ok(());
        }
        self.expect(log, ticket, command, before)
    }

    /// Lets the model say what the shard must have answered.
    fn expect(
        &mut self,
        log: &mut Log,
        ticket: u64,
        command: Command,
        before: u64,
    ) -> Result<(), String> {
        let position = self.shard.sale().position();
        let undone = (position == before).then(|| self.model.clone());
        let outcome = self.model.execute(&command, log.now);
        if self.model.position == position {
            self.expected.insert(ticket, Expected::Answer(position, outcome.clone()));
            if matches!(outcome, Ok(Outcome::Change(_))) {
                let (now, cause) = (log.now, Cause::Command(Box::new(command)));
                log.steps.push(Step { last_position: position, cause, now });
            }
            return Ok(());
        }
        let Some(undone) = undone else {
            return Err(format!("{command:?} led to {position}, but it is {outcome:?}"));
        };
        self.model = undone;
        self.expected.insert(ticket, Expected::Unavailable);
        Ok(())
    }

    fn seal(&mut self, log: &mut Log) -> Result<(), String> {
        if self.write.is_some() {
            return Ok(());
        }
        let before = self.shard.sale().position();
        self.write = self.shard.seal(log.now);
        self.retried(log, before)
    }

    /// The command that waited for room may have been taken.
    fn retried(&mut self, log: &mut Log, before: u64) -> Result<(), String> {
        match self.deferred.take() {
            Some((ticket, command)) if self.shard.ready() => {
                self.expect(log, ticket, command, before)
            }
            deferred => {
                self.deferred = deferred;
                Ok(())
            }
        }
    }

    fn finish(&mut self, log: &mut Log) -> Result<(), String> {
        let Some(job) = self.write.take() else { return Ok(()) };
        // An error stops the shard, which the loop sees.
        if self.shard.finish(job.run()).is_err()
            && let Some((ticket, _)) = self.deferred.take()
        {
            self.expected.insert(ticket, Expected::Unavailable);
        }
        self.release(log)
    }

    fn mark(&mut self) {
        if self.write.is_none() {
            self.write = self.shard.mark();
        }
    }

    /// A spare segment is made while other things go on.
    fn prepare(&mut self, log: &mut Log, rng: &mut Rng) -> Result<(), String> {
        match self.spare.take() {
            None => self.spare = self.shard.prepare(),
            Some(job) if rng.percent(70) => {
                let before = self.shard.sale().position();
                // Without a spare the shard says that the disk is full.
                let _ = self.shard.prepared(log.now, job.run());
                return self.retried(log, before);
            }
            job => self.spare = job,
        }
        Ok(())
    }

    /// Runs the timer until nothing is due any more.
    fn run_timer(&mut self, log: &mut Log, ended: &impl Fn() -> bool) -> Result<(), String> {
        if !self.shard.ready() {
            return Ok(());
        }
        loop {
            let before = self.shard.sale().position();
            self.shard.expire(log.now);
            let last_position = self.shard.sale().position();
            if last_position == before {
                break;
            }
            let (now, cause) = (log.now.max(self.shard.sale().time()), Cause::Timer);
            log.steps.push(Step { last_position, cause, now });
            self.seal(log)?;
            self.finish(log)?;
            if ended() || self.shard.stopped().is_some() {
                return Ok(());
            }
        }
        let now = log.now.max(self.shard.sale().time());
        for (subject, action) in self.model.due(now) {
            let stamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };
            let (organizer, event) = (subject.organizer, subject.event);
            redo(&mut self.model, &Command { stamp, organizer, event, action }, now)?;
        }
        let (position, expected) = (self.shard.sale().position(), self.model.position);
        match position == expected {
            true => Ok(()),
            false => Err(format!("the timer led to {position}, not to {expected}")),
        }
    }

    /// Takes the answers that may leave, and holds them against the model's.
    fn release(&mut self, log: &mut Log) -> Result<(), String> {
        while let Some((ticket, reply)) = self.shard.release() {
            self.answers += 1;
            let expected = self.expected.remove(&ticket).ok_or("an answer to nothing")?;
            if matches!(reply.answer, Answer::Unavailable(_)) {
                self.unavailable += 1;
                self.check_unavailable(&reply, &expected)?;
                continue;
            }
            let Expected::Answer(position, expected) = expected else {
                return Err(format!("{reply:?} comes where there was no room"));
            };
            let answer = match (&reply.answer, &expected) {
                (Answer::Done(fact), Ok(Outcome::Change(events))) => events.last() == Some(fact),
                (Answer::Repeated { position: a }, Ok(Outcome::Repeated { position: b })) => a == b,
                (Answer::Unchanged, Ok(Outcome::Unchanged)) => true,
                (Answer::Refused(a), Err(b)) => a == b,
                _ => false,
            };
            if !answer || reply.position != position {
                return Err(format!("{reply:?}, but it is {expected:?} at {position}"));
            }
            log.answered = log.answered.max(reply.position);
        }
        Ok(())
    }

    fn check_unavailable(&self, reply: &Reply, expected: &Expected) -> Result<(), String> {
        let Answer::Unavailable(why) = reply.answer else { return Ok(()) };
        let stopped = self.shard.stopped().is_some();
        let fine = match (why, expected) {
            // What had not become durable, whatever it was.
            (Unavailable::Unknown, Expected::Answer(position, _)) => {
                stopped && *position > reply.position
            }
            // So is a word of no room that waited for what came before it.
            (Unavailable::Unknown | Unavailable::Stopped, Expected::Unavailable) => stopped,
            (Unavailable::StorageFull | Unavailable::TooLarge, Expected::Unavailable) => true,
            // A full disk is told before anything is decided.
            (Unavailable::StorageFull, Expected::Answer(_, outcome)) => {
                !matches!(outcome, Ok(Outcome::Change(_)))
            }
            _ => false,
        };
        match fine {
            true => Ok(()),
            false => Err(format!("{reply:?} is not why there is no answer")),
        }
    }
}
