//! One shard: the only writer of its sale groups.
//!
//! There is one state. An answer, a refusal or a view carries the highest position
//! that was applied when it was made, and waits in a queue until that position is
//! durable: nothing that could still be lost is ever seen. At most one batch is
//! being synced and one is open.

use std::collections::VecDeque;

use onsale_codec as codec;
use onsale_core::event::{Events, Line, ShardStarted, Stock, Subject};
use onsale_core::view::{AvailabilityView, EventView, HoldView, OrderView};
use onsale_core::{
    Action, CodeKey, Command, CommandStamp, Decision, Event, Fact, HoldId, Id, OrderCode, Refusal,
    Sale, Time, Unanswered,
};
use onsale_journal::{Opened, Reader, Room, SpareDone, SpareJob, WriteDone, WriteJob, Writer};
use onsale_planted::{Bug, is};

/// What a record costs in a batch beside its own bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 8;
/// Holds and orders that one slice of the timer ends at most: far less than a
/// millisecond's work.
pub const DUE_PER_SLICE_MAX: usize = 256;

/// What a shard is asked.
#[derive(Clone, Debug)]
pub enum Request {
    /// To change something.
    Command(Box<Command>),
    /// To show something.
    Query(Query),
}

/// What a shard can show.
#[derive(Clone, Copy, Debug)]
pub enum Query {
    /// An event and its definition.
    Event {
        /// Whose.
        organizer: Id,
        /// Which.
        event: Id,
    },
    /// What is left of an event.
    Availability {
        /// Whose.
        organizer: Id,
        /// Which.
        event: Id,
    },
    /// A live hold.
    Hold {
        /// Whose.
        organizer: Id,
        /// Of which event.
        event: Id,
        /// Which.
        hold: HoldId,
    },
    /// An order.
    Order {
        /// Whose.
        organizer: Id,
        /// Of which event.
        event: Id,
        /// Which.
        order: OrderCode,
    },
}

impl Query {
    /// Whose and which event it is about.
    #[must_use]
    pub fn subject(&self) -> (&Id, &Id) {
        match self {
            Query::Event { organizer, event }
            | Query::Availability { organizer, event }
            | Query::Hold { organizer, event, .. }
            | Query::Order { organizer, event, .. } => (organizer, event),
        }
    }
}

/// What was shown.
#[derive(Clone, Debug)]
pub enum View {
    /// An event and its definition.
    Event(EventView),
    /// What is left of an event.
    Availability(AvailabilityView),
    /// A live hold.
    Hold(HoldView),
    /// An order.
    Order(OrderView),
}

/// An answer. It leaves the shard only once `position` is durable.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The highest position that was applied when the answer was made.
    pub position: u64,
    /// What is said.
    pub answer: Answer,
}

/// What is said.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The command was carried out: its fact, the record at the reply's position.
    Done(Box<Event>),
    /// The command, or its payment, was there before: its fact is the record at this
    /// position. Whether it said the same is for the caller to compare.
    Repeated {
        /// Position of the fact.
        position: u64,
    },
    /// All was as wanted already.
    Unchanged,
    /// A rule forbids it; nothing changed.
    Refused(Refusal),
    /// What was asked for.
    View(Box<View>),
    /// No decision, or none that can be told.
    Unavailable(Unavailable),
}

/// Why there is no decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unavailable {
    /// The disk is full; nothing changed.
    #[error("no room on the disk: nothing was changed")]
    StorageFull,
    /// The shard has stopped after a fault; nothing changed.
    #[error("the shard has stopped after a fault: nothing was changed")]
    Stopped,
    /// A fault struck while the answer waited for its sync: it may or may not have
    /// become durable. Ask again, with the same id, after a restart.
    #[error("a fault struck before the change was durable: its outcome is not known")]
    Unknown,
    /// Too many are waiting; nothing changed.
    #[error("too many requests are waiting: nothing was changed")]
    Busy,
    /// The command's events are larger than a batch can be; nothing changed.
    #[error("the command is larger than a batch can be: nothing was changed")]
    TooLarge,
}

