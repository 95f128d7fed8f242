//! A whole life of a shop in one thread: the real core, codec, journal and engine loop, over
//! a simulated disk, clock and network, with clients that lose patience. A seed decides all of it.
//!
//! Nothing happens between two steps. Each step is one small thing: a client asks, a message
//! arrives, a shard takes a request, seals a batch, writes it, answers; time passes; the
//! disk fails, the power goes, the server starts again. What the shards say is held against the
//! reference model after each step, and what they keep against all that was ever answered after
//! each start.
//!
//! A seed that breaks a rule is run again with its story written down: see [`Failure`].

mod clients;
mod damage;
mod faults;
mod keeping;
mod lane;
mod outcome;
mod restart;
mod rule;
mod short;
mod times;
mod truth;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;

use onsale_core::command::Command;
use onsale_core::text::Id;
use onsale_engine::{Query, Reply};

use crate::disk::FaultyDisk;
use crate::generator::Generator;
use crate::model::Model;
use crate::rng::Rng;
use crate::side_by_side::KEY;

use clients::{Clients, Message};
use keeping::Keeping;
use lane::Lane;
use times::Times;
use truth::Truth;

pub use outcome::{Failure, Tally};
pub use rule::{Broken, Rule};

/// Steps at the beginning in which nothing goes wrong, so that there is something to sell.
const QUIET_STEPS: u64 = 150;
/// Lines of a story that are shown: the last ones.
const STORY_LINES_MAX: usize = 60;

/// What a client asks of the server.
#[derive(Clone, Debug)]
enum Ask {
    Command(Box<Command>),
    Query(Query),
}

impl Ask {
    /// Whose and which event it is about.
    fn subject(&self) -> (Id, Id) {
        match self {
            Ask::Command(command) => (command.organizer, command.event),
            Ask::Query(query) => {
                let (organizer, event) = query.subject();
                (*organizer, *event)
            }
        }
    }
}

/// Everything there is.
struct World {
    rng: Rng,
    times: Times,
    generator: Generator,
    clients: Clients,
    /// One disk for each shard.
    disks: Vec<FaultyDisk>,
    segment_bytes: u64,
    keeping: Keeping,
    /// What must be true of each shard; none before the first start that came to its end.
    truths: Vec<Truth>,
    /// The running server, a lane for each shard; empty while it is down.
    lanes: Vec<Lane>,
    /// Where each event is, as the server knows it.
    directory: BTreeMap<(Id, Id), u16>,
    groups: BTreeMap<(Id, Id), u16>,
    /// The request that makes a new event: one at a time, as in the server.
    making: Option<u64>,
    /// Who asked what, by ticket.
    asked: BTreeMap<u64, Message>,
    tickets: u64,
    /// Whether a fault was meant for this run of the server, so that it may stop or refuse.
    faulty: bool,
    /// Whether one was meant for its start: what a read said then may be believed until the next.
    shaken: bool,
    /// Whether a read has been wrong before: once is what a log withstands.
    garbled: bool,
    /// Whether the disks have had too little room in this run.
    cramped: bool,
    tally: Tally,
}

thread_local! {
    /// How much time has gone since the beginning of the world, for the story.
    static GONE_US: Cell<i64> = const { Cell::new(0) };
    /// The story of the run on this thread; none: it is not told. It outlives a panic.
    static STORY: RefCell<Option<VecDeque<String>>> = const { RefCell::new(None) };
}

/// Adds a line to the story, if it is told.
fn tell(line: impl FnOnce() -> String) {
    STORY.with_borrow_mut(|story| {
        let Some(story) = story else { return };
        if story.len() == STORY_LINES_MAX {
            story.pop_front();
        }
        let (at, line) = (GONE_US.get(), line());
        story.push_back(format!("{:>6}.{:06} s  {line}", at / 1_000_000, at % 1_000_000));
    });
}

/// Runs the life of a seed.
///
/// # Errors
/// The rule that was broken, and the story that led there.
pub fn run(seed: u64) -> Result<Tally, Box<Failure>> {
    run_guarded(seed).map_err(|broken| {
        // The same again, told this time.
        STORY.set(Some(VecDeque::new()));
        let again = run_guarded(seed);
        let story = STORY.take().unwrap_or_default().into();
        let replays = again.is_err_and(|other| other == broken);
        Box::new(Failure { seed, broken, story, replays })
    })
}

