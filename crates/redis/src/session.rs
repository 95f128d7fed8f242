//! A connection to the server that holds a shard, and what was found out about that server when it was made.

use std::time::{Duration, Instant};

use onsale_core::{CodeKey, Time};
use onsale_tls::redis as tls;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::timeout;

use crate::call::{Trouble, join};
use crate::heard::Heard;
use crate::library::Library;
use crate::record::Codes;
use crate::words::{WORDS, Word};

/// How often a call is led to another node of a cluster before it is given up.
const REDIRECTS_MAX: usize = 5;
/// Time that a call may take beyond its own limit before its connection counts as hanging.
const GRACE: Duration = Duration::from_millis(100);

/// Where a store is, and how it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// `redis://[user][:password@]host[:port][/database]`, or `rediss://…` for TLS, or several with commas: the first that
    /// answers is asked. Those after the first may be `host:port`, with the same user and password, and with TLS where the
    /// first is. So are the nodes of a cluster.
    pub url: String,
    /// What all keys of the store begin with.
    pub prefix: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// How many replicas must have what is acknowledged; 0: none is waited for.
    pub replicas: u32,
}

/// How durable what is acknowledged is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// In the append-only file, and synced, before it is acknowledged.
    Always,
    /// In the append-only file, synced within a second or so.
    Everysec,
    /// In the append-only file, synced when the operating system likes.
    Os,
    /// In memory only.
    Memory,
    /// In the memory of as many replicas as are waited for.
    Replicated,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The server can't be reached, or does not serve now. Nothing was changed.
    #[error("Redis can't be reached: {0}")]
    Unreachable(String),
    /// It was asked at the wrong moment: the cluster is giving it to another server, or it is being put right. Nothing was
    /// changed, and asking again soon helps.
    #[error("Redis is being changed: {0}")]
    Moving(String),
    /// It has no room. Nothing was changed.
    #[error("Redis has no room: {0}")]
    Full(String),
    /// The call came too late to be carried out. Nothing was changed.
    #[error("the call came too late and was not carried out")]
    Late,
    /// The answer did not come: it may have been carried out or not.
    #[error("the answer did not come: {0}")]
    Unknown(String),
    /// It can't be used: what is wrong stays wrong until somebody mends it. Nothing was changed.
    #[error("{0}")]
    Unusable(String),
}

/// What is known of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Another one after each start.
    pub run: String,
    /// Whether all that it acknowledges is sure to be there after a start.
    pub keeps: bool,
    /// How durable what is acknowledged is.
    pub durability: Durability,
}

/// What a shard's state says of itself when a node joins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// Grows with every server.
    pub fence: u64,
    /// From which position on which fence.
    pub fences: Vec<(u64, u64)>,
    /// The log's generation.
    pub generation: u32,
    /// The log's id.
    pub log: u128,
    /// Of how many shards.
    pub shards: u16,
    /// What its codes are made from.
    pub codes: Codes,
    /// Records trimmed off the stream.
    pub cut: u64,
    /// The last position.
    pub position: u64,
    /// How durable what is acknowledged is.
    pub durability: Durability,
}

/// A connection.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) connection: MultiplexedConnection,
    pub(crate) status: Status,
    /// The server's time at an instant.
    clock: (Time, Instant),
}

