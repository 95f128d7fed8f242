//! What is known of one shard: where its journal stands, its generation, the
//! numbers of its orders, and the ids of its latest commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use onsale_core::code::TicketParts;
use onsale_core::event::{OrderPlaced, ShardStarted};
use onsale_core::limits::{
    COMMANDS_REMEMBERED_MAX, COMMANDS_REMEMBERED_US, GENERATIONS_MAX, ORDERS_PER_SHARD_MAX,
    SHARDS_MAX,
};
use onsale_core::{OrderCode, Time};

use super::finding::{Context, Rule};

/// What is known of one shard.
#[derive(Default)]
pub(super) struct ShardBook {
    pub records: u64,
    pub position: u64,
    pub generation: u32,
    at: Time,
    started: Option<ShardStarted>,
    /// Number of the last order.
    sequence: u64,
    commands: Commands,
}

/// Chosen ids of commands within the window, by id and `organizer/event`.
#[derive(Default)]
struct Commands {
    seen: u64,
    latest: BTreeMap<(u128, String), Command>,
    by_age: VecDeque<((u128, String), Time)>,
}

#[derive(Clone, Copy)]
struct Command {
    at: Time,
    number: u64,
    position: u64,
}

impl ShardBook {
    /// Positions are dense, time does not run backwards, the first record starts
    /// the shard.
    pub(super) fn follow(&mut self, context: &mut Context<'_>, starts: bool) {
        let (due, position) = (self.position.saturating_add(1), context.position);
        context.check(Rule::Positions, position == due, || {
            format!("the record at {position} came where {due} was due")
        });
        let (last, at) = (self.at, context.at);
        context.check(Rule::Time, at >= last, || {
            format!("the record is of {} µs, the one before it of {} µs", at.0, last.0)
        });
        context.check(Rule::Shards, starts || self.started.is_some(), || {
            "the shard has not been started".into()
        });
        self.records += 1;
        self.position = position;
        self.at = at.max(last);
    }

    /// The first record of the shard; `log` is that of the first shard seen.
    pub(super) fn start(
        &mut self,
        context: &mut Context<'_>,
        started: &ShardStarted,
        log: &ShardStarted,
    ) {
        context
            .check(Rule::Shards, self.started.is_none(), || "the shard was started before".into());
        let shard = context.shard;
        let fits = started.shard == shard
            && shard < started.shards
            && started.generation <= GENERATIONS_MAX;
        context.check(Rule::Shards, fits, || {
            let ShardStarted { shard, shards, generation, .. } = started;
            format!("it says to be shard {shard} of {shards} in generation {generation}")
        });
        let same = started.log == log.log && started.shards == log.shards && started.key == log.key;
        context.check(Rule::Shards, same, || {
            format!("log, number of shards or secret differ from those of shard {}", log.shard)
        });
        self.started = Some(started.clone());
        self.generation = started.generation;
    }

    pub(super) fn start_generation(&mut self, context: &mut Context<'_>, generation: u32) {
        let grows = generation > self.generation && generation <= GENERATIONS_MAX;
        context.check(Rule::Shards, grows, || {
            format!("generation {generation} follows generation {}", self.generation)
        });
        self.generation = generation;
    }

    /// An order has the next number, the code of it, and tickets whose codes open
    /// back to it. Numbers being unique, and a code opening to one number only,
    /// the codes are unique.
    pub(super) fn check_number(
        &mut self,
        context: &mut Context<'_>,
        placed: &OrderPlaced,
        codes: &mut BTreeSet<OrderCode>,
    ) {
        let (due, sequence) = (self.sequence.saturating_add(1), placed.sequence);
        let in_range = sequence == due && sequence <= ORDERS_PER_SHARD_MAX;
        context.check(Rule::Sequence, in_range, || {
            format!("the order {} has the sequence {sequence}, {due} was due", placed.order)
        });
        self.sequence = sequence;
        context.check(Rule::OrderCode, codes.insert(placed.order), || {
            format!("the order code {} was given before", placed.order)
        });
        let Some(started) = &self.started else { return };
        let (key, shard, generation) = (started.key, context.shard, self.generation);
        // A code has no room for more.
        if sequence > ORDERS_PER_SHARD_MAX || generation > GENERATIONS_MAX || shard >= SHARDS_MAX {
            return;
        }
        let code = key.order_code(shard, generation, sequence);
        context.check(Rule::OrderCode, placed.order == code, || {
            format!("the order {} should have the code {code}", placed.order)
        });
        let tickets: u64 = placed.lines.iter().map(|line| u64::from(line.stock.quantity())).sum();
        for ordinal in 0..u16::try_from(tickets).unwrap_or(u16::MAX) {
            let parts = TicketParts { shard, generation, sequence, ordinal, issue: 0 };
            let opened = key.open_ticket(key.ticket_code(parts));
            context.check(Rule::TicketCode, opened == Some(parts), || {
                format!("the code of ticket {ordinal} of {} does not open back", placed.order)
            });
        }
    }

    /// A chosen id does not change anything twice while it is remembered.
    pub(super) fn check_command(&mut self, context: &mut Context<'_>, event: &str, id: u128) {
        let Commands { seen, latest, by_age } = &mut self.commands;
        let at = context.at;
        let is_old = |then: Time| at.0 - then.0 >= COMMANDS_REMEMBERED_US;
        while by_age.front().is_some_and(|(_, then)| is_old(*then)) {
            let Some((key, _)) = by_age.pop_front() else { break };
            if latest.get(&key).is_some_and(|command| is_old(command.at)) {
                latest.remove(&key);
            }
        }
        *seen += 1;
        let command = Command { at, number: *seen, position: context.position };
        let key = (id, event.to_string());
        by_age.push_back((key.clone(), at));
        if let Some(before) = latest.insert(key, command) {
            let remembered = *seen - before.number < COMMANDS_REMEMBERED_MAX as u64;
            context.check(Rule::CommandOnce, !remembered, || {
                format!("the command was carried out before, at position {}", before.position)
            });
        }
    }
}
