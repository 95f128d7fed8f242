//! Drives one shard as the server does, on the thread that calls: batches are written on a
//! helper thread while the next one fills, spare segments are made on another.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, ensure};
use onsale_core::{CodeKey, Command, Keys, Time};
use onsale_engine::{Answer, Folder, Reply, Request, Seeds, Shard};
use onsale_journal::{
    Durability, FileStorage, Options, SpareDone, SpareJob, WriteDone, WriteJob, Writer,
};

/// Size of the segments: as `onsale serve` has it.
pub const SEGMENT_BYTES: u64 = 32 << 20;
/// Commands to a batch.
pub const BATCH: usize = 1_000;
/// What a folder of a benchmark begins with.
pub const SEEDS: Seeds = Seeds { log: 1, key: CodeKey(*b"sixteen bytes ok") };

/// A new journal in this folder, by itself.
///
/// # Errors
/// It can't be made.
pub fn new_journal(folder: &Path) -> anyhow::Result<Writer> {
    new_journal_of(folder, SEGMENT_BYTES)
}

/// The same with segments of this size.
///
/// # Errors
/// It can't be made.
pub fn new_journal_of(folder: &Path, segment_bytes: u64) -> anyhow::Result<Writer> {
    journal(folder, segment_bytes, Durability::Synced)
}

/// The same that leaves it to the operating system when a batch comes to the disk.
///
/// # Errors
/// It can't be made.
pub fn new_journal_unsynced(folder: &Path) -> anyhow::Result<Writer> {
    journal(folder, SEGMENT_BYTES, Durability::Os)
}

fn journal(folder: &Path, segment_bytes: u64, durability: Durability) -> anyhow::Result<Writer> {
    let storage = Arc::new(FileStorage::open(folder)?);
    let options = Options { segment_bytes, log: 1, shard: 0, generation: 1, durability };
    Ok(onsale_journal::open(storage, options, 0, &mut |_, _, _| Ok(()))?.writer)
}

/// A thread that carries out jobs one after the other. It ends when it is dropped.
pub struct Helper<Job, Done> {
    jobs: Sender<Job>,
    done: Receiver<Done>,
    under_way: usize,
}

impl<Job: Send + 'static, Done: Send + 'static> Helper<Job, Done> {
    /// Starts it.
    pub fn start(run: impl Fn(Job) -> Done + Send + 'static) -> Helper<Job, Done> {
        let (jobs, todo) = channel();
        // Each job is waited for, or the benchmark ends: no more than two wait here.
        let (results, done) = channel();
        std::thread::spawn(move || {
            for job in todo {
                if results.send(run(job)).is_err() {
                    break;
                }
            }
        });
        Helper { jobs, done, under_way: 0 }
    }

    /// Gives it a job.
    pub fn give(&mut self, job: Job) {
        self.jobs.send(job).expect("the helper ends only after its owner");
        self.under_way += 1;
    }

    /// Waits for the job under way, if one is.
    pub fn wait(&mut self) -> Option<Done> {
        self.under_way = self.under_way.checked_sub(1)?;
        Some(self.done.recv().expect("the helper ends only after its owner"))
    }

    /// What is done already.
    pub fn poll(&mut self) -> Option<Done> {
        let done = self.done.try_recv().ok()?;
        self.under_way -= 1;
        Some(done)
    }

    /// Whether a job is under way.
    pub fn is_busy(&self) -> bool {
        self.under_way > 0
    }
}

/// One shard and its helpers.
pub struct Drive {
    /// The shard.
    pub shard: Shard<()>,
    /// The folder's lock.
    _folder: Folder,
    writer: Helper<WriteJob, WriteDone>,
    spares: Helper<SpareJob, SpareDone>,
    open: usize,
    now: Time,
    /// Answers that granted what was asked.
    pub granted: u64,
}