impl Session {
    /// The server's time by now, as far as it is known here. It is never ahead of the server's.
    pub(crate) fn server_time(&self) -> Time {
        let (time, at) = self.clock;
        Time(time.0 + i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX / 2))
    }

    /// Connects to a server, whatever it is like.
    async fn connect(info: &ConnectionInfo, options: &Options) -> Result<Session, Failure> {
        let connected = tls::connect(info, options.timeout, options.timeout + GRACE);
        let connection = match timeout(options.timeout * 2, connected).await {
            Ok(connection) => connection.map_err(|error| explained(&error))?,
            Err(_) => return Err(Failure::Unreachable("it does not answer".into())),
        };
        let clock = (Time(0), Instant::now());
        let status = Status { run: String::new(), keeps: false, durability: Durability::Memory };
        Ok(Session { connection, status, clock })
    }

    /// Asks anew what the server is like.
    pub(crate) async fn refresh(&mut self, options: &Options) -> Result<(), Failure> {
        let mut told = String::new();
        for section in ["server", "replication", "memory", "persistence"] {
            let info = redis::cmd("INFO").arg(section).to_owned();
            told += &text(self.one(&info).await?);
        }
        let time = self.one(&redis::cmd("TIME")).await?;
        let time: (i64, i64) = redis::from_redis_value(time)
            .map_err(|error| Failure::Unusable(format!("it does not tell its time: {error}")))?;
        self.clock = (Time(time.0 * 1_000_000 + time.1), Instant::now());
        if field(&told, "role") != "master" {
            let why = "it is a read-only replica: give the address of its primary";
            return Err(Failure::Unreachable(why.into()));
        }
        // Until it has read its files it says that it keeps none.
        if field(&told, "loading") == "1" {
            return Err(Failure::Unreachable("it still reads its files".into()));
        }
        let evicts = field(&told, "maxmemory_policy").starts_with("all");
        if field(&told, "maxmemory") != "0" && evicts {
            let why = "it throws away what it likes when its memory is full: set maxmemory-policy to noeviction";
            return Err(Failure::Unusable(why.into()));
        }
        let fsync = self.fsync().await?;
        let durability = match (field(&told, "aof_enabled"), fsync.as_str()) {
            _ if options.replicas > 0 => Durability::Replicated,
            ("1", "always") => Durability::Always,
            ("1", "everysec") => Durability::Everysec,
            ("1", _) => Durability::Os,
            _ => Durability::Memory,
        };
        let was_primary = field(&told, "master_replid2").bytes().all(|byte| byte == b'0');
        let keeps = was_primary && fsync == "always" && field(&told, "aof_enabled") == "1";
        let run = field(&told, "run_id").to_owned();
        self.status = Status { run, keeps, durability };
        Ok(())
    }

    /// How the append-only file is synced; nothing where that is not told, so there is no promise.
    async fn fsync(&self) -> Result<String, Failure> {
        let config = redis::cmd("CONFIG").arg("GET").arg("appendfsync").to_owned();
        let mut connection = self.connection.clone();
        let said = match connection.send_packed_command(&config).await {
            Ok(said) => said,
            Err(error) if error.is_io_error() => return Err(explained(&error)),
            Err(_) => return Ok(String::new()),
        };
        let told = redis::from_redis_value::<Vec<String>>(said).unwrap_or_default();
        Ok(told.into_iter().nth(1).unwrap_or_default())
    }

    /// Loads the library, if it is not there. Whether it is there is asked first: nothing can be loaded while memory is full.
    pub(crate) async fn load(&self, library: &Library) -> Result<(), Failure> {
        let mut list = redis::cmd("FUNCTION");
        list.arg("LIST").arg("LIBRARYNAME").arg(&library.name);
        if matches!(self.one(&list).await?, Value::Array(found) if !found.is_empty()) {
            return Ok(());
        }
        let load = redis::cmd("FUNCTION").arg("LOAD").arg(&library.text).to_owned();
        match self.one(&load).await {
            // Another node was quicker.
            Err(Failure::Unknown(why)) if why.contains("already exists") => Ok(()),
            loaded => loaded.map(drop),
        }
    }

    /// Asks one thing that may be asked twice.
    pub(crate) async fn one(&self, cmd: &Cmd) -> Result<Value, Failure> {
        let mut connection = self.connection.clone();
        match connection.send_packed_command(cmd).await {
            Ok(Value::ServerError(error)) => Err(explained(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(explained(&error)),
        }
    }

    /// Joins a shard.
    pub(crate) async fn join(
        &self,
        library: &Library,
        state: &str,
    ) -> Result<Result<Joined, Trouble>, Failure> {
        let Status { run, keeps, .. } = &self.status;
        let said = self.one(&join(library, state, run, *keeps, None)).await?;
        read_joined(said, self.status.durability)
            .map_err(|error| Failure::Unusable(error.to_string()))
    }
}

fn read_joined(
    said: Value,
    durability: Durability,
) -> Result<Result<Joined, Trouble>, crate::Damaged> {
    let mut said = Heard::of(said)?;
    if said.word(WORDS)? == Word::Trouble {
        return said.trouble().map(Err);
    }
    said.number::<u64>()?;
    let fence = said.number()?;
    let mut fences = Vec::new();
    for pair in crate::Value::unpack(&said.bytes()?)?.list()? {
        let pair = pair.list()?;
        let [fence, first] = pair.as_slice() else {
            return Err(crate::Damaged { what: "not a fence" });
        };
        fences.push((fence.int()?, first.int()?));
    }
    let generation = said.number()?;
    let wide = |bytes: Vec<u8>| {
        let bytes = <[u8; 16]>::try_from(bytes);
        bytes.map_err(|_| crate::Damaged { what: "not 16 bytes" })
    };
    let log = u128::from_be_bytes(wide(said.bytes()?)?);
    let (shard, shards) = (said.number()?, said.number()?);
    let codes = Codes { shard, key: CodeKey(wide(said.bytes()?)?) };
    let (cut, position) = (said.number()?, said.number()?);
    Ok(Ok(Joined { fence, fences, generation, log, shards, codes, cut, position, durability }))
}

fn text(value: Value) -> String {
    redis::from_redis_value(value).unwrap_or_default()
}

/// A line `name:value` of what the server tells of itself.
pub(crate) fn field<'a>(told: &'a str, name: &str) -> &'a str {
    let value = told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim_end()
}

