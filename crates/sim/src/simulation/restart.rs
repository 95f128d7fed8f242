//! Starts of the server, and what must be true after each; and the end of it all.

use onsale_core::code::CodeKey;
use onsale_core::event::Event;
use onsale_engine::Shard;
use onsale_engine::audit::Auditor;
use onsale_engine::folder::{Identity, open_shards};

use super::keeping::read_all;
use super::lane::Lane;
use super::rule::{Broken, Rule};
use super::truth::{Kept, Truth};
use super::{World, tell};
use crate::disk::{Fault, FaultyDisk};
use crate::side_by_side::{compare, replay_with};

/// Id of the log.
const LOG: u128 = 7;
/// Starts in a row that a fault may end.
const BROKEN_STARTS_MAX: usize = 3;
/// Rounds in which all that is open must come to its end.
const ROUNDS_MAX: usize = 50;

impl World {
    pub(super) fn identity(&self) -> Identity {
        Identity { log: LOG, shards: self.disks.len() as u16 }
    }

    /// Starts the server. A fault may end a start, and then it is tried again.
    pub(super) fn start(&mut self) -> Result<(), Broken> {
        for attempt in 0.. {
            (self.faulty, self.cramped) = (false, false);
            if attempt == BROKEN_STARTS_MAX || self.rng.percent(60) {
                self.disks.iter().for_each(|disk| disk.limit_room(u64::MAX));
            }
            if self.rng.percent(12) {
                self.try_damage()?;
            }
            if attempt < BROKEN_STARTS_MAX && self.rng.percent(30) {
                let fault = if self.rng.percent(70) { Fault::Stop } else { Fault::Error };
                self.arm(fault, 40);
            } else if attempt < BROKEN_STARTS_MAX && self.rng.percent(40) && self.is_all_proven() {
                self.arm(Fault::Garble, 30);
            }
            if self.try_start()? {
                return Ok(());
            }
            self.tally.broken_starts += 1;
            let power = self.rng.percent(50);
            self.take_down(power);
        }
        unreachable!("the last attempt starts or fails");
    }

    /// Whether the logs themselves say that all that was answered was durable: then one wrong
    /// bit may stop a start, but not cost anything.
    fn is_all_proven(&self) -> bool {
        self.disks.iter().zip(&self.truths).all(|(disk, truth)| {
            let log = onsale_journal::open_read_only(self.keeping.stores(&disk.copy()));
            log.is_ok_and(|log| log.proven >= truth.answered)
        })
    }

    /// One start; says whether it came to its end, which only a fault may prevent.
    fn try_start(&mut self) -> Result<bool, Broken> {
        // A secret is made for each start, and is used by the first alone.
        let key = CodeKey(self.rng.wide().to_le_bytes());
        if self.rng.percent(10) {
            self.segment_bytes = *self.rng.pick(&[32 << 10, 64 << 10]);
        }
        let (disks, keeping) = (self.disks.clone(), self.keeping);
        let stores = |shard: u16| Ok(keeping.stores(&disks[usize::from(shard)]));
        self.times.start();
        let (identity, wall) = (self.identity(), self.times.wall());
        let opened = {
            let options = self.keeping.options(self.segment_bytes);
            open_shards::<u64>(identity, &options, key, wall, stores)
        };
        // A read that goes wrong later is another matter.
        self.disks.iter().for_each(FaultyDisk::end_garbling);
        let limited = self.disks.iter().any(FaultyDisk::is_limited);
        let shards = match opened {
            Ok(shards) => shards,
            Err(error) if self.faulty || limited => {
                tell(|| format!("the start fails: {error}"));
                return Ok(false);
            }
            Err(error) => return Err(Rule::Start.broken(error.to_string())),
        };
        (self.cramped, self.shaken) = (limited, self.faulty);
        if self.disks.iter().any(FaultyDisk::is_stopped) {
            return Ok(false);
        }
        let mut found = Vec::new();
        for shard in &shards {
            match read_all(shard) {
                Ok(records) => found.push(records),
                Err(_) if self.faulty => return Ok(false),
                Err(error) => return Err(Rule::Start.broken(error)),
            }
        }
        self.check_start(shards, found)?;
        Ok(true)
    }

