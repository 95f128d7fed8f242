//! One running shard beside its model: what a driver does with it, step by step, and
//! what its answers are held against.

use std::collections::VecDeque;

use onsale_core::Unanswered;
use onsale_core::command::{Action, Command};
use onsale_core::event::Subject;
use onsale_core::refusal::Refusal;
use onsale_core::time::Time;
use onsale_engine::{
    Answer, Clock, Query, Reply, Request, Shard, Unavailable, UpkeepDone, UpkeepJob, View,
};
use onsale_journal::{SpareJob, WriteJob};

use super::rule::{Broken, Rule};
use super::times::Times;
use super::truth::{Expected, Truth};
use super::{Ask, short, tell};
use crate::model::{Model, Outcome};
use crate::rng::Rng;
use crate::side_by_side::{look_at_event, look_at_hold, look_at_order};

/// Requests that may wait for a shard.
const QUEUE_MAX: usize = 64;
/// Steps between two recounts of the whole state.
const RECOUNT_EVERY: u64 = 16;

/// A running shard.
pub(super) struct Lane {
    pub shard: Shard<u64>,
    clock: Clock,
    now: Time,
    /// What the clock said when it was started, and when that was.
    started: (Time, i64),
    queue: VecDeque<(u64, Ask)>,
    /// What the answers must be, in the order in which they must leave.
    expected: VecDeque<(u64, Due)>,
    /// The command that waits for room.
    deferred: Option<(u64, Box<Command>)>,
    write: Option<WriteJob>,
    spare: Option<SpareJob>,
    /// A piece of upkeep that was handed out, and one that is done.
    pub upkeep: Option<UpkeepJob>,
    pub upkept: Option<UpkeepDone>,
    /// What the upkeep said last.
    pub noted: String,
    /// How often the upkeep had failed when it was looked at last.
    pub failures: u64,
    /// What was asked last, to be looked at.
    touched: Option<Ask>,
}

/// What an answer must be.
enum Due {
    Command(Expected),
    /// What the model shows at this position.
    View(u64, Box<Seen>),
    /// The shard had stopped.
    Stopped,
}

/// What can be seen of the model.
#[derive(PartialEq, Debug)]
enum Seen {
    Refused(Refusal),
    /// Version, or what is left, or a hold, or an order, as text: it is only compared.
    Shown(String),
}

impl Lane {
    pub(super) fn new(shard: Shard<u64>, times: &Times) -> Lane {
        let (wall, monotonic_us) = (times.wall(), times.monotonic_us());
        let clock = Clock::start(wall, monotonic_us, shard.sale().time());
        let now = wall.max(shard.sale().time());
        Lane {
            shard,
            clock,
            now,
            started: (now, monotonic_us),
            queue: VecDeque::new(),
            expected: VecDeque::new(),
            deferred: None,
            write: None,
            spare: None,
            upkeep: None,
            upkept: None,
            noted: String::new(),
            failures: 0,
            touched: None,
        }
    }

    /// What its clock said last.
    pub(super) fn now(&self) -> Time {
        self.now
    }

    /// Asks the clock, and sees that it goes on as it must: it runs at most 1 % too fast
    /// or too slow, whatever the wall's does.
    pub(super) fn tick(&mut self, times: &Times) -> Result<(), Broken> {
        let monotonic_us = times.monotonic_us();
        let now = self.clock.now(times.wall(), monotonic_us);
        let (begun, begun_us) = self.started;
        let elapsed = monotonic_us - begun_us;
        let off = (now.0 - begun.0 - elapsed).abs();
        if now < self.now || off > elapsed / 100 + 1 {
            let what = format!("from {} to {} in {elapsed} µs since its start", begun.0, now.0);
            return Err(Rule::Clock.broken(what));
        }
        self.now = now;
        Ok(())
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.shard.stopped().is_some()
    }

    /// Why it has stopped.
    pub(super) fn stopped(&self) -> String {
        self.shard.stopped().unwrap_or_default().to_owned()
    }

    /// A request comes in; none, where too many wait.
    pub(super) fn enqueue(&mut self, ticket: u64, ask: Ask) -> bool {
        let room = self.queue.len() < QUEUE_MAX;
        if room {
            self.queue.push_back((ticket, ask));
        }
        room
    }