/// Follows a store's addresses, and a cluster's redirects, to the server that holds a key. Where a library is given, that server
/// must take writes, and the library is loaded there.
pub(crate) async fn find(
    options: &Options,
    library: Option<&Library>,
    key: &str,
) -> Result<Session, Failure> {
    let mut last = Failure::Unreachable("it has no address".into());
    for info in addresses(&options.url)? {
        match follow(info, options, library, key).await {
            Ok(session) => return Ok(session),
            Err(failure @ Failure::Unusable(_)) => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The addresses of a store. One without a scheme is like the first, but for host and port.
fn addresses(urls: &str) -> Result<Vec<ConnectionInfo>, Failure> {
    tls::parse_all(urls).map_err(|_| {
        let rule = "redis://, or rediss:// for TLS, then [user][:password@]host[:port][/database][,host:port]…";
        Failure::Unusable(format!("the store's address must be {rule}"))
    })
}

async fn follow(
    mut info: ConnectionInfo,
    options: &Options,
    library: Option<&Library>,
    key: &str,
) -> Result<Session, Failure> {
    for _ in 0..REDIRECTS_MAX {
        let mut session = Session::connect(&info, options).await?;
        let mut connection = session.connection.clone();
        let exists = redis::cmd("EXISTS").arg(key).to_owned();
        let error = match connection.send_packed_command(&exists).await {
            Ok(Value::ServerError(error)) => RedisError::from(error),
            Ok(_) => {
                if let Some(library) = library {
                    session.refresh(options).await?;
                    session.load(library).await?;
                }
                return Ok(session);
            }
            Err(error) => error,
        };
        // A node that gives the key away at the moment (ASK) is not left: the other one has a part of the shard only.
        if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
            return Err(explained(&error));
        }
        let Some((place, _)) = error.redirect_node() else { return Err(explained(&error)) };
        info = at_place(info, place)?;
    }
    Err(Failure::Moving("the cluster leads nowhere".into()))
}

/// The same address with the host and port that a node of the cluster has told; without a host it is the same one.
fn at_place(info: ConnectionInfo, place: &str) -> Result<ConnectionInfo, Failure> {
    let odd = || Failure::Unusable(format!("{place} must be host:port"));
    tls::at_place(info, place).ok_or_else(odd)
}

/// What a function says that came, while the keys of its shard go to another node of the cluster one by one, to one that was
/// gone already. It may have written to the stream by then.
pub(crate) fn is_half_gone(error: &RedisError) -> bool {
    error.to_string().contains("non local key")
}

/// The library is not there, or not any more.
pub(crate) fn is_function_gone(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}

/// What an error of the server, or of the connection to it, means for a call that was not sent or is refused as a whole.
pub(crate) fn explained(error: &RedisError) -> Failure {
    let text = error.to_string();
    let code = error.code().unwrap_or_default();
    let has = |word: &str| code == word || text.contains(word);
    if error.is_timeout() {
        return Failure::Unknown("no answer in time".into());
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Failure::Unusable(format!("user or password: {text}")),
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            Failure::Unusable(format!("its user may not do this: {text}"))
        }
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::BusyLoading) => {
            Failure::Unreachable(text)
        }
        _ if has("NOAUTH") || has("WRONGPASS") => {
            Failure::Unusable(format!("user or password: {text}"))
        }
        _ if error.is_cluster_error() || is_half_gone(error) || is_function_gone(error) => {
            Failure::Moving(text)
        }
        _ if has("OOM") || has("MISCONF") => Failure::Full(text),
        _ if has("MASTERDOWN") || has("LOADING") => Failure::Unreachable(text),
        _ if has("BUSY") || has("READONLY") || has("NOREPLICAS") => Failure::Unreachable(text),
        _ if error.is_io_error() || error.is_connection_dropped() => Failure::Unreachable(text),
        _ => Failure::Unknown(text),
    }
}