impl Drive {
    /// Opens a folder of one shard, or makes it.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(data: &Path, now: Time) -> anyhow::Result<Drive> {
        Drive::open_with(data, now, &onsale_engine::Options::new(SEGMENT_BYTES))
    }

    /// The same, kept in another way.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open_with(
        data: &Path,
        now: Time,
        options: &onsale_engine::Options,
    ) -> anyhow::Result<Drive> {
        let folder = Folder::open(data, 1, &SEEDS)?;
        let shard = folder.shards(options, &SEEDS, now)?.pop().context("a folder of one")?;
        let (writer, spares) = (Helper::start(WriteJob::run), Helper::start(SpareJob::run));
        let mut drive = Drive { shard, _folder: folder, writer, spares, open: 0, now, granted: 0 };
        drive.spare()?;
        drive.finish_spares()?;
        Ok(drive)
    }

    /// Takes a command; every [`BATCH`] make a batch.
    ///
    /// # Errors
    /// The disk fails, or something was not granted.
    pub fn submit(&mut self, now: Time, command: Box<Command>) -> anyhow::Result<()> {
        self.now = now;
        while !self.shard.ready() {
            self.cycle()?;
        }
        self.shard.submit(now, Request::Command(command), ());
        self.open += 1;
        if self.open >= BATCH {
            self.cycle()?;
        }
        Ok(())
    }

    /// Takes a command of a batch, with its keys from [`Shard::look_ahead`], as [`Drive::submit`] does.
    ///
    /// # Errors
    /// The disk fails, or something was not granted.
    pub fn submit_told(&mut self, now: Time, command: &Command, keys: &Keys) -> anyhow::Result<()> {
        self.now = now;
        while !self.shard.ready() {
            self.cycle()?;
        }
        self.shard.submit_telling(now, command, keys, (), |_, _| true);
        self.open += 1;
        if self.open >= BATCH {
            self.cycle()?;
        }
        Ok(())
    }

    /// Ends a slice of what is due; whether more may be.
    pub fn expire(&mut self, now: Time) -> bool {
        self.now = now;
        self.shard.expire(now)
    }

    /// Waits for the batch that is being written, and gives out the open one.
    ///
    /// # Errors
    /// The disk fails, or something was not granted.
    pub fn cycle(&mut self) -> anyhow::Result<()> {
        if let Some(done) = self.writer.wait() {
            self.shard.finish(done)?;
            self.release()?;
        }
        if let Some(job) = self.shard.seal(self.now) {
            self.writer.give(job);
        } else if self.spares.is_busy() {
            // It waits for room.
            self.finish_spares()?;
        }
        self.open = 0;
        self.spare()
    }

    /// Makes all durable that was submitted.
    ///
    /// # Errors
    /// The disk fails, or something was not granted.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.cycle()?;
        while self.writer.is_busy() {
            self.cycle()?;
        }
        Ok(())
    }

    /// As [`Drive::flush`], and lets the helpers end what they do.
    ///
    /// # Errors
    /// The disk fails, or something was not granted.
    pub fn rest(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        self.finish_spares()
    }

    /// Does all upkeep that there is now, which the server has a thread for.
    ///
    /// # Errors
    /// A piece of it failed.
    pub fn keep_up(&mut self) -> anyhow::Result<()> {
        while let Some(job) = self.shard.upkeep(self.now) {
            let notes = self.shard.upkept(job.run());
            ensure!(notes.is_empty(), "{notes:?}");
        }
        Ok(())
    }

    fn release(&mut self) -> anyhow::Result<()> {
        while let Some(((), Reply { answer, .. })) = self.shard.release() {
            ensure!(matches!(answer, Answer::Done(_) | Answer::Told), "not granted: {answer:?}");
            self.granted += 1;
        }
        Ok(())
    }

    fn spare(&mut self) -> anyhow::Result<()> {
        while let Some(done) = self.spares.poll() {
            self.shard.prepared(self.now, done)?;
        }
        if let Some(job) = self.shard.prepare() {
            self.spares.give(job);
        }
        Ok(())
    }

    fn finish_spares(&mut self) -> anyhow::Result<()> {
        while let Some(done) = self.spares.wait() {
            self.shard.prepared(self.now, done)?;
            if let Some(job) = self.shard.prepare() {
                self.spares.give(job);
            }
        }
        Ok(())
    }
}
