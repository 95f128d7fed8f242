//! Seeded histories of commands that aim at every rule: it looks at the model to
//! ask for what is nearly allowed, and sets the time to the very instants at which
//! an answer changes.

mod carts;
mod definitions;
mod money;
mod storms;

use std::collections::VecDeque;

use onsale_core::command::{Action, Command, CommandStamp, HoldId};
use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::text::{CustomerId, Id};
use onsale_core::time::Time;

use crate::model::{EventModel, Model};
use crate::rng::Rng;

/// When histories begin, in microseconds.
const BEGIN: Time = Time(1_750_000_000_000_000);
/// Recent commands that may be sent again.
const SENT_MAX: usize = 64;
const SECOND: i64 = 1_000_000;

/// Makes one history, command by command.
#[derive(Clone)]
pub struct Generator {
    rng: Rng,
    now: Time,
    /// Whether due holds and orders are left alone for a while.
    timers_late: bool,
    /// What comes next, whatever the dice say.
    script: VecDeque<Scripted>,
    sent: VecDeque<Command>,
    references: u64,
    /// The storm that is yet to come, and how many commands come before it.
    storm: Option<(storms::Storm, u32)>,
}

/// A planned step.
#[derive(Clone)]
enum Scripted {
    /// This action for this event.
    Do((Id, Id), Box<Action>),
    /// Time passes, in microseconds.
    Wait(i64),
    /// The timers stop, or run again.
    TimersLate(bool),
}