/// How durable an answer's position is when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Written and synced to the disk.
    Synced,
}

impl Durability {
    /// Its name in a receipt.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
        }
    }
}

/// What anybody may know of a shard without asking its writer.
#[derive(Clone)]
pub struct ShardInfo {
    /// Which, from 0.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
    /// Id of the log.
    pub log: u128,
    /// The secret behind codes and digests.
    pub key: CodeKey,
    /// How durable its answers are.
    pub durability: Durability,
    /// Reads its durable records.
    pub reader: Reader,
}

/// Figures of a shard, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardFigures {
    /// The log's generation.
    pub generation: u32,
    /// Highest position applied.
    pub position: u64,
    /// Highest position durable.
    pub durable: u64,
    /// Answers that wait for their position.
    pub waiting: usize,
    /// Whether a fault stopped it.
    pub stopped: bool,
    /// Whether only releases, payments and cancellations find room on the disk.
    pub storage_full: bool,
    /// Events of organizers.
    pub events: usize,
    /// Live holds.
    pub holds: usize,
    /// Orders, of any state.
    pub orders: usize,
    /// Bytes held by the state's tables.
    pub state_bytes: usize,
}

/// One shard. `T` is where an answer goes; the shard only hands it back.
pub struct Shard<T> {
    sale: Sale,
    writer: Writer,
    reader: Reader,
    /// What the journal remarked when it was opened.
    notes: Vec<String>,
    waiting: VecDeque<(T, Reply)>,
    /// A command that waits: for the next batch, since its events do not fit into the open
    /// one, or for a spare segment.
    deferred: Option<(Box<Command>, T)>,
    /// Where events are encoded only to be measured.
    encoded: Vec<u8>,
    due: Vec<(Subject, Action)>,
    /// Whether a spare segment is being made.
    preparing: bool,
    /// Whether the last one could not be made.
    full: bool,
    stopped: Option<String>,
}

impl<T> Shard<T> {
    /// A shard over a state and the journal that it was replayed from.
    pub(crate) fn new(sale: Sale, opened: Opened) -> Shard<T> {
        let Opened { writer, reader, notes, .. } = opened;
        Shard {
            sale,
            writer,
            reader,
            notes,
            waiting: VecDeque::new(),
            deferred: None,
            encoded: Vec::new(),
            due: Vec::new(),
            preparing: false,
            full: false,
            stopped: None,
        }
    }

    /// Writes the first record of a new shard and waits until it is durable.
    pub(crate) fn start(
        &mut self,
        at: Time,
        started: ShardStarted,
    ) -> Result<(), onsale_journal::Error> {
        let fact = Fact::ShardStarted(started);
        self.record(std::iter::once(Event { at, stamp: None, subject: None, fact }).collect())
            .expect("an empty batch has room for one small record");
        let job = self.writer.seal().expect("a record is open and no job is under way");
        self.writer.finish(job.run())
    }

