//! The streams `catalogue` and `control` where the journal is in a database: they are kept there, too, so that whoever takes over
//! has every record that was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use onsale_bus::file::{Cut, Source};
use onsale_bus::{Entry, Error, Generation, Position, ShardId, StreamName};
use onsale_rows::{Error as RowsError, Site};
use tokio::sync::watch;

use super::TROUBLE;
use crate::bus::{CATALOGUE, CONTROL, KeptElsewhere, SHARDS};
use crate::shards::wall_time;

/// Requests that wait for the connection at most.
const WAITING_MAX: usize = 64;

/// What is done with the connection.
type Job = Box<dyn FnOnce(&mut Site) + Send>;

/// A stream in the database.
pub struct RowsStream {
    name: &'static str,
    generation: Generation,
    first: AtomicU64,
    end: Arc<End>,
    /// Jobs of the thread that has the connection; it ends with the last of the streams.
    jobs: SyncSender<Job>,
    /// How long it is tried to find out what became of an append.
    wait: Duration,
    /// Held while something is appended.
    appending: Mutex<()>,
}

/// Where a stream ends.
struct End {
    durable: watch::Sender<u64>,
    /// What became of the last append is not known: until it is, nothing more is taken.
    is_unknown: AtomicBool,
}

/// Both streams, made where they are not there yet.
///
/// # Errors
/// The database can't be used, or there is no thread left.
pub fn open(mut site: Site, wait: Duration) -> anyhow::Result<KeptElsewhere> {
    let names = [CATALOGUE, CONTROL];
    let mut states = Vec::new();
    for name in names {
        states.push(site.stream(name, fresh_generation())?);
    }
    let (jobs, work) = sync_channel::<Job>(WAITING_MAX);
    let builder = std::thread::Builder::new().name("streams".to_owned());
    builder.spawn(move || work.into_iter().for_each(|job| job(&mut site)))?;
    let stream = |(name, state): (&'static str, onsale_rows::StreamState)| {
        let stream = RowsStream {
            name,
            generation: Generation(state.generation),
            first: AtomicU64::new(state.first),
            end: Arc::new(End {
                durable: watch::Sender::new(state.last),
                is_unknown: AtomicBool::new(false),
            }),
            jobs: jobs.clone(),
            wait,
            appending: Mutex::default(),
        };
        (name, Arc::new(stream) as Arc<dyn Source>)
    };
    Ok(names.into_iter().zip(states).map(stream).collect())
}

/// A random one. It fits the database's numbers, which have a sign.
fn fresh_generation() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0 >> 1
}

impl RowsStream {
    /// Has something done with the connection, and waits for it.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Site) -> Result<T, RowsError> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, done) = sync_channel(1);
        let job: Job = Box::new(move |site| {
            // Whoever asked waits for it.
            let _ = reply.send(work(site));
        });
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => self.unavailable("too much waits for it"),
            TrySendError::Disconnected(_) => self.unavailable("its thread has ended"),
        })?;
        let done = done.recv().map_err(|_| self.unavailable("its thread has ended"))?;
        done.map_err(|error| match error {
            RowsError::Unknown { waited, .. } => Error::TimedOut {
                what: self.what(),
                after_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            },
            RowsError::Missing { position, .. } => {
                let (stream, shard) = self.shard();
                let which = format!("the record at position {position} (of onsale.stream_records)");
                Error::Missing { stream, shard, which }
            }
            error => self.unavailable(&error.to_string()),
        })
    }

    /// Its name, and that of its one shard.
    fn shard(&self) -> (StreamName, ShardId) {
        (StreamName::new(self.name).expect("its name keeps the rule"), ShardId::numbered(0))
    }

    fn what(&self) -> String {
        format!("stream {} in the database", self.name)
    }

    fn unavailable(&self, why: &str) -> Error {
        Error::Unavailable { what: self.what(), why: why.to_owned() }
    }

    /// Finds out where the stream ends, once the database can be reached again.
    fn find_out(&self) {
        let (name, end) = (self.name, Arc::clone(&self.end));
        let job: Job = Box::new(move |site| {
            loop {
                match site.stream(name, fresh_generation()) {
                    Ok(state) => {
                        end.durable.send_replace(state.last);
                        return end.is_unknown.store(false, Ordering::Release);
                    }
                    Err(error @ RowsError::Unreachable { .. }) => {
                        tracing::warn!(stream = name, %error, "it is not known what became of an append");
                        std::thread::sleep(TROUBLE);
                    }
                    // It is not the writer any more, and ends.
                    Err(error) => {
                        return tracing::error!(stream = name, %error, "it takes nothing more");
                    }
                }
            }
        });
        if self.jobs.try_send(job).is_err() {
            tracing::error!(stream = self.name, "it takes nothing more until the next start");
        }
    }
}