#[cfg(test)]
mod tests {
    use redis::ConnectionAddr;

    use super::*;

    #[test]
    fn redirects_keep_user_and_password() {
        let rows = [
            ("redis://127.0.0.1:7000", "10.0.0.1:7001", "10.0.0.1:7001"),
            ("redis://me:pass@host/0", "10.0.0.1:7001", "10.0.0.1:7001"),
            ("redis://me:pass@host/0", ":7001", "host:7001"),
            ("redis://me:pass@host/0", "?:7001", "host:7001"),
            ("redis://host", "::1:7001", "::1:7001"),
            ("rediss://me:pass@host", "10.0.0.1:7001", "10.0.0.1:7001"),
        ];
        for (url, place, expected) in rows {
            let info = tls::parse(url).unwrap();
            let is_secure = |addr: &ConnectionAddr| matches!(addr, ConnectionAddr::TcpTls { .. });
            let settings = info.redis_settings().clone();
            let moved = at_place(info, place).unwrap();
            assert_eq!(moved.addr().to_string(), expected, "{url}, {place}");
            assert_eq!(is_secure(moved.addr()), url.starts_with("rediss"), "{url}, {place}");
            let (kept, user) = (moved.redis_settings(), settings.username());
            assert_eq!((kept.username(), kept.password()), (user, settings.password()));
        }
        assert!(at_place(tls::parse("redis://host").unwrap(), "nowhere").is_err());
    }

    #[test]
    fn addresses_after_the_first_are_like_it() {
        let found = addresses("redis://me:pass@a:7000/0, b:7001,redis://c").unwrap();
        let told = found.iter().map(|info| {
            let settings = info.redis_settings();
            (info.addr().to_string(), settings.username().map(str::to_owned))
        });
        let me = Some("me".to_owned());
        let expected = [
            ("a:7000".to_owned(), me.clone()),
            ("b:7001".to_owned(), me),
            ("c:6379".to_owned(), None),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        for wrong in
            ["a:7000", "redis://a,b", "redis://a,:x", "", "rediss://a#insecure", "rediss://"]
        {
            assert!(addresses(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn fields_are_whole_names() {
        let told = "x_run_id:1\r\nrun_id:abc\r\nrole:master\r\n";
        assert_eq!(field(told, "run_id"), "abc");
        assert_eq!(field(told, "role"), "master");
        assert_eq!(field(told, "none"), "");
    }
}