    /// What anybody may know of it.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        ShardInfo {
            shard: self.sale.shard(),
            shards: self.sale.shards(),
            log: self.sale.log(),
            key: self.sale.key(),
            durability: Durability::Synced,
            reader: self.reader.clone(),
        }
    }

    /// What the journal remarked when it was opened: foreign files, a tail that was cut.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The state, for checks and listings. It may hold what is not durable yet.
    #[must_use]
    pub fn sale(&self) -> &Sale {
        &self.sale
    }

    /// Figures for metrics.
    #[must_use]
    pub fn figures(&self) -> ShardFigures {
        let counts = self.sale.counts();
        ShardFigures {
            generation: self.sale.generation(),
            position: self.writer.last_position(),
            durable: self.writer.durable(),
            waiting: self.waiting.len(),
            stopped: self.stopped.is_some(),
            storage_full: self.writer.room() != Room::All,
            events: counts.events,
            holds: counts.holds,
            orders: counts.orders,
            state_bytes: self.sale.memory_bytes(),
        }
    }

    /// Whether it takes requests now; if not, it will after the next [`Shard::seal`] or
    /// [`Shard::prepared`].
    #[must_use]
    pub fn ready(&self) -> bool {
        self.deferred.is_none()
    }

    /// Takes a request. Its answer comes out of [`Shard::release`].
    pub fn submit(&mut self, now: Time, request: Request, ticket: T) {
        debug_assert!(self.ready(), "asked while a command waits for the next batch");
        let answer = match request {
            Request::Query(query) if self.stopped.is_none() => self.query(now, &query),
            Request::Query(_) => Answer::Unavailable(Unavailable::Stopped),
            Request::Command(command) => match self.command(now, &command) {
                Some(answer) => answer,
                None => {
                    self.deferred = Some((command, ticket));
                    return;
                }
            },
        };
        self.answer(ticket, answer);
    }

    fn answer(&mut self, ticket: T, answer: Answer) {
        // A stopped shard says nothing of its state, so nothing has to be durable first.
        let early =
            is(Bug::RefusalNotHeldBack) && matches!(answer, Answer::Refused(_) | Answer::View(_));
        let position = match self.stopped {
            None if early => self.writer.durable(),
            None => self.writer.last_position(),
            Some(_) => self.writer.durable(),
        };
        self.waiting.push_back((ticket, Reply { position, answer }));
    }

    /// Decides, records and applies; none where the command has to wait for room.
    fn command(&mut self, now: Time, command: &Command) -> Option<Answer> {
        if self.stopped.is_some() {
            return Some(Answer::Unavailable(Unavailable::Stopped));
        }
        let now = now.max(self.sale.time());
        match self.sale.decide(command, now) {
            Err(refusal) => Some(Answer::Refused(refusal)),
            Ok(Decision::Unchanged) => Some(Answer::Unchanged),
            Ok(Decision::Needs(needs)) => unreachable!("all orders are kept in full: {needs}"),
            Ok(Decision::Repeated { position }) => Some(Answer::Repeated { position }),
            // Only what would change something needs room: a repeated command still gets its answer.
            Ok(Decision::Change(_)) if !self.has_room_for(&command.action) => {
                // While a spare is being made the disk is only slower than we are, unless the
                // last one failed: then others must not wait behind this for another try.
                let waits = self.preparing && !self.full;
                (!waits).then_some(Answer::Unavailable(Unavailable::StorageFull))
            }
            Ok(Decision::Change(events)) => match self.record(events) {
                Ok(fact) => Some(Answer::Done(fact)),
                Err(NoRoom::UntilNextBatch) => None,
                Err(NoRoom::Ever) => Some(Answer::Unavailable(Unavailable::TooLarge)),
            },
        }
    }

    fn has_room_for(&self, action: &Action) -> bool {
        match self.writer.room() {
            Room::All => true,
            Room::Essential => is_essential(action),
            Room::None => false,
        }
    }

    /// Puts a command's events into the open batch, all or none, and applies them.
    /// Gives back the last one, the command's own fact.
    fn record(&mut self, mut events: Events) -> Result<Box<Event>, NoRoom> {
        if !self.writer.fits(
            events.iter().fold(0, |sum: usize, event| sum.saturating_add(bytes_at_most(event))),
        ) {
            self.measure(&events)?;
        }
        let fact = Box::new(events.pop().expect("a change has at least one event"));
        for event in &events {
            self.append(event);
        }
        self.append(&fact);
        Ok(fact)
    }

    /// Whether events go into the open batch, to the byte.
    fn measure(&mut self, events: &Events) -> Result<(), NoRoom> {
        self.encoded.clear();
        events.iter().for_each(|event| codec::encode(event, &mut self.encoded));
        let bytes = self.encoded.len() + events.len() * RECORD_OVERHEAD_BYTES;
        match self.writer.fits(bytes) {
            true => Ok(()),
            false if self.writer.is_empty() && self.writer.room() == Room::All => Err(NoRoom::Ever),
            false => Err(NoRoom::UntilNextBatch),
        }
    }

    /// Writes an event into the open batch, which has room for it, and applies it.
    fn append(&mut self, event: &Event) {
        let position = self.writer.append(&mut |buffer| {
            let start = buffer.len();
            codec::encode(event, buffer);
            debug_assert!(buffer.len() - start + RECORD_OVERHEAD_BYTES <= bytes_at_most(event));
        });
        // The batch holds what was decided: if the state can't follow, going on
        // would sell on a state that no replay can reach.
        if let Err(error) = self.sale.apply(position, event) {
            panic!("position {position} was decided but can't be applied: {error}");
        }
    }

    fn query(&self, now: Time, query: &Query) -> Answer {
        let now = now.max(self.sale.time());
        let view = match query {
            Query::Event { organizer, event } => {
                self.sale.event(organizer, event).map(View::Event).ok_or(Refusal::UnknownEvent)
            }
            Query::Availability { organizer, event } => self
                .sale
                .availability(organizer, event)
                .map(View::Availability)
                .ok_or(Refusal::UnknownEvent),
            Query::Hold { organizer, event, hold } => {
                self.sale.hold(organizer, event, *hold, now).map(View::Hold)
            }
            Query::Order { organizer, event, order } => {
                match self.sale.order(organizer, event, *order) {
                    Ok(view) => Ok(View::Order(view)),
                    Err(Unanswered::Refused(refusal)) => Err(refusal),
                    Err(Unanswered::Needs(needs)) => {
                        unreachable!("all orders are kept in full: {needs}")
                    }
                }
            }
        };
        match view {
            Ok(view) => Answer::View(Box::new(view)),
            Err(refusal) => Answer::Refused(refusal),
        }
    }

    /// When the timer has to run next, if at all.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        match self.stopped {
            None => self.sale.next_due(),
            Some(_) => None,
        }
    }

    /// Ends up to [`DUE_PER_SLICE_MAX`] holds and orders whose time is over. Returns
    /// whether more may be due and there may be room for it: where the open batch is full it
    /// has to be sealed first.
    pub fn expire(&mut self, now: Time) -> bool {
        if self.stopped.is_some() || self.deferred.is_some() || self.writer.room() == Room::None {
            return false;
        }
        let now = now.max(self.sale.time());
        let mut due = std::mem::take(&mut self.due);
        self.sale.due(now, DUE_PER_SLICE_MAX, &mut due);
        let mut more = due.len() == DUE_PER_SLICE_MAX;
        for (subject, action) in due.drain(..) {
            let Subject { organizer, event } = subject;
            let command = Command { stamp: UNSENT, organizer, event, action };
            // A refusal says that it is not due after all; no room, that the next slice takes it.
            if let Ok(Decision::Change(events)) = self.sale.decide(&command, now)
                && self.record(events).is_err()
            {
                more = false;
                break;
            }
        }
        self.due = due;
        more
    }

    /// The next batch to write, for a helper thread; none while one is under way, or
    /// where nothing is open. A command that waited for room goes into the batch after it.
    pub fn seal(&mut self, now: Time) -> Option<WriteJob> {
        let job = self.writer.seal()?;
        self.retry(now);
        Some(job)
    }

    /// Takes the command that waited for room.
    fn retry(&mut self, now: Time) {
        if let Some((command, ticket)) = self.deferred.take()
            && !is(Bug::DeferredCommandDropped)
        {
            self.submit(now, Request::Command(command), ticket);
        }
    }

    /// A mark that says how far the log is durable, to be written when the shard falls idle.
    pub fn mark(&mut self) -> Option<WriteJob> {
        match self.stopped {
            None => self.writer.mark(),
            Some(_) => None,
        }
    }

    /// Takes the result of a batch. After an error the shard has stopped: what waited
    /// is answered with [`Unavailable::Unknown`], what comes with [`Unavailable::Stopped`].
    ///
    /// # Errors
    /// What the journal says, for the log.
    pub fn finish(&mut self, done: WriteDone) -> Result<(), onsale_journal::Error> {
        let result = self.writer.finish(done);
        if let Err(error) = &result {
            self.stop(error.to_string());
        }
        result
    }

    /// Stops for good. What waits for a sync that will not come is answered as unknown:
    /// its bytes may be on the disk or not.
    fn stop(&mut self, reason: String) {
        self.stopped = Some(reason);
        let durable = self.writer.durable();
        for (_, reply) in &mut self.waiting {
            if reply.position > durable && is(Bug::UnknownToldAsDone) {
                reply.position = durable;
            } else if reply.position > durable {
                let answer = Answer::Unavailable(Unavailable::Unknown);
                *reply = Reply { position: durable, answer };
            }
        }
        if let Some((_, ticket)) = self.deferred.take() {
            self.answer(ticket, Answer::Unavailable(Unavailable::Stopped));
        }
    }

    /// A spare segment to make, for another helper thread.
    pub fn prepare(&mut self) -> Option<SpareJob> {
        let job = self.writer.prepare();
        self.preparing |= job.is_some();
        job
    }

    /// Takes the result of a spare segment.
    ///
    /// # Errors
    /// Why there is none (the disk is full, most likely), for the log.
    pub fn prepared(&mut self, now: Time, done: SpareDone) -> Result<(), onsale_journal::Error> {
        self.preparing = false;
        let result = self.writer.prepared(done);
        self.full = result.is_err();
        self.retry(now);
        result
    }

    /// Why it has stopped, if it has.
    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The next answer whose position is durable.
    pub fn release(&mut self) -> Option<(T, Reply)> {
        let durable = match is(Bug::AnsweredBeforeSync) {
            true => self.writer.last_position(),
            false => self.writer.durable(),
        };
        if is(Bug::AnswersOutOfOrder)
            && self.waiting.back().is_some_and(|w| w.1.position <= durable)
        {
            return self.waiting.pop_back();
        }
        match self.waiting.front() {
            Some((_, reply)) if reply.position <= durable => self.waiting.pop_front(),
            _ => None,
        }
    }
}

