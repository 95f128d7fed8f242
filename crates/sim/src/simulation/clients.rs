//! Clients that ask, lose patience and ask again, over a network that delays, repeats and
//! loses what it carries; and what they were told.

use std::collections::BTreeMap;

use onsale_core::code::OrderCode;
use onsale_core::command::{Action, Command, HoldId};
use onsale_core::event::{Event, Fact};
use onsale_core::limits::COMMANDS_REMEMBERED_US;
use onsale_core::text::Id;
use onsale_core::time::Time;
use onsale_engine::folder::{place, settles_place};
use onsale_engine::{Answer, Query, Reply, Unavailable};

use super::rule::{Broken, Rule};
use super::{Ask, World, short, tell};
use crate::rng::Rng;

const NAMES: [&str; 6] = ["anna", "ben", "chloe", "dan", "eve", "finn"];
/// How often one asks the same before giving up.
const ATTEMPTS_MAX: u32 = 4;
/// Messages on their way, at most.
const MESSAGES_MAX: usize = 40;
/// The window of remembered ids counts whole seconds, and its ends are not told exactly.
const WINDOW_US: i64 = COMMANDS_REMEMBERED_US - 2_000_000;

/// All clients, and the network between them and the server.
pub(super) struct Clients {
    clients: Vec<Client>,
    to_server: Vec<Message>,
    /// In a hundred: messages that are lost, and that come twice.
    lost: u64,
    twice: u64,
    /// By organizer, event and command id: shard and position of what was done, and when.
    told: BTreeMap<(Id, Id, u128), (u16, u64, Time)>,
    /// By code: shard and record of the order.
    codes: BTreeMap<OrderCode, (u16, Event)>,
    /// For which event each hold's id was made.
    holds: BTreeMap<HoldId, (Id, Id)>,
}

struct Client {
    /// What is asked, and how often it was.
    waits: Option<(Ask, u32)>,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    client: usize,
    pub ask: Ask,
}

impl Clients {
    pub(super) fn new(count: usize, rng: &mut Rng) -> Clients {
        Clients {
            clients: (0..count).map(|_| Client { waits: None }).collect(),
            to_server: Vec::new(),
            lost: *rng.pick(&[0, 2, 10]),
            twice: *rng.pick(&[0, 2, 8]),
            told: BTreeMap::new(),
            codes: BTreeMap::new(),
            holds: BTreeMap::new(),
        }
    }

    /// The network does its work from here on, and nobody begins anything new.
    pub(super) fn calm_down(&mut self) {
        (self.lost, self.twice) = (0, 0);
    }

    /// All that wait ask once more; says whether anybody does.
    pub(super) fn all_ask_again(&mut self) -> bool {
        self.to_server.clear();
        for (client, of) in self.clients.iter_mut().enumerate() {
            match &of.waits {
                Some((ask, _)) if may_ask_again(ask) => {
                    self.to_server.push(Message { client, ask: ask.clone() });
                }
                _ => of.waits = None,
            }
        }
        !self.to_server.is_empty()
    }

    /// Where batches are not synced, what was told of above a position may be gone.
    pub(super) fn forget_above(&mut self, shard: u16, last: u64, os: bool) {
        self.told.retain(|_, (of, position, _)| !os || *of != shard || *position <= last);
    }

    pub(super) fn has_messages(&self) -> bool {
        !self.to_server.is_empty()
    }
}

/// Without an id of the client's own nobody could tell a repetition from another wish.
fn may_ask_again(ask: &Ask) -> bool {
    match ask {
        Ask::Command(command) => command.stamp.chosen,
        Ask::Query(_) => true,
    }
}

impl World {
    /// A client asks something, or loses patience and asks the same again.
    pub(super) fn client_asks(&mut self) -> Result<(), Broken> {
        let client = self.rng.below(self.clients.clients.len());
        let name = NAMES[client];
        if self.clients.to_server.len() >= MESSAGES_MAX {
            return Ok(());
        }
        let ask = match self.clients.clients[client].waits.take() {
            Some((ask, attempts)) if self.rng.percent(93) => {
                self.clients.clients[client].waits = Some((ask, attempts));
                return Ok(());
            }
            Some((ask, attempts)) if attempts < ATTEMPTS_MAX && may_ask_again(&ask) => {
                tell(|| format!("{name} has no answer and asks again: {}", short::ask(&ask)));
                self.clients.clients[client].waits = Some((ask.clone(), attempts + 1));
                ask
            }
            _ => {
                let Some(ask) = self.new_ask() else { return Ok(()) };
                tell(|| format!("{name} asks: {}", short::ask(&ask)));
                self.clients.clients[client].waits = Some((ask.clone(), 1));
                ask
            }
        };
        self.clients.to_server.push(Message { client, ask });
        Ok(())
    }

