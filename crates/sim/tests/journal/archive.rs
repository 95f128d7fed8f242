//! Crash points over archiving, reuse, retention and starts from a position, synced or not: segments are copied and
//! used again, the process is killed or the power goes in the middle of any call, and the next start is from
//! anywhere that is left.

use std::sync::Arc;

use onsale_journal::storage::Storage;
use onsale_journal::{Durability, Error, Opened, Options, Stores};
use onsale_sim::disk::{Fault, FaultyDisk};
use onsale_sim::rng::Rng;

use crate::damage::batches;
use crate::history::{History, UnderWay, drive_on, options};

/// Lives of one log in a row.
const LIVES: usize = 8;

/// What the lives of a log came to.
#[derive(Default, Debug)]
struct Seen {
    at_start: usize,
    at_work: usize,
    archived: usize,
    used_again: usize,
    trimmed: usize,
    scrubbed: usize,
    closed: usize,
    lost: usize,
    from_within: usize,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.at_start += other.at_start;
        self.at_work += other.at_work;
        self.archived += other.archived;
        self.used_again += other.used_again;
        self.trimmed += other.trimmed;
        self.scrubbed += other.scrubbed;
        self.closed += other.closed;
        self.lost += other.lost;
        self.from_within += other.from_within;
    }
}

pub fn stores(disk: &FaultyDisk) -> Stores {
    Stores { live: Arc::new(disk.clone()), archive: Some(Arc::new(disk.archive())) }
}

/// One log over several lives.
struct Life {
    rng: Rng,
    disk: FaultyDisk,
    history: History,
    options: Options,
    /// What is on the disk for certain, where batches are not synced.
    on_disk: u64,
    seen: Seen,
}

impl Life {
    fn new(seed: u64, durability: Durability, archive_lies: bool) -> Life {
        let mut rng = Rng::new(seed);
        let mut disk = FaultyDisk::new(rng.next());
        if archive_lies {
            disk = disk.with_lying_archive();
        }
        let options = Options { durability, ..options(*rng.pick(&[16 << 10, 32 << 10])) };
        let (history, seen) = (History::default(), Seen::default());
        Life { rng, disk, history, options, on_disk: 0, seen }
    }

    /// A start from anywhere, work, and an end. Says which rule was broken.
    fn live(&mut self) -> Result<(), String> {
        let fault = if self.rng.once_in(6) { Fault::Error } else { Fault::Stop };
        if self.rng.percent(30) {
            self.disk.fault_at(self.rng.below(120) as u64, fault);
        }
        match self.start()? {
            Err(_) if self.disk.is_stopped() => self.seen.at_start += 1,
            Err(_) if fault == Fault::Error => {}
            Err(error) => return Err(format!("it does not start: {error}")),
            Ok(opened) => {
                self.on_disk = opened.last_position;
                let calls = *self.rng.pick(&[20, 150, 600]);
                self.disk.fault_at(self.disk.calls() + self.rng.below(calls) as u64, fault);
                self.work(opened)?;
                self.seen.at_work += usize::from(self.disk.is_stopped());
            }
        }
        self.end();
        Ok(())
    }

    fn start(&mut self) -> Result<Result<Opened, Error>, String> {
        let lowest = self.history.kept_from.saturating_sub(1);
        // Sometimes from the beginning, where nothing was given up.
        let from = match self.rng.percent(30) {
            true => lowest,
            false => lowest + self.rng.below((self.history.durable - lowest) as usize + 1) as u64,
        };
        self.seen.from_within += usize::from(from > 0);
        let before = self.history.records.len();
        let opened = self.history.open_from(stores(&self.disk), self.options, from)?;
        self.seen.lost += before - self.history.records.len();
        Ok(opened)
    }

    fn work(&mut self, opened: Opened) -> Result<(), String> {
        let Opened { mut writer, reader, .. } = opened;
        let mut under_way = UnderWay::default();
        for _ in 0..*self.rng.pick(&[2, 10, 30]) {
            let how = (self.rng.below(25), *self.rng.pick(&[20, 200, 1500]));
            let (history, rng) = (&mut self.history, &mut self.rng);
            if drive_on(&mut writer, history, rng, how, &mut under_way).is_some() {
                break;
            }
            self.keep_up(&writer)?;
            if self.rng.once_in(8) {
                self.history.check_reader(&reader)?;
            }
        }
        self.history.check_reader(&reader)?;
        if under_way.is_writing() || !self.rng.percent(30) {
            return Ok(());
        }
        // The mark may be on the disk even where this fails.
        self.history.closed = None;
        if writer.close().is_ok() {
            self.history.closed = Some(true);
            self.history.durable = self.history.records.len() as u64;
            self.on_disk = self.history.durable;
            self.seen.closed += 1;
        }
        Ok(())
    }

