//! What a run comes to.

use std::fmt;

use super::rule::Broken;

/// How much happened in a run that broke no rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps of the scheduler.
    pub steps: u64,
    /// Requests that reached a shard.
    pub requests: u64,
    /// Answers that left a shard.
    pub answers: u64,
    /// Commands that changed something, as an answer said.
    pub changes: u64,
    /// Commands that were answered by an old record.
    pub repeats: u64,
    /// Answers that said that nothing is known or possible.
    pub unavailable: u64,
    /// Ends of the server by a kill.
    pub kills: u64,
    /// Ends by a power loss.
    pub power_losses: u64,
    /// Starts that a fault ended.
    pub broken_starts: u64,
    /// Calls to the disk that failed, full disks included.
    pub disk_faults: u64,
    /// Jumps of the wall's clock.
    pub clock_jumps: u64,
    /// Damage at rest that was tried on a copy.
    pub damages: u64,
    /// Records that no answer had spoken of, lost in a crash, and kept.
    pub cut: u64,
    /// See `cut`.
    pub kept: u64,
    /// Starts of a shard from a snapshot.
    pub from_snapshots: u64,
    /// Pieces of upkeep.
    pub upkeep: u64,
    /// Of them: those with segments in the archive.
    pub with_archive: u64,
    /// Power losses of a server that does not sync.
    pub losses_without_syncs: u64,
    /// Starts of a shard, without syncs, in a later generation than the first.
    pub later_generations: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: &Tally) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.answers += other.answers;
        self.changes += other.changes;
        self.repeats += other.repeats;
        self.unavailable += other.unavailable;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.broken_starts += other.broken_starts;
        self.disk_faults += other.disk_faults;
        self.clock_jumps += other.clock_jumps;
        self.damages += other.damages;
        self.cut += other.cut;
        self.kept += other.kept;
        self.from_snapshots += other.from_snapshots;
        self.upkeep += other.upkeep;
        self.with_archive += other.with_archive;
        self.losses_without_syncs += other.losses_without_syncs;
        self.later_generations += other.later_generations;
    }
}

/// A run that broke a rule.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which seed.
    pub seed: u64,
    /// Which rule, and how.
    pub broken: Broken,
    /// What led there: the last lines.
    pub story: Vec<String>,
    /// Whether the same seed broke the same rule again.
    pub replays: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, the last {} lines of its story:", self.seed, self.story.len())?;
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        if !self.replays {
            writeln!(
                f,
                "  (another story than the first time: something is not decided by the seed)"
            )?;
        }
        writeln!(f, "seed {}: {}", self.seed, self.broken)?;
        write!(
            f,
            "again: ONSALE_SEED={} cargo test -p onsale-sim --test simulation -- --nocapture",
            self.seed
        )
    }
}
