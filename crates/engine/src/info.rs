//! What anybody may know of a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use onsale_core::{CodeKey, Time};
use onsale_journal::Reader;

use crate::upkeep::UpkeepFigures;

/// How durable an answer's position is when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Written and synced to the disk.
    #[default]
    Synced,
    /// The same, and on the disk of another machine, too; in Redis: in the memory of as many replicas as are waited for.
    Replicated,
    /// Handed to the operating system: safe when the process ends, not when the machine does.
    Os,
    /// In Redis' append-only file, and synced.
    Always,
    /// In Redis' append-only file, which is synced every second.
    Everysec,
    /// In Redis' memory only.
    Memory,
}

impl Durability {
    /// Its name in a receipt.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Synced => "synced",
            Durability::Replicated => "replicated",
            Durability::Os => "os",
            Durability::Always => "always",
            Durability::Everysec => "everysec",
            Durability::Memory => "memory",
        }
    }
}

/// The generation of a log. It does not change while the log is open, but where it is kept in Redis: there it grows when
/// acknowledged records may have been lost. Clones are one.
#[derive(Clone, Debug)]
pub struct Generation(Arc<AtomicU32>);

impl Generation {
    /// One that has this number.
    #[must_use]
    pub fn new(number: u32) -> Generation {
        Generation(Arc::new(AtomicU32::new(number)))
    }

    /// Its number by now.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Raises it; true: it was lower.
    pub fn raise(&self, to: u32) -> bool {
        self.0.fetch_max(to, Ordering::AcqRel) < to
    }
}

/// What anybody may know of a shard without asking its writer.
#[derive(Clone)]
pub struct ShardInfo {
    /// Which, from 0.
    pub shard: u16,
    /// Of how many.
    pub shards: u16,
    /// Id of the log.
    pub log: u128,
    /// The secret behind codes and digests.
    pub key: CodeKey,
    /// The log's generation.
    pub generation: Generation,
    /// How durable its answers are.
    pub durability: Durability,
    /// Reads its durable records.
    pub reader: Reader,
}

/// Figures of a shard, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardFigures {
    /// The log's generation.
    pub generation: u32,
    /// Highest position applied.
    pub position: u64,
    /// Highest position durable.
    pub durable: u64,
    /// Answers that wait for their position.
    pub waiting: usize,
    /// Whether a fault stopped it.
    pub stopped: bool,
    /// Whether only releases, payments and cancellations find room on the disk.
    pub storage_full: bool,
    /// Events of organizers.
    pub events: usize,
    /// Live holds.
    pub holds: usize,
    /// Orders, of any state.
    pub orders: usize,
    /// Bytes held by the state's tables.
    pub state_bytes: usize,
    /// Bytes held by what is known of command ids beside the state.
    pub ids_bytes: usize,
    /// Since when command ids are known, a day back at most.
    pub ids_since: Time,
    /// The position of the newest snapshot; 0: there is none.
    pub snapshot: u64,
    /// What the upkeep has done and found since the start.
    pub upkeep: UpkeepFigures,
}
