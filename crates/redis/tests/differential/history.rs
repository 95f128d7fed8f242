//! A history of commands, with what the core answers to each.

use onsale_core::event::Subject;
use onsale_core::limits::GENERATIONS_MAX;
use onsale_core::{Command, Decision, Event, Fact, HoldId, Refusal, Sale, Time};
use onsale_redis::Look;
use onsale_sim::coverage::Coverage;
use onsale_sim::generator::Generator;
use onsale_sim::model::{Model, Outcome};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{KEY, SHARD, shard_started};

/// What a command leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// This fact.
    Done(Box<Event>),
    /// The fact at this position, once more.
    Repeated(u64),
    /// Nothing.
    Unchanged,
    /// A rule forbids it.
    Refused(Refusal),
}

/// What happens.
pub enum Step {
    /// Somebody asks for something, at a time.
    Command(Box<Command>, Time, Answer),
    /// The server is another one from here on.
    Generation(Time),
}

/// A history.
pub struct History {
    /// What happens.
    pub steps: Vec<Step>,
    /// All events, by position from 1.
    pub events: Vec<Event>,
    /// The core's state in the end.
    pub sale: Sale,
    /// Which answers there were.
    pub coverage: Coverage,
}

impl History {
    /// The history of a seed, on a core that remembers so many ids of commands.
    pub fn of(seed: u64, commands: usize, ids: usize) -> History {
        let mut sale = Sale::new();
        sale.keep_ids(ids as u32);
        let mut model = Model::new(KEY, SHARD, 1);
        let mut generator = Generator::new(seed);
        let mut rng = Rng::new(!seed);
        let mut history =
            History { steps: Vec::new(), events: Vec::new(), sale, coverage: Coverage::default() };
        history.apply(shard_started(SHARD));
        for _ in 0..commands {
            // Time 0 would mean the server's time.
            let has_begun = history.sale.time().0 > 0;
            if rng.once_in(500) && has_begun && model.generation < GENERATIONS_MAX {
                let (generation, at) = (model.generation + 1, history.sale.time());
                model.start_generation(generation);
                let fact = Fact::GenerationStarted { generation };
                history.apply(Event { at, stamp: None, subject: None, fact });
                history.steps.push(Step::Generation(at));
            }
            let (command, now) = generator.next(&model);
            let of_model: Result<Outcome, Refusal> = model.execute(&command, now);
            history.coverage.count(&of_model);
            let answer = match history.sale.decide(&command, now) {
                Ok(Decision::Change(events)) => {
                    let last = events.last().cloned().expect("a change has an event");
                    events.into_iter().for_each(|event| history.apply(event));
                    Answer::Done(Box::new(last))
                }
                Ok(Decision::Repeated { position }) => Answer::Repeated(position),
                Ok(Decision::Unchanged) => Answer::Unchanged,
                Ok(Decision::Needs(needs)) => unreachable!("all are kept in full: {needs}"),
                Err(refusal) => Answer::Refused(refusal),
            };
            history.steps.push(Step::Command(Box::new(command), now, answer));
        }
        history
    }

    fn apply(&mut self, event: Event) {
        let position = self.sale.position() + 1;
        self.sale.apply(position, &event).expect("it was just decided");
        self.events.push(event);
    }

    /// All that can be looked at in the end.
    pub fn looks(&self) -> Vec<(Subject, Vec<Look>)> {
        let events = self.sale.events().map(|(organizer, event)| {
            let subject = Subject { organizer, event };
            let mut looks = vec![Look::Event, Look::Availability];
            for event in self.events.iter().filter(|event| event.subject == Some(subject)) {
                match &event.fact {
                    Fact::HoldPlaced(placed) => looks.push(Look::Hold(placed.hold)),
                    Fact::OrderPlaced(placed) => looks.push(Look::Order(placed.order)),
                    _ => {}
                }
            }
            (subject, looks)
        });
        events.collect()
    }
}

/// Ids and codes in a form to compare.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same for a hold's.
pub fn hold(id: HoldId) -> String {
    hex(&id.0.to_be_bytes())
}