    fn new_ask(&mut self) -> Option<Ask> {
        if self.rng.percent(12)
            && let Some(query) = self.new_query()
        {
            return Some(Ask::Query(query));
        }
        let mut command = self.next_command();
        self.own_hold_id(&mut command);
        // What is due is the server's to end.
        let timers =
            matches!(command.action, Action::ExpireHold { .. } | Action::ExpireOrder { .. });
        (!timers || self.rng.percent(10)).then_some(Ask::Command(command))
    }

    /// A hold's id is the server's: it is never the same for two events, which may be on two
    /// shards. (For one event it is: the generator tries ids that are taken.)
    fn own_hold_id(&mut self, command: &mut Command) {
        let Action::PlaceHold { hold, .. } = &mut command.action else { return };
        let subject = (command.organizer, command.event);
        if *self.clients.holds.entry(*hold).or_insert(subject) != subject {
            *hold = HoldId(self.rng.wide());
            self.clients.holds.insert(*hold, subject);
        }
    }

    /// About an event that is there, and a hold or order of it.
    fn new_query(&mut self) -> Option<Query> {
        let shard = self.rng.below(self.truths.len().max(1));
        let events = &self.truths.get(shard)?.model.events;
        let at = self.rng.below(events.len().max(1));
        let ((organizer, event), of) = events.iter().nth(at)?;
        let (organizer, event) = (*organizer, *event);
        Some(match self.rng.below(4) {
            0 => Query::Event { organizer, event },
            1 => Query::Availability { organizer, event },
            2 => Query::Hold { organizer, event, hold: *of.holds.keys().next()? },
            _ => {
                let order = of.orders.len().checked_sub(1 + self.rng.below(4))?;
                Query::Order { organizer, event, order: of.orders[order].code }
            }
        })
    }

    /// One of the messages on their way arrives, whichever, or is lost.
    pub(super) fn message_arrives(&mut self) -> Result<(), Broken> {
        if self.clients.to_server.is_empty() {
            return Ok(());
        }
        let at = self.rng.below(self.clients.to_server.len());
        let message = self.clients.to_server.swap_remove(at);
        if self.rng.percent(self.clients.lost) || self.lanes.is_empty() {
            tell(|| format!("lost on the way: {}", short::ask(&message.ask)));
            return Ok(());
        }
        if self.rng.percent(self.clients.twice) {
            self.clients.to_server.push(message.clone());
        }
        let Some(shard) = self.home(&message.ask) else {
            self.unknown_event(&message);
            return Ok(());
        };
        let is_new = !self.directory.contains_key(&message.ask.subject());
        if is_new && self.making.is_some() {
            self.clients.to_server.push(message);
            return Ok(());
        }
        self.tickets += 1;
        if self.lanes[usize::from(shard)].enqueue(self.tickets, message.ask.clone()) {
            self.tally.requests += 1;
            self.making = if is_new { Some(self.tickets) } else { self.making };
            self.asked.insert(self.tickets, message);
        }
        Ok(())
    }

    /// The shard that a request goes to; none: the event is not known, and not made.
    fn home(&self, ask: &Ask) -> Option<u16> {
        let (organizer, event) = ask.subject();
        if let Some(shard) = self.directory.get(&(organizer, event)) {
            return Some(*shard);
        }
        let Ask::Command(command) = ask else { return None };
        let Action::DefineEvent { definition, .. } = &command.action else { return None };
        let group = definition.sale_group;
        let recorded = self.groups.get(&(organizer, group)).copied();
        Some(place(recorded, &organizer, &group, self.lanes.len() as u16))
    }

    /// The directory says it all; what is being made is not there yet.
    fn unknown_event(&mut self, message: &Message) {
        self.clients.clients[message.client].waits = None;
    }

