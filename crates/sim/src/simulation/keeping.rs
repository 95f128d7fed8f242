//! How the logs of a world are kept: archive, snapshots, durability; and what is done for them
//! beside the sales, piece by piece.

use std::sync::Arc;

use onsale_core::event::Event;
use onsale_core::limits::{COMMANDS_REMEMBERED_MAX, ORDERS_HOT_MAX};
use onsale_engine::folder::Options;
use onsale_engine::{Durability, Query, Rules, Shard};
use onsale_journal::{Reader, Stores};

use super::lane::Lane;
use super::rule::{Broken, Rule};
use super::truth::Truth;
use super::{World, tell};
use crate::disk::FaultyDisk;
use crate::rng::Rng;

/// An hour more than command ids are remembered.
const RETENTION_US: i64 = 25 * 3_600_000_000;
/// Pieces of upkeep after which there must be nothing left to do.
const PIECES_MAX: usize = 1_000;

/// How the logs of a world are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// Whether any upkeep is done.
    pub upkeep: bool,
    archive: bool,
    /// Whether batches are not synced.
    pub os: bool,
    pub rules: Rules,
}

impl Keeping {
    pub(super) fn new(rng: &mut Rng) -> Keeping {
        let upkeep = rng.percent(70);
        let (archive, os) = (upkeep && rng.percent(75), rng.percent(15));
        let all = (ORDERS_HOT_MAX, COMMANDS_REMEMBERED_MAX as u32);
        let (orders_hot, ids_hot) = match upkeep {
            // More than can be on their way to the disk.
            true => (*rng.pick(&[3, 4, all.0]), *rng.pick(&[12, 16, all.1])),
            false => all,
        };
        let retention_us = rng.percent(30).then_some(RETENTION_US);
        let snapshot_bytes = *rng.pick(&[1, 40 << 10, 100 << 10]);
        let rules = Rules { snapshot_bytes, retention_us, orders_hot, ids_hot };
        Keeping { upkeep, archive, os, rules }
    }

    pub(super) fn options(&self, segment_bytes: u64) -> Options {
        let durability = if self.os { Durability::Os } else { Durability::Synced };
        Options { rules: self.rules, durability, ..Options::new(segment_bytes) }
    }

    /// The folders of a shard on its disk.
    pub(super) fn stores(&self, disk: &FaultyDisk) -> Stores {
        let live = Stores::from(Arc::new(disk.clone()));
        match self.archive {
            true => Stores { archive: Some(Arc::new(disk.archive())), ..live },
            false => live,
        }
    }
}

impl World {
    /// A piece of upkeep is handed out, done, or handed back.
    pub(super) fn keep_up(&mut self) -> Result<(), Broken> {
        if self.lanes.is_empty() || !self.keeping.upkeep {
            return Ok(());
        }
        let shard = self.rng.below(self.lanes.len());
        self.lanes[shard].tick(&self.times)?;
        let whole = self.rng.percent(60);
        let done = self.lanes[shard].keep_up();
        if done && whole {
            self.lanes[shard].keep_up();
            self.lanes[shard].keep_up();
        }
        let archived = self.lanes[shard].shard.figures().upkeep.archived;
        self.tally.upkeep += u64::from(done);
        self.tally.with_archive += u64::from(done && archived > 0);
        self.look_at_log(shard)
    }

    /// All that there is to do is done.
    pub(super) fn keep_up_all(&mut self) -> Result<(), Broken> {
        for shard in 0..self.lanes.len() {
            for piece in 0.. {
                if !self.lanes[shard].keep_up() {
                    break;
                }
                if piece == PIECES_MAX {
                    return Err(Rule::Upkeep.broken("there is always more to do"));
                }
            }
            self.look_at_log(shard)?;
        }
        Ok(())
    }

