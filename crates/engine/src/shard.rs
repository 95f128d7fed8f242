//! One shard: the only writer of its sale groups.
//!
//! There is one state. An answer, a refusal or a view carries the highest position
//! that was applied when it was made, and waits in a queue until that position is
//! durable: nothing that could still be lost is ever seen. At most one batch is
//! being synced and one is open.

mod beside;
mod elsewhere;
mod upkeep;

use std::collections::VecDeque;

use onsale_codec as codec;
use onsale_core::event::{Events, Line, Stock, Subject};
use onsale_core::{
    Action, Command, CommandStamp, Decision, Event, Fact, Keys, Known, Refusal, Sale, Time,
};
use onsale_journal::{Reader, Room, SpareDone, SpareJob, WriteDone, WriteJob, Writer};
use onsale_planted::{Bug, is};

use self::beside::Undecided;
use self::elsewhere::Rounds;
use crate::ids::Ids;
use crate::info::{Durability, Generation, ShardFigures, ShardInfo};
use crate::request::{Answer, Query, Reply, Request, Unavailable, View};
use crate::upkeep::{Upkeep, UpkeepFigures, build};

/// What a record costs in a batch beside its own bytes, at most.
const RECORD_OVERHEAD_BYTES: usize = 8;
/// Holds and orders that one slice of the timer ends at most: a fraction of a
/// millisecond's work.
pub const DUE_PER_SLICE_MAX: usize = 128;
/// Holds and orders that the timer ends in one batch at most: the sales in it wait until all of it is
/// synced, so it must not swell because many are due.
const DUE_PER_BATCH_MAX: usize = 16 * DUE_PER_SLICE_MAX;
/// Commands that are looked at together before the first of them is decided.
pub const LOOK_AHEAD: usize = 16;

/// One shard. `T` is where an answer goes; the shard only hands it back.
pub struct Shard<T> {
    sale: Sale,
    writer: Writer,
    reader: Reader,
    durability: Durability,
    /// What is known of command ids beside the state.
    ids: Ids,
    /// Here unless a piece of its work is under way.
    upkeep: Option<Box<Upkeep>>,
    upkeep_figures: UpkeepFigures,
    snapshot: u64,
    /// Segments whose file of ids could not be read: it is to be made again.
    unreadable: Vec<u64>,
    /// What was remarked when it was opened.
    notes: Vec<String>,
    waiting: VecDeque<Waiting<T>>,
    /// Rounds to where the log is kept, if that is not here.
    rounds: Rounds,
    /// A command that waits: for the next batch, since its events do not fit into the open
    /// one, or for a spare segment.
    deferred: Option<(Box<Command>, T)>,
    /// Where events are encoded only to be measured.
    encoded: Vec<u8>,
    due: Vec<(Subject, Action)>,
    /// Holds and orders that the timer ended in the open batch.
    ended: usize,
    /// Whether a spare segment is being made.
    preparing: bool,
    /// Whether the last one could not be made.
    full: bool,
    stopped: Option<String>,
}

/// An answer that waits until its position is durable, and for a round.
struct Waiting<T> {
    ticket: T,
    reply: Reply,
    round: u64,
}

/// What a shard is made of when it is opened.
pub(crate) struct Parts {
    pub sale: Sale,
    pub writer: Writer,
    pub reader: Reader,
    pub durability: Durability,
    pub elsewhere: bool,
    pub ids: Ids,
    pub upkeep: Box<Upkeep>,
    pub notes: Vec<String>,
}

impl<T> Shard<T> {
    /// A shard over a state and the journal that it was replayed from.
    pub(crate) fn new(parts: Parts) -> Shard<T> {
        let Parts { sale, writer, reader, durability, elsewhere, ids, upkeep, notes } = parts;
        Shard {
            sale,
            writer,
            reader,
            durability,
            ids,
            snapshot: upkeep.snapshots.first().copied().unwrap_or(0),
            upkeep_figures: upkeep.figures,
            upkeep: Some(upkeep),
            unreadable: Vec::new(),
            notes,
            waiting: VecDeque::new(),
            rounds: Rounds::new(elsewhere),
            deferred: None,
            encoded: Vec::new(),
            due: Vec::new(),
            ended: 0,
            preparing: false,
            full: false,
            stopped: None,
        }
    }

    /// Writes a record about the shard itself and waits until it is durable. `keep` sees it before the files do.
    pub(crate) fn write_first(
        &mut self,
        at: Time,
        fact: Fact,
        keep: &mut dyn FnMut(&WriteJob) -> std::io::Result<()>,
    ) -> Result<(), onsale_journal::Error> {
        let at = at.max(self.sale.time());
        let event = Event { at, stamp: None, subject: None, fact };
        // A long tail may have left no room in the segment that the start took.
        self.make_room(bytes_at_most(&event))?;
        let keys = self.sale.event_keys(&event);
        self.record(&std::iter::once(event).collect(), &keys, None)
            .expect("an empty batch has room for one small record");
        let job = self.writer.seal().expect("a record is open and no job is under way");
        let done = match keep(&job) {
            Ok(()) => job.run(),
            Err(error) => job.fail(error),
        };
        self.writer.finish(done)
    }

