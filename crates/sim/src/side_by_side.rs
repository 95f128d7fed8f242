//! Runs a history through the core and the model at once, and compares: every
//! answer, what can be seen afterwards, the wire form, and a replay at the end.

use std::collections::BTreeSet;
use std::fmt::Write;

use onsale_codec::snapshot;
use onsale_core::code::CodeKey;
use onsale_core::command::{Action, Command, HoldId};
use onsale_core::event::{Event, Fact, ShardStarted};
use onsale_core::limits::{COMMANDS_REMEMBERED_MAX, GENERATIONS_MAX};
use onsale_core::refusal::Refusal;
use onsale_core::sale::{Decision, Sale, Unanswered};
use onsale_core::text::Id;
use onsale_core::time::Time;
use onsale_core::{OrderCode, view};

use crate::coverage::Coverage;
use crate::generator::Generator;
use crate::model::{EventModel, Model, OrderModel, Outcome};
use crate::rng::Rng;

/// The secret of all simulated logs.
pub const KEY: CodeKey = CodeKey(*b"not such secret!");
/// Shards of a simulated log.
pub const SHARDS: u16 = 4;
/// The one that histories are of.
pub const SHARD: u16 = 3;
/// Commands between two looks at everything that is counted.
const CHECK_EVERY: usize = 50;
/// Commands after which the core's state is written down, and the one read goes on.
const SNAPSHOT_EVERY: usize = 251;
/// Commands shown when the two differ.
const SHOWN: usize = 20;

type Answer = Result<Outcome, Refusal>;

/// What a history came to.
pub struct History {
    /// All its events, by position from 1.
    pub events: Vec<Event>,
    /// Which answers it had.
    pub coverage: Coverage,
    /// The core's state at its end.
    pub sale: Sale,
}

/// Runs the history of a seed.
///
/// # Errors
/// Says what differs, at which step, and which commands led there.
pub fn run(seed: u64, commands: usize) -> Result<History, String> {
    let mut pair = Pair::start(seed)?;
    for step in 0..commands {
        pair.step().and_then(|()| pair.look_around(step)).map_err(|what| pair.report(&what))?;
    }
    pair.look_at_everything()
        .and_then(|()| replay(&pair.events, pair.sale.hash()))
        .map_err(|what| pair.report(&what))?;
    Ok(History { events: pair.events, coverage: pair.coverage, sale: pair.sale })
}

/// The event that starts a shard of a simulated log.
#[must_use]
pub fn shard_started(shard: u16) -> Event {
    let (log, shards, key, generation) = (7, SHARDS, KEY, 1);
    let fact = Fact::ShardStarted(ShardStarted { log, shard, shards, key, generation });
    Event { at: Time(0), stamp: None, subject: None, fact }
}

/// The core and the model, side by side.
struct Pair {
    seed: u64,
    sale: Sale,
    model: Model,
    generator: Generator,
    rng: Rng,
    now: Time,
    events: Vec<Event>,
    coverage: Coverage,
    asked: Vec<(Command, Time, Answer)>,
    wire: Vec<u8>,
}

impl Pair {
    fn start(seed: u64) -> Result<Pair, String> {
        let mut pair = Pair {
            seed,
            sale: Sale::new(),
            model: Model::new(KEY, SHARD, 1),
            generator: Generator::new(seed),
            rng: Rng::new(!seed),
            now: Time(0),
            events: Vec::new(),
            coverage: Coverage::default(),
            asked: Vec::new(),
            wire: Vec::new(),
        };
        pair.apply(shard_started(SHARD))?;
        Ok(pair)
    }

    fn step(&mut self) -> Result<(), String> {
        if self.rng.once_in(2_000) && self.model.generation < GENERATIONS_MAX {
            self.start_generation()?;
        }
        if self.asked.len() % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1 {
            self.restore()?;
        }
        let (command, now) = self.generator.next(&self.model);
        self.now = self.now.max(now);
        let of_core = outcome(self.sale.decide(&command, now));
        let of_model = self.model.execute(&command, now);
        self.coverage.count(&of_model);
        self.asked.push((command, now, of_model.clone()));
        if of_core != of_model {
            return Err(format!("the core answers {of_core:#?},\nthe model {of_model:#?}"));
        }
        if let Ok(Outcome::Change(events)) = of_model {
            for event in events {
                self.apply(event)?;
            }
        }
        Ok(())
    }