    /// Nothing waits, nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.expected.is_empty() && self.deferred.is_none()
    }

    /// The shard takes a few requests.
    pub(super) fn take(&mut self, truth: &mut Truth, rng: &mut Rng) -> Result<(), Broken> {
        for _ in 0..1 + rng.below(3) {
            if !self.shard.ready() {
                break;
            }
            let Some((ticket, ask)) = self.queue.pop_front() else { break };
            self.touched = Some(ask.clone());
            match ask {
                Ask::Command(command) => self.submit(truth, ticket, command)?,
                Ask::Query(query) => self.show(truth, ticket, query),
            }
        }
        Ok(())
    }

    fn submit(
        &mut self,
        truth: &mut Truth,
        ticket: u64,
        command: Box<Command>,
    ) -> Result<(), Broken> {
        let request = Request::Command(command.clone());
        self.shard.submit(self.now, request, ticket);
        if self.has_stopped() {
            self.expected.push_back((ticket, Due::Stopped));
        } else if !self.shard.ready() {
            self.deferred = Some((ticket, command));
        } else {
            self.expect(truth, ticket, &command)?;
        }
        Ok(())
    }

    fn expect(&mut self, truth: &mut Truth, ticket: u64, command: &Command) -> Result<(), Broken> {
        let position = self.shard.sale().position();
        let expected = truth.expect(command, self.now, position)?;
        self.expected.push_back((ticket, Due::Command(expected)));
        Ok(())
    }

    fn show(&mut self, truth: &Truth, ticket: u64, query: Query) {
        self.shard.submit(self.now, Request::Query(query), ticket);
        let due = match self.has_stopped() {
            true => Due::Stopped,
            false => {
                let now = self.now.max(truth.model.time);
                let seen = Box::new(seen(&truth.model, &query, now));
                Due::View(truth.model.position, seen)
            }
        };
        self.expected.push_back((ticket, due));
    }

    /// Something is asked for by nobody.
    pub(super) fn ask_for(&mut self, truth: &Truth, query: Query) {
        self.show(truth, 0, query);
    }

    /// The open batch goes to the helper, unless one is under way.
    pub(super) fn seal(&mut self, truth: &mut Truth, _: &mut Rng) -> Result<(), Broken> {
        if self.write.is_none() {
            self.write = self.shard.seal(self.now);
            self.retried(truth)?;
        }
        self.prepare();
        Ok(())
    }

    /// The command that waited for room may have been taken.
    fn retried(&mut self, truth: &mut Truth) -> Result<(), Broken> {
        match self.deferred.take() {
            Some((ticket, command)) if self.shard.ready() => self.expect(truth, ticket, &command),
            deferred => {
                self.deferred = deferred;
                Ok(())
            }
        }
    }

    /// The helper writes and syncs, and the shard takes the result.
    pub(super) fn write(&mut self, _: &mut Truth, _: &mut Rng) -> Result<(), Broken> {
        let Some(job) = self.write.take() else { return Ok(()) };
        if let Err(error) = self.shard.finish(job.run()) {
            tell(|| format!("shard {} stops: {error}", self.shard.info().shard));
            if let Some((ticket, _)) = self.deferred.take() {
                self.expected.push_back((ticket, Due::Stopped));
            }
        }
        Ok(())
    }

    pub(super) fn mark(&mut self, _: &mut Truth, _: &mut Rng) -> Result<(), Broken> {
        if self.write.is_none() {
            self.write = self.shard.mark();
        }
        Ok(())
    }

    /// As a driver does after each turn: a spare segment is wanted before it is needed.
    pub(super) fn prepare(&mut self) {
        if self.spare.is_none() {
            self.spare = self.shard.prepare();
        }
    }

    /// The other helper makes a spare segment.
    pub(super) fn make_spare(&mut self, truth: &mut Truth, _: &mut Rng) -> Result<(), Broken> {
        self.prepare();
        let Some(job) = self.spare.take() else { return Ok(()) };
        if let Err(error) = self.shard.prepared(self.now, job.run()) {
            tell(|| format!("shard {}: {error}", self.shard.info().shard));
        }
        self.retried(truth)
    }

    /// The timer ends a slice of what is due.
    pub(super) fn run_timer(&mut self, truth: &mut Truth, _: &mut Rng) -> Result<(), Broken> {
        let now = self.now.max(truth.model.time);
        let due = truth.model.due(now);
        let before = self.shard.sale().position();
        self.shard.expire(self.now);
        let position = self.shard.sale().position();
        if position == before {
            return Ok(());
        }
        // Which of them are over is told by the state: the order is the shard's own.
        let ended: Vec<_> = due.into_iter().filter(|due| self.is_over(due)).collect();
        tell(|| format!("the timer ends {}", ended.len()));
        truth.timer_ended(ended, now, position)
    }

    fn is_over(&self, (subject, action): &(Subject, Action)) -> bool {
        let Subject { organizer, event } = subject;
        let sale = self.shard.sale();
        match action {
            // A live one that is due is told as such by its deadline alone, one that has
            // ended, too: but a live one can be seen before its deadline.
            Action::ExpireHold { hold } => sale.hold(organizer, event, *hold, Time(0)).is_err(),
            Action::ExpireOrder { order } => match sale.order(organizer, event, *order) {
                Ok(view) => view.state != onsale_core::view::OrderState::AwaitingPayment,
                // Only one that is settled shrinks.
                Err(unanswered) => matches!(unanswered, Unanswered::Needs(_)),
            },
            _ => false,
        }
    }

    /// Runs until nothing is open, under way or due. It may take a few batches.
    pub(super) fn settle(&mut self, truth: &mut Truth, rng: &mut Rng) -> Result<(), Broken> {
        loop {
            let before = self.shard.sale().position();
            self.run_timer(truth, rng)?;
            self.seal(truth, rng)?;
            self.write(truth, rng)?;
            self.make_spare(truth, rng)?;
            let same = before == self.shard.sale().position();
            if self.has_stopped() || (same && self.shard.ready() && self.write.is_none()) {
                return Ok(());
            }
        }
    }

    /// Nothing is due any more, where the shard has run until nothing was left to do.
    pub(super) fn check_nothing_due(&self, truth: &Truth) -> Result<(), Broken> {
        let left = truth.model.due(self.now.max(truth.model.time));
        match left.first() {
            Some(due) if !self.has_stopped() => {
                Err(Rule::Due.broken(format!("{} are left, first {due:?}", left.len())))
            }
            _ => Ok(()),
        }
    }

    /// What must hold after each step.
    pub(super) fn look(&mut self, truth: &Truth, step: u64) -> Result<(), Broken> {
        let (sale, model) = (self.shard.sale(), &truth.model);
        if sale.position() != model.position {
            let (found, expected) = (sale.position(), model.position);
            return Err(Rule::Answer.broken(format!("the shard is at {found}, not {expected}")));
        }
        if !self.has_stopped() {
            let (next, first) = (self.shard.next_due(), model.first_deadline());
            if first.is_some_and(|first| next.is_none_or(|next| next > first)) {
                let what = format!("the timer waits until {next:?}, but {first:?} comes first");
                return Err(Rule::Due.broken(what));
            }
        }
        if step.is_multiple_of(RECOUNT_EVERY) {
            sale.check().map_err(|what| Rule::Counts.broken(what))?;
        }
        let Some(ask) = self.touched.take() else { return Ok(()) };
        let (organizer, event) = ask.subject();
        let now = self.now.max(model.time);
        let looked = look_at_event(sale, model, organizer, event).and_then(|()| match &ask {
            Ask::Command(command) => match &command.action {
                Action::PlaceHold { hold, .. }
                | Action::ExtendHold { hold }
                | Action::ReleaseHold { hold }
                | Action::ClaimHold { hold, .. }
                | Action::ExpireHold { hold } => {
                    look_at_hold(sale, model, (organizer, event), *hold, now)
                }
                Action::RecordPayment { order, .. }
                | Action::CancelOrder { order, .. }
                | Action::ExpireOrder { order } => {
                    look_at_order(sale, model, (organizer, event), *order)
                }
                _ => Ok(()),
            },
            Ask::Query(_) => Ok(()),
        });
        looked.map_err(|what| Rule::View.broken(what))
    }

    /// The next answer that leaves, held against what it must be.
    pub(super) fn release(
        &mut self,
        truth: &mut Truth,
        cramped: bool,
    ) -> Result<Option<(u64, Reply)>, Broken> {
        let Some((ticket, reply)) = self.shard.release() else { return Ok(None) };
        let next = self.expected.pop_front();
        let Some((expected_ticket, due)) = next else {
            return Err(Rule::Order.broken("an answer to nothing"));
        };
        if ticket != expected_ticket {
            let what = format!("request {ticket} is answered before request {expected_ticket}");
            return Err(Rule::Order.broken(what));
        }
        self.check(&reply, &due, cramped)?;
        if !matches!(reply.answer, Answer::Unavailable(_)) {
            truth.answered = truth.answered.max(reply.position);
        }
        Ok(Some((ticket, reply)))
    }

    fn check(&self, reply: &Reply, due: &Due, cramped: bool) -> Result<(), Broken> {
        let wrong = |rule: Rule, expected: String| {
            Err(rule.broken(format!("{}\n  expected: {expected}", short::reply(reply))))
        };
        if let Answer::Unavailable(why) = reply.answer {
            return match self.may_be_unavailable(why, reply, due, cramped) {
                true => Ok(()),
                false => wrong(Rule::Refused, "an answer".to_owned()),
            };
        }
        match due {
            Due::Command(Expected::Answer(position, outcome)) => {
                let same = match (&reply.answer, outcome) {
                    (Answer::Done(fact), Ok(Outcome::Change(events))) => {
                        events.last() == Some(fact)
                    }
                    (Answer::Repeated { position: a }, Ok(Outcome::Repeated { position: b })) => {
                        a == b
                    }
                    (Answer::Unchanged, Ok(Outcome::Unchanged)) => true,
                    (Answer::Refused(a), Err(b)) => a == b,
                    _ => false,
                };
                match same && reply.position == *position {
                    true => Ok(()),
                    false => wrong(Rule::Answer, format!("at {position}: {outcome:?}")),
                }
            }
            Due::View(position, seen) => {
                let shown = shown(&reply.answer);
                match shown.as_ref() == Some(&**seen) && reply.position == *position {
                    true => Ok(()),
                    false => wrong(Rule::View, format!("at {position}: {seen:?}")),
                }
            }
            Due::Command(Expected::NoRoom) => wrong(Rule::Answer, "no room".to_owned()),
            Due::Stopped => wrong(Rule::Answer, "nothing: the shard has stopped".to_owned()),
        }
    }

    fn may_be_unavailable(
        &self,
        why: Unavailable,
        reply: &Reply,
        due: &Due,
        cramped: bool,
    ) -> bool {
        let stopped = self.has_stopped();
        match (why, due) {
            // What is old is read when it is needed. It may have been let go, too.
            (Unavailable::Unreadable, Due::Command(_) | Due::View(..)) => {
                let begin = self.shard.info().reader.begins_at();
                cramped || begin.is_ok_and(|begin| begin > 1)
            }
            // What had not become durable, whatever it was.
            (
                Unavailable::Unknown,
                Due::Command(Expected::Answer(position, _)) | Due::View(position, _),
            ) => stopped && *position > reply.position,
            (Unavailable::Unknown, Due::Command(Expected::NoRoom)) => stopped,
            (Unavailable::Stopped, Due::Stopped) => stopped,
            (Unavailable::StorageFull, Due::Command(Expected::NoRoom)) => cramped,
            // Events that are larger than any batch.
            (Unavailable::TooLarge, Due::Command(Expected::NoRoom)) => true,
            _ => false,
        }
    }
}

