//! Places in shards: iterators, and records that were fetched and not yet given.
//!
//! Kinesis reads through iterators, which die after five minutes; a position outlives them. So a
//! place holds both, and gets a new iterator from its position when the old one is refused.

use std::collections::VecDeque;
use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;
use tokio::time::Instant;

use super::KinesisBus;
use super::call::Failure;
use crate::record::now_us;
use crate::{Error, From, Generation, Position, Record, ShardId, StreamName};

/// The most places that are kept.
const PLACES_MAX: usize = 1_024;
/// The most bytes of fetched records that are kept for readers who took less than was fetched.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// How long an unused place is kept: well below the shortest retention, so that what follows a place that is
/// kept can't have gone.
const KEPT_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Where somebody is in a shard.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) stream: StreamName,
    pub(super) shard: ShardId,
    pub(super) generation: Generation,
    /// Where the first of `rest` is, or what will come.
    pub(super) from: From,
    pub(super) rest: VecDeque<Record>,
    /// None: the shard has ended, and `rest` is the last of it.
    pub(super) iterator: Option<String>,
    /// How far the iterator is behind the shard's end.
    pub(super) behind_ms: u64,
    /// The record that must come first, or something is gone; whether it is to be given.
    expected: Option<(Position, bool)>,
    /// Records from before this time are passed over.
    since_us: u64,
    /// When the last record was written, as it is told.
    written_at_us: u64,
    used: Instant,
}

impl Place {
    /// Begins reading a shard.
    pub(super) async fn open(
        bus: &KinesisBus,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        patience: Duration,
    ) -> Result<Place, Error> {
        let generation = bus.generation(stream).await?;
        let now = now_us();
        let mut place = Place {
            stream: stream.clone(),
            shard: shard.clone(),
            generation,
            from: match from {
                From::After(Position::ZERO) | From::Record(Position::ZERO) => From::Start,
                // Should the iterator be lost before there is a position, the time is what is left.
                From::End => From::At(now),
                other => other,
            },
            rest: VecDeque::new(),
            iterator: None,
            behind_ms: 0,
            expected: None,
            since_us: 0,
            written_at_us: 0,
            used: Instant::now(),
        };
        place.expected = match place.from {
            From::After(position) => Some((position, false)),
            From::Record(position) => Some((position, true)),
            _ => None,
        };
        place.turn_on(bus, from == From::End, patience).await?;
        Ok(place)
    }

    /// Gets an iterator for where the place is.
    pub(super) async fn renew(
        &mut self,
        bus: &KinesisBus,
        patience: Duration,
    ) -> Result<(), Error> {
        self.turn_on(bus, false, patience).await
    }

    async fn turn_on(
        &mut self,
        bus: &KinesisBus,
        at_end: bool,
        patience: Duration,
    ) -> Result<(), Error> {
        use ShardIteratorType::{
            AfterSequenceNumber, AtSequenceNumber, AtTimestamp, Latest, TrimHorizon,
        };
        let (kind, position, time) = match (self.from, self.expected) {
            _ if at_end => (Latest, None, None),
            (_, Some((position, _))) => (AtSequenceNumber, Some(position), None),
            (From::After(position), None) => (AfterSequenceNumber, Some(position), None),
            (From::Record(position), None) => (AtSequenceNumber, Some(position), None),
            (From::At(time), None) => {
                self.since_us = time;
                // Kinesis refuses a time that is not yet.
                let kind = if time > now_us() { Latest } else { AtTimestamp };
                let ms = i64::try_from(time / 1_000).unwrap_or(i64::MAX);
                let time = (kind == AtTimestamp).then(|| DateTime::from_millis(ms));
                (kind, None, time)
            }
            (From::Start | From::End, None) => (TrimHorizon, None, None),
        };
        let answer = bus
            .try_call_for("GetShardIterator", Some(&self.stream), patience, || {
                bus.inner
                    .client
                    .get_shard_iterator()
                    .stream_name(self.stream.as_str())
                    .shard_id(self.shard.as_str())
                    .shard_iterator_type(kind.clone())
                    .set_starting_sequence_number(position.map(|position| position.to_string()))
                    .set_timestamp(time)
                    .send()
            })
            .await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure::Missing(_)) => return Err(self.missing(bus).await),
            Err(failure) => return Err(failure.into_error()),
        };
        self.iterator = answer.shard_iterator().map(str::to_owned);
        Ok(())
    }

    /// Kinesis says the same of a shard and of a stream that is not there: which of them it is.
    pub(super) async fn missing(&self, bus: &KinesisBus) -> Error {
        match bus.fresh_generation(&self.stream).await {
            Ok(_) => Error::NoSuchShard { stream: self.stream.clone(), shard: self.shard.clone() },
            Err(error) => {
                bus.forget_generation(&self.stream);
                error
            }
        }
    }

    /// Takes in what a call gave.
    ///
    /// # Errors
    /// [`Error::Gone`] when it does not begin where it should.
    pub(super) fn take_in(&mut self, answer: GetRecordsOutput) -> Result<(), Error> {
        self.iterator = answer.next_shard_iterator;
        let behind = answer.millis_behind_latest.unwrap_or(0);
        self.behind_ms = u64::try_from(behind).unwrap_or(0);
        for record in answer.records {
            let position: Position = record.sequence_number.parse()?;
            if let Some((expected, wanted)) = self.expected {
                if position > expected {
                    return Err(Error::Gone {
                        stream: self.stream.clone(),
                        shard: self.shard.clone(),
                        asked: expected,
                        begins_at: position,
                    });
                }
                self.expected = None;
                if !wanted {
                    continue;
                }
            }
            let arrived = record.approximate_arrival_timestamp;
            let ms = arrived.and_then(|time| time.to_millis().ok()).unwrap_or(0);
            // The time is approximate by its name; along a shard it must not fall.
            self.written_at_us =
                self.written_at_us.max(u64::try_from(ms).unwrap_or(0).saturating_mul(1_000));
            if self.written_at_us < self.since_us {
                continue;
            }
            self.rest.push_back(Record {
                position,
                key: record.partition_key.unwrap_or_default().into_bytes().into(),
                payload: record.data.into_inner().into(),
                written_at_us: self.written_at_us,
            });
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.rest.iter().map(|record| record.key.len() + record.payload.len()).sum()
    }
}

/// Places that nobody reads from at the moment, the longest unused first.
#[derive(Debug, Default)]
pub(super) struct Places {
    all: VecDeque<(Place, usize)>,
    bytes: usize,
}

impl Places {
    /// A place that was kept, if there is one.
    pub(super) fn take(
        &mut self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        generation: Generation,
    ) -> Option<Place> {
        while self.all.front().is_some_and(|(place, _)| place.used.elapsed() > KEPT_TIME_MAX) {
            self.drop_oldest();
        }
        let is_it = |(place, _): &(Place, usize)| {
            place.from == from
                && place.shard == *shard
                && place.stream == *stream
                && place.generation == generation
        };
        let at = self.all.iter().rposition(is_it)?;
        let (place, bytes) = self.all.remove(at)?;
        self.bytes -= bytes;
        Some(place)
    }

    pub(super) fn keep(&mut self, mut place: Place) {
        place.used = Instant::now();
        let bytes = place.bytes();
        self.bytes += bytes;
        self.all.push_back((place, bytes));
        while self.all.len() > PLACES_MAX || self.bytes > KEPT_BYTES_MAX {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bytes)) = self.all.pop_front() {
            self.bytes -= bytes;
        }
    }
}
