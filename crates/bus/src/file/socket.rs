//! Both ends of the owner's socket: the task that answers other processes, and the client in those.
//!
//! A connection carries one request at a time; a client opens as many as it has requests under way and
//! keeps some of them. A request that is given up closes its connection.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::owner::Owner;
use super::wire::{APPEND_BYTES_MAX, APPEND_ENTRIES_MAX, In, Out, Request, receive, send};
use crate::{
    AppendError, Entry, Error, From, Limits, Page, Placed, Position, ShardId, StreamInfo,
    StreamName,
};

/// Name of the socket in the bus' folder.
const SOCKET: &str = "bus.sock";
/// The most connections of all clients; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections that a client keeps for its next requests.
const KEPT_MAX: usize = 32;
/// How long an answer may take beyond the wait that was asked for.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Does something with the socket's path, by way of the folder itself where the path would be too long
/// for the system.
fn at_socket<T>(
    folder: &Path,
    act: impl FnOnce(&Path) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let path = folder.join(SOCKET);
    if path.as_os_str().len() < 100 {
        return act(&path);
    }
    let open = std::fs::File::open(folder)?;
    act(&Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(SOCKET))
}

/// Listens where the folder's lock is held.
pub(super) fn listen(folder: &Path) -> std::io::Result<UnixListener> {
    at_socket(folder, |path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        UnixListener::bind(path)
    })
}

