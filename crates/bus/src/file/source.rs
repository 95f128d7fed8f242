//! Logs that are read as shards of a stream: the bus' own, and those of others, such as the engine's
//! journal, of which nothing is copied.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout_at};

use super::tail::Tail;
use crate::record::now_us;
use crate::{
    Entry, Error, From, Generation, Lag, Limits, Page, Position, Record, Records, ShardId,
    ShardInfo, StreamInfo, StreamName,
};

/// Pieces of a shard that are kept in memory, since readers at the tail want the same.
const PIECES_KEPT: usize = 3;
/// How much is read from a log at a time.
const PIECE_RECORDS: usize = 4_096;
const PIECE_BYTES: usize = 1 << 20;

/// A stream whose logs somebody else keeps: dense positions from 1 in each of its shards `0`, `1`, ….
pub trait Source: Send + Sync + 'static {
    /// Which history it is; another one whenever records that were durable are gone or replaced.
    fn generation(&self) -> Generation;

    /// How many shards it has.
    fn shards(&self) -> u32;

    /// The lowest position that can be read, one past the last where there is none.
    ///
    /// # Errors
    /// When the log can't say.
    fn first(&self, shard: u32) -> Result<u64, Error>;

    /// The last durable position, and how to be told that it rises. It ends when the log is closed.
    fn durable(&self, shard: u32) -> watch::Receiver<u64>;

    /// Hands out records in order from the one after `after`, at most `records` and about `bytes`, but at
    /// least one where one is durable. Called on a thread that may block.
    ///
    /// # Errors
    /// When the log can't be read.
    fn read(
        &self,
        shard: u32,
        after: u64,
        records: usize,
        bytes: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error>;

    /// Appends entries in their order, all or none; gives the position of the first once all are durable. Called on a thread
    /// that may block.
    ///
    /// # Errors
    /// [`Error::Refused`] by a log that is written in another way; [`Error::TimedOut`]: they may be there.
    fn append(&self, _shard: u32, _entries: Vec<Entry>) -> Result<u64, Error> {
        let why = "it is written by the engine alone".to_owned();
        Err(Error::Refused { what: "the stream".to_owned(), why })
    }

    /// Lets go of all up to a position; gives the lowest that can be read. Called on a thread that may block.
    ///
    /// # Errors
    /// [`Error::Refused`] by a log that has a retention of its own.
    fn trim(&self, _shard: u32, _upto: u64) -> Result<u64, Error> {
        let why = "the engine's retention says what is kept".to_owned();
        Err(Error::Refused { what: "the stream".to_owned(), why })
    }
}

/// What a record of a foreign log means to the bus.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// Its content.
    pub payload: &'a [u8],
    /// When it was written, in microseconds since 1970.
    pub written_at_us: u64,
}

/// A stream of the owner, with what was read from it last.
pub(super) struct Readable {
    pub(super) name: StreamName,
    pub(super) source: Arc<dyn Source>,
    shards: Vec<Shard>,
}

/// What readers of a shard share.
#[derive(Default)]
struct Shard {
    pieces: Mutex<VecDeque<Piece>>,
    tail: Tail,
}

/// Records of a shard that follow each other.
struct Piece {
    first: u64,
    records: Arc<Vec<Record>>,
}

impl Piece {
    fn has(&self, position: u64) -> bool {
        (self.first..self.first + self.records.len() as u64).contains(&position)
    }
}

impl Readable {
    pub(super) fn new(name: StreamName, source: Arc<dyn Source>) -> Readable {
        let shards = (0..source.shards()).map(|_| Shard::default()).collect();
        Readable { name, source, shards }
    }

    pub(super) fn describe(&self) -> Result<StreamInfo, Error> {
        let shard = |number: u32| {
            let first = self.source.first(number)?;
            let last = *self.source.durable(number).borrow();
            Ok(ShardInfo {
                id: ShardId::numbered(number),
                parents: Vec::new(),
                first: Position::from(first),
                last: Some(Position::from(if last < first { 0 } else { last })),
                ended: false,
            })
        };
        let shards = (0..self.source.shards()).map(shard).collect::<Result<_, Error>>()?;
        Ok(StreamInfo { name: self.name.clone(), generation: self.source.generation(), shards })
    }

    /// The number of a shard that it has.
    pub(super) fn number(&self, shard: &ShardId) -> Result<u32, Error> {
        let number: Option<u32> = shard.as_str().parse().ok();
        let known =
            |number: &u32| *number < self.source.shards() && ShardId::numbered(*number) == *shard;
        let missing = || Error::NoSuchShard { stream: self.name.clone(), shard: shard.clone() };
        number.filter(known).ok_or_else(missing)
    }

    pub(super) async fn read(
        &self,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let number = self.number(shard)?;
        let deadline = Instant::now() + limits.wait;
        let durable = self.source.durable(number);
        let last = *durable.borrow();
        let after = self.after(shard, number, from, last).await?;
        let more = self.shards[number as usize].tail.more(&durable, after);
        match timeout_at(deadline, more).await {
            Ok(true) => {}
            Ok(false) => return Err(closed(&self.name)),
            Err(_) => return Ok(self.page(Records::default(), after, after)),
        }
        let last = *durable.borrow();
        let records = self.records(number, after..last, limits).await?;
        let next = after + records.len() as u64;
        let last = (*durable.borrow()).max(next);
        Ok(self.page(records, next, last))
    }