/// A panic is a broken rule like any other: the code's own.
fn run_guarded(seed: u64) -> Result<Tally, Broken> {
    let life = AssertUnwindSafe(|| World::new(seed).live());
    std::panic::catch_unwind(life).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(Rule::Panic.broken(text.unwrap_or_default()))
    })
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let shards = *rng.pick(&[1, 1, 1, 2, 2, 3]);
        let clients = *rng.pick(&[4, 6]);
        World {
            times: Times::new(),
            generator: Generator::brief(rng.next()),
            clients: Clients::new(clients, &mut rng),
            disks: (0..shards).map(|_| FaultyDisk::new(rng.next())).collect(),
            segment_bytes: *rng.pick(&[32 << 10, 32 << 10, 64 << 10]),
            keeping: Keeping::new(&mut rng),
            truths: Vec::new(),
            lanes: Vec::new(),
            directory: BTreeMap::new(),
            groups: BTreeMap::new(),
            making: None,
            asked: BTreeMap::new(),
            tickets: 0,
            faulty: false,
            shaken: false,
            garbled: false,
            cramped: false,
            tally: Tally::default(),
            rng,
        }
    }

    /// From the first start to the last check.
    fn live(mut self) -> Result<Tally, Broken> {
        let lives = 2 + self.rng.below(4);
        // Now and then there is time for much to become old.
        let longer = if self.keeping.upkeep && self.rng.once_in(24) { 8 } else { 1 };
        for life in 0..lives {
            self.start()?;
            let steps = *self.rng.pick(&[4, 100, 300, 500, 700]) * longer;
            for _ in 0..steps {
                self.step()?;
                if self.lanes.is_empty() {
                    break;
                }
            }
            if life + 1 < lives && !self.lanes.is_empty() {
                self.crash()?;
            }
        }
        self.end()?;
        Ok(self.tally)
    }

    /// One small thing.
    fn step(&mut self) -> Result<(), Broken> {
        self.tally.steps += 1;
        match self.rng.weighted(&[50, 54, 40, 16, 20, 24, 2, 6, 6, 6, 1, 16]) {
            0 => self.client_asks()?,
            1 => self.message_arrives()?,
            2 => self.of_lane(Lane::take)?,
            3 => self.of_lane(Lane::seal)?,
            4 => self.of_lane(Lane::write)?,
            5 => self.answers_leave()?,
            6 => self.of_lane(Lane::mark)?,
            7 => self.of_lane(Lane::make_spare)?,
            8 => self.of_lane(Lane::run_timer)?,
            9 => self.time_passes(),
            11 => self.keep_up()?,
            _ if self.tally.steps > QUIET_STEPS => self.fault()?,
            _ => {}
        }
        if self.disks.iter().any(FaultyDisk::is_stopped) {
            tell(|| "the server dies in the middle of a call to the disk".to_owned());
            self.crash()?;
        }
        self.look()
    }

    /// Lets one lane do something.
    fn of_lane(
        &mut self,
        act: impl Fn(&mut Lane, &mut Truth, &mut Rng) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let shard = self.rng.below(self.lanes.len());
        let lane = &mut self.lanes[shard];
        lane.tick(&self.times)?;
        act(lane, &mut self.truths[shard], &mut self.rng)
    }

    /// Looks at every shard: cheap things that must hold after each step.
    fn look(&mut self) -> Result<(), Broken> {
        for (lane, truth) in self.lanes.iter_mut().zip(&mut self.truths) {
            lane.look(truth, self.tally.steps)?;
            if lane.has_stopped() && !self.faulty {
                return Err(Rule::Stop.broken(lane.stopped()));
            }
        }
        Ok(())
    }

    /// Time goes by: a little, or until just about when something is due.
    fn time_passes(&mut self) {
        let due = self.truths.iter().filter_map(|truth| truth.model.first_deadline()).min();
        let now = self.lanes.first().map_or(self.times.wall(), Lane::now);
        let us = match due {
            Some(due) if self.rng.percent(40) && due > now => {
                (due.0 - now.0 + self.rng.within(-1, 1)).max(0)
            }
            _ => *self.rng.pick(&[1, 50, 1_000, 20_000, 1_000_000, 5_000_000]),
        };
        self.times.pass(us.min(100_000_000_000));
        tell(|| format!("{} µs go by", us));
    }

    /// Lets the generator see the events of all shards at once.
    fn next_command(&mut self) -> Box<Command> {
        let now = self.lanes.first().map_or(self.times.wall(), Lane::now);
        self.generator.set_now(now);
        let command = match &mut *self.truths {
            [truth] => self.generator.next(&truth.model).0,
            truths => {
                let mut view = Model::new(KEY, 0, 1);
                let mut homes = BTreeMap::new();
                for (shard, truth) in truths.iter_mut().enumerate() {
                    homes.extend(truth.model.events.keys().map(|subject| (*subject, shard)));
                    view.events.append(&mut truth.model.events);
                }
                let command = self.generator.next(&view).0;
                for (subject, event) in view.events {
                    truths[homes[&subject]].model.events.insert(subject, event);
                }
                command
            }
        };
        self.times.pass(self.generator.now().0 - now.0);
        Box::new(command)
    }

    /// Answers leave the shards, each to its client, if the network lets it through.
    fn answers_leave(&mut self) -> Result<(), Broken> {
        for shard in 0..self.lanes.len() {
            while let Some((ticket, reply)) = self.release(shard)? {
                self.deliver(shard as u16, ticket, reply)?;
            }
        }
        Ok(())
    }

    fn release(&mut self, shard: usize) -> Result<Option<(u64, Reply)>, Broken> {
        let (lane, truth) = (&mut self.lanes[shard], &mut self.truths[shard]);
        let Some((ticket, reply)) = lane.release(truth, self.cramped || self.faulty)? else {
            return Ok(None);
        };
        self.tally.answers += 1;
        Ok(Some((ticket, reply)))
    }
}