    /// Makes spare segments until so many bytes fit into the open batch, or no spare helps. It waits for the disk.
    fn make_room(&mut self, bytes: usize) -> Result<(), onsale_journal::Error> {
        while !self.writer.fits(bytes)
            && let Some(job) = self.writer.prepare()
        {
            self.writer.prepared(job.run())?;
        }
        Ok(())
    }

    /// Makes what is written durable on the disk, too, where batches are not synced.
    pub(crate) fn sync(&self) -> Result<(), String> {
        if self.durability != Durability::Os {
            return Ok(());
        }
        let upkeep = self.upkeep.as_ref().expect("it was opened a moment ago");
        let (name, _) =
            self.reader.locate(self.writer.durable()).ok_or("the last record is not found")?;
        let synced = upkeep.storage.open(&name).and_then(|file| file.sync_all());
        synced.map_err(|error| format!("{name}: {error}"))
    }

    /// Remarks something about its start.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// To be called once its first record is there.
    pub(crate) fn began(&mut self) {
        let key = self.sale.key();
        self.upkeep.as_mut().expect("it was opened a moment ago").key = key;
    }

    /// Lets the headers of later batches say this generation.
    pub(crate) fn raise_generation(&mut self, generation: u32) {
        self.writer.raise_generation(generation);
    }

    /// Ends it: all is durable, and the log says so. To be called once nothing is under way.
    ///
    /// # Errors
    /// What the journal says. The next start then takes it for one that was killed.
    pub fn close(self) -> Result<(), onsale_journal::Error> {
        self.writer.close()
    }

    /// What anybody may know of it.
    #[must_use]
    pub fn info(&self) -> ShardInfo {
        ShardInfo {
            shard: self.sale.shard(),
            shards: self.sale.shards(),
            log: self.sale.log(),
            key: self.sale.key(),
            generation: Generation::new(self.sale.generation()),
            durability: self.durability,
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
            ids_bytes: self.ids.bytes(),
            ids_since: self.ids_since(self.sale.time()),
            snapshot: self.snapshot,
            upkeep: self.upkeep_figures,
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
            Request::Command(command) => {
                let keys = self.sale.keys(&command);
                self.sale.touch(&command, &keys);
                match self.command(now, &command, &keys, |_, _| false) {
                    Some(answer) => answer,
                    None => {
                        self.deferred = Some((command, ticket));
                        return;
                    }
                }
            }
        };
        self.answer(ticket, answer);
    }

    /// Makes the keys of commands that will be submitted next, and reads early what they look up: of so
    /// many that what is read stays in the cache until then, as [`LOOK_AHEAD`].
    pub fn look_ahead(&self, commands: &[Command], keys: &mut Vec<Keys>) {
        let made = keys.len();
        keys.extend(commands.iter().map(|command| self.sale.keys(command)));
        for (command, keys) in commands.iter().zip(&keys[made..]) {
            self.sale.touch(command, keys);
        }
        self.sale.touch_leaving(commands.len());
    }

    /// Takes a command, with its keys from [`Shard::look_ahead`], as [`Shard::submit`] does, and hands its fact and position to `tell` as
    /// soon as it is decided, so that it need not be kept: if that says true, the answer will be
    /// [`Answer::Told`]. Nothing of it may be seen before that comes out of [`Shard::release`];
    /// another answer in its place says that it did not become so.
    pub fn submit_telling(
        &mut self,
        now: Time,
        command: &Command,
        keys: &Keys,
        ticket: T,
        tell: impl FnOnce(u64, &Event) -> bool,
    ) {
        debug_assert!(self.ready(), "asked while a command waits for the next batch");
        match self.command(now, command, keys, tell) {
            Some(answer) => self.answer(ticket, answer),
            None => self.deferred = Some((Box::new(command.clone()), ticket)),
        }
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
        let round = match self.stopped {
            None => self.rounds.next(),
            Some(_) => 0,
        };
        self.waiting.push_back(Waiting { ticket, reply: Reply { position, answer }, round });
    }