    fn page(&self, records: Records, next: u64, last: u64) -> Page {
        let newest = records.last().map_or(0, |record| record.written_at_us);
        let ms = if last > next { now_us().saturating_sub(newest) / 1_000 } else { 0 };
        Page {
            records,
            next: From::After(Position::from(next)),
            ended: false,
            lag: Lag { records: Some(last - next), ms: Some(ms) },
            generation: self.source.generation(),
        }
    }

    /// The position after which reading begins.
    async fn after(
        &self,
        shard: &ShardId,
        number: u32,
        from: From,
        last: u64,
    ) -> Result<u64, Error> {
        let first = self.source.first(number)?;
        let (asked, after) = match from {
            From::Start => return Ok(first - 1),
            From::End => return Ok(last),
            From::At(time_us) => return self.before(number, time_us, first - 1..last).await,
            From::After(position) => (position, position.as_u64()),
            From::Record(position) => (position, position.as_u64().map(|at| at.saturating_sub(1))),
        };
        let (stream, shard) = (self.name.clone(), shard.clone());
        match after {
            Some(after) if after + 1 < first => {
                Err(Error::Gone { stream, shard, asked, begins_at: Position::from(first) })
            }
            Some(after) if after <= last => Ok(after),
            _ => Err(Error::Beyond { stream, shard, asked, last: Position::from(last) }),
        }
    }

    /// The position before the first record that was written at this time or later: times never fall along
    /// a shard, so halving the range finds it.
    async fn before(&self, number: u32, time_us: u64, range: Range<u64>) -> Result<u64, Error> {
        let source = Arc::clone(&self.source);
        blocking(move || {
            let Range { start: mut low, end: mut high } = range;
            while low < high {
                let middle = low + (high - low) / 2;
                let mut earlier = false;
                source.read(number, middle, 1, 1, &mut |_, cut| {
                    earlier = cut.written_at_us < time_us
                })?;
                if earlier { low = middle + 1 } else { high = middle }
            }
            Ok(low)
        })
        .await
    }

    /// Records after a position that is below the durable one: from memory, or read once for all who wait.
    /// None past the end of the range, though the log may have more already: where the next read begins would be
    /// after the last position that was told.
    async fn records(
        &self,
        number: u32,
        range: Range<u64>,
        limits: Limits,
    ) -> Result<Records, Error> {
        let after = range.start;
        let mut pieces = self.shards[number as usize].pieces.lock().await;
        if let Some(piece) = pieces.iter().find(|piece| piece.has(after + 1)) {
            return Ok(part(piece, after, limits));
        }
        let source = Arc::clone(&self.source);
        let piece = blocking(move || load(&*source, number, range)).await?;
        if piece.records.is_empty() {
            return Err(Error::Damaged {
                what: format!("{}/{number}", self.name),
                why: format!("there is no record after position {after}, though there should be"),
            });
        }
        let records = part(&piece, after, limits);
        pieces.truncate(PIECES_KEPT - 1);
        pieces.push_front(piece);
        Ok(records)
    }
}

pub(super) fn closed(stream: &StreamName) -> Error {
    Error::Unavailable { what: format!("stream {stream}"), why: "its log is closed".into() }
}

/// Runs what may wait for the disk where that harms nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let broken =
        |error| Error::Unavailable { what: "a helper thread".into(), why: format!("{error}") };
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

/// Reads a piece of a log into one buffer, of which the records are parts.
fn load(source: &dyn Source, number: u32, range: Range<u64>) -> Result<Piece, Error> {
    let (after, count) = (range.start, PIECE_RECORDS.min((range.end - range.start) as usize));
    let mut bytes = BytesMut::with_capacity(PIECE_BYTES / 4);
    let mut places = Vec::new();
    source.read(number, after, count, PIECE_BYTES, &mut |position, cut| {
        bytes.extend_from_slice(cut.key);
        bytes.extend_from_slice(cut.payload);
        places.push((position, cut.key.len(), cut.payload.len(), cut.written_at_us));
    })?;
    let mut bytes = bytes.freeze();
    let mut take = |length: usize| -> Bytes { bytes.split_to(length) };
    let record = |(position, key, payload, written_at_us)| Record {
        position: Position::from(position),
        key: take(key),
        payload: take(payload),
        written_at_us,
    };
    let records = Arc::new(places.into_iter().map(record).collect());
    Ok(Piece { first: after + 1, records })
}

/// What of a piece follows a position and fits the limits, one record at least.
fn part(piece: &Piece, after: u64, limits: Limits) -> Records {
    let start = usize::try_from(after + 1 - piece.first).expect("it is in the piece");
    let mut end = start;
    let mut bytes = 0;
    for record in piece.records[start..].iter().take(limits.records) {
        bytes += record.key.len() + record.payload.len();
        if bytes > limits.bytes && end > start {
            break;
        }
        end += 1;
    }
    Records::part(Arc::clone(&piece.records), start..end)
}