    /// Nothing fails without a fault, and all that is durable can be read, wherever it is.
    fn look_at_log(&mut self, shard: usize) -> Result<(), Broken> {
        let (lane, truth) = (&mut self.lanes[shard], &mut self.truths[shard]);
        let figures = lane.shard.figures().upkeep;
        let faulty = self.faulty || self.cramped || self.shaken;
        let failures = figures.failures + figures.scrub_findings;
        if std::mem::replace(&mut lane.failures, failures) < failures && !faulty {
            return Err(Rule::Upkeep.broken(format!("{figures:?}: {}", lane.noted)));
        }
        let reader = lane.shard.info().reader;
        let whole = self.rng.once_in(8);
        let from = if whole { 0 } else { truth.known() };
        match read_after(&reader, from) {
            Ok((begin, records)) => truth.read(begin, &records),
            Err(_) if self.faulty => Ok(()),
            Err(what) => Err(Rule::Readable.broken(what)),
        }
    }

    /// Every order is shown as the model has it, however old it is.
    pub(super) fn look_at_orders(&mut self) -> Result<(), Broken> {
        for (lane, truth) in self.lanes.iter_mut().zip(&mut self.truths) {
            let orders: Vec<_> = (truth.model.events.iter())
                .flat_map(|(subject, of)| of.orders.iter().map(|order| (*subject, order.code)))
                .collect();
            for ((organizer, event), order) in orders {
                lane.ask_for(truth, Query::Order { organizer, event, order });
                while lane.release(truth, self.faulty)?.is_some() {}
            }
        }
        Ok(())
    }

    /// The server ends as it should, if it can; says whether it did.
    pub(super) fn close(&mut self) -> bool {
        let mut closed = true;
        for (lane, truth) in self.lanes.drain(..).zip(&mut self.truths) {
            truth.closed = lane.close(truth);
            closed &= truth.closed;
        }
        tell(|| if closed { "the server ends" } else { "the server ends badly" }.to_owned());
        closed
    }
}

impl Lane {
    /// Does one of three things, whichever is next: takes a piece of upkeep, does it, hands it back.
    /// Says whether there was anything.
    pub(super) fn keep_up(&mut self) -> bool {
        if let Some(done) = self.upkept.take() {
            let notes = self.shard.upkept(done);
            for note in notes {
                tell(|| format!("shard {}: {note}", self.shard.info().shard));
                self.noted = note;
            }
        } else if let Some(job) = self.upkeep.take() {
            self.upkept = Some(job.run());
        } else {
            self.upkeep = self.shard.upkeep(self.now());
            return self.upkeep.is_some();
        }
        true
    }

    /// What has failed so far is no news.
    pub(super) fn forgive(&mut self) {
        if self.upkept.is_some() {
            self.keep_up();
        }
        let figures = self.shard.figures().upkeep;
        self.failures = figures.failures + figures.scrub_findings;
    }

    /// Ends the shard as it should; says whether that went well.
    fn close(mut self, truth: &mut Truth) -> bool {
        let mut rng = Rng::new(0);
        // What was being written is waited for.
        let _ = self.write(truth, &mut rng);
        self.shard.close().is_ok()
    }
}

/// All records that can be read above a position, and the position of the first of them.
pub(super) fn read_after(reader: &Reader, from: u64) -> Result<(u64, Vec<Event>), String> {
    let from = match reader.durable() {
        0 => 0,
        _ => from.max(reader.begins_at().map_err(|error| error.to_string())?.max(1) - 1),
    };
    let (mut events, mut unreadable) = (Vec::new(), None);
    let read =
        reader.read(from, usize::MAX, usize::MAX, &mut |_, record| match onsale_codec::decode(
            record,
        ) {
            Ok(event) => events.push(event),
            Err(error) => unreadable = Some(error.to_string()),
        });
    read.map_err(|error| error.to_string())?;
    unreadable.map_or(Ok((from + 1, events)), Err)
}

/// All records of a shard that can be read, after those at the beginning that were let go.
pub(super) fn read_all(shard: &Shard<u64>) -> Result<(u64, Vec<Event>), String> {
    read_after(&shard.info().reader, 0)
}