    /// An answer comes to its client, unless the network loses it.
    pub(super) fn deliver(&mut self, shard: u16, ticket: u64, reply: Reply) -> Result<(), Broken> {
        let Some(message) = self.asked.remove(&ticket) else {
            return Err(Rule::Order.broken("an answer to nobody"));
        };
        let name = NAMES[message.client];
        tell(|| format!("{name} is told, {}", short::reply(&reply)));
        let made = self.making.take_if(|making| *making == ticket).is_some();
        if let Ask::Command(command) = &message.ask {
            if made && settles_place(&reply.answer) {
                self.settle(shard, command);
            }
            self.check_told(shard, command, &reply)?;
        }
        if matches!(reply.answer, Answer::Unavailable(_)) {
            self.tally.unavailable += 1;
        }
        // All but this are reasons to ask again.
        if matches!(&reply.answer, Answer::Unavailable(why) if *why != Unavailable::TooLarge) {
            return Ok(());
        }
        let lost = self.rng.percent(self.clients.lost);
        let client = &mut self.clients.clients[message.client];
        let waits_for_it = client.waits.as_ref().is_some_and(|(ask, _)| same(ask, &message.ask));
        if waits_for_it && !lost {
            client.waits = None;
        }
        Ok(())
    }

    /// A new event has its place, as the server's directory learns it.
    fn settle(&mut self, shard: u16, command: &Command) {
        if let Action::DefineEvent { definition, .. } = &command.action {
            let (organizer, event) = (command.organizer, command.event);
            self.directory.insert((organizer, event), shard);
            self.groups.insert((organizer, definition.sale_group), shard);
        }
    }

    /// Holds what a client is told against what was told before.
    fn check_told(&mut self, shard: u16, command: &Command, reply: &Reply) -> Result<(), Broken> {
        match &reply.answer {
            Answer::Done(event) => {
                self.tally.changes += 1;
                self.check_done(shard, command, reply.position, event)
            }
            Answer::Repeated { position } => {
                self.tally.repeats += 1;
                self.check_repeated(shard, command, *position)
            }
            _ => Ok(()),
        }
    }

    fn check_done(
        &mut self,
        shard: u16,
        command: &Command,
        position: u64,
        event: &Event,
    ) -> Result<(), Broken> {
        if let Fact::OrderPlaced(order) = &event.fact {
            let this = (shard, event.clone());
            if let Some(before) = self.clients.codes.insert(order.order, this.clone())
                && before != this
            {
                let what = format!("{} of {before:?} is {this:?}'s, too", order.order);
                return Err(Rule::Code.broken(what));
            }
        }
        if !command.stamp.chosen {
            return Ok(());
        }
        let key = (command.organizer, command.event, command.stamp.id);
        match self.clients.told.insert(key, (shard, position, event.at)) {
            Some((_, before, at)) if event.at.0 - at.0 < WINDOW_US && before != position => {
                let what = short::command(command);
                Err(Rule::Repeat.broken(format!("{what}: done at {before}, and at {position}")))
            }
            _ => Ok(()),
        }
    }

    /// What is told of an old record must be read from it, and be of this command.
    fn check_repeated(
        &mut self,
        shard: u16,
        command: &Command,
        position: u64,
    ) -> Result<(), Broken> {
        let what = || format!("{} is told to be {position}", short::command(command));
        let reader = self.lanes[usize::from(shard)].shard.info().reader;
        if position > reader.durable() {
            return Err(Rule::Repeat.broken(format!("{}, which is not durable", what())));
        }
        let bytes = match reader.record(position) {
            Ok(bytes) => bytes,
            Err(_) if self.faulty => return Ok(()),
            Err(error) => return Err(Rule::Repeat.broken(format!("{}: {error}", what()))),
        };
        let event = onsale_codec::decode(&bytes)
            .map_err(|error| Rule::Repeat.broken(format!("{}: {error}", what())))?;
        let (subject, stamp) = (event.subject, event.stamp);
        let of_event = subject.is_some_and(|subject| {
            (subject.organizer, subject.event) == (command.organizer, command.event)
        });
        // A payment is known by its reference, too, whatever the command's id was.
        let by_reference =
            matches!(event.fact, Fact::PaymentRecorded(_) | Fact::PaymentRefunded { .. });
        let by_id = stamp.is_some_and(|stamp| stamp.id == command.stamp.id);
        match of_event && (by_id || by_reference) {
            true => Ok(()),
            false => Err(Rule::Repeat.broken(format!("{}, which is {event:?}", what()))),
        }
    }
}

fn same(a: &Ask, b: &Ask) -> bool {
    match (a, b) {
        (Ask::Command(a), Ask::Command(b)) => a.stamp == b.stamp && a.event == b.event,
        (Ask::Query(_), Ask::Query(_)) => true,
        _ => false,
    }
}