    /// What must be true when a start has come to its end.
    fn check_start(
        &mut self,
        shards: Vec<Shard<u64>>,
        found: Vec<(u64, Vec<Event>)>,
    ) -> Result<(), Broken> {
        let lasts: Vec<usize> =
            found.iter().map(|(begin, records)| *begin as usize - 1 + records.len()).collect();
        tell(|| format!("the server starts, with {lasts:?} records"));
        let key = shards[0].sale().key();
        let first = self.truths.is_empty();
        if let Some(of) = shards.iter().find(|shard| shard.sale().key() != key) {
            return Err(Rule::Secret.broken(format!("shard {}", of.info().shard)));
        }
        if self.truths.first().is_some_and(|truth| truth.model.key != key) {
            return Err(Rule::Secret.broken("all shards"));
        }
        (self.directory, self.groups) = Default::default();
        for (number, (shard, (begin, read))) in shards.into_iter().zip(found).enumerate() {
            if first {
                let record = read.first().ok_or_else(|| Rule::Records.broken("no first record"))?;
                self.truths.push(Truth::new(record)?);
            }
            let truth = &mut self.truths[number];
            if begin > 1 && self.keeping.rules.retention_us.is_none() {
                return Err(Rule::Lost.broken(format!("the log begins at {begin}")));
            }
            let records = truth.all(begin, read)?;
            if records.len() as u64 != shard.sale().position() {
                let (count, position) = (records.len(), shard.sale().position());
                let what = format!("{count} records, but the state is of {position}");
                return Err(Rule::Records.broken(what));
            }
            let ids = self.keeping.rules.ids_hot;
            replay_with(&records, shard.sale().hash(), ids)
                .map_err(|what| Rule::Replay.broken(what))?;
            let Kept { cut, kept, last } = truth.restart(records)?;
            self.clients.forget_above(number as u16, last, self.keeping.os);
            let snapshot = shard.figures().snapshot;
            let is_later = self.keeping.os && shard.sale().generation() > 1;
            self.tally.from_snapshots += u64::from(snapshot > 0);
            self.tally.later_generations += u64::from(is_later);
            self.tally.cut += cut;
            self.tally.kept += kept;
            let mut lane = Lane::new(shard, &self.times);
            for note in lane.shard.take_notes() {
                tell(|| format!("shard {number}: {note}"));
            }
            compare(lane.shard.sale(), &truth.model, lane.now())
                .map_err(|what| Rule::Replay.broken(what))?;
            let sale = lane.shard.sale();
            self.directory.extend(sale.events().map(|event| (event, number as u16)));
            self.groups.extend(sale.groups().map(|group| (group, number as u16)));
            lane.prepare();
            self.lanes.push(lane);
        }
        Ok(())
    }

    /// Nothing goes wrong any more: every request is answered, all that is due is ended;
    /// then a last start, and the audit of all records.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        tell(|| "nothing goes wrong from here on".to_owned());
        self.clients.calm_down();
        if self.lanes.iter().any(Lane::has_stopped) {
            self.take_down(false);
        }
        self.calm_disks();
        self.lanes.iter_mut().for_each(Lane::forgive);
        // What was refused before that may still be told.
        (0..2).try_for_each(|_| self.work())?;
        self.calm_start()?;
        for _ in 0..ROUNDS_MAX {
            while self.clients.has_messages() {
                self.message_arrives()?;
                self.work_off()?;
            }
            self.work_off()?;
            if !self.clients.all_ask_again() {
                break;
            }
        }
        for (lane, truth) in self.lanes.iter().zip(&self.truths) {
            lane.check_nothing_due(truth)?;
        }
        if self.clients.all_ask_again() {
            return Err(Rule::Silence.broken("a client asks again and again"));
        }
        if self.keeping.upkeep {
            self.keep_up_all()?;
            self.look_at_orders()?;
        }
        self.take_down(true);
        self.calm_start()?;
        self.look_at_orders()?;
        self.audit()
    }

    fn calm_disks(&self) {
        for disk in &self.disks {
            disk.limit_room(u64::MAX);
            disk.fault_at(u64::MAX, Fault::Error);
        }
    }

    /// Takes all faults away, and sees that the server runs.
    fn calm_start(&mut self) -> Result<(), Broken> {
        self.calm_disks();
        (self.faulty, self.cramped) = (false, false);
        if self.lanes.is_empty() && !self.try_start()? {
            return Err(Rule::Start.broken("without a fault"));
        }
        Ok(())
    }

    /// All lanes run until nothing is left to do, and all answers leave.
    fn work_off(&mut self) -> Result<(), Broken> {
        self.work()?;
        for _ in 0..ROUNDS_MAX {
            if self.lanes.iter().all(Lane::is_idle) {
                return Ok(());
            }
            self.work()?;
        }
        Err(Rule::Silence.broken("requests are left without an answer"))
    }

    fn work(&mut self) -> Result<(), Broken> {
        for shard in 0..self.lanes.len() {
            let (lane, truth) = (&mut self.lanes[shard], &mut self.truths[shard]);
            lane.tick(&self.times)?;
            lane.take(truth, &mut self.rng)?;
            lane.settle(truth, &mut self.rng)?;
        }
        self.answers_leave()?;
        self.look()
    }

    fn audit(&self) -> Result<(), Broken> {
        let mut auditor = Auditor::new();
        for (shard, truth) in (0..).zip(&self.truths) {
            for (position, event) in (1..).zip(&truth.records) {
                auditor.record(shard, position, event);
            }
        }
        let report = auditor.finish();
        match report.findings.first() {
            None => Ok(()),
            Some(first) => Err(Rule::Audit.broken(format!("{first:?}"))),
        }
    }
}
