//! A shard whose log is kept elsewhere, in a database, with its files as a copy.
//!
//! Somebody else may have become the writer there meanwhile. So an answer, a refusal or a view too, waits for a round: a
//! batch that is appended there, or an empty check that this shard is still the writer, begun after the answer was made.
//! Until a shard is the writer it follows: it takes batches as the writer has appended them.

use onsale_codec as codec;
use onsale_journal::Records;

use super::Shard;
use crate::ids;
use crate::info::Durability;
use crate::upkeep::build;

/// Rounds to where the log is kept. One at most is under way.
pub(super) struct Rounds {
    elsewhere: bool,
    begun: u64,
    done: u64,
}

impl Rounds {
    pub fn new(elsewhere: bool) -> Rounds {
        Rounds { elsewhere, begun: 0, done: 0 }
    }

    /// The round that an answer which is made now waits for; 0: none.
    pub fn next(&self) -> u64 {
        if self.elsewhere { self.begun + 1 } else { 0 }
    }

    pub fn begin(&mut self) {
        self.begun += 1;
    }

    /// The one that is under way went well.
    pub fn end(&mut self) {
        self.done = self.begun;
    }

    pub fn is_done(&self, round: u64) -> bool {
        round <= self.done
    }
}

impl<T> Shard<T> {
    /// Begins a round without a batch, to be called where [`Shard::seal`] gave none: whether it is wanted, by answers
    /// that wait or by the caller who wants its lease renewed. [`Shard::checked`] takes its result; no batch is
    /// sealed before that.
    pub fn check(&mut self, renew: bool) -> bool {
        let wanted = self.rounds.elsewhere
            && self.stopped.is_none()
            && self.rounds.begun == self.rounds.done
            && (renew || !self.waiting.is_empty());
        if wanted {
            self.rounds.begin();
        }
        wanted
    }

    /// Takes the result of such a round. After an error the shard has stopped, as after [`Shard::finish`].
    pub fn checked(&mut self, result: Result<(), String>) {
        match result {
            Ok(()) => self.rounds.end(),
            Err(reason) => self.stop(reason),
        }
    }

    /// Says how durable its answers are from now on, which only who keeps the log knows.
    pub fn promise(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Where its copy ends: the last position, and the chain after it.
    #[must_use]
    pub fn end(&self) -> (u64, u32) {
        (self.writer.last_position(), self.writer.chain())
    }

    /// Takes a batch that another has appended where the log is kept: writes it to the copy and applies its records.
    /// `chain` is what the writer had after it. It waits for the disk.
    ///
    /// # Errors
    /// What is wrong with it, or that the disk failed: the shard is of no use any more.
    pub fn follow(&mut self, first: u64, payload: &[u8], chain: u32) -> Result<(), String> {
        let last = self.writer.last_position();
        if first != last + 1 || !self.writer.is_empty() {
            return Err(format!("a batch begins at position {first}, but the copy ends at {last}"));
        }
        self.make_room(payload.len()).map_err(|error| error.to_string())?;
        if !self.writer.fits(payload.len()) {
            let bytes = payload.len();
            return Err(format!(
                "the batch at position {first} has {bytes} bytes, more than a batch can have with this segment_mib: \
                 let all servers of a log have the same"
            ));
        }
        for record in Records::new(payload) {
            let event = codec::decode(record).map_err(|error| error.to_string())?;
            let keys = self.sale.event_keys(&event);
            let position = self.writer.append(&mut |buffer| buffer.extend_from_slice(record));
            build::applied(&mut self.sale, &self.reader, &mut |sale| {
                sale.apply_with(position, &event, &keys)
            })
            .map_err(|error| format!("position {position}: {error}"))?;
            if let Some(key) = keys.remembered() {
                self.ids.push(ids::short_key(self.sale.key(), key), position, event.at);
            }
        }
        let Some(job) = self.writer.seal() else {
            return Err(format!("the batch at position {first} holds no record"));
        };
        if job.chain() != chain {
            return Err(format!(
                "the batch at position {first} does not follow what the copy holds"
            ));
        }
        self.writer.finish(job.run()).map_err(|error| error.to_string())?;
        if last == 0 {
            self.began();
        }
        Ok(())
    }
}
