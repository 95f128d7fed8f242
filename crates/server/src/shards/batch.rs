//! Commands that are handed over together, and what comes back.
//!
//! All that a batch needs is in it from the start, and is used again by the next one: fresh memory
//! costs more than what is done with it.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use onsale_core::{Command, Event, Keys};
use onsale_engine::{Answer, LOOK_AHEAD, Reply, Shard};

/// Batches that are kept to be used again: a megabyte each, at the most.
const KEPT_MAX: usize = 8;
/// A text that is larger is not kept.
const KEPT_TEXT_BYTES_MAX: usize = 1 << 20;

/// Writes what is told of a fact, the record at a position of a shard. False where that is none of
/// its business: then it has written nothing.
pub type Tell = fn(&mut Vec<u8>, Ground, &Event) -> bool;

/// What an answer stands on.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// The shard that answers.
    pub shard: u16,
    /// The position.
    pub position: u64,
    /// How durable.
    pub durability: &'static str,
}

/// Commands for events of one shard, in their order.
#[derive(Debug)]
pub struct Batch {
    /// What to do.
    pub commands: Vec<Command>,
    /// How many of them the shard has taken.
    pub(super) taken: usize,
    /// The keys of those that were taken or come next.
    keys: Vec<Keys>,
    /// What it replied to each, as far as that may be known.
    pub replies: Vec<Reply>,
    /// What was told as it was decided. It stands only where the reply says so.
    pub text: Vec<u8>,
    /// For each command, where in that.
    told: Vec<Range<u32>>,
    tell: Tell,
}

impl Batch {
    /// Without commands yet.
    #[must_use]
    pub fn new(tell: Tell) -> Batch {
        let (commands, replies) = (Vec::new(), Vec::new());
        let (keys, text, told) = (Vec::new(), Vec::new(), Vec::new());
        Batch { commands, taken: 0, keys, replies, text, told, tell }
    }

    /// What was told of the command with this number.
    #[must_use]
    pub fn told(&self, number: usize) -> &[u8] {
        let Range { start, end } = self.told[number];
        &self.text[start as usize..end as usize]
    }

    /// Lets a shard look at the next commands, where it has not yet.
    pub(super) fn look_ahead<T>(&mut self, shard: &Shard<T>) {
        if self.keys.len() == self.taken {
            let end = self.commands.len().min(self.taken + LOOK_AHEAD);
            shard.look_ahead(&self.commands[self.taken..end], &mut self.keys);
        }
    }

    /// Hands the next command to `submit`, with its keys and with what is to be told of it.
    pub(super) fn next(
        &mut self,
        submit: impl FnOnce(&Command, &Keys, &mut dyn FnMut(Ground, &Event) -> bool),
    ) {
        let (text, tell) = (&mut self.text, self.tell);
        let start = text.len() as u32;
        let keys = &self.keys[self.taken];
        submit(&self.commands[self.taken], keys, &mut |ground, event| tell(text, ground, event));
        self.told.push(start..self.text.len() as u32);
        self.taken += 1;
    }
}

impl Batch {
    /// Takes the reply to the next command of a batch whose commands were carried out elsewhere.
    pub(super) fn answered(&mut self, mut reply: Reply, ground: Ground) {
        let start = self.text.len() as u32;
        if let Answer::Done(event) = &reply.answer
            && (self.tell)(&mut self.text, ground, event)
        {
            reply.answer = Answer::Told;
        }
        self.told.push(start..self.text.len() as u32);
        self.replies.push(reply);
        self.taken += 1;
    }
}

/// Batches to be used again.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "they are handed on as they are")]
pub struct Kept(Mutex<Vec<Box<Batch>>>);

impl Kept {
    /// An empty batch.
    pub fn take(&self, tell: Tell) -> Box<Batch> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut batch = kept.unwrap_or_else(|| Box::new(Batch::new(tell)));
        batch.tell = tell;
        batch
    }

    /// Keeps a batch that is done with.
    pub fn give_back(&self, mut batch: Box<Batch>) {
        batch.commands.clear();
        batch.replies.clear();
        batch.told.clear();
        batch.keys.clear();
        batch.text.clear();
        batch.taken = 0;
        if batch.text.capacity() > KEPT_TEXT_BYTES_MAX {
            batch.text = Vec::new();
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(batch);
        }
    }
}
