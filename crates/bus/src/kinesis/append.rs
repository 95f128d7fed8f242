//! Appending by PutRecords so that order within a key is kept.
//!
//! One PutRecords may place a later record and fail an earlier one of the same key, and what is placed
//! can't be taken back. So a call has each key at most once, and the next record of a key is sent when the one
//! before it is placed. Different keys share calls, and some calls are under way at a time. The price: a key
//! takes one record per round trip, a stream as many as its shards bear. Whoever wants more order-free
//! throughput uses finer keys.
//!
//! A call without an answer may have been heard; it is made again, which can double records, but its
//! first occurrence is before whatever follows in its key, since that waits.

use std::collections::{HashMap, VecDeque};

use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::KinesisBus;
use super::call::{Failure, backoff, is_throttling};
use crate::{AppendError, Entry, Error, Placed, ShardId, StreamName};

/// The most records of a call.
const RECORDS_MAX: usize = 500;
/// The most bytes of keys and payloads in a call.
const BYTES_MAX: usize = 5 << 20;
/// How many calls of one append are under way at first, and at most. Each that goes well allows one more, each
/// that does not halves them: a Kinesis that is slow or asks for less is not driven on.
const CALLS_FIRST: usize = 2;
const CALLS_MAX: usize = 8;

pub(super) async fn append(
    bus: &KinesisBus,
    stream: &StreamName,
    entries: &[Entry],
) -> Result<Vec<Placed>, AppendError> {
    let mut lines = Lines::new(entries);
    let mut calls = FuturesUnordered::new();
    loop {
        while calls.len() < lines.width
            && let Some(batch) = lines.next_batch()
        {
            calls.push(send(bus, stream, entries, batch));
        }
        let Some((batch, outcomes)) = calls.next().await else { break };
        if let Some(again) = lines.settle(batch, outcomes, bus.inner.settings.patience) {
            calls.push(send(bus, stream, entries, again));
        }
    }
    lines.results()
}

/// Entries that are sent in one call, no two of the same key.
struct Batch {
    entries: Vec<usize>,
    /// How often it failed.
    tries: u32,
    since: Instant,
}

/// What became of an entry that was sent.
type Outcome = Result<Placed, Failure>;

/// The entries of an append, one behind the other in the line of their key.
struct Lines<'a> {
    entries: &'a [Entry],
    /// For each entry, the next one of its key and the one before it.
    next: Vec<Option<usize>>,
    before: Vec<Option<usize>>,
    /// The heads of lines that nobody has sent.
    ready: VecDeque<usize>,
    /// How many calls may be under way.
    width: usize,
    results: Vec<Option<Result<Placed, Error>>>,
}

impl Lines<'_> {
    fn new(entries: &[Entry]) -> Lines<'_> {
        let mut last: HashMap<&[u8], usize> = HashMap::new();
        let (mut next, mut before) = (vec![None; entries.len()], vec![None; entries.len()]);
        let mut ready = VecDeque::new();
        for (at, entry) in entries.iter().enumerate() {
            match last.insert(&entry.key, at) {
                Some(earlier) => (next[earlier], before[at]) = (Some(at), Some(earlier)),
                None => ready.push_back(at),
            }
        }
        let (width, results) = (CALLS_FIRST, vec![None; entries.len()]);
        Lines { entries, next, before, ready, width, results }
    }

    /// What can be sent now, as much as a call takes.
    fn next_batch(&mut self) -> Option<Batch> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while batch.len() < RECORDS_MAX
            && let Some(&at) = self.ready.front()
        {
            bytes += self.entries[at].key.len() + self.entries[at].payload.len();
            if bytes > BYTES_MAX && !batch.is_empty() {
                break;
            }
            self.ready.pop_front();
            batch.push(at);
        }
        let since = Instant::now();
        (!batch.is_empty()).then_some(Batch { entries: batch, tries: 0, since })
    }

    /// Takes in what became of a batch; says what of it is to be sent again.
    fn settle(
        &mut self,
        batch: Batch,
        outcomes: Vec<Outcome>,
        patience: std::time::Duration,
    ) -> Option<Batch> {
        let goes_on = batch.since.elapsed() < patience;
        let fine = outcomes.iter().all(Result::is_ok);
        self.width = if fine { (self.width + 1).min(CALLS_MAX) } else { (self.width / 2).max(1) };
        let mut again = Vec::new();
        for (at, outcome) in batch.entries.into_iter().zip(outcomes) {
            match outcome {
                Ok(placed) => self.placed(at, placed),
                Err(Failure::Passing(_)) if goes_on => again.push(at),
                Err(failure) => self.failed(at, &failure.into_error()),
            }
        }
        let tries = batch.tries + 1;
        (!again.is_empty()).then_some(Batch { entries: again, tries, since: batch.since })
    }

    fn placed(&mut self, at: usize, placed: Placed) {
        let before = self.before[at].and_then(|before| self.results[before].as_ref());
        if let Some(Ok(before)) = before
            && before.position >= placed.position
        {
            // It can't be undone; Kinesis gives a higher number to what comes after an answer.
            tracing::error!(
                ?before,
                ?placed,
                "Kinesis has put a record before one of the same key"
            );
        }
        self.results[at] = Some(Ok(placed));
        self.ready.extend(self.next[at]);
    }

    /// The entry is given up, and with it those of its key that follow.
    fn failed(&mut self, at: usize, error: &Error) {
        let mut line = Some(at);
        while let Some(at) = line {
            self.results[at] = Some(Err(error.clone()));
            line = self.next[at];
        }
    }

    fn results(self) -> Result<Vec<Placed>, AppendError> {
        let settled = self.results.into_iter().map(|result| result.expect("each line was settled"));
        let entries: Vec<Result<Placed, Error>> = settled.collect();
        if entries.iter().all(Result::is_ok) {
            return Ok(entries.into_iter().flatten().collect());
        }
        Err(AppendError { entries })
    }
}

