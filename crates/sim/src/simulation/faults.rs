//! What goes wrong: the disk, the wall's clock, the power.

use super::rule::Broken;
use super::times::JUMP_US_MAX;
use super::truth::Truth;
use super::{World, tell};
use crate::disk::{Fault, FaultyDisk};

impl World {
    /// Something goes wrong, now or a few calls to the disk later.
    pub(super) fn fault(&mut self) -> Result<(), Broken> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        match self.rng.below(10) {
            0 | 1 => self.arm(Fault::Stop, 8),
            2 => self.arm(Fault::Error, 6),
            3 => {
                let fault = *self.rng.pick(&[Fault::Short, Fault::Full]);
                self.arm(fault, 6);
            }
            4 | 5 => self.change_room(),
            6 | 7 => self.jump(),
            8 => return self.crash(),
            _ => {}
        }
        Ok(())
    }

    /// Lets a call to one of the disks go wrong: one of the next few.
    pub(super) fn arm(&mut self, fault: Fault, within: usize) {
        let shard = self.rng.below(self.disks.len());
        let disk = &self.disks[shard];
        let calls = 1 + self.rng.below(within) as u64;
        if fault == Fault::Garble && std::mem::replace(&mut self.garbled, true) {
            return;
        }
        tell(|| format!("disk {shard}: {fault:?} in {calls} calls"));
        disk.fault_at(disk.calls() + calls - 1, fault);
        self.faulty = true;
        self.tally.disk_faults += 1;
    }

    /// Takes away nearly all free room of a disk, or gives all of it back.
    fn change_room(&mut self) {
        let shard = self.rng.below(self.disks.len());
        let disk = &self.disks[shard];
        if self.rng.percent(40) {
            tell(|| format!("disk {shard} has room again"));
            return disk.limit_room(u64::MAX);
        }
        let room = self.rng.below(3 * self.segment_bytes as usize) as u64;
        tell(|| format!("disk {shard} has {room} bytes left"));
        disk.limit_room(disk.used_bytes() + room);
        self.cramped = true;
        self.tally.disk_faults += 1;
    }

    /// The wall's clock is put forward or back, most often by an hour.
    pub(super) fn jump(&mut self) {
        let us = match self.rng.below(4) {
            0 | 1 => JUMP_US_MAX,
            _ => self.rng.within(1, 100_000_000),
        };
        let us = if self.rng.percent(50) { us } else { -us };
        tell(|| format!("the wall's clock jumps by {us} µs"));
        self.times.jump(us);
        self.tally.clock_jumps += 1;
    }

    /// The server is gone at once; with the power, so is what was not synced, or some of it.
    pub(super) fn crash(&mut self) -> Result<(), Broken> {
        if !self.lanes.is_empty()
            && !self.disks.iter().any(FaultyDisk::is_stopped)
            && self.rng.percent(12)
        {
            self.close();
        }
        let power = self.rng.percent(60);
        tell(|| if power { "the power goes" } else { "the server is killed" }.to_owned());
        match power {
            true => {
                self.tally.power_losses += 1;
                self.tally.losses_without_syncs += u64::from(self.keeping.os);
            }
            false => self.tally.kills += 1,
        }
        self.take_down(power);
        let down_us = *self.rng.pick(&[0, 1_000, 1_000_000, 60_000_000, 7_200_000_000]);
        self.times.pass(down_us);
        if self.rng.percent(20) {
            self.jump();
        }
        Ok(())
    }

    pub(super) fn take_down(&mut self, power: bool) {
        self.lanes.clear();
        if power && self.keeping.os {
            self.truths.iter_mut().for_each(Truth::may_lose);
        }
        self.asked.clear();
        self.making = None;
        let next = if power { FaultyDisk::power_loss } else { FaultyDisk::restart };
        self.disks = self.disks.iter().map(next).collect();
    }
}