    /// One of the jobs beside the writing.
    fn keep_up(&mut self, writer: &onsale_journal::Writer) -> Result<(), String> {
        let position = |rng: &mut Rng, upto: u64| rng.below(upto as usize + 1) as u64;
        match self.rng.below(6) {
            0 => {
                // Not above what a start could begin with whatever happens.
                let upto = self.on_disk;
                writer.release_below(position(&mut self.rng, upto));
            }
            1 => {
                let sealed = writer.sealed().unwrap_or_default();
                if sealed.is_empty() {
                    return Ok(());
                }
                let one = *self.rng.pick(&sealed);
                let scrubbed = writer.scrub(one.sequence).run();
                self.seen.scrubbed += usize::from(scrubbed.bytes > 0);
                let wrong = |error: &&Error| !matches!(error, Error::Io { .. });
                if let Some(error) = scrubbed.found.iter().find(wrong) {
                    return Err(format!("a scrub finds {error}"));
                }
            }
            2 if self.rng.once_in(3) => {
                let upto = self.on_disk.min(self.history.durable);
                let below = position(&mut self.rng, upto / 2);
                self.history.kept_from = self.history.kept_from.max(below);
                match writer.trim_archive(below).run() {
                    Ok(trimmed) => self.seen.trimmed += trimmed as usize,
                    Err(Error::Io { .. }) => {}
                    Err(error) => return Err(format!("a trim fails: {error}")),
                }
            }
            _ => {
                if let Some(job) = writer.archive() {
                    match job.run() {
                        Ok(sealed) => self.seen.archived += usize::from(sealed.is_some()),
                        Err(Error::Io { .. }) => {}
                        Err(error) => return Err(format!("a segment is not archived: {error}")),
                    }
                }
            }
        }
        Ok(())
    }

    /// The process is killed, or the power goes.
    fn end(&mut self) {
        let names = Storage::list(&self.disk.copy()).unwrap();
        let first = names.iter().filter(|name| name.ends_with(".seg")).min();
        self.seen.used_again += first.map_or(0, |name| name[..10].parse::<usize>().unwrap() - 1);
        if self.rng.percent(35) {
            self.disk = self.disk.restart();
            return;
        }
        self.disk = self.disk.power_loss();
        if self.options.durability == Durability::Os {
            self.history.durable = self.on_disk.min(self.history.durable);
        }
    }
}

fn run(seed: u64, durability: Durability, archive_lies: bool) -> Result<Seen, String> {
    let mut life = Life::new(seed, durability, archive_lies);
    for _ in 0..LIVES {
        life.live()?;
    }
    match life.start()? {
        Err(error) => Err(format!("it does not start: {error}")),
        Ok(_) => Ok(life.seen),
    }
}

fn run_many(durability: Durability, seeds: u64) -> Seen {
    let mut sum = Seen::default();
    for seed in 0..seeds {
        let seen = run(seed, durability, false).unwrap_or_else(|rule| {
            panic!("seed {seed}, {durability:?}: {rule}");
        });
        sum.add(&seen);
    }
    println!("{seeds} seeds, {durability:?}: {sum:?}");
    sum
}

#[test]
fn nothing_is_lost_between_the_folder_and_the_archive() {
    let sum = run_many(Durability::Synced, 700);
    // The seeds reach what they are for.
    assert!(sum.at_start > 400 && sum.at_work > 1_500, "{sum:?}");
    assert!(sum.archived > 2_000 && sum.used_again > 1_000 && sum.trimmed > 50, "{sum:?}");
    assert!(sum.closed > 200 && sum.scrubbed > 1_000 && sum.from_within > 2_000, "{sum:?}");
}

#[test]
fn without_syncs_the_end_may_be_lost_but_never_the_middle() {
    // Batches of one segment with a copy in between that a start had not finished.
    run(11_844, Durability::Os, false).unwrap();
    let sum = run_many(Durability::Os, 500);
    assert!(sum.lost > 1_000 && sum.closed > 100, "{sum:?}");
    assert!(sum.archived > 500 && sum.used_again > 200, "{sum:?}");
}

/// Every bit counts that is not padding: a scrub names the file, and the offset of the batch.
#[test]
fn a_scrub_names_the_file_and_the_batch_of_any_flipped_bit() {
    let (disk, mut rng) = (FaultyDisk::new(9), Rng::new(9));
    let mut history = History::default();
    let options = options(16 << 10);
    let opened = history.open_from(stores(&disk), options, 0).unwrap().unwrap();
    let (mut writer, mut under_way) = (opened.writer, UnderWay::default());
    while writer.sealed().unwrap().len() < 6 {
        drive_on(&mut writer, &mut history, &mut rng, (50, 900), &mut under_way);
        if let Some(job) = writer.archive() {
            job.run().unwrap();
        }
    }
    let files = disk.files();
    let (mut flipped, mut archived) = (0, 0);
    for sealed in writer.sealed().unwrap() {
        let name = onsale_journal::format::segment_name(sealed.sequence);
        for file in [name.clone(), format!("archive/{name}")] {
            let Some(bytes) = files.get(&file) else { continue };
            archived += usize::from(file.starts_with("archive"));
            // Behind the last record a mark may follow, which says nothing any more.
            for batch in batches(&file, bytes).iter().filter(|b| !b.is_mark || b.last < sealed.last)
            {
                let bit = batch.bytes.start * 8 + rng.below(batch.bytes.len() * 8);
                disk.flip(&file, bit);
                match &writer.scrub(sealed.sequence).run().found[..] {
                    [Error::Damaged { file: found, offset, .. }] => {
                        assert_eq!((found, *offset), (&file, batch.bytes.start as u64));
                    }
                    other => panic!("bit {bit} of {file}: {other:?}"),
                }
                disk.flip(&file, bit);
                flipped += 1;
            }
        }
        assert!(writer.scrub(sealed.sequence).run().found.is_empty());
    }
    assert!(flipped > 30 && archived > 3, "{flipped} bits, {archived} archived");
}

#[test]
fn reuse_before_the_archive_is_synced_is_found_out() {
    let broken = (0..60).filter(|seed| run(*seed, Durability::Synced, true).is_err()).count();
    assert!(broken > 20, "only {broken} of 60 seeds lose what was archived");
}