/// Sends a batch once, after the wait that its failures ask for.
async fn send(
    bus: &KinesisBus,
    stream: &StreamName,
    entries: &[Entry],
    batch: Batch,
) -> (Batch, Vec<Outcome>) {
    if batch.tries > 0 {
        sleep(backoff(bus.inner.settings.backoff, batch.tries - 1)).await;
    }
    let mut request = bus.inner.client.put_records().stream_name(stream.as_str());
    for entry in batch.entries.iter().map(|at| &entries[*at]) {
        let key = std::str::from_utf8(&entry.key).expect("an entry was checked");
        let record = PutRecordsRequestEntry::builder()
            .partition_key(key)
            .data(Blob::new(entry.payload.as_ref()));
        request = request.records(record.build().expect("it has a key and data"));
    }
    let outcomes = match request.send().await {
        Ok(answer) => outcomes(stream, &answer, batch.entries.len()),
        Err(error) => {
            let failure = bus.failure("PutRecords", Some(stream), &error);
            vec![Err(failure); batch.entries.len()]
        }
    };
    (batch, outcomes)
}

/// What a call's answer says of each record.
fn outcomes(stream: &StreamName, answer: &PutRecordsOutput, sent: usize) -> Vec<Outcome> {
    let told = answer.records();
    if told.len() != sent {
        let (what, why) = (what(stream), format!("{sent} were sent, {} are told of", told.len()));
        return vec![Err(Failure::Passing(Error::Unavailable { what, why })); sent];
    }
    told.iter().map(|record| outcome(stream, record)).collect()
}

fn outcome(stream: &StreamName, record: &PutRecordsResultEntry) -> Outcome {
    if let Some(code) = record.error_code() {
        let why = format!("{code}: {}", record.error_message().unwrap_or_default());
        return Err(match code {
            _ if is_throttling(code) => Failure::Passing(Error::Throttled { what: what(stream) }),
            "InternalFailure" | "ServiceUnavailable" => {
                Failure::Passing(Error::Unavailable { what: what(stream), why })
            }
            _ => Failure::Final(Error::Refused { what: what(stream), why }),
        });
    }
    let shard = ShardId::new(record.shard_id().unwrap_or_default());
    let position = record.sequence_number().unwrap_or_default().parse();
    match (shard, position) {
        (Ok(shard), Ok(position)) => Ok(Placed { shard, position }),
        // It may be there or not; a second one does less harm than none.
        _ => Err(Failure::Passing(Error::Unavailable {
            what: what(stream),
            why: "a record's place is not told".into(),
        })),
    }
}

fn what(stream: &StreamName) -> String {
    format!("a record of {stream}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Position;

    fn placed(position: u64) -> Outcome {
        Ok(Placed { shard: ShardId::numbered(0), position: Position::from(position) })
    }

    fn throttled() -> Outcome {
        Err(Failure::Passing(Error::Throttled { what: "it".into() }))
    }

    fn keys(keys: &str) -> Vec<Entry> {
        keys.chars().map(|key| Entry::new(key.to_string(), "payload")).collect()
    }

    #[tokio::test]
    async fn what_follows_in_a_key_waits() {
        let entries = keys("aabca");
        let mut lines = Lines::new(&entries);
        let first = lines.next_batch().unwrap();
        assert_eq!(first.entries, [0, 2, 3]);
        assert!(lines.next_batch().is_none(), "the next of a key waits");
        let patience = Duration::from_secs(1_000);
        let again = lines.settle(first, vec![throttled(), placed(1), placed(2)], patience).unwrap();
        assert_eq!((again.entries.as_slice(), again.tries), (&[0][..], 1));
        assert!(lines.next_batch().is_none(), "nothing overtakes what failed");
        assert!(lines.settle(again, vec![placed(3)], patience).is_none());
        let second = lines.next_batch().unwrap();
        assert_eq!(second.entries, [1]);
        // Out of patience: what follows is given up, too.
        assert!(lines.settle(second, vec![throttled()], Duration::ZERO).is_none());
        assert!(lines.next_batch().is_none());
        let error = lines.results().unwrap_err();
        let fine: Vec<bool> = error.entries.iter().map(Result::is_ok).collect();
        assert_eq!(fine, [true, false, true, true, false]);
    }

    #[tokio::test]
    async fn calls_keep_their_limits() {
        let many: Vec<Entry> = (0..1_001).map(|key| Entry::new(key.to_string(), "x")).collect();
        let mut lines = Lines::new(&many);
        let sizes: Vec<usize> =
            std::iter::from_fn(|| lines.next_batch()).map(|batch| batch.entries.len()).collect();
        assert_eq!(sizes, [500, 500, 1]);
        let payload = vec![0; 900_000];
        let large: Vec<Entry> =
            (0..7).map(|n| Entry::new(n.to_string(), payload.clone())).collect();
        let mut lines = Lines::new(&large);
        assert_eq!(lines.next_batch().unwrap().entries.len(), 5);
        assert_eq!(lines.next_batch().unwrap().entries.len(), 2);
    }
}
