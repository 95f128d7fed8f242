//! Records on their way to the state: they are decoded on a thread of their own while those before
//! them are applied. Each of the two empties the other's caches, and a start has a core to spare.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

use onsale_codec as codec;
use onsale_core::{CodeKey, Event, KeyMaker, Keys, Sale};
use onsale_journal::Earlier;
use onsale_planted::{Bug, is};

use crate::ids::{self, Ids};
use crate::shard::LOOK_AHEAD;
use crate::upkeep::build;

/// Records that go over together. As events they are some hundred kilobytes: they stay in the cache.
const BLOCK_RECORDS: usize = 256;
/// Blocks that are decoded ahead.
const BLOCKS_AHEAD: usize = 2;

/// Some records that follow each other.
#[derive(Default)]
struct Block {
    first: u64,
    /// The records, one after the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// What they say; it ends with the first that says nothing.
    events: Vec<Result<(Event, Keys), String>>,
}

impl Block {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.events.clear();
    }

    fn decode(&mut self, keys: &mut KeyMaker) {
        let mut start = 0;
        for end in &self.ends {
            let event = codec::decode(&self.bytes[start..*end]).map_err(|e| e.to_string());
            let failed = event.is_err();
            self.events.push(event.map(|event| {
                let keys = keys.keys(&event);
                (event, keys)
            }));
            if failed {
                return;
            }
            start = *end;
        }
    }
}

/// The thread that decodes, and the way there and back.
struct Decoder {
    todo: SyncSender<Block>,
    done: Receiver<Block>,
}

/// Applies records to a state.
pub(super) struct Replay<'a, 'scope, 'env> {
    sale: &'a mut Sale,
    ids: &'a mut Ids,
    /// Position of the snapshot that it begins at.
    from: u64,
    scope: &'scope Scope<'scope, 'env>,
    /// None before the first block is full: a short log needs none.
    decoder: Option<Decoder>,
    key: CodeKey,
    open: Block,
    /// Blocks that the decoder has.
    away: usize,
    /// Blocks to be used again.
    idle: Vec<Block>,
}

impl<'a, 'scope, 'env> Replay<'a, 'scope, 'env> {
    pub fn new(
        sale: &'a mut Sale,
        ids: &'a mut Ids,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Replay<'a, 'scope, 'env> {
        let (from, key) = (sale.position(), sale.key());
        let (open, idle) = (Block::default(), Vec::new());
        Replay { sale, ids, from, scope, decoder: None, key, open, away: 0, idle }
    }

    /// Takes the next record. It may be applied only with a later one; once the last was taken, all are.
    ///
    /// # Errors
    /// What is wrong with it, or with one before it.
    pub fn take(
        &mut self,
        position: u64,
        record: &[u8],
        earlier: &dyn Earlier,
    ) -> Result<(), String> {
        if self.open.ends.is_empty() {
            self.open.first = position;
        }
        self.open.bytes.extend_from_slice(record);
        self.open.ends.push(self.open.bytes.len());
        let is_last = position == earlier.last();
        if is_last && self.decoder.is_none() {
            let mut block = std::mem::take(&mut self.open);
            block.decode(&mut KeyMaker::new(self.key));
            return self.apply(&block, earlier);
        }
        if is_last || self.open.ends.len() == BLOCK_RECORDS {
            self.hand_over()?;
        }
        while self.away > if is_last { 0 } else { BLOCKS_AHEAD } {
            let decoder = self.decoder.as_ref().expect("blocks are there only while it is");
            let mut block = decoder.done.recv().map_err(|_| "the decoder has ended")?;
            self.away -= 1;
            self.apply(&block, earlier)?;
            block.clear();
            self.idle.push(block);
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), String> {
        let (scope, key) = (self.scope, self.key);
        let decoder = self.decoder.get_or_insert_with(|| {
            let (todo, blocks) = sync_channel::<Block>(BLOCKS_AHEAD + 1);
            let (results, done) = sync_channel(BLOCKS_AHEAD + 1);
            scope.spawn(move || {
                let mut keys = KeyMaker::new(key);
                for mut block in blocks {
                    block.decode(&mut keys);
                    if results.send(block).is_err() {
                        break;
                    }
                }
            });
            Decoder { todo, done }
        });
        let block = std::mem::replace(&mut self.open, self.idle.pop().unwrap_or_default());
        self.away += 1;
        decoder.todo.send(block).map_err(|_| "the decoder has ended".to_owned())
    }

    fn apply(&mut self, block: &Block, earlier: &dyn Earlier) -> Result<(), String> {
        let mut position = block.first;
        for events in block.events.chunks(LOOK_AHEAD) {
            for (event, keys) in events.iter().flatten() {
                self.sale.touch_event(event, keys);
            }
            self.sale.touch_leaving(events.len());
            for event in events {
                self.apply_one(position, event, earlier)
                    .map_err(|detail| format!("position {position}: {detail}"))?;
                position += 1;
            }
        }
        Ok(())
    }

    fn apply_one(
        &mut self,
        position: u64,
        event: &Result<(Event, Keys), String>,
        earlier: &dyn Earlier,
    ) -> Result<(), String> {
        let (event, keys) = event.as_ref().map_err(String::clone)?;
        if is(Bug::ReplaySkipsRecord) && self.from > 0 && position == self.from + 1 {
            return Ok(());
        }
        build::applied(self.sale, earlier, &mut |sale| sale.apply_with(position, event, keys))?;
        if let Some(key) = keys.remembered() {
            self.ids.push(ids::short_key(self.sale.key(), key), position, event.at);
        }
        Ok(())
    }
}