impl Generator {
    /// The history of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Generator {
        let mut rng = Rng::new(seed);
        let timers_late = rng.percent(30);
        let storm = (storms::of_seed(seed), 200 + rng.below(1_000) as u32);
        Generator {
            now: Time(BEGIN.0 + rng.within(0, SECOND)),
            rng,
            timers_late,
            script: VecDeque::new(),
            sent: VecDeque::new(),
            references: 0,
            storm: Some(storm),
        }
    }

    /// One whose storm comes early: for histories of a few hundred commands.
    #[must_use]
    pub fn brief(seed: u64) -> Generator {
        let mut generator = Generator::new(seed);
        let before = 10 + generator.rng.below(60) as u32;
        generator.storm = Some((storms::of_seed(seed), before));
        generator
    }

    /// What time it is for whoever makes commands.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Goes on from another time.
    pub fn set_now(&mut self, now: Time) {
        self.now = now;
    }

    /// The next command, and when it is decided.
    pub fn next(&mut self, model: &Model) -> (Command, Time) {
        let (command, now) = self.choose(model);
        // Now and then a clock is behind.
        let behind = if self.rng.once_in(200) { self.rng.within(1, 30 * SECOND) } else { 0 };
        (command, Time(now.0 - behind))
    }

    fn choose(&mut self, model: &Model) -> (Command, Time) {
        if let Some((subject, action)) = self.scripted() {
            return (self.stamped(subject, action), self.now);
        }
        self.pass_time(model);
        if self.rng.once_in(60) {
            self.timers_late = !self.timers_late;
        }
        if !self.timers_late
            && let Some(command) = self.timer(model)
        {
            return (command, self.now);
        }
        if let Some(command) = self.sent_before() {
            return (command, self.now);
        }
        if let Some((subject, action)) = self.storm(model) {
            return (self.stamped(subject, action), self.now);
        }
        let subject = self.subject();
        let action = match model.events.get(&subject) {
            None if is_defined_some_day(subject) && self.rng.percent(90) => self.first_definition(),
            None => self.any_action(model, &self.stranger(model)),
            Some(event) => self.any_action(model, event),
        };
        (self.stamped(subject, action), self.now)
    }

    fn any_action(&mut self, model: &Model, event: &EventModel) -> Action {
        if self.wants_to_open(event) {
            return self.open(event);
        }
        if self.wants_to_mend(event) {
            return self.mend(event);
        }
        match self.rng.weighted(&[30, 12, 5, 6, 10, 14, 6, 5, 3, 4, 2, 1]) {
            0 => self.place_hold(model, event),
            1 => self.claim_hold(model, event),
            2 => self.extend_hold(model, event),
            3 => self.release_hold(model, event),
            4 => self.buy(event),
            5 => self.record_payment(model, event),
            6 => self.record_refund(model, event),
            7 => self.cancel_order(model, event),
            8 => self.set_state(event),
            9 => self.redefinition(event),
            10 => Action::ExpireHold { hold: self.hold(model, event) },
            _ => self.expire_order(model, event),
        }
    }

    /// The next action of the script, if there is one.
    fn scripted(&mut self) -> Option<((Id, Id), Action)> {
        loop {
            match self.script.pop_front()? {
                Scripted::Do(subject, action) => return Some((subject, *action)),
                Scripted::Wait(us) => self.now.0 += us,
                Scripted::TimersLate(late) => self.timers_late = late,
            }
        }
    }

    /// Three events that share ids across organizers and within one.
    fn subject(&mut self) -> (Id, Id) {
        match self.rng.below(300) {
            0..=109 => (id("north"), id("gala")),
            110..=199 => (id("south"), id("gala")),
            200..=297 => (id("north"), id("fair")),
            298 => (id("nobody"), id("gala")),
            _ => (id("north"), id("nothing")),
        }
    }

    /// An event that is there, to make commands for one that is not.
    fn stranger(&self, model: &Model) -> EventModel {
        let any = model.events.values().next().cloned();
        any.unwrap_or_else(|| definitions::plain_event(id("north"), id("gala")))
    }

    fn pass_time(&mut self, model: &Model) {
        match self.rng.below(2_000) {
            0..=1199 => {}
            1200..=1699 => self.now.0 += self.rng.within(1, SECOND),
            1700..=1799 => self.now.0 += self.rng.within(1, 5 * SECOND),
            1800..=1979 => self.pass_time_to_an_edge(model),
            1980..=1989 => self.now.0 += self.rng.within(1, 60) * SECOND,
            1990..=1998 => self.now.0 += self.rng.within(60, 900) * SECOND,
            _ if self.rng.percent(50) => self.now.0 += COMMANDS_REMEMBERED_US + 10 * SECOND,
            _ => {}
        }
    }

    /// To one of the next instants at which something changes, or one microsecond beside it.
    fn pass_time_to_an_edge(&mut self, model: &Model) {
        let mut edges = Vec::new();
        for event in model.events.values() {
            let definition = &event.definition;
            let windows = definition.ticket_types.iter().map(|t| &t.sale).chain([&definition.sale]);
            edges.extend(windows.flat_map(|w| [w.opens_at, w.closes_at]).flatten());
            edges.extend(event.holds.values().map(|hold| hold.expires_at));
            let awaiting = event.orders.iter().filter(|o| !o.is_cancelled());
            edges.extend(awaiting.filter_map(|o| o.payment_due));
        }
        edges.retain(|edge| edge.0 > self.now.0 + 1);
        edges.sort_unstable();
        edges.truncate(4);
        if !edges.is_empty() {
            let beside = *self.rng.pick(&[0, 0, 0, -1, 1]);
            self.now.0 = self.rng.pick(&edges).0 + beside;
        }
    }

    /// What the engine's timer would send now.
    fn timer(&mut self, model: &Model) -> Option<Command> {
        for event in model.events.values() {
            let hold = event.due_holds(self.now).first().map(|(hold, _)| *hold);
            let order = event.orders.iter().find(|order| order.is_due(self.now)).map(|o| o.code);
            let action = match (hold, order) {
                (Some(hold), _) => Action::ExpireHold { hold },
                (None, Some(order)) => Action::ExpireOrder { order },
                (None, None) => continue,
            };
            let (organizer, event) = (event.organizer, event.event);
            let stamp = CommandStamp {
                id: self.rng.wide(),
                body: self.rng.wide(),
                chosen: false,
                made_at: None,
            };
            return Some(Command { stamp, organizer, event, action });
        }
        None
    }

    /// A command again: the same, with another body, or for another event.
    fn sent_before(&mut self) -> Option<Command> {
        if self.sent.is_empty() || !self.rng.percent(4) {
            return None;
        }
        let mut command = self.sent[self.rng.below(self.sent.len())].clone();
        match self.rng.below(10) {
            0 | 1 => command.stamp.body ^= 1,
            2 => (command.organizer, command.event) = self.subject(),
            _ => {}
        }
        Some(command)
    }

    fn stamped(&mut self, (organizer, event): (Id, Id), action: Action) -> Command {
        let chosen = self.rng.percent(70);
        let made_at = match self.rng.below(100) {
            0..=30 => Some(Time(self.now.0 - self.rng.within(0, 30) * SECOND)),
            31 => Some(Time(self.now.0 - COMMANDS_REMEMBERED_US - self.rng.within(-2, 5) * SECOND)),
            _ => None,
        };
        let stamp = CommandStamp { id: self.rng.wide(), body: self.rng.wide(), chosen, made_at };
        let command = Command { stamp, organizer, event, action };
        if chosen {
            self.sent.push_back(command.clone());
            if self.sent.len() > SENT_MAX {
                self.sent.pop_front();
            }
        }
        command
    }

    fn customer(&mut self) -> CustomerId {
        customer(self.rng.below(10))
    }

    fn new_hold(&mut self) -> HoldId {
        HoldId(self.rng.wide())
    }
}

fn id(text: &str) -> Id {
    Id::new(text).expect("the generator makes ids of the right form")
}

/// Whether the event of this id is ever defined; some are only asked for.
fn is_defined_some_day((organizer, event): (Id, Id)) -> bool {
    organizer != id("nobody") && event != id("nothing")
}

fn customer(n: usize) -> CustomerId {
    CustomerId::new(&format!("customer-{n}")).expect("the form is right")
}
