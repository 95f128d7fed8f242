//! Reading a shard by GetRecords, no more often than Kinesis allows.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::KinesisBus;
use super::call::{Failure, timed_out};
use super::iterator::Place;
pub(super) use super::iterator::Places;
use crate::record::now_us;
use crate::{Error, From, Lag, Limits, Page, Record, ShardId, StreamName};

/// The least and the most records that a call asks for: what a reader does not take is kept for it.
const FETCH_MIN: usize = 1_000;
const FETCH_MAX: usize = 10_000;
/// How often in one read an iterator is renewed.
const RENEWALS_MAX: usize = 10;

pub(super) async fn read(
    bus: &KinesisBus,
    stream: &StreamName,
    shard: &ShardId,
    from: From,
    limits: Limits,
) -> Result<Page, Error> {
    let deadline = Instant::now() + limits.wait;
    let generation = bus.generation(stream).await?;
    let kept = bus.inner.places.lock().expect("no panic").take(stream, shard, from, generation);
    let patience = bus.inner.settings.patience.min(limits.wait + bus.inner.settings.call_time);
    let mut place = match kept {
        Some(place) => place,
        None => Place::open(bus, stream, shard, from, patience).await?,
    };
    let give_up = Instant::now() + limits.wait + bus.inner.settings.call_time;
    let mut fetched = false;
    while place.rest.is_empty() && place.iterator.is_some() {
        let turn = bus.inner.pace.lock().expect("no panic").turn(stream, shard);
        // An empty answer from before the end says nothing yet: records may follow.
        let until = if fetched && place.behind_ms == 0 { deadline } else { give_up };
        if turn > until {
            break;
        }
        sleep_until(turn).await;
        if let Err(error) = fetch(bus, &mut place, limits, patience).await {
            // What is known of the stream may be what was wrong.
            bus.forget_generation(stream);
            return Err(error);
        }
        fetched = true;
    }
    if !fetched && place.rest.is_empty() && place.iterator.is_some() {
        bus.inner.places.lock().expect("no panic").keep(place);
        return Err(Error::Throttled { what: format!("reading {stream}/{shard}, by too many") });
    }
    let page = give(&mut place, limits);
    if !page.ended {
        bus.inner.places.lock().expect("no panic").keep(place);
    }
    Ok(page)
}

/// Reads on at a place, once.
async fn fetch(
    bus: &KinesisBus,
    place: &mut Place,
    limits: Limits,
    patience: Duration,
) -> Result<(), Error> {
    let limit = limits.records.clamp(FETCH_MIN, FETCH_MAX);
    let limit = i32::try_from(limit).expect("it was clamped");
    let stream = place.stream.clone();
    for _ in 0..RENEWALS_MAX {
        let iterator = place.iterator.clone();
        let answer = bus
            .try_call_for("GetRecords", Some(&stream), patience, || {
                let request = bus.inner.client.get_records().limit(limit);
                request.set_shard_iterator(iterator.clone()).send()
            })
            .await;
        match answer {
            Ok(answer) => return place.take_in(answer),
            Err(Failure::Expired(_)) => place.renew(bus, patience).await?,
            Err(Failure::Missing(_)) => return Err(place.missing(bus).await),
            Err(failure) => return Err(failure.into_error()),
        }
    }
    Err(timed_out(format!("an iterator of {stream}/{} that lasts", place.shard), patience))
}

/// Cuts a page off a place.
fn give(place: &mut Place, limits: Limits) -> Page {
    let mut records: Vec<Record> = Vec::new();
    let mut bytes = 0;
    while records.len() < limits.records
        && let Some(record) = place.rest.front()
    {
        bytes += record.key.len() + record.payload.len();
        if bytes > limits.bytes && !records.is_empty() {
            break;
        }
        records.extend(place.rest.pop_front());
    }
    if let Some(last) = records.last() {
        place.from = From::After(last.position);
    }
    let ms = match place.rest.front() {
        Some(next) => now_us().saturating_sub(next.written_at_us) / 1_000,
        None => place.behind_ms,
    };
    Page {
        records: records.into(),
        next: place.from,
        ended: place.rest.is_empty() && place.iterator.is_none(),
        lag: Lag { records: None, ms: Some(ms) },
        generation: place.generation,
    }
}

/// When each shard may be read again.
#[derive(Debug)]
pub(super) struct Pace {
    between: Duration,
    next: HashMap<(StreamName, ShardId), Instant>,
}

impl Pace {
    /// Shards beyond so many are forgotten, if their turn is over.
    const SHARDS_MAX: usize = 10_000;

    pub(super) fn new(reads_per_second: u32) -> Pace {
        Pace { between: Duration::from_secs(1) / reads_per_second, next: HashMap::new() }
    }

    /// The next time at which the shard may be read; it is the caller's.
    fn turn(&mut self, stream: &StreamName, shard: &ShardId) -> Instant {
        let now = Instant::now();
        if self.next.len() > Pace::SHARDS_MAX {
            self.next.retain(|_, next| *next > now);
        }
        let next = self.next.entry((stream.clone(), shard.clone())).or_insert(now);
        let turn = (*next).max(now);
        *next = turn + self.between;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_read_five_times_a_second() {
        let mut pace = Pace::new(5);
        let (stream, shard) = (StreamName::new("sales").unwrap(), ShardId::numbered(0));
        let begin = Instant::now();
        let turns: Vec<u128> =
            (0..6).map(|_| (pace.turn(&stream, &shard) - begin).as_millis()).collect();
        assert_eq!(turns, [0, 200, 400, 600, 800, 1_000]);
        assert_eq!(pace.turn(&stream, &ShardId::numbered(1)), begin);
    }
}