/// Appends, and finds out what became of it where the connection broke in between: what was begun is waited for, so the
/// stream's end tells.
fn append(
    site: &mut Site,
    name: &str,
    entries: &[Entry],
    before: u64,
    wait: Duration,
) -> Result<u64, RowsError> {
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = std::str::from_utf8(&entry.key).expect("keys are text: each entry is checked");
        records.push((key, &*entry.payload));
    }
    let now_us = u64::try_from(wall_time().0).unwrap_or(0);
    let error = match site.append_to_stream(name, &records, now_us) {
        Err(error @ RowsError::Unreachable { .. }) => error,
        done => return done,
    };
    let begun = Instant::now();
    loop {
        match site.stream(name, fresh_generation()) {
            Ok(state) if state.last > before => return Ok(state.last),
            Ok(_) => return Err(error),
            Err(RowsError::Unreachable { .. }) if begun.elapsed() < wait => {
                std::thread::sleep(TROUBLE);
            }
            Err(_) => {
                return Err(RowsError::Unknown { waited: begun.elapsed(), why: error.to_string() });
            }
        }
    }
}

impl Source for RowsStream {
    fn generation(&self) -> Generation {
        self.generation
    }

    fn shards(&self) -> u32 {
        SHARDS
    }

    fn first(&self, _shard: u32) -> Result<u64, Error> {
        Ok(self.first.load(Ordering::Acquire))
    }

    fn durable(&self, _shard: u32) -> watch::Receiver<u64> {
        self.end.durable.subscribe()
    }

    fn read(
        &self,
        _shard: u32,
        after: u64,
        records: usize,
        bytes: usize,
        each: &mut dyn FnMut(u64, Cut<'_>),
    ) -> Result<(), Error> {
        let name = self.name;
        let found = self.ask(move |site| site.read_stream(name, after, records, bytes))?;
        if let Some(begin) = found.first().filter(|record| record.position > after + 1) {
            // Retention took what was asked for, meanwhile.
            let (asked, begins_at) = (Position::from(after), Position::from(begin.position));
            let (stream, shard) = self.shard();
            return Err(Error::Gone { stream, shard, asked, begins_at });
        }
        for record in &found {
            let (key, payload) = (record.key.as_bytes(), &*record.payload);
            each(record.position, Cut { key, payload, written_at_us: record.written_at_us });
        }
        Ok(())
    }

    fn append(&self, _shard: u32, entries: Vec<Entry>) -> Result<u64, Error> {
        let _appending = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        if self.end.is_unknown.load(Ordering::Acquire) {
            return Err(self.unavailable("it is not known yet what became of the append before"));
        }
        let (name, wait, count) = (self.name, self.wait, entries.len() as u64);
        let before = *self.end.durable.borrow();
        let appended = self.ask(move |site| append(site, name, &entries, before, wait));
        if let Err(Error::TimedOut { .. }) = appended {
            self.end.is_unknown.store(true, Ordering::Release);
            self.find_out();
        }
        let last = appended?;
        self.end.durable.send_replace(last);
        Ok(last + 1 - count)
    }

    fn trim(&self, _shard: u32, upto: u64) -> Result<u64, Error> {
        let (name, upto) = (self.name, upto.min(*self.end.durable.borrow()));
        let first = self.ask(move |site| site.trim_stream(name, upto))?;
        self.first.fetch_max(first, Ordering::AcqRel);
        Ok(first)
    }
}