/// What the model shows.
fn seen(model: &Model, query: &Query, now: Time) -> Seen {
    let shown = match *query {
        Query::Event { organizer, event } => {
            let found = model.events.get(&(organizer, event));
            found.map(|e| format!("{} {:?}", e.version, e.state)).ok_or(Refusal::UnknownEvent)
        }
        Query::Availability { organizer, event } => {
            let view = model.availability(organizer, event);
            view.map(|v| format!("{:?}", v.quotas)).ok_or(Refusal::UnknownEvent)
        }
        Query::Hold { organizer, event, hold } => {
            model.hold(organizer, event, hold, now).map(|v| format!("{v:?}"))
        }
        Query::Order { organizer, event, order } => {
            model.order(organizer, event, order).map(|v| format!("{v:?}"))
        }
    };
    shown.map_or_else(Seen::Refused, Seen::Shown)
}

/// What an answer shows; none: it is no view.
fn shown(answer: &Answer) -> Option<Seen> {
    Some(match answer {
        Answer::Refused(refusal) => Seen::Refused(refusal.clone()),
        Answer::View(view) => Seen::Shown(match &**view {
            View::Event(view) => format!("{} {:?}", view.version, view.state),
            View::Availability(view) => format!("{:?}", view.quotas),
            View::Hold(view) => format!("{view:?}"),
            View::Order(view) => format!("{view:?}"),
        }),
        _ => return None,
    })
}