/// Answers clients until it is dropped.
pub(super) async fn serve(listener: UnixListener, owner: Arc<Owner>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) => {
                    connections.spawn(answer_all(connection, Arc::clone(&owner)));
                }
                Err(error) => {
                    // Mostly too many open files: what is open ends by and by.
                    tracing::warn!(%error, "the bus' socket takes no connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn answer_all(mut connection: UnixStream, owner: Arc<Owner>) {
    let ended = loop {
        match receive(&mut connection).await {
            Ok(Some(body)) => {
                let answer = answer(&owner, body).await;
                if let Err(error) = send(&mut connection, &answer).await {
                    break Err(error);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client of the bus broke off");
    }
}

async fn answer(owner: &Owner, body: Bytes) -> Bytes {
    let request = match In::new(body).request() {
        Ok(request) => request,
        Err(error) => return Out::answer(&Err::<(), _>(error), |_, ()| {}),
    };
    match request {
        Request::Create { stream, shards } => {
            Out::answer(&owner.create(&stream, shards).await, |_, ()| {})
        }
        Request::Streams => Out::answer(&Ok(owner.streams()), |out, names| out.names(names)),
        Request::Describe { stream } => Out::answer(&owner.describe(&stream), Out::info),
        Request::Append { stream, entries } => {
            let checked = entries.iter().try_for_each(Entry::check);
            let result = match checked {
                Ok(()) => owner.append(&stream, &entries).await,
                Err(error) => Err(AppendError::all(entries.len(), &error)),
            };
            Out::answer(&Ok(result), Out::appended)
        }
        Request::Read { stream, shard, from, limits } => {
            Out::answer(&owner.read(&stream, &shard, from, limits.bounded()).await, Out::page)
        }
        Request::Trim { stream, shard, upto } => {
            Out::answer(&owner.trim(&stream, &shard, upto).await, Out::position_of)
        }
    }
}

/// A process that is not the owner.
#[derive(Debug)]
pub(super) struct Client {
    folder: PathBuf,
    kept: Mutex<Vec<UnixStream>>,
}

impl Client {
    /// Reaches the owner, which answers.
    pub(super) async fn connect(folder: &Path) -> Result<Client, Error> {
        let client = Client { folder: folder.to_owned(), kept: Mutex::default() };
        client.streams().await?;
        Ok(client)
    }

    fn open(&self) -> Result<UnixStream, Error> {
        let connect = |path: &Path| std::os::unix::net::UnixStream::connect(path);
        let open = || {
            let connection = at_socket(&self.folder, connect)?;
            connection.set_nonblocking(true)?;
            UnixStream::from_std(connection)
        };
        open().map_err(|error| self.unavailable(&error))
    }

    fn unavailable(&self, error: &std::io::Error) -> Error {
        let what = format!("the owner of the bus in {}", self.folder.display());
        Error::Unavailable { what, why: error.to_string() }
    }

    fn keep(&self, connection: UnixStream) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(connection);
        }
    }

    /// A connection that the owner has not closed meanwhile, or a new one.
    fn take(&self) -> Result<UnixStream, Error> {
        loop {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(connection) = kept else { return self.open() };
            let is_quiet = matches!(
                connection.try_read(&mut [0]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock
            );
            if is_quiet {
                return Ok(connection);
            }
        }
    }

    /// One request and its answer. It is never sent twice: an append might be there twice.
    async fn ask(&self, body: &[u8], wait: Duration) -> Result<In, Error> {
        let mut connection = self.take()?;
        let exchange = async {
            send(&mut connection, body).await?;
            receive(&mut connection).await?.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        };
        let after = wait + ANSWER_WAIT;
        let answer = match tokio::time::timeout(after, exchange).await {
            Ok(answer) => answer.map_err(|error: std::io::Error| self.unavailable(&error))?,
            Err(_) => {
                let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::TimedOut { what: "the owner of the bus".into(), after_ms });
            }
        };
        self.keep(connection);
        Ok(In::new(answer))
    }

    async fn asked(&self, request: Request, wait: Duration) -> Result<In, Error> {
        self.ask(&Out::request(&request), wait).await
    }

    pub(super) async fn create(&self, stream: &StreamName, shards: u32) -> Result<(), Error> {
        let request = Request::Create { stream: stream.clone(), shards };
        self.asked(request, Duration::ZERO).await?.answer(|_| Ok(()))
    }

    pub(super) async fn streams(&self) -> Result<Vec<StreamName>, Error> {
        self.asked(Request::Streams, Duration::ZERO).await?.answer(In::names)
    }

    pub(super) async fn describe(&self, stream: &StreamName) -> Result<StreamInfo, Error> {
        let request = Request::Describe { stream: stream.clone() };
        self.asked(request, Duration::ZERO).await?.answer(In::info)
    }

    pub(super) async fn append(
        &self,
        stream: &StreamName,
        entries: &[Entry],
    ) -> Result<Vec<Placed>, AppendError> {
        let mut results: Vec<Result<Placed, Error>> = Vec::with_capacity(entries.len());
        while results.len() < entries.len() {
            let left = &entries[results.len()..];
            let part = &left[..fitting(left)];
            let outcome = match self.ask(&Out::append(stream, part), Duration::ZERO).await {
                Ok(mut answer) => answer.answer(In::appended),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(outcome) if outcome.len() == part.len() => results.extend(outcome),
                Ok(_) => results.extend(vec![Err(self.broken()); part.len()]),
                Err(error) => results.extend(vec![Err(error); part.len()]),
            }
            // What comes after something that failed may have its key, and must not come before it.
            if let Some(error) = results.iter().find_map(|result| result.clone().err()) {
                results.resize(entries.len(), Err(error));
            }
        }
        if results.iter().any(Result::is_err) {
            return Err(AppendError { entries: results });
        }
        Ok(results.into_iter().flatten().collect())
    }

    fn broken(&self) -> Error {
        self.unavailable(&std::io::Error::other("its answer has not the form that it should"))
    }

    pub(super) async fn read(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        from: From,
        limits: Limits,
    ) -> Result<Page, Error> {
        let request = Request::Read { stream: stream.clone(), shard: shard.clone(), from, limits };
        self.asked(request, limits.wait).await?.answer(In::page)
    }

    pub(super) async fn trim(
        &self,
        stream: &StreamName,
        shard: &ShardId,
        upto: Position,
    ) -> Result<Position, Error> {
        let request = Request::Trim { stream: stream.clone(), shard: shard.clone(), upto };
        self.asked(request, Duration::ZERO).await?.answer(In::position)
    }
}

/// How many entries go into one frame.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.key.len() + entry.payload.len();
        bytes <= APPEND_BYTES_MAX
    };
    entries.iter().take(APPEND_ENTRIES_MAX).take_while(fits).count().max(1)
}