    /// Goes on with what comes back of the state from its snapshot.
    fn restore(&mut self) -> Result<(), String> {
        let mut decoder = snapshot::Decoder::new();
        let mut wrong = None;
        snapshot::encode(&self.sale, &mut |chunk| {
            wrong = wrong.take().or(decoder.chunk(chunk).err());
        });
        let read = wrong.map_or_else(|| decoder.finish(), Err);
        let read = read.map_err(|error| format!("a snapshot does not come back: {error}"))?;
        same("hash of a snapshot", &read.hash(), &self.sale.hash())?;
        self.sale = read;
        Ok(())
    }

    fn start_generation(&mut self) -> Result<(), String> {
        let generation = self.model.generation + 1;
        self.model.start_generation(generation);
        let fact = Fact::GenerationStarted { generation };
        self.apply(Event { at: self.sale.time(), stamp: None, subject: None, fact })
    }

    fn apply(&mut self, event: Event) -> Result<(), String> {
        self.sale.audit(&event).map_err(|what| format!("the core's audit: {what}"))?;
        let position = self.sale.position() + 1;
        self.sale.apply(position, &event).map_err(|e| format!("{event:?} does not apply: {e}"))?;
        self.wire.clear();
        onsale_codec::encode(&event, &mut self.wire);
        let read = onsale_codec::decode(&self.wire);
        if read.as_ref().ok() != Some(&event) {
            return Err(format!("{event:?} comes back from its wire form as {read:?}"));
        }
        self.events.push(event);
        Ok(())
    }

    /// Compares what the last command touched, and now and then all counts.
    fn look_around(&mut self, step: usize) -> Result<(), String> {
        let (command, ..) = self.asked.last().expect("a command was just asked");
        let (organizer, event) = (command.organizer, command.event);
        let (sale, model, subject) = (&self.sale, &self.model, (organizer, event));
        look_at_event(sale, model, organizer, event)?;
        let now = self.now.max(self.sale.time());
        match command.action {
            Action::PlaceHold { hold, .. }
            | Action::ExtendHold { hold }
            | Action::ReleaseHold { hold }
            | Action::ClaimHold { hold, .. }
            | Action::ExpireHold { hold } => look_at_hold(sale, model, subject, hold, now)?,
            Action::RecordPayment { order, .. }
            | Action::CancelOrder { order, .. }
            | Action::ExpireOrder { order } => look_at_order(sale, model, subject, order)?,
            _ => {}
        }
        if step.is_multiple_of(CHECK_EVERY) {
            self.sale.check().map_err(|what| format!("the core's own check: {what}"))?;
            self.look_at_what_is_due(now)?;
        }
        Ok(())
    }

    fn look_at_what_is_due(&mut self, now: Time) -> Result<(), String> {
        let mut due = Vec::new();
        self.sale.due(now, usize::MAX / 2, &mut due);
        let core: BTreeSet<String> = due.iter().map(|due| format!("{due:?}")).collect();
        same("number of due holds and orders", &due.len(), &core.len())?;
        let model = self.model.due(now);
        let model: BTreeSet<String> = model.iter().map(|due| format!("{due:?}")).collect();
        same("due holds and orders", &core, &model)?;
        let (bound, first) = (self.sale.next_due(), self.model.first_deadline());
        match (bound, first) {
            (_, None) => Ok(()),
            (Some(bound), Some(first)) if bound <= first => Ok(()),
            _ => Err(format!("the core waits until {bound:?}, but {first:?} comes first")),
        }
    }

    fn look_at_everything(&mut self) -> Result<(), String> {
        let now = self.now.max(self.sale.time());
        self.look_at_what_is_due(now)?;
        compare(&self.sale, &self.model, now)
    }

    /// What went wrong, and the last commands for that event.
    fn report(&self, what: &str) -> String {
        let step = self.asked.len();
        let mut text = format!("seed {} (ONSALE_SEED={}), command {step}:\n", self.seed, self.seed);
        let Some((last, ..)) = self.asked.last() else { return text + what };
        let of_event = |(command, ..): &&(Command, Time, Answer)| {
            (command.organizer, command.event) == (last.organizer, last.event)
        };
        let shown: Vec<_> = self.asked.iter().rev().filter(of_event).take(SHOWN).collect();
        for (command, now, answer) in shown.iter().rev() {
            // Formatting into a String can't fail.
            let _ = writeln!(text, "  at {}: {command:?}\n    {answer:?}", now.0);
        }
        if let Some(event) = self.model.events.get(&(last.organizer, last.event)) {
            let _ = writeln!(text, "  definition: {:?}", event.definition);
        }
        text + what
    }
}

