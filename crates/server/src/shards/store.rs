//! Where a shard's batches go, on its helper thread: to its files, or to a database first and to the files as a copy.

use std::io;
use std::time::Duration;

use onsale_journal::{WriteDone, WriteJob};
use onsale_rows::{Batch, Error, Link};
use tokio::sync::watch;

/// A round: a batch, or a check that this server is still the log's writer.
pub enum Round {
    /// A batch to be made durable.
    Batch(WriteJob),
    /// An empty check.
    Check,
}

/// How it went.
pub enum RoundDone {
    /// The batch is durable, or that is not known.
    Batch(WriteDone),
    /// It is the writer, or why that is not known.
    Check(Result<(), String>),
}

/// Why this server is the log's writer no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Another has taken over: where clients find it.
    To(String),
    /// Something failed; the log says what.
    Fault(String),
}

/// Told once.
pub type Fence = watch::Sender<Option<Lost>>;

/// Where a shard's batches go.
pub enum Store {
    /// To the files of the data folder.
    Files,
    /// To a database, and then to the files as a copy.
    Rows {
        /// The way there.
        link: Box<Link>,
        /// Told where another has taken over.
        fence: Fence,
    },
}

/// Rounds in the time of a lease, where nothing else happens.
const RENEWALS: u32 = 4;

impl Store {
    /// How often a round must be made even where there is nothing to write.
    pub fn renew_every(&self) -> Option<Duration> {
        match self {
            Store::Files => None,
            Store::Rows { link, .. } => Some(link.lease() / RENEWALS),
        }
    }

    /// Carries out a round, and waits for it.
    pub fn run(&mut self, round: Round) -> RoundDone {
        match (self, round) {
            (Store::Files, Round::Batch(job)) => RoundDone::Batch(job.run()),
            (Store::Files, Round::Check) => RoundDone::Check(Ok(())),
            (Store::Rows { link, fence }, Round::Batch(job)) => {
                RoundDone::Batch(match append(link, &job) {
                    Ok(()) => job.run(),
                    Err(error) => {
                        lost(fence, &error);
                        job.fail(io::Error::other(error))
                    }
                })
            }
            (Store::Rows { link, fence }, Round::Check) => {
                RoundDone::Check(link.check().map_err(|error| {
                    lost(fence, &error);
                    error.to_string()
                }))
            }
        }
    }

    /// Who is to be told where the shard stops, if that is the end of the server.
    pub fn fence(&self) -> Option<Fence> {
        match self {
            Store::Files => None,
            Store::Rows { fence, .. } => Some(fence.clone()),
        }
    }
}

/// Appends a batch of a shard.
///
/// # Errors
/// As [`Link::append`].
pub fn append(link: &mut Link, job: &WriteJob) -> Result<(), Error> {
    link.append(&Batch {
        first: job.first(),
        last: job.first() + u64::from(job.records()) - 1,
        checksum: job.payload_crc(),
        chain: job.chain(),
        records: job.payload(),
    })
}

/// Tells of an error, unless one was told before.
pub fn lost(fence: &Fence, error: &Error) {
    tell(fence, || match error {
        Error::Fenced { address } => Lost::To(address.clone()),
        error => Lost::Fault(error.to_string()),
    });
}

/// Tells why, unless that was told before.
pub fn tell(fence: &Fence, why: impl FnOnce() -> Lost) {
    fence.send_if_modified(|told| {
        let is_first = told.is_none();
        if is_first {
            *told = Some(why());
        }
        is_first
    });
}
