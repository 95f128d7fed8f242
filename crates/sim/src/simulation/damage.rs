//! Damage at rest, tried on a copy of the disks: a start must refuse it, or lose nothing
//! that the log proves to have been durable.

use onsale_core::code::CodeKey;

use super::keeping::read_all;
use super::rule::{Broken, Rule};
use super::{World, tell};
use crate::disk::{FaultyDisk, SECTOR_BYTES};
use crate::side_by_side::replay_with;

impl World {
    /// Damages a copy of one disk in one place, and sees what a start makes of it.
    pub(super) fn try_damage(&mut self) -> Result<(), Broken> {
        let copies: Vec<FaultyDisk> = self.disks.iter().map(FaultyDisk::copy).collect();
        copies.iter().for_each(|copy| copy.limit_room(u64::MAX));
        let shard = self.rng.below(copies.len());
        let pristine = self.keeping.stores(&self.disks[shard].copy());
        let Ok(proven) = onsale_journal::open_read_only(pristine).map(|log| log.proven) else {
            return Ok(());
        };
        self.tally.damages += 1;
        // A shard is missed by its siblings only once one of them has been at work.
        let others = self.truths.iter().enumerate().filter(|(other, _)| *other != shard);
        let missed = others.into_iter().any(|(_, truth)| truth.records.len() > 1);
        if missed && self.rng.percent(15) {
            tell(|| format!("on a copy, all files of shard {shard} are gone"));
            let mut copies = copies;
            copies[shard] = FaultyDisk::new(self.rng.next());
            return match self.open_copies(&copies, (shard, proven)) {
                Ok(_) => Err(Rule::Damage.broken("a shard was lost, and the server starts")),
                Err(_) => Ok(()),
            };
        }
        let Some(place) = self.damage(&copies[shard]) else { return Ok(()) };
        tell(|| format!("on a copy, shard {shard} is damaged: {place}"));
        let lasts = match self.open_copies(&copies, (shard, proven)) {
            Ok(lasts) => lasts,
            // What can be made again must not stop a start.
            Err(error) if place.contains(".snap") || place.contains(".ids") => {
                return Err(Rule::Damage.broken(format!("{place}: {error}")));
            }
            Err(_) => return Ok(()),
        };
        if lasts[shard] < proven {
            let last = lasts[shard];
            let what = format!("{place}: {proven} was durable, and it starts with {last}");
            return Err(Rule::Damage.broken(what));
        }
        Ok(())
    }

    /// Flips a bit or blanks a sector of a file, where there is something in it.
    fn damage(&mut self, disk: &FaultyDisk) -> Option<String> {
        let files = disk.files();
        let names: Vec<&String> = files.keys().collect();
        if names.is_empty() {
            return None;
        }
        let name = *self.rng.pick(&names);
        let bytes = &files[name];
        let first = (bytes.len() / SECTOR_BYTES).max(1);
        let start = self.rng.below(first) * SECTOR_BYTES;
        let sectors =
            (start..bytes.len()).step_by(SECTOR_BYTES).chain((0..start).step_by(SECTOR_BYTES));
        let used = |at: &usize| {
            bytes[*at..bytes.len().min(at + SECTOR_BYTES)].iter().any(|byte| *byte != 0)
        };
        let sector = sectors.into_iter().find(used)?;
        if self.rng.percent(30) {
            disk.edit(name, |bytes| {
                let end = bytes.len().min(sector + SECTOR_BYTES);
                bytes[sector..end].fill(0);
            });
            return Some(format!("{name}, {sector}: blank"));
        }
        let bit = sector * 8 + self.rng.below((bytes.len() - sector).min(SECTOR_BYTES) * 8);
        disk.flip(name, bit);
        Some(format!("{name}, bit {bit}"))
    }

    /// Opens the copies; gives the last position of each shard, all records of which must be
    /// as they were.
    fn open_copies(
        &self,
        copies: &[FaultyDisk],
        (damaged, proven): (usize, u64),
    ) -> Result<Vec<u64>, String> {
        let key = CodeKey([0; 16]);
        let keeping = self.keeping;
        let stores = |shard: u16| Ok(keeping.stores(&copies[usize::from(shard)]));
        let identity = self.identity();
        let wall = self.times.wall();
        let opened = onsale_engine::folder::open_shards::<u64>(
            identity,
            &keeping.options(self.segment_bytes),
            key,
            wall,
            stores,
        );
        let shards = opened.map_err(|error| error.to_string())?;
        let mut lasts = Vec::new();
        for (number, shard) in shards.iter().enumerate() {
            let (begin, records) = read_all(shard)?;
            let before = self.truths.get(number).map_or(&[][..], |truth| &truth.records);
            let skipped = begin as usize - 1;
            let mut known = before.len().min(skipped + records.len());
            if number == damaged {
                // What is above may be cut, and another record come in its place.
                known = known.min(proven as usize);
            }
            // None of those that were there is there as it was.
            if before.get(skipped..known).is_some_and(|before| *before != records[..before.len()]) {
                return Ok(vec![0; copies.len()]);
            }
            // Nor is the state.
            if skipped == 0
                && replay_with(&records, shard.sale().hash(), keeping.rules.ids_hot).is_err()
            {
                return Ok(vec![0; copies.len()]);
            }
            lasts.push((skipped + records.len()) as u64);
        }
        Ok(lasts)
    }
}