/// Compares all that can be seen of the core's state with the model.
///
/// # Errors
/// Says what differs.
pub fn compare(sale: &Sale, model: &Model, now: Time) -> Result<(), String> {
    sale.check().map_err(|what| format!("the core's own check: {what}"))?;
    same("position", &sale.position(), &model.position)?;
    for ((organizer, id), event) in &model.events {
        look_at_event(sale, model, *organizer, *id)?;
        for hold in event.holds.keys().chain(event.ended.keys()) {
            look_at_hold(sale, model, (*organizer, *id), *hold, now)?;
        }
        for order in &event.orders {
            look_at_order(sale, model, (*organizer, *id), order.code)?;
        }
    }
    let sum = |of: fn(&EventModel) -> usize| -> usize { model.events.values().map(of).sum() };
    let counts = sale.counts();
    same("number of events", &counts.events, &model.events.len())?;
    same("number of holds", &counts.holds, &sum(|e| e.holds.len()))?;
    same("number of orders", &counts.orders, &sum(|e| e.orders.len()))?;
    same("number of payments", &counts.payments, &sum(|e| e.payments.len()))?;
    same("number of customers", &counts.customers, &sum(|e| e.customers().len()))
}

pub(crate) fn look_at_event(
    sale: &Sale,
    model: &Model,
    organizer: Id,
    event: Id,
) -> Result<(), String> {
    let core = sale.availability(&organizer, &event);
    let expected = model.availability(organizer, event);
    let seen = |v: &view::AvailabilityView| (v.state, v.definition.clone(), v.quotas.clone());
    same("availability", &core.as_ref().map(seen), &expected.as_ref().map(seen))?;
    let version = model.events.get(&(organizer, event)).map(|e| e.version);
    same("version", &sale.event(&organizer, &event).map(|v| v.version), &version)
}

pub(crate) fn look_at_hold(
    sale: &Sale,
    model: &Model,
    (organizer, event): (Id, Id),
    hold: HoldId,
    now: Time,
) -> Result<(), String> {
    let core = sale.hold(&organizer, &event, hold, now);
    same("hold", &core, &model.hold(organizer, event, hold, now))
}

pub(crate) fn look_at_order(
    sale: &Sale,
    model: &Model,
    (organizer, event): (Id, Id),
    order: OrderCode,
) -> Result<(), String> {
    let core = sale.order(&organizer, &event, order);
    // One that is old and settled is shown from its records.
    if let Err(Unanswered::Needs(needs)) = &core {
        let found = model.events.get(&(organizer, event)).and_then(|e| e.order(order));
        let fits = |o: &OrderModel| {
            o.state != view::OrderState::AwaitingPayment && needs.positions.contains(&o.position)
        };
        return match found.is_some_and(fits) {
            true => Ok(()),
            false => Err(format!("order {order} needs {needs}, but the model has {found:?}")),
        };
    }
    same("order", &core, &model.order(organizer, event, order).map_err(Unanswered::Refused))
}

/// Applies the events to a fresh state, which must come to the same hash.
///
/// # Errors
/// An event does not apply, or the hash is another.
pub fn replay(events: &[Event], hash: u128) -> Result<(), String> {
    replay_with(events, hash, COMMANDS_REMEMBERED_MAX as u32)
}

/// The same with a state that remembers so many command ids itself.
///
/// # Errors
/// An event does not apply, or the hash is another.
pub fn replay_with(events: &[Event], hash: u128, ids: u32) -> Result<(), String> {
    let mut sale = Sale::new();
    sale.keep_ids(ids);
    for (position, event) in (1..).zip(events) {
        sale.apply(position, event).map_err(|e| format!("replay, position {position}: {e}"))?;
    }
    sale.check().map_err(|what| format!("replay: {what}"))?;
    same("hash after a replay", &sale.hash(), &hash)
}

fn outcome(decision: Result<Decision, Refusal>) -> Answer {
    Ok(match decision? {
        Decision::Change(events) => Outcome::Change(events.into_vec()),
        Decision::Repeated { position } => Outcome::Repeated { position },
        Decision::Unchanged => Outcome::Unchanged,
        Decision::Needs(needs) => unreachable!("all orders are kept in full: {needs}"),
    })
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, core: &T, model: &T) -> Result<(), String> {
    match core == model {
        true => Ok(()),
        false => Err(format!("{what}: the core says {core:#?},\nthe model {model:#?}")),
    }
}