/// More than an event's record takes in a batch, told without encoding it.
fn bytes_at_most(event: &Event) -> usize {
    /// Ids, times, stamps and a reference at their longest, the names of fields included.
    const FACT_BYTES: usize = 640;
    const LINE_BYTES: usize = 320;
    let lines = match &event.fact {
        Fact::HoldPlaced(placed) => &placed.lines,
        Fact::OrderPlaced(placed) => &placed.lines,
        // A definition may be of any length.
        Fact::EventDefined(_) => return usize::MAX / 2,
        _ => return FACT_BYTES,
    };
    let is_plain =
        |line: &Line| matches!(line.stock, Stock::Counted(_)) && line.components.is_empty();
    match lines.iter().all(is_plain) {
        true => FACT_BYTES + lines.len() * LINE_BYTES,
        false => usize::MAX / 2,
    }
}

/// The stamp of a command that nobody sent: the timer's.
const UNSENT: CommandStamp = CommandStamp { id: 0, body: 0, chosen: false, made_at: None };

/// Why events did not go into the open batch.
#[derive(Debug)]
enum NoRoom {
    /// They will go into the next.
    UntilNextBatch,
    /// They are larger than any batch.
    Ever,
}

/// Whether a command must go through on a full disk: it gives stock back or
/// records money.
fn is_essential(action: &Action) -> bool {
    match action {
        Action::ReleaseHold { .. }
        | Action::RecordPayment { .. }
        | Action::RecordRefund { .. }
        | Action::CancelOrder { .. }
        | Action::ExpireHold { .. }
        | Action::ExpireOrder { .. } => true,
        Action::DefineEvent { .. }
        | Action::SetState { .. }
        | Action::PlaceHold { .. }
        | Action::ExtendHold { .. }
        | Action::ClaimHold { .. }
        | Action::Buy { .. } => false,
    }
}