    /// Decides, records and applies; none where the command has to wait for room.
    fn command(
        &mut self,
        now: Time,
        command: &Command,
        keys: &Keys,
        tell: impl FnOnce(u64, &Event) -> bool,
    ) -> Option<Answer> {
        if self.stopped.is_some() {
            return Some(Answer::Unavailable(Unavailable::Stopped));
        }
        let now = now.max(self.sale.time());
        let key = self.short_key(keys);
        let decision = match self.known(key, now) {
            Ok(known) => self.decide(command, keys, now, &known),
            Err(unavailable) => return Some(Answer::Unavailable(unavailable)),
        };
        match decision {
            Err(Undecided::Refused(refusal)) => Some(Answer::Refused(refusal)),
            Err(Undecided::Unavailable(why)) => Some(Answer::Unavailable(why)),
            Ok(Decision::Unchanged) => Some(Answer::Unchanged),
            Ok(Decision::Needs(needs)) => unreachable!("it was given them: {needs}"),
            Ok(Decision::Repeated { position }) => Some(Answer::Repeated { position }),
            // Only what would change something needs room: a repeated command still gets its answer.
            Ok(Decision::Change(_)) if !self.has_room_for(&command.action) => {
                // While a spare is being made the disk is only slower than we are, unless the
                // last one failed: then others must not wait behind this for another try.
                let waits = self.preparing && !self.full;
                (!waits).then_some(Answer::Unavailable(Unavailable::StorageFull))
            }
            Ok(Decision::Change(mut events)) => match self.record(&events, keys, key) {
                Ok(position) => {
                    let fact = events.last().expect("a change has at least one event");
                    Some(match tell(position, fact) {
                        true => Answer::Told,
                        false => Answer::Done(Box::new(events.pop().expect("it was there"))),
                    })
                }
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
    /// Gives the position of the last one, the command's own fact.
    /// `keys` are the command's; `key` is that of its id beside the state, if it is remembered.
    fn record(&mut self, events: &Events, keys: &Keys, key: Option<u64>) -> Result<u64, NoRoom> {
        if !self.writer.fits(
            events.iter().fold(0, |sum: usize, event| sum.saturating_add(bytes_at_most(event))),
        ) {
            self.measure(events)?;
        }
        let position = events.iter().fold(0, |_, event| self.append(event, keys));
        if let (Some(key), Some(fact)) = (key, events.last()) {
            self.ids.push(key, position, fact.at);
        }
        Ok(position)
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
    fn append(&mut self, event: &Event, keys: &Keys) -> u64 {
        let position = self.writer.append(&mut |buffer| {
            let start = buffer.len();
            codec::encode(event, buffer);
            debug_assert!(buffer.len() - start + RECORD_OVERHEAD_BYTES <= bytes_at_most(event));
        });
        // The batch holds what was decided: if the state can't follow, going on
        // would sell on a state that no replay can reach.
        let applied = build::applied(&mut self.sale, &self.reader, &mut |sale| {
            sale.apply_decided(position, event, keys)
        });
        if let Err(error) = applied {
            panic!("position {position} was decided but can't be applied: {error}");
        }
        position
    }

    fn query(&mut self, now: Time, query: &Query) -> Answer {
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
                match self.order(organizer, event, *order) {
                    Ok(view) => Ok(View::Order(view)),
                    Err(Undecided::Refused(refusal)) => Err(refusal),
                    Err(Undecided::Unavailable(why)) => return Answer::Unavailable(why),
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
    /// whether more may be due and there may be room for it: where the open batch is full, or so many
    /// ended in it that sales would wait for them, it has to be sealed first.
    pub fn expire(&mut self, now: Time) -> bool {
        if self.stopped.is_some() || self.deferred.is_some() || self.writer.room() == Room::None {
            return false;
        }
        if self.ended >= DUE_PER_BATCH_MAX {
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
            let keys = self.sale.keys(&command);
            if let Ok(Decision::Change(events)) =
                self.decide(&command, &keys, now, &Known::default())
            {
                if self.record(&events, &keys, None).is_err() {
                    more = false;
                    break;
                }
                self.ended += 1;
            }
        }
        self.due = due;
        more
    }

    /// The next batch to write, for a helper thread; none while one is under way, or
    /// where nothing is open. A command that waited for room goes into the batch after it.
    pub fn seal(&mut self, now: Time) -> Option<WriteJob> {
        let job = self.writer.seal()?;
        self.rounds.begin();
        self.ended = 0;
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
        match &result {
            Ok(()) => self.rounds.end(),
            Err(error) => self.stop(error.to_string()),
        }
        result
    }

    /// Stops for good. What waits for a sync that will not come is answered as unknown:
    /// its bytes may be on the disk or not.
    fn stop(&mut self, reason: String) {
        self.stopped = Some(reason);
        let durable = self.writer.durable();
        for Waiting { reply, round, .. } in &mut self.waiting {
            if reply.position > durable && is(Bug::UnknownToldAsDone) {
                reply.position = durable;
            } else if reply.position > durable || !self.rounds.is_done(*round) {
                let answer = Answer::Unavailable(Unavailable::Unknown);
                *reply = Reply { position: durable, answer };
            }
            *round = 0;
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
            && self.waiting.back().is_some_and(|w| w.reply.position <= durable)
        {
            return self.waiting.pop_back().map(|w| (w.ticket, w.reply));
        }
        let first = self.waiting.front()?;
        let may_leave = first.reply.position <= durable && self.rounds.is_done(first.round);
        let first = if may_leave { self.waiting.pop_front() } else { None };
        first.map(|w| (w.ticket, w.reply))
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
